//! The rows of a materialised view: the table that a query maintains, as ad hoc queries read it.
//!
//! ```text
//! state table: [table][vnode][key columns][window, if windowed] -> [value columns, row time,
//!                                                                   window start and end]
//! ```
//!
//! The window in the key is the start of a time window and the end of a session.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array};
use arrow::datatypes::{DataType, Int64Type};
use arrow::row::{RowConverter, SortField};
use kappa_sql::catalog::{KeyWindow, Relation};
use kappa_storage::store::Commit;

use crate::error::Result;
use crate::key_order::sort_by_key;
use crate::state::{Marks, StateTable};

/// How a view's rows are laid out.
pub(crate) struct ViewLayout {
    pub(crate) table: u32,
    pub(crate) window: Option<KeyWindow>,
    keys: RowConverter,
    rows: RowConverter,
    key_types: Vec<DataType>,
}

impl fmt::Debug for ViewLayout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ViewLayout({})", self.table)
    }
}

impl ViewLayout {
    /// The layout of `relation`'s rows in state table `table`.
    pub(crate) fn try_new(relation: &Relation, table: u32) -> Result<Self> {
        let key_types: Vec<DataType> = relation
            .key_columns()
            .map(|column| column.data_type.to_arrow())
            .collect();
        let mut row_types: Vec<DataType> = relation
            .value_columns()
            .map(|column| column.data_type.to_arrow())
            .collect();
        row_types.push(DataType::Int64);
        if relation.window.is_some() {
            row_types.extend([DataType::Int64, DataType::Int64]);
        }
        let converter = |types: &[DataType]| {
            RowConverter::new(types.iter().cloned().map(SortField::new).collect())
        };
        Ok(Self {
            table,
            window: relation.window,
            keys: converter(&key_types)?,
            rows: converter(&row_types)?,
            key_types,
        })
    }

    /// Types of the key columns.
    pub(crate) fn key_types(&self) -> &[DataType] {
        &self.key_types
    }

    /// The key bytes of key columns' rows.
    pub(crate) fn encode_keys(&self, columns: &[ArrayRef]) -> Result<Vec<Vec<u8>>> {
        let rows = self.keys.convert_columns(columns)?;
        Ok(rows.iter().map(|row| row.data().to_vec()).collect())
    }

    /// The bytes with which keys begin whose first column has the value in `column`.
    pub(crate) fn encode_first(&self, column: &ArrayRef) -> Result<Vec<u8>> {
        let converter = RowConverter::new(vec![SortField::new(column.data_type().clone())])?;
        Ok(converter
            .convert_columns(std::slice::from_ref(column))?
            .row(0)
            .data()
            .to_vec())
    }

    /// Whether [`Self::decode`] needs the keys of rows for these columns.
    pub(crate) fn reads_keys(&self, wanted: &[usize]) -> bool {
        wanted.iter().any(|place| *place < self.key_types.len())
    }

    /// Columns of rows, by their places among all: keys, values, row time, window bounds.
    pub(crate) fn decode(&self, rows: &StoredRows, wanted: &[usize]) -> Result<Vec<ArrayRef>> {
        let first_value = self.key_types.len();
        let mut keys = Vec::new();
        if self.reads_keys(wanted) {
            let parser = self.keys.parser();
            let windowed = self.window.is_some();
            keys = self.keys.convert_rows(
                rows.iter()
                    .map(|(key, _)| parser.parse(StateTable::row_of_key(key, windowed))),
            )?;
        }
        let mut values = Vec::new();
        if wanted.iter().any(|place| *place >= first_value) {
            let parser = self.rows.parser();
            values = self
                .rows
                .convert_rows(rows.iter().map(|(_, row)| parser.parse(row)))?;
        }
        let column = |place: &usize| match place.checked_sub(first_value) {
            None => keys.get(*place).cloned(),
            Some(place) => values.get(place).cloned(),
        };
        Ok(wanted.iter().filter_map(column).collect())
    }
}

/// Keys and rows as they were read, one after another.
#[derive(Debug, Default)]
pub(crate) struct StoredRows {
    bytes: Vec<u8>,
    /// Where each key ends, and its row.
    ends: Vec<(usize, usize)>,
}

impl StoredRows {
    /// Number of rows.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn push(&mut self, key: &[u8], row: &[u8]) {
        self.bytes.extend_from_slice(key);
        let key_end = self.bytes.len();
        self.bytes.extend_from_slice(row);
        self.ends.push((key_end, self.bytes.len()));
    }

    /// Forgets the rows and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut begin = 0;
        self.ends.iter().map(move |(key_end, row_end)| {
            let key = &self.bytes[begin..*key_end];
            begin = *row_end;
            (key, &self.bytes[*key_end..*row_end])
        })
    }
}

/// Collects a view's changes until the next commit.
#[derive(Debug)]
pub(crate) struct ViewWriter {
    layout: ViewLayout,
    retention_ms: Option<i64>,
    table: StateTable,
    /// Keys and rows of the epoch, one after another.
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    window_max: i64,
}

/// A change: where its key and row lie in the bytes. No row: the key was deleted.
#[derive(Clone, Copy, Debug)]
struct Entry {
    start: usize,
    key_end: usize,
    row_end: usize,
}

impl ViewWriter {
    /// A writer of `relation`'s rows. Windows older than `retention_ms`, if that is given, are let go.
    pub(crate) fn try_new(
        relation: &Relation,
        table_id: u32,
        table: StateTable,
        retention_ms: Option<i64>,
    ) -> Result<Self> {
        let layout = ViewLayout::try_new(relation, table_id)?;
        let window_max = table.marks()?.window_max;
        Ok(Self {
            layout,
            retention_ms,
            table,
            bytes: Vec::new(),
            entries: Vec::new(),
            window_max,
        })
    }

    /// Takes changes: rows to put, or to delete where `deleted`.
    pub(crate) fn push(
        &mut self,
        keys: &[ArrayRef],
        values: &[ArrayRef],
        rowtimes: &Int64Array,
        bounds: Option<(&Int64Array, &Int64Array)>,
        deleted: &dyn Fn(usize) -> bool,
    ) -> Result<()> {
        let key_rows = self.layout.keys.convert_columns(keys)?;
        let mut columns = values.to_vec();
        columns.push(Arc::new(rowtimes.clone()));
        if let Some((starts, ends)) = bounds {
            columns.push(Arc::new(starts.clone()));
            columns.push(Arc::new(ends.clone()));
        }
        let rows = self.layout.rows.convert_columns(&columns)?;
        for (index, (key_row, row)) in key_rows.iter().zip(rows.iter()).enumerate() {
            let window = bounds.map(|(starts, ends)| match self.layout.window {
                Some(KeyWindow::Session) => ends.value(index),
                _ => starts.value(index),
            });
            self.window_max = self.window_max.max(window.unwrap_or(i64::MIN));
            let start = self.bytes.len();
            self.table
                .write_key(&mut self.bytes, key_row.data(), window);
            let key_end = self.bytes.len();
            if !deleted(index) {
                self.bytes.extend_from_slice(row.data());
            }
            let row_end = if deleted(index) { 0 } else { self.bytes.len() };
            self.entries.push(Entry {
                start,
                key_end,
                row_end,
            });
        }
        Ok(())
    }

    /// Writes the last change of each key, in key order.
    pub(crate) fn flush(&mut self, commit: &mut Commit) {
        let bytes = &self.bytes;
        let key = |entry: &Entry| &bytes[entry.start..entry.key_end];
        let mut entries = std::mem::take(&mut self.entries);
        // Later changes of a key lie further back in the bytes.
        sort_by_key(&mut entries, |entry| key(&entry), |entry| entry.start);
        for (index, entry) in entries.iter().enumerate() {
            if entries
                .get(index + 1)
                .is_some_and(|next| key(next) == key(entry))
            {
                continue;
            }
            match entry.row_end {
                0 => commit.delete_state(key(entry)),
                end => commit.put_state(key(entry), &bytes[entry.key_end..end]),
            }
        }
        self.table.write_marks(commit, self.marks());
        self.bytes.clear();
        self.bytes.shrink_to(1 << 20);
    }

    /// The commit is durable.
    pub(crate) fn committed(&self) {
        self.table.set_written();
        self.table.expire(self.marks().horizon);
    }

    fn marks(&self) -> Marks {
        Marks::new(0, self.window_max, self.retention_ms)
    }

    /// Memory held, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.bytes.capacity() + self.entries.capacity() * size_of::<Entry>()
    }
}

/// A column of BIGINT.
pub(crate) fn int64(array: &ArrayRef) -> Int64Array {
    array.as_primitive::<Int64Type>().clone()
}
