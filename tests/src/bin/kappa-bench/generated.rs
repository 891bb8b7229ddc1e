//! Benchmarks over generated bids, without topic or decoding: what state costs, against DataFusion's
//! batch run over the same columns.

use std::hint::black_box;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};
use kappa_storage::nexmark::{Generator, Options, Rows, Table};

use crate::check::same;
use crate::measure::{Measured, Stretch, Took, reset_peak, size_mb};
use crate::query::{open, rows, run, wait_for};
use crate::{Outcome, Place};

/// Rows of a batch.
const BATCH_ROWS: u64 = 8192;
/// Spreads row numbers over keys: a prime.
pub(crate) const SPREAD: u64 = 7919;
/// Column `price` of a bid.
const PRICE: usize = 2;
/// What is made of a bid for its price: the time comes with each row.
pub(crate) fn with_price() -> [usize; 2] {
    [PRICE, Table::Bid.time_column()]
}

/// Bids of so many events.
pub(crate) fn bids(events: u64) -> u64 {
    Table::Bid.rows_before(events)
}

/// Columns of so many bids, by their places, batch by batch; made by one generator, as a query's are:
/// it keeps the names that it has made.
pub(crate) fn generate(rows: u64, columns: &[usize]) -> impl Iterator<Item = Outcome<RecordBatch>> {
    let generator = Generator::new(Options::default());
    let firsts = (0..rows).step_by(BATCH_ROWS as usize);
    firsts.map(move |first| {
        let rows = Rows {
            first,
            step: 1,
            count: BATCH_ROWS.min(rows - first) as usize,
        };
        Ok(generator.rows(Table::Bid, rows, columns)?)
    })
}

/// What making the columns takes, which is not the query's.
pub(crate) fn generation(rows: u64, columns: &[usize]) -> Outcome<Took> {
    let stretch = Stretch::begin_thread()?;
    for batch in generate(rows, columns) {
        black_box(batch?);
    }
    stretch.end()
}

/// DataFusion on one core.
pub(crate) fn one_core() -> SessionContext {
    SessionContext::new_with_config(
        SessionConfig::new()
            .with_target_partitions(1)
            .with_batch_size(BATCH_ROWS as usize),
    )
}

/// The statement that makes the bids of so many events.
fn stream(events: u64) -> String {
    format!(
        "CREATE STREAM BID (PRICE BIGINT) WITH (CONNECTOR = 'nexmark', TABLE = 'bid', EVENTS = \
         {events})"
    )
}

/// What is asked of the bids: of Kappa, and of DataFusion.
pub(crate) struct Question {
    kappa: String,
    batch: String,
}

impl Question {
    /// Count and sum per key.
    pub(crate) fn sums(keys: u64) -> Self {
        let question = |number: &str, from: &str| {
            let key = format!("{number} * {SPREAD} % {keys}");
            format!(
                "SELECT {key} AS K, COUNT(*) AS BIDS, SUM(PRICE) AS TOTAL FROM {from} GROUP BY {key}"
            )
        };
        Self {
            kappa: question("ROWOFFSET", "BID"),
            batch: question("number", "bid"),
        }
    }

    /// Different prices, and different low ones, of a thousand keys: three quarters of the bids have
    /// a price that their key had not.
    pub(crate) fn distinct() -> Self {
        let question = |number: &str, low: &str| {
            let key = format!("{number} * {SPREAD} % 1000");
            format!(
                "SELECT {key} AS K, COUNT(DISTINCT PRICE) AS PRICES, {low} AS LOW FROM BID GROUP BY {key}"
            )
        };
        let low = "COUNT(DISTINCT CASE WHEN PRICE < 10000 THEN PRICE END)";
        let filtered = "COUNT(DISTINCT PRICE) FILTER (WHERE PRICE < 10000)";
        Self {
            kappa: question("ROWOFFSET", low),
            batch: question("number", filtered),
        }
    }

    /// A query that answers it goes on with `EMIT CHANGES`.
    fn of_kappa(&self) -> String {
        format!("{} EMIT CHANGES", self.kappa)
    }
}

/// The answer to a question over generated bids, into a black hole.
async fn kappa(
    place: &Place,
    question: &Question,
    properties: &[(&str, &str)],
) -> Outcome<Measured> {
    let rows = bids(place.events);
    let (engine, data_dir) = open(
        &Place {
            bootstrap: None,
            events: place.events,
        },
        properties,
    )
    .await?;
    let mut session = engine.session();
    run(&mut session, &[&stream(place.events)]).await?;
    let sink = format!(
        "CREATE SINK RESULT WITH (CONNECTOR = 'blackhole') AS {}",
        question.of_kappa()
    );
    reset_peak();
    let stretch = Stretch::begin()?;
    run(&mut session, &[&sink]).await?;
    wait_for(&engine, rows).await?;
    engine.flush().await?;
    let mut took = stretch.end()?;
    engine.shutdown().await?;
    took.cpu_s -= generation(rows, &with_price())?.cpu_s;
    let mut measured = Measured::of(rows, took);
    measured.state_mb = size_mb(&data_dir)?;
    std::fs::remove_dir_all(data_dir)?;
    Ok(measured)
}

/// DataFusion on one core, with the bids' numbers and prices as table `bid`.
pub(crate) fn context(rows: u64) -> Outcome<SessionContext> {
    let schema = Arc::new(Schema::new(vec![
        Field::new("number", DataType::Int64, false),
        Field::new("price", DataType::Int64, true),
    ]));
    let mut batches = Vec::new();
    let mut next = 0;
    for made in generate(rows, &[PRICE]) {
        let made = made?;
        let first = next;
        next += made.num_rows() as i64;
        let numbers = Int64Array::from_iter_values(first..next);
        let columns: Vec<ArrayRef> = vec![Arc::new(numbers), Arc::clone(made.column(0))];
        batches.push(RecordBatch::try_new(Arc::clone(&schema), columns)?);
    }
    let context = one_core();
    context.register_table("bid", Arc::new(MemTable::try_new(schema, vec![batches])?))?;
    Ok(context)
}

/// The same by DataFusion over columns in memory.
async fn datafusion(rows: u64, question: &Question) -> Outcome<Took> {
    let context = context(rows)?;
    let stretch = Stretch::begin()?;
    black_box(context.sql(&question.batch).await?.collect().await?);
    stretch.end()
}

/// The answer over the bids of so many events must be DataFusion's.
pub(crate) async fn check(
    events: u64,
    question: &Question,
    properties: &[(&str, &str)],
) -> Outcome<()> {
    let (engine, data_dir) = open(&Place::local(events), properties).await?;
    let mut session = engine.session();
    let view = format!("CREATE TABLE RESULT AS {}", question.of_kappa());
    run(&mut session, &[&stream(events), &view]).await?;
    engine.flush().await?;
    let ours = rows(&mut session, "SELECT * FROM RESULT").await?;
    engine.shutdown().await?;
    std::fs::remove_dir_all(data_dir)?;
    let context = context(bids(events))?;
    same(&ours, &context.sql(&question.batch).await?.collect().await?)
}

/// A million keys, against DataFusion.
pub(crate) async fn million_keys(place: &Place) -> Outcome<Measured> {
    against_batch(place, &Question::sums(1_000_000), &[]).await
}

/// Counts of different values, against DataFusion; also with memory for a few of them.
pub(crate) async fn distinct(place: &Place, properties: &[(&str, &str)]) -> Outcome<Measured> {
    against_batch(place, &Question::distinct(), properties).await
}

async fn against_batch(
    place: &Place,
    question: &Question,
    properties: &[(&str, &str)],
) -> Outcome<Measured> {
    let measured = kappa(place, question, properties).await?;
    let rows = bids(place.events);
    let batch = datafusion(rows, question).await?;
    Ok(measured.against("DataFusion", rows, batch))
}

/// Ten million keys in little memory.
pub(crate) async fn many_keys(place: &Place) -> Outcome<Measured> {
    let place = Place {
        bootstrap: None,
        events: place.events * 2,
    };
    kappa(
        &place,
        &Question::sums(10_000_000),
        &[("state.memory.mb", "256")],
    )
    .await
}

/// How the cost of an event changes when there are ten times as many.
pub(crate) async fn growth(place: &Place) -> Outcome<Measured> {
    let question = Question::sums(100_000);
    let short = kappa(place, &question, &[]).await?;
    let long = Place {
        bootstrap: None,
        events: place.events * 10,
    };
    let mut measured = kappa(&long, &question, &[]).await?;
    measured.ratio = Some(measured.per_cpu_s() / short.per_cpu_s());
    measured.reference = Some("a tenth".to_owned());
    Ok(measured)
}
