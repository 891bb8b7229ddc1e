//! A line of text, value by value.

use std::borrow::Cow;

use memchr::{memchr, memchr2, memchr3, memmem};

/// A line being read.
#[derive(Debug)]
pub(super) struct Line<'a> {
    text: &'a [u8],
    at: usize,
    delimiter: ([u8; 4], usize),
    /// Whether the last value has been read.
    done: bool,
}

/// A value of a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Value<'a> {
    pub(super) text: Cow<'a, [u8]>,
    /// Where it stands in the line, if it is borrowed.
    pub(super) at: usize,
    pub(super) quoted: bool,
}

impl<'a> Line<'a> {
    pub(super) fn new(text: &'a [u8], delimiter: char) -> Self {
        let mut bytes = [0; 4];
        let len = delimiter.encode_utf8(&mut bytes).len();
        let at = skip_line_ends(text, 0);
        Self {
            text,
            at,
            delimiter: (bytes, len),
            done: at == text.len(),
        }
    }

    /// Whether there is no text but line ends.
    pub(super) fn is_empty(&self) -> bool {
        self.at == self.text.len()
    }

    /// The next value, `None` after the last, or the reason why this is no line.
    pub(super) fn next_value(&mut self) -> Result<Option<Value<'a>>, String> {
        if self.done {
            return Ok(None);
        }
        let value = if self.text.get(self.at) == Some(&b'"') {
            self.quoted()?
        } else {
            self.plain()
        };
        // Here is a delimiter, a line end, or the end.
        if self.is_delimiter() {
            self.at += self.delimiter.1;
        } else {
            self.done = true;
            let end = skip_line_ends(self.text, self.at);
            if end < self.text.len() {
                return Err(format!("expected one line, found another at byte {end}"));
            }
        }
        Ok(Some(value))
    }

    #[inline]
    fn is_delimiter(&self) -> bool {
        let (bytes, len) = &self.delimiter;
        self.text[self.at..].starts_with(&bytes[..*len])
    }

    fn plain(&mut self) -> Value<'a> {
        let start = self.at;
        let rest = &self.text[start..];
        let (bytes, len) = &self.delimiter;
        let end = if *len == 1 {
            memchr3(bytes[0], b'\r', b'\n', rest)
        } else {
            let line_end = memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
            memmem::find(&rest[..line_end], &bytes[..*len])
                .or((line_end < rest.len()).then_some(line_end))
        };
        self.at = start + end.unwrap_or(rest.len());
        Value {
            text: Cow::Borrowed(&self.text[start..self.at]),
            at: start,
            quoted: false,
        }
    }

    fn quoted(&mut self) -> Result<Value<'a>, String> {
        let opening = self.at;
        let start = opening + 1;
        let mut unquoted: Option<Vec<u8>> = None;
        let mut from = start;
        let end = loop {
            let Some(quote) = memchr(b'"', &self.text[from..]).map(|quote| from + quote) else {
                return Err(format!(
                    "malformed line: the quote at byte {opening} is never closed"
                ));
            };
            if self.text.get(quote + 1) != Some(&b'"') {
                break quote;
            }
            // Two quotes are one in the value.
            unquoted
                .get_or_insert_default()
                .extend_from_slice(&self.text[from..=quote]);
            from = quote + 2;
        };
        let text = match unquoted {
            Some(mut text) => {
                text.extend_from_slice(&self.text[from..end]);
                Cow::Owned(text)
            }
            None => Cow::Borrowed(&self.text[start..end]),
        };
        self.at = end + 1;
        while !self.is_delimiter() {
            match self.text.get(self.at) {
                None | Some(b'\r' | b'\n') => break,
                Some(byte) if byte.is_ascii_whitespace() => self.at += 1,
                Some(_) => {
                    return Err(format!(
                        "malformed line at byte {}: expected a delimiter after the closing quote",
                        self.at
                    ));
                }
            }
        }
        Ok(Value {
            text,
            at: start,
            quoted: true,
        })
    }
}

fn skip_line_ends(text: &[u8], mut at: usize) -> usize {
    while matches!(text.get(at), Some(b'\r' | b'\n')) {
        at += 1;
    }
    at
}
