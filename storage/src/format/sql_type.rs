//! What the SQL user calls an Arrow type, for messages.

use arrow::datatypes::{DataType, Fields, TimeUnit};

/// The SQL type as ksqlDB prints it: ``STRUCT<`A` ARRAY<DECIMAL(4, 2)>>``.
pub(super) fn name(data_type: &DataType) -> String {
    match data_type {
        DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
            format!("DECIMAL({precision}, {scale})")
        }
        DataType::List(item) => format!("ARRAY<{}>", name(item.data_type())),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) if fields.len() == 2 => {
                format!(
                    "MAP<{}, {}>",
                    name(fields[0].data_type()),
                    name(fields[1].data_type())
                )
            }
            _ => "MAP".into(),
        },
        DataType::Struct(fields) => format!("STRUCT<{}>", columns(fields)),
        other => base(other).to_owned(),
    }
}

/// The type's name without its parameters.
pub(super) fn base(data_type: &DataType) -> &'static str {
    match data_type {
        DataType::Boolean => "BOOLEAN",
        DataType::Int32 => "INTEGER",
        DataType::Int64 => "BIGINT",
        DataType::Float64 => "DOUBLE",
        DataType::Decimal128(..) | DataType::Decimal256(..) => "DECIMAL",
        DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 => "STRING",
        DataType::Binary | DataType::BinaryView | DataType::LargeBinary => "BYTES",
        DataType::Date32 => "DATE",
        DataType::Time32(TimeUnit::Millisecond) => "TIME",
        DataType::Timestamp(TimeUnit::Millisecond, _) => "TIMESTAMP",
        DataType::List(_) => "ARRAY",
        DataType::Map(..) => "MAP",
        DataType::Struct(_) => "STRUCT",
        _ => "unknown",
    }
}

/// ``[`A` INTEGER, `B` STRING]``
pub(super) fn column_list(fields: &Fields) -> String {
    format!("[{}]", columns(fields))
}

fn columns(fields: &Fields) -> String {
    let columns: Vec<_> = fields
        .iter()
        .map(|field| format!("`{}` {}", field.name(), name(field.data_type())))
        .collect();
    columns.join(", ")
}
