//! Generated streams under restarts and as time goes by.

use kappa_engine::{Config, Response};
use kappa_tests::instance;

use crate::incarnation::Incarnation;

/// Each position is committed with the results of what came before it, so counts stay exact.
#[test]
fn a_crash_neither_loses_nor_repeats_generated_rows() {
    let data_dir = instance::data_dir().unwrap();
    let open = || Incarnation::open(instance::config(data_dir.path(), &[]));
    let kappa = open();
    kappa.execute("SET 'auto.offset.reset' = 'earliest'");
    kappa.execute(
        "CREATE STREAM bid WITH (CONNECTOR = 'nexmark', EVENTS = 100000, RATE = 10000, \
         PARTITIONS = 3)",
    );
    kappa.execute(
        "CREATE TABLE counts AS SELECT channel, COUNT(*) AS n FROM bid \
         WINDOW TUMBLING (SIZE 1 SECOND, GRACE PERIOD 0 SECONDS) GROUP BY channel",
    );
    let total = "SELECT SUM(n), COUNT(DISTINCT WINDOWSTART) FROM counts";
    kappa.tick();
    kappa.flush();
    assert_eq!(kappa.ask(total), [["18400", "2"]]);
    kappa.tick();
    kappa.crash();
    let kappa = open();
    // The clock of each incarnation begins at 0: what came before is not asked for again.
    kappa.flush();
    assert_eq!(kappa.ask("SELECT COUNT(*) FROM bid"), [["0"]]);
    for _ in 0..3 {
        kappa.tick();
    }
    kappa.flush();
    assert_eq!(kappa.ask(total), [["55200", "6"]]);
    kappa.shut_down();
    let kappa = open();
    for _ in 0..10 {
        kappa.tick();
    }
    kappa.flush();
    assert_eq!(kappa.ask(total), [["92000", "10"]]);
    assert_eq!(kappa.ask("SELECT COUNT(*) FROM KAPPA_LATE_ROWS"), [["0"]]);
    assert_eq!(kappa.engine.queries()[0].rows_in, 36_800);
    kappa.shut_down();
}

/// Most groups change from commit to commit, so commits write them into files; where there are more
/// than memory has room for, they become rows. Crashes come between any two commits.
#[test]
fn a_crash_neither_loses_nor_repeats_groups_of_a_log() {
    // The second has too many groups for a log, after a while.
    for (keys, logged) in [(500, true), (20_000, false)] {
        let data_dir = instance::data_dir().unwrap();
        let files = || std::fs::read_dir(data_dir.path().join("state")).map_or(0, Iterator::count);
        let properties = [("state.memory.mb", "1"), ("auto.offset.reset", "earliest")];
        let open =
            |now_ms| Incarnation::open_at(instance::config(data_dir.path(), &properties), now_ms);
        let mut kappa = open(0);
        kappa.execute(
            "CREATE STREAM bid WITH (CONNECTOR = 'nexmark', EVENTS = 100000, RATE = 2000, \
             PARTITIONS = 3)",
        );
        let select = |of: &str| {
            format!("SELECT ROWOFFSET % {keys} AS k, {of} FROM bid GROUP BY ROWOFFSET % {keys}")
        };
        let aggregates = "COUNT(*) AS n, SUM(price) AS total, MIN(price) AS least";
        kappa.execute(&format!("CREATE TABLE sums AS {}", select(aggregates)));
        let mut was_logged = false;
        for crash in 1..9 {
            kappa.tick();
            if crash % 3 > 0 {
                kappa.flush();
            }
            kappa.tick();
            was_logged |= files() > 0;
            kappa.crash();
            kappa = open(crash * 2 * 2_000);
        }
        for _ in 0..10 {
            kappa.tick();
            kappa.flush();
        }
        assert!(was_logged);
        assert_eq!(files() > 0, logged, "{keys} keys");
        let sums = kappa.ask("SELECT k, n, total, least FROM sums");
        assert!(sums == kappa.ask(&select(aggregates)), "{keys} keys");
        kappa.execute("DROP TABLE sums");
        assert_eq!(files(), 0);
        kappa.shut_down();
    }
}

/// A query over what has no end can be flushed, stopped and started like any other.
#[test]
fn a_query_without_end_is_flushed_and_shut_down() {
    let data_dir = instance::data_dir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut config = Config::embedded(data_dir.path());
        config.sync = false;
        let mut counted = 0;
        for start in 0..2 {
            let engine = kappa_engine::Engine::open(config.clone()).await.unwrap();
            if start == 0 {
                for statement in [
                    "CREATE STREAM bid WITH (CONNECTOR = 'nexmark')",
                    "CREATE STREAM dear AS SELECT price FROM bid WHERE price > 90000000",
                    "CREATE TABLE n AS SELECT 1 AS one, COUNT(*) AS n FROM bid GROUP BY 1",
                    "CREATE TABLE m AS SELECT 1 AS one, COUNT(*) AS n FROM dear GROUP BY 1",
                ] {
                    engine.execute(statement).await.unwrap();
                }
            }
            engine.flush().await.unwrap();
            let Ok(Response::Rows(rows)) = engine.execute("SELECT n FROM n").await else {
                panic!("no rows");
            };
            let rows = kappa_tests::text::rows(&rows.collect().await.unwrap()).unwrap();
            let n: u64 = rows[0][0].parse().unwrap();
            assert!(n > counted, "{n} after {counted}");
            counted = n;
            engine.shutdown().await.unwrap();
        }
    });
}
