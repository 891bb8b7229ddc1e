//! Small steps over sqlparser's token cursor, for everything its grammar does not know.
//!
//! Words are matched by their text and not by sqlparser's keywords, which lack half of the
//! dialect's. The lexer has upper-cased every unquoted word, so the text is the word, and dropped
//! whitespace, so tokens can be counted off.

use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Span, Token};

use crate::ast::Name;
use crate::error::{Error, Result, quoted, suggest};
use crate::parser::keywords;

pub(crate) trait Tokens {
    /// The unquoted word `ahead` tokens from here.
    fn word_at(&self, ahead: usize) -> Option<&str>;
    /// The token `ahead` tokens from here.
    fn token_at_offset(&self, ahead: usize) -> &Token;
    /// The place of the token `ahead` tokens from here.
    fn span_at(&self, ahead: usize) -> Span;
    /// The place of the token before.
    fn last_span(&self) -> Span;
    /// Consumes the token if it is next.
    fn eat(&mut self, token: &Token) -> bool;
    /// Consumes a word that is next.
    fn eat_word(&mut self, word: &str) -> bool;
    /// Consumes a word or token of any kind.
    fn skip(&mut self);

    /// The next token if it is an unquoted word.
    fn word(&self) -> Option<&str> {
        self.word_at(0)
    }

    /// The place of the next token.
    fn span(&self) -> Span {
        self.span_at(0)
    }

    fn at_end(&self) -> bool {
        matches!(self.token_at_offset(0), Token::EOF)
    }

    fn at_words(&self, words: &[&str]) -> bool {
        words
            .iter()
            .enumerate()
            .all(|(ahead, word)| self.word_at(ahead) == Some(word))
    }

    /// Consumes the words if all of them are next, in this order.
    fn eat_words(&mut self, words: &[&str]) -> bool {
        let here = self.at_words(words);
        if here {
            words.iter().for_each(|_| self.skip());
        }
        here
    }

    fn expect(&mut self, token: &Token) -> Result<()> {
        if self.eat(token) {
            Ok(())
        } else {
            Err(self.wanted(&format!("\"{token}\"")))
        }
    }

    fn expect_word(&mut self, word: &str) -> Result<()> {
        if self.eat_word(word) {
            Ok(())
        } else {
            Err(self.wanted_one_of(&[word], ""))
        }
    }

    /// `expected …, found …` at the next token.
    fn wanted(&self, what: &str) -> Error {
        let found = match self.token_at_offset(0) {
            Token::EOF => "the end of the statement".to_owned(),
            token => quoted(&token.to_string()),
        };
        Error::syntax(format!("expected {what}, found {found}")).at(self.span())
    }

    /// The same for words, with the likely one as a hint. `context` follows the list.
    fn wanted_one_of(&self, words: &[&str], context: &str) -> Error {
        let error = self.wanted(&format!("{}{context}", list(words)));
        match self
            .word()
            .and_then(|found| suggest(found, words.iter().copied()))
        {
            Some(close) => error.hint(format!("did you mean {close}?")),
            None => error,
        }
    }

    /// A name: a quoted one, or a word that has no other meaning.
    fn name(&mut self, what: &str) -> Result<Name> {
        let name = match self.token_at_offset(0) {
            Token::Word(word) if word.quote_style.is_some() || !keywords::is_reserved(word) => {
                if word.value.is_empty() {
                    return Err(Error::invalid("a name cannot be empty").at(self.span()));
                }
                let quoted = word.quote_style.is_some();
                Name {
                    value: word.value.clone(),
                    quoted,
                    span: self.span(),
                }
            }
            Token::Word(word) => {
                let reserved = word.value.clone();
                return Err(self.wanted(what).hint(format!(
                    "{reserved} is reserved: as a name, write `{reserved}`"
                )));
            }
            Token::SingleQuotedString(text) if !text.is_empty() => {
                let hint = format!("text is in single quotes, a name is not: `{text}`");
                return Err(self.wanted(what).hint(hint));
            }
            _ => return Err(self.wanted(what)),
        };
        self.skip();
        Ok(name)
    }

    /// A string in single quotes.
    fn string(&mut self, what: &str) -> Result<String> {
        let Token::SingleQuotedString(text) = self.token_at_offset(0) else {
            return Err(self.wanted(&format!("{what} in single quotes")));
        };
        let text = text.clone();
        self.skip();
        Ok(text)
    }

    /// A whole number that is not negative.
    fn integer(&mut self, what: &str) -> Result<(u64, Span)> {
        let span = self.span();
        let Token::Number(digits, _) = self.token_at_offset(0) else {
            return Err(self.wanted(&format!("{what}, a whole number")));
        };
        let number = if digits.bytes().all(|digit| digit.is_ascii_digit()) {
            match digits.parse() {
                Ok(number) => number,
                Err(_) => return Err(Error::invalid(format!("{what} is too large")).at(span)),
            }
        } else {
            return Err(self.wanted(&format!("{what}, a whole number")));
        };
        self.skip();
        Ok((number, span))
    }
}

impl Tokens for Parser<'_> {
    fn word_at(&self, ahead: usize) -> Option<&str> {
        match self.token_at_offset(ahead) {
            Token::Word(word) if word.quote_style.is_none() => Some(&word.value),
            _ => None,
        }
    }

    fn token_at_offset(&self, ahead: usize) -> &Token {
        // `peek_nth_token_ref` walks there, for it must skip whitespace. Ours is dropped.
        &self.token_at(self.index() + ahead).token
    }

    fn span_at(&self, ahead: usize) -> Span {
        self.token_at(self.index() + ahead).span
    }

    fn last_span(&self) -> Span {
        self.get_current_token().span
    }

    fn eat(&mut self, token: &Token) -> bool {
        self.consume_token(token)
    }

    fn eat_word(&mut self, word: &str) -> bool {
        let here = self.word() == Some(word);
        if here {
            self.skip();
        }
        here
    }

    fn skip(&mut self) {
        self.advance_token();
    }
}

/// `A`, `A or B`, `A, B or C`.
pub(crate) fn list(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [most @ .., last] => format!("{} or {last}", most.join(", ")),
    }
}
