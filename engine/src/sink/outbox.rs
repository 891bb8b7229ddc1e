//! The outbox of a feed: the rows of each committed epoch, kept until every reader is past them.
//!
//! ```text
//! meta:   outbox/<feed>/<epoch> -> Segment
//! outbox: [number][epoch][0]    -> Arrow IPC stream         of a small segment
//! <data directory>/outbox/<feed>/<epoch>.arrow              of a large one, synced before the commit
//! ```
//!
//! A segment becomes durable in the commit of its epoch, together with the offsets that its rows came
//! from. Large ones stand in files beside RocksDB: their bytes would go through its log, its memory
//! and its tables, only to be deleted a moment later.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Cursor, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use kappa_storage::store::{Commit, Durability, Store, View};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::kept::{Backlog, Kept, Readers, Waits};
use crate::error::{Error, Result};

/// Bytes of rows from which a segment stands in a file of its own.
const FILE_BYTES_MIN: usize = 1 << 20;
/// How long a new outbox keeps everything, so that the sinks which a script makes one after the other
/// share it, and up to how many bytes.
const KEPT_MS: i64 = 60_000;
const KEPT_BYTES_MAX: u64 = 256 << 20;

/// Where sources go on: by source, partition and next offset.
pub(crate) type Offsets = Vec<BTreeMap<i32, i64>>;

/// What is known of an epoch's rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Segment {
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    /// When it was written, by the wall clock.
    pub(crate) at_ms: i64,
    /// Where the feed's sources go on after it.
    pub(crate) offsets: Offsets,
    in_file: bool,
}

impl Waits for Segment {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn at_ms(&self) -> i64 {
        self.at_ms
    }
}

/// The outbox of one feed. Written by its query, read by writers and sinks.
#[derive(Debug)]
pub(crate) struct Outbox {
    feed: String,
    number: u32,
    directory: PathBuf,
    store: Arc<Store>,
    schema: SchemaRef,
    state: Mutex<State>,
    /// The last committed epoch that has rows.
    newest: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    /// Segments by epoch, and writers and sinks that read them.
    kept: Kept<Segment>,
    /// Written, perhaps not yet committed.
    pending: BTreeMap<u64, Segment>,
    /// Readers that are too far behind for more to be written, and why.
    held_by: BTreeMap<String, String>,
    /// Until when nothing is given back, on the monotonic clock. `None`: something may have been.
    keeps_until_ms: Option<i64>,
}

impl Outbox {
    /// Opens the outbox of a feed: what its commits left. All its readers are known from the start:
    /// else what one of them needs would be given back. A new outbox keeps its rows for a while.
    pub(crate) fn open(
        store: &Arc<Store>,
        data_dir: &Path,
        feed: &str,
        number: u32,
        schema: SchemaRef,
        readers: Readers,
        new_at_ms: Option<i64>,
    ) -> Result<Self> {
        let mut segments = BTreeMap::new();
        for (key, row) in store.scan_meta(prefix(feed).as_bytes())? {
            let epoch = String::from_utf8_lossy(&key[prefix(feed).len()..]).parse();
            let epoch = epoch.map_err(|_| Error::Internal("a segment without an epoch".into()))?;
            segments.insert(epoch, serde_json::from_slice(&row)?);
        }
        let kept = Kept::new(segments, readers);
        let outbox = Self {
            feed: feed.to_owned(),
            number,
            directory: directory(data_dir, feed),
            store: Arc::clone(store),
            schema,
            newest: watch::Sender::new(kept.newest()),
            state: Mutex::new(State {
                kept,
                pending: BTreeMap::new(),
                held_by: BTreeMap::new(),
                keeps_until_ms: new_at_ms.map(|now_ms| now_ms + KEPT_MS),
            }),
        };
        outbox.remove_strays();
        Ok(outbox)
    }

    /// Files whose commit never came, or that are left from what was given back.
    fn remove_strays(&self) {
        let state = self.state.lock();
        let Ok(entries) = std::fs::read_dir(&self.directory) else {
            return;
        };
        for path in entries.flatten().map(|entry| entry.path()) {
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            let epoch = stem.and_then(|stem| stem.parse::<u64>().ok());
            let known = epoch.and_then(|epoch| state.kept.get(epoch));
            if !known.is_some_and(|segment| segment.in_file) {
                // Only space is lost if it cannot be removed.
                drop(std::fs::remove_file(path));
            }
        }
    }

    /// The columns of the rows.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Writes an epoch's rows, as part of the epoch's commit.
    pub(crate) fn write(
        &self,
        epoch: u64,
        batches: &[RecordBatch],
        offsets: Offsets,
        now_ms: i64,
        commit: &mut Commit,
    ) -> Result<()> {
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        if rows == 0 {
            return Ok(());
        }
        let memory: usize = batches.iter().map(RecordBatch::get_array_memory_size).sum();
        let in_file = memory >= FILE_BYTES_MIN;
        let bytes = match in_file {
            true => self.write_file(epoch, batches)?,
            false => {
                let mut row = Vec::with_capacity(memory);
                write_stream(&mut row, &self.schema, batches)?;
                commit.put_outbox(self.number, epoch, 0, &row);
                row.len() as u64
            }
        };
        let segment = Segment {
            rows: rows as u64,
            bytes,
            at_ms: now_ms,
            offsets,
            in_file,
        };
        commit.put_meta(&key(&self.feed, epoch), &serde_json::to_vec(&segment)?);
        self.state.lock().pending.insert(epoch, segment);
        Ok(())
    }

    fn write_file(&self, epoch: u64, batches: &[RecordBatch]) -> Result<u64> {
        let path = self.path(epoch);
        let failed = |error: &dyn std::fmt::Display| Error::External {
            message: format!("write {}: {error}", path.display()),
            retryable: true,
        };
        std::fs::create_dir_all(&self.directory).map_err(|error| failed(&error))?;
        let mut file = File::create(&path).map_err(|error| failed(&error))?;
        write_stream(&mut file, &self.schema, batches).map_err(|error| failed(&error))?;
        file.sync_all().map_err(|error| failed(&error))?;
        let directory = File::open(&self.directory).map_err(|error| failed(&error))?;
        directory.sync_all().map_err(|error| failed(&error))?;
        Ok(file.metadata().map_err(|error| failed(&error))?.len())
    }

    /// The epochs up to this one are durable: their rows can be read.
    pub(crate) fn committed(&self, epoch: u64) {
        let mut state = self.state.lock();
        let later = state.pending.split_off(&(epoch + 1));
        let now = std::mem::replace(&mut state.pending, later);
        state.kept.extend(now);
        let newest = state.kept.newest();
        drop(state);
        self.newest.send_if_modified(|last| {
            let grown = newest > *last;
            *last = newest.max(*last);
            grown
        });
    }

    /// The query begins again after `epoch`, its last commit. That may have ended while the query was
    /// failing, so that nobody has told of it; what was written later is not durable.
    pub(crate) fn reopen(&self, epoch: u64) {
        self.committed(epoch);
        self.state.lock().pending.clear();
    }

    /// To be told of new segments.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    /// The last epoch that has rows; 0 when none has.
    pub(crate) fn newest(&self) -> u64 {
        *self.newest.borrow()
    }

    /// The first segment after an epoch that a reader takes.
    pub(crate) fn next(&self, reader: &str, epoch: u64) -> Option<(u64, Segment)> {
        self.state.lock().kept.next(reader, epoch)
    }

    /// How much there is for a reader that has come to an epoch.
    pub(crate) fn backlog(&self, reader: &str, epoch: u64) -> Backlog {
        self.state.lock().kept.backlog(reader, epoch)
    }

    /// How much there is after the epoch that a reader has come to.
    pub(crate) fn backlog_of(&self, reader: &str) -> Backlog {
        let state = self.state.lock();
        let position = state.kept.position(reader);
        position.map_or(Backlog::default(), |epoch| {
            state.kept.backlog(reader, epoch)
        })
    }

    /// The rows of an epoch.
    pub(crate) fn load(&self, epoch: u64) -> Result<Vec<RecordBatch>> {
        self.read(epoch)?.collect()
    }

    /// The rows of an epoch, one batch in memory at a time.
    pub(crate) fn read(&self, epoch: u64) -> Result<impl Iterator<Item = Result<RecordBatch>>> {
        let segment = self.state.lock().kept.get(epoch).cloned();
        let Some(segment) = segment else {
            return Err(self.lost(epoch, "it was given back"));
        };
        let bytes: Box<dyn Read> = match segment.in_file {
            true => {
                let file =
                    File::open(self.path(epoch)).map_err(|error| self.lost(epoch, &error))?;
                Box::new(BufReader::with_capacity(1 << 20, file))
            }
            false => {
                let mut scan = self.store.scan_outbox(self.number, epoch..epoch + 1);
                match scan.next_row()? {
                    Some((_, row)) => Box::new(Cursor::new(row.to_vec())),
                    None => return Err(self.lost(epoch, "its row is gone")),
                }
            }
        };
        let batches =
            StreamReader::try_new(bytes, None).map_err(|error| self.lost(epoch, &error))?;
        Ok(batches.map(move |batch| batch.map_err(|error| self.lost(epoch, &error))))
    }

    fn lost(&self, epoch: u64, error: impl std::fmt::Display) -> Error {
        Error::External {
            message: format!("read epoch {epoch} of the outbox {}: {error}", self.feed),
            retryable: false,
        }
    }

    /// Adds a reader, which needs nothing up to `epoch`; or tells how far it has come. Its position
    /// must be durable.
    pub(crate) fn advance(&self, reader: &str, epoch: u64) {
        self.state.lock().kept.advance(reader, epoch);
    }

    /// Says that a reader will take nothing after an epoch. That must be durable.
    pub(crate) fn bound(&self, reader: &str, epoch: u64) {
        let mut state = self.state.lock();
        state.kept.bound(reader, epoch);
        state.held_by.remove(reader);
    }

    /// Whether others read what comes, too.
    pub(crate) fn has_others(&self, reader: &str) -> bool {
        self.state.lock().kept.has_others(reader)
    }

    /// Whether a reader takes whatever comes.
    pub(crate) fn is_read_by(&self, reader: &str) -> bool {
        self.state.lock().kept.is_read_by(reader)
    }

    /// The newest segment.
    pub(crate) fn last(&self) -> Option<(u64, Segment)> {
        self.state.lock().kept.last()
    }

    /// Removes a reader.
    pub(crate) fn detach(&self, reader: &str) {
        let mut state = self.state.lock();
        state.kept.detach(reader);
        state.held_by.remove(reader);
    }

    /// Whether a new reader can have everything that was ever written.
    pub(crate) fn is_whole(&self) -> bool {
        self.state.lock().keeps_until_ms.is_some()
    }

    /// Gives back what all readers are past. `now_ms` is by the monotonic clock.
    pub(crate) fn trim(&self, now_ms: i64) -> Result<()> {
        let mut state = self.state.lock();
        if let Some(until_ms) = state.keeps_until_ms {
            if now_ms < until_ms && state.kept.size().bytes <= KEPT_BYTES_MAX {
                return Ok(());
            }
            state.keeps_until_ms = None;
        }
        let gone = state.kept.take_passed();
        let first_kept = state.kept.after(0).map(|(epoch, _)| epoch);
        drop(state);
        let Some((&last, _)) = gone.last_key_value() else {
            return Ok(());
        };
        let mut commit = self.store.begin();
        let all_before = first_kept.is_none_or(|first| first > last);
        if all_before {
            commit.delete_outbox_range(self.number, 0..last + 1);
        }
        for (&epoch, segment) in &gone {
            commit.delete_meta(&key(&self.feed, epoch));
            if !all_before && !segment.in_file {
                commit.delete_outbox_range(self.number, epoch..epoch + 1);
            }
        }
        // After a crash they may be back; whoever needs them no more says so again.
        self.store.commit(commit, Durability::NoSync)?;
        for (epoch, segment) in gone {
            if segment.in_file {
                drop(std::fs::remove_file(self.path(epoch)));
            }
        }
        Ok(())
    }

    /// Says that a reader is too far behind, or that it no longer is.
    pub(crate) fn hold(&self, reader: &str, why: Option<String>) {
        let mut state = self.state.lock();
        match why {
            Some(why) => state.held_by.insert(reader.to_owned(), why),
            None => state.held_by.remove(reader),
        };
    }

    /// Why nothing more may be written for now.
    pub(crate) fn held_up(&self) -> Option<String> {
        self.state.lock().held_by.values().next().cloned()
    }

    /// Removes an outbox in a commit. Its files go with [`Outbox::delete_files`].
    pub(crate) fn delete(feed: &str, number: u32, commit: &mut Commit) {
        commit.delete_meta_prefix(prefix(feed).as_bytes());
        commit.delete_outbox(number);
    }

    /// Removes the files of an outbox that was deleted.
    pub(crate) fn delete_files(data_dir: &Path, feed: &str) {
        // Left behind, they would only take space.
        drop(std::fs::remove_dir_all(directory(data_dir, feed)));
    }

    fn path(&self, epoch: u64) -> PathBuf {
        self.directory.join(format!("{epoch:020}.arrow"))
    }
}

fn directory(data_dir: &Path, feed: &str) -> PathBuf {
    data_dir.join("outbox").join(feed)
}

fn prefix(feed: &str) -> String {
    format!("outbox/{feed}/")
}

fn key(feed: &str, epoch: u64) -> Vec<u8> {
    format!("{}{epoch:020}", prefix(feed)).into_bytes()
}

/// Rows as an Arrow IPC stream.
pub(super) fn write_stream(
    out: &mut dyn Write,
    schema: &SchemaRef,
    batches: &[RecordBatch],
) -> Result<()> {
    let mut writer = StreamWriter::try_new(out, schema)?;
    for batch in batches {
        writer.write(batch)?;
    }
    writer.finish()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int64Array};
    use arrow::datatypes::{DataType, Field, Schema};
    use kappa_storage::store::StoreOptions;
    use tempfile::TempDir;

    use super::*;
    use crate::sink::kept::Position;

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![Field::new("A", DataType::Int64, false)]))
    }

    fn rows(values: std::ops::Range<i64>) -> Vec<RecordBatch> {
        let column: ArrayRef = Arc::new(Int64Array::from_iter_values(values));
        vec![RecordBatch::try_new(schema(), vec![column]).unwrap()]
    }

    struct Fixture {
        directory: TempDir,
        store: Arc<Store>,
    }

    impl Fixture {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let options = StoreOptions::default();
            let store = Store::open(directory.path().join("store"), options).unwrap();
            Self { directory, store }
        }

        fn open(&self, reader: u64) -> Outbox {
            let position = Position {
                last: reader,
                until: None,
            };
            let readers = BTreeMap::from([("R".to_owned(), position)]);
            let path = self.directory.path();
            Outbox::open(&self.store, path, "F", 7, schema(), readers, None).unwrap()
        }

        /// Writes an epoch and commits it, and tells nobody.
        fn write(&self, outbox: &Outbox, epoch: u64, rows: &[RecordBatch]) {
            let mut commit = self.store.begin();
            outbox
                .write(epoch, rows, Vec::new(), 0, &mut commit)
                .unwrap();
            self.store.commit(commit, Durability::Sync).unwrap();
        }

        fn files(&self) -> usize {
            let files = std::fs::read_dir(directory(self.directory.path(), "F"));
            files.map_or(0, Iterator::count)
        }
    }

    #[test]
    fn small_and_large_segments_come_back_after_a_restart() {
        let fixture = Fixture::new();
        let outbox = fixture.open(0);
        let large = FILE_BYTES_MIN as i64 / 8 + 1;
        fixture.write(&outbox, 1, &rows(0..3));
        fixture.write(&outbox, 3, &rows(3..large));
        // Of an epoch that was never committed.
        let mut commit = fixture.store.begin();
        outbox
            .write(4, &rows(0..large), Vec::new(), 0, &mut commit)
            .unwrap();
        assert_eq!(fixture.files(), 2);
        let outbox = fixture.open(0);
        assert_eq!(fixture.files(), 1);
        assert_eq!(outbox.newest(), 3);
        for (after, epoch, expected) in [(0, 1, rows(0..3)), (1, 3, rows(3..large))] {
            assert_eq!(outbox.next("R", after).unwrap().0, epoch);
            assert_eq!(outbox.load(epoch).unwrap(), expected);
        }
        assert!(outbox.next("R", 3).is_none());
        outbox.advance("R", 3);
        outbox.trim(0).unwrap();
        assert_eq!((outbox.next("R", 0).is_none(), fixture.files()), (true, 0));
        assert!(fixture.open(3).next("R", 0).is_none());
    }

    #[test]
    fn what_one_still_needs_stays_while_later_epochs_go() {
        let fixture = Fixture::new();
        let outbox = fixture.open(0);
        let large = FILE_BYTES_MIN as i64 / 8 + 1;
        for (epoch, last) in [(1, 3), (2, large), (3, 3), (4, large)] {
            fixture.write(&outbox, epoch, &rows(0..last));
        }
        outbox.committed(4);
        outbox.bound("R", 2);
        outbox.advance("OTHER", 4);
        outbox.trim(0).unwrap();
        assert_eq!(outbox.last().map(|(epoch, _)| epoch), Some(2));
        let readers = [("R", 0, Some(2)), ("OTHER", 4, None)];
        let readers = readers.map(|(name, last, until)| (name.into(), Position { last, until }));
        let path = fixture.directory.path();
        let opened = Outbox::open(&fixture.store, path, "F", 7, schema(), readers.into(), None);
        for outbox in [outbox, opened.unwrap()] {
            assert_eq!(outbox.load(1).unwrap(), rows(0..3));
            assert_eq!(outbox.load(2).unwrap(), rows(0..large));
            assert!(outbox.next("OTHER", 2).is_none());
            assert_eq!(fixture.files(), 1);
        }
    }

    #[test]
    fn a_commit_that_ended_while_its_query_failed_is_there() {
        let fixture = Fixture::new();
        let outbox = fixture.open(0);
        fixture.write(&outbox, 1, &rows(0..3));
        let mut commit = fixture.store.begin();
        outbox
            .write(2, &rows(3..5), Vec::new(), 0, &mut commit)
            .unwrap();
        outbox.reopen(1);
        assert_eq!(outbox.next("R", 0).unwrap().0, 1);
        assert!(outbox.next("R", 1).is_none());
        // The epoch is made again, of other rows.
        fixture.write(&outbox, 2, &rows(3..9));
        outbox.committed(2);
        assert_eq!(outbox.load(2).unwrap(), rows(3..9));
    }
}
