//! CREATE STREAM … WITH (CONNECTOR = …): a stream whose rows are made as they are read.

use super::source::{self, NewRelation, SourceTopic};
use crate::ast::{self, ColumnDef, Name, Properties};
use crate::catalog::{
    Column, Connector, Format, Kind, Nexmark, NexmarkTable, Relation, Role, SideFormat,
};
use crate::error::{Error, Result};

/// The connectors there are.
const CONNECTORS: [&str; 1] = ["nexmark"];

/// The properties that Nexmark's has.
const NEXMARK: [&str; 7] = [
    "CONNECTOR",
    "TABLE",
    "EVENTS",
    "RATE",
    "OFFSET",
    "SEED",
    "PARTITIONS",
];

/// Most events, and the largest first number: with both, times stay below the year 9999.
const EVENTS_MAX: i64 = 1_000_000_000_000_000;
const RATE_MAX: i64 = 1_000_000_000;

/// The relation of a CREATE STREAM whose WITH clause has a CONNECTOR.
pub(super) fn plan(
    kind: Kind,
    read_only: bool,
    name: &Name,
    columns: &[ColumnDef],
    with: &Properties,
    text: &str,
) -> Result<NewRelation> {
    let connector = with.one_of("CONNECTOR", &CONNECTORS)?.unwrap_or_default();
    if kind == Kind::Table {
        return Err(Error::invalid(format!(
            "CONNECTOR = '{connector}' makes rows of streams, not of tables"
        ))
        .at(name.span)
        .hint("say CREATE STREAM, and CREATE TABLE … AS SELECT over that"));
    }
    check_properties(with, connector)?;
    let table = table(with, name)?;
    let unsigned = |property, least, most| -> Result<Option<u64>> {
        let number = with.int_between(property, least, most)?;
        Ok(number.map(i64::unsigned_abs))
    };
    let nexmark = Nexmark {
        table,
        events: unsigned("EVENTS", 0, EVENTS_MAX)?,
        rate: unsigned("RATE", 1, RATE_MAX)?,
        offset: unsigned("OFFSET", 0, EVENTS_MAX)?.unwrap_or(0),
        seed: unsigned("SEED", 0, i64::MAX)?.unwrap_or(1),
        created_ms: 0,
    };
    let columns = match columns {
        [] => table.columns().iter().map(generated).collect(),
        declared => declared
            .iter()
            .map(|column| declared_column(table, column))
            .collect::<Result<Vec<_>>>()?,
    };
    source::check_columns(kind, name, &columns)?;
    let connector = Connector::Nexmark(nexmark);
    let side = |format| SideFormat {
        format,
        delimiter: None,
        wrap_single: format == Format::Json,
    };
    let partitions = with.int_between("PARTITIONS", 1, source::PARTITIONS_MAX)?;
    let relation = Relation {
        name: name.value.clone(),
        kind,
        columns,
        topic: connector.origin(),
        partitions: 0,
        // Nothing is written so; it is what streams made of this one have by default.
        key_format: side(Format::None),
        value_format: side(Format::Json),
        timestamp: None,
        window: None,
        connector: Some(connector),
        read_only,
        query: None,
        statement: text.to_owned(),
    };
    Ok(NewRelation {
        relation,
        topic: SourceTopic {
            partitions: partitions.and_then(|n| i32::try_from(n).ok()),
            ..SourceTopic::default()
        },
    })
}

/// Properties of topics are known, and not for here; others are unknown.
fn check_properties(with: &Properties, connector: &str) -> Result<()> {
    let of_topics = with.iter().find(|property| {
        !NEXMARK.contains(&property.name.as_str()) && source::is_property(&property.name)
    });
    if let Some(property) = of_topics {
        return Err(Error::invalid(format!(
            "the property {} does not go with CONNECTOR = '{connector}': no topic holds the rows, \
             they are made as they are read",
            property.name
        ))
        .at(property.name_span)
        .hint("leave it out"));
    }
    match with.unknown(&NEXMARK) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// The table that is said, or that the stream is named after.
fn table(with: &Properties, name: &Name) -> Result<NexmarkTable> {
    let names = NexmarkTable::ALL.map(|(name, _)| name);
    let said = with.one_of("TABLE", &names)?;
    let wanted = said.unwrap_or(&name.value);
    let found = NexmarkTable::ALL
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(wanted));
    match found {
        Some((_, table)) => Ok(*table),
        None => Err(Error::invalid(format!(
            "the property TABLE is missing, and {} is none of Nexmark's tables: {}",
            name.value,
            names.join(", ")
        ))
        .at(name.span)
        .hint("add TABLE = 'bid', or which it is to be")),
    }
}

fn generated((name, data_type): &(&'static str, crate::types::SqlType)) -> Column {
    Column {
        name: (*name).to_owned(),
        data_type: data_type.clone(),
        role: Role::Value,
    }
}

/// A column that a statement declares: one that the generator makes, under its name and type.
fn declared_column(table: NexmarkTable, declared: &ColumnDef) -> Result<Column> {
    let name = &declared.name;
    let known = table
        .columns()
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(&name.value));
    let Some((_, data_type)) = known else {
        return Err(Error::unknown(format!(
            "column {name} is none of Nexmark's table {}",
            table.name()
        ))
        .at(declared.span)
        .did_you_mean(&name.value, table.columns().iter().map(|(name, _)| *name)));
    };
    if declared.role != ast::Role::Value {
        return Err(Error::invalid(format!(
            "column {name} can only be a value: generated rows have neither key nor headers"
        ))
        .at(declared.span)
        .hint("PARTITION BY makes a stream with a key of it"));
    }
    if declared.data_type != *data_type {
        return Err(Error::type_mismatch(format!(
            "column {name} is {data_type} in Nexmark's table {}, not {}",
            table.name(),
            declared.data_type
        ))
        .at(declared.span));
    }
    Ok(Column {
        name: name.value.clone(),
        data_type: data_type.clone(),
        role: Role::Value,
    })
}
