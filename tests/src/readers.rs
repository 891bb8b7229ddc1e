//! Readers that are not ours, of what sinks wrote: `tests/servers/readers`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Map, Value};

use crate::server::{Server, available};

/// Another implementation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// DuckDB.
    DuckDb,
    /// Apache Arrow's for Python, which is its C++ one.
    Pyarrow,
    /// fastavro: Avro's object container files, and nothing else.
    Fastavro,
    /// deltalake's for Python: tables of Delta Lake, and nothing else.
    Delta,
}

impl Reader {
    /// Those that read files of a format.
    pub fn of_files(format: &str) -> &'static [Self] {
        match format {
            "avro" => &[Self::Fastavro],
            _ => &[Self::DuckDb, Self::Pyarrow],
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::DuckDb => "duckdb",
            Self::Pyarrow => "pyarrow",
            Self::Fastavro => "fastavro",
            Self::Delta => "delta",
        }
    }
}

/// What is to be read.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// `parquet`, `json`, `csv`, `avro`, and `delta` for [`Reader::Delta`].
    pub format: &'static str,
    /// A directory, or `s3://bucket/prefix`.
    pub place: String,
    /// What the columns of a text format are, in DuckDB's words.
    pub columns: Vec<(&'static str, &'static str)>,
    /// Whether directories `name=value` are columns, too.
    pub directories: bool,
    /// Reads only what the commit objects of that name list (`click_files-3f9a01c7`).
    pub commits: Option<String>,
    /// Where S3 is, and who asks.
    environment: BTreeMap<&'static str, String>,
}

impl Request {
    /// Everything in a place.
    pub fn new(format: &'static str, place: impl Into<String>) -> Self {
        Self {
            format,
            place: place.into(),
            ..Self::default()
        }
    }

    /// From a server of S3.
    pub fn at(mut self, server: &Server) -> Self {
        for (name, key) in [
            ("AWS_ENDPOINT_URL", "ENDPOINT"),
            ("AWS_REGION", "REGION"),
            ("AWS_ACCESS_KEY_ID", "ACCESS_KEY"),
            ("AWS_SECRET_ACCESS_KEY", "SECRET_KEY"),
        ] {
            self.environment.insert(name, server.value(key).to_owned());
        }
        self
    }
}

/// What a reader found. `readers.py` says how types and values are written.
#[derive(Debug, PartialEq)]
pub struct Found {
    /// The columns' types by name.
    pub types: BTreeMap<String, String>,
    /// A JSON object a row, sorted.
    pub rows: Vec<Value>,
}

/// The readers.
#[derive(Debug)]
pub struct Readers {
    script: PathBuf,
}

impl Readers {
    /// `None`, said on standard error, where they cannot be had and `KAPPA_REQUIRE_SERVERS=1` does
    /// not make that a failure.
    ///
    /// # Errors
    /// Why they cannot be had.
    pub fn find() -> Result<Option<Self>, String> {
        Ok(available("readers")?.map(|script| Self { script }))
    }

    /// Reads.
    ///
    /// # Errors
    /// What the reader says when it fails.
    pub fn read(&self, reader: Reader, request: &Request) -> Result<Found, String> {
        let mut command = Command::new(&self.script);
        command
            .args(["read", reader.name(), request.format, &request.place])
            .envs(&request.environment);
        if !request.columns.is_empty() {
            let columns = request.columns.iter();
            let columns = columns.map(|(name, kind)| ((*name).to_owned(), Value::from(*kind)));
            let columns = Value::Object(columns.collect::<Map<_, _>>());
            command.args(["--columns", &columns.to_string()]);
        }
        if request.directories {
            command.arg("--directories");
        }
        if let Some(name) = &request.commits {
            command.args(["--commits", name]);
        }
        let output = command.output().map_err(|error| error.to_string())?;
        let what = format!("{} of {}", reader.name(), request.place);
        if !output.status.success() {
            let error = String::from_utf8_lossy(&output.stderr);
            return Err(format!("{what}: {error}"));
        }
        found(&output.stdout).map_err(|error| format!("{what}: {error}"))
    }
}

fn found(printed: &[u8]) -> Result<Found, serde_json::Error> {
    let mut lines = serde_json::Deserializer::from_slice(printed).into_iter::<Value>();
    let types = lines.next().transpose()?.unwrap_or_default();
    let types = serde_json::from_value(types)?;
    Ok(Found {
        types,
        rows: sorted(lines.collect::<Result<_, _>>()?),
    })
}

/// Rows in an order that does not depend on the reader.
pub fn sorted(mut rows: Vec<Value>) -> Vec<Value> {
    rows.sort_by_cached_key(Value::to_string);
    rows
}
