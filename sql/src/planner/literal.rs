//! Lists whose items are not all of one type, as in `x IN (1, '2')` and `ARRAY[true, 'no']`: a text
//! among them is read as what the others are.

use datafusion::common::{DFSchema, Result, ScalarValue, plan_err};
use datafusion::logical_expr::{Expr, ExprSchemable, lit};

use crate::types::SqlType;

/// The items of `x IN (…)`, texts as values of the type of `x`.
pub(super) fn in_list(of: &Expr, items: Vec<Expr>, schema: &DFSchema) -> Result<Vec<Expr>> {
    let Some(wanted) = type_of(of, schema) else {
        return Ok(items);
    };
    items
        .into_iter()
        .map(|item| {
            let item = read(item, &wanted)?;
            match type_of(&item, schema) {
                Some(found) if !fits(&wanted, &found) => plan_err!(
                    "operator does not exist: {wanted} = {found} ({}): you might need to add \
                     explicit type casts",
                    shown(&item)
                ),
                _ => Ok(item),
            }
        })
        .collect()
}

/// The items of an array, texts as values of the first item's type.
pub(super) fn array_items(items: Vec<Expr>, schema: &DFSchema) -> Result<Vec<Expr>> {
    let Some(wanted) = items.iter().find_map(|item| type_of(item, schema)) else {
        return Ok(items);
    };
    items.into_iter().map(|item| read(item, &wanted)).collect()
}

fn type_of(expr: &Expr, schema: &DFSchema) -> Option<SqlType> {
    expr.get_type(schema)
        .ok()
        .and_then(|of| SqlType::from_arrow(&of))
}

/// An item as a value of type `wanted`: texts that say a number or a truth value, and those in a
/// constructor of an array or a map.
fn read(item: Expr, wanted: &SqlType) -> Result<Expr> {
    match (item, wanted) {
        (Expr::Literal(ScalarValue::Utf8(Some(text)), metadata), _) => {
            match parsed(&text, wanted) {
                Parsed::Value(value) => Ok(lit(value)),
                Parsed::Same => Ok(Expr::Literal(ScalarValue::Utf8(Some(text)), metadata)),
                Parsed::Wrong(name) => {
                    plan_err!("invalid input syntax for type {name}: \"{text}\"")
                }
            }
        }
        // The keys of a map may be written as numbers.
        (
            Expr::Literal(number @ (ScalarValue::Int32(Some(_)) | ScalarValue::Int64(Some(_))), _),
            SqlType::String,
        ) => Ok(lit(number.to_string())),
        (Expr::ScalarFunction(mut call), SqlType::Array(item)) if call.name() == "make_array" => {
            call.args = call
                .args
                .into_iter()
                .map(|arg| read(arg, item))
                .collect::<Result<_>>()?;
            Ok(Expr::ScalarFunction(call))
        }
        (Expr::ScalarFunction(mut call), SqlType::Map(key, value))
            if call.name() == "map" && call.args.len() == 2 =>
        {
            let sides = [key, value].map(|side| SqlType::Array(side.clone()));
            let args = call.args.into_iter().zip(&sides);
            call.args = args
                .map(|(arg, side)| read(arg, side))
                .collect::<Result<_>>()?;
            Ok(Expr::ScalarFunction(call))
        }
        (other, _) => Ok(other),
    }
}

enum Parsed {
    Value(ScalarValue),
    /// A text is what is wanted.
    Same,
    /// A text that is none of the type of that name.
    Wrong(&'static str),
}

fn parsed(text: &str, wanted: &SqlType) -> Parsed {
    let text = text.trim();
    // `4.00` is an integer, too.
    let whole = || match text.split_once('.') {
        Some((whole, zeros)) if zeros.bytes().all(|digit| digit == b'0') => whole.parse::<i64>(),
        _ => text.parse::<i64>(),
    };
    let (value, name) = match wanted {
        SqlType::Int => {
            let value = whole().ok().and_then(|value| i32::try_from(value).ok());
            (value.map(ScalarValue::from), "INTEGER")
        }
        SqlType::BigInt => (whole().ok().map(ScalarValue::from), "BIGINT"),
        SqlType::Double => (text.parse::<f64>().ok().map(ScalarValue::from), "DOUBLE"),
        SqlType::Decimal { .. } => {
            let number = ScalarValue::Utf8(Some(text.to_owned())).cast_to(&wanted.to_arrow());
            let is_number = text.parse::<f64>().is_ok_and(f64::is_finite);
            (
                number.ok().filter(|number| is_number && !number.is_null()),
                "DECIMAL",
            )
        }
        SqlType::Boolean => (truth(text).map(ScalarValue::from), "BOOLEAN"),
        _ => return Parsed::Same,
    };
    match value {
        Some(value) => Parsed::Value(value),
        None => Parsed::Wrong(name),
    }
}

/// A truth value from the start of its name, or of yes and no.
fn truth(text: &str) -> Option<bool> {
    let text = text.to_ascii_lowercase();
    let starts =
        |words: [&str; 2]| !text.is_empty() && words.iter().any(|word| word.starts_with(&text));
    match (starts(["true", "yes"]), starts(["false", "no"])) {
        (true, false) => Some(true),
        (false, true) => Some(false),
        _ => None,
    }
}

/// Whether a value of type `found` can be one of `wanted`.
fn fits(wanted: &SqlType, found: &SqlType) -> bool {
    use SqlType::{Array, Bytes, Date, Map, String, Struct, Time, Timestamp};
    match (wanted, found) {
        _ if wanted == found => true,
        _ if wanted.is_numeric() && found.is_numeric() => true,
        (Array(a), Array(b)) => fits(a, b),
        (Map(_, a), Map(_, b)) => fits(a, b),
        (Struct(_), Struct(_)) => true,
        (Date | Time | Timestamp | Bytes, String) | (String, Date | Time | Timestamp) => true,
        (Date | Timestamp, Date | Timestamp) => true,
        _ => false,
    }
}

fn shown(expr: &Expr) -> String {
    match expr {
        Expr::Column(column) => column.name.clone(),
        other => other.human_display().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::truth;

    #[test]
    fn truth_values_may_be_cut_short() {
        for text in ["true", "T", "y", "YES", "tr"] {
            assert_eq!(truth(text), Some(true), "{text}");
        }
        for text in ["false", "n", "No"] {
            assert_eq!(truth(text), Some(false), "{text}");
        }
        assert_eq!(truth("Not a boolean"), None);
        assert_eq!(truth(""), None);
    }
}
