//! The types of the dialect, what they are in Arrow, and how they are written.
//!
//! A type prints as ksqlDB prints it and reads back as what it was; that text is also how a type
//! travels through sqlparser's tree inside a CAST ([`SqlType::to_ast`]). Which values a type takes
//! on the wire is the formats' business.

mod arrow;
mod casts;
mod parse;

use std::collections::BTreeMap;
use std::fmt;

use datafusion::sql::sqlparser::ast::{self, DataType as AstType, Ident, ObjectName};
use serde::{Deserialize, Serialize};

pub(crate) use parse::parse_type;

use crate::error::Result;

/// The most digits a DECIMAL can have: what Arrow's Decimal256 holds. ksqlDB knows no limit.
pub const DECIMAL_PRECISION_MAX: u8 = 76;

/// The name under which [`SqlType::to_ast`] hides a type in sqlparser's tree.
const CARRIER: &str = "KSQL";

/// Types that CREATE TYPE gave a name, by that name.
pub type CustomTypes = BTreeMap<String, SqlType>;

/// A type of the dialect.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub enum SqlType {
    Boolean,
    Int,
    BigInt,
    Double,
    Decimal { precision: u8, scale: u8 },
    String,
    Bytes,
    Date,
    Time,
    Timestamp,
    Array(Box<SqlType>),
    Map(Box<SqlType>, Box<SqlType>),
    Struct(Vec<(String, SqlType)>),
}

impl SqlType {
    /// Reads a type from text, all of it.
    pub fn parse(text: &str, custom: &CustomTypes) -> Result<Self> {
        parse::parse_text(text, custom)
    }

    /// The type as a node of sqlparser's tree that [`SqlType::from_ast`] takes back.
    pub fn to_ast(&self) -> AstType {
        let name = ObjectName::from(vec![Ident::new(CARRIER)]);
        AstType::Custom(name, vec![self.to_string()])
    }

    /// The type behind a node of sqlparser's tree: one made by [`SqlType::to_ast`], or the
    /// standard spelling of one of ours. `None` for what the dialect does not have (SMALLINT,
    /// FLOAT, INTERVAL, …), which is DataFusion's to understand.
    pub fn from_ast(node: &AstType) -> Option<Self> {
        use ast::ExactNumberInfo as Digits;
        Some(match node {
            AstType::Custom(name, text) => {
                let [text] = text.as_slice() else { return None };
                let [part] = name.0.as_slice() else {
                    return None;
                };
                if part.as_ident().is_none_or(|ident| ident.value != CARRIER) {
                    return None;
                }
                return parse::parse_text(text, &CustomTypes::new()).ok();
            }
            AstType::Boolean | AstType::Bool => Self::Boolean,
            AstType::Int(None) | AstType::Integer(None) => Self::Int,
            AstType::BigInt(None) => Self::BigInt,
            AstType::Double(_) | AstType::DoublePrecision => Self::Double,
            AstType::Decimal(digits) | AstType::Numeric(digits) => match digits {
                Digits::PrecisionAndScale(precision, scale) => {
                    Self::decimal(*precision, u64::try_from(*scale).ok()?)?
                }
                Digits::Precision(precision) => Self::decimal(*precision, 0)?,
                Digits::None => return None,
            },
            AstType::Varchar(_) | AstType::String(_) | AstType::Text => Self::String,
            AstType::Bytes(None) | AstType::Bytea => Self::Bytes,
            AstType::Date => Self::Date,
            AstType::Time(None, ast::TimezoneInfo::None) => Self::Time,
            AstType::Timestamp(None, ast::TimezoneInfo::None) => Self::Timestamp,
            AstType::Array(
                ast::ArrayElemTypeDef::AngleBracket(item)
                | ast::ArrayElemTypeDef::SquareBracket(item, None),
            ) => Self::Array(Box::new(Self::from_ast(item)?)),
            _ => return None,
        })
    }

    fn decimal(precision: u64, scale: u64) -> Option<Self> {
        let precision = u8::try_from(precision).ok()?;
        let scale = u8::try_from(scale).ok()?;
        let fits = (1..=DECIMAL_PRECISION_MAX).contains(&precision) && scale <= precision;
        fits.then_some(Self::Decimal { precision, scale })
    }

    /// Whether arithmetic applies to it.
    pub fn is_numeric(&self) -> bool {
        matches!(
            self,
            Self::Int | Self::BigInt | Self::Double | Self::Decimal { .. }
        )
    }

    /// Whether the type is a MAP or has one inside. Such types cannot be keys.
    pub fn contains_map(&self) -> bool {
        match self {
            Self::Map(..) => true,
            Self::Array(item) => item.contains_map(),
            Self::Struct(fields) => fields.iter().any(|(_, field)| field.contains_map()),
            _ => false,
        }
    }
}

/// As ksqlDB prints types: `ARRAY<INTEGER>`, `DECIMAL(4, 2)`, ``STRUCT<`A` INTEGER>``.
impl fmt::Display for SqlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean => f.write_str("BOOLEAN"),
            Self::Int => f.write_str("INTEGER"),
            Self::BigInt => f.write_str("BIGINT"),
            Self::Double => f.write_str("DOUBLE"),
            Self::String => f.write_str("STRING"),
            Self::Bytes => f.write_str("BYTES"),
            Self::Date => f.write_str("DATE"),
            Self::Time => f.write_str("TIME"),
            Self::Timestamp => f.write_str("TIMESTAMP"),
            Self::Decimal { precision, scale } => write!(f, "DECIMAL({precision}, {scale})"),
            Self::Array(item) => write!(f, "ARRAY<{item}>"),
            Self::Map(key, value) => write!(f, "MAP<{key}, {value}>"),
            Self::Struct(fields) => {
                f.write_str("STRUCT<")?;
                for (index, (name, field)) in fields.iter().enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    write!(f, "{comma}`{}` {field}", name.replace('`', "``"))?;
                }
                f.write_str(">")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(super) fn any_type() -> impl Strategy<Value = SqlType> {
        let leaf = prop_oneof![
            Just(SqlType::Boolean),
            Just(SqlType::Int),
            Just(SqlType::BigInt),
            Just(SqlType::Double),
            Just(SqlType::String),
            Just(SqlType::Bytes),
            Just(SqlType::Date),
            Just(SqlType::Time),
            Just(SqlType::Timestamp),
            (1..=DECIMAL_PRECISION_MAX)
                .prop_flat_map(|precision| (Just(precision), 0..=precision))
                .prop_map(|(precision, scale)| SqlType::Decimal { precision, scale }),
        ];
        leaf.prop_recursive(4, 16, 4, |inner| {
            prop_oneof![
                inner
                    .clone()
                    .prop_map(|item| SqlType::Array(Box::new(item))),
                (inner.clone(), inner.clone())
                    .prop_map(|(key, value)| SqlType::Map(Box::new(key), Box::new(value))),
                prop::collection::btree_map("[a-zA-Z_` .\"é]{1,6}", inner, 1..4)
                    .prop_map(|fields| SqlType::Struct(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn text_reads_back_as_the_type(of in any_type()) {
            prop_assert_eq!(&SqlType::parse(&of.to_string(), &CustomTypes::new()).unwrap(), &of);
            prop_assert_eq!(&SqlType::from_ast(&of.to_ast()).unwrap(), &of);
        }
    }

    #[test]
    fn types_print_as_in_ksqldb() {
        let fields = vec![("A".into(), SqlType::Int), ("b".into(), SqlType::String)];
        let inner = SqlType::Map(Box::new(SqlType::String), Box::new(SqlType::Struct(fields)));
        assert_eq!(
            SqlType::Array(Box::new(inner)).to_string(),
            "ARRAY<MAP<STRING, STRUCT<`A` INTEGER, `b` STRING>>>"
        );
        assert_eq!(
            SqlType::Decimal {
                precision: 4,
                scale: 2
            }
            .to_string(),
            "DECIMAL(4, 2)"
        );
    }
}
