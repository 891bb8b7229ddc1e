//! One source of a query: reads its partitions' rows, and hands them out as the merge asks for them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use kappa_sql::catalog::Relation;

use super::decode::BadRecord;
use super::input::{ENDLESS, Input, Inputs};
use super::partition::Partition;
use super::workers::Workers;
use crate::error::{Error, Result};
use crate::plan::Leaf;

/// A source of a running query.
pub(super) struct Source {
    pub(super) leaf: Leaf,
    input: Input,
    pub(super) partitions: Vec<Partition>,
    /// By the last fetch.
    records_read: usize,
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
    /// Opens the source where `committed` left it. Rows that made a step fail, by partition and
    /// offset, are left out for the reason given.
    pub(super) async fn open(
        leaf: Leaf,
        inputs: &Inputs,
        committed: Option<&BTreeMap<i32, i64>>,
        start: Start,
        mut poisoned: BTreeMap<i32, BTreeMap<i64, String>>,
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
            .map(|(number, offset)| {
                let poisoned = poisoned.remove(&number).unwrap_or_default();
                Ok(Partition::new(number, offset, input.maker()?, poisoned))
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            leaf,
            input,
            partitions,
            records_read: 0,
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

    /// Reads on in every partition that has few rows waiting, at most `rows` each. Returns the
    /// number of records read.
    pub(super) fn fetch(&mut self, rows: usize, workers: &Workers) -> Result<usize> {
        self.input.look();
        let mut few: Vec<&mut Partition> = self
            .partitions
            .iter_mut()
            .filter(|partition| partition.rows_waiting() < rows.div_ceil(2))
            .collect();
        if few.is_empty() {
            return Ok(0);
        }
        // There are probably about as many as there were last time.
        let expected = self.records_read;
        let input = &self.input;
        let read = workers.map(&mut few, expected, |partition| partition.read(input, rows))?;
        self.records_read = read.into_iter().sum();
        Ok(self.records_read)
    }

    /// The bad records of what was taken, which a commit takes.
    pub(super) fn take_bad(&mut self) -> Vec<BadRecord> {
        self.partitions
            .iter_mut()
            .flat_map(Partition::take_bad)
            .collect()
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
            let maker = self.input.maker()?;
            self.partitions
                .push(Partition::new(number, 0, maker, BTreeMap::new()));
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
