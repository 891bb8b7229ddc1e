//! INSERT INTO … VALUES and INSERT INTO … SELECT.

use datafusion::sql::sqlparser::tokenizer::Token;

use super::statement::StatementParser;
use super::tokens::Tokens;
use crate::ast::{Expr, Name, Statement};
use crate::error::{Error, Result};

impl StatementParser<'_> {
    pub(super) fn insert(&mut self) -> Result<Statement> {
        self.skip();
        self.expect_word("INTO")?;
        let target = self.name("the name of a stream or table")?;
        let named = self.span();
        let columns = if *self.token_at_offset(0) == Token::LParen {
            Some(self.insert_columns()?)
        } else {
            None
        };
        let with = self.with()?;
        match self.word() {
            Some("VALUES") if !with.is_empty() => {
                Err(Error::invalid("WITH is for INSERT INTO … SELECT").at(self.span()))
            }
            Some("VALUES") => {
                let rows = self.rows(columns.as_deref())?;
                Ok(Statement::InsertValues {
                    target,
                    columns,
                    rows,
                })
            }
            Some("SELECT") if columns.is_some() => Err(Error::unsupported(
                "a list of columns before SELECT is not supported",
            )
            .at(named)
            .hint("give the columns their names in the query: SELECT a AS b")),
            Some("SELECT") => Ok(Statement::InsertSelect {
                target,
                with,
                query: self.query()?,
            }),
            _ => Err(self.wanted_one_of(&["VALUES", "SELECT"], "")),
        }
    }

    fn insert_columns(&mut self) -> Result<Vec<Name>> {
        self.expect(&Token::LParen)?;
        let mut columns: Vec<Name> = Vec::new();
        loop {
            let column = self.name("the name of a column")?;
            if columns.contains(&column) {
                let twice = format!("the column \"{column}\" is there twice");
                return Err(Error::invalid(twice).at(column.span));
            }
            columns.push(column);
            if !self.eat(&Token::Comma) {
                break;
            }
        }
        self.expect(&Token::RParen)?;
        Ok(columns)
    }

    /// `VALUES (…), (…)`
    fn rows(&mut self, columns: Option<&[Name]>) -> Result<Vec<Vec<Expr>>> {
        self.skip();
        let mut rows = Vec::new();
        loop {
            let first = self.index();
            self.expect(&Token::LParen)?;
            let mut row = vec![self.expr()?];
            while self.eat(&Token::Comma) {
                row.push(self.expr()?);
            }
            if !self.eat(&Token::RParen) {
                return Err(self.wanted("\",\" or \")\" after a value"));
            }
            if let Some(columns) = columns
                && columns.len() != row.len()
            {
                return Err(Error::invalid(format!(
                    "the number of values in the row does not match the columns: {} are named, not {}",
                    columns.len(),
                    row.len()
                ))
                .at(self.span_from(first)));
            }
            rows.push(row);
            if !self.eat(&Token::Comma) {
                return Ok(rows);
            }
        }
    }
}
