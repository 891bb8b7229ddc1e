//! GROUP BY over a stream or over a table's changes, without windows or in tumbling and hopping
//! ones. (Sessions and sliding windows have their own files.)
//!
//! ```text
//! state table: [table][vnode][group columns][window start, if windowed] -> [row time, states …]
//! log:         rows of the state table of a commit in which most groups changed        (log.rs)
//! values:      [table][vnode][group columns][…][value] -> what has counted it (distinct_values.rs)
//! final index: [table][0][window start][state key]                      -> []      (EMIT FINAL)
//! ```

mod distinct_values;
pub(crate) mod functions;
mod log;
mod pane;
mod session;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int8Array, Int64Array, UInt32Array};
use arrow::compute::{concat, take};
use arrow::datatypes::{Int8Type, Int64Type, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::LoweredAggregate;
use kappa_storage::store::Commit;

pub(crate) use session::SessionAggregate;

use self::functions::{Functions, rows_with_keys};
use self::log::{Log, Way};
use self::pane::{Input, Pane};
use super::accumulator::Slot;
use super::groups::{Groups, one_zero};
use super::windows::{Hopping, Late};
use super::{ENCODED_ROWS, Memory, Operator, storage_error};
use crate::key_order::sort_by_key;
use crate::state::{Marks, StateTable};

/// Bytes of a row in a commit besides its key and value: what it is, and lengths.
const ROW_OVERHEAD: usize = 4;
/// Rows of a batch in the log.
const LOG_BATCH_ROWS: usize = 65_536;

/// What an aggregation is made of.
#[derive(Clone, Debug)]
pub(crate) struct AggregateSpec {
    /// The grouping expressions.
    pub(crate) group: Vec<Arc<dyn PhysicalExpr>>,
    /// The aggregate functions.
    pub(crate) aggregates: Vec<LoweredAggregate>,
    /// Row time of an input row.
    pub(crate) rowtime: Arc<dyn PhysicalExpr>,
    /// Change kind of an input row, where rows can be taken away.
    pub(crate) op: Option<Arc<dyn PhysicalExpr>>,
    /// Emit a changed group's old row, too.
    pub(crate) emit_old: bool,
    /// Emit a window's rows once, when it is over.
    pub(crate) emit_final: bool,
    /// How long a window may still change, in milliseconds from its start (a session: its end).
    pub(crate) open_ms: Option<i64>,
    /// Columns of the output: group, aggregates, window bounds, row time, change kind.
    pub(crate) schema: SchemaRef,
}

impl AggregateSpec {
    /// Evaluates the grouping expressions.
    pub(super) fn keys(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        self.group
            .iter()
            .map(|expr| {
                Ok(one_zero(
                    expr.evaluate(batch)?.into_array(batch.num_rows())?,
                ))
            })
            .collect()
    }

    /// The rows' times.
    pub(super) fn rowtimes(&self, batch: &RecordBatch) -> Result<Int64Array> {
        let array = self.rowtime.evaluate(batch)?.into_array(batch.num_rows())?;
        Ok(array.as_primitive::<Int64Type>().clone())
    }

    /// Whether there are values of COUNT(DISTINCT …) that a table can have.
    pub(crate) fn counts_distinct_values(&self) -> bool {
        let counted = |lowered| distinct_values::counted_value(lowered, self.op.is_some());
        self.aggregates
            .iter()
            .any(|lowered| counted(lowered).is_some())
    }

    /// The rows' change kinds.
    pub(super) fn ops(&self, batch: &RecordBatch) -> Result<Option<Int8Array>> {
        let Some(op) = &self.op else { return Ok(None) };
        let array = op.evaluate(batch)?.into_array(batch.num_rows())?;
        Ok(Some(array.as_primitive::<Int8Type>().clone()))
    }
}

/// Where an aggregation's state is.
#[derive(Debug)]
pub(crate) struct AggregateTables {
    /// The groups.
    pub(crate) groups: StateTable,
    /// With EMIT FINAL: the windows whose rows are still to be emitted.
    pub(crate) final_index: Option<StateTable>,
    /// The values of COUNT(DISTINCT …), where they are not part of the groups' state.
    pub(crate) values: Option<StateTable>,
}

/// The operator.
#[derive(Debug)]
pub(crate) struct GroupAggregate {
    spec: AggregateSpec,
    window: Option<Hopping>,
    table: StateTable,
    final_index: Option<StateTable>,
    values: Option<StateTable>,
    /// What panes are made of.
    groups: Groups,
    functions: Arc<Functions>,
    /// By start of the window; without windows there is one, at `i64::MIN`.
    panes: BTreeMap<i64, Pane>,
    /// Which of them the step has touched, and which have changed since the last commit.
    touched: BTreeSet<i64>,
    dirty: BTreeSet<i64>,
    /// Of all panes.
    memory: Memory,
    /// Largest row time seen.
    stream_time: i64,
    /// Largest window start in the state table: it has nothing of later windows.
    stored_window_max: i64,
    /// Whether the state table has nothing that was not in memory since the operator was opened.
    complete: bool,
    log: Log,
    late: Late,
    /// Windows whose rows are still to be emitted (EMIT FINAL): start and state key.
    pending: BTreeSet<(i64, Vec<u8>)>,
    new_pending: Vec<(i64, Vec<u8>)>,
    finished: Vec<(i64, Vec<u8>)>,
    step: u32,
}

impl GroupAggregate {
    fn marks(&self) -> Marks {
        Marks::new(self.stream_time, self.stored_window_max, self.spec.open_ms)
    }

    /// The operator with what the last commit left.
    pub(crate) fn try_new(
        spec: AggregateSpec,
        window: Option<Hopping>,
        tables: AggregateTables,
        input: &arrow::datatypes::Schema,
    ) -> Result<Self> {
        let AggregateTables {
            groups: table,
            final_index,
            values,
        } = tables;
        let fields = spec
            .group
            .iter()
            .map(|expr| expr.return_field(input))
            .collect::<Result<Vec<_>>>()?;
        let groups = Groups::try_new(&fields, table.clone())?;
        let functions = Arc::new(Functions::try_new(
            &spec.aggregates,
            spec.op.is_some(),
            values.as_ref(),
        )?);
        let marks = table.marks().map_err(storage_error)?;
        let mut pending = BTreeSet::new();
        if let Some(index) = &final_index {
            for (start, key) in index.scan_windows().map_err(storage_error)? {
                pending.insert((start, key));
            }
        }
        let mut operator = Self {
            spec,
            window,
            complete: table.is_new(),
            table,
            final_index,
            values,
            groups,
            functions,
            panes: BTreeMap::new(),
            touched: BTreeSet::new(),
            dirty: BTreeSet::new(),
            memory: Memory::default(),
            stream_time: marks.stream_time,
            stored_window_max: marks.window_max,
            log: Log::default(),
            late: Late::new(),
            pending,
            new_pending: Vec::new(),
            finished: Vec::new(),
            step: 1,
        };
        operator.load_log()?;
        Ok(operator)
    }

    /// Brings the groups into memory that the log has.
    fn load_log(&mut self) -> Result<()> {
        for file in self.table.log_files().map_err(storage_error)? {
            for batch in self.table.read_log(&file).map_err(storage_error)? {
                let batch = batch.map_err(storage_error)?;
                self.log.rows += batch.num_rows();
                self.load_batch(&batch)?;
            }
            self.log.files.push(file.number);
        }
        Ok(())
    }

    /// Brings groups of one window into memory, unless it is over.
    fn load_batch(&mut self, batch: &RecordBatch) -> Result<()> {
        let keys = batch.column(0).as_binary::<i32>();
        let Some(key) = keys.iter().flatten().next() else {
            return Ok(());
        };
        let start = match self.window {
            None => i64::MIN,
            Some(window) => {
                let (_, start) = self.table.split_window(key).map_err(storage_error)?;
                if window.is_over(start, self.stream_time) {
                    return Ok(());
                }
                start
            }
        };
        self.with_pane(start, |pane, _| pane.load(batch))
    }

    /// What the next commit does with the groups that changed.
    fn way(&self, memory_max: usize) -> Way {
        if !self.functions.has_fixed_state() {
            return Way::Rows;
        }
        let mut groups = log::Groups {
            all: 0,
            changed: 0,
            changed_or_logged: 0,
            row_bytes: 0,
            memory: self.memory.footprint,
        };
        for pane in self.panes.values() {
            let (len, changed) = (pane.len(), pane.changed());
            groups.all += len;
            groups.changed += changed.len();
            groups.changed_or_logged += pane.changed_or_logged();
            if len > 0 {
                groups.row_bytes = pane.key(0).len() + self.functions.state_bytes();
            }
        }
        self.log.way(groups, memory_max)
    }

    /// The panes with groups to write, and these: those that changed, or with `logged` those that
    /// the log has, too. They count as written.
    fn take_groups(&mut self, logged: bool) -> Vec<(&mut Pane, Vec<Slot>)> {
        let changed = std::mem::take(&mut self.dirty);
        let panes = self.panes.iter_mut();
        let panes = panes.filter(|(start, _)| logged || changed.contains(start));
        panes
            .map(|(_, pane)| {
                let slots = match logged {
                    true => pane.take_changed_or_logged(),
                    false => pane.take_changed(),
                };
                (pane, slots)
            })
            .collect()
    }

    /// Writes the values of COUNT(DISTINCT …) that changed.
    fn flush_values(&mut self, commit: &mut Commit) {
        if self.values.is_none() {
            return;
        }
        let mut changed = Vec::new();
        for (start, pane) in &mut self.panes {
            if self.dirty.contains(start) {
                self.memory = self.memory.without(pane.memory());
                changed.push(pane);
            }
        }
        let values = changed.iter_mut().flat_map(|pane| pane.distinct_values());
        distinct_values::write(values.collect(), commit);
        for pane in changed {
            self.memory = self.memory + pane.memory();
        }
    }

    /// Writes groups as a file of the log.
    fn flush_to_log(&mut self, commit: &mut Commit, logged: bool) -> Result<()> {
        let mut batches = Vec::new();
        let mut rows = 0;
        for (pane, slots) in self.take_groups(logged) {
            rows += slots.len();
            for slots in slots.chunks(LOG_BATCH_ROWS) {
                batches.push(pane.log(slots)?);
            }
        }
        if logged {
            self.clear_log(commit);
        }
        let Some(first) = batches.first() else {
            return Ok(());
        };
        let number = self.table.put_log(commit, first.schema(), batches);
        self.log.files.push(number);
        self.log.rows += rows;
        Ok(())
    }

    /// Removes the log's files.
    fn clear_log(&mut self, commit: &mut Commit) {
        self.log.rows = 0;
        for number in self.log.files.drain(..) {
            self.table.delete_log(commit, number);
        }
    }

    /// Writes groups as rows of the state table.
    fn flush_to_rows(&mut self, commit: &mut Commit, logged: bool) -> Result<()> {
        let state_bytes = self.functions.state_bytes();
        let groups = self.take_groups(logged);
        let mut dirty: Vec<(u32, Slot)> = Vec::new();
        let mut panes = Vec::with_capacity(groups.len());
        for (number, (pane, slots)) in groups.into_iter().enumerate() {
            dirty.extend(slots.into_iter().map(|slot| (number as u32, slot)));
            panes.push(pane);
        }
        if let Some((pane, slot)) = dirty.first() {
            let key_len = panes[*pane as usize].key(*slot).len();
            commit.reserve(dirty.len() * (key_len + state_bytes + ROW_OVERHEAD));
        }
        // RocksDB writes a sorted batch three times faster.
        let key = |(pane, slot): (u32, Slot)| panes[pane as usize].key(slot);
        sort_by_key(&mut dirty, key, |_| 0);
        let mut slots = vec![Vec::new(); panes.len()];
        for dirty in dirty.chunks(ENCODED_ROWS) {
            slots.iter_mut().for_each(Vec::clear);
            for (pane, slot) in dirty {
                slots[*pane as usize].push(*slot);
            }
            let rows = panes
                .iter_mut()
                .zip(&slots)
                .map(|(pane, slots)| pane.encode(slots))
                .collect::<Result<Vec<_>>>()?;
            let mut rows: Vec<_> = rows.iter().map(|rows| rows.iter()).collect();
            for (pane, slot) in dirty {
                // One was encoded for each.
                if let Some(row) = rows[*pane as usize].next() {
                    commit.put_state(panes[*pane as usize].key(*slot), row.data());
                }
            }
        }
        for pane in panes {
            pane.forget_logged();
        }
        if logged {
            self.clear_log(commit);
        }
        Ok(())
    }

    /// Does something to the pane of the window that starts at `start`.
    fn with_pane<T>(
        &mut self,
        start: i64,
        act: impl FnOnce(&mut Pane, &AggregateSpec) -> Result<T>,
    ) -> Result<T> {
        let pane = match self.panes.entry(start) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let later = self.window.is_some() && start > self.stored_window_max;
                let pane = Pane::try_new(
                    self.window.map(|_| start),
                    self.groups.fresh()?,
                    &self.functions,
                    self.table.clone(),
                    later || self.complete,
                )?;
                self.memory = self.memory + pane.memory();
                entry.insert(pane)
            }
        };
        let before = pane.memory();
        let done = act(pane, &self.spec);
        self.memory = self.memory.without(before) + pane.memory();
        done
    }

    /// Size of the windows.
    fn size_ms(&self) -> i64 {
        self.window.map_or(0, |window| window.size_ms)
    }

    /// Emits the rows of the windows that are over, by window and key.
    fn emit_final(&mut self) -> Result<Vec<RecordBatch>> {
        let Some(window) = self.window else {
            return datafusion::common::internal_err!("EMIT FINAL without a window");
        };
        let mut over: BTreeMap<i64, Vec<Vec<u8>>> = BTreeMap::new();
        while let Some((start, key)) = self.pending.pop_first() {
            if !window.is_over(start, self.stream_time) {
                self.pending.insert((start, key));
                break;
            }
            over.entry(start).or_default().push(key);
        }
        let mut batches = Vec::new();
        for (start, keys) in over {
            batches
                .push(self.with_pane(start, |pane, spec| pane.rows(spec, window.size_ms, &keys))?);
            self.finished
                .extend(keys.into_iter().map(|key| (start, key)));
        }
        Ok(batches)
    }
}

/// Columns put together from chunks of the same columns.
pub(crate) fn concat_chunks(chunks: &[Vec<ArrayRef>]) -> Result<Vec<ArrayRef>> {
    match chunks {
        [] => Ok(Vec::new()),
        [only] => Ok(only.clone()),
        [first, ..] => (0..first.len())
            .map(|column| {
                let arrays: Vec<&dyn Array> =
                    chunks.iter().map(|chunk| chunk[column].as_ref()).collect();
                Ok(concat(&arrays)?)
            })
            .collect(),
    }
}

impl Operator for GroupAggregate {
    fn push(&mut self, _input: usize, batch: &RecordBatch) -> Result<()> {
        let keys = self.spec.keys(batch)?;
        let rowtimes = self.spec.rowtimes(batch)?;
        let ops = self.spec.ops(batch)?;
        let kept = rows_with_keys(&keys, batch.num_rows());
        let assigned = match &self.window {
            Some(window) => window.assign(
                rowtimes.values(),
                kept.as_deref(),
                &mut self.stream_time,
                &mut self.late,
            ),
            None => {
                let times = rowtimes.values().iter();
                self.stream_time = times.fold(self.stream_time, |latest, time| latest.max(*time));
                vec![(i64::MIN, kept)]
            }
        };
        let arguments = self.functions.arguments(batch)?;
        for (start, rows) in assigned {
            if rows.as_ref().is_some_and(Vec::is_empty) {
                continue;
            }
            let rows = rows.map(UInt32Array::from);
            let (mut keys, mut ops) = (keys.clone(), ops.clone());
            if let Some(rows) = &rows {
                for key in &mut keys {
                    *key = take(key.as_ref(), rows, None)?;
                }
                if let Some(all) = &ops {
                    ops = Some(take(all, rows, None)?.as_primitive::<Int8Type>().clone());
                }
            }
            let input = Input {
                keys: &keys,
                ops: ops.as_ref(),
                rows: rows.as_ref(),
                rowtimes: rowtimes.values(),
                arguments: &arguments,
                step: self.step,
            };
            self.with_pane(start, |pane, spec| pane.push(spec, input))?;
            self.touched.insert(start);
            self.dirty.insert(start);
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<Vec<RecordBatch>> {
        self.step = self.step.wrapping_add(1).max(1);
        let touched = std::mem::take(&mut self.touched);
        if self.spec.emit_final {
            for start in touched {
                for key in self.with_pane(start, |pane, _| Ok(pane.take_new_keys()))? {
                    self.new_pending.push((start, key.clone()));
                    self.pending.insert((start, key));
                }
            }
            return self.emit_final();
        }
        let size_ms = self.size_ms();
        touched
            .into_iter()
            .map(|start| self.with_pane(start, |pane, spec| pane.emit_changes(spec, size_ms)))
            .collect()
    }

    fn flush(&mut self, commit: &mut Commit, memory_max: usize) -> Result<()> {
        if let (true, Some(last)) = (self.window.is_some(), self.dirty.last()) {
            self.stored_window_max = self.stored_window_max.max(*last);
        }
        self.flush_values(commit);
        match self.way(memory_max) {
            Way::Rows => self.flush_to_rows(commit, false)?,
            Way::Append => self.flush_to_log(commit, false)?,
            Way::Rewrite => self.flush_to_log(commit, true)?,
            Way::Fold => self.flush_to_rows(commit, true)?,
        }
        if let Some(index) = &self.final_index {
            for (start, key) in self.new_pending.drain(..) {
                commit.put_state(&index.window_key(start, &key), &[]);
            }
            for (start, key) in self.finished.drain(..) {
                commit.delete_state(&index.window_key(start, &key));
                commit.delete_state(&key);
            }
        }
        self.table.write_marks(commit, self.marks());
        Ok(())
    }

    fn committed(&mut self, memory_max: usize) -> Result<()> {
        self.table.set_written();
        let horizon = self.marks().horizon;
        self.table.expire(horizon);
        if let Some(values) = &self.values {
            values.expire(horizon);
        }
        self.release()?;
        // What the log has stays in memory; the next commit folds it.
        if self.memory.footprint > memory_max && self.log.files.is_empty() {
            self.log.outgrown = true;
            // The oldest windows first: they are the least likely to get more rows.
            self.complete = false;
            while self.memory.footprint > memory_max / 2
                && let Some((_, pane)) = self.panes.pop_first()
            {
                self.memory = self.memory.without(pane.memory());
            }
        }
        Ok(())
    }

    /// Windows that are over take no more rows, and what comes late does not look for them.
    fn release(&mut self) -> Result<()> {
        let Some(window) = self.window else {
            return Ok(());
        };
        while let Some(entry) = self.panes.first_entry()
            && window.is_over(*entry.key(), self.stream_time)
        {
            self.dirty.remove(entry.key());
            self.memory = self.memory.without(entry.remove().memory());
        }
        Ok(())
    }

    fn memory(&self) -> Memory {
        self.memory
    }

    fn take_late(&mut self) -> Late {
        std::mem::take(&mut self.late)
    }
}

#[cfg(test)]
mod tests;
