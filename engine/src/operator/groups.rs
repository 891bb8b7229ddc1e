//! The groups of an aggregation that are in memory: key → slot, and the slot's state key.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{DataType, FieldRef, Float32Type, Float64Type, Schema};
use arrow::row::{RowConverter, SortField};
use datafusion::common::Result;
use datafusion::physical_plan::aggregates::group_values::{GroupValues, new_group_values};
use datafusion::physical_plan::aggregates::order::GroupOrdering;

use super::accumulator::Slot;
use crate::state::StateTable;

/// A column of keys in which zeros have one sign: they are one key to the hash table, and have to be
/// one in state keys and in what is emitted, too.
pub(crate) fn one_zero(column: ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Float32 => {
            let values = column.as_primitive::<Float32Type>();
            Arc::new(values.unary::<_, Float32Type>(|value| value + 0.0))
        }
        DataType::Float64 => {
            let values = column.as_primitive::<Float64Type>();
            Arc::new(values.unary::<_, Float64Type>(|value| value + 0.0))
        }
        _ => column,
    }
}

/// Groups in memory, by slot.
pub(crate) struct Groups {
    values: Box<dyn GroupValues>,
    schema: Arc<Schema>,
    keys: Arc<RowConverter>,
    table: StateTable,
    len: usize,
    /// State keys of the slots, one after another.
    key_bytes: Vec<u8>,
    /// Length of every key while it is the same; then where each ends.
    key_len: Option<usize>,
    key_ends: Vec<usize>,
    interned: Vec<usize>,
}

impl fmt::Debug for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Groups")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

impl Groups {
    /// No groups yet; `fields` are the grouping expressions.
    pub(crate) fn try_new(fields: &[FieldRef], table: StateTable) -> Result<Self> {
        let keys = RowConverter::new(
            fields
                .iter()
                .map(|field| SortField::new(field.data_type().clone()))
                .collect(),
        )?;
        let schema = Arc::new(Schema::new(fields.to_vec()));
        Self::of(schema, Arc::new(keys), table)
    }

    /// No groups yet, of the same kind as these.
    pub(crate) fn fresh(&self) -> Result<Self> {
        Self::of(
            Arc::clone(&self.schema),
            Arc::clone(&self.keys),
            self.table.clone(),
        )
    }

    fn of(schema: Arc<Schema>, keys: Arc<RowConverter>, table: StateTable) -> Result<Self> {
        Ok(Self {
            values: new_group_values(Arc::clone(&schema), &GroupOrdering::None)?,
            schema,
            keys,
            table,
            len: 0,
            key_bytes: Vec::new(),
            key_len: None,
            key_ends: Vec::new(),
            interned: Vec::new(),
        })
    }

    /// Number of groups in memory.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Puts the slot of each row's group into `slots`; returns the first row of each group that
    /// was not in memory, in slot order: their slots are the last ones. `window` goes into their
    /// state keys.
    pub(crate) fn intern(
        &mut self,
        columns: &[ArrayRef],
        window: Option<i64>,
        slots: &mut Vec<Slot>,
    ) -> Result<Vec<u32>> {
        let mut next = self.len();
        self.interned.clear();
        self.values.intern(columns, &mut self.interned)?;
        slots.clear();
        slots.extend(self.interned.iter().map(|slot| *slot as Slot));
        let mut first_rows = Vec::new();
        if self.values.len() > next {
            for (row, slot) in self.interned.iter().enumerate() {
                // Slots are given out in row order, so a new group's first row is where its slot
                // is the next one.
                if *slot == next {
                    first_rows.push(row as u32);
                    next += 1;
                }
            }
            self.add_keys(columns, window, &first_rows)?;
        }
        Ok(first_rows)
    }

    fn add_keys(&mut self, columns: &[ArrayRef], window: Option<i64>, rows: &[u32]) -> Result<()> {
        let indices = arrow::array::UInt32Array::from(rows.to_vec());
        let columns = columns
            .iter()
            .map(|column| {
                Ok(one_zero(arrow::compute::take(
                    column.as_ref(),
                    &indices,
                    None,
                )?))
            })
            .collect::<Result<Vec<_>>>()?;
        for key in self.keys.convert_columns(&columns)?.iter() {
            let begin = self.key_bytes.len();
            self.table
                .write_key(&mut self.key_bytes, key.data(), window);
            self.note_key(begin);
        }
        Ok(())
    }

    /// Notes a key that was added and begins there.
    fn note_key(&mut self, begin: usize) {
        let end = self.key_bytes.len();
        match self.key_len {
            _ if self.len == 0 => self.key_len = Some(end),
            Some(len) if len == end - begin => {}
            Some(len) => {
                self.key_len = None;
                self.key_ends.extend((1..=self.len).map(|slot| slot * len));
                self.key_ends.push(end);
            }
            None => self.key_ends.push(end),
        }
        self.len += 1;
    }

    /// The state key of a slot.
    pub(crate) fn key(&self, slot: Slot) -> &[u8] {
        let slot = slot as usize;
        if let Some(len) = self.key_len {
            return &self.key_bytes[slot * len..(slot + 1) * len];
        }
        let start = if slot == 0 {
            0
        } else {
            self.key_ends[slot - 1]
        };
        &self.key_bytes[start..self.key_ends[slot]]
    }

    /// The grouping columns of state keys, which have a window or not.
    pub(crate) fn key_columns<'a>(
        &self,
        keys: impl IntoIterator<Item = &'a [u8]>,
        windowed: bool,
    ) -> Result<Vec<ArrayRef>> {
        let parser = self.keys.parser();
        let rows = keys
            .into_iter()
            .map(|key| parser.parse(StateTable::row_of_key(key, windowed)));
        Ok(self.keys.convert_rows(rows)?)
    }

    /// Memory held, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.values.size()
            + self.key_bytes.capacity()
            + self.key_ends.capacity() * size_of::<usize>()
            + self.interned.capacity() * size_of::<usize>()
    }
}
