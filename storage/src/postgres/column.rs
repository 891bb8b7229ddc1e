//! Which type of Postgres a column is made with, and which it fits into.

use arrow::datatypes::{DataType, TimeUnit};
use tokio_postgres::types::Type;

/// How a value is written into a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Text,
    /// Text after jsonb's version byte.
    TextAsJsonb,
    Bool,
    Int2,
    Int4,
    Int8,
    IntAsNumeric,
    Float4,
    Float8,
    Numeric,
    Date,
    Time,
    /// With or without time zone: both are microseconds, and ours are of UTC.
    Timestamp,
    Bytes,
    Json,
    Jsonb,
}

/// The type that a column is made with; none where there is no type for it.
pub(super) fn declared(data_type: &DataType) -> Option<String> {
    let name = match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "text",
        DataType::Boolean => "boolean",
        DataType::Int8 | DataType::Int16 => "smallint",
        DataType::Int32 => "integer",
        DataType::Int64 => "bigint",
        DataType::Float32 => "real",
        DataType::Float64 => "double precision",
        // A scale below zero has been in Postgres since 15 only.
        DataType::Decimal128(precision, scale) => {
            let digits = i32::from(*precision) - i32::from(*scale).min(0);
            return Some(format!("numeric({digits}, {})", (*scale).max(0)));
        }
        DataType::Date32 => "date",
        DataType::Time32(_) | DataType::Time64(_) => "time",
        DataType::Timestamp(unit, zone) if *unit != TimeUnit::Second => match zone {
            Some(_) => "timestamp with time zone",
            None => "timestamp",
        },
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => "bytea",
        nested if is_nested(nested) => "jsonb",
        _ => return None,
    };
    Some(name.to_owned())
}

/// How values get into a column of that type; none where they do not fit. Every value of the one
/// type has a place in the other: what can overflow is refused before the first row.
pub(super) fn form(data_type: &DataType, of: &Type) -> Option<Form> {
    declared(data_type)?;
    Some(match (data_type, of) {
        (DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View, to) => match *to {
            Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::JSON => Form::Text,
            Type::JSONB => Form::TextAsJsonb,
            _ => return None,
        },
        (DataType::Boolean, &Type::BOOL) => Form::Bool,
        (DataType::Int8 | DataType::Int16, &Type::INT2) => Form::Int2,
        (DataType::Int8 | DataType::Int16 | DataType::Int32, &Type::INT4) => Form::Int4,
        (int, to) if int.is_signed_integer() => match *to {
            Type::INT8 => Form::Int8,
            Type::NUMERIC => Form::IntAsNumeric,
            _ => return None,
        },
        (DataType::Float32, &Type::FLOAT4) => Form::Float4,
        (DataType::Float32 | DataType::Float64, &Type::FLOAT8) => Form::Float8,
        (DataType::Decimal128(..), &Type::NUMERIC) => Form::Numeric,
        (DataType::Date32, &Type::DATE) => Form::Date,
        (DataType::Time32(_) | DataType::Time64(_), &Type::TIME) => Form::Time,
        (DataType::Timestamp(..), &Type::TIMESTAMP | &Type::TIMESTAMPTZ) => Form::Timestamp,
        (
            DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_),
            &Type::BYTEA,
        ) => Form::Bytes,
        (nested, &Type::JSONB) if is_nested(nested) => Form::Jsonb,
        (nested, &Type::JSON) if is_nested(nested) => Form::Json,
        _ => return None,
    })
}

fn is_nested(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::List(_) | DataType::LargeList(_) | DataType::Struct(_) | DataType::Map(..)
    )
}
