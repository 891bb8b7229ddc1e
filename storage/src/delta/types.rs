//! Which type of Delta Lake's holds a column of Arrow's.
//!
//! | Arrow | Delta Lake |
//! |---|---|
//! | boolean, signed integers, floats, date, text, bytes, decimal | the same |
//! | unsigned integers | the next larger signed integer; of 64 bits `decimal(20, 0)` |
//! | half float | `float` |
//! | timestamp of any unit, with or without zone | `timestamp`: microseconds, UTC |
//! | time of any unit | `string`, such as `18:05:00` |
//! | list, struct, map | `array`, `struct`, `map` of these |
//!
//! A `timestamp` needs no feature of the table, unlike `timestamp_ntz`, and ours are of UTC.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;

use crate::{Error, Result};

/// Digits that Delta Lake's decimals have at most.
const DIGITS_MAX: u8 = 38;

/// The columns as a table of Delta Lake has them. All may be NULL.
///
/// # Errors
/// `User` when a column has a type that nothing there can hold.
pub(crate) fn table_schema(schema: &Schema) -> Result<SchemaRef> {
    let fields = schema.fields().iter().map(|field| {
        let data_type = column_type(field.data_type()).ok_or_else(|| {
            Error::User(format!(
                "column \"{}\" of type {} cannot go to Delta Lake: cast it in the query",
                field.name(),
                field.data_type()
            ))
        })?;
        Ok(Field::new(field.name(), data_type, true))
    });
    let fields = fields.collect::<Result<Vec<_>>>()?;
    Ok(Arc::new(Schema::new(fields)))
}

/// The rows with the types of `schema`. What a type cannot hold, such as a time of the year 300000,
/// is NULL.
pub(crate) fn cast_rows(rows: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let columns = rows.columns().iter().zip(schema.fields());
    let columns = columns.map(
        |(column, field)| match column.data_type() == field.data_type() {
            true => Ok(Arc::clone(column)),
            false => cast(column, field.data_type()),
        },
    );
    RecordBatch::try_new(
        Arc::clone(schema),
        columns.collect::<Result<Vec<_>, ArrowError>>()?,
    )
}

fn column_type(data_type: &DataType) -> Option<DataType> {
    use DataType as D;
    let field = |name: &str, data_type: &DataType, nullable: bool| {
        Some(Field::new(name, column_type(data_type)?, nullable))
    };
    Some(match data_type {
        D::Boolean | D::Int8 | D::Int16 | D::Int32 | D::Int64 => data_type.clone(),
        D::Float32 | D::Float64 | D::Date32 | D::Utf8 | D::Binary => data_type.clone(),
        D::UInt8 => D::Int16,
        D::UInt16 => D::Int32,
        D::UInt32 => D::Int64,
        D::UInt64 => D::Decimal128(20, 0),
        D::Float16 => D::Float32,
        D::Decimal32(p, s) | D::Decimal64(p, s) | D::Decimal128(p, s)
            if *s >= 0 && *p <= DIGITS_MAX =>
        {
            D::Decimal128(*p, *s)
        }
        D::Date64 => D::Date32,
        D::Timestamp(_, _) => D::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        D::Time32(_) | D::Time64(_) | D::LargeUtf8 | D::Utf8View => D::Utf8,
        D::LargeBinary | D::BinaryView | D::FixedSizeBinary(_) => D::Binary,
        D::Dictionary(_, value) => column_type(value)?,
        D::List(item) | D::LargeList(item) | D::FixedSizeList(item, _) => {
            D::List(Arc::new(field("element", item.data_type(), true)?))
        }
        D::Struct(fields) => {
            let fields = fields.iter();
            let fields = fields.map(|inner| field(inner.name(), inner.data_type(), true));
            D::Struct(fields.collect::<Option<Vec<_>>>()?.into())
        }
        D::Map(entries, sorted) => {
            let D::Struct(fields) = entries.data_type() else {
                return None;
            };
            let [key, value] = fields.as_ref() else {
                return None;
            };
            let fields = [
                field("key", key.data_type(), false)?,
                field("value", value.data_type(), true)?,
            ];
            let entries = Field::new("key_value", D::Struct(fields.to_vec().into()), false);
            D::Map(Arc::new(entries), *sorted)
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, ArrayRef, AsArray, Time32MillisecondArray};
    use arrow::array::{Int32Builder, ListBuilder, MapBuilder, StringBuilder};
    use arrow::array::{TimestampMillisecondArray, UInt64Array};
    use arrow::datatypes::{Decimal128Type, TimestampMicrosecondType};
    use deltalake_core::kernel::StructType;
    use deltalake_core::kernel::engine::arrow_conversion::TryIntoKernel;

    use super::*;

    /// A batch of columns with the names `a`, `b`, …
    fn rows(columns: Vec<ArrayRef>) -> RecordBatch {
        let names = ["a", "b", "c", "d"].iter();
        RecordBatch::try_from_iter(names.zip(columns)).unwrap()
    }

    fn as_delta(rows: &RecordBatch) -> (StructType, RecordBatch) {
        let schema = table_schema(&rows.schema()).unwrap();
        let table: StructType = schema.as_ref().try_into_kernel().unwrap();
        (table, cast_rows(rows, &schema).unwrap())
    }

    #[test]
    fn what_delta_lake_has_not_is_cast() {
        let (table, cast) = as_delta(&rows(vec![
            Arc::new(UInt64Array::from(vec![u64::MAX])),
            Arc::new(Time32MillisecondArray::from(vec![65_100_500])),
            Arc::new(TimestampMillisecondArray::from(vec![-1])),
        ]));
        let types: Vec<String> = table.fields().map(|f| f.data_type().to_string()).collect();
        assert_eq!(types, ["decimal(20,0)", "string", "timestamp"]);
        let numbers = cast.column(0).as_primitive::<Decimal128Type>();
        assert_eq!(numbers.value(0), i128::from(u64::MAX));
        assert_eq!(cast.column(1).as_string::<i32>().value(0), "18:05:00.500");
        let times = cast.column(2).as_primitive::<TimestampMicrosecondType>();
        assert_eq!(times.value(0), -1_000);
    }

    #[test]
    fn nested_columns_are_cast_inside() {
        let mut lists = ListBuilder::new(Int32Builder::new());
        lists.append_value([Some(1), None]);
        let mut maps = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
        maps.keys().append_value("k");
        maps.values().append_value(7);
        maps.append(true).unwrap();
        let (table, cast) = as_delta(&rows(vec![
            Arc::new(lists.finish()),
            Arc::new(maps.finish()),
        ]));
        let types: Vec<String> = table.fields().map(|f| f.data_type().to_string()).collect();
        assert_eq!(types, ["array<integer>", "map<string, integer>"]);
        assert_eq!(cast.column(0).as_list::<i32>().value(0).len(), 2);
        assert_eq!(
            cast.column(1).as_map().keys().as_string::<i32>().value(0),
            "k"
        );
    }

    #[test]
    fn times_out_of_range_are_null() {
        let (_, cast) = as_delta(&rows(vec![Arc::new(TimestampMillisecondArray::from(
            vec![i64::MAX],
        ))]));
        assert!(cast.column(0).is_null(0));
    }

    #[test]
    fn what_does_not_fit_names_the_column() {
        let schema = Schema::new(vec![Field::new(
            "took",
            DataType::Duration(TimeUnit::Second),
            true,
        )]);
        let error = table_schema(&schema).unwrap_err().to_string();
        assert!(
            error.starts_with("column \"took\" of type Duration"),
            "{error}"
        );
    }
}
