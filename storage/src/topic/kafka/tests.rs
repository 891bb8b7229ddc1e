//! Tests against a real broker, which `KAPPA_TEST_SERVERS` (the folder `tests/servers`) starts.
//! Without it they say so and pass.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use rdkafka::admin::AlterConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use tokio::time::Instant;

use super::columns::Columns;
use super::context::ReadContext;
use super::properties::Origin;
use super::queue::{BatchedQueue, PolledQueue, Queue, Stop};
use super::transaction::TransactionalProducer;
use super::*;
use crate::topic::FetchLimit;
use crate::topic::conformance::{self, Backend, Row, new_records, rows_of};

/// A broker of the tests' own; ends with the last reference.
pub(super) struct Broker {
    script: PathBuf,
    directory: tempfile::TempDir,
    pub(super) bootstrap: String,
}

impl Broker {
    /// The broker that running tests share, or `None` where there are no servers.
    pub(super) fn shared() -> Option<Arc<Self>> {
        static RUNNING: Mutex<Weak<Broker>> = Mutex::new(Weak::new());
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(broker) = running.upgrade() {
            return Some(broker);
        }
        let broker = Arc::new(Self::own()?);
        *running = Arc::downgrade(&broker);
        Some(broker)
    }

    /// A broker of its own for a test that stops it.
    pub(super) fn own() -> Option<Self> {
        let required = std::env::var_os("KAPPA_REQUIRE_SERVERS").is_some_and(|value| value == "1");
        let Some(servers) = std::env::var_os("KAPPA_TEST_SERVERS") else {
            assert!(
                !required,
                "KAPPA_REQUIRE_SERVERS=1, and no KAPPA_TEST_SERVERS"
            );
            eprintln!("KAPPA_TEST_SERVERS is not set: not tested against Kafka");
            return None;
        };
        let directory = tempfile::tempdir().unwrap();
        let script = PathBuf::from(servers).join("kafka");
        let mut broker = Self {
            script,
            directory,
            bootstrap: String::new(),
        };
        let said = broker.run("start", &[]);
        let line = said
            .lines()
            .find_map(|line| line.strip_prefix("BOOTSTRAP="));
        broker.bootstrap = line.expect("the script names the broker").to_owned();
        Some(broker)
    }

    pub(super) fn run(&self, verb: &str, options: &[&str]) -> String {
        let output = Command::new(&self.script)
            .arg(verb)
            .args(options)
            .arg(self.directory.path())
            .output()
            .expect("the script can be run");
        assert!(
            output.status.success(),
            "{verb}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    pub(super) async fn connect(&self) -> KafkaTopics {
        KafkaTopics::connect(&self.bootstrap, Properties::default())
            .await
            .unwrap()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.run("stop", &["-9"]);
    }
}

struct Kafka {
    topics: KafkaTopics,
    _broker: Arc<Broker>,
}

pub(super) fn unique(case: &str) -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    format!(
        "{case}-{}-{}",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    )
}

#[async_trait]
impl Backend for Kafka {
    fn topics(&self) -> &dyn Topics {
        &self.topics
    }

    fn name(&self, case: &str) -> String {
        unique(case)
    }

    async fn maintain(&self, _now_ms: i64) -> Result<bool> {
        Ok(false)
    }

    async fn truncate(&self, topic: &str, partition: i32, offset: i64) -> Result<()> {
        self.topics.truncate(topic, partition, offset).await
    }

    async fn accept_large(&self, topic: &str) -> Result<()> {
        let large =
            AlterConfig::new(ResourceSpecifier::Topic(topic)).set("max.message.bytes", "20000000");
        let altered = self
            .topics
            .cluster
            .admin
            .alter_configs([&large], &options())
            .await;
        altered.unwrap().remove(0).unwrap();
        Ok(())
    }
}

macro_rules! conformance {
    ($($case:ident,)*) => {
        mod conforms {
            use super::*;

            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    let Some(broker) = Broker::shared() else { return };
                    let backend = Kafka { topics: broker.connect().await, _broker: broker };
                    conformance::$case(&backend).await.unwrap();
                }
            )*
        }
    };
}
crate::for_each_topic_case!(conformance);

pub(super) fn new_topic(name: &str, partitions: i32) -> NewTopic {
    NewTopic {
        name: name.to_owned(),
        partitions,
        replicas: 1,
        cleanup: CleanupPolicy::Delete,
        // The times of these records are long past.
        retention_ms: Some(-1),
        retention_bytes: None,
    }
}

/// Reads a partition from its start to its end.
pub(super) async fn read(topics: &KafkaTopics, topic: &str, partition: i32) -> Vec<(i64, Row)> {
    let start = topics.offsets(topic).await.unwrap()[partition as usize].start;
    let mut reader = topics.reader(topic, &[(partition, start)]).await.unwrap();
    let mut rows = Vec::new();
    let limit = FetchLimit {
        records: 1000,
        bytes: 1 << 20,
        headers: true,
    };
    loop {
        let fetched = reader.fetch(partition, limit).unwrap();
        rows.extend(fetched.records.iter().flat_map(rows_of));
        if fetched.at_end {
            return rows;
        }
        reader.ready(Duration::from_millis(100)).await.unwrap();
    }
}

/// Records of many shapes, a transaction that was aborted in their middle.
async fn many_shapes(broker: &Broker) -> (KafkaTopics, String) {
    let topics = broker.connect().await;
    let name = unique("shapes");
    topics.create(&new_topic(&name, 1)).await.unwrap();
    let row = |number: usize| Row {
        timestamp: 1_700_000_000_000 + number as i64,
        key: (!number.is_multiple_of(3)).then(|| vec![7; number % 5]),
        value: (!number.is_multiple_of(7)).then(|| vec![b'v'; number % 1000]),
        headers: (0..number % 4)
            .map(|header| {
                (
                    format!("h{header}"),
                    (header > 0).then(|| vec![0; header - 1]),
                )
            })
            .collect(),
    };
    let rows: Vec<Row> = (0..6000).map(row).collect();
    topics
        .append(&name, &[new_records(0, &rows[..3000])])
        .await
        .unwrap();
    let mut aborted = TransactionalProducer::new(&topics, &unique("aborted"), &name).unwrap();
    aborted.init().await.unwrap();
    aborted.begin().await.unwrap();
    aborted
        .send(&name, new_records(0, &rows[..100]), 1, 0)
        .await
        .unwrap();
    aborted.abort().await.unwrap();
    topics
        .append(&name, &[new_records(0, &rows[3000..])])
        .await
        .unwrap();
    (topics, name)
}

/// Reads all with one way of emptying a queue, and where each fetch stopped.
fn read_with(
    topics: &KafkaTopics,
    topic: &str,
    limit: FetchLimit,
    queue: impl FnOnce(&Arc<BaseConsumer<ReadContext>>) -> Box<dyn Queue>,
) -> (Vec<(i64, Row)>, Vec<usize>) {
    let mut config = topics.cluster.consumer_config();
    config.set("group.id", "test");
    let consumer = Arc::new(config.create_with_context(ReadContext::default()).unwrap());
    let mut queue = queue(&consumer);
    let mut start = rdkafka::TopicPartitionList::new();
    start
        .add_partition_offset(topic, 0, rdkafka::Offset::Offset(0))
        .unwrap();
    consumer.assign(&start).unwrap();
    let (mut rows, mut lengths) = (Vec::new(), Vec::new());
    let begun = Instant::now();
    loop {
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "{} rows came",
            rows.len()
        );
        let mut columns = Columns::new(limit, 0);
        let stop = loop {
            match queue.read(&mut columns) {
                Stop::Empty => std::thread::sleep(Duration::from_millis(1)),
                stop => break stop,
            }
        };
        let records = columns.finish().unwrap();
        lengths.push(records.len());
        rows.extend(rows_of(&records));
        match stop {
            Stop::Full => {}
            Stop::End(_) => return (rows, lengths),
            stop => panic!("{stop:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_are_what_polling_gives() {
    let Some(broker) = Broker::shared() else {
        return;
    };
    let (topics, name) = many_shapes(&broker).await;
    let limits = [(10_000, usize::MAX), (7, usize::MAX), (5000, 3000), (1, 1)];
    for ((records, bytes), headers) in limits.into_iter().zip([true, false, true, false]) {
        let limit = FetchLimit {
            records,
            bytes,
            headers,
        };
        let polled = read_with(&topics, &name, limit, |consumer| {
            let queue = consumer.split_partition_queue(&name, 0).unwrap();
            Box::new(PolledQueue { queue })
        });
        let batched = read_with(&topics, &name, limit, |consumer| {
            let _split = consumer.split_partition_queue(&name, 0).unwrap();
            Box::new(BatchedQueue::new(consumer, &name, 0).unwrap())
        });
        assert_eq!(polled.0.len(), 6000);
        assert_eq!(polled, batched, "{limit:?}");
    }
    topics.delete(&name).await.unwrap();
}

/// Messages that were taken from librdkafka and not used are destroyed with the queue.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_may_be_dropped_in_the_middle() {
    let Some(broker) = Broker::shared() else {
        return;
    };
    let (topics, name) = many_shapes(&broker).await;
    for _ in 0..5 {
        let mut reader = topics.reader(&name, &[(0, 0)]).await.unwrap();
        let limit = FetchLimit {
            records: 900,
            bytes: 5000,
            headers: true,
        };
        while reader.fetch(0, limit).unwrap().records.is_none() {
            reader.ready(Duration::from_millis(100)).await.unwrap();
        }
    }
    topics.delete(&name).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_is_away_is_named() {
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = unused.local_addr().unwrap().to_string();
    drop(unused);
    let begun = Instant::now();
    let error = KafkaTopics::connect(&address, Properties::default())
        .await
        .unwrap_err();
    assert!(error.is_retryable(), "{error}");
    let message = error.to_string();
    assert!(
        message.contains(&format!("connect to Kafka at {address}")),
        "{message}"
    );
    assert!(message.contains("refused"), "{message}");
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
}

/// A server that takes connections and says nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_does_not_answer_is_not_waited_for_for_ever() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let begun = Instant::now();
    let error = KafkaTopics::connect(&address, Properties::default())
        .await
        .unwrap_err();
    assert!(
        error.is_retryable() && error.to_string().contains(&address),
        "{error}"
    );
    assert!(
        begun.elapsed() < Duration::from_secs(15),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn names_that_are_none_are_user_errors() {
    for servers in ["", "no-such-host.invalid:1", "127.0.0.1:notaport"] {
        let error = KafkaTopics::connect(servers, Properties::default())
            .await
            .unwrap_err();
        assert!(!error.to_string().is_empty());
    }
    let wrong = Properties::try_new(Origin::Operator, [("socket.timeout.ms", "soon")]).unwrap();
    let error = KafkaTopics::connect("127.0.0.1:1", wrong)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::User(_)), "{error:?}");
    assert!(error.to_string().contains("socket.timeout.ms"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_went_away_is_read_on_when_it_is_back() {
    let Some(broker) = Broker::own() else { return };
    let topics = broker.connect().await;
    let name = unique("away");
    topics.create(&new_topic(&name, 1)).await.unwrap();
    topics
        .append(&name, &[new_records(0, &[Row::new(1, "a", "1")])])
        .await
        .unwrap();
    let limit = FetchLimit {
        records: 1000,
        bytes: 1 << 20,
        headers: true,
    };
    let mut reader = topics.reader(&name, &[(0, 0)]).await.unwrap();
    let mut next = 0;
    while next < 1 {
        next = reader.fetch(0, limit).unwrap().next_offset;
        reader.ready(Duration::from_millis(100)).await.unwrap();
    }
    broker.run("stop", &["-9"]);
    let begun = Instant::now();
    let error = loop {
        match reader.fetch(0, limit) {
            Err(error) => break error,
            Ok(fetched) => assert!(fetched.records.is_none()),
        }
        reader.ready(Duration::from_millis(100)).await.unwrap();
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "nothing was said"
        );
    };
    assert!(error.is_retryable(), "{error}");
    assert!(error.to_string().contains(&broker.bootstrap), "{error}");
    let records = [new_records(0, &[Row::new(2, "b", "2")])];
    let error = topics.append(&name, &records).await.unwrap_err();
    assert!(
        error.is_retryable() && error.to_string().contains(&name),
        "{error}"
    );
    let error = topics.describe(&name).await.unwrap_err();
    assert!(
        error.is_retryable() && error.to_string().contains(&broker.bootstrap),
        "{error}"
    );
    broker.run("start", &[]);
    // The same reader goes on, and so does everything else.
    topics
        .append(&name, &[new_records(0, &[Row::new(3, "c", "3")])])
        .await
        .unwrap();
    let begun = Instant::now();
    let rows = loop {
        assert!(begun.elapsed() < Duration::from_secs(30), "nothing came");
        match reader.fetch(0, limit) {
            Ok(fetched) if fetched.records.is_some() => break rows_of(&fetched.records.unwrap()),
            Ok(_) => reader.ready(Duration::from_millis(100)).await.unwrap(),
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
    };
    assert_eq!(rows[0].1, Row::new(3, "c", "3"));
}
