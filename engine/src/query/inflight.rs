//! A commit that is being written, and published to Kafka, while its query goes on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};

use arrow::array::RecordBatch;
use kappa_storage::record::NewRecords;
use kappa_storage::store::{Commit, Durability, Store};
use tokio::runtime::Handle;
use tokio::sync::Mutex;

use super::kafka_sink::KafkaSink;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::sink::outbox::Outbox;

/// What Kafka gets once the commit is durable.
pub(super) struct Publication {
    pub(super) sink: Arc<Mutex<KafkaSink>>,
    pub(super) epoch: u64,
    pub(super) records: Vec<NewRecords>,
}

/// Rows that go into an outbox with the commit.
pub(super) struct NewSegment {
    pub(super) outbox: Arc<Outbox>,
    pub(super) epoch: u64,
    pub(super) rows: Vec<RecordBatch>,
    pub(super) offsets: Vec<BTreeMap<i32, i64>>,
    pub(super) now_ms: i64,
}

/// The commit. Dropping it waits for its end: whoever opens the query again then finds it whole.
#[derive(Debug)]
pub(super) struct Inflight {
    /// When it ended, on the monotonic clock, in milliseconds.
    done: Receiver<Result<i64>>,
    result: Option<Result<i64>>,
}

impl Inflight {
    /// Starts writing on another thread. To be called within a runtime.
    pub(super) fn start(
        store: Arc<Store>,
        commit: Commit,
        segment: Option<NewSegment>,
        publication: Option<Publication>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let (sender, done) = sync_channel(1);
        let runtime = Handle::current();
        runtime.clone().spawn_blocking(move || {
            let ended =
                write(store, commit, segment, publication, &runtime).map(|()| clock.monotonic_ms());
            // Nobody listens any more when the process ends.
            drop(sender.send(ended));
        });
        Self { done, result: None }
    }

    /// Whether it has ended, well or not.
    pub(super) fn has_ended(&mut self) -> bool {
        if self.result.is_none() {
            self.result = match self.done.try_recv() {
                Ok(result) => Some(result),
                Err(TryRecvError::Empty) => None,
                Err(TryRecvError::Disconnected) => Some(Err(panicked())),
            };
        }
        self.result.is_some()
    }

    /// Waits for its end; returns when that was, on the monotonic clock, in milliseconds.
    pub(super) fn wait(&mut self) -> Result<i64> {
        let result = self.result.take();
        let result = result.unwrap_or_else(|| self.done.recv().unwrap_or_else(|_| Err(panicked())));
        self.result = Some(result.clone());
        result
    }
}

impl Drop for Inflight {
    fn drop(&mut self) {
        // Whether it went well is seen by who opens the query again.
        drop(self.wait());
    }
}

/// Takes what it needs, so that nothing holds on to the store once the end is known.
fn write(
    store: Arc<Store>,
    mut commit: Commit,
    segment: Option<NewSegment>,
    publication: Option<Publication>,
    runtime: &Handle,
) -> Result<()> {
    if let Some(segment) = segment {
        let NewSegment {
            outbox,
            epoch,
            rows,
            offsets,
            now_ms,
        } = segment;
        outbox.write(epoch, &rows, offsets, now_ms, &mut commit)?;
    }
    store.commit(commit, Durability::Sync)?;
    if let Some(Publication {
        sink,
        epoch,
        records,
    }) = publication
    {
        runtime.block_on(async { sink.lock().await.publish(epoch, records).await })?;
    }
    Ok(())
}

fn panicked() -> Error {
    Error::Internal("a commit panicked".into())
}
