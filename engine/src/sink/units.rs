//! The units of a writer: files of rows on local disk that sinks put into their places.
//!
//! ```text
//! meta: unit/<writer>/<number> -> Unit      staging/<writer>/<number>-<index>: its files, synced
//! ```
//!
//! A unit's files never change, so every try to put it writes the same bytes. It is kept until every
//! sink of the writer has it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kappa_storage::store::{Commit, Durability, Store, View};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::kept::{Backlog, Kept, Readers, Waits};
use crate::error::{Error, Result};

/// Files that reach a sink together, or not at all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Unit {
    pub(crate) files: Vec<UnitFile>,
    /// When it was written, by the wall clock.
    pub(crate) at_ms: i64,
}

/// A file of a unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UnitFile {
    /// The directory it belongs to: empty, or with a `/` at its end.
    pub(crate) place: String,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    /// Least and greatest time of its rows.
    pub(crate) times: [i64; 2],
}

impl Unit {
    pub(crate) fn rows(&self) -> u64 {
        self.files.iter().map(|file| file.rows).sum()
    }
}

impl Waits for Unit {
    fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    fn at_ms(&self) -> i64 {
        self.at_ms
    }
}

/// The units of one writer.
#[derive(Debug)]
pub(crate) struct Units {
    writer: String,
    directory: PathBuf,
    store: Arc<Store>,
    state: Mutex<State>,
    newest: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    /// Units by number, and sinks that have some of them.
    kept: Kept<Unit>,
    /// Whether no unit was given back yet; none is while the outbox keeps everything.
    whole: bool,
}

impl Units {
    /// Opens the units of a writer: what its commits left. All its sinks are known from the start.
    pub(crate) fn open(
        store: &Arc<Store>,
        data_dir: &Path,
        writer: &str,
        readers: Readers,
        new: bool,
    ) -> Result<Self> {
        let mut units = BTreeMap::new();
        for (key, row) in store.scan_meta(prefix(writer).as_bytes())? {
            let number = String::from_utf8_lossy(&key[prefix(writer).len()..]).parse();
            let number = number.map_err(|_| Error::Internal("a unit without a number".into()))?;
            units.insert(number, serde_json::from_slice(&row)?);
        }
        let kept = Kept::new(units, readers);
        Ok(Self {
            writer: writer.to_owned(),
            directory: directory(data_dir, writer),
            store: Arc::clone(store),
            newest: watch::Sender::new(kept.newest()),
            state: Mutex::new(State { kept, whole: new }),
        })
    }

    /// Who makes them.
    pub(crate) fn writer(&self) -> &str {
        &self.writer
    }

    /// The directory of the files, made if absent.
    pub(crate) fn directory(&self) -> Result<&Path> {
        std::fs::create_dir_all(&self.directory).map_err(|error| Error::External {
            message: format!("make the directory {}: {error}", self.directory.display()),
            retryable: true,
        })?;
        Ok(&self.directory)
    }

    /// A file of a unit.
    pub(crate) fn path(&self, number: u64, index: usize) -> PathBuf {
        self.directory.join(format!("{number:012}-{index}"))
    }

    /// All files of a unit.
    pub(crate) fn paths(&self, number: u64, unit: &Unit) -> Vec<PathBuf> {
        let indices = 0..unit.files.len();
        indices.map(|index| self.path(number, index)).collect()
    }

    /// Writes a unit into a commit. Its files must be durable.
    pub(crate) fn write(&self, number: u64, unit: &Unit, commit: &mut Commit) -> Result<()> {
        commit.put_meta(&key(&self.writer, number), &serde_json::to_vec(unit)?);
        Ok(())
    }

    /// The commit of the unit is durable.
    pub(crate) fn committed(&self, number: u64, unit: Unit) {
        self.state.lock().kept.extend([(number, unit)]);
        self.newest.send_replace(number);
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    /// The last unit's number, of those that are still here; 0 when there is none.
    pub(crate) fn newest(&self) -> u64 {
        *self.newest.borrow()
    }

    /// The first unit after a number that a sink takes.
    pub(crate) fn next(&self, sink: &str, number: u64) -> Option<(u64, Unit)> {
        self.state.lock().kept.next(sink, number)
    }

    /// How much there is for a sink that has come to a number.
    pub(crate) fn backlog(&self, sink: &str, number: u64) -> Backlog {
        self.state.lock().kept.backlog(sink, number)
    }

    /// Whether a new sink can have everything that was ever written.
    pub(crate) fn is_whole(&self) -> bool {
        self.state.lock().whole
    }

    /// Adds a sink that has all up to `number`, or tells how far it has come. That must be durable.
    pub(crate) fn advance(&self, sink: &str, number: u64) {
        self.state.lock().kept.advance(sink, number);
    }

    /// Says that a sink will take nothing after a unit. That must be durable.
    pub(crate) fn bound(&self, sink: &str, number: u64) {
        self.state.lock().kept.bound(sink, number);
    }

    /// Whether others take what comes, too.
    pub(crate) fn has_others(&self, sink: &str) -> bool {
        self.state.lock().kept.has_others(sink)
    }

    /// Removes a sink.
    pub(crate) fn detach(&self, sink: &str) {
        self.state.lock().kept.detach(sink);
    }

    /// Gives back what all sinks have.
    pub(crate) fn trim(&self) -> Result<()> {
        let mut state = self.state.lock();
        let gone = state.kept.take_passed();
        state.whole &= gone.is_empty();
        drop(state);
        if gone.is_empty() {
            return Ok(());
        }
        let mut commit = self.store.begin();
        for number in gone.keys() {
            commit.delete_meta(&key(&self.writer, *number));
        }
        // After a crash they may be back; the sinks' own positions say that they are done.
        self.store.commit(commit, Durability::NoSync)?;
        for (number, unit) in gone {
            for path in self.paths(number, &unit) {
                // Left behind, it would only take space: numbers are never used again.
                drop(std::fs::remove_file(path));
            }
        }
        Ok(())
    }

    /// Removes the units of a writer in a commit. Their files go with [`Units::delete_files`].
    pub(crate) fn delete(writer: &str, commit: &mut Commit) {
        commit.delete_meta_prefix(prefix(writer).as_bytes());
    }

    /// Removes what was never put.
    pub(crate) fn delete_files(data_dir: &Path, writer: &str) {
        drop(std::fs::remove_dir_all(directory(data_dir, writer)));
    }
}

fn directory(data_dir: &Path, writer: &str) -> PathBuf {
    data_dir.join("staging").join(writer)
}

fn prefix(writer: &str) -> String {
    format!("unit/{writer}/")
}

fn key(writer: &str, number: u64) -> Vec<u8> {
    format!("{}{number:020}", prefix(writer)).into_bytes()
}
