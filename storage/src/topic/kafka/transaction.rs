//! Writing in transactions that carry a marker, so that after a crash it can be asked which epoch
//! Kafka has committed.
//!
//! The marker is the committed offset of partition 0 of the sink's topic, in a consumer group that
//! is named after the transactional id and has no members: its offset is the epoch and its metadata
//! a [`Marker`]. It is committed with the rows or not at all.
//!
//! ```text
//! init ──> begin ──> send … ──> commit ──> begin …
//!  ^                   └─ any error ─┐
//!  └──────── the caller sends what is missing again ─┘
//! ```
//!
//! After an error the transaction is given up; [`TransactionalProducer::init`] aborts what is left
//! of it and says how far Kafka has come. What a transaction that was cut off in the middle of its
//! commit came to is never guessed.

mod commit;
mod send;
mod session;
mod trace;
mod verdict;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, Producer};
use rdkafka::{Offset, TopicPartitionList};
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::time::Instant;

use self::commit::Commit;
use self::send::{RowHeaders, send};
use self::session::{Session, Transaction};
use self::verdict::Verdict;
use super::KafkaTopics;
use super::cluster::Cluster;
use super::context::WriteContext;
use crate::record::NewRecords;
use crate::topic::check_name;
use crate::{Error, Result};

/// Header with the sink and the epoch of a row: `<transactional id>:<epoch>`.
pub const EPOCH_HEADER: &str = "kappa-epoch";
/// Header with the place of a row within its epoch.
pub const SEQ_HEADER: &str = "kappa-seq";

/// How long one call into librdkafka may last before it is looked whether to go on.
const SLICE: Duration = Duration::from_secs(2);
/// What a committed transaction says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// The engine that wrote it.
    pub engine: String,
    /// The query.
    pub query: String,
    /// The epoch whose rows the transaction has.
    pub epoch: u64,
    /// What tells one version of the query's plan from another.
    pub plan: String,
}

/// Writes to topics of Kafka in transactions.
pub struct TransactionalProducer {
    cluster: Arc<Cluster>,
    id: String,
    marker_topic: String,
    session: Option<Session>,
    stopping: Arc<AtomicBool>,
    runtime: Handle,
}

impl TransactionalProducer {
    /// A producer with a transactional id, which must be its own among everything that writes to
    /// the cluster, and the topic whose partition 0 the markers are kept on. To be followed by
    /// [`Self::init`].
    pub fn new(topics: &KafkaTopics, id: &str, marker_topic: &str) -> Result<Self> {
        check_name(marker_topic)?;
        Ok(Self {
            cluster: topics.cluster.clone(),
            id: id.to_owned(),
            marker_topic: marker_topic.to_owned(),
            session: None,
            stopping: Arc::new(AtomicBool::new(false)),
            runtime: Handle::try_current()
                .map_err(|_| Error::Internal("a producer was made outside a runtime".into()))?,
        })
    }

    /// Takes the transactional id over: whoever had it before can write no more, and a transaction
    /// left open is aborted. Returns the marker of the last one committed, `None` if there is none
    /// (or it is so old that Kafka has forgotten it: see [`Self::epoch_in_records`]).
    pub async fn init(&mut self) -> Result<Option<Marker>> {
        self.close();
        let (cluster, id, topic) = (
            self.cluster.clone(),
            self.id.clone(),
            self.marker_topic.clone(),
        );
        let stopping = self.stopping.clone();
        let session = self
            .blocking(move || Session::open(&cluster, &id, &topic, &stopping))
            .await?;
        let committed = session.committed.clone();
        self.session = Some(session);
        Ok(committed)
    }

    /// Begins a transaction.
    ///
    /// If something happened to a connection during the last commit, the id is taken over anew
    /// first: librdkafka may have asked twice for that commit, and the second request must not
    /// reach this transaction (KIP-890).
    pub async fn begin(&mut self) -> Result<()> {
        if self.session()?.suspect {
            let before = self.session()?.committed.clone();
            if self.init().await? != before {
                return Err(self.taken_over());
            }
        }
        let session = self.session()?;
        if session.transaction.is_some() {
            return Err(Error::Internal(
                "a transaction is begun within another".to_owned(),
            ));
        }
        let transaction = Transaction {
            delivery: Arc::default(),
            sent: 0,
            begun: Instant::now(),
        };
        if let Err(error) = session.producer.begin_transaction() {
            return Err(self.give_up("begin a transaction", &error));
        }
        session.transaction = Some(transaction);
        Ok(())
    }

    /// Sends rows within the transaction, with headers that name the epoch and count the rows from
    /// `first_seq` on. Waits for room in the queue but not for delivery.
    pub async fn send(
        &mut self,
        topic: &str,
        records: NewRecords,
        epoch: u64,
        first_seq: u64,
    ) -> Result<()> {
        let (producer, transaction) = self.transaction()?;
        let (producer, delivery) = (producer.clone(), transaction.delivery.clone());
        transaction.sent += records.len();
        let (owned_topic, stopping) = (topic.to_owned(), self.stopping.clone());
        let headers = RowHeaders {
            epoch: format!("{}:{epoch}", self.id),
            first_seq,
        };
        let sent = self
            .blocking(move || {
                Ok(send(
                    &producer,
                    &owned_topic,
                    &records,
                    &headers,
                    &delivery,
                    &stopping,
                ))
            })
            .await?;
        sent.map_err(|error| self.give_up(&format!("write to topic \"{topic}\""), &error))
    }

    /// Commits the rows sent, with `marker`. When this returns, nothing can undo that; readers see
    /// the rows a moment later.
    pub async fn commit(&mut self, marker: &Marker) -> Result<()> {
        let (producer, transaction) = self.transaction()?;
        let (producer, delivery) = (producer.clone(), transaction.delivery.clone());
        let (sent, begun) = (transaction.sent, transaction.begun);
        let offsets = self.marker_offsets(marker)?;
        let session = self.session()?;
        let (group, timeout) = (session.group.clone(), session.timeout);
        let stopping = self.stopping.clone();
        let done = self
            .blocking(move || {
                let commit = Commit {
                    producer: &producer,
                    begun,
                    timeout,
                    stopping: &stopping,
                };
                Ok(commit.run(&delivery, sent, &offsets, &group))
            })
            .await?;
        match done {
            Ok(suspect) => {
                let session = self.session()?;
                session.transaction = None;
                session.suspect |= suspect;
                session.committed = Some(marker.clone());
                Ok(())
            }
            Err(error) => {
                let what = format!("commit epoch {} of \"{}\"", marker.epoch, self.id);
                Err(self.give_up(&what, &error))
            }
        }
    }

    /// Aborts the transaction, if there is one: none of its rows will be seen.
    pub async fn abort(&mut self) -> Result<()> {
        let Some(session) = &mut self.session else {
            return Ok(());
        };
        if session.transaction.take().is_none() {
            return Ok(());
        }
        let (producer, stopping) = (session.producer.clone(), self.stopping.clone());
        let done = self
            .blocking(move || Ok(commit::abort(&producer, &stopping)))
            .await?;
        done.map_err(|error| self.give_up("abort a transaction", &error))
    }

    /// Makes calls that wait for the cluster return soon, with an error.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// The transactional id.
    pub fn id(&self) -> &str {
        &self.id
    }

    fn marker_offsets(&self, marker: &Marker) -> Result<TopicPartitionList> {
        let failed = |error: &dyn fmt::Display| Error::Internal(format!("marker: {error}"));
        let metadata = serde_json::to_string(marker).map_err(|error| failed(&error))?;
        let epoch = i64::try_from(marker.epoch).map_err(|error| failed(&error))?;
        let mut offsets = TopicPartitionList::new();
        let mut element = offsets.add_partition(&self.marker_topic, 0);
        element
            .set_offset(Offset::Offset(epoch))
            .map_err(|error| failed(&error))?;
        element.set_metadata(metadata);
        Ok(offsets)
    }

    fn session(&mut self) -> Result<&mut Session> {
        self.session.as_mut().ok_or_else(|| {
            Error::Internal("a transactional producer is used that is not initialised".to_owned())
        })
    }

    fn transaction(&mut self) -> Result<(&Arc<BaseProducer<WriteContext>>, &mut Transaction)> {
        let session = self.session()?;
        let Session {
            producer,
            transaction,
            ..
        } = session;
        let transaction = transaction
            .as_mut()
            .ok_or_else(|| Error::Internal("rows are written outside a transaction".to_owned()))?;
        Ok((producer, transaction))
    }

    /// Ends the session after an error and says what that error means.
    fn give_up(&mut self, what: &str, error: &KafkaError) -> Error {
        let (reason, timed_out) = match &self.session {
            Some(session) => (session.reason(), session.timed_out()),
            None => (None, false),
        };
        let verdict = Verdict::of(error, timed_out);
        self.close();
        match verdict {
            Verdict::Fenced => self.taken_over(),
            Verdict::TimedOut => Error::retryable(
                what,
                "the transaction took longer than transaction.timeout.ms and was aborted",
            ),
            Verdict::Refused => super::errors::error(what, error, &self.cluster.servers, reason),
            Verdict::Retry | Verdict::Again => {
                let reason = reason
                    .map(|reason| format!(" ({reason})"))
                    .unwrap_or_default();
                Error::retryable(
                    what,
                    format!("{error}{reason}; the transaction was given up"),
                )
            }
        }
    }

    fn taken_over(&mut self) -> Error {
        self.close();
        Error::external(
            format!("write to Kafka as \"{}\"", self.id),
            "another Kappa has taken over and writes in its place; one data directory, or a copy of \
             it, may be in use only once",
        )
    }

    fn close(&mut self) {
        if let Some(session) = self.session.take() {
            // Ending clients takes its time, and this may be an async thread.
            self.runtime.spawn_blocking(move || drop(session));
        }
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|error| Error::Internal(format!("a transaction did not end: {error}")))?
    }
}

impl Drop for TransactionalProducer {
    fn drop(&mut self) {
        self.stop();
        self.close();
    }
}

impl fmt::Debug for TransactionalProducer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransactionalProducer")
            .field("id", &self.id)
            .field("marker_topic", &self.marker_topic)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
