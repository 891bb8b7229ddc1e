//! Rows that a query answers, as the cases write them: JSON values, and types by ksqlDB's names.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType, Decimal128Type, Decimal256Type, Float64Type, Int32Type, Int64Type, TimeUnit,
};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;

use super::json::Json;
use super::types::Type;

/// The dialect's type of an Arrow type. Unsigned counts are BIGINT.
pub(super) fn type_of(data_type: &DataType) -> Result<Type, String> {
    Ok(match data_type {
        DataType::Boolean => Type::Boolean,
        DataType::Int8 | DataType::Int16 | DataType::Int32 => Type::Int,
        DataType::Int64 | DataType::UInt32 | DataType::UInt64 => Type::BigInt,
        DataType::Float32 | DataType::Float64 => Type::Double,
        DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
            let scale = u32::try_from(*scale).map_err(|error| error.to_string())?;
            Type::Decimal(u32::from(*precision), scale)
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Type::String,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => Type::Bytes,
        DataType::Date32 => Type::Date,
        DataType::Time32(_) | DataType::Time64(_) => Type::Time,
        DataType::Timestamp(..) => Type::Timestamp,
        DataType::List(item) => Type::Array(Box::new(type_of(item.data_type())?)),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) if fields.len() == 2 => Type::Map(
                Box::new(type_of(fields[0].data_type())?),
                Box::new(type_of(fields[1].data_type())?),
            ),
            _ => return Err(format!("no type of the dialect: {data_type}")),
        },
        DataType::Struct(fields) => Type::Struct(
            fields
                .iter()
                .map(|field| Ok((field.name().clone(), type_of(field.data_type())?)))
                .collect::<Result<_, String>>()?,
        ),
        _ => return Err(format!("no type of the dialect: {data_type}")),
    })
}

/// All rows of a batch, each an array.
pub(super) fn rows(batch: &RecordBatch) -> Result<Vec<Json>, String> {
    (0..batch.num_rows())
        .map(|row| {
            let cells = batch.columns().iter().map(|column| cell(column, row));
            Ok(Json::Array(cells.collect::<Result<_, String>>()?))
        })
        .collect()
}

fn cell(array: &dyn Array, row: usize) -> Result<Json, String> {
    if array.is_null(row) {
        return Ok(Json::Null);
    }
    Ok(match array.data_type() {
        DataType::Boolean => Json::Bool(array.as_boolean().value(row)),
        DataType::Int32 => Json::Number(array.as_primitive::<Int32Type>().value(row).to_string()),
        DataType::Int64 => Json::Number(array.as_primitive::<Int64Type>().value(row).to_string()),
        DataType::Float64 => {
            Json::Number(array.as_primitive::<Float64Type>().value(row).to_string())
        }
        DataType::Decimal128(..) => {
            Json::Number(array.as_primitive::<Decimal128Type>().value_as_string(row))
        }
        DataType::Decimal256(..) => {
            Json::Number(array.as_primitive::<Decimal256Type>().value_as_string(row))
        }
        DataType::Utf8 => Json::String(array.as_string::<i32>().value(row).to_owned()),
        DataType::Binary => Json::String(BASE64.encode(array.as_binary::<i32>().value(row))),
        DataType::List(_) => Json::Array(cells(&array.as_list::<i32>().value(row))?),
        DataType::Map(..) => {
            let entries = array.as_map().value(row);
            let (keys, values) = (cells(entries.column(0))?, cells(entries.column(1))?);
            let name = |key: Json| key.text().map_or_else(|| key.to_string(), str::to_owned);
            Json::Object(keys.into_iter().map(name).zip(values).collect())
        }
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns();
            let named = fields
                .iter()
                .zip(columns)
                .map(|(field, column)| Ok::<_, String>((field.name().clone(), cell(column, row)?)));
            Json::Object(named.collect::<Result<_, _>>()?)
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            Json::String(formatted(array, row, "%Y-%m-%dT%H:%M:%S%.3f")?)
        }
        DataType::Time32(_) => Json::String(formatted(array, row, "%H:%M:%S%.3f")?),
        // Dates by their usual form; counts and text in DataFusion's other types.
        other => {
            let text = formatted(array, row, "%Y-%m-%d")?;
            if other.is_numeric() {
                Json::Number(text)
            } else {
                Json::String(text)
            }
        }
    })
}

fn cells(array: &dyn Array) -> Result<Vec<Json>, String> {
    (0..array.len()).map(|row| cell(array, row)).collect()
}

fn formatted(array: &dyn Array, row: usize, pattern: &str) -> Result<String, String> {
    let options = FormatOptions::default()
        .with_timestamp_format(Some(pattern))
        .with_time_format(Some(pattern))
        .with_date_format(Some(pattern));
    let formatter = ArrayFormatter::try_new(array, &options).map_err(|error| error.to_string())?;
    Ok(formatter.value(row).to_string())
}
