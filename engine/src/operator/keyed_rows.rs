//! A table's rows by key inside an operator: those in memory over those in the state table.
//!
//! ```text
//! state table: [table][vnode][key columns] -> [row's columns]
//! ```
//!
//! In memory a key is a slot and the rows are columns ([`SlotRows`]); they are encoded when they are
//! written, and only then. What a query never forgot since its table was new is not looked up.

use std::fmt;

use arrow::array::{Array, ArrayRef, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, FieldRef};
use arrow::row::{RowConverter, SortField};
use datafusion::common::Result;
use kappa_storage::store::Commit;

use super::accumulator::Slot;
use super::groups::Groups;
use super::slot_rows::{Gather, Place, SlotRows};
use super::{ENCODED_ROWS, Memory, storage_error};
use crate::key_order::sort_by_key;
use crate::state::StateTable;

/// Rows by key, with the changes since the last commit.
pub(crate) struct KeyedRows {
    table: StateTable,
    keys: Groups,
    rows: SlotRows,
    encoding: RowConverter,
    /// Slots that changed since the last commit, and whether a slot is among them.
    dirty: Vec<Slot>,
    is_dirty: Vec<bool>,
    /// Whether the state table has nothing that is not in memory.
    complete: bool,
    /// Slots of the rows whose key has no NULL, while there are others.
    kept_slots: Vec<Slot>,
}

impl fmt::Debug for KeyedRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedRows")
            .field("in_memory", &self.keys.len())
            .finish_non_exhaustive()
    }
}

impl KeyedRows {
    /// The rows that the last commit left.
    pub(crate) fn try_new(table: StateTable, key: &[FieldRef], row: Vec<DataType>) -> Result<Self> {
        let fields = row.iter().cloned().map(SortField::new).collect();
        Ok(Self {
            keys: Groups::try_new(key, table.clone())?,
            rows: SlotRows::new(row),
            encoding: RowConverter::new(fields)?,
            dirty: Vec::new(),
            is_dirty: Vec::new(),
            complete: table.is_new(),
            kept_slots: Vec::new(),
            table,
        })
    }

    /// Puts the slots of a batch's keys into `slots`: [`SlotRows::NO_SLOT`] where a key column is
    /// NULL.
    pub(crate) fn slots(&mut self, columns: &[ArrayRef], slots: &mut Vec<Slot>) -> Result<()> {
        let nulls: Vec<_> = columns
            .iter()
            .filter_map(|column| column.logical_nulls())
            .filter(|nulls| nulls.null_count() > 0)
            .collect();
        if nulls.is_empty() {
            self.keys.intern(columns, None, slots)?;
        } else {
            let rows = columns.first().map_or(0, |column| column.len());
            let kept: UInt32Array = (0..rows as u32)
                .filter(|row| nulls.iter().all(|nulls| nulls.is_valid(*row as usize)))
                .collect::<Vec<_>>()
                .into();
            let columns = columns
                .iter()
                .map(|column| Ok(take(column.as_ref(), &kept, None)?))
                .collect::<Result<Vec<_>>>()?;
            self.keys.intern(&columns, None, &mut self.kept_slots)?;
            slots.clear();
            slots.resize(rows, SlotRows::NO_SLOT);
            for (row, slot) in kept.values().iter().zip(&self.kept_slots) {
                slots[*row as usize] = *slot;
            }
        }
        let place = match self.complete {
            true => Place::NONE,
            false => Place::UNKNOWN,
        };
        self.rows.resize(self.keys.len(), place);
        self.is_dirty.resize(self.keys.len(), false);
        Ok(())
    }

    /// Number of slots that there are.
    pub(crate) fn slot_count(&self) -> usize {
        self.keys.len()
    }

    /// Brings the rows of slots into memory, in one read.
    pub(crate) fn load(&mut self, slots: &[Slot]) -> Result<()> {
        if self.complete {
            return Ok(());
        }
        let mut missing: Vec<Slot> = slots
            .iter()
            .copied()
            .filter(|slot| self.rows.place(*slot) == Place::UNKNOWN)
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        sort_by_key(&mut missing, |slot| self.keys.key(slot), |_| 0);
        missing.dedup();
        let keys: Vec<&[u8]> = missing.iter().map(|slot| self.keys.key(*slot)).collect();
        let stored = self.table.multi_get(&keys).map_err(storage_error)?;
        let mut found = Vec::new();
        for (slot, row) in missing.iter().zip(&stored) {
            match row {
                Some(_) => found.push(*slot),
                None => self.rows.set(*slot, Place::NONE),
            }
        }
        if found.is_empty() {
            return Ok(());
        }
        let parser = self.encoding.parser();
        let rows = stored.iter().flatten().map(|row| parser.parse(row));
        let columns = self.encoding.convert_rows(rows)?;
        let first = self.rows.add(columns, found.clone())?;
        for (row, slot) in found.into_iter().enumerate() {
            self.rows.set(slot, SlotRows::nth(first, row));
        }
        Ok(())
    }

    /// Takes a batch of rows into memory, which are no key's row until they are put. Returns the
    /// place of the first; see [`SlotRows::nth`] for the others.
    pub(crate) fn add(&mut self, columns: Vec<ArrayRef>, slots: &[Slot]) -> Result<Place> {
        self.rows.add(columns, slots.to_vec())
    }

    /// Where the row of a slot is that was loaded or put.
    pub(crate) fn get(&self, slot: Slot) -> Place {
        self.rows.place(slot)
    }

    /// Sets or, with [`Place::NONE`], deletes the row of a slot.
    pub(crate) fn put(&mut self, slot: Slot, place: Place) {
        self.rows.set(slot, place);
        let is_dirty = &mut self.is_dirty[slot as usize];
        if !*is_dirty {
            *is_dirty = true;
            self.dirty.push(slot);
        }
    }

    /// Number of columns of a row.
    pub(crate) fn width(&self) -> usize {
        self.rows.width()
    }

    /// What gives single columns of rows, NULLs where there is none.
    pub(crate) fn gather(&self, places: &[Place]) -> Gather<'_> {
        self.rows.gather(places)
    }

    /// The columns of rows, NULLs where there is none.
    pub(crate) fn columns(&self, places: &[Place]) -> Result<Vec<ArrayRef>> {
        self.rows.columns(places)
    }

    /// The step is over: places that were noted in it are used no more.
    pub(crate) fn finish(&mut self) -> Result<()> {
        self.rows.tidy()
    }

    /// Writes what changed since the last commit.
    pub(crate) fn flush(&mut self, commit: &mut Commit) -> Result<()> {
        self.table.touch(commit);
        let mut dirty = std::mem::take(&mut self.dirty);
        // RocksDB writes a sorted batch three times faster.
        sort_by_key(&mut dirty, |slot| self.keys.key(slot), |_| 0);
        let mut places = Vec::new();
        for slots in dirty.chunks(ENCODED_ROWS) {
            places.clear();
            let all = slots.iter().map(|slot| self.rows.place(*slot));
            places.extend(all.filter(|place| place.is_row()));
            let columns = self.rows.columns(&places)?;
            let rows = self.encoding.convert_columns(&columns)?;
            let mut rows = rows.iter();
            for slot in slots {
                self.is_dirty[*slot as usize] = false;
                let key = self.keys.key(*slot);
                let has_row = self.rows.place(*slot).is_row();
                match has_row.then(|| rows.next()).flatten() {
                    Some(row) => commit.put_state(key, row.data()),
                    None => commit.delete_state(key),
                }
            }
        }
        dirty.clear();
        self.dirty = dirty;
        Ok(())
    }

    /// The commit is durable; forgets rows when they take more than `memory_max` bytes, writing them
    /// included.
    pub(crate) fn committed(&mut self, memory_max: usize) -> Result<()> {
        self.table.set_written();
        if Memory::of_rows(self.size()).footprint > memory_max {
            self.keys = self.keys.fresh()?;
            self.rows.clear();
            self.dirty = Vec::new();
            self.is_dirty = Vec::new();
            self.complete = false;
        }
        Ok(())
    }

    /// Memory held, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.keys.size()
            + self.rows.size()
            + self.is_dirty.capacity()
            + (self.dirty.capacity() + self.kept_slots.capacity()) * size_of::<Slot>()
    }
}
