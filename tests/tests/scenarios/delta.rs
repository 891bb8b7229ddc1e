//! Tables of Delta Lake: every row once and every key as it is, whatever happens, as another program
//! reads them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use datafusion::prelude::SessionContext;
use deltalake_core::DeltaTable;
use deltalake_core::kernel::{DataType, PrimitiveType, StructField};
use kappa_engine::Config;
use kappa_tests::bucket::Bucket;
use kappa_tests::gcs_server::GcsServer;
use kappa_tests::server::Server;
use kappa_tests::{instance, text};
use object_store::ObjectStoreExt;
use object_store::aws::AmazonS3Builder;
use tokio::runtime::Runtime;
use url::Url;

use crate::fan_out::{copy_directory, rounds};
use crate::incarnation::{Incarnation, Table, sorted};
use crate::sinks::{Files, Place};

const STREAM: &str = "CREATE STREAM clicks (id INT KEY, page STRING, ms INT) \
                      WITH (KAFKA_TOPIC = 'clicks', VALUE_FORMAT = 'JSON', PARTITIONS = 2)";
const TABLE: &str = "CREATE TABLE users (id INT PRIMARY KEY, name STRING, site STRING) \
                     WITH (KAFKA_TOPIC = 'users', VALUE_FORMAT = 'JSON', PARTITIONS = 2)";

/// Where tables are, and the server that has them.
struct Lake {
    place: Place,
    /// Ends with the lake.
    _server: Option<Server>,
    gcs: Option<GcsServer>,
}

impl Lake {
    fn directory() -> Self {
        Self {
            place: Place::directory(),
            _server: None,
            gcs: None,
        }
    }

    /// In a bucket of a server that can be had.
    fn on(server: &str, bucket: fn(&Server) -> object_store::Result<Bucket>) -> Option<Self> {
        let server = Server::start(server).unwrap()?;
        Some(Self {
            place: Place::Bucket(bucket(&server).unwrap()),
            _server: Some(server),
            gcs: None,
        })
    }

    fn s3() -> Option<Self> {
        Self::on("minio", Bucket::s3)
    }

    fn google() -> Self {
        let gcs = GcsServer::start();
        Self {
            place: Place::Bucket(Bucket::gcs(&gcs, "kappa").unwrap()),
            _server: None,
            gcs: Some(gcs),
        }
    }

    fn config(&self, data_dir: &Path) -> Config {
        self.place.config(data_dir)
    }

    /// For WITH.
    fn connector(&self, table: &str) -> String {
        self.place.connector(&format!("lake/{table}"))
    }

    fn path(&self, table: &str) -> PathBuf {
        match &self.place {
            Place::Directory(directory) => directory.path().join("lake").join(table),
            Place::Bucket(bucket) => panic!("{bucket:?} is no directory"),
        }
    }

    fn gcs(&self) -> &GcsServer {
        self.gcs.as_ref().unwrap()
    }

    /// All objects of a table, by their names under its root.
    fn objects(&self, table: &str) -> Files {
        self.place.objects(&format!("lake/{table}"))
    }

    /// The rows of a query of a table, called `t`.
    fn ask(&self, table: &str, query: &str) -> Table {
        // A copy, so that it is the log alone that says what belongs to the table.
        let copy = tempfile::tempdir().unwrap();
        for (name, bytes) in self.objects(table) {
            let path = copy.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        Runtime::new().unwrap().block_on(async {
            let table = open(copy.path()).await;
            let session = SessionContext::new();
            session
                .register_table("t", table.table_provider().await.unwrap())
                .unwrap();
            let rows = session.sql(query).await.unwrap().collect().await.unwrap();
            sorted(text::rows(&rows).unwrap())
        })
    }

    /// Entries of the log, in their order.
    fn log(&self, table: &str) -> Vec<serde_json::Value> {
        let mut entries = Vec::new();
        for (name, bytes) in self.objects(table) {
            if name.starts_with("_delta_log/") && name.ends_with(".json") {
                let lines = String::from_utf8(bytes).unwrap();
                entries.extend(
                    lines
                        .lines()
                        .map(|line| serde_json::from_str(line).unwrap()),
                );
            }
        }
        entries
    }
}

async fn open(directory: &Path) -> DeltaTable {
    let url = Url::from_directory_path(directory.canonicalize().unwrap()).unwrap();
    deltalake_core::open_table(url).await.unwrap()
}

/// A table that somebody else makes, with properties.
fn create_elsewhere(
    directory: &Path,
    columns: &[(&str, PrimitiveType)],
    partition_by: &[&str],
    properties: &[(&str, &str)],
) {
    std::fs::create_dir_all(directory).unwrap();
    let columns = columns.iter().map(|(name, data_type)| {
        StructField::nullable(*name, DataType::Primitive(data_type.clone()))
    });
    let properties = properties
        .iter()
        .map(|(name, value)| ((*name).to_owned(), Some((*value).to_owned())));
    Runtime::new().unwrap().block_on(async {
        let url = Url::from_directory_path(directory.canonicalize().unwrap()).unwrap();
        let table = DeltaTable::try_from_url(url).await.unwrap();
        table
            .create()
            .with_columns(columns)
            .with_partition_columns(partition_by.iter().copied())
            .with_configuration(properties)
            .with_raise_if_key_not_exists(false)
            .await
            .unwrap();
    });
}

fn send_clicks(kappa: &Incarnation, ids: std::ops::Range<i32>) {
    for id in ids {
        let value = format!(r#"{{"PAGE":"a b/{}","MS":{id}}}"#, id % 3);
        kappa.send("clicks", 2, id, Some(value), i64::from(id) * 1000);
    }
}

/// What `send_clicks` of `0..end` should be in a table: with the row's time.
fn clicks(end: i32) -> Table {
    let rows = (0..end).map(|id| {
        let (page, time) = (format!("a b/{}", id % 3), i64::from(id) * 1000);
        vec![id.to_string(), page, id.to_string(), time.to_string()]
    });
    sorted(rows.collect())
}

const CLICKS: &str = r#"SELECT "ID", "PAGE", "MS", "ROWTIME" FROM t"#;

/// Sends, flushes, restarts and crashes; then every row is there once.
fn rows_survive(place: &Lake) {
    let data_dir = instance::data_dir().unwrap();
    let open = || Incarnation::open(place.config(data_dir.path()));
    let mut kappa = open();
    kappa.execute(STREAM);
    for (sink, more) in [("plain", ""), ("parts", ", PARTITION_BY = 'page'")] {
        kappa.execute(&format!(
            "CREATE SINK {sink} FROM clicks WITH ({}, FORMAT = 'DELTA', ROLL_INTERVAL = '1 SECOND' {more})",
            place.connector(sink)
        ));
    }
    let mut sent = 0;
    for round in 0..rounds(24) {
        let more = round % 5 + 1;
        send_clicks(&kappa, sent..sent + more);
        sent += more;
        match round % 6 {
            0 | 3 => kappa.flush(),
            1 => kappa.tick(),
            2 => {
                kappa.shut_down();
                kappa = open();
            }
            _ => {
                // Each time a little later in what goes on.
                kappa.tick();
                kappa.wait(Duration::from_millis(7 * round as u64));
                kappa.crash();
                kappa = open();
            }
        }
    }
    kappa.flush();
    for sink in ["plain", "parts"] {
        assert_eq!(place.ask(sink, CLICKS), clicks(sent), "{sink}");
    }
    // Units in order, each in one commit.
    let units: Vec<i64> = place
        .log("plain")
        .iter()
        .filter_map(|entry| entry["txn"]["version"].as_i64())
        .collect();
    assert!(units.len() > 4, "{units:?}");
    assert_eq!(units, (1..=units.len() as i64).collect::<Vec<_>>());
    // A partition is in the log, and tells which files need not be read.
    let page = r#"SELECT COUNT(*) FROM t WHERE "PAGE" = 'a b/1'"#;
    let expected = (0..sent).filter(|id| id % 3 == 1).count();
    assert_eq!(place.ask("parts", page), [[expected.to_string()]]);
    let adds = place.log("parts");
    let adds: Vec<_> = adds
        .iter()
        .filter(|entry| !entry["add"].is_null())
        .collect();
    assert!(adds.len() > units.len());
    for add in adds {
        let value = add["add"]["partitionValues"]["PAGE"].as_str().unwrap();
        assert!(value.starts_with("a b/"), "{add}");
        let stats: serde_json::Value =
            serde_json::from_str(add["add"]["stats"].as_str().unwrap()).unwrap();
        let [least, greatest] = ["minValues", "maxValues"].map(|of| stats[of]["ID"].as_i64());
        assert!(least.unwrap() <= greatest.unwrap() && greatest.unwrap() < i64::from(sent));
        assert!(stats["minValues"]["PAGE"].is_null(), "{stats}");
        assert_eq!(stats["nullCount"]["MS"], 0);
    }
    kappa.shut_down();
}

#[test]
fn rows_are_appended_once_in_a_directory() {
    rows_survive(&Lake::directory());
}

#[test]
fn rows_are_appended_once_in_s3() {
    if let Some(place) = Lake::s3() {
        rows_survive(&place);
    }
}

#[test]
fn rows_are_appended_once_in_gcs() {
    rows_survive(&Lake::google());
}

/// Some changes of users: inserts, updates that move a user to another partition, deletes of users
/// that are there and that are not. What is left is in `users`.
fn change_users(kappa: &Incarnation, users: &mut BTreeMap<i32, [String; 2]>, round: i32) {
    for step in 0..7 {
        let n = round * 7 + step;
        let id = n * 5 % 13;
        let value = match n % 4 {
            3 => {
                users.remove(&id);
                None
            }
            _ => {
                let user = [format!("user {n}"), format!("site {}", n % 3)];
                let value = format!(r#"{{"NAME":"{}","SITE":"{}"}}"#, user[0], user[1]);
                users.insert(id, user);
                Some(value)
            }
        };
        kappa.send("users", 2, id, value, i64::from(n) * 1000);
    }
}

fn rows_of(users: &BTreeMap<i32, [String; 2]>) -> Table {
    let rows = users
        .iter()
        .map(|(id, [name, site])| vec![id.to_string(), name.clone(), site.clone()]);
    sorted(rows.collect())
}

const USERS: &str = r#"SELECT "ID", "NAME", "SITE" FROM t"#;

/// Changes rows, flushes, restarts and crashes; then the table is as a plain count has it.
fn changes_survive(place: &Lake) {
    let data_dir = instance::data_dir().unwrap();
    let open = || Incarnation::open(place.config(data_dir.path()));
    let mut kappa = open();
    kappa.execute(TABLE);
    for (sink, more) in [("plain", ""), ("parts", ", PARTITION_BY = 'site'")] {
        kappa.execute(&format!(
            "CREATE SINK {sink} FROM users WITH ({}, FORMAT = 'DELTA', INCLUDE_ROWTIME = false, \
             ROLL_INTERVAL = '1 SECOND' {more})",
            place.connector(sink)
        ));
    }
    let mut users = BTreeMap::new();
    for round in 0..rounds(20) {
        change_users(&kappa, &mut users, round);
        match round % 5 {
            0 | 3 => {
                kappa.flush();
                for sink in ["plain", "parts"] {
                    assert_eq!(place.ask(sink, USERS), rows_of(&users), "{sink} {round}");
                }
            }
            1 => {
                kappa.shut_down();
                kappa = open();
            }
            _ => {
                kappa.tick();
                kappa.wait(Duration::from_millis(11 * round as u64));
                kappa.crash();
                kappa = open();
            }
        }
    }
    kappa.flush();
    for sink in ["plain", "parts"] {
        assert_eq!(place.ask(sink, USERS), rows_of(&users), "{sink}");
        let columns = place.ask(sink, "SELECT * FROM t LIMIT 1");
        assert_eq!(columns[0].len(), 3, "{columns:?}");
    }
    kappa.shut_down();
}

#[test]
fn changes_are_merged_once_in_a_directory() {
    changes_survive(&Lake::directory());
}

#[test]
fn changes_are_merged_once_in_s3() {
    if let Some(place) = Lake::s3() {
        changes_survive(&place);
    }
}

#[test]
fn changes_are_merged_once_in_azure() {
    if let Some(place) = Lake::on("azurite", Bucket::azure) {
        changes_survive(&place);
    }
}

#[test]
fn deletes_of_what_is_not_there_are_a_commit() {
    let place = Lake::directory();
    let data_dir = instance::data_dir().unwrap();
    let kappa = Incarnation::open(place.config(data_dir.path()));
    kappa.execute(TABLE);
    kappa.execute(&format!(
        "CREATE SINK users_lake FROM users WITH ({}, FORMAT = 'DELTA')",
        place.connector("t")
    ));
    kappa.send("users", 2, 1, Some(r#"{"NAME":"n","SITE":"s"}"#.into()), 0);
    kappa.send("users", 2, 1, None, 1);
    kappa.flush();
    kappa.shut_down();
    // A restart finds what the sink has delivered.
    let kappa = Incarnation::open(place.config(data_dir.path()));
    kappa.send("users", 2, 2, Some(r#"{"NAME":"n","SITE":"s"}"#.into()), 2);
    kappa.flush();
    assert_eq!(place.ask("t", USERS), [["2", "n", "s"]]);
    kappa.shut_down();
}

/// Waits until SHOW SINKS says so of a sink.
fn await_sink(kappa: &Incarnation, sink: &str, is: impl Fn(&[String]) -> bool) -> Vec<String> {
    let begun = Instant::now();
    loop {
        let shown = kappa.ask("SHOW SINKS");
        let row = shown.into_iter().find(|row| row[0] == sink.to_uppercase());
        let row = row.unwrap();
        if is(&row) {
            return row;
        }
        assert!(begun.elapsed() < Duration::from_secs(90), "{row:?}");
        kappa.tick();
    }
}

/// What stops a sink for good.
fn error_of(kappa: &Incarnation, sink: &str) -> String {
    await_sink(kappa, sink, |row| row[3] == "ERROR").swap_remove(9)
}

#[test]
fn answers_that_are_lost_double_nothing() {
    let place = Lake::google();
    let gcs = place.gcs();
    let data_dir = instance::data_dir().unwrap();
    let kappa = Incarnation::open(place.config(data_dir.path()));
    kappa.execute(STREAM);
    kappa.execute(TABLE);
    for (sink, source) in [("appended", "clicks"), ("merged", "users")] {
        let connector = place.connector(&format!("{sink} rows"));
        kappa.execute(&format!(
            "CREATE SINK {sink} FROM {source} WITH ({connector}, FORMAT = 'DELTA')"
        ));
    }
    kappa.flush();
    let mut users = BTreeMap::new();
    for round in 0..15 {
        send_clicks(&kappa, round * 4..round * 4 + 4);
        change_users(&kappa, &mut users, round);
        match round % 5 {
            // To the commits of both, or of one several times; and to files.
            0 => gcs.lose_answers_of("_delta_log/", 2),
            1 => gcs.lose_answers_of("_delta_log/", 4),
            2 => gcs.lose_answers_of(".parquet", 3),
            3 => gcs.throttle(3),
            _ => gcs.refuse(true),
        }
        if round % 5 == 4 {
            kappa.try_flush().unwrap_err();
            gcs.refuse(false);
        }
        let begun = Instant::now();
        while let Err(error) = kappa.try_flush() {
            assert!(begun.elapsed() < Duration::from_secs(90), "{error}");
        }
        if round % 5 == 0 {
            assert_eq!(gcs.to_be_lost(), 0);
        }
    }
    assert_eq!(place.ask("appended rows", CLICKS), clicks(60));
    assert_eq!(place.ask("merged rows", USERS), rows_of(&users));
    for table in ["appended rows", "merged rows"] {
        let log = place.log(table);
        let units: Vec<i64> = log
            .iter()
            .filter_map(|entry| entry["txn"]["version"].as_i64())
            .collect();
        let expected: Vec<i64> = (1..=units.len() as i64).collect();
        assert_eq!(units, expected, "{table}");
    }
    kappa.shut_down();
}

#[test]
fn other_writers_of_the_table_are_no_hindrance() {
    let place = Lake::directory();
    let path = place.path("users");
    // With a checkpoint every third commit.
    let string = || PrimitiveType::String;
    create_elsewhere(
        &path,
        &[
            ("ID", PrimitiveType::Integer),
            ("NAME", string()),
            ("SITE", string()),
        ],
        &[],
        &[("delta.checkpointInterval", "3")],
    );
    let data_dir = instance::data_dir().unwrap();
    let kappa = Incarnation::open(place.config(data_dir.path()));
    kappa.execute(TABLE);
    kappa.execute(STREAM);
    kappa.execute(&format!(
        "CREATE SINK users_lake FROM users WITH ({}, FORMAT = 'DELTA', INCLUDE_ROWTIME = false)",
        place.connector("users")
    ));
    kappa.execute(&format!(
        "CREATE SINK clicks_lake FROM clicks WITH ({}, FORMAT = 'DELTA', INCLUDE_ROWTIME = true)",
        place.connector("clicks")
    ));
    let mut users = BTreeMap::new();
    for round in 0..10 {
        change_users(&kappa, &mut users, round);
        send_clicks(&kappa, round * 4..round * 4 + 4);
        kappa.flush();
        kappa.block_on(async {
            for table in [&path, &place.path("clicks")] {
                let (table, _) = open(table).await.optimize().await.unwrap();
                let vacuum = table.vacuum().with_enforce_retention_duration(false);
                let vacuum = vacuum.with_retention_period(chrono::Duration::zero());
                vacuum.await.unwrap();
            }
        });
    }
    assert_eq!(place.ask("users", USERS), rows_of(&users));
    assert_eq!(place.ask("clicks", CLICKS), clicks(40));
    assert!(path.join("_delta_log/_last_checkpoint").exists());
    kappa.shut_down();
}

#[test]
fn an_old_copy_of_the_data_directory_is_refused() {
    let place = Lake::directory();
    let data_dir = instance::data_dir().unwrap();
    let copy = tempfile::tempdir().unwrap();
    let open = |data_dir: &Path| Incarnation::open(place.config(data_dir));
    let kappa = open(data_dir.path());
    kappa.execute(STREAM);
    kappa.execute(&format!(
        "CREATE SINK lake FROM clicks WITH ({}, FORMAT = 'DELTA')",
        place.connector("t")
    ));
    send_clicks(&kappa, 0..4);
    kappa.flush();
    kappa.shut_down();
    copy_directory(data_dir.path(), copy.path());
    let kappa = open(data_dir.path());
    for end in 5..8 {
        send_clicks(&kappa, end - 1..end);
        kappa.flush();
    }
    kappa.shut_down();
    let kappa = open(copy.path());
    send_clicks(&kappa, 100..103);
    let refused = kappa.try_flush().unwrap_err().to_string();
    assert!(refused.contains("old copy"), "{refused}");
    assert!(error_of(&kappa, "lake").contains("DROP the sink"));
    kappa.shut_down();
    assert_eq!(place.ask("t", CLICKS), clicks(7));
    // A table that was restored is not what the sink has delivered.
    std::fs::remove_dir_all(place.path("t")).unwrap();
    let kappa = open(data_dir.path());
    let error = error_of(&kappa, "lake");
    assert!(error.contains("restored"), "{error}");
    kappa.shut_down();
}

#[test]
fn columns_are_added_on_request() {
    let place = Lake::directory();
    let data_dir = instance::data_dir().unwrap();
    let kappa = Incarnation::open(place.config(data_dir.path()));
    kappa.execute(STREAM);
    send_clicks(&kappa, 0..2);
    let sink = |name: &str, columns: &str, more: &str| {
        format!(
            "CREATE SINK {name} WITH ({}, FORMAT = 'DELTA' {more}) AS SELECT {columns} FROM clicks",
            place.connector("t")
        )
    };
    kappa.execute(&sink("narrow", "id, page", ""));
    kappa.flush();
    kappa.execute("DROP SINK narrow");
    kappa.execute(&sink(
        "wide",
        "id, page, ms, CAST(ms AS DOUBLE) AS `x y`",
        "",
    ));
    let error = error_of(&kappa, "wide");
    assert!(
        error.contains("no column for \"MS\": set SCHEMA_EVOLUTION = true"),
        "{error}"
    );
    kappa.execute("DROP SINK wide");
    kappa.execute(&sink(
        "wide",
        "id, page, ms, CAST(ms AS DOUBLE) AS `x y`",
        ", SCHEMA_EVOLUTION = true",
    ));
    kappa.flush();
    let rows = place.ask("t", r#"SELECT "ID", "MS", "x y" FROM t"#);
    assert_eq!(
        rows,
        [
            ["0", "0", "0.0"],
            ["0", "NULL", "NULL"],
            ["1", "1", "1.0"],
            ["1", "NULL", "NULL"]
        ]
    );
    kappa.shut_down();
}

#[test]
fn types_are_those_of_delta_lake() {
    let place = Lake::directory();
    let data_dir = instance::data_dir().unwrap();
    let kappa = Incarnation::open(place.config(data_dir.path()));
    kappa.execute(
        "CREATE STREAM every (k INT KEY, b BOOLEAN, i INT, l BIGINT, d DOUBLE, p DECIMAL(8, 2), \
         s STRING, y BYTES, day DATE, t TIME, ts TIMESTAMP, a ARRAY<TIMESTAMP>, \
         m MAP<STRING, INT>, r STRUCT<x INT, y TIME>) \
         WITH (KAFKA_TOPIC = 'every', VALUE_FORMAT = 'JSON', PARTITIONS = 1)",
    );
    kappa.execute(&format!(
        "CREATE SINK lake FROM every WITH ({}, FORMAT = 'DELTA', PARTITION_BY = 'day, p, ts')",
        place.connector("t")
    ));
    let row = r#"{"B":true,"I":-1,"L":9007199254740993,"D":1.5,"P":"1.50","S":"a","Y":"AQI=",
        "DAY":19000,"T":65100000,"TS":1500,"A":[1500],"M":{"k":7},"R":{"X":3,"Y":1000}}"#;
    kappa.send("every", 1, 1, Some(row.to_owned()), 5);
    kappa.send("every", 1, 2, Some("{}".to_owned()), 6);
    kappa.flush();
    let columns =
        r#""K", "B", "I", "L", "D", "P", "S", "Y", "DAY", "T", "TS", "A", "M", "R", "ROWTIME""#;
    let rows = place.ask("t", &format!("SELECT {columns} FROM t"));
    assert_eq!(
        rows[0].join(" | "),
        "1 | true | -1 | 9007199254740993 | 1.5 | 1.50 | a | 0102 | 2022-01-08 | 18:05:00 | \
         1970-01-01T00:00:01.500Z | [1970-01-01T00:00:01.500Z] | {k: 7} | {X: 3, Y: 00:00:01} | 5"
    );
    assert_eq!(rows[1].join(" "), format!("2{} 6", " NULL".repeat(13)));
    let log = place.log("t");
    let metadata = log
        .iter()
        .find(|entry| !entry["metaData"].is_null())
        .unwrap();
    let schema = metadata["metaData"]["schemaString"].as_str().unwrap();
    let schema: serde_json::Value = serde_json::from_str(schema).unwrap();
    let types: Vec<String> = schema["fields"]
        .as_array()
        .unwrap()
        .iter()
        .map(|field| match &field["type"] {
            serde_json::Value::String(name) => name.clone(),
            nested => nested["type"].as_str().unwrap().to_owned(),
        })
        .collect();
    assert_eq!(
        types.join(" "),
        "integer boolean integer long double decimal(8,2) string binary date string timestamp \
         array map struct long"
    );
    // Readers of the first generation can have it.
    let protocol = log
        .iter()
        .find(|entry| !entry["protocol"].is_null())
        .unwrap();
    assert_eq!(protocol["protocol"]["minReaderVersion"], 1);
    let partitions: Vec<_> = log
        .iter()
        .map(|entry| &entry["add"]["partitionValues"])
        .filter(|values| !values.is_null())
        .collect();
    let full = serde_json::json!({
        "DAY": "2022-01-08", "P": "1.50", "TS": "1970-01-01 00:00:01.500000"
    });
    let empty = serde_json::json!({"DAY": null, "P": null, "TS": null});
    assert!(partitions.len() == 2 && partitions.contains(&&full) && partitions.contains(&&empty));
    kappa.shut_down();
}

#[test]
fn a_table_can_be_written_as_its_changes() {
    let place = Lake::directory();
    let data_dir = instance::data_dir().unwrap();
    let kappa = Incarnation::open(place.config(data_dir.path()));
    kappa.execute(TABLE);
    kappa.execute(&format!(
        "CREATE SINK lake FROM users WITH ({}, FORMAT = 'DELTA', MODE = 'append')",
        place.connector("t")
    ));
    kappa.send("users", 2, 1, Some(r#"{"NAME":"n","SITE":"s"}"#.into()), 1);
    kappa.flush();
    kappa.send("users", 2, 1, None, 2);
    kappa.flush();
    let rows = place.ask(
        "t",
        r#"SELECT "ID", "NAME", "ROWTIME", "ROWDELETED" FROM t"#,
    );
    assert_eq!(rows, [["1", "NULL", "2", "true"], ["1", "n", "1", "false"]]);
    kappa.shut_down();
}

#[test]
fn what_does_not_fit_is_said_at_its_place() {
    let place = Lake::directory();
    let data_dir = instance::data_dir().unwrap();
    let kappa = Incarnation::open(place.config(data_dir.path()));
    kappa.execute(STREAM);
    kappa.execute(
        "CREATE TABLE nested (k STRUCT<a INT> PRIMARY KEY, v INT) \
         WITH (KAFKA_TOPIC = 'nested', FORMAT = 'JSON', PARTITIONS = 1)",
    );
    let connector = place.connector("t");
    let refused = |source: &str, more: &str| {
        kappa.refused(&format!(
            "CREATE SINK files FROM {source} WITH ({connector}, {more})"
        ))
    };
    for (more, expected) in [
        (
            "FORMAT = 'DELTA', PARTITION_PATH = 'a={page}'",
            "take PARTITION_BY",
        ),
        (
            "FORMAT = 'DELTA', COMMIT_OBJECTS = true",
            "the table's log has the commits",
        ),
        (
            "FORMAT = 'DELTA', FILE_PREFIX = 'x'",
            "FILE_PREFIX is not for FORMAT 'DELTA'",
        ),
        (
            "FORMAT = 'DELTA', MODE = 'merge'",
            "needs a table with a primary key",
        ),
        (
            "FORMAT = 'DELTA', STATISTICS = 'none'",
            "take STATISTICS = 'CHUNK' or 'PAGE'",
        ),
        (
            "FORMAT = 'DELTA', PARTITION_BY = 'nothing'",
            "there is no column NOTHING",
        ),
        ("FORMAT = 'DELTA', TABLE = 'x'", "TABLE does not exist here"),
        (
            "FORMAT = 'PARQUET', MODE = 'append'",
            "MODE is for FORMAT = 'DELTA'",
        ),
        (
            "SCHEMA_EVOLUTION = true",
            "SCHEMA_EVOLUTION is for FORMAT = 'DELTA'",
        ),
    ] {
        let error = refused("clicks", more);
        assert!(error.contains(expected), "{more}: {error}");
    }
    let error = refused("nested", "FORMAT = 'DELTA'");
    assert!(error.contains("K is nested"), "{error}");
    let error = refused(
        "nested",
        "FORMAT = 'DELTA', MODE = 'append', PARTITION_BY = 'k'",
    );
    assert!(error.contains("cannot be partitioned by K"), "{error}");
    kappa.shut_down();
}

#[test]
fn tables_that_cannot_be_written_are_left_alone() {
    let place = Lake::directory();
    let data_dir = instance::data_dir().unwrap();
    let kappa = Incarnation::open(place.config(data_dir.path()));
    kappa.execute(STREAM);
    kappa.execute(TABLE);
    send_clicks(&kappa, 0..2);
    let check = |table: &str, source: &str, more: &str, expected: &str| {
        kappa.execute(&format!(
            "CREATE SINK s FROM {source} WITH ({}, FORMAT = 'DELTA' {more})",
            place.connector(table)
        ));
        let before = place.objects(table);
        let error = error_of(&kappa, "s");
        assert!(error.contains(expected), "{table}: {error}");
        assert!(error.contains(table), "{error}");
        assert_eq!(place.objects(table), before, "{table}");
        kappa.execute("DROP SINK s");
    };
    // Files, but no log.
    std::fs::create_dir_all(place.path("files")).unwrap();
    std::fs::write(place.path("files").join("a.parquet"), "x").unwrap();
    check("files", "clicks", "", "no Delta table");
    let (int, text) = (PrimitiveType::Integer, PrimitiveType::String);
    let columns = [
        ("ID", int.clone()),
        ("PAGE", text.clone()),
        ("MS", int.clone()),
        ("ROWTIME", PrimitiveType::Long),
    ];
    let wrong_type = [("ID", text.clone()), ("PAGE", text.clone()), ("MS", int)];
    create_elsewhere(&place.path("type"), &wrong_type, &[], &[]);
    check(
        "type",
        "clicks",
        "",
        "has column \"ID\" as string, and here it is integer",
    );
    create_elsewhere(
        &place.path("case"),
        &[("id", text.clone()), ("PAGE", text)],
        &[],
        &[],
    );
    check("case", "clicks", "", "spells \"ID\" as \"id\"");
    create_elsewhere(&place.path("parted"), &columns, &["PAGE"], &[]);
    check("parted", "clicks", "", "set PARTITION_BY = 'PAGE'");
    create_elsewhere(&place.path("whole"), &columns, &[], &[]);
    check(
        "whole",
        "clicks",
        ", PARTITION_BY = 'ms'",
        "leave PARTITION_BY out",
    );
    create_elsewhere(
        &place.path("fixed"),
        &columns,
        &[],
        &[("delta.appendOnly", "true")],
    );
    check("fixed", "users", "", "takes no changes");
    let rule = [("delta.constraints.positive", "ID > 0")];
    create_elsewhere(&place.path("ruled"), &columns, &[], &rule);
    check("ruled", "clicks", "", "has a rule");
    // What only newer programs know how to write.
    for (table, reader, expected) in [
        ("newer", false, "Unsupported"),
        ("newest", true, "nsupported"),
    ] {
        create_elsewhere(&place.path(table), &columns, &[], &[]);
        let reader_features: &[&str] = if reader { &["someFeature"] } else { &[] };
        let mut protocol = serde_json::json!({"protocol": {
            "minReaderVersion": 1, "minWriterVersion": 7, "writerFeatures": ["someFeature"]
        }});
        if reader {
            protocol["protocol"]["minReaderVersion"] = 3.into();
            protocol["protocol"]["readerFeatures"] = reader_features.into();
        }
        let entry = place
            .path(table)
            .join("_delta_log/00000000000000000001.json");
        std::fs::write(entry, protocol.to_string()).unwrap();
        check(table, "clicks", "", expected);
    }
    kappa.shut_down();
}

#[test]
fn a_bucket_that_is_not_there_is_said() {
    let Some(place) = Lake::s3() else {
        return;
    };
    let data_dir = instance::data_dir().unwrap();
    let kappa = Incarnation::open(place.config(data_dir.path()));
    kappa.execute(STREAM);
    kappa.execute(
        "CREATE SINK lake FROM clicks WITH (CONNECTOR = 's3', PATH = 's3://no-such-bucket/t', \
         FORMAT = 'DELTA')",
    );
    let error = error_of(&kappa, "lake");
    assert!(error.contains("NoSuchBucket"), "{error}");
    assert!(error.contains("s3://no-such-bucket/t"), "{error}");
    kappa.shut_down();
}

/// Two versions of TLS providers are linked, and neither may be in doubt which one it is.
#[tokio::test]
async fn clients_of_https_can_be_made() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("https://{}", listener.local_addr().unwrap());
    // Whoever says hello is hung up on.
    std::thread::spawn(move || listener.incoming().for_each(drop));
    let client = reqwest::Client::builder().build().unwrap();
    let error = client.get(&endpoint).send().await.unwrap_err();
    assert!(error.is_connect(), "{error:?}");
    let retry = object_store::RetryConfig {
        max_retries: 0,
        ..Default::default()
    };
    let store = AmazonS3Builder::new()
        .with_endpoint(&endpoint)
        .with_region("r")
        .with_bucket_name("b")
        .with_access_key_id("k")
        .with_secret_access_key("s")
        .with_retry(retry)
        .build()
        .unwrap();
    let error = store.get(&"x".into()).await.unwrap_err().to_string();
    assert!(error.contains("error sending request"), "{error}");
}
