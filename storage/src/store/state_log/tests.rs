//! Logs of state tables: what a commit names is there, whenever the process dies, and nothing else.

use std::sync::Arc;

use arrow::array::{AsArray, Int64Array};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};

use super::*;
use crate::store::StoreOptions;

const TABLE: u32 = 7;

fn open(directory: &Path) -> Arc<Store> {
    let options = StoreOptions {
        memory_bytes: 16 << 20,
        ..StoreOptions::default()
    };
    Store::open(directory, options).unwrap()
}

fn batch(values: &[i64]) -> RecordBatch {
    let schema = Schema::new(vec![Field::new("n", DataType::Int64, false)]);
    let column = Int64Array::from(values.to_vec());
    RecordBatch::try_new(Arc::new(schema), vec![Arc::new(column)]).unwrap()
}

/// Commits a file in place of others; returns its number.
fn put(store: &Arc<Store>, table: u32, values: &[i64], old: &[u64]) -> u64 {
    let mut commit = store.begin();
    let (first, rest) = values.split_at(values.len() / 2);
    let batches = vec![batch(first), batch(rest)];
    let number = commit.put_log(table, batches[0].schema(), batches);
    assert!(!commit.is_empty() && commit.size_in_bytes() > 0);
    for old in old {
        commit.delete_log(table, *old);
    }
    store.commit(commit, Durability::Sync).unwrap();
    number
}

/// What a table's log has.
fn rows(store: &Store, table: u32) -> Vec<i64> {
    let mut rows = Vec::new();
    for file in store.log_files(table).unwrap() {
        for batch in store.read_log(&file).unwrap() {
            let batch = batch.unwrap();
            rows.extend_from_slice(batch.column(0).as_primitive::<Int64Type>().values());
        }
    }
    rows
}

fn files(store: &Store) -> usize {
    fs::read_dir(&store.state_logs.directory).map_or(0, Iterator::count)
}

#[test]
fn files_are_as_the_commits_left_them() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    assert!(rows(&store, TABLE).is_empty());
    let first = put(&store, TABLE, &[1, 2, 3], &[]);
    let second = put(&store, TABLE, &[4, 5], &[]);
    put(&store, TABLE + 1, &[9], &[]);
    assert_eq!(rows(&store, TABLE), [1, 2, 3, 4, 5]);
    let third = put(&store, TABLE, &[6], &[first, second]);
    assert_eq!((rows(&store, TABLE), files(&store)), (vec![6], 2));
    drop(store);
    let store = open(directory.path());
    assert_eq!((rows(&store, TABLE), files(&store)), (vec![6], 2));
    // A number is not given again while its file is there.
    assert!(put(&store, TABLE, &[7], &[]) > third);
    store.delete_table(TABLE).unwrap();
    assert_eq!((rows(&store, TABLE), files(&store)), (vec![], 1));
    assert_eq!(rows(&store, TABLE + 1), [9]);
}

/// A crash before the commit leaves a file, or part of one, that nobody names; a crash after it the
/// files that it replaced.
#[test]
fn what_a_crash_leaves_is_removed() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let first = put(&store, TABLE, &[1], &[]);
    let path = |number| store.state_logs.path(number);
    let replaced = fs::read(path(first)).unwrap();
    let second = put(&store, TABLE, &[2], &[first]);
    fs::write(path(first), replaced).unwrap();
    let uncommitted = NewFile {
        table: TABLE,
        number: second + 1,
        schema: batch(&[]).schema(),
        batches: vec![batch(&[3])],
    };
    write(&store, &[uncommitted]).unwrap();
    fs::write(path(second + 2), b"torn").unwrap();
    assert_eq!(files(&store), 4);
    drop(store);
    let store = open(directory.path());
    assert_eq!((rows(&store, TABLE), files(&store)), (vec![2], 1));
}

#[test]
fn a_damaged_file_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let number = put(&store, TABLE, &[1, 2, 3], &[]);
    let path = store.state_logs.path(number);
    let whole = fs::read(&path).unwrap();
    let file = store.log_files(TABLE).unwrap()[0];
    assert_eq!(file.bytes, whole.len() as u64);
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    for damaged in [&flipped, &whole[1..], &whole[..0]] {
        fs::write(&path, damaged).unwrap();
        let error = store.read_log(&file).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("checksum is wrong"), "{error}");
    }
    fs::remove_file(&path).unwrap();
    let error = store.read_log(&file).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("restore"), "{error}");
}

/// Neither the commit nor its file is there, and the next one is taken.
#[test]
fn a_file_that_cannot_be_written_fails_the_commit() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    fs::write(&store.state_logs.directory, b"in the way").unwrap();
    let mut commit = store.begin();
    commit.put_meta(b"epoch", b"1");
    commit.put_log(TABLE, batch(&[]).schema(), vec![batch(&[1])]);
    store.commit(commit, Durability::Sync).unwrap_err();
    assert_eq!(store.get_meta(b"epoch").unwrap(), None);
    fs::remove_file(&store.state_logs.directory).unwrap();
    put(&store, TABLE, &[2], &[]);
    assert_eq!((rows(&store, TABLE), files(&store)), (vec![2], 1));
}

/// Where the child of the test below has its store.
const CHILD: &str = "KAPPA_STATE_LOG_CHILD";
/// Values of an epoch.
const EPOCH_VALUES: i64 = 40_000;

/// The epochs whose rows the log has after `epoch`: every third one replaces all before it.
fn epochs_of(epoch: i64) -> std::ops::RangeInclusive<i64> {
    epoch - epoch % 3..=epoch
}

fn epoch_of(store: &Store) -> i64 {
    let stored = store.get_meta(b"epoch").unwrap();
    stored.map_or(0, |bytes| i64::from_le_bytes(bytes.try_into().unwrap()))
}

/// Commits until it is killed, where it is run by the test below.
#[test]
fn child_that_commits() {
    let Some(directory) = std::env::var_os(CHILD) else {
        return;
    };
    let store = open(Path::new(&directory));
    for epoch in epoch_of(&store) + 1.. {
        let mut commit = store.begin();
        if epoch % 3 == 0 {
            for file in store.log_files(TABLE).unwrap() {
                commit.delete_log(TABLE, file.number);
            }
        }
        let values: Vec<i64> = (0..EPOCH_VALUES)
            .map(|n| epoch * EPOCH_VALUES + n)
            .collect();
        let batch = batch(&values);
        commit.put_log(TABLE, batch.schema(), vec![batch]);
        commit.put_meta(b"epoch", &epoch.to_le_bytes());
        store.commit(commit, Durability::Sync).unwrap();
    }
}

#[test]
fn a_killed_process_leaves_whole_commits() {
    let directory = tempfile::tempdir().unwrap();
    let mut last = 0;
    for round in 0..15 {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::state_log::tests::child_that_commits"])
            .env(CHILD, directory.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // At any moment of a commit.
        std::thread::sleep(std::time::Duration::from_millis(60 + round * 23 % 200));
        child.kill().unwrap();
        child.wait().unwrap();
        let store = open(directory.path());
        let epoch = epoch_of(&store);
        assert!(epoch >= last);
        last = epoch;
        if epoch == 0 {
            continue;
        }
        let of_epochs = epochs_of(epoch).filter(|epoch| *epoch > 0);
        let expected: Vec<i64> = of_epochs
            .flat_map(|epoch| (0..EPOCH_VALUES).map(move |n| epoch * EPOCH_VALUES + n))
            .collect();
        assert!(rows(&store, TABLE) == expected, "epoch {epoch}");
        assert_eq!(files(&store), store.log_files(TABLE).unwrap().len());
    }
    assert!(last > 3, "{last} commits");
}
