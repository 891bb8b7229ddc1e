//! A stream looked up in a table, each stream row as of its position in the step's merged input.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int8Array, UInt32Array, UInt64Array};
use arrow::compute::take;
use arrow::datatypes::{Int8Type, SchemaRef, UInt64Type};
use arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use kappa_sql::column;
use kappa_sql::node::StreamTableJoinType;
use kappa_storage::store::Commit;

use super::accumulator::Slot;
use super::keyed_rows::KeyedRows;
use super::slot_rows::{Place, SlotRows};
use super::{Memory, Operator};

/// Number of the table's input: it is read before the stream's.
pub(crate) const TABLE: usize = 0;

/// A change of the table in this step: the row of a key from a position on.
#[derive(Clone, Copy, Debug)]
struct Change {
    position: u64,
    slot: Slot,
    row: Place,
}

/// Where a column of the table comes from in the output.
#[derive(Clone, Copy, Debug)]
enum From {
    /// The table's rows.
    Rows,
    /// The stream's key of that number, which is the same where a row was found.
    StreamKey(usize),
    /// Nowhere: what kind of change a row was in which place says nothing about the stream's row, and
    /// nobody reads it.
    Op,
    Seq,
}

/// The operator. Output: the stream's columns, then the table's.
#[derive(Debug)]
pub(crate) struct StreamTableJoin {
    pub(crate) join_type: StreamTableJoinType,
    pub(crate) stream_key: Vec<Arc<dyn PhysicalExpr>>,
    pub(crate) stream_position: Arc<dyn PhysicalExpr>,
    pub(crate) table_key: Vec<Arc<dyn PhysicalExpr>>,
    pub(crate) table_position: Arc<dyn PhysicalExpr>,
    pub(crate) table_op: Arc<dyn PhysicalExpr>,
    pub(crate) schema: SchemaRef,
    pub(crate) rows: KeyedRows,
    table_columns: Vec<From>,
    /// Changes of this step in order, and how many of them stream rows have passed.
    changes: Vec<Change>,
    applied: usize,
    slots: Vec<Slot>,
    output: Vec<RecordBatch>,
}

impl StreamTableJoin {
    /// The operator with what the last commit left.
    #[expect(clippy::too_many_arguments, reason = "each is a part of the operator")]
    pub(crate) fn new(
        join_type: StreamTableJoinType,
        stream_key: Vec<Arc<dyn PhysicalExpr>>,
        stream_position: Arc<dyn PhysicalExpr>,
        table_key: Vec<Arc<dyn PhysicalExpr>>,
        table_position: Arc<dyn PhysicalExpr>,
        table_op: Arc<dyn PhysicalExpr>,
        schema: SchemaRef,
        rows: KeyedRows,
    ) -> Self {
        let width = rows.width();
        let fields = &schema.fields()[schema.fields().len() - width..];
        let table_columns: Vec<From> = (0..width)
            .map(|index| {
                let field = &fields[index];
                // Zeros of either sign are one key, and not one value.
                let key = table_key.iter().position(|key| {
                    let column = key.downcast_ref::<Column>();
                    column.is_some_and(|column| column.index() == index)
                        && !field.data_type().is_floating()
                });
                match (field.name().as_str(), key) {
                    (column::OP, _) => From::Op,
                    (column::SEQ, _) => From::Seq,
                    (_, Some(key)) => From::StreamKey(key),
                    (_, None) => From::Rows,
                }
            })
            .collect();
        Self {
            table_columns,
            join_type,
            stream_key,
            stream_position,
            table_key,
            table_position,
            table_op,
            schema,
            rows,
            changes: Vec::new(),
            applied: 0,
            slots: Vec::new(),
            output: Vec::new(),
        }
    }

    fn positions(expr: &Arc<dyn PhysicalExpr>, batch: &RecordBatch) -> Result<UInt64Array> {
        let array = expr.evaluate(batch)?.into_array(batch.num_rows())?;
        Ok(array.as_primitive::<UInt64Type>().clone())
    }

    fn keys(exprs: &[Arc<dyn PhysicalExpr>], batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        exprs
            .iter()
            .map(|expr| expr.evaluate(batch)?.into_array(batch.num_rows()))
            .collect()
    }

    fn push_table(&mut self, batch: &RecordBatch) -> Result<()> {
        let keys = Self::keys(&self.table_key, batch)?;
        let positions = Self::positions(&self.table_position, batch)?;
        let ops = self
            .table_op
            .evaluate(batch)?
            .into_array(batch.num_rows())?;
        let ops = ops.as_primitive::<Int8Type>();
        self.rows.slots(&keys, &mut self.slots)?;
        let first = self.rows.add(batch.columns().to_vec(), &self.slots)?;
        for (index, slot) in self.slots.iter().enumerate() {
            if *slot == SlotRows::NO_SLOT {
                continue;
            }
            self.changes.push(Change {
                position: positions.value(index),
                slot: *slot,
                row: match ops.value(index) == column::INSERT {
                    true => SlotRows::nth(first, index),
                    false => Place::NONE,
                },
            });
        }
        Ok(())
    }

    fn apply_changes_before(&mut self, position: u64) {
        while let Some(change) = self.changes.get(self.applied)
            && change.position < position
        {
            self.rows.put(change.slot, change.row);
            self.applied += 1;
        }
    }

    fn push_stream(&mut self, batch: &RecordBatch) -> Result<()> {
        let keys = Self::keys(&self.stream_key, batch)?;
        let mut slots = std::mem::take(&mut self.slots);
        self.rows.slots(&keys, &mut slots)?;
        self.rows.load(&slots)?;
        // Where the table does not change under the rows, nobody asks when they came.
        let positions = match self.applied == self.changes.len() {
            true => None,
            false => Some(Self::positions(&self.stream_position, batch)?),
        };
        let mut stream_rows: Vec<u32> = Vec::with_capacity(slots.len());
        let mut table_rows: Vec<Place> = Vec::with_capacity(slots.len());
        for (row, slot) in slots.iter().enumerate() {
            if let Some(positions) = &positions {
                self.apply_changes_before(positions.value(row));
            }
            let found = self.rows.get(*slot);
            if found.is_row() || self.join_type == StreamTableJoinType::Left {
                stream_rows.push(row as u32);
                table_rows.push(found);
            }
        }
        self.slots = slots;
        if stream_rows.is_empty() {
            return Ok(());
        }
        let all = stream_rows.len() == batch.num_rows();
        let stream_rows = UInt32Array::from(stream_rows);
        let of_stream = |column: &ArrayRef| -> Result<ArrayRef> {
            match all {
                true => Ok(Arc::clone(column)),
                false => Ok(take(column.as_ref(), &stream_rows, None)?),
            }
        };
        let mut columns = batch
            .columns()
            .iter()
            .map(of_stream)
            .collect::<Result<Vec<_>>>()?;
        let found_all = table_rows.iter().all(|place| place.is_row());
        let gather = self.rows.gather(&table_rows);
        for (index, from) in self.table_columns.iter().enumerate() {
            columns.push(match from {
                From::StreamKey(key) if found_all => of_stream(&keys[*key])?,
                From::StreamKey(_) | From::Rows => gather.column(index)?,
                From::Op => Arc::new(Int8Array::from_value(column::INSERT, table_rows.len())),
                From::Seq => Arc::new(UInt64Array::from_value(0, table_rows.len())),
            });
        }
        self.output
            .push(RecordBatch::try_new(Arc::clone(&self.schema), columns)?);
        Ok(())
    }
}

impl Operator for StreamTableJoin {
    fn push(&mut self, input: usize, batch: &RecordBatch) -> Result<()> {
        match input {
            TABLE => self.push_table(batch),
            _ => self.push_stream(batch),
        }
    }

    fn finish(&mut self) -> Result<Vec<RecordBatch>> {
        self.apply_changes_before(u64::MAX);
        self.changes.clear();
        self.applied = 0;
        self.rows.finish()?;
        Ok(std::mem::take(&mut self.output))
    }

    fn flush(&mut self, commit: &mut Commit, _memory_max: usize) -> Result<()> {
        self.rows.flush(commit)
    }

    fn committed(&mut self, memory_max: usize) -> Result<()> {
        self.rows.committed(memory_max)
    }

    fn memory(&self) -> Memory {
        Memory::of_rows(self.rows.size() + self.changes.capacity() * size_of::<Change>())
    }
}

#[cfg(test)]
mod tests;
