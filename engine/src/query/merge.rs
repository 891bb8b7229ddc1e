//! The rows of a step: those waiting in all partitions of all sources, merged by time.
//!
//! Each partition's rows are ordered by the largest row time so far, which only grows, so they can
//! be merged without disturbing a partition's own order. A partition that has more to read and
//! nothing waiting beyond some time holds back all later rows; one that is at its end holds back
//! nobody. The order depends only on what was waiting: same input, same order.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions, UInt32Array, UInt64Array};
use arrow::compute::{interleave, take};
use kappa_sql::column;

use super::source::Source;
use crate::error::Result;

/// A waiting row: its merge time, and where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    time: i64,
    source: u32,
    partition: u32,
    row: u32,
}

/// The rows of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) rows: usize,
    /// Source, partition and offset of the last one.
    pub(super) last: Option<RowPlace>,
}

/// Where a row was read: its source's number, its partition and its offset.
pub(super) type RowPlace = (usize, i32, i64);

/// Takes the next rows, at most `rows_max`, and puts them into the leaves.
pub(super) fn take_step(sources: &mut [Source], rows_max: usize) -> Result<Taken> {
    let horizon = horizon(sources);
    let mut ready = Vec::new();
    for (source_number, source) in sources.iter().enumerate() {
        for (partition_number, partition) in source.partitions.iter().enumerate() {
            let Some(waiting) = &partition.waiting else {
                continue;
            };
            let times = &waiting.times[waiting.taken..];
            let count = times.partition_point(|time| *time <= horizon).min(rows_max);
            if count > 0 {
                ready.push((source_number, partition_number, count));
            }
        }
    }
    if let [(source, partition, count)] = ready[..] {
        return take_run(sources, source, partition, count);
    }
    let mut rows = Vec::new();
    for (source, partition, count) in ready {
        let Some(waiting) = &sources[source].partitions[partition].waiting else {
            continue;
        };
        let times = waiting.times.iter().enumerate();
        let times = times.skip(waiting.taken).take(count);
        rows.extend(times.map(|(row, time)| Row {
            time: *time,
            source: source as u32,
            partition: partition as u32,
            row: row as u32,
        }));
    }
    // Each partition's rows are in order: runs, which this sort merges.
    rows.sort();
    rows.truncate(rows_max);
    for (number, source) in sources.iter_mut().enumerate() {
        let own: Vec<(u64, Row)> = rows
            .iter()
            .enumerate()
            .filter(|(_, row)| row.source as usize == number)
            .map(|(position, row)| (position as u64, *row))
            .collect();
        put(source, &own)?;
    }
    let last = rows.last().and_then(|row| {
        let partition = &sources[row.source as usize].partitions[row.partition as usize];
        let waiting = partition.waiting.as_ref()?;
        let offset = waiting.offsets.value(row.row as usize);
        Some((row.source as usize, partition.number, offset))
    });
    Ok(Taken {
        rows: rows.len(),
        last,
    })
}

/// The time up to which every partition that has more to read is known.
fn horizon(sources: &[Source]) -> i64 {
    let mut horizon = i64::MAX;
    for partition in sources.iter().flat_map(|source| &source.partitions) {
        if partition.at_end {
            continue;
        }
        let known = partition
            .waiting
            .as_ref()
            .and_then(|waiting| waiting.times.last());
        horizon = horizon.min(known.copied().unwrap_or(i64::MIN));
    }
    horizon
}

/// Where one partition alone has rows for the step, nothing needs a merge.
fn take_run(
    sources: &mut [Source],
    source_number: usize,
    partition_number: usize,
    count: usize,
) -> Result<Taken> {
    let source = &mut sources[source_number];
    let partition = &mut source.partitions[partition_number];
    let Some(waiting) = &mut partition.waiting else {
        return Ok(Taken::default());
    };
    let batch = waiting.batch.slice(waiting.taken, count);
    waiting.taken += count;
    partition.next_offset = waiting.next_offsets[waiting.taken - 1];
    let last = (
        source_number,
        partition.number,
        waiting.offsets.value(waiting.taken - 1),
    );
    source.leaf.put(with_positions(batch, || 0..count as u64)?);
    Ok(Taken {
        rows: count,
        last: Some(last),
    })
}

/// Puts rows of one source into its leaf, in merged order, and marks them taken.
fn put(source: &mut Source, rows: &[(u64, Row)]) -> Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    for (_, row) in rows {
        let partition = &mut source.partitions[row.partition as usize];
        if let Some(waiting) = &mut partition.waiting {
            waiting.taken = waiting.taken.max(row.row as usize + 1);
            partition.next_offset = waiting.next_offsets[waiting.taken - 1];
        }
    }
    let batches: Vec<Option<&RecordBatch>> = source
        .partitions
        .iter()
        .map(|partition| partition.waiting.as_ref().map(|waiting| &waiting.batch))
        .collect();
    let used: Vec<(usize, &RecordBatch)> = batches
        .iter()
        .enumerate()
        .filter_map(|(partition, batch)| batch.map(|batch| (partition, batch)))
        .collect();
    let columns = match used.as_slice() {
        [(_, batch)] => {
            let indices = UInt32Array::from_iter_values(rows.iter().map(|(_, row)| row.row));
            let columns = batch.columns().iter();
            columns
                .map(|column| Ok(take(column.as_ref(), &indices, None)?))
                .collect::<Result<Vec<_>>>()?
        }
        used => {
            let mut array_of = vec![0; batches.len()];
            for (array, (partition, _)) in used.iter().enumerate() {
                array_of[*partition] = array;
            }
            let indices: Vec<(usize, usize)> = rows
                .iter()
                .map(|(_, row)| (array_of[row.partition as usize], row.row as usize))
                .collect();
            (0..source.leaf.schema.fields().len())
                .map(|column| {
                    let arrays: Vec<_> = used
                        .iter()
                        .map(|(_, batch)| batch.column(column).as_ref())
                        .collect();
                    Ok(interleave(&arrays, &indices)?)
                })
                .collect::<Result<Vec<_>>>()?
        }
    };
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    let batch =
        RecordBatch::try_new_with_options(Arc::clone(&source.leaf.schema), columns, &options)?;
    let batch = with_positions(batch, || rows.iter().map(|(position, _)| *position))?;
    source.leaf.put(batch);
    Ok(())
}

/// `batch` with its rows' positions in the step, if somebody asks for them.
fn with_positions<P: Iterator<Item = u64>>(
    batch: RecordBatch,
    positions: impl FnOnce() -> P,
) -> Result<RecordBatch> {
    let schema = batch.schema();
    let Some(index) = schema
        .fields()
        .iter()
        .position(|field| field.name() == column::SEQ)
    else {
        return Ok(batch);
    };
    let mut columns = batch.columns().to_vec();
    columns[index] = Arc::new(UInt64Array::from_iter_values(positions()));
    Ok(RecordBatch::try_new(schema, columns)?)
}
