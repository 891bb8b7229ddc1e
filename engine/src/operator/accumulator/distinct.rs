//! COUNT(DISTINCT …) over whole numbers, times and texts, columnar.
//!
//! One hash table for all groups finds a value of a group, so that a row is one lookup. The values of
//! a group lie next to each other, as its state is written.

use std::fmt::Debug;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, Int64Array, ListArray, PrimitiveArray,
    StringArray,
};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{
    DataType, Date32Type, FieldRef, Int32Type, Int64Type, Time32MillisecondType, TimeUnit,
    TimestampMillisecondType,
};
use datafusion::common::hash_utils::RandomState;
use datafusion::common::{Result, exec_datafusion_err, internal_err};
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::native::for_each_valid;
use super::{Slot, SlotAccumulator};

/// The accumulator for COUNT(DISTINCT argument), where its type has one.
pub(super) fn create(function: &AggregateFunctionExpr) -> Option<Box<dyn SlotAccumulator>> {
    let fields = function.state_fields().ok()?;
    let [state] = fields.as_slice() else {
        return None;
    };
    let DataType::List(item) = state.data_type() else {
        return None;
    };
    let item = Arc::clone(item);
    Some(match item.data_type() {
        DataType::Int32 => Box::new(Distinct::<Numbers<Int32Type>>::new(item)),
        DataType::Int64 => Box::new(Distinct::<Numbers<Int64Type>>::new(item)),
        DataType::Date32 => Box::new(Distinct::<Numbers<Date32Type>>::new(item)),
        DataType::Time32(TimeUnit::Millisecond) => {
            Box::new(Distinct::<Numbers<Time32MillisecondType>>::new(item))
        }
        DataType::Timestamp(TimeUnit::Millisecond, None) => {
            Box::new(Distinct::<Numbers<TimestampMillisecondType>>::new(item))
        }
        DataType::Utf8 => Box::new(Distinct::<Texts>::new(item)),
        _ => return None,
    })
}

/// Values of one group, in the order in which they came.
trait Values: Debug + Default + Send {
    type Value<'a>: Copy + Eq + Hash
    where
        Self: 'a;
    /// The column that they come in.
    type Array: Array;

    fn of(array: &dyn Array) -> &Self::Array;

    fn read(array: &Self::Array, row: usize) -> Self::Value<'_>;

    fn get(&self, place: usize) -> Self::Value<'_>;

    fn has(&self, place: usize, value: Self::Value<'_>) -> bool;

    fn push(&mut self, value: Self::Value<'_>);

    fn len(&self) -> usize;

    /// Memory beyond the value itself, in bytes.
    fn bytes(&self) -> usize;

    /// The values of several groups, one group after the other.
    fn concat<'a>(
        groups: impl Iterator<Item = &'a Self> + Clone,
        of: &DataType,
    ) -> Result<ArrayRef>
    where
        Self: 'a;
}

#[derive(Debug)]
struct Numbers<T: ArrowPrimitiveType>(Vec<T::Native>);

impl<T: ArrowPrimitiveType> Default for Numbers<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: ArrowPrimitiveType<Native: Eq + Hash> + Debug> Values for Numbers<T> {
    type Value<'a> = T::Native;
    type Array = PrimitiveArray<T>;

    fn of(array: &dyn Array) -> &Self::Array {
        array.as_primitive()
    }

    fn read(array: &Self::Array, row: usize) -> T::Native {
        array.value(row)
    }

    fn get(&self, place: usize) -> T::Native {
        self.0[place]
    }

    fn has(&self, place: usize, value: T::Native) -> bool {
        self.0[place] == value
    }

    fn push(&mut self, value: T::Native) {
        self.0.push(value);
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn bytes(&self) -> usize {
        self.0.capacity() * size_of::<T::Native>()
    }

    fn concat<'a>(
        groups: impl Iterator<Item = &'a Self> + Clone,
        of: &DataType,
    ) -> Result<ArrayRef> {
        let mut values = Vec::with_capacity(groups.clone().map(Self::len).sum());
        groups.for_each(|group| values.extend_from_slice(&group.0));
        let array = PrimitiveArray::<T>::new(ScalarBuffer::from(values), None);
        Ok(Arc::new(array.with_data_type(of.clone())))
    }
}

#[derive(Debug, Default)]
struct Texts {
    ends: Vec<usize>,
    text: String,
}

impl Values for Texts {
    type Value<'a> = &'a str;
    type Array = StringArray;

    fn of(array: &dyn Array) -> &Self::Array {
        array.as_string()
    }

    fn read(array: &Self::Array, row: usize) -> &str {
        array.value(row)
    }

    fn get(&self, place: usize) -> &str {
        let start = place.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.text[start..self.ends[place]]
    }

    fn has(&self, place: usize, value: &str) -> bool {
        self.get(place) == value
    }

    fn push(&mut self, value: &str) {
        self.text.push_str(value);
        self.ends.push(self.text.len());
    }

    fn len(&self) -> usize {
        self.ends.len()
    }

    fn bytes(&self) -> usize {
        self.ends.capacity() * size_of::<usize>() + self.text.capacity()
    }

    fn concat<'a>(
        groups: impl Iterator<Item = &'a Self> + Clone,
        _of: &DataType,
    ) -> Result<ArrayRef> {
        let mut text = String::with_capacity(groups.clone().map(|group| group.text.len()).sum());
        if i32::try_from(text.capacity()).is_err() {
            return Err(too_many());
        }
        let mut ends = Vec::with_capacity(1 + groups.clone().map(Self::len).sum::<usize>());
        ends.push(0);
        for group in groups {
            let base = text.len();
            ends.extend(group.ends.iter().map(|end| (base + end) as i32));
            text.push_str(&group.text);
        }
        let ends = OffsetBuffer::new(ScalarBuffer::from(ends));
        let bytes = Buffer::from_vec(text.into_bytes());
        Ok(Arc::new(StringArray::try_new(ends, bytes, None)?))
    }
}

fn too_many() -> datafusion::error::DataFusionError {
    exec_datafusion_err!(
        "COUNT(DISTINCT …): the groups that changed since the last commit have more than 2 GiB of \
         values; commit more often (commit.interval.ms) or set state.memory.mb below 2048"
    )
}

/// COUNT(DISTINCT …).
#[derive(Debug)]
struct Distinct<V> {
    groups: Vec<V>,
    /// A value's group, and its place among those of the group.
    places: HashTable<(Slot, u32)>,
    hasher: RandomState,
    /// The state is a list of these.
    item: FieldRef,
    /// Memory of all groups' values, in bytes.
    bytes: usize,
}

impl<V: Values> Distinct<V> {
    fn new(item: FieldRef) -> Self {
        Self {
            groups: Vec::new(),
            places: HashTable::new(),
            hasher: RandomState::default(),
            item,
            bytes: 0,
        }
    }

    fn insert(&mut self, slot: Slot, value: V::Value<'_>) {
        let hash = self.hasher.hash_one((slot, value));
        let (groups, hasher) = (&self.groups, &self.hasher);
        let entry = self.places.entry(
            hash,
            |found| found.0 == slot && groups[slot as usize].has(found.1 as usize, value),
            |found| hash_of(groups, hasher, *found),
        );
        let Entry::Vacant(vacant) = entry else {
            return;
        };
        let group = &mut self.groups[slot as usize];
        // Memory ends before the places do.
        vacant.insert((slot, group.len() as u32));
        let before = group.bytes();
        group.push(value);
        self.bytes = self.bytes + group.bytes() - before;
    }
}

/// The hash of a value that is there.
fn hash_of<V: Values>(groups: &[V], hasher: &RandomState, (slot, place): (Slot, u32)) -> u64 {
    hasher.hash_one((slot, groups[slot as usize].get(place as usize)))
}

impl<V: Values> SlotAccumulator for Distinct<V> {
    fn resize(&mut self, len: usize) {
        if len > self.groups.len() {
            self.groups.resize_with(len, V::default);
        }
    }

    fn update(&mut self, slots: &[Slot], values: &[ArrayRef]) -> Result<()> {
        let values = V::of(values[0].as_ref());
        for_each_valid(slots, values, |slot, row| {
            self.insert(slot as Slot, V::read(values, row));
        });
        Ok(())
    }

    fn retract(&mut self, _slots: &[Slot], _values: &[ArrayRef]) -> Result<()> {
        internal_err!("COUNT(DISTINCT …) cannot take rows away")
    }

    fn evaluate(&mut self, slots: &[Slot]) -> Result<ArrayRef> {
        Ok(Arc::new(Int64Array::from_iter_values(
            slots
                .iter()
                .map(|slot| self.groups[*slot as usize].len() as i64),
        )))
    }

    fn state(&mut self, slots: &[Slot]) -> Result<Vec<ArrayRef>> {
        let groups = slots.iter().map(|slot| &self.groups[*slot as usize]);
        let mut ends = Vec::with_capacity(slots.len() + 1);
        let mut end = 0;
        ends.push(0);
        for group in groups.clone() {
            end += group.len();
            ends.push(i32::try_from(end).map_err(|_| too_many())?);
        }
        let ends = OffsetBuffer::new(ScalarBuffer::from(ends));
        let values = V::concat(groups, self.item.data_type())?;
        let lists = ListArray::try_new(Arc::clone(&self.item), ends, values, None)?;
        Ok(vec![Arc::new(lists)])
    }

    fn merge(&mut self, slots: &[Slot], state: &[ArrayRef]) -> Result<()> {
        let lists = state[0].as_list::<i32>();
        let values = V::of(lists.values().as_ref());
        let (groups, hasher) = (&self.groups, &self.hasher);
        self.places
            .reserve(values.len(), |found| hash_of(groups, hasher, *found));
        for (slot, range) in slots.iter().zip(lists.value_offsets().windows(2)) {
            for row in (range[0] as usize..range[1] as usize).filter(|row| values.is_valid(*row)) {
                self.insert(*slot, V::read(values, row));
            }
        }
        Ok(())
    }

    fn clear(&mut self, slots: &[Slot]) {
        for slot in slots {
            let group = std::mem::take(&mut self.groups[*slot as usize]);
            self.bytes -= group.bytes();
            for place in 0..group.len() {
                let hash = self.hasher.hash_one((*slot, group.get(place)));
                let found = self
                    .places
                    .find_entry(hash, |found| *found == (*slot, place as u32));
                if let Ok(entry) = found {
                    entry.remove();
                }
            }
        }
        if self.places.len() < self.places.capacity() / 4 {
            let (groups, hasher) = (&self.groups, &self.hasher);
            self.places.shrink_to(self.places.len() * 2, |found| {
                hash_of(groups, hasher, *found)
            });
        }
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![DataType::List(Arc::clone(&self.item))]
    }

    fn size(&self) -> usize {
        self.groups.capacity() * size_of::<V>() + self.bytes + self.places.allocation_size()
    }
}
