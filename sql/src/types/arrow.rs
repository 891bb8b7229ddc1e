//! The types of the dialect as Arrow types, and back.

use std::sync::Arc;

use datafusion::arrow::datatypes::{
    DECIMAL128_MAX_PRECISION, DataType, Field, FieldRef, Fields, TimeUnit,
};

use super::SqlType;

impl SqlType {
    /// How values of the type are held. Nested values may be NULL, map keys may not.
    pub fn to_arrow(&self) -> DataType {
        match self {
            Self::Boolean => DataType::Boolean,
            Self::Int => DataType::Int32,
            Self::BigInt => DataType::Int64,
            Self::Double => DataType::Float64,
            Self::Decimal { precision, scale } if *precision <= DECIMAL128_MAX_PRECISION => {
                DataType::Decimal128(*precision, *scale as i8)
            }
            Self::Decimal { precision, scale } => DataType::Decimal256(*precision, *scale as i8),
            Self::String => DataType::Utf8,
            Self::Bytes => DataType::Binary,
            Self::Date => DataType::Date32,
            Self::Time => DataType::Time32(TimeUnit::Millisecond),
            Self::Timestamp => DataType::Timestamp(TimeUnit::Millisecond, None),
            Self::Array(item) => DataType::List(nullable("item", item)),
            Self::Map(key, value) => {
                let key = Arc::new(Field::new("key", key.to_arrow(), false));
                let entry = DataType::Struct(Fields::from(vec![key, nullable("value", value)]));
                DataType::Map(Arc::new(Field::new("entries", entry, false)), false)
            }
            Self::Struct(fields) => DataType::Struct(
                fields
                    .iter()
                    .map(|(name, field)| nullable(name, field))
                    .collect(),
            ),
        }
    }

    /// The type a column of DataFusion's has in the dialect: the narrowest that takes all its
    /// values, except that unsigned 64-bit integers count as BIGINT. `None` for what the dialect
    /// has nothing for (intervals, unions, negative scales).
    pub fn from_arrow(of: &DataType) -> Option<Self> {
        Some(match of {
            DataType::Boolean => Self::Boolean,
            DataType::Int8 | DataType::Int16 | DataType::Int32 => Self::Int,
            DataType::UInt8 | DataType::UInt16 => Self::Int,
            DataType::Int64 | DataType::UInt32 | DataType::UInt64 => Self::BigInt,
            DataType::Float16 | DataType::Float32 | DataType::Float64 => Self::Double,
            DataType::Decimal32(precision, scale)
            | DataType::Decimal64(precision, scale)
            | DataType::Decimal128(precision, scale)
            | DataType::Decimal256(precision, scale) => Self::Decimal {
                precision: *precision,
                scale: u8::try_from(*scale).ok()?,
            },
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Self::String,
            DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_) => Self::Bytes,
            DataType::Date32 | DataType::Date64 => Self::Date,
            DataType::Time32(_) | DataType::Time64(_) => Self::Time,
            DataType::Timestamp(..) => Self::Timestamp,
            DataType::List(item)
            | DataType::LargeList(item)
            | DataType::ListView(item)
            | DataType::LargeListView(item)
            | DataType::FixedSizeList(item, _) => {
                Self::Array(Box::new(Self::from_arrow(item.data_type())?))
            }
            DataType::Map(entries, _) => {
                let DataType::Struct(entry) = entries.data_type() else {
                    return None;
                };
                let [key, value] = entry.as_ref() else {
                    return None;
                };
                Self::Map(
                    Box::new(Self::from_arrow(key.data_type())?),
                    Box::new(Self::from_arrow(value.data_type())?),
                )
            }
            DataType::Struct(fields) => Self::Struct(
                fields
                    .iter()
                    .map(|field| Some((field.name().clone(), Self::from_arrow(field.data_type())?)))
                    .collect::<Option<_>>()?,
            ),
            DataType::Dictionary(_, value) => return Self::from_arrow(value),
            DataType::RunEndEncoded(_, value) => return Self::from_arrow(value.data_type()),
            DataType::Null
            | DataType::Interval(_)
            | DataType::Duration(_)
            | DataType::Union(..) => return None,
        })
    }
}

fn nullable(name: &str, of: &SqlType) -> FieldRef {
    Arc::new(Field::new(name, of.to_arrow(), true))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::any_type;
    use super::*;

    proptest! {
        #[test]
        fn arrow_maps_back_to_the_type(of in any_type()) {
            prop_assert_eq!(SqlType::from_arrow(&of.to_arrow()), Some(of));
        }
    }

    #[test]
    fn other_widths_find_a_type() {
        let of = |arrow| SqlType::from_arrow(&arrow);
        assert_eq!(of(DataType::Utf8View), Some(SqlType::String));
        assert_eq!(of(DataType::UInt32), Some(SqlType::BigInt));
        assert_eq!(of(DataType::Float32), Some(SqlType::Double));
        let nanos = DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
        assert_eq!(of(nanos), Some(SqlType::Timestamp));
        let words = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
        assert_eq!(of(words), Some(SqlType::String));
        assert_eq!(of(DataType::Decimal128(5, -2)), None);
        assert_eq!(of(DataType::Null), None);
    }
}
