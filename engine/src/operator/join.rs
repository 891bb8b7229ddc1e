//! A stream looked up in a table, each stream row as of its position in the step's merged input.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, UInt32Array, UInt64Array, new_null_array};
use arrow::compute::take;
use arrow::datatypes::{Int8Type, SchemaRef, UInt64Type};
use arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use datafusion::physical_expr::PhysicalExpr;
use kappa_sql::column;
use kappa_sql::node::StreamTableJoinType;
use kappa_storage::store::Commit;

use super::Operator;
use super::keyed_rows::{KeyedRows, Keys, Row};

/// Number of the table's input: it is read before the stream's.
pub(crate) const TABLE: usize = 0;

/// A change of the table in this step.
#[derive(Debug)]
struct Change {
    position: u64,
    key: Box<[u8]>,
    row: Row,
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
    /// Changes of this step that no stream row has passed yet, in order.
    changes: std::collections::VecDeque<Change>,
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
        Self {
            join_type,
            stream_key,
            stream_position,
            table_key,
            table_position,
            table_op,
            schema,
            rows,
            changes: Default::default(),
            output: Vec::new(),
        }
    }

    fn positions(expr: &Arc<dyn PhysicalExpr>, batch: &RecordBatch) -> Result<UInt64Array> {
        let array = expr.evaluate(batch)?.into_array(batch.num_rows())?;
        Ok(array.as_primitive::<UInt64Type>().clone())
    }

    fn keys(&self, exprs: &[Arc<dyn PhysicalExpr>], batch: &RecordBatch) -> Result<Keys> {
        let columns = exprs
            .iter()
            .map(|expr| expr.evaluate(batch)?.into_array(batch.num_rows()))
            .collect::<Result<Vec<_>>>()?;
        self.rows.encode_keys(&columns)
    }

    fn push_table(&mut self, batch: &RecordBatch) -> Result<()> {
        let keys = self.keys(&self.table_key, batch)?;
        let positions = Self::positions(&self.table_position, batch)?;
        let ops = self
            .table_op
            .evaluate(batch)?
            .into_array(batch.num_rows())?;
        let ops = ops.as_primitive::<Int8Type>();
        let rows = self.rows.encode_rows(batch.columns())?;
        for (index, row) in rows.into_iter().enumerate() {
            let Some(key) = keys.get(index) else { continue };
            self.changes.push_back(Change {
                position: positions.value(index),
                key: Box::from(key),
                row: (ops.value(index) == column::INSERT).then_some(row),
            });
        }
        Ok(())
    }

    fn apply_changes_before(&mut self, position: u64) {
        while let Some(change) = self.changes.front() {
            if change.position >= position {
                break;
            }
            if let Some(change) = self.changes.pop_front() {
                self.rows.put(&change.key, change.row);
            }
        }
    }

    fn push_stream(&mut self, batch: &RecordBatch) -> Result<()> {
        let keys = self.keys(&self.stream_key, batch)?;
        self.rows
            .load((0..keys.len()).filter_map(|row| keys.get(row)))?;
        let positions = match self.changes.is_empty() {
            true => None,
            false => Some(Self::positions(&self.stream_position, batch)?),
        };
        let mut stream_rows: Vec<u32> = Vec::with_capacity(keys.len());
        let mut table_rows: Vec<Row> = Vec::with_capacity(keys.len());
        for row in 0..keys.len() {
            if let Some(positions) = &positions {
                self.apply_changes_before(positions.value(row));
            }
            let found = keys.get(row).and_then(|key| self.rows.get(key));
            if found.is_some() || self.join_type == StreamTableJoinType::Left {
                stream_rows.push(row as u32);
                table_rows.push(found);
            }
        }
        if stream_rows.is_empty() {
            return Ok(());
        }
        let mut columns = if stream_rows.len() == batch.num_rows() {
            batch.columns().to_vec()
        } else {
            let rows = UInt32Array::from(stream_rows);
            batch
                .columns()
                .iter()
                .map(|column| Ok(take(column.as_ref(), &rows, None)?))
                .collect::<Result<Vec<_>>>()?
        };
        columns.extend(self.table_columns(&table_rows, columns.len())?);
        self.output
            .push(RecordBatch::try_new(Arc::clone(&self.schema), columns)?);
        Ok(())
    }

    /// The table's columns for rows found or not.
    fn table_columns(&self, rows: &[Row], from: usize) -> Result<Vec<ArrayRef>> {
        let found: Vec<&[u8]> = rows.iter().flatten().map(|row| row.as_ref()).collect();
        if found.is_empty() {
            let fields = &self.schema.fields()[from..];
            return Ok(fields
                .iter()
                .map(|f| new_null_array(f.data_type(), rows.len()))
                .collect());
        }
        let all = found.len() == rows.len();
        let decoded = self.rows.decode_rows(found)?;
        if all {
            return Ok(decoded);
        }
        let mut next = 0;
        let indices: UInt32Array = rows
            .iter()
            .map(|row| {
                row.is_some().then(|| {
                    next += 1;
                    next - 1
                })
            })
            .collect();
        decoded
            .iter()
            .map(|column| Ok(take(column.as_ref(), &indices as &dyn Array, None)?))
            .collect()
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
        Ok(std::mem::take(&mut self.output))
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
