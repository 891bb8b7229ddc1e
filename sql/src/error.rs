//! What a statement's author is told when it cannot be done: a message, the place and a remedy.
//!
//! Everything that can go wrong between text and plan is an [`Error`]. It knows no text: spans
//! are lines and columns, and [`Error::render`] draws the line with a caret under the place once
//! somebody who has the text asks for it. Failures of a running query are the engine's.

mod render;
mod suggest;

use std::fmt;

use datafusion::sql::sqlparser::parser::ParserError;
use datafusion::sql::sqlparser::tokenizer::{Location, Span, TokenizerError};

pub use suggest::suggest;

/// The result of anything in this crate that a user's text can make fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Whose mistake it is, and of which kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The text is not a statement.
    Syntax,
    /// A name stands for nothing: a source, column, function, type, property, query.
    Unknown,
    /// Types that do not fit an operator, function, column or format.
    Type,
    /// Meaningful, but not done (yet).
    Unsupported,
    /// Well-formed and wrong: a rule of the language or a limit is broken.
    Invalid,
    /// Our bug.
    Internal,
}

/// A place in the text a statement was parsed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Position {
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1, in characters.
    pub column: usize,
    /// In characters; at least 1. A place that spans lines counts as its first character.
    pub len: usize,
}

impl Position {
    /// The same place, counted from where a statement starts instead of from the script's start.
    pub fn relative_to(self, line: usize, column: usize) -> Self {
        Self {
            line: (self.line + 1).saturating_sub(line).max(1),
            column: if self.line == line {
                (self.column + 1).saturating_sub(column).max(1)
            } else {
                self.column
            },
            len: self.len,
        }
    }
}

impl From<Location> for Position {
    fn from(at: Location) -> Self {
        Self {
            line: at.line as usize,
            column: at.column as usize,
            len: 1,
        }
    }
}

/// `None` for an empty span: sqlparser has no place for everything.
fn position_of(span: Span) -> Option<Position> {
    if span.start.line == 0 {
        return None;
    }
    let mut at = Position::from(span.start);
    if span.end.line == span.start.line {
        at.len = (span.end.column.saturating_sub(span.start.column)).max(1) as usize;
    }
    Some(at)
}

/// Why a statement is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// What is wrong, in words of the statement; one line, no full stop.
    pub message: String,
    /// Where.
    pub position: Option<Position>,
    /// What to do about it.
    pub hint: Option<String>,
    /// Which kind of mistake.
    pub kind: ErrorKind,
}

impl Error {
    /// An error without a place or remedy yet.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            position: None,
            hint: None,
            kind,
        }
    }

    /// The text is not a statement.
    pub fn syntax(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Syntax, message)
    }

    /// A name that stands for nothing.
    pub fn unknown(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unknown, message)
    }

    /// Types that do not fit.
    pub fn type_mismatch(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Type, message)
    }

    /// Meaningful, but not done.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, message)
    }

    /// A rule of the language or a limit is broken.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// Our bug.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// Says where. An empty span leaves the error as it is.
    pub fn at(mut self, span: Span) -> Self {
        self.position = position_of(span).or(self.position);
        self
    }

    /// Says where unless that is known already.
    pub fn or_at(self, span: Span) -> Self {
        if self.position.is_none() {
            self.at(span)
        } else {
            self
        }
    }

    /// Says what to do about it.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds `did you mean "…"?` when a candidate is close to what was written.
    pub fn did_you_mean<'a>(
        mut self,
        wanted: &str,
        candidates: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        if let Some(close) = suggest(wanted, candidates) {
            self.hint = Some(format!("did you mean \"{close}\"?"));
        }
        self
    }

    /// The error as a person at a terminal should see it, with the line of `text` it is about and
    /// a caret under the place. `text` is what was parsed, as a whole: positions count from its
    /// start. A position that does not exist in `text` is moved to the nearest one that does.
    pub fn render(&self, text: &str) -> String {
        render::render(self, text)
    }
}

/// For logs and places that have no text: message, place and hint on one line.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(at) = self.position {
            write!(f, " at {}:{}", at.line, at.column)?;
        }
        if let Some(hint) = &self.hint {
            write!(f, " ({hint})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

impl From<TokenizerError> for Error {
    fn from(error: TokenizerError) -> Self {
        let mut it = Error::syntax(tidy(&error.message));
        it.position = (error.location.line > 0).then(|| error.location.into());
        it
    }
}

/// Takes the place out of sqlparser's text, which is the only form it gives it in.
impl From<ParserError> for Error {
    fn from(error: ParserError) -> Self {
        let text = match error {
            ParserError::TokenizerError(text) | ParserError::ParserError(text) => text,
            ParserError::RecursionLimitExceeded => {
                return Error::invalid("the statement is nested too deeply");
            }
        };
        let (message, position) = split_place(&text);
        let mut it = Error::syntax(tidy(message));
        it.position = position;
        it
    }
}

/// `Expected: x, found: y at Line: 1, Column: 5` into its words and its place.
fn split_place(text: &str) -> (&str, Option<Position>) {
    let place = text.rfind(" at Line: ").and_then(|start| {
        let (line, column) = text[start + " at Line: ".len()..].split_once(", Column: ")?;
        Some((
            start,
            Position {
                line: line.parse().ok()?,
                column: column.parse().ok()?,
                len: 1,
            },
        ))
    });
    match place {
        Some((start, position)) => (&text[..start], Some(position)),
        None => (text, None),
    }
}

/// Our errors start with a small letter and quote what was found.
fn tidy(message: &str) -> String {
    let message = message.trim_end_matches('.').trim();
    if let Some(rest) = message.strip_prefix("Expected: ")
        && let Some((wanted, found)) = rest.split_once(", found: ")
    {
        // A mark needs quotes in a sentence, a word such as FROM or an expression does not.
        let wanted = match wanted {
            mark if !mark.contains(char::is_alphanumeric) => quoted(mark),
            words => words.to_owned(),
        };
        return match found {
            "EOF" => format!("expected {wanted}, found the end of the statement"),
            found => format!("expected {wanted}, found {}", quoted(found)),
        };
    }
    let mut chars = message.chars();
    match chars.next() {
        Some(first) if !message.starts_with("EOF") => {
            first.to_lowercase().collect::<String>() + chars.as_str()
        }
        _ => message.to_owned(),
    }
}

/// A piece of the statement inside a message, kept short. What has quotes gets no others.
pub(crate) fn quoted(found: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 40;
    let first_line = found.lines().next().unwrap_or_default();
    let quote = if found.starts_with(['\'', '`']) {
        ""
    } else {
        "\""
    };
    if first_line.len() == found.len() && found.chars().count() <= SHOWN_CHARS_MAX {
        format!("{quote}{found}{quote}")
    } else {
        let start: String = first_line.chars().take(SHOWN_CHARS_MAX).collect();
        format!("{quote}{start}…{quote}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn place_is_taken_out_of_sqlparsers_text() {
        let error = Error::from(ParserError::ParserError(
            "Expected: an expression, found: ) at Line: 3, Column: 12".into(),
        ));
        assert_eq!(error.message, "expected an expression, found \")\"");
        assert_eq!(
            error.position,
            Some(Position {
                line: 3,
                column: 12,
                len: 1
            })
        );
        assert_eq!(
            error.to_string(),
            "expected an expression, found \")\" at 3:12"
        );

        let error = Error::from(ParserError::ParserError(
            "Expected: FROM, found: EOF".into(),
        ));
        assert_eq!(
            error.to_string(),
            "expected FROM, found the end of the statement"
        );
    }

    #[test]
    fn position_relative_to_a_statement() {
        let at = Position {
            line: 7,
            column: 9,
            len: 2,
        };
        assert_eq!(
            at.relative_to(7, 5),
            Position {
                line: 1,
                column: 5,
                len: 2
            }
        );
        assert_eq!(
            at.relative_to(6, 5),
            Position {
                line: 2,
                column: 9,
                len: 2
            }
        );
    }
}
