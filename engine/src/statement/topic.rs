//! The topic behind a new relation: found, or made.

use kappa_sql::ast::Name;
use kappa_sql::catalog::Kind;
use kappa_sql::planner::{NewRelation, SourceTopic};
use kappa_storage::topic::{CleanupPolicy, NewTopic, Topics};

use super::fail;
use crate::error::Result;

/// Partitions of a topic that a statement makes without saying how many.
const PARTITIONS: i32 = 1;
/// Its replicas: as many as the cluster makes by default.
const REPLICAS: i16 = -1;

/// Finds the relation's topic, or makes it; returns its number of partitions. A source over a topic
/// that does not exist makes it only where PARTITIONS says so, or topics are embedded.
pub(super) async fn ensure(
    topics: &dyn Topics,
    new: &NewRelation,
    name: &Name,
    may_create: bool,
) -> Result<i32> {
    let relation = &new.relation;
    if let Some(found) = topics.describe(&relation.topic).await? {
        if let Some(wanted) = new.topic.partitions
            && wanted != found.partitions
        {
            return Err(fail(
                kappa_sql::Error::invalid(format!(
                    "A Kafka topic with the name '{}' already exists, with different partition \
                     configuration: it has {} partitions, PARTITIONS says {wanted}",
                    relation.topic, found.partitions
                ))
                .at(name.span)
                .hint("leave PARTITIONS out, or take another KAFKA_TOPIC"),
            ));
        }
        return Ok(found.partitions);
    }
    if !may_create && new.topic.partitions.is_none() {
        let topics = topics.list().await?;
        return Err(fail(
            kappa_sql::Error::unknown(format!("the topic '{}' does not exist", relation.topic))
                .at(name.span)
                .hint("add PARTITIONS = 1 (or more) to make it")
                .did_you_mean(
                    &relation.topic,
                    topics.iter().map(|topic| topic.name.as_str()),
                ),
        ));
    }
    let partitions = new
        .topic
        .partitions
        .filter(|n| *n > 0)
        .unwrap_or(PARTITIONS);
    topics
        .create(&new_topic(relation, &new.topic, partitions))
        .await?;
    Ok(partitions)
}

fn new_topic(
    relation: &kappa_sql::catalog::Relation,
    said: &SourceTopic,
    partitions: i32,
) -> NewTopic {
    let cleanup = match said.cleanup {
        Some("compact") => CleanupPolicy::Compact,
        Some("compact,delete") => CleanupPolicy::CompactDelete,
        Some(_) => CleanupPolicy::Delete,
        None => match (relation.kind, relation.window) {
            (Kind::Table, None) => CleanupPolicy::Compact,
            (Kind::Table, Some(_)) => CleanupPolicy::CompactDelete,
            (Kind::Stream, _) => CleanupPolicy::Delete,
        },
    };
    NewTopic {
        name: relation.topic.clone(),
        partitions,
        replicas: said.replicas.unwrap_or(REPLICAS),
        cleanup,
        retention_ms: said.retention_ms,
        retention_bytes: None,
    }
}
