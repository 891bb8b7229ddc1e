//! Sinks of files: every row once, whatever happens, and what can be wrong with them.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use datafusion::arrow::array::RecordBatch;
use kappa_engine::Config;
use kappa_tests::bucket::{Bucket, Objects};
use kappa_tests::server::Server;
use kappa_tests::{instance, text};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tokio::runtime::Runtime;

use crate::fan_out::rounds;
use crate::incarnation::{Incarnation, Table, sorted};

const STREAM: &str = "CREATE STREAM clicks (id INT KEY, page STRING, ms INT) \
                      WITH (KAFKA_TOPIC = 'clicks', VALUE_FORMAT = 'JSON', PARTITIONS = 2)";

/// Files by name.
pub(crate) type Files = Objects;

/// Where a sink writes, as seen by somebody else.
pub(crate) enum Place {
    Directory(tempfile::TempDir),
    Bucket(Bucket),
}

impl Place {
    pub(crate) fn of(server: &Server) -> Self {
        Self::Bucket(Bucket::s3(server).unwrap())
    }

    pub(crate) fn directory() -> Self {
        Self::Directory(tempfile::tempdir().unwrap())
    }

    /// For WITH.
    pub(crate) fn connector(&self, folder: &str) -> String {
        match self {
            Self::Directory(directory) => format!(
                "CONNECTOR = 'file', PATH = '{}'",
                directory.path().join(folder).display()
            ),
            Self::Bucket(bucket) => bucket.connector(folder),
        }
    }

    /// What an engine is opened with that writes here.
    pub(crate) fn config(&self, data_dir: &Path) -> Config {
        let mut settings = vec![("commit.interval.ms", "1000")];
        if let Self::Bucket(bucket) = self {
            let own = bucket.settings().iter();
            settings.extend(own.map(|(name, value)| (*name, value.as_str())));
        }
        instance::config(data_dir, &settings)
    }

    /// Files of rows; what says which belong together is left out.
    fn files(&self, folder: &str) -> Files {
        let mut files = self.objects(folder);
        files.retain(|name, _| !name.starts_with("_commits/"));
        files
    }

    /// All that is there. What goes while it is read makes the reading begin anew.
    pub(crate) fn objects(&self, folder: &str) -> Files {
        loop {
            if let Some(files) = self.try_objects(folder) {
                return files;
            }
        }
    }

    fn try_objects(&self, folder: &str) -> Option<Files> {
        match self {
            Self::Directory(directory) => {
                let mut files = Files::new();
                read_directory(&directory.path().join(folder), "", &mut files)?;
                Some(files)
            }
            Self::Bucket(bucket) => {
                match Runtime::new().unwrap().block_on(bucket.objects(folder)) {
                    Err(object_store::Error::NotFound { .. }) => None,
                    listed => Some(listed.unwrap()),
                }
            }
        }
    }
}

/// `None` when something went meanwhile.
fn read_directory(directory: &Path, prefix: &str, files: &mut Files) -> Option<()> {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return Some(());
    };
    for entry in entries {
        let entry = entry.unwrap();
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            read_directory(&entry.path(), &format!("{name}/"), files)?;
            continue;
        }
        match std::fs::read(entry.path()) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
            read => drop(files.insert(name, read.unwrap())),
        }
    }
    Some(())
}

/// The rows of Parquet files.
pub(crate) fn parquet_rows(files: &Files) -> Table {
    let mut batches: Vec<RecordBatch> = Vec::new();
    for bytes in files.values() {
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes.clone()));
        batches.extend(reader.unwrap().build().unwrap().map(Result::unwrap));
    }
    sorted(text::rows(&batches).unwrap())
}

fn send(kappa: &Incarnation, ids: std::ops::Range<i32>) {
    for id in ids {
        let value = format!(r#"{{"PAGE":"/{}","MS":{id}}}"#, id % 3);
        kappa.send("clicks", 2, id, Some(value), i64::from(id) * 1000);
    }
}

/// What `send` of `0..end` should be in a file: with the row's time.
fn clicks(end: i32) -> Table {
    sorted(
        (0..end)
            .map(|id| {
                let (page, time) = (format!("/{}", id % 3), i64::from(id) * 1000);
                vec![id.to_string(), page, id.to_string(), time.to_string()]
            })
            .collect(),
    )
}

/// Sends, flushes, restarts and crashes; then every row is there once.
pub(crate) fn rows_survive(place: &Place) {
    let data_dir = instance::data_dir().unwrap();
    let open = || Incarnation::open(place.config(data_dir.path()));
    let mut kappa = open();
    kappa.execute(STREAM);
    kappa.execute(&format!(
        "CREATE SINK files FROM clicks WITH ({}, FORMAT = 'PARQUET', ROLL_INTERVAL = '1 SECOND')",
        place.connector("rows")
    ));
    let mut sent = 0;
    for round in 0..rounds(24) {
        let more = round % 5 + 1;
        send(&kappa, sent..sent + more);
        sent += more;
        match round % 6 {
            0 | 3 => kappa.flush(),
            1 => kappa.tick(),
            2 => {
                kappa.shut_down();
                kappa = open();
            }
            4 => {
                // Perhaps in the middle of a roll.
                kappa.tick();
                kappa.crash();
                kappa = open();
            }
            _ => {
                kappa.crash();
                kappa = open();
            }
        }
    }
    kappa.flush();
    let files = place.files("rows");
    assert!(files.len() > 4, "{:?}", files.keys());
    assert!(
        files
            .keys()
            .all(|name| name.starts_with("files-") && name.ends_with(".parquet")),
        "{:?}",
        files.keys()
    );
    assert_eq!(parquet_rows(&files), clicks(sent));
    // A sink of the same name in the same place leaves what is there alone.
    kappa.execute("DROP SINK files");
    kappa.execute(&format!(
        "CREATE SINK files FROM clicks WITH ({}, FORMAT = 'PARQUET')",
        place.connector("rows")
    ));
    kappa.flush();
    let again = place.files("rows");
    assert_eq!(parquet_rows(&again).len(), 2 * sent as usize);
    assert!(
        files
            .iter()
            .all(|(name, bytes)| again.get(name) == Some(bytes))
    );
    kappa.shut_down();
}

#[test]
fn rows_reach_a_directory_once() {
    rows_survive(&Place::directory());
}

#[test]
fn rows_reach_a_bucket_once() {
    let Some(server) = Server::start("minio").unwrap() else {
        return;
    };
    rows_survive(&Place::of(&server));
}

#[test]
fn rows_reach_a_bucket_of_another_implementation_once() {
    let Some(server) = Server::start("moto").unwrap() else {
        return;
    };
    rows_survive(&Place::of(&server));
}

#[test]
fn rows_reach_a_container_of_azure_once() {
    let Some(server) = Server::start("azurite").unwrap() else {
        return;
    };
    rows_survive(&Place::Bucket(Bucket::azure(&server).unwrap()));
}

#[test]
fn nothing_is_visible_before_its_commit() {
    let place = Place::directory();
    let data_dir = instance::data_dir().unwrap();
    let kappa = Incarnation::open(place.config(data_dir.path()));
    kappa.execute(STREAM);
    kappa.execute(&format!(
        "CREATE SINK files FROM clicks WITH ({}, ROLL_INTERVAL = '1 HOUR')",
        place.connector("early")
    ));
    send(&kappa, 0..5);
    kappa.wait(Duration::from_millis(300));
    assert_eq!(place.files("early"), Files::new());
    kappa.flush();
    assert_eq!(place.files("early").len(), 1);
    kappa.shut_down();
}

#[test]
fn json_and_csv_are_what_other_programs_read() {
    let place = Place::directory();
    let data_dir = instance::data_dir().unwrap();
    let kappa = Incarnation::open(place.config(data_dir.path()));
    kappa.execute(
        "CREATE STREAM orders (id INT KEY, name STRING, price DECIMAL(6, 2), day DATE, \
         tags ARRAY<STRING>) WITH (KAFKA_TOPIC = 'orders', VALUE_FORMAT = 'JSON', PARTITIONS = 1)",
    );
    for (name, columns) in [("json", "*"), ("csv", "id, name, price, day")] {
        kappa.execute(&format!(
            "CREATE STREAM for_{name} WITH (VALUE_FORMAT = 'JSON') AS SELECT {columns} FROM orders"
        ));
        kappa.execute(&format!(
            "CREATE SINK {name} FROM for_{name} WITH ({}, FORMAT = '{name}')",
            place.connector(name)
        ));
    }
    kappa.execute(
        "INSERT INTO orders (id, name, price, day, tags, rowtime) VALUES \
         (1, 'pen, \"red\"', 1.50, '2026-01-02', ARRAY['a', 'b'], 7), \
         (2, NULL, NULL, NULL, NULL, 8)",
    );
    kappa.flush();
    let text = |folder: &str| {
        let files = place.files(folder);
        assert_eq!(files.len(), 1, "{:?}", files.keys());
        String::from_utf8(files.into_values().next().unwrap()).unwrap()
    };
    let lines: Vec<serde_json::Value> = text("json")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let json = serde_json::json!([
        {"ID": 1, "NAME": "pen, \"red\"", "PRICE": 1.50, "DAY": "2026-01-02",
         "TAGS": ["a", "b"], "ROWTIME": 7},
        {"ID": 2, "NAME": null, "PRICE": null, "DAY": null, "TAGS": null, "ROWTIME": 8},
    ]);
    assert_eq!(serde_json::Value::Array(lines), json);
    assert_eq!(
        text("csv"),
        "ID,NAME,PRICE,DAY,ROWTIME\n1,\"pen, \"\"red\"\"\",1.50,2026-01-02,7\n2,,,,8\n"
    );
    kappa.shut_down();
}

#[test]
fn values_make_directories() {
    let place = Place::directory();
    let data_dir = instance::data_dir().unwrap();
    let kappa = Incarnation::open(place.config(data_dir.path()));
    kappa.execute(STREAM);
    kappa.execute(&format!(
        "CREATE SINK files FROM clicks WITH ({}, PARTITION_BY = 'page, ms')",
        place.connector("by")
    ));
    for (id, value) in [
        (1, r#"{"PAGE":"/a b","MS":1}"#),
        (2, r#"{"PAGE":"../x","MS":1}"#),
        (3, r#"{"PAGE":null,"MS":1}"#),
        (4, r#"{"PAGE":"/a b","MS":1}"#),
    ] {
        kappa.send("clicks", 2, id, Some(value.to_owned()), 0);
    }
    kappa.flush();
    let rows: BTreeMap<String, usize> = place
        .files("by")
        .into_iter()
        .map(|(name, bytes)| {
            let place = name.rsplit_once('/').unwrap().0.to_owned();
            (place, parquet_rows(&Files::from([(name, bytes)])).len())
        })
        .collect();
    let expected = [
        ("PAGE=%2Fa%20b/MS=1", 2),
        ("PAGE=..%2Fx/MS=1", 1),
        ("PAGE=__HIVE_DEFAULT_PARTITION__/MS=1", 1),
    ];
    let expected = expected.map(|(place, rows)| (place.to_owned(), rows));
    assert_eq!(rows, BTreeMap::from(expected));
    kappa.shut_down();
}

#[test]
fn changes_of_a_table_say_what_is_gone() {
    let place = Place::directory();
    let data_dir = instance::data_dir().unwrap();
    let kappa = Incarnation::open(place.config(data_dir.path()));
    kappa.execute(
        "CREATE TABLE users (id INT PRIMARY KEY, name STRING) \
         WITH (KAFKA_TOPIC = 'users', VALUE_FORMAT = 'JSON', PARTITIONS = 1)",
    );
    kappa.execute(&format!(
        "CREATE SINK files FROM users WITH ({})",
        place.connector("users")
    ));
    for (time, value) in [
        (1, Some(r#"{"NAME":"ann"}"#)),
        (2, Some(r#"{"NAME":"bob"}"#)),
        (3, None),
    ] {
        kappa.send("users", 1, 7, value.map(str::to_owned), time);
    }
    kappa.flush();
    let rows = parquet_rows(&place.files("users"));
    let last = rows.iter().max_by_key(|row| row[2].clone()).unwrap();
    assert_eq!(
        (last[0].as_str(), last[3].as_str()),
        ("7", "true"),
        "{rows:?}"
    );
    assert!(
        rows.iter().any(|row| row[1] == "bob" && row[3] == "false"),
        "{rows:?}"
    );
    kappa.shut_down();
}

#[test]
fn a_query_can_be_a_sink() {
    let place = Place::directory();
    let data_dir = instance::data_dir().unwrap();
    let kappa = Incarnation::open(place.config(data_dir.path()));
    kappa.execute(STREAM);
    let create = |name: &str, with: &str, query: &str| {
        format!("CREATE SINK {name} WITH ({with}) AS {query} EMIT CHANGES")
    };
    let pages = "SELECT page, COUNT(*) AS n FROM clicks GROUP BY page";
    kappa.execute(&create("files", &place.connector("pages"), pages));
    kappa.execute(&create("nothing", "CONNECTOR = 'blackhole'", pages));
    send(&kappa, 0..10);
    kappa.flush();
    kappa.shut_down();
    // Counted on from what was committed, not from the beginning.
    let kappa = Incarnation::open(place.config(data_dir.path()));
    send(&kappa, 10..20);
    kappa.flush();
    let mut last: BTreeMap<String, i64> = BTreeMap::new();
    for row in parquet_rows(&place.files("pages")) {
        let count = last.entry(row[0].clone()).or_default();
        *count = row[1].parse::<i64>().unwrap().max(*count);
    }
    let mut expected: BTreeMap<String, i64> = BTreeMap::new();
    for row in clicks(20) {
        *expected.entry(row[1].clone()).or_default() += 1;
    }
    assert_eq!(last, expected);
    let shown = kappa.ask("SHOW SINKS");
    let nothing = shown.iter().find(|row| row[0] == "NOTHING").unwrap();
    assert_eq!(&nothing[1..4], ["CLICKS", "blackhole", "RUNNING"]);
    let rows: usize = nothing[4].parse().unwrap();
    assert!(rows >= expected.len() && rows <= 10, "{nothing:?}");

    let refused = kappa.refused("DROP STREAM clicks");
    assert!(refused.contains("the sink FILES reads it"), "{refused}");
    let limit = create("some", "CONNECTOR = 'blackhole'", pages) + " LIMIT 3";
    assert!(kappa.refused(&limit).contains("LIMIT"));
    let other = "CONNECTOR = 'blackhole', PATH = 'x'";
    let refused = kappa.refused(&create("some", other, pages));
    assert!(refused.contains("PATH"), "{refused}");
    kappa.execute("DROP SINK files");
    kappa.execute("DROP SINK nothing");
    kappa.execute("DROP STREAM clicks");
    kappa.shut_down();
}

/// The state of the sink FILES and its last error, once it is `wanted`.
fn state(kappa: &Incarnation, wanted: &str) -> String {
    let begun = Instant::now();
    loop {
        let rows = kappa.ask("SHOW SINKS");
        let row = rows.iter().find(|row| row[0] == "FILES").unwrap();
        if row.iter().any(|cell| cell == wanted) {
            return row.join(" | ");
        }
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "not {wanted}: {rows:?}"
        );
        // Time passes, so that what is due comes.
        kappa.tick();
    }
}

#[test]
fn an_outage_of_the_bucket_loses_nothing() {
    let Some(mut server) = Server::start("minio").unwrap() else {
        return;
    };
    let place = Place::of(&server);
    let data_dir = instance::data_dir().unwrap();
    let open = || Incarnation::open(place.config(data_dir.path()));
    let kappa = open();
    kappa.execute(STREAM);
    kappa.execute("CREATE TABLE per_page AS SELECT page, COUNT(*) AS n FROM clicks GROUP BY page");
    kappa.execute(
        "CREATE SINK files FROM clicks WITH (CONNECTOR = 's3', PATH = 's3://kappa/outage')",
    );
    send(&kappa, 0..10);
    kappa.flush();
    server.stop().unwrap();
    send(&kappa, 10..20);
    let row = state(&kappa, "RETRYING");
    assert!(row.contains("s3://kappa/outage"), "{row}");
    // Others are not concerned.
    send(&kappa, 20..30);
    let deadline = Instant::now() + Duration::from_secs(60);
    while kappa.ask("SELECT SUM(n) FROM per_page") != [["30"]] {
        assert!(Instant::now() < deadline, "the view waits for the sink");
        kappa.tick();
    }
    kappa.shut_down();
    server.resume().unwrap();
    let kappa = Incarnation::open(place.config(data_dir.path()));
    kappa.flush();
    assert_eq!(parquet_rows(&place.files("outage")), clicks(30));
    kappa.shut_down();
}

#[test]
fn refusals_are_said_and_not_retried() {
    let Some(server) = Server::start("minio").unwrap() else {
        return;
    };
    let data_dir = instance::data_dir().unwrap();
    let mut wrong = Place::of(&server).config(data_dir.path());
    let kappa = Incarnation::open(wrong.clone());
    kappa.execute(STREAM);
    send(&kappa, 0..3);
    kappa.execute(
        "CREATE SINK files FROM clicks WITH (CONNECTOR = 's3', PATH = 's3://no-such-bucket/x')",
    );
    let refused = kappa.try_flush().unwrap_err().to_string();
    assert!(refused.contains("s3://no-such-bucket/x"), "{refused}");
    let row = state(&kappa, "ERROR");
    assert!(row.contains("NoSuchBucket"), "{row}");
    kappa.execute("DROP SINK files");
    kappa.shut_down();

    let secret = "wrong-secret-wrong-secret";
    wrong
        .properties
        .insert("s3.secret_access_key".to_owned(), secret.to_owned());
    let kappa = Incarnation::open(wrong);
    kappa.execute("CREATE SINK files FROM clicks WITH (CONNECTOR = 's3', PATH = 's3://kappa/y')");
    let refused = kappa.try_flush().unwrap_err().to_string();
    let row = state(&kappa, "ERROR");
    for text in [&refused, &row] {
        assert!(text.contains("s3://kappa/y"), "{text}");
        assert!(text.contains("SignatureDoesNotMatch"), "{text}");
        assert!(!text.contains(secret), "{text}");
    }
    let properties = kappa.ask("SHOW PROPERTIES");
    assert!(
        !format!("{properties:?}").contains(secret),
        "{properties:?}"
    );
    kappa.shut_down();
}
