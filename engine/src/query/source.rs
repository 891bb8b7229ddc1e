//! One source of a query: reads its partitions' rows, and hands them out as the merge asks for them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Int64Array, RecordBatch};
use kappa_sql::catalog::Relation;

use super::decode::BadRecord;
use super::input::{ENDLESS, Input, Inputs};
use crate::error::{Error, Result};
use crate::plan::Leaf;

/// Rows of a partition that were read and not yet taken by a step.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) batch: RecordBatch,
    /// Largest row time of the partition up to each row: what the merge orders by.
    pub(super) times: Vec<i64>,
    /// Offset of each row, and the one after it.
    pub(super) offsets: Int64Array,
    pub(super) next_offsets: Vec<i64>,
    /// Rows taken so far.
    pub(super) taken: usize,
}

/// A partition of a source.
#[derive(Debug)]
pub(super) struct Partition {
    pub(super) number: i32,
    pub(super) waiting: Option<Waiting>,
    /// Where reading goes on.
    fetch_offset: i64,
    /// Where processing goes on: all rows before it have been in a step.
    pub(super) next_offset: i64,
    /// Whether there was nothing more when last asked.
    pub(super) at_end: bool,
    largest_time: i64,
}

impl Partition {
    fn new(number: i32, offset: i64) -> Self {
        Self {
            number,
            waiting: None,
            fetch_offset: offset,
            next_offset: offset,
            at_end: false,
            largest_time: i64::MIN,
        }
    }

    /// Rows read and not yet taken.
    pub(super) fn rows_waiting(&self) -> usize {
        self.waiting
            .as_ref()
            .map_or(0, |waiting| waiting.times.len() - waiting.taken)
    }
}

/// A source of a running query.
pub(super) struct Source {
    pub(super) leaf: Leaf,
    input: Input,
    pub(super) partitions: Vec<Partition>,
    pub(super) bad: Vec<BadRecord>,
    /// Rows that made a step fail, by partition and offset, with the reason.
    poisoned: BTreeMap<(i32, i64), String>,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("relation", &self.leaf.relation.name)
            .finish_non_exhaustive()
    }
}

/// Where a query starts reading a partition that it has not read before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    Earliest,
    Latest,
}

impl Source {
    /// Opens the source where `committed` left it.
    pub(super) async fn open(
        leaf: Leaf,
        inputs: &Inputs,
        committed: Option<&BTreeMap<i32, i64>>,
        start: Start,
        poisoned: BTreeMap<(i32, i64), String>,
    ) -> Result<Self> {
        let ranges = inputs.offsets(&leaf.relation).await?;
        let positions: Vec<(i32, i64)> = ranges
            .iter()
            .enumerate()
            .map(|(partition, range)| {
                let partition = partition as i32;
                let known = committed
                    .and_then(|offsets| offsets.get(&partition))
                    .copied();
                let offset = known.unwrap_or(match (start, committed) {
                    // A partition that came later is read from its beginning.
                    (Start::Earliest, _) | (_, Some(_)) => range.start,
                    (Start::Latest, None) if range.end == ENDLESS => range.start,
                    (Start::Latest, None) => range.end,
                });
                (partition, offset)
            })
            .collect();
        let input = inputs
            .open(&leaf.relation, &leaf.schema, &positions)
            .await?;
        let partitions = positions
            .into_iter()
            .map(|(number, offset)| Partition::new(number, offset))
            .collect();
        Ok(Self {
            leaf,
            input,
            partitions,
            bad: Vec::new(),
            poisoned,
        })
    }

    /// The relation read.
    pub(super) fn relation(&self) -> &Arc<Relation> {
        &self.leaf.relation
    }

    /// Where processing goes on.
    pub(super) fn offsets(&self) -> BTreeMap<i32, i64> {
        self.partitions
            .iter()
            .map(|p| (p.number, p.next_offset))
            .collect()
    }

    /// Reads on in every partition that has no rows waiting, at most `rows` each. Returns the
    /// number of records read.
    pub(super) fn fetch(&mut self, rows: usize) -> Result<usize> {
        let mut records_read = 0;
        self.input.look();
        for partition in &mut self.partitions {
            if partition.rows_waiting() > 0 {
                continue;
            }
            partition.waiting = None;
            // Records that were all bad leave nothing to wait for, but the end is not known yet.
            loop {
                let arrived = self.input.fetch(partition.number, rows)?;
                partition.fetch_offset = arrived.next_offset;
                partition.at_end = arrived.at_end;
                records_read += arrived.records;
                let Some(mut decoded) = arrived.rows else {
                    partition.next_offset = partition.fetch_offset;
                    break;
                };
                decoded.take_out(partition.number, &self.poisoned)?;
                self.bad.extend(decoded.bad);
                if decoded.batch.num_rows() == 0 {
                    partition.next_offset = partition.fetch_offset;
                    if partition.at_end {
                        break;
                    }
                    continue;
                }
                let mut times = Vec::with_capacity(decoded.batch.num_rows());
                for time in decoded.rowtimes.values() {
                    partition.largest_time = partition.largest_time.max(*time);
                    times.push(partition.largest_time);
                }
                // A row's record and all bad ones up to the next row are done with the row.
                let mut next_offsets: Vec<i64> = decoded.offsets.values()[1..].to_vec();
                next_offsets.push(partition.fetch_offset);
                partition.waiting = Some(Waiting {
                    batch: decoded.batch,
                    times,
                    offsets: decoded.offsets,
                    next_offsets,
                    taken: 0,
                });
                break;
            }
        }
        Ok(records_read)
    }

    /// Waits until there may be something to fetch.
    pub(super) async fn ready(&mut self, timeout: Duration) -> Result<()> {
        self.input.ready(timeout).await
    }

    /// Looks for partitions that the topic has got since.
    pub(super) async fn discover_partitions(&mut self) -> Result<()> {
        let count = self.input.partitions().await?;
        for number in self.partitions.len() as i32..count {
            self.input.add_partition(number)?;
            self.partitions.push(Partition::new(number, 0));
        }
        if (self.partitions.len() as i32) > count {
            return Err(Error::User(format!(
                "topic \"{}\" has {count} partitions now, {} before: it was made anew; DROP {} \
                 and create it again",
                self.relation().topic,
                self.partitions.len(),
                self.relation().name
            )));
        }
        Ok(())
    }
}
