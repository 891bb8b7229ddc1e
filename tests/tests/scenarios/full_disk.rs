//! Disks without space: of a target, and of the data directory. The disk is a small one that only this
//! test sees, in a mount namespace of its own.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use kappa_tests::instance;

use crate::fan_out::{await_sink, data, local_files};
use crate::incarnation::Incarnation;
use crate::sinks::parquet_rows;

/// Where the small disk is, for a test that runs on it.
const DISK: &str = "KAPPA_TEST_SMALL_DISK";

/// A disk of `megabytes` for a test, which runs once more on it, in a process of its own: `None` for
/// who has started that.
fn small_disk(test: &str, megabytes: u32) -> Option<PathBuf> {
    if let Some(disk) = std::env::var_os(DISK) {
        return Some(disk.into());
    }
    let own = ["--map-root-user", "--mount"];
    let may = Command::new("unshare").args(own).arg("true").status();
    if !may.is_ok_and(|status| status.success()) {
        // No server that could be fetched: whoever runs the tests has to allow it.
        eprintln!("{test}: left out, as no mount namespace is to be had here (unshare)");
        return None;
    }
    let directory = tempfile::tempdir().unwrap();
    let mount = format!(
        "mount -t tmpfs -o size={megabytes}m none '{0}' && exec \"$@\"",
        directory.path().display()
    );
    let program = std::env::current_exe().unwrap();
    let mut command = Command::new("unshare");
    command
        .args(own)
        .args(["sh", "-c", &mount, "sh"])
        .arg(program)
        .args(["--exact", test, "--nocapture"])
        .env(DISK, directory.path());
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}{errors}"
    );
    None
}

/// Takes all space, and gives it back.
struct Filler(PathBuf);

impl Filler {
    fn fill(disk: &Path) -> Self {
        let path = disk.join("filler");
        let mut file = File::create(&path).unwrap();
        let mut block = vec![7; 1 << 20];
        // To the last byte.
        while !block.is_empty() {
            if file.write_all(&block).is_err() {
                block.truncate(block.len() / 2);
            }
        }
        Self(path)
    }

    fn remove(self) {
        std::fs::remove_file(self.0).unwrap();
    }
}

fn create(kappa: &Incarnation, path: &Path) {
    kappa.execute(
        "CREATE STREAM s (id INT KEY, pad STRING) WITH (KAFKA_TOPIC = 's', VALUE_FORMAT = 'JSON', \
         PARTITIONS = 1)",
    );
    kappa.execute(&format!(
        "CREATE SINK files FROM s WITH (CONNECTOR = 'file', PATH = '{}', INCLUDE_ROWTIME = false, \
         ROLL_INTERVAL = '1 SECOND')",
        path.display()
    ));
}

fn send(kappa: &Incarnation, ids: std::ops::Range<i32>) {
    for id in ids {
        let pad = format!(r#"{{"PAD":"{id}"}}"#);
        kappa.send("s", 1, id, Some(pad), 0);
    }
}

/// The numbers of all rows in files, in order.
fn ids(files: &Path) -> Vec<i32> {
    let rows = parquet_rows(&data(local_files(files)));
    let mut ids: Vec<i32> = rows.iter().map(|row| row[0].parse().unwrap()).collect();
    ids.sort_unstable();
    ids
}

#[test]
fn a_sink_whose_disk_is_full_goes_on_when_there_is_space() {
    let name = "full_disk::a_sink_whose_disk_is_full_goes_on_when_there_is_space";
    let Some(disk) = small_disk(name, 4) else {
        return;
    };
    let data_dir = instance::data_dir().unwrap();
    let kappa = Incarnation::open(instance::config(data_dir.path(), &[]));
    let files = disk.join("files");
    create(&kappa, &files);
    send(&kappa, 0..10);
    kappa.flush();
    let filler = Filler::fill(&disk);
    send(&kappa, 10..20);
    let refused = kappa.try_flush().unwrap_err().to_string();
    assert!(refused.contains("No space left on device"), "{refused}");
    let row = await_sink(&kappa, "files", |row| row[3] == "RETRYING");
    assert!(
        row[9].contains("No space left on device") && row[9].contains(&disk.display().to_string()),
        "{row:?}"
    );
    filler.remove();
    await_sink(&kappa, "files", |row| row[3] == "RUNNING");
    kappa.flush();
    assert_eq!(ids(&files), (0..20).collect::<Vec<_>>());
    kappa.shut_down();
}

#[test]
fn a_data_directory_whose_disk_is_full_loses_nothing() {
    let name = "full_disk::a_data_directory_whose_disk_is_full_loses_nothing";
    let Some(disk) = small_disk(name, 256) else {
        return;
    };
    let place = tempfile::tempdir().unwrap();
    let kappa = Incarnation::open(instance::config(&disk.join("data"), &[]));
    create(&kappa, place.path());
    send(&kappa, 0..10);
    kappa.flush();
    let filler = Filler::fill(&disk);
    // What was taken was said to be; what was not is refused.
    let mut taken: Vec<i32> = (0..10).collect();
    let begun = Instant::now();
    for id in 10.. {
        let pad = "x".repeat(100_000);
        match kappa.try_send("s", 1, id, Some(format!(r#"{{"PAD":"{pad}"}}"#)), 0) {
            Ok(()) => taken.push(id),
            Err(error) => {
                assert!(error.contains("No space left on device"), "{error}");
                break;
            }
        }
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "it is never full"
        );
    }
    let refused = kappa.try_flush().unwrap_err().to_string();
    assert!(refused.contains("No space left on device"), "{refused}");
    let row = await_sink(&kappa, "files", |row| row[3] == "RETRYING");
    assert!(row[9].contains("No space left on device"), "{row:?}");
    filler.remove();
    // The store looks every five seconds whether there is space.
    let begun = Instant::now();
    while let Err(error) = kappa.try_send("s", 1, 0, None, 0) {
        assert!(begun.elapsed() < Duration::from_secs(60), "{error}");
        kappa.wait(Duration::from_millis(200));
    }
    await_sink(&kappa, "files", |row| row[3] == "RUNNING");
    kappa.flush();
    assert_eq!(ids(place.path()), taken);
    kappa.shut_down();
}
