//! FIRST_VALUE and LAST_VALUE in the order of arrival, columnar: what EARLIEST_BY_OFFSET and
//! LATEST_BY_OFFSET of one value are.

use std::fmt::Debug;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, PrimitiveArray, StringArray,
};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float64Type, Int32Type, Int64Type, Time32MillisecondType,
    TimeUnit, TimestampMillisecondType,
};
use datafusion::common::{Result, internal_err};
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;

use super::{Slot, SlotAccumulator};

/// The accumulator for a function of that `end`, where the type of its values has one.
pub(super) fn create(
    function: &AggregateFunctionExpr,
    end: End,
) -> Option<Box<dyn SlotAccumulator>> {
    let of = function.field().data_type().clone();
    let nulls = !function.ignore_nulls();
    Some(match of {
        DataType::Boolean => Box::new(FirstLast::<Copied<BooleanArray>>::new(of, end, nulls)),
        DataType::Int32 => Box::new(FirstLast::<Numbers<Int32Type>>::new(of, end, nulls)),
        DataType::Int64 => Box::new(FirstLast::<Numbers<Int64Type>>::new(of, end, nulls)),
        DataType::Float64 => Box::new(FirstLast::<Numbers<Float64Type>>::new(of, end, nulls)),
        DataType::Decimal128(..) => {
            Box::new(FirstLast::<Numbers<Decimal128Type>>::new(of, end, nulls))
        }
        DataType::Date32 => Box::new(FirstLast::<Numbers<Date32Type>>::new(of, end, nulls)),
        DataType::Time32(TimeUnit::Millisecond) => Box::new(FirstLast::<
            Numbers<Time32MillisecondType>,
        >::new(of, end, nulls)),
        DataType::Timestamp(TimeUnit::Millisecond, None) => Box::new(FirstLast::<
            Numbers<TimestampMillisecondType>,
        >::new(of, end, nulls)),
        DataType::Utf8 => Box::new(FirstLast::<Texts>::new(of, end, nulls)),
        _ => return None,
    })
}

/// Which value of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    First,
    Last,
}

/// A value of each group, or NULL.
trait Cells: Debug + Default + Send {
    /// The column that values come in.
    type Array: Array;

    fn of(array: &dyn Array) -> &Self::Array;

    fn resize(&mut self, len: usize);

    fn set(&mut self, slot: usize, array: &Self::Array, row: usize);

    fn clear(&mut self, slot: usize);

    fn gather(&self, slots: &[Slot], of: &DataType) -> ArrayRef;

    /// Memory held, in bytes.
    fn size(&self) -> usize;
}

/// A column whose values are copied.
trait Column: Array {
    type Item: Copy + Debug + Send;

    fn of(array: &dyn Array) -> &Self;

    fn item(&self, row: usize) -> Self::Item;

    fn gather(values: impl Iterator<Item = Option<Self::Item>>, of: &DataType) -> ArrayRef;
}

impl<T: ArrowPrimitiveType> Column for PrimitiveArray<T> {
    type Item = T::Native;

    fn of(array: &dyn Array) -> &Self {
        array.as_primitive()
    }

    fn item(&self, row: usize) -> T::Native {
        self.value(row)
    }

    fn gather(values: impl Iterator<Item = Option<T::Native>>, of: &DataType) -> ArrayRef {
        Arc::new(values.collect::<Self>().with_data_type(of.clone()))
    }
}

impl Column for BooleanArray {
    type Item = bool;

    fn of(array: &dyn Array) -> &Self {
        array.as_boolean()
    }

    fn item(&self, row: usize) -> bool {
        self.value(row)
    }

    fn gather(values: impl Iterator<Item = Option<bool>>, _of: &DataType) -> ArrayRef {
        Arc::new(values.collect::<Self>())
    }
}

#[derive(Debug)]
struct Copied<A: Column>(Vec<Option<A::Item>>);

type Numbers<T> = Copied<PrimitiveArray<T>>;

impl<A: Column> Default for Copied<A> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<A: Column> Cells for Copied<A> {
    type Array = A;

    fn of(array: &dyn Array) -> &A {
        A::of(array)
    }

    fn resize(&mut self, len: usize) {
        self.0.resize(len, None);
    }

    fn set(&mut self, slot: usize, array: &A, row: usize) {
        self.0[slot] = array.is_valid(row).then(|| array.item(row));
    }

    fn clear(&mut self, slot: usize) {
        self.0[slot] = None;
    }

    fn gather(&self, slots: &[Slot], of: &DataType) -> ArrayRef {
        A::gather(slots.iter().map(|slot| self.0[*slot as usize]), of)
    }

    fn size(&self) -> usize {
        self.0.capacity() * size_of::<Option<A::Item>>()
    }
}

#[derive(Debug, Default)]
struct Texts {
    texts: Vec<Option<Box<str>>>,
    /// Of the texts, in bytes.
    len: usize,
}

impl Cells for Texts {
    type Array = StringArray;

    fn of(array: &dyn Array) -> &Self::Array {
        array.as_string()
    }

    fn resize(&mut self, len: usize) {
        self.texts.resize(len, None);
    }

    fn set(&mut self, slot: usize, array: &Self::Array, row: usize) {
        self.clear(slot);
        if array.is_valid(row) {
            let text = array.value(row);
            self.len += text.len();
            self.texts[slot] = Some(text.into());
        }
    }

    fn clear(&mut self, slot: usize) {
        if let Some(text) = self.texts[slot].take() {
            self.len -= text.len();
        }
    }

    fn gather(&self, slots: &[Slot], _of: &DataType) -> ArrayRef {
        let texts = slots
            .iter()
            .map(|slot| self.texts[*slot as usize].as_deref());
        Arc::new(texts.collect::<StringArray>())
    }

    fn size(&self) -> usize {
        self.texts.capacity() * size_of::<Option<Box<str>>>() + self.len
    }
}

/// FIRST_VALUE or LAST_VALUE.
#[derive(Debug)]
struct FirstLast<C> {
    of: DataType,
    end: End,
    /// Whether a NULL is a value.
    nulls: bool,
    cells: C,
    /// Which groups have a value, which may be NULL.
    set: Vec<bool>,
    /// The number of the last update that a group was in, and of the one under way: a group's rows
    /// are looked at from the last one on, of which only that one counts.
    updated: Vec<u64>,
    update: u64,
}

impl<C: Cells> FirstLast<C> {
    fn new(of: DataType, end: End, nulls: bool) -> Self {
        Self {
            of,
            end,
            nulls,
            cells: C::default(),
            set: Vec::new(),
            updated: Vec::new(),
            update: 0,
        }
    }

    /// Takes the rows for which `counts`.
    fn take(&mut self, slots: &[Slot], values: &dyn Array, counts: impl Fn(usize) -> bool) {
        let values = C::of(values);
        self.update += 1;
        let mut take = |row: usize| {
            let slot = slots[row] as usize;
            let known = match self.end {
                End::First => self.set[slot],
                End::Last => self.updated[slot] == self.update,
            };
            if !known && counts(row) {
                self.cells.set(slot, values, row);
                self.set[slot] = true;
                self.updated[slot] = self.update;
            }
        };
        match self.end {
            End::First => (0..slots.len()).for_each(&mut take),
            End::Last => (0..slots.len()).rev().for_each(&mut take),
        }
    }
}

impl<C: Cells> SlotAccumulator for FirstLast<C> {
    fn resize(&mut self, len: usize) {
        if len > self.set.len() {
            self.cells.resize(len);
            self.set.resize(len, false);
            self.updated.resize(len, 0);
        }
    }

    fn update(&mut self, slots: &[Slot], values: &[ArrayRef]) -> Result<()> {
        let values = values[0].as_ref();
        let nulls = self.nulls;
        self.take(slots, values, |row| nulls || values.is_valid(row));
        Ok(())
    }

    fn retract(&mut self, _slots: &[Slot], _values: &[ArrayRef]) -> Result<()> {
        internal_err!("FIRST_VALUE and LAST_VALUE cannot take rows away")
    }

    fn evaluate(&mut self, slots: &[Slot]) -> Result<ArrayRef> {
        Ok(self.cells.gather(slots, &self.of))
    }

    fn state(&mut self, slots: &[Slot]) -> Result<Vec<ArrayRef>> {
        let set = slots.iter().map(|slot| Some(self.set[*slot as usize]));
        Ok(vec![
            self.cells.gather(slots, &self.of),
            Arc::new(set.collect::<BooleanArray>()),
        ])
    }

    fn merge(&mut self, slots: &[Slot], state: &[ArrayRef]) -> Result<()> {
        let set = state[1].as_boolean();
        self.take(slots, state[0].as_ref(), |row| {
            set.is_valid(row) && set.value(row)
        });
        Ok(())
    }

    fn clear(&mut self, slots: &[Slot]) {
        for slot in slots {
            self.cells.clear(*slot as usize);
            self.set[*slot as usize] = false;
        }
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![self.of.clone(), DataType::Boolean]
    }

    fn size(&self) -> usize {
        self.cells.size() + self.set.capacity() + self.updated.capacity() * size_of::<u64>()
    }
}
