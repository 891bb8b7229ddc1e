//! A stream enriched from a table, against DataFusion's hash join of the same columns. Neither side
//! decodes: the stream is generated, which is subtracted, and comes when the table is there.

use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{BinaryArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::datasource::MemTable;
use datafusion::prelude::SessionContext;
use kappa_engine::Engine;
use kappa_engine::record::NewRecords;
use kappa_engine::topic::{CleanupPolicy, Topics};

use crate::check::same;
use crate::generated::{self, SPREAD};
use crate::held_clock::{HeldClock, RATE};
use crate::measure::{Measured, Stretch, reset_peak, size_mb};
use crate::query::{open_with_clock, rows, run, wait_for};
use crate::{Outcome, Place, bids};

/// Rows of the table.
const PERSONS: u64 = 1_000_000;
/// Events of the stream that come before the others.
const FIRST_EVENTS: u64 = 1_000;
/// How often DataFusion joins.
const ROUNDS: u64 = 5;
/// Keys of a stream that asks for few of them.
pub(crate) const BUSY: u64 = 1_000;

fn person(number: u64) -> String {
    format!("person-{number}")
}

async fn fill(topics: &Arc<dyn Topics>, persons: u64) -> Outcome<()> {
    bids::create(topics, "person", 1, CleanupPolicy::Compact).await?;
    let numbers: Vec<u64> = (0..persons).collect();
    for run in numbers.chunks(20_000) {
        let keys = run.iter().map(|number| number.to_be_bytes());
        let values = run
            .iter()
            .map(|number| format!("{{\"NAME\":\"{}\"}}", person(*number)));
        let records = NewRecords {
            partition: 0,
            timestamps: Int64Array::from_value(bids::FIRST_MS, run.len()),
            keys: BinaryArray::from_iter_values(keys),
            values: BinaryArray::from_iter_values(values),
            headers: None,
        };
        topics.append("person", &[records]).await?;
    }
    Ok(())
}

/// A query over a table that is there, and over a stream of which nothing has come yet.
struct Joining {
    engine: Engine,
    data_dir: PathBuf,
    clock: Arc<HeldClock>,
    /// Rows of the stream, of the table, and keys that the stream asks for.
    rows: u64,
    persons: u64,
    keys: u64,
}

impl Joining {
    /// `create` is put before the query.
    async fn begin(events: u64, keys: u64, create: &str) -> Outcome<Self> {
        let rows = generated::bids(events);
        let persons = PERSONS.min(rows);
        let keys = keys.min(persons);
        let clock = Arc::new(HeldClock::new());
        let local = Place::local(events);
        let (engine, data_dir) = open_with_clock(&local, &[], Arc::clone(&clock) as _).await?;
        fill(engine.topics(), persons).await?;
        let mut session = engine.session();
        let stream = format!(
            "CREATE STREAM BID (PRICE BIGINT) WITH (CONNECTOR = 'nexmark', TABLE = 'bid', EVENTS = \
             {events}, RATE = {RATE})"
        );
        let table = "CREATE TABLE PERSON (ID BIGINT PRIMARY KEY, NAME STRING) WITH (KAFKA_TOPIC = \
                     'person', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'JSON')";
        let query = format!(
            "{create} AS SELECT P.ID AS ID, B.PRICE, P.NAME FROM BID B JOIN PERSON P ON B.ROWOFFSET * \
             {SPREAD} % {keys} = P.ID EMIT CHANGES"
        );
        run(&mut session, &[&stream, table, &query]).await?;
        wait_for(&engine, persons).await?;
        engine.flush().await?;
        Ok(Self {
            engine,
            data_dir,
            clock,
            rows,
            persons,
            keys,
        })
    }

    /// Lets the stream's first events come.
    async fn let_through(&self, events: u64) -> Outcome<()> {
        self.clock.let_through(events);
        wait_for(&self.engine, self.persons + generated::bids(events)).await?;
        Ok(self.engine.flush().await?)
    }

    async fn end(self) -> Outcome<()> {
        self.engine.shutdown().await?;
        Ok(std::fs::remove_dir_all(self.data_dir)?)
    }
}

/// Bids joined with a table, of whose keys they ask for `keys`.
pub(crate) async fn measure(place: &Place, keys: u64) -> Outcome<Measured> {
    let create = "CREATE SINK RESULT WITH (CONNECTOR = 'blackhole')";
    let joining = Joining::begin(place.events, keys, create).await?;
    let (rows, persons, keys) = (joining.rows, joining.persons, joining.keys);
    // RocksDB works off the table's commit when the next one comes: that is not the stream's.
    joining
        .let_through(FIRST_EVENTS.min(place.events / 2))
        .await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let passed = joining.engine.queries()[0].rows_in - persons;
    reset_peak();
    let stretch = Stretch::begin()?;
    joining.let_through(place.events).await?;
    let mut took = stretch.end()?;
    let joined = joining.engine.queries()[0].rows_out;
    let measured_rows = rows - passed;
    took.cpu_s -= generated::generation(measured_rows, &generated::with_price())?.cpu_s;
    let mut measured = Measured::of(measured_rows, took);
    measured.state_mb = size_mb(&joining.data_dir)?;
    joining.end().await?;

    let context = context(rows, persons)?;
    // Several times, as one is short for the clock that counts hundredths.
    let stretch = Stretch::begin()?;
    for _ in 0..ROUNDS {
        let answer = context.sql(&batch(keys)).await?.collect().await?;
        let found: usize = black_box(answer).iter().map(RecordBatch::num_rows).sum();
        if found as u64 != joined {
            return Err(format!("{joined} rows joined, and {found} by DataFusion").into());
        }
    }
    Ok(measured.against("DataFusion", rows * ROUNDS, stretch.end()?))
}

/// The joined rows must be DataFusion's.
pub(crate) async fn check(events: u64, keys: u64) -> Outcome<()> {
    let joining = Joining::begin(events, keys, "CREATE STREAM RESULT").await?;
    joining.let_through(events).await?;
    let mut session = joining.engine.session();
    let ours = rows(&mut session, "SELECT ID, PRICE, NAME FROM RESULT").await?;
    let context = context(joining.rows, joining.persons)?;
    let theirs = context.sql(&batch(joining.keys)).await?.collect().await?;
    joining.end().await?;
    same(&ours, &theirs)
}

/// DataFusion's question.
fn batch(keys: u64) -> String {
    format!(
        "SELECT p.id, b.price, p.name FROM bid b JOIN person p ON b.number * {SPREAD} % {keys} = p.id"
    )
}

/// DataFusion on one core, with the tables `bid` and `person`.
fn context(rows: u64, persons: u64) -> Outcome<SessionContext> {
    let context = generated::context(rows)?;
    let schema = Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("name", DataType::Utf8, true),
    ]));
    let ids = Int64Array::from_iter_values((0..persons).map(|number| number as i64));
    let names: StringArray = (0..persons).map(|number| Some(person(number))).collect();
    let table = RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(ids), Arc::new(names)])?;
    context.register_table(
        "person",
        Arc::new(MemTable::try_new(schema, vec![vec![table]])?),
    )?;
    Ok(context)
}
