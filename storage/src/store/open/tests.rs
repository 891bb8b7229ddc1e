//! Opening a store: what is made, what is refused, and why.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::store::Durability;

fn options() -> StoreOptions {
    StoreOptions {
        sync: false,
        ..StoreOptions::default()
    }
}

fn refusal(directory: &Path) -> String {
    match Store::open(directory, options()) {
        Ok(_) => panic!("opened"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn makes_a_directory_for_its_owner_only() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("a/b");
    let store = Store::open(&directory, options()).unwrap();
    let mode = fs::metadata(&directory).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    assert_eq!(store.directory(), directory);
    assert!(format!("{store:?}").contains("a/b"));
}

#[test]
fn a_directory_in_use_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), options()).unwrap();
    let message = refusal(directory.path());
    assert!(
        message.contains("is in use by another kappa process"),
        "{message}"
    );
    assert!(
        message.contains(&directory.path().display().to_string()),
        "{message}"
    );
    drop(store);
    Store::open(directory.path(), options()).unwrap();
}

#[test]
fn a_newer_format_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), options()).unwrap();
    let mut commit = store.begin();
    commit.put_meta(meta::FORMAT_VERSION, &(FORMAT_VERSION + 1).to_le_bytes());
    store.commit(commit, Durability::Sync).unwrap();
    drop(store);
    let message = refusal(directory.path());
    assert!(message.contains("written by a newer version"), "{message}");
    let format = format!("its format is {}", FORMAT_VERSION + 1);
    assert!(message.contains(&format), "{message}");
}

#[test]
fn an_older_format_is_read_and_raised() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), options()).unwrap();
    let version = || store.get_meta(meta::FORMAT_VERSION).unwrap().unwrap();
    assert_eq!(version(), FORMAT_VERSION.to_le_bytes());
    let mut commit = store.begin();
    commit.put_meta(meta::FORMAT_VERSION, &1_u32.to_le_bytes());
    store.commit(commit, Durability::Sync).unwrap();
    assert_eq!(version(), 1_u32.to_le_bytes());
    drop(store);
    let store = Store::open(directory.path(), options()).unwrap();
    let version = store.get_meta(meta::FORMAT_VERSION).unwrap().unwrap();
    assert_eq!(version, FORMAT_VERSION.to_le_bytes());
}

#[test]
fn unknown_parts_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    drop(Store::open(directory.path(), options()).unwrap());
    let path = directory.path().join(SUBDIRECTORY);
    let mut names = DB::list_cf(&rocksdb::Options::default(), &path).unwrap();
    let mut with = rocksdb::Options::default();
    with.create_missing_column_families(true);
    names.push("from-the-future".to_owned());
    drop(DB::open_cf(&with, &path, names).unwrap());
    let message = refusal(directory.path());
    assert!(
        message.contains("parts this version does not know"),
        "{message}"
    );
}

#[test]
fn a_file_is_not_a_directory() {
    let parent = tempfile::tempdir().unwrap();
    let file = parent.path().join("file");
    fs::write(&file, "x").unwrap();
    let message = refusal(&file);
    assert!(message.contains("it is not a directory"), "{message}");
    let message = refusal(&file.join("below"));
    assert!(message.contains("it is not a directory"), "{message}");
}

#[test]
fn damaged_files_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), options()).unwrap();
    let mut commit = store.begin();
    commit.put_state(b"key", b"value");
    store.commit(commit, Durability::Sync).unwrap();
    drop(store);
    let database = directory.path().join(SUBDIRECTORY);
    let manifest = fs::read_to_string(database.join("CURRENT")).unwrap();
    let manifest = database.join(manifest.trim());
    let mut bytes = fs::read(&manifest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    fs::write(&manifest, bytes).unwrap();
    let message = refusal(directory.path());
    assert!(message.contains("it is damaged"), "{message}");
    assert!(message.contains("restore it from a backup"), "{message}");
    assert!(
        message.contains(&directory.path().display().to_string()),
        "{message}"
    );
}

#[test]
fn a_missing_file_of_the_log_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), options()).unwrap();
    // A second log file, so that the first is known to be complete.
    for _ in 0..2 {
        let mut commit = store.begin();
        commit.put_state(b"key", b"value");
        store.commit(commit, Durability::Sync).unwrap();
        store.db.flush_cf(store.family(options::OUTBOX)).unwrap();
        let mut commit = store.begin();
        commit.put_outbox(1, 1, 1, b"row");
        store.commit(commit, Durability::Sync).unwrap();
        store.db.flush_cf(store.family(options::OUTBOX)).unwrap();
    }
    drop(store);
    let database = directory.path().join(SUBDIRECTORY);
    let logs = fs::read_dir(&database)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut logs: Vec<_> = logs
        .filter(|path| path.extension().is_some_and(|found| found == "log"))
        .collect();
    logs.sort();
    assert!(logs.len() > 1, "{logs:?}");
    fs::remove_file(&logs[0]).unwrap();
    let message = refusal(directory.path());
    assert!(message.contains("it is damaged"), "{message}");
}

#[test]
fn errors_say_what_to_do() {
    let cases = [
        (
            "IO error: No space left on device: While appending to file: /x/000012.log",
            "make room",
        ),
        (
            "IO error: Permission denied: /x/LOCK",
            "change its owner or permissions",
        ),
        (
            "IO error: Read-only file system: /x",
            "change its owner or permissions",
        ),
        ("IO error: Input/output error: /x", "Input/output error"),
    ];
    for (text, expected) in cases {
        let message = directory_failed(Path::new("/x"), "commit", text).to_string();
        assert!(message.contains(expected), "{message}");
        assert!(
            message.starts_with("commit in the data directory \"/x\""),
            "{message}"
        );
    }
    let full = directory_failed(Path::new("/x"), "commit", cases[0].0);
    assert!(full.is_retryable());
}

/// A small disk of its own, for those who may mount one.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(megabytes: u32) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let size = format!("size={megabytes}m");
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(directory.path())
            .output();
        if mounted.is_ok_and(|mounted| mounted.status.success()) {
            return Some(Self(directory));
        }
        eprintln!("no disk can be mounted here: a full one is not tested");
        None
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount")
            .arg("-l")
            .arg(self.0.path())
            .status();
    }
}

#[test]
fn a_full_disk_is_survived() {
    let Some(disk) = SmallDisk::mount(48) else {
        return;
    };
    let ballast = disk.0.path().join("ballast");
    fs::write(&ballast, vec![0; 16 << 20]).unwrap();
    let directory = disk.0.path().join("data");
    let options = StoreOptions {
        memory_bytes: 16 << 20,
        ..StoreOptions::default()
    };
    let store = Store::open(&directory, options.clone()).unwrap();
    let mut written = 0_u32;
    let write = |store: &Arc<Store>, number: u32| {
        let mut commit = store.begin();
        let mut value = vec![0; 64 << 10];
        let mut seed = u64::from(number) + 1;
        for byte in &mut value {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte = (seed >> 33) as u8;
        }
        commit.put_state(&number.to_be_bytes(), &value);
        store.commit(commit, Durability::Sync)
    };
    let error = loop {
        match write(&store, written) {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 2000, "the disk never filled up");
    };
    assert!(error.is_retryable(), "{error}");
    let message = error.to_string();
    assert!(
        message.contains("the disk is full; make room on it"),
        "{message}"
    );
    assert!(
        message.contains(&directory.display().to_string()),
        "{message}"
    );
    let count = |store: &Store| {
        let everything = Vec::new()..vec![0xff];
        store
            .scan_state(everything)
            .take_rows(usize::MAX)
            .unwrap()
            .len() as u32
    };
    assert_eq!(count(&store), written, "what was committed can be read");
    fs::remove_file(&ballast).unwrap();
    let mut tries = 0;
    while let Err(error) = write(&store, written) {
        assert!(error.is_retryable(), "{error}");
        tries += 1;
        assert!(tries < 300, "it does not go on when there is room: {error}");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    written += 1;
    drop(store);
    let store = Store::open(&directory, options).unwrap();
    assert_eq!(count(&store), written);
}
