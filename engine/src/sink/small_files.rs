//! The files that a sink has delivered and that may be merged, and which of them are next.
//!
//! ```text
//! meta: small_file/<mark>/<name> -> SmallFile     compaction/<mark> -> Progress
//!       replaced/<mark>/<number> -> Replaced
//! ```
//!
//! A file is noted in the commit that says it is delivered. Only neighbours are merged, in the order of
//! their units, so that the order of changes stays what it was. What cannot be merged any more is
//! forgotten: a file of at least half the wanted size with all before it, and a directory for which
//! nothing came for a while.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use kappa_storage::store::{Commit, Durability, Store, View};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::units::{Unit, UnitFile};
use crate::error::Result;
use crate::meta_entry::MetaEntry;

/// Files that are merged at a time.
const FILES_MAX: usize = 1000;

/// When files are merged, and how large they are to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CompactOptions {
    /// Most bytes of files that are merged, together.
    pub(crate) bytes: u64,
    /// How long nothing must have come for a directory, in milliseconds.
    pub(crate) after_ms: i64,
    /// How long files stay whose rows are in another one.
    pub(crate) grace_ms: i64,
    /// How far the sink's rows must be past the end of a directory.
    pub(crate) partition_grace_ms: i64,
}

/// A file at the target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SmallFile {
    pub(crate) name: String,
    /// The last unit that it has rows of.
    pub(crate) unit: u64,
    /// Its directory, rows, bytes and times.
    pub(crate) file: UnitFile,
    /// When it was delivered, by the wall clock.
    pub(crate) at_ms: i64,
    /// Whether others were merged into it.
    pub(crate) is_merged: bool,
}

/// Neighbours, to be merged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Compaction {
    /// Counted from 1, without gaps.
    pub(crate) number: u64,
    pub(crate) inputs: Vec<SmallFile>,
}

impl Compaction {
    /// What the merged file has, but for its bytes.
    pub(crate) fn merged(&self) -> Option<UnitFile> {
        let mut files = self.inputs.iter().map(|input| &input.file);
        let mut merged = files.next()?.clone();
        for file in files {
            merged.rows += file.rows;
            merged.times[0] = merged.times[0].min(file.times[0]);
            merged.times[1] = merged.times[1].max(file.times[1]);
        }
        merged.bytes = 0;
        Some(merged)
    }
}

/// How far a sink's compactions have come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// The last that is done.
    pub(crate) number: u64,
    /// Files that were merged, their bytes, and those of what they became; ever.
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    pub(crate) bytes_merged: u64,
    /// The one that was begun.
    current: Option<Compaction>,
}

impl MetaEntry for Progress {
    const KIND: &'static str = "compaction";
}

/// Files whose rows are in another one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Replaced {
    pub(crate) names: Vec<String>,
    /// When they go, by the wall clock.
    due_ms: i64,
}

/// The small files of one sink.
#[derive(Debug)]
pub(crate) struct SmallFiles {
    mark: String,
    options: CompactOptions,
    store: Arc<Store>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// By directory and unit.
    directories: BTreeMap<String, BTreeMap<u64, SmallFile>>,
    /// Largest time of a row that was delivered.
    stream_time_ms: Option<i64>,
    progress: Progress,
    replaced: BTreeMap<u64, Replaced>,
    /// Nothing is to be done before that time, unless something comes.
    next_look_ms: Option<i64>,
}

impl SmallFiles {
    /// What the last commits left.
    pub(crate) fn open(store: &Arc<Store>, mark: &str, options: CompactOptions) -> Result<Self> {
        let mut state = State::default();
        for (_, row) in store.scan_meta(files_prefix(mark).as_bytes())? {
            state.add(serde_json::from_slice(&row)?);
        }
        for (_, row) in store.scan_meta(replaced_prefix(mark).as_bytes())? {
            let (number, replaced) = serde_json::from_slice(&row)?;
            state.replaced.insert(number, replaced);
        }
        state.progress = Progress::read(store.as_ref(), mark)?.unwrap_or_default();
        Ok(Self {
            mark: mark.to_owned(),
            options,
            store: Arc::clone(store),
            state: Mutex::new(state),
        })
    }

    /// Removes all that is known of a sink's files in a commit.
    pub(crate) fn delete(mark: &str, commit: &mut Commit) {
        commit.delete_meta_prefix(files_prefix(mark).as_bytes());
        commit.delete_meta_prefix(replaced_prefix(mark).as_bytes());
        Progress::delete(mark, commit);
    }

    pub(crate) fn progress(&self) -> Progress {
        self.state.lock().progress.clone()
    }

    /// Notes the files of a unit in the commit that says that they are delivered.
    pub(crate) fn write(
        &self,
        number: u64,
        unit: &Unit,
        names: Vec<String>,
        now_ms: i64,
        commit: &mut Commit,
    ) -> Result<Vec<SmallFile>> {
        let mut delivered = Vec::with_capacity(names.len());
        for (name, file) in names.into_iter().zip(&unit.files) {
            let file = SmallFile {
                name,
                unit: number,
                file: file.clone(),
                at_ms: now_ms,
                is_merged: false,
            };
            self.put(&file, commit)?;
            delivered.push(file);
        }
        Ok(delivered)
    }

    /// That commit is durable.
    pub(crate) fn delivered(&self, files: Vec<SmallFile>) {
        let mut state = self.state.lock();
        files.into_iter().for_each(|file| state.add(file));
    }

    /// Files that are to go now, with the number of the compaction that took their rows.
    pub(crate) fn due(&self, now_ms: i64) -> Option<(u64, Replaced)> {
        let state = self.state.lock();
        let mut replaced = state.replaced.iter();
        let due = replaced.find(|(_, replaced)| replaced.due_ms <= now_ms)?;
        Some((*due.0, due.1.clone()))
    }

    /// They are gone.
    pub(crate) fn removed(&self, number: u64) -> Result<()> {
        let mut commit = self.store.begin();
        commit.delete_meta(&replaced_key(&self.mark, number));
        // After a crash they are removed once more.
        self.store.commit(commit, Durability::NoSync)?;
        self.state.lock().replaced.remove(&number);
        Ok(())
    }

    /// What is to be merged: the one that was begun, or else the next, which is begun by that. Also
    /// forgets what is of no use any more.
    pub(crate) fn begin(&self, now_ms: i64) -> Result<Option<Compaction>> {
        let (progress, useless) = {
            let mut state = self.state.lock();
            if let Some(current) = &state.progress.current {
                return Ok(Some(current.clone()));
            }
            if state.next_look_ms.is_some_and(|next| now_ms < next) {
                return Ok(None);
            }
            let mut useless = Vec::new();
            let mut inputs = None;
            for files in state.directories.values() {
                match self.look(files, state.stream_time_ms, now_ms) {
                    Looked::Ready(ready) => {
                        inputs = Some(ready);
                        break;
                    }
                    Looked::Useless(names) => useless.extend(names),
                }
            }
            if inputs.is_none() && useless.is_empty() {
                let last = state.directories.values().filter_map(last_ms);
                let idle = last.map(|last| last.saturating_add(self.options.after_ms));
                state.next_look_ms = Some(idle.min().unwrap_or(i64::MAX));
                return Ok(None);
            }
            let mut progress = state.progress.clone();
            progress.current = inputs.map(|inputs| Compaction {
                number: progress.number + 1,
                inputs,
            });
            (progress, useless)
        };
        let mut commit = self.store.begin();
        progress.write(&self.mark, &mut commit)?;
        self.forget(&useless, &mut commit);
        self.store.commit(commit, Durability::Sync)?;
        let mut state = self.state.lock();
        state.remove(&useless);
        state.progress = progress.clone();
        Ok(progress.current)
    }

    /// The files of a directory that can be merged, or else those that never will be.
    fn look(
        &self,
        files: &BTreeMap<u64, SmallFile>,
        stream_time_ms: Option<i64>,
        now_ms: i64,
    ) -> Looked {
        let options = &self.options;
        let is_idle =
            last_ms(files).is_some_and(|at| now_ms >= at.saturating_add(options.after_ms));
        let end_ms = files.values().find_map(|file| file.file.end_ms);
        let end_ms = end_ms.map(|end| end.saturating_add(options.partition_grace_ms));
        let is_passed = matches!((end_ms, stream_time_ms), (Some(end), Some(time)) if time >= end);
        let (mut group, mut bytes) = (Vec::new(), 0);
        let mut last_large = None;
        for (unit, file) in files {
            let is_large = file.file.bytes >= options.bytes.div_ceil(2);
            let is_full = bytes + file.file.bytes > options.bytes || group.len() == FILES_MAX;
            if is_large || is_full {
                if group.len() > 1 {
                    return Looked::Ready(group);
                }
                (group, bytes) = (Vec::new(), 0);
            }
            match is_large {
                true => last_large = Some(*unit),
                false => {
                    bytes += file.file.bytes;
                    group.push(file.clone());
                }
            }
        }
        // Late rows must not have a large file written again each time that some come.
        let is_late = group.iter().any(|file| file.is_merged);
        if group.len() > 1 && (is_idle || is_passed && !is_late) {
            return Looked::Ready(group);
        }
        let useless = match (is_idle, last_large) {
            (true, _) => Bound::Unbounded,
            (false, Some(unit)) => Bound::Included(unit),
            (false, None) => return Looked::Useless(Vec::new()),
        };
        let useless = files.range((Bound::Unbounded, useless));
        Looked::Useless(useless.map(|(_, file)| file.clone()).collect())
    }

    /// The compaction is done: its file is there in place of the inputs.
    pub(crate) fn finish(
        &self,
        compaction: &Compaction,
        merged: SmallFile,
        now_ms: i64,
    ) -> Result<()> {
        let mut progress = self.progress();
        progress.number = compaction.number;
        progress.files += compaction.inputs.len() as u64;
        let inputs = compaction.inputs.iter();
        progress.bytes += inputs.clone().map(|input| input.file.bytes).sum::<u64>();
        progress.bytes_merged += merged.file.bytes;
        progress.current = None;
        let replaced = Replaced {
            names: inputs.map(|input| input.name.clone()).collect(),
            due_ms: now_ms.saturating_add(self.options.grace_ms),
        };
        let mut commit = self.store.begin();
        self.forget(&compaction.inputs, &mut commit);
        self.put(&merged, &mut commit)?;
        progress.write(&self.mark, &mut commit)?;
        commit.put_meta(
            &replaced_key(&self.mark, compaction.number),
            &serde_json::to_vec(&(compaction.number, &replaced))?,
        );
        self.store.commit(commit, Durability::Sync)?;
        let mut state = self.state.lock();
        state.remove(&compaction.inputs);
        state.add(merged);
        state.progress = progress;
        state.replaced.insert(compaction.number, replaced);
        Ok(())
    }

    /// The compaction cannot be done, as some of its files are not there any more. These are forgotten,
    /// and its number is free again.
    pub(crate) fn abandon(&self, gone: &[SmallFile]) -> Result<()> {
        let mut progress = self.progress();
        progress.current = None;
        let mut commit = self.store.begin();
        self.forget(gone, &mut commit);
        progress.write(&self.mark, &mut commit)?;
        self.store.commit(commit, Durability::Sync)?;
        let mut state = self.state.lock();
        state.remove(gone);
        state.progress = progress;
        state.next_look_ms = None;
        Ok(())
    }

    fn put(&self, file: &SmallFile, commit: &mut Commit) -> Result<()> {
        commit.put_meta(
            &file_key(&self.mark, &file.name),
            &serde_json::to_vec(file)?,
        );
        Ok(())
    }

    fn forget(&self, files: &[SmallFile], commit: &mut Commit) {
        for file in files {
            commit.delete_meta(&file_key(&self.mark, &file.name));
        }
    }
}

/// What is to be done with a directory.
enum Looked {
    /// These are to be merged.
    Ready(Vec<SmallFile>),
    /// Nothing, and these never will be merged.
    Useless(Vec<SmallFile>),
}

/// When the last file of a directory was delivered.
fn last_ms(files: &BTreeMap<u64, SmallFile>) -> Option<i64> {
    files.values().map(|file| file.at_ms).max()
}

impl State {
    fn add(&mut self, file: SmallFile) {
        self.next_look_ms = None;
        self.stream_time_ms = self.stream_time_ms.max(Some(file.file.times[1]));
        let directory = self.directories.entry(file.file.place.clone());
        directory.or_default().insert(file.unit, file);
    }

    fn remove(&mut self, files: &[SmallFile]) {
        for file in files {
            if let Some(directory) = self.directories.get_mut(&file.file.place) {
                directory.remove(&file.unit);
                if directory.is_empty() {
                    self.directories.remove(&file.file.place);
                }
            }
        }
    }
}

fn files_prefix(mark: &str) -> String {
    format!("small_file/{mark}/")
}

fn file_key(mark: &str, name: &str) -> Vec<u8> {
    format!("{}{name}", files_prefix(mark)).into_bytes()
}

fn replaced_prefix(mark: &str) -> String {
    format!("replaced/{mark}/")
}

fn replaced_key(mark: &str, number: u64) -> Vec<u8> {
    format!("{}{number:020}", replaced_prefix(mark)).into_bytes()
}

#[cfg(test)]
mod tests;
