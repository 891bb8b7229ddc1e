//! A query's output in Kafka, exactly once: each epoch's records are in the outbox, in the commit of
//! the epoch, and then in one Kafka transaction whose marker names the epoch.
//!
//! | local epoch L, marker M | after a restart |
//! |---|---|
//! | M = L | nothing to do |
//! | M < L | the epochs after M are sent again from the outbox |
//! | M > L | the local state lost durable data: refuse to start |

use std::sync::Arc;

use kappa_storage::record::NewRecords;
use kappa_storage::store::key::parse_outbox_key;
use kappa_storage::store::{Commit, Store, View};
use kappa_storage::topic::kafka::KafkaTopics;
use kappa_storage::topic::kafka::transaction::{Marker, TransactionalProducer};

use crate::error::{Error, Result};

/// Writes a query's records to a topic of Kafka.
pub(crate) struct KafkaSink {
    producer: TransactionalProducer,
    topic: String,
    engine: String,
    query: String,
    /// The outbox of the query.
    outbox: u32,
    /// The last epoch that Kafka has.
    published: u64,
}

impl std::fmt::Debug for KafkaSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KafkaSink({}, epoch {})", self.topic, self.published)
    }
}

impl KafkaSink {
    /// Opens the sink and brings Kafka to the epoch of the last local commit.
    ///
    /// # Errors
    /// A cluster that is away; local state that is older than what Kafka has.
    pub(crate) async fn open(
        topics: &KafkaTopics,
        store: &Arc<Store>,
        engine: &str,
        query: &str,
        topic: &str,
        outbox: u32,
        epoch: u64,
    ) -> Result<Self> {
        let id = format!("kappa-{engine}-{query}");
        let mut producer = TransactionalProducer::new(topics, &id, topic)?;
        let published = match producer.init().await? {
            Some(marker) => marker.epoch,
            None if epoch == 0 => 0,
            // Kafka forgets markers; the records' headers remember.
            None => producer.epoch_in_records(topic).await?.unwrap_or(0),
        };
        if published > epoch {
            return Err(Error::User(format!(
                "query {query} has epoch {epoch} in this data directory, but topic \"{topic}\" has \
                 its epoch {published}: the directory is an old copy, or lost data. Restore the \
                 newer one, or DROP the query and start it anew"
            )));
        }
        let mut sink = Self {
            producer,
            topic: topic.to_owned(),
            engine: engine.to_owned(),
            query: query.to_owned(),
            outbox,
            published,
        };
        for (epoch, records) in sink.unpublished(store, epoch)? {
            sink.publish(epoch, records).await?;
        }
        sink.published = epoch;
        Ok(sink)
    }

    /// The records of committed epochs that Kafka does not have.
    fn unpublished(&self, store: &Arc<Store>, epoch: u64) -> Result<Vec<(u64, Vec<NewRecords>)>> {
        let mut epochs: Vec<(u64, Vec<NewRecords>)> = Vec::new();
        let mut scan = store.scan_outbox(self.outbox, self.published + 1..epoch + 1);
        while let Some((key, row)) = scan.next_row()? {
            let epoch = parse_outbox_key(key)?.epoch;
            let records = NewRecords::from_bytes(row)?;
            match epochs.last_mut() {
                Some((last, of)) if *last == epoch => of.push(records),
                _ => epochs.push((epoch, vec![records])),
            }
        }
        Ok(epochs)
    }

    /// Puts an epoch's records into the outbox, in the epoch's commit, and forgets those that Kafka
    /// has.
    pub(crate) fn stage(
        &self,
        commit: &mut Commit,
        epoch: u64,
        records: &[NewRecords],
    ) -> Result<()> {
        commit.delete_outbox_range(self.outbox, 0..self.published + 1);
        for (seq, records) in records.iter().enumerate() {
            commit.put_outbox(self.outbox, epoch, seq as u64, &records.to_bytes()?);
        }
        Ok(())
    }

    /// Writes a committed epoch's records in one transaction.
    pub(crate) async fn publish(&mut self, epoch: u64, records: Vec<NewRecords>) -> Result<()> {
        if !records.is_empty() {
            self.producer.begin().await?;
            let mut seq = 0;
            for run in records {
                let rows = run.len() as u64;
                self.producer.send(&self.topic, run, epoch, seq).await?;
                seq += rows;
            }
            let marker = Marker {
                engine: self.engine.clone(),
                query: self.query.clone(),
                epoch,
                plan: String::new(),
            };
            self.producer.commit(&marker).await?;
        }
        self.published = epoch;
        Ok(())
    }
}
