//! What a statement may be at most, checked before it is parsed.
//!
//! Trees are walked recursively, here and in DataFusion, and cloned and dropped so by Rust itself,
//! where no recursion counter helps. So depth is bounded in the text: by the nesting of
//! parentheses, and by the length of operator chains, `a + b + c …`, which lean to the left and
//! are as deep as they are long. Chains of AND and OR become balanced trees
//! ([`crate::dialect`]), so theirs is a limit on work, not on depth.

use datafusion::sql::sqlparser::tokenizer::{Span, Token, TokenWithSpan};

use crate::error::{Error, Result};

/// The largest statement, in bytes. Tokens take some hundred bytes of memory for each of text.
pub const STATEMENT_BYTES_MAX: usize = 1 << 20;
/// How deep parentheses and brackets may nest.
pub const NESTING_MAX: usize = 100;
/// How many terms AND and OR may join in one condition: plans of that many terms still optimise
/// in well under a second.
pub const TERMS_MAX: usize = 5_000;
/// How many other operators may follow one another without parentheses. What a 2 MB stack takes
/// in an unoptimised build, with a factor of four to spare.
pub const CHAIN_MAX: usize = 250;
/// How many UNION, EXCEPT and INTERSECT may follow one another. They nest like operators do, and a
/// query takes ten times the stack of an operator.
pub const UNIONS_MAX: usize = 50;
/// How deep parentheses may nest in FROM that open with another parenthesis. sqlparser reads their
/// inside as a subquery first and then as a join, so each of them doubles the time.
pub(crate) const SOURCE_NESTING_MAX: usize = 10;
/// sqlparser's own counter, for what nests without parentheses: NOT NOT …, CASE WHEN CASE ….
/// It counts twice or so per parenthesis.
pub(crate) const RECURSION_MAX: usize = 4 * NESTING_MAX;
/// How often sqlparser may start an expression, per token of the statement. Ordinary statements
/// start less than two.
pub(crate) const EXPRESSIONS_PER_TOKEN_MAX: usize = 50;

pub(crate) fn check_size(text: &str, span: Span) -> Result<()> {
    if text.len() <= STATEMENT_BYTES_MAX {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "the statement is {} bytes long: the limit is {STATEMENT_BYTES_MAX}",
        text.len()
    ))
    .at(span)
    .hint("split it, or keep the data in a topic and join with it"))
}

/// What is counted inside one pair of parentheses.
#[derive(Clone, Copy, Default)]
struct Level {
    opened: Option<Span>,
    terms: usize,
    chain: usize,
    set_operations: usize,
    /// Whether what comes next is a source: behind FROM and JOIN, and inside of parentheses there.
    sources: bool,
    /// How many of the parentheses around are for sources and open with another parenthesis.
    source_nesting: usize,
}

/// Checks nesting and chains. Returns the innermost parenthesis that is not closed.
pub(crate) fn check_shape(tokens: &[TokenWithSpan]) -> Result<Option<Span>> {
    let mut levels = vec![Level::default()];
    for (index, TokenWithSpan { token, span }) in tokens.iter().enumerate() {
        match token {
            Token::LParen | Token::LBracket => {
                let doubled = matches!(tokens.get(index + 1), Some(next) if next.token == *token);
                let level = levels
                    .last()
                    .copied()
                    .unwrap_or_default()
                    .open(*span, doubled);
                levels.push(level);
                check_nesting(&levels).map_err(|error| error.at(*span))?;
            }
            Token::RParen | Token::RBracket => {
                // One too many is for the parser to find.
                if levels.len() > 1 {
                    levels.pop();
                }
            }
            _ => {
                if let Some(level) = levels.last_mut() {
                    level.take(token);
                    level.check().map_err(|error| error.at(*span))?;
                }
            }
        }
    }
    Ok(levels.pop().and_then(|level| level.opened))
}

fn check_nesting(levels: &[Level]) -> Result<()> {
    if levels.len() > NESTING_MAX + 1 {
        return Err(Error::invalid(format!(
            "the statement is nested too deeply: the limit is {NESTING_MAX} parentheses"
        )));
    }
    if levels
        .last()
        .is_some_and(|level| level.source_nesting > SOURCE_NESTING_MAX)
    {
        return Err(Error::invalid(format!(
            "sources are nested too deeply: the limit is {SOURCE_NESTING_MAX} double parentheses"
        ))
        .hint("give subqueries a name in WITH"));
    }
    Ok(())
}

impl Level {
    /// The level inside a parenthesis that opens here.
    fn open(self, span: Span, doubled: bool) -> Self {
        Self {
            opened: Some(span),
            sources: self.sources,
            source_nesting: self.source_nesting + usize::from(self.sources && doubled),
            ..Self::default()
        }
    }

    fn take(&mut self, token: &Token) {
        match weigh(token) {
            Weight::None => {}
            Weight::Separator => (self.terms, self.chain) = (0, 0),
            Weight::Term => {
                self.terms += 1;
                self.chain = 0;
            }
            Weight::Operator => self.chain += 1,
            Weight::SetOperation => self.set_operations += 1,
        }
        if let Token::Word(word) = token
            && word.quote_style.is_none()
        {
            match word.value.as_str() {
                "FROM" | "JOIN" => self.sources = true,
                "SELECT" | "WHERE" | "ON" | "GROUP" | "HAVING" | "ORDER" | "LIMIT" | "UNION"
                | "EXCEPT" | "INTERSECT" | "VALUES" => self.sources = false,
                _ => {}
            }
        }
    }

    fn check(&self) -> Result<()> {
        if self.terms >= TERMS_MAX {
            return Err(Error::invalid(format!(
                "too many terms in one condition: the limit is {TERMS_MAX}"
            ))
            .hint("for many values of one column, write IN (…)"));
        }
        if self.set_operations > UNIONS_MAX {
            return Err(Error::invalid(format!(
                "too many UNIONs: the limit is {UNIONS_MAX}"
            )));
        }
        if self.chain > CHAIN_MAX {
            return Err(Error::invalid(format!(
                "too many operators in a row: the limit is {CHAIN_MAX}"
            ))
            .hint("group them by parentheses"));
        }
        Ok(())
    }
}

enum Weight {
    None,
    /// Starts a new expression.
    Separator,
    Term,
    Operator,
    SetOperation,
}

fn weigh(token: &Token) -> Weight {
    match token {
        Token::Comma => Weight::Separator,
        Token::Word(word) if word.quote_style.is_none() => match word.value.as_str() {
            "AND" | "OR" => Weight::Term,
            "SELECT" | "FROM" | "WHERE" | "GROUP" | "HAVING" | "ON" | "CASE" | "WHEN" | "THEN"
            | "ELSE" => Weight::Separator,
            "UNION" | "EXCEPT" | "INTERSECT" => Weight::SetOperation,
            "IS" | "IN" | "LIKE" | "ILIKE" | "BETWEEN" | "COLLATE" | "AT" | "SIMILAR" => {
                Weight::Operator
            }
            _ => Weight::None,
        },
        Token::Plus
        | Token::Minus
        | Token::Mul
        | Token::Div
        | Token::Mod
        | Token::StringConcat
        | Token::Eq
        | Token::DoubleEq
        | Token::Neq
        | Token::Lt
        | Token::LtEq
        | Token::Gt
        | Token::GtEq
        | Token::Spaceship
        | Token::DoubleColon
        | Token::Pipe
        | Token::Ampersand
        | Token::Caret
        | Token::Sharp
        | Token::LongArrow
        | Token::Tilde
        | Token::TildeAsterisk
        | Token::ExclamationMarkTilde
        | Token::ExclamationMarkTildeAsterisk
        | Token::DoubleTilde
        | Token::ShiftLeft
        | Token::ShiftRight => Weight::Operator,
        Token::Whitespace(_)
        | Token::Number(..)
        | Token::SingleQuotedString(_)
        | Token::Word(_)
        | Token::Period
        | Token::Arrow
        | Token::Assignment
        | Token::RArrow
        | Token::EOF => Weight::None,
        // Other systems' operators: there are dozens, and they chain like ours.
        _ => Weight::Operator,
    }
}
