//! Names of tables and columns, and how they are quoted.

use std::fmt;

use crate::{Error, Result};

/// Postgres cuts longer names without a word.
const NAME_BYTES_MAX: usize = 63;

/// A table's name, with its schema if it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) schema: Option<String>,
    pub(super) name: String,
}

impl Table {
    /// `table` or `schema.table`. As in Postgres a part in double quotes is kept as it is, and any
    /// other in lower case.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let wrong = || {
            Error::User(format!(
                "TABLE '{text}' is no table's name: write table, schema.table or \"Table\""
            ))
        };
        let mut parts = vec![String::new()];
        let mut chars = text.chars().peekable();
        let (mut quoted, mut closed) = (false, false);
        while let Some(char) = chars.next() {
            let part = parts.last_mut().ok_or_else(wrong)?;
            match char {
                '"' if quoted && chars.peek() == Some(&'"') => {
                    chars.next();
                    part.push('"');
                }
                '"' if quoted => (quoted, closed) = (false, true),
                '"' if part.is_empty() && !closed => quoted = true,
                _ if quoted => part.push(char),
                '.' => {
                    parts.push(String::new());
                    closed = false;
                }
                '"' => return Err(wrong()),
                _ if closed || char.is_whitespace() => return Err(wrong()),
                _ => part.extend(char.to_lowercase()),
            }
        }
        if quoted {
            return Err(wrong());
        }
        for part in &parts {
            check(part)?;
        }
        let mut parts = parts.into_iter().rev();
        match (parts.next(), parts.next(), parts.next()) {
            (Some(name), schema, None) => Ok(Self { schema, name }),
            _ => Err(wrong()),
        }
    }

    /// The table of a sink for which none was named.
    pub(super) fn of_sink(sink: &str) -> Result<Self> {
        let name = sink.to_lowercase();
        check(&name)?;
        Ok(Self { schema: None, name })
    }

    /// Another table beside this one.
    pub(super) fn beside(&self, name: &str) -> Self {
        Self {
            schema: self.schema.clone(),
            name: name.to_owned(),
        }
    }
}

/// Quoted, for SQL.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(schema) = &self.schema {
            write!(f, "{}.", quoted(schema))?;
        }
        f.write_str(&quoted(&self.name))
    }
}

/// A column's name in Postgres.
pub(super) fn column(name: &str, keep_case: bool) -> Result<String> {
    let name = match keep_case {
        true => name.to_owned(),
        false => name.to_lowercase(),
    };
    check(&name)?;
    Ok(name)
}

fn check(name: &str) -> Result<()> {
    if name.is_empty() || name.contains('\0') || name.len() > NAME_BYTES_MAX {
        return Err(Error::User(format!(
            "\"{name}\" cannot be a name in Postgres: it needs 1 to {NAME_BYTES_MAX} bytes, none of \
             them zero; name it otherwise (AS)"
        )));
    }
    Ok(())
}

/// In double quotes, for SQL.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Several, quoted, with commas, each after `prefix`.
pub(super) fn list<'a>(names: impl IntoIterator<Item = &'a String>, prefix: &str) -> String {
    let names = names
        .into_iter()
        .map(|name| format!("{prefix}{}", quoted(name)));
    names.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_as_postgres_does() {
        let of = |text: &str| Table::parse(text).map(|table| table.to_string());
        assert_eq!(of("Orders").unwrap(), "\"orders\"");
        assert_eq!(of("Sales.Orders").unwrap(), "\"sales\".\"orders\"");
        assert_eq!(
            of("\"Sa.les\".\"Or\"\"ders\"").unwrap(),
            "\"Sa.les\".\"Or\"\"ders\""
        );
        let long = "x".repeat(64);
        for wrong in [
            "", "a.", ".a", "a.b.c", "a b", "\"a", "\"a\"b", "a\"b\"", "\"\"", &long,
        ] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }
}
