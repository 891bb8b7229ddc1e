//! Columns into JSON: fields in declared order under their declared names, NULL written out,
//! doubles as Java prints them, decimals with their whole scale, no blanks.

use arrow::array::{Array, ArrayRef, BinaryArray, ListArray, MapArray, StructArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Fields};

use super::super::Side;
use super::super::cells::{Cells, Payloads, Texts, Values, base64, downcast};
use super::node::entry_fields;
use super::string;
use crate::{Error, Result};

/// Columns into JSON payloads.
#[derive(Debug)]
pub(in super::super) struct Encoder {
    fields: Fields,
    /// The only column is the record itself, not a field of it.
    bare: bool,
    /// How long a record was last time, to make room for the next ones at once.
    bytes_per_row: usize,
}

impl Encoder {
    pub(in super::super) fn new(side: &Side) -> Self {
        let bare = side.fields.len() == 1 && !side.wrap_single;
        Self {
            fields: side.fields.clone(),
            bare,
            bytes_per_row: 64,
        }
    }

    pub(in super::super) fn encode(
        &mut self,
        columns: &[ArrayRef],
        null_row: impl Fn(usize) -> bool,
        rows: usize,
    ) -> Result<BinaryArray> {
        let object = Object::try_new(&self.fields, columns)?;
        let mut payloads = Payloads::with_capacity(rows, rows * self.bytes_per_row);
        for row in 0..rows {
            let bare = object.members.first().filter(|_| self.bare);
            if null_row(row) || bare.is_some_and(|member| member.values.is_null(row)) {
                payloads.push_null();
                continue;
            }
            match bare {
                Some(member) => member.values.write(row, &mut payloads.out),
                None => object.write(row, &mut payloads.out),
            }
            payloads.close()?;
        }
        self.bytes_per_row = payloads.out.len() / rows.max(1) + 8;
        payloads.finish()
    }
}

/// The columns that become the fields of an object.
struct Object<'a> {
    members: Vec<Member<'a>>,
}

struct Member<'a> {
    /// What stands before the value: `{"NAME":` or `,"NAME":`.
    prefix: Vec<u8>,
    values: Writer<'a>,
}

impl<'a> Object<'a> {
    fn try_new(fields: &Fields, columns: &'a [ArrayRef]) -> Result<Self> {
        if fields.len() != columns.len() {
            let (expected, found) = (fields.len(), columns.len());
            return Err(Error::Internal(format!(
                "{found} columns to encode as {expected}"
            )));
        }
        let mut members = Vec::with_capacity(columns.len());
        for (field, column) in fields.iter().zip(columns) {
            let mut prefix = vec![if members.is_empty() { b'{' } else { b',' }];
            string::write(field.name(), &mut prefix);
            prefix.push(b':');
            members.push(Member {
                prefix,
                values: Writer::try_new(field.data_type(), column)?,
            });
        }
        Ok(Self { members })
    }

    #[inline]
    fn write(&self, row: usize, out: &mut Vec<u8>) {
        for member in &self.members {
            out.extend_from_slice(&member.prefix);
            member.values.write(row, out);
        }
        out.extend_from_slice(if self.members.is_empty() { b"{}" } else { b"}" });
    }
}

/// Writes the values of one column.
enum Writer<'a> {
    Scalar(Cells<'a>),
    List {
        array: &'a ListArray,
        items: Box<Self>,
    },
    Map {
        array: &'a MapArray,
        keys: Texts<'a>,
        values: Box<Self>,
    },
    Struct {
        nulls: Option<&'a NullBuffer>,
        object: Object<'a>,
    },
}

impl<'a> Writer<'a> {
    fn try_new(declared: &DataType, array: &'a ArrayRef) -> Result<Self> {
        Ok(match (declared, array.data_type()) {
            (DataType::List(item), DataType::List(_)) => {
                let array: &ListArray = downcast(array)?;
                let items = Self::try_new(item.data_type(), array.values())?;
                Self::List {
                    array,
                    items: Box::new(items),
                }
            }
            (DataType::Map(entries, _), DataType::Map(..)) => {
                let array: &MapArray = downcast(array)?;
                let fields = entry_fields(entries);
                let (key, value) =
                    fields.ok_or_else(|| Error::Internal(format!("{declared} has no entries")))?;
                let keys = Cells::try_new(key.data_type(), array.keys())?;
                let Values::String(keys) = keys.values else {
                    return Err(Error::Internal(format!("{declared} has no STRING keys")));
                };
                let values = Self::try_new(value.data_type(), array.values())?;
                Self::Map {
                    array,
                    keys,
                    values: Box::new(values),
                }
            }
            (DataType::Struct(fields), DataType::Struct(_)) => {
                let array: &StructArray = downcast(array)?;
                let object = Object::try_new(fields, array.columns())?;
                Self::Struct {
                    nulls: array.nulls(),
                    object,
                }
            }
            _ => Self::Scalar(Cells::try_new(declared, array)?),
        })
    }

    fn is_null(&self, row: usize) -> bool {
        match self {
            Self::Scalar(cells) => cells.is_null(row),
            Self::List { array, .. } => array.is_null(row),
            Self::Map { array, .. } => array.is_null(row),
            Self::Struct { nulls, .. } => nulls.is_some_and(|nulls| nulls.is_null(row)),
        }
    }

    #[inline]
    fn write(&self, row: usize, out: &mut Vec<u8>) {
        if self.is_null(row) {
            return out.extend_from_slice(b"null");
        }
        match self {
            Self::Scalar(cells) => write_scalar(cells, row, out),
            Self::List { array, items } => {
                let offsets = array.value_offsets();
                out.push(b'[');
                for item in offsets[row]..offsets[row + 1] {
                    if item > offsets[row] {
                        out.push(b',');
                    }
                    items.write(item as usize, out);
                }
                out.push(b']');
            }
            Self::Map {
                array,
                keys,
                values,
            } => {
                let offsets = array.value_offsets();
                out.push(b'{');
                for entry in offsets[row]..offsets[row + 1] {
                    if entry > offsets[row] {
                        out.push(b',');
                    }
                    string::write(keys.value(entry as usize), out);
                    out.push(b':');
                    values.write(entry as usize, out);
                }
                out.push(b'}');
            }
            Self::Struct { object, .. } => object.write(row, out),
        }
    }
}

#[inline]
fn write_scalar(cells: &Cells<'_>, row: usize, out: &mut Vec<u8>) {
    match &cells.values {
        Values::String(texts) => string::write(texts.value(row), out),
        Values::Bytes(blobs) => {
            out.push(b'"');
            base64(blobs.value(row), out);
            out.push(b'"');
        }
        // JSON has no numbers for these; Jackson, and our decoder, take them as strings.
        Values::Double(values) if !values[row].is_finite() => {
            out.push(b'"');
            cells.print(row, out);
            out.push(b'"');
        }
        _ => cells.print(row, out),
    }
}
