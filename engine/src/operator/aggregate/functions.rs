//! The aggregate functions of one operator, kept together: their arguments, their state by slot,
//! and that state as a row of the state table.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int8Array, Int64Array, UInt32Array};
use arrow::compute::{and, take};
use arrow::datatypes::{DataType, FieldRef, Int64Type};
use arrow::record_batch::RecordBatch;
use arrow::row::{RowConverter, Rows, SortField};
use datafusion::common::{Result, cast::as_boolean_array};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::LoweredAggregate;

use crate::operator::accumulator::{self, Slot, SlotAccumulator};
use kappa_sql::column;

/// An aggregate function, its arguments and its state.
#[derive(Debug)]
struct Function {
    arguments: Vec<Arc<dyn PhysicalExpr>>,
    filter: Option<Arc<dyn PhysicalExpr>>,
    accumulator: Box<dyn SlotAccumulator>,
    field: FieldRef,
}

/// All aggregate functions of one operator.
#[derive(Debug)]
pub(super) struct Functions {
    functions: Vec<Function>,
    /// Row time, then each function's state columns.
    rows: RowConverter,
}

impl Functions {
    /// Functions without any group; `retractable` when rows may be taken away.
    pub(super) fn try_new(aggregates: &[LoweredAggregate], retractable: bool) -> Result<Self> {
        let mut types = vec![DataType::Int64];
        let mut functions = Vec::with_capacity(aggregates.len());
        for lowered in aggregates {
            if !lowered.order_bys.is_empty() {
                return datafusion::common::not_impl_err!(
                    "ORDER BY inside {} in a continuous query: rows are taken as they arrive",
                    lowered.aggregate.fun().name().to_uppercase()
                );
            }
            let accumulator = accumulator::create(&lowered.aggregate, retractable)?;
            types.extend(accumulator.state_types());
            functions.push(Function {
                arguments: lowered.aggregate.expressions(),
                filter: lowered.filter.clone(),
                accumulator,
                field: lowered.aggregate.field(),
            });
        }
        let rows = RowConverter::new(types.into_iter().map(SortField::new).collect())?;
        Ok(Self { functions, rows })
    }

    /// Makes room for slots below `len`.
    pub(super) fn resize(&mut self, len: usize) {
        for function in &mut self.functions {
            function.accumulator.resize(len);
        }
    }

    /// Adds each of `rows` (all rows of `batch` where `None`) to the group of its slot, or takes it
    /// away where `ops` says that it was deleted.
    pub(super) fn update(
        &mut self,
        batch: &RecordBatch,
        rows: Option<&UInt32Array>,
        slots: &[Slot],
        ops: Option<&Int8Array>,
    ) -> Result<()> {
        let deletes: Option<BooleanArray> = ops
            .map(|ops| {
                ops.iter()
                    .map(|op| Some(op == Some(column::DELETE)))
                    .collect::<BooleanArray>()
            })
            .filter(|deletes| deletes.true_count() > 0);
        for function in &mut self.functions {
            let mut values = Vec::with_capacity(function.arguments.len());
            for argument in &function.arguments {
                let array = argument.evaluate(batch)?.into_array(batch.num_rows())?;
                values.push(match rows {
                    None => array,
                    Some(rows) => take(array.as_ref(), rows, None)?,
                });
            }
            let mut mask = match &function.filter {
                None => None,
                Some(filter) => {
                    let array = filter.evaluate(batch)?.into_array(batch.num_rows())?;
                    let array = match rows {
                        None => array,
                        Some(rows) => take(array.as_ref(), rows, None)?,
                    };
                    Some(as_boolean_array(&array)?.clone())
                }
            };
            if let Some(deletes) = &deletes {
                let taken = match &mask {
                    None => deletes.clone(),
                    Some(mask) => and(mask, deletes)?,
                };
                let (slots, values) = accumulator::filter_rows(slots, &values, &taken)?;
                function.accumulator.retract(&slots, &values)?;
                let inserts = arrow::compute::not(deletes)?;
                mask = Some(match mask {
                    None => inserts,
                    Some(mask) => and(&mask, &inserts)?,
                });
            }
            match mask {
                None => function.accumulator.update(slots, &values)?,
                Some(mask) => {
                    let (slots, values) = accumulator::filter_rows(slots, &values, &mask)?;
                    function.accumulator.update(&slots, &values)?;
                }
            }
        }
        Ok(())
    }

    /// The results of groups, one column a function.
    pub(super) fn evaluate(&mut self, slots: &[Slot]) -> Result<Vec<ArrayRef>> {
        self.functions
            .iter_mut()
            .map(|function| {
                let array = function.accumulator.evaluate(slots)?;
                let wanted = function.field.data_type();
                match array.data_type() == wanted {
                    true => Ok(array),
                    false => Ok(arrow::compute::cast(&array, wanted)?),
                }
            })
            .collect()
    }

    /// The groups' state as rows of the state table.
    pub(super) fn encode(&mut self, slots: &[Slot], rowtimes: Int64Array) -> Result<Rows> {
        let mut columns: Vec<ArrayRef> = vec![Arc::new(rowtimes)];
        for function in &mut self.functions {
            columns.extend(function.accumulator.state(slots)?);
        }
        Ok(self.rows.convert_columns(&columns)?)
    }

    /// Reads groups' state from rows of the state table; returns their row times.
    pub(super) fn decode<'a>(
        &mut self,
        slots: &[Slot],
        rows: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Int64Array> {
        let parser = self.rows.parser();
        let mut columns = self
            .rows
            .convert_rows(rows.into_iter().map(|row| parser.parse(row)))?
            .into_iter();
        let rowtimes = columns
            .next()
            .map(|array| array.as_primitive::<Int64Type>().clone());
        for function in &mut self.functions {
            let width = function.accumulator.state_types().len();
            let state: Vec<ArrayRef> = columns.by_ref().take(width).collect();
            function.accumulator.merge(slots, &state)?;
        }
        rowtimes
            .ok_or_else(|| datafusion::common::internal_datafusion_err!("state without columns"))
    }

    /// Adds the state of `from` to `into` and empties `from`.
    pub(super) fn absorb(&mut self, from: Slot, into: Slot) -> Result<()> {
        for function in &mut self.functions {
            let state = function.accumulator.state(&[from])?;
            function.accumulator.merge(&[into], &state)?;
            function.accumulator.clear(&[from]);
        }
        Ok(())
    }

    /// Empties groups, so that their slots can be used again.
    pub(super) fn clear(&mut self, slots: &[Slot]) {
        for function in &mut self.functions {
            function.accumulator.clear(slots);
        }
    }

    /// Memory held, in bytes.
    pub(super) fn size(&self) -> usize {
        self.functions
            .iter()
            .map(|function| function.accumulator.size())
            .sum()
    }
}

/// The rows of `batch` whose grouping columns are all there: a row with a NULL in its key belongs
/// to no group. `None` when that is every row.
pub(super) fn rows_with_keys(columns: &[ArrayRef], rows: usize) -> Option<Vec<u32>> {
    if columns
        .iter()
        .all(|column| column.logical_null_count() == 0)
    {
        return None;
    }
    let nulls: Vec<_> = columns
        .iter()
        .filter_map(|column| column.logical_nulls())
        .collect();
    Some(
        (0..rows)
            .filter(|row| nulls.iter().all(|nulls| nulls.is_valid(*row)))
            .map(|row| row as u32)
            .collect(),
    )
}
