//! The task that merges a sink's small files, one compaction after the other, beside its delivery.
//!
//! ```text
//! begun (meta) -> inputs merged into a local file -> put -> commit object -> done (meta) -> inputs removed
//! ```
//!
//! Names are known from the beginning and the commit object is created only if it is not there, so
//! each step can be done again. What fails is tried again, and shown, but does not concern the delivery.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use futures::{StreamExt, TryStreamExt};
use kappa_storage::files::{FileEncoding, FileMerger};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::commit_objects::{CommittedFile, CompactionObject};
use super::retry::Backoff;
use super::small_files::{Compaction, Progress, SmallFile, SmallFiles};
use super::target::FilesTarget;
use super::writing::blocking;
use crate::clock::Clock;
use crate::error::{Error, Result};

/// How often it is looked whether there is something to merge.
const LOOK: Duration = Duration::from_millis(100);
/// How long it may go on with what it is doing when it is to stop.
const STOP: Duration = Duration::from_secs(3);
/// Files that are removed at a time.
const DELETES: usize = 8;

/// What compaction of a sink's files takes.
#[derive(Clone, Debug)]
pub(crate) struct CompactionSpec {
    pub(crate) files: FilesTarget,
    pub(crate) small_files: Arc<SmallFiles>,
    pub(crate) encoding: FileEncoding,
    /// The columns of the files.
    pub(crate) schema: SchemaRef,
    /// Where files are on their way.
    pub(crate) directory: PathBuf,
    pub(crate) clock: Arc<dyn Clock>,
}

/// The directory for the files of a sink's compactions.
pub(crate) fn directory(data_dir: &Path, mark: &str) -> PathBuf {
    data_dir.join("staging").join(format!("compaction-{mark}"))
}

/// A running compaction.
#[derive(Debug)]
pub(crate) struct CompactionHandle {
    small_files: Arc<SmallFiles>,
    error: Arc<Mutex<Option<Error>>>,
    paused: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl CompactionHandle {
    pub(crate) fn start(spec: CompactionSpec, paused: bool) -> Self {
        let (sender, receiver) = watch::channel(paused);
        let (small_files, error) = (Arc::clone(&spec.small_files), Arc::default());
        let task = Task {
            spec,
            paused: receiver,
            error: Arc::clone(&error),
        };
        Self {
            small_files,
            error,
            paused: sender,
            task: tokio::spawn(Box::pin(task.run())),
        }
    }

    /// What was done so far, and what is wrong now.
    pub(crate) fn progress(&self) -> (Progress, Option<Error>) {
        (self.small_files.progress(), self.error.lock().clone())
    }

    pub(crate) fn pause(&self, pause: bool) {
        self.paused.send_replace(pause);
    }

    /// Ends it after what it is doing, or in the middle of that when it takes long: it is done again
    /// after a restart.
    pub(crate) async fn stop(mut self) {
        drop(self.paused);
        let ended = tokio::time::timeout(STOP, &mut self.task).await;
        if ended.is_err() {
            self.task.abort();
            drop(self.task.await);
        }
    }
}

struct Task {
    spec: CompactionSpec,
    paused: watch::Receiver<bool>,
    error: Arc<Mutex<Option<Error>>>,
}

impl Task {
    async fn run(mut self) {
        // What a crash has left.
        drop(tokio::fs::remove_dir_all(&self.spec.directory).await);
        let mut backoff = Backoff::default();
        loop {
            let may_go_on = self.paused.wait_for(|paused| !paused).await.is_ok();
            // Closed, it still has its last value.
            if !may_go_on || self.paused.has_changed().is_err() {
                return;
            }
            let wait = match self.step().await {
                Ok(some) => {
                    backoff.reset();
                    *self.error.lock() = None;
                    if some {
                        continue;
                    }
                    LOOK
                }
                Err(error) => {
                    *self.error.lock() = Some(error);
                    drop(tokio::fs::remove_dir_all(&self.spec.directory).await);
                    backoff.next()
                }
            };
            tokio::select! {
                _ = self.paused.changed() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Does what is next. Whether there was anything.
    async fn step(&self) -> Result<bool> {
        let CompactionSpec {
            files, small_files, ..
        } = &self.spec;
        if let Some((number, replaced)) = small_files.due(self.spec.clock.now_ms()) {
            let deletes = replaced.names.into_iter().map(|name| {
                let target = files.target.clone();
                async move { target.delete(&name).await }
            });
            let deletes = futures::stream::iter(deletes).buffer_unordered(DELETES);
            deletes.try_collect::<()>().await?;
            let small_files = Arc::clone(small_files);
            blocking(move || small_files.removed(number)).await?;
            return Ok(true);
        }
        let (begun, clock) = (Arc::clone(small_files), Arc::clone(&self.spec.clock));
        let begun = blocking(move || begun.begin(clock.now_ms())).await?;
        let Some(compaction) = begun else {
            return Ok(false);
        };
        self.compact(compaction).await?;
        Ok(true)
    }

    async fn compact(&self, compaction: Compaction) -> Result<()> {
        let files = &self.spec.files;
        let (Some(mut file), Some(last)) = (compaction.merged(), compaction.inputs.last()) else {
            return Err(Error::Internal("a compaction of no files".into()));
        };
        let (number, unit) = (compaction.number, last.unit);
        let name = files
            .owner
            .merged(&file.place, unit, number, files.extension);
        let object = |bytes: u64| CompactionObject {
            writer: files.owner.mark.clone(),
            compaction: number,
            files: vec![CommittedFile {
                path: name.clone(),
                rows: file.rows,
                bytes,
                min_rowtime: file.times[0],
                max_rowtime: file.times[1],
            }],
            replaces: (compaction.inputs.iter())
                .map(|input| input.name.clone())
                .collect(),
        };
        // Looked at before anything is put: it may be done, or another's.
        let object_name = files.owner.compaction(number);
        let there = files.target.read(&object_name).await?;
        file.bytes = match there {
            Some(there) => self.bytes_of(&object_name, &there, object)?,
            None => {
                let (path, bytes) = match self.merge(&compaction).await? {
                    Merged::File(path, bytes) => (path, bytes),
                    Merged::Gone(gone) => {
                        // Whoever removed them may be another copy that has just merged them.
                        if files.target.read(&object_name).await?.is_some() {
                            return Err(files.other_files(&object_name));
                        }
                        // An earlier try may have put it.
                        files.target.delete(&name).await?;
                        let small_files = Arc::clone(&self.spec.small_files);
                        return blocking(move || small_files.abandon(&gone)).await;
                    }
                };
                let put = files.target.put(&name, &path).await;
                drop(tokio::fs::remove_file(&path).await);
                put?;
                let written = serde_json::to_vec(&object(bytes))?;
                match files.target.create(&object_name, written).await? {
                    None => bytes,
                    Some(there) => self.bytes_of(&object_name, &there, object)?,
                }
            }
        };
        let now_ms = self.spec.clock.now_ms();
        let merged = SmallFile {
            name: name.clone(),
            unit,
            // As if it had been there all the time.
            at_ms: last.at_ms,
            is_merged: true,
            file,
        };
        let small_files = Arc::clone(&self.spec.small_files);
        blocking(move || small_files.finish(&compaction, merged, now_ms)).await
    }

    /// The length of the merged file by an object that is there, which must say what we would.
    fn bytes_of(
        &self,
        name: &str,
        there: &[u8],
        object: impl Fn(u64) -> CompactionObject,
    ) -> Result<u64> {
        let there: Option<CompactionObject> = serde_json::from_slice(there).ok();
        let bytes = there
            .as_ref()
            .and_then(|there| there.files.first())
            .map(|file| file.bytes);
        match bytes {
            // Another version may write the same rows in other bytes.
            Some(bytes) if there == Some(object(bytes)) => Ok(bytes),
            _ => Err(self.spec.files.other_files(name)),
        }
    }

    /// Merges the inputs into a file on local disk. They are fetched one by one.
    async fn merge(&self, compaction: &Compaction) -> Result<Merged> {
        let CompactionSpec {
            directory,
            encoding,
            schema,
            files,
            ..
        } = &self.spec;
        let made = tokio::fs::create_dir_all(directory).await;
        made.map_err(|error| Error::External {
            message: format!("make the directory {}: {error}", directory.display()),
            retryable: true,
        })?;
        // An earlier try, given up, may still be writing its own.
        let chance = crate::engine::chance();
        let output = directory.join(format!("{chance:016x}-merged"));
        let fetched = directory.join(format!("{chance:016x}-fetched"));
        let (encoding, to, schema) = (*encoding, output.clone(), Arc::clone(schema));
        let mut merger = blocking(move || Ok(FileMerger::create(&encoding, &to, &schema)?)).await?;
        let mut gone = Vec::new();
        for input in &compaction.inputs {
            let bytes = files.target.fetch(&input.name, &fetched).await?;
            if bytes != Some(input.file.bytes) {
                // Removed, or replaced by somebody: not ours any more.
                gone.push(input.clone());
            }
            if !gone.is_empty() {
                continue;
            }
            let (from, name) = (fetched.clone(), input.name.clone());
            merger = blocking(move || {
                merger.append(&from, &name)?;
                Ok(merger)
            })
            .await?;
        }
        drop(tokio::fs::remove_file(&fetched).await);
        if !gone.is_empty() {
            drop(tokio::fs::remove_file(&output).await);
            return Ok(Merged::Gone(gone));
        }
        let bytes = blocking(move || Ok(merger.finish()?)).await?;
        Ok(Merged::File(output, bytes))
    }
}

/// What became of inputs.
enum Merged {
    /// A file on local disk, and its length in bytes.
    File(PathBuf, u64),
    /// These are not there any more.
    Gone(Vec<SmallFile>),
}
