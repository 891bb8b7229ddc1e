//! Reading a topic of Kafka: partitions assigned by us, at offsets of ours, without a group.
//!
//! librdkafka fetches ahead, each partition into a queue of its own and no further than a limit. A
//! queue tells when it gets something, and [`KafkaReader::ready`] waits for that.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::topic_partition_list::Offset;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::cluster::{Cluster, blocking};
use super::columns::Columns;
use super::context::{Health, ReadContext};
use super::queue::{BatchedQueue, Queue, Stop};
use crate::topic::{
    FetchLimit, Fetched, OffsetRange, Reader, no_such_partition, not_reading, out_of_range,
};
use crate::{Error, Result};

/// Memory for messages fetched ahead, of all partitions of a reader together,
const AHEAD_KBYTES: usize = 64 << 10;
/// and of each one at least and at most.
const AHEAD_KBYTES_EACH: std::ops::RangeInclusive<usize> = 1 << 10..=16 << 10;

/// Reads partitions of a topic of Kafka.
pub(super) struct KafkaReader {
    cluster: Arc<Cluster>,
    topic: String,
    consumer: Arc<BaseConsumer<ReadContext>>,
    health: Arc<Health>,
    places: BTreeMap<i32, Mutex<Place>>,
    news: Arc<Notify>,
    runtime: Handle,
}

/// Where a partition is being read.
struct Place {
    /// Keeps telling when messages come.
    _told: PartitionQueue<ReadContext>,
    queue: Box<dyn Queue>,
    next_offset: i64,
    at_end: bool,
    /// Bytes of values that the last fetch returned.
    last_bytes: usize,
    /// Whether the queue may have something.
    filled: Arc<AtomicBool>,
    failure: Option<Failure>,
}

/// Why a partition cannot be read on.
enum Failure {
    Said(Code, String),
    /// The offset is not there. What is has to be asked for, which takes its time.
    OutOfRange(Arc<Mutex<Option<Result<OffsetRange>>>>),
}

impl KafkaReader {
    /// To be called off the async threads.
    pub(super) fn open(
        cluster: &Arc<Cluster>,
        runtime: Handle,
        topic: &str,
        positions: &[(i32, i64)],
    ) -> Result<Self> {
        let size = cluster.existing(topic)?;
        let outside = positions
            .iter()
            .find(|(partition, _)| !(0..size.partitions).contains(partition));
        if let Some((partition, _)) = outside {
            return Err(no_such_partition(topic, *partition, size.partitions));
        }
        let context = ReadContext::default();
        let health = context.health.clone();
        let mut config = cluster.consumer_config();
        // Assigning needs a group's name, though no group is joined and no offset committed.
        config.set("group.id", "kappa-reader");
        if config.get("queued.max.messages.kbytes").is_none() {
            let each = AHEAD_KBYTES / positions.len().max(1);
            let each = each.clamp(*AHEAD_KBYTES_EACH.start(), *AHEAD_KBYTES_EACH.end());
            config.set("queued.max.messages.kbytes", each.to_string());
        }
        if config.get("fetch.queue.backoff.ms").is_none() {
            // How long fetching pauses once that much is there: a second by default.
            config.set("fetch.queue.backoff.ms", "5");
        }
        let what = || format!("read topic \"{topic}\"");
        let mut consumer: BaseConsumer<ReadContext> = config
            .create_with_context(context)
            .map_err(|error| cluster.error(what(), &error))?;
        let news = Arc::new(Notify::new());
        consumer.set_nonempty_callback({
            let news = news.clone();
            move || news.notify_one()
        });
        let mut reader = Self {
            cluster: cluster.clone(),
            topic: topic.to_owned(),
            consumer: Arc::new(consumer),
            health,
            places: BTreeMap::new(),
            news,
            runtime,
        };
        let assignment = reader.split(positions)?;
        reader
            .consumer
            .assign(&assignment)
            .map_err(|error| cluster.error(what(), &error))?;
        Ok(reader)
    }

    /// Gives partitions a queue each. Before they are assigned: librdkafka would forward their
    /// first messages to the consumer's own queue otherwise.
    fn split(&mut self, positions: &[(i32, i64)]) -> Result<TopicPartitionList> {
        let mut assignment = TopicPartitionList::new();
        for (partition, offset) in positions {
            let failed = |error| {
                self.cluster
                    .error(at(&self.topic, *partition, *offset), &error)
            };
            let lost = || failed(KafkaError::Global(Code::UnknownPartition));
            let mut told = self
                .consumer
                .split_partition_queue(&self.topic, *partition)
                .ok_or_else(lost)?;
            let queue =
                BatchedQueue::new(&self.consumer, &self.topic, *partition).ok_or_else(lost)?;
            let filled = Arc::new(AtomicBool::new(false));
            told.set_nonempty_callback({
                let (filled, news) = (filled.clone(), self.news.clone());
                move || {
                    filled.store(true, Ordering::Release);
                    news.notify_one();
                }
            });
            assignment
                .add_partition_offset(&self.topic, *partition, Offset::Offset(*offset))
                .map_err(failed)?;
            let place = Place {
                _told: told,
                queue: Box::new(queue),
                next_offset: *offset,
                at_end: false,
                last_bytes: 0,
                filled,
                failure: None,
            };
            self.places.insert(*partition, Mutex::new(place));
        }
        Ok(assignment)
    }

    /// Takes note of what the client has to say; an error that concerns all partitions is returned.
    fn serve(&self) -> Result<()> {
        while let Some(told) = self.consumer.poll(Duration::ZERO) {
            if told.is_ok() {
                let topic = &self.topic;
                let what = format!("a message of topic \"{topic}\" came outside its queue");
                return Err(Error::Internal(what));
            }
        }
        let refused = self.health.take_refused();
        let away = || self.health.take_all_down().then_some(Code::AllBrokersDown);
        let Some(code) = refused.or_else(away) else {
            return Ok(());
        };
        let what = format!("read topic \"{}\"", self.topic);
        let reason = self.health.last_reason();
        Err(super::errors::error(
            what,
            &KafkaError::Global(code),
            &self.cluster.servers,
            reason,
        ))
    }
}

#[async_trait]
impl Reader for KafkaReader {
    fn fetch(&self, partition: i32, limit: FetchLimit) -> Result<Fetched> {
        let topic = &self.topic;
        let place = self
            .places
            .get(&partition)
            .ok_or_else(|| not_reading(topic, partition))?;
        let place = &mut *place.lock();
        if let Some(failure) = &place.failure {
            return self.failed(partition, place.next_offset, failure);
        }
        let mut columns = Columns::new(limit, place.last_bytes);
        // Cleared before looking: what comes in between sets it again.
        place.filled.store(false, Ordering::Release);
        loop {
            let before = columns.len();
            let stop = place.queue.read(&mut columns);
            if columns.len() > before
                && let Some(last) = columns.last_offset()
            {
                place.next_offset = last + 1;
                place.at_end = false;
            }
            match stop {
                Stop::Full => {
                    place.filled.store(true, Ordering::Release);
                    break;
                }
                Stop::Empty => break,
                Stop::End(offset) => {
                    place.at_end = true;
                    // Beyond markers of transactions, which are not records.
                    place.next_offset = place.next_offset.max(offset.unwrap_or(i64::MIN));
                }
                Stop::Failed(
                    Code::AutoOffsetReset | Code::OffsetOutOfRange | Code::NoOffset,
                    _,
                ) => {
                    let answer = Arc::new(Mutex::new(None));
                    place.failure = Some(Failure::OutOfRange(answer.clone()));
                    let (cluster, topic) = (self.cluster.clone(), topic.clone());
                    let (filled, news) = (place.filled.clone(), self.news.clone());
                    self.runtime.spawn_blocking(move || {
                        *answer.lock() = Some(cluster.range(&topic, partition));
                        filled.store(true, Ordering::Release);
                        news.notify_one();
                    });
                    break;
                }
                Stop::Failed(code, said) => {
                    place.failure = Some(Failure::Said(code, said));
                    place.filled.store(true, Ordering::Release);
                    break;
                }
            }
        }
        let (next_offset, at_end) = (place.next_offset, place.at_end);
        if columns.len() > 0 {
            place.last_bytes = columns.value_bytes();
        } else {
            self.serve()?;
            return Ok(Fetched {
                records: None,
                next_offset,
                at_end,
            });
        }
        Ok(Fetched {
            records: Some(columns.finish()?),
            next_offset,
            at_end,
        })
    }

    async fn ready(&mut self, timeout: Duration) -> Result<()> {
        let filled = |place: &Mutex<Place>| place.lock().filled.load(Ordering::Acquire);
        if self.places.values().any(filled) {
            tokio::task::coop::consume_budget().await;
        } else {
            // Elapsed is as good as woken: the caller fetches and sees.
            let _elapsed = tokio::time::timeout(timeout, self.news.notified()).await;
        }
        Ok(())
    }

    async fn partitions(&mut self) -> Result<i32> {
        let topic = self.topic.clone();
        let size = blocking(&self.cluster, move |cluster| cluster.existing(&topic)).await?;
        Ok(size.partitions)
    }

    fn add_partition(&mut self, partition: i32, offset: i64) -> Result<()> {
        let assignment = self.split(&[(partition, offset)])?;
        self.consumer
            .incremental_assign(&assignment)
            .map_err(|error| {
                self.cluster
                    .error(at(&self.topic, partition, offset), &error)
            })
    }
}

impl KafkaReader {
    fn failed(&self, partition: i32, wanted: i64, failure: &Failure) -> Result<Fetched> {
        match failure {
            Failure::Said(code, said) => {
                let what = at(&self.topic, partition, wanted);
                let error = KafkaError::MessageConsumption(*code);
                let servers = &self.cluster.servers;
                Err(super::errors::error(
                    what,
                    &error,
                    servers,
                    Some(said.clone()),
                ))
            }
            Failure::OutOfRange(range) => match &*range.lock() {
                // Not known yet.
                None => Ok(Fetched {
                    records: None,
                    next_offset: wanted,
                    at_end: false,
                }),
                Some(Ok(range)) => Err(out_of_range(&self.topic, partition, wanted, *range)),
                Some(Err(error)) => {
                    let what = at(&self.topic, partition, wanted);
                    Err(Error::external(
                        what,
                        format!("the offset is not there ({error})"),
                    ))
                }
            },
        }
    }
}

fn at(topic: &str, partition: i32, offset: i64) -> String {
    format!("read topic \"{topic}\" partition {partition} at offset {offset}")
}

impl fmt::Debug for KafkaReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = self
            .places
            .iter()
            .map(|(partition, place)| (partition, place.lock().next_offset));
        f.debug_struct("KafkaReader")
            .field("topic", &self.topic)
            .field("places", &places.collect::<BTreeMap<_, _>>())
            .finish_non_exhaustive()
    }
}

impl Drop for KafkaReader {
    fn drop(&mut self) {
        // Ending a client takes its time, and this may be an async thread.
        let places = std::mem::take(&mut self.places);
        let consumer = self.consumer.clone();
        self.runtime.spawn_blocking(move || {
            drop(places);
            drop(consumer);
        });
    }
}
