//! An ad hoc query: planned by DataFusion over what is registered.

use std::ops::ControlFlow;

use datafusion::common::DFSchema;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::planner::SqlToRel;
use datafusion::sql::sqlparser::ast::{ObjectName, Statement, visit_relations};

use super::context::{Context, Scan};
use super::expr::{from_datafusion, options};
use super::rewrite::rewrite;
use super::wildcard::hide_pseudo_columns;
use crate::ast::PullQuery;
use crate::catalog::Catalog;
use crate::error::{Error, Result};

/// Plans an ad hoc query. Its leaves are [`super::RelationSource`]s read once.
pub fn plan_pull(catalog: &Catalog, query: &PullQuery) -> Result<LogicalPlan> {
    let mut query = query.clone();
    rewrite(&mut query)?;
    check_relations(catalog, &query)?;
    hide_pseudo_columns(catalog, &mut query);
    let context = Context {
        catalog,
        scan: Scan::Once,
    };
    let options = options().with_parse_float_as_decimal(false);
    SqlToRel::new_with_options(&context, options)
        .sql_statement_to_plan(Statement::Query(Box::new(query)))
        .map_err(|error| from_datafusion(&error, &DFSchema::empty()))
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
