//! The store: commits, snapshots, expiry.

use std::sync::Arc;

use super::*;

fn store() -> (tempfile::TempDir, Arc<Store>) {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    (directory, store)
}

fn open(directory: &Path) -> Arc<Store> {
    let options = StoreOptions {
        memory_bytes: 16 << 20,
        sync: false,
        ..StoreOptions::default()
    };
    Store::open(directory, options).unwrap()
}

fn row(table: u32, key: &str, window: Option<i64>) -> Vec<u8> {
    key::state_key(table, key.as_bytes(), window)
}

fn commit(store: &Arc<Store>, changes: impl FnOnce(&mut Commit)) {
    let mut commit = store.begin();
    changes(&mut commit);
    store.commit(commit, Durability::Sync).unwrap();
}

fn values(view: &impl View, keys: &[Vec<u8>]) -> Vec<Option<String>> {
    let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
    let found = view.multi_get_state(&keys).unwrap();
    found
        .iter()
        .map(|value| {
            value
                .as_ref()
                .map(|v| String::from_utf8(v.to_vec()).unwrap())
        })
        .collect()
}

fn count(mut scan: Scan<'_>) -> usize {
    scan.take_rows(usize::MAX).unwrap().len()
}

#[test]
fn a_commit_is_seen_whole_and_survives() {
    let (directory, store) = store();
    commit(&store, |commit| {
        assert!(commit.is_empty());
        commit.put_meta(b"epoch", b"1");
        commit.put_meta(b"epoch/x", b"2");
        commit.put_state(&row(1, "a", None), b"A");
        commit.put_outbox(4, 1, 0, b"out");
        assert!(!commit.is_empty());
    });
    drop(store);
    let store = open(directory.path());
    assert_eq!(store.get_meta(b"epoch").unwrap().unwrap(), b"1");
    assert_eq!(store.get_meta(b"none").unwrap(), None);
    assert_eq!(store.scan_meta(b"epoch").unwrap().len(), 2);
    assert_eq!(
        store.scan_meta(b"epoch/").unwrap(),
        [(b"epoch/x".to_vec(), b"2".to_vec())]
    );
    assert_eq!(
        values(&*store, &[row(1, "b", None), row(1, "a", None)]),
        [None, Some("A".into())]
    );
    let rows = store.scan_outbox(4, 0..u64::MAX).take_rows(9).unwrap();
    assert_eq!(key::parse_outbox_key(&rows[0].0).unwrap().epoch, 1);
    assert_eq!(rows[0].1, b"out");
    commit(&store, |commit| {
        commit.delete_meta_prefix(b"epoch/");
        commit.delete_state(&row(1, "a", None));
        commit.delete_outbox_range(4, 0..2);
    });
    assert_eq!(store.scan_meta(b"epoch").unwrap().len(), 1);
    assert_eq!(values(&*store, &[row(1, "a", None)]), [None]);
    assert_eq!(count(store.scan_outbox(4, 0..u64::MAX)), 0);
}

#[test]
fn scans_are_in_order_and_within_their_range() {
    let (_directory, store) = store();
    commit(&store, |commit| {
        for (table, key) in [(1, "a"), (2, "c"), (2, "b"), (2, "bb"), (3, "a")] {
            commit.put_state(&row(table, key, None), key.as_bytes());
        }
    });
    let mut scan = store.scan_state(key::table_range(2));
    let first = scan.take_rows(2).unwrap();
    let rest = scan.take_rows(9).unwrap();
    assert_eq!((first.len(), rest.len()), (2, 1));
    assert!(scan.next_row().unwrap().is_none());
    assert!(scan.next_row().unwrap().is_none());
    let all: Vec<_> = first.into_iter().chain(rest).map(|pair| pair.0).collect();
    assert!(all.is_sorted());
    assert_eq!(count(store.scan_state(key::key_range(2, b"c"))), 1);
    let backwards = key::table_range(3).start..key::table_range(2).start;
    assert_eq!(count(store.scan_state(backwards)), 0);
    store.delete_table(2).unwrap();
    assert_eq!(count(store.scan_state(key::table_range(2))), 0);
    assert_eq!(count(store.scan_state(key::table_range(1))), 1);
    assert_eq!(count(store.scan_state(key::table_range(3))), 1);
}

#[test]
fn a_snapshot_keeps_what_it_saw() {
    let (_directory, store) = store();
    let keys: Vec<_> = (0..300).map(|i| row(1, &format!("{i:04}"), None)).collect();
    commit(&store, |commit| {
        keys.iter().for_each(|key| commit.put_state(key, b"old"))
    });
    let snapshot = store.snapshot();
    commit(&store, |commit| {
        keys.iter().for_each(|key| commit.put_state(key, b"new"));
        commit.put_meta(b"m", b"new");
    });
    let thread = std::thread::spawn({
        let (snapshot, keys) = (snapshot.clone(), keys.clone());
        move || values(&snapshot, &keys)
    });
    assert!(
        thread
            .join()
            .unwrap()
            .iter()
            .all(|value| value.as_deref() == Some("old"))
    );
    assert!(
        values(&*store, &keys)
            .iter()
            .all(|value| value.as_deref() == Some("new"))
    );
    assert_eq!(snapshot.get_meta(b"m").unwrap(), None);
    assert!(snapshot.scan_meta(b"m").unwrap().is_empty());
    // An owned scan keeps the snapshot, and the snapshot keeps the store.
    let mut scan = snapshot.into_scan_state(key::table_range(1));
    drop(store);
    let mut seen = 0;
    while scan
        .next_rows(7, |_, value| assert_eq!(value, b"old"))
        .unwrap()
        == 7
    {
        seen += 7;
    }
    assert_eq!(seen, 294);
}

#[test]
fn unsorted_keys_get_their_own_values() {
    let (_directory, store) = store();
    let mut keys: Vec<_> = (0..500).map(|i| row(1, &i.to_string(), None)).collect();
    commit(&store, |commit| {
        for (i, key) in keys.iter().enumerate() {
            commit.put_state(key, i.to_string().as_bytes());
        }
    });
    store.db.flush_cf(store.family(options::STATE)).unwrap();
    let expected: Vec<_> = (0..500).map(|i| Some(i.to_string())).collect();
    assert!(!keys.is_sorted());
    assert_eq!(values(&*store, &keys), expected);
    keys.sort();
    assert_eq!(values(&*store, &keys).len(), 500);
    assert!(store.multi_get_state(&[]).unwrap().is_empty());
}

#[test]
fn compaction_drops_expired_windows_when_no_snapshot_needs_them() {
    let (_directory, store) = store();
    commit(&store, |commit| {
        for window in [-10, 0, 10, 20] {
            commit.put_state(&row(1, "k", Some(window)), b"windowed");
            commit.put_state(&row(2, "k", Some(window)), b"kept");
        }
    });
    let snapshot = store.snapshot();
    commit(&store, |commit| commit.put_meta(b"stream time", b"20"));
    store.set_expiry(1, 10);
    store.db.flush_cf(store.family(options::STATE)).unwrap();
    store.compact_table(1);
    assert_eq!(count(snapshot.scan_state(key::table_range(1))), 4);
    drop(snapshot);
    store.compact_table(1);
    store.compact_table(2);
    let left = store.scan_state(key::table_range(1)).take_rows(9).unwrap();
    let starts: Vec<_> = left
        .iter()
        .map(|row| key::parse_state_key(&row.0, true).unwrap().window_start)
        .collect();
    assert_eq!(starts, [Some(10), Some(20)]);
    assert_eq!(count(store.scan_state(key::table_range(2))), 4);
}

#[test]
fn memory_stays_near_its_limit() {
    let (_directory, store) = store();
    let value = [7; 1000];
    for batch in 0..60_u32 {
        commit(&store, |commit| {
            for i in 0..1000_u32 {
                let key = (batch * 1000 + i).wrapping_mul(0x9e37_79b9).to_be_bytes();
                commit.put_state(&key::state_key(1, &key, None), &value);
            }
        });
    }
    let statistics = store.statistics().unwrap();
    assert!(statistics.unflushed < 12 << 20, "{statistics:?}");
    assert!(statistics.cache < 20 << 20, "{statistics:?}");
    assert!(store.bytes_of_state().unwrap() > 1 << 20);
    assert!(store.bytes_of_table(1) > 1 << 20);
    assert!(store.bytes_of_table(2) < 1 << 20);
    assert_eq!(count(store.scan_state(key::table_range(1))), 60_000);
}

#[test]
fn nothing_can_be_written_after_close() {
    let (directory, store) = store();
    commit(&store, |commit| commit.put_meta(b"m", b"1"));
    store.close().unwrap();
    let mut late = store.begin();
    late.put_meta(b"m", b"2");
    // RocksDB still takes it, or not: what counts is that the directory opens again afterwards.
    let _ = store.commit(late, Durability::Sync);
    drop(store);
    assert!(open(directory.path()).get_meta(b"m").unwrap().is_some());
}

#[test]
fn a_commit_belongs_to_its_store() {
    let ((_a, first), (_b, second)) = (store(), store());
    let commit = first.begin();
    assert!(second.commit(commit, Durability::Sync).is_err());
}

#[test]
fn a_flipped_bit_in_the_catalog_is_found() {
    let (_directory, store) = store();
    let mut stored = meta::encode(b"value");
    assert_eq!(meta::decode(b"k", &stored).unwrap(), b"value");
    stored[5] ^= 1;
    store
        .db
        .put_cf(store.family(options::META), b"k", &stored)
        .unwrap();
    let message = store.get_meta(b"k").unwrap_err().to_string();
    assert!(message.contains("the row \"k\""), "{message}");
    assert!(store.scan_meta(b"k").is_err());
    assert!(meta::decode(b"k", b"abc").is_err());
}

/// RocksDB lost rows, or the process died, where batches that both delete a range and write rows of
/// one family were inserted at the same time (see [`Commit::write_batch`]). Synced commits, since
/// only those wait for each other long enough to be written as a group.
#[test]
fn rows_beside_deleted_ranges_stay() {
    const EPOCHS: u64 = 400;
    let directory = tempfile::tempdir().unwrap();
    let options = StoreOptions {
        memory_bytes: 16 << 20,
        ..StoreOptions::default()
    };
    let store = Store::open(directory.path(), options).unwrap();
    std::thread::scope(|scope| {
        for sink in 0..4 {
            let store = Arc::clone(&store);
            scope.spawn(move || {
                for epoch in 1..=EPOCHS {
                    let mut commit = store.begin();
                    commit.delete_outbox_range(sink, 0..epoch);
                    for seq in 0..20 {
                        commit.put_outbox(sink, epoch, seq, b"row");
                    }
                    store.commit(commit, Durability::Sync).unwrap();
                    let rows = count(store.scan_outbox(sink, 0..u64::MAX));
                    assert_eq!(rows, 20, "sink {sink}, epoch {epoch}");
                }
            });
        }
    });
}
