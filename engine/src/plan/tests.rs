//! What is rewritten before it is planned.

use datafusion::functions_aggregate::expr_fn::{count, count_distinct};
use datafusion::logical_expr::{col, lit, when};

use super::*;

/// Its argument and its filter, as text.
fn given(expr: &Expr) -> (String, Option<String>) {
    let Expr::AggregateFunction(function) = expr else {
        panic!("{expr} is no aggregate function");
    };
    let filter = function.params.filter.as_ref();
    (
        function.params.args[0].to_string(),
        filter.map(ToString::to_string),
    )
}

#[test]
fn a_condition_around_what_is_counted_is_a_filter() {
    let condition = || col("v").gt(lit(3));
    let counted = |case: Expr| given(&with_filter(&count_distinct(case)));
    let filtered = ("v".to_owned(), Some("v > Int32(3)".to_owned()));
    let case = when(condition(), col("v")).end().unwrap();
    assert_eq!(counted(case.clone()), filtered);
    let null = lit(datafusion::common::ScalarValue::Int64(None));
    let otherwise_null = when(condition(), col("v")).otherwise(null).unwrap();
    assert_eq!(counted(otherwise_null), filtered);
    // Its name is a column of the operator's output.
    let named = with_filter(&count_distinct(case).alias("N"));
    let Expr::Alias(alias) = named else {
        panic!("{named} has lost its name");
    };
    assert_eq!(given(&alias.expr), filtered);
}

#[test]
fn other_conditions_stay_where_they_are() {
    let condition = || col("v").not_eq(lit(0));
    let otherwise_zero = when(condition(), col("v")).otherwise(lit(0)).unwrap();
    let two = when(condition(), col("v"))
        .when(col("w").gt(lit(0)), col("w"))
        .end()
        .unwrap();
    // The condition guards it.
    let guarded = when(condition(), lit(1) / col("v")).end().unwrap();
    for case in [otherwise_zero, two, guarded] {
        let expr = count_distinct(case);
        assert_eq!(with_filter(&expr), expr);
    }
    let not_distinct = count(when(condition(), col("v")).end().unwrap());
    assert_eq!(with_filter(&not_distinct), not_distinct);
}
