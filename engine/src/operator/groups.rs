//! The groups of an aggregation that are in memory: key → slot, and the slot's state key.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{DataType, FieldRef, Float32Type, Float64Type, Schema};
use arrow::row::{RowConverter, SortField};
use datafusion::common::Result;
use datafusion::physical_plan::aggregates::group_values::{GroupValues, new_group_values};
use datafusion::physical_plan::aggregates::order::GroupOrdering;

use super::ENCODED_ROWS;
use super::accumulator::Slot;
use super::dense_keys::{Bounds, DenseKeys, are_dense, bounds, may_be_dense};
use crate::state::StateTable;

/// A column of keys in which zeros have one sign: they are one key to the hash table, and have to be
/// one in state keys and in what is emitted, too.
pub(crate) fn one_zero(column: ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Float32 => {
            let values = column.as_primitive::<Float32Type>();
            Arc::new(values.unary::<_, Float32Type>(|value| value + 0.0))
        }
        DataType::Float64 => {
            let values = column.as_primitive::<Float64Type>();
            Arc::new(values.unary::<_, Float64Type>(|value| value + 0.0))
        }
        _ => column,
    }
}

/// The first row of each new key, in the order of the keys' numbers. `numbers` has the rows' keys; those
/// from `known` up to `len` are new.
pub(crate) fn first_rows(numbers: &[usize], known: usize, len: usize) -> Vec<u32> {
    if len == known {
        return Vec::new();
    }
    let mut first = vec![u32::MAX; len - known];
    for (row, number) in numbers.iter().enumerate() {
        // Numbers are given out in row order, but for keys of one hash.
        if let Some(place) = number.checked_sub(known)
            && first[place] == u32::MAX
        {
            first[place] = row as u32;
        }
    }
    first
}

/// What finds a key's slot.
enum Index {
    Hash {
        values: Box<dyn GroupValues>,
        /// The least and greatest key, while keys may turn out to be dense.
        dense: Option<Option<Bounds>>,
    },
    Dense(DenseKeys),
}

/// Groups in memory, by slot.
pub(crate) struct Groups {
    index: Index,
    schema: Arc<Schema>,
    keys: Arc<RowConverter>,
    table: StateTable,
    len: usize,
    /// State keys of the slots, one after another.
    key_bytes: Vec<u8>,
    /// Length of every key while it is the same; then where each ends.
    key_len: Option<usize>,
    key_ends: Vec<usize>,
    interned: Vec<usize>,
}

impl fmt::Debug for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Groups")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

impl Groups {
    /// No groups yet; `fields` are the grouping expressions.
    pub(crate) fn try_new(fields: &[FieldRef], table: StateTable) -> Result<Self> {
        let keys = RowConverter::new(
            fields
                .iter()
                .map(|field| SortField::new(field.data_type().clone()))
                .collect(),
        )?;
        let schema = Arc::new(Schema::new(fields.to_vec()));
        Self::of(schema, Arc::new(keys), table)
    }

    /// No groups yet, of the same kind as these.
    pub(crate) fn fresh(&self) -> Result<Self> {
        Self::of(
            Arc::clone(&self.schema),
            Arc::clone(&self.keys),
            self.table.clone(),
        )
    }

    fn of(schema: Arc<Schema>, keys: Arc<RowConverter>, table: StateTable) -> Result<Self> {
        let types: Vec<&DataType> = schema.fields().iter().map(|f| f.data_type()).collect();
        let dense = may_be_dense(&types).then_some(None);
        Ok(Self {
            index: Index::Hash {
                values: new_group_values(Arc::clone(&schema), &GroupOrdering::None)?,
                dense,
            },
            schema,
            keys,
            table,
            len: 0,
            key_bytes: Vec::new(),
            key_len: None,
            key_ends: Vec::new(),
            interned: Vec::new(),
        })
    }

    /// Number of groups in memory.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Puts the slot of each row's group into `slots`; returns the first row of each group that
    /// was not in memory, in slot order: their slots are the last ones. `window` goes into their
    /// state keys.
    pub(crate) fn intern(
        &mut self,
        columns: &[ArrayRef],
        window: Option<i64>,
        slots: &mut Vec<Slot>,
    ) -> Result<Vec<u32>> {
        slots.clear();
        let mut first_rows = Vec::new();
        if let Index::Dense(keys) = &mut self.index
            && !keys.intern(&columns[0], slots, &mut first_rows)
        {
            self.hash(window.is_some())?;
        }
        if let Index::Hash { values, .. } = &mut self.index {
            self.interned.clear();
            values.intern(columns, &mut self.interned)?;
            slots.extend(self.interned.iter().map(|slot| *slot as Slot));
            first_rows = self::first_rows(&self.interned, self.len, values.len());
        }
        if !first_rows.is_empty() {
            self.add_keys(columns, window, &first_rows)?;
            self.look_whether_dense(columns, window.is_some())?;
        }
        Ok(first_rows)
    }

    /// Has keys found by an array from now on, if they are dense.
    fn look_whether_dense(&mut self, columns: &[ArrayRef], windowed: bool) -> Result<()> {
        let len = self.len();
        let Index::Hash {
            dense: Some(known), ..
        } = &mut self.index
        else {
            return Ok(());
        };
        *known = bounds(&columns[0], *known);
        let Some(known) = known.filter(|known| are_dense(len, *known)) else {
            return Ok(());
        };
        let mut keys = DenseKeys::new(known);
        let (mut slots, mut first_rows) = (Vec::new(), Vec::new());
        self.for_all_keys(windowed, |columns| {
            slots.clear();
            first_rows.clear();
            // It has room for all.
            keys.intern(&columns[0], &mut slots, &mut first_rows);
            Ok(())
        })?;
        self.index = Index::Dense(keys);
        Ok(())
    }

    /// Has keys found by a hash table from now on.
    fn hash(&mut self, windowed: bool) -> Result<()> {
        let mut values = new_group_values(Arc::clone(&self.schema), &GroupOrdering::None)?;
        let mut interned = Vec::new();
        self.for_all_keys(windowed, |columns| {
            interned.clear();
            values.intern(columns, &mut interned)
        })?;
        self.index = Index::Hash {
            values,
            dense: None,
        };
        Ok(())
    }

    /// Does something with the grouping columns of all groups, some at a time, in slot order.
    fn for_all_keys(
        &self,
        windowed: bool,
        mut act: impl FnMut(&[ArrayRef]) -> Result<()>,
    ) -> Result<()> {
        for first in (0..self.len()).step_by(ENCODED_ROWS) {
            let slots = first..(first + ENCODED_ROWS).min(self.len());
            let keys = slots.map(|slot| self.key(slot as Slot));
            act(&self.key_columns(keys, windowed)?)?;
        }
        Ok(())
    }

    fn add_keys(&mut self, columns: &[ArrayRef], window: Option<i64>, rows: &[u32]) -> Result<()> {
        let indices = arrow::array::UInt32Array::from(rows.to_vec());
        let columns = columns
            .iter()
            .map(|column| {
                Ok(one_zero(arrow::compute::take(
                    column.as_ref(),
                    &indices,
                    None,
                )?))
            })
            .collect::<Result<Vec<_>>>()?;
        for key in self.keys.convert_columns(&columns)?.iter() {
            let begin = self.key_bytes.len();
            self.table
                .write_key(&mut self.key_bytes, key.data(), window);
            self.note_key(begin);
        }
        Ok(())
    }

    /// Notes a key that was added and begins there.
    fn note_key(&mut self, begin: usize) {
        let end = self.key_bytes.len();
        match self.key_len {
            _ if self.len == 0 => self.key_len = Some(end),
            Some(len) if len == end - begin => {}
            Some(len) => {
                self.key_len = None;
                self.key_ends.extend((1..=self.len).map(|slot| slot * len));
                self.key_ends.push(end);
            }
            None => self.key_ends.push(end),
        }
        self.len += 1;
    }

    /// The state key of a slot.
    pub(crate) fn key(&self, slot: Slot) -> &[u8] {
        let slot = slot as usize;
        if let Some(len) = self.key_len {
            return &self.key_bytes[slot * len..(slot + 1) * len];
        }
        let start = if slot == 0 {
            0
        } else {
            self.key_ends[slot - 1]
        };
        &self.key_bytes[start..self.key_ends[slot]]
    }

    /// The grouping columns of state keys, which have a window or not.
    pub(crate) fn key_columns<'a>(
        &self,
        keys: impl IntoIterator<Item = &'a [u8]>,
        windowed: bool,
    ) -> Result<Vec<ArrayRef>> {
        let parser = self.keys.parser();
        let rows = keys
            .into_iter()
            .map(|key| parser.parse(StateTable::row_of_key(key, windowed)));
        Ok(self.keys.convert_rows(rows)?)
    }

    /// Memory held, in bytes.
    pub(crate) fn size(&self) -> usize {
        let index = match &self.index {
            Index::Hash { values, .. } => values.size(),
            Index::Dense(keys) => keys.size(),
        };
        index
            + self.key_bytes.capacity()
            + self.key_ends.capacity() * size_of::<usize>()
            + self.interned.capacity() * size_of::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use arrow::array::{Int32Array, Int64Array};
    use arrow::datatypes::Field;
    use kappa_storage::store::{Store, StoreOptions};

    use super::*;
    use crate::operator::numbers::Numbers;

    /// Where a batch's keys lie.
    #[derive(Clone, Copy, Debug)]
    enum Keys {
        /// From a number on, without gaps.
        Dense(i64),
        /// Anywhere between two numbers.
        Between(i64, i64),
        Nulls,
    }

    impl Keys {
        const SOME: [Self; 9] = [
            Self::Dense(0),
            Self::Dense(20_000),
            Self::Dense(-50_000),
            Self::Between(-30_000, 90_000),
            Self::Between(-1_000_000, 1_000_000),
            Self::Between(i64::MIN, i64::MAX),
            Self::Dense(i64::MIN),
            Self::Dense(i64::MAX - 5_000),
            Self::Nulls,
        ];
    }

    /// Slots are those that a hash map gives, whatever finds them.
    fn slots_are_right(batches: &[(Keys, u64)], narrow: bool) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path(), StoreOptions::default()).unwrap();
        let table = StateTable::open(&store, 7, true).unwrap();
        let of = match narrow {
            true => DataType::Int32,
            false => DataType::Int64,
        };
        let field = Arc::new(Field::new("K", of, true));
        let mut groups = Groups::try_new(&[field], table).unwrap();
        let mut model: HashMap<Option<i64>, Slot> = HashMap::new();
        let mut slots = Vec::new();
        for (keys, seed) in batches {
            let mut numbers = Numbers(*seed);
            let mut next = || numbers.below(1 << 31) as i64;
            let keys: Vec<Option<i64>> = (0..5_000)
                .map(|row| match *keys {
                    Keys::Dense(first) => Some(first + row),
                    Keys::Between(i64::MIN, _) => Some(next() << 33),
                    Keys::Between(least, most) => Some(least + next() % (most - least)),
                    Keys::Nulls => (row % 7 > 0).then_some(row),
                })
                .map(|key| match narrow {
                    true => key.map(|key| i64::from(key as i32)),
                    false => key,
                })
                .collect();
            let column: ArrayRef = match narrow {
                true => Arc::new(Int32Array::from_iter(
                    keys.iter().map(|key| key.map(|key| key as i32)),
                )),
                false => Arc::new(Int64Array::from_iter(keys.iter().copied())),
            };
            let first_rows = groups.intern(&[column], None, &mut slots).unwrap();
            let mut expected_rows = Vec::new();
            for (row, (key, slot)) in keys.iter().zip(&slots).enumerate() {
                let new = model.len() as Slot;
                let expected = *model.entry(*key).or_insert_with(|| {
                    expected_rows.push(row as u32);
                    new
                });
                assert_eq!(*slot, expected, "{key:?}");
            }
            assert_eq!(first_rows, expected_rows);
            assert_eq!(groups.len(), model.len());
        }
    }

    #[test]
    fn slots_do_not_depend_on_what_finds_them() {
        for seed in 0..40_u64 {
            // Numbers that follow each other first, for most of the time.
            let batches: Vec<(Keys, u64)> = (0..seed % 20 + 1)
                .map(|batch| match (batch * 7 + seed * 11) % 13 {
                    odd @ 0..9 if batch > seed % 16 => (Keys::SOME[odd as usize], seed + batch),
                    any => (Keys::Dense((any as i64 - 6) * 3_000), seed),
                })
                .collect();
            slots_are_right(&batches, seed % 3 == 0);
        }
    }

    #[test]
    fn dense_keys_are_found_by_an_array_until_they_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path(), StoreOptions::default()).unwrap();
        let table = StateTable::open(&store, 7, true).unwrap();
        let field = Arc::new(Field::new("K", DataType::Int64, true));
        let mut groups = Groups::try_new(&[field], table).unwrap();
        let mut slots = Vec::new();
        let mut intern = |groups: &mut Groups, keys: std::ops::Range<i64>| {
            let column: ArrayRef = Arc::new(Int64Array::from_iter_values(keys));
            groups.intern(&[column], None, &mut slots).unwrap();
            matches!(groups.index, Index::Dense(_))
        };
        assert!(!intern(&mut groups, 0..16_000));
        assert!(intern(&mut groups, 16_000..17_000));
        let size = groups.size();
        assert!(intern(&mut groups, 10..17_000));
        assert_eq!(groups.size(), size);
        assert!(!intern(&mut groups, 1_000_000_000..1_000_000_001));
        // It is not tried again.
        assert!(!intern(&mut groups, 0..100_000));
    }
}
