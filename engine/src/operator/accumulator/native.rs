//! Columnar accumulators: which there are; COUNT, SUM, AVG, MIN and MAX over primitive types.
//!
//! The fast twin of `RowAccumulators`, to which `tests` holds them.

use std::fmt::Debug;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, Float64Array, Int64Array, PrimitiveArray,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    ArrowNativeTypeOp, DataType, Date32Type, Float64Type, Int32Type, Int64Type,
    Time32MillisecondType, TimeUnit, TimestampMillisecondType,
};
use datafusion::common::Result;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;

use super::first_last::{self, End};
use super::{Slot, SlotAccumulator, distinct};

/// The native accumulator for `function`, where there is one.
pub(super) fn create(
    function: &AggregateFunctionExpr,
    retractable: bool,
) -> Option<Box<dyn SlotAccumulator>> {
    if !function.order_bys().is_empty() {
        return None;
    }
    let arguments = function.expressions();
    let name = function.fun().name();
    if function.is_distinct() {
        let counted = name == "count" && arguments.len() == 1 && !retractable;
        return counted.then(|| distinct::create(function)).flatten();
    }
    if name == "count" && arguments.len() == 1 {
        return Some(Box::new(Count::default()));
    }
    let result = function.field().data_type().clone();
    match (name, &result) {
        ("sum", DataType::Int64) => Some(Box::new(Sum::<Int64Type>::default())),
        ("sum", DataType::Float64) => Some(Box::new(Sum::<Float64Type>::default())),
        ("avg", DataType::Float64) => Some(Box::new(Average::default())),
        ("min" | "max", _) if !retractable => extreme(&result, name == "max"),
        ("first_value", _) if !retractable => first_last::create(function, End::First),
        ("last_value", _) if !retractable => first_last::create(function, End::Last),
        _ => None,
    }
}

fn extreme(data_type: &DataType, largest: bool) -> Option<Box<dyn SlotAccumulator>> {
    Some(match data_type {
        DataType::Int32 => Box::new(Extreme::<Int32Type>::new(data_type, largest)),
        DataType::Int64 => Box::new(Extreme::<Int64Type>::new(data_type, largest)),
        DataType::Float64 => Box::new(Extreme::<Float64Type>::new(data_type, largest)),
        DataType::Date32 => Box::new(Extreme::<Date32Type>::new(data_type, largest)),
        DataType::Time32(TimeUnit::Millisecond) => {
            Box::new(Extreme::<Time32MillisecondType>::new(data_type, largest))
        }
        DataType::Timestamp(TimeUnit::Millisecond, None) => {
            Box::new(Extreme::<TimestampMillisecondType>::new(data_type, largest))
        }
        _ => return None,
    })
}

/// Calls `apply(slot, row)` for each row that is not null.
pub(super) fn for_each_valid(
    slots: &[Slot],
    values: &dyn Array,
    mut apply: impl FnMut(usize, usize),
) {
    match values.nulls().filter(|nulls| nulls.null_count() > 0) {
        None => slots
            .iter()
            .enumerate()
            .for_each(|(row, slot)| apply(*slot as usize, row)),
        Some(nulls) => nulls
            .valid_indices()
            .for_each(|row| apply(slots[row] as usize, row)),
    }
}

/// COUNT: rows whose argument is not null.
#[derive(Debug, Default)]
struct Count {
    counts: Vec<i64>,
}

impl SlotAccumulator for Count {
    fn resize(&mut self, len: usize) {
        self.counts.resize(len.max(self.counts.len()), 0);
    }

    fn update(&mut self, slots: &[Slot], values: &[ArrayRef]) -> Result<()> {
        for_each_valid(slots, values[0].as_ref(), |slot, _| self.counts[slot] += 1);
        Ok(())
    }

    fn retract(&mut self, slots: &[Slot], values: &[ArrayRef]) -> Result<()> {
        for_each_valid(slots, values[0].as_ref(), |slot, _| self.counts[slot] -= 1);
        Ok(())
    }

    fn evaluate(&mut self, slots: &[Slot]) -> Result<ArrayRef> {
        Ok(Arc::new(Int64Array::from_iter_values(
            slots.iter().map(|slot| self.counts[*slot as usize]),
        )))
    }

    fn state(&mut self, slots: &[Slot]) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.evaluate(slots)?])
    }

    fn merge(&mut self, slots: &[Slot], state: &[ArrayRef]) -> Result<()> {
        let counts = state[0].as_primitive::<Int64Type>();
        for (slot, count) in slots.iter().zip(counts.values()) {
            self.counts[*slot as usize] += count;
        }
        Ok(())
    }

    fn clear(&mut self, slots: &[Slot]) {
        slots
            .iter()
            .for_each(|slot| self.counts[*slot as usize] = 0);
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![DataType::Int64]
    }

    fn size(&self) -> usize {
        self.counts.capacity() * size_of::<i64>()
    }
}

/// SUM, with the number of values: NULL when there is none, and rows can be taken away.
#[derive(Debug)]
struct Sum<T: ArrowPrimitiveType> {
    sums: Vec<T::Native>,
    counts: Vec<i64>,
}

impl<T: ArrowPrimitiveType> Default for Sum<T> {
    fn default() -> Self {
        Self {
            sums: Vec::new(),
            counts: Vec::new(),
        }
    }
}

impl<T: ArrowPrimitiveType + Debug> Sum<T> {
    /// Which of `slots` have values.
    fn validity(&self, slots: &[Slot]) -> NullBuffer {
        slots
            .iter()
            .map(|slot| self.counts[*slot as usize] > 0)
            .collect()
    }
}

impl<T: ArrowPrimitiveType + Debug> SlotAccumulator for Sum<T> {
    fn resize(&mut self, len: usize) {
        let len = len.max(self.sums.len());
        self.sums.resize(len, T::default_value());
        self.counts.resize(len, 0);
    }

    fn update(&mut self, slots: &[Slot], values: &[ArrayRef]) -> Result<()> {
        let array = values[0].as_primitive::<T>();
        let values = array.values();
        for_each_valid(slots, array, |slot, row| {
            self.sums[slot] = self.sums[slot].add_wrapping(values[row]);
            self.counts[slot] += 1;
        });
        Ok(())
    }

    fn retract(&mut self, slots: &[Slot], values: &[ArrayRef]) -> Result<()> {
        let array = values[0].as_primitive::<T>();
        let values = array.values();
        for_each_valid(slots, array, |slot, row| {
            self.sums[slot] = self.sums[slot].sub_wrapping(values[row]);
            self.counts[slot] -= 1;
        });
        Ok(())
    }

    fn evaluate(&mut self, slots: &[Slot]) -> Result<ArrayRef> {
        let sums = slots
            .iter()
            .map(|slot| self.sums[*slot as usize])
            .collect::<Vec<_>>();
        Ok(Arc::new(PrimitiveArray::<T>::new(
            sums.into(),
            Some(self.validity(slots)),
        )))
    }

    fn state(&mut self, slots: &[Slot]) -> Result<Vec<ArrayRef>> {
        let sums = slots.iter().map(|slot| self.sums[*slot as usize]);
        let counts = slots.iter().map(|slot| self.counts[*slot as usize]);
        Ok(vec![
            Arc::new(PrimitiveArray::<T>::from_iter_values(sums)),
            Arc::new(Int64Array::from_iter_values(counts)),
        ])
    }

    fn merge(&mut self, slots: &[Slot], state: &[ArrayRef]) -> Result<()> {
        let sums = state[0].as_primitive::<T>().values();
        let counts = state[1].as_primitive::<Int64Type>().values();
        for (row, slot) in slots.iter().enumerate() {
            let slot = *slot as usize;
            self.sums[slot] = self.sums[slot].add_wrapping(sums[row]);
            self.counts[slot] += counts[row];
        }
        Ok(())
    }

    fn clear(&mut self, slots: &[Slot]) {
        for slot in slots {
            self.sums[*slot as usize] = T::default_value();
            self.counts[*slot as usize] = 0;
        }
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![T::DATA_TYPE, DataType::Int64]
    }

    fn size(&self) -> usize {
        self.sums.capacity() * size_of::<T::Native>() + self.counts.capacity() * size_of::<i64>()
    }
}

/// AVG over DOUBLE.
#[derive(Debug, Default)]
struct Average {
    sum: Sum<Float64Type>,
}

impl SlotAccumulator for Average {
    fn resize(&mut self, len: usize) {
        self.sum.resize(len);
    }

    fn update(&mut self, slots: &[Slot], values: &[ArrayRef]) -> Result<()> {
        self.sum.update(slots, values)
    }

    fn retract(&mut self, slots: &[Slot], values: &[ArrayRef]) -> Result<()> {
        self.sum.retract(slots, values)
    }

    fn evaluate(&mut self, slots: &[Slot]) -> Result<ArrayRef> {
        let averages = slots
            .iter()
            .map(|slot| self.sum.sums[*slot as usize] / self.sum.counts[*slot as usize] as f64)
            .collect::<Vec<_>>();
        Ok(Arc::new(Float64Array::new(
            averages.into(),
            Some(self.sum.validity(slots)),
        )))
    }

    fn state(&mut self, slots: &[Slot]) -> Result<Vec<ArrayRef>> {
        self.sum.state(slots)
    }

    fn merge(&mut self, slots: &[Slot], state: &[ArrayRef]) -> Result<()> {
        self.sum.merge(slots, state)
    }

    fn clear(&mut self, slots: &[Slot]) {
        self.sum.clear(slots);
    }

    fn state_types(&self) -> Vec<DataType> {
        self.sum.state_types()
    }

    fn size(&self) -> usize {
        self.sum.size()
    }
}

/// MIN or MAX, floating point in total order as DataFusion has it.
#[derive(Debug)]
struct Extreme<T: ArrowPrimitiveType> {
    values: Vec<Option<T::Native>>,
    data_type: DataType,
    largest: bool,
}

impl<T: ArrowPrimitiveType> Extreme<T> {
    fn new(data_type: &DataType, largest: bool) -> Self {
        Self {
            values: Vec::new(),
            data_type: data_type.clone(),
            largest,
        }
    }
}

impl<T: ArrowPrimitiveType + Debug> SlotAccumulator for Extreme<T> {
    fn resize(&mut self, len: usize) {
        self.values.resize(len.max(self.values.len()), None);
    }

    fn update(&mut self, slots: &[Slot], values: &[ArrayRef]) -> Result<()> {
        let array = values[0].as_primitive::<T>();
        let values = array.values();
        let largest = self.largest;
        for_each_valid(slots, array, |slot, row| {
            let value = values[row];
            let better = match self.values[slot] {
                None => true,
                Some(best) if largest => value.is_gt(best),
                Some(best) => value.is_lt(best),
            };
            if better {
                self.values[slot] = Some(value);
            }
        });
        Ok(())
    }

    fn retract(&mut self, _slots: &[Slot], _values: &[ArrayRef]) -> Result<()> {
        datafusion::common::internal_err!("MIN and MAX cannot take rows away")
    }

    fn evaluate(&mut self, slots: &[Slot]) -> Result<ArrayRef> {
        let values = slots.iter().map(|slot| self.values[*slot as usize]);
        let array: PrimitiveArray<T> = values.collect();
        Ok(Arc::new(array.with_data_type(self.data_type.clone())))
    }

    fn state(&mut self, slots: &[Slot]) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.evaluate(slots)?])
    }

    fn merge(&mut self, slots: &[Slot], state: &[ArrayRef]) -> Result<()> {
        self.update(slots, state)
    }

    fn clear(&mut self, slots: &[Slot]) {
        slots
            .iter()
            .for_each(|slot| self.values[*slot as usize] = None);
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![self.data_type.clone()]
    }

    fn size(&self) -> usize {
        self.values.capacity() * size_of::<Option<T::Native>>()
    }
}
