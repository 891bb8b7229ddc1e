//! What a file's footer says of its columns, as the log of a Delta table has it: readers skip files
//! by it.
//!
//! Least and greatest values are given of integers, text, dates, timestamps and short decimals. Not of
//! floats, whose footers leave out NaN, which is greater than all; nor of what has no order.

use arrow::array::{Array, AsArray, UInt64Array};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Int8Type, Int16Type, Int32Type, Int64Type, SchemaRef,
    TimestampMicrosecondType,
};
use chrono::{DateTime, Days, NaiveDate};
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::file::metadata::ParquetMetaData;
use serde_json::{Map, Value, json};

use crate::{Error, Result};

/// Digits of a decimal that a number of JSON holds exactly.
const DECIMAL_DIGITS_MAX: u8 = 15;

/// The statistics of a file with the columns `schema`, as JSON, with those of the first `columns_max`
/// columns but for `without`.
pub(super) fn of_file(
    metadata: &ParquetMetaData,
    schema: &SchemaRef,
    without: &[String],
    columns_max: usize,
) -> Result<Value> {
    let (mut least, mut greatest, mut nulls) = (Map::new(), Map::new(), Map::new());
    let fields = schema.fields().iter();
    let fields = fields.filter(|field| !without.contains(field.name()));
    for field in fields.take(columns_max) {
        if field.data_type().is_nested() {
            continue;
        }
        let column = Column::try_new(metadata, schema, field.name())?;
        if let Some(count) = column.null_count() {
            nulls.insert(field.name().clone(), json!(count));
        }
        if let Some([min, max]) = column.bounds(field.data_type()) {
            least.insert(field.name().clone(), min);
            greatest.insert(field.name().clone(), max);
        }
    }
    Ok(json!({
        "numRecords": metadata.file_metadata().num_rows(),
        "minValues": least,
        "maxValues": greatest,
        "nullCount": nulls,
    }))
}

/// How many rows of a file have NULL in a column that is not nested; `None` when its footer does not
/// say so.
pub(super) fn null_count(
    metadata: &ParquetMetaData,
    schema: &SchemaRef,
    name: &str,
) -> Result<Option<u64>> {
    Ok(Column::try_new(metadata, schema, name)?.null_count())
}

/// What the row groups say of a column, a value each.
struct Column {
    least: arrow::array::ArrayRef,
    greatest: arrow::array::ArrayRef,
    nulls: UInt64Array,
    rows: Vec<u64>,
}

impl Column {
    fn try_new(metadata: &ParquetMetaData, schema: &SchemaRef, name: &str) -> Result<Self> {
        let failed = |error| Error::Internal(format!("statistics of column {name}: {error}"));
        let described = metadata.file_metadata().schema_descr();
        let converter = StatisticsConverter::try_new(name, schema, described).map_err(failed)?;
        let groups = metadata.row_groups();
        Ok(Self {
            least: converter.row_group_mins(groups).map_err(failed)?,
            greatest: converter.row_group_maxes(groups).map_err(failed)?,
            nulls: converter.row_group_null_counts(groups).map_err(failed)?,
            rows: groups
                .iter()
                .map(|group| group.num_rows().unsigned_abs())
                .collect(),
        })
    }

    fn null_count(&self) -> Option<u64> {
        self.nulls.iter().sum()
    }

    /// The least and the greatest value; `None` when there are none, or they are not known.
    fn bounds(&self, data_type: &DataType) -> Option<[Value; 2]> {
        // A row group without them is one of NULLs alone, or they were not written.
        for (group, rows) in self.rows.iter().enumerate() {
            let known = self.least.is_valid(group) && self.greatest.is_valid(group);
            if !known && (self.nulls.is_null(group) || self.nulls.value(group) < *rows) {
                return None;
            }
        }
        macro_rules! ends {
            ($type:ty) => {
                [
                    self.least.as_primitive::<$type>().iter().flatten().min()?,
                    self.greatest
                        .as_primitive::<$type>()
                        .iter()
                        .flatten()
                        .max()?,
                ]
            };
        }
        Some(match data_type {
            DataType::Int8 => ends!(Int8Type).map(Value::from),
            DataType::Int16 => ends!(Int16Type).map(Value::from),
            DataType::Int32 => ends!(Int32Type).map(Value::from),
            DataType::Int64 => ends!(Int64Type).map(Value::from),
            DataType::Date32 => {
                let [min, max] = ends!(Date32Type);
                [date(min)?, date(max)?]
            }
            DataType::Timestamp(_, _) => {
                let [min, max] = ends!(TimestampMicrosecondType);
                // Milliseconds are what the log has: not later than the least, nor before the
                // greatest.
                let up = max.div_euclid(1_000) + i64::from(max.rem_euclid(1_000) > 0);
                [time(min.div_euclid(1_000))?, time(up)?]
            }
            DataType::Decimal128(precision, scale) if *precision <= DECIMAL_DIGITS_MAX => {
                ends!(Decimal128Type).map(|value| {
                    // Both are whole numbers below 2^53, so the quotient is the nearest double.
                    Value::from(value as f64 / 10f64.powi(i32::from(*scale)))
                })
            }
            DataType::Utf8 => [
                self.least.as_string::<i32>().iter().flatten().min()?.into(),
                self.greatest
                    .as_string::<i32>()
                    .iter()
                    .flatten()
                    .max()?
                    .into(),
            ],
            _ => return None,
        })
    }
}

fn date(days: i32) -> Option<Value> {
    let epoch = NaiveDate::default();
    let distance = Days::new(days.unsigned_abs().into());
    let date = match days < 0 {
        true => epoch.checked_sub_days(distance),
        false => epoch.checked_add_days(distance),
    }?;
    Some(date.format("%Y-%m-%d").to_string().into())
}

fn time(ms: i64) -> Option<Value> {
    let time = DateTime::from_timestamp_millis(ms)?;
    Some(time.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string().into())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        ArrayRef, Date32Array, Decimal128Array, Float64Array, Int32Array, RecordBatch, StringArray,
        TimestampMicrosecondArray,
    };
    use bytes::Bytes;
    use parquet::arrow::ArrowWriter;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    use parquet::file::properties::WriterProperties;

    use super::*;

    /// The statistics of a file of these columns, two rows a row group.
    fn statistics(columns: Vec<(&str, ArrayRef)>, without: &[&str], columns_max: usize) -> Value {
        let rows = RecordBatch::try_from_iter(columns).unwrap();
        let properties = WriterProperties::builder().set_max_row_group_row_count(Some(2));
        let mut bytes = Vec::new();
        let mut writer =
            ArrowWriter::try_new(&mut bytes, rows.schema(), Some(properties.build())).unwrap();
        writer.write(&rows).unwrap();
        writer.close().unwrap();
        let file = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(bytes)).unwrap();
        let without: Vec<String> = without.iter().map(|name| (*name).to_owned()).collect();
        of_file(file.metadata(), &rows.schema(), &without, columns_max).unwrap()
    }

    #[test]
    fn bounds_are_of_all_row_groups() {
        let times = TimestampMicrosecondArray::from(vec![1_500, -1, 0]).with_timezone("UTC");
        let prices = Decimal128Array::from(vec![105, -5, 250]);
        let found = statistics(
            vec![
                ("n", Arc::new(Int32Array::from(vec![None, None, Some(7)]))),
                ("s", Arc::new(StringArray::from(vec!["b", "a", "c"]))),
                ("d", Arc::new(Date32Array::from(vec![-1, 0, 20_000]))),
                ("t", Arc::new(times)),
                (
                    "p",
                    Arc::new(prices.with_precision_and_scale(10, 2).unwrap()),
                ),
                ("f", Arc::new(Float64Array::from(vec![1.0, f64::NAN, 2.0]))),
            ],
            &[],
            32,
        );
        let expected = json!({
            "numRecords": 3,
            "minValues": {
                "n": 7, "s": "a", "d": "1969-12-31", "t": "1969-12-31T23:59:59.999Z", "p": -0.05
            },
            "maxValues": {
                "n": 7, "s": "c", "d": "2024-10-04", "t": "1970-01-01T00:00:00.002Z", "p": 2.5
            },
            "nullCount": {"n": 2, "s": 0, "d": 0, "t": 0, "p": 0, "f": 0},
        });
        assert_eq!(found, expected);
    }

    #[test]
    fn only_some_columns_have_them() {
        let column = || Arc::new(Int32Array::from(vec![Some(1), None])) as ArrayRef;
        let columns = vec![("a", column()), ("b", column()), ("c", column())];
        let found = statistics(columns, &["a"], 1);
        assert_eq!(found["minValues"], json!({"b": 1}));
        assert_eq!(found["nullCount"], json!({"b": 1}));
    }
}
