//! The groups of one window that are in memory, or of an aggregation without windows.
//!
//! A group enters when a row of it arrives, and is read from the state table unless it is known not
//! to be there; all groups of a pane leave together, right after a commit, when nothing is dirty:
//! when their window is over or memory runs out. The common case, a working set that fits, never
//! reads state.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BinaryArray, Int8Array, Int64Array, UInt32Array};
use arrow::compute::{interleave, take};
use arrow::datatypes::Int64Type;
use arrow::record_batch::RecordBatch;
use arrow::row::Rows;
use datafusion::common::Result;
use kappa_sql::column;

use super::distinct_values::DistinctValues;
use super::functions::{Accumulators, Arguments, Functions};
use super::{AggregateSpec, concat_chunks};
use crate::operator::accumulator::Slot;
use crate::operator::groups::Groups;
use crate::operator::{Memory, storage_error};
use crate::state::StateTable;

/// What belongs to a group besides its key and aggregates; together, as they are needed together.
#[derive(Clone, Copy, Debug)]
struct Group {
    /// Largest row time.
    rowtime: i64,
    /// The step that last touched it.
    touched: u32,
    /// Whether it has a row in the view: it was emitted or read from state.
    exists: bool,
    /// Whether it changed since the last commit.
    dirty: bool,
    /// Whether its last commit put it into the log.
    logged: bool,
}

/// The groups.
#[derive(Debug)]
pub(super) struct Pane {
    /// Start of the window, if there is one.
    pub(super) start: Option<i64>,
    groups: Groups,
    meta: Vec<Group>,
    states: Accumulators,
    table: StateTable,
    /// Whether every group that the state table has of this window is in memory.
    complete: bool,
    dirty: Vec<Slot>,
    /// How many groups are in the log.
    logged: usize,
    touched: Touched,
    slots: Vec<Slot>,
}

/// The groups touched in a step, in the order they were.
#[derive(Debug, Default)]
struct Touched {
    slots: Vec<Slot>,
    /// Their grouping columns, a chunk for each input batch.
    keys: Vec<Vec<ArrayRef>>,
    /// Which of them had a row before the step, and that row's aggregates.
    old_of: Vec<Option<u32>>,
    old: Vec<Vec<ArrayRef>>,
    old_count: u32,
}

/// Rows for a pane.
#[derive(Clone, Copy, Debug)]
pub(super) struct Input<'a> {
    /// Grouping columns and change kinds of the pane's rows.
    pub(super) keys: &'a [ArrayRef],
    pub(super) ops: Option<&'a Int8Array>,
    /// The pane's rows of the batch; `None` is all.
    pub(super) rows: Option<&'a UInt32Array>,
    /// Of the batch.
    pub(super) rowtimes: &'a [i64],
    pub(super) arguments: &'a Arguments,
    /// Number of the step.
    pub(super) step: u32,
}

impl Pane {
    /// A pane without groups; `complete` if the state table has none of it either.
    pub(super) fn try_new(
        start: Option<i64>,
        groups: Groups,
        functions: &Arc<Functions>,
        table: StateTable,
        complete: bool,
    ) -> Result<Self> {
        Ok(Self {
            start,
            groups,
            meta: Vec::new(),
            states: Accumulators::try_new(functions)?,
            table,
            complete,
            dirty: Vec::new(),
            logged: 0,
            touched: Touched::default(),
            slots: Vec::new(),
        })
    }

    /// Adds rows to their groups.
    pub(super) fn push(&mut self, spec: &AggregateSpec, input: Input<'_>) -> Result<()> {
        let mut slots = std::mem::take(&mut self.slots);
        self.intern(input.keys, &mut slots)?;
        self.touch(spec, &slots, input)?;
        let groups = (&self.groups, self.start.is_some());
        self.states
            .update(input.arguments, input.rows, &slots, input.ops, groups)?;
        self.slots = slots;
        Ok(())
    }

    /// Puts the slots of keys into `slots`, and brings groups that are new here into memory.
    fn intern(&mut self, keys: &[ArrayRef], slots: &mut Vec<Slot>) -> Result<()> {
        let before = self.groups.len();
        self.add_groups(keys, slots)?;
        let len = self.groups.len();
        if self.complete || len == before {
            return Ok(());
        }
        let wanted: Vec<Slot> = (before as Slot..len as Slot).collect();
        let keys: Vec<&[u8]> = wanted.iter().map(|slot| self.groups.key(*slot)).collect();
        let rows = self.table.multi_get(&keys).map_err(storage_error)?;
        let mut found_slots = Vec::new();
        let mut found = Vec::new();
        for (slot, row) in wanted.iter().zip(&rows) {
            if let Some(row) = row {
                found_slots.push(*slot);
                found.push(row.as_ref());
            }
        }
        if found_slots.is_empty() {
            return Ok(());
        }
        let rowtimes = self.states.decode(&found_slots, found)?;
        for (slot, rowtime) in found_slots.iter().zip(rowtimes.values()) {
            let group = &mut self.meta[*slot as usize];
            group.rowtime = *rowtime;
            group.exists = true;
        }
        Ok(())
    }

    /// Puts the slots of keys into `slots`; groups that are new here are empty ones.
    fn add_groups(&mut self, keys: &[ArrayRef], slots: &mut Vec<Slot>) -> Result<()> {
        if self.groups.intern(keys, self.start, slots)?.is_empty() {
            return Ok(());
        }
        let len = self.groups.len();
        self.states.resize(len);
        let group = Group {
            rowtime: i64::MIN,
            touched: 0,
            exists: false,
            dirty: false,
            logged: false,
        };
        self.meta.resize(len, group);
        Ok(())
    }

    /// Notes which groups the rows touch for the first time in this step, and their old rows.
    fn touch(&mut self, spec: &AggregateSpec, slots: &[Slot], input: Input<'_>) -> Result<()> {
        let mut first = Vec::new();
        let mut old = Vec::new();
        for (index, slot) in slots.iter().enumerate() {
            let row = match input.rows {
                None => index,
                Some(rows) => rows.value(index) as usize,
            };
            let group = &mut self.meta[*slot as usize];
            group.rowtime = group.rowtime.max(input.rowtimes[row]);
            if group.touched == input.step {
                continue;
            }
            group.touched = input.step;
            if !group.dirty {
                group.dirty = true;
                self.dirty.push(*slot);
            }
            first.push(index as u32);
            self.touched.slots.push(*slot);
            if spec.emit_old {
                let exists = group.exists;
                self.touched
                    .old_of
                    .push(exists.then_some(self.touched.old_count));
                if exists {
                    old.push(*slot);
                    self.touched.old_count += 1;
                }
            }
        }
        if !first.is_empty() && !spec.emit_final {
            let all = first.len() == slots.len();
            let indices = UInt32Array::from(first);
            let keys = input.keys.iter().map(|key| match all {
                true => Ok(Arc::clone(key)),
                false => Ok(take(key.as_ref(), &indices, None)?),
            });
            self.touched.keys.push(keys.collect::<Result<_>>()?);
        }
        if !old.is_empty() {
            self.touched.old.push(self.states.evaluate(&old)?);
        }
        Ok(())
    }

    /// The changes of the step, which ends with this.
    pub(super) fn emit_changes(
        &mut self,
        spec: &AggregateSpec,
        size_ms: i64,
    ) -> Result<RecordBatch> {
        let touched = std::mem::take(&mut self.touched);
        let batch = self.changes(spec, size_ms, &touched)?;
        for slot in &touched.slots {
            self.meta[*slot as usize].exists = true;
        }
        Ok(batch)
    }

    fn changes(
        &mut self,
        spec: &AggregateSpec,
        size_ms: i64,
        touched: &Touched,
    ) -> Result<RecordBatch> {
        let slots = &touched.slots;
        if slots.is_empty() {
            return Ok(RecordBatch::new_empty(Arc::clone(&spec.schema)));
        }
        let mut columns = concat_chunks(&touched.keys)?;
        columns.extend(self.states.evaluate(slots)?);
        let rowtimes = self.rowtimes(slots);
        if touched.old_count == 0 {
            let ops = Int8Array::from_value(column::INSERT, slots.len());
            return self.output(spec, size_ms, columns, rowtimes, ops);
        }
        // The old row of a group, where it has one, then its new row.
        let old = concat_chunks(&touched.old)?;
        let mut order = Vec::with_capacity(slots.len() + touched.old_count as usize);
        for (index, old) in touched.old_of.iter().enumerate() {
            if let Some(old) = old {
                order.push((index, Some(*old as usize)));
            }
            order.push((index, None));
        }
        let rows: UInt32Array = order.iter().map(|(row, _)| *row as u32).collect();
        let choice: Vec<(usize, usize)> = order
            .iter()
            .map(|(row, old)| old.map_or((0, *row), |old| (1, old)))
            .collect();
        let key_count = spec.group.len();
        let mut changes = Vec::with_capacity(columns.len());
        for (position, new) in columns.iter().enumerate() {
            changes.push(match position.checked_sub(key_count) {
                None => take(new.as_ref(), &rows, None)?,
                Some(function) => interleave(&[new.as_ref(), old[function].as_ref()], &choice)?,
            });
        }
        // What takes a row away has the time of what takes its place.
        let times = order.iter().map(|(row, _)| rowtimes.value(*row)).collect();
        let ops = order
            .iter()
            .map(|(_, old)| match old.is_some() {
                true => column::DELETE,
                false => column::INSERT,
            })
            .collect::<Vec<_>>();
        self.output(spec, size_ms, changes, times, ops.into())
    }

    /// The rows of groups by their state keys, as they are: a window's last word.
    pub(super) fn rows(
        &mut self,
        spec: &AggregateSpec,
        size_ms: i64,
        keys: &[Vec<u8>],
    ) -> Result<RecordBatch> {
        let mut columns = self
            .groups
            .key_columns(keys.iter().map(Vec::as_slice), self.start.is_some())?;
        let mut slots = Vec::new();
        self.intern(&columns, &mut slots)?;
        columns.extend(self.states.evaluate(&slots)?);
        let ops = Int8Array::from_value(column::INSERT, slots.len());
        self.output(spec, size_ms, columns, self.rowtimes(&slots), ops)
    }

    /// State keys of the groups that the step touched first; the step ends with this.
    pub(super) fn take_new_keys(&mut self) -> Vec<Vec<u8>> {
        let touched = std::mem::take(&mut self.touched);
        let mut keys = Vec::new();
        for slot in touched.slots {
            let group = &mut self.meta[slot as usize];
            if !group.exists {
                group.exists = true;
                keys.push(self.groups.key(slot).to_vec());
            }
        }
        keys
    }

    fn rowtimes(&self, slots: &[Slot]) -> Int64Array {
        Int64Array::from_iter_values(slots.iter().map(|slot| self.meta[*slot as usize].rowtime))
    }

    fn output(
        &self,
        spec: &AggregateSpec,
        size_ms: i64,
        mut columns: Vec<ArrayRef>,
        rowtimes: Int64Array,
        ops: Int8Array,
    ) -> Result<RecordBatch> {
        if let Some(start) = self.start {
            let end = start.saturating_add(size_ms);
            columns.push(Arc::new(Int64Array::from_value(start, rowtimes.len())));
            columns.push(Arc::new(Int64Array::from_value(end, rowtimes.len())));
        }
        columns.push(Arc::new(rowtimes));
        columns.push(Arc::new(ops));
        Ok(RecordBatch::try_new(Arc::clone(&spec.schema), columns)?)
    }

    /// Number of groups.
    pub(super) fn len(&self) -> usize {
        self.groups.len()
    }

    /// The groups that changed since the last commit.
    pub(super) fn changed(&self) -> &[Slot] {
        &self.dirty
    }

    /// Number of the groups that changed since the last commit, or are in the log.
    pub(super) fn changed_or_logged(&self) -> usize {
        let changed = self.dirty.iter();
        let only_changed = changed.filter(|slot| !self.meta[**slot as usize].logged);
        self.logged + only_changed.count()
    }

    /// The groups that changed since the last commit, for a commit that writes them.
    pub(super) fn take_changed(&mut self) -> Vec<Slot> {
        let dirty = std::mem::take(&mut self.dirty);
        for slot in &dirty {
            self.meta[*slot as usize].dirty = false;
        }
        dirty
    }

    /// The groups that changed since the last commit or are in the log, for a commit that writes
    /// them.
    pub(super) fn take_changed_or_logged(&mut self) -> Vec<Slot> {
        self.dirty.clear();
        let groups = self.meta.iter_mut().enumerate();
        groups
            .filter(|(_, group)| group.dirty || group.logged)
            .map(|(slot, group)| {
                group.dirty = false;
                slot as Slot
            })
            .collect()
    }

    /// The commit leaves none of the groups in the log.
    pub(super) fn forget_logged(&mut self) {
        if self.logged > 0 {
            self.logged = 0;
            self.meta.iter_mut().for_each(|group| group.logged = false);
        }
    }

    /// Groups as a batch for the log, which has them from now on.
    pub(super) fn log(&mut self, slots: &[Slot]) -> Result<RecordBatch> {
        for slot in slots {
            let group = &mut self.meta[*slot as usize];
            self.logged += usize::from(!group.logged);
            group.logged = true;
        }
        let keys = BinaryArray::from_iter_values(slots.iter().map(|slot| self.groups.key(*slot)));
        let mut columns: Vec<ArrayRef> = vec![Arc::new(keys), Arc::new(self.rowtimes(slots))];
        columns.extend(self.states.state(slots)?);
        Ok(RecordBatch::try_new(self.states.log_schema(), columns)?)
    }

    /// Takes groups over from a batch of the log, as they are there.
    pub(super) fn load(&mut self, batch: &RecordBatch) -> Result<()> {
        let keys = batch.column(0).as_binary::<i32>();
        let columns = self
            .groups
            .key_columns(keys.iter().flatten(), self.start.is_some())?;
        let mut slots = std::mem::take(&mut self.slots);
        self.add_groups(&columns, &mut slots)?;
        self.states.clear(&slots);
        self.states.load(&slots, &batch.columns()[2..])?;
        let rowtimes = batch.column(1).as_primitive::<Int64Type>();
        for (slot, rowtime) in slots.iter().zip(rowtimes.values()) {
            let group = &mut self.meta[*slot as usize];
            group.rowtime = *rowtime;
            group.exists = true;
            self.logged += usize::from(!group.logged);
            group.logged = true;
        }
        self.slots = slots;
        Ok(())
    }

    /// The values of COUNT(DISTINCT …), the groups that they are of, and whether these have windows.
    pub(super) fn distinct_values(
        &mut self,
    ) -> impl Iterator<Item = (&mut DistinctValues, &Groups, bool)> {
        let (groups, windowed) = (&self.groups, self.start.is_some());
        let values = self.states.distinct_values();
        values.map(move |values| (values, groups, windowed))
    }

    /// The state key of a group.
    pub(super) fn key(&self, slot: Slot) -> &[u8] {
        self.groups.key(slot)
    }

    /// The state of groups, as rows of the state table.
    pub(super) fn encode(&mut self, slots: &[Slot]) -> Result<Rows> {
        let rowtimes = self.rowtimes(slots);
        self.states.encode(slots, rowtimes)
    }

    /// Memory held.
    pub(super) fn memory(&self) -> Memory {
        let own = self.groups.size()
            + self.meta.capacity() * size_of::<Group>()
            + (self.dirty.capacity() + self.slots.capacity()) * size_of::<Slot>()
            + self.touched.slots.capacity() * 3 * size_of::<Slot>();
        Memory::of_rows(own) + self.states.memory()
    }
}
