//! Statements as the parser leaves them: shape and places, nothing looked up.
//!
//! Names are resolved, defaults filled in and rules between clauses checked by the planner.
//! Expressions and whole pull queries are sqlparser's own nodes, which DataFusion plans; the few
//! shapes that are particular to the dialect are listed at [`crate::dialect`].

mod properties;
mod query;
mod statement;

use std::fmt;

pub use datafusion::sql::sqlparser::ast::{Expr, Query as PullQuery};
pub use datafusion::sql::sqlparser::tokenizer::Span;

pub use properties::{Literal, Properties, Property};
pub use query::{
    ClauseSpans, Emit, Join, JoinKind, Query, Relation, SelectItem, SelectItemKind, TableRef,
    Window, WindowKind, Within,
};
pub use statement::{
    ColumnDef, DropKind, ExplainTarget, Kind, Print, QuerySelector, Role, ShowKind, SinkInput,
    Statement,
};

/// What a text holds: its statements, in order.
#[derive(Debug, Clone, PartialEq)]
pub struct Script(pub Vec<Parsed>);

/// A statement and where it came from.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed {
    /// The statement.
    pub statement: Statement,
    /// Its exact source, from its first word to its last character, without the `;`.
    pub text: String,
    /// Where it starts in the script, in bytes.
    pub offset: usize,
    /// The line it starts in, from 1. Every span inside counts from the script's start, too.
    pub line: usize,
    /// The column it starts in, from 1, in characters.
    pub column: usize,
}

/// An identifier after the case rule: unquoted ones are upper-case, quoted ones as written.
#[derive(Debug, Clone)]
pub struct Name {
    /// The identifier.
    pub value: String,
    /// Whether it was written in quotes.
    pub quoted: bool,
    /// Where it was written.
    pub span: Span,
}

/// Names are equal when they name the same thing.
impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl Eq for Name {}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.value)
    }
}
