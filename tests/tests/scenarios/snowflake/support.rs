//! What the tests of the Snowflake sink share: the server, its faults, files of rows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use datafusion::arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use kappa_storage::snowflake::{Snowflake, SnowflakeOptions, StagedFile, Target};
use kappa_tests::account::Account;
use parquet::arrow::ArrowWriter;
use serde_json::{Value, json};
use tempfile::TempDir;

/// An account, with a folder for files.
pub(crate) struct Server {
    account: Account,
    /// What the account is of, unless it is a real one.
    emulator: Option<kappa_tests::server::Server>,
    pub(crate) folder: TempDir,
}

impl Server {
    /// The emulator. `None` where it cannot be had.
    pub(crate) fn start() -> Option<Self> {
        let emulator = kappa_tests::server::Server::start("snowflake").unwrap()?;
        Some(Self {
            account: Account::of_server(&emulator),
            emulator: Some(emulator),
            folder: tempfile::tempdir().unwrap(),
        })
    }

    /// An account, which has no faults at will.
    pub(crate) fn of(account: Account) -> Self {
        Self {
            account,
            emulator: None,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// What the emulator's script says.
    pub(crate) fn value(&self, key: &str) -> &str {
        self.emulator.as_ref().unwrap().value(key)
    }

    /// The schema with its database, as SQL has it.
    pub(crate) fn schema(&self) -> String {
        self.account.schema()
    }

    /// The properties of a sink, with more or others than the usual.
    pub(crate) fn options(&self, more: &[(&str, &str)]) -> SnowflakeOptions {
        SnowflakeOptions::parse(&self.properties(more)).unwrap()
    }

    pub(crate) fn properties(&self, more: &[(&str, &str)]) -> BTreeMap<String, String> {
        let own = self.account.properties().iter();
        let own = own.map(|(name, value)| ((*name).to_owned(), value.clone()));
        let mut properties: BTreeMap<String, String> = own.collect();
        properties.insert("TABLE".to_owned(), "T".to_owned());
        if self.emulator.is_some() {
            // Faults are to end soon.
            properties.insert("RETRY_TIMEOUT".to_owned(), "5".to_owned());
        }
        for (key, value) in more {
            match value.is_empty() {
                true => properties.remove(*key),
                false => properties.insert((*key).to_owned(), (*value).to_owned()),
            };
        }
        properties
    }

    pub(crate) fn sink(
        &self,
        schema: &SchemaRef,
        keys: &[&str],
        more: &[(&str, &str)],
    ) -> Snowflake {
        let target = Target {
            sink: "CLICKS".to_owned(),
            mark: "0a1b2c3d".to_owned(),
            schema: schema.clone(),
            keys: keys.iter().map(|key| (*key).to_owned()).collect(),
        };
        Snowflake::try_new(&self.options(more), target, Arc::new(now_ms)).unwrap()
    }

    pub(crate) async fn admin(&self, path: &str, body: Value) -> Value {
        let url = format!("{}/_admin/{path}", self.value("URL"));
        let client = reqwest::Client::new();
        let sent = match path {
            "log" | "hung" => client.get(url).send().await,
            _ => client.post(url).body(body.to_string()).send().await,
        };
        let response = sent.unwrap().error_for_status().unwrap();
        serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
    }

    /// One fault on requests that match.
    pub(crate) async fn fault(&self, pattern: &str, kind: &str) {
        self.fault_with(json!({"match": pattern, "kind": kind}))
            .await;
    }

    pub(crate) async fn fault_with(&self, fault: Value) {
        self.admin("fault", fault).await;
    }

    /// The statements and requests that match, and whether each was carried out.
    pub(crate) async fn seen(&self, pattern: &str) -> Vec<bool> {
        let log = self.admin("log", Value::Null).await;
        let entries = log.as_array().unwrap().iter();
        let matching = entries.filter(|entry| entry["text"].as_str().unwrap().contains(pattern));
        matching.map(|entry| entry["executed"] == true).collect()
    }

    /// Rows of a query, by a connection of its own, cells joined by `|`.
    pub(crate) async fn rows(&self, sql: &str) -> Vec<String> {
        let rows = self.account.query(sql).await.unwrap().into_iter();
        let text = |cell: Option<String>| cell.unwrap_or_else(|| "NULL".to_owned());
        rows.map(|row| row.into_iter().map(text).collect::<Vec<_>>().join("|"))
            .collect()
    }
}

/// The machine's time: Snowflake lets in nobody whose clock is wrong.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

/// Columns of the usual stream and table.
pub(crate) fn events() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("name", DataType::Utf8, true),
    ]))
}

/// A change to a table of [`events`]; without a name it deletes.
pub(crate) type Change<'a> = (i64, Option<&'a str>);

impl Server {
    /// Writes a batch as a file of a unit.
    pub(crate) fn file(&self, unit: u64, part: u32, batch: &RecordBatch) -> StagedFile {
        let name = format!("file-{unit:012}-{part}.parquet");
        let path = self.folder.path().join(&name);
        let file = std::fs::File::create(&path).unwrap();
        let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
        writer.write(batch).unwrap();
        writer.close().unwrap();
        StagedFile {
            name,
            rows: batch.num_rows() as u64,
            bytes: std::fs::metadata(&path).unwrap().len(),
            path,
        }
    }

    pub(crate) fn rows_file(&self, unit: u64, part: u32, rows: &[(i64, &str)]) -> StagedFile {
        let columns: [ArrayRef; 2] = [
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.0))),
            Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.1))),
        ];
        let batch = RecordBatch::try_new(events(), columns.to_vec()).unwrap();
        self.file(unit, part, &batch)
    }

    pub(crate) fn changes_file(
        &self,
        unit: u64,
        part: u32,
        first: i64,
        rows: &[Change],
    ) -> StagedFile {
        let mut fields: Vec<_> = events().fields().iter().cloned().collect();
        fields.push(Arc::new(Field::new("ROWDELETED", DataType::Boolean, false)));
        fields.push(Arc::new(Field::new("ROWSEQ", DataType::Int64, false)));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.0))),
            Arc::new(StringArray::from_iter(rows.iter().map(|row| row.1))),
            Arc::new(BooleanArray::from_iter(
                rows.iter().map(|row| Some(row.1.is_none())),
            )),
            Arc::new(Int64Array::from_iter_values(
                first..first + rows.len() as i64,
            )),
        ];
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
        self.file(unit, part, &batch)
    }
}
