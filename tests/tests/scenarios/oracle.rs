//! The oracle: random rows, out of order, through every kind of stateful query at once, with commits,
//! restarts and crashes at random points. What the views say in the end is what DataFusion says of
//! all the input in one go.
//!
//! Only whole numbers and decimals, whose sums do not depend on the order. The windows of the
//! queries that are compared with DataFusion take rows of any age; what is late is compared with a
//! model of a few lines ([`model_of_late`]).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use datafusion::arrow::array::{Decimal128Array, Int32Array, Int64Array, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::prelude::SessionContext;
use kappa_tests::{instance, text};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use tokio::runtime::Runtime;

use crate::incarnation::{Incarnation, Table, sorted};

/// How many random histories are tried; `KAPPA_ORACLE_CASES` has another number.
const CASES: u32 = 24;

/// A row of the stream.
#[derive(Clone, Debug)]
struct Event {
    id: i32,
    k: Option<i32>,
    v: Option<i64>,
    cents: Option<i64>,
    time: i64,
}

/// A change of the table; no fields is a tombstone.
#[derive(Clone, Debug)]
struct User {
    id: i32,
    fields: Option<(i32, i64)>,
}

/// What happens next.
#[derive(Clone, Debug)]
enum Happens {
    Events(Vec<Event>),
    Users(Vec<User>),
    /// Events enough for the workers to read ahead, made from a seed.
    Flood(u64),
    /// All is processed and committed.
    Flush,
    /// Time passes, so that queries commit by themselves.
    Tick,
    Restart,
    /// The engine goes without a word. What was not committed is done again.
    Crash,
}

#[derive(Clone, Debug)]
struct History {
    partitions: i32,
    step_rows_max: &'static str,
    workers: &'static str,
    /// In megabytes; with one, state leaves memory all the time.
    memory: &'static str,
    happens: Vec<Happens>,
}

/// Rows of a flood, and where steps are so small that these would take too long.
const FLOOD_ROWS: u64 = 12_000;
const FLOOD_ROWS_OF_SMALL_STEPS: u64 = 60;

/// The events of a flood: SplitMix64 of their numbers.
fn flood(seed: u64, rows: u64) -> Vec<Event> {
    let random = |number: u64| {
        let mut z = seed.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    (0..rows)
        .map(random)
        .map(|bits| Event {
            id: (bits % 6) as i32,
            k: (!(bits >> 8).is_multiple_of(10)).then_some((bits >> 12 & 3) as i32),
            v: (!(bits >> 16).is_multiple_of(5)).then_some((bits >> 20 & 127) as i64 - 64),
            cents: (!(bits >> 28).is_multiple_of(5))
                .then_some((bits >> 32 & 16_383) as i64 - 8_192),
            time: (bits >> 48) as i64 % 200,
        })
        .collect()
}

fn histories() -> impl Strategy<Value = History> {
    let event = (
        0..6_i32,
        prop::option::weighted(0.9, 0..4_i32),
        prop::option::weighted(0.8, -100..100_i64),
        prop::option::weighted(0.8, -10_000..10_000_i64),
        0..200_i64,
    )
        .prop_map(|(id, k, v, cents, time)| Event {
            id,
            k,
            v,
            cents,
            time,
        });
    let fields = prop::option::weighted(0.8, (0..3_i32, -50..50_i64));
    let user = (0..6_i32, fields).prop_map(|(id, fields)| User { id, fields });
    let happens = prop_oneof![
        5 => prop::collection::vec(event, 1..40).prop_map(Happens::Events),
        2 => prop::collection::vec(user, 1..8).prop_map(Happens::Users),
        1 => any::<u64>().prop_map(Happens::Flood),
        1 => Just(Happens::Flush),
        1 => Just(Happens::Tick),
        1 => Just(Happens::Restart),
        1 => Just(Happens::Crash),
    ];
    let steps = prop::sample::select(vec!["1", "7", "1000", "100000"]);
    (
        prop::sample::select(vec![1, 3]),
        steps,
        prop::sample::select(vec!["1", "2", "4"]),
        prop::sample::select(vec!["1", "256"]),
        prop::collection::vec(happens, 4..16),
    )
        .prop_map(
            |(partitions, step_rows_max, workers, memory, happens)| History {
                partitions,
                step_rows_max,
                workers,
                memory,
                happens,
            },
        )
}

/// A query, how its result is asked for, and how DataFusion comes to the same.
struct Query {
    name: &'static str,
    statement: &'static str,
    ask: &'static str,
    batch: &'static str,
}

const QUERIES: &[Query] = &[
    Query {
        name: "unwindowed",
        statement: "CREATE TABLE unwindowed AS SELECT k, COUNT(*) AS n, COUNT(v) AS c, SUM(v) AS s, \
                    MIN(v) AS lo, MAX(v) AS hi, SUM(d) AS m FROM events GROUP BY k",
        ask: "SELECT k, n, c, s, lo, hi, m FROM unwindowed",
        batch: "SELECT k, COUNT(*), COUNT(v), COALESCE(SUM(v), 0), MIN(v), MAX(v), \
                COALESCE(SUM(d), 0) FROM events WHERE k IS NOT NULL GROUP BY k",
    },
    Query {
        name: "having",
        statement: "CREATE TABLE having_some AS SELECT k, COUNT(*) AS n, SUM(v) AS s FROM events \
                    GROUP BY k HAVING SUM(v) > 20",
        ask: "SELECT k, n, s FROM having_some",
        batch: "SELECT k, COUNT(*), SUM(v) FROM events WHERE k IS NOT NULL GROUP BY k \
                HAVING SUM(v) > 20",
    },
    Query {
        name: "tumbling",
        statement: "CREATE TABLE tumbling AS SELECT k, COUNT(*) AS n, SUM(v) AS s, MAX(v) AS hi \
                    FROM events WINDOW TUMBLING (SIZE 10 MILLISECONDS, GRACE PERIOD 1 HOUR) \
                    WHERE v IS NOT NULL GROUP BY k",
        ask: "SELECT k, WINDOWSTART, WINDOWEND, n, s, hi FROM tumbling",
        batch: "SELECT k, t - t % 10 AS ws, t - t % 10 + 10, COUNT(*), SUM(v), MAX(v) FROM events \
                WHERE k IS NOT NULL AND v IS NOT NULL GROUP BY k, t - t % 10",
    },
    Query {
        name: "hopping",
        statement: "CREATE TABLE hopping AS SELECT k, COUNT(*) AS n, COUNT(v) AS c FROM events \
                    WINDOW HOPPING (SIZE 25 MILLISECONDS, ADVANCE BY 10 MILLISECONDS, \
                    GRACE PERIOD 1 HOUR) GROUP BY k",
        ask: "SELECT k, WINDOWSTART, WINDOWEND, n, c FROM hopping",
        batch: "SELECT k, ws, ws + 25, COUNT(*), COUNT(v) FROM (SELECT k, v, t, \
                t - t % 10 - back AS ws FROM events CROSS JOIN (VALUES (0), (10), (20)) AS b(back)) \
                WHERE k IS NOT NULL AND ws >= 0 AND ws + 25 > t GROUP BY k, ws",
    },
    Query {
        name: "distinct",
        statement: "CREATE TABLE different AS SELECT k, COUNT(DISTINCT v) AS vs, \
                    COUNT(DISTINCT CASE WHEN v > 0 THEN v END) AS above, \
                    COUNT(DISTINCT CASE WHEN v > 0 THEN id END) AS ids_above, \
                    COUNT(DISTINCT id) AS ids, COUNT_DISTINCT(d) AS ds, \
                    COUNT(DISTINCT CAST(v AS STRING)) AS texts FROM events GROUP BY k",
        ask: "SELECT k, vs, above, ids_above, ids, ds, texts FROM different",
        batch: "SELECT k, COUNT(DISTINCT v), COUNT(DISTINCT v) FILTER (WHERE v > 0), \
                COUNT(DISTINCT id) FILTER (WHERE v > 0), COUNT(DISTINCT id), COUNT(DISTINCT d), \
                COUNT(DISTINCT text) FROM (SELECT *, CAST(v AS STRING) AS text FROM events) \
                WHERE k IS NOT NULL GROUP BY k",
    },
    Query {
        name: "distinct_tumbling",
        statement: "CREATE TABLE different_then AS SELECT k, COUNT(DISTINCT v) AS vs FROM events \
                    WINDOW TUMBLING (SIZE 10 MILLISECONDS, GRACE PERIOD 1 HOUR) GROUP BY k",
        ask: "SELECT k, WINDOWSTART, vs FROM different_then",
        batch: "SELECT k, t - t % 10, COUNT(DISTINCT v) FROM events WHERE k IS NOT NULL \
                GROUP BY k, t - t % 10",
    },
    Query {
        name: "session",
        statement: "CREATE TABLE sessions AS SELECT k, COUNT(*) AS n, COUNT(v) AS c FROM events \
                    WINDOW SESSION (3 MILLISECONDS, GRACE PERIOD 1 HOUR) GROUP BY k",
        ask: "SELECT k, WINDOWSTART, WINDOWEND, n, c FROM sessions",
        batch: "SELECT k, MIN(t), MAX(t), COUNT(*), COUNT(v) FROM (SELECT k, v, t, \
                SUM(starts) OVER (PARTITION BY k ORDER BY t, seq) AS session FROM (\
                SELECT k, v, t, seq, CASE WHEN t - LAG(t) OVER (PARTITION BY k ORDER BY t, seq) <= 3 \
                THEN 0 ELSE 1 END AS starts FROM events WHERE k IS NOT NULL)) GROUP BY k, session",
    },
    Query {
        name: "table_aggregate",
        statement: "CREATE TABLE user_groups AS SELECT grp, COUNT(*) AS n, SUM(num) AS s FROM users \
                    GROUP BY grp",
        // A group that all have left stays with a count of 0; batch knows nothing of it.
        ask: "SELECT grp, n, s FROM user_groups WHERE n > 0",
        batch: "SELECT grp, COUNT(*), SUM(num) FROM (SELECT grp, num, \
                ROW_NUMBER() OVER (PARTITION BY id ORDER BY seq DESC) AS nth FROM users) \
                WHERE nth = 1 AND grp IS NOT NULL GROUP BY grp",
    },
    Query {
        name: "left_join",
        statement: "CREATE STREAM joined AS SELECT e.id AS id, e.v AS v, u.grp AS grp, u.num AS num \
                    FROM events e LEFT JOIN users u ON e.id = u.id",
        ask: "SELECT id, v, grp, num FROM joined",
        batch: "SELECT e.id, v, grp, num FROM events e LEFT JOIN versions u ON e.id = u.id \
                AND since <= phase AND phase < until",
    },
    Query {
        name: "aggregate_of_left_join",
        statement: "CREATE TABLE joined_sums AS SELECT grp, COUNT(*) AS n, SUM(v) AS s FROM joined \
                    GROUP BY grp",
        ask: "SELECT grp, n, s FROM joined_sums",
        batch: "SELECT grp, COUNT(*), COALESCE(SUM(v), 0) FROM events e JOIN versions u \
                ON e.id = u.id AND since <= phase AND phase < until GROUP BY grp",
    },
    Query {
        name: "rekeyed_join",
        statement: "CREATE STREAM rekeyed AS SELECT e.k AS k, e.v AS v, u.grp AS grp FROM events e \
                    JOIN users u ON e.k = u.id",
        ask: "SELECT k, v, grp FROM rekeyed",
        batch: "SELECT k, v, grp FROM events e JOIN versions u ON e.k = u.id \
                AND since <= phase AND phase < until",
    },
];

/// Only where one partition makes the order of arrival certain.
const LATE: &str = "CREATE TABLE with_late AS SELECT k, COUNT(*) AS n, SUM(v) AS s FROM events \
                    WINDOW TUMBLING (SIZE 10 MILLISECONDS, GRACE PERIOD 15 MILLISECONDS) \
                    WHERE k IS NOT NULL GROUP BY k";

#[test]
fn views_say_what_one_batch_over_all_input_says() {
    let cases = std::env::var("KAPPA_ORACLE_CASES")
        .ok()
        .and_then(|text| text.parse().ok());
    let seed = std::env::var("KAPPA_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0_u64);
    println!("KAPPA_SEED={seed}");
    let config = Config {
        cases: cases.unwrap_or(CASES),
        failure_persistence: None,
        max_shrink_iters: 60,
        ..Config::default()
    };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(config, rng);
    if let Err(failure) = runner.run(&histories(), check) {
        panic!("KAPPA_SEED={seed}: {failure}");
    }
}

fn check(history: History) -> Result<(), TestCaseError> {
    let data_dir = instance::data_dir().unwrap();
    let settings = [
        ("step.max.rows", history.step_rows_max),
        ("query.workers", history.workers),
        ("state.memory.mb", history.memory),
    ];
    let open = || Incarnation::open(instance::config(data_dir.path(), &settings));
    let mut kappa = open();
    create(&kappa, history.partitions);
    let mut input = Input::default();
    for happens in &history.happens {
        kappa = match happens {
            Happens::Events(events) => {
                send_events(&kappa, history.partitions, events);
                input.take_events(events);
                kappa
            }
            Happens::Flood(seed) => {
                let rows = match history.step_rows_max {
                    "1" | "7" => FLOOD_ROWS_OF_SMALL_STEPS,
                    _ => FLOOD_ROWS,
                };
                let events = flood(*seed, rows);
                send_events(&kappa, history.partitions, &events);
                input.take_events(&events);
                kappa
            }
            Happens::Users(users) => {
                // Rows before meet the table as it was, rows after as it is now.
                kappa.flush();
                send_users(&kappa, history.partitions, users);
                kappa.flush();
                input.take_users(users);
                kappa
            }
            Happens::Flush => {
                kappa.flush();
                kappa
            }
            Happens::Tick => {
                kappa.tick();
                kappa
            }
            Happens::Restart => {
                kappa.shut_down();
                open()
            }
            Happens::Crash => {
                kappa.crash();
                open()
            }
        };
    }
    kappa.flush();
    for query in QUERIES {
        let actual = kappa.ask(query.ask);
        let expected = input.batch(query.batch);
        prop_assert!(
            actual == expected,
            "{}",
            difference(query.name, &expected, &actual)
        );
    }
    if history.partitions == 1 {
        let actual = kappa.ask("SELECT k, WINDOWSTART, n, s FROM with_late");
        let expected = model_of_late(&input.events);
        prop_assert!(
            actual == expected,
            "{}",
            difference("with_late", &expected, &actual)
        );
    }
    kappa.shut_down();
    Ok(())
}

fn difference(name: &str, expected: &Table, actual: &Table) -> String {
    let mut text = format!("{name} differs");
    for (word, rows, others) in [
        ("missing", expected, actual),
        ("too many", actual, expected),
    ] {
        for row in rows.iter().filter(|row| !others.contains(row)) {
            write!(text, "\n  {word}: {}", row.join(" ")).unwrap();
        }
    }
    text
}

/// A row is late when its window's end and 15 ms have come, the row's own time included.
fn model_of_late(events: &[(Event, i64)]) -> Table {
    let mut stream_time = i64::MIN;
    let mut windows: BTreeMap<(i32, i64), (i64, i64)> = BTreeMap::new();
    for (event, _) in events {
        let Some(k) = event.k else { continue };
        stream_time = stream_time.max(event.time);
        let start = event.time - event.time % 10;
        if start + 10 + 15 > stream_time {
            let (n, s) = windows.entry((k, start)).or_default();
            *n += 1;
            *s += event.v.unwrap_or(0);
        }
    }
    let rows = windows.into_iter().map(|((k, start), (n, s))| {
        [i64::from(k), start, n, s]
            .iter()
            .map(ToString::to_string)
            .collect()
    });
    sorted(rows.collect())
}

fn create(kappa: &Incarnation, partitions: i32) {
    kappa.execute(&format!(
        "CREATE STREAM events (id INT KEY, k INT, v BIGINT, d DECIMAL(10, 2)) \
         WITH (KAFKA_TOPIC = 'events', VALUE_FORMAT = 'JSON', PARTITIONS = {partitions})"
    ));
    kappa.execute(&format!(
        "CREATE TABLE users (id INT PRIMARY KEY, grp INT, num BIGINT) \
         WITH (KAFKA_TOPIC = 'users', VALUE_FORMAT = 'JSON', PARTITIONS = {partitions})"
    ));
    for query in QUERIES {
        kappa.execute(query.statement);
    }
    if partitions == 1 {
        kappa.execute(LATE);
    }
}

fn send_events(kappa: &Incarnation, partitions: i32, events: &[Event]) {
    let or_null = |value: Option<i64>| value.map_or("null".to_owned(), |it| it.to_string());
    for event in events {
        let value = format!(
            r#"{{"K":{},"V":{},"D":{}}}"#,
            or_null(event.k.map(i64::from)),
            or_null(event.v),
            event.cents.map_or("null".to_owned(), decimal),
        );
        kappa.send("events", partitions, event.id, Some(value), event.time);
    }
}

fn send_users(kappa: &Incarnation, partitions: i32, users: &[User]) {
    for user in users {
        let value = user
            .fields
            .map(|(grp, num)| format!(r#"{{"GRP":{grp},"NUM":{num}}}"#));
        kappa.send("users", partitions, user.id, value, 0);
    }
}

/// `-150` cents are `-1.50`.
fn decimal(cents: i64) -> String {
    let sign = if cents < 0 { "-" } else { "" };
    format!("{sign}{}.{:02}", cents.abs() / 100, cents.abs() % 100)
}

/// All that was sent, for DataFusion.
#[derive(Debug, Default)]
struct Input {
    /// With the number of changes of the table before them.
    events: Vec<(Event, i64)>,
    users: Vec<(User, i64)>,
    phase: i64,
}

impl Input {
    fn take_events(&mut self, events: &[Event]) {
        self.events
            .extend(events.iter().map(|event| (event.clone(), self.phase)));
    }

    fn take_users(&mut self, users: &[User]) {
        self.phase += 1;
        self.users
            .extend(users.iter().map(|user| (user.clone(), self.phase)));
    }

    fn batch(&self, query: &str) -> Table {
        let context = SessionContext::new();
        context
            .register_batch("events", self.events_batch())
            .unwrap();
        context.register_batch("users", self.users_batch()).unwrap();
        Runtime::new().unwrap().block_on(async {
            let versions = context
                .sql(
                    "SELECT * FROM (SELECT id, grp, num, phase AS since, COALESCE(\
                     LEAD(phase) OVER (PARTITION BY id ORDER BY seq), 1000000) AS until \
                     FROM users) WHERE grp IS NOT NULL",
                )
                .await
                .unwrap();
            context
                .register_table("versions", versions.into_view())
                .unwrap();
            let rows = context.sql(query).await.unwrap().collect().await.unwrap();
            sorted(text::rows(&rows).unwrap())
        })
    }

    fn events_batch(&self) -> RecordBatch {
        let events = || self.events.iter().map(|(event, _)| event);
        let cents = events().map(|event| event.cents.map(i128::from));
        let decimals = cents
            .collect::<Decimal128Array>()
            .with_precision_and_scale(10, 2)
            .unwrap();
        let schema = Schema::new(vec![
            Field::new("id", DataType::Int32, true),
            Field::new("k", DataType::Int32, true),
            Field::new("v", DataType::Int64, true),
            Field::new("d", DataType::Decimal128(10, 2), true),
            Field::new("t", DataType::Int64, true),
            Field::new("phase", DataType::Int64, true),
            Field::new("seq", DataType::Int64, true),
        ]);
        RecordBatch::try_new(
            Arc::new(schema),
            vec![
                Arc::new(events().map(|event| Some(event.id)).collect::<Int32Array>()),
                Arc::new(events().map(|event| event.k).collect::<Int32Array>()),
                Arc::new(events().map(|event| event.v).collect::<Int64Array>()),
                Arc::new(decimals),
                Arc::new(
                    events()
                        .map(|event| Some(event.time))
                        .collect::<Int64Array>(),
                ),
                Arc::new(
                    self.events
                        .iter()
                        .map(|(_, phase)| Some(*phase))
                        .collect::<Int64Array>(),
                ),
                Arc::new(Int64Array::from_iter_values(0..self.events.len() as i64)),
            ],
        )
        .unwrap()
    }

    fn users_batch(&self) -> RecordBatch {
        let users = || self.users.iter().map(|(user, _)| user);
        let schema = Schema::new(vec![
            Field::new("id", DataType::Int32, true),
            Field::new("grp", DataType::Int32, true),
            Field::new("num", DataType::Int64, true),
            Field::new("phase", DataType::Int64, true),
            Field::new("seq", DataType::Int64, true),
        ]);
        RecordBatch::try_new(
            Arc::new(schema),
            vec![
                Arc::new(users().map(|user| Some(user.id)).collect::<Int32Array>()),
                Arc::new(
                    users()
                        .map(|user| user.fields.map(|it| it.0))
                        .collect::<Int32Array>(),
                ),
                Arc::new(
                    users()
                        .map(|user| user.fields.map(|it| it.1))
                        .collect::<Int64Array>(),
                ),
                Arc::new(
                    self.users
                        .iter()
                        .map(|(_, phase)| Some(*phase))
                        .collect::<Int64Array>(),
                ),
                Arc::new(Int64Array::from_iter_values(0..self.users.len() as i64)),
            ],
        )
        .unwrap()
    }
}
