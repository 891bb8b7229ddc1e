//! The table that rows go to: made where it is not there, and widened where that is wanted.

use arrow::datatypes::Schema;

use super::name::{ObjectName, quote};
use super::options::SnowflakeOptions;
use super::query::Failure;
use super::session::Session;
use super::types::{column_name, definition};
use crate::{Error, Result};

/// A column of ours as the table has it.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    /// As the table spells it.
    pub(crate) name: String,
    /// As the table declares it.
    pub(crate) sql_type: String,
    /// Whether it is part of the key.
    pub(crate) is_key: bool,
    pub(crate) nullable: bool,
}

/// A column of a table, as DESCRIBE has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TableColumn {
    pub(crate) name: String,
    /// `NUMBER(38,0)`.
    pub(crate) sql_type: String,
    pub(crate) nullable: bool,
}

/// The columns of ours in `table`, which is made or widened as the options say.
pub(crate) async fn open(
    session: &mut Session,
    options: &SnowflakeOptions,
    table: &ObjectName,
    schema: &Schema,
    keys: &[String],
) -> Result<Vec<Column>> {
    let mut there = match describe(session, table).await? {
        Some(columns) => columns,
        None if options.create_table => {
            let what = format!("make table {table} in Snowflake");
            let sql = create(table, schema, keys, options.keep_column_case)?;
            session.run(&what, &sql).await?;
            describe(session, table).await?.unwrap_or_default()
        }
        None => {
            return Err(Error::User(format!(
                "table {table} is not in Snowflake, or the role may not use it: make it, grant \
                 it, or set CREATE_TABLE = true"
            )));
        }
    };
    let missing = missing(&there, options, table, schema)?;
    for column in &missing {
        let what = format!("add column {column} to table {table}");
        let sql = format!("ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {column}");
        session.run(&what, &sql).await?;
    }
    if !missing.is_empty() {
        there = describe(session, table).await?.unwrap_or_default();
    }
    let mut columns = Vec::new();
    for field in schema.fields() {
        let found = find(&there, field.name(), options.keep_column_case);
        let found = found.ok_or_else(|| {
            Error::external(
                format!("describe table {table}"),
                format!(
                    "it has no column \"{}\", which was just there",
                    field.name()
                ),
            )
        })?;
        columns.push(Column {
            name: found.name.clone(),
            sql_type: found.sql_type.clone(),
            is_key: keys.contains(field.name()),
            nullable: field.is_nullable(),
        });
    }
    Ok(columns)
}

/// A table's columns; `None` where there is no table.
pub(crate) async fn describe(
    session: &mut Session,
    table: &ObjectName,
) -> Result<Option<Vec<TableColumn>>> {
    let what = format!("describe table {table}");
    let answer = match session.run(&what, &format!("DESCRIBE TABLE {table}")).await {
        Ok(answer) => answer,
        Err(Failure::Refused(refusal)) if refusal.is_missing_object() => return Ok(None),
        Err(failure) => return Err(failure.into()),
    };
    let column = |row: &Vec<Option<String>>| {
        Some(TableColumn {
            name: answer.cell(row, "name")?.to_owned(),
            sql_type: answer.cell(row, "type")?.to_owned(),
            nullable: answer.cell(row, "null?") != Some("N"),
        })
    };
    Ok(Some(answer.rows().iter().filter_map(column).collect()))
}

fn create(table: &ObjectName, schema: &Schema, keys: &[String], keep_case: bool) -> Result<String> {
    let mut parts = Vec::new();
    for field in schema.fields() {
        parts.push(definition(field, keep_case)?);
    }
    // For those who read the table: Snowflake enforces none of it.
    let is_null = |key: &String| {
        schema
            .field_with_name(key)
            .is_ok_and(|field| field.is_nullable())
    };
    if !keys.is_empty() && !keys.iter().any(is_null) {
        let keys: Vec<_> = keys
            .iter()
            .map(|key| quote(&column_name(key, keep_case)))
            .collect();
        parts.push(format!("PRIMARY KEY ({})", keys.join(", ")));
    }
    Ok(format!(
        "CREATE TABLE IF NOT EXISTS {table} ({})",
        parts.join(", ")
    ))
}

/// Definitions of the columns that the table lacks; an error unless they are to be added.
fn missing(
    there: &[TableColumn],
    options: &SnowflakeOptions,
    table: &ObjectName,
    schema: &Schema,
) -> Result<Vec<String>> {
    let mut missing = Vec::new();
    for field in schema.fields() {
        if find(there, field.name(), options.keep_column_case).is_some() {
            continue;
        }
        let column = definition(field, options.keep_column_case)?;
        if !options.schema_evolution {
            return Err(Error::User(format!(
                "table {table} in Snowflake has no column for \"{}\": set SCHEMA_EVOLUTION = \
                 true, or run ALTER TABLE {table} ADD COLUMN {column}",
                field.name()
            )));
        }
        missing.push(column);
    }
    Ok(missing)
}

fn find<'a>(there: &'a [TableColumn], name: &str, keep_case: bool) -> Option<&'a TableColumn> {
    let exact = column_name(name, keep_case);
    let same = |column: &&TableColumn| column.name == exact;
    let alike = |column: &&TableColumn| column.name.to_uppercase() == exact;
    let found = there.iter().find(same);
    found.or_else(|| there.iter().find(alike).filter(|_| !keep_case))
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field};

    use super::*;

    #[test]
    fn a_table_is_made_from_the_columns() {
        let schema = Schema::new(vec![
            Field::new("id", DataType::Int64, false),
            Field::new("name", DataType::Utf8, true),
        ]);
        let table = ObjectName::parse("TABLE", "t", "D", "S").unwrap();
        assert_eq!(
            create(&table, &schema, &["id".to_owned()], false).unwrap(),
            r#"CREATE TABLE IF NOT EXISTS "D"."S"."T" ("ID" INTEGER, "NAME" VARCHAR, PRIMARY KEY ("ID"))"#
        );
        assert_eq!(
            create(&table, &schema, &["name".to_owned()], true).unwrap(),
            r#"CREATE TABLE IF NOT EXISTS "D"."S"."T" ("id" INTEGER, "name" VARCHAR)"#
        );
    }

    #[test]
    fn columns_are_found_in_any_case_unless_it_is_kept() {
        let column = |name: &str, sql_type: &str| TableColumn {
            name: name.to_owned(),
            sql_type: sql_type.to_owned(),
            nullable: true,
        };
        let there = [column("Id", "FLOAT"), column("ID", "DATE")];
        let found = |name, keep| find(&there, name, keep).map(|found| found.sql_type.as_str());
        assert_eq!(found("id", false), Some("DATE"));
        assert_eq!(found("Id", true), Some("FLOAT"));
        assert_eq!(found("id", true), None);
        assert_eq!(find(&there[..1], "ID", false).unwrap().sql_type, "FLOAT");
    }
}
