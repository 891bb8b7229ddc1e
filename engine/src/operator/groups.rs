//! The groups of an aggregation that are in memory: key → slot, and what belongs to each slot
//! besides the aggregates.
//!
//! A group enters when a row of it arrives and is then read from the state table once; all groups
//! leave together when memory runs out or most windows are over, right after a commit, when nothing
//! is dirty. The common case, a working set that fits, never reads state twice.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array};
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use arrow::row::{RowConverter, SortField};
use datafusion::common::Result;
use datafusion::physical_plan::aggregates::group_values::{GroupValues, new_group_values};
use datafusion::physical_plan::aggregates::order::GroupOrdering;

use super::accumulator::Slot;
use crate::key_order::sort_by_key;
use crate::state::StateTable;

/// Groups in memory, by slot.
pub(crate) struct Groups {
    values: Box<dyn GroupValues>,
    schema: Arc<Schema>,
    windowed: bool,
    keys: RowConverter,
    table: StateTable,
    /// State keys of the slots, one after another.
    key_bytes: Vec<u8>,
    key_ends: Vec<usize>,
    /// Largest row time of the group.
    pub(crate) rowtimes: Vec<i64>,
    /// Whether the group has a row in the view: it was emitted or read from state.
    pub(crate) exists: Vec<bool>,
    dirty: Vec<Slot>,
    is_dirty: Vec<bool>,
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
    pub(crate) fn try_new(fields: &[FieldRef], windowed: bool, table: StateTable) -> Result<Self> {
        let mut all = fields.to_vec();
        if windowed {
            all.push(Arc::new(Field::new("window", DataType::Int64, false)));
        }
        let schema = Arc::new(Schema::new(all));
        let keys = RowConverter::new(
            fields
                .iter()
                .map(|field| SortField::new(field.data_type().clone()))
                .collect(),
        )?;
        Ok(Self {
            values: new_group_values(Arc::clone(&schema), &GroupOrdering::None)?,
            schema,
            windowed,
            keys,
            table,
            key_bytes: Vec::new(),
            key_ends: Vec::new(),
            rowtimes: Vec::new(),
            exists: Vec::new(),
            dirty: Vec::new(),
            is_dirty: Vec::new(),
            interned: Vec::new(),
        })
    }

    /// Number of groups in memory.
    pub(crate) fn len(&self) -> usize {
        self.key_ends.len()
    }

    /// Puts the slot of each row's group into `slots`; returns the first row of each group that
    /// was not in memory, in slot order: their slots are the last ones.
    pub(crate) fn intern(
        &mut self,
        columns: &[ArrayRef],
        windows: Option<&Int64Array>,
        slots: &mut Vec<Slot>,
    ) -> Result<Vec<u32>> {
        let before = self.len();
        let mut all = columns.to_vec();
        if let Some(windows) = windows {
            all.push(Arc::new(windows.clone()));
        }
        self.interned.clear();
        self.values.intern(&all, &mut self.interned)?;
        slots.clear();
        slots.reserve(self.interned.len());
        let mut first_rows = Vec::new();
        let mut next = before;
        for (row, slot) in self.interned.iter().enumerate() {
            // Slots are given out in row order, so a new group's first row is where its slot
            // is the next one.
            if *slot == next {
                first_rows.push(row as u32);
                next += 1;
            }
            slots.push(*slot as Slot);
        }
        if !first_rows.is_empty() {
            self.add_keys(columns, windows, &first_rows)?;
        }
        Ok(first_rows)
    }

    fn add_keys(
        &mut self,
        columns: &[ArrayRef],
        windows: Option<&Int64Array>,
        rows: &[u32],
    ) -> Result<()> {
        let indices = arrow::array::UInt32Array::from(rows.to_vec());
        let columns = columns
            .iter()
            .map(|column| Ok(arrow::compute::take(column.as_ref(), &indices, None)?))
            .collect::<Result<Vec<_>>>()?;
        let encoded = self.keys.convert_columns(&columns)?;
        for (row, key) in rows.iter().zip(encoded.iter()) {
            let window = windows.map(|windows| windows.value(*row as usize));
            self.table
                .write_key(&mut self.key_bytes, key.data(), window);
            self.key_ends.push(self.key_bytes.len());
        }
        let len = self.len();
        self.rowtimes.resize(len, i64::MIN);
        self.exists.resize(len, false);
        self.is_dirty.resize(len, false);
        Ok(())
    }

    /// The state key of a slot.
    pub(crate) fn key(&self, slot: Slot) -> &[u8] {
        let slot = slot as usize;
        let start = if slot == 0 {
            0
        } else {
            self.key_ends[slot - 1]
        };
        &self.key_bytes[start..self.key_ends[slot]]
    }

    /// The grouping columns of slots, from their keys.
    pub(crate) fn key_columns<'a>(
        &self,
        keys: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Vec<ArrayRef>> {
        let parser = self.keys.parser();
        let rows = keys
            .into_iter()
            .map(|key| parser.parse(StateTable::row_of_key(key, self.windowed)));
        Ok(self.keys.convert_rows(rows)?)
    }

    /// Marks a group as changed since the last commit.
    pub(crate) fn mark_dirty(&mut self, slot: Slot) {
        let flag = &mut self.is_dirty[slot as usize];
        if !*flag {
            *flag = true;
            self.dirty.push(slot);
        }
    }

    /// Takes the slots that changed since the last commit, sorted by state key: RocksDB writes a
    /// sorted batch three times faster.
    pub(crate) fn take_dirty(&mut self) -> Vec<Slot> {
        let mut dirty = std::mem::take(&mut self.dirty);
        for slot in &dirty {
            self.is_dirty[*slot as usize] = false;
        }
        sort_by_key(&mut dirty, |slot| self.key(slot), |_| 0);
        dirty
    }

    /// Forgets all groups; nothing may be dirty.
    pub(crate) fn clear(&mut self) -> Result<()> {
        debug_assert!(self.dirty.is_empty(), "a dirty group would be lost");
        self.values = new_group_values(Arc::clone(&self.schema), &GroupOrdering::None)?;
        self.key_bytes = Vec::new();
        self.key_ends = Vec::new();
        self.rowtimes = Vec::new();
        self.exists = Vec::new();
        self.is_dirty = Vec::new();
        Ok(())
    }

    /// Memory held, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.values.size()
            + self.key_bytes.capacity()
            + self.key_ends.capacity() * size_of::<usize>()
            + self.rowtimes.capacity() * size_of::<i64>()
            + self.dirty.capacity() * size_of::<Slot>()
            + 2 * self.exists.capacity()
            + self.interned.capacity() * size_of::<usize>()
    }
}
