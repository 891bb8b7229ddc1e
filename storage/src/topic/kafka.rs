//! Topics of a Kafka cluster, through librdkafka.
//!
//! Offsets are kept by whoever reads, never by Kafka; only committed records are read; an offset
//! that is not there is an error and never a jump. Topics are only ever made by [`Topics::create`].

mod append;
mod cluster;
mod columns;
mod context;
mod errors;
pub mod properties;
mod queue;
mod reader;
pub mod transaction;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use rdkafka::admin::{
    AdminOptions, ConfigResource, NewPartitions, NewTopic as KafkaTopic, OwnedResourceSpecifier,
    ResourceSpecifier, TopicReplication,
};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use self::cluster::{Cluster, REQUEST_TIMEOUT, Size, blocking};
use self::properties::Properties;
use self::reader::KafkaReader;
use super::{
    CleanupPolicy, NewTopic, OffsetRange, Reader, TopicDescription, Topics, cannot_shrink,
    check_name, check_new, no_such_topic, topic_exists,
};
use crate::record::NewRecords;
use crate::{Error, Result};

/// The topics of a Kafka cluster.
#[derive(Clone)]
pub struct KafkaTopics {
    cluster: Arc<Cluster>,
}

impl KafkaTopics {
    /// Connects to the cluster that `bootstrap` (`host:port, …`) are servers of. A cluster that is
    /// away is a retryable error within ten seconds.
    pub async fn connect(bootstrap: &str, properties: Properties) -> Result<Self> {
        let servers = bootstrap.to_owned();
        let connected =
            tokio::task::spawn_blocking(move || Cluster::connect(&servers, properties)).await;
        let cluster = connected
            .map_err(|error| Error::Internal(format!("connecting did not end: {error}")))??;
        Ok(Self {
            cluster: Arc::new(cluster),
        })
    }

    /// The servers it was connected to.
    pub fn bootstrap(&self) -> &str {
        &self.cluster.servers
    }

    /// Removes the records of a partition before `offset`.
    pub async fn truncate(&self, topic: &str, partition: i32, offset: i64) -> Result<()> {
        let what = || format!("remove records of topic \"{topic}\" partition {partition}");
        let failed = |error| self.cluster.error(what(), &error);
        let mut before = rdkafka::TopicPartitionList::new();
        let offset = rdkafka::Offset::Offset(offset);
        before
            .add_partition_offset(topic, partition, offset)
            .map_err(failed)?;
        let removed = self.cluster.admin.delete_records(&before, &options()).await;
        let removed = removed.map_err(failed)?;
        removed
            .elements()
            .iter()
            .try_for_each(|element| element.error())
            .map_err(failed)
    }

    /// What becomes of the topics' old records; `None` where the caller may not ask.
    async fn describe_cleanup(&self, names: &[&str]) -> Result<Vec<Option<CleanupPolicy>>> {
        let topics: Vec<_> = names
            .iter()
            .map(|name| ResourceSpecifier::Topic(name))
            .collect();
        let described = self
            .cluster
            .admin
            .describe_configs(&topics, &options())
            .await;
        let described = described.map_err(|error| {
            self.cluster
                .error("ask for the configuration of topics", &error)
        })?;
        let mut policies = HashMap::new();
        for topic in described.into_iter().flatten() {
            if let OwnedResourceSpecifier::Topic(name) = &topic.specifier {
                policies.insert(name.clone(), cleanup_of(&topic));
            }
        }
        Ok(names
            .iter()
            .map(|name| policies.remove(*name).flatten())
            .collect())
    }

    /// The answer to a change of one topic.
    fn changed(
        &self,
        what: &str,
        name: &str,
        answers: Vec<std::result::Result<String, (String, Code)>>,
    ) -> Result<()> {
        match answers.into_iter().next() {
            None | Some(Ok(_)) => Ok(()),
            Some(Err((_, Code::TopicAlreadyExists))) => Err(topic_exists(name)),
            Some(Err((_, Code::UnknownTopicOrPartition | Code::UnknownTopic))) => {
                Err(no_such_topic(name))
            }
            Some(Err((_, code))) => Err(self.cluster.error(
                format!("{what} topic \"{name}\""),
                &KafkaError::AdminOp(code),
            )),
        }
    }
}

#[async_trait]
impl Topics for KafkaTopics {
    async fn create(&self, topic: &NewTopic) -> Result<()> {
        check_new(topic)?;
        let replicas = TopicReplication::Fixed(i32::from(topic.replicas));
        let retention_ms = topic.retention_ms.map(|ms| ms.to_string());
        let retention_bytes = topic.retention_bytes.map(|bytes| bytes.to_string());
        let mut new = KafkaTopic::new(&topic.name, topic.partitions, replicas)
            .set("cleanup.policy", policy(topic.cleanup));
        if let Some(ms) = &retention_ms {
            new = new.set("retention.ms", ms);
        }
        if let Some(bytes) = &retention_bytes {
            new = new.set("retention.bytes", bytes);
        }
        let answers = self.cluster.admin.create_topics([&new], &options()).await;
        let failed = |error| {
            self.cluster
                .error(format!("create topic \"{}\"", topic.name), &error)
        };
        self.changed("create", &topic.name, answers.map_err(failed)?)?;
        let (name, partitions) = (topic.name.clone(), topic.partitions);
        blocking(&self.cluster, move |cluster| {
            cluster.wait_for_size(&name, Some(partitions))
        })
        .await
    }

    async fn delete(&self, name: &str) -> Result<()> {
        check_name(name)?;
        let answers = self.cluster.admin.delete_topics(&[name], &options()).await;
        let failed = |error| {
            self.cluster
                .error(format!("delete topic \"{name}\""), &error)
        };
        self.changed("delete", name, answers.map_err(failed)?)?;
        let name = name.to_owned();
        blocking(&self.cluster, move |cluster| {
            cluster.wait_for_size(&name, None)
        })
        .await
    }

    async fn describe(&self, name: &str) -> Result<Option<TopicDescription>> {
        check_name(name)?;
        let asked = name.to_owned();
        let size = blocking(&self.cluster, move |cluster| cluster.size(&asked)).await?;
        let Some(size) = size else { return Ok(None) };
        let cleanup = self.describe_cleanup(&[name]).await?.pop().flatten();
        Ok(Some(description(name.to_owned(), size, cleanup)))
    }

    async fn grow(&self, name: &str, partitions: i32) -> Result<()> {
        check_name(name)?;
        let asked = name.to_owned();
        let size = blocking(&self.cluster, move |cluster| cluster.existing(&asked)).await?;
        if partitions < size.partitions {
            return Err(cannot_shrink(name, size.partitions, partitions));
        }
        if partitions == size.partitions {
            return Ok(());
        }
        let count = usize::try_from(partitions).unwrap_or_default();
        let grown = NewPartitions::new(name, count);
        let answers = self
            .cluster
            .admin
            .create_partitions([&grown], &options())
            .await;
        let failed = |error| self.cluster.error(format!("grow topic \"{name}\""), &error);
        self.changed("grow", name, answers.map_err(failed)?)?;
        let name = name.to_owned();
        blocking(&self.cluster, move |cluster| {
            cluster.wait_for_size(&name, Some(partitions))
        })
        .await
    }

    async fn list(&self) -> Result<Vec<TopicDescription>> {
        let sizes = blocking(&self.cluster, |cluster| cluster.sizes()).await?;
        let names: Vec<_> = sizes.iter().map(|(name, _)| name.as_str()).collect();
        let cleanup = match names.is_empty() {
            true => Vec::new(),
            false => self.describe_cleanup(&names).await?,
        };
        let topics = sizes.into_iter().zip(cleanup);
        Ok(topics
            .map(|((name, size), cleanup)| description(name, size, cleanup))
            .collect())
    }

    async fn offsets(&self, name: &str) -> Result<Vec<OffsetRange>> {
        check_name(name)?;
        let name = name.to_owned();
        blocking(&self.cluster, move |cluster| {
            let size = cluster.existing(&name)?;
            cluster.ranges(&name, size.partitions)
        })
        .await
    }

    async fn written(&self, name: &str) -> Result<Vec<i64>> {
        check_name(name)?;
        let name = name.to_owned();
        blocking(&self.cluster, move |cluster| {
            let size = cluster.existing(&name)?;
            cluster.written(&name, size.partitions)
        })
        .await
    }

    async fn reader(&self, name: &str, positions: &[(i32, i64)]) -> Result<Box<dyn Reader>> {
        check_name(name)?;
        let (name, positions) = (name.to_owned(), positions.to_vec());
        let runtime = tokio::runtime::Handle::current();
        let open =
            move |cluster: &Arc<Cluster>| KafkaReader::open(cluster, runtime, &name, &positions);
        let reader = blocking(&self.cluster, open).await?;
        Ok(Box::new(reader))
    }

    async fn append(&self, name: &str, records: &[NewRecords]) -> Result<()> {
        check_name(name)?;
        append::append(&self.cluster, name.to_owned(), records.to_vec()).await
    }
}

impl fmt::Debug for KafkaTopics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cluster.fmt(f)
    }
}

fn options() -> AdminOptions {
    AdminOptions::new()
        .request_timeout(Some(REQUEST_TIMEOUT))
        .operation_timeout(Some(REQUEST_TIMEOUT))
}

fn description(name: String, size: Size, cleanup: Option<CleanupPolicy>) -> TopicDescription {
    TopicDescription {
        name,
        partitions: size.partitions,
        replicas: size.replicas,
        cleanup,
    }
}

fn policy(cleanup: CleanupPolicy) -> &'static str {
    match cleanup {
        CleanupPolicy::Delete => "delete",
        CleanupPolicy::Compact => "compact",
        CleanupPolicy::CompactDelete => "compact,delete",
    }
}

fn cleanup_of(topic: &ConfigResource) -> Option<CleanupPolicy> {
    let value = topic.get("cleanup.policy")?.value.as_deref()?;
    let has = |policy| value.split(',').any(|found| found.trim() == policy);
    match (has("compact"), has("delete")) {
        (true, true) => Some(CleanupPolicy::CompactDelete),
        (true, false) => Some(CleanupPolicy::Compact),
        (false, true) => Some(CleanupPolicy::Delete),
        (false, false) => None,
    }
}

#[cfg(test)]
mod tests;
