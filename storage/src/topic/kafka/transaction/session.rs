//! Taking a transactional id over, and asking how far it has come.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, Producer};
use rdkafka::{Offset, TopicPartitionList};
use tokio::time::Instant;

use super::verdict::Verdict;
use super::{Marker, SLICE};
use crate::topic::kafka::cluster::{Cluster, REQUEST_TIMEOUT};
use crate::topic::kafka::context::{Delivery, ReadContext, WriteContext};
use crate::topic::kafka::errors;
use crate::{Error, Result};

/// How long to wait before a question is asked again.
const AGAIN_INTERVAL: Duration = Duration::from_millis(100);

/// What lasts from one `init` to the next.
pub(super) struct Session {
    pub(super) producer: Arc<BaseProducer<WriteContext>>,
    /// Its group is what markers are committed in; it is never subscribed to anything.
    pub(super) group: Arc<BaseConsumer<ReadContext>>,
    pub(super) timeout: Duration,
    pub(super) committed: Option<Marker>,
    pub(super) transaction: Option<Transaction>,
    /// Something happened to a connection while a transaction was committed.
    pub(super) suspect: bool,
}

/// What lasts from `begin` to `commit`.
pub(super) struct Transaction {
    pub(super) delivery: Arc<Delivery>,
    pub(super) sent: usize,
    pub(super) begun: Instant,
}

impl Session {
    pub(super) fn open(
        cluster: &Cluster,
        id: &str,
        topic: &str,
        stopping: &AtomicBool,
    ) -> Result<Self> {
        cluster.existing(topic)?;
        let what = || format!("start transactions as \"{id}\"");
        let failed = |error: &KafkaError| cluster.error(what(), error);
        let mut config = cluster.producer_config();
        config.set("transactional.id", id);
        // For the look at connections after a commit.
        config.set("statistics.interval.ms", "1000");
        let timeout = config
            .get("transaction.timeout.ms")
            .and_then(|ms| ms.parse().ok());
        let timeout = Duration::from_millis(timeout.unwrap_or(60_000));
        let producer: BaseProducer<WriteContext> = config
            .create_with_context(WriteContext::default())
            .map_err(|error| failed(&error))?;
        let mut group_config = cluster.consumer_config();
        group_config.set("group.id", id);
        let group: BaseConsumer<ReadContext> = group_config
            .create_with_context(ReadContext::default())
            .map_err(|e| failed(&e))?;
        init_transactions(&producer, timeout, stopping).map_err(|error| {
            let reason = producer.context().health.last_reason();
            errors::error(what(), &error, &cluster.servers, reason)
        })?;
        // After, not before: until then a commit may still have been underway.
        let committed = read_marker(cluster, &group, id, topic)?;
        Ok(Self {
            producer: Arc::new(producer),
            group: Arc::new(group),
            timeout,
            committed,
            transaction: None,
            suspect: false,
        })
    }

    pub(super) fn reason(&self) -> Option<String> {
        self.producer.context().health.last_reason()
    }

    /// Whether the broker may have aborted the transaction because it took too long.
    pub(super) fn timed_out(&self) -> bool {
        let transaction = self.transaction.as_ref();
        transaction.is_some_and(|transaction| transaction.begun.elapsed() >= self.timeout)
    }
}

fn init_transactions(
    producer: &BaseProducer<WriteContext>,
    timeout: Duration,
    stopping: &AtomicBool,
) -> std::result::Result<(), KafkaError> {
    let mut left = timeout * 2;
    loop {
        let error = match producer.init_transactions(SLICE.min(left)) {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        producer.poll(Duration::ZERO);
        if let Some(code) = producer.context().health.take_refused() {
            return Err(KafkaError::Global(code));
        }
        let away = producer.context().health.take_all_down();
        left = left.saturating_sub(SLICE);
        let again = Verdict::of(&error, false) == Verdict::Retry;
        if !again || away || left.is_zero() || stopping.load(Ordering::Relaxed) {
            return Err(error);
        }
    }
}

fn read_marker(
    cluster: &Cluster,
    group: &BaseConsumer<ReadContext>,
    id: &str,
    topic: &str,
) -> Result<Option<Marker>> {
    let what = || format!("ask for the last epoch committed as \"{id}\"");
    let mut wanted = TopicPartitionList::new();
    wanted.add_partition(topic, 0);
    let begun = Instant::now();
    let found = loop {
        match group.committed_offsets(wanted.clone(), REQUEST_TIMEOUT) {
            Ok(found) => break found,
            // The group's coordinator may be new, or still be taking note of a commit.
            Err(error)
                if error.rdkafka_error_code().is_some_and(errors::is_retryable)
                    && begun.elapsed() < REQUEST_TIMEOUT =>
            {
                std::thread::sleep(AGAIN_INTERVAL);
            }
            Err(error) => return Err(cluster.error(what(), &error)),
        }
    };
    let Some(element) = found.find_partition(topic, 0) else {
        return Ok(None);
    };
    element
        .error()
        .map_err(|error| cluster.error(what(), &error))?;
    let Offset::Offset(epoch) = element.offset() else {
        return Ok(None);
    };
    let foreign = |why: String| {
        let cause = format!("the offsets of consumer group \"{id}\" are not Kappa's ({why})");
        Error::external(what(), cause)
    };
    let marker: Marker =
        serde_json::from_str(element.metadata()).map_err(|error| foreign(error.to_string()))?;
    if i64::try_from(marker.epoch) != Ok(epoch) {
        return Err(foreign(format!("offset {epoch}, epoch {}", marker.epoch)));
    }
    Ok(Some(marker))
}
