//! The events of the Nexmark benchmark: people who sell, their auctions, and bids on these.
//!
//! A [`Generator`] makes the rows of any range of events, straight into Arrow columns and only those
//! that are asked for. It has no state: every value is a hash of the seed, the event's number and the
//! field, so ranges can be made alone, in any order and in parallel, and are always the same.
//! Proportions, hot keys, sizes and id ranges are those of the benchmark's own generator
//! (<https://github.com/nexmark/nexmark>); the values are not, since its random numbers depend on
//! their order.
//!
//! ```text
//! event n:  n mod 50 = 0 person │ 1, 2, 3 auction │ 4 … 49 bid     time = base + n / rate
//! ```
//!
//! Knows nothing of topics or the clock: [`Producer`] makes records of the rows, others append them.

mod auction;
mod bid;
mod channel;
mod person;
mod price;
mod random;
mod records;
#[cfg(test)]
mod tests;
mod text;

use std::sync::{Arc, OnceLock};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::record_batch::RecordBatchOptions;

use crate::{Error, Result};
use channel::Channels;
use random::{Random, below};

pub use records::Producer;

/// Events of a round: one person, three auctions, the rest bids.
const ROUND: u64 = 50;
const PEOPLE: u64 = 1;
const AUCTIONS: u64 = 3;
const BIDS: u64 = ROUND - PEOPLE - AUCTIONS;

/// What the first person and the first auction are called.
const FIRST_ID: u64 = 1_000;
/// People who sell or bid: those who came last.
const ACTIVE_PEOPLE: u64 = 1_000;
/// Auctions that are bid on, besides hot ones: those that were opened last.
const AUCTIONS_IN_FLIGHT: u64 = 100;
/// How far ids that are spoken of run ahead of those that exist.
const ID_LEAD: u64 = 10;
/// One in so many people and auctions is hot.
const HOT_STRIDE: u64 = 100;

/// What generated events depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Another seed, other values; ids and times stay.
    pub seed: u64,
    /// The time of event 0, milliseconds since 1970-01-01 UTC.
    pub base_time_ms: i64,
    /// Events of all kinds in a second of event time.
    pub events_per_second: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 1,
            // 2015-07-15T00:00:00Z, as in the benchmark's own generator.
            base_time_ms: 1_436_918_400_000,
            events_per_second: 10_000,
        }
    }
}

/// The kinds of events, each a table of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Table {
    /// Somebody new.
    Person,
    /// Something is to be sold.
    Auction,
    /// Somebody offers a price.
    Bid,
}

impl Table {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Person, Self::Auction, Self::Bid];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::Auction => "auction",
            Self::Bid => "bid",
        }
    }

    /// Its columns. None is ever null.
    pub fn schema(self) -> SchemaRef {
        let columns = match self {
            Self::Person => person::COLUMNS.as_slice(),
            Self::Auction => auction::COLUMNS.as_slice(),
            Self::Bid => bid::COLUMNS.as_slice(),
        };
        let fields = columns.iter().map(|(name, kind)| {
            let data_type = match kind {
                Kind::Number => DataType::Int64,
                Kind::Text => DataType::Utf8,
                Kind::Time => DataType::Timestamp(TimeUnit::Millisecond, None),
            };
            Field::new(*name, data_type, true)
        });
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    /// The place of the event's time among the columns.
    pub fn time_column(self) -> usize {
        match self {
            Self::Person => person::TIME,
            Self::Auction => auction::TIME,
            Self::Bid => bid::TIME,
        }
    }

    /// The number of its rows among the events before `event`.
    pub fn rows_before(self, event: u64) -> u64 {
        let (rounds, place) = (event / ROUND, event % ROUND);
        let (first, each) = self.places();
        rounds * each + place.saturating_sub(first).min(each)
    }

    /// The event that made its row number `row`.
    pub fn event_of(self, row: u64) -> u64 {
        // With constants, so that there is no division.
        match self {
            Self::Person => row * ROUND,
            Self::Auction => row / AUCTIONS * ROUND + PEOPLE + row % AUCTIONS,
            Self::Bid => row / BIDS * ROUND + PEOPLE + AUCTIONS + row % BIDS,
        }
    }

    /// Its first place in a round, and how many it has there.
    fn places(self) -> (u64, u64) {
        match self {
            Self::Person => (0, PEOPLE),
            Self::Auction => (PEOPLE, AUCTIONS),
            Self::Bid => (PEOPLE + AUCTIONS, BIDS),
        }
    }
}

/// What a column holds.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Number,
    Text,
    Time,
}

/// Some rows of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows {
    /// The number of the first, counted from the table's first of all.
    pub first: u64,
    /// How far each is from the one before; 1 for all rows of a range.
    pub step: u64,
    /// How many.
    pub count: usize,
}

/// Makes events. Clones are the same generator.
#[derive(Clone, Debug)]
pub struct Generator {
    options: Options,
    random: Random,
    channels: Arc<OnceLock<Channels>>,
}

impl Generator {
    /// A generator of the events of `options`.
    pub fn new(options: Options) -> Self {
        Self {
            options,
            random: Random::new(options.seed),
            channels: Arc::default(),
        }
    }

    /// The time of an event, milliseconds since 1970-01-01 UTC.
    pub fn time_ms(&self, event: u64) -> i64 {
        let since = event.saturating_mul(1_000) / self.options.events_per_second.max(1);
        self.options.base_time_ms.saturating_add_unsigned(since)
    }

    /// The columns `projection` (places in [`Table::schema`]) of some rows.
    ///
    /// # Errors
    /// A column that does not exist; more than 2 GiB of text in one column.
    pub fn rows(&self, table: Table, rows: Rows, projection: &[usize]) -> Result<RecordBatch> {
        let events: Vec<u64> = (0..rows.count as u64)
            .map(|row| table.event_of(rows.first + row * rows.step))
            .collect();
        let columns = projection
            .iter()
            .map(|column| match table {
                Table::Person => self.person(&events, *column),
                Table::Auction => self.auction(&events, *column),
                Table::Bid => self.bid(&events, *column),
            })
            .collect::<Result<Vec<_>>>()?;
        let schema = table
            .schema()
            .project(projection)
            .map_err(|error| Error::Internal(error.to_string()))?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.count));
        RecordBatch::try_new_with_options(Arc::new(schema), columns, &options)
            .map_err(|error| Error::Internal(error.to_string()))
    }

    /// The events' times.
    fn times(&self, events: &[u64]) -> ArrayRef {
        let times = events.iter().map(|event| self.time_ms(*event));
        Arc::new(TimestampMillisecondArray::from_iter_values(times))
    }

    fn channels(&self) -> &Channels {
        self.channels.get_or_init(|| Channels::new(&self.random))
    }
}

/// A number for each event.
fn numbers(events: &[u64], of: impl Fn(u64) -> u64) -> ArrayRef {
    // They are far below 2^63: ids, prices and categories.
    Arc::new(Int64Array::from_iter_values(
        events.iter().map(|event| of(*event) as i64),
    ))
}

fn no_such_column(table: Table, column: usize) -> Error {
    Error::Internal(format!("{} has no column {column}", table.name()))
}

/// The last person there is when `event` comes, counted from 0.
fn last_person(event: u64) -> u64 {
    event / ROUND
}

/// The last auction there is when `event` comes, counted from 0. Not for event 0, before which there
/// is none.
fn last_auction(event: u64) -> u64 {
    (event / ROUND * AUCTIONS + (event % ROUND).min(AUCTIONS)).saturating_sub(1)
}

/// Whether a choice that `bits` decide is for something hot: all but one in `ratio` are.
fn is_hot(bits: u64, ratio: u64) -> bool {
    below(bits >> 32, ratio) > 0
}

/// One of those who are active when `event` comes, or will be soon.
fn some_person(bits: u64, event: u64) -> u64 {
    let people = last_person(event) + 1;
    let active = people.min(ACTIVE_PEOPLE);
    people - active + below(bits & u64::from(u32::MAX), active + ID_LEAD)
}

/// One of the auctions in flight when `event` comes, or will be soon.
fn some_auction(bits: u64, event: u64) -> u64 {
    let last = last_auction(event);
    let first = last.saturating_sub(AUCTIONS_IN_FLIGHT);
    first + below(bits & u64::from(u32::MAX), last - first + 1 + ID_LEAD)
}
