//! What stands between SELECT and FROM: which columns a result has, their names, and which of them
//! are its key.

use std::collections::HashSet;

use arrow::datatypes::DataType;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, cast};
use datafusion::sql::sqlparser::ast::{AccessExpr, Expr as AstExpr, Value};

use super::aggregate::schema_with_bounds;
use super::expr::{from_datafusion, plan_expr};
use super::query::Target;
use super::scope::{Scope, qualified};
use crate::ast::{Query, SelectItemKind, Span};
use crate::catalog::{Catalog, Column, Role};
use crate::column;
use crate::error::{Error, Result};
use crate::types::SqlType;

/// A selected expression.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) expr: Expr,
    pub(super) name: Name,
    pub(super) span: Span,
}

/// How an item is called in the result.
#[derive(Clone, Debug)]
pub(super) enum Name {
    /// By that name: an alias, or a name of the star's.
    Given(String),
    /// By the column's name, with its source's where that alone is taken.
    Column {
        source: Option<String>,
        name: String,
    },
    /// By a field's name, numbered where that is taken.
    Field(String),
    /// By a number.
    Generated,
}

/// A plan whose columns are the result's, and what they are.
pub(super) struct Output {
    pub(super) plan: LogicalPlan,
    pub(super) columns: Vec<Column>,
}

/// The selected expressions over the columns of `scope`, stars written out.
pub(super) fn expand(
    catalog: &Catalog,
    query: &Query,
    scope: &Scope,
    target: Target,
) -> Result<Vec<Item>> {
    let schema = schema_with_bounds(query, scope)?;
    let mut items = Vec::new();
    for item in &query.items {
        let span = item.span;
        match &item.kind {
            SelectItemKind::Wildcard => {
                for (alias, _) in &scope.sources {
                    star(scope, alias, target, span, &mut items)?;
                }
            }
            SelectItemKind::QualifiedWildcard(source) => {
                if !scope
                    .sources
                    .iter()
                    .any(|(alias, _)| *alias == source.value)
                {
                    let names = scope.sources.iter().map(|(alias, _)| alias.as_str());
                    return Err(
                        Error::unknown(format!("{source} is not a source of this query"))
                            .at(source.span)
                            .did_you_mean(&source.value, names),
                    );
                }
                star(scope, &source.value, target, span, &mut items)?;
            }
            SelectItemKind::StructWildcard(base) => {
                let planned = plan_expr(catalog, base, &schema).map_err(|e| e.or_at(span))?;
                let data_type = planned
                    .get_type(&schema)
                    .map_err(|error| from_datafusion(&error, &schema))?;
                let DataType::Struct(fields) = data_type else {
                    return Err(Error::type_mismatch(format!("{base}->* needs a STRUCT")).at(span));
                };
                for field in &fields {
                    let name = field.name().clone();
                    let expr = datafusion::functions::core::expr_fn::get_field(
                        planned.clone(),
                        name.clone(),
                    );
                    items.push(Item {
                        expr,
                        name: Name::Field(name),
                        span,
                    });
                }
            }
            SelectItemKind::Expr { expr, alias } => {
                let planned = plan_expr(catalog, expr, &schema).map_err(|e| e.or_at(span))?;
                let name = match alias {
                    Some(alias) => Name::Given(alias.value.clone()),
                    None => name_of(expr),
                };
                items.push(Item {
                    expr: planned,
                    name,
                    span,
                });
            }
        }
    }
    Ok(items)
}

fn star(
    scope: &Scope,
    alias: &str,
    target: Target,
    span: Span,
    items: &mut Vec<Item>,
) -> Result<()> {
    let joined = scope.sources.len() > 1;
    let Some((_, relation)) = scope.sources.iter().find(|(name, _)| name == alias) else {
        return Err(Error::internal(format!("no source {alias}")));
    };
    // A window's bounds are a part of the key. A relation has them there; a subscriber is shown them.
    let bounds: &[&str] = match relation.window {
        Some(_) if target == Target::Push => &[column::WINDOWSTART, column::WINDOWEND],
        _ => &[],
    };
    let columns = relation.star_columns();
    let (key, value) = columns.split_at(relation.key_columns().count());
    let name = |column: &&Column| column.name.clone();
    let names = key.iter().map(name);
    let names = names.chain(bounds.iter().map(|bound| (*bound).to_owned()));
    for column in names.chain(value.iter().map(name)) {
        let expr = qualified(alias, &column);
        let name = match joined {
            true => Name::Given(format!("{alias}_{column}")),
            false => Name::Column {
                source: None,
                name: column,
            },
        };
        items.push(Item { expr, name, span });
    }
    Ok(())
}

/// `SELECT * … PARTITION BY expr`: the star has the new key, too, and the old one last.
pub(super) fn rekey_wildcard(
    query: &Query,
    scope: &Scope,
    old_key: &[Expr],
    items: &mut Vec<Item>,
) {
    let Some(star) = query
        .items
        .iter()
        .find(|item| matches!(item.kind, SelectItemKind::Wildcard))
    else {
        return;
    };
    for (key, written) in scope.key.iter().zip(&query.partition_by).rev() {
        if !items.iter().any(|item| item.expr == *key) {
            // A pseudo column's value can be a key, its name cannot be a column's.
            let name = match name_of(written) {
                Name::Column { name, .. } if column::is_reserved(&name) => Name::Generated,
                name => name,
            };
            let item = Item {
                expr: key.clone(),
                name,
                span: star.span,
            };
            items.insert(0, item);
        }
    }
    if query.items.len() == 1 {
        // Stable: within each part the order stays.
        items.sort_by_key(|item| old_key.contains(&item.expr) && !scope.key.contains(&item.expr));
    }
}

/// The name of an expression that was given none.
fn name_of(expr: &AstExpr) -> Name {
    match expr {
        AstExpr::Identifier(ident) => Name::Column {
            source: None,
            name: ident.value.clone(),
        },
        AstExpr::CompoundIdentifier(parts) if parts.len() == 2 => Name::Column {
            source: Some(parts[0].value.clone()),
            name: parts[1].value.clone(),
        },
        AstExpr::CompoundFieldAccess { access_chain, .. } => match access_chain.last() {
            Some(AccessExpr::Dot(AstExpr::Value(field))) => match &field.value {
                Value::SingleQuotedString(field) => Name::Field(field.clone()),
                _ => Name::Generated,
            },
            _ => Name::Generated,
        },
        _ => Name::Generated,
    }
}

/// Names for all items: given ones first, the others around them.
fn names(scope: &Scope, items: &[Item]) -> Result<Vec<String>> {
    let mut plain: Vec<&str> = Vec::new();
    for item in items {
        if let Name::Given(name) | Name::Column { name, .. } = &item.name {
            plain.push(name);
        }
    }
    let joined = scope.sources.len() > 1;
    // What a source calls one of its columns is no name for anything else.
    let of_sources: HashSet<&str> = scope
        .sources
        .iter()
        .flat_map(|(_, relation)| &relation.columns)
        .map(|column| column.name.as_str())
        .collect();
    let mut taken: HashSet<String> = HashSet::new();
    let mut next_generated = 0;
    let mut all = Vec::with_capacity(items.len());
    for item in items {
        let name = match &item.name {
            Name::Given(name) => name.clone(),
            Name::Column {
                source: Some(source),
                name,
            } if joined && plain.iter().filter(|other| *other == name).count() > 1 => {
                format!("{source}_{name}")
            }
            Name::Column { name, .. } => name.clone(),
            Name::Field(name) => {
                let mut candidate = name.clone();
                let mut number = 0;
                while taken.contains(&candidate)
                    || plain.contains(&candidate.as_str())
                    || of_sources.contains(candidate.as_str())
                {
                    number += 1;
                    candidate = format!("{name}_{number}");
                }
                candidate
            }
            Name::Generated => loop {
                let candidate = format!("KSQL_COL_{next_generated}");
                next_generated += 1;
                if !taken.contains(&candidate)
                    && !plain.contains(&candidate.as_str())
                    && !of_sources.contains(candidate.as_str())
                {
                    break candidate;
                }
            },
        };
        if column::is_reserved(&name) {
            return Err(Error::invalid(format!(
                "Reserved column name in select: `{name}`. Please remove or alias the column."
            ))
            .at(item.span));
        }
        if !taken.insert(name.clone()) {
            return Err(
                Error::invalid(format!("the projection has two columns named `{name}`"))
                    .at(item.span)
                    .hint("give one of them an alias"),
            );
        }
        all.push(name);
    }
    Ok(all)
}

/// Finds the key among the items, in key order.
fn key_items(scope: &Scope, items: &[Item], query: &Query) -> Result<Vec<usize>> {
    let mut found = Vec::new();
    for key in &scope.key {
        let mut positions = items
            .iter()
            .enumerate()
            .filter(|(_, item)| item.expr == *key)
            .map(|(index, _)| index);
        match (positions.next(), positions.next()) {
            (Some(position), None) => found.push(position),
            (Some(_), Some(second)) => {
                return Err(Error::invalid(format!(
                    "The projection contains a key column ({}) more than once",
                    described(key)
                ))
                .at(items[second].span)
                .hint(format!(
                    "make a copy of it with AS_VALUE({})",
                    described(key)
                )));
            }
            (None, _) => {
                let name = described(key);
                return Err(Error::invalid(format!(
                    "Key missing from projection. The query must include the key column(s) {name} \
                     in its projection (eg, SELECT {name}...)."
                ))
                .at(query.spans.select));
            }
        }
    }
    Ok(found)
}

fn described(expr: &Expr) -> String {
    match expr {
        Expr::Column(column) => column.name.clone(),
        other => other.human_display().to_string(),
    }
}

/// Projects `scope` to the result: user columns, window bounds, row time, change kind.
pub(super) fn project(
    query: &Query,
    scope: Scope,
    items: Vec<Item>,
    target: Target,
) -> Result<Output> {
    let schema = scope.plan.schema();
    let fail = |error| from_datafusion(&error, schema);
    let push = target == Target::Push;
    // A push query is shown ROWTIME and the window's bounds when it asks for them.
    let mut items = items;
    if target == Target::Sink {
        // It gets them in any case.
        let given = [column::WINDOWSTART, column::WINDOWEND, column::ROWTIME];
        items.retain(
            |item| !matches!(&item.name, Name::Column { name, .. } if given.contains(&name.as_str())),
        );
    }
    if push || target == Target::Sink {
        for item in &mut items {
            if let Name::Column { name, .. } = &item.name
                && column::is_reserved(name)
            {
                item.name = Name::Given(format!("{PSEUDO}{name}"));
            }
        }
    }
    let names = names(&scope, &items)?;
    let key = match target {
        Target::Push => Vec::new(),
        // Without its key a table's changes can be written, too, one after the other.
        Target::Sink => key_items(&scope, &items, query).unwrap_or_default(),
        Target::Create(_) | Target::Insert => key_items(&scope, &items, query)?,
    };
    let rest = (0..items.len()).filter(|index| !key.contains(index));
    let order: Vec<usize> = key.iter().copied().chain(rest).collect();
    if !push && target != Target::Sink && order.len() == key.len() {
        return Err(
            Error::invalid("The projection contains no value columns.").at(query.spans.select)
        );
    }
    let mut columns = Vec::new();
    let mut exprs = Vec::new();
    for (position, index) in order.into_iter().enumerate() {
        let item = &items[index];
        let data_type = item
            .expr
            .get_type(schema)
            .map_err(|error| fail(error).or_at(item.span))?;
        let Some(sql_type) = SqlType::from_arrow(&data_type) else {
            return Err(Error::type_mismatch(format!(
                "column {} has the type {data_type}, which a relation cannot have",
                names[index]
            ))
            .at(item.span)
            .hint("cast it: CAST(… AS STRING)"));
        };
        let is_key = position < key.len();
        if is_key && sql_type.contains_map() {
            return Err(Error::type_mismatch(format!(
                "Map keys, including types that contain maps, are not supported as they may lead \
                 to unexpected behavior due to inconsistent serialization. Key column name: \
                 `{}`",
                names[index]
            ))
            .at(item.span));
        }
        let arrow_type = sql_type.to_arrow();
        let expr = match data_type == arrow_type {
            true => item.expr.clone(),
            false => cast(item.expr.clone(), arrow_type),
        };
        let name = names[index]
            .strip_prefix(PSEUDO)
            .filter(|name| column::is_reserved(name))
            .unwrap_or(&names[index])
            .to_owned();
        exprs.push(expr.alias(&names[index]));
        let role = if is_key { Role::Key } else { Role::Value };
        columns.push(Column {
            name,
            data_type: sql_type,
            role,
        });
    }
    if let Some([start, end]) = &scope.bounds {
        exprs.push(start.clone().alias(column::WINDOWSTART));
        exprs.push(end.clone().alias(column::WINDOWEND));
    }
    exprs.push(scope.rowtime.clone().alias(column::ROWTIME));
    exprs.push(scope.op.clone().alias(column::OP));
    let plan = LogicalPlanBuilder::from(scope.plan.clone())
        .project(exprs)
        .and_then(LogicalPlanBuilder::build)
        .map_err(fail)?;
    Ok(Output { plan, columns })
}

/// Keeps a push query's pseudo columns apart from the ones every row carries.
const PSEUDO: &str = "#";
