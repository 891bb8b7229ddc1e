//! What sinks have left at their target: found and removed, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use kappa_engine::{Config, GarbageRequest, ManualClock, collect_garbage};
use kappa_tests::bucket::Bucket;
use kappa_tests::gcs_server::GcsServer;
use kappa_tests::server::Server;
use kappa_tests::{instance, text};
use object_store::ObjectStoreExt;
use proptest::prelude::*;
use tokio::runtime::Runtime;

use crate::incarnation::{Incarnation, Table};
use crate::sinks::{Place, parquet_rows};

const HOUR: i64 = 3_600_000;
/// When it is looked, by the wall clock.
const NOW: i64 = 1_000 * HOUR;
const MARK: &str = "0123abcd";

fn request(path: &str) -> GarbageRequest {
    GarbageRequest {
        path: path.to_owned(),
        prefix: None,
        marks: vec![MARK.to_owned()],
        older_than_ms: 24 * HOUR,
        dropped: false,
        delete: true,
        list: false,
    }
}

fn collect(mut config: Config, now_ms: i64, request: &GarbageRequest) -> Table {
    config.clock = Arc::new(ManualClock::at(now_ms));
    let work = async {
        let rows = collect_garbage(&config, request).await?;
        rows.collect().await
    };
    text::rows(&Runtime::new().unwrap().block_on(work).unwrap()).unwrap()
}

/// Why a file is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Label {
    /// Never to be removed.
    Kept,
    /// To be removed when it is old.
    Garbage,
    /// To be removed when it is old and its sink is gone.
    Unfinished,
}

/// What happened to a sink.
#[derive(Clone, Debug)]
enum Event {
    /// A unit of so many files; a race may have left one more, or its object may be lost.
    Unit {
        files: usize,
        left_over: bool,
        lost: bool,
    },
    /// So many of the files were merged; these may still be there.
    Compaction { inputs: usize, stay: bool },
    /// A write was cut off.
    Temporary,
}

#[derive(Clone, Debug)]
struct History {
    mark: &'static str,
    events: Vec<(Event, bool)>,
    unfinished_unit: bool,
    unfinished_compaction: bool,
    has_commits: bool,
}

fn event() -> impl Strategy<Value = (Event, bool)> {
    let unit = (1..4_usize, any::<bool>(), prop::bool::weighted(0.2));
    let unit = unit.prop_map(|(files, left_over, lost)| Event::Unit {
        files,
        left_over,
        lost,
    });
    let compaction = (2..6_usize, any::<bool>());
    let compaction = compaction.prop_map(|(inputs, stay)| Event::Compaction { inputs, stay });
    let event = prop_oneof![3 => unit, 1 => compaction, 1 => Just(Event::Temporary)];
    (event, prop::bool::weighted(0.8))
}

fn history(mark: &'static str) -> impl Strategy<Value = History> {
    let events = prop::collection::vec(event(), 0..14);
    (
        events,
        any::<bool>(),
        any::<bool>(),
        prop::bool::weighted(0.9),
    )
        .prop_map(
            move |(events, unfinished_unit, unfinished_compaction, has_commits)| History {
                mark,
                events,
                unfinished_unit,
                unfinished_compaction,
                has_commits,
            },
        )
}

/// A directory with what sinks wrote.
struct Written {
    directory: tempfile::TempDir,
    /// By name: why it is there, whether it is old, and whose it is.
    files: BTreeMap<String, (Label, bool, &'static str)>,
}

impl Written {
    fn put(&mut self, mark: &'static str, name: &str, text: &str, label: Label, old: bool) {
        let path = self.directory.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        let age_ms = if old { 25 * HOUR } else { 23 * HOUR };
        let at = UNIX_EPOCH + Duration::from_millis((NOW - age_ms).unsigned_abs());
        let file = std::fs::File::options().append(true).open(&path).unwrap();
        file.set_modified(at).unwrap();
        self.files.insert(name.to_owned(), (label, old, mark));
    }

    fn remove(&mut self, name: &str) {
        std::fs::remove_file(self.directory.path().join(name)).unwrap();
        self.files.remove(name);
    }

    fn play(&mut self, history: &History) {
        let mark = history.mark;
        let object = |path: &str| {
            format!(r#"{{"path":"{path}","rows":1,"bytes":1,"min_rowtime":0,"max_rowtime":0}}"#)
        };
        let kept = |garbage: Label| match history.has_commits {
            true => garbage,
            // Nothing says that its other files are needed.
            false => Label::Kept,
        };
        let (mut unit, mut compaction) = (0_u64, 0_u64);
        // Since the last unit with an object: nobody can tell them from what is not finished.
        let mut lost_since: Vec<String> = Vec::new();
        let mut live: Vec<String> = Vec::new();
        for (event, old) in &history.events {
            match event {
                Event::Unit {
                    files,
                    left_over,
                    lost,
                } => {
                    unit += 1;
                    let lost = *lost && unit > 1;
                    let names: Vec<String> = (0..*files)
                        .map(|n| format!("d={n}/a-{mark}-{unit:012}.csv"))
                        .collect();
                    for name in &names {
                        self.put(mark, name, "x", Label::Kept, *old);
                    }
                    if *left_over {
                        let name = format!("d=9/a-{mark}-{unit:012}.csv");
                        let label = if lost {
                            Label::Kept
                        } else {
                            kept(Label::Garbage)
                        };
                        self.put(mark, &name, "x", label, *old);
                        lost_since.push(name);
                    }
                    lost_since.extend(names.clone());
                    if history.has_commits && !lost {
                        let files: Vec<String> = names.iter().map(|name| object(name)).collect();
                        let text = format!(
                            r#"{{"writer":"{mark}","unit":{unit},"files":[{}]}}"#,
                            files.join(",")
                        );
                        let name = format!("_commits/a-{mark}/{unit:020}.json");
                        self.put(mark, &name, &text, Label::Kept, *old);
                        live.extend(names);
                        lost_since.clear();
                    }
                }
                Event::Compaction { inputs, stay } if live.len() >= *inputs => {
                    compaction += 1;
                    let merged = format!("d=0/a-{mark}-{unit:012}-c{compaction}.csv");
                    let inputs = live.split_off(live.len() - inputs);
                    self.put(mark, &merged, "x", Label::Kept, *old);
                    let replaces: Vec<String> =
                        inputs.iter().map(|name| format!(r#""{name}""#)).collect();
                    let text = format!(
                        r#"{{"writer":"{mark}","compaction":{compaction},"files":[{}],"replaces":[{}]}}"#,
                        object(&merged),
                        replaces.join(",")
                    );
                    let name = format!("_commits/a-{mark}/compact-{compaction:020}.json");
                    self.put(mark, &name, &text, Label::Kept, *old);
                    for input in inputs {
                        match stay {
                            // As old as what took its place, if that is younger.
                            true => {
                                let was_old = self.files[&input].1;
                                let label = (Label::Garbage, *old && was_old, mark);
                                self.files.insert(input, label);
                            }
                            false => self.remove(&input),
                        }
                    }
                    live.push(merged);
                }
                Event::Compaction { .. } => {}
                Event::Temporary => {
                    let name = format!("d=1/a-{mark}-{:012}.csv.0.tmp", unit + 1);
                    self.put(mark, &name, "x", Label::Garbage, *old);
                }
            }
        }
        let can_tell = history.has_commits && unit > 0;
        for name in lost_since.iter().filter(|_| can_tell) {
            if let Some((label, ..)) = self.files.get_mut(name) {
                *label = Label::Unfinished;
            }
        }
        if history.unfinished_unit && can_tell {
            let name = format!("d=0/a-{mark}-{:012}.csv", unit + 1);
            self.put(mark, &name, "x", Label::Unfinished, true);
        }
        if history.unfinished_compaction && can_tell {
            let name = format!("d=0/a-{mark}-{unit:012}-c{}.csv", compaction + 1);
            self.put(mark, &name, "x", Label::Unfinished, true);
        }
    }

    fn found(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut folders = vec![self.directory.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => folders.push(path),
                    false => {
                        let name = path.strip_prefix(self.directory.path()).unwrap();
                        found.insert(name.to_str().unwrap().to_owned());
                    }
                }
            }
        }
        found
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn only_what_nobody_needs_is_removed(
        mine in history(MARK),
        other in history("ffff0000"),
        dropped in any::<bool>(),
    ) {
        let mut written = Written {
            directory: tempfile::tempdir().unwrap(),
            files: BTreeMap::new(),
        };
        written.play(&mine);
        written.play(&other);
        for name in ["notes.csv", "d=0/part-00000-c000.csv", "a-0123abcd-1.csv", "x.tmp"] {
            written.put("", name, "x", Label::Kept, true);
        }
        let path = written.directory.path().to_str().unwrap().to_owned();
        let config = || instance::config(Path::new("/nowhere"), &[]);
        let mut request = request(&path);
        request.dropped = dropped;
        // Dry.
        request.delete = false;
        let dry = collect(config(), NOW, &request);
        let all: BTreeSet<String> = written.files.keys().cloned().collect();
        prop_assert_eq!(&written.found(), &all);
        request.delete = true;
        let wet = collect(config(), NOW, &request);
        let stay: BTreeSet<String> = written
            .files
            .iter()
            .filter(|(_, (label, old, mark))| {
                let goes = match label {
                    Label::Kept => false,
                    Label::Garbage => true,
                    Label::Unfinished => dropped,
                };
                !(goes && *old && *mark == MARK)
            })
            .map(|(name, _)| name.clone())
            .collect();
        prop_assert_eq!(&written.found(), &stay);
        // It is said what goes, before and after.
        let count = |table: &Table, action: &str| -> usize {
            let rows = table.iter().filter(|row| row[3] == action);
            rows.map(|row| row[4].parse::<usize>().unwrap()).sum()
        };
        prop_assert_eq!(count(&dry, "would go"), all.len() - stay.len());
        prop_assert_eq!(count(&wet, "removed"), all.len() - stay.len());
        // Nothing is left for a second time.
        prop_assert_eq!(count(&collect(config(), NOW, &request), "removed"), 0);
    }
}

/// The mark of the sink FILES.
fn mark(kappa: &Incarnation) -> String {
    let facts = kappa.ask("DESCRIBE files");
    facts
        .into_iter()
        .find(|fact| fact[0] == "mark")
        .unwrap()
        .remove(1)
}

/// What is left of a sink of three units, two of which are half-removed by hand.
fn leaves(kappa: &Incarnation, connector: &str) -> String {
    kappa.execute(
        "CREATE STREAM clicks (id INT KEY, page STRING) \
         WITH (KAFKA_TOPIC = 'clicks', VALUE_FORMAT = 'JSON', PARTITIONS = 1)",
    );
    kappa.execute(&format!(
        "CREATE SINK files FROM clicks WITH ({connector}, PARTITION_PATH = 'p={{page}}')"
    ));
    for id in 0..3 {
        let value = r#"{"PAGE":"a"}"#.to_owned();
        kappa.send("clicks", 1, id, Some(value), 0);
        kappa.flush();
    }
    mark(kappa)
}

/// Something of a unit that is committed, and of one that is not.
fn orphans(mark: &str) -> [String; 2] {
    [
        format!("p=b/files-{mark}-000000000002.parquet"),
        format!("p=b/files-{mark}-000000000004.parquet"),
    ]
}

/// Removes what is there beside a sink of a bucket, while it runs.
fn bucket_is_cleaned(bucket: Bucket) {
    let data_dir = instance::data_dir().unwrap();
    let url = bucket.path("cleaned");
    let connector = bucket.connector("cleaned");
    let place = Place::Bucket(bucket);
    let config = place.config(data_dir.path());
    let kappa = Incarnation::open(config.clone());
    let Place::Bucket(bucket) = &place else {
        panic!("a bucket was wanted");
    };
    let store = bucket.store();
    let mark = leaves(&kappa, &connector);
    let at = |name: &str| object_store::path::Path::parse(format!("cleaned/{name}")).unwrap();
    kappa.block_on(async {
        for name in orphans(&mark) {
            store.put(&at(&name), "x".into()).await.unwrap();
        }
    });
    let mut request = request(&url);
    request.marks = vec![mark.clone()];
    let is_there = |name: &str| kappa.block_on(async { store.head(&at(name)).await.is_ok() });
    // By the store's own clock.
    let [left_over, unfinished] = orphans(&mark);
    let head = kappa.block_on(async { store.head(&at(&left_over)).await.unwrap() });
    let written_ms = head.last_modified.timestamp_millis();
    let young = collect(config.clone(), written_ms + 23 * HOUR, &request);
    assert!(young.iter().all(|row| row[3] == "kept"), "{young:?}");
    let future = written_ms + 25 * HOUR;
    let rows = collect(config.clone(), future, &request);
    let shown: Vec<&str> = rows.iter().flatten().map(String::as_str).collect();
    let wanted = [
        "files",
        &mark,
        "in use",
        "kept",
        "3",
        "files",
        &mark,
        "left over",
        "removed",
        "1",
        "files",
        &mark,
        "unfinished",
        "kept",
        "1",
    ];
    let without_bytes: Vec<&str> = shown.chunks(6).flat_map(|row| &row[..5]).copied().collect();
    assert_eq!(without_bytes, wanted);
    assert!(!is_there(&left_over) && is_there(&unfinished));
    request.dropped = true;
    collect(config.clone(), future, &request);
    assert!(!is_there(&unfinished));
    let mut files = place.objects("cleaned");
    files.retain(|name, _| !name.starts_with("_commits/"));
    assert_eq!(parquet_rows(&files).len(), 3);
    kappa.shut_down();
}

#[test]
fn a_bucket_is_cleaned() {
    if let Some(server) = Server::start("minio").unwrap() {
        bucket_is_cleaned(Bucket::s3(&server).unwrap());
    }
}

#[test]
fn a_container_of_azure_is_cleaned() {
    if let Some(server) = Server::start("azurite").unwrap() {
        bucket_is_cleaned(Bucket::azure(&server).unwrap());
    }
}

#[test]
fn a_bucket_of_google_is_cleaned_over_pages() {
    let server = GcsServer::start();
    server.limit_pages(2);
    bucket_is_cleaned(Bucket::gcs(&server, "kappa").unwrap());
}

#[test]
fn what_cannot_be_looked_at_is_said() {
    let config = instance::config(Path::new("/nowhere"), &[]);
    let failed = |path: &str| {
        let runtime = Runtime::new().unwrap();
        let done = runtime.block_on(collect_garbage(&config, &request(path)));
        done.map(drop).unwrap_err().to_string()
    };
    assert!(failed("ftp://x").contains("ftp://x"));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    let folder = directory.path().join(format!("_commits/a-{MARK}"));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(format!("{:020}.json", 1)), "[]").unwrap();
    let file = directory.path().join(format!("a-{MARK}-000000000001.csv"));
    std::fs::write(&file, "x").unwrap();
    let said = failed(path);
    assert!(said.contains("is no commit object"), "{said}");
    assert!(file.exists());
}
