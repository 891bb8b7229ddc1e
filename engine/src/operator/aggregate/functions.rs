//! The aggregate functions of one operator, kept together: their arguments, their state by slot,
//! and that state as a row of the state table.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int8Array, Int64Array, UInt32Array};
use arrow::compute::{and, take};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use arrow::row::{RowConverter, Rows, SortField};
use datafusion::common::{Result, cast::as_boolean_array};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::{AggregateFunctionExpr, LoweredAggregate};

use crate::operator::accumulator::{self, Slot, SlotAccumulator};
use kappa_sql::column;

/// An aggregate function and what it is given.
#[derive(Debug)]
struct Function {
    arguments: Vec<Arc<dyn PhysicalExpr>>,
    filter: Option<Arc<dyn PhysicalExpr>>,
    function: Arc<AggregateFunctionExpr>,
    field: FieldRef,
    /// Number of columns of its state.
    width: usize,
}

/// All aggregate functions of one operator, without state.
#[derive(Debug)]
pub(super) struct Functions {
    functions: Vec<Function>,
    retractable: bool,
    /// Row time, then each function's state columns.
    rows: RowConverter,
    /// State key, row time, then each function's state columns: what a log has of a group.
    log_schema: SchemaRef,
}

/// What the functions are given for the rows of a batch.
#[derive(Debug)]
pub(super) struct Arguments(Vec<Argument>);

#[derive(Debug)]
struct Argument {
    values: Vec<ArrayRef>,
    filter: Option<ArrayRef>,
}

impl Functions {
    /// The functions; `retractable` when rows may be taken away.
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
            let state = accumulator::create(&lowered.aggregate, retractable)?.state_types();
            functions.push(Function {
                arguments: lowered.aggregate.expressions(),
                filter: lowered.filter.clone(),
                function: Arc::clone(&lowered.aggregate),
                field: lowered.aggregate.field(),
                width: state.len(),
            });
            types.extend(state);
        }
        let columns = types.iter().enumerate();
        let mut fields = vec![Field::new("key", DataType::Binary, false)];
        fields.extend(columns.map(|(n, kind)| Field::new(format!("{n}"), kind.clone(), true)));
        let rows = RowConverter::new(types.into_iter().map(SortField::new).collect())?;
        Ok(Self {
            functions,
            retractable,
            rows,
            log_schema: Arc::new(Schema::new(fields)),
        })
    }

    /// Whether the state of every group has the same size.
    pub(super) fn has_fixed_state(&self) -> bool {
        self.state_fields()
            .all(|field| field.data_type().is_primitive())
    }

    /// Bytes of a group's state as it is encoded, where they are the same for every group.
    pub(super) fn state_bytes(&self) -> usize {
        self.state_fields()
            .map(|field| 1 + field.data_type().primitive_width().unwrap_or_default())
            .sum()
    }

    /// Row time and state columns.
    fn state_fields(&self) -> impl Iterator<Item = &FieldRef> {
        self.log_schema.fields().iter().skip(1)
    }

    /// Evaluates the functions' arguments and filters for all rows of a batch.
    pub(super) fn arguments(&self, batch: &RecordBatch) -> Result<Arguments> {
        let evaluate =
            |expr: &Arc<dyn PhysicalExpr>| expr.evaluate(batch)?.into_array(batch.num_rows());
        let arguments = self.functions.iter().map(|function| {
            Ok(Argument {
                values: function
                    .arguments
                    .iter()
                    .map(evaluate)
                    .collect::<Result<_>>()?,
                filter: function.filter.as_ref().map(evaluate).transpose()?,
            })
        });
        Ok(Arguments(arguments.collect::<Result<_>>()?))
    }
}

/// The functions' state, by slot.
#[derive(Debug)]
pub(super) struct Accumulators {
    functions: Arc<Functions>,
    accumulators: Vec<Box<dyn SlotAccumulator>>,
}

impl Accumulators {
    /// State without any group.
    pub(super) fn try_new(functions: &Arc<Functions>) -> Result<Self> {
        let accumulators = functions
            .functions
            .iter()
            .map(|function| accumulator::create(&function.function, functions.retractable))
            .collect::<Result<_>>()?;
        Ok(Self {
            functions: Arc::clone(functions),
            accumulators,
        })
    }

    /// Makes room for slots below `len`.
    pub(super) fn resize(&mut self, len: usize) {
        for accumulator in &mut self.accumulators {
            accumulator.resize(len);
        }
    }

    /// Adds each of `rows` (all rows of the batch where `None`) to the group of its slot, or takes
    /// it away where `ops`, which has one entry for each of `slots`, says that it was deleted.
    pub(super) fn update(
        &mut self,
        arguments: &Arguments,
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
        let pick = |array: &ArrayRef| -> Result<ArrayRef> {
            match rows {
                None => Ok(Arc::clone(array)),
                Some(rows) => Ok(take(array.as_ref(), rows, None)?),
            }
        };
        for (accumulator, argument) in self.accumulators.iter_mut().zip(&arguments.0) {
            let values = argument
                .values
                .iter()
                .map(pick)
                .collect::<Result<Vec<_>>>()?;
            let filter = argument.filter.as_ref().map(pick).transpose()?;
            let mut mask = match &filter {
                None => None,
                Some(filter) => Some(as_boolean_array(filter)?.clone()),
            };
            if let Some(deletes) = &deletes {
                let taken = match &mask {
                    None => deletes.clone(),
                    Some(mask) => and(mask, deletes)?,
                };
                let (slots, values) = accumulator::filter_rows(slots, &values, &taken)?;
                accumulator.retract(&slots, &values)?;
                let inserts = arrow::compute::not(deletes)?;
                mask = Some(match mask {
                    None => inserts,
                    Some(mask) => and(&mask, &inserts)?,
                });
            }
            match mask {
                None => accumulator.update(slots, &values)?,
                Some(mask) => {
                    let (slots, values) = accumulator::filter_rows(slots, &values, &mask)?;
                    accumulator.update(&slots, &values)?;
                }
            }
        }
        Ok(())
    }

    /// The results of groups, one column a function.
    pub(super) fn evaluate(&mut self, slots: &[Slot]) -> Result<Vec<ArrayRef>> {
        self.accumulators
            .iter_mut()
            .zip(&self.functions.functions)
            .map(|(accumulator, function)| {
                let array = accumulator.evaluate(slots)?;
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
        columns.extend(self.state(slots)?);
        Ok(self.functions.rows.convert_columns(&columns)?)
    }

    /// The groups' state as columns.
    pub(super) fn state(&mut self, slots: &[Slot]) -> Result<Vec<ArrayRef>> {
        let mut columns = Vec::with_capacity(self.functions.log_schema.fields().len());
        for accumulator in &mut self.accumulators {
            columns.extend(accumulator.state(slots)?);
        }
        Ok(columns)
    }

    /// Columns of a batch of the log.
    pub(super) fn log_schema(&self) -> SchemaRef {
        Arc::clone(&self.functions.log_schema)
    }

    /// Merges state that was saved as columns into groups.
    pub(super) fn merge(&mut self, slots: &[Slot], mut columns: &[ArrayRef]) -> Result<()> {
        for (accumulator, function) in self.accumulators.iter_mut().zip(&self.functions.functions) {
            let Some((state, rest)) = columns.split_at_checked(function.width) else {
                return datafusion::common::internal_err!("state without all of its columns");
            };
            accumulator.merge(slots, state)?;
            columns = rest;
        }
        Ok(())
    }

    /// Reads groups' state from rows of the state table; returns their row times.
    pub(super) fn decode<'a>(
        &mut self,
        slots: &[Slot],
        rows: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Int64Array> {
        let parser = self.functions.rows.parser();
        let columns = self
            .functions
            .rows
            .convert_rows(rows.into_iter().map(|row| parser.parse(row)))?;
        let Some((rowtimes, state)) = columns.split_first() else {
            return datafusion::common::internal_err!("state without columns");
        };
        self.merge(slots, state)?;
        Ok(rowtimes.as_primitive::<Int64Type>().clone())
    }

    /// Adds the state of `from` to `into` and empties `from`.
    pub(super) fn absorb(&mut self, from: Slot, into: Slot) -> Result<()> {
        for accumulator in &mut self.accumulators {
            let state = accumulator.state(&[from])?;
            accumulator.merge(&[into], &state)?;
            accumulator.clear(&[from]);
        }
        Ok(())
    }

    /// Empties groups, so that their slots can be used again.
    pub(super) fn clear(&mut self, slots: &[Slot]) {
        for accumulator in &mut self.accumulators {
            accumulator.clear(slots);
        }
    }

    /// Memory held, in bytes.
    pub(super) fn size(&self) -> usize {
        self.accumulators
            .iter()
            .map(|accumulator| accumulator.size())
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
