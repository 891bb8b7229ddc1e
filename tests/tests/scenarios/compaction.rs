//! Small files are merged at their target: through crashes at every step, with rows that come late,
//! for readers of commit objects and for those who list files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use arrow_avro::reader::ReaderBuilder;
use datafusion::arrow::array::RecordBatch;
use kappa_engine::Config;
use kappa_tests::bucket::Bucket;
use kappa_tests::gcs_server::GcsServer;
use kappa_tests::server::Server;
use kappa_tests::{instance, text};
use serde_json::Value;

use crate::incarnation::{Incarnation, Table, sorted};
use crate::sinks::{Files, Place, parquet_rows};

const STREAM: &str = "CREATE STREAM clicks (id INT KEY, page STRING) \
                      WITH (KAFKA_TOPIC = 'clicks', VALUE_FORMAT = 'JSON', PARTITIONS = 1)";
const HOUR: i64 = 3_600_000;
const MINUTE: i64 = 60_000;

/// A row of a minute, of the hour that all are in.
fn send(kappa: &Incarnation, id: i32, minute: i64) {
    let value = format!(r#"{{"PAGE":"/{id}"}}"#);
    kappa.send(
        "clicks",
        1,
        id,
        Some(value),
        minute * MINUTE + i64::from(id),
    );
}

/// What rows with these ids and minutes should be in files.
fn rows_of(sent: &[(i32, i64)]) -> Table {
    let rows = sent.iter().map(|(id, minute)| {
        let time = minute * MINUTE + i64::from(*id);
        vec![id.to_string(), format!("/{id}"), time.to_string()]
    });
    sorted(rows.collect())
}

/// The rows of files of any format, each with a BOM or header of its own.
fn rows(files: &Files) -> Table {
    let mut all = Table::new();
    for (name, bytes) in files {
        let one = Files::from([(name.clone(), bytes.clone())]);
        let text = || std::str::from_utf8(bytes).unwrap();
        match name.rsplit_once('.').unwrap().1 {
            "parquet" => all.extend(parquet_rows(&one)),
            "avro" => {
                let reader = ReaderBuilder::new().build(bytes.as_slice()).unwrap();
                let batches: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
                all.extend(text::rows(&batches).unwrap());
            }
            "jsonl" => all.extend(text().lines().map(|line| {
                let row: Value = serde_json::from_str(line).unwrap();
                let cell = |name: &str| row[name].to_string().trim_matches('"').to_owned();
                vec![cell("ID"), cell("PAGE"), cell("ROWTIME")]
            })),
            "csv" => {
                let mut lines = text().lines();
                assert_eq!(lines.next(), Some("ID,PAGE,ROWTIME"));
                all.extend(lines.map(|line| line.split(',').map(str::to_owned).collect()));
            }
            other => panic!("{other}"),
        }
    }
    sorted(all)
}

/// Files of rows, without commit objects.
fn listed(objects: &Files) -> Files {
    let mut files = objects.clone();
    files.retain(|name, _| !name.starts_with("_commits/"));
    files
}

/// The files that commit objects name and none replaces. All have to be there, as they are named.
fn committed(objects: &Files) -> Files {
    let (mut named, mut replaced) = (BTreeMap::new(), BTreeSet::new());
    for (name, bytes) in objects {
        if !name.starts_with("_commits/") {
            continue;
        }
        let object: Value = serde_json::from_slice(bytes).unwrap();
        for file in object["files"].as_array().unwrap() {
            let path = file["path"].as_str().unwrap().to_owned();
            named.insert(path, (file["bytes"].as_u64(), file["rows"].as_u64()));
        }
        let replaces = object["replaces"].as_array().into_iter().flatten();
        replaced.extend(replaces.map(|path| path.as_str().unwrap().to_owned()));
    }
    named.retain(|path, _| !replaced.contains(path));
    named
        .into_iter()
        .map(|(path, (bytes, count))| {
            let found = objects.get(&path);
            let found = found.unwrap_or_else(|| panic!("{path} is named, but not there"));
            assert_eq!(Some(found.len() as u64), bytes, "{path}");
            let one = Files::from([(path.clone(), found.clone())]);
            assert_eq!(Some(rows(&one).len() as u64), count, "{path}");
            (path, found.clone())
        })
        .collect()
}

/// How many files each directory has.
fn directories(objects: &Files) -> BTreeMap<String, usize> {
    let mut directories = BTreeMap::new();
    for name in listed(objects).keys() {
        let place = name.rsplit_once('/').map_or("", |(place, _)| place);
        *directories.entry(place.to_owned()).or_default() += 1;
    }
    directories
}

/// Waits until the objects are so; time passes meanwhile.
fn wait_for(
    kappa: &Incarnation,
    objects: &dyn Fn() -> Files,
    is: impl Fn(&Files) -> bool,
) -> Files {
    let begun = Instant::now();
    loop {
        let found = objects();
        if is(&found) {
            return found;
        }
        let sink = || kappa.ask("DESCRIBE files");
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "{:?} {:?}",
            found.keys(),
            sink()
        );
        kappa.tick();
    }
}

/// Waits until each directory has one file.
fn at_rest(kappa: &Incarnation, objects: &dyn Fn() -> Files) -> Files {
    wait_for(kappa, objects, |objects| {
        directories(objects).values().all(|files| *files == 1)
    })
}

fn create(connector: &str, format: &str, more: &str) -> String {
    format!(
        "CREATE SINK files FROM clicks WITH ({connector}, FORMAT = '{format}', \
         COMPRESSION = 'NONE', PARTITION_PATH = 'minute={{ROWTIME:%M}}', COMPACT_SIZE = 1000000{more})"
    )
}

fn fact(kappa: &Incarnation, what: &str) -> String {
    let facts = kappa.ask("DESCRIBE files");
    let found = facts.into_iter().find(|fact| fact[0] == what);
    found.map_or_else(String::new, |mut fact| fact.remove(1))
}

/// Sends, restarts and crashes, with late rows; commit objects are right at any moment, and in the end
/// all rows are there once in one file for each directory.
fn merges(
    config: &dyn Fn(&Path) -> Config,
    connector: &str,
    format: &str,
    objects: &dyn Fn() -> Files,
) {
    let data_dir = instance::data_dir().unwrap();
    let open = || Incarnation::open(config(data_dir.path()));
    let mut kappa = open();
    kappa.execute(STREAM);
    kappa.execute(&create(connector, format, ", COMPACT_AFTER = '1 MINUTE'"));
    let mut sent = Vec::new();
    let next = |kappa: &Incarnation, minute: i64, sent: &mut Vec<(i32, i64)>| {
        let id = sent.len() as i32;
        send(kappa, id, minute);
        sent.push((id, minute));
    };
    for round in 0..20_i64 {
        next(&kappa, 10 + round / 3, &mut sent);
        if round % 4 == 3 {
            // Late, for a directory that may be merged by now: they wait until no more come.
            next(&kappa, 10 + round / 6, &mut sent);
        }
        kappa.flush();
        // The file in which the newest rows are moves time only once it is delivered.
        match round % 5 {
            0 | 1 => {}
            2 => {
                kappa.shut_down();
                kappa = open();
            }
            _ => {
                kappa.wait(Duration::from_millis(round as u64 * 7));
                kappa.crash();
                assert_eq!(
                    rows(&committed(&objects())),
                    rows_of(&sent),
                    "round {round}"
                );
                kappa = open();
            }
        }
    }
    let objects = at_rest(&kappa, objects);
    assert_eq!(directories(&objects).len(), 7);
    assert_eq!(rows(&listed(&objects)), rows_of(&sent));
    assert_eq!(rows(&committed(&objects)), rows_of(&sent));
    assert_eq!(committed(&objects), listed(&objects));
    assert!(!fact(&kappa, "files compacted").starts_with("0 "));
    assert_eq!(fact(&kappa, "compaction error"), "");
    kappa.shut_down();
}

#[test]
fn files_of_every_format_are_merged_in_a_directory() {
    for format in ["PARQUET", "JSON", "CSV", "AVRO"] {
        let place = Place::directory();
        let connector = place.connector("merged");
        let objects = || place.objects("merged");
        merges(
            &|data_dir| place.config(data_dir),
            &connector,
            format,
            &objects,
        );
    }
}

fn merges_in_a_bucket(bucket: Bucket) {
    let place = Place::Bucket(bucket);
    let config = |data_dir: &Path| place.config(data_dir);
    let objects = || place.objects("merged");
    merges(&config, &place.connector("merged"), "PARQUET", &objects);
}

#[test]
fn files_are_merged_in_a_bucket() {
    if let Some(server) = Server::start("minio").unwrap() {
        merges_in_a_bucket(Bucket::s3(&server).unwrap());
    }
}

#[test]
fn files_are_merged_in_a_container_of_azure() {
    if let Some(server) = Server::start("azurite").unwrap() {
        merges_in_a_bucket(Bucket::azure(&server).unwrap());
    }
}

fn gcs_config(data_dir: &Path, server: &GcsServer) -> Config {
    let key = server.service_account_key();
    let settings = [
        ("commit.interval.ms", "1000"),
        ("gcs.service_account_key", key.as_str()),
    ];
    instance::config(data_dir, &settings)
}

fn gcs_objects(server: &GcsServer, folder: &str) -> Files {
    let objects = server.objects("kappa").into_iter();
    let inside = objects.filter_map(|(name, bytes)| {
        let name = name.strip_prefix(folder)?.strip_prefix('/')?;
        Some((name.to_owned(), bytes.to_vec()))
    });
    inside.collect()
}

#[test]
fn files_are_merged_through_a_crash_after_every_request() {
    let server = GcsServer::start();
    let objects = |folder: &str| gcs_objects(&server, folder);
    for lose in [false, true] {
        let mut requests = 0;
        loop {
            let folder = format!("cut-{lose}-{requests}");
            let data_dir = instance::data_dir().unwrap();
            let kappa = Incarnation::open(gcs_config(data_dir.path(), &server));
            kappa.execute(STREAM);
            let connector = format!("CONNECTOR = 'gcs', PATH = 'gs://kappa/{folder}'");
            kappa.execute(&create(&connector, "JSON", ""));
            let sent = [(0, 0), (1, 0), (2, 0), (3, 2)];
            for (id, minute) in &sent[..3] {
                send(&kappa, *id, *minute);
                kappa.flush();
            }
            assert_eq!(directories(&objects(&folder))["minute=00"], 3);
            // From the delivery that moves time to the last input's end.
            let before = server.requests();
            server.cut_after(requests, lose);
            send(&kappa, 3, 2);
            drop(kappa.try_flush());
            let is_over = |objects: &Files| {
                let is_cut = server.requests() > before + u64::from(requests);
                is_cut || directories(objects).get("minute=00") == Some(&1)
            };
            wait_for(&kappa, &|| objects(&folder), is_over);
            let is_cut = server.requests() > before + u64::from(requests);
            kappa.crash();
            // Readers of commit objects see every row once, whatever was done.
            let found = rows(&committed(&objects(&folder)));
            let whole = [rows_of(&sent[..3]), rows_of(&sent)];
            assert!(whole.contains(&found), "{requests} {lose}: {found:?}");
            server.heal();
            let kappa = Incarnation::open(gcs_config(data_dir.path(), &server));
            kappa.flush();
            let rest = wait_for(&kappa, &|| objects(&folder), |objects| {
                directories(objects).get("minute=00") == Some(&1)
            });
            assert_eq!(rows(&listed(&rest)), rows_of(&sent), "{requests} {lose}");
            assert_eq!(committed(&rest), listed(&rest), "{requests} {lose}");
            kappa.shut_down();
            if !is_cut {
                break;
            }
            requests += 1;
        }
        // A unit, three inputs, the merged file, its object, three deletions.
        assert!(requests > 10, "{requests}");
    }
}

#[test]
fn replaced_files_stay_for_their_grace() {
    let place = Place::directory();
    let data_dir = instance::data_dir().unwrap();
    let kappa = Incarnation::open(place.config(data_dir.path()));
    kappa.execute(STREAM);
    let more = ", COMPACT_GRACE = '1 HOUR', COMPACT_AFTER = '10 MINUTES'";
    kappa.execute(&create(&place.connector("grace"), "CSV", more));
    let sent = [(0, 1), (1, 1), (2, 5)];
    for (id, minute) in sent {
        send(&kappa, id, minute);
        kappa.flush();
    }
    let objects = || place.objects("grace");
    let merged = |objects: &Files| objects.keys().any(|name| name.contains("compact-"));
    let found = wait_for(&kappa, &objects, merged);
    assert_eq!(directories(&found)["minute=01"], 3);
    assert_eq!(rows(&committed(&found)), rows_of(&sent));
    // Not before their time, by the clock, over a restart.
    kappa.shut_down();
    let kappa = Incarnation::open_at(place.config(data_dir.path()), HOUR - 1);
    kappa.wait(Duration::from_millis(300));
    assert_eq!(directories(&objects())["minute=01"], 3);
    kappa.shut_down();
    let kappa = Incarnation::open_at(place.config(data_dir.path()), 2 * HOUR);
    let rest = at_rest(&kappa, &objects);
    assert_eq!(rows(&listed(&rest)), rows_of(&sent));
    kappa.shut_down();
}

#[test]
fn the_order_of_changes_stays_what_it_was() {
    let place = Place::directory();
    let data_dir = instance::data_dir().unwrap();
    let kappa = Incarnation::open(place.config(data_dir.path()));
    kappa.execute(
        "CREATE TABLE users (id INT PRIMARY KEY, name STRING) \
         WITH (KAFKA_TOPIC = 'users', VALUE_FORMAT = 'JSON', PARTITIONS = 1)",
    );
    // Two files are already enough for a whole one.
    kappa.execute(&format!(
        "CREATE SINK files FROM users WITH ({}, FORMAT = 'JSON', COMPACT_SIZE = 260)",
        place.connector("users")
    ));
    for n in 0..12 {
        let value = format!(r#"{{"NAME":"{n}"}}"#);
        kappa.send("users", 1, 7, Some(value), n);
        kappa.flush();
    }
    let objects = wait_for(&kappa, &|| place.objects("users"), |objects| {
        listed(objects).len() < 7
    });
    // By names, then by lines.
    let files = committed(&objects);
    let lines = files
        .values()
        .flat_map(|bytes| std::str::from_utf8(bytes).unwrap().lines());
    let names: Vec<String> = lines
        .filter_map(|line| {
            let row: Value = serde_json::from_str(line).unwrap();
            let is_deleted = row["ROWDELETED"] == Value::Bool(true);
            (!is_deleted).then(|| row["NAME"].as_str().unwrap().to_owned())
        })
        .collect();
    let wanted: Vec<String> = (0..12).map(|n| n.to_string()).collect();
    assert_eq!(names, wanted);
    kappa.shut_down();
}

#[test]
fn files_that_somebody_removed_are_not_waited_for() {
    let place = Place::directory();
    let data_dir = instance::data_dir().unwrap();
    let kappa = Incarnation::open(place.config(data_dir.path()));
    kappa.execute(STREAM);
    kappa.execute(&create(&place.connector("removed"), "JSON", ""));
    for id in 0..3 {
        send(&kappa, id, 1);
        kappa.flush();
    }
    let Place::Directory(directory) = &place else {
        panic!("a directory was wanted");
    };
    let files = listed(&place.objects("removed"));
    let first = files.keys().next().unwrap();
    std::fs::remove_file(directory.path().join("removed").join(first)).unwrap();
    send(&kappa, 3, 5);
    kappa.flush();
    let objects = wait_for(&kappa, &|| place.objects("removed"), |objects| {
        directories(objects)["minute=01"] == 1
    });
    assert_eq!(rows(&listed(&objects)), rows_of(&[(1, 1), (2, 1), (3, 5)]));
    assert_eq!(fact(&kappa, "compaction error"), "");
    kappa.execute("DROP SINK files");
    let left = std::fs::read_dir(data_dir.path().join("staging"));
    assert_eq!(left.map_or(0, Iterator::count), 0);
    kappa.shut_down();
}

#[test]
fn an_old_copy_of_the_data_directory_merges_nothing() {
    let place = Place::directory();
    let data_dir = instance::data_dir().unwrap();
    let open = |data_dir: &Path| Incarnation::open(place.config(data_dir));
    let kappa = open(data_dir.path());
    kappa.execute(STREAM);
    kappa.execute(&create(&place.connector("copied"), "JSON", ""));
    for id in 0..2 {
        send(&kappa, id, 1);
        kappa.flush();
    }
    kappa.shut_down();
    let copy = instance::data_dir().unwrap();
    crate::fan_out::copy_directory(data_dir.path(), copy.path());
    // The newer one merges three files, the older would merge two.
    let kappa = open(data_dir.path());
    for (id, minute) in [(2, 1), (3, 5)] {
        send(&kappa, id, minute);
        kappa.flush();
    }
    let objects = || place.objects("copied");
    let rest = at_rest(&kappa, &objects);
    kappa.shut_down();
    // Nothing comes for its directory for more than an hour.
    let kappa = Incarnation::open_at(place.config(copy.path()), 2 * HOUR);
    let begun = Instant::now();
    while !fact(&kappa, "compaction error").contains("another copy of this data directory") {
        assert!(begun.elapsed() < Duration::from_secs(30));
        kappa.wait(Duration::from_millis(10));
    }
    assert_eq!(objects(), rest);
    kappa.shut_down();
}

#[test]
fn what_does_not_fit_is_said() {
    let data_dir = instance::data_dir().unwrap();
    let kappa = Incarnation::open(instance::config(data_dir.path(), &[]));
    kappa.execute(STREAM);
    for (with, said) in [
        (
            "COMPACT_AFTER = '1 HOUR'",
            "COMPACT_AFTER is for sinks with COMPACT_SIZE",
        ),
        (
            "COMPACT_SIZE = 10, COMMIT_OBJECTS = false",
            "needs commit objects",
        ),
        ("COMPACT_SIZE = 0", "COMPACT_SIZE"),
        (
            "FORMAT = 'AVRO', COMPRESSION = 'LZ4'",
            "NONE, SNAPPY, DEFLATE, GZIP, ZSTD",
        ),
        (
            "FORMAT = 'AVRO', ROW_GROUP_ROWS = 5",
            "ROW_GROUP_ROWS is for Parquet",
        ),
    ] {
        let refused = kappa.refused(&format!(
            "CREATE SINK files FROM clicks WITH (CONNECTOR = 'file', PATH = '/tmp/x', {with})"
        ));
        assert!(refused.contains(said), "{refused}");
    }
    let refused = kappa.refused(
        "CREATE SINK files WITH (CONNECTOR = 'file', PATH = '/tmp/x', FORMAT = 'AVRO') AS \
         SELECT page AS `a page` FROM clicks EMIT CHANGES",
    );
    assert!(refused.contains("Avro has no field `a page`"), "{refused}");
    kappa.shut_down();
}
