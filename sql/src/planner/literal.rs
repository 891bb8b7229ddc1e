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

/// A text as a value of type `wanted`, where that is a number or a truth value.
fn read(item: Expr, wanted: &SqlType) -> Result<Expr> {
    let Expr::Literal(ScalarValue::Utf8(Some(text)), _) = &item else {
        return Ok(item);
    };
    let text = text.trim();
    let read = match wanted {
        SqlType::Int => text.parse::<i32>().ok().map(lit),
        SqlType::BigInt => text.parse::<i64>().ok().map(lit),
        SqlType::Double => text.parse::<f64>().ok().map(lit),
        SqlType::Decimal { .. } => {
            let number = ScalarValue::Utf8(Some(text.to_owned())).cast_to(&wanted.to_arrow());
            let is_number = text.parse::<f64>().is_ok_and(f64::is_finite);
            number
                .ok()
                .filter(|number| is_number && !number.is_null())
                .map(lit)
        }
        SqlType::Boolean => truth(text).map(lit),
        _ => return Ok(item),
    };
    match read {
        Some(value) => Ok(value),
        None => {
            let name = match wanted {
                SqlType::Decimal { .. } => "DECIMAL".to_owned(),
                other => other.to_string(),
            };
            plan_err!("invalid input syntax for type {name}: \"{text}\"")
        }
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
