//! Whether what came out is what a case expects. Numbers are compared by the column's type: a DOUBLE
//! by its value, a DECIMAL by value and scale, the others exactly.

use super::json::Json;
use super::number::Decimal;
use super::relation::Side;
use super::types::Type;

/// Compares a whole key or value.
///
/// # Errors
/// Where they differ, and how.
pub(super) fn side(side: &Side<'_>, expected: &Json, actual: &Json) -> Result<(), String> {
    if side.format != "JSON" {
        return match side.format {
            "DELIMITED" => scalar(expected, actual, Some(&Type::String), ""),
            _ => value(
                expected,
                actual,
                side.columns.first().map(|column| &column.data_type),
                "",
            ),
        };
    }
    let row = || {
        let fields = side.columns.iter();
        Type::Struct(
            fields
                .map(|c| (c.name.clone(), c.data_type.clone()))
                .collect(),
        )
    };
    // A single column stands alone (keys, WRAP_SINGLE_VALUE = false) or in an object.
    match side.columns.as_slice() {
        [only] if actual.get(&only.name).is_none() => {
            value(expected, actual, Some(&only.data_type), "")
        }
        _ => value(expected, actual, Some(&row()), ""),
    }
}

/// Whether a row of a query's answer is the expected one.
pub(super) fn row(expected: &Json, actual: &Json, types: &[&Type]) -> bool {
    let (expected, actual) = (expected.items(), actual.items());
    expected.len() == actual.len()
        && expected
            .iter()
            .zip(actual)
            .enumerate()
            .all(|(index, (expected, actual))| {
                value(expected, actual, types.get(index).copied(), "").is_ok()
            })
}

fn value(expected: &Json, actual: &Json, of: Option<&Type>, path: &str) -> Result<(), String> {
    let differs = || {
        let at = if path.is_empty() {
            String::new()
        } else {
            format!("{path}: ")
        };
        Err(format!("{at}expected {expected}, got {actual}"))
    };
    match (expected, actual) {
        (Json::Null, Json::Null) => Ok(()),
        (Json::Bool(expected), Json::Bool(actual)) if expected == actual => Ok(()),
        (Json::Array(expected), Json::Array(actual)) if expected.len() == actual.len() => {
            let item = match of {
                Some(Type::Array(item)) => Some(item.as_ref()),
                _ => None,
            };
            for (index, (expected, actual)) in expected.iter().zip(actual).enumerate() {
                value(expected, actual, item, &format!("{path}[{index}]"))?;
            }
            Ok(())
        }
        (Json::Object(expected), Json::Object(fields)) if expected.len() == fields.len() => {
            for (name, expected) in expected {
                let upper = name.to_uppercase();
                let found = actual.get(name).or_else(|| actual.get(&upper));
                let field = field_type(of, name).or_else(|| field_type(of, &upper));
                let path = format!("{path}.{name}");
                value(expected, found.unwrap_or(&Json::Null), field, &path)?;
            }
            Ok(())
        }
        (Json::Number(_) | Json::String(_), Json::Number(_) | Json::String(_)) => {
            scalar(expected, actual, of, path)
        }
        _ => differs(),
    }
}

fn field_type<'a>(of: Option<&'a Type>, name: &str) -> Option<&'a Type> {
    match of {
        Some(Type::Struct(fields)) => fields
            .iter()
            .find(|(field, _)| field == name)
            .map(|(_, data_type)| data_type),
        Some(Type::Map(_, value)) => Some(value),
        _ => None,
    }
}

fn scalar(expected: &Json, actual: &Json, of: Option<&Type>, path: &str) -> Result<(), String> {
    let same = match (expected, actual) {
        (Json::String(expected), Json::String(actual)) => expected == actual,
        (Json::Number(expected), Json::Number(actual)) => numbers(expected, actual, of),
        // A case may write a decimal as text.
        (Json::String(expected), Json::Number(actual)) => {
            Decimal::parse(expected).is_some_and(|it| Decimal::parse(actual) == Some(it))
        }
        // A DELIMITED line of one number.
        (Json::Number(expected), Json::String(actual)) => {
            of == Some(&Type::String) && expected == actual
        }
        (Json::Null, Json::Null) => true,
        _ => false,
    };
    match same {
        true => Ok(()),
        false => {
            let at = if path.is_empty() {
                String::new()
            } else {
                format!("{path}: ")
            };
            Err(format!("{at}expected {expected}, got {actual}"))
        }
    }
}

fn numbers(expected: &str, actual: &str, of: Option<&Type>) -> bool {
    let (Some(wanted), Some(found)) = (Decimal::parse(expected), Decimal::parse(actual)) else {
        return false;
    };
    match of {
        Some(Type::Decimal(..)) => {
            let whole = !expected.contains(['.', 'e', 'E']);
            if whole {
                found.scale <= 0 && wanted.same_value(&found)
            } else {
                wanted == found
            }
        }
        Some(Type::Int | Type::BigInt | Type::Date | Type::Time | Type::Timestamp) => {
            !actual.contains(['.', 'e', 'E']) && wanted.same_value(&found)
        }
        // ksqlDB writes a DOUBLE with a fraction or an exponent, and its cases expect it so.
        Some(Type::Double)
            if !expected.contains(['.', 'e', 'E']) && !actual.contains(['e', 'E']) =>
        {
            false
        }
        _ if wanted.same_value(&found) => true,
        _ => match (expected.parse::<f64>(), actual.parse::<f64>()) {
            (Ok(wanted), Ok(found)) => (wanted - found).abs() < 1e-6,
            _ => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::types::{Column, parse_columns};
    use super::*;

    fn check(columns: &str, expected: &str, actual: &str) -> bool {
        let columns: Vec<Column> = parse_columns(columns).unwrap();
        let of = Side {
            format: "JSON",
            columns: columns.iter().collect(),
        };
        side(
            &of,
            &Json::parse(expected).unwrap(),
            &Json::parse(actual).unwrap(),
        )
        .is_ok()
    }

    #[test]
    fn numbers_go_by_the_columns_type() {
        let columns = "I INT, D DOUBLE, N DECIMAL(6, 2)";
        for (expected, actual, same) in [
            (
                r#"{"I":1,"D":1.5,"N":1.50}"#,
                r#"{"I":1,"D":1.5,"N":1.50}"#,
                true,
            ),
            (
                r#"{"i":1,"d":1.5000001,"n":1.50}"#,
                r#"{"I":1,"D":1.5,"N":1.50}"#,
                true,
            ),
            (
                r#"{"I":1,"D":1.5,"N":1.5}"#,
                r#"{"I":1,"D":1.5,"N":1.50}"#,
                false,
            ),
            (
                r#"{"I":1,"D":1.5,"N":1.50}"#,
                r#"{"I":1.0,"D":1.5,"N":1.50}"#,
                false,
            ),
            (
                r#"{"I":1,"D":10000000000.0,"N":"1.50"}"#,
                r#"{"I":1,"D":1.0E10,"N":1.50}"#,
                true,
            ),
            (r#"{"I":1,"D":1.5}"#, r#"{"I":1,"D":1.5,"N":null}"#, false),
            (
                r#"{"I":null,"D":null,"N":null}"#,
                r#"{"I":null,"D":null,"N":null}"#,
                true,
            ),
        ] {
            assert_eq!(
                check(columns, expected, actual),
                same,
                "{expected} {actual}"
            );
        }
    }

    #[test]
    fn nested_values_are_compared_in_their_places() {
        let columns = "A ARRAY<STRUCT<F DECIMAL(3, 1)>>, M MAP<STRING, DOUBLE>";
        let actual = r#"{"A":[{"F":1.0},null],"M":{"x":2.0}}"#;
        assert!(check(
            columns,
            r#"{"A":[{"f":1.0},null],"M":{"x":2.0}}"#,
            actual
        ));
        assert!(!check(
            columns,
            r#"{"A":[{"f":1.0},null],"M":{"x":2}}"#,
            actual
        ));
        assert!(!check(
            columns,
            r#"{"A":[{"F":1.00},null],"M":{"x":2.0}}"#,
            actual
        ));
        assert!(!check(
            columns,
            r#"{"A":[null,{"F":1.0}],"M":{"x":2.0}}"#,
            actual
        ));
    }

    #[test]
    fn single_column_may_stand_alone() {
        assert!(check("K STRUCT<F INT>", r#"{"F":1}"#, r#"{"F":1}"#));
        assert!(check("V INT", r#"{"V":1}"#, r#"{"V":1}"#));
        assert!(check("V INT", "1", "1"));
        assert!(!check("V INT", "1", r#"{"V":1}"#));
    }
}
