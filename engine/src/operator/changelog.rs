//! A table's upserts made into changes: the old row as a delete, then the new one.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int8Array};
use arrow::datatypes::{Int8Type, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use datafusion::physical_expr::PhysicalExpr;
use kappa_sql::column;
use kappa_storage::store::Commit;

use super::Operator;
use super::keyed_rows::{KeyedRows, Row};

/// The operator. Output has the columns of the input; the change kind is ours.
#[derive(Debug)]
pub(crate) struct Changelog {
    key: Vec<Arc<dyn PhysicalExpr>>,
    op: Arc<dyn PhysicalExpr>,
    /// Index of the change kind in the schema.
    op_index: usize,
    schema: SchemaRef,
    rows: KeyedRows,
    /// Keys touched in this step in order, each with the row it had before.
    touched: Vec<(Box<[u8]>, Row)>,
    seen: HashMap<Box<[u8]>, usize>,
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
            seen: HashMap::new(),
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
        let keys = self.rows.encode_keys(&columns)?;
        let rows = self.rows.encode_rows(&stored)?;
        self.rows
            .load((0..keys.len()).filter_map(|row| keys.get(row)))?;
        for (index, row) in rows.into_iter().enumerate() {
            // A table's record without a key says nothing about any row.
            let Some(key) = keys.get(index) else { continue };
            if !self.seen.contains_key(key) {
                self.seen.insert(Box::from(key), self.touched.len());
                self.touched.push((Box::from(key), self.rows.get(key)));
            }
            let row = (ops.value(index) == column::INSERT).then_some(row);
            self.rows.put(key, row);
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<Vec<RecordBatch>> {
        self.seen.clear();
        let mut rows = Vec::new();
        let mut ops = Vec::new();
        for (key, old) in self.touched.drain(..) {
            let new = self.rows.get(&key);
            if let Some(old) = old {
                rows.push(old);
                ops.push(column::DELETE);
            }
            if let Some(new) = new {
                rows.push(new);
                ops.push(column::INSERT);
            }
        }
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let mut columns = self.rows.decode_rows(rows.iter().map(|row| row.as_ref()))?;
        columns.insert(self.op_index, Arc::new(Int8Array::from(ops)));
        Ok(vec![RecordBatch::try_new(
            Arc::clone(&self.schema),
            columns,
        )?])
    }

    fn flush(&mut self, commit: &mut Commit) -> Result<()> {
        self.rows.flush(commit);
        Ok(())
    }

    fn committed(&mut self, memory_max: usize) -> Result<()> {
        self.rows.committed(memory_max);
        Ok(())
    }

    fn size(&self) -> usize {
        self.rows.size()
    }
}
