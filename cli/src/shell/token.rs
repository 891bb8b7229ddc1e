//! A statement's text in coarse pieces: enough to colour it, complete it and see what it is.
//!
//! Never fails: what is half typed is a piece too. What a statement means is the engine's business.

use std::iter::Peekable;
use std::ops::Range;
use std::str::CharIndices;

/// A kind of piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// White space.
    Blank,
    /// `-- …` or `/* … */`.
    Comment,
    /// A keyword, function or name.
    Word,
    /// `1`, `1.5E3`.
    Number,
    /// `'…'`.
    Text,
    /// `"…"` or `` `…` ``.
    Name,
    /// `${…}`.
    Variable,
    /// Anything else, a character at a time.
    Symbol,
}

/// A piece and where it is, in bytes.
pub(crate) type Token = (Kind, Range<usize>);

/// The pieces of a text, without gaps.
pub(crate) fn tokens(text: &str) -> impl Iterator<Item = Token> + '_ {
    Tokens {
        text,
        chars: text.char_indices().peekable(),
    }
}

/// Where the first piece is that says something.
pub(crate) fn first(text: &str) -> Option<usize> {
    tokens(text)
        .find(|(kind, _)| !matches!(kind, Kind::Blank | Kind::Comment))
        .map(|(_, range)| range.start)
}

/// The statements of a script with where they start, in bytes: without the `;`, without blanks and
/// comments before them, and without pieces that are nothing else.
pub(crate) fn statements(script: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut start = None;
    for (kind, range) in tokens(script) {
        match (kind, start) {
            (Kind::Symbol, begun) if &script[range.clone()] == ";" => {
                found.extend(begun.map(|begun| (begun, script[begun..range.start].trim_end())));
                start = None;
            }
            (Kind::Blank | Kind::Comment, _) | (_, Some(_)) => {}
            (_, None) => start = Some(range.start),
        }
    }
    found.extend(start.map(|begun| (begun, script[begun..].trim_end())));
    found
}

/// The words of a text.
pub(crate) fn words(text: &str) -> impl Iterator<Item = &str> {
    tokens(text)
        .filter(|(kind, _)| *kind == Kind::Word)
        .map(|(_, range)| &text[range])
}

struct Tokens<'a> {
    text: &'a str,
    chars: Peekable<CharIndices<'a>>,
}

impl Tokens<'_> {
    fn skip_while(&mut self, accept: impl Fn(char) -> bool) {
        while self.chars.next_if(|(_, c)| accept(*c)).is_some() {}
    }

    /// Up to and with the first `end`, or to the end of the text.
    fn skip_through(&mut self, end: &str) {
        let Some((at, _)) = self.chars.peek().copied() else {
            return;
        };
        let stop = self.text[at..]
            .find(end)
            .map_or(self.text.len(), |found| at + found + end.len());
        while self.chars.next_if(|(index, _)| *index < stop).is_some() {}
    }

    fn next_is(&mut self, wanted: char) -> bool {
        self.chars.next_if(|(_, c)| *c == wanted).is_some()
    }
}

impl Iterator for Tokens<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        let (start, c) = self.chars.next()?;
        let kind = match c {
            // Editors on Windows put a byte order mark in front of a file.
            c if c.is_whitespace() || c == '\u{feff}' => {
                self.skip_while(char::is_whitespace);
                Kind::Blank
            }
            '-' if self.next_is('-') => {
                self.skip_while(|c| c != '\n');
                Kind::Comment
            }
            '/' if self.next_is('*') => {
                self.skip_through("*/");
                Kind::Comment
            }
            '\'' | '"' | '`' => {
                loop {
                    self.skip_while(|other| other != c);
                    // A doubled quote stands for itself.
                    if !(self.next_is(c) && self.next_is(c)) {
                        break;
                    }
                }
                if c == '\'' { Kind::Text } else { Kind::Name }
            }
            '$' if self.next_is('{') => {
                self.skip_through("}");
                Kind::Variable
            }
            c if c.is_ascii_digit() => {
                self.skip_while(|c| c.is_ascii_alphanumeric() || c == '.' || c == '_');
                Kind::Number
            }
            c if is_word(c) => {
                self.skip_while(is_word);
                Kind::Word
            }
            _ => Kind::Symbol,
        };
        let end = self.chars.peek().map_or(self.text.len(), |(at, _)| *at);
        Some((kind, start..end))
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '@'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(Kind, &str)]) {
        let found: Vec<_> = tokens(text)
            .map(|(kind, range)| (kind, &text[range]))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn pieces_cover_the_text() {
        use Kind::*;
        check(
            "SELECT 'it''s',\"a\"\"b\" /*x*/ 1.5E3-- é\n${v}é;",
            &[
                (Word, "SELECT"),
                (Blank, " "),
                (Text, "'it''s'"),
                (Symbol, ","),
                (Name, "\"a\"\"b\""),
                (Blank, " "),
                (Comment, "/*x*/"),
                (Blank, " "),
                (Number, "1.5E3"),
                (Comment, "-- é"),
                (Blank, "\n"),
                (Variable, "${v}"),
                (Word, "é"),
                (Symbol, ";"),
            ],
        );
    }

    #[test]
    fn what_is_half_typed_is_a_piece_too() {
        use Kind::*;
        check("'abc", &[(Text, "'abc")]);
        check("'a''", &[(Text, "'a''")]);
        check("/*", &[(Comment, "/*")]);
        check("/* a *", &[(Comment, "/* a *")]);
        check("${", &[(Variable, "${")]);
        check("", &[]);
        check("-", &[(Symbol, "-")]);
    }

    #[test]
    fn scripts_are_cut_outside_quotes_and_comments() {
        assert_eq!(
            statements("\u{feff}-- c;\na 'x;y' ;;\n /* ; */ b \"q;\" -- d\n;`;` "),
            [(9, "a 'x;y'"), (29, "b \"q;\" -- d"), (42, "`;`")]
        );
        assert!(statements(" ; -- x").is_empty());
    }

    #[test]
    fn the_first_piece_that_says_something() {
        assert_eq!(first(" -- a\n /* b */ c"), Some(15));
        assert_eq!(first(" -- a"), None);
    }
}
