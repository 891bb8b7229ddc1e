//! A query that runs on and on: the KSQL form of SELECT.

use super::{Expr, Name, Span};

/// `SELECT … FROM … EMIT …`, as a statement of its own or after AS or INSERT INTO.
///
/// There is no room here yet for DISTINCT, ORDER BY, UNION and subqueries; the parser refuses
/// them by name.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// What is selected; at least one.
    pub items: Vec<SelectItem>,
    /// Where from.
    pub from: Relation,
    /// The WINDOW clause.
    pub window: Option<Window>,
    /// The WHERE clause.
    pub filter: Option<Expr>,
    /// The GROUP BY clause, an enclosing parenthesis taken off. Empty without one.
    pub group_by: Vec<Expr>,
    /// The PARTITION BY clause, likewise.
    pub partition_by: Vec<Expr>,
    /// The HAVING clause.
    pub having: Option<Expr>,
    /// The EMIT clause. Always there in a push query.
    pub emit: Option<Emit>,
    /// The LIMIT clause.
    pub limit: Option<u64>,
    /// Where the clauses were written, for errors about them.
    pub spans: ClauseSpans,
}

/// Where the keywords of a query's clauses are; empty spans for clauses it does not have.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClauseSpans {
    /// The word SELECT.
    pub select: Span,
    /// The words GROUP BY.
    pub group_by: Span,
    /// The words PARTITION BY.
    pub partition_by: Span,
    /// The words EMIT CHANGES or EMIT FINAL.
    pub emit: Span,
    /// The word LIMIT.
    pub limit: Span,
}

/// One thing between SELECT and FROM.
#[derive(Debug, Clone, PartialEq)]
pub struct SelectItem {
    /// What it is.
    pub kind: SelectItemKind,
    /// All of it, alias included.
    pub span: Span,
}

/// The forms a select item has.
#[derive(Debug, Clone, PartialEq)]
pub enum SelectItemKind {
    /// `expr [AS alias]`
    Expr {
        /// The expression.
        expr: Expr,
        /// Its name, if it was given one.
        alias: Option<Name>,
    },
    /// `*`
    Wildcard,
    /// `source.*`
    QualifiedWildcard(Name),
    /// `expr->*`: all fields of a struct.
    StructWildcard(Expr),
}

/// What follows FROM: a source and what is joined to it, from left to right.
#[derive(Debug, Clone, PartialEq)]
pub struct Relation {
    /// The first source.
    pub source: TableRef,
    /// What is joined to it.
    pub joins: Vec<Join>,
}

/// A stream or table by name.
#[derive(Debug, Clone, PartialEq)]
pub struct TableRef {
    /// Its name.
    pub name: Name,
    /// What the query calls it.
    pub alias: Option<Name>,
}

impl TableRef {
    /// The name that qualifies its columns in the query.
    pub fn alias_or_name(&self) -> &Name {
        self.alias.as_ref().unwrap_or(&self.name)
    }
}

/// `[LEFT] JOIN right [WITHIN …] ON …`
#[derive(Debug, Clone, PartialEq)]
pub struct Join {
    /// Which rows without a partner stay.
    pub kind: JoinKind,
    /// What is joined.
    pub right: TableRef,
    /// How far apart in time partners may be.
    pub within: Option<Within>,
    /// The condition after ON.
    pub on: Expr,
    /// From the first word to the end of the condition.
    pub span: Span,
}

/// Which rows without a partner stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "SQL's words")]
pub enum JoinKind {
    Inner,
    Left,
    Right,
    Full,
}

/// `WITHIN 1 HOUR` or `WITHIN (1 HOUR, 2 HOURS)`, and `GRACE PERIOD 1 DAY`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Within {
    /// How much older than the left row the right row may be.
    pub before_ms: i64,
    /// How much younger than the left row the right row may be.
    pub after_ms: i64,
    /// How late a row may come.
    pub grace_ms: Option<i64>,
    /// The clause.
    pub span: Span,
}

/// `WINDOW TUMBLING (SIZE 1 MINUTE, GRACE PERIOD 10 SECONDS)` and its siblings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Window {
    /// Which windows.
    pub kind: WindowKind,
    /// How long a window's rows are kept.
    pub retention_ms: Option<i64>,
    /// How late a row may come.
    pub grace_ms: Option<i64>,
    /// The clause.
    pub span: Span,
}

/// The kinds of windows. Sizes are positive, and no advance is larger than its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "SQL's words")]
pub enum WindowKind {
    Tumbling {
        size_ms: i64,
    },
    Hopping {
        size_ms: i64,
        advance_ms: i64,
    },
    Session {
        gap_ms: i64,
    },
    Sliding {
        size_ms: i64,
        advance_ms: Option<i64>,
    },
}

/// What a query with windows sends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Emit {
    /// Every change of a result.
    Changes,
    /// The result of a window once it is closed.
    Final,
}
