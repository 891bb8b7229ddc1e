//! One value as text.
//!
//! Arrow's own formatting does the scalars. On top of it: timestamps in ISO 8601 with a fixed
//! number of digits (so that columns align), BYTES in base64, and nested values as
//! `[a, b]`, `{k=v}` and `{F=v}`.

use std::fmt::{self, Write};
use std::io;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

/// NULL inside a nested value.
const NULL: &str = "NULL";

/// The values of one column.
pub(crate) struct Values<'a> {
    array: &'a dyn Array,
    kind: Kind<'a>,
}

enum Kind<'a> {
    Scalar(ArrayFormatter<'a>),
    Bytes,
    List {
        items: Box<Values<'a>>,
    },
    Map {
        keys: Box<Values<'a>>,
        values: Box<Values<'a>>,
    },
    Struct {
        fields: Vec<(&'a str, Values<'a>)>,
    },
}

impl<'a> Values<'a> {
    /// The values of `array`.
    ///
    /// # Errors
    /// A type that arrow cannot print.
    pub(crate) fn try_new(array: &'a dyn Array) -> io::Result<Self> {
        let boxed = |array: &'a ArrayRef| Self::try_new(array).map(Box::new);
        let kind = match array.data_type() {
            DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_) => Kind::Bytes,
            DataType::List(_) => Kind::List {
                items: boxed(array.as_list::<i32>().values())?,
            },
            DataType::LargeList(_) => Kind::List {
                items: boxed(array.as_list::<i64>().values())?,
            },
            DataType::FixedSizeList(..) => Kind::List {
                items: boxed(array.as_fixed_size_list().values())?,
            },
            DataType::Map(..) => {
                let map = array.as_map();
                Kind::Map {
                    keys: boxed(map.keys())?,
                    values: boxed(map.values())?,
                }
            }
            DataType::Struct(fields) => {
                let columns = array.as_struct().columns();
                let fields = fields
                    .iter()
                    .zip(columns)
                    .map(|(field, column)| Ok((field.name().as_str(), Self::try_new(column)?)));
                Kind::Struct {
                    fields: fields.collect::<io::Result<_>>()?,
                }
            }
            other => {
                let format = match other {
                    DataType::Timestamp(TimeUnit::Second, None) => Some("%Y-%m-%dT%H:%M:%S"),
                    DataType::Timestamp(TimeUnit::Millisecond, None) => {
                        Some("%Y-%m-%dT%H:%M:%S%.3f")
                    }
                    DataType::Timestamp(TimeUnit::Microsecond, None) => {
                        Some("%Y-%m-%dT%H:%M:%S%.6f")
                    }
                    DataType::Timestamp(TimeUnit::Nanosecond, None) => {
                        Some("%Y-%m-%dT%H:%M:%S%.9f")
                    }
                    _ => None,
                };
                let options = FormatOptions::new()
                    .with_display_error(false)
                    .with_null(NULL)
                    .with_timestamp_format(format);
                Kind::Scalar(ArrayFormatter::try_new(array, &options).map_err(io::Error::other)?)
            }
        };
        Ok(Self { array, kind })
    }

    /// Whether a row's value is NULL.
    pub(crate) fn is_null(&self, row: usize) -> bool {
        self.array.is_null(row) || matches!(self.array.data_type(), DataType::Null)
    }

    /// A row's value; `None` for NULL.
    pub(crate) fn text(&self, row: usize) -> Option<String> {
        if self.is_null(row) {
            return None;
        }
        let mut out = String::new();
        // Writing into a string does not fail, and what arrow cannot print is dealt with.
        let _ = self.write(row, &mut out);
        Some(out)
    }

    fn write(&self, row: usize, out: &mut String) -> fmt::Result {
        if self.is_null(row) {
            return out.write_str(NULL);
        }
        match &self.kind {
            Kind::Scalar(formatter) => {
                let start = out.len();
                if write!(out, "{}", formatter.value(row)).is_err() {
                    out.truncate(start);
                    out.push_str(&unprintable(self.array, row));
                }
                Ok(())
            }
            Kind::Bytes => {
                BASE64.encode_string(bytes(self.array, row), out);
                Ok(())
            }
            Kind::List { items } => {
                let range = match self.array.data_type() {
                    DataType::LargeList(_) => {
                        let offsets = self.array.as_list::<i64>().value_offsets();
                        offsets[row] as usize..offsets[row + 1] as usize
                    }
                    DataType::FixedSizeList(..) => {
                        let list = self.array.as_fixed_size_list();
                        let start = list.value_offset(row) as usize;
                        start..start + list.value_length() as usize
                    }
                    _ => {
                        let offsets = self.array.as_list::<i32>().value_offsets();
                        offsets[row] as usize..offsets[row + 1] as usize
                    }
                };
                out.push('[');
                for item in range.clone() {
                    if item > range.start {
                        out.push_str(", ");
                    }
                    items.write(item, out)?;
                }
                out.push(']');
                Ok(())
            }
            Kind::Map { keys, values } => {
                let offsets = self.array.as_map().value_offsets();
                let range = offsets[row] as usize..offsets[row + 1] as usize;
                out.push('{');
                for entry in range.clone() {
                    if entry > range.start {
                        out.push_str(", ");
                    }
                    keys.write(entry, out)?;
                    out.push('=');
                    values.write(entry, out)?;
                }
                out.push('}');
                Ok(())
            }
            Kind::Struct { fields } => {
                out.push('{');
                for (index, (name, field)) in fields.iter().enumerate() {
                    if index > 0 {
                        out.push_str(", ");
                    }
                    out.push_str(name);
                    out.push('=');
                    field.write(row, out)?;
                }
                out.push('}');
                Ok(())
            }
        }
    }
}

/// The value of a binary column.
fn bytes(array: &dyn Array, row: usize) -> &[u8] {
    match array.data_type() {
        DataType::LargeBinary => array.as_binary::<i64>().value(row),
        DataType::BinaryView => array.as_binary_view().value(row),
        DataType::FixedSizeBinary(_) => array.as_fixed_size_binary().value(row),
        _ => array.as_binary::<i32>().value(row),
    }
}

/// A point in time that no calendar has: as the number it is.
fn unprintable(array: &dyn Array, row: usize) -> String {
    match array.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => array
            .as_primitive::<TimestampSecondType>()
            .value(row)
            .to_string(),
        DataType::Timestamp(TimeUnit::Millisecond, _) => array
            .as_primitive::<TimestampMillisecondType>()
            .value(row)
            .to_string(),
        DataType::Timestamp(TimeUnit::Microsecond, _) => array
            .as_primitive::<TimestampMicrosecondType>()
            .value(row)
            .to_string(),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => array
            .as_primitive::<TimestampNanosecondType>()
            .value(row)
            .to_string(),
        DataType::Date32 => array.as_primitive::<Date32Type>().value(row).to_string(),
        _ => "?".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        Date32Array, Decimal256Array, Float64Array, Time64MicrosecondArray,
        TimestampMillisecondArray, TimestampNanosecondArray,
    };
    use arrow::datatypes::i256;
    use expect_test::expect;

    use super::super::tests::every_type;
    use super::*;

    #[test]
    fn every_type_has_a_text() {
        let batch = every_type();
        let schema = batch.schema();
        let lines = schema
            .fields()
            .iter()
            .zip(batch.columns())
            .map(|(field, column)| {
                let values = Values::try_new(column).unwrap();
                let text = |row| values.text(row).unwrap_or("-".into());
                format!("{} {} {}\n", field.name(), text(0), text(1))
            });
        expect![[r#"
            BOOL true -
            INT -7 -
            BIGINT 9223372036854775807 -
            DOUBLE 0.1 -
            DECIMAL 1.2300 -
            STRING it's -
            BYTES AP9r -
            DATE 2023-11-14 -
            TIME 01:02:03.004 -
            TIMESTAMP 2023-11-14T22:13:20.120 -
            ARRAY [a, b] -
            MAP {a=1, b=NULL} -
            STRUCT {F=true, G=NULL} -
        "#]]
        .assert_eq(&lines.collect::<String>());
    }

    fn all(array: &dyn Array) -> Vec<String> {
        let values = Values::try_new(array).unwrap();
        (0..array.len())
            .map(|row| values.text(row).unwrap())
            .collect()
    }

    #[test]
    fn doubles_are_as_short_as_they_can_be() {
        let array = Float64Array::from(vec![
            1.0,
            -0.0,
            1e300,
            5e-324,
            1.0 / 3.0,
            f64::NAN,
            f64::INFINITY,
        ]);
        assert_eq!(
            all(&array),
            [
                "1.0",
                "-0.0",
                "1e300",
                "5e-324",
                "0.3333333333333333",
                "NaN",
                "inf"
            ]
        );
    }

    #[test]
    fn times_that_no_calendar_has_are_numbers() {
        let array =
            TimestampMillisecondArray::from(vec![i64::MAX, i64::MIN, -1, 253_402_300_800_000]);
        assert_eq!(
            all(&array),
            [
                "9223372036854775807",
                "-9223372036854775808",
                "1969-12-31T23:59:59.999",
                "+10000-01-01T00:00:00.000",
            ]
        );
        assert_eq!(all(&Date32Array::from(vec![i32::MAX])), ["2147483647"]);
    }

    #[test]
    fn other_units_and_zones() {
        let array = TimestampNanosecondArray::from(vec![1]);
        assert_eq!(all(&array), ["1970-01-01T00:00:00.000000001"]);
        assert_eq!(
            all(&array.with_timezone("+02:00")),
            ["1970-01-01T02:00:00.000000001+02:00"]
        );
        assert_eq!(
            all(&Time64MicrosecondArray::from(vec![1_000_000])),
            ["00:00:01"]
        );
        let decimal = Decimal256Array::from(vec![i256::from(-5)]).with_precision_and_scale(50, 3);
        assert_eq!(all(&decimal.unwrap()), ["-0.005"]);
    }

    #[test]
    fn slices_show_their_own_values() {
        let batch = every_type();
        let twice = arrow::compute::concat_batches(&batch.schema(), [&batch, &batch]).unwrap();
        let slice = twice.slice(2, 1);
        for (whole, part) in batch.columns().iter().zip(slice.columns()) {
            assert_eq!(
                Values::try_new(whole).unwrap().text(0),
                Values::try_new(part).unwrap().text(0)
            );
        }
    }
}
