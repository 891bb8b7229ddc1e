//! The WITH clause: names and literals, and getters that explain themselves when a value is not
//! what is wanted. Which properties exist is the planner's knowledge ([`Properties::unknown`]).

use std::fmt;

use super::Span;
use crate::error::{Error, Result};
use crate::parser::parse_duration_ms;

/// `WITH (NAME = literal, …)` in the order written; every name at most once.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Properties(Vec<Property>);

/// One `NAME = literal`.
#[derive(Debug, Clone, PartialEq)]
pub struct Property {
    /// Its name, upper-case.
    pub name: String,
    /// Its value.
    pub value: Literal,
    /// Where the name was written.
    pub name_span: Span,
    /// Where the value was written.
    pub value_span: Span,
}

/// A value in a WITH clause.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    /// A number with a fraction or exponent, as written.
    Number(String),
    String(String),
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("NULL"),
            Self::Bool(value) => f.write_str(if *value { "true" } else { "false" }),
            Self::Int(value) => write!(f, "{value}"),
            Self::Number(text) => f.write_str(text),
            Self::String(text) => write!(f, "'{}'", text.replace('\'', "''")),
        }
    }
}

impl Literal {
    /// The value as bare text: a string without its quotes.
    pub fn text(&self) -> String {
        match self {
            Self::String(text) => text.clone(),
            other => other.to_string(),
        }
    }
}

impl Properties {
    /// Gives a property another value, if it is there.
    pub fn replace(&mut self, name: &str, value: &str) {
        if let Some(property) = self.0.iter_mut().find(|property| property.name == name) {
            property.value = Literal::String(value.to_owned());
        }
    }

    /// Adds a property at the end. It is an error to give one twice.
    pub fn push(&mut self, property: Property) -> Result<()> {
        if self.get(&property.name).is_some() {
            let twice = format!("the property {} is given twice", property.name);
            return Err(Error::invalid(twice).at(property.name_span));
        }
        self.0.push(property);
        Ok(())
    }

    /// All of them, in the order written.
    pub fn iter(&self) -> impl Iterator<Item = &Property> {
        self.0.iter()
    }

    /// Whether the clause is empty or missing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The property of that (upper-case) name.
    pub fn get(&self, name: &str) -> Option<&Property> {
        self.0.iter().find(|property| property.name == name)
    }

    /// The first property that is none of `allowed`, as an error with the likely one as a hint.
    pub fn unknown(&self, allowed: &[&str]) -> Option<Error> {
        let stray = self
            .0
            .iter()
            .find(|property| !allowed.contains(&property.name.as_str()))?;
        Some(
            Error::unknown(format!("the property {} does not exist here", stray.name))
                .at(stray.name_span)
                .did_you_mean(&stray.name, allowed.iter().copied()),
        )
    }

    /// A string.
    pub fn string(&self, name: &str) -> Result<Option<&str>> {
        let Some(property) = self.get(name) else {
            return Ok(None);
        };
        match &property.value {
            Literal::String(text) => Ok(Some(text)),
            other => Err(property.wrong("a string").hint(format!("write '{other}'"))),
        }
    }

    /// A string that must be there.
    pub fn required_string(&self, name: &str) -> Result<&str> {
        self.string(name)?.ok_or_else(|| {
            Error::invalid(format!("the property {name} is missing"))
                .hint(format!("add WITH ({name} = '…')"))
        })
    }

    /// A whole number, possibly as a string.
    pub fn int(&self, name: &str) -> Result<Option<i64>> {
        let Some(property) = self.get(name) else {
            return Ok(None);
        };
        match &property.value {
            Literal::Int(value) => Ok(Some(*value)),
            Literal::String(text) => match text.trim().parse() {
                Ok(value) => Ok(Some(value)),
                Err(_) => Err(property.wrong("a whole number")),
            },
            _ => Err(property.wrong("a whole number")),
        }
    }

    /// A whole number within limits, which are part of the error otherwise.
    pub fn int_between(&self, name: &str, least: i64, most: i64) -> Result<Option<i64>> {
        let value = self.int(name)?;
        match (value, self.get(name)) {
            (Some(value), Some(property)) if !(least..=most).contains(&value) => {
                let limits = if most == i64::MAX {
                    format!("at least {least}")
                } else {
                    format!("between {least} and {most}")
                };
                Err(property.error(format!("the property {name} must be {limits}, not {value}")))
            }
            _ => Ok(value),
        }
    }

    /// True or false, possibly as a string.
    pub fn bool(&self, name: &str) -> Result<Option<bool>> {
        let Some(property) = self.get(name) else {
            return Ok(None);
        };
        match &property.value {
            Literal::Bool(value) => Ok(Some(*value)),
            Literal::String(text) if text.eq_ignore_ascii_case("true") => Ok(Some(true)),
            Literal::String(text) if text.eq_ignore_ascii_case("false") => Ok(Some(false)),
            _ => Err(property.wrong("true or false")),
        }
    }

    /// A span of time such as `'30 SECONDS'`, in milliseconds.
    pub fn duration_ms(&self, name: &str) -> Result<Option<i64>> {
        let Some(text) = self.string(name)? else {
            return Ok(None);
        };
        match (parse_duration_ms(text), self.get(name)) {
            (None, Some(property)) => Err(property.wrong("a span of time such as '30 SECONDS'")),
            (parsed, _) => Ok(parsed),
        }
    }

    /// One of a list of words, whatever its case; the word as it is in `words`.
    pub fn one_of<'w>(&self, name: &str, words: &[&'w str]) -> Result<Option<&'w str>> {
        let Some(text) = self.string(name)? else {
            return Ok(None);
        };
        match (
            words.iter().find(|word| word.eq_ignore_ascii_case(text)),
            self.get(name),
        ) {
            (None, Some(property)) => Err(property
                .wrong(&format!("one of {}", words.join(", ")))
                .did_you_mean(text, words.iter().copied())),
            (word, _) => Ok(word.copied()),
        }
    }
}

impl Property {
    /// An error about the value.
    pub fn error(&self, message: impl Into<String>) -> Error {
        Error::invalid(message).at(self.value_span)
    }

    fn wrong(&self, wanted: &str) -> Error {
        self.error(format!(
            "the property {} must be {wanted}, not {}",
            self.name, self.value
        ))
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn properties(given: &[(&str, Literal)]) -> Properties {
        let mut all = Properties::default();
        for (name, value) in given {
            let property = Property {
                name: (*name).into(),
                value: value.clone(),
                name_span: Span::empty(),
                value_span: Span::empty(),
            };
            all.push(property).unwrap();
        }
        all
    }

    fn text(text: &str) -> Literal {
        Literal::String(text.into())
    }

    fn check<T>(result: Result<T>, out: Expect) {
        out.assert_eq(
            &result
                .err()
                .map(|error| error.to_string())
                .unwrap_or_default(),
        );
    }

    #[test]
    fn getters_take_what_fits() {
        let all = properties(&[
            ("A", text("x")),
            ("B", Literal::Int(4)),
            ("C", text(" 5 ")),
            ("D", text("TRUE")),
            ("E", text("90 minutes")),
            ("F", text("json")),
        ]);
        assert_eq!(all.string("A"), Ok(Some("x")));
        assert_eq!(all.string("Z"), Ok(None));
        assert_eq!(all.int("B"), Ok(Some(4)));
        assert_eq!(all.int("C"), Ok(Some(5)));
        assert_eq!(all.bool("D"), Ok(Some(true)));
        assert_eq!(all.duration_ms("E"), Ok(Some(5_400_000)));
        assert_eq!(all.one_of("F", &["JSON", "CSV"]), Ok(Some("JSON")));
        assert_eq!(all.unknown(&["A", "B", "C", "D", "E", "F"]), None);
    }

    #[test]
    fn getters_say_what_does_not_fit() {
        let all = properties(&[
            ("A", text("four")),
            ("B", Literal::Int(0)),
            ("C", text("JSN")),
        ]);
        check(
            all.string("B"),
            expect!["the property B must be a string, not 0 (write '0')"],
        );
        check(
            all.int("A"),
            expect!["the property A must be a whole number, not 'four'"],
        );
        check(
            all.int_between("B", 1, 100),
            expect!["the property B must be between 1 and 100, not 0"],
        );
        check(
            all.int_between("B", 1, i64::MAX),
            expect!["the property B must be at least 1, not 0"],
        );
        check(
            all.bool("A"),
            expect!["the property A must be true or false, not 'four'"],
        );
        check(
            all.duration_ms("A"),
            expect!["the property A must be a span of time such as '30 SECONDS', not 'four'"],
        );
        check(
            all.one_of("C", &["CSV", "JSON"]),
            expect![[
                r#"the property C must be one of CSV, JSON, not 'JSN' (did you mean "JSON"?)"#
            ]],
        );
        check(
            all.required_string("KAFKA_TOPIC"),
            expect!["the property KAFKA_TOPIC is missing (add WITH (KAFKA_TOPIC = '…'))"],
        );
        check(
            all.unknown(&["B", "C", "AA"]).map_or(Ok(()), Err),
            expect![[r#"the property A does not exist here (did you mean "AA"?)"#]],
        );
    }
}
