//! Parts that several statements have: WITH, spans of time, IF EXISTS.

use datafusion::sql::sqlparser::tokenizer::{Span, Token};

use super::duration::{UNIT_WORDS, unit_ms};
use super::statement::StatementParser;
use super::tokens::{Tokens, list};
use crate::ast::{Literal, Properties, Property};
use crate::error::{Error, Result, suggest};

impl StatementParser<'_> {
    /// `[WITH (NAME = literal, …)]`
    pub(super) fn with(&mut self) -> Result<Properties> {
        let mut all = Properties::default();
        if !self.eat_word("WITH") {
            return Ok(all);
        }
        self.expect(&Token::LParen)?;
        if self.eat(&Token::RParen) {
            return Ok(all);
        }
        loop {
            all.push(self.property()?)?;
            if !self.eat(&Token::Comma) {
                break;
            }
        }
        if self.eat(&Token::RParen) {
            Ok(all)
        } else {
            Err(self.wanted("\",\" or \")\""))
        }
    }

    fn property(&mut self) -> Result<Property> {
        let name_span = self.span();
        let name = match self.token_at_offset(0) {
            Token::SingleQuotedString(name) => name.to_uppercase(),
            Token::Word(word) => word.value.to_uppercase(),
            _ => return Err(self.wanted("the name of a property")),
        };
        self.skip();
        if !self.eat(&Token::Eq) {
            return Err(self.wanted(&format!("\"=\" and the value of {name}")));
        }
        let first = self.index();
        let value = self.literal()?;
        Ok(Property {
            name,
            value,
            name_span,
            value_span: self.span_from(first),
        })
    }

    fn literal(&mut self) -> Result<Literal> {
        let minus = self.eat(&Token::Minus);
        let literal = match self.token_at_offset(0) {
            Token::Number(digits, _) => {
                let digits = if minus {
                    format!("-{digits}")
                } else {
                    digits.clone()
                };
                digits.parse().map_or(Literal::Number(digits), Literal::Int)
            }
            _ if minus => return Err(self.wanted("a number")),
            Token::SingleQuotedString(text) => Literal::String(text.clone()),
            Token::Word(word) => match (word.value.as_str(), word.quote_style) {
                ("TRUE", None) => Literal::Bool(true),
                ("FALSE", None) => Literal::Bool(false),
                ("NULL", None) => Literal::Null,
                (text, _) => {
                    let hint = format!("text is in single quotes: '{text}'");
                    return Err(self.wanted("a value").hint(hint));
                }
            },
            _ => return Err(self.wanted("a value")),
        };
        self.skip();
        Ok(literal)
    }

    /// `n unit`, in milliseconds.
    pub(super) fn duration_ms(&mut self, what: &str) -> Result<i64> {
        let (number, span) = self.integer(what)?;
        let unit = self.word().and_then(unit_ms);
        let Some(unit) = unit else {
            let error = self.wanted(&list(UNIT_WORDS));
            return Err(match self.word() {
                Some("WEEK" | "WEEKS") => error.hint("a week has 7 DAYS"),
                Some("MONTH" | "MONTHS" | "YEAR" | "YEARS") => {
                    error.hint("months and years differ in length")
                }
                Some(word) => match suggest(word, both_numbers()) {
                    Some(close) => error.hint(format!("did you mean {close}?")),
                    None => error,
                },
                None => error,
            });
        };
        self.skip();
        i64::try_from(number)
            .ok()
            .and_then(|number| number.checked_mul(unit))
            .ok_or_else(|| Error::invalid(format!("{what} is too large")).at(span))
    }

    /// The same for times that cannot be zero.
    pub(super) fn positive_duration_ms(&mut self, what: &str) -> Result<i64> {
        let first = self.index();
        match self.duration_ms(what)? {
            0 => {
                Err(Error::invalid(format!("{what} must be more than zero"))
                    .at(self.span_from(first)))
            }
            ms => Ok(ms),
        }
    }

    pub(super) fn if_not_exists(&mut self) -> bool {
        self.eat_words(&["IF", "NOT", "EXISTS"])
    }

    pub(super) fn if_exists(&mut self) -> bool {
        self.eat_words(&["IF", "EXISTS"])
    }

    /// Consumes the words, which are here, and says where they were.
    pub(super) fn take_words(&mut self, words: &[&str]) -> Option<Span> {
        let first = self.index();
        self.eat_words(words).then(|| self.span_from(first))
    }

    /// A topic's name: in single quotes, a name, or as it is, dots and dashes included. Its case
    /// stays, for topics' names are not SQL's.
    pub(super) fn topic(&mut self) -> Result<(String, Span)> {
        let first = self.index();
        let quoted = match self.token_at_offset(0) {
            Token::SingleQuotedString(text) => Some(text.clone()),
            Token::Word(word) if word.quote_style.is_some() => Some(word.value.clone()),
            Token::Word(_) | Token::Number(..) => None,
            _ => return Err(self.wanted("the name of a topic")),
        };
        self.skip();
        if quoted.is_none() {
            while self.continues_topic() {
                self.skip();
            }
        }
        let topic = quoted.unwrap_or_else(|| self.source(first).to_owned());
        Ok((topic, self.span_from(first)))
    }

    fn continues_topic(&self) -> bool {
        let joins = matches!(
            self.token_at_offset(0),
            Token::Word(_) | Token::Number(..) | Token::Minus | Token::Period
        );
        joins && self.span().start == self.last_span().end
    }
}

/// The units in the plural and the singular.
fn both_numbers() -> impl Iterator<Item = &'static str> {
    UNIT_WORDS
        .iter()
        .flat_map(|unit| [*unit, unit.strip_suffix('S').unwrap_or(unit)])
}
