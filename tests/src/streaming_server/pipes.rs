//! Tables, pipes and channels.
//!
//! A channel's continuation token names its client sequencer, which counts how often the channel was
//! opened, and its row sequencer, which counts what was received since. Only the very next one is
//! taken. What was received is committed later, in order; what was not when the channel is opened
//! again is gone.

use std::collections::{BTreeMap, VecDeque};

use hyper::StatusCode;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::faults::Kind;

/// Bytes of a request's rows as they come over the network.
const ROWS_BYTES_MAX: usize = 4 << 20;

/// A row of a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The channel that it came through.
    pub channel: String,
    /// The offset token of the request that it came in.
    pub token: String,
    /// Its columns.
    pub value: Value,
}

/// A column as DESCRIBE shows it.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) sql_type: String,
    pub(super) nullable: bool,
}

#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) columns: Vec<Column>,
    rows: Vec<Row>,
}

#[derive(Debug, Default)]
struct Channel {
    client: u64,
    row: u64,
    code: &'static str,
    created_ms: u64,
    committed: Option<String>,
    inserted: u64,
    errors: u64,
    last_error: Option<(String, String)>,
    pending: VecDeque<Pending>,
}

/// What was received and is not yet committed.
#[derive(Debug)]
struct Pending {
    token: String,
    rows: Vec<Value>,
    /// How often it was asked about since.
    looks: u32,
}

#[derive(Debug, Default)]
pub(super) struct Pipes {
    tables: BTreeMap<String, Table>,
    /// By pipe the table.
    pipes: BTreeMap<String, String>,
    /// By pipe and channel.
    channels: BTreeMap<(String, String), Channel>,
    made: u64,
    pub(super) looks: u32,
    pub(super) hold: bool,
}

type Refusal = (StatusCode, &'static str, String);

impl Pipes {
    pub(super) fn create_table(&mut self, name: &str, columns: Vec<Column>) {
        let table = self.tables.entry(name.to_owned()).or_default();
        table.columns = columns;
    }

    pub(super) fn create_pipe(&mut self, name: &str, table: &str) {
        self.pipes.insert(name.to_owned(), table.to_owned());
    }

    pub(super) fn table(&mut self, name: &str) -> Option<&mut Table> {
        self.tables.get_mut(name)
    }

    pub(super) fn rows(&self, name: &str) -> Vec<Row> {
        let table = self.tables.get(name);
        table.map(|table| table.rows.clone()).unwrap_or_default()
    }

    pub(super) fn channel_names(&self) -> Vec<String> {
        self.channels
            .keys()
            .map(|(_, channel)| channel.clone())
            .collect()
    }

    pub(super) fn drop_channels(&mut self) {
        self.channels.clear();
    }

    /// All channels have to be opened anew.
    pub(super) fn crash(&mut self) {
        for channel in self.channels.values_mut() {
            channel.pending.clear();
            channel.code = "ERR_CHANNEL_MUST_BE_REOPENED";
        }
    }

    /// Somebody else opens all channels.
    pub(super) fn fence(&mut self) {
        for channel in self.channels.values_mut() {
            channel.pending.clear();
            channel.client += 1;
            channel.row = 0;
        }
    }

    /// The table that a pipe leads to: one that was made, or the default one of a table.
    fn table_of(&self, pipe: &str) -> Result<String, Refusal> {
        let table = match (self.pipes.get(pipe), pipe.strip_suffix("-STREAMING")) {
            (Some(table), _) => Some(table.clone()),
            (None, Some(table)) => Some(table.to_owned()),
            (None, None) => None,
        };
        let table = table.filter(|table| self.tables.contains_key(table));
        table.ok_or_else(|| {
            let code = "ERR_PIPE_DOES_NOT_EXIST_OR_NOT_AUTHORIZED";
            (
                StatusCode::NOT_FOUND,
                code,
                format!("there is no pipe {pipe}"),
            )
        })
    }

    pub(super) fn execute(
        &mut self,
        kind: Kind,
        path: &str,
        query: &BTreeMap<String, String>,
        encoding: &str,
        body: &[u8],
    ) -> Result<Value, Refusal> {
        let path = path.strip_prefix("/v2/streaming").unwrap_or(path);
        let data = path.starts_with("/data/");
        let path = if data { &path["/data".len()..] } else { path };
        let parts: Vec<String> = path
            .split('/')
            .map(|part| percent_decode_str(part).decode_utf8_lossy().to_uppercase())
            .collect();
        let names: Vec<&str> = parts.iter().map(String::as_str).collect();
        let unknown = || {
            (
                StatusCode::NOT_FOUND,
                "NOT_FOUND",
                format!("there is no {path}"),
            )
        };
        let [
            "",
            "DATABASES",
            "KAPPA",
            "SCHEMAS",
            "PUBLIC",
            "PIPES",
            pipe,
            rest @ ..,
        ] = &names[..]
        else {
            return Err(unknown());
        };
        let (pipe, verb) = pipe.split_once(':').unwrap_or((pipe, ""));
        let table = self.table_of(pipe)?;
        match (kind, verb, rest) {
            (Kind::Open, "", ["CHANNELS", channel]) => self.open(pipe, channel, body),
            (Kind::Drop, "", ["CHANNELS", channel]) => {
                self.channels
                    .remove(&(pipe.to_owned(), (*channel).to_owned()));
                Ok(json!({}))
            }
            (Kind::Append, "", ["CHANNELS", channel, "ROWS"]) if data => {
                self.append(pipe, channel, query, encoding, body)
            }
            (Kind::Status, "BULK-CHANNEL-STATUS", []) => self.statuses(pipe, &table, body),
            (Kind::Other, "PIPE-INFO", []) => Ok(pipe_info()),
            _ => Err(unknown()),
        }
    }

    fn open(&mut self, pipe: &str, name: &str, body: &[u8]) -> Result<Value, Refusal> {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        self.made += 1;
        let key = (pipe.to_owned(), name.to_owned());
        let made = self.made;
        let channel = self.channels.entry(key).or_insert_with(|| Channel {
            created_ms: made,
            ..Channel::default()
        });
        if body["fail_on_uncommitted_rows"] == true && !channel.pending.is_empty() {
            let code = "ERR_CHANNEL_HAS_UNCOMMITTED_DATA";
            return Err((StatusCode::CONFLICT, code, "rows are on their way".into()));
        }
        channel.pending.clear();
        channel.client += 1;
        channel.row = 0;
        channel.code = "SUCCESS";
        if let Some(token) = body["offset_token"].as_str() {
            channel.committed = Some(token.to_owned());
        }
        Ok(json!({
            "next_continuation_token": channel.continuation(),
            "channel_status": channel.status(pipe, name),
        }))
    }

    fn append(
        &mut self,
        pipe: &str,
        name: &str,
        query: &BTreeMap<String, String>,
        encoding: &str,
        body: &[u8],
    ) -> Result<Value, Refusal> {
        let bad = |code, message: String| (StatusCode::BAD_REQUEST, code, message);
        if body.len() > ROWS_BYTES_MAX {
            let message = format!("{} bytes", body.len());
            return Err((StatusCode::PAYLOAD_TOO_LARGE, "PAYLOAD_TOO_LARGE", message));
        }
        let stale = || {
            let message =
                "Channel sequencer in the continuation token is stale. Please reopen the channel";
            bad("STALE_CONTINUATION_TOKEN_SEQUENCER", message.to_owned())
        };
        let channel = self.channels.get_mut(&(pipe.to_owned(), name.to_owned()));
        let channel = channel.ok_or_else(stale)?;
        if channel.code != "SUCCESS" {
            return Err((StatusCode::CONFLICT, channel.code, "open it anew".into()));
        }
        if query.get("continuationToken") != Some(&channel.continuation()) {
            return Err(stale());
        }
        let lines = match encoding {
            "zstd" => {
                zstd::decode_all(body).map_err(|error| bad("BAD_ENCODING", error.to_string()))?
            }
            "" => body.to_vec(),
            other => return Err(bad("BAD_ENCODING", other.to_owned())),
        };
        let text = String::from_utf8(lines).map_err(|error| bad("BAD_ROWS", error.to_string()))?;
        // Snowflake's own client leaves lines empty.
        let rows = text.lines().filter(|line| !line.is_empty());
        let rows: Result<Vec<Value>, _> = rows.map(serde_json::from_str).collect();
        let rows = rows.map_err(|error| bad("BAD_ROWS", error.to_string()))?;
        // Older clients send one token.
        let token = query.get("endOffsetToken").or(query.get("offsetToken"));
        channel.row += 1;
        channel.pending.push_back(Pending {
            token: token.cloned().unwrap_or_default(),
            rows,
            looks: 0,
        });
        Ok(json!({"next_continuation_token": channel.continuation()}))
    }

    fn statuses(&mut self, pipe: &str, table: &str, body: &[u8]) -> Result<Value, Refusal> {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let names = body["channel_names"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let mut statuses = serde_json::Map::new();
        for name in names.iter().filter_map(Value::as_str) {
            let Some(channel) = self.channels.get_mut(&(pipe.to_owned(), name.to_owned())) else {
                continue;
            };
            if !self.hold {
                let table = self.tables.entry(table.to_owned()).or_default();
                channel.look(name, table, self.looks);
            }
            statuses.insert(name.to_owned(), channel.status(pipe, name));
        }
        Ok(json!({ "channel_statuses": statuses }))
    }
}

/// What Snowflake's own client wants to know of a pipe: where files would go, of which it makes none as
/// long as rows are few, and when it is to send what.
fn pipe_info() -> Value {
    let parameters = json!({
        "max_client_lag_seconds": 1,
        "rowset_flush_threshold_kb": 1024,
        "max_buffered_kb_for_rowset_mode": 10_240,
        "rowset_threshold_lookback_seconds": 60,
        "rowset_threshold_ewma_weight": 50,
        "target_file_size_compressed_mb": 16,
        "cpu_throttle_high_watermark_percent": 100,
        "cpu_throttle_low_watermark_percent": 100,
        "mem_throttle_high_watermark_percent": 100,
        "mem_throttle_low_watermark_percent": 100,
    });
    json!({
        "stage_location": {
            "expiry_time_ms": i64::MAX / 2,
            "location_type": "S3",
            "location": "none/",
            "use_s3_regional_url": false,
            "region": "none",
            "storage_account": "",
            "storage_endpoint": "",
            "bucket_name": "none",
            "path_prefix": "none/",
            "creds": {"AWS_KEY_ID": "none", "AWS_SECRET_KEY": "none", "AWS_TOKEN": ""},
            "parameters": parameters.clone(),
        },
        "encryption_info": {"pipe_key": "", "pipe_key_id": 0, "diversifier": ""},
        "parameter_overrides": parameters,
    })
}

impl Channel {
    fn continuation(&self) -> String {
        format!("0_{}_{}", self.client, self.row)
    }

    /// Commits what was asked about often enough.
    fn look(&mut self, name: &str, table: &mut Table, looks: u32) {
        for pending in &mut self.pending {
            pending.looks += 1;
        }
        while let Some(pending) = self.pending.pop_front_if(|pending| pending.looks > looks) {
            for value in pending.rows {
                match table.refuses(&value) {
                    None => {
                        self.inserted += 1;
                        table.rows.push(Row {
                            channel: name.to_owned(),
                            token: pending.token.clone(),
                            value,
                        });
                    }
                    Some(why) => {
                        self.errors += 1;
                        self.last_error = Some((pending.token.clone(), why));
                    }
                }
            }
            self.committed = Some(pending.token);
        }
    }

    fn status(&self, pipe: &str, name: &str) -> Value {
        let (upper, message) = match &self.last_error {
            Some((token, message)) => (Some(token), Some(message)),
            None => (None, None),
        };
        json!({
            "database_name": "KAPPA",
            "schema_name": "PUBLIC",
            "pipe_name": pipe,
            "channel_name": name,
            "channel_status_code": self.code,
            "last_committed_offset_token": self.committed,
            "created_on_ms": self.created_ms,
            "rows_inserted": self.inserted,
            "rows_parsed": self.inserted + self.errors,
            "rows_error_count": self.errors,
            "last_error_offset_upper_bound": upper,
            "last_error_message": message,
            "last_error_timestamp": null,
            "snowflake_avg_processing_latency_ms": 0,
        })
    }
}

impl Table {
    /// Why it does not take a row; names count in any case, and what it has no column for is left
    /// out.
    fn refuses(&self, row: &Value) -> Option<String> {
        let Some(row) = row.as_object() else {
            return Some("the row is no object".into());
        };
        let find = |column: &Column| {
            let mut members = row.iter();
            members
                .find(|(name, _)| name.eq_ignore_ascii_case(&column.name))
                .map(|(_, value)| value)
        };
        self.columns.iter().find_map(|column| match find(column) {
            None | Some(Value::Null) if column.nullable => None,
            None | Some(Value::Null) => Some(format!("NULL in {}", column.name)),
            Some(value) if is_of(value, &column.sql_type) => None,
            // What it was is not said, as the real one does not.
            Some(_) => Some(format!(
                "a value is no {} for {}",
                column.sql_type, column.name
            )),
        })
    }
}

/// Whether a value of JSON can be cast to a type of Snowflake's.
fn is_of(value: &Value, sql_type: &str) -> bool {
    let (name, length) = match sql_type.split_once('(') {
        Some((name, length)) => (name, length.trim_end_matches(')')),
        None => (sql_type, ""),
    };
    let shape = |text: &str, pattern: &str| {
        let matches = |(c, p): (char, char)| if p == '0' { c.is_ascii_digit() } else { c == p };
        text.len() >= pattern.len() && text.chars().zip(pattern.chars()).all(matches)
    };
    match (name, value) {
        ("NUMBER" | "INTEGER", Value::Number(_)) => true,
        ("NUMBER" | "INTEGER" | "FLOAT", Value::String(text)) => text
            .parse::<f64>()
            .is_ok_and(|number| number.is_finite() || name == "FLOAT"),
        ("FLOAT", Value::Number(_)) => true,
        ("BOOLEAN", value) => value.is_boolean(),
        ("VARCHAR", Value::String(text)) => length
            .parse()
            .map_or(true, |length: usize| text.chars().count() <= length),
        ("VARCHAR", value) => !value.is_object() && !value.is_array(),
        ("BINARY", Value::String(text)) => {
            text.len() % 2 == 0 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
        }
        ("DATE", Value::String(text)) => text.len() == 10 && shape(text, "0000-00-00"),
        ("TIME", Value::String(text)) => shape(text, "00:00:00"),
        ("TIMESTAMP_NTZ" | "TIMESTAMP_LTZ", Value::String(text)) => {
            shape(text, "0000-00-00T00:00:00")
        }
        ("ARRAY", value) => value.is_array(),
        ("OBJECT", value) => value.is_object(),
        ("VARIANT", _) => true,
        _ => false,
    }
}
