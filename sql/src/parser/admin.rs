//! TERMINATE, PAUSE, RESUME; SET, UNSET; DEFINE, UNDEFINE.

use datafusion::sql::sqlparser::tokenizer::{Span, Token};

use super::statement::StatementParser;
use super::tokens::Tokens;
use crate::ast::{QuerySelector, Statement};
use crate::error::Result;

impl StatementParser<'_> {
    pub(super) fn control(&mut self) -> Result<Statement> {
        let verb = self.word().unwrap_or_default().to_owned();
        self.skip();
        let more = matches!(self.token_at_offset(1), Token::Word(_));
        let which = if self.eat_word("ALL") {
            QuerySelector::All
        } else if self.word() == Some("SINK") && more && verb != "TERMINATE" {
            self.skip();
            QuerySelector::Sink(self.name("the name of a sink")?)
        } else {
            // TERMINATE QUERY id is what ksqlDB said once.
            if self.word() == Some("QUERY") && more {
                self.skip();
            }
            QuerySelector::Id(self.query_id()?)
        };
        Ok(match verb.as_str() {
            "TERMINATE" => Statement::Terminate(which),
            "PAUSE" => Statement::Pause(which),
            _ => Statement::Resume(which),
        })
    }

    pub(super) fn set(&mut self) -> Result<Statement> {
        let unset = self.word() == Some("UNSET");
        self.skip();
        let (key, key_span) = self.setting()?;
        if unset {
            return Ok(Statement::Unset { key, key_span });
        }
        if !self.eat(&Token::Eq) {
            return Err(self.wanted("\"=\" and a value"));
        }
        let first = self.index();
        let value = match self.token_at_offset(0) {
            Token::SingleQuotedString(text) => Some(text.clone()),
            Token::Minus if matches!(self.token_at_offset(1), Token::Number(..)) => {
                self.skip();
                None
            }
            Token::Number(..) => None,
            Token::Word(word) if matches!(word.value.as_str(), "TRUE" | "FALSE") => None,
            _ => {
                return Err(self.wanted("a value").hint("text is in single quotes"));
            }
        };
        self.skip();
        let value_span = self.span_from(first);
        let value = value.unwrap_or_else(|| self.source(first).to_ascii_lowercase());
        Ok(Statement::Set {
            key,
            key_span,
            value,
            value_span,
        })
    }

    /// The key of a setting: in single quotes, or words with dots between them.
    fn setting(&mut self) -> Result<(String, Span)> {
        let first = self.index();
        if let Token::SingleQuotedString(key) = self.token_at_offset(0) {
            let key = key.clone();
            self.skip();
            return Ok((key, self.span_from(first)));
        }
        while matches!(self.token_at_offset(0), Token::Word(_) | Token::Period) {
            self.skip();
        }
        if self.index() == first {
            return Err(self.wanted("the name of a property"));
        }
        Ok((self.source(first).to_owned(), self.span_from(first)))
    }

    pub(super) fn define(&mut self) -> Result<Statement> {
        let undefine = self.word() == Some("UNDEFINE");
        self.skip();
        let name = self.name("the name of a variable")?;
        if undefine {
            return Ok(Statement::Undefine(name));
        }
        self.expect(&Token::Eq)?;
        let value = self.string("the text of the variable")?;
        Ok(Statement::Define { name, value })
    }
}
