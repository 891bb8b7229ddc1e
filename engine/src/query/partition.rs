//! One partition of a source: what arrived in it, the rows made of that, and how far they are taken.

use std::collections::BTreeMap;

use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow::compute::{concat, concat_batches};
use arrow::datatypes::Int64Type;

use super::decode::{BadRecord, DecodedRows};
use super::input::{Input, Maker, Raw};
use crate::error::Result;

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

impl Waiting {
    /// The rows that are left, with `more` behind them.
    fn with(self, more: Self) -> Result<Self> {
        let taken = self.taken;
        let left = self.times.len() - taken;
        if left == 0 {
            return Ok(more);
        }
        let batch = concat_batches(
            &more.batch.schema(),
            [&self.batch.slice(taken, left), &more.batch],
        )?;
        let offsets = concat(&[&self.offsets.slice(taken, left), &more.offsets])?;
        Ok(Self {
            batch,
            times: [&self.times[taken..], &more.times].concat(),
            offsets: offsets.as_primitive::<Int64Type>().clone(),
            next_offsets: [&self.next_offsets[taken..], &more.next_offsets].concat(),
            taken: 0,
        })
    }
}

/// A partition of a source.
#[derive(Debug)]
pub(super) struct Partition {
    pub(super) number: i32,
    pub(super) waiting: Option<Waiting>,
    /// Where processing goes on: all rows before it have been in a step.
    pub(super) next_offset: i64,
    /// Whether there was nothing more when last asked.
    pub(super) at_end: bool,
    /// Where reading goes on.
    fetch_offset: i64,
    maker: Maker,
    largest_time: i64,
    /// Rows that made a step fail, by offset, with the reason.
    poisoned: BTreeMap<i64, String>,
    /// Bad records that are not committed, by offset.
    bad: Vec<BadRecord>,
}

impl Partition {
    /// A partition that is read from `offset` on.
    pub(super) fn new(
        number: i32,
        offset: i64,
        maker: Maker,
        poisoned: BTreeMap<i64, String>,
    ) -> Self {
        Self {
            number,
            waiting: None,
            next_offset: offset,
            at_end: false,
            fetch_offset: offset,
            maker,
            largest_time: i64::MIN,
            poisoned,
            bad: Vec::new(),
        }
    }

    /// Rows read and not yet taken.
    pub(super) fn rows_waiting(&self) -> usize {
        self.waiting
            .as_ref()
            .map_or(0, |waiting| waiting.times.len() - waiting.taken)
    }

    /// Reads on, at most `records` records at a time, and makes rows of them; they wait behind those
    /// that wait already. Returns how many records there were.
    pub(super) fn read(&mut self, input: &Input, records: usize) -> Result<usize> {
        let mut read = 0;
        loop {
            let arrived = input.fetch(self.number, records)?;
            self.fetch_offset = arrived.next_offset;
            self.at_end = arrived.at_end;
            let Some(raw) = arrived.raw else {
                self.all_done_to(self.fetch_offset);
                return Ok(read);
            };
            read += raw.len();
            self.make(&raw)?;
            // Records that were all bad leave nothing to wait for, and the end is not known yet.
            if self.rows_waiting() > 0 || self.at_end {
                return Ok(read);
            }
        }
    }

    fn make(&mut self, raw: &Raw) -> Result<()> {
        let mut made = self.maker.make(self.number, raw)?;
        made.take_out(self.number, &self.poisoned)?;
        self.bad.append(&mut made.bad);
        if made.batch.num_rows() == 0 {
            self.all_done_to(self.fetch_offset);
            return Ok(());
        }
        let more = self.wait(made);
        self.waiting = Some(match self.waiting.take() {
            None => more,
            Some(waiting) => waiting.with(more)?,
        });
        Ok(())
    }

    fn wait(&mut self, made: DecodedRows) -> Waiting {
        let mut times = Vec::with_capacity(made.batch.num_rows());
        for time in made.rowtimes.values() {
            self.largest_time = self.largest_time.max(*time);
            times.push(self.largest_time);
        }
        // A row's record and all bad ones up to the next row are done with the row.
        let mut next_offsets: Vec<i64> = made.offsets.values()[1..].to_vec();
        next_offsets.push(self.fetch_offset);
        Waiting {
            batch: made.batch,
            times,
            offsets: made.offsets,
            next_offsets,
            taken: 0,
        }
    }

    /// Nothing up to `offset` makes a row besides those that wait.
    fn all_done_to(&mut self, offset: i64) {
        let last = self
            .waiting
            .as_mut()
            .filter(|waiting| waiting.taken < waiting.times.len())
            .and_then(|waiting| waiting.next_offsets.last_mut());
        *last.unwrap_or(&mut self.next_offset) = offset;
    }

    /// The bad records before where processing goes on: a commit has them all, and once.
    pub(super) fn take_bad(&mut self) -> Vec<BadRecord> {
        let next_offset = self.next_offset;
        let done = self.bad.partition_point(|bad| bad.offset < next_offset);
        let later = self.bad.split_off(done);
        std::mem::replace(&mut self.bad, later)
    }
}
