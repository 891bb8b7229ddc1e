//! Handing the rows of a transaction over to be sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::error::KafkaError;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, Producer};

use super::{EPOCH_HEADER, SEQ_HEADER};
use crate::record::NewRecords;
use crate::topic::kafka::append::{self, FULL_INTERVAL};
use crate::topic::kafka::context::{Delivery, WriteContext};

/// Rows sent between two looks at what was delivered.
const ROWS_BETWEEN_POLLS: usize = 1000;

/// The headers that each row gets.
pub(super) struct RowHeaders {
    pub(super) epoch: String,
    pub(super) first_seq: u64,
}

impl RowHeaders {
    fn add_to(&self, headers: Option<OwnedHeaders>, row: usize) -> OwnedHeaders {
        let seq = (self.first_seq + row as u64).to_string();
        headers
            .unwrap_or_default()
            .insert(Header {
                key: EPOCH_HEADER,
                value: Some(&self.epoch),
            })
            .insert(Header {
                key: SEQ_HEADER,
                value: Some(&seq),
            })
    }
}

/// Hands rows over to be sent. Waits while the queue is full.
pub(super) fn send(
    producer: &BaseProducer<WriteContext>,
    topic: &str,
    records: &NewRecords,
    headers: &RowHeaders,
    delivery: &Arc<Delivery>,
    stopping: &AtomicBool,
) -> std::result::Result<(), KafkaError> {
    for row in 0..records.len() {
        let row_headers = headers.add_to(append::headers(records, row), row);
        let record = append::record(topic, records, row, Some(row_headers), delivery);
        let wait = || {
            producer.poll(FULL_INTERVAL);
            !stopping.load(Ordering::Relaxed)
        };
        append::enqueue(
            record,
            producer.client(),
            |record| producer.send(record),
            wait,
        )?;
        if row % ROWS_BETWEEN_POLLS == 0 {
            producer.poll(Duration::ZERO);
        }
    }
    match delivery.failed() {
        Some((error, _)) => Err(error),
        None => Ok(()),
    }
}
