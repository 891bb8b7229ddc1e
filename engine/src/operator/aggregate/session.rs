//! GROUP BY in session windows: runs of rows of a key with no silence longer than the gap. A row
//! can extend a session and join two into one; the sessions that are gone are emitted as deletes
//! before the one that took them in.
//!
//! ```text
//! state table: [table][vnode][group columns][session end] -> [session start, states …]
//! ```
//!
//! The end is in the key, not the start, because expiry goes by the key's time: a session that
//! began long ago is kept as long as rows reach it.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int8Array, Int64Array, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::Int8Type;
use arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use kappa_sql::column;
use kappa_storage::store::Commit;

use super::functions::{Accumulators, Functions, rows_with_keys};
use super::{AggregateSpec, concat_chunks};
use crate::key_order::sort_by_key;
use crate::operator::accumulator::Slot;
use crate::operator::groups::Groups;
use crate::operator::windows::Late;
use crate::operator::{Memory, Operator, storage_error};
use crate::state::{Marks, StateTable};

/// A session in memory; bounds inclusive, in milliseconds.
#[derive(Clone, Debug)]
struct Session {
    start: i64,
    end: i64,
    slot: Slot,
    /// End under which the state table has it.
    stored: Option<i64>,
    /// Whether it changed since the last commit.
    dirty: bool,
    /// Whether it changed in this step; its entry in `Step::touched` then.
    touched: Option<usize>,
    /// Bounds as last emitted, if it was.
    emitted: Option<(i64, i64)>,
}

/// A row that was emitted before this step and is replaced in it.
#[derive(Debug)]
struct Old {
    start: i64,
    end: i64,
    /// Row of `Step::old`.
    row: usize,
}

/// What a step did to one session.
#[derive(Debug)]
struct Touch {
    key: Slot,
    olds: Vec<Old>,
    /// Start of the session now; `None` once another took it in.
    alive: bool,
    slot: Slot,
    start: i64,
    end: i64,
}

#[derive(Debug, Default)]
struct Step {
    touched: Vec<Touch>,
    old: Vec<Vec<ArrayRef>>,
    old_rows: usize,
}

/// The operator.
#[derive(Debug)]
pub(crate) struct SessionAggregate {
    spec: AggregateSpec,
    gap_ms: i64,
    grace_ms: i64,
    table: StateTable,
    keys: Groups,
    functions: Arc<Functions>,
    states: Accumulators,
    /// Sessions of each key in memory, by its slot, that can still change.
    sessions: Vec<Vec<Session>>,
    slots: u32,
    free: Vec<Slot>,
    stream_time: i64,
    end_max: i64,
    /// Whether the state table has no session that can still change and is not in memory.
    complete: bool,
    /// Keys with dirty sessions; one may stand here twice.
    dirty: Vec<Slot>,
    /// Slots of sessions whose old rows are to be kept before the rows of this batch are added.
    olds: Vec<Slot>,
    late: Late,
    step: Step,
    /// State keys to delete at the next commit.
    removed: Vec<Vec<u8>>,
}

impl SessionAggregate {
    fn marks(&self) -> Marks {
        Marks::new(self.stream_time, self.end_max, self.spec.open_ms)
    }

    /// The operator with what the last commit left.
    pub(crate) fn try_new(
        spec: AggregateSpec,
        gap_ms: i64,
        grace_ms: i64,
        table: StateTable,
        input: &arrow::datatypes::Schema,
    ) -> Result<Self> {
        let fields = spec
            .group
            .iter()
            .map(|expr| expr.return_field(input))
            .collect::<Result<Vec<_>>>()?;
        let keys = Groups::try_new(&fields, table.clone())?;
        let functions = Arc::new(Functions::try_new(
            &spec.aggregates,
            spec.op.is_some(),
            None,
        )?);
        let states = Accumulators::try_new(&functions)?;
        let marks = table.marks().map_err(storage_error)?;
        let mut operator = Self {
            spec,
            gap_ms,
            grace_ms,
            complete: table.is_new(),
            table,
            keys,
            functions,
            states,
            sessions: Vec::new(),
            slots: 0,
            free: Vec::new(),
            stream_time: marks.stream_time,
            end_max: marks.window_max,
            dirty: Vec::new(),
            olds: Vec::new(),
            late: Late::new(),
            step: Step::default(),
            removed: Vec::new(),
        };
        if operator.spec.emit_final {
            operator.load_all()?;
        }
        Ok(operator)
    }

    /// The largest session end that can take no more rows.
    fn close(&self) -> i64 {
        self.stream_time
            .saturating_sub(self.grace_ms)
            .saturating_sub(self.gap_ms)
    }

    fn new_slot(&mut self) -> Slot {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots += 1;
            self.slots - 1
        });
        self.states.resize(self.slots as usize);
        slot
    }

    /// EMIT FINAL keeps every open session in memory, to find those that are over.
    fn load_all(&mut self) -> Result<()> {
        let rows = self.table.scan_all().map_err(storage_error)?;
        for (key, row) in rows {
            let (prefix, end) = self.table.split_window(&key).map_err(storage_error)?;
            let columns = self.keys.key_columns([prefix.as_slice()], false)?;
            let mut slots = Vec::new();
            self.keys.intern(&columns, None, &mut slots)?;
            self.sessions.resize(self.keys.len(), Vec::new());
            self.add_stored(slots[0], end, &row, i64::MIN)?;
        }
        Ok(())
    }

    fn add_stored(&mut self, key: Slot, end: i64, row: &[u8], close: i64) -> Result<()> {
        if end < close {
            // Over: it stays in state and view as it is.
            return Ok(());
        }
        let slot = self.new_slot();
        let start = self.states.decode(&[slot], [row])?.value(0);
        self.sessions[key as usize].push(Session {
            start,
            end,
            slot,
            stored: Some(end),
            dirty: false,
            touched: None,
            emitted: Some((start, end)),
        });
        Ok(())
    }

    fn load(&mut self, new: std::ops::Range<Slot>) -> Result<()> {
        if self.complete {
            return Ok(());
        }
        let close = self.close();
        for key in new {
            let rows = self
                .table
                .scan_key(self.keys.key(key))
                .map_err(storage_error)?;
            for (end, row) in rows {
                self.add_stored(key, end, &row, close)?;
            }
        }
        Ok(())
    }

    /// Notes that a session is about to change: its old row is kept if it was emitted before.
    fn touch(&mut self, key: Slot, session: &mut Session) -> usize {
        if !session.dirty {
            session.dirty = true;
            self.dirty.push(key);
        }
        if let Some(index) = session.touched {
            return index;
        }
        let mut olds = Vec::new();
        if let Some((start, end)) = session.emitted {
            self.olds.push(session.slot);
            olds.push(Old {
                start,
                end,
                row: self.step.old_rows,
            });
            self.step.old_rows += 1;
        }
        let index = self.step.touched.len();
        self.step.touched.push(Touch {
            key,
            olds,
            alive: true,
            slot: session.slot,
            start: session.start,
            end: session.end,
        });
        session.touched = Some(index);
        index
    }

    /// Puts one row into its session; `None` when it comes too late.
    fn assign(&mut self, key: Slot, time: i64, merges: &mut Vec<(Slot, Slot)>) -> Option<Slot> {
        let mut sessions = std::mem::take(&mut self.sessions[key as usize]);
        let slot = self.assign_to(&mut sessions, key, time, merges);
        self.sessions[key as usize] = sessions;
        slot
    }

    fn assign_to(
        &mut self,
        sessions: &mut Vec<Session>,
        key: Slot,
        time: i64,
        merges: &mut Vec<(Slot, Slot)>,
    ) -> Option<Slot> {
        let close = self.close();
        let (from, to) = (
            time.saturating_sub(self.gap_ms),
            time.saturating_add(self.gap_ms),
        );
        // Mostly a key has one session, and the row extends it.
        if let [session] = sessions.as_mut_slice()
            && session.end >= close
            && session.start <= to
            && session.end >= from
        {
            let index = self.touch(key, session);
            self.extend(key, session, index, time, time);
            return Some(session.slot);
        }
        let mut overlapping: Vec<usize> = sessions
            .iter()
            .enumerate()
            // A session that is over takes no more rows, not even by way of one that is not.
            .filter(|(_, session)| session.end >= close)
            .filter(|(_, session)| session.start <= to && session.end >= from)
            .map(|(index, _)| index)
            .collect();
        overlapping.sort_by_key(|index| sessions[*index].start);
        let start = overlapping
            .iter()
            .map(|i| sessions[*i].start)
            .fold(time, i64::min);
        let end = overlapping
            .iter()
            .map(|i| sessions[*i].end)
            .fold(time, i64::max);
        if end < close {
            *self.late.entry(time).or_default() += 1;
            return None;
        }
        let slot = match overlapping.split_first() {
            None => {
                let slot = self.new_slot();
                let mut session = Session {
                    start,
                    end,
                    slot,
                    stored: None,
                    dirty: false,
                    touched: None,
                    emitted: None,
                };
                self.touch(key, &mut session);
                sessions.push(session);
                slot
            }
            Some((first, others)) => {
                let into = self.touch(key, &mut sessions[*first]);
                let slot = sessions[*first].slot;
                for other in others {
                    let from = self.touch(key, &mut sessions[*other]);
                    merges.push((sessions[*other].slot, slot));
                    let olds = std::mem::take(&mut self.step.touched[from].olds);
                    self.step.touched[from].alive = false;
                    self.step.touched[into].olds.extend(olds);
                    if let Some(stored) = sessions[*other].stored {
                        self.removed
                            .push(StateTable::with_window(self.keys.key(key), stored));
                    }
                }
                self.extend(key, &mut sessions[*first], into, start, end);
                let mut gone = others.to_vec();
                gone.sort_unstable();
                for index in gone.into_iter().rev() {
                    sessions.remove(index);
                }
                slot
            }
        };
        self.end_max = self.end_max.max(end);
        Some(slot)
    }

    /// Makes a touched session reach from `start` to `end`, if it does not already.
    fn extend(&mut self, key: Slot, session: &mut Session, touch: usize, start: i64, end: i64) {
        let (start, end) = (session.start.min(start), session.end.max(end));
        if session.end != end
            && let Some(stored) = session.stored.take()
        {
            self.removed
                .push(StateTable::with_window(self.keys.key(key), stored));
        }
        (session.start, session.end) = (start, end);
        self.end_max = self.end_max.max(end);
        let touch = &mut self.step.touched[touch];
        (touch.start, touch.end) = (start, end);
    }

    /// Builds output rows: `rows` says for each where its aggregates come from.
    fn output(&self, rows: Vec<OutputRow>, values: Vec<ArrayRef>) -> Result<RecordBatch> {
        let mut columns = self
            .keys
            .key_columns(rows.iter().map(|row| self.keys.key(row.key)), false)?;
        columns.extend(values);
        columns.push(Arc::new(
            rows.iter().map(|row| row.start).collect::<Int64Array>(),
        ));
        let ends: ArrayRef = Arc::new(rows.iter().map(|row| row.end).collect::<Int64Array>());
        columns.push(Arc::clone(&ends));
        columns.push(ends);
        columns.push(Arc::new(
            rows.iter().map(|row| row.op).collect::<Int8Array>(),
        ));
        Ok(RecordBatch::try_new(
            Arc::clone(&self.spec.schema),
            columns,
        )?)
    }

    fn emit_changes(&mut self, step: Step) -> Result<RecordBatch> {
        let new_slots: Vec<Slot> = step
            .touched
            .iter()
            .filter(|touch| touch.alive)
            .map(|touch| touch.slot)
            .collect();
        let new = self.states.evaluate(&new_slots)?;
        let old = concat_chunks(&step.old)?;
        let mut rows = Vec::new();
        let mut choice = Vec::new();
        let mut next_new = 0;
        for touch in step.touched.iter().filter(|touch| touch.alive) {
            for Old { start, end, row } in &touch.olds {
                // A session that kept its bounds is replaced by its new row, not deleted.
                let same = (*start, *end) == (touch.start, touch.end);
                if same && !self.spec.emit_old {
                    continue;
                }
                rows.push(OutputRow {
                    key: touch.key,
                    start: *start,
                    end: *end,
                    op: column::DELETE,
                });
                choice.push((1, *row));
            }
            rows.push(OutputRow {
                key: touch.key,
                start: touch.start,
                end: touch.end,
                op: column::INSERT,
            });
            choice.push((0, next_new));
            next_new += 1;
        }
        let values = new
            .iter()
            .enumerate()
            .map(|(index, new)| match old.get(index) {
                Some(old) => Ok(arrow::compute::interleave(
                    &[new.as_ref(), old.as_ref()],
                    &choice,
                )?),
                None => Ok(Arc::clone(new)),
            })
            .collect::<Result<Vec<_>>>()?;
        self.output(rows, values)
    }

    /// Emits the sessions that are over, by end and key, and forgets them.
    fn emit_final(&mut self) -> Result<RecordBatch> {
        let close = self.close();
        let mut over = Vec::new();
        for (key, sessions) in self.sessions.iter_mut().enumerate() {
            sessions.retain(|session| {
                let open = session.end >= close;
                if !open {
                    over.push((key as Slot, session.clone()));
                }
                open
            });
        }
        over.sort_by(|(a_key, a), (b_key, b)| {
            (a.end, self.keys.key(*a_key)).cmp(&(b.end, self.keys.key(*b_key)))
        });
        let slots: Vec<Slot> = over.iter().map(|(_, session)| session.slot).collect();
        let values = self.states.evaluate(&slots)?;
        let rows = over
            .iter()
            .map(|(key, session)| OutputRow {
                key: *key,
                start: session.start,
                end: session.end,
                op: column::INSERT,
            })
            .collect();
        let batch = self.output(rows, values)?;
        for (key, session) in &over {
            if let Some(stored) = session.stored {
                self.removed
                    .push(StateTable::with_window(self.keys.key(*key), stored));
            }
        }
        self.states.clear(&slots);
        self.free.extend(slots);
        Ok(batch)
    }
}

/// A session to be written: where its state key lies, its slot and its start.
#[derive(Clone, Copy, Debug)]
struct Dirty {
    key: (usize, usize),
    slot: Slot,
    start: i64,
}

/// Bounds and change kind of an output row.
#[derive(Debug)]
struct OutputRow {
    key: Slot,
    start: i64,
    end: i64,
    op: i8,
}

impl Operator for SessionAggregate {
    fn push(&mut self, _input: usize, batch: &RecordBatch) -> Result<()> {
        let mut columns = self.spec.keys(batch)?;
        let rowtimes = self.spec.rowtimes(batch)?;
        let kept = rows_with_keys(&columns, batch.num_rows());
        let rows: Vec<u32> = kept.unwrap_or_else(|| (0..batch.num_rows() as u32).collect());
        let indices = UInt32Array::from(rows.clone());
        for column in &mut columns {
            *column = take(column.as_ref(), &indices, None)?;
        }
        let mut keys = Vec::new();
        let before = self.keys.len() as Slot;
        self.keys.intern(&columns, None, &mut keys)?;
        self.sessions.resize(self.keys.len(), Vec::new());
        self.load(before..self.keys.len() as Slot)?;
        let mut merges = Vec::new();
        let mut taken = Vec::with_capacity(rows.len());
        let mut slots = Vec::with_capacity(rows.len());
        for (row, key) in rows.iter().zip(&keys) {
            let time = rowtimes.value(*row as usize);
            self.stream_time = self.stream_time.max(time);
            if let Some(slot) = self.assign(*key, time, &mut merges) {
                taken.push(*row);
                slots.push(slot);
            }
        }
        if !self.olds.is_empty() {
            self.step.old.push(self.states.evaluate(&self.olds)?);
            self.olds.clear();
        }
        // Rows were put into sessions that others took in later: follow the merges, which name
        // each slot at most once as the one taken in.
        let merged: HashMap<Slot, Slot> = merges.iter().copied().collect();
        for slot in &mut slots {
            while let Some(into) = merged.get(slot) {
                *slot = *into;
            }
        }
        for (from, into) in merges {
            let mut target = into;
            while let Some(next) = merged.get(&target) {
                target = *next;
            }
            self.states.absorb(from, target)?;
            self.free.push(from);
        }
        let ops = match self.spec.ops(batch)? {
            None => None,
            Some(ops) => {
                let indices = UInt32Array::from(taken.clone());
                Some(
                    take(&ops, &indices, None)?
                        .as_primitive::<Int8Type>()
                        .clone(),
                )
            }
        };
        let taken = UInt32Array::from(taken);
        let arguments = self.functions.arguments(batch)?;
        let groups = (&self.keys, false);
        self.states
            .update(&arguments, Some(&taken), &slots, ops.as_ref(), groups)
    }

    fn finish(&mut self) -> Result<Vec<RecordBatch>> {
        let step = std::mem::take(&mut self.step);
        let touched: Vec<Slot> = step.touched.iter().map(|touch| touch.key).collect();
        let batch = if self.spec.emit_final {
            self.emit_final()?
        } else {
            self.emit_changes(step)?
        };
        for key in touched {
            for session in &mut self.sessions[key as usize] {
                if session.touched.take().is_some() {
                    session.emitted = Some((session.start, session.end));
                }
            }
        }
        Ok(vec![batch])
    }

    fn flush(&mut self, commit: &mut Commit, _memory_max: usize) -> Result<()> {
        for key in self.removed.drain(..) {
            commit.delete_state(&key);
        }
        let mut bytes = Vec::new();
        let mut dirty = Vec::new();
        for key in self.dirty.drain(..) {
            let sessions = self.sessions[key as usize].iter_mut();
            for session in sessions.filter(|session| session.dirty) {
                let begin = bytes.len();
                StateTable::push_with_window(&mut bytes, self.keys.key(key), session.end);
                dirty.push(Dirty {
                    key: (begin, bytes.len()),
                    slot: session.slot,
                    start: session.start,
                });
                session.dirty = false;
                session.stored = Some(session.end);
            }
        }
        let key = |dirty: Dirty| &bytes[dirty.key.0..dirty.key.1];
        sort_by_key(&mut dirty, key, |_| 0);
        let slots: Vec<Slot> = dirty.iter().map(|dirty| dirty.slot).collect();
        let starts = Int64Array::from_iter_values(dirty.iter().map(|dirty| dirty.start));
        let rows = self.states.encode(&slots, starts)?;
        for (dirty, row) in dirty.iter().zip(rows.iter()) {
            commit.put_state(key(*dirty), row.data());
        }
        self.table.write_marks(commit, self.marks());
        Ok(())
    }

    fn committed(&mut self, memory_max: usize) -> Result<()> {
        self.table.set_written();
        self.table.expire(self.marks().horizon);
        if self.spec.emit_final {
            return Ok(());
        }
        let close = self.close();
        let all: usize = self.sessions.iter().map(Vec::len).sum();
        let over = self
            .sessions
            .iter()
            .flatten()
            .filter(|session| session.end < close)
            .count();
        if self.memory().footprint > memory_max || (over > 1024 && over * 2 > all) {
            self.complete = false;
            self.keys = self.keys.fresh()?;
            self.sessions.clear();
            self.states = Accumulators::try_new(&self.functions)?;
            self.slots = 0;
            self.free.clear();
        }
        Ok(())
    }

    /// Sessions that are over take no more rows; their keys stay.
    fn release(&mut self) -> Result<()> {
        if self.spec.emit_final {
            return Ok(());
        }
        let close = self.close();
        let mut over = Vec::new();
        for sessions in &mut self.sessions {
            sessions.retain(|session| {
                let open = session.end >= close;
                if !open {
                    over.push(session.slot);
                }
                open
            });
        }
        self.states.clear(&over);
        self.free.extend(over);
        // Only push queries call this here: what is left of a persistent query's commits is none.
        self.dirty.clear();
        self.removed.clear();
        Ok(())
    }

    fn memory(&self) -> Memory {
        let sessions = self.slots as usize * (size_of::<Session>() + 2 * size_of::<Slot>());
        Memory::of_rows(self.keys.size() + sessions) + self.states.memory()
    }

    fn take_late(&mut self) -> Late {
        std::mem::take(&mut self.late)
    }
}
