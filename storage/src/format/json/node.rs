//! The growing columns of a JSON decoder, nested as the SQL types are.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, ListArray, MapArray, StructArray};
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, FieldRef};

use super::super::column::{Ends, Scalar, Validity};
use super::super::sql_type;
use super::names::{Names, Shape};
use crate::{Error, Result};

/// A growing column.
#[derive(Debug)]
pub(super) enum Node {
    Scalar(Scalar),
    List(Box<List>),
    Map(Box<Map>),
    Struct(Box<Struct>),
}

/// A growing ARRAY column.
#[derive(Debug)]
pub(super) struct List {
    pub(super) items: Node,
    pub(super) ends: Ends,
    pub(super) validity: Validity,
}

/// A growing MAP column.
#[derive(Debug)]
pub(super) struct Map {
    pub(super) keys: Scalar,
    pub(super) values: Node,
    pub(super) ends: Ends,
    pub(super) validity: Validity,
    /// Where the names of the row being read stand in its record.
    pub(super) names: Vec<Range<usize>>,
}

/// A growing STRUCT column.
#[derive(Debug)]
pub(super) struct Struct {
    pub(super) record: Record,
    pub(super) len: usize,
    pub(super) validity: Validity,
}

/// The columns that are the fields of an object.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) columns: Vec<Node>,
    pub(super) names: Names,
    pub(super) shape: Shape,
}

impl Record {
    /// Columns for these fields, or the type that JSON has no form for.
    pub(super) fn new<'a>(
        fields: impl Iterator<Item = &'a FieldRef> + Clone,
    ) -> Result<Self, &'static str> {
        Ok(Self {
            columns: fields
                .clone()
                .map(|f| Node::new(f.data_type()))
                .collect::<Result<_, _>>()?,
            names: Names::new(fields.map(|field| field.name().as_str())),
            shape: Shape::default(),
        })
    }

    /// Prepares for a batch of so many rows.
    pub(super) fn begin_batch(&mut self, rows: usize) {
        self.shape.begin_batch();
        self.columns
            .iter_mut()
            .for_each(|column| column.begin_batch(rows));
    }

    /// Appends NULL to every column.
    pub(super) fn push_null(&mut self) {
        self.columns.iter_mut().for_each(Node::push_null);
    }

    /// Forgets all rows from `len` on.
    pub(super) fn truncate(&mut self, len: usize) {
        self.columns
            .iter_mut()
            .for_each(|column| column.truncate(len));
    }

    /// The columns as arrays of the fields' types. They are empty afterwards.
    pub(super) fn finish<'a>(
        &mut self,
        fields: impl Iterator<Item = &'a FieldRef>,
        source: &Buffer,
    ) -> Result<Vec<ArrayRef>> {
        let columns = self.columns.iter_mut();
        columns
            .zip(fields)
            .map(|(node, field)| node.finish(field.data_type(), source))
            .collect()
    }
}

impl Node {
    /// A column of that type, or the type that JSON has no form for.
    pub(super) fn new(data_type: &DataType) -> Result<Self, &'static str> {
        if let Some(scalar) = Scalar::new(data_type) {
            return Ok(Self::Scalar(scalar));
        }
        Ok(match data_type {
            DataType::List(item) => Self::List(Box::new(List {
                items: Self::new(item.data_type())?,
                ends: Ends::default(),
                validity: Validity::default(),
            })),
            DataType::Map(entries, _) => {
                let (key, value) = entry_fields(entries).ok_or("MAP")?;
                let keys = match Scalar::new(key.data_type()) {
                    Some(keys @ (Scalar::String(_) | Scalar::StringView(_))) => keys,
                    _ => return Err("MAP with keys other than STRING"),
                };
                Self::Map(Box::new(Map {
                    keys,
                    values: Self::new(value.data_type())?,
                    ends: Ends::default(),
                    validity: Validity::default(),
                    names: Vec::new(),
                }))
            }
            DataType::Struct(fields) => Self::Struct(Box::new(Struct {
                record: Record::new(fields.iter())?,
                len: 0,
                validity: Validity::default(),
            })),
            other => return Err(sql_type::base(other)),
        })
    }

    /// Number of rows.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Scalar(column) => column.len(),
            Self::List(list) => list.ends.len(),
            Self::Map(map) => map.ends.len(),
            Self::Struct(column) => column.len,
        }
    }

    /// Prepares for a batch of so many rows.
    pub(super) fn begin_batch(&mut self, rows: usize) {
        match self {
            Self::Scalar(column) => column.reserve(rows),
            Self::List(list) => {
                list.ends.reserve(rows);
                list.items.begin_batch(0);
            }
            Self::Map(map) => {
                map.ends.reserve(rows);
                map.values.begin_batch(0);
            }
            Self::Struct(column) => column.record.begin_batch(rows),
        }
    }

    /// Appends NULL.
    pub(super) fn push_null(&mut self) {
        match self {
            Self::Scalar(column) => column.push_null(),
            Self::List(list) => {
                list.validity.push_null(list.ends.len());
                list.ends.push(list.items.len());
            }
            Self::Map(map) => {
                map.validity.push_null(map.ends.len());
                map.ends.push(map.values.len());
            }
            Self::Struct(column) => {
                column.validity.push_null(column.len);
                column.record.push_null();
                column.len += 1;
            }
        }
    }

    /// Forgets all rows from `len` on, and what a row begun after them has left in the columns
    /// below.
    pub(super) fn truncate(&mut self, len: usize) {
        match self {
            Self::Scalar(column) => column.truncate(len),
            Self::List(list) => {
                let items = list.ends.truncate(len);
                list.items.truncate(items);
                list.validity.truncate(len);
            }
            Self::Map(map) => {
                let entries = map.ends.truncate(len);
                map.keys.truncate(entries);
                map.values.truncate(entries);
                map.validity.truncate(len);
            }
            Self::Struct(column) => {
                column.record.truncate(len);
                column.validity.truncate(len);
                column.len = len;
            }
        }
    }

    /// The rows as an array of `data_type`, the type the column was made for. It is empty
    /// afterwards. `source` holds the payloads of the batch.
    pub(super) fn finish(&mut self, data_type: &DataType, source: &Buffer) -> Result<ArrayRef> {
        let array: Result<ArrayRef, _> = match (self, data_type) {
            (Self::Scalar(column), _) => return column.finish(data_type, source),
            (Self::List(list), DataType::List(item)) => {
                let offsets = list.ends.finish(list.items.len())?;
                let items = list.items.finish(item.data_type(), source)?;
                ListArray::try_new(item.clone(), offsets, items, list.validity.finish())
                    .map(|array| Arc::new(array) as _)
            }
            (Self::Map(map), DataType::Map(entries, sorted)) => {
                let (key, value) = entry_fields(entries).ok_or_else(|| wrong_type(data_type))?;
                let offsets = map.ends.finish(map.values.len())?;
                let columns = vec![
                    map.keys.finish(key.data_type(), source)?,
                    map.values.finish(value.data_type(), source)?,
                ];
                let fields = vec![key.clone(), value.clone()];
                StructArray::try_new(fields.into(), columns, None)
                    .and_then(|pairs| {
                        let nulls = map.validity.finish();
                        MapArray::try_new(entries.clone(), offsets, pairs, nulls, *sorted)
                    })
                    .map(|array| Arc::new(array) as _)
            }
            (Self::Struct(column), DataType::Struct(fields)) => {
                let columns = column.record.finish(fields.iter(), source)?;
                let len = std::mem::take(&mut column.len);
                let nulls = column.validity.finish();
                StructArray::try_new_with_length(fields.clone(), columns, nulls, len)
                    .map(|array| Arc::new(array) as _)
            }
            _ => return Err(wrong_type(data_type)),
        };
        array.map_err(|err| Error::Internal(err.to_string()))
    }
}

/// The key and value fields of a map's entries.
pub(super) fn entry_fields(entries: &FieldRef) -> Option<(&FieldRef, &FieldRef)> {
    match entries.data_type() {
        DataType::Struct(fields) => match &fields[..] {
            [key, value] => Some((key, value)),
            _ => None,
        },
        _ => None,
    }
}

fn wrong_type(data_type: &DataType) -> Error {
    Error::Internal(format!("a JSON column was not made for {data_type}"))
}
