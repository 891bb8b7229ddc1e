//! A table's upserts made into changes: the old row as a delete, then the new one.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int8Array};
use arrow::datatypes::{Int8Type, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use datafusion::physical_expr::PhysicalExpr;
use kappa_sql::column;
use kappa_storage::store::Commit;

use super::accumulator::Slot;
use super::keyed_rows::KeyedRows;
use super::slot_rows::{Place, SlotRows};
use super::{Memory, Operator};

/// The operator. Output has the columns of the input; the change kind is ours.
#[derive(Debug)]
pub(crate) struct Changelog {
    key: Vec<Arc<dyn PhysicalExpr>>,
    op: Arc<dyn PhysicalExpr>,
    /// Index of the change kind in the schema.
    op_index: usize,
    schema: SchemaRef,
    rows: KeyedRows,
    /// Slots touched in this step in order, each with the row it had before, and whether a slot is
    /// among them.
    touched: Vec<(Slot, Place)>,
    is_touched: Vec<bool>,
    slots: Vec<Slot>,
}

impl Changelog {
    /// The operator with what the last commit left.
    pub(crate) fn new(
        key: Vec<Arc<dyn PhysicalExpr>>,
        op: Arc<dyn PhysicalExpr>,
        op_index: usize,
        schema: SchemaRef,
        rows: KeyedRows,
    ) -> Self {
        Self {
            key,
            op,
            op_index,
            schema,
            rows,
            touched: Vec::new(),
            is_touched: Vec::new(),
            slots: Vec::new(),
        }
    }

    /// Columns that a row of the state table has: all but the change kind.
    pub(crate) fn stored_columns(schema: &SchemaRef, op_index: usize) -> Vec<usize> {
        (0..schema.fields().len())
            .filter(|index| *index != op_index)
            .collect()
    }
}

impl Operator for Changelog {
    fn push(&mut self, _input: usize, batch: &RecordBatch) -> Result<()> {
        let columns = self
            .key
            .iter()
            .map(|expr| expr.evaluate(batch)?.into_array(batch.num_rows()))
            .collect::<Result<Vec<_>>>()?;
        let ops = self.op.evaluate(batch)?.into_array(batch.num_rows())?;
        let ops = ops.as_primitive::<Int8Type>();
        let stored: Vec<ArrayRef> = Self::stored_columns(&self.schema, self.op_index)
            .into_iter()
            .map(|index| Arc::clone(batch.column(index)))
            .collect();
        self.rows.slots(&columns, &mut self.slots)?;
        self.rows.load(&self.slots)?;
        self.is_touched.resize(self.rows.slot_count(), false);
        let first = self.rows.add(stored, &self.slots)?;
        for (index, slot) in self.slots.iter().enumerate() {
            // A table's record without a key says nothing about any row.
            if *slot == SlotRows::NO_SLOT {
                continue;
            }
            let is_touched = &mut self.is_touched[*slot as usize];
            if !*is_touched {
                *is_touched = true;
                self.touched.push((*slot, self.rows.get(*slot)));
            }
            let row = match ops.value(index) == column::INSERT {
                true => SlotRows::nth(first, index),
                false => Place::NONE,
            };
            self.rows.put(*slot, row);
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<Vec<RecordBatch>> {
        let mut rows = Vec::new();
        let mut ops = Vec::new();
        for (slot, old) in self.touched.drain(..) {
            self.is_touched[slot as usize] = false;
            let new = self.rows.get(slot);
            if old.is_row() {
                rows.push(old);
                ops.push(column::DELETE);
            }
            if new.is_row() {
                rows.push(new);
                ops.push(column::INSERT);
            }
        }
        let mut columns = self.rows.columns(&rows)?;
        self.rows.finish()?;
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        columns.insert(self.op_index, Arc::new(Int8Array::from(ops)));
        Ok(vec![RecordBatch::try_new(
            Arc::clone(&self.schema),
            columns,
        )?])
    }

    fn flush(&mut self, commit: &mut Commit, _memory_max: usize) -> Result<()> {
        self.rows.flush(commit)
    }

    fn committed(&mut self, memory_max: usize) -> Result<()> {
        self.rows.committed(memory_max)
    }

    fn memory(&self) -> Memory {
        let touched = self.is_touched.capacity()
            + self.touched.capacity() * size_of::<(Slot, Place)>()
            + self.slots.capacity() * size_of::<Slot>();
        Memory::of_rows(self.rows.size() + touched)
    }
}
