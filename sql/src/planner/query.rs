//! A continuous query: clause by clause into one plan.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::logical_expr::{ExprSchemable, LogicalPlan};
use datafusion::sql::sqlparser::ast::Spanned;

use super::expr::{from_datafusion, plan_expr};
use super::projection::{Item, Output};
use super::scope::Scope;
use super::{aggregate, join, projection, table_function};
use crate::ast::{Emit, Query};
use crate::catalog::{Catalog, Column, KeyWindow, Kind, Relation, Role};
use crate::error::{Error, Result};

/// What a continuous query is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// `CREATE STREAM|TABLE … AS`: the result is a relation of that kind.
    Create(Kind),
    /// `INSERT INTO stream`.
    Insert,
    /// A sink: rows with their window's bounds and time beside them.
    Sink,
    /// A subscriber.
    Push,
}

/// A continuous query, planned.
///
/// The plan's columns: `columns` in order, then WINDOWSTART and WINDOWEND if `window`, then
/// ROWTIME and the change kind.
#[derive(Clone, Debug)]
pub struct ContinuousPlan {
    /// The plan, not yet optimised.
    pub plan: LogicalPlan,
    /// Stream or table.
    pub kind: Kind,
    /// Columns of the result; for a relation, key columns first.
    pub columns: Vec<Column>,
    /// Window in the result's key.
    pub window: Option<KeyWindow>,
    /// Whether PARTITION BY made the key: one of several columns is then always there.
    pub rekeyed: bool,
    /// The relations read, the left-most first.
    pub sources: Vec<Arc<Relation>>,
    /// When rows are emitted.
    pub emit: Emit,
    /// Ends after this many rows.
    pub limit: Option<u64>,
}

/// Plans a continuous query.
pub fn plan_query(catalog: &Catalog, query: &Query, target: Target) -> Result<ContinuousPlan> {
    let mut scope = Scope::scan(catalog, &query.from.source)?;
    for joined in &query.from.joins {
        scope = join::plan(catalog, scope, joined)?;
    }
    if query.limit.is_some() && target != Target::Push {
        return Err(
            Error::unsupported("LIMIT is for queries that end, not for persistent ones")
                .at(query.spans.limit),
        );
    }
    if let Some(filter) = &query.filter {
        let predicate = plan_expr(catalog, filter, scope.plan.schema())?;
        check_boolean(&predicate, &scope, "WHERE").map_err(|error| error.or_at(filter.span()))?;
        if table_function::contains(&predicate) {
            return Err(Error::invalid("Table functions cannot be used in WHERE"));
        }
        scope.filter(Some(predicate))?;
    }
    let mut items = projection::expand(catalog, query, &scope, target)?;
    table_function::plan(query, &mut scope, &mut items)?;
    let emit = query.emit.unwrap_or(Emit::Changes);
    let (scope, items) = if query.group_by.is_empty() {
        check_no_aggregation(query, &items, emit)?;
        partition(catalog, query, scope, items)?
    } else {
        if !query.partition_by.is_empty() {
            return Err(
                Error::invalid("GROUP BY and PARTITION BY do not go together")
                    .at(query.spans.partition_by),
            );
        }
        aggregate::plan(catalog, query, scope, items)?
    };
    let kind = scope.kind;
    check_kind(kind, target)?;
    let sources = scope
        .sources
        .iter()
        .map(|(_, relation)| Arc::clone(relation))
        .collect();
    let window = scope.window;
    let Output { plan, columns } = projection::project(query, scope, items, target)?;
    Ok(ContinuousPlan {
        plan,
        kind,
        columns,
        window,
        rekeyed: !query.partition_by.is_empty(),
        sources,
        emit,
        limit: query.limit,
    })
}

fn check_kind(kind: Kind, target: Target) -> Result<()> {
    let wanted = match target {
        Target::Create(wanted) => wanted,
        Target::Insert => Kind::Stream,
        Target::Push | Target::Sink => return Ok(()),
    };
    if kind == wanted {
        return Ok(());
    }
    let (is, say) = match kind {
        Kind::Stream => ("STREAM", "CREATE STREAM AS SELECT"),
        Kind::Table => ("TABLE", "CREATE TABLE AS SELECT"),
    };
    Err(match target {
        Target::Insert => Error::invalid(
            "INSERT INTO needs a query whose result is a STREAM; this one's is a TABLE",
        ),
        _ => Error::invalid(format!(
            "Invalid result type. Your SELECT query produces a {is}. Please use {say} statement \
             instead."
        )),
    })
}

fn check_no_aggregation(query: &Query, items: &[Item], emit: Emit) -> Result<()> {
    if let Some(item) = items
        .iter()
        .find(|item| aggregate::contains_aggregate(&item.expr))
    {
        return Err(
            Error::invalid("Use of aggregate functions requires a GROUP BY clause").at(item.span),
        );
    }
    if query.having.is_some() {
        return Err(Error::invalid("HAVING requires a GROUP BY clause"));
    }
    if let Some(window) = &query.window {
        return Err(Error::invalid("WINDOW clause requires a GROUP BY clause").at(window.span));
    }
    if emit == Emit::Final {
        return Err(
            Error::invalid("EMIT FINAL is only supported for windowed aggregations")
                .at(query.spans.emit),
        );
    }
    Ok(())
}

/// PARTITION BY: the rows get another key.
fn partition(
    catalog: &Catalog,
    query: &Query,
    mut scope: Scope,
    mut items: Vec<Item>,
) -> Result<(Scope, Vec<Item>)> {
    if query.partition_by.is_empty() {
        return Ok((scope, items));
    }
    if scope.kind == Kind::Table {
        return Err(Error::invalid(
            "PARTITION BY is not for tables: a table's key says which row a change is about",
        )
        .at(query.spans.partition_by));
    }
    if scope.window.is_some() {
        return Err(
            Error::unsupported("PARTITION BY of a windowed source is not there yet")
                .at(query.spans.partition_by),
        );
    }
    let mut keys = Vec::new();
    for expr in &query.partition_by {
        let planned = plan_expr(catalog, expr, scope.plan.schema())?;
        let data_type = planned
            .get_type(scope.plan.schema())
            .map_err(|error| from_datafusion(&error, scope.plan.schema()))?;
        if data_type == DataType::Null {
            if query.partition_by.len() > 1 {
                return Err(
                    Error::invalid("Cannot PARTITION BY multiple columns including NULL")
                        .at(query.spans.partition_by),
                );
            }
            continue;
        }
        if keys.contains(&planned) {
            return Err(Error::invalid(format!("PARTITION BY names {expr} twice"))
                .at(query.spans.partition_by));
        }
        keys.push(planned);
    }
    let old_key = std::mem::replace(&mut scope.key, keys);
    projection::rekey_wildcard(query, &scope, &old_key, &mut items);
    Ok((scope, items))
}

/// WHERE and HAVING take BOOLEAN.
pub(super) fn check_boolean(
    predicate: &datafusion::logical_expr::Expr,
    scope: &Scope,
    clause: &str,
) -> Result<()> {
    let schema = scope.plan.schema();
    let data_type = predicate
        .get_type(schema)
        .map_err(|error| from_datafusion(&error, schema))?;
    match data_type {
        DataType::Boolean | DataType::Null => Ok(()),
        other => {
            let named = crate::types::SqlType::from_arrow(&other)
                .map_or_else(|| other.to_string(), |sql_type| sql_type.to_string());
            Err(Error::type_mismatch(format!(
                "Type error in {clause} expression: Should evaluate to boolean but is {named}"
            )))
        }
    }
}

impl ContinuousPlan {
    /// The plan with the columns of the relation it is to be inserted into: all of them, by name,
    /// of the same types but for numbers that widen.
    pub fn into_columns_of(mut self, relation: &Relation) -> Result<Self> {
        use datafusion::logical_expr::{LogicalPlanBuilder, cast};

        let is_header = |column: &&Column| matches!(column.role, Role::Headers | Role::Header(_));
        if relation.columns.iter().any(|column| is_header(&column)) {
            return Err(Error::invalid(format!(
                "Cannot insert into {} because it has header columns",
                relation.name
            )));
        }
        let expected: Vec<&Column> = relation
            .key_columns()
            .chain(relation.value_columns())
            .collect();
        let same = expected.len() == self.columns.len()
            && expected.iter().zip(&self.columns).all(|(a, b)| {
                a.name == b.name
                    && (a.role == Role::Key) == (b.role == Role::Key)
                    && widens(&b.data_type, &a.data_type)
            });
        if !same {
            let list = |columns: &mut dyn Iterator<Item = &Column>| {
                columns
                    .map(|column| {
                        let key = if column.role == Role::Key { " KEY" } else { "" };
                        format!("`{}` {}{key}", column.name, column.data_type)
                    })
                    .collect::<Vec<_>>()
                    .join(", ")
            };
            return Err(Error::invalid(format!(
                "Incompatible schema between results and sink. Result schema is {}, sink schema is \
                 {}",
                list(&mut self.columns.iter()),
                list(&mut expected.iter().copied())
            )));
        }
        let schema = Arc::clone(self.plan.schema());
        let mut exprs: Vec<datafusion::logical_expr::Expr> = Vec::new();
        for (index, column) in schema.columns().into_iter().enumerate() {
            let expr = datafusion::logical_expr::Expr::Column(column.clone());
            exprs.push(match expected.get(index) {
                Some(wanted) => cast(expr, wanted.data_type.to_arrow()).alias(column.name),
                None => expr,
            });
        }
        self.plan = LogicalPlanBuilder::from(self.plan)
            .project(exprs)
            .and_then(LogicalPlanBuilder::build)
            .map_err(|error| from_datafusion(&error, &schema))?;
        self.columns = expected.into_iter().cloned().collect();
        Ok(self)
    }
}

/// Whether all values of a type are values of another, as INSERT INTO takes them.
fn widens(from: &crate::types::SqlType, to: &crate::types::SqlType) -> bool {
    use crate::types::SqlType::{BigInt, Decimal, Double, Int};
    from == to
        || match (from, to) {
            (Int, BigInt | Double) | (BigInt | Decimal { .. }, Double) => true,
            (Int, Decimal { precision, scale }) => precision - scale >= 10,
            (BigInt, Decimal { precision, scale }) => precision - scale >= 19,
            (
                Decimal { precision, scale },
                Decimal {
                    precision: wider,
                    scale: finer,
                },
            ) => scale <= finer && precision - scale <= wider - finer,
            _ => false,
        }
}

/// Plans `SELECT * FROM name`, for whoever writes a relation out.
pub fn plan_select_all(catalog: &Catalog, name: &crate::ast::Name) -> Result<ContinuousPlan> {
    use crate::ast::{ClauseSpans, Relation as From, SelectItem, SelectItemKind, Span, TableRef};
    let nowhere = Span::empty();
    let query = Query {
        items: vec![SelectItem {
            kind: SelectItemKind::Wildcard,
            span: nowhere,
        }],
        from: From {
            source: TableRef {
                name: name.clone(),
                alias: None,
            },
            joins: Vec::new(),
        },
        window: None,
        filter: None,
        group_by: Vec::new(),
        partition_by: Vec::new(),
        having: None,
        emit: Some(Emit::Changes),
        limit: None,
        spans: ClauseSpans {
            select: nowhere,
            group_by: nowhere,
            partition_by: nowhere,
            emit: nowhere,
            limit: nowhere,
        },
    };
    plan_query(catalog, &query, Target::Sink)
}
