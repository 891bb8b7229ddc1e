//! Types and column lists as text, ours (DESCRIBE) and the cases' (`post.sources`). A reader of its
//! own, so that the engine's is not judged by itself.

use std::fmt;

/// A type of the dialect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Boolean,
    Int,
    BigInt,
    Double,
    Decimal(u32, u32),
    String,
    Bytes,
    Date,
    Time,
    Timestamp,
    Array(Box<Type>),
    Map(Box<Type>, Box<Type>),
    Struct(Vec<(String, Type)>),
}

/// Where a column is in a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Key,
    Value,
    Headers,
}

/// A column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) data_type: Type,
    pub(super) place: Place,
}

/// Reads a type.
///
/// # Errors
/// A text that is no type.
pub(super) fn parse_type(text: &str) -> Result<Type, String> {
    let mut reader = Reader::new(text);
    let found = reader.data_type()?;
    reader.end()?;
    Ok(found)
}

/// Reads `ID INT KEY, NAME STRING`.
///
/// # Errors
/// A text that is no list of columns.
pub(super) fn parse_columns(text: &str) -> Result<Vec<Column>, String> {
    let mut reader = Reader::new(text);
    let mut columns = Vec::new();
    while reader.peek().is_some() {
        let name = reader.name()?;
        let data_type = reader.data_type()?;
        let mut place = Place::Value;
        while let Some(Token::Name {
            text,
            quoted: false,
        }) = reader.peek()
        {
            match text.as_str() {
                "KEY" => place = Place::Key,
                "PRIMARY" => {}
                "HEADERS" => place = Place::Headers,
                "HEADER" => {
                    place = Place::Headers;
                    reader.at += 3;
                }
                other => return Err(format!("'{other}' after a column's type")),
            }
            reader.at += 1;
        }
        columns.push(Column {
            name,
            data_type,
            place,
        });
        if !reader.eat(',') {
            break;
        }
    }
    reader.end()?;
    Ok(columns)
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// Unquoted ones in upper case.
    Name {
        text: String,
        quoted: bool,
    },
    Sign(char),
}

struct Reader {
    text: String,
    tokens: Vec<Token>,
    at: usize,
}

impl Reader {
    fn new(text: &str) -> Self {
        let mut tokens = Vec::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            if c.is_whitespace() {
                continue;
            }
            if matches!(c, '`' | '"' | '\'') {
                let text = chars.by_ref().take_while(|next| *next != c).collect();
                tokens.push(Token::Name { text, quoted: true });
            } else if c.is_alphanumeric() || c == '_' {
                let mut text = c.to_ascii_uppercase().to_string();
                while let Some(next) = chars.next_if(|next| next.is_alphanumeric() || *next == '_')
                {
                    text.push(next.to_ascii_uppercase());
                }
                tokens.push(Token::Name {
                    text,
                    quoted: false,
                });
            } else {
                tokens.push(Token::Sign(c));
            }
        }
        Self {
            text: text.to_owned(),
            tokens,
            at: 0,
        }
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn eat(&mut self, sign: char) -> bool {
        let found = self.peek() == Some(&Token::Sign(sign));
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, sign: char) -> Result<(), String> {
        match self.eat(sign) {
            true => Ok(()),
            false => Err(format!("no '{sign}' where one must be in '{}'", self.text)),
        }
    }

    fn name(&mut self) -> Result<String, String> {
        match self.tokens.get(self.at) {
            Some(Token::Name { text, .. }) => {
                self.at += 1;
                Ok(text.clone())
            }
            _ => Err(format!("no name where one must be in '{}'", self.text)),
        }
    }

    fn number(&mut self) -> Result<u32, String> {
        let text = self.name()?;
        text.parse()
            .map_err(|_| format!("'{text}' is no number in '{}'", self.text))
    }

    fn end(&self) -> Result<(), String> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(format!("more than can be read in '{}'", self.text)),
        }
    }

    fn data_type(&mut self) -> Result<Type, String> {
        let name = self.name()?;
        Ok(match name.to_uppercase().as_str() {
            "BOOLEAN" => Type::Boolean,
            "INT" | "INTEGER" => Type::Int,
            "BIGINT" => Type::BigInt,
            "DOUBLE" => Type::Double,
            "STRING" | "VARCHAR" => {
                if self.eat('(') {
                    self.name()?;
                    self.expect(')')?;
                }
                Type::String
            }
            "BYTES" => Type::Bytes,
            "DATE" => Type::Date,
            "TIME" => Type::Time,
            "TIMESTAMP" => Type::Timestamp,
            "DECIMAL" => {
                self.expect('(')?;
                let precision = self.number()?;
                let scale = if self.eat(',') { self.number()? } else { 0 };
                self.expect(')')?;
                Type::Decimal(precision, scale)
            }
            "ARRAY" => {
                self.expect('<')?;
                let item = self.data_type()?;
                self.expect('>')?;
                Type::Array(Box::new(item))
            }
            "MAP" => {
                self.expect('<')?;
                let key = self.data_type()?;
                self.expect(',')?;
                let value = self.data_type()?;
                self.expect('>')?;
                Type::Map(Box::new(key), Box::new(value))
            }
            "STRUCT" => {
                self.expect('<')?;
                let mut fields = Vec::new();
                while !self.eat('>') {
                    if !fields.is_empty() {
                        self.expect(',')?;
                    }
                    fields.push((self.name()?, self.data_type()?));
                }
                Type::Struct(fields)
            }
            _ => return Err(format!("'{name}' is no type in '{}'", self.text)),
        })
    }
}

/// As ksqlDB prints types.
impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean => f.write_str("BOOLEAN"),
            Self::Int => f.write_str("INTEGER"),
            Self::BigInt => f.write_str("BIGINT"),
            Self::Double => f.write_str("DOUBLE"),
            Self::Decimal(precision, scale) => write!(f, "DECIMAL({precision}, {scale})"),
            Self::String => f.write_str("STRING"),
            Self::Bytes => f.write_str("BYTES"),
            Self::Date => f.write_str("DATE"),
            Self::Time => f.write_str("TIME"),
            Self::Timestamp => f.write_str("TIMESTAMP"),
            Self::Array(item) => write!(f, "ARRAY<{item}>"),
            Self::Map(key, value) => write!(f, "MAP<{key}, {value}>"),
            Self::Struct(fields) => {
                f.write_str("STRUCT<")?;
                for (index, (name, field)) in fields.iter().enumerate() {
                    write!(f, "{}`{name}` {field}", if index == 0 { "" } else { ", " })?;
                }
                f.write_str(">")
            }
        }
    }
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match self.place {
            Place::Key => " KEY",
            Place::Value => "",
            Place::Headers => " HEADERS",
        };
        write!(f, "`{}` {}{place}", self.name, self.data_type)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_read_as_they_are_printed() {
        for text in [
            "ARRAY<MAP<STRING, STRUCT<`A` INTEGER, `b c` DECIMAL(4, 2)>>>",
            "STRUCT<>",
            "TIMESTAMP",
        ] {
            assert_eq!(parse_type(text).unwrap().to_string(), text);
        }
        for text in ["", "FLOAT", "ARRAY<INT", "INT INT", "DECIMAL(a, 1)"] {
            assert!(parse_type(text).is_err(), "{text}");
        }
    }

    #[test]
    fn columns_know_their_place() {
        let text = "id int primary key, `v` varchar, h array<struct<key string, value bytes>> \
                    headers, x bytes header('k')";
        let columns: Vec<String> = parse_columns(text)
            .unwrap()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            columns,
            [
                "`ID` INTEGER KEY",
                "`v` STRING",
                "`H` ARRAY<STRUCT<`KEY` STRING, `VALUE` BYTES>> HEADERS",
                "`X` BYTES HEADERS",
            ]
        );
    }
}
