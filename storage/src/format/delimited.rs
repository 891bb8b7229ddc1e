//! DELIMITED: a line of values per record, as Apache commons-csv reads and writes them for ksqlDB.
//! A value may stand in quotes, and must if the delimiter, a quote or a line end is in it; quotes
//! inside are doubled. Nothing between two delimiters is NULL; two quotes are an empty string.

mod encode;
mod line;

use arrow::array::{Array, ArrayRef, BinaryArray};
use arrow::datatypes::{DataType, FieldRef, Fields};

use self::line::{Line, Value};
use super::column::{Scalar, Strings};
use super::utf8::Utf8;
use super::{BadValue, Decoded, excerpt, sql_type};
use crate::{Error, Result};

pub(super) use encode::Encoder;

/// Whether the format has a form for the type; otherwise the name of the type.
pub(super) fn supports(data_type: &DataType) -> Result<(), &'static str> {
    match Scalar::new(data_type) {
        Some(_) => Ok(()),
        None => Err(sql_type::base(data_type)),
    }
}

/// Lines into columns.
#[derive(Debug)]
pub(super) struct Decoder {
    fields: Fields,
    /// One for each field; `None` where it is not wanted.
    columns: Vec<Option<Scalar>>,
    projection: Vec<usize>,
    delimiter: char,
}

impl Decoder {
    pub(super) fn try_new(fields: &Fields, delimiter: char, projection: &[usize]) -> Result<Self> {
        let mut columns: Vec<_> = fields.iter().map(|_| None).collect();
        for &i in projection {
            columns[i] = Some(Scalar::new(fields[i].data_type()).ok_or_else(|| {
                Error::Internal(format!("no DELIMITED column for {}", fields[i].data_type()))
            })?);
        }
        Ok(Self {
            fields: fields.clone(),
            columns,
            projection: projection.to_vec(),
            delimiter,
        })
    }

    pub(super) fn decode(&mut self, payloads: &BinaryArray) -> Result<Decoded> {
        let mut bad = Vec::new();
        let utf8 = Utf8::new(payloads);
        for column in self.columns.iter_mut().flatten() {
            column.reserve(payloads.len());
        }
        for row in 0..payloads.len() {
            if payloads.is_null(row) {
                self.columns
                    .iter_mut()
                    .flatten()
                    .for_each(Scalar::push_null);
                continue;
            }
            let base = payloads.value_offsets()[row] as usize;
            let result = if utf8.is_valid(row) {
                self.push(payloads.value(row), base)
            } else {
                let valid = std::str::from_utf8(payloads.value(row)).map_err(|e| e.valid_up_to());
                Err(format!(
                    "malformed line: not UTF-8 at byte {}",
                    valid.err().unwrap_or(0)
                ))
            };
            if let Err(reason) = result {
                for column in self.columns.iter_mut().flatten() {
                    column.truncate(row);
                    column.push_null();
                }
                bad.push(BadValue { row, reason });
            }
        }
        let columns = self.finish(payloads).inspect_err(|_| {
            // What the failed batch left behind is not the next one's.
            self.columns
                .iter_mut()
                .flatten()
                .for_each(|column| column.truncate(0));
        })?;
        let nulls = payloads
            .nulls()
            .filter(|nulls| nulls.null_count() > 0)
            .cloned();
        Ok(Decoded {
            columns,
            bad,
            nulls,
        })
    }

    fn finish(&mut self, payloads: &BinaryArray) -> Result<Vec<ArrayRef>> {
        let mut arrays = Vec::with_capacity(self.projection.len());
        for &i in &self.projection {
            if let Some(column) = &mut self.columns[i] {
                arrays.push(column.finish(self.fields[i].data_type(), payloads.values())?);
            }
        }
        Ok(arrays)
    }

    /// Appends the line `payload`, which stands at `base` in the batch's payloads, or says why it
    /// cannot be. May leave half a row behind if so.
    fn push(&mut self, payload: &[u8], base: usize) -> Result<(), String> {
        let expected = self.columns.len();
        if expected == 0 {
            return Ok(());
        }
        let mut line = Line::new(payload, self.delimiter);
        if line.is_empty() && expected == 1 {
            // The only value is NULL.
            self.columns
                .iter_mut()
                .flatten()
                .for_each(Scalar::push_null);
            return Ok(());
        }
        let mut found = 0;
        let mut problem = None;
        while let Some(value) = line.next_value()? {
            if let Some(Some(column)) = self.columns.get_mut(found)
                && push_value(column, &value, base).is_err()
                && problem.is_none()
            {
                problem = Some(mismatch(&self.fields[found], &value));
            }
            found += 1;
        }
        // Of a line with too many or too few values nothing is where it should be.
        if found != expected {
            return Err(format!("expected {expected} columns, found {found}"));
        }
        problem.map_or(Ok(()), Err)
    }
}

fn push_value(
    column: &mut Scalar,
    value: &Value<'_>,
    base: usize,
) -> Result<(), super::column::Mismatch> {
    if !value.text.is_empty() {
        return match (column, &value.text) {
            // Texts that do not stand in the payload as they are.
            (Scalar::String(column), std::borrow::Cow::Owned(text)) => write(column, text),
            (Scalar::StringView(column), std::borrow::Cow::Owned(text)) => write(column, text),
            (column, text) => column.push_text(text, base + value.at),
        };
    }
    match column {
        Scalar::String(_) | Scalar::StringView(_) | Scalar::Bytes(_) if value.quoted => {
            column.push_text(b"", base + value.at)
        }
        _ => {
            column.push_null();
            Ok(())
        }
    }
}

fn write(column: &mut impl Strings, text: &[u8]) -> Result<(), super::column::Mismatch> {
    column.push_written(|out| {
        out.extend_from_slice(text);
        Ok(())
    })
}

fn mismatch(field: &FieldRef, value: &Value<'_>) -> String {
    format!(
        "column \"{}\": expected {}, found {}",
        field.name(),
        sql_type::name(field.data_type()),
        excerpt(&String::from_utf8_lossy(&value.text))
    )
}

#[cfg(test)]
mod tests;
