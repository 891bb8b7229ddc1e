//! What librdkafka says during a transaction, and what is made of it.

use std::collections::BTreeMap;

use super::*;
use crate::topic::Topics;
use crate::topic::conformance::{Row, new_records};
use crate::topic::kafka::tests::{Broker, new_topic, read, unique};

fn marker(epoch: u64) -> Marker {
    Marker {
        engine: "e".into(),
        query: "q".into(),
        epoch,
        plan: "p".into(),
    }
}

fn rows(epoch: u64, count: usize) -> Vec<Row> {
    (0..count)
        .map(|i| Row::new(1000 + i as i64, &format!("{epoch}"), &format!("{i}")))
        .collect()
}

struct Sink {
    topics: KafkaTopics,
    topic: String,
    id: String,
    _broker: Arc<Broker>,
}

impl Sink {
    async fn new(case: &str) -> Option<Self> {
        let broker = Broker::shared()?;
        let topics = broker.connect().await;
        let topic = unique(case);
        topics.create(&new_topic(&topic, 2)).await.unwrap();
        let id = format!("kappa-{topic}");
        Some(Self {
            topics,
            topic,
            id,
            _broker: broker,
        })
    }

    fn producer(&self) -> TransactionalProducer {
        TransactionalProducer::new(&self.topics, &self.id, &self.topic).unwrap()
    }

    /// Sends an epoch, half of it to each partition.
    async fn send(&self, producer: &mut TransactionalProducer, epoch: u64) -> Result<()> {
        let rows = rows(epoch, 10);
        for (partition, half) in (0..).zip(rows.chunks(5)) {
            let seq = partition as u64 * 5;
            producer
                .send(&self.topic, new_records(partition, half), epoch, seq)
                .await?;
        }
        Ok(())
    }

    async fn write(&self, producer: &mut TransactionalProducer, epoch: u64) -> Result<()> {
        producer.begin().await?;
        self.send(producer, epoch).await?;
        producer.commit(&marker(epoch)).await
    }

    /// Epochs and how often each of their rows is there, by their headers.
    async fn seen(&self) -> BTreeMap<u64, Vec<u64>> {
        let mut seen: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for partition in 0..2 {
            for (_, row) in read(&self.topics, &self.topic, partition).await {
                let header = |name: &str| {
                    let found = row.headers.iter().find(|header| header.0 == name).unwrap();
                    String::from_utf8(found.1.clone().unwrap()).unwrap()
                };
                let epoch = header(EPOCH_HEADER);
                let (id, epoch) = epoch.rsplit_once(':').unwrap();
                assert_eq!(id, self.id);
                let epoch: u64 = epoch.parse().unwrap();
                assert_eq!(row.key.as_deref(), Some(epoch.to_string().as_bytes()));
                seen.entry(epoch)
                    .or_default()
                    .push(header(SEQ_HEADER).parse().unwrap());
            }
        }
        seen
    }

    /// Kafka lets readers see a transaction a moment after it is committed.
    async fn assert_seen(&self, epochs: impl IntoIterator<Item = u64>) {
        let each: Vec<u64> = (0..10).collect();
        let expected: BTreeMap<_, _> = epochs.into_iter().map(|e| (e, each.clone())).collect();
        let begun = Instant::now();
        loop {
            let seen = self.seen().await;
            if seen == expected || begun.elapsed() > Duration::from_secs(60) {
                assert_eq!(seen, expected);
                return;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_and_marker_are_committed_together() {
    let Some(sink) = Sink::new("together").await else {
        return;
    };
    let mut producer = sink.producer();
    assert_eq!(producer.init().await.unwrap(), None);
    assert_eq!(producer.epoch_in_records(&sink.topic).await.unwrap(), None);
    for epoch in 1..=5 {
        sink.write(&mut producer, epoch).await.unwrap();
    }
    sink.assert_seen(1..=5).await;
    drop(producer);
    let mut next = sink.producer();
    assert_eq!(next.init().await.unwrap(), Some(marker(5)));
    assert_eq!(next.epoch_in_records(&sink.topic).await.unwrap(), Some(5));
    // An epoch without rows is committed, too.
    next.begin().await.unwrap();
    next.commit(&marker(6)).await.unwrap();
    assert_eq!(next.init().await.unwrap(), Some(marker(6)));
    sink.write(&mut next, 7).await.unwrap();
    sink.assert_seen([1, 2, 3, 4, 5, 7]).await;
}

/// A process that dies after each step of an epoch, followed by one that asks how far it came.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_any_step_leaves_all_of_an_epoch_or_nothing() {
    let Some(sink) = Sink::new("crash").await else {
        return;
    };
    let mut local = 0;
    for round in 0..12_u64 {
        let mut producer = sink.producer();
        let committed = producer
            .init()
            .await
            .unwrap()
            .map_or(0, |marker| marker.epoch);
        assert!(committed <= local, "Kafka is ahead");
        for epoch in committed + 1..=local {
            sink.write(&mut producer, epoch).await.unwrap();
        }
        // What was committed locally by a process that then died at one of the steps.
        local += 1;
        if round % 4 > 0 {
            producer.begin().await.unwrap();
        }
        if round % 4 > 1 {
            sink.send(&mut producer, local).await.unwrap();
        }
        if round % 4 > 2 {
            producer.commit(&marker(local)).await.unwrap();
        }
        drop(producer);
    }
    let mut producer = sink.producer();
    let committed = producer.init().await.unwrap().unwrap().epoch;
    for epoch in committed + 1..=local {
        sink.write(&mut producer, epoch).await.unwrap();
    }
    // Recovery may run twice.
    assert_eq!(sink.producer().init().await.unwrap(), Some(marker(local)));
    sink.assert_seen(1..=local).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_twin_fences_the_first() {
    let Some(sink) = Sink::new("twin").await else {
        return;
    };
    let mut first = sink.producer();
    first.init().await.unwrap();
    sink.write(&mut first, 1).await.unwrap();
    first.begin().await.unwrap();
    sink.send(&mut first, 2).await.unwrap();
    let mut twin = sink.producer();
    assert_eq!(twin.init().await.unwrap(), Some(marker(1)));
    let error = first.commit(&marker(2)).await.unwrap_err();
    assert!(!error.is_retryable(), "{error}");
    let message = error.to_string();
    assert!(
        message.contains("another Kappa has taken over"),
        "{message}"
    );
    assert!(message.contains(&sink.id), "{message}");
    assert!(first.begin().await.is_err(), "it writes on");
    sink.write(&mut twin, 2).await.unwrap();
    sink.assert_seen(1..=2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aborted_rows_are_never_seen() {
    let Some(sink) = Sink::new("abort").await else {
        return;
    };
    let mut producer = sink.producer();
    producer.init().await.unwrap();
    for epoch in 1..=6 {
        if epoch % 2 == 0 {
            producer.begin().await.unwrap();
            sink.send(&mut producer, epoch).await.unwrap();
            producer.abort().await.unwrap();
        } else {
            sink.write(&mut producer, epoch).await.unwrap();
        }
    }
    sink.assert_seen([1, 3, 5]).await;
    // Aborted rows at the end do not hide the last epoch.
    assert_eq!(
        producer.epoch_in_records(&sink.topic).await.unwrap(),
        Some(5)
    );
    producer.abort().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_takes_too_long_is_sent_again() {
    let Some(broker) = Broker::shared() else {
        return;
    };
    let short = [("transaction.timeout.ms", "1500")];
    let properties = crate::topic::kafka::properties::Properties::try_new(
        crate::topic::kafka::properties::Origin::Operator,
        short,
    );
    let topics = KafkaTopics::connect(&broker.bootstrap, properties.unwrap())
        .await
        .unwrap();
    let topic = unique("slow");
    topics.create(&new_topic(&topic, 2)).await.unwrap();
    let id = format!("kappa-{topic}");
    let sink = Sink {
        topics,
        topic,
        id,
        _broker: broker,
    };
    let mut producer = sink.producer();
    producer.init().await.unwrap();
    producer.begin().await.unwrap();
    sink.send(&mut producer, 1).await.unwrap();
    tokio::time::sleep(Duration::from_secs(6)).await;
    let error = producer.commit(&marker(1)).await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    assert_eq!(producer.init().await.unwrap(), None);
    sink.write(&mut producer, 1).await.unwrap();
    sink.assert_seen([1]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_restarts_in_a_transaction_loses_nothing() {
    let Some(broker) = Broker::own() else { return };
    let topics = broker.connect().await;
    let topic = unique("restart");
    topics.create(&new_topic(&topic, 2)).await.unwrap();
    let id = format!("kappa-{topic}");
    let broker = Arc::new(broker);
    let sink = Sink {
        topics,
        topic,
        id,
        _broker: broker.clone(),
    };
    let mut producer = sink.producer();
    producer.init().await.unwrap();
    sink.write(&mut producer, 1).await.unwrap();
    producer.begin().await.unwrap();
    sink.send(&mut producer, 2).await.unwrap();
    broker.run("stop", &["-9"]);
    let second = marker(2);
    let (restarted, committed) = tokio::join!(
        tokio::task::spawn_blocking(move || broker.run("start", &[])),
        producer.commit(&second),
    );
    restarted.unwrap();
    if let Err(error) = committed {
        assert!(error.is_retryable(), "{error}");
        let found = producer.init().await.unwrap().map(|marker| marker.epoch);
        if found == Some(1) {
            sink.write(&mut producer, 2).await.unwrap();
        }
    }
    // A commit during which connections broke is followed by a new producer.
    sink.write(&mut producer, 3).await.unwrap();
    sink.assert_seen(1..=3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_transactions_do_not_wait_for_a_timer() {
    let Some(sink) = Sink::new("quick").await else {
        return;
    };
    let mut producer = sink.producer();
    producer.init().await.unwrap();
    sink.write(&mut producer, 1).await.unwrap();
    let mut times = Vec::new();
    for epoch in 2..22 {
        let begun = Instant::now();
        sink.write(&mut producer, epoch).await.unwrap();
        times.push(begun.elapsed());
    }
    times.sort();
    assert!(times[10] < Duration::from_millis(95), "{times:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn misuse_is_an_error() {
    let Some(sink) = Sink::new("misuse").await else {
        return;
    };
    let mut producer = sink.producer();
    assert!(producer.begin().await.is_err(), "not initialised");
    producer.init().await.unwrap();
    let records = new_records(0, &rows(1, 1));
    assert!(
        producer
            .send(&sink.topic, records.clone(), 1, 0)
            .await
            .is_err(),
        "not begun"
    );
    producer.begin().await.unwrap();
    assert!(producer.begin().await.is_err(), "begun twice");
    let error = producer.send("no-such-topic", records, 1, 0).await;
    let error = match error {
        Ok(()) => producer.commit(&marker(1)).await.unwrap_err(),
        Err(error) => error,
    };
    assert!(!error.is_retryable(), "{error}");
    let missing = TransactionalProducer::new(&sink.topics, &sink.id, "no-such-topic");
    let error = missing.unwrap().init().await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("\"no-such-topic\" does not exist"),
        "{error}"
    );
}

/// What is not committed is beyond the end, and so is all that comes after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_transaction_is_the_end() {
    let Some(sink) = Sink::new("open").await else {
        return;
    };
    let (topics, topic) = (&sink.topics, &sink.topic);
    let append = async |key: &str| {
        let records = [new_records(0, &[Row::new(1, key, "v")])];
        topics.append(topic, &records).await.unwrap();
    };
    let end = async || topics.offsets(topic).await.unwrap()[0].end;
    append("a").await;
    let mut writer = sink.producer();
    writer.init().await.unwrap();
    writer.begin().await.unwrap();
    let records = new_records(0, &[Row::new(2, "b", "v")]);
    writer.send(topic, records, 1, 0).await.unwrap();
    let session = writer.session().unwrap();
    while session.transaction.as_ref().unwrap().delivery.delivered() == 0 {
        session.producer.poll(Duration::from_millis(1));
    }
    append("c").await;
    assert_eq!(end().await, 1);
    assert_eq!(read(topics, topic, 0).await.len(), 1);
    writer.commit(&marker(1)).await.unwrap();
    let begun = Instant::now();
    while end().await != 4 {
        assert!(begun.elapsed() < Duration::from_secs(10), "{}", end().await);
    }
    let rows = read(topics, topic, 0).await;
    let keys: Vec<_> = rows
        .iter()
        .map(|(offset, row)| (*offset, row.key.clone()))
        .collect();
    let expected = [(0, "a"), (1, "b"), (2, "c")];
    assert_eq!(
        keys,
        expected.map(|(offset, key)| (offset, Some(key.as_bytes().to_vec())))
    );
}
