//! The table of a sink and the one that keeps its epoch: made where missing, and checked before the
//! first row is sent.

use std::collections::BTreeSet;

use arrow::datatypes::{DataType, Schema};
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::column::{Form, declared, form};
use super::fault::fault;
use super::name::{self, Table, list, quoted};
use super::options::{Mode, PostgresOptions};
use super::{ROW_DELETED, ROW_SEQ, Target};
use crate::{Error, Result};

/// Locks out others who make tables for us: `CREATE … IF NOT EXISTS` fails when two do it at once.
const MAKE_LOCK: &str = "SELECT pg_advisory_xact_lock(hashtextextended('kappa tables', 0))";
/// Held while a unit is written, and while the epoch is read: who reads it waits for those who write.
pub(super) const SINK_LOCK: &str = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))";

/// A checked table, and the statements of a commit.
pub(super) struct Plan {
    /// How each column of a batch is written.
    pub(super) forms: Vec<Form>,
    /// `COPY … FROM STDIN BINARY`.
    pub(super) copy: String,
    /// What brings the rows from where they were copied to the table, in this order.
    pub(super) merge: Vec<String>,
    /// Where the epoch is.
    pub(super) sinks: Table,
}

/// A column as it shall be in Postgres.
struct Column<'a> {
    name: String,
    ours: &'a str,
    data_type: &'a DataType,
}

fn mode(options: &PostgresOptions, target: &Target) -> Mode {
    options.mode.unwrap_or(match target.keys.is_empty() {
        true => Mode::Append,
        false => Mode::Upsert,
    })
}

/// The columns of the table: upserted changes leave no trace of the two that order them.
fn columns<'a>(
    options: &PostgresOptions,
    target: &Target,
    fields: &'a Schema,
) -> Result<Vec<Column<'a>>> {
    let count = match mode(options, target) {
        Mode::Append => fields.fields().len(),
        Mode::Upsert => target.schema.fields().len(),
    };
    let fields = fields.fields().iter().take(count);
    fields
        .map(|field| {
            Ok(Column {
                name: name::column(field.name(), options.keep_column_case)?,
                ours: field.name(),
                data_type: field.data_type(),
            })
        })
        .collect()
}

/// What can be said without the database.
pub(super) fn check(options: &PostgresOptions, target: &Target, fields: &Schema) -> Result<()> {
    let columns = columns(options, target, fields)?;
    let mut names = BTreeSet::new();
    for column in &columns {
        if !names.insert(&column.name) {
            return Err(Error::User(format!(
                "two columns would be \"{}\" in Postgres: set KEEP_COLUMN_CASE='true', or name one \
                 of them otherwise (AS)",
                column.name
            )));
        }
        if declared(column.data_type).is_none() {
            return Err(Error::User(format!(
                "column {} has type {}, for which Postgres has none: CAST it in the query",
                column.ours, column.data_type
            )));
        }
    }
    if columns.is_empty() || columns.len() > 1600 {
        return Err(Error::User(format!(
            "a table in Postgres has 1 to 1600 columns, and sink {} has {}",
            target.sink,
            columns.len()
        )));
    }
    for key in &target.keys {
        if target.schema.index_of(key).is_err() {
            return Err(Error::Internal(format!(
                "key {key} is no column of sink {}",
                target.sink
            )));
        }
    }
    if target.keys.is_empty() && options.mode == Some(Mode::Upsert) {
        return Err(Error::User(format!(
            "MODE 'upsert' needs a table with a primary key, and {} is a stream: leave MODE out",
            target.sink
        )));
    }
    Ok(())
}

/// Makes what is missing, checks the rest, and returns how to write and the epoch that is there.
pub(super) async fn open(
    client: &Client,
    options: &PostgresOptions,
    target: &Target,
    fields: &Schema,
) -> Result<(Plan, Option<u64>)> {
    let table = options
        .table
        .clone()
        .ok_or_else(|| Error::Internal("no table".into()))?;
    let opening = Opening {
        client,
        options,
        target,
        sinks: table.beside("kappa_sinks"),
        table,
        columns: columns(options, target, fields)?,
        mode: mode(options, target),
    };
    opening.run().await
}

struct Opening<'a> {
    client: &'a Client,
    options: &'a PostgresOptions,
    target: &'a Target,
    table: Table,
    sinks: Table,
    columns: Vec<Column<'a>>,
    mode: Mode,
}

impl Opening<'_> {
    async fn run(&self) -> Result<(Plan, Option<u64>)> {
        self.execute("BEGIN ISOLATION LEVEL READ COMMITTED").await?;
        let sinks = self.find(&self.sinks).await?;
        let mut found = self.find(&self.table).await?;
        if sinks.is_none() || found.is_none() {
            self.execute(MAKE_LOCK).await?;
            self.execute(&format!(
                "CREATE TABLE IF NOT EXISTS {} (sink text PRIMARY KEY, epoch bigint NOT NULL)",
                self.sinks
            ))
            .await?;
            if found.is_none() {
                self.create().await?;
                found = self.find(&self.table).await?;
            }
        }
        let id = found.ok_or_else(|| Error::Internal(format!("{} not made", self.table)))?;
        let mut forms = self.match_columns(id).await?;
        if self.mode == Mode::Upsert {
            self.check_key(id).await?;
            self.execute(&self.staging()).await?;
            forms.extend([Form::Bool, Form::Int8]);
        }
        let failed = |error: &_| self.failed("read the epoch of", error);
        let mark = &self.target.mark;
        self.client
            .execute(SINK_LOCK, &[mark])
            .await
            .map_err(|e| failed(&e))?;
        let epoch = read_epoch(self.client, &self.sinks, mark)
            .await
            .map_err(|e| failed(&e))?;
        self.execute("COMMIT").await?;
        Ok((self.plan(forms), epoch))
    }

    async fn execute(&self, sql: &str) -> Result<()> {
        let done = self.client.batch_execute(sql).await;
        done.map_err(|error| self.failed("prepare", &error))
    }

    fn failed(&self, verb: &str, error: &tokio_postgres::Error) -> Error {
        fault(format!("{verb} {}", self.options.place()), error)
    }

    /// The table's identifier, if it is there.
    async fn find(&self, table: &Table) -> Result<Option<u32>> {
        let sql = "SELECT to_regclass($1::text)::oid";
        let row = self.client.query_one(sql, &[&table.to_string()]).await;
        Ok(row.map_err(|error| self.failed("look for", &error))?.get(0))
    }

    async fn create(&self) -> Result<()> {
        if !self.options.create_table {
            return Err(Error::User(format!(
                "{} does not exist: make it, or leave CREATE_TABLE out",
                self.options.place()
            )));
        }
        let mut parts: Vec<_> = self.columns.iter().map(definition).collect();
        if self.mode == Mode::Upsert {
            parts.push(format!("PRIMARY KEY ({})", list(&self.keys(), "")));
        }
        let sql = format!(
            "CREATE TABLE IF NOT EXISTS {} ({})",
            self.table,
            parts.join(", ")
        );
        self.execute(&sql).await
    }

    /// The names of the keys in Postgres.
    fn keys(&self) -> Vec<String> {
        let keys = self.target.keys.iter();
        let named = keys.filter_map(|key| self.columns.iter().find(|column| column.ours == key));
        named.map(|column| column.name.clone()).collect()
    }

    /// How each of our columns gets into the table's; adds those that are missing if it may.
    async fn match_columns(&self, id: u32) -> Result<Vec<Form>> {
        let sql = "\
            SELECT a.attname::text, CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.oid END, \
                format_type(a.atttypid, a.atttypmod), \
                a.attnotnull AND NOT a.atthasdef AND a.attidentity = '', a.attgenerated <> '' \
            FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid \
            WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped";
        let rows = self.client.query(sql, &[&id]).await;
        let rows = rows.map_err(|error| self.failed("read the columns of", &error))?;
        let place = self.options.place();
        let mut theirs: Vec<_> = rows.iter().map(|row| row.get::<_, String>(0)).collect();
        let mut forms = Vec::with_capacity(self.columns.len());
        for column in &self.columns {
            let Some(at) = theirs.iter().position(|name| *name == column.name) else {
                if !self.options.schema_evolution {
                    return Err(Error::User(format!(
                        "{place} has no column {}: add it there, or set SCHEMA_EVOLUTION='true'",
                        quoted(&column.name)
                    )));
                }
                let sql = format!(
                    "ALTER TABLE {} ADD COLUMN {}",
                    self.table,
                    definition(column)
                );
                self.execute(&sql).await?;
                // As it is declared: a type that fits itself.
                forms.push(native(column.data_type)?);
                continue;
            };
            let row = &rows[at];
            let of = Type::from_oid(row.get(1));
            let fits = of.and_then(|of| form(column.data_type, &of));
            let fits = fits.filter(|_| !row.get::<_, bool>(4));
            forms.push(fits.ok_or_else(|| {
                Error::User(format!(
                    "column {} of {place} has type {}, and values of column {} ({}) do not fit: CAST \
                     in the query, or change the table's column to {}",
                    quoted(&column.name),
                    row.get::<_, String>(2),
                    column.ours,
                    column.data_type,
                    declared(column.data_type).unwrap_or_default(),
                ))
            })?);
            theirs[at].clear();
        }
        for (name, row) in theirs.iter().zip(&rows) {
            if !name.is_empty() && row.get::<_, bool>(3) {
                return Err(Error::User(format!(
                    "column {} of {place} must not be NULL, and sink {} has no such column: give it \
                     a DEFAULT",
                    quoted(name),
                    self.target.sink
                )));
            }
        }
        Ok(forms)
    }

    /// `ON CONFLICT` needs a unique index on exactly the keys.
    async fn check_key(&self, id: u32) -> Result<()> {
        let sql = "\
            SELECT array_agg(a.attname::text) FROM pg_index i \
            JOIN pg_attribute a ON a.attrelid = i.indrelid \
                AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1]) \
            WHERE i.indrelid = $1 AND i.indisunique AND i.indisvalid AND i.indimmediate \
                AND i.indpred IS NULL AND i.indexprs IS NULL \
            GROUP BY i.indexrelid";
        let rows = self.client.query(sql, &[&id]).await;
        let rows = rows.map_err(|error| self.failed("read the indexes of", &error))?;
        let keys: BTreeSet<_> = self.keys().into_iter().collect();
        let mut indexes = rows.iter().map(|row| row.get::<_, Vec<String>>(0));
        if indexes.any(|index| index.into_iter().collect::<BTreeSet<_>>() == keys) {
            return Ok(());
        }
        Err(Error::User(format!(
            "{} has no primary key or unique index on exactly ({}): add one, or set MODE='append'",
            self.options.place(),
            list(&keys, "")
        )))
    }

    /// A table of this connection for a unit's changes. It lives on, empty, after a commit: one made
    /// anew each time would bloat the catalog. It has the table's types and none of its constraints,
    /// which a deleted row need not meet.
    fn staging(&self) -> String {
        format!(
            "CREATE TEMPORARY TABLE kappa_unit ON COMMIT DELETE ROWS AS \
             SELECT {}, false AS kappa_deleted, 0::bigint AS kappa_seq FROM {} WITH NO DATA",
            list(self.names(), ""),
            self.table
        )
    }

    fn names(&self) -> impl Iterator<Item = &String> {
        self.columns.iter().map(|column| &column.name)
    }

    fn plan(&self, forms: Vec<Form>) -> Plan {
        let (all, table) = (list(self.names(), ""), &self.table);
        let copy = |to: &str, columns: &str| format!("COPY {to} ({columns}) FROM STDIN BINARY");
        if self.mode == Mode::Append {
            return Plan {
                forms,
                copy: copy(&table.to_string(), &all),
                merge: Vec::new(),
                sinks: self.sinks.clone(),
            };
        }
        let keys = self.keys();
        let key = list(&keys, "");
        let last = |columns: &str| {
            format!(
                "SELECT DISTINCT ON ({key}) {columns}, kappa_deleted FROM pg_temp.kappa_unit \
                 ORDER BY {key}, kappa_seq DESC"
            )
        };
        let same = keys.iter().map(|key| format!("t.{0} = u.{0}", quoted(key)));
        let same = same.collect::<Vec<_>>().join(" AND ");
        let set = self.names().filter(|name| !keys.contains(name));
        let set = set.map(|name| format!("{0} = EXCLUDED.{0}", quoted(name)));
        let set = match set.collect::<Vec<_>>().join(", ") {
            set if set.is_empty() => "NOTHING".to_owned(),
            set => format!("UPDATE SET {set}"),
        };
        Plan {
            forms,
            copy: copy(
                "pg_temp.kappa_unit",
                &format!("{all}, kappa_deleted, kappa_seq"),
            ),
            merge: vec![
                format!(
                    "DELETE FROM {table} t USING ({}) u WHERE u.kappa_deleted AND {same}",
                    last(&key)
                ),
                format!(
                    "INSERT INTO {table} ({all}) SELECT {all} FROM ({}) u WHERE NOT kappa_deleted \
                     ON CONFLICT ({key}) DO {set}",
                    last(&all)
                ),
            ],
            sinks: self.sinks.clone(),
        }
    }
}

/// `"name" type`.
fn definition(column: &Column<'_>) -> String {
    let of = declared(column.data_type).unwrap_or_default();
    let ours = [ROW_DELETED, ROW_SEQ].contains(&column.ours);
    let not_null = if ours { " NOT NULL" } else { "" };
    format!("{} {of}{not_null}", quoted(&column.name))
}

/// The form of a column that was made for the type.
fn native(data_type: &DataType) -> Result<Form> {
    let made = [
        Type::TEXT,
        Type::BOOL,
        Type::INT2,
        Type::INT4,
        Type::INT8,
        Type::FLOAT4,
        Type::FLOAT8,
        Type::NUMERIC,
        Type::DATE,
        Type::TIME,
        Type::TIMESTAMP,
        Type::BYTEA,
        Type::JSONB,
    ];
    let mut forms = made.iter().filter_map(|of| form(data_type, of));
    forms
        .next()
        .ok_or_else(|| Error::Internal(format!("no type for {data_type}")))
}

/// The epoch that is there of a sink.
pub(super) async fn read_epoch(
    client: &Client,
    sinks: &Table,
    mark: &str,
) -> Result<Option<u64>, tokio_postgres::Error> {
    let sql = format!("SELECT epoch FROM {sinks} WHERE sink = $1");
    let row = client.query_opt(&sql, &[&mark]).await?;
    Ok(row.map(|row| row.get::<_, i64>(0).cast_unsigned()))
}
