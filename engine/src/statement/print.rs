//! PRINT: the records of a topic as they are, guessed to be text where they look like it.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use kappa_sql::ast::Print;
use kappa_storage::record::Records;
use kappa_storage::topic::{FetchLimit, Topics};
use tokio::sync::mpsc;

use super::fail;
use crate::error::{Error, Result};
use crate::query::push::QUEUE_BATCHES;
use crate::query::status::Status;
use crate::response::{Response, Subscription};
use crate::session::Session;

pub(super) async fn run(session: &Session, print: &Print) -> Result<Response> {
    let topics = Arc::clone(&session.engine.inner.topics);
    if topics.describe(&print.topic).await?.is_none() {
        let known = topics.list().await?;
        return Err(fail(
            kappa_sql::Error::unknown(format!("the topic '{}' does not exist", print.topic))
                .at(print.topic_span)
                .did_you_mean(&print.topic, known.iter().map(|topic| topic.name.as_str())),
        ));
    }
    let (sender, receiver) = mpsc::channel(QUEUE_BATCHES);
    let schema = schema();
    let status = Arc::new(Status::default());
    tokio::spawn(follow(topics, print.clone(), Arc::clone(&schema), sender));
    Ok(Response::Push(Subscription {
        schema,
        receiver,
        status,
    }))
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("rowtime", DataType::Int64, false),
        Field::new("partition", DataType::Int32, false),
        Field::new("offset", DataType::Int64, false),
        Field::new("key", DataType::Utf8, true),
        Field::new("value", DataType::Utf8, true),
    ]))
}

async fn follow(
    topics: Arc<dyn Topics>,
    print: Print,
    schema: SchemaRef,
    sender: mpsc::Sender<Result<RecordBatch>>,
) {
    if let Err(error) = read(&topics, &print, &schema, &sender).await {
        // Nobody listens any more: nobody to tell.
        drop(sender.send(Err(error)).await);
    }
}

async fn read(
    topics: &Arc<dyn Topics>,
    print: &Print,
    schema: &SchemaRef,
    sender: &mpsc::Sender<Result<RecordBatch>>,
) -> Result<()> {
    let ranges = topics.offsets(&print.topic).await?;
    let positions: Vec<(i32, i64)> = ranges
        .iter()
        .enumerate()
        .map(|(partition, range)| {
            (
                partition as i32,
                if print.from_beginning {
                    range.start
                } else {
                    range.end
                },
            )
        })
        .collect();
    let mut reader = topics.reader(&print.topic, &positions).await?;
    let mut left = print.limit.unwrap_or(u64::MAX);
    let every = print.interval.unwrap_or(1).max(1);
    let mut seen: u64 = 0;
    while left > 0 && !sender.is_closed() {
        let mut idle = true;
        for (partition, _) in &positions {
            let limit = FetchLimit {
                records: 1024,
                bytes: 1 << 20,
                headers: false,
            };
            let Some(records) = reader.fetch(*partition, limit)?.records else {
                continue;
            };
            idle = false;
            let mut rows = Vec::new();
            for row in 0..records.len() {
                if seen.is_multiple_of(every) && left > 0 {
                    rows.push(row);
                    left -= 1;
                }
                seen += 1;
            }
            let batch = to_batch(schema, *partition, &records, &rows)?;
            if batch.num_rows() > 0 && sender.send(Ok(batch)).await.is_err() {
                return Ok(());
            }
        }
        if idle {
            reader.ready(Duration::from_millis(200)).await?;
        }
    }
    Ok(())
}

fn to_batch(
    schema: &SchemaRef,
    partition: i32,
    records: &Records,
    rows: &[usize],
) -> Result<RecordBatch, Error> {
    let text = |array: &arrow::array::BinaryArray| -> StringArray {
        rows.iter()
            .map(|row| array.is_valid(*row).then(|| readable(array.value(*row))))
            .collect()
    };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(
            rows.iter()
                .map(|row| records.timestamps.value(*row))
                .collect::<Int64Array>(),
        ),
        Arc::new(Int32Array::from_value(partition, rows.len())),
        Arc::new(
            rows.iter()
                .map(|row| records.offsets.value(*row))
                .collect::<Int64Array>(),
        ),
        Arc::new(text(&records.keys)),
        Arc::new(text(&records.values)),
    ];
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}

/// Bytes as text where they are, as a number where Kafka's serialisers could have written one,
/// else in hexadecimal.
fn readable(bytes: &[u8]) -> String {
    if let Ok(text) = std::str::from_utf8(bytes)
        && !text.chars().any(|c| c.is_control() && !c.is_whitespace())
    {
        return text.to_owned();
    }
    if let Ok(bytes) = bytes.try_into() {
        return i32::from_be_bytes(bytes).to_string();
    }
    if let Ok(bytes) = bytes.try_into() {
        return i64::from_be_bytes(bytes).to_string();
    }
    let hex: String = bytes
        .iter()
        .take(64)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("0x{hex}{}", if bytes.len() > 64 { "…" } else { "" })
}
