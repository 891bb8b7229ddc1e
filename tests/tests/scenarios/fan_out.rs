//! One stream and one view to several targets at once: each gets every row once and in order, each
//! at its own pace when one is away.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use kappa_engine::Config;
use kappa_tests::account::Account;
use kappa_tests::bucket::Bucket;
use kappa_tests::chance::Chance;
use kappa_tests::gcs_server::GcsServer;
use kappa_tests::instance;
use kappa_tests::server::Server;
use tokio_postgres::{NoTls, SimpleQueryMessage};

use crate::incarnation::{Incarnation, Table, sorted};
use crate::sinks::{Files, parquet_rows};
use crate::snowflake::now_ms;

/// Where rows go.
struct Targets {
    postgres: Server,
    s3: Server,
    gcs: GcsServer,
    directory: tempfile::TempDir,
}

impl Targets {
    fn start() -> Option<Self> {
        Self::start_with("minio")
    }

    /// With that server of S3.
    fn start_with(s3: &str) -> Option<Self> {
        Some(Self {
            postgres: Server::start("postgres").unwrap()?,
            s3: Server::start(s3).unwrap()?,
            gcs: GcsServer::start(),
            directory: tempfile::tempdir().unwrap(),
        })
    }

    fn config(&self, data_dir: &Path) -> Config {
        let mut settings = vec![
            ("commit.interval.ms", "1000".to_owned()),
            ("postgres.url", self.postgres.value("URL").to_owned()),
        ];
        settings.extend(self.s3_bucket().settings().iter().cloned());
        settings.extend(self.gcs_bucket().settings().iter().cloned());
        let settings: Vec<(&str, &str)> = settings
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        instance::config(data_dir, &settings)
    }

    /// An engine in a directory of its own with all sinks; with `more` in their properties.
    fn begin(&self, more: fn(&str) -> &'static str) -> (tempfile::TempDir, Incarnation) {
        let data_dir = instance::data_dir().unwrap();
        let kappa = Incarnation::open(self.config(data_dir.path()));
        self.create(&kappa, more);
        (data_dir, kappa)
    }

    /// The stream, a view of it, and what is written where, `more` in the properties of a sink.
    fn create(&self, kappa: &Incarnation, more: fn(&str) -> &'static str) {
        kappa.execute(
            "CREATE STREAM clicks (id INT KEY, page STRING, ms INT) \
             WITH (KAFKA_TOPIC = 'clicks', VALUE_FORMAT = 'JSON', PARTITIONS = 2)",
        );
        kappa.execute(
            "CREATE TABLE per_page WITH (VALUE_FORMAT = 'JSON') AS \
             SELECT page, COUNT(*) AS n, SUM(ms) AS total FROM clicks GROUP BY page",
        );
        let directory = self.directory.path().join("clicks");
        let directory = directory.display();
        let files = "FORMAT = 'PARQUET', ROLL_INTERVAL = '1 SECOND'";
        for (sink, source, with) in [
            (
                "s3_files",
                "clicks",
                format!("CONNECTOR = 's3', PATH = 's3://kappa/clicks', {files}"),
            ),
            (
                "gcs_files",
                "clicks",
                format!("CONNECTOR = 'gcs', PATH = 'gs://kappa/clicks', {files}"),
            ),
            (
                "local_files",
                "clicks",
                format!(
                    "CONNECTOR = 'file', PATH = '{directory}', \
                     PARTITION_PATH = '{{page}}/{{ROWTIME:%H%M}}', {files}"
                ),
            ),
            (
                "pg_clicks",
                "clicks",
                "CONNECTOR = 'postgres', INCLUDE_ROWTIME = true".to_owned(),
            ),
            (
                "pg_pages",
                "per_page",
                "CONNECTOR = 'postgres', TABLE = 'pages'".to_owned(),
            ),
        ] {
            let more = more(sink);
            kappa.execute(&format!(
                "CREATE SINK {sink} FROM {source} WITH ({with} {more})"
            ));
        }
    }

    /// What each sink has, by name; but for those whose servers are away.
    fn rows(&self, kappa: &Incarnation) -> BTreeMap<&'static str, Table> {
        let directory = self.directory.path().join("clicks");
        BTreeMap::from([
            ("s3_files", parquet_rows(&data(self.s3_objects(kappa)))),
            ("gcs_files", parquet_rows(&data(self.gcs_objects()))),
            ("local_files", parquet_rows(&data(local_files(&directory)))),
            (
                "pg_clicks",
                self.table(kappa, "SELECT id, page, ms, rowtime FROM pg_clicks"),
            ),
            (
                "pg_pages",
                self.table(kappa, "SELECT page, n, total FROM pages"),
            ),
        ])
    }

    fn s3_bucket(&self) -> Bucket {
        Bucket::s3(&self.s3).unwrap()
    }

    fn gcs_bucket(&self) -> Bucket {
        Bucket::gcs(&self.gcs, "kappa").unwrap()
    }

    fn gcs_objects(&self) -> Files {
        let objects = self.gcs.objects("kappa").into_iter();
        objects
            .map(|(name, bytes)| (name, bytes.to_vec()))
            .collect()
    }

    fn s3_objects(&self, kappa: &Incarnation) -> Files {
        kappa.block_on(self.s3_bucket().objects("clicks")).unwrap()
    }

    fn table(&self, kappa: &Incarnation, sql: &str) -> Table {
        postgres_rows(kappa, self.postgres.value("URL"), sql)
    }
}

/// Rows of a query of PostgreSQL.
pub(crate) fn postgres_rows(kappa: &Incarnation, url: &str, sql: &str) -> Table {
    kappa.block_on(async {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
        let connection = tokio::spawn(connection);
        let messages = client.simple_query(sql).await.unwrap();
        connection.abort();
        let rows = messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        let text = |cell: Option<&str>| cell.unwrap_or("NULL").to_owned();
        sorted(
            rows.map(|row| (0..row.len()).map(|i| text(row.get(i))).collect())
                .collect(),
        )
    })
}

/// The targets, an engine in a directory of its own, and all sinks; with `more` in their properties.
fn begin(more: fn(&str) -> &'static str) -> Option<(Targets, tempfile::TempDir, Incarnation)> {
    let targets = Targets::start()?;
    let (data_dir, kappa) = targets.begin(more);
    Some((targets, data_dir, kappa))
}

fn nothing(_sink: &str) -> &'static str {
    ""
}

/// Files of rows, without what says which belong together.
pub(crate) fn data(mut files: Files) -> Files {
    files.retain(|name, _| !name.contains("_commits/"));
    files
}

pub(crate) fn local_files(directory: &Path) -> Files {
    let mut files = Files::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(local_files(&path)),
            false => drop(files.insert(path.display().to_string(), std::fs::read(&path).unwrap())),
        }
    }
    files
}

fn send(kappa: &Incarnation, ids: std::ops::Range<i32>) {
    for id in ids {
        let value = format!(r#"{{"PAGE":"p{}","MS":{id}}}"#, id % 3);
        kappa.send("clicks", 2, id, Some(value), i64::from(id) * 1000);
    }
}

/// What every sink should have of `send` of `0..end`, from a plain count.
fn expected(end: i32) -> BTreeMap<&'static str, Table> {
    let clicks = sorted(
        (0..end)
            .map(|id| {
                let (page, time) = (format!("p{}", id % 3), i64::from(id) * 1000);
                vec![id.to_string(), page, id.to_string(), time.to_string()]
            })
            .collect(),
    );
    let mut pages: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    for id in 0..end {
        let page = pages.entry(format!("p{}", id % 3)).or_default();
        *page = (page.0 + 1, page.1 + i64::from(id));
    }
    let pages = pages
        .into_iter()
        .map(|(page, (n, total))| vec![page, n.to_string(), total.to_string()])
        .collect();
    let mut all: BTreeMap<&'static str, Table> =
        ["s3_files", "gcs_files", "local_files", "pg_clicks"]
            .into_iter()
            .map(|sink| (sink, clicks.clone()))
            .collect();
    all.insert("pg_pages", pages);
    all
}

/// A fact that DESCRIBE tells of a sink.
fn fact(kappa: &Incarnation, sink: &str, what: &str) -> String {
    let facts = kappa.ask(&format!("DESCRIBE {sink}"));
    facts
        .into_iter()
        .find(|fact| fact[0] == what)
        .unwrap()
        .remove(1)
}

/// How many times something is made to end; more with `KAPPA_CRASH_ROUNDS`.
pub(crate) fn rounds(usually: i32) -> i32 {
    let asked = std::env::var("KAPPA_CRASH_ROUNDS").ok();
    asked.map_or(usually, |rounds| rounds.parse().unwrap())
}

#[test]
fn several_targets_have_every_row_once_through_restarts_and_crashes() {
    if let Some(targets) = Targets::start() {
        every_target_has_every_row_once(&targets);
    }
}

#[test]
fn another_implementation_of_s3_has_every_row_once_beside_the_others() {
    if let Some(targets) = Targets::start_with("moto") {
        every_target_has_every_row_once(&targets);
    }
}

fn every_target_has_every_row_once(targets: &Targets) {
    let data_dir = instance::data_dir().unwrap();
    let open = || Incarnation::open(targets.config(data_dir.path()));
    let mut kappa = open();
    targets.create(&kappa, nothing);
    // Read, and encoded, once.
    let feed = fact(&kappa, "s3_files", "feed");
    for sink in ["gcs_files", "local_files", "pg_clicks"] {
        assert_eq!(fact(&kappa, sink, "feed"), feed, "{sink}");
    }
    let writer = fact(&kappa, "s3_files", "writer");
    assert_eq!(fact(&kappa, "gcs_files", "writer"), writer);
    assert_ne!(fact(&kappa, "local_files", "writer"), writer);
    let (mut sent, mut chance) = (0, Chance::of_the_run());
    for round in 0..rounds(40) {
        let more = round % 4 + 1;
        send(&kappa, sent..sent + more);
        sent += more;
        match round % 5 {
            0 => kappa.flush(),
            1 => (0..round).for_each(|_| kappa.tick()),
            2 => {
                kappa.shut_down();
                kappa = open();
            }
            _ => {
                // Each time a little later in what goes on.
                kappa.tick();
                kappa.tick();
                kappa.wait(Duration::from_millis(chance.below(40)));
                kappa.crash();
                kappa = open();
            }
        }
    }
    kappa.flush();
    assert_eq!(targets.rows(&kappa), expected(sent));
    // Who reads the commit objects finds the same files.
    let objects = targets.gcs_objects();
    let commits = objects
        .iter()
        .filter(|(name, _)| name.contains("_commits/"));
    let mut listed: Vec<String> = commits
        .flat_map(|(_, bytes)| {
            let commit: serde_json::Value = serde_json::from_slice(bytes).unwrap();
            let files = commit["files"].as_array().unwrap().clone();
            files
                .into_iter()
                .map(|file| format!("clicks/{}", file["path"].as_str().unwrap()))
        })
        .collect();
    listed.sort();
    let files: Vec<String> = data(objects).into_keys().collect();
    assert_eq!(listed, files);
    // The same bytes under both clouds.
    let names = |files: Files| -> Vec<Vec<u8>> {
        let mut bytes: Vec<_> = data(files).into_values().collect();
        bytes.sort();
        bytes
    };
    assert_eq!(
        names(targets.s3_objects(&kappa)),
        names(targets.gcs_objects())
    );
    let shown = kappa.ask("SHOW SINKS");
    for row in &shown {
        assert_eq!(
            (row[3].as_str(), row[6].as_str()),
            ("RUNNING", "0"),
            "{row:?}"
        );
    }
    kappa.shut_down();
}

/// Waits until SHOW SINKS says so of a sink.
pub(crate) fn await_sink(
    kappa: &Incarnation,
    sink: &str,
    is: impl Fn(&[String]) -> bool,
) -> Vec<String> {
    let begun = Instant::now();
    loop {
        let shown = kappa.ask("SHOW SINKS");
        let row = shown
            .into_iter()
            .find(|row| row[0] == sink.to_uppercase())
            .unwrap();
        if is(&row) {
            return row;
        }
        assert!(begun.elapsed() < Duration::from_secs(90), "{row:?}");
        kappa.tick();
    }
}

#[test]
fn a_target_that_is_away_holds_up_nobody_and_catches_up() {
    let Some((mut targets, data_dir, mut kappa)) = begin(nothing) else {
        return;
    };
    send(&kappa, 0..10);
    kappa.flush();
    let mut sent = 10;
    for away in ["gcs_files", "s3_files", "pg_clicks"] {
        match away {
            "gcs_files" => targets.gcs.stop(),
            "s3_files" => targets.s3.stop().unwrap(),
            _ => targets.postgres.stop().unwrap(),
        }
        for _ in 0..3 {
            send(&kappa, sent..sent + 5);
            sent += 5;
            (0..3).for_each(|_| kappa.tick());
        }
        let row = await_sink(&kappa, away, |row| row[3] == "RETRYING" && row[6] != "0");
        assert!(row[9] != "(empty)", "{row:?}");
        for other in ["gcs_files", "s3_files", "local_files", "pg_clicks"] {
            if other != away {
                await_sink(&kappa, other, |row| row[4] == sent.to_string());
            }
        }
        // The outage goes on over a restart.
        kappa.shut_down();
        kappa = Incarnation::open(targets.config(data_dir.path()));
        match away {
            "gcs_files" => targets.gcs.resume(),
            "s3_files" => targets.s3.resume().unwrap(),
            _ => targets.postgres.resume().unwrap(),
        }
        await_sink(&kappa, away, |row| {
            row[3] == "RUNNING" && row[4] == sent.to_string()
        });
    }
    kappa.flush();
    assert_eq!(targets.rows(&kappa), expected(sent));
    kappa.shut_down();
}

pub(crate) fn copy_directory(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy_directory(&entry.path(), &to),
            false => drop(std::fs::copy(entry.path(), to).unwrap()),
        }
    }
}

#[test]
fn what_all_sinks_have_is_given_back() {
    let data_dir = instance::data_dir().unwrap();
    let place = tempfile::tempdir().unwrap();
    let kappa = Incarnation::open(instance::config(data_dir.path(), &[]));
    kappa.execute(
        "CREATE STREAM s (a STRING) WITH (KAFKA_TOPIC = 's', VALUE_FORMAT = 'JSON', PARTITIONS = 1)",
    );
    // One feed, a writer each.
    for format in ["json", "csv"] {
        let path = place.path().join(format);
        kappa.execute(&format!(
            "CREATE SINK {format} FROM s WITH (CONNECTOR = 'file', PATH = '{}', FORMAT = '{format}')",
            path.display()
        ));
    }
    assert_eq!(fact(&kappa, "json", "feed"), fact(&kappa, "csv", "feed"));
    let segments = |kappa: &Incarnation| {
        let folder = data_dir
            .path()
            .join("outbox")
            .join(fact(kappa, "json", "feed"));
        std::fs::read_dir(folder).unwrap().count()
    };
    for _ in 0..3 {
        // Large enough for a file.
        let value = format!(r#"{{"A":"{}"}}"#, "x".repeat(2 << 20));
        kappa.send("s", 1, 1, Some(value), 0);
        kappa.flush();
    }
    // Kept for sinks that may yet come.
    assert_eq!(segments(&kappa), 3);
    (0..40).for_each(|_| kappa.tick());
    kappa.flush();
    assert_eq!(segments(&kappa), 0);
    kappa.shut_down();
}

#[test]
fn rows_beside_one_that_fails_reach_their_sink_once() {
    let data_dir = instance::data_dir().unwrap();
    let place = tempfile::tempdir().unwrap();
    let config = instance::config(data_dir.path(), &[("commit.interval.ms", "1")]);
    let kappa = Incarnation::open(config);
    kappa.execute(
        "CREATE STREAM s (id INT KEY, v INT) WITH (KAFKA_TOPIC = 's', VALUE_FORMAT = 'JSON', \
         PARTITIONS = 1)",
    );
    kappa.execute(&format!(
        "CREATE SINK files WITH (CONNECTOR = 'file', PATH = '{}') AS \
         SELECT id, SPLIT_PART('a,b', ',', v) AS a FROM s EMIT CHANGES",
        place.path().display()
    ));
    // A step fails while the commit before it may be under way.
    for id in 0..300 {
        let v = if id % 10 == 9 { 0 } else { 1 };
        kappa.send("s", 1, id, Some(format!(r#"{{"V":{v}}}"#)), 0);
        if id % 3 == 0 {
            kappa.tick();
        }
    }
    kappa.flush();
    let rows = parquet_rows(&data(local_files(place.path())));
    let mut ids: Vec<i32> = rows.iter().map(|row| row[0].parse().unwrap()).collect();
    ids.sort_unstable();
    let bad = kappa.ask("SELECT `OFFSET` FROM KAPPA_BAD_RECORDS");
    ids.extend(bad.iter().map(|row| row[0].parse::<i32>().unwrap()));
    ids.sort_unstable();
    assert_eq!(ids, (0..300).collect::<Vec<_>>());
    assert!(
        rows.iter()
            .all(|row| row[0].parse::<i32>().unwrap() % 10 != 9)
    );
    kappa.shut_down();
}

#[test]
fn an_old_copy_of_the_data_directory_writes_over_nothing() {
    if let Some(targets) = Targets::start() {
        old_copy_writes_over_nothing(&targets);
    }
}

/// What holds it up is that a commit object is created only where there is none.
#[test]
fn an_old_copy_writes_over_nothing_in_another_implementation_of_s3() {
    if let Some(targets) = Targets::start_with("moto") {
        old_copy_writes_over_nothing(&targets);
    }
}

fn old_copy_writes_over_nothing(targets: &Targets) {
    let (data_dir, kappa) = targets.begin(nothing);
    send(&kappa, 0..10);
    kappa.flush();
    kappa.shut_down();
    let copy = instance::data_dir().unwrap();
    copy_directory(data_dir.path(), copy.path());
    let kappa = Incarnation::open(targets.config(data_dir.path()));
    for sent in 10..14 {
        send(&kappa, sent..sent + 1);
        kappa.flush();
    }
    assert_eq!(targets.rows(&kappa), expected(14));
    kappa.shut_down();
    let kappa = Incarnation::open(targets.config(copy.path()));
    send(&kappa, 100..103);
    let refused = kappa.try_flush().unwrap_err().to_string();
    assert!(
        refused.contains("old copy") || refused.contains("another copy"),
        "{refused}"
    );
    for sink in [
        "s3_files",
        "gcs_files",
        "local_files",
        "pg_clicks",
        "pg_pages",
    ] {
        let row = await_sink(&kappa, sink, |row| row[3] == "ERROR");
        assert!(row[9].contains("DROP the sink"), "{row:?}");
    }
    assert_eq!(targets.rows(&kappa), expected(14));
    kappa.shut_down();
}

#[test]
fn answers_that_are_lost_and_throttling_double_nothing() {
    let Some((targets, _data_dir, kappa)) = begin(nothing) else {
        return;
    };
    let mut sent = 0;
    for round in 0..12 {
        send(&kappa, sent..sent + 4);
        sent += 4;
        match round % 3 {
            0 => targets.gcs.lose_answers(1 + round / 3),
            1 => targets.gcs.throttle(3),
            _ => targets.gcs.refuse(true),
        }
        (0..3).for_each(|_| kappa.tick());
        targets.gcs.refuse(false);
    }
    await_sink(&kappa, "gcs_files", |row| row[4] == sent.to_string());
    kappa.flush();
    assert_eq!(targets.rows(&kappa), expected(sent));
    kappa.shut_down();
}

#[test]
fn a_sink_that_is_too_far_behind_stops_its_feed() {
    let Some((mut targets, _data_dir, kappa)) =
        begin(|_| ", ON_OUTAGE = 'block', OUTBOX_MAX_BYTES = 1")
    else {
        return;
    };
    targets.gcs.stop();
    send(&kappa, 0..10);
    let row = await_sink(&kappa, "gcs_files", |row| {
        row[3] == "RETRYING" && row[6] != "0"
    });
    let behind = row[7].clone();
    send(&kappa, 10..20);
    await_sink(&kappa, "gcs_files", |row| row[8] != "0");
    let refused = kappa.try_flush().unwrap_err().to_string();
    assert!(refused.contains("waits for sink GCS_FILES"), "{refused}");
    let row = await_sink(&kappa, "gcs_files", |_| true);
    assert_eq!(row[7], behind, "nothing more was written: {row:?}");
    targets.gcs.resume();
    await_sink(&kappa, "gcs_files", |row| {
        row[3] == "RUNNING" && row[4] == "20"
    });
    kappa.flush();
    assert_eq!(targets.rows(&kappa), expected(20));
    kappa.shut_down();
}

/// Its target is away for so long that a sink leaves the feed that it shares.
fn leaves_its_feed(
    away: &str,
    policy: fn(&str) -> &'static str,
    stop: fn(&mut Targets),
    resume: fn(&mut Targets),
) {
    let Some((mut targets, data_dir, mut kappa)) = begin(policy) else {
        return;
    };
    let open = |targets: &Targets| Incarnation::open(targets.config(data_dir.path()));
    let feed = fact(&kappa, away, "feed");
    send(&kappa, 0..10);
    kappa.flush();
    let mut sent = 10;
    let mut send_some = |kappa: &Incarnation| {
        for _ in 0..3 {
            send(kappa, sent..sent + 5);
            sent += 5;
            (0..3).for_each(|_| kappa.tick());
        }
        sent
    };
    stop(&mut targets);
    send_some(&kappa);
    let row = await_sink(&kappa, away, |row| row[3] == "STALLED");
    assert_ne!(row[6], "0", "{row:?}");
    let left = fact(&kappa, away, "leaves its feed");
    assert!(left.starts_with("at epoch "), "{left}");
    let until = row[6].clone();
    // The others have what comes, and nothing more is kept for it.
    let sent = send_some(&kappa);
    await_sink(&kappa, "s3_files", |row| row[4] == sent.to_string());
    let row = await_sink(&kappa, away, |row| row[3] == "STALLED");
    assert_eq!(row[6], until, "{row:?}");
    assert_eq!(fact(&kappa, away, "feed"), feed);
    kappa.crash();
    kappa = open(&targets);
    let row = await_sink(&kappa, away, |row| row[3] == "STALLED");
    assert_eq!(row[6], until, "{row:?}");
    resume(&mut targets);
    // Wherever it is with that.
    let mut chance = Chance::of_the_run();
    for more in 0..8 {
        kappa.tick();
        kappa.wait(Duration::from_millis(chance.below(200)));
        kappa.crash();
        kappa = open(&targets);
        send(&kappa, sent + more..sent + more + 1);
    }
    let sent = sent + 8;
    await_sink(&kappa, away, |row| {
        row[3] == "RUNNING" && row[4] == sent.to_string()
    });
    assert_ne!(fact(&kappa, away, "feed"), feed);
    assert_eq!(fact(&kappa, "s3_files", "feed"), feed);
    kappa.flush();
    assert_eq!(targets.rows(&kappa), expected(sent));
    kappa.execute(&format!("DROP SINK {away}"));
    let own = std::fs::read_dir(data_dir.path().join("staging")).unwrap();
    assert_eq!(own.count(), 2, "of s3_files and local_files");
    kappa.shut_down();
}

const PAUSE: &str = ", ON_OUTAGE = 'pause', OUTBOX_MAX_AGE = '1 MINUTE'";

#[test]
fn a_sink_of_shared_files_leaves_its_feed_and_goes_on_from_the_topic() {
    leaves_its_feed(
        "gcs_files",
        |sink| if sink == "gcs_files" { PAUSE } else { "" },
        |targets| targets.gcs.stop(),
        |targets| targets.gcs.resume(),
    );
}

#[test]
fn a_sink_of_rows_leaves_its_feed_and_goes_on_from_the_topic() {
    leaves_its_feed(
        "pg_clicks",
        |sink| if sink == "pg_clicks" { PAUSE } else { "" },
        |targets| targets.postgres.stop().unwrap(),
        |targets| targets.postgres.resume().unwrap(),
    );
}

#[test]
fn a_sink_of_a_table_that_leaves_its_feed_misses_no_delete() {
    let Some((mut targets, _data_dir, kappa)) = begin(nothing) else {
        return;
    };
    kappa.execute(
        "CREATE TABLE stock (id INT PRIMARY KEY, n INT) \
         WITH (KAFKA_TOPIC = 'stock', VALUE_FORMAT = 'JSON', PARTITIONS = 1)",
    );
    let path = targets.directory.path().join("stock");
    kappa.execute(&format!(
        "CREATE SINK pg_stock FROM stock WITH (CONNECTOR = 'postgres', TABLE = 'stock' {PAUSE})"
    ));
    kappa.execute(&format!(
        "CREATE SINK file_stock FROM stock WITH (CONNECTOR = 'file', PATH = '{}')",
        path.display()
    ));
    let feed = fact(&kappa, "pg_stock", "feed");
    assert_eq!(fact(&kappa, "file_stock", "feed"), feed);
    let set = |ids: std::ops::Range<i32>, n: i32| {
        for id in ids {
            kappa.send("stock", 1, id, Some(format!(r#"{{"N":{n}}}"#)), 0);
        }
    };
    set(0..10, 1);
    kappa.flush();
    targets.postgres.stop().unwrap();
    set(5..15, 2);
    await_sink(&kappa, "pg_stock", |row| row[3] == "STALLED");
    // Of what it had before it left, of what it is yet to get, and of what it will see only then.
    for id in [0, 7, 14] {
        kappa.send("stock", 1, id, None, 0);
    }
    set(14..17, 3);
    kappa.send("stock", 1, 16, None, 0);
    targets.postgres.resume().unwrap();
    kappa.flush();
    assert_ne!(fact(&kappa, "pg_stock", "feed"), feed);
    let n = |id| match id {
        0 | 7 | 16 => None,
        1..5 => Some(1),
        5..14 => Some(2),
        _ => Some(3),
    };
    let rows = (0..17).filter_map(|id| Some(vec![id.to_string(), n(id)?.to_string()]));
    let rows = sorted(rows.collect());
    assert_eq!(targets.table(&kappa, "SELECT id, n FROM stock"), rows);
    kappa.shut_down();
}

#[test]
fn a_flush_waits_for_a_sink_that_leaves_its_feed() {
    let policy = |sink: &str| if sink == "s3_files" { PAUSE } else { "" };
    let Some((mut targets, _data_dir, kappa)) = begin(policy) else {
        return;
    };
    targets.s3.stop().unwrap();
    send(&kappa, 0..10);
    await_sink(&kappa, "s3_files", |row| row[3] == "STALLED");
    send(&kappa, 10..20);
    targets.s3.resume().unwrap();
    kappa.flush();
    assert_eq!(targets.rows(&kappa), expected(20));
    // Alone with its feed, it stops it instead of leaving it.
    targets.s3.stop().unwrap();
    send(&kappa, 20..30);
    await_sink(&kappa, "gcs_files", |row| row[4] == "30");
    await_sink(&kappa, "s3_files", |row| row[9].contains("waits for sink"));
    send(&kappa, 30..40);
    await_sink(&kappa, "s3_files", |row| {
        row[3] == "RETRYING" && row[8].parse::<u32>().unwrap() >= 10
    });
    targets.s3.resume().unwrap();
    await_sink(&kappa, "s3_files", |row| row[4] == "40");
    assert_eq!(targets.rows(&kappa), expected(40));
    kappa.shut_down();
}

/// Rows of a query of Snowflake, sorted.
pub(crate) fn snowflake_rows(kappa: &Incarnation, account: &Account, sql: &str) -> Table {
    let rows = kappa.block_on(account.query(sql)).unwrap().into_iter();
    let text = |cell: Option<String>| cell.unwrap_or_else(|| "NULL".to_owned());
    sorted(
        rows.map(|row| row.into_iter().map(text).collect())
            .collect(),
    )
}

#[test]
fn snowflake_has_rows_appended_and_tables_merged_once() {
    if let Some(server) = Server::start("snowflake").unwrap() {
        snowflake_appends_and_merges_once(&Account::of_server(&server));
    }
}

/// Sends, flushes, restarts and crashes; then a stream's rows are there once, and a view's as they
/// are.
pub(crate) fn snowflake_appends_and_merges_once(account: &Account) {
    let data_dir = instance::data_dir().unwrap();
    let settings = account.settings();
    let settings: Vec<(&str, &str)> = settings
        .iter()
        .filter(|(name, _)| name != "snowflake.user")
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let open = || Incarnation::open_at(instance::config(data_dir.path(), &settings), now_ms());
    let mut kappa = open();
    kappa.execute(
        "CREATE STREAM clicks (id INT KEY, page STRING, ms INT) \
         WITH (KAFKA_TOPIC = 'clicks', VALUE_FORMAT = 'JSON', PARTITIONS = 2)",
    );
    kappa.execute(
        "CREATE TABLE per_page WITH (VALUE_FORMAT = 'JSON') AS \
         SELECT page, COUNT(*) AS n, SUM(ms) AS total FROM clicks GROUP BY page",
    );
    // The second by the Spark connector's names.
    let user = account.property("USER").unwrap_or_default();
    kappa.execute(&format!(
        "CREATE SINK sf_clicks FROM clicks WITH (CONNECTOR = 'snowflake', USER = '{user}', \
         INCLUDE_ROWTIME = true, COMMIT_INTERVAL = '1 SECOND')"
    ));
    kappa.execute(&format!(
        "CREATE SINK sf_pages FROM per_page WITH (CONNECTOR = 'snowflake', sfUser = '{user}', \
         dbtable = 'pages', COMMIT_INTERVAL = '1 SECOND')"
    ));
    let (mut sent, mut chance) = (0, Chance::of_the_run());
    for round in 0..rounds(12) {
        let more = round % 4 + 1;
        send(&kappa, sent..sent + more);
        sent += more;
        match round % 4 {
            0 => kappa.flush(),
            1 => {
                kappa.shut_down();
                kappa = open();
            }
            _ => {
                kappa.tick();
                kappa.tick();
                // Sooner or later within what Snowflake is asked.
                kappa.wait(Duration::from_millis(chance.below(600)));
                kappa.crash();
                kappa = open();
            }
        }
    }
    kappa.flush();
    let expected = expected(sent);
    let clicks = snowflake_rows(
        &kappa,
        account,
        "SELECT ID, PAGE, MS, ROWTIME FROM SF_CLICKS",
    );
    assert_eq!(clicks, expected["pg_clicks"]);
    let pages = snowflake_rows(&kappa, account, "SELECT PAGE, N, TOTAL FROM PAGES");
    assert_eq!(pages, expected["pg_pages"]);
    kappa.shut_down();
}

#[test]
fn secrets_of_a_statement_are_nowhere_to_be_seen() {
    let data_dir = instance::data_dir().unwrap();
    let kappa = Incarnation::open(instance::config(data_dir.path(), &[]));
    kappa.execute(
        "CREATE STREAM s (a INT) WITH (KAFKA_TOPIC = 's', VALUE_FORMAT = 'JSON', PARTITIONS = 1)",
    );
    let secret = "se-cr-et";
    let with = format!(
        "CONNECTOR = 'postgres', HOST = '127.0.0.1', PORT = 1, USER = 'u', PASSWORD = '{secret}'"
    );
    let refused = kappa.refused(&format!("CREATE SINK p FROM s WITH ({with}, TABEL = 't')"));
    assert!(
        refused.contains("TABLE") && !refused.contains(secret),
        "{refused}"
    );
    kappa.execute(&format!("CREATE SINK p FROM s WITH ({with}, TABLE = 't')"));
    let row = await_sink(&kappa, "p", |row| row[3] == "RETRYING");
    let told = format!(
        "{row:?} {:?} {:?}",
        kappa.ask("DESCRIBE p"),
        kappa.ask("SHOW QUERIES")
    );
    assert!(!told.contains(secret), "{told}");
    kappa.shut_down();
    // It is still known after a restart.
    let kappa = Incarnation::open(instance::config(data_dir.path(), &[]));
    let row = await_sink(&kappa, "p", |row| row[3] == "RETRYING");
    assert!(row[9].contains("postgres://127.0.0.1:1/u"), "{row:?}");
    kappa.shut_down();
}

#[test]
fn paused_sinks_are_waited_for_and_dropped_ones_are_not() {
    let Some((targets, data_dir, mut kappa)) = begin(nothing) else {
        return;
    };
    kappa.execute("PAUSE SINK s3_files");
    send(&kappa, 0..10);
    kappa.flush();
    kappa.shut_down();
    kappa = Incarnation::open(targets.config(data_dir.path()));
    let row = await_sink(&kappa, "s3_files", |row| {
        row[3] == "PAUSED" && row[6] == "1"
    });
    assert_eq!(row[4], "0", "{row:?}");
    kappa.execute("RESUME SINK s3_files");
    kappa.flush();
    assert_eq!(targets.rows(&kappa), expected(10));
    kappa.execute("DROP SINK gcs_files");
    kappa.execute("DROP SINK pg_clicks");
    send(&kappa, 10..20);
    kappa.flush();
    let rows = targets.rows(&kappa);
    assert_eq!(rows["gcs_files"], expected(10)["gcs_files"]);
    assert_eq!(rows["pg_clicks"], expected(10)["pg_clicks"]);
    assert_eq!(rows["s3_files"], expected(20)["s3_files"]);
    for sink in ["s3_files", "local_files", "pg_pages"] {
        kappa.execute(&format!("DROP SINK {sink}"));
    }
    assert_eq!(kappa.ask("SHOW SINKS"), Table::new());
    // Nothing is left of them on this disk.
    for folder in ["outbox", "staging"] {
        let left = std::fs::read_dir(data_dir.path().join(folder));
        assert_eq!(left.map_or(0, Iterator::count), 0, "{folder}");
    }
    kappa.shut_down();
}
