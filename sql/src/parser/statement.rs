//! The parser of one statement: what it stands on, and the first word.

use std::ops::{Deref, DerefMut, Range};

use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Span, Token, TokenWithSpan};

use super::keywords::STATEMENTS;
use super::lexer::Lexed;
use super::limits::{EXPRESSIONS_PER_TOKEN_MAX, RECURSION_MAX, check_shape};
use super::tokens::Tokens;
use crate::ast::{Expr, Parsed, Statement};
use crate::dialect::KsqlDialect;
use crate::error::{Error, Position, Result, quoted, suggest};

/// Statements of other systems, and what to do instead.
const ELSEWHERE: &[(&str, &str)] = &[
    (
        "DELETE",
        "delete a row of a table by writing a record of its key without a value",
    ),
    (
        "UPDATE",
        "INSERT a row of the same key: it replaces the one before",
    ),
    (
        "MERGE",
        "INSERT a row of the same key: it replaces the one before",
    ),
    (
        "UPSERT",
        "INSERT a row of the same key: it replaces the one before",
    ),
    (
        "TRUNCATE",
        "DROP the source with DELETE TOPIC and create it again",
    ),
    ("RUN", "start kappa with -f and the script"),
    ("DESC", "use DESCRIBE"),
    ("USE", "there is one name space: names need no schema"),
];

/// A statement's tokens and a cursor over them. The cursor is sqlparser's, and what it can do
/// ([`Tokens`]), the parser of a statement can.
pub(super) struct StatementParser<'a> {
    cursor: Parser<'a>,
    dialect: &'a KsqlDialect,
    /// What the tokens were made from.
    text: &'a str,
    /// Where each token is in the text, in bytes.
    ranges: Vec<Range<usize>>,
    /// A parenthesis that is never closed.
    unclosed: Option<Span>,
}

impl<'a> Deref for StatementParser<'a> {
    type Target = Parser<'a>;

    fn deref(&self) -> &Parser<'a> {
        &self.cursor
    }
}

impl<'a> DerefMut for StatementParser<'a> {
    fn deref_mut(&mut self) -> &mut Parser<'a> {
        &mut self.cursor
    }
}

impl<'a> StatementParser<'a> {
    /// Runs `parse` over the tokens of a text, within the limits, and puts its error in place.
    pub(super) fn run<T>(
        dialect: &'a KsqlDialect,
        text: &'a str,
        Lexed { tokens, ranges }: Lexed,
        parse: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        let unclosed = check_shape(&tokens)?;
        dialect.begin(tokens.len() * EXPRESSIONS_PER_TOKEN_MAX);
        let cursor = Parser::new(dialect)
            .with_recursion_limit(RECURSION_MAX)
            .with_tokens_with_locations(tokens);
        let mut it = Self {
            cursor,
            dialect,
            text,
            ranges,
            unclosed,
        };
        parse(&mut it).map_err(|error| it.placed(error))
    }

    /// All there is, as one statement.
    pub(super) fn whole(&mut self) -> Result<Parsed> {
        let parsed = self.parsed()?;
        self.end("the statement")?;
        Ok(parsed)
    }

    /// The statement that starts here, with its source.
    pub(super) fn parsed(&mut self) -> Result<Parsed> {
        let first = self.index();
        let at = self.span().start;
        let statement = self.statement()?;
        Ok(Parsed {
            statement,
            text: self.source(first).to_owned(),
            offset: self.ranges[first].start,
            line: at.line as usize,
            column: at.column as usize,
        })
    }

    fn statement(&mut self) -> Result<Statement> {
        match self.word() {
            Some("SELECT") if self.is_continuous() => Ok(Statement::Push(self.query()?)),
            Some("SELECT" | "WITH" | "VALUES") => self.pull(),
            Some("CREATE") => self.create(),
            Some("INSERT") => self.insert(),
            Some("DROP") => self.drop(),
            Some("ALTER") => self.alter(),
            Some("TERMINATE" | "PAUSE" | "RESUME") => self.control(),
            Some("SHOW" | "LIST") => self.show(),
            Some("DESCRIBE") => self.describe(),
            Some("EXPLAIN") => self.explain(),
            Some("PRINT") => self.print(),
            Some("SET" | "UNSET") => self.set(),
            Some("DEFINE" | "UNDEFINE") => self.define(),
            Some("ASSERT") => self.assert(),
            Some(word) => Err(self.no_statement(word)),
            None if *self.token_at_offset(0) == Token::LParen => self.pull(),
            None => Err(self.wanted("a statement")),
        }
    }

    fn no_statement(&self, word: &str) -> Error {
        let error = Error::syntax(format!("{} is not a statement", quoted(word))).at(self.span());
        if let Some((_, instead)) = ELSEWHERE.iter().find(|(theirs, _)| *theirs == word) {
            return Error {
                kind: crate::error::ErrorKind::Unsupported,
                ..error
            }
            .hint(*instead);
        }
        match suggest(word, STATEMENTS.iter().copied()) {
            Some(close) => error.hint(format!("did you mean {close}?")),
            None => error,
        }
    }

    /// Nothing may follow.
    pub(super) fn end(&self, what: &str) -> Result<()> {
        if self.at_end() {
            return Ok(());
        }
        let error = self.wanted(&format!("the end of {what}"));
        Err(match self.word() {
            Some(word) if STATEMENTS.contains(&word) => {
                let missing = format!("a ; is missing before {word}");
                error.hint(missing)
            }
            _ if *self.token_at_offset(0) == Token::RParen => error.hint("it was never opened"),
            _ => error,
        })
    }

    /// An expression, as sqlparser reads it.
    pub(super) fn expr(&mut self) -> Result<Expr> {
        self.cursor
            .parse_expr()
            .map_err(|error| self.sql_error(error))
    }

    /// `a, b, c` or `(a, b, c)`.
    pub(super) fn expr_list(&mut self) -> Result<Vec<Expr>> {
        let mut all = vec![self.expr()?];
        while self.eat(&Token::Comma) {
            all.push(self.expr()?);
        }
        match all.as_mut_slice() {
            [Expr::Tuple(inner)] => Ok(std::mem::take(inner)),
            [Expr::Nested(inner)] => {
                let nothing = Expr::Tuple(Vec::new());
                Ok(vec![std::mem::replace(inner, nothing)])
            }
            _ => Ok(all),
        }
    }

    pub(super) fn sql_error(&self, error: ParserError) -> Error {
        match error {
            ParserError::RecursionLimitExceeded if self.dialect.exhausted() => {
                Error::invalid("the statement is too complex to be read")
                    .at(self.first_span())
                    .hint("give subqueries a name in WITH")
            }
            ParserError::RecursionLimitExceeded => {
                Error::invalid("the statement is nested too deeply").at(self.first_span())
            }
            other => self.dialect.redeem(other),
        }
    }

    /// A parenthesis that is never closed.
    pub(super) fn unclosed(&self) -> Option<Span> {
        self.unclosed
    }

    pub(super) fn dialect(&self) -> &'a KsqlDialect {
        self.dialect
    }

    /// The source from the token of that index to the one before the next.
    pub(super) fn source(&self, first: usize) -> &'a str {
        let last = self
            .index()
            .saturating_sub(1)
            .max(first)
            .min(self.ranges.len() - 1);
        &self.text[self.ranges[first].start..self.ranges[last].end]
    }

    /// The place from the token of that index to the one before the next.
    pub(super) fn span_from(&self, first: usize) -> Span {
        Span::new(self.cursor.token_at(first).span.start, self.last_span().end)
    }

    /// A token by its index.
    pub(super) fn token(&self, index: usize) -> &TokenWithSpan {
        self.cursor.token_at(index)
    }

    fn first_span(&self) -> Span {
        self.token(0).span
    }

    /// Gives an error the place, length and spelling of the token it is about.
    fn placed(&self, error: Error) -> Error {
        let end = self.token(self.ranges.len() - 1).span;
        // Some of sqlparser's errors have no place: what it read last is the nearest there is.
        let mut error = error.or_at(self.span()).or_at(end);
        let end = end.start;
        let Some(at) = error.position else {
            return error;
        };
        let place = (at.line as u64, at.column as u64);
        if place == (end.line, end.column) {
            return match self.unclosed {
                Some(open) => Error::syntax("the parenthesis is not closed").at(open),
                None => error,
            };
        }
        let Some(index) = self.token_starting_at(place) else {
            return error;
        };
        let span = self.token(index).span;
        if at.len == 1 && span.start.line == span.end.line {
            let len = (span.end.column - span.start.column).max(1) as usize;
            error.position = Some(Position { len, ..at });
        }
        // The case rule has changed the token: show what was written.
        let token = quoted(&self.token(index).token.to_string());
        if let Some(before) = error.message.strip_suffix(&format!("found {token}")) {
            let written = quoted(&self.text[self.ranges[index].clone()]);
            error.message = format!("{before}found {written}");
        } else if let Some(after) = error.message.strip_prefix(&token) {
            let written = quoted(&self.text[self.ranges[index].clone()]);
            error.message = format!("{written}{after}");
        }
        error
    }

    fn token_starting_at(&self, place: (u64, u64)) -> Option<usize> {
        let start = |index: usize| {
            let at = self.token(index).span.start;
            (at.line, at.column)
        };
        let (mut low, mut high) = (0, self.ranges.len());
        while low < high {
            let middle = low.midpoint(high);
            if start(middle) < place {
                low = middle + 1
            } else {
                high = middle
            }
        }
        (low < self.ranges.len() && start(low) == place).then_some(low)
    }
}
