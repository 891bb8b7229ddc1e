//! CREATE SINK, DROP SINK, PAUSE and RESUME SINK: rows of a relation or a query written to files, or
//! nowhere.

use std::collections::BTreeMap;
use std::sync::Arc;

use kappa_sql::ast::{Name, Parsed, Properties, SinkInput, Statement};
use kappa_sql::catalog::Catalog;
use kappa_sql::planner::{ContinuousPlan, Target, plan_query, plan_select_all};
use kappa_storage::files::{FileFormat, FileTarget};
use kappa_storage::store::Durability;

use super::create_as::{limits, start_at};
use super::fail;
use crate::catalog::{SinkOptions, StoredSink};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::plan::{self, StatePlace};
use crate::query::files::{FileOptions, FileOutput};
use crate::query::progress::Progress;
use crate::query::task::{Destination, QueryHandle, QuerySpec};
use crate::response::Response;
use crate::session::Session;
use crate::state::StateTable;

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
    if let SinkInput::Query(query) = input
        && query.limit.is_some()
    {
        return Err(fail(
            kappa_sql::Error::unsupported("LIMIT makes no sense for a sink, which has no end")
                .at(query.spans.limit),
        ));
    }
    // What does not fit is said now, not when the first row comes.
    let plan = plan_input(&engine.catalog(), input).map_err(fail)?;
    let (options, store_options) = options(with, name, &plan.columns).map_err(fail)?;
    let mut counters = inner.catalog.read().counters;
    let place = StatePlace {
        store: Arc::clone(&inner.store),
        first_table: counters.table,
        transient: true,
    };
    let tables = plan::plan(&plan.plan, place).await?.tables;
    let first_table = counters.table;
    counters.table += tables;
    let sink = StoredSink {
        name: name.value.clone(),
        mark: format!("{:08x}", crate::engine::chance() as u32),
        sources: plan.sources.iter().map(|s| s.name.clone()).collect(),
        statement: parsed.text.clone(),
        options,
        store_options,
        first_table,
        tables,
        properties: session.properties.clone(),
        paused: false,
    };
    if let SinkOptions::Files(options) = &sink.options {
        target(engine, &sink, options)?;
    }
    let mut commit = inner.store.begin();
    sink.write(&mut commit)?;
    counters.write(&mut commit)?;
    inner.store.commit(commit, Durability::Sync)?;
    {
        let mut catalog = inner.catalog.write();
        catalog.counters = counters;
        catalog.sinks.insert(sink.name.clone(), sink.clone());
    }
    start(engine, &sink).await?;
    Ok(Response::Done(match &sink.options {
        SinkOptions::Files(options) => format!(
            "sink {name} writes {} to {}",
            match input {
                SinkInput::Source(source) => source.to_string(),
                SinkInput::Query(_) => "its rows".to_owned(),
            },
            options.path
        ),
        SinkOptions::Blackhole { .. } => format!("sink {name} counts its rows and drops them"),
    }))
}

/// The plan of what a sink writes.
fn plan_input(catalog: &Catalog, input: &SinkInput) -> kappa_sql::Result<ContinuousPlan> {
    match input {
        SinkInput::Source(source) => plan_select_all(catalog, source),
        SinkInput::Query(query) => plan_query(catalog, query, Target::Push),
    }
}

fn options(
    with: &Properties,
    name: &Name,
    columns: &[kappa_sql::catalog::Column],
) -> kappa_sql::Result<(SinkOptions, BTreeMap<String, String>)> {
    if let Some(error) = with.unknown(&PROPERTIES) {
        return Err(error);
    }
    let connectors = ["file", "s3", "blackhole"];
    let connector = with.one_of("CONNECTOR", &connectors)?.ok_or_else(|| {
        kappa_sql::Error::invalid("the property CONNECTOR is missing")
            .at(name.span)
            .hint("add CONNECTOR = 'file', 's3' or 'blackhole'")
    })?;
    if connector == "blackhole" {
        if let Some(error) = with.unknown(&["CONNECTOR"]) {
            return Err(error.hint("a blackhole has no other properties"));
        }
        return Ok((SinkOptions::Blackhole { blackhole: true }, BTreeMap::new()));
    }
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
    Ok((SinkOptions::Files(options), store_options))
}

/// Where the sink's files go. Settings of the process (`s3.…`) stand under those of the statement.
fn target(engine: &Engine, sink: &StoredSink, options: &FileOptions) -> Result<FileTarget> {
    let mut settings = BTreeMap::new();
    if options.path.starts_with("s3://") {
        settings = engine.inner.config.s3_settings()?;
        settings.extend(sink.store_options.clone());
    }
    Ok(FileTarget::open(&options.path, &settings)?)
}

/// Where files wait until they are committed and put.
fn staging(engine: &Engine) -> std::path::PathBuf {
    engine.inner.config.data_dir.join("staging")
}

/// Starts a sink of the catalog, where its last commit left it.
pub(crate) async fn start(engine: &Engine, sink: &StoredSink) -> Result<()> {
    let types = engine.inner.catalog.read().types.clone();
    let parsed = kappa_sql::parser::parse_with(&sink.statement, &types)
        .map_err(|error| Error::statement(error, &sink.statement))?;
    let Some(Statement::CreateSink { input, .. }) =
        parsed.0.into_iter().next().map(|p| p.statement)
    else {
        return Err(Error::Internal(format!("sink {} has no input", sink.name)));
    };
    let plan = plan_input(&engine.catalog(), &input)
        .map_err(|error| Error::statement(error, &sink.statement))?;
    let mut limits = limits(&sink.properties);
    let destination = match &sink.options {
        SinkOptions::Files(options) => {
            limits.commit_interval_ms = options.roll_interval_ms;
            Destination::Files {
                sink: sink.name.clone(),
                mark: sink.mark.clone(),
                options: options.clone(),
                target: target(engine, sink, options)?,
                staging: staging(engine),
            }
        }
        SinkOptions::Blackhole { .. } => Destination::Blackhole,
    };
    let spec = QuerySpec {
        id: id(&sink.name),
        plan,
        destination,
        first_table: sink.first_table,
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
    for table in sink.first_table..sink.first_table + sink.tables {
        StateTable::delete(table, &mut commit);
    }
    Progress::delete(&query, &mut commit);
    FileOutput::delete(&sink.name, &mut commit);
    inner.store.commit(commit, Durability::Sync)?;
    // What was never put. It would only take space.
    std::mem::drop(std::fs::remove_dir_all(staging(engine).join(&sink.name)));
    inner.catalog.write().sinks.remove(&sink.name);
    Ok(Response::Done(format!(
        "sink {name} dropped{}",
        match sink.options {
            SinkOptions::Files(_) => "; its files stay",
            SinkOptions::Blackhole { .. } => "",
        }
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
