//! What KSQL's operators mean where DataFusion's mean something else, or nothing.

use datafusion::common::{DFSchema, Result, plan_err};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Operator};
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::BinaryOperator;

use crate::types::SqlType;

/// Plans them.
#[derive(Debug)]
pub(super) struct Operators;

impl ExprPlanner for Operators {
    fn plan_binary_op(
        &self,
        expr: RawBinaryExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        let types = [&expr.left, &expr.right].map(|side| type_of(side, schema));
        if is_arithmetic(&expr.op)
            && let [Some(one), None] | [None, Some(one)] = &types
            && matches!(
                one,
                SqlType::Array(_) | SqlType::Map(..) | SqlType::Struct(_)
            )
        {
            return plan_err!("Arithmetic on types {one} and NULL is not supported");
        }
        let [Some(left), Some(right)] = types else {
            return Ok(PlannerResult::Original(expr));
        };
        if let Some(name) = comparison(&expr.op) {
            if !comparable(&left, &right, &expr.op) {
                return plan_err!(
                    "Cannot compare {} ({left}) to {} ({right}) with {name}",
                    described(&expr.left),
                    described(&expr.right)
                );
            }
        } else if is_arithmetic(&expr.op) {
            if expr.op == BinaryOperator::Plus && left == SqlType::String && right == left {
                let joined = BinaryExpr::new(
                    Box::new(expr.left),
                    Operator::StringConcat,
                    Box::new(expr.right),
                );
                return Ok(PlannerResult::Planned(Expr::BinaryExpr(joined)));
            }
            if let Some(odd) = [&left, &right].into_iter().find(|of| !computes(of)) {
                return plan_err!(
                    "Arithmetic on types {left} and {right} is not supported: {odd} is no number"
                );
            }
        }
        Ok(PlannerResult::Original(expr))
    }
}

/// The type of one side. A whole number that is written out is an INT where it fits.
fn type_of(expr: &Expr, schema: &DFSchema) -> Option<SqlType> {
    if let Expr::Literal(ScalarValue::Int64(Some(value)), _) = expr
        && i32::try_from(*value).is_ok()
    {
        return Some(SqlType::Int);
    }
    let of = expr.get_type(schema).ok()?;
    SqlType::from_arrow(&of)
}

/// How ksqlDB calls a comparison.
fn comparison(op: &BinaryOperator) -> Option<&'static str> {
    Some(match op {
        BinaryOperator::Eq => "EQUAL",
        BinaryOperator::NotEq => "NOT_EQUAL",
        BinaryOperator::Lt => "LESS_THAN",
        BinaryOperator::LtEq => "LESS_THAN_OR_EQUAL",
        BinaryOperator::Gt => "GREATER_THAN",
        BinaryOperator::GtEq => "GREATER_THAN_OR_EQUAL",
        _ => return None,
    })
}

fn is_arithmetic(op: &BinaryOperator) -> bool {
    matches!(
        op,
        BinaryOperator::Plus
            | BinaryOperator::Minus
            | BinaryOperator::Multiply
            | BinaryOperator::Divide
            | BinaryOperator::Modulo
    )
}

/// Whether values of two types can be compared so.
fn comparable(left: &SqlType, right: &SqlType, op: &BinaryOperator) -> bool {
    use SqlType::{Array, Boolean, Bytes, Date, Map, String, Struct, Time, Timestamp};
    let only_equal = !matches!(op, BinaryOperator::Eq | BinaryOperator::NotEq);
    match (left, right) {
        _ if left.is_numeric() && right.is_numeric() => true,
        (Boolean, Boolean) | (Array(_), Array(_)) | (Map(..), Map(..)) | (Struct(_), Struct(_)) => {
            !only_equal
        }
        (String | Date | Time | Timestamp | Bytes, String)
        | (String, Date | Time | Timestamp | Bytes)
        | (Date | Timestamp, Date | Timestamp)
        | (Time, Time)
        | (Bytes, Bytes) => true,
        _ => false,
    }
}

/// Whether values of a type can be added and so on: numbers, and times, of which DataFusion knows
/// more than KSQL.
fn computes(of: &SqlType) -> bool {
    of.is_numeric() || matches!(of, SqlType::Date | SqlType::Time | SqlType::Timestamp)
}

fn described(expr: &Expr) -> String {
    match expr {
        Expr::Column(column) => column.name.clone(),
        Expr::Literal(ScalarValue::Utf8(Some(text)), _) => format!("'{text}'"),
        other => other.human_display().to_string(),
    }
}
