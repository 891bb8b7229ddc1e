//! A table's rows by key inside an operator: those in memory over those in the state table.
//!
//! ```text
//! state table: [table][vnode][key columns] -> [row's columns]
//! ```

use std::fmt;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use arrow::row::{RowConverter, SortField};
use datafusion::common::{HashMap, Result};
use kappa_storage::store::Commit;

use super::storage_error;
use crate::state::StateTable;

/// A row as the state table holds it; `None` for a key that has none.
pub(crate) type Row = Option<Arc<[u8]>>;

#[derive(Debug)]
struct Entry {
    row: Row,
    dirty: bool,
}

/// Rows by key, with the changes since the last commit.
pub(crate) struct KeyedRows {
    table: StateTable,
    keys: RowConverter,
    rows: RowConverter,
    entries: HashMap<Box<[u8]>, Entry>,
    bytes: usize,
}

impl fmt::Debug for KeyedRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedRows")
            .field("in_memory", &self.entries.len())
            .finish_non_exhaustive()
    }
}

/// Keys of a batch, one after another: state keys, or `None` where a key column is NULL.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    null: Vec<bool>,
}

impl Keys {
    /// Number of keys.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The state key of a row.
    pub(crate) fn get(&self, row: usize) -> Option<&[u8]> {
        let start = if row == 0 { 0 } else { self.ends[row - 1] };
        (!self.null[row]).then(|| &self.bytes[start..self.ends[row]])
    }
}

impl KeyedRows {
    /// The rows that the last commit left.
    pub(crate) fn try_new(
        table: StateTable,
        key: Vec<DataType>,
        row: Vec<DataType>,
    ) -> Result<Self> {
        let converter = |types: Vec<DataType>| {
            RowConverter::new(types.into_iter().map(SortField::new).collect())
        };
        let (keys, rows) = (converter(key)?, converter(row)?);
        Ok(Self {
            table,
            keys,
            rows,
            entries: HashMap::default(),
            bytes: 0,
        })
    }

    /// The keys of a batch.
    pub(crate) fn encode_keys(&self, columns: &[ArrayRef]) -> Result<Keys> {
        let encoded = self.keys.convert_columns(columns)?;
        let mut keys = Keys::default();
        let nulls: Vec<_> = columns
            .iter()
            .filter_map(|column| column.logical_nulls())
            .collect();
        for (row, key) in encoded.iter().enumerate() {
            keys.null.push(nulls.iter().any(|nulls| nulls.is_null(row)));
            self.table.write_key(&mut keys.bytes, key.data(), None);
            keys.ends.push(keys.bytes.len());
        }
        Ok(keys)
    }

    /// Encodes rows, to be put one by one.
    pub(crate) fn encode_rows(&self, columns: &[ArrayRef]) -> Result<Vec<Arc<[u8]>>> {
        let encoded = self.rows.convert_columns(columns)?;
        Ok(encoded.iter().map(|row| Arc::from(row.data())).collect())
    }

    /// Columns of rows.
    pub(crate) fn decode_rows<'a>(
        &self,
        rows: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Vec<ArrayRef>> {
        let parser = self.rows.parser();
        Ok(self
            .rows
            .convert_rows(rows.into_iter().map(|row| parser.parse(row)))?)
    }

    /// Brings the rows of `keys` into memory, in one read.
    pub(crate) fn load<'a>(&mut self, keys: impl IntoIterator<Item = &'a [u8]>) -> Result<()> {
        let mut missing: Vec<&[u8]> = keys
            .into_iter()
            .filter(|key| !self.entries.contains_key(*key))
            .collect();
        missing.sort_unstable();
        missing.dedup();
        if missing.is_empty() {
            return Ok(());
        }
        if self.table.is_new() {
            for key in missing {
                self.insert(key, None, false);
            }
            return Ok(());
        }
        let found = self.table.multi_get(&missing).map_err(storage_error)?;
        let rows: Vec<Row> = found
            .into_iter()
            .map(|row| row.map(|row| Arc::from(row.as_ref())))
            .collect();
        for (key, row) in missing.into_iter().zip(rows) {
            self.insert(key, row, false);
        }
        Ok(())
    }

    /// The row of a key that was loaded.
    pub(crate) fn get(&self, key: &[u8]) -> Row {
        self.entries.get(key).and_then(|entry| entry.row.clone())
    }

    /// Sets or deletes the row of a key.
    pub(crate) fn put(&mut self, key: &[u8], row: Row) {
        self.insert(key, row, true);
    }

    fn insert(&mut self, key: &[u8], row: Row, dirty: bool) {
        const ENTRY: usize = 64;
        self.bytes += row.as_ref().map_or(0, |row| row.len());
        match self.entries.get_mut(key) {
            Some(entry) => {
                let old = entry.row.as_ref().map_or(0, |row| row.len());
                self.bytes = self.bytes.saturating_sub(old);
                entry.row = row;
                entry.dirty |= dirty;
            }
            None => {
                self.bytes += key.len() + ENTRY;
                self.entries.insert(Box::from(key), Entry { row, dirty });
            }
        }
    }

    /// Writes what changed since the last commit.
    pub(crate) fn flush(&mut self, commit: &mut Commit) {
        self.table.touch(commit);
        let mut dirty: Vec<(&Box<[u8]>, &mut Entry)> = self
            .entries
            .iter_mut()
            .filter(|(_, entry)| entry.dirty)
            .collect();
        dirty.sort_unstable_by_key(|(key, _)| *key);
        for (key, entry) in dirty {
            entry.dirty = false;
            match &entry.row {
                Some(row) => commit.put_state(key, row),
                None => commit.delete_state(key),
            }
        }
    }

    /// The commit is durable; forgets rows when they take more than `memory_max` bytes.
    pub(crate) fn committed(&mut self, memory_max: usize) {
        self.table.set_written();
        if self.bytes > memory_max {
            self.entries = HashMap::default();
            self.bytes = 0;
        }
    }

    /// Memory held, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.bytes
    }
}
