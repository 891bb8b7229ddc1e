//! The embedded log: the conformance suite, retention and compaction.

use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::for_each_topic_case;
use crate::store::StoreOptions;
use crate::topic::conformance::{Backend, Row, new_records, rows_of};
use crate::topic::{CleanupPolicy, FetchLimit};

const LIMIT: FetchLimit = FetchLimit {
    records: 1000,
    bytes: 1 << 20,
    headers: true,
};

fn open(directory: &Path) -> EmbeddedTopics {
    let options = StoreOptions {
        sync: false,
        ..StoreOptions::default()
    };
    let store = Store::open(directory, options).unwrap();
    EmbeddedTopics::new(store).with_compaction(CompactionOptions {
        dirty_bytes_min: 1,
        dirty_ratio_min: 0.0,
        ..CompactionOptions::default()
    })
}

struct Embedded {
    topics: EmbeddedTopics,
    _directory: tempfile::TempDir,
}

impl Embedded {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self {
            topics: open(directory.path()),
            _directory: directory,
        }
    }
}

#[async_trait]
impl Backend for Embedded {
    fn topics(&self) -> &dyn Topics {
        &self.topics
    }

    fn name(&self, case: &str) -> String {
        let taken = |name: &String| self.topics.store.log().find(name).is_some();
        let mut names = (0..).map(|number| format!("{case}-{number}"));
        names.find(|name| !taken(name)).unwrap()
    }

    async fn maintain(&self, now_ms: i64) -> Result<bool> {
        self.topics.maintain(now_ms).map(|_| true)
    }

    async fn truncate(&self, topic: &str, partition: i32, offset: i64) -> Result<()> {
        self.topics.truncate(topic, partition, offset)
    }

    async fn accept_large(&self, _topic: &str) -> Result<()> {
        Ok(())
    }
}

macro_rules! conformance {
    ($($case:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                crate::topic::conformance::$case(&Embedded::new()).await.unwrap();
            }
        )*
    };
}
for_each_topic_case!(conformance);

fn topic(name: &str, partitions: i32, cleanup: CleanupPolicy) -> NewTopic {
    NewTopic {
        name: name.to_owned(),
        partitions,
        replicas: 1,
        cleanup,
        retention_ms: None,
        retention_bytes: None,
    }
}

fn read(topics: &EmbeddedTopics, name: &str, start: i64, limit: FetchLimit) -> Vec<(i64, Row)> {
    let topic = topics.store.log().topic(name).unwrap();
    let mut reader = EmbeddedReader::new(topics.store.clone(), topic);
    reader.add_partition(0, start).unwrap();
    let mut rows = Vec::new();
    loop {
        let fetched = reader.fetch(0, limit).unwrap();
        rows.extend(fetched.records.iter().flat_map(rows_of));
        if fetched.at_end {
            return rows;
        }
        assert!(fetched.records.is_some(), "neither records nor the end");
    }
}

#[test]
fn records_and_state_are_committed_together() {
    let directory = tempfile::tempdir().unwrap();
    let topics = open(directory.path());
    topics
        .create_now(&topic("t", 2, CleanupPolicy::Delete))
        .unwrap();
    let row = Row::new(1, "k", "v");
    let mut commit = topics.store.begin();
    commit.put_meta(b"epoch", b"1");
    for partition in [1, 0, 1] {
        commit
            .append("t", &new_records(partition, &[row.clone(), row.clone()]))
            .unwrap();
    }
    commit.append("t", &new_records(0, &[])).unwrap();
    let result = topics.store.commit(commit, Durability::Sync).unwrap();
    let places: Vec<_> = result
        .appended
        .iter()
        .map(|to| (to.partition, to.offsets.clone()))
        .collect();
    assert_eq!(places, [(1, 0..2), (0, 0..2), (1, 2..4), (0, 0..0)]);
    // Nothing of a commit that cannot be.
    let mut commit = topics.store.begin();
    commit.put_meta(b"epoch", b"2");
    commit
        .append("t", &new_records(0, std::slice::from_ref(&row)))
        .unwrap();
    commit
        .append("none", &new_records(0, std::slice::from_ref(&row)))
        .unwrap();
    let error = topics.store.commit(commit, Durability::Sync).unwrap_err();
    assert!(matches!(error, Error::User(_)), "{error:?}");
    drop(topics);
    let topics = open(directory.path());
    assert_eq!(topics.store.get_meta(b"epoch").unwrap().unwrap(), b"1");
    assert_eq!(read(&topics, "t", 0, LIMIT), [(0, row.clone()), (1, row)]);
}

#[test]
fn a_topics_id_is_not_given_again() {
    let directory = tempfile::tempdir().unwrap();
    let topics = open(directory.path());
    let id = |topics: &EmbeddedTopics| topics.store.log().topic("t").unwrap().id();
    topics
        .create_now(&topic("t", 1, CleanupPolicy::Delete))
        .unwrap();
    let first = id(&topics);
    topics.delete_now("t").unwrap();
    drop(topics);
    let topics = open(directory.path());
    assert!(topics.store.log().find("t").is_none());
    topics
        .create_now(&topic("t", 1, CleanupPolicy::Delete))
        .unwrap();
    assert!(id(&topics) > first);
    assert_eq!(read(&topics, "t", 0, LIMIT), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_learn_of_a_deletion() {
    let embedded = Embedded::new();
    embedded
        .topics
        .create(&topic("t", 1, CleanupPolicy::Delete))
        .await
        .unwrap();
    let mut reader = embedded.topics.reader("t", &[(0, 0)]).await.unwrap();
    let topics = embedded.topics.clone();
    let deletion = async move {
        tokio::time::sleep(Duration::from_millis(30)).await;
        topics.delete("t").await
    };
    let (deleted, ready) = tokio::join!(deletion, reader.ready(Duration::from_secs(60)));
    deleted.unwrap();
    ready.unwrap();
    let message = reader.fetch(0, LIMIT).unwrap_err().to_string();
    assert!(message.contains("\"t\" does not exist"), "{message}");
    assert!(reader.partitions().await.is_err());
}

#[tokio::test]
async fn too_many_partitions_are_refused() {
    let embedded = Embedded::new();
    let error = embedded
        .topics
        .create(&topic("t", 10_001, CleanupPolicy::Delete))
        .await;
    assert!(error.unwrap_err().to_string().contains("at most 10000"));
}

#[test]
fn a_record_is_readable_once_all_before_it_are_written() {
    let partition = Partition::new(0);
    let (first, _) = partition.reserve(10, 100).unwrap();
    let (second, bytes_before) = partition.reserve(5, 50).unwrap();
    assert_eq!((first, second, bytes_before), (0, 10, 100));
    partition.written(second);
    assert_eq!(partition.range(), OffsetRange { start: 0, end: 0 });
    partition.written(first);
    assert_eq!(partition.range(), OffsetRange { start: 0, end: 15 });
}

/// What a topic should hold after some operations.
#[derive(Default)]
struct Model {
    start: i64,
    next: i64,
    rows: Vec<(i64, Row)>,
}

#[derive(Clone, Debug)]
enum Op {
    /// Records of these sizes with keys from a few, some of them tombstones.
    Append(Vec<(u8, Option<usize>)>),
    Truncate(i64),
    Compact,
    Reopen,
    Read {
        start: i64,
        records: usize,
        bytes: usize,
    },
}

fn any_op() -> impl Strategy<Value = Op> {
    let size = prop_oneof![9 => 0..100_usize, 1 => 10_000..100_000_usize];
    let record = (0..6_u8, proptest::option::weighted(0.9, size));
    prop_oneof![
        6 => proptest::collection::vec(record, 0..30).prop_map(Op::Append),
        1 => (0..200_i64).prop_map(Op::Truncate),
        2 => Just(Op::Compact),
        1 => Just(Op::Reopen),
        4 => (0..200_i64, 1..50_usize, 1..50_000_usize)
            .prop_map(|(start, records, bytes)| Op::Read { start, records, bytes }),
    ]
}

fn run(ops: Vec<Op>, cleanup: CleanupPolicy) -> Result<(), TestCaseError> {
    let directory = tempfile::tempdir()?;
    let mut topics = open(directory.path());
    topics.create_now(&topic("t", 1, cleanup))?;
    let mut model = Model::default();
    for op in ops {
        match op {
            Op::Append(records) => {
                let row = |(key, size): (u8, Option<usize>)| Row {
                    timestamp: 1,
                    key: Some(vec![key]),
                    value: size.map(|size| vec![b'x'; size]),
                    headers: Vec::new(),
                };
                let rows: Vec<Row> = records.into_iter().map(row).collect();
                let mut commit = topics.store.begin();
                commit.append("t", &new_records(0, &rows))?;
                let result = topics.store.commit(commit, Durability::Sync)?;
                prop_assert_eq!(result.appended[0].offsets.start, model.next);
                for row in rows {
                    model.rows.push((model.next, row));
                    model.next += 1;
                }
            }
            Op::Truncate(offset) => {
                topics.truncate("t", 0, offset)?;
                model.start = model.start.max(offset.min(model.next));
                model.rows.retain(|row| row.0 >= model.start);
            }
            Op::Compact => {
                topics.maintain(0)?;
                if cleanup == CleanupPolicy::Compact {
                    let rows = std::mem::take(&mut model.rows);
                    let later = |row: &(i64, Row)| {
                        rows.iter()
                            .any(|other| other.0 > row.0 && other.1.key == row.1.key)
                    };
                    model.rows = rows.iter().filter(|row| !later(row)).cloned().collect();
                }
            }
            Op::Reopen => {
                drop(topics);
                topics = open(directory.path());
            }
            Op::Read {
                start,
                records,
                bytes,
            } => {
                let start = start.clamp(model.start, model.next);
                let limit = FetchLimit {
                    records,
                    bytes,
                    headers: true,
                };
                let found = read(&topics, "t", start, limit);
                let expected: Vec<_> = model
                    .rows
                    .iter()
                    .filter(|row| row.0 >= start)
                    .cloned()
                    .collect();
                prop_assert_eq!(found, expected);
            }
        }
        let range = topics.store.log().topic("t")?.partition(0)?.range();
        prop_assert_eq!(
            range,
            OffsetRange {
                start: model.start,
                end: model.next
            }
        );
    }
    prop_assert_eq!(read(&topics, "t", model.start, LIMIT), model.rows);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_log_does_as_its_model(ops in proptest::collection::vec(any_op(), 1..30)) {
        run(ops, CleanupPolicy::Delete)?;
    }

    #[test]
    fn a_compacted_log_does_as_its_model(ops in proptest::collection::vec(any_op(), 1..30)) {
        run(ops, CleanupPolicy::Compact)?;
    }
}
