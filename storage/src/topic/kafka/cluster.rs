//! A Kafka cluster: how its clients are configured, and the client that asks about topics.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::AdminClient;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::sync::OnceCell;

use super::append::Appender;
use super::context::ReadContext;
use super::errors;
use super::properties::{Kind, Properties};
use crate::topic::{OffsetRange, no_such_topic};
use crate::{Error, Result};

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a question may take.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a change may take until all brokers know it.
const PROPAGATION_TIMEOUT: Duration = Duration::from_secs(15);
/// How often it is looked whether something has happened.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// A Kafka cluster.
pub(super) struct Cluster {
    pub(super) servers: String,
    properties: Properties,
    asker: BaseConsumer<ReadContext>,
    /// Asks about what is not committed, too.
    writes_asker: OnceLock<BaseConsumer<ReadContext>>,
    context: ReadContext,
    pub(super) admin: AdminClient<ReadContext>,
    pub(super) appender: OnceCell<Appender>,
}

/// What is known of a topic without asking for its configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) partitions: i32,
    pub(super) replicas: i16,
    /// Whether every partition has a leader.
    led: bool,
}

impl Cluster {
    /// Connects, off the async threads, as it takes its time when the cluster is away.
    pub(super) fn connect(servers: &str, properties: Properties) -> Result<Self> {
        let what = || format!("connect to Kafka at {servers}");
        let made = |error: KafkaError| errors::error(what(), &error, servers, None);
        let context = ReadContext::default();
        let config = consumer_config(servers, &properties);
        let asker: BaseConsumer<ReadContext> =
            config.create_with_context(context.clone()).map_err(made)?;
        let mut admin_config = client_config(servers);
        properties.apply(&mut admin_config, Kind::Producer);
        let admin = admin_config
            .create_with_context(ReadContext::default())
            .map_err(made)?;
        let cluster = Self {
            servers: servers.to_owned(),
            properties,
            asker,
            writes_asker: OnceLock::new(),
            context,
            admin,
            appender: OnceCell::new(),
        };
        cluster.wait_for_a_broker()?;
        Ok(cluster)
    }

    fn wait_for_a_broker(&self) -> Result<()> {
        let mut left = CONNECT_TIMEOUT;
        loop {
            self.serve();
            if self
                .asker
                .client()
                .fetch_cluster_id(LOOK_INTERVAL)
                .is_some()
            {
                return Ok(());
            }
            left = left.saturating_sub(LOOK_INTERVAL);
            let health = &self.context.health;
            let code = match health.take_refused() {
                Some(code) => code,
                None if health.take_all_down() => Code::BrokerTransportFailure,
                None if left.is_zero() => Code::OperationTimedOut,
                None => continue,
            };
            let what = format!("connect to Kafka at {}", self.servers);
            return Err(self.error(what, &KafkaError::Global(code)));
        }
    }

    /// A configuration for consumers, to be added to.
    pub(super) fn consumer_config(&self) -> ClientConfig {
        consumer_config(&self.servers, &self.properties)
    }

    /// A configuration for producers, to be added to.
    pub(super) fn producer_config(&self) -> ClientConfig {
        let mut config = client_config(&self.servers);
        config.set("compression.type", "lz4");
        config.set("linger.ms", "1");
        config.set("queue.buffering.max.kbytes", "65536");
        // The topic's own limit is the broker's to apply.
        config.set("message.max.bytes", "104857600");
        self.properties.apply(&mut config, Kind::Producer);
        config.set("enable.idempotence", "true");
        config.set("acks", "all");
        config.set("allow.auto.create.topics", "false");
        config
    }

    /// The error of a call that tried `what`.
    pub(super) fn error(&self, what: impl Into<String>, error: &KafkaError) -> Error {
        errors::error(
            what,
            error,
            &self.servers,
            self.context.health.last_reason(),
        )
    }

    /// Takes note of what the client has to say.
    fn serve(&self) {
        // Without a group there are no messages: whatever is returned was told to the context, too.
        while self.asker.poll(Duration::ZERO).is_some() {}
    }

    /// A topic's size, or `None` where there is no such topic.
    pub(super) fn size(&self, topic: &str) -> Result<Option<Size>> {
        self.serve();
        let what = || format!("ask for topic \"{topic}\"");
        let metadata = self
            .asker
            .fetch_metadata(Some(topic), REQUEST_TIMEOUT)
            .map_err(|error| self.error(what(), &error))?;
        let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else {
            return Ok(None);
        };
        match found.error().map(Code::from) {
            None | Some(Code::LeaderNotAvailable) => Ok(Some(size(found))),
            Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => Ok(None),
            Some(code) => Err(self.error(what(), &KafkaError::MetadataFetch(code))),
        }
    }

    /// A topic's size; that it does not exist is an error.
    pub(super) fn existing(&self, topic: &str) -> Result<Size> {
        self.size(topic)?.ok_or_else(|| no_such_topic(topic))
    }

    /// The names and sizes of all topics but Kafka's own.
    pub(super) fn sizes(&self) -> Result<Vec<(String, Size)>> {
        self.serve();
        let metadata = self
            .asker
            .fetch_metadata(None, REQUEST_TIMEOUT)
            .map_err(|error| self.error("list topics", &error))?;
        let topics = metadata.topics().iter();
        let known =
            topics.filter(|topic| !topic.name().starts_with("__") && topic.error().is_none());
        let mut sizes: Vec<_> = known
            .map(|topic| (topic.name().to_owned(), size(topic)))
            .collect();
        sizes.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(sizes)
    }

    /// Waits until a topic is as it was made, for every broker that is asked.
    pub(super) fn wait_for_size(&self, topic: &str, partitions: Option<i32>) -> Result<()> {
        let mut left = PROPAGATION_TIMEOUT;
        loop {
            let size = self.size(topic)?;
            let there = size.filter(|size| size.led).map(|size| size.partitions);
            if there == partitions && (there.is_some() || size.is_none()) {
                return Ok(());
            }
            if left.is_zero() {
                let what = format!("wait for a change of topic \"{topic}\"");
                return Err(self.error(what, &KafkaError::Global(Code::OperationTimedOut)));
            }
            std::thread::sleep(LOOK_INTERVAL);
            left = left.saturating_sub(LOOK_INTERVAL);
        }
    }

    /// The readable ranges of the first `partitions` partitions.
    pub(super) fn ranges(&self, topic: &str, partitions: i32) -> Result<Vec<OffsetRange>> {
        let starts = self.bounds(&self.asker, topic, 0..partitions, Offset::Beginning)?;
        let ends = self.bounds(&self.asker, topic, 0..partitions, Offset::End)?;
        Ok(starts
            .into_iter()
            .zip(ends)
            .map(|(start, end)| OffsetRange { start, end })
            .collect())
    }

    /// The readable range of one partition.
    pub(super) fn range(&self, topic: &str, partition: i32) -> Result<OffsetRange> {
        let one = partition..partition + 1;
        let start = self.bounds(&self.asker, topic, one.clone(), Offset::Beginning)?;
        let end = self.bounds(&self.asker, topic, one, Offset::End)?;
        Ok(OffsetRange {
            start: start[0],
            end: end[0],
        })
    }

    /// The end of every partition, open transactions included.
    pub(super) fn written(&self, topic: &str, partitions: i32) -> Result<Vec<i64>> {
        let asker = match self.writes_asker.get() {
            Some(asker) => asker,
            None => {
                let mut config = consumer_config(&self.servers, &self.properties);
                config.set("isolation.level", "read_uncommitted");
                let made = config.create_with_context(self.context.clone());
                let made = made.map_err(|error| {
                    self.error(format!("ask for the end of topic \"{topic}\""), &error)
                })?;
                self.writes_asker.get_or_init(|| made)
            }
        };
        // This client has to know of partitions that are new, too.
        asker
            .fetch_metadata(Some(topic), REQUEST_TIMEOUT)
            .map_err(|error| self.error(format!("ask for the end of topic \"{topic}\""), &error))?;
        self.bounds(asker, topic, 0..partitions, Offset::End)
    }

    fn bounds(
        &self,
        asker: &BaseConsumer<ReadContext>,
        topic: &str,
        partitions: std::ops::Range<i32>,
        bound: Offset,
    ) -> Result<Vec<i64>> {
        self.serve();
        let what = |partition| format!("ask for the offsets of topic \"{topic}\"{partition}");
        let failed = |error| self.error(what(String::new()), &error);
        let mut wanted = TopicPartitionList::new();
        for partition in partitions {
            wanted
                .add_partition_offset(topic, partition, bound)
                .map_err(failed)?;
        }
        // The bounds are special timestamps to the broker. To a client that reads committed records
        // only, the end is where the first open transaction begins.
        let found = asker
            .offsets_for_times(wanted, REQUEST_TIMEOUT)
            .map_err(failed)?;
        let offset = |element: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| {
            let partition = || what(format!(" partition {}", element.partition()));
            element
                .error()
                .map_err(|error| self.error(partition(), &error))?;
            match element.offset() {
                Offset::Offset(offset) => Ok(offset),
                other => Err(Error::Internal(format!("{}: {other:?}", partition()))),
            }
        };
        found.elements().iter().map(offset).collect()
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("servers", &self.servers)
            .field("properties", &self.properties)
            .finish_non_exhaustive()
    }
}

/// Runs what may wait for the cluster off the async threads.
pub(super) async fn blocking<T: Send + 'static>(
    cluster: &Arc<Cluster>,
    work: impl FnOnce(&Arc<Cluster>) -> Result<T> + Send + 'static,
) -> Result<T> {
    let cluster = cluster.clone();
    tokio::task::spawn_blocking(move || work(&cluster))
        .await
        .map_err(|error| Error::Internal(format!("a request to Kafka did not end: {error}")))?
}

fn size(topic: &rdkafka::metadata::MetadataTopic) -> Size {
    let partitions = topic.partitions();
    Size {
        partitions: partitions.len() as i32,
        replicas: partitions
            .first()
            .map_or(0, |partition| partition.replicas().len() as i16),
        led: !partitions.is_empty() && partitions.iter().all(|partition| partition.leader() >= 0),
    }
}

fn client_config(servers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", servers);
    config.set("client.id", "kappa");
    config.set("socket.keepalive.enable", "true");
    config.set("socket.nagle.disable", "true");
    config.set("reconnect.backoff.max.ms", "2000");
    config
}

fn consumer_config(servers: &str, properties: &Properties) -> ClientConfig {
    let mut config = client_config(servers);
    config.set("check.crcs", "true");
    properties.apply(&mut config, Kind::Consumer);
    config.set("enable.auto.commit", "false");
    config.set("enable.auto.offset.store", "false");
    // The default, largest, would silently skip what was lost.
    config.set("auto.offset.reset", "error");
    config.set("isolation.level", "read_committed");
    config.set("enable.partition.eof", "true");
    config.set("allow.auto.create.topics", "false");
    config
}
