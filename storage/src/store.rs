//! The one RocksDB of a data directory: catalog and offsets, state tables, the records of embedded
//! topics, and the outbox. One [`Commit`] changes all of them together or not at all, which is what
//! exactly-once processing rests on.
//!
//! Knows bytes only: rows are encoded by the caller. Every call may wait for the disk; none waits
//! for anything else.

mod commit;
mod expiry;
pub mod key;
mod meta;
mod open;
mod options;
mod snapshot;
mod state_log;
mod statistics;
mod view;

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rocksdb::{Cache, ColumnFamily, DB, WriteOptions};

pub use self::commit::{Appended, Commit, CommitResult, Durability};
use self::expiry::Expiry;
pub use self::options::StoreOptions;
pub(crate) use self::options::TOPICS;
pub use self::snapshot::{OwnedScan, Snapshot};
pub use self::state_log::LogFile;
use self::state_log::StateLogs;
pub use self::statistics::Statistics;
pub use self::view::{Pair, Scan, Value, View};
use crate::topic::embedded::log::Log;
use crate::{Error, Result};

/// The store of a data directory. Closed when the last reference, snapshot or reader is gone.
pub struct Store {
    db: DB,
    directory: PathBuf,
    options: StoreOptions,
    expiry: Arc<Expiry>,
    cache: Cache,
    log: Log,
    state_logs: StateLogs,
}

impl Store {
    /// Opens the store in the data directory `directory`, making both where they don't exist yet.
    ///
    /// That the directory is in use, comes from a newer Kappa, is damaged or cannot be written is
    /// said so, with what to do about it.
    pub fn open(directory: impl AsRef<Path>, options: StoreOptions) -> Result<Arc<Self>> {
        open::open(directory.as_ref(), options).map(Arc::new)
    }

    /// The data directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Starts a commit.
    pub fn begin(self: &Arc<Self>) -> Commit {
        Commit::new(self.clone(), 0)
    }

    /// Begins a commit that will probably be so large, in bytes: growing into it costs as much as
    /// filling it.
    pub fn begin_with_capacity(self: &Arc<Self>, bytes: usize) -> Commit {
        Commit::new(self.clone(), bytes)
    }

    /// Writes a commit: all of it or, on an error, nothing. Records that it appends to topics get
    /// their offsets and can be read from now on.
    ///
    /// After an error of the disk it can be uncertain whether the commit is there. The store then
    /// refuses further commits until it works again, or until it is opened again.
    pub fn commit(&self, commit: Commit, durability: Durability) -> Result<CommitResult> {
        commit.write(self, durability)
    }

    /// What is committed now, whatever is committed later.
    pub fn snapshot(self: &Arc<Self>) -> Snapshot {
        Snapshot::take(self.clone())
    }

    /// Lets go, in time, of a windowed table's rows whose window starts before `horizon_ms`. Their
    /// keys end with the window start. Rows that are expired but still there keep being returned by
    /// reads: the table's owner leaves them out.
    ///
    /// To be called after the commit that makes the horizon known, as snapshots taken before this
    /// call keep their rows. Holds until the store is closed, and never moves back.
    pub fn set_expiry(&self, table: u32, horizon_ms: i64) {
        self.expiry
            .set(table, horizon_ms, self.db.latest_sequence_number());
    }

    /// Removes all rows of a state table, durably, and forgets its expiry horizon. To remove a
    /// table together with other changes, use [`Commit::delete_table`].
    pub fn delete_table(self: &Arc<Self>, table: u32) -> Result<()> {
        let mut commit = self.begin();
        commit.delete_table(table);
        self.commit(commit, Durability::Sync)?;
        self.expiry.forget(table);
        Ok(())
    }

    /// Compacts the rows of a state table now, which also drops expired ones. Takes its time.
    pub fn compact_table(&self, table: u32) {
        let Range { start, end } = key::table_range(table);
        self.db
            .compact_range_cf(self.family(options::STATE), Some(start), Some(end));
    }

    /// Writes what is in memory to the disk and ends background work; nothing can be written after
    /// that. The directory can be opened again when all references, snapshots and readers are gone.
    pub fn close(&self) -> Result<()> {
        self.db
            .flush_wal(true)
            .map_err(|error| self.failed("close", &error))?;
        self.db.cancel_all_background_work(true);
        Ok(())
    }

    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    pub(crate) fn db(&self) -> &DB {
        &self.db
    }

    /// Where the embedded topics' records are.
    pub(crate) fn topics_family(&self) -> &ColumnFamily {
        self.family(options::TOPICS)
    }

    fn family(&self, name: &str) -> &ColumnFamily {
        self.db
            .cf_handle(name)
            .expect("the store was opened with this column family")
    }

    fn write_options(&self, durability: Durability) -> WriteOptions {
        let mut options = WriteOptions::default();
        options.set_sync(durability == Durability::Sync && self.options.sync);
        options
    }

    pub(crate) fn failed(&self, what: &str, error: &rocksdb::Error) -> Error {
        open::failed(&self.directory, what, error)
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
