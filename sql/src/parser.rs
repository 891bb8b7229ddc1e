//! Text to statements.
//!
//! A script is cut at its semicolons ([`Splitter`]), every piece becomes tokens (`lexer`), is
//! held against the limits (`limits`) and then read by a recursive descent of our own, one file
//! per family of statements. sqlparser reads expressions and whole pull queries on the same
//! tokens. Nothing is looked up but types that CREATE TYPE named: what a name means is the
//! planner's business.

mod admin;
mod assert;
mod clause;
mod create;
mod duration;
mod insert;
pub(crate) mod keywords;
pub(crate) mod lexer;
mod limits;
mod query;
mod relation;
mod shape;
mod show;
mod split;
mod statement;
mod substitute;
pub(crate) mod tokens;
mod window;

use datafusion::sql::sqlparser::tokenizer::{Location, Span};

pub use duration::parse_duration_ms;
pub use keywords::KEYWORDS;
pub use limits::{CHAIN_MAX, NESTING_MAX, STATEMENT_BYTES_MAX, TERMS_MAX, UNIONS_MAX};
pub use shape::{Literal, Shape};
pub use split::{Piece, Splitter, complete};
pub use substitute::substitute;

use crate::ast::{Expr, Parsed, Script};
use crate::dialect::KsqlDialect;
use crate::error::Result;
use crate::types::CustomTypes;
use statement::StatementParser;

/// Parses a script. A `;` is needed between statements and may follow the last.
pub fn parse(text: &str) -> Result<Script> {
    parse_with(text, &CustomTypes::new())
}

/// Parses a script that may use types made by CREATE TYPE. Those that the script makes itself are
/// known to the statements behind.
pub fn parse_with(text: &str, custom: &CustomTypes) -> Result<Script> {
    let dialect = KsqlDialect::new(custom.clone());
    let mut statements = Vec::new();
    for piece in Splitter::new(text) {
        statements.extend(parse_piece(&dialect, piece)?);
    }
    Ok(Script(statements))
}

/// Parses one piece of a script, for whoever runs a script statement by statement. `None` if it
/// holds only blanks and comments.
pub fn parse_one(piece: Piece<'_>, custom: &CustomTypes) -> Result<Option<Parsed>> {
    parse_piece(&KsqlDialect::new(custom.clone()), piece)
}

/// Parses an expression that stands alone.
pub fn parse_expr(text: &str, custom: &CustomTypes) -> Result<Expr> {
    let dialect = KsqlDialect::new(custom.clone());
    let start = Location::new(1, 1);
    limits::check_size(text, Span::new(start, start))?;
    let lexed = lexer::lex(&dialect, text, start)?;
    StatementParser::run(&dialect, text, lexed, |parser| {
        let expr = parser.expr()?;
        parser.end("the expression")?;
        Ok(expr)
    })
}

fn parse_piece(dialect: &KsqlDialect, piece: Piece<'_>) -> Result<Option<Parsed>> {
    let start = Location::new(piece.line as u64, piece.column as u64);
    limits::check_size(piece.text.trim(), Span::new(start, start))?;
    let lexed = lexer::lex(dialect, piece.text, start)?;
    // Only the end.
    if lexed.tokens.len() == 1 {
        return Ok(None);
    }
    let mut parsed = StatementParser::run(dialect, piece.text, lexed, StatementParser::whole)?;
    shift(&mut parsed, piece.offset);
    Ok(Some(parsed))
}

/// Offsets in a piece as offsets in the script. Lines and columns are those of the script already.
fn shift(parsed: &mut Parsed, by: usize) {
    use crate::ast::{ExplainTarget, Statement};
    parsed.offset += by;
    if let Statement::Explain {
        target: ExplainTarget::Statement(inner),
        ..
    } = &mut parsed.statement
    {
        shift(inner, by);
    }
}

#[cfg(test)]
mod tests;
