//! The WITH clause of CREATE SINK.

use std::collections::BTreeMap;

use arrow::datatypes::{DataType, Field, SchemaRef};
use kappa_sql::ast::{Name, Properties};
use kappa_sql::column;
use kappa_sql::error::{Error, Result};
use kappa_storage::delta;
use kappa_storage::files::{
    Compression, FileEncoding, FileFormat, Provider, Statistics, avro_refusal,
};
use kappa_storage::postgres::PostgresOptions;
use kappa_storage::snowflake::{Mode, SnowflakeOptions, canonical};

use super::delivery::{OutageKind, OutagePolicy};
use super::place::column_name;
use super::rows::RowShape;
use super::small_files::CompactOptions;
use super::writer::{RollOptions, WriterOptions};
use crate::config::Config;

/// Longest time that rows wait for their file, unless ROLL_INTERVAL says otherwise.
const ROLL_INTERVAL_MS: i64 = 60_000;
/// Least time between two commits of rows that are streamed, unless COMMIT_INTERVAL says otherwise.
const STREAMING_INTERVAL_MS: i64 = 1_000;
/// Bytes of a file, unless ROLL_SIZE says otherwise.
const ROLL_BYTES: i64 = 128 << 20;
/// Files that are open at a time, unless MAX_OPEN_PARTITIONS says otherwise.
const OPEN_MAX: i64 = 1_000;
/// How long nothing comes for a directory that is to be compacted, unless COMPACT_AFTER says otherwise.
const COMPACT_AFTER_MS: i64 = 3_600_000;
/// Bytes that may wait for a target, unless OUTBOX_MAX_BYTES says otherwise.
const OUTBOX_BYTES: i64 = 4 << 30;

/// What sinks can write to.
const CONNECTORS: [&str; 7] = [
    "file",
    "s3",
    "gcs",
    "azure",
    "snowflake",
    "postgres",
    "blackhole",
];

/// What all sinks but the blackhole understand.
const COMMON: [&str; 5] = [
    "CONNECTOR",
    "ON_OUTAGE",
    "OUTBOX_MAX_BYTES",
    "OUTBOX_MAX_AGE",
    "INCLUDE_ROWTIME",
];

/// What sinks of files understand.
const FILES: [&str; 22] = [
    "PATH",
    "FORMAT",
    "COMPRESSION",
    "ROW_GROUP_ROWS",
    "DICTIONARY",
    "STATISTICS",
    "PARTITION_BY",
    "PARTITION_PATH",
    "PARTITION_GRACE",
    "MAX_OPEN_PARTITIONS",
    "FILE_PREFIX",
    "ROLL_INTERVAL",
    "ROLL_SIZE",
    "ROLL_ROWS",
    "ROLL_INACTIVITY",
    "COMMIT_OBJECTS",
    "COMPACT_SIZE",
    "COMPACT_AFTER",
    "COMPACT_GRACE",
    "ENDPOINT",
    "REGION",
    "ACCOUNT",
];

/// What only sinks of Delta Lake tables understand.
const DELTA: [&str; 2] = ["MODE", "SCHEMA_EVOLUTION"];

/// What a Delta Lake table has no use for, and what to do instead.
const NOT_DELTA: [(&str, &str); 7] = [
    (
        "PARTITION_PATH",
        "take PARTITION_BY, and a column of the query for a part of a time",
    ),
    (
        "PARTITION_GRACE",
        "it is for PARTITION_PATH, which a Delta Lake table does not have",
    ),
    ("FILE_PREFIX", "the table's log has the names of its files"),
    ("COMMIT_OBJECTS", "the table's log has the commits"),
    (
        "COMPACT_SIZE",
        "OPTIMIZE of Delta Lake merges the files of a table",
    ),
    (
        "COMPACT_AFTER",
        "OPTIMIZE of Delta Lake merges the files of a table",
    ),
    (
        "COMPACT_GRACE",
        "OPTIMIZE of Delta Lake merges the files of a table",
    ),
];

/// What a sink's statement asks for.
#[derive(Clone, Debug)]
pub(crate) struct SinkOptions {
    pub(crate) policy: OutagePolicy,
    pub(crate) kind: SinkKind,
}

/// Where a sink's rows go.
#[derive(Clone, Debug)]
pub(crate) enum SinkKind {
    /// Into files.
    Files {
        path: String,
        prefix: String,
        commits: bool,
        /// How small files are merged, if they are.
        compact: Option<CompactOptions>,
        /// Settings of the object store, by object_store's names.
        settings: BTreeMap<String, String>,
        writer: WriterOptions,
    },
    /// Into a table of PostgreSQL.
    Postgres {
        options: Box<PostgresOptions>,
        /// Columns that are left out.
        without: Vec<String>,
        /// Least time between two commits, in milliseconds.
        interval_ms: i64,
    },
    /// Into a table of Snowflake.
    Snowflake {
        options: Box<SnowflakeOptions>,
        writer: WriterOptions,
    },
    /// Into a table of Snowflake, without files.
    Streaming {
        options: Box<SnowflakeOptions>,
        /// Columns that are left out.
        without: Vec<String>,
        /// Least time between two commits, in milliseconds.
        interval_ms: i64,
    },
    /// Into a table of Delta Lake.
    Delta {
        path: String,
        /// Settings of the object store, by object_store's names.
        settings: BTreeMap<String, String>,
        options: DeltaOptions,
        writer: WriterOptions,
    },
    /// Nowhere: they are counted. To measure or try a query without what it writes.
    Blackhole,
}

/// How a table of Delta Lake is written.
#[derive(Clone, Debug)]
pub(crate) struct DeltaOptions {
    pub(crate) mode: delta::Mode,
    /// Columns that partition the table.
    pub(crate) partition_by: Vec<String>,
    pub(crate) schema_evolution: bool,
}

impl SinkKind {
    /// Where to, for people.
    pub(crate) fn place(&self) -> String {
        match self {
            Self::Files { path, .. } | Self::Delta { path, .. } => path.clone(),
            Self::Postgres { options, .. } => options.place(),
            Self::Snowflake { options, .. } | Self::Streaming { options, .. } => options.place(),
            Self::Blackhole => "blackhole".to_owned(),
        }
    }

    /// How its files are made, if it takes files.
    pub(crate) fn writer(&self) -> Option<&WriterOptions> {
        match self {
            Self::Files { writer, .. }
            | Self::Snowflake { writer, .. }
            | Self::Delta { writer, .. } => Some(writer),
            Self::Postgres { .. } | Self::Streaming { .. } | Self::Blackhole => None,
        }
    }
}

impl SinkOptions {
    /// Reads a WITH clause, of a sink whose rows have that shape.
    ///
    /// # Errors
    /// What does not exist, does not fit or is missing, with its place.
    ///
    /// `process` are the process's own settings of what sinks write to, which stand under those of
    /// the statement.
    pub(crate) fn parse(
        with: &Properties,
        name: &Name,
        shape: &RowShape,
        process: &Config,
    ) -> Result<Self> {
        let connector = with.one_of("CONNECTOR", &CONNECTORS)?.ok_or_else(|| {
            Error::invalid("the property CONNECTOR is missing")
                .at(name.span)
                .hint(format!("add CONNECTOR = one of {}", CONNECTORS.join(", ")))
        })?;
        if connector == "blackhole" {
            if let Some(error) = with.unknown(&["CONNECTOR"]) {
                return Err(error.hint("a blackhole has no other properties"));
            }
            return Ok(Self {
                policy: policy(with)?,
                kind: SinkKind::Blackhole,
            });
        }
        let process = |prefix: &str| {
            let settings = process.settings(prefix);
            settings.map_err(|error| Error::invalid(error.to_string()))
        };
        let kind = match connector {
            "postgres" => postgres(with, process("postgres.")?)?,
            "snowflake" => snowflake(with, shape, process("snowflake.")?)?,
            "s3" => files(with, name, shape, connector, Provider::S3)?,
            "gcs" => files(with, name, shape, connector, Provider::Gcs)?,
            "azure" => files(with, name, shape, connector, Provider::Azure)?,
            _ => files(with, name, shape, connector, Provider::Local)?,
        };
        Ok(Self {
            policy: policy(with)?,
            kind,
        })
    }
}

/// A database's settings: those of the statement that are not the sink machinery's own, over those
/// of the process.
fn settings_of(
    with: &Properties,
    process: BTreeMap<String, String>,
    not: &[&str],
) -> BTreeMap<String, String> {
    let process = process.into_iter();
    let mut settings: BTreeMap<String, String> = process
        .map(|(name, value)| (name.to_uppercase(), value))
        .collect();
    let own = with
        .iter()
        .filter(|property| !not.contains(&property.name.as_str()));
    settings.extend(own.map(|property| (property.name.clone(), property.value.text())));
    settings
}

/// What a database says of its settings, at the property that it names.
fn complain(with: &Properties, error: kappa_storage::Error) -> Error {
    let message = match error {
        kappa_storage::Error::User(message) => message,
        other => other.to_string(),
    };
    let mut words = message.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    // The first that is named. Snowflake's have several names, of which messages have ours.
    let named = words.find_map(|word| {
        with.iter().find(|property| {
            let own = canonical(&property.name);
            word.eq_ignore_ascii_case(&property.name) || Some(word) == own
        })
    });
    let place = named.or_else(|| with.get("CONNECTOR"));
    let error = Error::invalid(message);
    match place {
        Some(property) => error.at(property.name_span),
        None => error,
    }
}

fn postgres(with: &Properties, mut process: BTreeMap<String, String>) -> Result<SinkKind> {
    let not = [&COMMON[..], &["COMMIT_INTERVAL"]].concat();
    if with.get("URL").is_some() {
        // It says all but, perhaps, the password.
        process.retain(|name, _| !matches!(name.as_str(), "host" | "port" | "database" | "user"));
    }
    let settings = settings_of(with, process, &not);
    let options = PostgresOptions::try_new(&settings).map_err(|error| complain(with, error))?;
    Ok(SinkKind::Postgres {
        options: Box::new(options),
        without: without(with, false)?,
        interval_ms: with.duration_ms("COMMIT_INTERVAL")?.unwrap_or(0),
    })
}

fn snowflake(
    with: &Properties,
    shape: &RowShape,
    mut process: BTreeMap<String, String>,
) -> Result<SinkKind> {
    let own = ["COMMIT_INTERVAL", "ROLL_SIZE", "ROLL_ROWS", "ROLL_INTERVAL"];
    let not = [&COMMON[..], &own].concat();
    let given: Vec<_> = with.iter().filter_map(|p| canonical(&p.name)).collect();
    let logins = ["PRIVATE_KEY", "PRIVATE_KEY_FILE", "TOKEN", "PASSWORD"];
    if logins.iter().any(|login| given.contains(login)) {
        // A login of its own.
        process.retain(|name, _| {
            let name = name.to_uppercase();
            !logins.contains(&name.as_str())
                && name != "PRIVATE_KEY_PASSPHRASE"
                && name != "AUTHENTICATOR"
        });
    }
    // By whatever name the statement gives it.
    process.retain(|name, _| canonical(name).is_none_or(|name| !given.contains(&name)));
    let settings = settings_of(with, process, &not);
    let options = SnowflakeOptions::parse(&settings).map_err(|error| complain(with, error))?;
    if options.mode() == Some(Mode::Streaming) {
        for name in ["ROLL_SIZE", "ROLL_ROWS", "ROLL_INTERVAL"] {
            if let Some(property) = with.get(name) {
                let message = format!("{name} does not go with MODE 'streaming'");
                let error = Error::invalid(message).at(property.name_span);
                return Err(error.hint("rows are not collected into files"));
            }
        }
        let interval_ms = with.duration_ms("COMMIT_INTERVAL")?;
        return Ok(SinkKind::Streaming {
            options: Box::new(options),
            without: without(with, false)?,
            interval_ms: interval_ms.unwrap_or(STREAMING_INTERVAL_MS),
        });
    }
    let mut roll = roll(with)?;
    if let Some(interval_ms) = with.duration_ms("COMMIT_INTERVAL")? {
        roll.interval_ms = interval_ms;
    }
    Ok(SinkKind::Snowflake {
        writer: WriterOptions {
            encoding: FileEncoding::of(FileFormat::Parquet),
            without: without(with, false)?,
            sequence: !shape.keys.is_empty() && options.mode() != Some(Mode::Copy),
            partition_by: Vec::new(),
            partition_path: None,
            roll,
            open_max: 1,
        },
        options: Box::new(options),
    })
}

fn policy(with: &Properties) -> Result<OutagePolicy> {
    let kinds = OutageKind::ALL.map(|(name, _)| name);
    let kind = with.one_of("ON_OUTAGE", &kinds)?.unwrap_or("block");
    let bytes = with.int_between("OUTBOX_MAX_BYTES", 1, i64::MAX)?;
    Ok(OutagePolicy {
        kind: named(&OutageKind::ALL, kind, OutageKind::Block),
        bytes_max: bytes.unwrap_or(OUTBOX_BYTES).unsigned_abs(),
        age_max_ms: with.duration_ms("OUTBOX_MAX_AGE")?.unwrap_or(i64::MAX),
    })
}

fn files(
    with: &Properties,
    name: &Name,
    shape: &RowShape,
    connector: &str,
    provider: Provider,
) -> Result<SinkKind> {
    let encoding = encoding(with)?;
    if encoding.format == FileFormat::Delta {
        return delta(with, name, shape, connector, provider, encoding);
    }
    if let Some(property) = DELTA.iter().find_map(|name| with.get(name)) {
        let message = format!("{} is for FORMAT = 'DELTA'", property.name);
        return Err(Error::invalid(message).at(property.name_span));
    }
    if let Some(error) = with.unknown(&[&COMMON[..], &FILES[..]].concat()) {
        return Err(error);
    }
    let (path, settings) = place(with, name, connector, provider)?;
    let prefix = match with.string("FILE_PREFIX")? {
        None => name.value.to_lowercase(),
        Some(prefix) => {
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            if let Some(property) = with.get("FILE_PREFIX")
                && (prefix.is_empty()
                    || prefix.starts_with(['.', '_'])
                    || !prefix.chars().all(plain))
            {
                return Err(property.error(
                    "FILE_PREFIX takes letters, digits, -, _ and ., and begins with none of _ and .",
                ));
            }
            prefix.to_owned()
        }
    };
    let mut fields = shape.schema.fields().iter();
    if let (FileFormat::Csv, Some(nested)) = (
        encoding.format,
        fields.find(|field| field.data_type().is_nested()),
    ) {
        let column = nested.name();
        let error = Error::invalid(format!("CSV has no way to write {column}, which is nested"));
        let error = error.hint("take its parts in a query, or FORMAT = 'JSON' or 'PARQUET'");
        return Err(match with.get("FORMAT") {
            Some(property) => error.at(property.value_span),
            None => error,
        });
    }
    if encoding.format == FileFormat::Avro
        && let Some(refusal) = avro_refusal(&shape.schema)
    {
        let error = Error::invalid(refusal).hint("give it another name or type in a query");
        return Err(match with.get("FORMAT") {
            Some(property) => error.at(property.value_span),
            None => error,
        });
    }
    let writer = writer(with, encoding)?;
    Ok(SinkKind::Files {
        path,
        prefix,
        commits: with.bool("COMMIT_OBJECTS")?.unwrap_or(true),
        compact: compact(with, writer.roll.grace_ms)?,
        settings,
        writer: partitions(with, writer, &shape.schema)?,
    })
}

/// Where files go, and the settings of the object store there.
fn place(
    with: &Properties,
    name: &Name,
    connector: &str,
    provider: Provider,
) -> Result<(String, BTreeMap<String, String>)> {
    let path = with
        .required_string("PATH")
        .map_err(|error| error.or_at(name.span))?
        .to_owned();
    if let Some(property) = with.get("PATH")
        && Provider::of(&path) != Some(provider)
    {
        return Err(property
            .error(format!(
                "PATH '{path}' does not fit CONNECTOR '{connector}'"
            ))
            .hint(format!("{} for {connector}", provider.example())));
    }
    let mut settings = BTreeMap::new();
    for (property, s3, other) in [
        ("ENDPOINT", Some("endpoint"), Some("endpoint")),
        ("REGION", Some("region"), None),
        ("ACCOUNT", None, Some("account_name")),
    ] {
        let setting = match provider {
            Provider::S3 => s3,
            Provider::Azure => other,
            Provider::Gcs | Provider::Local => None,
        };
        match (with.string(property)?, setting, with.get(property)) {
            (Some(value), Some(setting), _) => {
                settings.insert(setting.to_owned(), value.to_owned());
            }
            (Some(_), None, Some(written)) => {
                let message = format!("{property} is not for CONNECTOR '{connector}'");
                return Err(Error::invalid(message).at(written.name_span));
            }
            _ => {}
        }
    }
    Ok((path, settings))
}

fn delta(
    with: &Properties,
    name: &Name,
    shape: &RowShape,
    connector: &str,
    provider: Provider,
    encoding: FileEncoding,
) -> Result<SinkKind> {
    let refuse = |property: &str, hint: &str| match with.get(property) {
        None => Ok(()),
        Some(property) => Err(Error::invalid(format!(
            "{} is not for FORMAT 'DELTA'",
            property.name
        ))
        .at(property.name_span)
        .hint(hint)),
    };
    for (property, hint) in NOT_DELTA {
        refuse(property, hint)?;
    }
    if let Some(error) = with.unknown(&[&COMMON[..], &FILES[..], &DELTA[..]].concat()) {
        return Err(error);
    }
    let (path, settings) = place(with, name, connector, provider)?;
    let modes = delta::Mode::ALL.map(|(name, _)| name);
    let usual = match shape.keys.is_empty() {
        true => delta::Mode::Append,
        false => delta::Mode::Merge,
    };
    let mode = with.one_of("MODE", &modes)?;
    let mode = mode.map_or(usual, |mode| named(&delta::Mode::ALL, mode, usual));
    let merged = mode == delta::Mode::Merge;
    let keys = || {
        shape
            .keys
            .iter()
            .filter_map(|key| shape.schema.field_with_name(key).ok())
    };
    if let Some(property) = with.get("MODE")
        && merged
        && shape.keys.is_empty()
    {
        let error = property.error("MODE 'merge' needs a table with a primary key");
        return Err(error.hint("take MODE = 'append' for a stream"));
    }
    if let (true, Some(key)) = (merged, keys().find(|key| key.data_type().is_nested())) {
        let message = format!("{} is nested, and rows cannot be merged by it", key.name());
        let error = Error::invalid(message).at(name.span);
        return Err(error.hint("take MODE = 'append', or a key of another type in a query"));
    }
    if merged {
        refuse(
            "MAX_OPEN_PARTITIONS",
            "merged rows are in one file until they are merged",
        )?;
    }
    if encoding.statistics == Statistics::None
        && let Some(property) = with.get("STATISTICS")
    {
        let error =
            property.error("the log of a Delta Lake table has what the files say of their values");
        return Err(error.hint("take STATISTICS = 'CHUNK' or 'PAGE'"));
    }
    let writer = writer(with, encoding)?;
    let mut writer = partitions(with, writer, &shape.schema)?;
    if let Some(property) = with.get("PARTITION_BY") {
        for column in &writer.partition_by {
            let field = shape.schema.field_with_name(column);
            let fits = |field: &Field| {
                !field.data_type().is_nested() && *field.data_type() != DataType::Binary
            };
            if !field.is_ok_and(fits) || writer.without.contains(column) {
                let message = format!("PARTITION_BY: a table cannot be partitioned by {column}");
                return Err(property.error(message));
            }
        }
    }
    let partition_by = writer.partition_by.clone();
    if merged {
        // The table is partitioned, not the changes.
        writer.partition_by = Vec::new();
        writer.open_max = 1;
        writer.sequence = true;
    }
    Ok(SinkKind::Delta {
        path,
        settings,
        options: DeltaOptions {
            mode,
            partition_by,
            schema_evolution: with.bool("SCHEMA_EVOLUTION")?.unwrap_or(false),
        },
        writer,
    })
}

/// How files are written, in no directories yet.
fn writer(with: &Properties, encoding: FileEncoding) -> Result<WriterOptions> {
    Ok(WriterOptions {
        encoding,
        without: without(with, true)?,
        sequence: false,
        partition_by: Vec::new(),
        partition_path: None,
        roll: roll(with)?,
        open_max: usize::try_from(
            with.int_between("MAX_OPEN_PARTITIONS", 1, 100_000)?
                .unwrap_or(OPEN_MAX),
        )
        .unwrap_or(1),
    })
}

fn compact(with: &Properties, partition_grace_ms: i64) -> Result<Option<CompactOptions>> {
    let after_ms = with.duration_ms("COMPACT_AFTER")?;
    let grace_ms = with.duration_ms("COMPACT_GRACE")?;
    let bytes = with.int_between("COMPACT_SIZE", 1, i64::MAX)?;
    let Some(bytes) = bytes else {
        for property in ["COMPACT_AFTER", "COMPACT_GRACE"] {
            if let Some(property) = with.get(property) {
                let message = format!("{} is for sinks with COMPACT_SIZE", property.name);
                return Err(Error::invalid(message).at(property.name_span));
            }
        }
        return Ok(None);
    };
    if let Some(property) = with.get("COMMIT_OBJECTS")
        && with.bool("COMMIT_OBJECTS")? == Some(false)
    {
        let error = Error::invalid("COMPACT_SIZE needs commit objects");
        return Err(error.at(property.name_span));
    }
    Ok(Some(CompactOptions {
        bytes: bytes.unsigned_abs(),
        after_ms: after_ms.unwrap_or(COMPACT_AFTER_MS),
        grace_ms: grace_ms.unwrap_or(0),
        partition_grace_ms,
    }))
}

/// Columns that a target does not get.
fn without(with: &Properties, rowtime: bool) -> Result<Vec<String>> {
    Ok(match with.bool("INCLUDE_ROWTIME")?.unwrap_or(rowtime) {
        true => Vec::new(),
        false => vec![column::ROWTIME.to_owned()],
    })
}

fn partitions(
    with: &Properties,
    mut writer: WriterOptions,
    schema: &SchemaRef,
) -> Result<WriterOptions> {
    if let Some(list) = with.string("PARTITION_BY")? {
        writer.partition_by = list.split(',').map(column_name).collect();
    }
    writer.partition_path = with.string("PARTITION_PATH")?.map(str::to_owned);
    if let Some(property) = with.get("PARTITION_PATH")
        && with.get("PARTITION_BY").is_some()
    {
        return Err(
            Error::invalid("PARTITION_BY and PARTITION_PATH do not go together")
                .at(property.name_span),
        );
    }
    for property in ["PARTITION_BY", "PARTITION_PATH"] {
        if let Some(property) = with.get(property)
            && let Err(error) = writer.placement(schema)
        {
            return Err(property.error(format!("{}: {error}", property.name)));
        }
    }
    Ok(writer)
}

fn encoding(with: &Properties) -> Result<FileEncoding> {
    let formats = FileFormat::ALL.map(|(name, _)| name);
    let format = with.one_of("FORMAT", &formats)?.unwrap_or("PARQUET");
    let format = named(&FileFormat::ALL, format, FileFormat::Parquet);
    let mut encoding = FileEncoding::of(format);
    let codecs: &[&str] = match format {
        FileFormat::Parquet | FileFormat::Delta => &["NONE", "SNAPPY", "GZIP", "ZSTD"],
        FileFormat::Avro => &["NONE", "SNAPPY", "DEFLATE", "GZIP", "ZSTD"],
        FileFormat::Json | FileFormat::Csv => &["NONE", "GZIP", "ZSTD"],
    };
    if let Some(codec) = with.one_of("COMPRESSION", codecs)? {
        encoding.compression = named(&Compression::ALL, codec, encoding.compression);
    }
    if !format.is_parquet() {
        for property in ["ROW_GROUP_ROWS", "DICTIONARY", "STATISTICS"] {
            if let Some(property) = with.get(property) {
                return Err(Error::invalid(format!("{} is for Parquet", property.name))
                    .at(property.name_span));
            }
        }
    }
    if let Some(rows) = with.int_between("ROW_GROUP_ROWS", 1, 1 << 30)? {
        encoding.row_group_rows = usize::try_from(rows).unwrap_or(1);
    }
    encoding.dictionary = with.bool("DICTIONARY")?.unwrap_or(encoding.dictionary);
    let levels = Statistics::ALL.map(|(name, _)| name);
    if let Some(level) = with.one_of("STATISTICS", &levels)? {
        encoding.statistics = named(&Statistics::ALL, level, encoding.statistics);
    }
    Ok(encoding)
}

fn roll(with: &Properties) -> Result<RollOptions> {
    let number = |name: &str, default: i64| -> Result<u64> {
        let value = with.int_between(name, 1, i64::MAX)?.unwrap_or(default);
        Ok(value.unsigned_abs())
    };
    let time = |name: &str, default: i64| -> Result<i64> {
        Ok(with.duration_ms(name)?.unwrap_or(default))
    };
    Ok(RollOptions {
        bytes: number("ROLL_SIZE", ROLL_BYTES)?,
        rows: number("ROLL_ROWS", i64::MAX)?,
        interval_ms: time("ROLL_INTERVAL", ROLL_INTERVAL_MS)?,
        inactivity_ms: time("ROLL_INACTIVITY", i64::MAX)?,
        grace_ms: time("PARTITION_GRACE", 0)?,
    })
}

fn named<T: Copy>(all: &[(&str, T)], name: &str, default: T) -> T {
    let found = all.iter().find(|(known, _)| *known == name);
    found.map_or(default, |(_, value)| *value)
}
