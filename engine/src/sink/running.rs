//! The sinks that run: their feeds' outboxes, their writers and their deliveries, and how they are
//! started from the catalog.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use kappa_sql::ast::{Name, Properties, SinkInput, Statement};
use kappa_sql::catalog::Catalog;
use kappa_sql::planner::{ContinuousPlan, Target as PlanTarget, plan_query, plan_select_all};
use kappa_storage::delta::{self, Delta};
use kappa_storage::files::FileTarget;
use kappa_storage::postgres::{self, Postgres};
use kappa_storage::snowflake::{self, Snowflake, Streaming};

use super::commit_objects::Owner;
use super::compacting::{self, CompactionSpec};
use super::delivery::{Cursor, DeliveryHandle, DeliverySpec, Lookout, Source};
use super::departure::Departure;
use super::kept::{Position, Readers};
use super::options::{SinkKind, SinkOptions};
use super::outbox::Outbox;
use super::rows::RowShape;
use super::secret;
use super::small_files::SmallFiles;
use super::status::TaskStatus;
use super::target::{FilesTarget, PostgresTarget, StreamingTarget, Target};
use super::units::Units;
use super::writer::WriterProgress;
use super::writing::{WriterHandle, WriterSpec};
use crate::catalog::{StoredFeed, StoredSink, StoredWriter};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::meta_entry::MetaEntry;
use crate::query::status::QueryState;
use crate::query::task::{Destination, QueryHandle, QuerySpec};
use crate::statement::create_as::{limits, start_at};

/// All that runs for sinks, by id or name.
#[derive(Debug, Default)]
pub(crate) struct Running {
    pub(crate) outboxes: BTreeMap<String, Arc<Outbox>>,
    pub(crate) writers: BTreeMap<String, WriterHandle>,
    pub(crate) deliveries: BTreeMap<String, DeliveryHandle>,
    /// Of deliveries, and of sinks that could not be started.
    pub(crate) statuses: BTreeMap<String, Arc<TaskStatus>>,
    /// How often a sink went over to a feed of its own.
    pub(crate) moved: u64,
}

/// How far all sinks have come together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    /// How often one went over to a feed of its own.
    pub(crate) moved: u64,
    /// Rows delivered.
    rows: u64,
}

/// What a sink of the catalog reads.
struct Input {
    plan: ContinuousPlan,
    shape: RowShape,
}

/// The plan of what a sink writes.
pub(crate) fn plan_input(
    catalog: &Catalog,
    input: &SinkInput,
) -> kappa_sql::Result<ContinuousPlan> {
    match input {
        SinkInput::Source(source) => plan_select_all(catalog, source),
        SinkInput::Query(query) => plan_query(catalog, query, PlanTarget::Sink),
    }
}

/// A CREATE SINK of the catalog.
fn reread(engine: &Engine, statement: &str) -> Result<(Input, Name, Properties)> {
    let types = engine.inner.catalog.read().types.clone();
    let fail = |error| Error::statement(error, statement);
    let parsed = kappa_sql::parser::parse_with(statement, &types).map_err(fail)?;
    let Some(Statement::CreateSink {
        input, with, name, ..
    }) = parsed.0.into_iter().next().map(|parsed| parsed.statement)
    else {
        return Err(Error::Internal(format!("no sink is made by {statement}")));
    };
    let plan = plan_input(&engine.catalog(), &input).map_err(fail)?;
    let shape = RowShape::of(&plan);
    Ok((Input { plan, shape }, name, with))
}

/// Starts all feeds, writers and sinks of the catalog. What cannot be started is shown as such; the
/// others run.
pub(crate) async fn start_all(engine: &Engine) {
    let inner = &engine.inner;
    let catalog = inner.catalog.read().clone();
    let mut running = inner.sinks.lock().await;
    let mut failed: BTreeMap<&str, Error> = BTreeMap::new();
    for feed in catalog.feeds.values() {
        if let Err(error) = start_feed(engine, &mut running, feed, false).await {
            failed.insert(&feed.id, error);
        }
    }
    for writer in catalog.writers.values() {
        if let Err(error) = start_writer(engine, &mut running, writer, false) {
            failed.insert(&writer.feed, error);
        }
    }
    for sink in catalog.sinks.values() {
        let started = match failed.get(sink.feed.as_str()) {
            Some(error) => Err(error.clone()),
            None => start_sink(engine, &mut running, sink),
        };
        if let Err(error) = started {
            running.show_failed(&sink.name, &error.to_string());
        }
    }
    for name in catalog.old_sinks.keys() {
        let error = "it was made by an older Kappa: DROP it and create it again";
        running.show_failed(name, error);
    }
}

/// Opens a feed's outbox and starts its query, where its last commit left it.
pub(crate) async fn start_feed(
    engine: &Engine,
    running: &mut Running,
    feed: &StoredFeed,
    new: bool,
) -> Result<()> {
    let inner = &engine.inner;
    let (Input { plan, shape }, ..) = reread(engine, &feed.statement)?;
    let destination = if feed.blackhole {
        Destination::Blackhole
    } else {
        let outbox = Arc::new(Outbox::open(
            &inner.store,
            &inner.config.data_dir,
            &feed.id,
            feed.outbox(),
            Arc::clone(&shape.schema),
            readers_of_feed(engine, &feed.id)?,
            new.then(|| inner.clock.monotonic_ms()),
        )?);
        running
            .outboxes
            .insert(feed.id.clone(), Arc::clone(&outbox));
        Destination::Outbox { outbox, shape }
    };
    let spec = QuerySpec {
        id: feed.id.clone(),
        plan,
        destination,
        first_table: feed.first_table,
        layout: feed.layout,
        outbox: feed.outbox(),
        limits: limits(&feed.properties),
        start: start_at(&feed.properties),
    };
    let paused = feed.blackhole && is_paused(engine, &feed.id);
    let handle = QueryHandle::start(spec, engine.shared(), paused);
    inner.infos.write().insert(
        feed.id.clone(),
        (
            feed.sources.join(", "),
            feed.statement.clone(),
            Arc::clone(&handle.status),
        ),
    );
    inner.queries.lock().await.insert(feed.id.clone(), handle);
    Ok(())
}

/// The readers of a feed's outbox, and what each needs.
fn readers_of_feed(engine: &Engine, feed: &str) -> Result<Readers> {
    let (store, catalog) = (&engine.inner.store, engine.inner.catalog.read());
    let mut readers = Readers::new();
    let mut of_writers: BTreeMap<&str, Vec<Option<u64>>> = BTreeMap::new();
    for sink in catalog.sinks.values().filter(|sink| sink.feed == feed) {
        let departure = Departure::read(store.as_ref(), &sink.name)?;
        let until = departure.map(|departure| departure.epoch);
        match &sink.writer {
            Some(writer) => of_writers.entry(writer).or_default().push(until),
            None => {
                let cursor = Cursor::read(store.as_ref(), &sink.name)?;
                let last = cursor.unwrap_or_default().last;
                readers.insert(sink.name.clone(), Position { last, until });
            }
        }
    }
    let writers = catalog.writers.values();
    for writer in writers.filter(|writer| writer.feed == feed) {
        let progress = WriterProgress::read(store.as_ref(), &writer.id)?;
        let last = progress.unwrap_or_default().cursor;
        // When all its sinks have left, it has nothing more to do.
        let sinks = of_writers.get(writer.id.as_str());
        let until = sinks.and_then(|sinks| sinks.iter().copied().collect::<Option<Vec<u64>>>());
        let until = until.and_then(|sinks| sinks.into_iter().max());
        readers.insert(writer.id.clone(), Position { last, until });
    }
    Ok(readers)
}

/// The sinks of a writer, and the units that each needs.
fn readers_of_writer(engine: &Engine, writer: &str) -> Result<Readers> {
    let (store, catalog) = (&engine.inner.store, engine.inner.catalog.read());
    let mut readers = Readers::new();
    let sinks = catalog.sinks.values();
    for sink in sinks.filter(|sink| sink.writer.as_deref() == Some(writer)) {
        let cursor = Cursor::read(store.as_ref(), &sink.name)?;
        let departure = Departure::read(store.as_ref(), &sink.name)?;
        let position = Position {
            last: cursor.unwrap_or_default().last,
            until: departure.map(|departure| departure.last),
        };
        readers.insert(sink.name.clone(), position);
    }
    Ok(readers)
}

/// Whether the sink of a feed that has just one is paused.
fn is_paused(engine: &Engine, feed: &str) -> bool {
    let catalog = engine.inner.catalog.read();
    let mut sinks = catalog.sinks.values().filter(|sink| sink.feed == feed);
    sinks.any(|sink| sink.paused)
}

fn outbox(running: &Running, feed: &str) -> Result<Arc<Outbox>> {
    let found = running.outboxes.get(feed).cloned();
    found.ok_or_else(|| Error::Internal(format!("there is no outbox of {feed}")))
}

/// Starts a writer, where its last commit left it.
pub(crate) fn start_writer(
    engine: &Engine,
    running: &mut Running,
    writer: &StoredWriter,
    new: bool,
) -> Result<()> {
    let inner = &engine.inner;
    let outbox = outbox(running, &writer.feed)?;
    let progress = WriterProgress::read(inner.store.as_ref(), &writer.id)?.unwrap_or_default();
    outbox.advance(&writer.id, progress.cursor);
    let units = Units::open(
        &inner.store,
        &inner.config.data_dir,
        &writer.id,
        readers_of_writer(engine, &writer.id)?,
        new,
    )?;
    let handle = WriterHandle::start(WriterSpec {
        id: writer.id.clone(),
        options: writer.options.clone(),
        store: Arc::clone(&inner.store),
        outbox,
        units: Arc::new(units),
        clock: Arc::clone(&inner.clock),
    });
    running.writers.insert(writer.id.clone(), handle);
    Ok(())
}

/// Starts a sink, where its cursor is.
pub(crate) fn start_sink(engine: &Engine, running: &mut Running, sink: &StoredSink) -> Result<()> {
    let inner = &engine.inner;
    let (Input { shape, .. }, name, mut with) = reread(engine, &sink.statement)?;
    secret::restore(&mut with, &sink.secrets);
    let options = SinkOptions::parse(&with, &name, &shape, &inner.config)
        .map_err(|error| Error::statement(error, &sink.statement))?;
    let Some(target) = target(engine, sink, &options.kind, &shape)? else {
        // Its query is all there is.
        return Ok(());
    };
    let compaction = compaction(engine, sink, &options.kind, &target, &shape)?;
    let outbox = outbox(running, &sink.feed)?;
    let cursor = Cursor::read(inner.store.as_ref(), &sink.name)?.unwrap_or_default();
    let source = match &sink.writer {
        None => {
            outbox.advance(&sink.name, cursor.last);
            Source::Rows(Arc::clone(&outbox))
        }
        Some(writer) => {
            let writer = running.writers.get(writer);
            let writer = writer.ok_or_else(|| Error::Internal("a sink has no writer".into()))?;
            writer.units.advance(&sink.name, cursor.last);
            Source::Units {
                units: Arc::clone(&writer.units),
                writer: writer.commands(),
            }
        }
    };
    let status = Arc::new(TaskStatus::default());
    running
        .statuses
        .insert(sink.name.clone(), Arc::clone(&status));
    let spec = DeliverySpec {
        lookout: Lookout {
            sink: sink.name.clone(),
            source,
            outbox,
            can_leave: {
                let catalog = inner.catalog.read();
                let feed = catalog.feeds.get(&sink.feed);
                feed.is_some_and(|feed| feed.tables == 0)
            },
            policy: options.policy,
            status,
            clock: Arc::clone(&inner.clock),
        },
        departure: Departure::read(inner.store.as_ref(), &sink.name)?,
        engine: Arc::downgrade(inner),
        target,
        interval_ms: match &options.kind {
            SinkKind::Postgres { interval_ms, .. } | SinkKind::Streaming { interval_ms, .. } => {
                *interval_ms
            }
            _ => 0,
        },
        store: Arc::clone(&inner.store),
        compaction,
        system: Arc::clone(&inner.system),
        place: sink.place.clone(),
    };
    let handle = DeliveryHandle::start(spec, cursor, sink.paused);
    running.deliveries.insert(sink.name.clone(), handle);
    Ok(())
}

/// How a sink's small files are merged, if they are to be.
fn compaction(
    engine: &Engine,
    sink: &StoredSink,
    kind: &SinkKind,
    target: &Target,
    shape: &RowShape,
) -> Result<Option<CompactionSpec>> {
    let (
        SinkKind::Files {
            compact: Some(options),
            writer,
            ..
        },
        Target::Files(files),
    ) = (kind, target)
    else {
        return Ok(None);
    };
    let inner = &engine.inner;
    let columns = shape.columns_without(&writer.without);
    Ok(Some(CompactionSpec {
        files: files.clone(),
        small_files: Arc::new(SmallFiles::open(&inner.store, &sink.mark, *options)?),
        encoding: writer.encoding,
        schema: Arc::new(shape.schema.project(&columns)?),
        directory: compacting::directory(&inner.config.data_dir, &sink.mark),
        clock: Arc::clone(&inner.clock),
    }))
}

/// Where a sink's rows land; `None` for one that drops them.
pub(crate) fn target(
    engine: &Engine,
    sink: &StoredSink,
    kind: &SinkKind,
    shape: &RowShape,
) -> Result<Option<Target>> {
    let (name, mark) = (sink.name.clone(), sink.mark.clone());
    let clock = Arc::clone(&engine.inner.clock);
    let now = Arc::new(move || clock.now_ms());
    Ok(match kind {
        SinkKind::Blackhole => None,
        SinkKind::Postgres {
            options, without, ..
        } => {
            let keyed = !shape.keys.is_empty();
            let given = shape.columns_without(without);
            // Whether a row is gone is no column of the table.
            let schema = match keyed {
                true => shape.schema.project(&given[..given.len() - 1])?,
                false => shape.schema.project(&given)?,
            };
            let target = postgres::Target {
                sink: name,
                mark,
                schema: Arc::new(schema),
                keys: shape.keys.clone(),
            };
            Some(Target::Postgres(Box::new(PostgresTarget {
                postgres: Postgres::try_new(options, target)?,
                columns: given,
                sequence: keyed,
            })))
        }
        SinkKind::Snowflake { options, writer } => {
            let mut given = shape.columns_without(&writer.without);
            if writer.sequence {
                given.pop();
            }
            let target = snowflake::Target {
                sink: name,
                mark,
                schema: Arc::new(shape.schema.project(&given)?),
                keys: match writer.sequence {
                    true => shape.keys.clone(),
                    false => Vec::new(),
                },
            };
            let mut snowflake = Snowflake::try_new(options, target, now)?;
            if let Some(url) = options.stage_url() {
                snowflake = snowflake.with_bucket(file_target(engine, url, &BTreeMap::new())?);
            }
            Some(Target::Snowflake(Box::new(snowflake)))
        }
        SinkKind::Streaming {
            options, without, ..
        } => {
            let columns = shape.columns_without(without);
            let target = snowflake::Target {
                sink: name,
                mark,
                schema: Arc::new(shape.schema.project(&columns)?),
                keys: Vec::new(),
            };
            let streaming = Streaming::try_new(options, target, now)?;
            Some(Target::Streaming(Box::new(StreamingTarget {
                streaming,
                columns,
            })))
        }
        SinkKind::Files {
            path,
            prefix,
            commits,
            settings,
            writer,
            ..
        } => Some(Target::Files(FilesTarget {
            target: file_target(engine, path, settings)?,
            owner: Owner {
                prefix: prefix.clone(),
                mark: sink.mark.clone(),
            },
            extension: writer.encoding.extension(),
            commits: *commits,
        })),
        SinkKind::Delta {
            path,
            settings,
            options,
            writer,
        } => {
            let mut given = shape.columns_without(&writer.without);
            let merged = options.mode == delta::Mode::Merge;
            if merged {
                // Whether a row is gone is no column of the table.
                given.pop();
            }
            let spec = delta::Spec {
                sink: name,
                mark,
                schema: Arc::new(shape.schema.project(&given)?),
                keys: match merged {
                    true => shape.keys.clone(),
                    false => Vec::new(),
                },
                partition_by: options.partition_by.clone(),
                mode: options.mode,
                schema_evolution: options.schema_evolution,
                encoding: writer.encoding,
            };
            let place = file_target(engine, path, settings)?;
            Some(Target::Delta(Box::new(Delta::try_new(place, spec)?)))
        }
    })
}

/// A place for files, with the statement's settings over those of the process.
fn file_target(
    engine: &Engine,
    path: &str,
    settings: &BTreeMap<String, String>,
) -> Result<FileTarget> {
    let mut all = engine.inner.config.store_settings(path)?;
    all.extend(settings.clone());
    Ok(FileTarget::open(path, &all)?)
}

impl Running {
    /// Shows a sink that could not be started.
    pub(crate) fn show_failed(&mut self, sink: &str, error: &str) {
        let status = Arc::new(TaskStatus::default());
        status.set_state(QueryState::Error, Some(error.to_owned()));
        self.statuses.insert(sink.to_owned(), status);
    }

    /// How far they have come.
    pub(crate) fn progress(&self) -> Progress {
        let statuses = self.statuses.values();
        Progress {
            moved: self.moved,
            rows: statuses.map(|status| TaskStatus::get(&status.rows)).sum(),
        }
    }

    /// Whether a sink is about to go over to a feed of its own.
    pub(crate) fn moves(&self) -> bool {
        let mut statuses = self.statuses.values();
        statuses.any(|status| status.moves.load(Ordering::Relaxed))
    }

    /// Delivers all that the outboxes have now. Does not hold on to what runs meanwhile.
    pub(crate) fn flush(&self) -> impl Future<Output = Result<()>> + use<> {
        let writers: Vec<_> = self.writers.values().map(WriterHandle::flush).collect();
        let deliveries = self.deliveries.values().map(DeliveryHandle::flush);
        let deliveries: Vec<_> = deliveries.collect();
        async move {
            // Each to its end, so that one which fails does not cut the others short.
            let written = futures::future::join_all(writers).await;
            let delivered = futures::future::join_all(deliveries).await;
            written.into_iter().chain(delivered).collect()
        }
    }

    /// Ends everything.
    pub(crate) async fn stop(&mut self) {
        let deliveries = std::mem::take(&mut self.deliveries).into_values();
        futures::future::join_all(deliveries.map(DeliveryHandle::stop)).await;
        let writers = std::mem::take(&mut self.writers).into_values();
        futures::future::join_all(writers.map(WriterHandle::stop)).await;
        self.outboxes.clear();
    }
}
