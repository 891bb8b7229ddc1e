//! Text to tokens: sqlparser's tokenizer, then the dialect's case rule.
//!
//! Unquoted words become upper-case here, once and for all: past this point a name is what it
//! says, and planning runs with DataFusion's identifier normalisation off. Whitespace and
//! comments are dropped, and the end of the statement is a token with a place of its own, so that
//! "found the end" points somewhere.

use std::ops::Range;

use datafusion::sql::sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan, Tokenizer};

use crate::dialect::KsqlDialect;
use crate::error::{Error, Result, quoted};
use crate::parser::split::open_comment;

/// The tokens of a text.
pub(crate) struct Lexed {
    /// The last one is [`Token::EOF`].
    pub(crate) tokens: Vec<TokenWithSpan>,
    /// Where each token is in the text, in bytes.
    pub(crate) ranges: Vec<Range<usize>>,
}

/// The tokens of a text that stands for itself.
pub(crate) fn tokens(dialect: &KsqlDialect, text: &str) -> Result<Vec<TokenWithSpan>> {
    Ok(lex(dialect, text, Location::new(1, 1))?.tokens)
}

/// The tokens of a text that starts at `start` of something larger.
pub(crate) fn lex(dialect: &KsqlDialect, text: &str, start: Location) -> Result<Lexed> {
    let mut raw = Vec::new();
    Tokenizer::new(dialect, text)
        .tokenize_with_location_into_buf(&mut raw)
        .map_err(|mut error| {
            // Where the comment starts, and not where the text ends.
            let place = open_comment(text).unwrap_or(error.location);
            error.location = shift(place, start);
            unfinished(Error::from(error))
        })?;

    let mut tokens: Vec<TokenWithSpan> = Vec::with_capacity(raw.len() / 2 + 1);
    let mut ranges = Vec::with_capacity(raw.len() / 2 + 1);
    let mut walk = Walk::new(text);
    let mut end = start;
    for TokenWithSpan { token, span } in raw {
        let range = walk.offset(span.start)..walk.offset(span.end);
        if matches!(token, Token::Whitespace(_)) {
            continue;
        }
        let span = Span::new(shift(span.start, start), shift(span.end, start));
        end = span.end;
        let token = cased(token);
        if let Some(error) = foreign(&token, &text[range.clone()], &text[range.end..]) {
            return Err(error.at(span));
        }
        tokens.push(TokenWithSpan { token, span });
        ranges.push(range);
    }
    // One column wide, just behind the last word and not behind a trailing comment.
    let after = Location::new(end.line, end.column + 1);
    tokens.push(TokenWithSpan {
        token: Token::EOF,
        span: Span::new(end, after),
    });
    let last = ranges.last().map_or(0, |range: &Range<usize>| range.end);
    ranges.push(last..last);
    Ok(Lexed { tokens, ranges })
}

/// A place in a part as a place in the whole.
fn shift(at: Location, start: Location) -> Location {
    if at.line == 1 {
        Location::new(start.line, start.column + at.column - 1)
    } else {
        Location::new(start.line + at.line - 1, at.column)
    }
}

fn cased(token: Token) -> Token {
    match token {
        Token::Word(mut word) if word.quote_style.is_none() => {
            if word.value.is_ascii() {
                word.value.make_ascii_uppercase();
            } else {
                word.value = word.value.to_uppercase();
            }
            Token::Word(word)
        }
        other => other,
    }
}

/// What the tokenizer takes and no statement has.
fn foreign(token: &Token, text: &str, rest: &str) -> Option<Error> {
    match token {
        Token::Placeholder(_) if text == "$" && rest.starts_with('{') => {
            let name = rest[1..].split('}').next().unwrap_or_default();
            Some(
                Error::unknown(format!("the variable {} is not defined", quoted(name)))
                    .hint("give it a value with DEFINE"),
            )
        }
        Token::Placeholder(_) => Some(Error::unsupported(format!(
            "parameters such as {} are not supported",
            quoted(text)
        ))),
        Token::Word(word) if word.quote_style.is_none() && text.contains('.') => Some(
            Error::syntax(format!("{} is neither a number nor a name", quoted(text))),
        ),
        Token::Char(c) => {
            let error = Error::syntax(format!(
                "the character {} has no meaning here",
                quoted(text)
            ));
            Some(match c {
                '‘' | '’' | '“' | '”' | '„' | '´' => {
                    error.hint("text is in straight single quotes: 'text'")
                }
                _ => error,
            })
        }
        _ => None,
    }
}

/// The tokenizer's words for quotes and comments without an end.
fn unfinished(error: Error) -> Error {
    let words = error.message.to_lowercase();
    let message = if words.contains("comment") {
        "the comment is not closed: */ is missing"
    } else if words.contains("string literal") {
        "the text is not closed: a ' is missing"
    } else if let Some(quote) = words.strip_prefix("expected close delimiter ") {
        let quote = quote.chars().nth(1).unwrap_or('"');
        return Error {
            message: format!("the name is not closed: a {quote} is missing"),
            ..error
        };
    } else {
        return error;
    };
    Error {
        message: message.into(),
        ..error
    }
}

/// Byte offsets of places that come in order.
struct Walk<'a> {
    text: &'a str,
    at: Location,
    offset: usize,
}

impl<'a> Walk<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            text,
            at: Location::new(1, 1),
            offset: 0,
        }
    }

    fn offset(&mut self, wanted: Location) -> usize {
        let mut chars = self.text[self.offset..].chars();
        while self.at < wanted {
            let Some(c) = chars.next() else { break };
            self.offset += c.len_utf8();
            if c == '\n' {
                self.at = Location::new(self.at.line + 1, 1);
            } else {
                self.at.column += 1;
            }
        }
        self.offset
    }
}
