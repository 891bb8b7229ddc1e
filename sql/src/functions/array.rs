//! Functions of arrays. Positions are counted from 1, a NULL is an item like any other, and two
//! items are the same if their values are, whatever their type.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int32Builder, Int64Builder, ListArray, ListBuilder,
    UInt32Array, make_comparator,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{SortOptions, cast, concat, take};
use arrow::datatypes::DataType;
use arrow::row::{RowConverter, SortField};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::ScalarUDF;
use datafusion::logical_expr::type_coercion::binary::type_union_coercion;

use super::json::value;
use super::native::{Call, Get, Native, Overload, Param, list_of, takes};

const FIRST: fn(&[DataType]) -> DataType = |types| match &types[0] {
    DataType::List(_) => types[0].clone(),
    _ => list_of(DataType::Null),
};
const ITEM: fn(&[DataType]) -> DataType = |types| match &types[0] {
    DataType::List(item) => item.data_type().clone(),
    _ => DataType::Null,
};
const BOOLEAN: fn(&[DataType]) -> DataType = |_| DataType::Boolean;
const STRING: fn(&[DataType]) -> DataType = |_| DataType::Utf8;

/// The longest series: beyond it a row would be a way to use up memory.
const SERIES_MAX: i64 = 1 << 20;

pub(super) fn all() -> Vec<ScalarUDF> {
    use Param::{Any, Array, BigInt, Int, String};
    static LENGTH: &[Overload] = &[takes(
        &[Array],
        |_| DataType::Int32,
        |call| {
            let lists = call.list(0);
            Ok(call.ints(|row| lists.is_valid(row).then(|| lists.value_length(row))))
        },
    )];
    static CONTAINS: &[Overload] = &[takes(&[Array, Any], BOOLEAN, |call| {
        let items = Items::with(call.list(0), &call.args[1])?;
        let contains = |row: usize| items.of(row).any(|at| items.ids[at] == items.other(row));
        Ok(Arc::new(
            (0..call.rows)
                .map(|row| Some(contains(row)))
                .collect::<BooleanArray>(),
        ))
    })
    .unify(list_and_item)];
    static REMOVE: &[Overload] = &[takes(&[Array, Any], FIRST, |call| {
        let items = Items::with(call.list(0), &call.args[1])?;
        items.pick(call, |row, picked| {
            picked.extend(
                items
                    .of(row)
                    .filter(|at| items.ids[*at] != items.other(row)),
            );
        })
    })
    .unify(list_and_item)];
    static DISTINCT: &[Overload] = &[takes(&[Array], FIRST, |call| {
        let items = Items::new(call.list(0))?;
        items.pick(call, |row, picked| items.add_new(items.of(row), picked))
    })];
    static UNION: &[Overload] = &[takes(&[Array, Array], FIRST, |call| {
        let items = Items::both(call.list(0), call.list(1))?;
        items.pick(call, |row, picked| {
            items.add_new(items.of(row), picked);
            items.add_new(items.of_second(row), picked);
        })
    })
    .unify(same_lists)];
    static EXCEPT: &[Overload] = &[takes(&[Array, Array], FIRST, |call| {
        let items = Items::both(call.list(0), call.list(1))?;
        items.pick(call, |row, picked| {
            let left = items.of(row).filter(|at| !items.second_has(row, *at));
            items.add_new(left, picked);
        })
    })
    .unify(same_lists)];
    static INTERSECT: &[Overload] = &[takes(&[Array, Array], FIRST, |call| {
        let items = Items::both(call.list(0), call.list(1))?;
        items.pick(call, |row, picked| {
            let both = items.of(row).filter(|at| items.second_has(row, *at));
            items.add_new(both, picked);
        })
    })
    .unify(same_lists)];
    static CONCAT: &[Overload] = &[takes(&[Array, Array], FIRST, |call| {
        let (first, second) = (call.list(0), call.list(1));
        let mut items = Items::both(first, second)?;
        // Only two NULLs make one.
        let some = (0..call.rows).map(|row| first.is_valid(row) || second.is_valid(row));
        items.nulls = Some(NullBuffer::from_iter(some));
        items.pick(call, |row, picked| {
            picked.extend(items.of(row));
            picked.extend(items.of_second(row));
        })
    })
    .unify(same_lists)];
    static MAX: &[Overload] = &[takes(&[Array], ITEM, |call| extreme(call, true))];
    static MIN: &[Overload] = &[takes(&[Array], ITEM, |call| extreme(call, false))];
    static SORT: &[Overload] = &[
        takes(&[Array], FIRST, sort),
        takes(&[Array, String], FIRST, sort),
    ];
    static JOIN: &[Overload] = &[
        takes(&[Array], STRING, join),
        takes(&[Array, String], STRING, join),
    ];
    static SLICE: &[Overload] = &[takes(&[Array, Int, Int], FIRST, slice)];
    static SERIES: &[Overload] = &[
        takes(&[Int, Int], |_| list_of(DataType::Int32), int_series),
        takes(&[Int, Int, Int], |_| list_of(DataType::Int32), int_series),
        takes(
            &[BigInt, BigInt],
            |_| list_of(DataType::Int64),
            bigint_series,
        ),
        takes(
            &[BigInt, BigInt, Int],
            |_| list_of(DataType::Int64),
            bigint_series,
        ),
    ];
    vec![
        Native::create("array_length", LENGTH),
        Native::create("array_contains", CONTAINS),
        Native::create("array_remove", REMOVE),
        Native::create("array_distinct", DISTINCT),
        Native::create("array_union", UNION),
        Native::create("array_except", EXCEPT),
        Native::create("array_intersect", INTERSECT),
        Native::create("array_concat", CONCAT),
        Native::create("array_max", MAX),
        Native::create("array_min", MIN),
        Native::create("array_sort", SORT),
        Native::create("array_join", JOIN),
        Native::create("slice", SLICE),
        Native::create("generate_series", SERIES),
    ]
}

fn item_of(of: &DataType) -> Option<DataType> {
    match of {
        DataType::List(item) => Some(item.data_type().clone()),
        DataType::Null => Some(DataType::Null),
        _ => None,
    }
}

fn common(a: &DataType, b: &DataType) -> Option<DataType> {
    if a == b {
        Some(a.clone())
    } else {
        type_union_coercion(a, b)
    }
}

/// Two arrays of the same items.
fn same_lists(types: Vec<DataType>) -> Option<Vec<DataType>> {
    let item = common(&item_of(types.first()?)?, &item_of(types.get(1)?)?)?;
    Some(vec![list_of(item); 2])
}

/// An array, and what may be in it.
fn list_and_item(types: Vec<DataType>) -> Option<Vec<DataType>> {
    let item = common(&item_of(types.first()?)?, types.get(1)?)?;
    Some(vec![list_of(item.clone()), item])
}

/// The items of all rows of one array or two, each with a number that is the same for the same
/// values.
struct Items<'a> {
    values: ArrayRef,
    ids: Vec<u32>,
    first: &'a ListArray,
    second: Option<&'a ListArray>,
    /// Where the first array's items end among the values.
    split: usize,
    /// Which rows have a result.
    nulls: Option<NullBuffer>,
}

impl<'a> Items<'a> {
    fn new(first: &'a ListArray) -> Result<Self> {
        let values = Arc::clone(first.values());
        Ok(Self {
            ids: identify(&values)?,
            split: values.len(),
            values,
            first,
            second: None,
            nulls: first.nulls().cloned(),
        })
    }

    /// With one more item for each row.
    fn with(first: &'a ListArray, other: &ArrayRef) -> Result<Self> {
        let values = concat(&[first.values().as_ref(), other.as_ref()])?;
        Ok(Self {
            ids: identify(&values)?,
            values,
            split: first.values().len(),
            first,
            second: None,
            nulls: first.nulls().cloned(),
        })
    }

    fn both(first: &'a ListArray, second: &'a ListArray) -> Result<Self> {
        let values = concat(&[first.values().as_ref(), second.values().as_ref()])?;
        Ok(Self {
            ids: identify(&values)?,
            values,
            split: first.values().len(),
            first,
            second: Some(second),
            nulls: NullBuffer::union(first.nulls(), second.nulls()),
        })
    }

    /// Where a row's items are.
    fn of(&self, row: usize) -> std::ops::Range<usize> {
        items_of(self.first, row)
    }

    fn of_second(&self, row: usize) -> std::ops::Range<usize> {
        match self.second {
            Some(second) => {
                let range = items_of(second, row);
                self.split + range.start..self.split + range.end
            }
            None => 0..0,
        }
    }

    /// The number of the one more item of a row.
    fn other(&self, row: usize) -> u32 {
        self.ids[self.split + row]
    }

    fn second_has(&self, row: usize, at: usize) -> bool {
        self.of_second(row)
            .any(|other| self.ids[other] == self.ids[at])
    }

    /// Adds the items that are not there yet.
    fn add_new(&self, from: impl Iterator<Item = usize>, picked: &mut Vec<usize>) {
        for at in from {
            if !picked.iter().any(|other| self.ids[*other] == self.ids[at]) {
                picked.push(at);
            }
        }
    }

    /// An array of each row with the items that `choose` picks.
    fn pick(
        &self,
        call: &Call<'_>,
        mut choose: impl FnMut(usize, &mut Vec<usize>),
    ) -> Result<ArrayRef> {
        let mut picked = Vec::new();
        let mut indices: Vec<u32> = Vec::new();
        let mut lengths = Vec::with_capacity(call.rows);
        for row in 0..call.rows {
            picked.clear();
            if self.nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)) {
                choose(row, &mut picked);
            }
            indices.extend(picked.iter().map(|at| *at as u32));
            lengths.push(picked.len());
        }
        lists(call, &self.values, indices, lengths, self.nulls.clone())
    }
}

/// Where a row's items are. A NULL has none.
fn items_of(list: &ListArray, row: usize) -> std::ops::Range<usize> {
    if list.is_null(row) {
        return 0..0;
    }
    let offsets = list.value_offsets();
    offsets[row] as usize..offsets[row + 1] as usize
}

/// Arrays of the values at `indices`, so many a row.
fn lists(
    call: &Call<'_>,
    values: &ArrayRef,
    indices: Vec<u32>,
    lengths: Vec<usize>,
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef> {
    let values = take(values, &UInt32Array::from(indices), None)?;
    let DataType::List(item) = call.returns else {
        return datafusion::common::internal_err!("{} is no array", call.returns);
    };
    let values = match values.data_type() == item.data_type() {
        true => values,
        false => cast(&values, item.data_type())?,
    };
    let offsets = OffsetBuffer::from_lengths(lengths);
    Ok(Arc::new(ListArray::try_new(
        Arc::clone(item),
        offsets,
        values,
        nulls,
    )?))
}

/// Numbers for values: the same for the same.
fn identify(values: &ArrayRef) -> Result<Vec<u32>> {
    fn number<K: std::hash::Hash + Eq>(known: &mut HashMap<K, u32>, key: K) -> u32 {
        let next = known.len() as u32;
        match known.entry(key) {
            Entry::Occupied(entry) => *entry.get(),
            Entry::Vacant(entry) => *entry.insert(next),
        }
    }
    let field = SortField::new(values.data_type().clone());
    if RowConverter::supports_fields(std::slice::from_ref(&field)) {
        let converter = RowConverter::new(vec![field])?;
        let rows = converter.convert_columns(std::slice::from_ref(values))?;
        let mut known = HashMap::new();
        return Ok(rows.iter().map(|row| number(&mut known, row)).collect());
    }
    let mut known = HashMap::new();
    (0..values.len())
        .map(|at| Ok(number(&mut known, ScalarValue::try_from_array(values, at)?)))
        .collect()
}

fn extreme(call: &Call<'_>, largest: bool) -> Result<ArrayRef> {
    let lists = call.list(0);
    let values = lists.values();
    let options = SortOptions {
        descending: largest,
        nulls_first: false,
    };
    let compare = make_comparator(values, values, options)?;
    let best: UInt32Array = (0..call.rows)
        .map(|row| {
            let there = items_of(lists, row).filter(|at| values.is_valid(*at));
            there.min_by(|a, b| compare(*a, *b)).map(|at| at as u32)
        })
        .collect();
    Ok(take(values, &best, None)?)
}

/// `ARRAY_SORT(array [, 'ASC' | 'DESC'])`: NULLs last, either way.
fn sort(call: &Call<'_>) -> Result<ArrayRef> {
    let list = call.list(0);
    let values = list.values();
    let comparator = |descending| {
        let options = SortOptions {
            descending,
            nulls_first: false,
        };
        make_comparator(values, values, options)
    };
    let (up, down) = (comparator(false)?, comparator(true)?);
    let mut indices: Vec<u32> = Vec::with_capacity(values.len());
    let mut lengths = Vec::with_capacity(call.rows);
    let mut valid = Vec::with_capacity(call.rows);
    for row in 0..call.rows {
        let descending = match call.args.len() {
            2 => call.string(1).get(row).and_then(|direction| {
                match direction.to_ascii_uppercase().as_str() {
                    "ASC" | "ASCENDING" => Some(false),
                    "DESC" | "DESCENDING" => Some(true),
                    _ => None,
                }
            }),
            _ => Some(false),
        };
        let start = indices.len();
        if let Some(descending) = descending {
            indices.extend(items_of(list, row).map(|at| at as u32));
            let compare = if descending { &down } else { &up };
            indices[start..].sort_by(|a, b| compare(*a as usize, *b as usize));
        }
        lengths.push(indices.len() - start);
        valid.push(list.is_valid(row) && descending.is_some());
    }
    lists(
        call,
        values,
        indices,
        lengths,
        Some(NullBuffer::from(valid)),
    )
}

/// `ARRAY_JOIN(array [, delimiter])`
fn join(call: &Call<'_>) -> Result<ArrayRef> {
    let list = call.list(0);
    let values = list.values();
    Ok(call.strings(|row| {
        let delimiter = match call.args.len() {
            2 => call.string(1).get(row)?,
            _ => ",",
        };
        if list.is_null(row) {
            return None;
        }
        let mut text = String::new();
        for (index, at) in items_of(list, row).enumerate() {
            text.push_str(if index == 0 { "" } else { delimiter });
            match values.data_type() {
                DataType::Utf8 if values.is_valid(at) => {
                    text.push_str(values.as_string::<i32>().value(at));
                }
                _ => value::write(values, at, &mut text)?,
            }
        }
        Some(text)
    }))
}

/// `SLICE(array, from, to)`: both ends are in it, and both must be in the array.
fn slice(call: &Call<'_>) -> Result<ArrayRef> {
    let (list, from, to) = (call.list(0), call.int(1), call.int(2));
    let mut indices = Vec::new();
    let mut lengths = Vec::with_capacity(call.rows);
    let mut valid = Vec::with_capacity(call.rows);
    for row in 0..call.rows {
        let items = items_of(list, row);
        let part = || -> Option<std::ops::Range<usize>> {
            let start = usize::try_from(from.get(row).unwrap_or(1))
                .ok()?
                .checked_sub(1)?;
            let end = match to.get(row) {
                Some(to) => usize::try_from(to).ok()?,
                None => items.len(),
            };
            let inside = list.is_valid(row) && start <= end && end <= items.len();
            inside.then_some(items.start + start..items.start + end)
        };
        let part = part();
        valid.push(part.is_some());
        let part = part.unwrap_or(0..0);
        lengths.push(part.len());
        indices.extend(part.map(|at| at as u32));
    }
    lists(
        call,
        list.values(),
        indices,
        lengths,
        Some(NullBuffer::from(valid)),
    )
}

/// The numbers of a series, which has its end in it. `None` for one without an end, or a huge one.
fn series(start: i64, end: i64, step: Option<i64>) -> Option<impl Iterator<Item = i64>> {
    let step = step.unwrap_or(if end < start { -1 } else { 1 });
    let steps = end.checked_sub(start)?.checked_div(step)?;
    // Towards the other side there is nothing, and the start alone when both are the same.
    let count = if steps < 0 || (end - start).signum() * step.signum() < 0 {
        0
    } else {
        steps + 1
    };
    (count <= SERIES_MAX).then(|| (0..count).map(move |index| start + index * step))
}

fn step(call: &Call<'_>, row: usize) -> Option<Option<i64>> {
    match call.args.len() {
        3 => call.int(2).get(row).map(|step| Some(i64::from(step))),
        _ => Some(None),
    }
}

fn int_series(call: &Call<'_>) -> Result<ArrayRef> {
    let mut lists = ListBuilder::new(Int32Builder::new());
    for row in 0..call.rows {
        let numbers = || {
            let (start, end) = (call.int(0).get(row)?, call.int(1).get(row)?);
            series(start.into(), end.into(), step(call, row)?)
        };
        let numbers = numbers();
        let there = numbers.is_some();
        numbers
            .into_iter()
            .flatten()
            .for_each(|number| lists.values().append_value(number as i32));
        lists.append(there);
    }
    Ok(Arc::new(lists.finish()))
}

fn bigint_series(call: &Call<'_>) -> Result<ArrayRef> {
    let mut lists = ListBuilder::new(Int64Builder::new());
    for row in 0..call.rows {
        let numbers = || {
            let (start, end) = (call.bigint(0).get(row)?, call.bigint(1).get(row)?);
            series(start, end, step(call, row)?)
        };
        let numbers = numbers();
        let there = numbers.is_some();
        numbers
            .into_iter()
            .flatten()
            .for_each(|number| lists.values().append_value(number));
        lists.append(there);
    }
    Ok(Arc::new(lists.finish()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_run_either_way() {
        let of =
            |start, end, step| series(start, end, step).map(|numbers| numbers.collect::<Vec<_>>());
        assert_eq!(of(1, 3, None), Some(vec![1, 2, 3]));
        assert_eq!(of(3, 1, None), Some(vec![3, 2, 1]));
        assert_eq!(of(1, 9, Some(4)), Some(vec![1, 5, 9]));
        assert_eq!(of(1, 9, Some(-1)), Some(vec![]));
        assert_eq!(of(2, 2, Some(5)), Some(vec![2]));
        assert_eq!(of(1, 9, Some(0)), None);
    }
}
