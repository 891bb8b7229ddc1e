//! CREATE SINK, DROP SINK, PAUSE and RESUME SINK, SHOW SINKS, DESCRIBE SINK.

use std::sync::Arc;

use kappa_sql::ast::{Name, Parsed, SinkInput, Statement};
use kappa_storage::store::{Commit, Durability};

use super::fail;
use super::listing::{Cells, rows};
use crate::QueryInfo;
use crate::catalog::{Counters, StoredFeed, StoredSink, StoredWriter};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::meta_entry::MetaEntry;
use crate::plan::{self, StatePlace};
use crate::query::progress::Progress;
use crate::query::status::QueryState;
use crate::response::Response;
use crate::session::Session;
use crate::sink::compacting;
use crate::sink::delivery::{Cursor, DeliveryHandle};
use crate::sink::departure::Departure;
use crate::sink::options::{SinkKind, SinkOptions};
use crate::sink::outbox::Outbox;
use crate::sink::rows::RowShape;
use crate::sink::running::{Running, plan_input, start_feed, start_sink, start_writer, target};
use crate::sink::secret;
use crate::sink::small_files::SmallFiles;
use crate::sink::status::TaskStatus;
use crate::sink::units::Units;
use crate::sink::writer::{WriterOptions, WriterProgress};
use crate::state::{StateLayout, StateTable};

/// What the ids of feeds begin with.
pub(crate) const FEED: &str = "FEED_";
/// What the ids of writers begin with.
pub(crate) const WRITER: &str = "WRITER_";

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
    if exists(session, name) {
        if *if_not_exists {
            return Ok(Response::Done(format!("sink {name} exists already")));
        }
        return Err(fail(
            kappa_sql::Error::invalid(format!("a sink {name} exists already")).at(name.span),
        ));
    }
    // What does not fit is said now, not when the first row comes.
    let plan = plan_input(&engine.catalog(), input).map_err(fail)?;
    let shape = RowShape::of(&plan);
    let options = SinkOptions::parse(with, name, &shape, &inner.config).map_err(fail)?;
    // The statement is kept and shown without its secrets.
    let (statement, secrets) = secret::hide(parsed);
    let sources: Vec<String> = plan.sources.iter().map(|s| s.name.clone()).collect();
    let mut sink = StoredSink {
        name: name.value.clone(),
        mark: format!("{:08x}", crate::engine::chance() as u32),
        statement: statement.clone(),
        secrets,
        place: options.kind.place(),
        sources: sources.clone(),
        feed: String::new(),
        writer: None,
        paused: false,
    };
    target(engine, &sink, &options.kind, &shape)?;
    let mut running = inner.sinks.lock().await;
    let mut counters = inner.catalog.read().counters;
    let blackhole = matches!(options.kind, SinkKind::Blackhole);
    let shared = match (blackhole, input) {
        (false, SinkInput::Source(source)) => shared_feed(session, &running, &source.value, name),
        _ => None,
    };
    let mut new_feed = None;
    if let Some(feed) = shared {
        sink.feed = feed;
    } else {
        let place = StatePlace {
            store: Arc::clone(&inner.store),
            first_table: counters.table,
            layout: StateLayout::LATEST,
            transient: true,
        };
        let tables = plan::plan(&plan.plan, place).await?.tables;
        sink.feed = format!("{FEED}{}", counters.query);
        new_feed = Some(StoredFeed {
            id: sink.feed.clone(),
            statement,
            relation: match input {
                SinkInput::Source(source) => Some(source.value.clone()),
                SinkInput::Query(_) => None,
            },
            sources,
            blackhole,
            first_table: counters.table,
            tables,
            layout: StateLayout::LATEST,
            properties: session.properties.clone(),
        });
        counters.query += 1;
        // One number more for the outbox.
        counters.table += tables + 1;
    }
    let mut new_writer = None;
    if let Some(writer) = options.kind.writer() {
        let shared = shared_writer(session, &running, &sink, writer);
        sink.writer = Some(match shared {
            Some(writer) => writer,
            None => {
                let id = format!("{WRITER}{}", counters.query);
                counters.query += 1;
                new_writer = Some(StoredWriter {
                    id: id.clone(),
                    feed: sink.feed.clone(),
                    options: writer.clone(),
                });
                id
            }
        });
    }
    register(
        engine,
        &sink,
        new_feed.as_ref(),
        new_writer.as_ref(),
        counters,
    )?;
    if let Some(feed) = &new_feed {
        start_feed(engine, &mut running, feed, true).await?;
    }
    if let Some(writer) = &new_writer {
        start_writer(engine, &mut running, writer, true)?;
    }
    if let (Some(_), Some(outbox)) = (&sink.writer, running.outboxes.get(&sink.feed)) {
        // The writer's files are all that it needs, and the writer is a reader by now.
        outbox.detach(&sink.name);
    }
    start_sink(engine, &mut running, &sink)?;
    let what = match input {
        SinkInput::Source(source) => source.to_string(),
        SinkInput::Query(_) => "its rows".to_owned(),
    };
    Ok(Response::Done(match &options.kind {
        SinkKind::Blackhole => format!("sink {name} counts its rows and drops them"),
        kind => format!("sink {name} writes {what} to {}", kind.place()),
    }))
}

fn exists(session: &Session, name: &Name) -> bool {
    let catalog = session.engine.inner.catalog.read();
    catalog.sinks.contains_key(&name.value) || catalog.old_sinks.contains_key(&name.value)
}

/// A feed of the same relation that still has everything from the beginning. The new sink is its
/// reader from now on, so that nothing is given back meanwhile.
fn shared_feed(
    session: &Session,
    running: &Running,
    relation: &str,
    sink: &Name,
) -> Option<String> {
    let catalog = session.engine.inner.catalog.read();
    let mut feeds = catalog.feeds.values().filter(|feed| {
        feed.relation.as_deref() == Some(relation) && feed.properties == session.properties
    });
    let feed = feeds.find(|feed| {
        let outbox = running.outboxes.get(&feed.id);
        outbox.is_some_and(|outbox| {
            outbox.advance(&sink.value, 0);
            let whole = outbox.is_whole();
            if !whole {
                outbox.detach(&sink.value);
            }
            whole
        })
    })?;
    Some(feed.id.clone())
}

/// A writer of the sink's feed that makes the same files and still has all of them.
fn shared_writer(
    session: &Session,
    running: &Running,
    sink: &StoredSink,
    options: &WriterOptions,
) -> Option<String> {
    let catalog = session.engine.inner.catalog.read();
    let mut writers = catalog
        .writers
        .values()
        .filter(|writer| writer.feed == sink.feed && writer.options == *options);
    let outbox = running.outboxes.get(&sink.feed);
    let writer = writers.find(|writer| {
        let writes = outbox.is_some_and(|outbox| outbox.is_read_by(&writer.id));
        let handle = running.writers.get(&writer.id).filter(|_| writes);
        handle.is_some_and(|handle| {
            handle.units.advance(&sink.name, 0);
            let whole = handle.units.is_whole();
            if !whole {
                handle.units.detach(&sink.name);
            }
            whole
        })
    })?;
    Some(writer.id.clone())
}

/// Makes the sink, and what is new for it, part of the catalog.
fn register(
    engine: &Engine,
    sink: &StoredSink,
    feed: Option<&StoredFeed>,
    writer: Option<&StoredWriter>,
    counters: Counters,
) -> Result<()> {
    let inner = &engine.inner;
    let mut commit = inner.store.begin();
    sink.write(&mut commit)?;
    if let Some(feed) = feed {
        feed.write(&mut commit)?;
    }
    if let Some(writer) = writer {
        writer.write(&mut commit)?;
    }
    Cursor::default().write(&sink.name, &mut commit)?;
    counters.write(&mut commit)?;
    inner.store.commit(commit, Durability::Sync)?;
    let mut catalog = inner.catalog.write();
    catalog.counters = counters;
    catalog.sinks.insert(sink.name.clone(), sink.clone());
    if let Some(feed) = feed {
        catalog.feeds.insert(feed.id.clone(), feed.clone());
    }
    if let Some(writer) = writer {
        catalog.writers.insert(writer.id.clone(), writer.clone());
    }
    Ok(())
}

fn find(session: &Session, name: &Name) -> Result<StoredSink> {
    let catalog = session.engine.inner.catalog.read();
    catalog.sinks.get(&name.value).cloned().ok_or_else(|| {
        let error = kappa_sql::Error::unknown(format!("there is no sink {name}")).at(name.span);
        fail(error.did_you_mean(&name.value, catalog.sinks.keys().map(String::as_str)))
    })
}

pub(super) async fn drop(session: &Session, name: &Name, if_exists: bool) -> Result<Response> {
    let engine = &session.engine;
    let inner = &engine.inner;
    let _ddl = inner.ddl.lock().await;
    if inner.catalog.read().old_sinks.contains_key(&name.value) {
        return drop_old(session, name).await;
    }
    let sink = match find(session, name) {
        Ok(sink) => sink,
        Err(_) if if_exists => return Ok(Response::Done(format!("there is no sink {name}"))),
        Err(error) => return Err(error),
    };
    let mut running = inner.sinks.lock().await;
    if let Some(delivery) = running.deliveries.remove(&sink.name) {
        delivery.stop().await;
    }
    running.statuses.remove(&sink.name);
    let mut commit = inner.store.begin();
    StoredSink::delete(&sink.name, &mut commit);
    Cursor::delete(&sink.name, &mut commit);
    Departure::delete(&sink.name, &mut commit);
    SmallFiles::delete(&sink.mark, &mut commit);
    let left = leave(engine, &mut running, &sink, &mut commit).await?;
    inner.store.commit(commit, Durability::Sync)?;
    // What is left of a file that was to be merged.
    let merging = compacting::directory(&inner.config.data_dir, &sink.mark);
    std::mem::drop(std::fs::remove_dir_all(merging));
    inner.catalog.write().sinks.remove(&sink.name);
    left.finish(engine);
    Ok(Response::Done(format!(
        "sink {name} dropped; what it wrote stays"
    )))
}

/// What nobody needs any more since a sink has left.
#[derive(Debug)]
pub(crate) struct Left {
    feed: Option<StoredFeed>,
    writer: Option<String>,
}

/// Takes a sink whose task has ended off its feed and its writer. What only it needed of them ends, and
/// is removed in the commit; after that, [`Left::finish`].
pub(crate) async fn leave(
    engine: &Engine,
    running: &mut Running,
    sink: &StoredSink,
    commit: &mut Commit,
) -> Result<Left> {
    let inner = &engine.inner;
    let (feed, writer) = {
        let catalog = inner.catalog.read();
        let others = || {
            let sinks = catalog.sinks.values();
            sinks.filter(|other| other.name != sink.name)
        };
        let last_of_feed = !others().any(|other| other.feed == sink.feed);
        let last_of_writer = !others().any(|other| other.writer == sink.writer);
        let feed = catalog.feeds.get(&sink.feed).filter(|_| last_of_feed);
        let writer = sink.writer.clone().filter(|_| last_of_writer);
        (feed.cloned(), writer)
    };
    if let Some(units) = sink.writer.as_ref().and_then(|w| running.writers.get(w)) {
        units.units.detach(&sink.name);
    }
    if let Some(outbox) = running.outboxes.get(&sink.feed) {
        outbox.detach(&sink.name);
    }
    if let Some(writer) = &writer {
        if let Some(handle) = running.writers.remove(writer) {
            handle.stop().await;
        }
        if let Some(outbox) = running.outboxes.get(&sink.feed) {
            outbox.detach(writer);
        }
        StoredWriter::delete(writer, commit);
        WriterProgress::delete(writer, commit);
        Units::delete(writer, commit);
    }
    if let Some(feed) = &feed {
        let handle = inner.queries.lock().await.remove(&feed.id);
        if let Some(handle) = handle {
            handle.stop().await;
        }
        inner.infos.write().remove(&feed.id);
        running.outboxes.remove(&feed.id);
        StoredFeed::delete(&feed.id, commit);
        for table in feed.first_table..feed.first_table + feed.tables {
            StateTable::delete(table, commit);
        }
        Progress::delete(&feed.id, commit);
        Outbox::delete(&feed.id, feed.outbox(), commit);
    }
    Ok(Left { feed, writer })
}

impl Left {
    /// The commit is durable: the files go, too.
    pub(crate) fn finish(self, engine: &Engine) {
        let inner = &engine.inner;
        let mut catalog = inner.catalog.write();
        if let Some(writer) = &self.writer {
            catalog.writers.remove(writer);
            Units::delete_files(&inner.config.data_dir, writer);
        }
        if let Some(feed) = &self.feed {
            catalog.feeds.remove(&feed.id);
            Outbox::delete_files(&inner.config.data_dir, &feed.id);
        }
    }
}

/// Drops a sink of an older layout, of which nothing runs.
async fn drop_old(session: &Session, name: &Name) -> Result<Response> {
    let inner = &session.engine.inner;
    let mut commit = inner.store.begin();
    StoredSink::delete(&name.value, &mut commit);
    inner.store.commit(commit, Durability::Sync)?;
    inner.catalog.write().old_sinks.remove(&name.value);
    inner.sinks.lock().await.statuses.remove(&name.value);
    Ok(Response::Done(format!("sink {name} dropped")))
}

pub(super) async fn pause(session: &Session, name: &Name, pause: bool) -> Result<Response> {
    let inner = &session.engine.inner;
    let _ddl = inner.ddl.lock().await;
    let mut sink = find(session, name)?;
    sink.paused = pause;
    let mut commit = inner.store.begin();
    sink.write(&mut commit)?;
    inner.store.commit(commit, Durability::Sync)?;
    let blackhole = {
        let mut catalog = inner.catalog.write();
        catalog.sinks.insert(sink.name.clone(), sink.clone());
        let feed = catalog.feeds.get(&sink.feed);
        feed.is_some_and(|feed| feed.blackhole)
    };
    let running = inner.sinks.lock().await;
    if let Some(delivery) = running.deliveries.get(&sink.name) {
        match pause {
            true => delivery.pause().await,
            false => delivery.resume().await,
        }
    }
    let queries = inner.queries.lock().await;
    let feed = queries.get(&sink.feed);
    match (pause, feed) {
        // The feed goes on for the others, and what waits for this one is kept.
        (true, Some(feed)) if blackhole => feed.pause().await,
        (false, Some(feed)) => {
            feed.resume().await;
            if let Some(writer) = sink.writer.as_ref().and_then(|w| running.writers.get(w)) {
                writer.resume().await;
            }
        }
        _ => {}
    }
    Ok(Response::Done(format!(
        "sink {name} {}",
        if pause { "paused" } else { "resumed" }
    )))
}

/// A sink as SHOW SINKS has it.
struct Shown {
    name: String,
    source: String,
    place: String,
    state: QueryState,
    error: String,
    rows: u64,
    files: u64,
    rejected: u64,
    behind: u64,
    behind_bytes: u64,
    lag: u64,
    statement: String,
}

async fn shown(session: &Session) -> Vec<Shown> {
    let inner = &session.engine.inner;
    let infos = session.engine.queries();
    let running = inner.sinks.lock().await;
    let catalog = inner.catalog.read();
    let mut all = Vec::new();
    for sink in catalog.sinks.values() {
        let info = infos.iter().find(|info| info.id == sink.feed);
        let status = running.statuses.get(&sink.name);
        let writer = sink.writer.as_ref().and_then(|w| running.writers.get(w));
        let (state, error) = worst(status, writer.map(|writer| &writer.status), info);
        let get = |of: fn(&TaskStatus) -> u64| status.map_or(0, |status| of(status));
        // One that is too far behind may hold up the others.
        let outbox = running.outboxes.get(&sink.feed);
        let held_up = outbox.and_then(|outbox| outbox.held_up());
        let error = error.or(held_up.map(|why| format!("its feed {why}")));
        let blackhole = catalog.feeds.get(&sink.feed).is_some_and(|f| f.blackhole);
        all.push(Shown {
            name: sink.name.clone(),
            source: sink.sources.join(", "),
            place: sink.place.clone(),
            state,
            error: error.unwrap_or_default(),
            rows: match (blackhole, info) {
                (true, Some(info)) => info.rows_out,
                _ => get(|status| TaskStatus::get(&status.rows)),
            },
            files: get(|status| TaskStatus::get(&status.files)),
            rejected: get(|status| TaskStatus::get(&status.rejected)),
            behind: get(|status| TaskStatus::get(&status.behind)),
            behind_bytes: get(|status| TaskStatus::get(&status.behind_bytes)),
            lag: info.map_or(0, |info| info.lag),
            statement: sink.statement.clone(),
        });
    }
    for (name, statement) in &catalog.old_sinks {
        let status = running.statuses.get(name);
        let (state, error) = worst(status, None, None);
        all.push(Shown {
            name: name.clone(),
            source: String::new(),
            place: String::new(),
            state,
            error: error.unwrap_or_default(),
            rows: 0,
            files: 0,
            rejected: 0,
            behind: 0,
            behind_bytes: 0,
            lag: 0,
            statement: statement.clone(),
        });
    }
    all
}

/// The state that a person should know of first: the sink's own, its writer's, or its feed's.
fn worst(
    sink: Option<&Arc<TaskStatus>>,
    writer: Option<&Arc<TaskStatus>>,
    feed: Option<&QueryInfo>,
) -> (QueryState, Option<String>) {
    let own = sink.map(|status| status.state());
    let writer = writer.map(|status| status.state());
    let feed = feed.map(|info| (info.state, info.error.clone()));
    let states = [own.clone(), writer, feed.clone()];
    let failed = states.into_iter().flatten().find(|(state, _)| {
        use QueryState::{Error, Retrying, Stalled};
        matches!(state, Error | Retrying | Stalled)
    });
    failed
        .or(own)
        .or(feed)
        .unwrap_or((QueryState::Starting, None))
}

pub(super) async fn show(session: &Session) -> Result<Response> {
    let sinks = shown(session).await;
    let text = |of: fn(&Shown) -> String| Cells::Text(sinks.iter().map(of).collect());
    let number = |of: fn(&Shown) -> u64| {
        let value = |sink: &Shown| i64::try_from(of(sink)).unwrap_or(i64::MAX);
        Cells::Number(sinks.iter().map(value).collect())
    };
    rows(vec![
        ("name", text(|s| s.name.clone())),
        ("source", text(|s| s.source.clone())),
        ("path", text(|s| s.place.clone())),
        ("state", text(|s| s.state.name().to_owned())),
        ("rows", number(|s| s.rows)),
        ("files", number(|s| s.files)),
        ("behind", number(|s| s.behind)),
        ("behind_bytes", number(|s| s.behind_bytes)),
        ("lag", number(|s| s.lag)),
        ("error", text(|s| s.error.clone())),
        ("rejected", number(|s| s.rejected)),
    ])
}

/// DESCRIBE of a sink; `None` when there is none of that name.
pub(super) async fn describe(session: &Session, name: &Name) -> Result<Option<Response>> {
    let all = shown(session).await;
    let Some(sink) = all.into_iter().find(|sink| sink.name == name.value) else {
        return Ok(None);
    };
    let mut facts = vec![
        ("reads", sink.source),
        ("writes", sink.place),
        ("state", sink.state.name().to_owned()),
        ("rows delivered", sink.rows.to_string()),
        ("files delivered", sink.files.to_string()),
        ("rows rejected", sink.rejected.to_string()),
        (
            "waiting for the target",
            format!("{} ({} bytes)", sink.behind, sink.behind_bytes),
        ),
        ("records yet to read", sink.lag.to_string()),
    ];
    if !sink.error.is_empty() {
        facts.push(("error", sink.error));
    }
    let running = session.engine.inner.sinks.lock().await;
    let delivery = running.deliveries.get(&sink.name);
    if let Some((done, error)) = delivery.and_then(DeliveryHandle::compaction) {
        facts.push((
            "files compacted",
            format!(
                "{} ({} bytes) into {} ({} bytes)",
                done.files, done.bytes, done.number, done.bytes_merged
            ),
        ));
        if let Some(error) = error {
            facts.push(("compaction error", error.to_string()));
        }
    }
    if let Some(stored) = session.engine.inner.catalog.read().sinks.get(&sink.name) {
        facts.push(("feed", stored.feed.clone()));
        if let Some(writer) = &stored.writer {
            facts.push(("writer", writer.clone()));
        }
        let store = session.engine.inner.store.as_ref();
        if let Some(departure) = Departure::read(store, &stored.name)? {
            let left = format!("at epoch {}, to go on from its source", departure.epoch);
            facts.push(("leaves its feed", left));
        }
        facts.push(("mark", stored.mark.clone()));
    }
    facts.push(("statement", sink.statement));
    let (names, values): (Vec<_>, Vec<_>) = facts.into_iter().unzip();
    Ok(Some(rows(vec![
        (
            "what",
            Cells::Text(names.into_iter().map(str::to_owned).collect()),
        ),
        ("value", Cells::Text(values)),
    ])?))
}
