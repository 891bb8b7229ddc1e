//! JSON as a tree over the text it was read from: numbers keep their digits, and fields their order.

use std::borrow::Cow;
use std::fmt::{self, Write};
use std::iter::Peekable;
use std::str::CharIndices;

/// How deep arrays and objects may be nested.
const DEPTH_MAX: usize = 512;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node<'a> {
    Null,
    Bool(bool),
    Number(&'a str),
    String(Cow<'a, str>),
    Array(Vec<Node<'a>>),
    Object(Vec<(Cow<'a, str>, Node<'a>)>),
}

impl<'a> Node<'a> {
    /// Reads the first value of a text; what stands behind it does not matter, as in ksqlDB.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        Reader {
            text,
            chars: text.char_indices().peekable(),
        }
        .value(DEPTH_MAX)
    }

    /// The field of that name.
    pub(super) fn field(&self, name: &str) -> Option<&Self> {
        let Self::Object(fields) = self else {
            return None;
        };
        fields
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value)
    }
}

impl fmt::Display for Node<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Number(digits) => f.write_str(digits),
            Self::String(text) => write_string(f, text),
            Self::Array(items) => {
                f.write_char('[')?;
                for (index, item) in items.iter().enumerate() {
                    let comma = if index == 0 { "" } else { "," };
                    write!(f, "{comma}{item}")?;
                }
                f.write_char(']')
            }
            Self::Object(fields) => {
                f.write_char('{')?;
                for (index, (name, value)) in fields.iter().enumerate() {
                    f.write_str(if index == 0 { "" } else { "," })?;
                    write_string(f, name)?;
                    write!(f, ":{value}")?;
                }
                f.write_char('}')
            }
        }
    }
}

/// Writes a text in quotes.
pub(super) fn write_string(f: &mut impl Write, text: &str) -> fmt::Result {
    f.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            '\u{8}' => f.write_str("\\b")?,
            '\u{c}' => f.write_str("\\f")?,
            c if c < ' ' => write!(f, "\\u{:04X}", u32::from(c))?,
            c => f.write_char(c)?,
        }
    }
    f.write_char('"')
}

struct Reader<'a> {
    text: &'a str,
    chars: Peekable<CharIndices<'a>>,
}

impl<'a> Reader<'a> {
    fn peek(&mut self) -> Option<char> {
        self.chars.peek().map(|(_, c)| *c)
    }

    fn at(&mut self) -> usize {
        self.chars.peek().map_or(self.text.len(), |(at, _)| *at)
    }

    fn skip_space(&mut self) {
        while self
            .chars
            .next_if(|(_, c)| matches!(c, ' ' | '\t' | '\n' | '\r'))
            .is_some()
        {}
    }

    fn eat(&mut self, wanted: char) -> bool {
        self.chars.next_if(|(_, c)| *c == wanted).is_some()
    }

    fn value(&mut self, depth: usize) -> Option<Node<'a>> {
        let depth = depth.checked_sub(1)?;
        self.skip_space();
        match self.peek()? {
            '{' => self.object(depth),
            '[' => self.array(depth),
            '"' => self.string().map(Node::String),
            'n' => self.word("null").map(|()| Node::Null),
            't' => self.word("true").map(|()| Node::Bool(true)),
            'f' => self.word("false").map(|()| Node::Bool(false)),
            _ => self.number(),
        }
    }

    fn word(&mut self, word: &str) -> Option<()> {
        word.chars().all(|c| self.eat(c)).then_some(())
    }

    fn digits(&mut self) -> Option<()> {
        self.chars.next_if(|(_, c)| c.is_ascii_digit())?;
        while self.chars.next_if(|(_, c)| c.is_ascii_digit()).is_some() {}
        Some(())
    }

    fn number(&mut self) -> Option<Node<'a>> {
        let start = self.at();
        self.eat('-');
        let leading_zero = self.peek() == Some('0');
        let whole = self.at();
        self.digits()?;
        if leading_zero && self.at() > whole + 1 {
            return None;
        }
        if self.eat('.') {
            self.digits()?;
        }
        if self.eat('e') || self.eat('E') {
            let _signed = self.eat('+') || self.eat('-');
            self.digits()?;
        }
        let end = self.at();
        Some(Node::Number(&self.text[start..end]))
    }

    fn string(&mut self) -> Option<Cow<'a, str>> {
        if !self.eat('"') {
            return None;
        }
        let start = self.at();
        let mut owned: Option<String> = None;
        loop {
            let (at, c) = self.chars.next()?;
            match c {
                '"' => {
                    let plain = &self.text[start..at];
                    return Some(owned.map_or(Cow::Borrowed(plain), Cow::Owned));
                }
                '\\' => {
                    let out = owned.get_or_insert_with(|| self.text[start..at].to_owned());
                    match self.chars.next()?.1 {
                        'n' => out.push('\n'),
                        't' => out.push('\t'),
                        'r' => out.push('\r'),
                        'b' => out.push('\u{8}'),
                        'f' => out.push('\u{c}'),
                        'u' => {
                            let unit = code_unit(&mut self.chars)?;
                            let low = match unit {
                                0xd800..0xdc00 => {
                                    let escape = [self.chars.next()?.1, self.chars.next()?.1];
                                    (escape == ['\\', 'u']).then_some(())?;
                                    Some(code_unit(&mut self.chars)?)
                                }
                                _ => None,
                            };
                            let units = std::iter::once(unit).chain(low);
                            for c in char::decode_utf16(units) {
                                out.push(c.unwrap_or(char::REPLACEMENT_CHARACTER));
                            }
                        }
                        c @ ('"' | '\\' | '/') => out.push(c),
                        _ => return None,
                    }
                }
                c if c < ' ' => return None,
                c => {
                    if let Some(out) = &mut owned {
                        out.push(c);
                    }
                }
            }
        }
    }

    fn array(&mut self, depth: usize) -> Option<Node<'a>> {
        self.eat('[');
        let mut items = Vec::new();
        self.skip_space();
        if self.eat(']') {
            return Some(Node::Array(items));
        }
        loop {
            items.push(self.value(depth)?);
            self.skip_space();
            if self.eat(']') {
                return Some(Node::Array(items));
            }
            self.eat(',').then_some(())?;
        }
    }

    fn object(&mut self, depth: usize) -> Option<Node<'a>> {
        self.eat('{');
        let mut fields: Vec<(Cow<'a, str>, Node<'a>)> = Vec::new();
        self.skip_space();
        if self.eat('}') {
            return Some(Node::Object(fields));
        }
        loop {
            self.skip_space();
            let name = self.string()?;
            self.skip_space();
            self.eat(':').then_some(())?;
            let value = self.value(depth)?;
            match fields.iter_mut().find(|(known, _)| *known == name) {
                Some(field) => field.1 = value,
                None => fields.push((name, value)),
            }
            self.skip_space();
            if self.eat('}') {
                return Some(Node::Object(fields));
            }
            self.eat(',').then_some(())?;
        }
    }
}

/// Four hexadecimal digits.
fn code_unit(chars: &mut Peekable<CharIndices<'_>>) -> Option<u16> {
    let mut unit = 0;
    for _ in 0..4 {
        unit = unit * 16 + chars.next()?.1.to_digit(16)?;
    }
    u16::try_from(unit).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_keeps_its_digits_and_order() {
        let node =
            Node::parse(r#" {"b": [1.23450, -2e3, "x\u00e9\n"], "a": {"c": null}} }"#).unwrap();
        assert_eq!(
            node.to_string(),
            r#"{"b":[1.23450,-2e3,"xé\n"],"a":{"c":null}}"#
        );
        assert_eq!(node.field("a").unwrap().field("c"), Some(&Node::Null));
    }

    #[test]
    fn what_is_no_json_is_none() {
        for text in ["", "abc", "{\"a\"}", "[1,", "\"a", "01", "nul"] {
            assert_eq!(Node::parse(text), None, "{text}");
        }
    }
}
