//! GROUP BY in a continuous query, windowed or not.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion::common::{DFSchema, DFSchemaRef, Result, TableReference, internal_err};
use datafusion::logical_expr::expr_rewriter::normalize_cols;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, UserDefinedLogicalNodeCore};

use crate::column;

/// How rows are put into windows. All times in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WindowSpec {
    /// Windows `[k × advance, k × advance + size)`; tumbling where advance = size.
    Hopping {
        /// Length.
        size_ms: i64,
        /// Distance between starts.
        advance_ms: i64,
        /// How long after its end a window still takes rows.
        grace_ms: i64,
        /// How long after its start a view keeps a window; for good unless this says otherwise.
        retention_ms: Option<i64>,
    },
    /// Runs of rows of a key no further apart than the gap.
    Session {
        /// Longest silence inside a session.
        gap_ms: i64,
        /// How long after its end (+ gap) a session still takes rows.
        grace_ms: i64,
        /// How long after its end a view keeps a session; for good unless this says otherwise.
        retention_ms: Option<i64>,
    },
}

impl WindowSpec {
    /// How long after its end a window still takes rows, in milliseconds.
    pub fn grace_ms(&self) -> i64 {
        match self {
            Self::Hopping { grace_ms, .. } | Self::Session { grace_ms, .. } => *grace_ms,
        }
    }

    /// How long a view keeps a window, in milliseconds.
    pub fn retention_ms(&self) -> Option<i64> {
        match self {
            Self::Hopping { retention_ms, .. } | Self::Session { retention_ms, .. } => {
                *retention_ms
            }
        }
    }

    /// How long after its start (a session: its end) a window may still change, in milliseconds.
    pub fn open_ms(&self) -> i64 {
        match self {
            Self::Hopping {
                size_ms, grace_ms, ..
            } => size_ms.saturating_add(*grace_ms),
            Self::Session {
                gap_ms, grace_ms, ..
            } => gap_ms.saturating_add(*grace_ms),
        }
    }
}

impl fmt::Display for WindowSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hopping {
                size_ms,
                advance_ms,
                grace_ms,
                ..
            } if size_ms == advance_ms => {
                write!(f, "tumbling(size={size_ms}ms, grace={grace_ms}ms)")
            }
            Self::Hopping {
                size_ms,
                advance_ms,
                grace_ms,
                ..
            } => {
                write!(
                    f,
                    "hopping(size={size_ms}ms, advance={advance_ms}ms, grace={grace_ms}ms)"
                )
            }
            Self::Session {
                gap_ms, grace_ms, ..
            } => {
                write!(f, "session(gap={gap_ms}ms, grace={grace_ms}ms)")
            }
        }
    }
}

/// When a group's row is emitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Emit {
    /// At every step that changed it.
    Changes,
    /// Once, when its window takes no more rows.
    Final,
}

/// Groups rows and keeps their aggregates up to date.
///
/// Output: the group expressions, the aggregates, for windows WINDOWSTART and WINDOWEND, then
/// ROWTIME (largest row time of the group) and the change kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AggregateNode {
    /// Where rows come from.
    pub input: LogicalPlan,
    /// What they are grouped by.
    pub group: Vec<Expr>,
    /// The aggregate functions.
    pub aggregates: Vec<Expr>,
    /// Row time of an input row.
    pub rowtime: Expr,
    /// Change kind of an input row, where the input is a table's changes.
    pub op: Option<Expr>,
    /// How rows are put into windows; `None` for one group per key for ever.
    pub window: Option<WindowSpec>,
    /// When rows are emitted.
    pub emit: Emit,
    /// Whether the old row of a changed group is emitted (as a delete) before the new one: what a
    /// filter or another stateful node above needs.
    pub emit_old: bool,
    schema: DFSchemaRef,
}

impl AggregateNode {
    /// A node over `input`.
    ///
    /// # Errors
    /// An expression that does not fit the input's schema.
    #[expect(clippy::too_many_arguments, reason = "each is a part of the node")]
    pub fn try_new(
        input: LogicalPlan,
        group: Vec<Expr>,
        aggregates: Vec<Expr>,
        rowtime: Expr,
        op: Option<Expr>,
        window: Option<WindowSpec>,
        emit: Emit,
        emit_old: bool,
    ) -> Result<Self> {
        let group = normalize_cols(group, &input)?;
        let aggregates = normalize_cols(aggregates, &input)?;
        let mut fields: Vec<(Option<TableReference>, Arc<Field>)> = Vec::new();
        for expr in group.iter().chain(&aggregates) {
            let (qualifier, field) = expr.to_field(input.schema())?;
            let mut field = field.as_ref().clone().with_nullable(true);
            // An expression's name does not tell its casts: SUM(V) and SUM(CAST(V AS DOUBLE)) have one.
            let taken = |name: &str| {
                let mut known = fields.iter();
                known.any(|(of, field)| *of == qualifier && field.name() == name)
            };
            if taken(field.name()) {
                let numbered = (2..).map(|number| format!("{} {number}", field.name()));
                if let Some(free) = numbered.into_iter().find(|name| !taken(name)) {
                    field = field.with_name(free);
                }
            }
            fields.push((qualifier, Arc::new(field)));
        }
        let mut names = Vec::new();
        if window.is_some() {
            names.extend([column::WINDOWSTART, column::WINDOWEND]);
        }
        names.push(column::ROWTIME);
        for name in names {
            fields.push((None, Arc::new(Field::new(name, DataType::Int64, false))));
        }
        fields.push((
            None,
            Arc::new(Field::new(column::OP, DataType::Int8, false)),
        ));
        let schema = Arc::new(DFSchema::new_with_metadata(fields, Default::default())?);
        Ok(Self {
            input,
            group,
            aggregates,
            rowtime,
            op,
            window,
            emit,
            emit_old,
            schema,
        })
    }
}

impl PartialOrd for AggregateNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (&self.group, &self.aggregates, &self.window)
            .partial_cmp(&(&other.group, &other.aggregates, &other.window))
            .filter(|ordering| *ordering != Ordering::Equal || self == other)
    }
}

impl UserDefinedLogicalNodeCore for AggregateNode {
    fn name(&self) -> &str {
        "StreamAggregate"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        let fixed = [&self.rowtime].into_iter().chain(&self.op);
        self.group
            .iter()
            .chain(&self.aggregates)
            .chain(fixed)
            .cloned()
            .collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let list = |exprs: &[Expr]| {
            exprs
                .iter()
                .map(|expr| expr.human_display().to_string())
                .collect::<Vec<_>>()
                .join(", ")
        };
        write!(
            f,
            "StreamAggregate: by=[{}], aggr=[{}]",
            list(&self.group),
            list(&self.aggregates)
        )?;
        if let Some(window) = &self.window {
            write!(f, ", window={window}")?;
        }
        if self.emit == Emit::Final {
            write!(f, ", emit=final")?;
        }
        Ok(())
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let Ok([input]) = <[LogicalPlan; 1]>::try_from(inputs) else {
            return internal_err!("StreamAggregate has one input");
        };
        let mut exprs = exprs.into_iter();
        let group = exprs.by_ref().take(self.group.len()).collect();
        let aggregates = exprs.by_ref().take(self.aggregates.len()).collect();
        let Some(rowtime) = exprs.next() else {
            return internal_err!("StreamAggregate lost its row time");
        };
        let op = exprs.next();
        Self::try_new(
            input,
            group,
            aggregates,
            rowtime,
            op,
            self.window,
            self.emit,
            self.emit_old,
        )
    }

    fn necessary_children_exprs(&self, _output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let exprs = self.expressions();
        Some(vec![super::column_indices(&exprs, self.input.schema())])
    }
}
