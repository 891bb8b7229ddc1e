//! The rows of a step: those waiting in all partitions of all sources, merged by time.
//!
//! Each partition's rows are ordered by the largest row time so far, which only grows, so they can
//! be merged without disturbing a partition's own order. A partition that has more to read and
//! nothing waiting beyond some time holds back all later rows; one that is at its end holds back
//! nobody. The order depends only on what was waiting: same input, same order.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions, UInt64Array};
use arrow::compute::interleave;
use kappa_sql::column;

use super::source::Source;
use crate::error::Result;

/// A waiting row: its merge time, and where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    time: i64,
    source: u32,
    partition: u32,
    /// Among those that wait in the partition.
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
            let count = partition.rows_up_to(horizon).min(rows_max);
            if count > 0 {
                ready.push((source_number, partition_number, count));
            }
        }
    }
    if let [(source, partition, count)] = ready[..] {
        return take_run(&mut sources[source], source, partition, count);
    }
    let mut rows = Vec::new();
    for (source, partition, count) in ready {
        let waiting = &sources[source].partitions[partition].waiting;
        let times = waiting.iter().flat_map(|rows| rows.times());
        rows.extend(times.take(count).enumerate().map(|(row, time)| Row {
            time: *time,
            source: source as u32,
            partition: partition as u32,
            row: row as u32,
        }));
    }
    // Each partition's rows are in order: runs, which this sort merges.
    rows.sort();
    rows.truncate(rows_max);
    let last = rows.last().copied();
    let mut taken = Taken {
        rows: rows.len(),
        last: None,
    };
    for (number, source) in sources.iter_mut().enumerate() {
        let own: Vec<(u64, Row)> = rows
            .iter()
            .enumerate()
            .filter(|(_, row)| row.source as usize == number)
            .map(|(position, row)| (position as u64, *row))
            .collect();
        put(source, &own)?;
        let mut counts = vec![0; source.partitions.len()];
        for (_, row) in own {
            counts[row.partition as usize] += 1;
        }
        for (place, (partition, count)) in source.partitions.iter_mut().zip(counts).enumerate() {
            let offset = partition.take(count);
            if let (Some(last), Some(offset)) = (last, offset)
                && (last.source as usize, last.partition as usize) == (number, place)
            {
                taken.last = Some((number, partition.number, offset));
            }
        }
    }
    Ok(taken)
}

/// The time up to which every partition that has more to read is known.
fn horizon(sources: &[Source]) -> i64 {
    let partitions = sources.iter().flat_map(|source| &source.partitions);
    partitions
        .filter(|partition| !partition.at_end)
        .map(|partition| partition.known_up_to().unwrap_or(i64::MIN))
        .min()
        .unwrap_or(i64::MAX)
}

/// Where one partition alone has rows for the step, nothing needs a merge: those go that were read
/// together.
fn take_run(
    source: &mut Source,
    source_number: usize,
    partition_number: usize,
    count: usize,
) -> Result<Taken> {
    let partition = &mut source.partitions[partition_number];
    let Some(waiting) = partition.waiting.front() else {
        return Ok(Taken::default());
    };
    let count = count.min(waiting.times().len());
    let batch = waiting.batch.slice(waiting.taken, count);
    source.leaf.put(with_positions(batch, || 0..count as u64)?);
    let offset = partition.take(count);
    Ok(Taken {
        rows: count,
        last: offset.map(|offset| (source_number, partition.number, offset)),
    })
}

/// Puts rows of one source, which wait in its partitions, into its leaf in merged order.
fn put(source: &Source, rows: &[(u64, Row)]) -> Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let partitions = source.partitions.iter();
    let batches: Vec<&RecordBatch> = partitions
        .clone()
        .flat_map(|partition| partition.waiting.iter().map(|waiting| &waiting.batch))
        .collect();
    // Of each partition: what it is at, which only moves on. Number of the batch, the rows before
    // those of it that wait, and those.
    let mut first = 0;
    let mut cursors: Vec<(usize, usize, usize)> = partitions
        .clone()
        .map(|partition| {
            let own = partition.waiting.front();
            let cursor = (first, 0, own.map_or(0, |rows| rows.times().len()));
            first += partition.waiting.len();
            cursor
        })
        .collect();
    let waiting: Vec<_> = partitions
        .flat_map(|partition| &partition.waiting)
        .collect();
    let indices: Vec<(usize, usize)> = rows
        .iter()
        .map(|(_, row)| {
            let (batch, before, len) = &mut cursors[row.partition as usize];
            while row.row as usize >= *before + *len {
                *batch += 1;
                *before += *len;
                *len = waiting[*batch].times().len();
            }
            (*batch, waiting[*batch].taken + row.row as usize - *before)
        })
        .collect();
    let columns = (0..source.leaf.schema.fields().len())
        .map(|column| {
            let arrays: Vec<_> = batches
                .iter()
                .map(|batch| batch.column(column).as_ref())
                .collect();
            Ok(interleave(&arrays, &indices)?)
        })
        .collect::<Result<Vec<_>>>()?;
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
