//! A stream enriched from a table, against DataFusion's hash join over the same columns.

use std::hint::black_box;
use std::sync::Arc;

use arrow::array::{BinaryArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::datasource::MemTable;
use kappa_engine::record::NewRecords;
use kappa_engine::topic::CleanupPolicy;

use crate::measure::{Measured, Stretch, reset_peak, size_mb};
use crate::query::{batch, open, run, wait_for};
use crate::{Outcome, Place, bids};

/// Rows of the table, one for each bidder.
const PERSONS: u64 = bids::BIDDERS;

fn person(number: u64) -> String {
    format!("person-{number}")
}

/// Bids joined with their bidders; `key` is the stream's side of the condition.
pub(crate) async fn measure(place: &Place, key: &str) -> Outcome<Measured> {
    let events = place.events / 2;
    let local = Place {
        bootstrap: None,
        events,
    };
    let (engine, data_dir) = open(&local, &[]).await?;
    bids::fill(engine.topics(), events, 1).await?;
    let persons = PERSONS.min(events.max(1));
    let topics = engine.topics();
    bids::create(topics, "person", 1, CleanupPolicy::Compact).await?;
    let numbers: Vec<u64> = (0..persons).collect();
    for run in numbers.chunks(20_000) {
        let keys = run.iter().map(|number| (1000 + number).to_be_bytes());
        let values = run
            .iter()
            .map(|number| format!("{{\"NAME\":\"{}\"}}", person(*number)));
        let records = NewRecords {
            partition: 0,
            // Before the bids, so that they find it.
            timestamps: Int64Array::from_value(bids::FIRST_MS - 1, run.len()),
            keys: BinaryArray::from_iter_values(keys),
            values: BinaryArray::from_iter_values(values),
            headers: None,
        };
        topics.append("person", &[records]).await?;
    }
    let mut session = engine.session();
    run(
        &mut session,
        &[
            bids::STREAM,
            "CREATE TABLE PERSON (ID BIGINT PRIMARY KEY, NAME STRING) WITH (KAFKA_TOPIC = \
             'person', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'JSON')",
        ],
    )
    .await?;
    let sink = format!(
        "CREATE SINK RESULT WITH (CONNECTOR = 'blackhole') AS SELECT B.AUCTION, B.PRICE, P.NAME \
         FROM BID B JOIN PERSON P ON {key} = P.ID EMIT CHANGES"
    );
    reset_peak();
    let stretch = Stretch::begin()?;
    run(&mut session, &[&sink]).await?;
    wait_for(&engine, events + persons).await?;
    engine.flush().await?;
    let took = stretch.end()?;
    let joined = engine.queries()[0].rows_out;
    engine.shutdown().await?;
    let mut measured = Measured::of(events + persons, took);
    measured.state_mb = size_mb(&data_dir)?;
    std::fs::remove_dir_all(data_dir)?;

    let context = batch(bids::batches(events)?)?;
    let schema = Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("name", DataType::Utf8, true),
    ]));
    let ids = Int64Array::from_iter_values(numbers.iter().map(|number| 1000 + *number as i64));
    let names: StringArray = numbers.iter().map(|number| Some(person(*number))).collect();
    let table = RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(ids), Arc::new(names)])?;
    context.register_table(
        "person",
        Arc::new(MemTable::try_new(schema, vec![vec![table]])?),
    )?;
    let stretch = Stretch::begin()?;
    let question = format!(
        "SELECT b.auction, b.price, p.name FROM bid b JOIN person p ON {} = p.id",
        key.to_lowercase()
    );
    let answer = context.sql(&question).await?.collect().await?;
    let theirs = stretch.end()?;
    let rows: usize = black_box(answer).iter().map(RecordBatch::num_rows).sum();
    if rows as u64 != joined {
        return Err(format!("{joined} rows joined, and {rows} by DataFusion").into());
    }
    Ok(measured.against("DataFusion", events + persons, theirs))
}
