//! The rows of a step: those waiting in all partitions of all sources, merged by time.
//!
//! Each partition's rows are ordered by the largest row time so far, which only grows, so they can
//! be merged without disturbing a partition's own order. A partition that has more to read and
//! nothing waiting beyond some time holds back all later rows; one that is at its end holds back
//! nobody. The order depends only on what was waiting: same input, same order.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, MutableArrayData, RecordBatch, RecordBatchOptions, UInt64Array, make_array,
};
use arrow::compute::interleave;
use kappa_sql::column;

use super::source::Source;
use crate::error::Result;

/// Rows of a partition that follow each other in a step, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    source: usize,
    partition: usize,
    len: usize,
    /// Of the first one in the step.
    position: u64,
}

/// Rows of a run below which rows are picked one by one rather than copied run by run.
const RUN_ROWS: usize = 8;

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
    let runs = merge(sources, &ready, rows_max);
    let mut taken = Taken::default();
    for (number, source) in sources.iter_mut().enumerate() {
        let own: Vec<Run> = runs
            .iter()
            .copied()
            .filter(|r| r.source == number)
            .collect();
        put(source, &own)?;
    }
    for run in runs {
        let partition = &mut sources[run.source].partitions[run.partition];
        let offset = partition.take(run.len);
        taken.rows += run.len;
        taken.last = offset.map(|offset| (run.source, partition.number, offset));
    }
    Ok(taken)
}

/// Merges so many rows of partitions, each ordered by time, by time, source and partition.
fn merge(sources: &[Source], ready: &[(usize, usize, usize)], rows_max: usize) -> Vec<Run> {
    let mut times: Vec<_> = ready
        .iter()
        .map(|(source, partition, count)| {
            let waiting = &sources[*source].partitions[*partition].waiting;
            let times = waiting.iter().flat_map(|rows| rows.times());
            times.copied().take(*count).peekable()
        })
        .collect();
    // By the time of the next row, and by the order of sources and partitions.
    let mut next: BinaryHeap<Reverse<(i64, usize)>> = BinaryHeap::with_capacity(times.len());
    next.extend(times.iter_mut().enumerate().filter_map(|(place, times)| {
        let time = *times.peek()?;
        Some(Reverse((time, place)))
    }));
    let mut runs = Vec::new();
    let mut position = 0;
    while position < rows_max
        && let Some(Reverse((_, place))) = next.pop()
    {
        let until = next.peek().map(|Reverse(other)| *other);
        let comes_first = |time: i64| until.is_none_or(|until| (time, place) < until);
        let own = &mut times[place];
        let mut len = 0;
        while position + len < rows_max && own.next_if(|time| comes_first(*time)).is_some() {
            len += 1;
        }
        if let Some(time) = own.peek() {
            next.push(Reverse((*time, place)));
        }
        let (source, partition, _) = ready[place];
        runs.push(Run {
            source,
            partition,
            len,
            position: position as u64,
        });
        position += len;
    }
    runs
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

/// Puts runs of rows of one source, which wait in its partitions, into its leaf.
fn put(source: &Source, runs: &[Run]) -> Result<()> {
    let rows: usize = runs.iter().map(|run| run.len).sum();
    if rows == 0 {
        return Ok(());
    }
    let pieces = pieces(source, runs);
    let partitions = source.partitions.iter();
    let batches = partitions.flat_map(|partition| partition.waiting.iter().map(|rows| &rows.batch));
    let batches: Vec<&RecordBatch> = batches.collect();
    let picked: Option<Vec<(usize, usize)>> = (rows < pieces.len() * RUN_ROWS).then(|| {
        let pieces = pieces.iter();
        let picked = pieces.flat_map(|(batch, rows)| rows.clone().map(|row| (*batch, row)));
        picked.collect()
    });
    let columns = (0..source.leaf.schema.fields().len())
        .map(|column| {
            let arrays = batches.iter().map(|batch| batch.column(column));
            if let Some(picked) = &picked {
                let arrays: Vec<_> = arrays.map(AsRef::as_ref).collect();
                return Ok(interleave(&arrays, picked)?);
            }
            let arrays: Vec<_> = arrays.map(|array| array.to_data()).collect();
            let mut merged = MutableArrayData::new(arrays.iter().collect(), false, rows);
            for (batch, rows) in &pieces {
                merged.try_extend(*batch, rows.start, rows.end)?;
            }
            Ok(make_array(merged.freeze()))
        })
        .collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    let batch =
        RecordBatch::try_new_with_options(Arc::clone(&source.leaf.schema), columns, &options)?;
    let batch = with_positions(batch, || {
        let runs = runs.iter();
        runs.flat_map(|run| run.position..run.position + run.len as u64)
    })?;
    source.leaf.put(batch);
    Ok(())
}

/// The runs by what was read together: number of the batch among all of the source's that wait, and
/// rows of it.
fn pieces(source: &Source, runs: &[Run]) -> Vec<(usize, Range<usize>)> {
    // Of each partition: the batch that it is at, and the first row of it that is left.
    let mut first = 0;
    let mut cursors: Vec<(usize, usize)> = Vec::with_capacity(source.partitions.len());
    for partition in &source.partitions {
        let taken = partition.waiting.front().map_or(0, |rows| rows.taken);
        cursors.push((first, taken));
        first += partition.waiting.len();
    }
    let partitions = source.partitions.iter();
    let waiting: Vec<_> = partitions
        .flat_map(|partition| &partition.waiting)
        .collect();
    let mut pieces = Vec::with_capacity(runs.len());
    for run in runs {
        let (batch, row) = &mut cursors[run.partition];
        let mut left = run.len;
        while left > 0 {
            let end = waiting[*batch].batch.num_rows();
            let len = left.min(end - *row);
            pieces.push((*batch, *row..*row + len));
            left -= len;
            *row += len;
            if *row == end {
                // Of a batch behind another none is taken.
                *batch += 1;
                *row = 0;
            }
        }
    }
    pieces
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
