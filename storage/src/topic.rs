//! Topics: named logs of records in partitions. Two implementations stand behind [`Topics`]:
//! [`embedded`] in the data directory, and [`kafka`]. One conformance suite (`conformance`) holds
//! both to the same behaviour.

pub(crate) mod block;
#[cfg(any(test, feature = "testing"))]
pub mod conformance;
pub mod embedded;
pub mod kafka;

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;

use crate::record::{NewRecords, Records};
use crate::{Error, Result};

/// What becomes of old records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CleanupPolicy {
    /// Streams: records go after the retention time or above the retention size.
    #[default]
    Delete,
    /// Tables: the last record of each key stays.
    Compact,
    /// Windowed tables: both.
    CompactDelete,
}

/// A topic to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name: 1 to 249 of `[a-zA-Z0-9._-]`, as Kafka has it.
    pub name: String,
    /// Number of partitions, at least 1.
    pub partitions: i32,
    /// Copies of each partition; the embedded log has one and accepts any number.
    pub replicas: i16,
    /// What becomes of old records.
    pub cleanup: CleanupPolicy,
    /// How long records are kept, in milliseconds by their own time; negative is for ever, `None`
    /// the log's default (Kafka: the broker's, a week where nobody changed it; embedded: for ever).
    pub retention_ms: Option<i64>,
    /// How many bytes a partition keeps; negative is no limit, `None` the log's default, which
    /// mostly is none.
    pub retention_bytes: Option<i64>,
}

/// A topic as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicDescription {
    /// Its name.
    pub name: String,
    /// Number of partitions.
    pub partitions: i32,
    /// Copies of each partition.
    pub replicas: i16,
    /// What becomes of old records; `None` where the caller may not ask.
    pub cleanup: Option<CleanupPolicy>,
}

/// The first offset that can be read and the one the next record will get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetRange {
    /// First offset still there.
    pub start: i64,
    /// One past the last readable record (past the last *committed* one for transactions).
    pub end: i64,
}

/// How much one [`Reader::fetch`] may return, and what of it. At least one record is returned if
/// there is one, however large.
#[derive(Clone, Copy, Debug)]
pub struct FetchLimit {
    /// At most this many records.
    pub records: usize,
    /// Stop once keys and values pass this many bytes.
    pub bytes: usize,
    /// Whether records come with their headers. Looking for them is a fifth of what reading a record
    /// from Kafka takes, also where there are none.
    pub headers: bool,
}

/// What [`Reader::fetch`] found.
#[derive(Debug)]
pub struct Fetched {
    /// The records, possibly none.
    pub records: Option<Records>,
    /// Offset to continue from.
    pub next_offset: i64,
    /// Whether the partition had nothing beyond these records when asked.
    pub at_end: bool,
}

/// A log of topics.
#[async_trait]
pub trait Topics: Send + Sync + Debug {
    /// Creates a topic. A topic of that name that exists already is a user error.
    async fn create(&self, topic: &NewTopic) -> Result<()>;

    /// Deletes a topic and its records. One that does not exist is a user error.
    async fn delete(&self, name: &str) -> Result<()>;

    /// The topic of that name, or `None`.
    async fn describe(&self, name: &str) -> Result<Option<TopicDescription>>;

    /// Adds partitions to a topic, so that it has `partitions`; fewer than it has is a user error.
    /// Records with the same key may then be in two partitions.
    async fn grow(&self, name: &str, partitions: i32) -> Result<()>;

    /// All topics, by name; internal ones (Kafka's `__…`) left out.
    async fn list(&self) -> Result<Vec<TopicDescription>>;

    /// The readable range of every partition, in partition order.
    async fn offsets(&self, name: &str) -> Result<Vec<OffsetRange>>;

    /// The end of every partition, in partition order, with what is written and cannot be read yet:
    /// rows of a transaction that is open, or was committed a moment ago.
    async fn written(&self, name: &str) -> Result<Vec<i64>> {
        let ranges = self.offsets(name).await?;
        Ok(ranges.iter().map(|range| range.end).collect())
    }

    /// A reader that stands at `positions` (partition, next offset). An offset outside the
    /// partition's range is an error of [`Reader::fetch`], never a silent jump.
    async fn reader(&self, name: &str, positions: &[(i32, i64)]) -> Result<Box<dyn Reader>>;

    /// Appends records outside any query, durably: what `INSERT INTO … VALUES` and producers use.
    async fn append(&self, name: &str, records: &[NewRecords]) -> Result<()>;
}

/// Reads some partitions of one topic, each at its own pace.
#[async_trait]
pub trait Reader: Send + Sync + Debug {
    /// The next records of `partition`, without waiting. Partitions can be fetched at the same time.
    fn fetch(&self, partition: i32, limit: FetchLimit) -> Result<Fetched>;

    /// Waits until some partition may have records to fetch, at most `timeout`. Returns early for
    /// no reason now and then. Whoever waits has fetched every partition before: one that has
    /// records ends the waiting at once.
    async fn ready(&mut self, timeout: Duration) -> Result<()>;

    /// The topic's number of partitions now; more than before when it has grown.
    async fn partitions(&mut self) -> Result<i32>;

    /// Starts reading one more partition from `offset`.
    fn add_partition(&mut self, partition: i32, offset: i64) -> Result<()>;
}

/// Checks a topic's name, as Kafka does.
pub fn check_name(name: &str) -> Result<()> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let problem = if name.is_empty() {
        "it is empty".to_owned()
    } else if name.len() > 249 {
        format!("it has {} characters, and 249 is the most", name.len())
    } else if name == "." || name == ".." {
        "\".\" and \"..\" are not allowed".to_owned()
    } else if let Some(found) = name.chars().find(|c| !legal(*c)) {
        format!("it contains {found:?}; letters, digits, '.', '_' and '-' are allowed")
    } else {
        return Ok(());
    };
    let shown: String = name.chars().take(60).collect();
    Err(Error::User(format!(
        "\"{shown}\" is not a name for a topic: {problem}"
    )))
}

pub(crate) fn check_new(topic: &NewTopic) -> Result<()> {
    check_name(&topic.name)?;
    if topic.partitions < 1 {
        let NewTopic {
            name, partitions, ..
        } = topic;
        return Err(Error::User(format!(
            "topic \"{name}\" cannot have {partitions} partitions; the least is 1"
        )));
    }
    Ok(())
}

pub(crate) fn no_such_topic(name: &str) -> Error {
    Error::User(format!("topic \"{name}\" does not exist; create it first"))
}

pub(crate) fn topic_exists(name: &str) -> Error {
    Error::User(format!(
        "topic \"{name}\" exists already; choose another name, or use it as it is"
    ))
}

pub(crate) fn no_such_partition(topic: &str, partition: i32, partitions: i32) -> Error {
    Error::User(format!(
        "topic \"{topic}\" has no partition {partition}; it has {partitions}, from 0 on"
    ))
}

pub(crate) fn cannot_shrink(topic: &str, from: i32, to: i32) -> Error {
    Error::User(format!(
        "topic \"{topic}\" has {from} partitions and cannot be given {to}: partitions can only be \
         added"
    ))
}

pub(crate) fn not_reading(topic: &str, partition: i32) -> Error {
    Error::Internal(format!(
        "partition {partition} of topic \"{topic}\" is not being read"
    ))
}

/// What is said when records that are wanted are not, or not yet, or no longer there.
pub(crate) fn out_of_range(topic: &str, partition: i32, wanted: i64, range: OffsetRange) -> Error {
    let cause = if wanted < range.start {
        "the records are gone (retention, deletion, or the topic was created anew)"
    } else {
        "the topic ends before that (it was created anew, or lost records)"
    };
    Error::external(
        format!("read topic \"{topic}\" partition {partition} at offset {wanted}"),
        format!(
            "offsets {} to {} are there: {cause}",
            range.start, range.end
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kafkas() {
        for name in ["a", "A.b_c-9", "...", &"x".repeat(249)] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for (name, expected) in [
            ("", "empty"),
            (".", "not allowed"),
            ("..", "not allowed"),
            ("a b", "' '"),
            ("ümlaut", "'ü'"),
            ("a/b", "'/'"),
            (&"x".repeat(250), "250 characters"),
        ] {
            let error = check_name(name).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
