//! Values of any type as JSON text.

use std::fmt::Write;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Decimal256Type, Float64Type, Int32Type, Int64Type,
    Time32MillisecondType, TimestampMillisecondType,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::{DateTime, NaiveDate, NaiveTime, Timelike};

use super::node::write_string;
use crate::functions::number::java_double;

/// Appends the value of a row. `None` where its type has no JSON.
pub(in crate::functions) fn write(array: &dyn Array, row: usize, out: &mut String) -> Option<()> {
    if array.is_null(row) {
        out.push_str("null");
        return Some(());
    }
    // Writing to a string cannot fail.
    let mut text = |text: &dyn std::fmt::Display| {
        let _ = write!(out, "{text}");
    };
    match array.data_type() {
        DataType::Null => text(&"null"),
        DataType::Boolean => text(&array.as_boolean().value(row)),
        DataType::Int32 => text(&array.as_primitive::<Int32Type>().value(row)),
        DataType::Int64 => text(&array.as_primitive::<Int64Type>().value(row)),
        DataType::Float64 => {
            let value = array.as_primitive::<Float64Type>().value(row);
            match value.is_finite() {
                true => text(&java_double(value)),
                false => text(&format!("\"{}\"", java_double(value))),
            }
        }
        DataType::Decimal128(..) => {
            text(&array.as_primitive::<Decimal128Type>().value_as_string(row));
        }
        DataType::Decimal256(..) => {
            text(&array.as_primitive::<Decimal256Type>().value_as_string(row));
        }
        DataType::Utf8 => write_string(out, array.as_string::<i32>().value(row)).ok()?,
        DataType::Binary => text(&format!(
            "\"{}\"",
            BASE64.encode(array.as_binary::<i32>().value(row))
        )),
        DataType::Date32 => {
            let days = array.as_primitive::<Date32Type>().value(row);
            text(&format!(
                "\"{}\"",
                NaiveDate::from_num_days_from_ce_opt(days.checked_add(719_163)?)?
            ));
        }
        DataType::Time32(_) => {
            let ms = array.as_primitive::<Time32MillisecondType>().value(row);
            let (ms, nanos) = (u32::try_from(ms).ok()?, 1_000_000);
            let time = NaiveTime::from_num_seconds_from_midnight_opt(ms / 1000, ms % 1000 * nanos)?;
            // Java leaves out what is zero at the end.
            let form = match (time.second(), time.nanosecond()) {
                (0, 0) => "\"%H:%M\"",
                (_, 0) => "\"%H:%M:%S\"",
                _ => "\"%H:%M:%S%.3f\"",
            };
            text(&time.format(form));
        }
        DataType::Timestamp(..) => {
            let ms = array.as_primitive::<TimestampMillisecondType>().value(row);
            text(&DateTime::from_timestamp_millis(ms)?.format("\"%Y-%m-%dT%H:%M:%S%.3f\""));
        }
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            out.push('[');
            for item in 0..items.len() {
                out.push_str(if item == 0 { "" } else { "," });
                write(&items, item, out)?;
            }
            out.push(']');
        }
        DataType::Map(..) => {
            let entries = array.as_map().value(row);
            let (keys, values) = (entries.column(0), entries.column(1));
            out.push('{');
            for entry in 0..entries.len() {
                out.push_str(if entry == 0 { "" } else { "," });
                match keys.data_type() {
                    DataType::Utf8 => {
                        write_string(out, keys.as_string::<i32>().value(entry)).ok()?;
                    }
                    _ => {
                        out.push('"');
                        write(keys, entry, out)?;
                        out.push('"');
                    }
                }
                out.push(':');
                write(values, entry, out)?;
            }
            out.push('}');
        }
        DataType::Struct(fields) => {
            let columns = array.as_struct();
            out.push('{');
            for (index, field) in fields.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { "," });
                write_string(out, field.name()).ok()?;
                out.push(':');
                write(columns.column(index), row, out)?;
            }
            out.push('}');
        }
        _ => return None,
    }
    Some(())
}
