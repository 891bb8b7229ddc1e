//! Which type of Snowflake's holds a column of Arrow's.

use arrow::datatypes::{DataType, Field, TimeUnit};

use super::name::quote;
use crate::{Error, Result};

/// Digits that Snowflake's numbers have at most.
const DIGITS_MAX: u8 = 38;

/// The type of a column in DDL.
pub(crate) fn sql_type(field: &Field) -> Result<String> {
    use DataType as D;
    let of = |text: &str| Ok(text.to_owned());
    match field.data_type() {
        D::Boolean => of("BOOLEAN"),
        // NUMBER(38,0): the column need not change when the query's integers get wider.
        D::Int8 | D::Int16 | D::Int32 | D::Int64 => of("INTEGER"),
        D::UInt8 | D::UInt16 | D::UInt32 => of("INTEGER"),
        D::UInt64 => of("NUMBER(20,0)"),
        D::Float16 | D::Float32 | D::Float64 => of("FLOAT"),
        D::Decimal32(p, s) | D::Decimal64(p, s) | D::Decimal128(p, s) | D::Decimal256(p, s) => {
            decimal(field, *p, *s)
        }
        D::Utf8 | D::LargeUtf8 | D::Utf8View => of("VARCHAR"),
        D::Binary | D::LargeBinary | D::BinaryView | D::FixedSizeBinary(_) => of("BINARY"),
        D::Date32 | D::Date64 => of("DATE"),
        D::Time32(unit) | D::Time64(unit) => Ok(format!("TIME({})", digits(*unit))),
        D::Timestamp(unit, None) => Ok(format!("TIMESTAMP_NTZ({})", digits(*unit))),
        D::Timestamp(unit, Some(_)) => Ok(format!("TIMESTAMP_LTZ({})", digits(*unit))),
        D::List(_) | D::LargeList(_) | D::ListView(_) | D::FixedSizeList(..) => of("ARRAY"),
        D::Struct(_) => of("OBJECT"),
        // How a map of Parquet's arrives depends on the scanner: any shape fits a VARIANT.
        D::Map(..) => of("VARIANT"),
        D::Null => of("VARCHAR"),
        D::Dictionary(_, value) => sql_type(&Field::new(field.name(), (**value).clone(), true)),
        other => Err(Error::User(format!(
            "column \"{}\" of type {other} cannot go to Snowflake: cast it in the query",
            field.name()
        ))),
    }
}

fn decimal(field: &Field, precision: u8, scale: i8) -> Result<String> {
    let (precision, scale) = match u8::try_from(scale) {
        Ok(scale) => (precision, scale),
        // A negative scale counts zeros before the point.
        Err(_) => (precision.saturating_add(scale.unsigned_abs()), 0),
    };
    if precision > DIGITS_MAX || scale > DIGITS_MAX {
        return Err(Error::User(format!(
            "column \"{}\" has {precision} digits and Snowflake's numbers have {DIGITS_MAX}: cast \
             it in the query",
            field.name()
        )));
    }
    Ok(format!("NUMBER({precision},{scale})"))
}

fn digits(unit: TimeUnit) -> u8 {
    match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    }
}

/// What a column is called in Snowflake.
pub(crate) fn column_name(name: &str, keep_case: bool) -> String {
    match keep_case {
        true => name.to_owned(),
        false => name.to_uppercase(),
    }
}

/// A column in DDL: its quoted name and its type.
pub(crate) fn definition(field: &Field, keep_case: bool) -> Result<String> {
    let name = quote(&column_name(field.name(), keep_case));
    Ok(format!("{name} {}", sql_type(field)?))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn types_follow_the_columns() {
        let of = |data_type| sql_type(&Field::new("c", data_type, true)).unwrap();
        let item = Arc::new(Field::new("item", DataType::Utf8, true));
        assert_eq!(of(DataType::Int32), "INTEGER");
        assert_eq!(of(DataType::UInt64), "NUMBER(20,0)");
        assert_eq!(of(DataType::Decimal128(10, 2)), "NUMBER(10,2)");
        assert_eq!(of(DataType::Decimal128(10, -2)), "NUMBER(12,0)");
        assert_eq!(of(DataType::Time32(TimeUnit::Millisecond)), "TIME(3)");
        assert_eq!(
            of(DataType::Timestamp(TimeUnit::Millisecond, None)),
            "TIMESTAMP_NTZ(3)"
        );
        assert_eq!(
            of(DataType::Timestamp(
                TimeUnit::Microsecond,
                Some("UTC".into())
            )),
            "TIMESTAMP_LTZ(6)"
        );
        assert_eq!(of(DataType::List(item.clone())), "ARRAY");
        assert_eq!(of(DataType::Struct(vec![item].into())), "OBJECT");
        let text = Box::new(DataType::Utf8);
        assert_eq!(
            of(DataType::Dictionary(Box::new(DataType::Int8), text)),
            "VARCHAR"
        );
    }

    #[test]
    fn what_does_not_fit_names_the_column() {
        let error = sql_type(&Field::new("sum", DataType::Decimal256(50, 2), true));
        let error = error.unwrap_err().to_string();
        assert!(error.starts_with("column \"sum\" has 50 digits"), "{error}");
        let duration = Field::new("took", DataType::Duration(TimeUnit::Second), true);
        let error = sql_type(&duration).unwrap_err().to_string();
        assert!(
            error.starts_with("column \"took\" of type Duration"),
            "{error}"
        );
    }

    #[test]
    fn names_are_upper_case_unless_kept() {
        let field = Field::new("userId", DataType::Utf8, true);
        assert_eq!(definition(&field, false).unwrap(), "\"USERID\" VARCHAR");
        assert_eq!(definition(&field, true).unwrap(), "\"userId\" VARCHAR");
    }
}
