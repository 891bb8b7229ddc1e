//! One partition of a source: what arrived in it, the rows made of that, and how far they are taken.

use std::collections::{BTreeMap, VecDeque};

use arrow::array::{Int64Array, RecordBatch};

use super::decode::{BadRecord, DecodedRows};
use super::input::{Input, Maker};
use crate::error::Result;

/// Pieces of a partition that wait before its worker stops: so many that workers of other partitions can
/// fall behind for a while, as when the plan's thread has taken their processor.
const PIECES_WAITING: usize = 8;
/// Bytes with which that many are too many.
const BYTES_WAITING: usize = 4 << 20;

/// Rows of a partition that were read together, some of which are not yet taken by a step.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) batch: RecordBatch,
    /// Largest row time of the partition up to each row: what the merge orders by.
    times: Vec<i64>,
    /// Offset of each row, and the one after it.
    offsets: Int64Array,
    next_offsets: Vec<i64>,
    /// Rows taken so far, which are not all.
    pub(super) taken: usize,
}

impl Waiting {
    /// The times of the rows that are left.
    pub(super) fn times(&self) -> &[i64] {
        &self.times[self.taken..]
    }
}

/// What waits of a partition of a source, and how far it is taken.
#[derive(Debug)]
pub(super) struct Partition {
    pub(super) number: i32,
    pub(super) waiting: VecDeque<Waiting>,
    /// Where processing goes on: all rows before it have been in a step.
    pub(super) next_offset: i64,
    /// Whether there was nothing more when last asked.
    pub(super) at_end: bool,
    /// Bad records that are not committed, by offset.
    bad: Vec<BadRecord>,
}

/// Reads a partition on, while steps are made of what it found before.
#[derive(Debug)]
pub(super) struct PartitionReader {
    number: i32,
    /// Where reading goes on.
    fetch_offset: i64,
    maker: Maker,
    largest_time: i64,
    /// Rows that made a step fail, by offset, with the reason.
    poisoned: BTreeMap<i64, String>,
}

/// What a reader found.
#[derive(Debug)]
pub(super) struct Found {
    /// How many records.
    pub(super) records: usize,
    rows: Option<Waiting>,
    /// Offset before which nothing makes a row, but for those that were found earlier.
    none_before: i64,
    bad: Vec<BadRecord>,
    at_end: bool,
}

impl Found {
    /// Whether there were rows, and may be more.
    pub(super) fn may_go_on(&self) -> bool {
        self.rows.is_some() && !self.at_end
    }
}

impl PartitionReader {
    /// Reads from `offset` on.
    pub(super) fn new(
        number: i32,
        offset: i64,
        maker: Maker,
        poisoned: BTreeMap<i64, String>,
    ) -> Self {
        Self {
            number,
            fetch_offset: offset,
            maker,
            largest_time: i64::MIN,
            poisoned,
        }
    }

    /// Reads on, at most `records` records at a time, and makes rows of them, until there are some
    /// or there is nothing more. Where record after record is bad it gives up after as many: a commit
    /// takes those before more are read.
    pub(super) fn read(&mut self, input: &Input, records: usize) -> Result<Found> {
        let mut found = Found {
            records: 0,
            rows: None,
            none_before: self.fetch_offset,
            bad: Vec::new(),
            at_end: false,
        };
        loop {
            let arrived = input.fetch(self.number, records)?;
            self.fetch_offset = arrived.next_offset;
            found.at_end = arrived.at_end;
            let Some(raw) = arrived.raw else {
                found.none_before = self.fetch_offset;
                return Ok(found);
            };
            found.records += raw.len();
            let mut made = self.maker.make(self.number, &raw)?;
            made.take_out(self.number, &self.poisoned)?;
            found.bad.append(&mut made.bad);
            if made.batch.num_rows() > 0 {
                found.rows = Some(self.wait(made));
                return Ok(found);
            }
            found.none_before = self.fetch_offset;
            if found.at_end || found.bad.len() >= records {
                return Ok(found);
            }
        }
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
}

impl Partition {
    /// A partition that is processed from `offset` on.
    pub(super) fn new(number: i32, offset: i64) -> Self {
        Self {
            number,
            waiting: VecDeque::new(),
            next_offset: offset,
            at_end: false,
            bad: Vec::new(),
        }
    }

    /// Whether more should be read, in pieces of so many rows: where fewer than two of them wait, or
    /// fewer than [`PIECES_WAITING`] that take little memory.
    pub(super) fn is_short(&self, piece_rows: usize) -> bool {
        let rows = self.rows_waiting();
        let bytes = || -> usize {
            let waiting = self.waiting.iter();
            waiting.map(|rows| rows.batch.get_array_memory_size()).sum()
        };
        rows < 2 * piece_rows || rows < PIECES_WAITING * piece_rows && bytes() < BYTES_WAITING
    }

    /// Rows read and not yet taken.
    pub(super) fn rows_waiting(&self) -> usize {
        self.waiting.iter().map(|rows| rows.times().len()).sum()
    }

    /// How many of the first waiting rows are not later than `time_ms`.
    pub(super) fn rows_up_to(&self, time_ms: i64) -> usize {
        let waiting = self.waiting.iter();
        waiting
            .map(|rows| rows.times().partition_point(|time| *time <= time_ms))
            .sum()
    }

    /// The time up to which it is known, while there is more to read.
    pub(super) fn known_up_to(&self) -> Option<i64> {
        self.waiting.back()?.times.last().copied()
    }

    /// Takes in what its reader found: rows wait behind those that wait already.
    pub(super) fn take_in(&mut self, mut found: Found) {
        self.bad.append(&mut found.bad);
        self.at_end = found.at_end;
        // Nothing up to there makes a row besides those that wait.
        let last = self.waiting.back_mut();
        let last = last.and_then(|rows| rows.next_offsets.last_mut());
        *last.unwrap_or(&mut self.next_offset) = found.none_before;
        self.waiting.extend(found.rows);
    }

    /// Marks so many rows as taken. Returns the offset of the last one.
    pub(super) fn take(&mut self, mut count: usize) -> Option<i64> {
        let mut offset = None;
        while count > 0
            && let Some(rows) = self.waiting.front_mut()
        {
            let taken = count.min(rows.times().len());
            count -= taken;
            rows.taken += taken;
            self.next_offset = rows.next_offsets[rows.taken - 1];
            offset = Some(rows.offsets.value(rows.taken - 1));
            if rows.times().is_empty() {
                self.waiting.pop_front();
            }
        }
        offset
    }

    /// The bad records before where processing goes on: a commit has them all, and once.
    pub(super) fn take_bad(&mut self) -> Vec<BadRecord> {
        let next_offset = self.next_offset;
        let done = self.bad.partition_point(|bad| bad.offset < next_offset);
        let later = self.bad.split_off(done);
        std::mem::replace(&mut self.bad, later)
    }
}
