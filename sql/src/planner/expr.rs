//! Expressions: from the parser's to DataFusion's.

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{
    Column, DFSchema, DataFusionError, ScalarValue, SchemaError, not_impl_err, plan_err,
};
use datafusion::logical_expr::expr::{InList, TryCast};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Operator, lit};
use datafusion::sql::planner::{ParserOptions, PlannerContext, SqlToRel};
use datafusion::sql::sqlparser::ast::Spanned;
use datafusion::sql::sqlparser::tokenizer::{Location, Span};

use super::context::{Context, Scan};
use super::literal;
use super::rewrite::rewrite;
use crate::ast;
use crate::catalog::Catalog;
use crate::error::{Error, Result};
use crate::types::SqlType;

/// How DataFusion's planner reads our expressions.
pub(crate) fn options() -> ParserOptions {
    ParserOptions::new()
        .with_enable_ident_normalization(false)
        .with_map_string_types_to_utf8view(false)
        .with_parse_float_as_decimal(true)
        .with_collect_spans(true)
}

/// Plans an expression over the columns of `schema`.
pub(crate) fn plan_expr(catalog: &Catalog, expr: &ast::Expr, schema: &DFSchema) -> Result<Expr> {
    let mut expr = expr.clone();
    rewrite(&mut expr)?;
    let context = Context {
        catalog,
        scan: Scan::Continuous,
    };
    let planner = SqlToRel::new_with_options(&context, options());
    let place = expr.span();
    let planned = planner
        .sql_to_expr(expr, schema, &mut PlannerContext::new())
        .and_then(|planned| narrow(planned, schema))
        .and_then(|planned| {
            check_clock(&planned)?;
            // A type error is said here, where its place is known. The variable of a lambda is no
            // column of the schema.
            match planned.get_type(schema) {
                Err(error) if field_not_found(&error).is_none() => Err(error),
                _ => Ok(planned),
            }
        });
    planned.map_err(|error| from_datafusion(&error, schema).or_at(place))
}

/// A query that never ends has no time at which it runs.
fn check_clock(expr: &Expr) -> datafusion::common::Result<()> {
    expr.apply(|expr| match expr {
        Expr::ScalarFunction(call)
            if ["now", "current_date", "current_time"].contains(&call.name()) =>
        {
            not_impl_err!(
                "{} in a continuous query is not there yet: ROWTIME is the time of the row",
                call.name().to_uppercase()
            )
        }
        _ => Ok(TreeNodeRecursion::Continue),
    })?;
    Ok(())
}

/// Plans an expression without columns.
#[cfg(test)]
pub(crate) fn plan_constant(catalog: &Catalog, expr: &ast::Expr) -> Result<Expr> {
    plan_expr(catalog, expr, &DFSchema::empty())
}

/// What SQL text alone does not say: INTEGER literals are 32 bits wide where they fit, as in
/// KSQL; dividing an integer or decimal by zero gives NULL, not the end of the query.
fn narrow(expr: Expr, schema: &DFSchema) -> datafusion::common::Result<Expr> {
    let narrowed = expr.transform_up(|expr| {
        Ok(match expr {
            Expr::Literal(ScalarValue::Int64(Some(value)), metadata) => {
                match i32::try_from(value) {
                    Ok(value) => {
                        Transformed::yes(Expr::Literal(ScalarValue::Int32(Some(value)), metadata))
                    }
                    Err(_) => {
                        Transformed::no(Expr::Literal(ScalarValue::Int64(Some(value)), metadata))
                    }
                }
            }
            Expr::BinaryExpr(BinaryExpr {
                left,
                op: op @ (Operator::Divide | Operator::Modulo),
                right,
            }) => {
                let floating = left.get_type(schema).is_ok_and(|t| t.is_floating())
                    || right.get_type(schema).is_ok_and(|t| t.is_floating());
                let right = match right.as_ref() {
                    _ if floating => *right,
                    Expr::Literal(value, _) if !is_zero(value) => *right,
                    _ => datafusion::functions::core::expr_fn::nullif(*right, lit(0_i32)),
                };
                Transformed::yes(Expr::BinaryExpr(BinaryExpr::new(left, op, Box::new(right))))
            }
            Expr::InList(InList {
                expr,
                list,
                negated,
            }) => {
                let list = literal::in_list(&expr, list, schema)?;
                Transformed::yes(Expr::InList(InList::new(expr, list, negated)))
            }
            Expr::ScalarFunction(mut call) if call.name() == "make_array" => {
                call.args = literal::array_items(call.args, schema)?;
                Transformed::yes(Expr::ScalarFunction(call))
            }
            Expr::TryCast(cast) => {
                check_cast(&cast, schema)?;
                Transformed::no(Expr::TryCast(cast))
            }
            other => Transformed::no(other),
        })
    })?;
    // A lambda's parameters have the types of what they stand for, which may be narrower now.
    Ok(narrowed.data.resolve_lambda_variables(schema)?.data)
}

fn check_cast(cast: &TryCast, schema: &DFSchema) -> datafusion::common::Result<()> {
    let from = cast.expr.get_type(schema)?;
    let types = (
        SqlType::from_arrow(&from),
        SqlType::from_arrow(cast.field.data_type()),
    );
    match types {
        (Some(from), Some(to)) if !from.casts_to(&to) => {
            plan_err!("Cast of {from} to {to} is not supported")
        }
        _ => Ok(()),
    }
}

fn is_zero(value: &ScalarValue) -> bool {
    match ScalarValue::new_zero(&value.data_type()) {
        Ok(zero) => *value == zero || value.is_null(),
        Err(_) => true,
    }
}

/// An error of DataFusion's planner, in our words and with its place.
pub(crate) fn from_datafusion(error: &DataFusionError, schema: &DFSchema) -> Error {
    if let Some((field, valid)) = field_not_found(error) {
        return unknown_column(field, valid, schema);
    }
    let span = span_of(error);
    let root = error.find_root();
    let text = match root {
        DataFusionError::Plan(text) | DataFusionError::NotImplemented(text) => text.clone(),
        DataFusionError::SchemaError(schema_error, _) => schema_error.to_string(),
        DataFusionError::Internal(text) => {
            return Error::internal(text.clone());
        }
        other => other.to_string(),
    };
    let text = text.lines().next().unwrap_or_default();
    let text = about_call(text)
        .unwrap_or(text)
        .trim_end_matches('.')
        .to_owned();
    let text = plain(&text).unwrap_or(text);
    let it = match root {
        DataFusionError::NotImplemented(_) => Error::unsupported(text),
        _ if text.contains("Invalid function") => {
            let name = text.split('\'').nth(1).unwrap_or_default().to_uppercase();
            let functions = crate::functions::Functions::all().list();
            Error::unknown(format!("function {name} does not exist"))
                .did_you_mean(&name, functions.iter().map(|(name, _)| name.as_str()))
        }
        _ => Error::type_mismatch(text),
    };
    match span {
        Some(span) => it.at(span),
        None => it,
    }
}

/// DataFusion's longest messages in a sentence.
fn plain(text: &str) -> Option<String> {
    if let Some((_, rest)) = text.split_once("Function '")
        && let Some((name, rest)) = rest.split_once("' failed to match any signature")
    {
        let name = name.to_uppercase();
        let given = rest.split_once("but received ").map(|(_, rest)| rest);
        return Some(
            match given.and_then(|rest| rest.split([' ', '.', ',']).next()) {
                Some(given) => format!(
                    "{name} does not take a value of type {}",
                    given.to_uppercase()
                ),
                None => format!("{name} does not take such arguments"),
            },
        );
    }
    let (_, rest) = text.split_once("column \"")?;
    let (column, rest) = rest.split_once('"')?;
    rest.starts_with(" must appear in the GROUP BY clause")
        .then(|| format!("column {column} must be in GROUP BY, or inside an aggregate function"))
}

/// What one of our functions says about its arguments, out of what DataFusion put around it.
fn about_call(text: &str) -> Option<&str> {
    let says = [
        "' does not accept parameters (",
        "' cannot be resolved due to ",
    ];
    let said = says.iter().find_map(|says| text.find(says))?;
    let start = text[..said].rfind("Function '")?;
    let ends = [". No function matches", ",Error during planning"];
    let end = ends.iter().filter_map(|end| text.find(end)).min();
    let end = end.unwrap_or(text.len());
    Some(&text[start..end])
}

pub(super) fn field_not_found(error: &DataFusionError) -> Option<(&Column, &[Column])> {
    match error.find_root() {
        DataFusionError::SchemaError(schema_error, _) => match schema_error.as_ref() {
            SchemaError::FieldNotFound {
                field,
                valid_fields,
            } => Some((field, valid_fields)),
            _ => None,
        },
        _ => None,
    }
}

fn unknown_column(field: &Column, valid: &[Column], schema: &DFSchema) -> Error {
    let known = |name: &str| !name.starts_with('$');
    let mut names: Vec<String> = if valid.is_empty() {
        schema
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .collect()
    } else {
        valid.iter().map(|column| column.name.clone()).collect()
    };
    names.retain(|name| known(name));
    let named = match &field.relation {
        Some(relation) => format!("{}.{}", relation.table(), field.name),
        None => field.name.clone(),
    };
    let it = Error::unknown(format!("column {named} does not exist"))
        .did_you_mean(&field.name, names.iter().map(String::as_str));
    match field.spans.first() {
        Some(span) => it.at(span_from(span)),
        None => it,
    }
}

fn span_from(span: datafusion::common::Span) -> Span {
    Span::new(
        Location::new(span.start.line, span.start.column),
        Location::new(span.end.line, span.end.column),
    )
}

fn span_of(error: &DataFusionError) -> Option<Span> {
    error
        .diagnostic()
        .and_then(|diagnostic| diagnostic.span)
        .map(span_from)
}
