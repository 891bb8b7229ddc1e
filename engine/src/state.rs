//! A state table as an operator sees it: rows by key over the data directory's store.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use kappa_storage::store::{Commit, LogFile, Store, Value, View, key};
use kappa_storage::{Error, Result};
use serde::{Deserialize, Serialize};

/// Bytes in front of the key columns in a state key: table and vnode.
const PREFIX: usize = 5;
/// Bytes of a window start at the end of a windowed table's key.
pub(crate) const WINDOW: usize = 8;

/// How operators lay their state out. What a query once wrote stays as it is, so its layout is stored
/// with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum StateLayout {
    /// The values of COUNT(DISTINCT …) are part of their group's row: up to format 2 of the data
    /// directory.
    #[default]
    ValuesInGroups,
    /// They have a table of their own.
    ValueRows,
}

impl StateLayout {
    /// That of new queries.
    pub(crate) const LATEST: Self = Self::ValueRows;
}

/// One state table of one query. Clones are the same table.
#[derive(Clone)]
pub(crate) struct StateTable {
    store: Arc<Store>,
    id: u32,
    /// Whether nothing was ever committed to it: then nothing needs to be looked up.
    is_new: Arc<AtomicBool>,
}

impl fmt::Debug for StateTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StateTable({})", self.id)
    }
}

/// How far a table's operator has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Marks {
    /// Largest row time seen.
    pub(crate) stream_time: i64,
    /// Largest window in the table.
    pub(crate) window_max: i64,
    /// Windows before it are over: nobody is shown them, and compaction drops them.
    #[serde(default = "no_horizon")]
    pub(crate) horizon: i64,
}

fn no_horizon() -> i64 {
    i64::MIN
}

impl Marks {
    const NONE: Self = Self {
        stream_time: -1,
        window_max: i64::MIN,
        horizon: i64::MIN,
    };

    /// The marks of an operator that keeps windows for `kept_ms` after the largest one.
    pub(crate) fn new(stream_time: i64, window_max: i64, kept_ms: Option<i64>) -> Self {
        Self {
            stream_time,
            window_max,
            horizon: kept_ms.map_or(i64::MIN, |kept_ms| window_max.saturating_sub(kept_ms)),
        }
    }

    /// The marks of a table as of `view`.
    pub(crate) fn read(view: &impl View, table: u32) -> Result<Self> {
        match view.get_meta(&marks_key(table))? {
            None => Ok(Self::NONE),
            Some(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| Error::Internal(format!("marks of a state table: {error}"))),
        }
    }
}

impl StateTable {
    /// The table of that id. A transient one belongs to a push query: it is never committed.
    pub(crate) fn open(store: &Arc<Store>, id: u32, transient: bool) -> Result<Self> {
        let is_new = transient || store.get_meta(&written_key(id))?.is_none();
        Ok(Self {
            store: Arc::clone(store),
            id,
            is_new: Arc::new(AtomicBool::new(is_new)),
        })
    }

    /// Whether nothing was ever committed to it.
    pub(crate) fn is_new(&self) -> bool {
        self.is_new.load(Ordering::Relaxed)
    }

    /// A commit has written it.
    pub(crate) fn set_written(&self) {
        self.is_new.store(false, Ordering::Relaxed);
    }

    /// Marks in a commit that the table has been written.
    pub(crate) fn touch(&self, commit: &mut Commit) {
        if self.is_new() {
            commit.put_meta(&written_key(self.id), b"");
        }
    }

    /// Appends the state key of a row of key columns to `out`.
    pub(crate) fn write_key(&self, out: &mut Vec<u8>, row: &[u8], window: Option<i64>) {
        key::push_state_key(out, self.id, row, window);
    }

    /// Appends the key of a part of another table's row to `out`, see [`key::push_part_key`].
    pub(crate) fn push_part_key(
        &self,
        out: &mut Vec<u8>,
        row: &[u8],
        windowed: bool,
        part: (u8, &[u8]),
    ) {
        key::push_part_key(out, self.id, row, windowed, part);
    }

    /// The key columns' bytes in a state key.
    pub(crate) fn row_of_key(key: &[u8], windowed: bool) -> &[u8] {
        let key = Self::without_window(key, windowed);
        key.get(PREFIX..).unwrap_or_default()
    }

    /// A state key without its window, if it has one.
    pub(crate) fn without_window(key: &[u8], windowed: bool) -> &[u8] {
        &key[..key.len() - if windowed { WINDOW } else { 0 }]
    }

    /// A key without window with one put behind it.
    pub(crate) fn with_window(key: &[u8], window: i64) -> Vec<u8> {
        let mut out = Vec::with_capacity(key.len() + WINDOW);
        Self::push_with_window(&mut out, key, window);
        out
    }

    /// Appends a key with a window put behind it to `out`.
    pub(crate) fn push_with_window(out: &mut Vec<u8>, key: &[u8], window: i64) {
        out.extend_from_slice(key);
        key::push_window(out, window);
    }

    /// A windowed table's key as key without window, and window.
    pub(crate) fn split_window(&self, bytes: &[u8]) -> Result<(Vec<u8>, i64)> {
        let parsed = key::parse_state_key(bytes, true)?;
        let window = parsed.window_start.unwrap_or_default();
        Ok((bytes[..bytes.len() - WINDOW].to_vec(), window))
    }

    /// Rows of keys.
    pub(crate) fn multi_get(&self, keys: &[&[u8]]) -> Result<Vec<Option<Value<'_>>>> {
        self.store.multi_get_state(keys)
    }

    /// The files of its log, oldest first.
    pub(crate) fn log_files(&self) -> Result<Vec<LogFile>> {
        match self.is_new() {
            true => Ok(Vec::new()),
            false => self.store.log_files(self.id),
        }
    }

    /// The batches of a file of its log.
    pub(crate) fn read_log(
        &self,
        file: &LogFile,
    ) -> Result<impl Iterator<Item = Result<RecordBatch>> + use<>> {
        self.store.read_log(file)
    }

    /// Adds a file to its log; returns its number.
    pub(crate) fn put_log(
        &self,
        commit: &mut Commit,
        schema: SchemaRef,
        batches: Vec<RecordBatch>,
    ) -> u64 {
        commit.put_log(self.id, schema, batches)
    }

    /// Removes a file from its log.
    pub(crate) fn delete_log(&self, commit: &mut Commit, number: u64) {
        commit.delete_log(self.id, number);
    }

    /// All rows.
    pub(crate) fn scan_all(&self) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        self.store
            .scan_state(key::table_range(self.id))
            .take_rows(usize::MAX)
    }

    /// The rows of one key, by window.
    pub(crate) fn scan_key(&self, key: &[u8]) -> Result<Vec<(i64, Vec<u8>)>> {
        let range = key::key_range(self.id, Self::row_of_key(key, false));
        let rows = self.store.scan_state(range).take_rows(usize::MAX)?;
        rows.into_iter()
            .filter(|(found, _)| found.len() == key.len() + WINDOW)
            .map(|(found, row)| Ok((self.split_window(&found)?.1, row)))
            .collect()
    }

    /// The key under which an index by window holds `of`.
    pub(crate) fn window_key(&self, window: i64, of: &[u8]) -> Vec<u8> {
        let mut row = Vec::with_capacity(WINDOW + of.len());
        key::push_window(&mut row, window);
        row.extend_from_slice(of);
        key::state_key(self.id, &row, None)
    }

    /// All entries of an index by window: window, and what it holds.
    pub(crate) fn scan_windows(&self) -> Result<Vec<(i64, Vec<u8>)>> {
        self.scan_all()?
            .into_iter()
            .map(|(found, _)| {
                let row = Self::row_of_key(&found, false);
                let (window, of) = row
                    .split_first_chunk::<WINDOW>()
                    .ok_or_else(|| Error::Internal("an index key is too short".into()))?;
                Ok((i64::from_be_bytes(*window) ^ i64::MIN, of.to_vec()))
            })
            .collect()
    }

    /// How far the operator had come at the last commit.
    pub(crate) fn marks(&self) -> Result<Marks> {
        match self.is_new() {
            true => Ok(Marks::NONE),
            false => Marks::read(self.store.as_ref(), self.id),
        }
    }

    /// Writes how far the operator has come.
    pub(crate) fn write_marks(&self, commit: &mut Commit, marks: Marks) {
        if let Ok(bytes) = serde_json::to_vec(&marks) {
            commit.put_meta(&marks_key(self.id), &bytes);
        }
        self.touch(commit);
    }

    /// Rows of windows before `horizon_ms` may go.
    pub(crate) fn expire(&self, horizon_ms: i64) {
        if horizon_ms > i64::MIN {
            self.store.set_expiry(self.id, horizon_ms);
        }
    }

    /// Removes the table and what is known of it.
    pub(crate) fn delete(id: u32, commit: &mut Commit) {
        commit.delete_table(id);
        commit.delete_meta(&written_key(id));
        commit.delete_meta(&marks_key(id));
    }
}

fn written_key(id: u32) -> Vec<u8> {
    format!("table/{id}/written").into_bytes()
}

fn marks_key(id: u32) -> Vec<u8> {
    format!("table/{id}/marks").into_bytes()
}
