//! How a sink leaves its feed: `ON_OUTAGE = 'pause'`.
//!
//! A sink that is too far behind takes what is there up to its *departure* and nothing after it, so that
//! the outbox and the writer it shares with others keep no more for it. When its target has that, it
//! goes on from the sources, where the departure says, with a feed (and a writer) of its own.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use kappa_storage::store::Durability;
use serde::{Deserialize, Serialize};

use super::outbox::Offsets;
use super::running::{Running, start_feed, start_sink, start_writer};
use super::writer::WriterProgress;
use crate::catalog::{StoredFeed, StoredSink, StoredWriter};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::meta_entry::MetaEntry;
use crate::query::progress::Progress;
use crate::statement::sink::{FEED, WRITER, leave};

/// Up to where a sink takes what its feed has, and where it goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Departure {
    /// The last unit or epoch that it takes.
    pub(crate) last: u64,
    /// The last epoch whose rows are in what it takes.
    pub(crate) epoch: u64,
    /// Where the feed's sources go on after that epoch.
    pub(crate) offsets: Offsets,
    /// Largest row time up to there, where a writer goes on.
    pub(crate) stream_time_ms: Option<i64>,
}

impl MetaEntry for Departure {
    const KIND: &'static str = "departure";
}

/// Lets a sink that has all up to its departure go on with a feed of its own. What fails is shown as
/// the sink's error; a restart tries again.
pub(crate) async fn go_on(engine: Engine, sink: String) {
    let _ddl = engine.inner.ddl.lock().await;
    let mut running = engine.inner.sinks.lock().await;
    let Some(status) = running.statuses.get(&sink).cloned() else {
        return;
    };
    if let Err(error) = with_own_feed(&engine, &mut running, &sink).await {
        running.show_failed(&sink, &error.to_string());
    }
    running.moved += 1;
    status.moves.store(false, Ordering::Relaxed);
}

async fn with_own_feed(engine: &Engine, running: &mut Running, name: &str) -> Result<()> {
    let inner = &engine.inner;
    // Not another sink, which has that name by now.
    let Some(departure) = Departure::read(inner.store.as_ref(), name)? else {
        return Ok(());
    };
    // Not when everything has been stopped meanwhile.
    let Some(delivery) = running.deliveries.remove(name) else {
        return Ok(());
    };
    delivery.stop().await;
    let lost = |what: &str| Error::Internal(format!("sink {name} has no {what}"));
    let (sink, feed, writer, mut counters) = {
        let catalog = inner.catalog.read();
        let sink = catalog.sinks.get(name).cloned();
        let sink = sink.ok_or_else(|| lost("entry"))?;
        let feed = catalog.feeds.get(&sink.feed).cloned();
        let writer = sink.writer.as_ref();
        let writer = writer.and_then(|writer| catalog.writers.get(writer).cloned());
        let feed = feed.ok_or_else(|| lost("feed"))?;
        (sink, feed, writer, catalog.counters)
    };
    let mut id = |kind: &str| {
        counters.query += 1;
        format!("{kind}{}", counters.query - 1)
    };
    let own_feed = StoredFeed {
        id: id(FEED),
        // Nobody else joins it.
        relation: None,
        first_table: counters.table,
        ..feed
    };
    let own_writer = writer.map(|writer| StoredWriter {
        id: id(WRITER),
        feed: own_feed.id.clone(),
        ..writer
    });
    counters.table += own_feed.tables + 1;
    let own_sink = StoredSink {
        feed: own_feed.id.clone(),
        writer: own_writer.as_ref().map(|writer| writer.id.clone()),
        ..sink.clone()
    };

    let mut commit = inner.store.begin();
    let left = leave(engine, running, &sink, &mut commit).await?;
    own_sink.write(&mut commit)?;
    own_feed.write(&mut commit)?;
    let progress = Progress {
        epoch: departure.epoch,
        offsets: departure.offsets.clone(),
        ..Progress::default()
    };
    progress.write(&own_feed.id, &mut commit)?;
    if let Some(writer) = &own_writer {
        writer.write(&mut commit)?;
        WriterProgress::after(&departure).write(&writer.id, &mut commit)?;
    }
    Departure::delete(name, &mut commit);
    counters.write(&mut commit)?;
    inner.store.commit(commit, Durability::Sync)?;
    left.finish(engine);
    {
        let mut catalog = inner.catalog.write();
        catalog.counters = counters;
        catalog.sinks.insert(name.to_owned(), own_sink.clone());
        catalog.feeds.insert(own_feed.id.clone(), own_feed.clone());
        let writers = own_writer.iter();
        let writers = writers.map(|writer| (writer.id.clone(), writer.clone()));
        catalog.writers.extend(writers.collect::<BTreeMap<_, _>>());
    }
    start_feed(engine, running, &own_feed, false).await?;
    if let Some(writer) = &own_writer {
        start_writer(engine, running, writer, false)?;
    }
    start_sink(engine, running, &own_sink)
}
