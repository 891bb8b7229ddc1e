//! Text on a terminal: its width in columns, and what must not reach it.
//!
//! Data may hold anything. Control characters could move the cursor, recolour the screen or feed
//! keys to the shell, and characters that turn the writing direction around could make a row read
//! as another; all of them are shown as escapes.

use std::borrow::Cow;
use std::fmt::Write;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Shows that something was cut off.
const ELLIPSIS: char = '…';

/// Columns a text takes. It must have been escaped.
pub(crate) fn width(text: &str) -> usize {
    if text.is_ascii() {
        text.len()
    } else {
        text.width()
    }
}

/// The text with everything escaped that is no visible character: for one line.
pub(crate) fn escape(text: &str) -> Cow<'_, str> {
    escape_but(text, |_| false)
}

/// The same, but line feeds stay.
pub(crate) fn escape_lines(text: &str) -> Cow<'_, str> {
    let text = if text.contains("\r\n") {
        Cow::Owned(text.replace("\r\n", "\n"))
    } else {
        Cow::Borrowed(text)
    };
    match text {
        Cow::Borrowed(text) => escape_but(text, |c| c == '\n'),
        Cow::Owned(text) => Cow::Owned(escape_but(&text, |c| c == '\n').into_owned()),
    }
}

fn escape_but(text: &str, keep: impl Fn(char) -> bool) -> Cow<'_, str> {
    let escaped = |c: char| is_unsafe(c) && !keep(c);
    if !text.contains(escaped) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            c if !escaped(c) => out.push(c),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if u32::from(c) < 0x100 => {
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            c => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
        }
    }
    Cow::Owned(out)
}

fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            // Line and paragraph separators; marks, embeddings, overrides and isolates of
            // bidirectional text; the byte order mark.
            '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// The text's beginning, with `…` if something is missing, in no more than `columns`.
pub(crate) fn cut(text: &str, columns: usize) -> Cow<'_, str> {
    if width(text) <= columns {
        return Cow::Borrowed(text);
    }
    let Some(room) = columns.checked_sub(1) else {
        return Cow::Borrowed("");
    };
    let mut kept = text[..prefix(text, room)].to_owned();
    kept.push(ELLIPSIS);
    Cow::Owned(kept)
}

/// Bytes of the longest prefix of no more than `columns`.
fn prefix(text: &str, columns: usize) -> usize {
    let mut used = 0;
    for (at, c) in text.char_indices() {
        used += c.width().unwrap_or(0);
        if used > columns {
            return at;
        }
    }
    text.len()
}

/// The text in lines of no more than `columns`, broken at blanks where there are some. The last of
/// `lines_max` ends in `…` if something is missing.
pub(crate) fn wrap(text: &str, columns: usize, lines_max: usize) -> Vec<String> {
    let columns = columns.max(2);
    let mut lines = Vec::new();
    for paragraph in text.split('\n') {
        let mut rest = paragraph;
        loop {
            if width(rest) <= columns {
                lines.push(rest.to_owned());
                break;
            }
            let mut end = prefix(rest, columns);
            if end == 0 {
                // Wider than the column by itself; it must go somewhere.
                end = rest.chars().next().map_or(rest.len(), char::len_utf8);
            }
            // A word longer than half the column is broken: a ragged table reads worse.
            let blank = match rest[end..].chars().next() {
                Some(' ') => Some(end),
                _ => rest[..end].rfind(' ').filter(|at| *at > end / 2),
            };
            let (line, next) = match blank {
                Some(at) => (&rest[..at], rest[at..].trim_start_matches(' ')),
                None => rest.split_at(end),
            };
            lines.push(line.to_owned());
            if lines.len() > lines_max {
                break;
            }
            rest = next;
        }
        if lines.len() > lines_max {
            break;
        }
    }
    if lines.len() > lines_max {
        lines.truncate(lines_max);
        if let Some(last) = lines.last_mut() {
            *last = cut(&format!("{last}{ELLIPSIS}"), columns).into_owned();
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reaches_the_terminal_but_characters() {
        assert_eq!(
            escape("a\u{1b}[31mb\u{9b}0m\r\n\t\0\u{7f}"),
            "a\\x1b[31mb\\x9b0m\\r\\n\\t\\x00\\x7f"
        );
        assert_eq!(escape("\u{202e}abc\u{2066}"), "\\u{202e}abc\\u{2066}");
        assert_eq!(escape_lines("a\r\nb\n\tc"), "a\nb\n\\tc");
        assert!(matches!(escape("plain é 日本 👩‍👩‍👧"), Cow::Borrowed(_)));
    }

    #[test]
    fn wide_and_combining_characters_are_measured() {
        for (text, columns) in [("abc", 3), ("日本", 4), ("e\u{301}", 1), ("", 0), ("ｗ", 2)] {
            assert_eq!(width(text), columns, "{text}");
        }
    }

    #[test]
    fn a_cut_shows() {
        for (text, columns, shown) in [
            ("abcdef", 6, "abcdef"),
            ("abcdef", 5, "abcd…"),
            ("日本語", 5, "日本…"),
            ("日本語", 4, "日…"),
            ("e\u{301}e\u{301}e\u{301}", 2, "e\u{301}…"),
            ("abc", 1, "…"),
            ("abc", 0, ""),
        ] {
            assert_eq!(cut(text, columns), shown, "{text} in {columns}");
        }
    }

    #[test]
    fn long_text_is_wrapped() {
        let wrapped = |text, columns, lines| wrap(text, columns, lines).join("|");
        assert_eq!(wrapped("the quick brown fox", 10, 9), "the quick|brown fox");
        assert_eq!(wrapped("abcdefghijkl", 5, 9), "abcde|fghij|kl");
        assert_eq!(wrapped("a bcdefghijkl", 5, 9), "a bcd|efghi|jkl");
        assert_eq!(wrapped("a\nb\n", 5, 9), "a|b|");
        assert_eq!(wrapped("日本語日本語", 5, 9), "日本|語日|本語");
        assert_eq!(wrapped("abcdefghijkl", 5, 2), "abcde|fghi…");
        assert_eq!(wrapped("a\nb\nc", 5, 2), "a|b…");
        assert_eq!(wrapped("", 5, 2), "");
    }
}
