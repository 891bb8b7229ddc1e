//! The rows of a feed: a plan's columns with the window's bounds, the row's time and, for a table,
//! whether the row is gone.

use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Field, Int8Type, Schema, SchemaRef};
use kappa_sql::catalog::{KeyWindow, Kind, Role};
use kappa_sql::column;
use kappa_sql::planner::ContinuousPlan;

use crate::error::Result;

/// Column that says, of a table's changes, that the row of the key is gone.
pub(crate) const DELETED: &str = "ROWDELETED";

/// What a plan's rows become.
#[derive(Clone, Debug)]
pub(crate) struct RowShape {
    pub(crate) kind: Kind,
    pub(crate) schema: SchemaRef,
    /// Columns that tell a table's rows apart; none of a stream.
    pub(crate) keys: Vec<String>,
    /// Columns of the plan's result, in the schema's order.
    columns: Vec<usize>,
    op: usize,
}

impl RowShape {
    /// The shape of `plan`'s rows.
    pub(crate) fn of(plan: &ContinuousPlan) -> Self {
        let mut fields: Vec<Field> = plan
            .columns
            .iter()
            .map(|column| Field::new(&column.name, column.data_type.to_arrow(), true))
            .collect();
        let mut keys: Vec<String> = plan
            .columns
            .iter()
            .filter(|column| column.role == Role::Key)
            .map(|column| column.name.clone())
            .collect();
        if let Some(window) = plan.window {
            for name in [column::WINDOWSTART, column::WINDOWEND] {
                fields.push(Field::new(name, DataType::Int64, false));
            }
            keys.push(column::WINDOWSTART.to_owned());
            if window == KeyWindow::Session {
                keys.push(column::WINDOWEND.to_owned());
            }
        }
        fields.push(Field::new(column::ROWTIME, DataType::Int64, false));
        let columns: Vec<usize> = (0..fields.len()).collect();
        let op = columns.len();
        match plan.kind {
            Kind::Table => fields.push(Field::new(DELETED, DataType::Boolean, false)),
            Kind::Stream => keys.clear(),
        }
        if !plan.columns.iter().any(|column| column.role == Role::Key) {
            // The window alone tells no rows apart.
            keys.clear();
        }
        Self {
            kind: plan.kind,
            schema: Arc::new(Schema::new(fields)),
            keys,
            columns,
            op,
        }
    }

    /// The columns but for some.
    pub(crate) fn columns_without(&self, without: &[String]) -> Vec<usize> {
        let fields = self.schema.fields();
        (0..fields.len())
            .filter(|index| !without.contains(fields[*index].name()))
            .collect()
    }

    /// The rows of a plan's batch.
    pub(crate) fn rows(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let ops = batch.column(self.op).as_primitive::<Int8Type>();
        let mut columns: Vec<_> = self
            .columns
            .iter()
            .map(|index| Arc::clone(batch.column(*index)))
            .collect();
        if self.kind == Kind::Table {
            let deleted: BooleanArray = ops
                .values()
                .iter()
                .map(|op| Some(*op == column::DELETE))
                .collect();
            columns.push(Arc::new(deleted));
        }
        let rows = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        if self.kind == Kind::Stream && ops.values().contains(&column::DELETE) {
            // A stream's record without a value has no row to write.
            let kept: UInt32Array = (0..ops.len())
                .filter(|row| ops.value(*row) == column::INSERT)
                .map(|row| row as u32)
                .collect();
            return Ok(take_record_batch(&rows, &kept)?);
        }
        Ok(rows)
    }
}
