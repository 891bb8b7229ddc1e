//! A stream looked up in a table.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use datafusion::common::{DFSchema, DFSchemaRef, Result, internal_err};
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};

/// What becomes of a stream row whose key the table does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StreamTableJoinType {
    /// It is dropped.
    Inner,
    /// It goes on with NULL for the table's columns.
    Left,
}

/// Each stream row joined with the table's row as of its position in the merged input. Table
/// changes alone emit nothing. Output: the stream's columns, then the table's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StreamTableJoinNode {
    /// The stream.
    pub stream: LogicalPlan,
    /// The table's records: upserts, and deletes with no values.
    pub table: LogicalPlan,
    /// Inner or left.
    pub join_type: StreamTableJoinType,
    /// What the table's key must equal, over the stream, one for each key column.
    pub stream_key: Vec<Expr>,
    /// The table's primary key.
    pub table_key: Vec<Expr>,
    /// Position of a stream row, position of a table row, change kind of a table row.
    positions: [Expr; 3],
    schema: DFSchemaRef,
}

impl StreamTableJoinNode {
    /// A join of `stream` with `table`.
    ///
    /// # Errors
    /// A side without its reserved columns, or columns of the same name on both sides.
    pub fn try_new(
        stream: LogicalPlan,
        table: LogicalPlan,
        join_type: StreamTableJoinType,
        stream_key: Vec<Expr>,
        table_key: Vec<Expr>,
    ) -> Result<Self> {
        let positions = [
            super::column_of(stream.schema(), crate::column::SEQ)?,
            super::column_of(table.schema(), crate::column::SEQ)?,
            super::column_of(table.schema(), crate::column::OP)?,
        ];
        Self::build(stream, table, join_type, stream_key, table_key, positions)
    }

    fn build(
        stream: LogicalPlan,
        table: LogicalPlan,
        join_type: StreamTableJoinType,
        stream_key: Vec<Expr>,
        table_key: Vec<Expr>,
        positions: [Expr; 3],
    ) -> Result<Self> {
        let fields = |plan: &LogicalPlan, nullable: bool| {
            plan.schema()
                .iter()
                .map(|(qualifier, field)| {
                    let nullable = nullable || field.is_nullable();
                    (
                        qualifier.cloned(),
                        Arc::new(field.as_ref().clone().with_nullable(nullable)),
                    )
                })
                .collect::<Vec<_>>()
        };
        let mut all = fields(&stream, false);
        all.extend(fields(&table, join_type == StreamTableJoinType::Left));
        let schema = Arc::new(DFSchema::new_with_metadata(all, Default::default())?);
        Ok(Self {
            stream,
            table,
            join_type,
            stream_key,
            table_key,
            positions,
            schema,
        })
    }

    /// Position of a stream row in the step.
    pub fn stream_position(&self) -> &Expr {
        &self.positions[0]
    }

    /// Position of a table row in the step.
    pub fn table_position(&self) -> &Expr {
        &self.positions[1]
    }

    /// Change kind of a table row.
    pub fn table_op(&self) -> &Expr {
        &self.positions[2]
    }
}

impl PartialOrd for StreamTableJoinNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (&self.stream_key, &self.table_key)
            .partial_cmp(&(&other.stream_key, &other.table_key))
            .filter(|o| *o != Ordering::Equal || self == other)
    }
}

impl UserDefinedLogicalNodeCore for StreamTableJoinNode {
    fn name(&self) -> &str {
        "StreamTableJoin"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.stream, &self.table]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        self.stream_key
            .iter()
            .chain(&self.table_key)
            .chain(&self.positions)
            .cloned()
            .collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let on: Vec<_> = self
            .stream_key
            .iter()
            .zip(&self.table_key)
            .map(|(l, r)| format!("{} = {}", l.human_display(), r.human_display()))
            .collect();
        write!(
            f,
            "StreamTableJoin: {:?}, on=[{}]",
            self.join_type,
            on.join(", ")
        )
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let Ok([stream, table]) = <[LogicalPlan; 2]>::try_from(inputs) else {
            return internal_err!("StreamTableJoin has two inputs");
        };
        let mut exprs = exprs.into_iter();
        let stream_key = exprs.by_ref().take(self.stream_key.len()).collect();
        let table_key = exprs.by_ref().take(self.table_key.len()).collect();
        let Ok(positions) = <[Expr; 3]>::try_from(exprs.collect::<Vec<_>>()) else {
            return internal_err!("StreamTableJoin lost its positions");
        };
        Self::build(
            stream,
            table,
            self.join_type,
            stream_key,
            table_key,
            positions,
        )
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let width = self.stream.schema().fields().len();
        let [stream_seq, table_seq, table_op] = &self.positions;
        let mut stream = super::column_indices(
            self.stream_key.iter().chain([stream_seq]),
            self.stream.schema(),
        );
        let mut table = super::column_indices(
            self.table_key.iter().chain([table_seq, table_op]),
            self.table.schema(),
        );
        for index in output_columns {
            match index.checked_sub(width) {
                None => stream.push(*index),
                Some(index) => table.push(index),
            }
        }
        for side in [&mut stream, &mut table] {
            side.sort_unstable();
            side.dedup();
        }
        Some(vec![stream, table])
    }
}
