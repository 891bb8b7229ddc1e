//! Secrets in CREATE SINK: kept beside the statement, never in it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use kappa_sql::ast::{Parsed, Properties, Span, Statement};
use kappa_storage::{postgres, snowflake};

/// What stands in a stored statement for a secret.
const HIDDEN: &str = "'***'";

fn is_secret(name: &str) -> bool {
    postgres::is_secret(name) || snowflake::is_secret(name)
}

fn with_clause(parsed: &Parsed) -> Option<&Properties> {
    match &parsed.statement {
        Statement::CreateSink { with, .. } => Some(with),
        _ => None,
    }
}

/// A statement's text without its secrets, and those by property.
pub(crate) fn hide(parsed: &Parsed) -> (String, BTreeMap<String, String>) {
    let mut text = parsed.text.clone();
    let mut secrets = BTreeMap::new();
    let with = with_clause(parsed).into_iter().flat_map(Properties::iter);
    let mut found: Vec<_> = with.filter(|property| is_secret(&property.name)).collect();
    // From the end, so that places before stay where they are.
    found.sort_by_key(|property| std::cmp::Reverse(property.value_span.start));
    for property in found {
        if let Some(range) = range(&text, property.value_span, (parsed.line, parsed.column)) {
            text.replace_range(range, HIDDEN);
        }
        secrets.insert(property.name.clone(), property.value.text());
    }
    (text, secrets)
}

/// A script whose statement is `parsed`, with stars over its secrets, as long as they are: places in
/// it stay right.
pub(crate) fn mask<'a>(script: &'a str, parsed: &Parsed) -> Cow<'a, str> {
    let mut masked = Cow::Borrowed(script);
    let with = with_clause(parsed).into_iter().flat_map(Properties::iter);
    for property in with.filter(|property| is_secret(&property.name)) {
        // Stars are counted in characters, as places are.
        if let Some(range) = range(&masked, property.value_span, (1, 1)) {
            let stars = "*".repeat(masked[range.clone()].chars().count());
            masked.to_mut().replace_range(range, &stars);
        }
    }
    masked
}

/// The bytes of a span in a text that begins at that line and column. Lines and columns count from 1,
/// columns in characters.
fn range(text: &str, span: Span, begin: (usize, usize)) -> Option<Range<usize>> {
    let offset = |line: u64, column: u64| {
        let down = usize::try_from(line).ok()?.checked_sub(begin.0)?;
        let first = if down == 0 { begin.1 } else { 1 };
        let right = usize::try_from(column).ok()?.checked_sub(first)?;
        let start = match down {
            0 => 0,
            _ => text.match_indices('\n').nth(down - 1)?.0 + 1,
        };
        let line = &text[start..];
        let mut places = line.char_indices().map(|(at, _)| at);
        Some(start + places.nth(right).unwrap_or(line.len()))
    };
    let start = offset(span.start.line, span.start.column)?;
    let end = offset(span.end.line, span.end.column)?;
    (start <= end).then_some(start..end)
}

/// A stored statement's properties with their secrets again.
pub(crate) fn restore(with: &mut Properties, secrets: &BTreeMap<String, String>) {
    for (name, value) in secrets {
        with.replace(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPT: &str = "-- é\n CREATE SINK s FROM t WITH (CONNECTOR = 'postgres', URL = 'postgres://a:b@c/d',\n  password = 'pässw''ord' , table = 't');";

    fn parsed() -> Parsed {
        let script = kappa_sql::parser::parse(SCRIPT).unwrap();
        script.0.into_iter().next().unwrap()
    }

    #[test]
    fn what_is_kept_has_no_secret() {
        let (text, secrets) = hide(&parsed());
        assert_eq!(
            text,
            "CREATE SINK s FROM t WITH (CONNECTOR = 'postgres', URL = '***',\n  password = '***' , \
             table = 't')"
        );
        let expected = [("PASSWORD", "pässw'ord"), ("URL", "postgres://a:b@c/d")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(secrets, BTreeMap::from(expected));
        let again = kappa_sql::parser::parse(&text).unwrap();
        let Some(Statement::CreateSink { mut with, .. }) =
            again.0.into_iter().next().map(|parsed| parsed.statement)
        else {
            panic!("{text}");
        };
        restore(&mut with, &secrets);
        assert_eq!(with.string("PASSWORD").unwrap(), Some("pässw'ord"));
    }

    #[test]
    fn what_is_shown_has_stars() {
        let masked = mask(SCRIPT, &parsed());
        assert!(
            !masked.contains("a:b") && !masked.contains("pässw"),
            "{masked}"
        );
        assert!(masked.ends_with(" , table = 't');"), "{masked}");
        assert_eq!(masked.chars().count(), SCRIPT.chars().count());
    }
}
