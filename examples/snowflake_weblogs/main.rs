//! The weblogs pipeline into Snowflake, S3 and Google Cloud Storage: starts what the environment
//! names no real account for, runs `pipeline.sql`, sends lines, and reads back what has arrived.
//!
//! `snowflake-weblogs`; README.md beside this file says what the environment may have.

#![expect(
    clippy::print_stdout,
    reason = "showing what it does is what an example does"
)]

#[path = "../weblogs/log.rs"]
mod log;
mod targets;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use arrow::array::{BinaryArray, Int64Array, RecordBatch};
use arrow::util::pretty::pretty_format_batches;
use bytes::Bytes;
use kappa_engine::record::NewRecords;
use kappa_engine::{Clock, Config, Engine, Response, Session, SystemClock};
use kappa_tests::account::Account;
use kappa_tests::bucket::Objects;
use kappa_tests::text;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::targets::{Named, Targets};

const PIPELINE: &str = include_str!("pipeline.sql");

/// The table in Snowflake.
const TABLE: &str = "WEB_LOGS";
/// Headers, as web servers write them.
const HEADERS: [&str; 2] = ["#Software: Kappa's example", "#Version: 1.0"];
/// How long a portion may take to be in Snowflake, besides the interval.
const PATIENCE: Duration = Duration::from_secs(600);

/// What is sent, and how often it is delivered.
struct Settings {
    /// `COMMIT_INTERVAL` of Snowflake and `ROLL_INTERVAL` of the files.
    interval: String,
    /// Each is sent when the one before is in Snowflake.
    portions: usize,
    /// Lines of a portion, besides the headers.
    lines: usize,
}

/// What was sent where.
struct Sent {
    /// All lines.
    lines: Vec<String>,
    /// Rows that Snowflake's table had before.
    rows_before: u64,
    /// The folder in both buckets.
    folder: String,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let interval = std::env::var("COMMIT_INTERVAL").unwrap_or_default();
    let settings = Settings {
        interval: match interval.is_empty() {
            true => "30 seconds".to_owned(),
            false => interval,
        },
        portions: 2,
        lines: 20_000,
    };
    println!("== Where the rows come from and go to");
    let Some(targets) = Targets::start(Named::of_environment()?)? else {
        return Err("a server is missing: `make snowflake-demo` fetches it".into());
    };
    for target in &targets.told {
        println!("  {target}");
    }
    let sent = Box::pin(run(&targets, &settings)).await?;
    println!("\n== Read back from the targets");
    let lines = sent.lines.len() - HEADERS.len();
    let rows = count(&targets.snowflake).await? - sent.rows_before;
    let table = format!("{}.{TABLE}", targets.snowflake.schema());
    println!("  sent        {lines:>6} lines besides the log's headers");
    println!("  Snowflake   {rows:>6} rows more: SELECT COUNT(*) FROM {table}");
    let mut all = vec![rows];
    for (name, bucket) in [("S3", &targets.s3), ("GCS", &targets.gcs)] {
        let files = bucket.objects(&sent.folder).await?;
        let batches = rows_of(&files)?;
        let rows = batches.iter().map(RecordBatch::num_rows).sum::<usize>();
        let files = files.keys().filter(|name| is_data(name)).count();
        let path = bucket.path(&sent.folder);
        println!("  {name:<10}  {rows:>6} rows in {files} files of {path}");
        all.push(rows as u64);
    }
    targets.stop()?;
    println!("\nWhat was started is stopped; in accounts of yours the rows are still there.");
    match all.iter().all(|rows| *rows == lines as u64) {
        true => Ok(()),
        false => Err(format!("{lines} lines were sent, and {all:?} have arrived").into()),
    }
}

/// Runs the pipeline in a directory of its own, sends lines, and waits until all are delivered.
async fn run(targets: &Targets, settings: &Settings) -> Result<Sent, Box<dyn Error>> {
    let clock = SystemClock::new();
    // Nothing of an earlier run is met, in a broker or bucket of the user's.
    let mark = format!("{:x}", clock.now_ms());
    let folder = format!("web_logs/run-{mark}");
    let rows_before = count(&targets.snowflake).await?;

    let data_dir = tempfile::tempdir()?;
    let mut config = Config::embedded(data_dir.path());
    config.bootstrap_servers = targets.bootstrap_servers.clone();
    config.properties = properties(targets);
    let engine = Engine::open(config).await?;
    let mut session = engine.session();
    let topic = format!("weblogs-{mark}");
    println!("\n== The pipeline: examples/snowflake_weblogs/pipeline.sql");
    for (name, value) in variables(targets, settings, &topic, &folder) {
        let define = format!("DEFINE {name} = '{}'", value.replace('\'', "''"));
        execute(&mut session, &define).await?;
    }
    for statement in kappa_engine::split(PIPELINE) {
        println!("  {}", execute(&mut session, statement).await?);
    }

    let mut sent = Sent {
        lines: Vec::new(),
        rows_before,
        folder,
    };
    let requests = log::generate(settings.portions * settings.lines);
    println!("\n== Lines of log, the first:\n  {}", requests[0].to_line());
    for portion in requests.chunks(settings.lines) {
        let headers = HEADERS
            .iter()
            .map(|line| (0, portion[0].time_ms, (*line).to_owned()));
        let lines: Vec<(usize, i64, String)> = headers
            .filter(|_| sent.lines.is_empty())
            .chain(portion.iter().map(|request| {
                // One user's lines stay in order.
                (request.user % 2, request.time_ms, request.to_line())
            }))
            .collect();
        for records in records(&lines) {
            engine.topics().append(&topic, &[records]).await?;
        }
        sent.lines.extend(lines.into_iter().map(|(.., line)| line));
        let rows = sent.lines.len() - HEADERS.len();
        println!(
            "  {rows} lines sent; Snowflake gets them every {}",
            settings.interval
        );
        let begun = clock.monotonic_ms();
        tokio::time::timeout(PATIENCE, Box::pin(delivered(&mut session, rows)))
            .await
            .map_err(|_| format!("{TABLE} has no {rows} rows after {PATIENCE:?}"))??;
        let seconds = (clock.monotonic_ms() - begun) as f64 / 1000.0;
        println!("  all in Snowflake after {seconds:.1} s");
    }
    // Files of the other targets whose interval is not over yet.
    engine.flush().await?;
    let sinks = ask(&mut session, "SHOW SINKS").await?;
    println!("\n== SHOW SINKS\n{}", pretty_format_batches(&sinks)?);

    // A sink leaves all that it made.
    let facts = text::rows(&ask(&mut session, "DESCRIBE WEB_LOGS").await?)?;
    let mark = facts.iter().find(|fact| fact[0] == "mark");
    let mark = mark.ok_or("DESCRIBE says no mark")?[1].to_uppercase();
    let schema = targets.snowflake.schema();
    for statement in [
        "DROP SINK WEB_LOGS",
        "DROP SINK WEB_LOGS_S3",
        "DROP SINK WEB_LOGS_GCS",
        "DROP STREAM LOGS DELETE TOPIC",
        "DROP STREAM RAW_LOGS DELETE TOPIC",
    ] {
        execute(&mut session, statement).await?;
    }
    let drop_stage = format!("DROP STAGE {schema}.KAPPA_WEB_LOGS_{mark}");
    targets.snowflake.query(&drop_stage).await?;
    engine.shutdown().await?;
    Ok(sent)
}

/// Settings of the process: where the targets are, and who asks.
fn properties(targets: &Targets) -> BTreeMap<String, String> {
    let buckets = targets.s3.settings().iter().chain(targets.gcs.settings());
    let buckets = buckets.map(|(name, value)| ((*name).to_owned(), value.clone()));
    targets
        .snowflake
        .settings()
        .into_iter()
        .chain(buckets)
        .collect()
}

/// What `pipeline.sql` has as `${NAME}`. An empty property is none.
fn variables(
    targets: &Targets,
    settings: &Settings,
    topic: &str,
    folder: &str,
) -> [(&'static str, String); 10] {
    let snowflake = |name: &str| {
        let value = targets.snowflake.property(name);
        value.unwrap_or_default().to_owned()
    };
    [
        ("TOPIC", topic.to_owned()),
        ("INTERVAL", settings.interval.clone()),
        ("SF_URL", snowflake("URL")),
        ("SF_USER", snowflake("USER")),
        ("SF_DATABASE", snowflake("DATABASE")),
        ("SF_SCHEMA", snowflake("SCHEMA")),
        ("SF_WAREHOUSE", snowflake("WAREHOUSE")),
        ("SF_TABLE", TABLE.to_owned()),
        ("S3_PATH", targets.s3.path(folder)),
        ("GCS_PATH", targets.gcs.path(folder)),
    ]
}

async fn execute(session: &mut Session, statement: &str) -> Result<String, Box<dyn Error>> {
    match session.execute(statement).await {
        Ok(Response::Done(done)) => Ok(done),
        Ok(other) => Err(format!("unexpected: {other:?}").into()),
        Err(error) => Err(error.render().into()),
    }
}

async fn ask(session: &mut Session, query: &str) -> Result<Vec<RecordBatch>, Box<dyn Error>> {
    match session.execute(query).await {
        Ok(Response::Rows(rows)) => Ok(rows.collect().await?),
        Ok(other) => Err(format!("unexpected: {other:?}").into()),
        Err(error) => Err(error.render().into()),
    }
}

/// Until the sink of Snowflake has delivered so many rows; an error when a sink cannot go on.
async fn delivered(session: &mut Session, rows: usize) -> Result<(), Box<dyn Error>> {
    loop {
        let sinks = text::rows(&ask(session, "SHOW SINKS").await?)?;
        if let Some(failed) = sinks.iter().find(|sink| sink[3] == "ERROR") {
            return Err(format!("sink {}: {}", failed[0], failed[9]).into());
        }
        let delivered = rows.to_string();
        if sinks
            .iter()
            .any(|sink| sink[0] == TABLE && sink[4] == delivered)
        {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Rows of the table in Snowflake; 0 where there is none yet.
async fn count(account: &Account) -> Result<u64, Box<dyn Error>> {
    let schema = account.schema();
    let tables = format!("SHOW TABLES LIKE '{TABLE}' IN SCHEMA {schema}");
    if account.query(&tables).await?.is_empty() {
        return Ok(0);
    }
    let rows = account
        .query(&format!("SELECT COUNT(*) FROM {schema}.{TABLE}"))
        .await?;
    let count = rows.into_iter().flatten().flatten().next();
    Ok(count.ok_or("SELECT COUNT(*) without a row")?.parse()?)
}

/// Whether an object holds rows, and does not say which belong together.
fn is_data(name: &str) -> bool {
    name.ends_with(".parquet")
}

/// The rows of Parquet files.
fn rows_of(files: &Objects) -> Result<Vec<RecordBatch>, Box<dyn Error>> {
    let mut batches = Vec::new();
    for (_, bytes) in files.iter().filter(|(name, _)| is_data(name)) {
        let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(bytes.clone()))?;
        for batch in reader.build()? {
            batches.push(batch?);
        }
    }
    Ok(batches)
}

/// Lines with their partitions and times, as records.
fn records(lines: &[(usize, i64, String)]) -> Vec<NewRecords> {
    let of_partition = |partition| {
        let own = lines.iter().filter(move |line| line.0 == partition);
        NewRecords {
            partition: partition as i32,
            timestamps: own.clone().map(|line| line.1).collect::<Int64Array>(),
            keys: BinaryArray::new_null(own.clone().count()),
            values: own.map(|line| Some(line.2.as_bytes())).collect(),
            headers: None,
        }
    };
    let partitions = (0..2).map(of_partition);
    partitions.filter(|records| !records.is_empty()).collect()
}
