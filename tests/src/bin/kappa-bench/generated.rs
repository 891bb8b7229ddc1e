//! Benchmarks over generated bids, without topic or decoding: what state costs, against DataFusion's
//! batch run over the same columns.

use std::hint::black_box;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};
use kappa_storage::nexmark::{Generator, Options, Rows, Table};

use crate::measure::{Measured, Stretch, Took, reset_peak, size_mb};
use crate::query::{open, run, wait_for};
use crate::{Outcome, Place};

/// Rows of a batch.
const BATCH_ROWS: u64 = 8192;
/// Spreads row numbers over keys: a prime.
const SPREAD: u64 = 7919;
/// Column `price` of a bid.
const PRICE: usize = 2;

/// Bids of so many events.
fn bids(events: u64) -> u64 {
    Table::Bid.rows_before(events)
}

fn generate(rows: Rows) -> Outcome<RecordBatch> {
    let generator = Generator::new(Options::default());
    Ok(generator.rows(Table::Bid, rows, &[PRICE, Table::Bid.time_column()])?)
}

/// What making the rows takes, which is not the query's.
fn generation(rows: u64) -> Outcome<Took> {
    let stretch = Stretch::begin_thread()?;
    let mut first = 0;
    while first < rows {
        let count = BATCH_ROWS.min(rows - first) as usize;
        black_box(generate(Rows {
            first,
            step: 1,
            count,
        })?);
        first += count as u64;
    }
    stretch.end()
}

/// Count and sum per key over generated bids, into a black hole.
async fn kappa(place: &Place, keys: u64, properties: &[(&str, &str)]) -> Outcome<Measured> {
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
    let stream = format!(
        "CREATE STREAM BID (PRICE BIGINT) WITH (CONNECTOR = 'nexmark', TABLE = 'bid', EVENTS = {})",
        place.events
    );
    run(&mut session, &[&stream]).await?;
    let key = format!("ROWOFFSET * {SPREAD} % {keys}");
    let sink = format!(
        "CREATE SINK RESULT WITH (CONNECTOR = 'blackhole') AS SELECT {key} AS K, COUNT(*) AS BIDS, \
         SUM(PRICE) AS TOTAL FROM BID GROUP BY {key} EMIT CHANGES"
    );
    reset_peak();
    let stretch = Stretch::begin()?;
    run(&mut session, &[&sink]).await?;
    wait_for(&engine, rows).await?;
    engine.flush().await?;
    let mut took = stretch.end()?;
    engine.shutdown().await?;
    took.cpu_s -= generation(rows)?.cpu_s;
    let mut measured = Measured::of(rows, took);
    measured.state_mb = size_mb(&data_dir)?;
    std::fs::remove_dir_all(data_dir)?;
    Ok(measured)
}

/// The same by DataFusion over columns in memory.
async fn datafusion(rows: u64, keys: u64) -> Outcome<Took> {
    let schema = Arc::new(Schema::new(vec![
        Field::new("number", DataType::Int64, false),
        Field::new("price", DataType::Int64, true),
    ]));
    let mut batches = Vec::new();
    let mut first = 0;
    while first < rows {
        let count = BATCH_ROWS.min(rows - first);
        let made = generate(Rows {
            first,
            step: 1,
            count: count as usize,
        })?;
        let numbers = Int64Array::from_iter_values((first..first + count).map(|n| n as i64));
        let columns: Vec<ArrayRef> = vec![Arc::new(numbers), Arc::clone(made.column(0))];
        batches.push(RecordBatch::try_new(Arc::clone(&schema), columns)?);
        first += count;
    }
    let context = SessionContext::new_with_config(
        SessionConfig::new()
            .with_target_partitions(1)
            .with_batch_size(BATCH_ROWS as usize),
    );
    context.register_table("bid", Arc::new(MemTable::try_new(schema, vec![batches])?))?;
    let stretch = Stretch::begin()?;
    let question = format!(
        "SELECT number * {SPREAD} % {keys} AS k, COUNT(*) AS bids, SUM(price) AS total FROM bid \
         GROUP BY number * {SPREAD} % {keys}"
    );
    black_box(context.sql(&question).await?.collect().await?);
    stretch.end()
}

/// A million keys, against DataFusion.
pub(crate) async fn million_keys(place: &Place) -> Outcome<Measured> {
    let measured = kappa(place, 1_000_000, &[]).await?;
    let rows = bids(place.events);
    let batch = datafusion(rows, 1_000_000).await?;
    Ok(measured.against("DataFusion", rows, batch))
}

/// Ten million keys in little memory.
pub(crate) async fn many_keys(place: &Place) -> Outcome<Measured> {
    let place = Place {
        bootstrap: None,
        events: place.events * 2,
    };
    kappa(&place, 10_000_000, &[("state.memory.mb", "256")]).await
}

/// How the cost of an event changes when there are ten times as many.
pub(crate) async fn growth(place: &Place) -> Outcome<Measured> {
    let short = kappa(place, 100_000, &[]).await?;
    let long = Place {
        bootstrap: None,
        events: place.events * 10,
    };
    let mut measured = kappa(&long, 100_000, &[]).await?;
    measured.ratio = Some(measured.per_cpu_s() / short.per_cpu_s());
    measured.reference = Some("a tenth".to_owned());
    Ok(measured)
}
