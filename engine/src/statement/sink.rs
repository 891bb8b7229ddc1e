//! CREATE SINK, DROP SINK, PAUSE and RESUME SINK: a relation's rows written to files.

use std::collections::BTreeMap;
use std::sync::Arc;

use kappa_sql::ast::{Name, Parsed, Properties, SinkInput, Statement};
use kappa_sql::planner::plan_select_all;
use kappa_storage::files::{FileFormat, FileTarget};
use kappa_storage::store::Durability;

use super::create_as::{limits, start_at};
use super::fail;
use crate::catalog::StoredSink;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::query::files::{FileOptions, FileOutput};
use crate::query::progress::Progress;
use crate::query::task::{Destination, QueryHandle, QuerySpec};
use crate::response::Response;
use crate::session::Session;

/// What the ids of sinks' queries begin with.
pub(super) const PREFIX: &str = "SINK_";

const PROPERTIES: [&str; 8] = [
    "CONNECTOR",
    "PATH",
    "FORMAT",
    "PARTITION_BY",
    "ROLL_INTERVAL",
    "ROLL_SIZE",
    "ENDPOINT",
    "REGION",
];

/// Longest time that rows wait for their file, unless ROLL_INTERVAL says otherwise.
const ROLL_INTERVAL_MS: i64 = 60_000;
/// Bytes of rows in memory at which a file is written, unless ROLL_SIZE says otherwise.
const ROLL_BYTES: i64 = 128 << 20;

/// The id of a sink's query.
pub(super) fn id(name: &str) -> String {
    format!("{PREFIX}{name}")
}

pub(super) async fn create(session: &Session, parsed: &Parsed) -> Result<Response> {
    let Statement::CreateSink {
        if_not_exists,
        name,
        input,
        with,
    } = &parsed.statement
    else {
        return Err(Error::Internal("not a CREATE SINK".into()));
    };
    let engine = &session.engine;
    let inner = &engine.inner;
    let _ddl = inner.ddl.lock().await;
    if inner.catalog.read().sinks.contains_key(&name.value) {
        if *if_not_exists {
            return Ok(Response::Done(format!("sink {name} exists already")));
        }
        return Err(fail(
            kappa_sql::Error::invalid(format!("a sink {name} exists already")).at(name.span),
        ));
    }
    let SinkInput::Source(source) = input else {
        return Err(fail(
            kappa_sql::Error::unsupported("CREATE SINK … AS SELECT is not there yet")
                .at(name.span)
                .hint("CREATE STREAM … AS SELECT, and a sink FROM that"),
        ));
    };
    // What does not fit is said now, not when the first row comes.
    let plan = plan_select_all(&engine.catalog(), source).map_err(fail)?;
    let (options, store_options) = options(with, name, &plan.columns).map_err(fail)?;
    let sink = StoredSink {
        name: name.value.clone(),
        mark: format!("{:08x}", crate::engine::chance() as u32),
        source: source.value.clone(),
        statement: parsed.text.clone(),
        options,
        store_options,
        properties: session.properties.clone(),
        paused: false,
    };
    target(engine, &sink)?;
    let mut commit = inner.store.begin();
    sink.write(&mut commit)?;
    inner.store.commit(commit, Durability::Sync)?;
    inner
        .catalog
        .write()
        .sinks
        .insert(sink.name.clone(), sink.clone());
    start(engine, &sink).await?;
    Ok(Response::Done(format!(
        "sink {name} writes {source} to {}",
        sink.options.path
    )))
}

fn options(
    with: &Properties,
    name: &Name,
    columns: &[kappa_sql::catalog::Column],
) -> kappa_sql::Result<(FileOptions, BTreeMap<String, String>)> {
    if let Some(error) = with.unknown(&PROPERTIES) {
        return Err(error);
    }
    let connector = with.one_of("CONNECTOR", &["file", "s3"])?.ok_or_else(|| {
        kappa_sql::Error::invalid("the property CONNECTOR is missing")
            .at(name.span)
            .hint("add CONNECTOR = 'file' or 's3'")
    })?;
    let path = with
        .required_string("PATH")
        .map_err(|error| error.or_at(name.span))?
        .to_owned();
    if (connector == "s3") != path.starts_with("s3://")
        && let Some(property) = with.get("PATH")
    {
        return Err(property
            .error(format!(
                "PATH '{path}' does not fit CONNECTOR '{connector}'"
            ))
            .hint("s3://bucket/prefix for s3, a directory for file"));
    }
    let formats: Vec<&str> = FileFormat::ALL.iter().map(|(name, _)| *name).collect();
    let format = with.one_of("FORMAT", &formats)?.unwrap_or("PARQUET");
    let format = FileFormat::ALL
        .iter()
        .find(|(name, _)| *name == format)
        .map_or(FileFormat::Parquet, |(_, format)| *format);
    let mut partition_by = Vec::new();
    if let Some(list) = with.string("PARTITION_BY")? {
        for part in list.split(',').map(str::trim) {
            let wanted = part.trim_matches(['`', '"']);
            let exact = wanted.len() < part.len();
            let wanted = if exact {
                wanted.to_owned()
            } else {
                wanted.to_uppercase()
            };
            if !columns.iter().any(|column| column.name == wanted) {
                let it = kappa_sql::Error::unknown(format!(
                    "PARTITION_BY names {wanted}, which is not a column of the source"
                ))
                .did_you_mean(&wanted, columns.iter().map(|column| column.name.as_str()));
                return Err(match with.get("PARTITION_BY") {
                    Some(property) => it.at(property.value_span),
                    None => it,
                });
            }
            partition_by.push(wanted);
        }
    }
    let roll_bytes = with
        .int_between("ROLL_SIZE", 1, i64::MAX)?
        .unwrap_or(ROLL_BYTES);
    let mut store_options = BTreeMap::new();
    for (property, setting) in [("ENDPOINT", "endpoint"), ("REGION", "region")] {
        if let Some(value) = with.string(property)? {
            store_options.insert(setting.to_owned(), value.to_owned());
        }
    }
    let options = FileOptions {
        path,
        format,
        partition_by,
        roll_interval_ms: with
            .duration_ms("ROLL_INTERVAL")?
            .unwrap_or(ROLL_INTERVAL_MS),
        roll_bytes: usize::try_from(roll_bytes).unwrap_or(usize::MAX),
    };
    Ok((options, store_options))
}

/// Where the sink's files go. Settings of the process (`s3.…`) stand under those of the statement.
fn target(engine: &Engine, sink: &StoredSink) -> Result<FileTarget> {
    let mut options = BTreeMap::new();
    if sink.options.path.starts_with("s3://") {
        options = engine.inner.config.s3_settings()?;
        options.extend(sink.store_options.clone());
    }
    Ok(FileTarget::open(&sink.options.path, &options)?)
}

/// Where files wait until they are committed and put.
fn staging(engine: &Engine) -> std::path::PathBuf {
    engine.inner.config.data_dir.join("staging")
}

/// Starts a sink of the catalog, where its last commit left it.
pub(crate) async fn start(engine: &Engine, sink: &StoredSink) -> Result<()> {
    let name = Name {
        value: sink.source.clone(),
        quoted: true,
        span: kappa_sql::ast::Span::empty(),
    };
    let plan = plan_select_all(&engine.catalog(), &name)
        .map_err(|error| Error::statement(error, &sink.statement))?;
    let mut limits = limits(&sink.properties);
    limits.commit_interval_ms = sink.options.roll_interval_ms;
    let spec = QuerySpec {
        id: id(&sink.name),
        plan,
        destination: Destination::Files {
            sink: sink.name.clone(),
            mark: sink.mark.clone(),
            options: sink.options.clone(),
            target: target(engine, sink)?,
            staging: staging(engine),
        },
        first_table: u32::MAX / 2,
        outbox: u32::MAX / 2,
        limits,
        start: start_at(&sink.properties),
    };
    let handle = QueryHandle::start(spec, engine.shared(), sink.paused);
    engine.inner.infos.write().insert(
        id(&sink.name),
        (
            sink.name.clone(),
            sink.statement.clone(),
            Arc::clone(&handle.status),
        ),
    );
    engine
        .inner
        .queries
        .lock()
        .await
        .insert(id(&sink.name), handle);
    Ok(())
}

fn find(session: &Session, name: &Name) -> Result<StoredSink> {
    let catalog = session.engine.inner.catalog.read();
    catalog.sinks.get(&name.value).cloned().ok_or_else(|| {
        fail(
            kappa_sql::Error::unknown(format!("there is no sink {name}"))
                .at(name.span)
                .did_you_mean(&name.value, catalog.sinks.keys().map(String::as_str)),
        )
    })
}

pub(super) async fn drop(session: &Session, name: &Name, if_exists: bool) -> Result<Response> {
    let engine = &session.engine;
    let inner = &engine.inner;
    let _ddl = inner.ddl.lock().await;
    let sink = match find(session, name) {
        Ok(sink) => sink,
        Err(_) if if_exists => return Ok(Response::Done(format!("there is no sink {name}"))),
        Err(error) => return Err(error),
    };
    let query = id(&sink.name);
    let handle = inner.queries.lock().await.remove(&query);
    if let Some(handle) = handle {
        handle.stop().await;
    }
    inner.infos.write().remove(&query);
    let mut commit = inner.store.begin();
    StoredSink::delete(&sink.name, &mut commit);
    Progress::delete(&query, &mut commit);
    FileOutput::delete(&sink.name, &mut commit);
    inner.store.commit(commit, Durability::Sync)?;
    // What was never put. It would only take space.
    std::mem::drop(std::fs::remove_dir_all(staging(engine).join(&sink.name)));
    inner.catalog.write().sinks.remove(&sink.name);
    Ok(Response::Done(format!(
        "sink {name} dropped; its files stay"
    )))
}

pub(super) async fn pause(session: &Session, name: &Name, pause: bool) -> Result<Response> {
    let inner = &session.engine.inner;
    let _ddl = inner.ddl.lock().await;
    let mut sink = find(session, name)?;
    sink.paused = pause;
    let mut commit = inner.store.begin();
    sink.write(&mut commit)?;
    inner.store.commit(commit, Durability::Sync)?;
    inner
        .catalog
        .write()
        .sinks
        .insert(sink.name.clone(), sink.clone());
    if let Some(handle) = inner.queries.lock().await.get(&id(&sink.name)) {
        match pause {
            true => handle.pause().await,
            false => handle.resume().await,
        }
    }
    Ok(Response::Done(format!(
        "sink {name} {}",
        if pause { "paused" } else { "resumed" }
    )))
}
