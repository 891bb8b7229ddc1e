//! Shapes of the dialect's expressions made into ones that DataFusion's planner knows.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    self, BinaryOperator, CastKind, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArgOperator, FunctionArgumentList, FunctionArguments, Ident, NullTreatment, ObjectName,
    OneOrManyWithParens, Value, VisitMut, VisitorMut,
};

use crate::column;
use crate::error::{Error, Result};
use crate::functions::{TAKE_UNITS, unit_ms};
use crate::java_time::{Pattern, Zone};
use crate::types::SqlType;

/// Rewrites an expression, or a whole query, in place.
pub(crate) fn rewrite(node: &mut impl VisitMut) -> Result<()> {
    match node.visit(&mut Rewriter) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct Rewriter;

impl VisitorMut for Rewriter {
    type Break = Error;

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        match rewrite_node(expr) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }
}

fn rewrite_node(expr: &mut Expr) -> Result<()> {
    match expr {
        Expr::Function(function) => rewrite_function(function)?,
        Expr::BinaryOp { left, op, right } if is_comparison(op) => {
            magic_times(left, right)?;
            magic_times(right, left)?;
        }
        Expr::Between {
            expr, low, high, ..
        } => {
            magic_times(expr, low)?;
            magic_times(expr, high)?;
        }
        // A value that cannot be cast is NULL in the dialect, not the end of the query.
        Expr::Cast { kind, .. } => *kind = CastKind::TryCast,
        // DataFusion makes small letters of parameters without quotes, and not of where they are used.
        Expr::Lambda(lambda) => {
            let params = match &mut lambda.params {
                OneOrManyWithParens::One(param) => std::slice::from_mut(param),
                OneOrManyWithParens::Many(params) => params.as_mut_slice(),
            };
            for param in params {
                param.name.quote_style = Some('"');
            }
        }
        Expr::Array(array) if array.elem.is_empty() => {
            return Err(Error::invalid(
                "Array constructor cannot be empty. Please supply at least one element",
            ));
        }
        // 1E3 is a DOUBLE where 1.5 is a DECIMAL.
        Expr::Value(value) => {
            if let Value::Number(text, _) = &value.value {
                check_number(text).map_err(|error| error.at(value.span))?;
            }
            if let Value::Number(text, _) = &value.value
                && text.contains(['e', 'E'])
            {
                *expr = Expr::Cast {
                    kind: CastKind::Cast,
                    expr: Box::new(Expr::value(Value::SingleQuotedString(text.clone()))),
                    data_type: SqlType::Double.to_ast(),
                    array: false,
                    format: None,
                };
            }
        }
        _ => {}
    }
    Ok(())
}

fn rewrite_function(function: &mut Function) -> Result<()> {
    let [part] = function.name.0.as_slice() else {
        return Ok(());
    };
    let Some(ident) = part.as_ident() else {
        return Ok(());
    };
    let name = ident.value.to_ascii_uppercase();
    match name.as_str() {
        "STRUCT" => {
            let mut args = Vec::new();
            for (key, value) in assignments(function, "STRUCT(name := value, …)")? {
                let Expr::Identifier(field) = key else {
                    return Err(Error::syntax(format!("expected a field name, found {key}")));
                };
                let field = string(field.value);
                if args.iter().step_by(2).any(|known| *known == field) {
                    return Err(Error::invalid(format!(
                        "Duplicate field names found in STRUCT: {field}"
                    )));
                }
                args.extend([field, value]);
            }
            replace(function, "named_struct", args);
        }
        "MAP" if has_assignments(function) => {
            let mut args = Vec::new();
            for (key, value) in assignments(function, "MAP('key' := value, …)")? {
                args.extend([key, value]);
            }
            replace(function, "make_map", args);
        }
        // Rows come in offset order, so the latest is the last one taken.
        "LATEST_BY_OFFSET" => by_offset(function, "last_value")?,
        "EARLIEST_BY_OFFSET" => by_offset(function, "first_value")?,
        "COUNT_DISTINCT" => {
            rename(function, "count");
            if let FunctionArguments::List(list) = &mut function.args {
                list.duplicate_treatment = Some(ast::DuplicateTreatment::Distinct);
            }
        }
        "REDUCE" => int_state(function),
        name if TAKE_UNITS.contains(&name) => unit_to_string(function),
        _ => {}
    }
    Ok(())
}

/// A number must be one of its type's.
fn check_number(text: &str) -> Result<()> {
    // With a minus before it the least BIGINT is one.
    const LEAST: &str = "9223372036854775808";
    if text.contains(['e', 'E']) {
        let finite = text.parse::<f64>().is_ok_and(f64::is_finite);
        return match finite {
            true => Ok(()),
            false => Err(Error::invalid(format!("Number overflows DOUBLE: {text}"))),
        };
    }
    let whole = text.bytes().all(|byte| byte.is_ascii_digit());
    if whole && text != LEAST && text.parse::<i64>().is_err() {
        return Err(Error::invalid(format!("Invalid numeric literal: {text}")));
    }
    Ok(())
}

/// A state that is written as a small number is an INT, as the lambda's results are to be.
fn int_state(function: &mut Function) {
    let FunctionArguments::List(list) = &mut function.args else {
        return;
    };
    if let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(state))) = list.args.get_mut(1)
        && let Expr::Value(value) = state
        && let Value::Number(text, _) = &value.value
        && text.parse::<i32>().is_ok()
    {
        *state = Expr::Cast {
            kind: CastKind::Cast,
            expr: Box::new(state.clone()),
            data_type: SqlType::Int.to_ast(),
            array: false,
            format: None,
        };
    }
}

/// A unit of time is a word in the dialect and a string to the function.
fn unit_to_string(function: &mut Function) {
    let FunctionArguments::List(list) = &mut function.args else {
        return;
    };
    if let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(unit))) = list.args.first_mut()
        && let Expr::Identifier(word) = unit
        && word.quote_style.is_none()
        && unit_ms(&word.value).is_some()
    {
        *unit = string(word.value.clone());
    }
}

fn is_comparison(op: &BinaryOperator) -> bool {
    matches!(
        op,
        BinaryOperator::Eq
            | BinaryOperator::NotEq
            | BinaryOperator::Lt
            | BinaryOperator::LtEq
            | BinaryOperator::Gt
            | BinaryOperator::GtEq
    )
}

/// Where a pseudo column that is a time is compared with a text, the text is a time, of which the
/// end may be missing: `ROWTIME > '2020-02-23T12'`.
fn magic_times(column: &Expr, value: &mut Expr) -> Result<()> {
    let name = match column {
        Expr::Identifier(name) => name,
        Expr::CompoundIdentifier(parts) => match parts.last() {
            Some(name) => name,
            None => return Ok(()),
        },
        _ => return Ok(()),
    };
    let is_time = [column::ROWTIME, column::WINDOWSTART, column::WINDOWEND]
        .iter()
        .any(|time| name.value.eq_ignore_ascii_case(time));
    if let Expr::Value(literal) = value
        && let Value::SingleQuotedString(text) = &literal.value
        && is_time
    {
        let ms = partial_timestamp(text).ok_or_else(|| {
            Error::type_mismatch(format!(
                "Failed to parse timestamp '{text}': {name} is compared with a time such as \
                 '2020-02-23T12:30:00.000+0000', of which the end may be missing"
            ))
            .at(literal.span)
        })?;
        *value = Expr::value(Value::Number(ms.to_string(), false));
    }
    Ok(())
}

/// Milliseconds since 1970-01-01 UTC of a text such as `2020-02-23T12:30:00.000+0100`. What is
/// missing is the first month, day or moment, and UTC.
fn partial_timestamp(text: &str) -> Option<i64> {
    let (date, rest) = match text.split_once('T') {
        Some((date, rest)) => (date, rest),
        None => (text, ""),
    };
    let (time, zone) = match rest.find(['+', '-', 'Z', '[']) {
        Some(at) => (&rest[..at], rest[at..].parse().ok()?),
        None => (rest, Zone::UTC),
    };
    let parts = date.split('-').count();
    let date = format!("{date}{}", ["", "-01-01", "-01", ""].get(parts)?);
    let time = match time.split(':').count() {
        1 if time.is_empty() => "00:00:00".to_owned(),
        1 => format!("{time}:00:00"),
        2 => format!("{time}:00"),
        _ => time.to_owned(),
    };
    let pattern = match time.split_once('.') {
        None => "yyyy-MM-dd'T'HH:mm:ss".to_owned(),
        Some((_, fraction)) => {
            format!(
                "yyyy-MM-dd'T'HH:mm:ss.{}",
                "S".repeat(fraction.len().clamp(1, 9))
            )
        }
    };
    Pattern::compile(&pattern)
        .ok()?
        .parse(&format!("{date}T{time}"), zone)
        .ok()
}

fn by_offset(function: &mut Function, name: &str) -> Result<()> {
    let FunctionArguments::List(list) = &mut function.args else {
        return Ok(());
    };
    for (index, arg) in list.args.iter().enumerate().skip(1) {
        let literal = matches!(
            arg,
            FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(_)))
        );
        if !literal {
            return Err(Error::invalid(format!(
                "Parameter {} passed to function {} must be a literal constant, but was \
                 expression: '{arg}'",
                index + 1,
                function.name
            )));
        }
    }
    let ignore = match list.args.as_slice() {
        [_] => true,
        [
            _,
            FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(value))),
        ] => {
            match value.value {
                Value::Boolean(ignore) => ignore,
                // Of n values: a function of our own.
                _ => return Ok(()),
            }
        }
        _ => return Ok(()),
    };
    list.args.truncate(1);
    function.null_treatment = Some(if ignore {
        NullTreatment::IgnoreNulls
    } else {
        NullTreatment::RespectNulls
    });
    rename(function, name);
    Ok(())
}

fn has_assignments(function: &Function) -> bool {
    let FunctionArguments::List(list) = &function.args else {
        return false;
    };
    list.args
        .iter()
        .any(|arg| !matches!(arg, FunctionArg::Unnamed(_)))
}

/// The `name := value` arguments of a constructor.
fn assignments(function: &mut Function, form: &str) -> Result<Vec<(Expr, Expr)>> {
    let args = match std::mem::replace(&mut function.args, FunctionArguments::None) {
        FunctionArguments::List(list) => list.args,
        _ => Vec::new(),
    };
    let wrong = || Error::syntax(format!("expected {form}"));
    args.into_iter()
        .map(|arg| match arg {
            FunctionArg::Named {
                name,
                arg: FunctionArgExpr::Expr(value),
                operator: FunctionArgOperator::Assignment,
            } => Ok((Expr::Identifier(name), value)),
            FunctionArg::ExprNamed {
                name,
                arg: FunctionArgExpr::Expr(value),
                operator: FunctionArgOperator::Assignment,
            } => Ok((name, value)),
            _ => Err(wrong()),
        })
        .collect()
}

fn rename(function: &mut Function, name: &str) {
    function.name = ObjectName::from(vec![Ident::new(name)]);
}

fn replace(function: &mut Function, name: &str, args: Vec<Expr>) {
    rename(function, name);
    function.args = arguments(args);
}

fn arguments(args: Vec<Expr>) -> FunctionArguments {
    FunctionArguments::List(FunctionArgumentList {
        duplicate_treatment: None,
        args: args
            .into_iter()
            .map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)))
            .collect(),
        clauses: Vec::new(),
    })
}

fn string(text: String) -> Expr {
    Expr::value(Value::SingleQuotedString(text))
}

#[cfg(test)]
mod tests {
    use super::partial_timestamp;

    #[test]
    fn the_end_of_a_time_may_be_missing() {
        let midnight = 1_582_416_000_000;
        for (text, ms) in [
            ("2020", 1_577_836_800_000),
            ("2020-02", 1_580_515_200_000),
            ("2020-02-23", midnight),
            ("2020-02-23T23", midnight + 23 * 3_600_000),
            ("2020-02-23T23:45", midnight + (23 * 60 + 45) * 60_000),
            (
                "2020-02-23T23:45:12",
                midnight + ((23 * 60 + 45) * 60 + 12) * 1000,
            ),
            (
                "2020-02-23T23:45:12.005",
                midnight + ((23 * 60 + 45) * 60 + 12) * 1000 + 5,
            ),
            (
                "2020-02-23T00:00:00+0445",
                midnight - (4 * 60 + 45) * 60_000,
            ),
        ] {
            assert_eq!(partial_timestamp(text), Some(ms), "{text}");
        }
        assert_eq!(partial_timestamp("yesterday"), None);
    }
}
