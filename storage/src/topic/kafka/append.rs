//! Appending outside transactions: idempotent, and certain when it returns.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, AsArray, BinaryArray};
use rdkafka::client::Client;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};

use super::cluster::{Cluster, REQUEST_TIMEOUT};
use super::context::{Delivery, WriteContext};
use crate::Result;
use crate::record::NewRecords;
use crate::topic::no_such_partition;

/// How long a record may take to arrive, retries included.
const DELIVERY_TIMEOUT_MS: &str = "30000";
/// How long to wait when the producer's queue is full.
pub(super) const FULL_INTERVAL: Duration = Duration::from_millis(2);

/// The producer that a cluster's topics share.
pub(super) struct Appender {
    producer: ThreadedProducer<WriteContext>,
}

impl Appender {
    pub(super) fn new(cluster: &Cluster) -> Result<Self> {
        let mut config = cluster.producer_config();
        if config
            .get("delivery.timeout.ms")
            .or(config.get("message.timeout.ms"))
            .is_none()
        {
            config.set("delivery.timeout.ms", DELIVERY_TIMEOUT_MS);
        }
        let producer = config
            .create_with_context(WriteContext::default())
            .map_err(|error| cluster.error("make a producer", &error))?;
        Ok(Self { producer })
    }

    /// Hands records over to be sent. May wait for room, so off the async threads.
    fn send(&self, topic: &str, records: &NewRecords, delivery: &Arc<Delivery>) -> SendResult {
        for row in 0..records.len() {
            let record = record(topic, records, row, headers(records, row), delivery);
            let send = |record| self.producer.send(record);
            let wait = || {
                std::thread::sleep(FULL_INTERVAL);
                true
            };
            enqueue(record, self.producer.client(), send, wait)
                .map_err(|error| (error, records.partition))?;
        }
        Ok(())
    }

    fn last_reason(&self) -> Option<String> {
        self.producer.context().health.last_reason()
    }
}

/// A record that knows where to report its delivery.
type Record<'a> = BaseRecord<'a, [u8], [u8], Arc<Delivery>>;
/// Why a record was not taken.
type Refused<'a> = (KafkaError, Record<'a>);

/// Hands a record over to a producer. Calls `wait` while its queue is full, until that says to give
/// up; and asks for the topic's partitions anew if there is one more than the producer knows of.
pub(super) fn enqueue<'a>(
    mut record: Record<'a>,
    client: &Client<WriteContext>,
    send: impl Fn(Record<'a>) -> std::result::Result<(), Refused<'a>>,
    wait: impl Fn() -> bool,
) -> std::result::Result<(), KafkaError> {
    let delivery = record.delivery_opaque.clone();
    delivery.sent();
    let mut asked = false;
    loop {
        let (error, refused) = match send(record) {
            Ok(()) => return Ok(()),
            Err(refused) => refused,
        };
        let again = match error.rdkafka_error_code() {
            Some(Code::QueueFull) => wait(),
            Some(Code::UnknownPartition) if !asked => {
                asked = true;
                client
                    .fetch_metadata(Some(refused.topic), REQUEST_TIMEOUT)
                    .is_ok()
            }
            _ => false,
        };
        if !again {
            delivery.unsent();
            return Err(error);
        }
        record = refused;
    }
}

type SendResult = std::result::Result<(), (KafkaError, i32)>;

/// Appends records and waits until all replicas have them.
pub(super) async fn append(
    cluster: &Arc<Cluster>,
    topic: String,
    records: Vec<NewRecords>,
) -> Result<()> {
    let made = async || Appender::new(cluster);
    cluster.appender.get_or_try_init(made).await?;
    let total: usize = records.iter().map(NewRecords::len).sum();
    let delivery = Arc::new(Delivery::default());
    let sent = super::cluster::blocking(cluster, {
        let (topic, delivery) = (topic.clone(), delivery.clone());
        move |cluster| {
            let size = cluster.existing(&topic)?;
            let outside = records
                .iter()
                .find(|to| !(0..size.partitions).contains(&to.partition));
            if let Some(to) = outside {
                return Err(no_such_partition(&topic, to.partition, size.partitions));
            }
            let Some(appender) = cluster.appender.get() else {
                return Ok(Ok(()));
            };
            let send = |records| appender.send(&topic, records, &delivery);
            Ok(records.iter().try_for_each(send))
        }
    })
    .await?;
    delivery.wait().await;
    let Some((error, partition)) = sent.err().or_else(|| delivery.failed()) else {
        return Ok(());
    };
    let what = format!(
        "append to topic \"{topic}\" partition {partition} ({} of {total} records arrived)",
        delivery.delivered()
    );
    let reason = cluster
        .appender
        .get()
        .map(|appender| appender.last_reason());
    Err(super::errors::error(
        what,
        &error,
        &cluster.servers,
        reason.flatten(),
    ))
}

/// A record as librdkafka wants it, borrowed.
pub(super) fn record<'a>(
    topic: &'a str,
    records: &'a NewRecords,
    row: usize,
    headers: Option<OwnedHeaders>,
    delivery: &Arc<Delivery>,
) -> Record<'a> {
    let mut record =
        BaseRecord::with_opaque_to(topic, delivery.clone()).partition(records.partition);
    // Zero means now to librdkafka, and there is no other way to say it: 1970 began a millisecond
    // later then.
    let time = records.timestamps.value(row);
    record.timestamp = Some(if time == 0 { 1 } else { time });
    record.key = bytes(&records.keys, row);
    record.payload = bytes(&records.values, row);
    record.headers = headers;
    record
}

fn bytes(array: &BinaryArray, row: usize) -> Option<&[u8]> {
    array.is_valid(row).then(|| array.value(row))
}

/// A record's headers.
pub(super) fn headers(records: &NewRecords, row: usize) -> Option<OwnedHeaders> {
    let lists = records
        .headers
        .as_ref()
        .filter(|lists| lists.is_valid(row))?;
    let entries = lists.values().as_struct();
    let keys = entries.column(0).as_string::<i32>();
    let values = entries.column(1).as_binary::<i32>();
    let (start, end) = (
        lists.value_offsets()[row] as usize,
        lists.value_offsets()[row + 1] as usize,
    );
    if start == end {
        return None;
    }
    let headers = OwnedHeaders::new_with_capacity(end - start);
    Some((start..end).fold(headers, |headers, index| {
        let value = bytes(values, index);
        headers.insert(Header {
            key: keys.value(index),
            value,
        })
    }))
}
