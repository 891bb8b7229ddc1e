//! Rows that a generator makes as they are read, without a record in between.
//!
//! ```text
//! rows of the table   0 1 2 3 4 5 6 7 …       partition p of n has the rows p, p + n, p + 2n, …
//! partition 0 of 3    0 ─ ─ 1 ─ ─ 2 ─ …       numbered from 0: that is their offset
//! ```
//!
//! So each partition is in the order of time, and none is ahead of another by more than a row. With a
//! rate an event is there so long after the stream was created as it takes to come to it: what was
//! missed while nobody read is there at once, as in a topic that somebody else fills.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arrow::array::{
    ArrayRef, AsArray, Int8Array, Int32Array, Int64Array, RecordBatch, RecordBatchOptions,
    UInt64Array,
};
use arrow::datatypes::{Int64Type, SchemaRef, TimestampMillisecondType};
use kappa_sql::catalog::{Connector, Nexmark, NexmarkTable, Relation};
use kappa_sql::column;
use kappa_storage::nexmark::{Generator, Options, Rows, Table};

use super::decode::DecodedRows;
use super::input::{Arrived, Raw};
use crate::clock::Clock;
use crate::error::{Error, Result};

/// Rows that come one by one are taken some at a time.
const WAIT_MS_MIN: i64 = 5;

/// Where a column of the output comes from.
#[derive(Clone, Copy, Debug)]
enum From {
    /// A column that is generated, by its place among those.
    Generated(usize),
    RowTime,
    Partition,
    Offset,
    Op,
    /// Put in when the step's rows are merged.
    Seq,
}

/// A generated relation that is read.
#[derive(Debug)]
pub(crate) struct Generated {
    recipe: Arc<Recipe>,
    nexmark: Nexmark,
    clock: Arc<dyn Clock>,
    /// The next offset of each partition.
    positions: Vec<AtomicI64>,
    /// Rows that are there, in all partitions, as of when was last looked.
    due: Option<u64>,
}

/// How a generated relation's rows are made, which needs nothing but their numbers.
#[derive(Debug)]
pub(crate) struct Recipe {
    generator: Generator,
    table: Table,
    /// The table's first row that is the relation's.
    first_row: u64,
    partitions: u64,
    schema: SchemaRef,
    columns: Vec<From>,
    /// What is generated for them, by the place in the table's schema; the time is always in it.
    projection: Vec<usize>,
    time: usize,
}

fn table(of: NexmarkTable) -> Table {
    match of {
        NexmarkTable::Person => Table::Person,
        NexmarkTable::Auction => Table::Auction,
        NexmarkTable::Bid => Table::Bid,
    }
}

/// The relation's rows that are there at a time; `None` where they have no end.
pub(crate) fn rows_due(connector: &Connector, now_ms: i64) -> Option<u64> {
    let Connector::Nexmark(nexmark) = connector;
    let come = nexmark.rate.map(|rate| {
        let since_ms = now_ms.saturating_sub(nexmark.created_ms).max(0);
        let events = u128::from(since_ms.unsigned_abs()) * u128::from(rate) / 1_000;
        u64::try_from(events).unwrap_or(u64::MAX)
    });
    let events = match (nexmark.events, come) {
        (Some(events), Some(come)) => events.min(come),
        (events, come) => events.or(come)?,
    };
    let table = table(nexmark.table);
    let end = table.rows_before(nexmark.offset.saturating_add(events));
    Some(end - table.rows_before(nexmark.offset))
}

/// How many of the first `rows` rows are in a partition.
pub(crate) fn rows_of(rows: u64, partition: i32, partitions: i32) -> i64 {
    let partitions = u64::from(partitions.max(1).unsigned_abs());
    let partition = u64::from(partition.unsigned_abs());
    let count = rows.saturating_sub(partition).div_ceil(partitions);
    i64::try_from(count).unwrap_or(i64::MAX)
}

impl Generated {
    /// Stands at `positions`, which are of all partitions in order.
    pub(crate) fn try_new(
        relation: &Relation,
        connector: &Connector,
        schema: &SchemaRef,
        positions: &[(i32, i64)],
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let Connector::Nexmark(nexmark) = connector;
        let table = table(nexmark.table);
        let made = table.schema();
        let mut projection = Vec::new();
        let mut columns = Vec::new();
        for field in schema.fields() {
            columns.push(match field.name().as_str() {
                column::ROWTIME => From::RowTime,
                column::ROWPARTITION => From::Partition,
                column::ROWOFFSET => From::Offset,
                column::OP => From::Op,
                column::SEQ => From::Seq,
                name => {
                    let of_table = made
                        .fields()
                        .iter()
                        .position(|known| known.name().eq_ignore_ascii_case(name))
                        .ok_or_else(|| Error::Internal(format!("no column {name} to make")))?;
                    projection.push(of_table);
                    From::Generated(projection.len() - 1)
                }
            });
        }
        let time_column = table.time_column();
        let time = match projection.iter().position(|of| *of == time_column) {
            Some(time) => time,
            None => {
                projection.push(time_column);
                projection.len() - 1
            }
        };
        debug_assert_eq!(relation.partitions.max(1) as usize, positions.len());
        let recipe = Recipe {
            generator: Generator::new(Options {
                seed: nexmark.seed,
                ..Options::default()
            }),
            table,
            first_row: table.rows_before(nexmark.offset),
            partitions: positions.len() as u64,
            schema: Arc::clone(schema),
            columns,
            projection,
            time,
        };
        let mut generated = Self {
            recipe: Arc::new(recipe),
            nexmark: nexmark.clone(),
            clock,
            positions: positions
                .iter()
                .map(|(_, offset)| AtomicI64::new(*offset))
                .collect(),
            due: None,
        };
        generated.look();
        Ok(generated)
    }

    /// Looks how many rows are there now.
    pub(crate) fn look(&mut self) {
        let connector = Connector::Nexmark(self.nexmark.clone());
        self.due = rows_due(&connector, self.clock.now_ms());
    }

    /// The number of partitions.
    pub(crate) fn partitions(&self) -> i32 {
        self.positions.len() as i32
    }

    /// What makes the rows.
    pub(crate) fn recipe(&self) -> &Arc<Recipe> {
        &self.recipe
    }

    /// The next rows of a partition, at most `rows_max`, to be made.
    pub(crate) fn fetch(&self, partition: i32, rows_max: usize) -> Result<Arrived> {
        let partitions = self.partitions();
        let end = self
            .due
            .map(|due| rows_of(due, partition, partitions))
            .unwrap_or(super::input::ENDLESS);
        let Some(position) = self.positions.get(partition as usize) else {
            return Err(Error::Internal(format!("no partition {partition}")));
        };
        let start = position.load(Ordering::Relaxed);
        let left = usize::try_from(end.saturating_sub(start)).unwrap_or(0);
        let count = left.min(rows_max);
        let next_offset = start + count as i64;
        position.store(next_offset, Ordering::Relaxed);
        Ok(Arrived {
            raw: (count > 0).then_some(Raw::Numbers { start, count }),
            next_offset,
            at_end: next_offset >= end,
        })
    }

    /// How long it is until the next row is there, at most `timeout`.
    pub(crate) fn wait(&self, timeout: Duration) -> Duration {
        let next = (0..)
            .zip(&self.positions)
            .map(|(partition, position)| {
                let position = position.load(Ordering::Relaxed);
                partition + position.unsigned_abs() * self.positions.len() as u64
            })
            .min()
            .unwrap_or(0);
        let event = self.recipe.table.event_of(self.recipe.first_row + next) - self.nexmark.offset;
        if self.nexmark.events.is_some_and(|events| event >= events) {
            return timeout;
        }
        let Some(rate) = self.nexmark.rate else {
            return Duration::ZERO;
        };
        // An event is there when all the time up to its end has passed.
        let since_ms = (u128::from(event) + 1) * 1_000;
        let since_ms = i64::try_from(since_ms.div_ceil(u128::from(rate))).unwrap_or(i64::MAX);
        let due_ms = self.nexmark.created_ms.saturating_add(since_ms);
        let wait_ms = due_ms.saturating_sub(self.clock.now_ms());
        Duration::from_millis(wait_ms.max(WAIT_MS_MIN).unsigned_abs()).min(timeout)
    }
}

impl Recipe {
    /// The `count` rows of a partition from an offset on.
    pub(crate) fn make(&self, partition: i32, start: i64, count: usize) -> Result<DecodedRows> {
        let rows = Rows {
            first: self.first_row + partition as u64 + start.unsigned_abs() * self.partitions,
            step: self.partitions,
            count,
        };
        let made = self.generator.rows(self.table, rows, &self.projection)?;
        let rowtimes: Int64Array = made
            .column(self.time)
            .as_primitive::<TimestampMillisecondType>()
            .reinterpret_cast::<Int64Type>();
        let offsets = Int64Array::from_iter_values(start..start + count as i64);
        let columns = self
            .columns
            .iter()
            .map(|from| -> ArrayRef {
                match from {
                    From::Generated(index) => Arc::clone(made.column(*index)),
                    From::RowTime => Arc::new(rowtimes.clone()),
                    From::Partition => Arc::new(Int32Array::from_value(partition, count)),
                    From::Offset => Arc::new(offsets.clone()),
                    From::Op => Arc::new(Int8Array::from_value(column::INSERT, count)),
                    From::Seq => Arc::new(UInt64Array::from_value(0, count)),
                }
            })
            .collect();
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        Ok(DecodedRows {
            batch: RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?,
            rowtimes,
            offsets,
            bad: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field, Schema};
    use kappa_sql::ast::Statement;
    use kappa_sql::planner::{Defaults, plan_source};

    use super::*;
    use crate::clock::ManualClock;

    fn relation(with: &str, partitions: i32) -> Relation {
        let text = format!("CREATE STREAM BID WITH (CONNECTOR = 'nexmark' {with})");
        let parsed = kappa_sql::parser::parse(&text).unwrap().0.remove(0);
        assert!(matches!(parsed.statement, Statement::CreateSource { .. }));
        let mut relation = plan_source(&parsed.statement, &text, &Defaults::default())
            .unwrap()
            .relation;
        relation.partitions = partitions;
        if let Some(connector) = &mut relation.connector {
            connector.set_created(10_000);
        }
        relation
    }

    fn open(relation: &Relation, clock: &Arc<ManualClock>, positions: &[i64]) -> Generated {
        let schema = Arc::new(Schema::new(vec![
            Field::new("PRICE", DataType::Int64, true),
            Field::new(column::ROWOFFSET, DataType::Int64, false),
            Field::new(column::ROWTIME, DataType::Int64, false),
        ]));
        let positions: Vec<(i32, i64)> = (0..).zip(positions.iter().copied()).collect();
        let clock = Arc::clone(clock) as Arc<dyn Clock>;
        let connector = relation.connector.as_ref().unwrap();
        Generated::try_new(relation, connector, &schema, &positions, clock).unwrap()
    }

    fn rows(generated: &Generated, partition: i32, arrived: Arrived) -> DecodedRows {
        let Some(Raw::Numbers { start, count }) = arrived.raw else {
            panic!("nothing arrived");
        };
        generated.recipe.make(partition, start, count).unwrap()
    }

    /// SQL and storage never see each other, and both name the columns.
    #[test]
    fn tables_are_the_same_to_sql_and_to_the_generator() {
        for (name, of) in NexmarkTable::ALL {
            let made = table(of).schema();
            assert_eq!(table(of).name(), name);
            let declared: Vec<_> = of
                .columns()
                .iter()
                .map(|(name, data_type)| ((*name).to_owned(), data_type.to_arrow()))
                .collect();
            let made: Vec<_> = made
                .fields()
                .iter()
                .map(|field| (field.name().to_uppercase(), field.data_type().clone()))
                .collect();
            assert_eq!(declared, made);
        }
    }

    #[test]
    fn catalogs_from_before_there_were_connectors_still_read() {
        let mut relation = relation("", 1);
        let with = serde_json::to_string(&relation).unwrap();
        assert_eq!(serde_json::from_str::<Relation>(&with).unwrap(), relation);
        relation.connector = None;
        let without = serde_json::to_string(&relation).unwrap();
        assert!(!without.contains("connector"), "{without}");
        assert_eq!(
            serde_json::from_str::<Relation>(&without).unwrap(),
            relation
        );
    }

    #[test]
    fn partitions_share_the_rows_in_turn() {
        let clock = Arc::new(ManualClock::at(0));
        let whole = relation(", EVENTS = 1000, OFFSET = 27", 1);
        let one = open(&whole, &clock, &[0]);
        let all = one.fetch(0, 10_000).unwrap();
        assert!(all.at_end);
        let all = rows(&one, 0, all);
        assert_eq!(all.rowtimes.len(), 920);
        let three = open(
            &relation(", EVENTS = 1000, OFFSET = 27", 3),
            &clock,
            &[0, 5, 0],
        );
        for partition in 0..3 {
            let part = three.fetch(partition, 10_000).unwrap();
            assert!(part.at_end);
            let part = rows(&three, partition, part);
            let skipped = if partition == 1 { 5 } else { 0 };
            assert_eq!(part.offsets.len(), [307, 307 - 5, 306][partition as usize]);
            for row in 0..part.offsets.len() {
                let of_all = partition as usize + (row + skipped) * 3;
                assert_eq!(part.offsets.value(row), (row + skipped) as i64);
                assert_eq!(part.rowtimes.value(row), all.rowtimes.value(of_all));
                let price = |rows: &DecodedRows, row| {
                    rows.batch.column(0).as_primitive::<Int64Type>().value(row)
                };
                assert_eq!(price(&part, row), price(&all, of_all));
            }
        }
    }

    #[test]
    fn rows_come_as_the_clock_goes() {
        let clock = Arc::new(ManualClock::at(10_000));
        let relation = relation(", RATE = 1000, EVENTS = 2000", 2);
        let mut generated = open(&relation, &clock, &[0, 0]);
        let fetch = |generated: &mut Generated| {
            generated.look();
            [0, 1].map(|partition| {
                let arrived = generated.fetch(partition, 10_000).unwrap();
                assert!(arrived.at_end);
                arrived.raw.map_or(0, |raw| raw.len())
            })
        };
        let second = Duration::from_secs(1);
        assert_eq!(fetch(&mut generated), [0, 0]);
        // The first bid is event 4, which is over 5 ms after the start.
        assert_eq!(generated.wait(second), Duration::from_millis(5));
        clock.set(10_005);
        assert_eq!(fetch(&mut generated), [1, 0]);
        clock.set(11_000);
        assert_eq!(fetch(&mut generated), [459, 460]);
        assert_eq!(generated.wait(second), Duration::from_millis(5));
        // Events 1000 to 1003 are no bids.
        clock.set(10_950);
        assert_eq!(generated.wait(second), Duration::from_millis(55));
        // Opened anew: what came meanwhile is there, and nothing twice.
        clock.set(11_500);
        let mut again = open(&relation, &clock, &[460, 460]);
        assert_eq!(fetch(&mut again), [230, 230]);
        clock.set(90_000);
        assert_eq!(fetch(&mut again), [230, 230]);
        assert_eq!(again.wait(second), second);
        let due = rows_due(relation.connector.as_ref().unwrap(), 90_000).unwrap();
        assert_eq!(
            [0, 1].map(|partition| rows_of(due, partition, 2)),
            [920, 920]
        );
    }
}
