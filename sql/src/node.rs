//! Kappa's own nodes in a DataFusion logical plan: the stateful steps of a continuous query.
//! Everything stateless is DataFusion's.

mod aggregate;
mod changelog;
mod join;

pub use aggregate::{AggregateNode, Emit, WindowSpec};
pub use changelog::ChangelogNode;
pub use join::{StreamTableJoinNode, StreamTableJoinType};

use datafusion::common::{Column, DFSchema, Result};
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::expr::Expr as E;

/// Indices in `schema` of all columns that `exprs` read.
fn column_indices<'a>(exprs: impl IntoIterator<Item = &'a Expr>, schema: &DFSchema) -> Vec<usize> {
    let mut indices: Vec<usize> = exprs
        .into_iter()
        .flat_map(|expr| expr.column_refs().into_iter())
        .filter_map(|column: &Column| schema.maybe_index_of_column(column))
        .collect();
    indices.sort_unstable();
    indices.dedup();
    indices
}

/// The column `name` of `schema`, by its only or first qualifier, as an expression.
pub(crate) fn column_of(schema: &DFSchema, name: &str) -> Result<Expr> {
    let columns = schema.columns_with_unqualified_name(name);
    match columns.into_iter().next() {
        Some(column) => Ok(E::Column(column)),
        None => {
            datafusion::common::internal_err!("no column {name} in the input of a stateful node")
        }
    }
}
