//! GROUP BY over a stream or over a table's changes, without windows or in tumbling and hopping
//! ones. (Sessions and sliding windows have their own files.)
//!
//! ```text
//! state table: [table][vnode][group columns][window start, if windowed] -> [row time, states …]
//! final index: [table][0][window start][state key]                      -> []      (EMIT FINAL)
//! ```

pub(crate) mod functions;
mod session;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int8Array, Int64Array, UInt32Array};
use arrow::compute::{concat, interleave, take};
use arrow::datatypes::{Int8Type, Int64Type, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::LoweredAggregate;
use kappa_sql::column;
use kappa_storage::store::Commit;

pub(crate) use session::SessionAggregate;

use self::functions::{Functions, rows_with_keys};
use super::accumulator::Slot;
use super::groups::Groups;
use super::windows::{Assigned, Hopping, Late};
use super::{Operator, storage_error};
use crate::state::{Marks, StateTable};

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
            .map(|expr| expr.evaluate(batch)?.into_array(batch.num_rows()))
            .collect()
    }

    /// The rows' times.
    pub(super) fn rowtimes(&self, batch: &RecordBatch) -> Result<Int64Array> {
        let array = self.rowtime.evaluate(batch)?.into_array(batch.num_rows())?;
        Ok(array.as_primitive::<Int64Type>().clone())
    }

    /// The rows' change kinds.
    pub(super) fn ops(&self, batch: &RecordBatch) -> Result<Option<Int8Array>> {
        let Some(op) = &self.op else { return Ok(None) };
        let array = op.evaluate(batch)?.into_array(batch.num_rows())?;
        Ok(Some(array.as_primitive::<Int8Type>().clone()))
    }
}

/// Rows emitted for groups, collected in the order the groups were touched.
#[derive(Debug, Default)]
struct Touched {
    slots: Vec<Slot>,
    windows: Vec<i64>,
    /// Grouping columns of the touched groups, a chunk for each input batch.
    keys: Vec<Vec<ArrayRef>>,
    /// Which touched groups had a row before the step, and that row's aggregates.
    old_of: Vec<Option<u32>>,
    old: Vec<Vec<ArrayRef>>,
    old_count: u32,
}

/// The operator.
#[derive(Debug)]
pub(crate) struct GroupAggregate {
    spec: AggregateSpec,
    window: Option<Hopping>,
    table: StateTable,
    final_index: Option<StateTable>,
    groups: Groups,
    functions: Functions,
    /// Largest row time seen.
    stream_time: i64,
    /// Largest window start in the state table: later windows need not be looked up.
    stored_window_max: i64,
    late: Late,
    /// Windows whose rows are still to be emitted (EMIT FINAL): start and state key.
    pending: BTreeSet<(i64, Vec<u8>)>,
    new_pending: Vec<(i64, Vec<u8>)>,
    finished: Vec<(i64, Vec<u8>)>,
    /// Groups in memory by window start, to see how many are over.
    windows_in_memory: BTreeMap<i64, usize>,
    step: u32,
    touched_at: Vec<u32>,
    touched: Touched,
}

impl GroupAggregate {
    fn marks(&self) -> Marks {
        Marks::new(self.stream_time, self.stored_window_max, self.spec.open_ms)
    }

    /// The operator with what the last commit left.
    pub(crate) fn try_new(
        spec: AggregateSpec,
        window: Option<Hopping>,
        table: StateTable,
        final_index: Option<StateTable>,
        input: &arrow::datatypes::Schema,
    ) -> Result<Self> {
        let fields = spec
            .group
            .iter()
            .map(|expr| expr.return_field(input))
            .collect::<Result<Vec<_>>>()?;
        let groups = Groups::try_new(&fields, window.is_some(), table.clone())?;
        let functions = Functions::try_new(&spec.aggregates, spec.op.is_some())?;
        let marks = table.marks().map_err(storage_error)?;
        let mut pending = BTreeSet::new();
        if let Some(index) = &final_index {
            for (start, key) in index.scan_windows().map_err(storage_error)? {
                pending.insert((start, key));
            }
        }
        Ok(Self {
            spec,
            window,
            table,
            final_index,
            groups,
            functions,
            stream_time: marks.stream_time,
            stored_window_max: marks.window_max,
            late: Late::new(),
            pending,
            new_pending: Vec::new(),
            finished: Vec::new(),
            windows_in_memory: BTreeMap::new(),
            step: 1,
            touched_at: Vec::new(),
            touched: Touched::default(),
        })
    }

    /// Gives the groups of the last `first_rows.len()` slots what the state table has of them.
    fn load(&mut self, windows: Option<&[i64]>, first_rows: &[u32]) -> Result<()> {
        let len = self.groups.len();
        self.functions.resize(len);
        self.touched_at.resize(len, 0);
        let first = len - first_rows.len();
        let mut wanted: Vec<Slot> = Vec::new();
        for (index, row) in first_rows.iter().enumerate() {
            let slot = (first + index) as Slot;
            if let Some(windows) = windows {
                let start = windows[*row as usize];
                *self.windows_in_memory.entry(start).or_default() += 1;
                if start > self.stored_window_max {
                    continue;
                }
            }
            wanted.push(slot);
        }
        if wanted.is_empty() || self.table.is_new() {
            return Ok(());
        }
        let keys: Vec<&[u8]> = wanted.iter().map(|slot| self.groups.key(*slot)).collect();
        let rows = self.table.multi_get(&keys).map_err(storage_error)?;
        let mut slots = Vec::new();
        let mut found = Vec::new();
        for (slot, row) in wanted.iter().zip(&rows) {
            if let Some(row) = row {
                slots.push(*slot);
                found.push(row.as_ref());
            }
        }
        if slots.is_empty() {
            return Ok(());
        }
        let rowtimes = self.functions.decode(&slots, found)?;
        for (slot, rowtime) in slots.iter().zip(rowtimes.values()) {
            self.groups.rowtimes[*slot as usize] = *rowtime;
            self.groups.exists[*slot as usize] = true;
        }
        Ok(())
    }

    /// Notes which groups the batch touches for the first time in this step, and their old rows.
    fn touch(
        &mut self,
        slots: &[Slot],
        rows: &[u32],
        windows: Option<&[i64]>,
        keys: &[ArrayRef],
    ) -> Result<()> {
        let mut first = Vec::new();
        let mut old = Vec::new();
        for (index, slot) in slots.iter().enumerate() {
            let at = &mut self.touched_at[*slot as usize];
            if *at == self.step {
                continue;
            }
            *at = self.step;
            first.push(rows[index]);
            self.touched.slots.push(*slot);
            if let Some(windows) = windows {
                self.touched.windows.push(windows[index]);
            }
            if self.spec.emit_old {
                let exists = self.groups.exists[*slot as usize];
                self.touched
                    .old_of
                    .push(exists.then_some(self.touched.old_count));
                if exists {
                    old.push(*slot);
                    self.touched.old_count += 1;
                }
            }
        }
        if !first.is_empty() && !self.spec.emit_final {
            let indices = UInt32Array::from(first);
            let keys = keys
                .iter()
                .map(|key| Ok(take(key.as_ref(), &indices, None)?))
                .collect::<Result<Vec<_>>>()?;
            self.touched.keys.push(keys);
        }
        if !old.is_empty() {
            self.touched.old.push(self.functions.evaluate(&old)?);
        }
        Ok(())
    }

    fn emit_changes(&mut self, touched: Touched) -> Result<RecordBatch> {
        let Touched {
            slots,
            windows,
            keys,
            old_of,
            old,
            old_count,
        } = touched;
        if slots.is_empty() {
            return Ok(RecordBatch::new_empty(Arc::clone(&self.spec.schema)));
        }
        let mut columns = concat_chunks(&keys)?;
        columns.extend(self.functions.evaluate(&slots)?);
        let rowtimes: Vec<i64> = slots
            .iter()
            .map(|slot| self.groups.rowtimes[*slot as usize])
            .collect();
        if old_count == 0 {
            return self.output(
                columns,
                &windows,
                rowtimes,
                vec![column::INSERT; slots.len()],
            );
        }
        // The old row of a group, where it has one, then its new row.
        let old = concat_chunks(&old)?;
        let mut order = Vec::with_capacity(slots.len() + old_count as usize);
        for (index, old) in old_of.iter().enumerate() {
            if let Some(old) = old {
                order.push((index, Some(*old as usize)));
            }
            order.push((index, None));
        }
        let key_count = self.spec.group.len();
        let mut changes = Vec::with_capacity(columns.len());
        for (position, new) in columns.iter().enumerate() {
            changes.push(match position.checked_sub(key_count) {
                None => {
                    let rows: UInt32Array = order.iter().map(|(row, _)| *row as u32).collect();
                    take(new.as_ref(), &rows, None)?
                }
                Some(function) => {
                    let choice: Vec<(usize, usize)> = order
                        .iter()
                        .map(|(row, old)| old.map_or((0, *row), |old| (1, old)))
                        .collect();
                    interleave(&[new.as_ref(), old[function].as_ref()], &choice)?
                }
            });
        }
        let pick = |values: &[i64]| -> Vec<i64> {
            order
                .iter()
                .filter_map(|(row, _)| values.get(*row).copied())
                .collect()
        };
        // What takes a row away has the time of what takes its place.
        let times = order.iter().map(|(row, _)| rowtimes[*row]).collect();
        let ops = order
            .iter()
            .map(|(_, old)| {
                if old.is_some() {
                    column::DELETE
                } else {
                    column::INSERT
                }
            })
            .collect();
        self.output(changes, &pick(&windows), times, ops)
    }

    /// Emits the rows of the windows that are over, by window and key.
    fn emit_final(&mut self) -> Result<RecordBatch> {
        let Some(window) = self.window else {
            return datafusion::common::internal_err!("EMIT FINAL without a window");
        };
        let close = self
            .stream_time
            .saturating_sub(window.grace_ms)
            .saturating_sub(window.size_ms);
        let mut over = Vec::new();
        while let Some((start, _)) = self.pending.first() {
            if *start > close {
                break;
            }
            over.extend(self.pending.pop_first());
        }
        if over.is_empty() {
            return Ok(RecordBatch::new_empty(Arc::clone(&self.spec.schema)));
        }
        let keys = self
            .groups
            .key_columns(over.iter().map(|(_, key)| key.as_slice()))?;
        let windows: Vec<i64> = over.iter().map(|(start, _)| *start).collect();
        let mut slots = Vec::new();
        let starts = Int64Array::from(windows.clone());
        let new = self.groups.intern(&keys, Some(&starts), &mut slots)?;
        self.load(Some(&windows), &new)?;
        let mut columns = keys;
        columns.extend(self.functions.evaluate(&slots)?);
        let rowtimes = slots
            .iter()
            .map(|slot| self.groups.rowtimes[*slot as usize])
            .collect();
        let batch = self.output(
            columns,
            &windows,
            rowtimes,
            vec![column::INSERT; slots.len()],
        )?;
        self.finished.extend(over);
        Ok(batch)
    }

    fn output(
        &self,
        mut columns: Vec<ArrayRef>,
        windows: &[i64],
        rowtimes: Vec<i64>,
        ops: Vec<i8>,
    ) -> Result<RecordBatch> {
        if let Some(window) = &self.window {
            let ends = windows
                .iter()
                .map(|start| start.saturating_add(window.size_ms));
            columns.push(Arc::new(Int64Array::from(windows.to_vec())));
            columns.push(Arc::new(Int64Array::from_iter_values(ends)));
        }
        columns.push(Arc::new(Int64Array::from(rowtimes)));
        columns.push(Arc::new(Int8Array::from(ops)));
        Ok(RecordBatch::try_new(
            Arc::clone(&self.spec.schema),
            columns,
        )?)
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
        let mut keys = self.spec.keys(batch)?;
        let rowtimes = self.spec.rowtimes(batch)?;
        let mut ops = self.spec.ops(batch)?;
        let kept = rows_with_keys(&keys, batch.num_rows());
        let assigned = match &self.window {
            Some(window) => window.assign(
                rowtimes.values(),
                kept.as_deref(),
                &mut self.stream_time,
                &mut self.late,
            ),
            None => {
                for time in rowtimes.values() {
                    self.stream_time = self.stream_time.max(*time);
                }
                let identity = kept.is_none();
                let rows = kept.unwrap_or_else(|| (0..batch.num_rows() as u32).collect());
                Assigned {
                    rows,
                    starts: Vec::new(),
                    identity,
                }
            }
        };
        if assigned.rows.is_empty() {
            return Ok(());
        }
        let rows = (!assigned.identity).then(|| UInt32Array::from(assigned.rows.clone()));
        if let Some(rows) = &rows {
            for key in &mut keys {
                *key = take(key.as_ref(), rows, None)?;
            }
            if let Some(all) = &ops {
                ops = Some(take(all, rows, None)?.as_primitive::<Int8Type>().clone());
            }
        }
        let starts = self.window.map(|_| Int64Array::from(assigned.starts));
        let windows = starts.as_ref().map(|starts| starts.values().as_ref());
        let mut slots = Vec::new();
        let new = self.groups.intern(&keys, starts.as_ref(), &mut slots)?;
        if !new.is_empty() {
            self.load(windows, &new)?;
        }
        let positions: Vec<u32> = (0..slots.len() as u32).collect();
        self.touch(&slots, &positions, windows, &keys)?;
        self.functions
            .update(batch, rows.as_ref(), &slots, ops.as_ref())?;
        let times = rowtimes.values();
        for (index, slot) in slots.iter().enumerate() {
            let time = times[assigned.rows[index] as usize];
            let largest = &mut self.groups.rowtimes[*slot as usize];
            *largest = time.max(*largest);
            self.groups.mark_dirty(*slot);
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<Vec<RecordBatch>> {
        let touched = std::mem::take(&mut self.touched);
        self.step = self.step.wrapping_add(1).max(1);
        if self.spec.emit_final {
            for (index, slot) in touched.slots.iter().enumerate() {
                if !self.groups.exists[*slot as usize] {
                    self.groups.exists[*slot as usize] = true;
                    let entry = (touched.windows[index], self.groups.key(*slot).to_vec());
                    self.new_pending.push(entry.clone());
                    self.pending.insert(entry);
                }
            }
            return Ok(vec![self.emit_final()?]);
        }
        let slots = touched.slots.clone();
        let batch = self.emit_changes(touched)?;
        for slot in slots {
            self.groups.exists[slot as usize] = true;
        }
        Ok(vec![batch])
    }

    fn flush(&mut self, commit: &mut Commit) -> Result<()> {
        let dirty = self.groups.take_dirty();
        let rowtimes: Int64Array = dirty
            .iter()
            .map(|slot| self.groups.rowtimes[*slot as usize])
            .collect();
        let rows = self.functions.encode(&dirty, rowtimes)?;
        for (slot, row) in dirty.iter().zip(rows.iter()) {
            commit.put_state(self.groups.key(*slot), row.data());
        }
        if let Some(last) = self.windows_in_memory.keys().next_back() {
            self.stored_window_max = self.stored_window_max.max(*last);
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
        let over = self.window.map_or(0, |window| {
            let close = self
                .stream_time
                .saturating_sub(window.grace_ms)
                .saturating_sub(window.size_ms);
            self.windows_in_memory
                .range(..=close)
                .map(|(_, groups)| *groups)
                .sum::<usize>()
        });
        self.table.expire(self.marks().horizon);
        if self.size() > memory_max || (over > 1024 && over * 2 > self.groups.len()) {
            self.groups.clear()?;
            self.functions = Functions::try_new(&self.spec.aggregates, self.spec.op.is_some())?;
            self.touched_at.clear();
            self.windows_in_memory.clear();
        }
        Ok(())
    }

    fn size(&self) -> usize {
        self.groups.size() + self.functions.size() + self.touched_at.capacity() * size_of::<u32>()
    }

    fn take_late(&mut self) -> Late {
        std::mem::take(&mut self.late)
    }
}
