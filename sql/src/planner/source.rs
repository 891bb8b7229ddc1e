//! CREATE STREAM|TABLE over a topic, and the relation that a CREATE … AS SELECT makes: the WITH
//! clause's properties and the rules for keys.

use crate::ast::{self, ColumnDef, Name, Properties};
use crate::catalog::{
    Catalog, Column, Format, KeyWindow, Kind, Relation, Role, SideFormat, TimestampColumn,
};
use crate::column;
use crate::error::{Error, Result};
use crate::planner::ContinuousPlan;
use crate::types::SqlType;

/// Properties of every CREATE.
const COMMON: [&str; 14] = [
    "KAFKA_TOPIC",
    "PARTITIONS",
    "REPLICAS",
    "RETENTION_MS",
    "CLEANUP_POLICY",
    "FORMAT",
    "KEY_FORMAT",
    "VALUE_FORMAT",
    "KEY_DELIMITER",
    "VALUE_DELIMITER",
    "WRAP_SINGLE_VALUE",
    "TIMESTAMP",
    "TIMESTAMP_FORMAT",
    "VALUE_SCHEMA_FULL_NAME",
];

/// Properties of a CREATE without AS SELECT.
const OF_SOURCES: [&str; 3] = ["CONNECTOR", "WINDOW_TYPE", "WINDOW_SIZE"];

/// Most partitions of a topic.
pub(super) const PARTITIONS_MAX: i64 = 100_000;

/// What a session or configuration says where a statement does not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Defaults {
    /// `ksql.persistence.default.format.key`; KAFKA where absent.
    pub key_format: Option<String>,
    /// `ksql.persistence.default.format.value`.
    pub value_format: Option<String>,
    /// `ksql.persistence.wrap.single.values`.
    pub wrap_single_values: Option<bool>,
    /// `ksql.output.topic.name.prefix`.
    pub topic_prefix: String,
}

/// How the topic of a new relation is to be made, where it does not exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceTopic {
    /// PARTITIONS, if said.
    pub partitions: Option<i32>,
    /// REPLICAS, if said.
    pub replicas: Option<i16>,
    /// RETENTION_MS, if said.
    pub retention_ms: Option<i64>,
    /// CLEANUP_POLICY, if said: whether records are deleted, compacted, or both.
    pub cleanup: Option<&'static str>,
}

/// A relation to be registered, and its topic.
#[derive(Clone, Debug)]
pub struct NewRelation {
    /// The relation. Its `partitions` are those said, or 0.
    pub relation: Relation,
    /// The topic.
    pub topic: SourceTopic,
}

/// The relation of a CREATE STREAM|TABLE over a topic.
pub fn plan_source(
    statement: &ast::Statement,
    text: &str,
    defaults: &Defaults,
) -> Result<NewRelation> {
    let ast::Statement::CreateSource {
        kind,
        source_only,
        name,
        columns,
        with,
        ..
    } = statement
    else {
        return Err(Error::internal("not a CREATE STREAM or TABLE"));
    };
    if with.get("CONNECTOR").is_some() {
        return super::connector::plan(*kind, *source_only, name, columns, with, text);
    }
    let mut allowed = COMMON.to_vec();
    allowed.extend(OF_SOURCES);
    check_known(with, &allowed)?;
    for (property, formats) in [
        ("KEY_DELIMITER", ["KEY_FORMAT", "FORMAT"]),
        ("VALUE_DELIMITER", ["VALUE_FORMAT", "FORMAT"]),
    ] {
        check_delimiter(with, property, &formats)?;
    }
    if columns.is_empty() {
        let (_, value) = formats(with, None, defaults, name, &[])?;
        if matches!(
            value.format,
            Format::Kafka | Format::Delimited | Format::None
        ) {
            return Err(Error::invalid("No columns supplied.").at(name.span));
        }
        return Err(Error::unsupported(format!(
            "{name} has no columns, and reading them from a schema registry is not there yet"
        ))
        .at(name.span)
        .hint("declare the columns"));
    }
    let columns: Vec<Column> = columns
        .iter()
        .map(|column| source_column(*kind, column))
        .collect::<Result<_>>()?;
    check_columns(*kind, name, &columns)?;
    let topic = match with.get("KAFKA_TOPIC") {
        Some(_) => with.required_string("KAFKA_TOPIC")?.to_owned(),
        None => {
            return Err(Error::invalid(
                "Missing required property \"KAFKA_TOPIC\" which has no default value.",
            )
            .at(name.span)
            .hint("add WITH (KAFKA_TOPIC = '…')"));
        }
    };
    let (key_format, value_format) = formats(with, None, defaults, name, &columns)?;
    let window = key_window(with, name)?;
    if window.is_some() && !columns.iter().any(|column| column.role == Role::Key) {
        return Err(Error::invalid("Windowed sources require a key column.").at(name.span));
    }
    let relation = Relation {
        name: name.value.clone(),
        kind: *kind,
        topic,
        partitions: 0,
        key_format,
        value_format,
        timestamp: timestamp(with, &columns)?,
        columns,
        window,
        connector: None,
        read_only: *source_only,
        query: None,
        statement: text.to_owned(),
    };
    Ok(NewRelation {
        relation,
        topic: source_topic(with)?,
    })
}

/// The relation that a CREATE … AS SELECT makes.
pub fn sink_relation(
    name: &Name,
    with: &Properties,
    plan: &ContinuousPlan,
    text: &str,
    defaults: &Defaults,
) -> Result<NewRelation> {
    check_known(with, &COMMON)?;
    let topic = match with.string("KAFKA_TOPIC")? {
        Some(topic) => topic.to_owned(),
        None => format!("{}{}", defaults.topic_prefix, name.value),
    };
    let source = plan.sources.first();
    let columns = plan.columns.clone();
    for column in &columns {
        check_name(&column.name, name.span)?;
    }
    let (key_format, value_format) =
        formats(with, source.map(AsRef::as_ref), defaults, name, &columns)?;
    let timestamp = timestamp(with, &columns)?;
    let mut topic_options = source_topic(with)?;
    if topic_options.partitions.is_none() {
        topic_options.partitions = source.map(|source| source.partitions);
    }
    let relation = Relation {
        name: name.value.clone(),
        kind: plan.kind,
        topic,
        partitions: topic_options.partitions.unwrap_or(0),
        key_format,
        value_format,
        timestamp,
        columns,
        window: plan.window,
        connector: None,
        read_only: false,
        query: None,
        statement: text.to_owned(),
    };
    Ok(NewRelation {
        relation,
        topic: topic_options,
    })
}

/// Whether a property is one of a CREATE over a topic.
pub(super) fn is_property(name: &str) -> bool {
    COMMON.contains(&name) || OF_SOURCES.contains(&name)
}

fn check_known(with: &Properties, allowed: &[&str]) -> Result<()> {
    match with.unknown(allowed) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

fn source_column(kind: Kind, column: &ColumnDef) -> Result<Column> {
    check_name(&column.name.value, column.name.span)?;
    let role = match (&column.role, kind) {
        (ast::Role::Value, _) => Role::Value,
        (ast::Role::Key, Kind::Stream) | (ast::Role::PrimaryKey, Kind::Table) => Role::Key,
        (ast::Role::Key, Kind::Table) => {
            return Err(Error::invalid(format!(
                "Column {} is a KEY column: please use PRIMARY KEY for tables. Tables have \
                 PRIMARY KEYs, which are unique and NON NULL. Streams have KEYs, which have no \
                 uniqueness or NON NULL constraints.",
                column.name
            ))
            .at(column.span));
        }
        (ast::Role::PrimaryKey, Kind::Stream) => {
            return Err(Error::invalid(format!(
                "Column {} is a PRIMARY KEY column: please use KEY for streams. Tables have \
                 PRIMARY KEYs, which are unique and NON NULL. Streams have KEYs, which have no \
                 uniqueness or NON NULL constraints.",
                column.name
            ))
            .at(column.span));
        }
        (ast::Role::Headers, _) => Role::Headers,
        (ast::Role::Header(name), _) => Role::Header(name.clone()),
    };
    let wanted = match role {
        Role::Headers => Some(headers_type()),
        Role::Header(_) => Some(SqlType::Bytes),
        Role::Key | Role::Value => None,
    };
    if let Some(wanted) = wanted
        && wanted != column.data_type
    {
        let which = match &role {
            Role::Header(key) => format!("HEADER('{key}')"),
            _ => "HEADERS".to_owned(),
        };
        return Err(Error::type_mismatch(format!(
            "Invalid type for {which} column: expected {wanted}, got {}",
            column.data_type
        ))
        .at(column.span));
    }
    if role == Role::Key && column.data_type.contains_map() {
        return Err(Error::type_mismatch(format!(
            "Map keys, including types that contain maps, are not supported as they may lead to \
             unexpected behavior due to inconsistent serialization. Key column name: `{}`. Column \
             type: {}.",
            column.name, column.data_type
        ))
        .at(column.span));
    }
    Ok(Column {
        name: column.name.value.clone(),
        data_type: column.data_type.clone(),
        role,
    })
}

/// What HEADERS gives: the records' headers in order.
fn headers_type() -> SqlType {
    let header = vec![
        ("KEY".to_owned(), SqlType::String),
        ("VALUE".to_owned(), SqlType::Bytes),
    ];
    SqlType::Array(Box::new(SqlType::Struct(header)))
}

fn check_name(name: &str, span: ast::Span) -> Result<()> {
    if column::is_reserved(name) {
        return Err(Error::invalid(format!(
            "'{name}' is a reserved column name. You cannot use it as a name for a column."
        ))
        .at(span));
    }
    Ok(())
}

pub(super) fn check_columns(kind: Kind, name: &Name, columns: &[Column]) -> Result<()> {
    for (index, column) in columns.iter().enumerate() {
        if columns[..index]
            .iter()
            .any(|other| other.name == column.name)
        {
            return Err(
                Error::invalid(format!("Duplicate column names: `{}`", column.name)).at(name.span),
            );
        }
    }
    if kind == Kind::Table && !columns.iter().any(|column| column.role == Role::Key) {
        return Err(
            Error::invalid("Tables require a PRIMARY KEY. Please define the PRIMARY KEY.")
                .at(name.span)
                .hint("mark the key column, as in ID BIGINT PRIMARY KEY"),
        );
    }
    Ok(())
}

/// Formats of both sides: as said, or as the left-most source has them, or by default.
fn formats(
    with: &Properties,
    source: Option<&Relation>,
    defaults: &Defaults,
    name: &Name,
    columns: &[Column],
) -> Result<(SideFormat, SideFormat)> {
    let both = with.string("FORMAT")?;
    let key = with.string("KEY_FORMAT")?;
    let value = with.string("VALUE_FORMAT")?;
    if both.is_some() && (key.is_some() || value.is_some()) {
        let other = if key.is_some() {
            "KEY_FORMAT"
        } else {
            "VALUE_FORMAT"
        };
        return Err(Error::invalid(format!(
            "Cannot supply both '{other}' and 'FORMAT' properties, as 'FORMAT' sets both key and \
             value formats."
        ))
        .at(name.span)
        .hint("Either use just 'FORMAT', or use 'KEY_FORMAT' and 'VALUE_FORMAT'."));
    }
    let keys = columns
        .iter()
        .filter(|column| column.role == Role::Key)
        .count();
    if source.is_some()
        && keys == 0
        && key.is_some_and(|key| !key.eq_ignore_ascii_case("NONE"))
        && let Some(property) = with.get("KEY_FORMAT")
    {
        return Err(property.error("Key format specified for stream without key columns."));
    }
    let format = |property: &str, given: Option<&str>| -> Result<Option<Format>> {
        let Some(given) = given else { return Ok(None) };
        let found = Format::ALL
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(given));
        match found {
            Some((_, format)) => Ok(Some(*format)),
            None => Err(unknown_format(with, property, given)),
        }
    };
    let said_key = match (key, both) {
        (Some(key), _) => format("KEY_FORMAT", Some(key))?,
        (None, both) => format("FORMAT", both)?,
    };
    let default_key = format("KEY_FORMAT", defaults.key_format.as_deref())?;
    let key_format = match said_key {
        Some(format) => format,
        None => match source.map(|source| source.key_format.format) {
            // A source without a key says nothing about how keys are to be written.
            Some(Format::None) if keys > 0 => default_key.unwrap_or(Format::Kafka),
            Some(_) if keys == 0 => Format::None,
            Some(format) => format,
            None => default_key.unwrap_or(Format::Kafka),
        },
    };
    let said_value = match (value, both) {
        (Some(value), _) => format("VALUE_FORMAT", Some(value))?,
        (None, both) => format("FORMAT", both)?,
    };
    let value_format = match said_value {
        Some(format) => format,
        None => match source {
            Some(source) => source.value_format.format,
            None => match format("VALUE_FORMAT", defaults.value_format.as_deref())? {
                Some(format) => format,
                None => {
                    return Err(Error::invalid(
                        "Statement is missing the 'VALUE_FORMAT' property from the WITH clause. \
                         Either provide one or set a default via the \
                         'ksql.persistence.default.format.value' config.",
                    )
                    .at(name.span)
                    .hint("add VALUE_FORMAT = 'JSON'"));
                }
            },
        },
    };
    let wrap_said = with.bool("WRAP_SINGLE_VALUE")?;
    let values = columns
        .iter()
        .filter(|column| column.role == Role::Value)
        .count();
    if wrap_said.is_some() {
        check_wrap(with, value_format, values)?;
    }
    let wrap = wrap_said
        .or_else(|| {
            source
                .filter(|_| values == 1)
                .map(|_| defaults.wrap_single_values.unwrap_or(true))
        })
        .or(defaults.wrap_single_values)
        .unwrap_or(true);
    let key_side = SideFormat {
        format: key_format,
        delimiter: delimiter(with, "KEY_DELIMITER", key_format)?
            .or_else(|| inherited(source.map(|source| source.key_format), key_format)),
        wrap_single: false,
    };
    let value_side = SideFormat {
        format: value_format,
        delimiter: delimiter(with, "VALUE_DELIMITER", value_format)?
            .or_else(|| inherited(source.map(|source| source.value_format), value_format)),
        wrap_single: wrap,
    };
    check_side(name, columns, Role::Key, key_side)?;
    check_side(name, columns, Role::Value, value_side)?;
    Ok((key_side, value_side))
}

fn inherited(source: Option<SideFormat>, format: Format) -> Option<char> {
    source
        .filter(|side| side.format == format)
        .and_then(|side| side.delimiter)
}

fn unknown_format(with: &Properties, property: &str, given: &str) -> Error {
    let known = ["AVRO", "PROTOBUF", "PROTOBUF_NOSR", "JSON_SR"];
    let it = if known.contains(&given.to_ascii_uppercase().as_str()) {
        Error::unsupported(format!(
            "the format {} is not there yet",
            given.to_uppercase()
        ))
        .hint("JSON, DELIMITED and KAFKA are")
    } else {
        Error::unknown(format!("Unknown format: {}", given.to_uppercase()))
            .did_you_mean(given, Format::ALL.iter().map(|(name, _)| *name))
    };
    match with.get(property) {
        Some(property) => it.at(property.value_span),
        None => it,
    }
}

fn check_wrap(with: &Properties, format: Format, values: usize) -> Result<()> {
    let Some(property) = with.get("WRAP_SINGLE_VALUE") else {
        return Ok(());
    };
    if values != 1 {
        return Err(
            property.error("'WRAP_SINGLE_VALUE' is only valid for single-field value schemas")
        );
    }
    let wrap = with.bool("WRAP_SINGLE_VALUE")?.unwrap_or(true);
    let fits = match format {
        Format::Json => true,
        Format::Kafka | Format::Delimited => !wrap,
        Format::None => false,
    };
    if !fits {
        return Err(property.error(format!(
            "Format '{}' does not support 'WRAP_SINGLE_VALUE' set to '{wrap}'.",
            format.name()
        )));
    }
    Ok(())
}

/// What can be said of a delimiter before anything else is known.
fn check_delimiter(with: &Properties, property: &str, formats: &[&str; 2]) -> Result<()> {
    let (Some(text), Some(given)) = (with.string(property)?, with.get(property)) else {
        return Ok(());
    };
    let format = match with.string(formats[0])? {
        Some(format) => Some(format),
        None => with.string(formats[1])?,
    };
    if let Some(format) = format
        && !format.eq_ignore_ascii_case("DELIMITED")
    {
        return Err(given.error(format!(
            "{} does not support the following configs: [delimiter]",
            format.to_uppercase()
        )));
    }
    if text.trim().is_empty() {
        return Err(given.error(
            "Delimiter cannot be empty, if you meant to have a tab or space for delimiter, please \
             use the special values 'TAB' or 'SPACE'",
        ));
    }
    Ok(())
}

fn delimiter(with: &Properties, property: &str, format: Format) -> Result<Option<char>> {
    let Some(text) = with.string(property)? else {
        return Ok(None);
    };
    let Some(given) = with.get(property) else {
        return Ok(None);
    };
    if format != Format::Delimited {
        return Err(given.error(format!(
            "{property} is for the DELIMITED format, not for {}",
            format.name()
        )));
    }
    let mut chars = text.chars();
    match (
        text.to_ascii_uppercase().as_str(),
        chars.next(),
        chars.next(),
    ) {
        ("SPACE", ..) => Ok(Some(' ')),
        ("TAB", ..) => Ok(Some('\t')),
        (_, Some(delimiter), None) if delimiter.is_ascii() => Ok(Some(delimiter)),
        _ => Err(given.error(format!(
            "Invalid delimiter value: '{text}'. Delimiter must be a single character or TAB,SPACE"
        ))),
    }
}

/// What a format can hold.
fn check_side(name: &Name, columns: &[Column], role: Role, side: SideFormat) -> Result<()> {
    let held: Vec<&Column> = columns
        .iter()
        .filter(|column| column.role == role)
        .collect();
    let format = side.format.name();
    match side.format {
        Format::None if role == Role::Key && !held.is_empty() => {
            return Err(Error::invalid(format!(
                "Key format specified as NONE but schema contains key columns. Key column: {}",
                held[0].name
            ))
            .at(name.span));
        }
        Format::None if role == Role::Value && !held.is_empty() => {
            return Err(Error::invalid(format!(
                "The 'NONE' format can only be used when no columns are defined. Got: [{}]",
                held.iter()
                    .map(|column| format!("`{}` {}", column.name, column.data_type))
                    .collect::<Vec<_>>()
                    .join(", ")
            ))
            .at(name.span));
        }
        Format::Kafka if held.len() > 1 => {
            let side = if role == Role::Key { "Key" } else { "Value" };
            return Err(Error::invalid(format!(
                "{side} format does not support schema: the 'KAFKA' format only supports a single field. Got: {}",
                held.iter()
                    .map(|column| format!("`{}` {}", column.name, column.data_type))
                    .collect::<Vec<_>>()
                    .join(", ")
            ))
            .at(name.span)
            .hint("write it as JSON or DELIMITED"));
        }
        _ => {}
    }
    for column in held {
        let fits = match (side.format, &column.data_type) {
            (Format::Json | Format::None, _) => true,
            (Format::Kafka, SqlType::Int | SqlType::BigInt | SqlType::Double) => true,
            (Format::Kafka, SqlType::String | SqlType::Bytes) => true,
            (Format::Kafka, _) => false,
            (Format::Delimited, SqlType::Array(_) | SqlType::Map(..) | SqlType::Struct(_)) => false,
            (Format::Delimited, _) => true,
        };
        if !fits {
            let kind = match &column.data_type {
                SqlType::Decimal { .. } => "DECIMAL".to_owned(),
                SqlType::Array(_) => "ARRAY".to_owned(),
                SqlType::Map(..) => "MAP".to_owned(),
                SqlType::Struct(_) => "STRUCT".to_owned(),
                other => other.to_string(),
            };
            return Err(Error::type_mismatch(format!(
                "The '{format}' format does not support type '{kind}', column: `{}`",
                column.name
            ))
            .at(name.span));
        }
    }
    Ok(())
}

fn timestamp(with: &Properties, columns: &[Column]) -> Result<Option<TimestampColumn>> {
    let format = with.string("TIMESTAMP_FORMAT")?;
    let Some(named) = with.string("TIMESTAMP")? else {
        return match (format, with.get("TIMESTAMP_FORMAT")) {
            (Some(_), Some(property)) => {
                Err(property.error("TIMESTAMP_FORMAT goes with TIMESTAMP, which is missing"))
            }
            _ => Ok(None),
        };
    };
    let Some(property) = with.get("TIMESTAMP") else {
        return Ok(None);
    };
    let exact = named.trim_matches(['`', '"']);
    let wanted = if exact.len() < named.len() {
        exact.to_owned()
    } else {
        named.to_uppercase()
    };
    let Some(column) = columns.iter().find(|column| column.name == wanted) else {
        return Err(Error::unknown(format!(
            "The TIMESTAMP column set in the WITH clause does not exist in the schema: '{wanted}'"
        ))
        .at(property.value_span)
        .did_you_mean(&wanted, columns.iter().map(|column| column.name.as_str())));
    };
    match (&column.data_type, format) {
        (SqlType::String, Some(pattern)) => {
            crate::java_time::Pattern::compile(pattern).map_err(|reason| {
                let it = Error::invalid(format!("TIMESTAMP_FORMAT '{pattern}': {reason}"));
                match with.get("TIMESTAMP_FORMAT") {
                    Some(property) => it.at(property.value_span),
                    None => it,
                }
            })?;
        }
        (SqlType::BigInt | SqlType::Timestamp, None) => {}
        (SqlType::String, None) => {
            return Err(property
                .error(format!(
                    "A String timestamp field has been specified without also specifying the \
                     'TIMESTAMP_FORMAT': {wanted}"
                ))
                .hint("add TIMESTAMP_FORMAT = 'yyyy-MM-dd HH:mm:ss', or what fits"));
        }
        (_, Some(_)) => {
            return Err(property.error("'TIMESTAMP_FORMAT' set in the WITH clause can only be used when the timestamp column is of type STRING."));
        }
        (other, None) => {
            return Err(property.error(format!(
                "Timestamp column, {wanted}, should be LONG(INT64), TIMESTAMP, or a String with a \
                 'TIMESTAMP_FORMAT' specified, not {other}"
            )));
        }
    }
    Ok(Some(TimestampColumn {
        column: wanted,
        format: format.map(str::to_owned),
    }))
}

fn key_window(with: &Properties, name: &Name) -> Result<Option<KeyWindow>> {
    let window_type = with.one_of("WINDOW_TYPE", &["SESSION", "HOPPING", "TUMBLING"])?;
    let size_ms = with.duration_ms("WINDOW_SIZE")?;
    match (window_type, size_ms) {
        (None, None) => Ok(None),
        (Some("SESSION"), None) => Ok(Some(KeyWindow::Session)),
        (Some("SESSION"), Some(_)) => Err(Error::invalid(
            "'WINDOW_SIZE' should not be set for SESSION windows.",
        )
        .at(name.span)),
        (Some(window_type), None) => Err(Error::invalid(format!(
            "{window_type} windows require 'WINDOW_SIZE' to be provided in the WITH clause. For \
             example: 'WINDOW_SIZE'='10 SECONDS'"
        ))
        .at(name.span)),
        (Some(window_type), Some(size_ms)) => Ok(Some(KeyWindow::Time {
            size_ms,
            hopping: window_type == "HOPPING",
        })),
        (None, Some(_)) => {
            Err(Error::invalid("WINDOW_SIZE goes with WINDOW_TYPE, which is missing").at(name.span))
        }
    }
}

fn source_topic(with: &Properties) -> Result<SourceTopic> {
    let partitions = with.int_between("PARTITIONS", 1, PARTITIONS_MAX)?;
    let replicas = with.int_between("REPLICAS", -1, 1_000)?;
    Ok(SourceTopic {
        partitions: partitions.and_then(|n| i32::try_from(n).ok()),
        replicas: replicas.and_then(|n| i16::try_from(n).ok()),
        retention_ms: with.int_between("RETENTION_MS", -1, i64::MAX)?,
        cleanup: with.one_of("CLEANUP_POLICY", &["delete", "compact", "compact,delete"])?,
    })
}

/// The relation of that name must not be there yet.
pub fn check_new(catalog: &Catalog, name: &Name, kind: Kind) -> Result<()> {
    match catalog.get(&name.value) {
        None => Ok(()),
        Some(existing) => Err(Error::invalid(format!(
            "Cannot add {} '{}': A {} with the same name already exists",
            kind.word(),
            name.value,
            existing.kind.word()
        ))
        .at(name.span)
        .hint("say CREATE OR REPLACE or IF NOT EXISTS, or DROP it first")),
    }
}
