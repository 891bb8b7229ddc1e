//! The dialect as sqlparser is to see it: which characters make names, and the expressions its
//! grammar lacks or reads otherwise.
//!
//! sqlparser is wrapped, not forked. Statements and continuous queries are read by
//! [`crate::parser`], which asks sqlparser for expressions and for whole pull queries; its calls
//! come back here through the hooks of [`Dialect`]. What an expression of the dialect becomes:
//!
//! | text | node |
//! |---|---|
//! | `a->b[2]->c`, `t.a->b`, `f(x)->b` | `CompoundFieldAccess { root, access_chain }`, the chain flat and from left to right: a field is `Dot(Value(SingleQuotedString))`, which DataFusion plans as a struct field and never takes for a qualifier; a subscript is `Subscript(Index)` |
//! | `STRUCT(f := v, …)` | `Function` with `FunctionArg::Named { name, arg, operator: Assignment }` |
//! | `MAP(k := v, …)`, any other call with `:=` | `Function` with `FunctionArg::ExprNamed`, the name any expression |
//! | `x => e`, `(k, v) => e` | `Lambda` with params `One` or `Many`, as an unnamed argument; DataFusion's higher-order functions take it so |
//! | `ARRAY[1, 2]` | `Array { elem, named: true }` |
//! | `CAST(e AS t)`, `TRY_CAST` | `Cast` with the type as [`SqlType::to_ast`] makes it, or, for a type that only DataFusion has (FLOAT), sqlparser's |
//! | `SUBSTRING(a, 1, 2)`, `TRIM(a)`, `CEIL(a)`, … | plain `Function`: special nodes only for the standard's special forms, `SUBSTRING(a FROM 1)` |
//! | `a OR b OR c …`, AND likewise | `BinaryOp`s as a balanced tree: thousands of terms make a tree a dozen deep, which can be cloned, walked and dropped on any stack |
//! | `a IS DISTINCT FROM b AND c` | `(a IS DISTINCT FROM b) AND c`; sqlparser alone would take `b AND c` |
//! | `a + b \|\| c` | `(a + b) \|\| c`, as in ksqlDB and Postgres |
//!
//! Hooks return sqlparser's errors, which are text. Ours have a place, a kind and a hint, so a
//! hook keeps the error here and returns a ticket for it (`KsqlDialect::keep`).

mod infix;
mod prefix;

use std::cell::{Cell, RefCell};

use datafusion::sql::sqlparser::ast::Expr;
use datafusion::sql::sqlparser::dialect::Dialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};

use crate::error::Error;
use crate::types::{CustomTypes, SqlType};

/// The dialect, and what its hooks must remember during one parse.
#[derive(Debug, Default)]
pub struct KsqlDialect {
    custom: RefCell<CustomTypes>,
    /// How many more expressions may be started; `None` if nobody counts.
    budget: Cell<Option<usize>>,
    kept: RefCell<Vec<Error>>,
}

/// First character of an error text that is a ticket.
const TICKET: char = '\u{0}';

impl KsqlDialect {
    /// The dialect with the types that CREATE TYPE made.
    pub fn new(custom: CustomTypes) -> Self {
        Self {
            custom: RefCell::new(custom),
            ..Self::default()
        }
    }

    pub(crate) fn custom_types(&self) -> std::cell::Ref<'_, CustomTypes> {
        self.custom.borrow()
    }

    pub(crate) fn add_custom_type(&self, name: String, of: SqlType) {
        self.custom.borrow_mut().insert(name, of);
    }

    pub(crate) fn remove_custom_type(&self, name: &str) {
        self.custom.borrow_mut().remove(name);
    }

    /// Starts to count. sqlparser tries one way and then another in places, which is exponential
    /// in the depth of a few hostile shapes (subqueries in parentheses in FROM); a statement that
    /// is read over and over runs out of budget and is refused.
    pub(crate) fn begin(&self, expressions_max: usize) {
        self.budget.set(Some(expressions_max));
        self.kept.borrow_mut().clear();
    }

    /// Whether the budget is what ended the parse.
    pub(crate) fn exhausted(&self) -> bool {
        self.budget.get() == Some(0)
    }

    fn spend(&self) -> Result<(), ParserError> {
        match self.budget.get() {
            None => Ok(()),
            // The one error that sqlparser does not take for "try another way".
            Some(0) => Err(ParserError::RecursionLimitExceeded),
            Some(left) => {
                self.budget.set(Some(left - 1));
                Ok(())
            }
        }
    }

    /// Keeps an error and gives a ticket for it that passes through sqlparser.
    pub(crate) fn keep(&self, error: Error) -> ParserError {
        let mut kept = self.kept.borrow_mut();
        kept.push(error);
        ParserError::ParserError(format!("{TICKET}{}", kept.len() - 1))
    }

    /// The error behind sqlparser's: the kept one, if it is a ticket.
    pub(crate) fn redeem(&self, error: ParserError) -> Error {
        if let ParserError::ParserError(text) = &error
            && let Some(ticket) = text.strip_prefix(TICKET)
            && let Ok(index) = ticket.parse::<usize>()
            && let Some(kept) = self.kept.borrow().get(index)
        {
            return kept.clone();
        }
        error.into()
    }
}

impl Dialect for KsqlDialect {
    fn is_identifier_start(&self, c: char) -> bool {
        c.is_alphabetic() || c == '_'
    }

    fn is_identifier_part(&self, c: char) -> bool {
        c.is_alphanumeric() || c == '_' || c == '@'
    }

    fn is_delimited_identifier_start(&self, c: char) -> bool {
        c == '"' || c == '`'
    }

    fn identifier_quote_style(&self, _identifier: &str) -> Option<char> {
        Some('`')
    }

    /// `1abc` is a name.
    fn supports_numeric_prefix(&self) -> bool {
        true
    }

    /// Without it `$$` would start a kind of string that [`crate::parser::Splitter`] does not know.
    fn supports_dollar_placeholder(&self) -> bool {
        true
    }

    fn supports_filter_during_aggregation(&self) -> bool {
        true
    }

    fn supports_within_after_array_aggregation(&self) -> bool {
        true
    }

    fn supports_group_by_expr(&self) -> bool {
        true
    }

    fn supports_order_by_all(&self) -> bool {
        true
    }

    fn supports_window_function_null_treatment_arg(&self) -> bool {
        true
    }

    fn supports_select_wildcard_exclude(&self) -> bool {
        true
    }

    fn supports_select_wildcard_except(&self) -> bool {
        true
    }

    /// `:=` is read by our own hook, and `=>` is a lambda's.
    fn supports_named_fn_args_with_rarrow_operator(&self) -> bool {
        false
    }

    /// Words that sqlparser must not try again as a name after it failed to read what they
    /// start: trying both is exponential in the depth of nesting.
    fn is_reserved_for_identifier(&self, keyword: Keyword) -> bool {
        matches!(
            keyword,
            Keyword::ARRAY
                | Keyword::CASE
                | Keyword::CAST
                | Keyword::CEIL
                | Keyword::CONVERT
                | Keyword::EXISTS
                | Keyword::EXTRACT
                | Keyword::FLOOR
                | Keyword::INTERVAL
                | Keyword::NOT
                | Keyword::OVERLAY
                | Keyword::POSITION
                | Keyword::SAFE_CAST
                | Keyword::SUBSTR
                | Keyword::SUBSTRING
                | Keyword::TRIM
                | Keyword::TRY_CAST
        )
    }

    fn parse_prefix(&self, parser: &mut Parser) -> Option<Result<Expr, ParserError>> {
        if let Err(exhausted) = self.spend() {
            return Some(Err(exhausted));
        }
        prefix::parse(self, parser).transpose()
    }

    fn parse_infix(
        &self,
        parser: &mut Parser,
        left: &Expr,
        precedence: u8,
    ) -> Option<Result<Expr, ParserError>> {
        infix::parse(self, parser, left, precedence).transpose()
    }

    fn get_next_precedence(&self, parser: &Parser) -> Option<Result<u8, ParserError>> {
        infix::precedence(self, parser).map(Ok)
    }
}
