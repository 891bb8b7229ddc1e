//! Functions of maps.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, ListArray, MapArray, StringArray, StructArray,
    UInt32Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{cast, concat, take};
use arrow::datatypes::DataType;
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::ScalarUDF;
use datafusion::logical_expr::type_coercion::binary::type_union_coercion;

use super::native::{Call, Get, Native, Overload, Param, list_of, takes};
use crate::types::SqlType;

pub(super) fn all() -> Vec<ScalarUDF> {
    use Param::{Array, Boolean, Map, Strings};
    static UNION: &[Overload] =
        &[takes(&[Map, Map], |types| types[0].clone(), union).unify(same_maps)];
    static AS_MAP: &[Overload] = &[takes(
        &[Strings, Array],
        |types| match &types[1] {
            DataType::List(item) => map_of(item.data_type()),
            other => map_of(other),
        },
        as_map,
    )];
    static ENTRIES: &[Overload] = &[takes(
        &[Map, Boolean],
        |types| match value_of(&types[0]) {
            Some(value) => list_of(entry_of(&value)),
            None => DataType::Null,
        },
        entries,
    )];
    vec![
        Native::create("map_union", UNION),
        Native::create("as_map", AS_MAP),
        Native::create("entries", ENTRIES),
    ]
}

/// `MAP<STRING, value>`
pub(super) fn map_of(value: &DataType) -> DataType {
    let of = SqlType::from_arrow(value).unwrap_or(SqlType::String);
    SqlType::Map(Box::new(SqlType::String), Box::new(of)).to_arrow()
}

/// The type of a map's values.
pub(super) fn value_of(map: &DataType) -> Option<DataType> {
    let DataType::Map(entries, _) = map else {
        return None;
    };
    let DataType::Struct(fields) = entries.data_type() else {
        return None;
    };
    fields.get(1).map(|field| field.data_type().clone())
}

/// `STRUCT<K STRING, V value>`
fn entry_of(value: &DataType) -> DataType {
    use arrow::datatypes::{Field, Fields};
    DataType::Struct(Fields::from(vec![
        Field::new("K", DataType::Utf8, true),
        Field::new("V", value.clone(), true),
    ]))
}

fn same_maps(types: Vec<DataType>) -> Option<Vec<DataType>> {
    let [a, b] = types.as_slice() else {
        return None;
    };
    let value = match (value_of(a), value_of(b)) {
        (Some(a), Some(b)) if a == b => a,
        (Some(a), Some(b)) => type_union_coercion(&a, &b)?,
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => return None,
    };
    Some(vec![map_of(&value); 2])
}

/// A map of the keys and values at `indices`, so many a row.
pub(super) fn maps(
    returns: &DataType,
    keys: &ArrayRef,
    values: &ArrayRef,
    lengths: Vec<usize>,
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef> {
    let DataType::Map(field, sorted) = returns else {
        return internal_err!("{returns} is no map");
    };
    let DataType::Struct(fields) = field.data_type() else {
        return internal_err!("{returns} is no map");
    };
    let columns = [keys, values]
        .into_iter()
        .zip(fields)
        .map(
            |(column, field)| match column.data_type() == field.data_type() {
                true => Ok(Arc::clone(column)),
                false => Ok(cast(column, field.data_type())?),
            },
        )
        .collect::<Result<Vec<_>>>()?;
    let entries = StructArray::try_new(fields.clone(), columns, None)?;
    let offsets = OffsetBuffer::from_lengths(lengths);
    Ok(Arc::new(MapArray::try_new(
        Arc::clone(field),
        offsets,
        entries,
        nulls,
        *sorted,
    )?))
}

/// Where a row's entries are. A NULL has none.
pub(super) fn entries_of(map: &MapArray, row: usize) -> std::ops::Range<usize> {
    if map.is_null(row) {
        return 0..0;
    }
    let offsets = map.value_offsets();
    offsets[row] as usize..offsets[row + 1] as usize
}

/// Both maps' entries; of a key in both, the second's. NULL only where both are.
fn union(call: &Call<'_>) -> Result<ArrayRef> {
    let (a, b) = (call.map(0), call.map(1));
    let keys = concat(&[a.keys().as_ref(), b.keys().as_ref()])?;
    let values = concat(&[a.values().as_ref(), b.values().as_ref()])?;
    let names: &StringArray = keys.as_string();
    let split = a.keys().len();
    let mut indices: Vec<u32> = Vec::new();
    let mut lengths = Vec::with_capacity(call.rows);
    for row in 0..call.rows {
        let start = indices.len();
        let mut known: HashMap<&str, usize> = HashMap::new();
        let second = entries_of(b, row);
        for at in entries_of(a, row).chain(split + second.start..split + second.end) {
            match known.get(names.value(at)) {
                Some(place) => indices[*place] = at as u32,
                None => {
                    known.insert(names.value(at), indices.len());
                    indices.push(at as u32);
                }
            }
        }
        lengths.push(indices.len() - start);
    }
    let nulls = NullBuffer::from_iter((0..call.rows).map(|row| a.is_valid(row) || b.is_valid(row)));
    let indices = UInt32Array::from(indices);
    let (keys, values) = (take(&keys, &indices, None)?, take(&values, &indices, None)?);
    maps(call.returns, &keys, &values, lengths, Some(nulls))
}

/// `AS_MAP(keys, values)`: pairs for as long as there are both; of a key that comes twice, the last.
fn as_map(call: &Call<'_>) -> Result<ArrayRef> {
    let (keys, values) = (call.list(0), call.list(1));
    let names: &StringArray = keys.values().as_string();
    let items = |list: &ListArray, row: usize| {
        let offsets = list.value_offsets();
        offsets[row] as usize..offsets[row + 1] as usize
    };
    let (mut of_keys, mut of_values) = (Vec::new(), Vec::new());
    let mut lengths = Vec::with_capacity(call.rows);
    for row in 0..call.rows {
        let start = of_keys.len();
        if keys.is_valid(row) && values.is_valid(row) {
            let mut known: HashMap<&str, usize> = HashMap::new();
            for (key, value) in items(keys, row).zip(items(values, row)) {
                let Some(name) = names.get(key) else { continue };
                match known.get(name) {
                    Some(place) => of_values[*place] = value as u32,
                    None => {
                        known.insert(name, of_keys.len());
                        of_keys.push(key as u32);
                        of_values.push(value as u32);
                    }
                }
            }
        }
        lengths.push(of_keys.len() - start);
    }
    let keys_there = take(keys.values(), &UInt32Array::from(of_keys), None)?;
    let values_there = take(values.values(), &UInt32Array::from(of_values), None)?;
    let nulls = NullBuffer::union(keys.nulls(), values.nulls());
    maps(call.returns, &keys_there, &values_there, lengths, nulls)
}

/// `ENTRIES(map, sorted)`
fn entries(call: &Call<'_>) -> Result<ArrayRef> {
    let map = call.map(0);
    let sorted: &BooleanArray = call.args[1].as_boolean();
    let names: &StringArray = map.keys().as_string();
    let mut indices: Vec<u32> = Vec::new();
    let mut lengths = Vec::with_capacity(call.rows);
    for row in 0..call.rows {
        let start = indices.len();
        indices.extend(entries_of(map, row).map(|at| at as u32));
        if sorted.is_valid(row) && sorted.value(row) {
            indices[start..].sort_by_key(|at| names.value(*at as usize));
        }
        lengths.push(indices.len() - start);
    }
    let DataType::List(item) = call.returns else {
        return internal_err!("{} is no array", call.returns);
    };
    let DataType::Struct(fields) = item.data_type() else {
        return internal_err!("{} is no array of entries", call.returns);
    };
    let indices = UInt32Array::from(indices);
    let columns = vec![
        take(map.keys(), &indices, None)?,
        take(map.values(), &indices, None)?,
    ];
    let entries = Arc::new(StructArray::try_new(fields.clone(), columns, None)?);
    let offsets = OffsetBuffer::from_lengths(lengths);
    let nulls = map.nulls().cloned();
    Ok(Arc::new(ListArray::try_new(
        Arc::clone(item),
        offsets,
        entries,
        nulls,
    )?))
}
