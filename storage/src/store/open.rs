//! Opening a data directory, and what is said when that or a later call fails.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;

use rocksdb::{DB, ErrorKind, ReadOptions, WriteOptions};

use super::expiry::Expiry;
use super::options::{self, META, Setup, StoreOptions};
use super::state_log::{self, StateLogs};
use super::view::View;
use super::{Store, meta};
use crate::topic::embedded::log::{Log, Partition, Topic};
use crate::topic::embedded::registry::{self, PartitionRow, TopicRow};
use crate::{Error, Result};

/// How the directory is laid out; to be raised when an older Kappa could not read it. The second
/// has logs of state tables, the third may have state rows without the values of COUNT(DISTINCT …).
const FORMAT_VERSION: u32 = 3;
/// The oldest that is read.
const FORMAT_VERSION_MIN: u32 = 1;
/// The database's place in the data directory, which has room for more beside it.
const SUBDIRECTORY: &str = "db";

pub(super) fn open(directory: &Path, options: StoreOptions) -> Result<Store> {
    let path = directory.join(SUBDIRECTORY);
    make_directories(directory, &path)
        .map_err(|error| directory_failed(directory, "open", &error.to_string()))?;
    let existing = options::existing_families(&path);
    let known = |name: &String| name == "default" || options::ALL.contains(&name.as_str());
    if existing
        .as_ref()
        .is_some_and(|families| !families.iter().all(known))
    {
        return Err(newer(directory, "it has parts this version does not know"));
    }
    let expiry = Arc::new(Expiry::default());
    let setup = Setup::new(&options);
    let db = DB::open_cf_descriptors(&setup.database, &path, setup.families(&expiry))
        .map_err(|error| failed(directory, "open", &error))?;
    let store = Store {
        db,
        directory: directory.to_owned(),
        options,
        expiry,
        cache: setup.cache().clone(),
        reading: ReadOptions::default(),
        log: Log::default(),
        state_logs: StateLogs::new(directory),
    };
    check_version(&store)?;
    recover_log(&store)?;
    state_log::recover(&store)?;
    Ok(store)
}

/// Makes the directories, for the owner only, and their entries durable.
fn make_directories(directory: &Path, database: &Path) -> io::Result<()> {
    if database.is_dir() {
        return Ok(());
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(database)?;
    File::open(directory)?.sync_all()?;
    let parent = fs::canonicalize(directory)?.parent().map(Path::to_owned);
    parent.map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

fn check_version(store: &Store) -> Result<()> {
    let Some(found) = store.get_meta(meta::FORMAT_VERSION)? else {
        return write_version(store);
    };
    let version: [u8; 4] = found
        .try_into()
        .map_err(|_| Error::Internal("the row of the format version has a wrong length".into()))?;
    match u32::from_le_bytes(version) {
        FORMAT_VERSION => Ok(()),
        FORMAT_VERSION_MIN..FORMAT_VERSION => write_version(store),
        version if version > FORMAT_VERSION => Err(newer(
            &store.directory,
            &format!("its format is {version}, and this version knows up to {FORMAT_VERSION}"),
        )),
        version => Err(Error::Internal(format!(
            "format version {version} never existed"
        ))),
    }
}

fn write_version(store: &Store) -> Result<()> {
    let mut options = WriteOptions::default();
    options.set_sync(store.options.sync);
    let value = meta::encode(&FORMAT_VERSION.to_le_bytes());
    store
        .db
        .put_cf_opt(store.family(META), meta::FORMAT_VERSION, value, &options)
        .map_err(|error| store.failed("open", &error))
}

/// Finds the topics and the ends of their partitions.
fn recover_log(store: &Store) -> Result<()> {
    for (key, value) in store.scan_meta(registry::TOPIC_PREFIX)? {
        let name = registry::topic_name(&key)?;
        let row = TopicRow::decode(&name, &value)?;
        let recover = |number| recover_partition(store, row.id, number).map(Arc::new);
        let partitions = (0..row.partitions).map(recover).collect::<Result<_>>()?;
        store.log.insert(Topic::new(name, row, partitions));
    }
    Ok(())
}

fn recover_partition(store: &Store, topic: u32, number: i32) -> Result<Partition> {
    let row = match store.get_meta(&registry::partition_key(topic, number))? {
        Some(bytes) => PartitionRow::decode(&bytes)?,
        None => PartitionRow::default(),
    };
    let last = crate::topic::embedded::last_block(store, topic, number)?;
    Ok(Partition::recovered(number, row, last))
}

fn newer(directory: &Path, how: &str) -> Error {
    Error::User(format!(
        "the data directory \"{}\" was written by a newer version of Kappa ({how}); \
         use that version, or another data directory",
        directory.display()
    ))
}

/// What is said when RocksDB fails to do `what`.
pub(super) fn failed(directory: &Path, what: &str, error: &rocksdb::Error) -> Error {
    let text = error.to_string();
    if error.kind() == ErrorKind::Corruption {
        return Error::external(
            what_of(directory, what),
            format!(
                "it is damaged ({text}); restore it from a backup, or move it away and start anew"
            ),
        );
    }
    if text.contains("/LOCK: ") || text.contains("lock hold by current process") {
        return Error::User(format!(
            "the data directory \"{}\" is in use by another kappa process; stop that one first, \
             or use another data directory",
            directory.display()
        ));
    }
    directory_failed(directory, what, &text)
}

pub(super) fn directory_failed(directory: &Path, what: &str, text: &str) -> Error {
    let what = what_of(directory, what);
    if text.contains("No space left on device") || text.contains("Disk quota exceeded") {
        return Error::retryable(what, format!("the disk is full; make room on it ({text})"));
    }
    if text.contains("Permission denied") || text.contains("Read-only file system") {
        return Error::User(format!(
            "{what}: it cannot be written ({text}); change its owner or permissions, \
             or use another data directory"
        ));
    }
    if text.contains("Not a directory") || text.contains("File exists") {
        return Error::User(format!(
            "{what}: it is not a directory ({text}); use another data directory"
        ));
    }
    Error::external(what, text)
}

fn what_of(directory: &Path, what: &str) -> String {
    format!("{what} in the data directory \"{}\"", directory.display())
}

#[cfg(test)]
mod tests;
