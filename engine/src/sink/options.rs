//! The WITH clause of CREATE SINK.

use std::collections::BTreeMap;

use arrow::datatypes::SchemaRef;
use kappa_sql::ast::{Name, Properties};
use kappa_sql::column;
use kappa_sql::error::{Error, Result};
use kappa_storage::files::{Compression, FileEncoding, FileFormat, Provider, Statistics};
use kappa_storage::postgres::PostgresOptions;
use kappa_storage::snowflake::{Mode, SnowflakeOptions, canonical};

use super::delivery::{OutageKind, OutagePolicy};
use super::place::column_name;
use super::rows::RowShape;
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
const FILES: [&str; 19] = [
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
    "ENDPOINT",
    "REGION",
    "ACCOUNT",
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
    /// Nowhere: they are counted. To measure or try a query without what it writes.
    Blackhole,
}

impl SinkKind {
    /// Where to, for people.
    pub(crate) fn place(&self) -> String {
        match self {
            Self::Files { path, .. } => path.clone(),
            Self::Postgres { options, .. } => options.place(),
            Self::Snowflake { options, .. } | Self::Streaming { options, .. } => options.place(),
            Self::Blackhole => "blackhole".to_owned(),
        }
    }

    /// How its files are made, if it takes files.
    pub(crate) fn writer(&self) -> Option<&WriterOptions> {
        match self {
            Self::Files { writer, .. } | Self::Snowflake { writer, .. } => Some(writer),
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
    let known = [&COMMON[..], &FILES[..]].concat();
    if let Some(error) = with.unknown(&known) {
        return Err(error);
    }
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
    let encoding = encoding(with)?;
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
    let writer = WriterOptions {
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
    };
    Ok(SinkKind::Files {
        path,
        prefix,
        commits: with.bool("COMMIT_OBJECTS")?.unwrap_or(true),
        settings,
        writer: partitions(with, writer, &shape.schema)?,
    })
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
        FileFormat::Parquet => &["NONE", "SNAPPY", "GZIP", "ZSTD"],
        FileFormat::Json | FileFormat::Csv => &["NONE", "GZIP", "ZSTD"],
    };
    if let Some(codec) = with.one_of("COMPRESSION", codecs)? {
        encoding.compression = named(&Compression::ALL, codec, encoding.compression);
    }
    if format != FileFormat::Parquet {
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
