//! A table's upserts made into changes: what lies between a table's topic and whatever needs to
//! know the row that a change replaces.

use std::cmp::Ordering;
use std::fmt;

use datafusion::common::{DFSchemaRef, Result, internal_err};
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};

/// Keeps the table's rows by key; for each upsert emits the old row as a delete, then the new one.
/// Output columns are the input's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ChangelogNode {
    /// The table's records: upserts, and deletes with no values.
    pub input: LogicalPlan,
    /// The primary key.
    pub key: Vec<Expr>,
    /// Change kind of an input row.
    pub op: Expr,
}

impl PartialOrd for ChangelogNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.key
            .partial_cmp(&other.key)
            .filter(|o| *o != Ordering::Equal || self == other)
    }
}

impl UserDefinedLogicalNodeCore for ChangelogNode {
    fn name(&self) -> &str {
        "Changelog"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.input.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        self.key.iter().chain([&self.op]).cloned().collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let key: Vec<_> = self
            .key
            .iter()
            .map(|e| e.human_display().to_string())
            .collect();
        write!(f, "Changelog: key=[{}]", key.join(", "))
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let Ok([input]) = <[LogicalPlan; 1]>::try_from(inputs) else {
            return internal_err!("Changelog has one input");
        };
        let mut key = exprs;
        let Some(op) = key.pop() else {
            return internal_err!("Changelog lost its change kind");
        };
        Ok(Self { input, key, op })
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let exprs = self.expressions();
        let mut indices = super::column_indices(&exprs, self.input.schema());
        indices.extend_from_slice(output_columns);
        indices.sort_unstable();
        indices.dedup();
        Some(vec![indices])
    }
}
