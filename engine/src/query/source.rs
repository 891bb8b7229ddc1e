//! One source of a query: its partitions' rows, which wait for the merge, and what reads them on
//! meanwhile.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use kappa_sql::catalog::Relation;

use super::decode::BadRecord;
use super::input::{ENDLESS, Input, Inputs};
use super::partition::{Found, Partition, PartitionReader};
use super::read_ahead::ReadAhead;
use super::workers::Workers;
use crate::error::{Error, Result};
use crate::plan::Leaf;

/// A source of a running query: what was read.
pub(super) struct Source {
    pub(super) leaf: Leaf,
    pub(super) partitions: Vec<Partition>,
}

/// What reads a source on, beside the steps that are made of what was read.
#[derive(Debug)]
pub(super) struct Reading {
    input: Input,
    readers: Vec<PartitionReader>,
    /// Records that were found last.
    records: usize,
}

/// What was found in partitions, by their place.
pub(super) type FoundByPartition = Vec<(usize, Found)>;

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
    ) -> Result<(Self, Reading)> {
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
        let of = |(number, offset): &(i32, i64)| Partition::new(*number, *offset);
        let partitions = positions.iter().map(of).collect();
        let readers = positions
            .into_iter()
            .map(|(number, offset)| {
                let poisoned = poisoned.remove(&number).unwrap_or_default();
                let maker = input.maker()?;
                Ok(PartitionReader::new(number, offset, maker, poisoned))
            })
            .collect::<Result<_>>()?;
        let reading = Reading {
            input,
            readers,
            records: 0,
        };
        Ok((Self { leaf, partitions }, reading))
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

    /// The places of the partitions that are `wanted`.
    pub(super) fn places(&self, wanted: impl Fn(&Partition) -> bool) -> Vec<usize> {
        let partitions = self.partitions.iter().enumerate();
        partitions
            .filter(|(_, partition)| wanted(partition))
            .map(|(place, _)| place)
            .collect()
    }

    /// Takes in what was found. Returns the number of records.
    pub(super) fn take_in(&mut self, found: FoundByPartition) -> usize {
        let mut records = 0;
        for (place, found) in found {
            records += found.records;
            self.partitions[place].take_in(found);
        }
        records
    }

    /// The bad records of what was taken, which a commit takes.
    pub(super) fn take_bad(&mut self) -> Vec<BadRecord> {
        self.partitions
            .iter_mut()
            .flat_map(Partition::take_bad)
            .collect()
    }

    /// Looks for partitions that the topic has got since.
    pub(super) async fn discover_partitions(&mut self, reading: &mut Reading) -> Result<()> {
        let count = reading.input.partitions().await?;
        for number in self.partitions.len() as i32..count {
            reading.add_partition(number)?;
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

impl Reading {
    /// Reads on in these partitions, at most `rows` rows each.
    pub(super) fn read(
        &mut self,
        places: &[usize],
        rows: usize,
        workers: &Workers,
    ) -> Result<FoundByPartition> {
        self.input.look();
        let readers = self.readers.iter_mut().enumerate();
        let mut readers: Vec<(usize, &mut PartitionReader)> = readers
            .filter(|(place, _)| places.binary_search(place).is_ok())
            .collect();
        // There are probably about as many as there were last time.
        let input = &self.input;
        let found = workers.map(&mut readers, self.records, |(place, reader)| {
            Ok((*place, reader.read(input, rows)?))
        })?;
        if !found.is_empty() {
            self.records = found.iter().map(|(_, found)| found.records).sum();
        }
        Ok(found)
    }

    /// Begins to read on beside a step, at most `rows` rows at a time.
    pub(super) fn ahead(&mut self, rows: usize) -> ReadAhead<'_> {
        self.input.look();
        ReadAhead::new(&self.input, &mut self.readers, rows)
    }

    /// Waits until there may be something to read.
    pub(super) async fn ready(&mut self, timeout: Duration) -> Result<()> {
        self.input.ready(timeout).await
    }

    fn add_partition(&mut self, number: i32) -> Result<()> {
        self.input.add_partition(number)?;
        let maker = self.input.maker()?;
        self.readers
            .push(PartitionReader::new(number, 0, maker, BTreeMap::new()));
        Ok(())
    }
}
