//! Which files are merged, in which order, and what is forgotten.

use kappa_storage::store::StoreOptions;
use tempfile::TempDir;

use super::*;

const HOUR: i64 = 3_600_000;

struct Fixture {
    _directory: TempDir,
    store: Arc<Store>,
    small_files: SmallFiles,
    unit: u64,
}

const OPTIONS: CompactOptions = CompactOptions {
    bytes: 100,
    after_ms: HOUR,
    grace_ms: 10,
    partition_grace_ms: 5,
};

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = StoreOptions {
            sync: false,
            ..StoreOptions::default()
        };
        let store = Store::open(directory.path().join("store"), options).unwrap();
        let small_files = SmallFiles::open(&store, "0123abcd", OPTIONS).unwrap();
        Self {
            _directory: directory,
            store,
            small_files,
            unit: 0,
        }
    }

    /// What the store knows after a crash.
    fn reopen(&mut self) {
        self.small_files = SmallFiles::open(&self.store, "0123abcd", OPTIONS).unwrap();
    }

    /// Delivers a unit with files of these directories, ends and sizes, with rows of one time.
    fn deliver(&mut self, files: &[(&str, Option<i64>, u64)], time_ms: i64, now_ms: i64) {
        self.unit += 1;
        let unit = Unit {
            at_ms: now_ms,
            files: (files.iter())
                .map(|(place, end_ms, bytes)| UnitFile {
                    place: (*place).to_owned(),
                    rows: 1,
                    bytes: *bytes,
                    times: [time_ms, time_ms],
                    end_ms: *end_ms,
                })
                .collect(),
        };
        let names = files
            .iter()
            .map(|(place, ..)| format!("{place}{}", self.unit));
        let mut commit = self.store.begin();
        let small_files = &self.small_files;
        let noted = small_files.write(self.unit, &unit, names.collect(), now_ms, &mut commit);
        self.store.commit(commit, Durability::NoSync).unwrap();
        small_files.delivered(noted.unwrap());
    }

    /// The names of what is merged next.
    fn begun(&self, now_ms: i64) -> Option<Vec<String>> {
        let begun = self.small_files.begin(now_ms).unwrap()?;
        Some(begun.inputs.into_iter().map(|input| input.name).collect())
    }

    /// Merges what is next into a file of so many bytes.
    fn merge(&self, bytes: u64, now_ms: i64) {
        let compaction = self.small_files.begin(now_ms).unwrap().unwrap();
        let last = compaction.inputs.last().unwrap();
        let mut file = compaction.merged().unwrap();
        assert_eq!(
            file.rows,
            compaction.inputs.iter().map(|i| i.file.rows).sum::<u64>()
        );
        file.bytes = bytes;
        let merged = SmallFile {
            name: format!("{}{}m", file.place, last.unit),
            unit: last.unit,
            at_ms: last.at_ms,
            is_merged: true,
            file,
        };
        self.small_files
            .finish(&compaction, merged, now_ms)
            .unwrap();
    }

    fn kept(&self) -> usize {
        let rows = self.store.scan_meta(b"small_file/").unwrap().len();
        let state = self.small_files.state.lock();
        assert_eq!(
            rows,
            state.directories.values().map(BTreeMap::len).sum::<usize>()
        );
        rows
    }
}

fn names(names: &[&str]) -> Option<Vec<String>> {
    Some(names.iter().map(|name| (*name).to_owned()).collect())
}

#[test]
fn a_directory_is_merged_when_time_has_passed_it_or_nothing_comes() {
    let mut fixture = Fixture::new();
    let (a, b) = (("a/", Some(1000), 10), ("b/", None, 10));
    fixture.deliver(&[a, b], 900, 0);
    fixture.deliver(&[a, b], 1004, 1);
    assert_eq!(fixture.begun(1), None);
    // Five milliseconds after its end.
    fixture.deliver(&[("c/", Some(2000), 10)], 1005, 2);
    assert_eq!(fixture.begun(2), names(&["a/1", "a/2"]));
    // It is the one that was begun, until it is done.
    fixture.reopen();
    assert_eq!(fixture.begun(HOUR * 5), names(&["a/1", "a/2"]));
    fixture.merge(15, 3);
    assert_eq!(fixture.begun(HOUR), None);
    assert_eq!(fixture.begun(HOUR + 1), names(&["b/1", "b/2"]));
    fixture.merge(15, HOUR + 1);
    let progress = fixture.small_files.progress();
    let counts = (
        progress.number,
        progress.files,
        progress.bytes,
        progress.bytes_merged,
    );
    assert_eq!(counts, (2, 4, 40, 30));
}

#[test]
fn late_files_join_the_merged_one_when_no_more_come() {
    let mut fixture = Fixture::new();
    let a = ("a/", Some(1000), 10);
    fixture.deliver(&[a], 0, 0);
    fixture.deliver(&[a], 5000, 1);
    fixture.merge(15, 1);
    assert_eq!(fixture.begun(1), None);
    fixture.deliver(&[a], 1, 2);
    fixture.deliver(&[a], 1, 3);
    assert_eq!(fixture.begun(HOUR + 2), None);
    assert_eq!(fixture.begun(HOUR + 3), names(&["a/2m", "a/3", "a/4"]));
}

#[test]
fn inputs_go_after_their_grace_and_once_more_after_a_crash() {
    let mut fixture = Fixture::new();
    let a = ("a/", Some(1000), 10);
    fixture.deliver(&[a], 0, 0);
    fixture.deliver(&[a], 5000, 1);
    fixture.merge(15, 7);
    assert!(fixture.small_files.due(16).is_none());
    fixture.reopen();
    let (number, replaced) = fixture.small_files.due(17).unwrap();
    assert_eq!(
        (number, replaced.names),
        (1, vec!["a/1".into(), "a/2".into()])
    );
    fixture.small_files.removed(number).unwrap();
    fixture.reopen();
    assert!(fixture.small_files.due(i64::MAX).is_none());
}

#[test]
fn only_neighbours_are_merged_and_large_files_are_left_alone() {
    let mut fixture = Fixture::new();
    for bytes in [40, 30, 50, 10, 99, 20, 30, 40, 20] {
        fixture.deliver(&[("", None, bytes)], 0, 0);
    }
    // Before a large one there is nothing to wait for, nor when the next would be too much.
    assert_eq!(fixture.begun(0), names(&["1", "2"]));
    fixture.merge(60, 0);
    // The merged file is large by now.
    assert_eq!(fixture.begun(0), names(&["6", "7", "8"]));
    fixture.merge(90, 0);
    assert_eq!(fixture.begun(0), None);
    // What stands before a large file is of no more use.
    assert_eq!(fixture.kept(), 1);
    fixture.deliver(&[("", None, 20)], 0, 1);
    assert_eq!(fixture.begun(HOUR), None);
    assert_eq!(fixture.begun(HOUR + 1), names(&["9", "10"]));
}

#[test]
fn a_directory_for_which_nothing_comes_is_forgotten() {
    let mut fixture = Fixture::new();
    fixture.deliver(&[("a/", Some(1000), 10), ("b/", None, 10)], 5000, 0);
    assert_eq!((fixture.begun(HOUR - 1), fixture.kept()), (None, 2));
    assert_eq!((fixture.begun(HOUR), fixture.kept()), (None, 0));
    fixture.reopen();
    assert_eq!(fixture.kept(), 0);
}

#[test]
fn files_that_are_gone_are_forgotten_and_the_number_is_used_again() {
    let mut fixture = Fixture::new();
    for _ in 0..3 {
        fixture.deliver(&[("a/", Some(1000), 10)], 5000, 0);
    }
    let begun = fixture.small_files.begin(0).unwrap().unwrap();
    fixture.small_files.abandon(&begun.inputs[..1]).unwrap();
    fixture.reopen();
    let again = fixture.small_files.begin(0).unwrap().unwrap();
    assert_eq!(again.number, begun.number);
    assert_eq!(again.inputs, begun.inputs[1..]);
}

#[test]
fn a_sink_that_goes_leaves_nothing() {
    let mut fixture = Fixture::new();
    for _ in 0..3 {
        fixture.deliver(&[("a/", Some(1000), 10)], 5000, 0);
    }
    fixture.merge(15, 0);
    let mut commit = fixture.store.begin();
    SmallFiles::delete("0123abcd", &mut commit);
    fixture.store.commit(commit, Durability::NoSync).unwrap();
    fixture.reopen();
    assert_eq!(fixture.kept(), 0);
    assert_eq!(fixture.small_files.progress(), Progress::default());
    assert!(fixture.small_files.due(i64::MAX).is_none());
}
