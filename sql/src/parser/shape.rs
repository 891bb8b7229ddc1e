//! A statement's text without its literals. Statements of one shape differ in their literals only,
//! so what was found out about one of them need not be found out again for the next.
//!
//! Not a tokenizer: it knows the few things that a lookup by key is written with, and has no shape to
//! offer for a text with anything else in it, comments, dots and parentheses for example. It is
//! right as long as texts of one shape are the same tokens but for the literals.

use std::borrow::Cow;

/// The longest text that is looked at, in bytes.
const TEXT_BYTES_MAX: usize = 4096;
/// Stands for a number.
const NUMBER: char = '#';
/// Stands for a text.
const TEXT: char = '\'';

/// A statement's text without its literals, and these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape<'a> {
    text: String,
    literals: Vec<Literal<'a>>,
}

/// A literal as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Literal<'a> {
    /// Digits. A sign before them belongs to the shape.
    Number(&'a str),
    /// What is between single quotes.
    Text(Cow<'a, str>),
}

impl<'a> Shape<'a> {
    /// The shape of a text, if it is written with names, literals and `, = - ;` alone.
    pub fn of(text: &'a str) -> Option<Self> {
        if text.len() > TEXT_BYTES_MAX {
            return None;
        }
        let bytes = text.as_bytes();
        let mut shape = String::with_capacity(text.len());
        let mut literals = Vec::new();
        // Where the name or literal before ends. Two that touch may be one to the tokenizer: `1e5`,
        // `N'text'`, `"a""b"`.
        let mut last_end = None;
        let mut at = 0;
        while let Some(first) = bytes.get(at) {
            let end = match first {
                b' ' | b'\t' | b'\n' | b'\r' | b',' | b'=' | b';' => {
                    shape.push(char::from(*first));
                    at += 1;
                    continue;
                }
                b'-' if bytes.get(at + 1) != Some(&b'-') => {
                    shape.push('-');
                    at += 1;
                    continue;
                }
                _ if last_end == Some(at) => return None,
                b'A'..=b'Z' | b'a'..=b'z' | b'_' => {
                    let end = end_of(bytes, at, |b| b.is_ascii_alphanumeric() || b == b'_');
                    shape.push_str(&text[at..end]);
                    end
                }
                b'0'..=b'9' => {
                    let end = end_of(bytes, at, |b| b.is_ascii_digit());
                    shape.push(NUMBER);
                    literals.push(Literal::Number(&text[at..end]));
                    end
                }
                b'\'' => {
                    let (literal, end) = quoted(text, at)?;
                    shape.push(TEXT);
                    literals.push(Literal::Text(literal));
                    end
                }
                quote @ (b'"' | b'`') => {
                    let end = end_of(bytes, at + 1, |b| b != *quote) + 1;
                    shape.push_str(text.get(at..end)?);
                    end
                }
                _ => return None,
            };
            last_end = Some(end);
            at = end;
        }
        Some(Self {
            text: shape,
            literals,
        })
    }

    /// The text, with a mark in the place of each literal.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The literals in the order of the text.
    pub fn literals(&self) -> &[Literal<'a>] {
        &self.literals
    }
}

fn end_of(bytes: &[u8], start: usize, inside: impl Fn(u8) -> bool) -> usize {
    let rest = bytes.get(start..).unwrap_or_default();
    let len = rest.iter().position(|b| !inside(*b));
    start + len.unwrap_or(rest.len())
}

/// The text in the quotes that open at `start`, and where it ends; `None` if it does not.
fn quoted(text: &str, start: usize) -> Option<(Cow<'_, str>, usize)> {
    let bytes = text.as_bytes();
    let mut doubled = false;
    let mut at = start + 1;
    loop {
        at = end_of(bytes, at, |b| b != b'\'');
        if bytes.get(at + 1) != Some(&b'\'') {
            break;
        }
        doubled = true;
        at += 2;
    }
    bytes.get(at)?;
    let inside = &text[start + 1..at];
    let literal = match doubled {
        true => Cow::Owned(inside.replace("''", "'")),
        false => Cow::Borrowed(inside),
    };
    Some((literal, at + 1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dialect::KsqlDialect;
    use crate::parser::lexer::tokens;
    use datafusion::sql::sqlparser::tokenizer::Token;

    fn number(text: &str) -> Literal<'_> {
        Literal::Number(text)
    }

    fn text(text: &str) -> Literal<'_> {
        Literal::Text(text.into())
    }

    #[test]
    fn literals_are_taken_out() {
        let check = |statement: &str, shape: &str, literals: &[Literal<'_>]| {
            let found = Shape::of(statement).unwrap();
            assert_eq!((found.text(), found.literals()), (shape, literals));
        };
        check(
            "SELECT a1, b FROM v WHERE k = -12;",
            "SELECT a1, b FROM v WHERE k = -#;",
            &[number("12")],
        );
        check(
            "WHERE `1 'k'` = 'x' AND \"#\"='it''s' AND c=''",
            "WHERE `1 'k'` = ' AND \"#\"=' AND c='",
            &[text("x"), text("it's"), text("")],
        );
        check("'''' , '''a'''", "' , '", &[text("'"), text("'a'")]);
        check("'é;--' 'ü'", "' '", &[text("é;--"), text("ü")]);
    }

    #[test]
    fn what_it_does_not_know_has_no_shape() {
        for text in [
            "k = 1e5",
            "k = 1.5",
            "k = .5",
            "k = 1_000",
            "k = 0x1F",
            "1a = 1",
            "k = 'a",
            "k = 'a''",
            "`k = 1",
            "k = \"a",
            "v.k = 1",
            "k = 1 -- c",
            "k = --1",
            "k = 1 /* c */",
            "k IN (1)",
            "k = N'a'",
            "k = 'a'b",
            "k = 'a'1",
            "\"a\"\"b\" = 1",
            "k = $1",
            "k = ?",
            "k > 1",
            "é = 1",
            "k = 1\u{a0}",
            "k@ = 1",
            "k = \\",
        ] {
            assert_eq!(Shape::of(text), None, "{text}");
        }
        assert_eq!(Shape::of(&" ".repeat(TEXT_BYTES_MAX + 1)), None);
    }

    /// Tokens, the literals' contents left out and beside.
    fn tokenized(text: &str) -> Option<(Vec<Token>, Vec<String>)> {
        let mut literals = Vec::new();
        let mut rest = Vec::new();
        for token in tokens(&KsqlDialect::default(), text).ok()? {
            rest.push(match token.token {
                Token::Number(number, _) => {
                    literals.push(number);
                    Token::Number(String::new(), false)
                }
                Token::SingleQuotedString(text) => {
                    literals.push(text);
                    Token::SingleQuotedString(String::new())
                }
                other => other,
            });
        }
        Some((rest, literals))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        /// The tokenizer finds the same literals, and the same tokens around others.
        #[test]
        fn texts_of_one_shape_are_the_same_tokens(
            pieces in proptest::collection::vec(
                proptest::sample::select(vec![
                    "'", "''", "'a'", "\"", "`", "\"a\"", "`b`", "1", "23", "-", "--", " ", "\n", ";",
                    "=", ",", "a", "E", "N", "x", "_", ".", "/*", "*/", "\\", "é", "#", "$", "@",
                    "k = 1", "k = 'x'", " AND ",
                ]),
                0..12,
            ),
        ) {
            let statement = pieces.concat();
            if let Some(shape) = Shape::of(&statement) {
                let (rest, literals) = tokenized(&statement).unwrap();
                let found: Vec<String> = shape.literals.iter().map(|literal| match literal {
                    Literal::Number(text) => (*text).to_owned(),
                    Literal::Text(text) => text.clone().into_owned(),
                }).collect();
                prop_assert_eq!(&found, &literals);
                // Other literals in the same places.
                let mut other = String::new();
                let mut quote = None;
                for c in shape.text().chars() {
                    match (quote, c) {
                        (None, NUMBER) => other.push_str("987"),
                        (None, TEXT) => other.push_str("'o''ther; -- \"'"),
                        (None, '"' | '`') => { quote = Some(c); other.push(c) }
                        (Some(open), c) => { if open == c { quote = None } other.push(c) }
                        (None, c) => other.push(c),
                    }
                }
                let again = Shape::of(&other).unwrap();
                prop_assert_eq!(again.text(), shape.text());
                prop_assert_eq!(tokenized(&other).unwrap().0, rest);
            }
        }
    }
}
