//! An ad hoc query: planned by DataFusion over what is registered.

use std::convert::Infallible;
use std::ops::ControlFlow;

use datafusion::common::{DFSchema, DataFusionError};
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::planner::SqlToRel;
use datafusion::sql::sqlparser::ast::{
    CastKind, Expr, ObjectName, Statement, Value, VisitMut, VisitorMut, visit_expressions,
    visit_relations,
};
use datafusion::sql::sqlparser::tokenizer::Span;

use super::context::{Context, Scan};
use super::expr::{field_not_found, from_datafusion, options};
use super::rewrite::rewrite;
use super::wildcard::hide_pseudo_columns;
use crate::ast::PullQuery;
use crate::catalog::Catalog;
use crate::error::{Error, Result};
use crate::functions::Functions;
use crate::types::SqlType;

/// Plans an ad hoc query. Its leaves are [`super::RelationSource`]s read once.
pub fn plan_pull(catalog: &Catalog, query: &PullQuery) -> Result<LogicalPlan> {
    let asked = query;
    let mut query = query.clone();
    rewrite(&mut query)?;
    check_relations(catalog, &query)?;
    hide_pseudo_columns(catalog, &mut query);
    let ControlFlow::Continue(()) = query.visit(&mut Narrower::default());
    let context = Context {
        catalog,
        scan: Scan::Once,
    };
    let options = options().with_parse_float_as_decimal(false);
    SqlToRel::new_with_options(&context, options)
        .sql_statement_to_plan(Statement::Query(Box::new(query)))
        .map_err(|error| explain(catalog, asked, &error))
}

/// Makes whole numbers in the arguments of scalar functions INTEGER where they fit, as continuous
/// queries do and KSQL's functions expect (`ROUND(x, -1)`, `SUBSTRING(s, LEN(s) - 1)`): for DataFusion's
/// planner they are BIGINT.
#[derive(Default)]
struct Narrower {
    /// For each call around the place that is visited, whether its numbers may be narrowed.
    calls: Vec<bool>,
}

/// Whether the numbers below `expr` may be narrowed: aggregates, window functions and intervals want
/// theirs as they are written. `None` if that is for what is around it to say.
fn narrows(expr: &Expr) -> Option<bool> {
    match expr {
        Expr::Function(function) => {
            let name = match function.name.0.as_slice() {
                [part] => part.as_ident().map(|ident| ident.value.to_lowercase()),
                _ => None,
            };
            let scalar = name.and_then(|name| Functions::all().scalar(&name));
            Some(function.over.is_none() && scalar.is_some())
        }
        Expr::Interval(_) | Expr::Subquery(_) | Expr::InSubquery { .. } | Expr::Exists { .. } => {
            Some(false)
        }
        _ => None,
    }
}

impl VisitorMut for Narrower {
    type Break = Infallible;

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Infallible> {
        self.calls.extend(narrows(expr));
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Infallible> {
        if narrows(expr).is_some() {
            self.calls.pop();
        } else if self.calls.last() == Some(&true)
            && let Expr::Value(value) = expr
            && let Value::Number(text, _) = &value.value
            && text.parse::<i32>().is_ok()
        {
            *expr = Expr::Cast {
                kind: CastKind::Cast,
                expr: Box::new(expr.clone()),
                data_type: SqlType::Int.to_ast(),
                array: false,
                format: None,
            };
        }
        ControlFlow::Continue(())
    }
}

/// DataFusion's error with its place in the query, and what may have been meant.
fn explain(catalog: &Catalog, query: &PullQuery, error: &DataFusionError) -> Error {
    let Some((column, _)) = field_not_found(error) else {
        return from_datafusion(error, &DFSchema::empty());
    };
    let mut names = Vec::new();
    let _ = visit_relations(query, |name: &ObjectName| {
        let ident = name.0.last().and_then(|part| part.as_ident());
        let relation = ident.and_then(|ident| catalog.get(&ident.value));
        names.extend(
            relation
                .into_iter()
                .flat_map(|it| &it.columns)
                .map(|it| it.name.clone()),
        );
        ControlFlow::<()>::Continue(())
    });
    let named = match &column.relation {
        Some(relation) => format!("{}.{}", relation.table(), column.name),
        None => column.name.clone(),
    };
    let it = Error::unknown(format!("column {named} does not exist"))
        .did_you_mean(&column.name, names.iter().map(String::as_str));
    match place_of(query, &column.name) {
        Some(place) => it.at(place),
        None => it,
    }
}

/// Where a column is named first.
fn place_of(query: &PullQuery, column: &str) -> Option<Span> {
    let found = visit_expressions(query, |expr: &Expr| {
        let ident = match expr {
            Expr::Identifier(ident) => Some(ident),
            Expr::CompoundIdentifier(parts) => parts.last(),
            _ => None,
        };
        match ident.filter(|ident| ident.value == column) {
            Some(ident) => ControlFlow::Break(ident.span),
            None => ControlFlow::Continue(()),
        }
    });
    found.break_value()
}

/// Says which relation does not exist, and where; DataFusion would not say where.
fn check_relations(catalog: &Catalog, query: &PullQuery) -> Result<()> {
    let ctes: Vec<&str> = query
        .with
        .iter()
        .flat_map(|with| &with.cte_tables)
        .map(|cte| cte.alias.name.value.as_str())
        .collect();
    let unknown = visit_relations(query, |name: &ObjectName| {
        let Some(ident) = name.0.last().and_then(|part| part.as_ident()) else {
            return ControlFlow::Continue(());
        };
        let known = catalog.get(&ident.value).is_some() || ctes.contains(&ident.value.as_str());
        match known {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(ident.clone()),
        }
    });
    match unknown {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(ident) => {
            // A CTE inside a subquery is DataFusion's to find.
            if query.to_string().contains(&format!("WITH {}", ident.value)) {
                return Ok(());
            }
            Err(Error::unknown(format!("{} does not exist", ident.value))
                .at(ident.span)
                .did_you_mean(
                    &ident.value,
                    catalog.relations().map(|relation| relation.name.as_str()),
                ))
        }
    }
}
