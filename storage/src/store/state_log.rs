//! The logs of state tables: rows that a commit writes as one file beside RocksDB.
//!
//! ```text
//! meta: store/log/<table>/<number>       -> [bytes: u64 LE][CRC32C: u32 LE]    of the file
//! <data directory>/state/<number>.arrow     Arrow IPC stream
//! ```
//!
//! For state that is written again and again as a whole: RocksDB would sort each row into its
//! memory, its log and its tables, only to have the next commit replace it; here it costs a copy and
//! a checksum. A file is written and synced before the commit, and belongs to its table once the
//! commit that names it is durable; it goes when a commit that no longer names it is. So what a
//! crash leaves is a file that nobody names: those are removed when the store is opened.
//!
//! What the rows mean, and which of two for one key counts, is their owner's affair. A number is
//! not used twice while the store is open: after an error of the disk it can be uncertain whether a
//! commit is there, and if it is, its file must be, too.

use std::collections::HashSet;
use std::fmt::Display;
use std::fs::{self, DirBuilder, File};
use std::io::{self, BufWriter, Cursor, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use rocksdb::WriteBatch;

use super::commit::Durability;
use super::view::View;
use super::{Store, open};
use crate::{Error, Result};

/// The files' place in the data directory.
const SUBDIRECTORY: &str = "state";
/// What the keys of the rows in `meta` begin with.
const PREFIX: &str = "store/log/";
/// Bytes handed to the operating system at a time.
const BUFFER_BYTES: usize = 1 << 20;

/// Where the files are, and how the next one is called.
#[derive(Debug)]
pub(super) struct StateLogs {
    directory: PathBuf,
    next: AtomicU64,
    /// Whether a commit with files failed, and nothing was written since.
    doubtful: AtomicBool,
}

/// A file of a table's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogFile {
    /// Its number: a later one has a larger number.
    pub number: u64,
    /// Its size.
    pub bytes: u64,
    crc: u32,
}

/// Rows that a commit adds to a table's log.
pub(super) struct NewFile {
    pub(super) table: u32,
    pub(super) number: u64,
    pub(super) schema: SchemaRef,
    pub(super) batches: Vec<RecordBatch>,
}

impl NewFile {
    /// Memory that the rows take.
    pub(super) fn size_in_bytes(&self) -> usize {
        let batches = self.batches.iter();
        batches.map(RecordBatch::get_array_memory_size).sum()
    }
}

impl StateLogs {
    /// The logs of a data directory.
    pub(super) fn new(directory: &Path) -> Self {
        Self {
            directory: directory.join(SUBDIRECTORY),
            next: AtomicU64::new(0),
            doubtful: AtomicBool::new(false),
        }
    }

    /// A number that no file has.
    pub(super) fn next_number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    fn path(&self, number: u64) -> PathBuf {
        self.directory.join(format!("{number:020}.arrow"))
    }

    /// Writes a file and waits until the disk has it, with `sync`; not yet its name.
    fn write(&self, new: &NewFile, sync: bool) -> io::Result<LogFile> {
        let file = File::create(self.path(new.number))?;
        let mut out = Checked {
            inner: BufWriter::with_capacity(BUFFER_BYTES, file),
            bytes: 0,
            crc: 0,
        };
        encode(&mut out, new).map_err(io_error)?;
        let (bytes, crc) = (out.bytes, out.crc);
        let file = out
            .inner
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        if sync {
            file.sync_all()?;
        }
        Ok(LogFile {
            number: new.number,
            bytes,
            crc,
        })
    }

    /// Writes files, and waits until the disk has them and their names, with `sync`.
    fn write_all(&self, files: &[NewFile], sync: bool) -> io::Result<Vec<LogFile>> {
        if !self.directory.is_dir() {
            DirBuilder::new().mode(0o700).create(&self.directory)?;
            if let (true, Some(parent)) = (sync, self.directory.parent()) {
                File::open(parent)?.sync_all()?;
            }
        }
        let written = files.iter().map(|file| self.write(file, sync)).collect();
        let synced = match (&written, sync) {
            (Ok(_), true) => File::open(&self.directory).and_then(|directory| directory.sync_all()),
            _ => Ok(()),
        };
        let written = synced.and(written);
        if written.is_err() {
            // No commit names them, and a full disk needs the space.
            let numbers: Vec<u64> = files.iter().map(|file| file.number).collect();
            self.remove(&numbers);
        }
        written
    }

    /// Notes how a commit with files ended.
    pub(super) fn ended(&self, well: bool) {
        self.doubtful.store(!well, Ordering::Relaxed);
    }

    /// Removes files that no commit names any more.
    pub(super) fn remove(&self, numbers: &[u64]) {
        for number in numbers {
            // Only space is lost if it cannot be removed, until the store is opened again.
            drop(fs::remove_file(self.path(*number)));
        }
    }
}

/// Removes what a crash left, and sees which number is next. What is committed is certain when a
/// store is opened, and only then.
pub(super) fn recover(store: &Store) -> Result<()> {
    let mut named = HashSet::new();
    for (key, value) in store.scan_meta(PREFIX.as_bytes())? {
        named.insert(decode_entry(&key, &value)?.1.number);
    }
    if let Some(last) = named.iter().max() {
        store.state_logs.next.store(last + 1, Ordering::Relaxed);
    }
    let Ok(entries) = fs::read_dir(&store.state_logs.directory) else {
        return Ok(());
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        let number = stem.and_then(|stem| stem.parse::<u64>().ok());
        if !number.is_some_and(|number| named.contains(&number)) {
            drop(fs::remove_file(path));
        }
    }
    Ok(())
}

/// Writes the files of a commit; returns the rows of `meta` that name them.
pub(super) fn write(store: &Store, files: &[NewFile]) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    if store.state_logs.doubtful.load(Ordering::Relaxed) {
        // A failed commit keeps its files, as it may be there after all. Each further one that is
        // refused would add to them: so first something small is tried.
        let mut nothing = WriteBatch::default();
        nothing.put_log_data(b"");
        store
            .db
            .write_opt(nothing, &store.write_options(Durability::Sync))
            .map_err(|error| store.failed("commit", &error))?;
    }
    let written = store.state_logs.write_all(files, store.options.sync);
    let written = written.map_err(|error| {
        open::directory_failed(&store.directory, "write state", &error.to_string())
    })?;
    let entries = files.iter().zip(written);
    Ok(entries
        .map(|(new, file)| {
            let mut value = file.bytes.to_le_bytes().to_vec();
            value.extend(file.crc.to_le_bytes());
            (entry_key(new.table, file.number), value)
        })
        .collect())
}

/// The key of the row that names a file.
pub(super) fn entry_key(table: u32, number: u64) -> Vec<u8> {
    format!("{PREFIX}{table:010}/{number:020}").into_bytes()
}

fn decode_entry(key: &[u8], value: &[u8]) -> Result<(u32, LogFile)> {
    let damaged = || Error::Internal(format!("a file of state named \"{}\"", key.escape_ascii()));
    let name = str::from_utf8(key).map_err(|_| damaged())?;
    let name = name.strip_prefix(PREFIX).ok_or_else(damaged)?;
    let (table, number) = name.split_once('/').ok_or_else(damaged)?;
    let (bytes, crc) = value.split_first_chunk::<8>().ok_or_else(damaged)?;
    let file = LogFile {
        number: number.parse().map_err(|_| damaged())?,
        bytes: u64::from_le_bytes(*bytes),
        crc: u32::from_le_bytes(crc.try_into().map_err(|_| damaged())?),
    };
    Ok((table.parse().map_err(|_| damaged())?, file))
}

impl Store {
    /// The files of a state table's log, oldest first.
    pub fn log_files(&self, table: u32) -> Result<Vec<LogFile>> {
        let entries = self.scan_meta(format!("{PREFIX}{table:010}/").as_bytes())?;
        let files = entries.iter();
        files
            .map(|(key, value)| Ok(decode_entry(key, value)?.1))
            .collect()
    }

    /// Reads a file of a state table's log.
    pub fn read_log(
        &self,
        file: &LogFile,
    ) -> Result<impl Iterator<Item = Result<RecordBatch>> + use<>> {
        let path = self.state_logs.path(file.number);
        let failed = move |cause: &dyn Display| {
            Error::external(
                format!("read state from \"{}\"", path.display()),
                format!("{cause}; restore the data directory from a backup"),
            )
        };
        let bytes = fs::read(self.state_logs.path(file.number)).map_err(|error| failed(&error))?;
        if bytes.len() as u64 != file.bytes || crc32c::crc32c(&bytes) != file.crc {
            return Err(failed(&"its checksum is wrong"));
        }
        let batches =
            StreamReader::try_new(Cursor::new(bytes), None).map_err(|error| failed(&error))?;
        Ok(batches.map(move |batch| batch.map_err(|error| failed(&error))))
    }
}

fn encode(out: &mut impl Write, new: &NewFile) -> Result<(), ArrowError> {
    let mut writer = StreamWriter::try_new(&mut *out, &new.schema)?;
    for batch in &new.batches {
        writer.write(batch)?;
    }
    writer.finish()
}

/// The operating system's own error, where there is one: what it says decides what is said.
fn io_error(error: ArrowError) -> io::Error {
    match error {
        ArrowError::IoError(_, error) => error,
        other => io::Error::other(other),
    }
}

/// Sums up what goes through.
struct Checked<W> {
    inner: W,
    bytes: u64,
    crc: u32,
}

impl<W: Write> Write for Checked<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.crc = crc32c::crc32c_append(self.crc, &bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests;
