//! What part of a view an ad hoc query needs: keys it names, a range of keys, or all of it.

use std::fmt;
use std::ops::{Bound, Range, RangeBounds};
use std::sync::Arc;

use arrow::array::ArrayRef;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use kappa_sql::catalog::{KeyWindow, Relation};
use kappa_sql::column;
use kappa_storage::store::key;

use crate::error::Result;
use crate::view::ViewLayout;

/// Most keys that are looked up one by one; beyond, the view is scanned.
const KEYS_MAX: usize = 10_000;

/// What is read of a view.
#[derive(Debug)]
pub(crate) enum Lookup {
    /// These rows, by state key.
    Keys(Vec<Vec<u8>>),
    /// These ranges of state keys.
    Ranges {
        what: String,
        ranges: Vec<Range<Vec<u8>>>,
    },
    /// All of it.
    All,
}

impl fmt::Display for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keys(keys) => write!(f, "get {} by key", plural(keys.len(), "row")),
            Self::Ranges { what, ranges } => {
                write!(f, "scan {} {what}", plural(ranges.len(), "range"))
            }
            Self::All => f.write_str("scan all"),
        }
    }
}

fn plural(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// Chooses from the filters above the scan. They are applied again to what is read.
pub(crate) fn plan(relation: &Relation, layout: &ViewLayout, filters: &[Expr]) -> Result<Lookup> {
    let conditions: Vec<&Expr> = filters.iter().flat_map(conjuncts).collect();
    let mut values = Vec::new();
    for (column, data_type) in relation.key_columns().zip(layout.key_types()) {
        match values_of(&conditions, &column.name) {
            Some(found) => {
                let cast: Option<Vec<ScalarValue>> = found
                    .iter()
                    .map(|value| value.cast_to(data_type).ok())
                    .collect();
                match cast {
                    Some(cast) => values.push(cast),
                    None => break,
                }
            }
            None => break,
        }
    }
    let windows = window_bounds(&conditions, layout.window);
    if values.len() == layout.key_types().len() {
        let combinations = values.iter().map(Vec::len).product::<usize>();
        if combinations <= KEYS_MAX {
            let keys = layout.encode_keys(&combine(&values)?)?;
            return Ok(match layout.window {
                None => Lookup::Keys(
                    keys.iter()
                        .map(|row| key::state_key(layout.table, row, None))
                        .collect(),
                ),
                Some(_) => Lookup::Ranges {
                    what: "by key and window".into(),
                    ranges: keys
                        .iter()
                        .map(|row| key::window_range(layout.table, row, windows.clone()))
                        .collect(),
                },
            });
        }
    }
    if let Some(range) = first_key_range(relation, layout, &conditions)? {
        return Ok(range);
    }
    Ok(Lookup::All)
}

fn conjuncts(expr: &Expr) -> Vec<&Expr> {
    match expr {
        Expr::BinaryExpr(BinaryExpr {
            left,
            op: Operator::And,
            right,
        }) => {
            let mut all = conjuncts(left);
            all.extend(conjuncts(right));
            all
        }
        other => vec![other],
    }
}

/// `column op literal`, whichever way round it is written.
fn comparison<'a>(expr: &'a Expr, name: &str) -> Option<(Operator, &'a ScalarValue)> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = expr else {
        return None;
    };
    match (left.as_ref(), right.as_ref()) {
        (Expr::Column(column), Expr::Literal(value, _)) if column.name == name => {
            Some((*op, value))
        }
        (Expr::Literal(value, _), Expr::Column(column)) if column.name == name => {
            Some((op.swap()?, value))
        }
        _ => None,
    }
}

/// The values that a column can have, where the conditions list them.
fn values_of(conditions: &[&Expr], name: &str) -> Option<Vec<ScalarValue>> {
    conditions
        .iter()
        .find_map(|condition| one_of(condition, name))
}

fn one_of(condition: &Expr, name: &str) -> Option<Vec<ScalarValue>> {
    if let Some((Operator::Eq, value)) = comparison(condition, name) {
        return Some(vec![value.clone()]);
    }
    match condition {
        Expr::InList(list) if !list.negated => {
            let Expr::Column(column) = list.expr.as_ref() else {
                return None;
            };
            if column.name != name {
                return None;
            }
            list.list
                .iter()
                .map(|item| match item {
                    Expr::Literal(value, _) => Some(value.clone()),
                    _ => None,
                })
                .collect()
        }
        // A short IN list comes as equalities joined by OR.
        Expr::BinaryExpr(BinaryExpr {
            left,
            op: Operator::Or,
            right,
        }) => {
            let mut all = one_of(left, name)?;
            all.extend(one_of(right, name)?);
            Some(all)
        }
        _ => None,
    }
}

/// Every combination of the columns' values, as columns. NULL equals nothing.
fn combine(values: &[Vec<ScalarValue>]) -> Result<Vec<ArrayRef>> {
    let mut rows: Vec<Vec<ScalarValue>> = vec![Vec::new()];
    for column in values {
        rows = rows
            .into_iter()
            .flat_map(|row| {
                column
                    .iter()
                    .filter(|value| !value.is_null())
                    .map(move |value| {
                        let mut row = row.clone();
                        row.push(value.clone());
                        row
                    })
            })
            .collect();
    }
    let mut seen = std::collections::HashSet::new();
    rows.retain(|row| seen.insert(row.clone()));
    (0..values.len())
        .map(|index| {
            let column: Vec<ScalarValue> = rows.iter().map(|row| row[index].clone()).collect();
            if column.is_empty() {
                let data_type = values[index]
                    .first()
                    .map_or(arrow::datatypes::DataType::Null, ScalarValue::data_type);
                return Ok(arrow::array::new_empty_array(&data_type));
            }
            Ok(ScalarValue::iter_to_array(column)?)
        })
        .collect()
}

/// The windows, by the time in their state key, that conditions on WINDOWSTART or WINDOWEND leave.
fn window_bounds(conditions: &[&Expr], window: Option<KeyWindow>) -> Range<i64> {
    let mut bounds = i64::MIN..i64::MAX;
    let (names, offset) = match window {
        // The key has the start, which is the end less the size.
        Some(KeyWindow::Time { size_ms, .. }) => {
            ([column::WINDOWSTART, column::WINDOWEND], [0, size_ms])
        }
        Some(KeyWindow::Session) => ([column::WINDOWEND, column::WINDOWEND], [0, 0]),
        None => return bounds,
    };
    for condition in conditions {
        for (name, offset) in names.iter().zip(offset) {
            let Some((op, ScalarValue::Int64(Some(value)))) = comparison(condition, name) else {
                continue;
            };
            let value = value.saturating_sub(offset);
            match op {
                Operator::Eq => {
                    bounds.start = bounds.start.max(value);
                    bounds.end = bounds.end.min(value.saturating_add(1));
                }
                Operator::Gt => bounds.start = bounds.start.max(value.saturating_add(1)),
                Operator::GtEq => bounds.start = bounds.start.max(value),
                Operator::Lt => bounds.end = bounds.end.min(value),
                Operator::LtEq => bounds.end = bounds.end.min(value.saturating_add(1)),
                _ => {}
            }
        }
    }
    bounds
}

/// A range of the first key column: one range in each hash slice, as keys are in order within.
fn first_key_range(
    relation: &Relation,
    layout: &ViewLayout,
    conditions: &[&Expr],
) -> Result<Option<Lookup>> {
    let (Some(first), Some(data_type)) =
        (relation.key_columns().next(), layout.key_types().first())
    else {
        return Ok(None);
    };
    let mut lower = Bound::Unbounded;
    let mut upper = Bound::Unbounded;
    for condition in conditions {
        let Some((op, value)) = comparison(condition, &first.name) else {
            continue;
        };
        let Ok(value) = value.cast_to(data_type) else {
            continue;
        };
        match op {
            Operator::Gt => lower = Bound::Excluded(value),
            Operator::GtEq => lower = Bound::Included(value),
            Operator::Lt => upper = Bound::Excluded(value),
            Operator::LtEq => upper = Bound::Included(value),
            Operator::Eq => {
                lower = Bound::Included(value.clone());
                upper = Bound::Included(value);
            }
            _ => {}
        }
    }
    let bounds = (lower, upper);
    if bounds.start_bound() == Bound::Unbounded && bounds.end_bound() == Bound::Unbounded {
        return Ok(None);
    }
    let encode = |value: &ScalarValue| layout.encode_first(&value.to_array()?);
    let (from, to) = (
        match &bounds.0 {
            Bound::Unbounded => Vec::new(),
            // Rows whose value is the excluded one are read, and filtered above.
            Bound::Included(value) | Bound::Excluded(value) => encode(value)?,
        },
        match &bounds.1 {
            Bound::Unbounded => None,
            Bound::Included(value) | Bound::Excluded(value) => Some(encode(value)?),
        },
    );
    let ranges = (0..=u8::MAX)
        .map(|vnode| {
            let start = key::prefix_range(layout.table, vnode, &from).start;
            let end = match &to {
                None => key::vnode_range(layout.table, vnode).end,
                Some(to) => key::prefix_range(layout.table, vnode, to).end,
            };
            start..end
        })
        .collect();
    Ok(Some(Lookup::Ranges {
        what: format!("by {}", first.name),
        ranges,
    }))
}

/// Used by the scan to show itself.
pub(crate) type SharedLookup = Arc<Lookup>;
