//! Cuts a script into statements at each `;` outside quotes and comments.
//!
//! Works on characters, before the tokenizer: so a statement can be refused for its size without
//! reading it, one that cannot be read leaves the others alone, and the shell can ask after every
//! line whether a statement is complete.

use datafusion::sql::sqlparser::tokenizer::Location;

/// A stretch of a script up to a `;` or the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece<'a> {
    /// The text without the `;`, blanks and comments around the statement included.
    pub text: &'a str,
    /// Where it starts, in bytes.
    pub offset: usize,
    /// The line it starts in, from 1.
    pub line: usize,
    /// The column it starts in, from 1, in characters.
    pub column: usize,
    /// Whether there is a `;` behind it.
    pub terminated: bool,
}

/// The pieces of a script, in order. The last one is what follows the last `;`, if anything does.
#[derive(Debug, Clone)]
pub struct Splitter<'a> {
    text: &'a str,
    offset: usize,
    line: usize,
    column: usize,
}

impl<'a> Splitter<'a> {
    /// The pieces of `text`.
    pub fn new(text: &'a str) -> Self {
        // Editors on Windows put a byte order mark in front of a file.
        let mark = if text.starts_with('\u{feff}') {
            '\u{feff}'.len_utf8()
        } else {
            0
        };
        Self {
            text,
            offset: mark,
            line: 1,
            column: 1 + usize::from(mark > 0),
        }
    }
}

impl<'a> Iterator for Splitter<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        let rest = &self.text[self.offset..];
        if rest.is_empty() {
            return None;
        }
        let mut state = State::default();
        let (mut line, mut column) = (self.line, self.column);
        let mut len = None;
        for (index, c) in rest.char_indices() {
            if c == '\n' {
                (line, column) = (line + 1, 1);
            } else {
                column += 1;
            }
            if state.ends_at(c) {
                len = Some(index);
                break;
            }
        }
        let text = &rest[..len.unwrap_or(rest.len())];
        let piece = Piece {
            text,
            offset: self.offset,
            line: self.line,
            column: self.column,
            terminated: len.is_some(),
        };
        self.offset += text.len() + usize::from(len.is_some());
        (self.line, self.column) = (line, column);
        Some(piece)
    }
}

/// Whether a text ends in a full statement: its last `;` outside quotes and comments has nothing
/// but blanks and comments behind it.
pub fn complete(text: &str) -> bool {
    let mut state = State::default();
    let mut ended = false;
    for c in text.chars() {
        let before = state.inside;
        if state.ends_at(c) {
            ended = true;
        } else if state.inside.is_text() || (before == Inside::Nothing && !state.may_be_blank(c)) {
            ended = false;
        }
    }
    ended && matches!(state.inside, Inside::Nothing | Inside::LineComment)
}

/// Where a comment starts that is not closed.
pub(crate) fn open_comment(text: &str) -> Option<Location> {
    let mut state = State::default();
    let mut at = Location::new(1, 1);
    let mut open = None;
    for c in text.chars() {
        let before = state.inside;
        state.ends_at(c);
        if state.inside == Inside::BlockComment && before != Inside::BlockComment {
            // It starts at the slash before.
            open = Some(Location::new(at.line, at.column - 1));
        }
        at = match c {
            '\n' => Location::new(at.line + 1, 1),
            _ => Location::new(at.line, at.column + 1),
        };
    }
    open.filter(|_| state.inside == Inside::BlockComment)
}

/// What the character before leaves us in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Inside {
    #[default]
    Nothing,
    /// Text or a name in this kind of quotes. A doubled quote leaves and enters again.
    Quotes(char),
    LineComment,
    BlockComment,
}

impl Inside {
    fn is_text(self) -> bool {
        matches!(self, Self::Quotes(_))
    }
}

#[derive(Debug, Default)]
struct State {
    inside: Inside,
    last: Option<char>,
}

impl State {
    /// Takes the next character; whether it ends the statement.
    fn ends_at(&mut self, c: char) -> bool {
        let last = self.last.replace(c);
        match self.inside {
            Inside::Nothing => match (last, c) {
                (_, ';') => return true,
                (_, '\'' | '"' | '`') => self.inside = Inside::Quotes(c),
                (Some('-'), '-') => self.inside = Inside::LineComment,
                (Some('/'), '*') => {
                    self.inside = Inside::BlockComment;
                    // `/*/` opens a comment and does not close it.
                    self.last = None;
                }
                _ => {}
            },
            Inside::Quotes(quote) if c == quote => self.inside = Inside::Nothing,
            Inside::LineComment if c == '\n' => self.inside = Inside::Nothing,
            Inside::BlockComment if (last, c) == (Some('*'), '/') => {
                self.inside = Inside::Nothing;
                // The slash that closes a comment does not open the next one.
                self.last = None;
            }
            Inside::Quotes(_) | Inside::LineComment | Inside::BlockComment => {}
        }
        false
    }

    /// Whether a character outside quotes and comments may leave a blank a blank: white space, or
    /// the start of a comment, which the next character decides.
    fn may_be_blank(&self, c: char) -> bool {
        c.is_whitespace()
            || matches!(self.inside, Inside::LineComment | Inside::BlockComment)
            || matches!(c, '-' | '/')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_end_at_semicolons_outside_quotes_and_comments() {
        let text = "a 'x;y' ;\n b \"q;\"\"\" -- c;\n /* ; */ `;`; c";
        let pieces: Vec<_> = Splitter::new(text)
            .map(|piece| (piece.text, piece.line, piece.column, piece.terminated))
            .collect();
        assert_eq!(
            pieces,
            [
                ("a 'x;y' ", 1, 1, true),
                ("\n b \"q;\"\"\" -- c;\n /* ; */ `;`", 1, 10, true),
                (" c", 3, 14, false),
            ]
        );
        for piece in Splitter::new(text) {
            assert_eq!(
                &text[piece.offset..piece.offset + piece.text.len()],
                piece.text
            );
        }
    }

    #[test]
    fn byte_order_mark_is_skipped() {
        let piece = Splitter::new("\u{feff}a;").next().unwrap();
        assert_eq!((piece.text, piece.offset, piece.column), ("a", 3, 2));
    }

    #[test]
    fn open_comments() {
        assert_eq!(open_comment("a\n b /* c"), Some(Location::new(2, 4)));
        assert_eq!(open_comment("/* a */ '/*' -- /*"), None);
    }

    #[test]
    fn complete_statements() {
        for text in [
            "a;",
            "a; ",
            "a;\n-- c",
            "a; /* c */ ",
            "a; b;",
            ";",
            "'x';",
            "'it''s';",
            "a;--;",
            "/**/;",
        ] {
            assert!(complete(text), "{text}");
        }
        for text in [
            "", "a", "a; b", "'a;", "'a;'", "\"a;", "a -- ;", "a /* ;", "a; /* b", "'a''; ",
            "/*/;", "a; 'b'", "a; - b", "`;",
        ] {
            assert!(!complete(text), "{text}");
        }
    }
}
