//! Push queries and topics that change under running queries.

use std::time::Duration;

use kappa_engine::{Response, Subscription};
use kappa_tests::instance;
use kappa_tests::server::Server;
use kappa_tests::topic::partition_of;

use crate::incarnation::Incarnation;

const STREAM: &str = "CREATE STREAM s (id INT KEY, v INT) \
                      WITH (KAFKA_TOPIC = 's', VALUE_FORMAT = 'JSON', PARTITIONS = 1)";

fn send(kappa: &Incarnation, partitions: i32, ids: std::ops::Range<i32>) {
    for id in ids {
        kappa.send(
            "s",
            partitions,
            id,
            Some(format!("{{\"V\":{id}}}")),
            i64::from(id),
        );
    }
}

fn subscribe(kappa: &Incarnation, query: &str) -> Subscription {
    match kappa.try_execute(query) {
        Ok(Response::Push(subscription)) => subscription,
        other => panic!("{query}: {other:?}"),
    }
}

/// Takes rows until there are as many as wanted, or the query ends.
fn take(kappa: &Incarnation, subscription: &mut Subscription, wanted: usize) -> usize {
    let mut rows = 0;
    while rows < wanted {
        match kappa.block_on(subscription.next()) {
            Some(batch) => rows += batch.unwrap().num_rows(),
            None => break,
        }
    }
    rows
}

#[test]
fn a_slow_subscriber_is_told_and_holds_up_nobody() {
    let data_dir = instance::data_dir().unwrap();
    let kappa = Incarnation::open(instance::config(
        data_dir.path(),
        &[("step.max.rows", "10")],
    ));
    kappa.execute(STREAM);
    kappa.execute("SET 'step.max.rows' = '10'");
    let mut slow = subscribe(&kappa, "SELECT id, v FROM s EMIT CHANGES");
    let mut quick = subscribe(&kappa, "SELECT id, v FROM s EMIT CHANGES");
    kappa.execute("CREATE TABLE counts AS SELECT v % 2 AS k, COUNT(*) AS n FROM s GROUP BY v % 2");
    send(&kappa, 1, 0..2_000);
    assert_eq!(take(&kappa, &mut quick, 2_000), 2_000);
    kappa.flush();
    assert_eq!(kappa.ask("SELECT SUM(n) FROM counts"), [["2000"]]);
    // The slow one has its 16 batches of 10, and knows what it has not seen. Lag is measured every
    // half second of the engine's clock.
    for _ in 0..100 {
        kappa.tick();
        if slow.lag() > 0 {
            break;
        }
    }
    assert!(slow.lag() > 1_000, "{}", slow.lag());
    assert_eq!(take(&kappa, &mut slow, 2_000), 2_000, "and loses nothing");
    drop((slow, quick));
    kappa.shut_down();
}

#[test]
fn a_limit_ends_a_push_query() {
    let data_dir = instance::data_dir().unwrap();
    let kappa = Incarnation::open(instance::config(data_dir.path(), &[]));
    kappa.execute(STREAM);
    send(&kappa, 1, 0..10);
    let mut rows = subscribe(&kappa, "SELECT id FROM s EMIT CHANGES LIMIT 3");
    assert_eq!(take(&kappa, &mut rows, usize::MAX), 3);
    kappa.shut_down();
}

/// Rows in partitions that came later are read from their beginning.
fn partitions_are_discovered(kappa: &Incarnation) {
    kappa.execute(STREAM);
    kappa.execute("CREATE TABLE counts AS SELECT id, COUNT(*) AS n FROM s GROUP BY id");
    send(kappa, 1, 0..20);
    kappa.flush();
    kappa.block_on(kappa.engine.topics().grow("s", 3)).unwrap();
    send(kappa, 3, 20..60);
    assert!((20..60).any(|id: i32| partition_of(&id.to_be_bytes(), 3) > 0));
    kappa.flush();
    assert_eq!(
        kappa.ask("SELECT COUNT(*), SUM(n) FROM counts"),
        [["60", "60"]]
    );
}

#[test]
fn new_partitions_are_read() {
    let data_dir = instance::data_dir().unwrap();
    let kappa = Incarnation::open(instance::config(data_dir.path(), &[]));
    partitions_are_discovered(&kappa);
    kappa.shut_down();
    let kappa = Incarnation::open(instance::config(data_dir.path(), &[]));
    send(&kappa, 3, 60..70);
    kappa.flush();
    assert_eq!(
        kappa.ask("SELECT COUNT(*), SUM(n) FROM counts"),
        [["70", "70"]]
    );
    kappa.shut_down();
}

#[test]
fn new_partitions_are_read_from_kafka() {
    let Some(server) = Server::start("kafka").unwrap() else {
        return;
    };
    let data_dir = instance::data_dir().unwrap();
    let mut config = instance::config(data_dir.path(), &[]);
    config.bootstrap_servers = Some(server.value("BOOTSTRAP").to_owned());
    let kappa = Incarnation::open(config);
    partitions_are_discovered(&kappa);
    kappa.wait(Duration::ZERO);
    kappa.shut_down();
}
