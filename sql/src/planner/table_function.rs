//! Table functions in SELECT: EXPLODE and CUBE_EXPLODE. Their arrays become columns, which are
//! unnested side by side; a shorter one is filled up with NULL, and a row without items is gone.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, UnnestOptions};
use datafusion::logical_expr::{Expr, LogicalPlanBuilder};

use super::expr::from_datafusion;
use super::projection::Item;
use super::scope::{Scope, unqualified};
use crate::ast::Query;
use crate::catalog::Kind;
use crate::error::{Error, Result};
use crate::functions::{cube, is_table_function};

/// Whether a table function is called anywhere in `expr`.
pub(super) fn contains(expr: &Expr) -> bool {
    let mut found = false;
    // The closure never fails.
    let _ = expr.apply(|node| {
        found |= is_call(node);
        Ok(if found {
            TreeNodeRecursion::Stop
        } else {
            TreeNodeRecursion::Continue
        })
    });
    found
}

fn is_call(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarFunction(call) if is_table_function(call.name()))
}

/// Unnests the arrays of the table functions in `items`, which then read the rows that this makes.
pub(super) fn plan(query: &Query, scope: &mut Scope, items: &mut [Item]) -> Result<()> {
    let Some(first) = items.iter().find(|item| contains(&item.expr)) else {
        return Ok(());
    };
    if !query.group_by.is_empty() {
        return Err(
            Error::invalid("Table functions cannot be used with aggregations.").at(first.span),
        );
    }
    if scope.kind == Kind::Table {
        return Err(
            Error::invalid("Table source is not supported with table functions").at(first.span),
        );
    }
    let schema = Arc::clone(scope.plan.schema());
    let fail = |error| from_datafusion(&error, &schema);
    let mut calls: Vec<Expr> = Vec::new();
    for item in items.iter_mut() {
        let replaced = item.expr.clone().transform_down(|node| {
            if !is_call(&node) {
                return Ok(Transformed::no(node));
            }
            let index = calls
                .iter()
                .position(|call| *call == node)
                .unwrap_or_else(|| {
                    calls.push(node);
                    calls.len() - 1
                });
            let column = unqualified(&column_of(index));
            Ok(Transformed::new(column, true, TreeNodeRecursion::Jump))
        });
        item.expr = replaced.map_err(fail)?.data;
    }
    let mut columns: Vec<Expr> = schema.columns().into_iter().map(Expr::Column).collect();
    let mut unnested = Vec::new();
    for (index, call) in calls.into_iter().enumerate() {
        // Says so where it does not take its arguments.
        datafusion::logical_expr::ExprSchemable::get_type(&call, &schema).map_err(fail)?;
        let Expr::ScalarFunction(call) = call else {
            return Err(Error::internal("a table function that is no call"));
        };
        let cubes = call.name() == "cube_explode";
        let Ok([array]) = <[Expr; 1]>::try_from(call.args) else {
            return Err(Error::internal("a table function without an argument"));
        };
        if contains(&array) {
            return Err(Error::invalid("Table functions cannot be nested"));
        }
        let array = if cubes {
            cube().call(vec![array])
        } else {
            array
        };
        columns.push(array.alias(column_of(index)));
        unnested.push(Column::new_unqualified(column_of(index)));
    }
    let options = UnnestOptions::new().with_preserve_nulls(false);
    scope.plan = LogicalPlanBuilder::from(scope.plan.clone())
        .project(columns)
        .and_then(|plan| plan.unnest_columns_with_options(unnested, options))
        .and_then(LogicalPlanBuilder::build)
        .map_err(fail)?;
    Ok(())
}

/// The column of the rows that the table function of that number makes.
fn column_of(index: usize) -> String {
    format!("$ROWS_{index}")
}
