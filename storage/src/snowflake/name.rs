//! Names of Snowflake's objects. What is not quoted is upper case, as Snowflake reads it; what is
//! sent is always quoted.

use std::fmt;

use crate::{Error, Result};

/// The name of a table or stage: database, schema and its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ObjectName {
    pub(crate) database: String,
    pub(crate) schema: String,
    pub(crate) name: String,
}

impl ObjectName {
    /// Reads `[[database.]schema.]name`; what is missing is taken from the arguments.
    pub(crate) fn parse(what: &str, text: &str, database: &str, schema: &str) -> Result<Self> {
        let mut parts = split(what, text)?;
        let wrong = || Error::User(format!("{what} '{text}' is not [[database.]schema.]name"));
        let name = parts.pop().ok_or_else(wrong)?;
        let schema = parts.pop().unwrap_or_else(|| schema.to_owned());
        let database = parts.pop().unwrap_or_else(|| database.to_owned());
        match parts.is_empty() {
            true => Ok(Self {
                database,
                schema,
                name,
            }),
            false => Err(wrong()),
        }
    }

    /// Another object in the same schema.
    pub(crate) fn beside(&self, name: impl Into<String>) -> Self {
        Self {
            database: self.database.clone(),
            schema: self.schema.clone(),
            name: name.into(),
        }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            database,
            schema,
            name,
        } = self;
        write!(f, "{}.{}.{}", quote(database), quote(schema), quote(name))
    }
}

/// `"name"`, its quotes doubled.
pub(crate) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `'text'` as a literal: its quotes doubled, its backslashes too.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// One name as a user writes it: upper case unless quoted.
pub(crate) fn parse_one(what: &str, text: &str) -> Result<String> {
    match split(what, text)?.as_slice() {
        [name] => Ok(name.clone()),
        _ => Err(Error::User(format!("{what} '{text}' is not one name"))),
    }
}

/// The names between the dots.
fn split(what: &str, text: &str) -> Result<Vec<String>> {
    let wrong = || Error::User(format!("{what} '{text}' is not a name of Snowflake's"));
    let mut parts = Vec::new();
    let mut rest = text.trim();
    loop {
        let part;
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut name = String::new();
            let mut chars = quoted.char_indices().peekable();
            let end = loop {
                match chars.next().ok_or_else(wrong)? {
                    (_, '"') if chars.peek().is_some_and(|(_, next)| *next == '"') => {
                        chars.next();
                        name.push('"');
                    }
                    (at, '"') => break at + 1,
                    (_, other) => name.push(other),
                }
            };
            part = name;
            rest = &quoted[end..];
        } else {
            let end = rest.find('.').unwrap_or(rest.len());
            let valid = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
            if !rest[..end].chars().all(valid) {
                return Err(wrong());
            }
            part = rest[..end].to_uppercase();
            rest = &rest[end..];
        }
        if part.is_empty() {
            return Err(wrong());
        }
        parts.push(part);
        match rest.strip_prefix('.') {
            Some(next) => rest = next,
            None if rest.is_empty() => return Ok(parts),
            None => return Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_folded_unless_quoted() {
        let parse = |text| {
            ObjectName::parse("TABLE", text, "DB", "S")
                .unwrap()
                .to_string()
        };
        assert_eq!(parse("clicks"), r#""DB"."S"."CLICKS""#);
        assert_eq!(parse("raw.clicks"), r#""DB"."RAW"."CLICKS""#);
        assert_eq!(parse(r#"lake."Raw"."a.""b""#), r#""LAKE"."Raw"."a.""b""#);
        for wrong in [
            "", ".", "a..b", "a.b.c.d", "a b", "\"a", "\"\"", "a;b", "\"a\"b",
        ] {
            assert!(
                ObjectName::parse("TABLE", wrong, "DB", "S").is_err(),
                "{wrong}"
            );
        }
    }

    #[test]
    fn text_cannot_leave_its_quotes() {
        assert_eq!(quote("a\"b"), "\"a\"\"b\"");
        assert_eq!(literal(r"it's \ here"), r"'it''s \\ here'");
    }
}
