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

use super::distinct_values::{
    ARGUMENTS_MAX, Counted, Counting, DistinctArgument, DistinctValues, FUNCTIONS_MAX,
    counted_value,
};
use crate::operator::Memory;
use crate::operator::accumulator::{self, Slot, SlotAccumulator};
use crate::operator::groups::Groups;
use crate::state::StateTable;
use kappa_sql::column;

/// An aggregate function.
#[derive(Debug)]
struct Function {
    field: FieldRef,
    state: Held,
}

/// A function with an accumulator of its own, and what it is given.
#[derive(Debug)]
struct Own {
    function: Arc<AggregateFunctionExpr>,
    /// Its arguments and its filter, among the expressions of all functions.
    arguments: Vec<usize>,
    filter: Option<usize>,
    /// Number of columns of its state.
    width: usize,
}

/// What has the state of a function.
#[derive(Clone, Copy, Debug)]
enum Held {
    /// The accumulator of that number.
    Own(usize),
    /// The values of that argument, for the function of that number.
    Distinct { argument: usize, function: usize },
}

/// All aggregate functions of one operator, without state.
#[derive(Debug)]
pub(super) struct Functions {
    functions: Vec<Function>,
    /// What they are given, each expression once.
    expressions: Vec<Arc<dyn PhysicalExpr>>,
    own: Vec<Own>,
    distinct: Vec<Arc<DistinctArgument>>,
    retractable: bool,
    /// Row time, then the state columns: of each accumulator, then of each distinct argument.
    rows: RowConverter,
    /// State key, then these: what a log has of a group.
    log_schema: SchemaRef,
}

/// Has a function counted with others of its argument. `None` when there are no numbers left for another
/// argument.
fn share(
    counted: &mut Vec<Counting>,
    argument: usize,
    filter: Option<usize>,
    of: DataType,
) -> Option<Held> {
    let known = counted.iter().position(|counting| {
        counting.argument == argument && counting.filters.len() < FUNCTIONS_MAX
    });
    if known.is_none() {
        if counted.len() == ARGUMENTS_MAX {
            return None;
        }
        counted.push(Counting {
            argument,
            filters: Vec::new(),
            of,
        });
    }
    let number = known.unwrap_or(counted.len() - 1);
    let filters = &mut counted[number].filters;
    filters.push(filter);
    Some(Held::Distinct {
        argument: number,
        function: filters.len() - 1,
    })
}

/// What the functions are given for the rows of a batch, by expression.
#[derive(Debug)]
pub(super) struct Arguments(Vec<ArrayRef>);

impl Functions {
    /// The functions; `retractable` when rows may be taken away. With `values` this table has the
    /// values of COUNT(DISTINCT …), else a group's state has them.
    pub(super) fn try_new(
        aggregates: &[LoweredAggregate],
        retractable: bool,
        values: Option<&StateTable>,
    ) -> Result<Self> {
        let mut types = vec![DataType::Int64];
        let mut expressions: Vec<Arc<dyn PhysicalExpr>> = Vec::new();
        let mut number = |expr: &Arc<dyn PhysicalExpr>| {
            let known = expressions.iter().position(|known| known == expr);
            known.unwrap_or_else(|| {
                expressions.push(Arc::clone(expr));
                expressions.len() - 1
            })
        };
        let mut functions = Vec::with_capacity(aggregates.len());
        let mut own = Vec::new();
        let mut counted: Vec<Counting> = Vec::new();
        for lowered in aggregates {
            if !lowered.order_bys.is_empty() {
                return datafusion::common::not_impl_err!(
                    "ORDER BY inside {} in a continuous query: rows are taken as they arrive",
                    lowered.aggregate.fun().name().to_uppercase()
                );
            }
            let arguments = lowered.aggregate.expressions();
            let arguments: Vec<usize> = arguments.iter().map(&mut number).collect();
            let filter = lowered.filter.as_ref().map(&mut number);
            let value = values.and_then(|_| counted_value(lowered, retractable));
            let shared = match (value, arguments.as_slice()) {
                (Some(of), [argument]) => share(&mut counted, *argument, filter, of),
                _ => None,
            };
            let state = match shared {
                Some(held) => held,
                None => {
                    let state = accumulator::create(&lowered.aggregate, retractable)?.state_types();
                    own.push(Own {
                        function: Arc::clone(&lowered.aggregate),
                        arguments,
                        filter,
                        width: state.len(),
                    });
                    types.extend(state);
                    Held::Own(own.len() - 1)
                }
            };
            functions.push(Function {
                field: lowered.aggregate.field(),
                state,
            });
        }
        let mut distinct = Vec::with_capacity(counted.len());
        if let Some(table) = values {
            for (number, counting) in counted.into_iter().enumerate() {
                // There are no more than `ARGUMENTS_MAX`.
                let argument = DistinctArgument::try_new(number as u8, counting, table.clone())?;
                types.extend(std::iter::repeat_n(DataType::Int64, argument.width()));
                distinct.push(Arc::new(argument));
            }
        }
        let columns = types.iter().enumerate();
        let mut fields = vec![Field::new("key", DataType::Binary, false)];
        fields.extend(columns.map(|(n, kind)| Field::new(format!("{n}"), kind.clone(), true)));
        let rows = RowConverter::new(types.into_iter().map(SortField::new).collect())?;
        Ok(Self {
            functions,
            expressions,
            own,
            distinct,
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
        let expressions = self.expressions.iter();
        let arrays = expressions.map(|expr| expr.evaluate(batch)?.into_array(batch.num_rows()));
        Ok(Arguments(arrays.collect::<Result<_>>()?))
    }
}

/// The functions' state, by slot.
#[derive(Debug)]
pub(super) struct Accumulators {
    functions: Arc<Functions>,
    own: Vec<Box<dyn SlotAccumulator>>,
    distinct: Vec<DistinctValues>,
}

impl Accumulators {
    /// State without any group.
    pub(super) fn try_new(functions: &Arc<Functions>) -> Result<Self> {
        let own = functions.own.iter();
        let own = own.map(|own| accumulator::create(&own.function, functions.retractable));
        let distinct = functions.distinct.iter().map(DistinctValues::try_new);
        Ok(Self {
            functions: Arc::clone(functions),
            own: own.collect::<Result<_>>()?,
            distinct: distinct.collect::<Result<_>>()?,
        })
    }

    /// Makes room for slots below `len`.
    pub(super) fn resize(&mut self, len: usize) {
        self.own.iter_mut().for_each(|own| own.resize(len));
        self.distinct
            .iter_mut()
            .for_each(|values| values.resize(len));
    }

    /// Adds each of `rows` (all rows of the batch where `None`) to the group of its slot, or takes
    /// it away where `ops`, which has one entry for each of `slots`, says that it was deleted.
    /// `groups` has the slots, with windows in their keys or not.
    pub(super) fn update(
        &mut self,
        arguments: &Arguments,
        rows: Option<&UInt32Array>,
        slots: &[Slot],
        ops: Option<&Int8Array>,
        (groups, windowed): (&Groups, bool),
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
        let picked = arguments.0.iter().map(pick).collect::<Result<Vec<_>>>()?;
        let filter = |number: Option<usize>| {
            let array = number.map(|number| as_boolean_array(&picked[number]));
            array.transpose()
        };
        for (accumulator, own) in self.own.iter_mut().zip(&self.functions.own) {
            let values = own.arguments.iter();
            let values: Vec<ArrayRef> = values.map(|n| Arc::clone(&picked[*n])).collect();
            let mut mask = filter(own.filter)?.cloned();
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
        for values in &mut self.distinct {
            let counting = &values.argument().counting;
            let filters = counting.filters.iter().map(|number| filter(*number));
            let filters = filters.collect::<Result<Vec<_>>>()?;
            let counted = Counted::new(slots, &picked[counting.argument], filters)?;
            values.update(counted, groups, windowed)?;
        }
        Ok(())
    }

    /// The results of groups, one column a function.
    pub(super) fn evaluate(&mut self, slots: &[Slot]) -> Result<Vec<ArrayRef>> {
        let functions = Arc::clone(&self.functions);
        let functions = functions.functions.iter();
        functions
            .map(|function| {
                let array = match function.state {
                    Held::Own(number) => self.own[number].evaluate(slots)?,
                    Held::Distinct { argument, function } => {
                        self.distinct[argument].count(function, slots)
                    }
                };
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
        for own in &mut self.own {
            columns.extend(own.state(slots)?);
        }
        for values in &self.distinct {
            columns.extend(values.state(slots));
        }
        Ok(columns)
    }

    /// Columns of a batch of the log.
    pub(super) fn log_schema(&self) -> SchemaRef {
        Arc::clone(&self.functions.log_schema)
    }

    /// Brings state that was saved as columns into empty groups.
    pub(super) fn load(&mut self, slots: &[Slot], mut columns: &[ArrayRef]) -> Result<()> {
        let mut next = |width: usize| {
            let Some((state, rest)) = columns.split_at_checked(width) else {
                return datafusion::common::internal_err!("state without all of its columns");
            };
            columns = rest;
            Ok(state)
        };
        for (accumulator, own) in self.own.iter_mut().zip(&self.functions.own) {
            accumulator.merge(slots, next(own.width)?)?;
        }
        for (values, argument) in self.distinct.iter_mut().zip(&self.functions.distinct) {
            values.load(slots, next(argument.width())?)?;
        }
        Ok(())
    }

    /// The values of COUNT(DISTINCT …).
    pub(super) fn distinct_values(&mut self) -> impl Iterator<Item = &mut DistinctValues> {
        self.distinct.iter_mut()
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
        self.load(slots, state)?;
        Ok(rowtimes.as_primitive::<Int64Type>().clone())
    }

    /// Adds the state of `from` to `into` and empties `from`. Not where values have a table.
    pub(super) fn absorb(&mut self, from: Slot, into: Slot) -> Result<()> {
        for own in &mut self.own {
            let state = own.state(&[from])?;
            own.merge(&[into], &state)?;
            own.clear(&[from]);
        }
        Ok(())
    }

    /// Empties groups, so that their slots can be used again.
    pub(super) fn clear(&mut self, slots: &[Slot]) {
        self.own.iter_mut().for_each(|own| own.clear(slots));
    }

    /// Memory held.
    pub(super) fn memory(&self) -> Memory {
        let own = Memory::of_rows(self.own.iter().map(|own| own.size()).sum());
        let distinct = self.distinct.iter().map(DistinctValues::memory);
        distinct.fold(own, |all, one| all + one)
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
