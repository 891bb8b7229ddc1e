//! What a part of a query has to offer to the clauses above it.

use std::sync::Arc;

use datafusion::common::{Column, DFSchema, TableReference};
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::{Extension, Filter, LogicalPlan, LogicalPlanBuilder, lit};

use super::context::{RelationSource, Scan};
use super::expr::from_datafusion;
use crate::ast::TableRef;
use crate::catalog::{Catalog, KeyWindow, Kind, Relation};
use crate::column;
use crate::error::{Error, Result};
use crate::node::ChangelogNode;

/// A plan so far, and what its rows are.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    pub(crate) plan: LogicalPlan,
    /// Append-only rows, or a table's.
    pub(crate) kind: Kind,
    /// Whether a table's deletes carry the old row. Its records do not: they are upserts.
    pub(crate) changes: bool,
    /// What the rows are keyed by.
    pub(crate) key: Vec<Expr>,
    /// Window in the key.
    pub(crate) window: Option<KeyWindow>,
    /// Sources in order, by the name the query calls them.
    pub(crate) sources: Vec<(String, Arc<Relation>)>,
    /// Row time and change kind of the rows.
    pub(crate) rowtime: Expr,
    pub(crate) op: Expr,
    /// Bounds of the rows' windows.
    pub(crate) bounds: Option<[Expr; 2]>,
}

/// A column by qualifier and name, taken as they are.
pub(crate) fn qualified(qualifier: &str, name: &str) -> Expr {
    Expr::Column(Column::new(
        Some(TableReference::bare(qualifier.to_owned())),
        name,
    ))
}

/// A column without a qualifier, taken as it is.
pub(crate) fn unqualified(name: &str) -> Expr {
    Expr::Column(Column::new_unqualified(name))
}

/// The relation a query names.
pub(crate) fn relation<'a>(catalog: &'a Catalog, table: &TableRef) -> Result<&'a Arc<Relation>> {
    catalog.get(&table.name.value).ok_or_else(|| {
        Error::unknown(format!("{} does not exist", table.name))
            .at(table.name.span)
            .did_you_mean(
                &table.name.value,
                catalog.relations().map(|r| r.name.as_str()),
            )
    })
}

impl Scope {
    /// The rows of one registered relation.
    pub(crate) fn scan(catalog: &Catalog, table: &TableRef) -> Result<Self> {
        let relation = relation(catalog, table)?;
        let alias = table.alias_or_name().value.clone();
        let source = RelationSource::new(Arc::clone(relation), Scan::Continuous);
        let plan =
            LogicalPlanBuilder::scan(TableReference::bare(alias.clone()), Arc::new(source), None)
                .and_then(LogicalPlanBuilder::build)
                .map_err(|error| from_datafusion(&error, &DFSchema::empty()))?;
        let window = relation.window;
        Ok(Self {
            plan,
            kind: relation.kind,
            changes: false,
            key: relation
                .key_columns()
                .map(|column| qualified(&alias, &column.name))
                .collect(),
            window,
            rowtime: qualified(&alias, column::ROWTIME),
            op: qualified(&alias, column::OP),
            bounds: window.map(|_| {
                [
                    qualified(&alias, column::WINDOWSTART),
                    qualified(&alias, column::WINDOWEND),
                ]
            }),
            sources: vec![(alias, Arc::clone(relation))],
        })
    }

    /// Puts a node over the plan.
    pub(crate) fn extend(
        &mut self,
        node: impl datafusion::logical_expr::UserDefinedLogicalNode + 'static,
    ) {
        self.plan = LogicalPlan::Extension(Extension {
            node: Arc::new(node),
        });
    }

    /// Keeps the rows for which `predicate` is true. A stream's rows without a value go, too.
    pub(crate) fn filter(&mut self, predicate: Option<Expr>) -> Result<()> {
        let predicate = match self.kind {
            Kind::Table => {
                self.materialise()?;
                predicate
            }
            Kind::Stream => {
                let has_value = self.op.clone().eq(lit(column::INSERT));
                Some(match predicate {
                    Some(predicate) => has_value.and(predicate),
                    None => has_value,
                })
            }
        };
        if let Some(predicate) = predicate {
            let schema = Arc::clone(self.plan.schema());
            let filter = Filter::try_new(predicate, Arc::new(self.plan.clone()))
                .map_err(|error| from_datafusion(&error, &schema))?;
            self.plan = LogicalPlan::Filter(filter);
        }
        Ok(())
    }

    /// Makes a table's upserts into changes, so that deletes carry the row they take away.
    pub(crate) fn materialise(&mut self) -> Result<()> {
        if self.kind == Kind::Table && !self.changes {
            let node = ChangelogNode {
                input: self.plan.clone(),
                key: self.key.clone(),
                op: self.op.clone(),
            };
            self.extend(node);
            self.changes = true;
        }
        Ok(())
    }
}
