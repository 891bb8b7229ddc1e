//! The state of one aggregate function for many groups, by slot.
//!
//! DataFusion's `GroupsAccumulator` gives its state away when it is asked for a result, which suits
//! a batch query that asks once; a continuous query asks at every step. So there are two
//! implementations of [`SlotAccumulator`]: columnar ones, for the commonest functions over primitive
//! types ([`native`]), [`distinct`] counts and the [`first_last`] value, and [`RowAccumulators`], which
//! holds one of DataFusion's row accumulators a group and serves every other function
//! (docs/design/aggregation.md).

mod distinct;
mod first_last;
mod native;
#[cfg(test)]
mod tests;

use std::fmt::Debug;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, UInt32Array, new_empty_array};
use arrow::compute::{filter, take};
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::logical_expr::Accumulator;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;

/// Index of a group among those in memory.
pub(crate) type Slot = u32;

/// The state of one aggregate function for the groups in memory.
///
/// Arrays of values have one entry for each entry of `slots`.
pub(crate) trait SlotAccumulator: Debug + Send {
    /// Makes room for slots below `len`; new ones are empty groups.
    fn resize(&mut self, len: usize);

    /// Adds rows to their groups.
    fn update(&mut self, slots: &[Slot], values: &[ArrayRef]) -> Result<()>;

    /// Takes rows away that were added before.
    fn retract(&mut self, slots: &[Slot], values: &[ArrayRef]) -> Result<()>;

    /// Results of the groups `slots`. Leaves their state as it is.
    fn evaluate(&mut self, slots: &[Slot]) -> Result<ArrayRef>;

    /// State of the groups `slots`, of [`Self::state_types`]. Leaves it as it is.
    fn state(&mut self, slots: &[Slot]) -> Result<Vec<ArrayRef>>;

    /// Merges saved state into the groups `slots`.
    fn merge(&mut self, slots: &[Slot], state: &[ArrayRef]) -> Result<()>;

    /// Makes the groups `slots` empty again.
    fn clear(&mut self, slots: &[Slot]);

    /// Types of the state's columns.
    fn state_types(&self) -> Vec<DataType>;

    /// Memory held, in bytes.
    fn size(&self) -> usize;
}

/// The accumulator for `function`; with `retractable` one that can take rows away.
///
/// # Errors
/// A function that cannot take rows away where that is needed.
pub(crate) fn create(
    function: &Arc<AggregateFunctionExpr>,
    retractable: bool,
) -> Result<Box<dyn SlotAccumulator>> {
    if let Some(native) = native::create(function, retractable) {
        return Ok(native);
    }
    Ok(Box::new(RowAccumulators::try_new(
        Arc::clone(function),
        retractable,
    )?))
}

/// One DataFusion row accumulator for each group.
#[derive(Debug)]
pub(crate) struct RowAccumulators {
    function: Arc<AggregateFunctionExpr>,
    retractable: bool,
    state_fields: Vec<FieldRef>,
    groups: Vec<Option<Box<dyn Accumulator>>>,
    size: usize,
}

impl RowAccumulators {
    pub(crate) fn try_new(function: Arc<AggregateFunctionExpr>, retractable: bool) -> Result<Self> {
        // Made even if it is not needed: what cannot be made is refused now rather than at each row.
        let accumulator = function.create_accumulator()?;
        if retractable && !accumulator.supports_retract_batch() {
            return datafusion::common::not_impl_err!(
                "{} over a table: it cannot take back a row that changed; COUNT, SUM, AVG and \
                 the variance functions can",
                function.fun().name().to_uppercase()
            );
        }
        let state_fields = function.state_fields()?;
        Ok(Self {
            function,
            retractable,
            state_fields,
            groups: Vec::new(),
            size: 0,
        })
    }

    fn create(&self) -> Result<Box<dyn Accumulator>> {
        self.function.create_accumulator()
    }

    /// Calls `apply` once for each group with its rows, in their order.
    fn for_each_group(
        &mut self,
        slots: &[Slot],
        values: &[ArrayRef],
        apply: impl Fn(&mut dyn Accumulator, &[ArrayRef]) -> Result<()>,
    ) -> Result<()> {
        if slots.is_empty() {
            return Ok(());
        }
        let mut order: Vec<u32> = (0..slots.len() as u32).collect();
        // Stable: first_value and its like depend on arrival order within a group.
        order.sort_by_key(|row| slots[*row as usize]);
        let indices = UInt32Array::from(order);
        let sorted = values
            .iter()
            .map(|array| Ok(take(array.as_ref(), &indices, None)?))
            .collect::<Result<Vec<_>>>()?;
        let order = indices.values();
        let mut start = 0;
        while start < order.len() {
            let slot = slots[order[start] as usize];
            let len = order[start..]
                .iter()
                .take_while(|row| slots[**row as usize] == slot)
                .count();
            let rows: Vec<ArrayRef> = sorted.iter().map(|array| array.slice(start, len)).collect();
            if self.groups[slot as usize].is_none() {
                self.groups[slot as usize] = Some(self.create()?);
            }
            if let Some(group) = self.groups[slot as usize].as_deref_mut() {
                let before = group.size();
                apply(group, &rows)?;
                self.size = (self.size + group.size()).saturating_sub(before);
            }
            start += len;
        }
        Ok(())
    }
}

impl SlotAccumulator for RowAccumulators {
    fn resize(&mut self, len: usize) {
        if len > self.groups.len() {
            self.groups.resize_with(len, || None);
        }
    }

    fn update(&mut self, slots: &[Slot], values: &[ArrayRef]) -> Result<()> {
        self.for_each_group(slots, values, |group, rows| group.update_batch(rows))
    }

    fn retract(&mut self, slots: &[Slot], values: &[ArrayRef]) -> Result<()> {
        if !self.retractable {
            return internal_err!("{} was not made to take rows away", self.function.name());
        }
        self.for_each_group(slots, values, |group, rows| group.retract_batch(rows))
    }

    fn evaluate(&mut self, slots: &[Slot]) -> Result<ArrayRef> {
        if slots.is_empty() {
            return Ok(new_empty_array(self.function.field().data_type()));
        }
        let mut results = Vec::with_capacity(slots.len());
        for slot in slots {
            let result = match self.groups[*slot as usize].as_mut() {
                Some(group) => group.evaluate()?,
                None => self.create()?.evaluate()?,
            };
            results.push(result);
        }
        ScalarValue::iter_to_array(results)
    }

    fn state(&mut self, slots: &[Slot]) -> Result<Vec<ArrayRef>> {
        let mut columns = vec![Vec::with_capacity(slots.len()); self.state_fields.len()];
        for slot in slots {
            let state = match self.groups[*slot as usize].as_mut() {
                Some(group) => {
                    let state = group.state()?;
                    // Some accumulators (array_agg, the distinct ones) give their state away.
                    let mut fresh = self.function.create_accumulator()?;
                    let columns = state
                        .iter()
                        .map(ScalarValue::to_array)
                        .collect::<Result<Vec<_>>>()?;
                    fresh.merge_batch(&columns)?;
                    *group = fresh;
                    state
                }
                None => self.create()?.state()?,
            };
            for (column, value) in columns.iter_mut().zip(state) {
                column.push(value);
            }
        }
        columns
            .into_iter()
            .zip(&self.state_fields)
            .map(|(column, field)| match column.is_empty() {
                true => Ok(new_empty_array(field.data_type())),
                false => ScalarValue::iter_to_array(column),
            })
            .collect()
    }

    fn merge(&mut self, slots: &[Slot], state: &[ArrayRef]) -> Result<()> {
        self.for_each_group(slots, state, |group, rows| group.merge_batch(rows))
    }

    fn clear(&mut self, slots: &[Slot]) {
        for slot in slots {
            if let Some(group) = self.groups[*slot as usize].take() {
                self.size = self.size.saturating_sub(group.size());
            }
        }
    }

    fn state_types(&self) -> Vec<DataType> {
        self.state_fields
            .iter()
            .map(|field| field.data_type().clone())
            .collect()
    }

    fn size(&self) -> usize {
        self.size + self.groups.capacity() * size_of::<Option<Box<dyn Accumulator>>>()
    }
}

/// The rows for which `mask` is true: their slots and values.
pub(crate) fn filter_rows(
    slots: &[Slot],
    values: &[ArrayRef],
    mask: &BooleanArray,
) -> Result<(Vec<Slot>, Vec<ArrayRef>)> {
    let kept = slots
        .iter()
        .enumerate()
        .filter(|(row, _)| mask.is_valid(*row) && mask.value(*row))
        .map(|(_, slot)| *slot)
        .collect();
    let values = values
        .iter()
        .map(|array| Ok(filter(array.as_ref(), mask)?))
        .collect::<Result<Vec<_>>>()?;
    Ok((kept, values))
}
