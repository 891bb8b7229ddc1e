//! GROUP BY in a continuous query.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, DFSchemaRef, TableReference};
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, cast, lit};

use super::expr::{from_datafusion, plan_expr};
use super::projection::Item;
use super::query::check_boolean;
use super::scope::{Scope, unqualified};
use crate::ast::{Emit, Query, Window, WindowKind};
use crate::catalog::{Catalog, KeyWindow, Kind};
use crate::column;
use crate::error::{Error, Result};
use crate::node::{self, AggregateNode, WindowSpec};

/// How a grouping column is called that a pseudo column's name would hide.
const GROUP: &str = "$GROUP_";

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Whether an aggregate function is called anywhere in `expr`.
pub(super) fn contains_aggregate(expr: &Expr) -> bool {
    let mut found = false;
    // The closure never fails.
    let _ = expr.apply(|node| {
        found |= matches!(node, Expr::AggregateFunction(_));
        Ok(if found {
            TreeNodeRecursion::Stop
        } else {
            TreeNodeRecursion::Continue
        })
    });
    found
}

/// The columns that SELECT and HAVING may name: the source's, and the window's bounds.
pub(super) fn schema_with_bounds(query: &Query, scope: &Scope) -> Result<DFSchemaRef> {
    let schema = scope.plan.schema();
    if query.window.is_none() || query.group_by.is_empty() {
        return Ok(Arc::clone(schema));
    }
    let bounds = [column::WINDOWSTART, column::WINDOWEND].map(|name| {
        (
            None::<TableReference>,
            Arc::new(Field::new(name, DataType::Int64, false)),
        )
    });
    let bounds = DFSchema::new_with_metadata(bounds.to_vec(), Default::default());
    bounds
        .and_then(|bounds| schema.join(&bounds))
        .map(Arc::new)
        .map_err(|error| from_datafusion(&error, schema))
}

/// Groups `scope`; rewrites `items` to read the groups.
pub(super) fn plan(
    catalog: &Catalog,
    query: &Query,
    mut scope: Scope,
    mut items: Vec<Item>,
) -> Result<(Scope, Vec<Item>)> {
    let emit_final = query.emit == Some(Emit::Final);
    let window = query
        .window
        .as_ref()
        .map(|window| window_spec(window, emit_final))
        .transpose()?;
    if let Some(window) = &query.window
        && scope.kind == Kind::Table
    {
        return Err(Error::invalid(
            "WINDOW clause is not supported on tables: a table's rows have no place in time",
        )
        .at(window.span));
    }
    let emit = match query.emit {
        Some(Emit::Final) if window.is_none() => {
            return Err(
                Error::invalid("EMIT FINAL is only supported for windowed aggregations")
                    .at(query.spans.emit),
            );
        }
        Some(Emit::Final) => node::Emit::Final,
        _ => node::Emit::Changes,
    };
    scope.filter(None)?;
    let mut group: Vec<Expr> = Vec::new();
    for expr in &query.group_by {
        let planned = plan_expr(catalog, expr, scope.plan.schema())
            .map_err(|error| bounds_misplaced(error, query))?;
        if contains_aggregate(&planned) {
            return Err(
                Error::invalid(format!("GROUP BY cannot group by an aggregate: {expr}"))
                    .at(query.spans.group_by),
            );
        }
        // Apart from the columns that the groups bring along.
        let planned = match &planned {
            Expr::Column(column) if column::is_reserved(&column.name) => {
                let name = format!("{GROUP}{}", group.len());
                planned.alias(name)
            }
            _ => planned,
        };
        if group.contains(&planned) {
            return Err(
                Error::invalid(format!("GROUP BY names {expr} twice")).at(query.spans.group_by)
            );
        }
        group.push(planned);
    }
    let schema = schema_with_bounds(query, &scope)?;
    let having = query
        .having
        .as_ref()
        .map(|having| plan_expr(catalog, having, &schema));
    let having = having.transpose()?;
    let mut aggregates: Vec<Expr> = Vec::new();
    for expr in items.iter().map(|item| &item.expr).chain(&having) {
        collect_aggregates(expr, &mut aggregates)?;
    }
    if aggregates.is_empty() {
        return Err(Error::invalid(
            "GROUP BY requires aggregate functions in either the SELECT or HAVING clause",
        )
        .at(query.spans.group_by));
    }
    if let Some(bound) = aggregates
        .iter()
        .flat_map(Expr::column_refs)
        .find(|column| scope.plan.schema().maybe_index_of_column(column).is_none())
    {
        let unknown = Error::unknown(format!("column {} does not exist", bound.name));
        return Err(bounds_misplaced(unknown, query).or_at(query.spans.select));
    }
    if scope.kind == Kind::Table {
        check_retractable(&aggregates)?;
    }
    let input = Arc::clone(scope.plan.schema());
    let op = (scope.kind == Kind::Table).then(|| scope.op.clone());
    let node = AggregateNode::try_new(
        scope.plan.clone(),
        group,
        aggregates,
        scope.rowtime.clone(),
        op,
        window,
        emit,
        having.is_some(),
    )
    .map_err(|error| from_datafusion(&error, &input))?;
    let outputs = Outputs::of(&node, &input);
    scope.key = outputs
        .group
        .iter()
        .map(|(_, output)| output.clone())
        .collect();
    scope.window = window.map(key_window);
    scope.kind = Kind::Table;
    scope.changes = having.is_some();
    scope.rowtime = unqualified(column::ROWTIME);
    scope.op = unqualified(column::OP);
    scope.bounds = window.map(|_| {
        [
            unqualified(column::WINDOWSTART),
            unqualified(column::WINDOWEND),
        ]
    });
    scope.extend(node);
    for item in &mut items {
        item.expr = outputs
            .rewrite(&item.expr, &scope.plan)
            .map_err(|e| e.or_at(item.span))?;
    }
    if let Some(having) = having {
        let predicate = outputs.rewrite(&having, &scope.plan)?;
        check_boolean(&predicate, &scope, "HAVING")?;
        scope.filter(Some(predicate))?;
    }
    Ok((scope, items))
}

/// Functions that cannot take a row back, by DataFusion's names and the dialect's.
const NOT_RETRACTABLE: [(&str, &str); 9] = [
    ("max", "MAX"),
    ("min", "MIN"),
    ("last_value", "LATEST_BY_OFFSET"),
    ("first_value", "EARLIEST_BY_OFFSET"),
    ("latest_by_offset", "LATEST_BY_OFFSET"),
    ("earliest_by_offset", "EARLIEST_BY_OFFSET"),
    ("collect_set", "COLLECT_SET"),
    ("topk", "TOPK"),
    ("topkdistinct", "TOPKDISTINCT"),
];

/// Over a table rows are not only added.
fn check_retractable(aggregates: &[Expr]) -> Result<()> {
    let mut refused: Vec<&str> = Vec::new();
    for aggregate in aggregates {
        let Expr::AggregateFunction(call) = aggregate else {
            continue;
        };
        let found = NOT_RETRACTABLE
            .iter()
            .find(|(name, _)| *name == call.func.name());
        if let Some((_, name)) = found
            && !refused.contains(name)
        {
            refused.push(name);
        }
    }
    refused.sort_unstable();
    match refused.as_slice() {
        [] => Ok(()),
        [only] => Err(Error::invalid(format!(
            "The aggregation function {only} cannot be applied to a table source, only to a stream \
             source"
        ))),
        [first @ .., last] => Err(Error::invalid(format!(
            "The aggregation functions {} and {last} cannot be applied to a table source, only to a \
             stream source",
            first.join(", ")
        ))),
    }
}

/// What to say where a window's bound is named before there are windows.
fn bounds_misplaced(error: Error, query: &Query) -> Error {
    let bound = [column::WINDOWSTART, column::WINDOWEND]
        .into_iter()
        .find(|bound| error.message.contains(bound));
    match bound {
        Some(bound) if query.window.is_some() => Error {
            message: format!(
                "Window bounds column {bound} can only be used in the SELECT clause of windowed \
                 aggregations and can not be passed to aggregate functions"
            ),
            ..error
        },
        _ => error,
    }
}

fn collect_aggregates(expr: &Expr, into: &mut Vec<Expr>) -> Result<()> {
    let mut nested = None;
    let _ = expr.apply(|node| {
        let Expr::AggregateFunction(function) = node else {
            return Ok(TreeNodeRecursion::Continue);
        };
        if function.params.args.iter().any(contains_aggregate) {
            nested = Some(node.human_display().to_string());
        }
        if !into.contains(node) {
            into.push(node.clone());
        }
        Ok(TreeNodeRecursion::Jump)
    });
    match nested {
        Some(call) => Err(Error::invalid(format!(
            "Aggregate functions can not be nested: {call}"
        ))),
        None => Ok(()),
    }
}

/// Which expressions over the input an aggregation's output columns stand for.
struct Outputs {
    group: Vec<(Expr, Expr)>,
    aggregates: Vec<(Expr, Expr)>,
}

impl Outputs {
    fn of(node: &AggregateNode, input: &DFSchema) -> Self {
        use datafusion::logical_expr::UserDefinedLogicalNodeCore;
        let mut columns = node.schema().columns().into_iter().map(Expr::Column);
        let group = node.group.iter().map(|expr| match expr {
            Expr::Alias(alias) if alias.name.starts_with(GROUP) => (*alias.expr).clone(),
            other => other.clone(),
        });
        let group: Vec<_> = group.zip(columns.by_ref()).collect();
        let aggregates = node
            .aggregates
            .iter()
            .cloned()
            .zip(columns)
            .map(|(call, output)| {
                let output = ksql_result(&call, output, input);
                (call, output)
            })
            .collect();
        Self { group, aggregates }
    }

    /// `expr` in terms of the output columns.
    fn rewrite(&self, expr: &Expr, plan: &LogicalPlan) -> Result<Expr> {
        let rewritten = expr
            .clone()
            .transform_down(|node| {
                let all = self.aggregates.iter().chain(&self.group);
                Ok(match all.into_iter().find(|(input, _)| *input == node) {
                    Some((_, output)) => {
                        Transformed::new(output.clone(), true, TreeNodeRecursion::Jump)
                    }
                    None => Transformed::no(node),
                })
            })
            .map_err(|error| from_datafusion(&error, plan.schema()))?
            .data;
        let stray = rewritten
            .column_refs()
            .into_iter()
            .find(|column| plan.schema().maybe_index_of_column(column).is_none())
            .map(|column| column.name.clone());
        match stray {
            Some(name) => Err(Error::invalid(format!(
                "Non-aggregate SELECT expression(s) not part of GROUP BY: {name}"
            ))
            .hint(format!(
                "add {name} to GROUP BY, or take an aggregate of it"
            ))),
            None => Ok(rewritten),
        }
    }
}

/// KSQL's result of an aggregate where it differs from SQL's: SUM of INTEGER is an INTEGER, SUM and
/// AVG of no value are zero, and so is the deviation of one; its correlation is not a number.
fn ksql_result(call: &Expr, output: Expr, input: &DFSchema) -> Expr {
    let Expr::AggregateFunction(function) = call else {
        return output;
    };
    let argument = function
        .params
        .args
        .first()
        .and_then(|arg| arg.get_type(input).ok());
    match (function.func.name(), argument) {
        ("sum", Some(DataType::Int32)) => coalesce(cast(output, DataType::Int32), lit(0_i32)),
        ("sum", Some(DataType::Int64)) => coalesce(output, lit(0_i64)),
        ("sum", Some(DataType::Float64)) => coalesce(output, lit(0.0_f64)),
        ("sum", Some(decimal @ (DataType::Decimal128(..) | DataType::Decimal256(..)))) => {
            let zero = cast(lit(0_i32), decimal.clone());
            coalesce(datafusion::logical_expr::try_cast(output, decimal), zero)
        }
        ("avg", Some(DataType::Int32 | DataType::Int64 | DataType::Float64)) => {
            coalesce(output, lit(0.0_f64))
        }
        ("var" | "stddev", _) => coalesce(output, lit(0.0_f64)),
        ("corr", _) => coalesce(output, lit(f64::NAN)),
        _ => output,
    }
}

fn coalesce(value: Expr, default: Expr) -> Expr {
    datafusion::functions::core::expr_fn::coalesce(vec![value, default])
}

fn key_window(window: WindowSpec) -> KeyWindow {
    match window {
        WindowSpec::Hopping {
            size_ms,
            advance_ms,
            ..
        } => KeyWindow::Time {
            size_ms,
            hopping: size_ms != advance_ms,
        },
        WindowSpec::Session { .. } => KeyWindow::Session,
    }
}

fn window_spec(window: &Window, emit_final: bool) -> Result<WindowSpec> {
    let length = match window.kind {
        WindowKind::Tumbling { size_ms }
        | WindowKind::Hopping { size_ms, .. }
        | WindowKind::Sliding { size_ms, .. } => size_ms,
        WindowKind::Session { gap_ms } => gap_ms,
    };
    // ksqlDB's defaults: rows may be a day late, but not where somebody waits for the end.
    let default_ms = if emit_final {
        0
    } else {
        (DAY_MS - length).max(0)
    };
    let grace_ms = window.grace_ms.unwrap_or(default_ms);
    let least = length.saturating_add(grace_ms);
    let retention_ms = window.retention_ms;
    if let Some(retention_ms) = retention_ms
        && retention_ms < least
    {
        return Err(Error::invalid(format!(
            "the retention of {retention_ms} ms is shorter than the window's size and grace \
             period together, {least} ms"
        ))
        .at(window.span));
    }
    Ok(match window.kind {
        WindowKind::Tumbling { size_ms } => WindowSpec::Hopping {
            size_ms,
            advance_ms: size_ms,
            grace_ms,
            retention_ms,
        },
        WindowKind::Hopping {
            size_ms,
            advance_ms,
        } => WindowSpec::Hopping {
            size_ms,
            advance_ms,
            grace_ms,
            retention_ms,
        },
        WindowKind::Session { gap_ms } => WindowSpec::Session {
            gap_ms,
            grace_ms,
            retention_ms,
        },
        WindowKind::Sliding {
            size_ms,
            advance_ms: Some(advance_ms),
        } => WindowSpec::Hopping {
            size_ms,
            advance_ms,
            grace_ms,
            retention_ms,
        },
        WindowKind::Sliding {
            advance_ms: None, ..
        } => {
            return Err(
                Error::unsupported("SLIDING without ADVANCE BY is not there yet")
                    .at(window.span)
                    .hint("say how far apart windows start: SLIDING (SIZE …, ADVANCE BY …)"),
            );
        }
    })
}
