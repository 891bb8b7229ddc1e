//! Reads a type from tokens: `DECIMAL(4, 2)`, `MAP<STRING, ARRAY<INT>>`, `INT ARRAY`, a custom
//! type's name.

use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Span, Token};

use super::{CustomTypes, DECIMAL_PRECISION_MAX, SqlType};
use crate::dialect::KsqlDialect;
use crate::error::{Error, Result, suggest};
use crate::parser::lexer;
use crate::parser::tokens::Tokens;

/// How deep types nest. Far above what a schema has, and safe for every walk over a type.
const DEPTH_MAX: usize = 50;

const NAMES: &[&str] = &[
    "BOOLEAN",
    "INT",
    "INTEGER",
    "BIGINT",
    "DOUBLE",
    "DECIMAL",
    "STRING",
    "VARCHAR",
    "BYTES",
    "DATE",
    "TIME",
    "TIMESTAMP",
    "ARRAY",
    "MAP",
    "STRUCT",
];

/// What other systems call our types.
const ELSEWHERE: &[(&str, &str)] = &[
    ("BOOL", "BOOLEAN"),
    ("TINYINT", "INT"),
    ("SMALLINT", "INT"),
    ("LONG", "BIGINT"),
    ("FLOAT", "DOUBLE"),
    ("REAL", "DOUBLE"),
    ("NUMERIC", "DECIMAL"),
    ("NUMBER", "DECIMAL"),
    ("TEXT", "STRING"),
    ("CHAR", "STRING"),
    ("BINARY", "BYTES"),
    ("VARBINARY", "BYTES"),
    ("BLOB", "BYTES"),
    ("DATETIME", "TIMESTAMP"),
    ("LIST", "ARRAY"),
    ("ROW", "STRUCT"),
];

pub(super) fn parse_text(text: &str, custom: &CustomTypes) -> Result<SqlType> {
    let dialect = KsqlDialect::default();
    let tokens = lexer::tokens(&dialect, text)?;
    let mut parser = Parser::new(&dialect).with_tokens_with_locations(tokens);
    let parsed = parse_type(&mut parser, custom)?;
    if parser.at_end() {
        Ok(parsed)
    } else {
        Err(parser.wanted("the end of the type"))
    }
}

/// Reads the type that comes next.
pub(crate) fn parse_type(parser: &mut Parser, custom: &CustomTypes) -> Result<SqlType> {
    let mut types = Types {
        parser,
        custom,
        closed: false,
        depth: 0,
    };
    let parsed = types.any()?;
    if types.closed {
        return Err(Error::syntax("one \">\" too many after the type").at(types.parser.last_span()));
    }
    Ok(parsed)
}

struct Types<'p, 't, 'd> {
    parser: &'p mut Parser<'d>,
    custom: &'t CustomTypes,
    /// The tokenizer reads `>>` as one operator: whether the second half is still to be used.
    closed: bool,
    depth: usize,
}

impl Types<'_, '_, '_> {
    fn any(&mut self) -> Result<SqlType> {
        self.depth += 1;
        self.check_depth(self.depth, self.parser.span())?;
        let mut parsed = self.simple()?;
        // `INT ARRAY` is what the standard calls ARRAY<INT>.
        let mut arrays = 0;
        while !self.closed && self.parser.eat_word("ARRAY") {
            arrays += 1;
            self.check_depth(self.depth + arrays, self.parser.last_span())?;
            parsed = SqlType::Array(Box::new(parsed));
        }
        self.depth -= 1;
        Ok(parsed)
    }

    fn check_depth(&self, depth: usize, span: Span) -> Result<()> {
        if depth <= DEPTH_MAX {
            return Ok(());
        }
        let limit = format!("the type is nested too deeply: the limit is {DEPTH_MAX}");
        Err(Error::invalid(limit).at(span))
    }

    fn simple(&mut self) -> Result<SqlType> {
        let name = self.parser.name("a type")?;
        let known = match (name.value.as_str(), name.quoted) {
            (_, true) => None,
            ("BOOLEAN", _) => Some(SqlType::Boolean),
            ("INT" | "INTEGER", _) => Some(SqlType::Int),
            ("BIGINT", _) => Some(SqlType::BigInt),
            ("DOUBLE", _) => Some(SqlType::Double),
            ("BYTES", _) => Some(SqlType::Bytes),
            ("DATE", _) => Some(SqlType::Date),
            ("TIME", _) => Some(SqlType::Time),
            ("TIMESTAMP", _) => Some(SqlType::Timestamp),
            ("STRING" | "VARCHAR", _) => Some(self.string()?),
            ("DECIMAL", _) => Some(self.decimal(name.span)?),
            ("ARRAY", _) => Some(self.array()?),
            ("MAP", _) => Some(self.map()?),
            ("STRUCT", _) => Some(self.fields(name.span)?),
            _ => None,
        };
        match known.or_else(|| self.custom.get(&name.value).cloned()) {
            Some(parsed) => Ok(parsed),
            None => Err(self.unknown(&name.value, name.span)),
        }
    }

    /// The length that other systems enforce is read and means nothing, as in ksqlDB, which takes
    /// `VARCHAR(STRING)`, too.
    fn string(&mut self) -> Result<SqlType> {
        if self.parser.eat(&Token::LParen) {
            if !self.parser.eat_word("STRING") {
                self.parser.integer("the length")?;
            }
            self.parser.expect(&Token::RParen)?;
        }
        Ok(SqlType::String)
    }

    fn decimal(&mut self, span: Span) -> Result<SqlType> {
        if !self.parser.eat(&Token::LParen) {
            return Err(Error::syntax("DECIMAL needs a precision and a scale")
                .at(span)
                .hint("for example DECIMAL(10, 2)"));
        }
        let (precision, precision_span) = self.parser.integer("the precision")?;
        let (scale, scale_span) = if self.parser.eat(&Token::Comma) {
            self.parser.integer("the scale")?
        } else {
            (0, precision_span)
        };
        self.parser.expect(&Token::RParen)?;
        let digits = match u8::try_from(precision) {
            Ok(digits) if (1..=DECIMAL_PRECISION_MAX).contains(&digits) => digits,
            _ => {
                return Err(Error::invalid(format!(
                    "DECIMAL precision must be between 1 and {DECIMAL_PRECISION_MAX}, \
                     not {precision}"
                ))
                .at(precision_span));
            }
        };
        match u8::try_from(scale) {
            Ok(scale) if scale <= digits => Ok(SqlType::Decimal {
                precision: digits,
                scale,
            }),
            _ => Err(Error::invalid(format!(
                "DECIMAL scale must not be more than the precision: {scale} is more than {digits}"
            ))
            .at(scale_span)),
        }
    }

    fn array(&mut self) -> Result<SqlType> {
        self.parser.expect(&Token::Lt)?;
        let item = self.any()?;
        self.close()?;
        Ok(SqlType::Array(Box::new(item)))
    }

    fn map(&mut self) -> Result<SqlType> {
        self.parser.expect(&Token::Lt)?;
        let key = self.any()?;
        self.comma()?;
        let value = self.any()?;
        self.close()?;
        Ok(SqlType::Map(Box::new(key), Box::new(value)))
    }

    fn fields(&mut self, span: Span) -> Result<SqlType> {
        if self.parser.eat(&Token::Neq) {
            return Err(Error::unsupported("a STRUCT without fields").at(span));
        }
        self.parser.expect(&Token::Lt)?;
        let mut fields: Vec<(String, SqlType)> = Vec::new();
        loop {
            let name = self.parser.name("a field name")?;
            if fields.iter().any(|(other, _)| *other == name.value) {
                let twice = format!("the field \"{}\" is in the STRUCT twice", name.value);
                return Err(Error::invalid(twice).at(name.span));
            }
            fields.push((name.value, self.any()?));
            if self.closed || !self.parser.eat(&Token::Comma) {
                break;
            }
        }
        self.close()?;
        Ok(SqlType::Struct(fields))
    }

    fn comma(&mut self) -> Result<()> {
        if !self.closed && self.parser.eat(&Token::Comma) {
            return Ok(());
        }
        Err(self.parser.wanted("a comma and the type of the values"))
    }

    fn close(&mut self) -> Result<()> {
        if std::mem::take(&mut self.closed) || self.parser.eat(&Token::Gt) {
            return Ok(());
        }
        if self.parser.eat(&Token::ShiftRight) {
            self.closed = true;
            return Ok(());
        }
        Err(self.parser.wanted("\">\""))
    }

    fn unknown(&self, name: &str, span: Span) -> Error {
        let error = Error::unknown(format!("the type \"{name}\" does not exist")).at(span);
        if let Some((_, ours)) = ELSEWHERE.iter().find(|(theirs, _)| *theirs == name) {
            return error.hint(format!("use {ours}"));
        }
        let known = NAMES
            .iter()
            .copied()
            .chain(self.custom.keys().map(String::as_str));
        match suggest(name, known) {
            Some(close) => error.hint(format!("did you mean {close}?")),
            None => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(text: &str, out: Expect) {
        let custom = CustomTypes::from([
            (
                "ADDRESS".to_owned(),
                SqlType::Struct(vec![("CITY".into(), SqlType::String)]),
            ),
            ("lower".to_owned(), SqlType::Int),
        ]);
        let shown = match SqlType::parse(text, &custom) {
            Ok(parsed) => parsed.to_string(),
            Err(error) => error.render(text),
        };
        out.assert_eq(&shown);
    }

    #[test]
    fn types_in_every_spelling() {
        check("int", expect!["INTEGER"]);
        check("VARCHAR(10)", expect!["STRING"]);
        check("decimal(4,2)", expect!["DECIMAL(4, 2)"]);
        check("DECIMAL(4)", expect!["DECIMAL(4, 0)"]);
        check("INT ARRAY ARRAY", expect!["ARRAY<ARRAY<INTEGER>>"]);
        check(
            "MAP<STRING,ARRAY<ARRAY<INT>>>",
            expect!["MAP<STRING, ARRAY<ARRAY<INTEGER>>>"],
        );
        check(
            "MAP<STRING,INT ARRAY>",
            expect!["MAP<STRING, ARRAY<INTEGER>>"],
        );
        check(
            "STRUCT<a INT, `b c` STRUCT<date DATE>>",
            expect!["STRUCT<`A` INTEGER, `b c` STRUCT<`DATE` DATE>>"],
        );
        check("ARRAY<address>", expect!["ARRAY<STRUCT<`CITY` STRING>>"]);
        check("`lower`", expect!["INTEGER"]);
    }

    #[test]
    fn wrong_types_say_what_is_wrong() {
        for text in [
            "FLOAT",
            "STRNG",
            "lower",
            "DECIMAL",
            "DECIMAL(0, 0)",
            "DECIMAL(99, 2)",
            "DECIMAL(4, 5)",
            "DECIMAL(4.5)",
            "ARRAY",
            "ARRAY<INT",
            "ARRAY<INT>>",
            "MAP<INT>",
            "MAP<STRING, INT>>",
            "STRUCT<>",
            "STRUCT<a INT, A STRING>",
            "STRUCT<a>",
            "INT INT",
            "",
            "'x'",
        ] {
            assert!(SqlType::parse(text, &CustomTypes::new()).is_err(), "{text}");
        }
        check(
            "FLOAT",
            expect![[r#"
                error: the type "FLOAT" does not exist
                  1 | FLOAT
                    | ^^^^^ use DOUBLE"#]],
        );
        check(
            "ARRAY<STRNG>",
            expect![[r#"
            error: the type "STRNG" does not exist
              1 | ARRAY<STRNG>
                |       ^^^^^ did you mean STRING?"#]],
        );
        check(
            "DECIMAL(4, 5)",
            expect![[r#"
            error: DECIMAL scale must not be more than the precision: 5 is more than 4
              1 | DECIMAL(4, 5)
                |            ^"#]],
        );
        check(
            "DECIMAL(99, 5)",
            expect![[r#"
            error: DECIMAL precision must be between 1 and 76, not 99
              1 | DECIMAL(99, 5)
                |         ^^"#]],
        );
        check(
            "DECIMAL",
            expect![[r#"
            error: DECIMAL needs a precision and a scale
              1 | DECIMAL
                | ^^^^^^^ for example DECIMAL(10, 2)"#]],
        );
        check(
            "MAP<STRING>",
            expect![[r#"
            error: expected a comma and the type of the values, found ">"
              1 | MAP<STRING>
                |           ^"#]],
        );
        check(
            "ARRAY<INT",
            expect![[r#"
            error: expected ">", found the end of the statement
              1 | ARRAY<INT
                |          ^"#]],
        );
        check(
            "ARRAY<INT>>",
            expect![[r#"
            error: one ">" too many after the type
              1 | ARRAY<INT>>
                |          ^^"#]],
        );
        check(
            "STRUCT<a INT, A STRING>",
            expect![[r#"
            error: the field "A" is in the STRUCT twice
              1 | STRUCT<a INT, A STRING>
                |               ^"#]],
        );
        check(
            &format!("{}INT{}", "ARRAY<".repeat(60), ">".repeat(60)),
            expect![[r#"
                error: the type is nested too deeply: the limit is 50
                  1 | …RAY<ARRAY<ARRAY<ARRAY<ARRAY<ARRAY<ARRAY<ARRAY<ARRAY<ARRAY<ARRAY<ARRAY<ARRAY<ARRAY<ARRAY<ARRAY<ARRAY<…
                    |                                          ^^^^^"#]],
        );
        check(
            &format!("INT{}", " ARRAY".repeat(60)),
            expect![[r#"
            error: the type is nested too deeply: the limit is 50
              1 | …RAY ARRAY ARRAY ARRAY ARRAY ARRAY ARRAY ARRAY ARRAY ARRAY ARRAY ARRAY ARRAY ARRAY ARRAY ARRAY ARRAY …
                |                                          ^^^^^"#]],
        );
    }
}
