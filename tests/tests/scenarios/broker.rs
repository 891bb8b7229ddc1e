//! A broker that is away, goes away, or refuses.

use std::time::{Duration, Instant};

use kappa_engine::{Config, Engine};
use kappa_tests::instance;
use kappa_tests::server::Server;
use tokio::runtime::Runtime;

use crate::incarnation::Incarnation;

fn config(data_dir: &std::path::Path, servers: &str) -> Config {
    let mut config = instance::config(data_dir, &[]);
    config.bootstrap_servers = Some(servers.to_owned());
    config
}

fn open_error(config: Config) -> String {
    match Runtime::new().unwrap().block_on(Engine::open(config)) {
        Ok(_) => panic!("it opened"),
        Err(error) => error.render(),
    }
}

fn send(kappa: &Incarnation, ids: std::ops::Range<i32>) {
    for id in ids {
        kappa.send(
            "s",
            2,
            id,
            Some(format!("{{\"V\":{id}}}")),
            i64::from(id) + 1,
        );
    }
}

#[test]
fn a_broker_may_go_away_for_a_while() {
    let Some(mut server) = Server::start("kafka").unwrap() else {
        return;
    };
    let data_dir = instance::data_dir().unwrap();
    let kappa = Incarnation::open(config(data_dir.path(), server.value("BOOTSTRAP")));
    kappa.execute(
        "CREATE STREAM s (id INT KEY, v INT) \
         WITH (KAFKA_TOPIC = 's', VALUE_FORMAT = 'JSON', PARTITIONS = 2)",
    );
    kappa.execute("CREATE STREAM copy AS SELECT * FROM s");
    kappa.execute(
        "CREATE TABLE counts AS SELECT v % 3 AS k, COUNT(*) AS n FROM copy GROUP BY v % 3",
    );
    send(&kappa, 0..30);
    kappa.flush();

    server.stop().unwrap();
    let begun = Instant::now();
    // Until somebody has noticed, and then some more.
    while kappa
        .engine
        .queries()
        .iter()
        .all(|query| query.error.is_none())
    {
        kappa.tick();
        kappa.wait(Duration::from_millis(100));
        assert!(begun.elapsed() < Duration::from_secs(60), "nobody notices");
    }
    for _ in 0..20 {
        kappa.tick();
        kappa.wait(Duration::from_millis(100));
    }
    for query in kappa.engine.queries() {
        assert_ne!(
            query.state.name(),
            "ERROR",
            "{}: {:?}",
            query.id,
            query.error
        );
        if let Some(error) = &query.error {
            assert!(error.contains(server.value("BOOTSTRAP")), "{error}");
        }
    }
    // Views need no broker.
    assert_eq!(kappa.ask("SELECT SUM(n) FROM counts"), [["30"]]);

    server.resume().unwrap();
    send(&kappa, 30..60);
    let begun = Instant::now();
    while let Err(error) = kappa.try_flush() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{error}");
        kappa.wait(Duration::from_millis(200));
    }
    assert_eq!(
        kappa.ask("SELECT COUNT(*), COUNT(DISTINCT v), SUM(v) FROM copy"),
        [["60", "60", "1770"]]
    );
    assert_eq!(
        kappa.ask("SELECT k, n FROM counts"),
        [["0", "20"], ["1", "20"], ["2", "20"]]
    );

    let nowhere = kappa
        .refused("CREATE STREAM t (id INT) WITH (KAFKA_TOPIC = 'nowhere', VALUE_FORMAT = 'JSON')");
    assert!(nowhere.contains("'nowhere' does not exist"), "{nowhere}");
    assert!(nowhere.contains("PARTITIONS"), "{nowhere}");
    kappa.shut_down();
}

#[test]
fn a_broker_that_is_away_or_refuses_is_named() {
    let data_dir = instance::data_dir().unwrap();
    let begun = Instant::now();
    let away = open_error(config(data_dir.path(), "127.0.0.1:1"));
    assert!(away.contains("127.0.0.1:1"), "{away}");
    assert!(begun.elapsed() < Duration::from_secs(20));
    let Some(server) = Server::start("kafka").unwrap() else {
        return;
    };
    let mut wrong = config(data_dir.path(), server.value("BOOTSTRAP"));
    wrong.properties.extend(
        [
            ("kafka.security.protocol", "SASL_SSL"),
            ("kafka.sasl.mechanism", "PLAIN"),
            ("kafka.sasl.username", "kappa"),
            ("kafka.sasl.password", "not-to-be-seen"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    let refused = open_error(wrong);
    assert!(refused.contains(server.value("BOOTSTRAP")), "{refused}");
    assert!(refused.to_lowercase().contains("ssl"), "{refused}");
    assert!(!refused.contains("not-to-be-seen"), "{refused}");
    // The directory is as good as before.
    let kappa = Incarnation::open(config(data_dir.path(), server.value("BOOTSTRAP")));
    kappa.shut_down();
}
