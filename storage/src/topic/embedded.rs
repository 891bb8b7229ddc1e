//! Topics in the data directory: a log that needs no server. Records are stored in blocks (see
//! `block.rs`) in the store's RocksDB, under keys that put a partition's blocks in order.
//!
//! Appending happens in commits of the store, alone or together with state and offsets. What is
//! here are the topics themselves, reading, and the removal of old records, which runs when
//! [`EmbeddedTopics::maintain`] is called and not by itself.

mod compaction;
pub(crate) mod log;
mod reader;
pub(crate) mod registry;
mod retention;

use std::sync::Arc;

use async_trait::async_trait;
use rocksdb::{DBRawIterator, ReadOptions};

use self::log::{Partition, Topic};
use self::reader::EmbeddedReader;
use self::registry::{TopicRow, block_key};
use super::block::Block;
use super::{NewTopic, OffsetRange, Reader, TopicDescription, Topics};
use crate::record::NewRecords;
use crate::store::{Durability, Store, TOPICS, View};
use crate::{Error, Result};

/// Most partitions an embedded topic may have: each costs a look-up when the store opens.
const PARTITIONS_MAX: i32 = 10_000;

/// When old records of compacted topics are removed.
#[derive(Clone, Copy, Debug)]
pub struct CompactionOptions {
    /// A partition is compacted once it has this many bytes that never were,
    pub dirty_bytes_min: u64,
    /// and these are at least this part of its bytes.
    pub dirty_ratio_min: f64,
    /// How long tombstones stay after the first compaction that sees them, in milliseconds: longer
    /// than the slowest reader needs.
    pub delete_retention_ms: i64,
    /// Memory for the keys of the records being compacted.
    pub key_bytes_max: usize,
}

impl Default for CompactionOptions {
    fn default() -> Self {
        Self {
            dirty_bytes_min: 16 << 20,
            dirty_ratio_min: 0.5,
            delete_retention_ms: 24 * 60 * 60 * 1000,
            key_bytes_max: 64 << 20,
        }
    }
}

/// What [`EmbeddedTopics::maintain`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Maintained {
    /// Blocks of records removed because of their age or the partition's size.
    pub blocks_removed: u64,
    /// Records removed because a later one has their key, and tombstones whose time was over.
    pub records_compacted: u64,
}

/// The embedded topics of a store.
#[derive(Clone, Debug)]
pub struct EmbeddedTopics {
    store: Arc<Store>,
    compaction: CompactionOptions,
}

impl EmbeddedTopics {
    /// The topics of a store.
    pub fn new(store: Arc<Store>) -> Self {
        Self {
            store,
            compaction: CompactionOptions::default(),
        }
    }

    /// With other settings of compaction.
    pub fn with_compaction(mut self, compaction: CompactionOptions) -> Self {
        self.compaction = compaction;
        self
    }

    /// The store they are in.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Removes what retention and compaction let go at the time `now_ms`. To be called now and
    /// then, off the async threads, as it reads and writes as much as there is to remove.
    pub fn maintain(&self, now_ms: i64) -> Result<Maintained> {
        let mut total = Maintained::default();
        for topic in self.store.log().all() {
            let _alone = topic.maintenance.lock();
            for partition in topic.partitions() {
                total.blocks_removed += retention::apply(&self.store, &topic, &partition, now_ms)?;
                let compaction =
                    compaction::apply(&self.store, &topic, &partition, &self.compaction, now_ms)?;
                total.records_compacted += compaction;
            }
        }
        Ok(total)
    }

    /// Removes the records of a partition before `offset`, or all where it is beyond the end.
    pub fn truncate(&self, topic: &str, partition: i32, offset: i64) -> Result<()> {
        let topic = self.store.log().topic(topic)?;
        let partition = topic.partition(partition)?;
        let _alone = topic.maintenance.lock();
        retention::truncate(&self.store, &topic, &partition, offset).map(drop)
    }

    fn create_now(&self, topic: &NewTopic) -> Result<()> {
        if self.store.log().find(&topic.name).is_some() {
            return Err(super::topic_exists(&topic.name));
        }
        if topic.partitions > PARTITIONS_MAX {
            return Err(too_many_partitions(&topic.name, topic.partitions));
        }
        let last_id = match self.store.get_meta(registry::LAST_ID)? {
            Some(bytes) => bytes.try_into().map(u32::from_le_bytes).map_err(|_| {
                Error::Internal("the row of the last topic id has a wrong length".to_owned())
            })?,
            None => 0,
        };
        let row = TopicRow {
            id: last_id + 1,
            partitions: topic.partitions,
            replicas: topic.replicas.max(1),
            cleanup: topic.cleanup,
            retention_ms: topic.retention_ms.filter(|ms| *ms >= 0),
            retention_bytes: topic.retention_bytes.filter(|bytes| *bytes >= 0),
        };
        let mut commit = self.store.begin();
        commit.put_meta(registry::LAST_ID, &row.id.to_le_bytes());
        commit.put_meta(&registry::topic_key(&topic.name), &row.encode()?);
        self.store.commit(commit, Durability::Sync)?;
        let partitions = (0..topic.partitions).map(|number| Arc::new(Partition::new(number)));
        self.store
            .log()
            .insert(Topic::new(topic.name.clone(), row, partitions.collect()));
        Ok(())
    }

    fn delete_now(&self, name: &str) -> Result<()> {
        let topic = self.store.log().topic(name)?;
        let mut exists = topic.exists.write();
        let mut commit = self.store.begin();
        commit.delete_meta(&registry::topic_key(name));
        commit.delete_meta_prefix(&registry::partitions_prefix(topic.id()));
        let blocks = registry::topic_range(topic.id());
        let family = self.store.topics_family();
        commit.delete_range(TOPICS, &blocks.start, &blocks.end);
        self.store.commit(commit, Durability::Sync)?;
        *exists = false;
        self.store.log().remove(name);
        drop(exists);
        topic.wake();
        // Gives the space of whole files back at once; compaction would, too, some time.
        self.store
            .db()
            .delete_file_in_range_cf(family, &blocks.start, &blocks.end)
            .map_err(|error| {
                self.store
                    .failed(&format!("delete topic \"{name}\""), &error)
            })
    }

    fn grow_now(&self, name: &str, partitions: i32) -> Result<()> {
        let topic = self.store.log().topic(name)?;
        let before = topic.partition_count();
        if partitions < before {
            return Err(super::cannot_shrink(name, before, partitions));
        }
        if partitions > PARTITIONS_MAX {
            return Err(too_many_partitions(name, partitions));
        }
        let row = TopicRow {
            partitions,
            ..topic.row.clone()
        };
        let mut commit = self.store.begin();
        commit.put_meta(&registry::topic_key(name), &row.encode()?);
        self.store.commit(commit, Durability::Sync)?;
        topic.grow(partitions);
        Ok(())
    }

    /// Runs what may wait for the disk off the async threads, one change of the topics at a time.
    async fn change(
        &self,
        change: impl FnOnce(&Self) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        let topics = self.clone();
        blocking(move || {
            let _alone = topics.store.log().ddl.lock();
            change(&topics)
        })
        .await
    }
}

#[async_trait]
impl Topics for EmbeddedTopics {
    async fn create(&self, topic: &NewTopic) -> Result<()> {
        super::check_new(topic)?;
        let topic = topic.clone();
        self.change(move |topics| topics.create_now(&topic)).await
    }

    async fn delete(&self, name: &str) -> Result<()> {
        let name = name.to_owned();
        self.change(move |topics| topics.delete_now(&name)).await
    }

    async fn describe(&self, name: &str) -> Result<Option<TopicDescription>> {
        Ok(self.store.log().find(name).map(|topic| describe(&topic)))
    }

    async fn grow(&self, name: &str, partitions: i32) -> Result<()> {
        let name = name.to_owned();
        self.change(move |topics| topics.grow_now(&name, partitions))
            .await
    }

    async fn list(&self) -> Result<Vec<TopicDescription>> {
        Ok(self
            .store
            .log()
            .all()
            .iter()
            .map(|topic| describe(topic))
            .collect())
    }

    async fn offsets(&self, name: &str) -> Result<Vec<OffsetRange>> {
        let topic = self.store.log().topic(name)?;
        Ok(topic
            .partitions()
            .iter()
            .map(|partition| partition.range())
            .collect())
    }

    async fn reader(&self, name: &str, positions: &[(i32, i64)]) -> Result<Box<dyn Reader>> {
        let topic = self.store.log().topic(name)?;
        let mut reader = EmbeddedReader::new(self.store.clone(), topic);
        for (partition, offset) in positions {
            reader.add_partition(*partition, *offset)?;
        }
        Ok(Box::new(reader))
    }

    async fn append(&self, name: &str, records: &[NewRecords]) -> Result<()> {
        let mut commit = self.store.begin();
        for records in records {
            commit.append(name, records)?;
        }
        let store = self.store.clone();
        blocking(move || store.commit(commit, Durability::Sync).map(drop)).await
    }
}

fn describe(topic: &Topic) -> TopicDescription {
    TopicDescription {
        name: topic.name.clone(),
        partitions: topic.partition_count(),
        replicas: topic.row.replicas,
        cleanup: Some(topic.row.cleanup),
    }
}

async fn blocking(work: impl FnOnce() -> Result<()> + Send + 'static) -> Result<()> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::Internal(format!("a change of topics did not end: {error}")))?
}

fn too_many_partitions(topic: &str, partitions: i32) -> Error {
    Error::User(format!(
        "topic \"{topic}\" cannot have {partitions} partitions; an embedded topic has at most \
         {PARTITIONS_MAX}"
    ))
}

/// The end offset and end byte of a partition's last block.
pub(crate) fn last_block(store: &Store, topic: u32, partition: i32) -> Result<Option<(i64, u64)>> {
    let mut blocks = blocks(store, topic, partition, i64::MAX);
    blocks.seek_to_last();
    let block = current_block(store, &blocks)?;
    Ok(block.map(|block| (block.next_offset(), block.bytes_through())))
}

/// A run over the blocks of a partition that begin before `end`.
fn blocks(store: &Store, topic: u32, partition: i32, end: i64) -> DBRawIterator<'_> {
    let mut options = ReadOptions::default();
    options.set_iterate_lower_bound(block_key(topic, partition, 0));
    options.set_iterate_upper_bound(block_key(topic, partition, end));
    // A log is read once and in order: its blocks would only push state out of the cache.
    options.fill_cache(false);
    store
        .db()
        .raw_iterator_cf_opt(store.topics_family(), options)
}

/// Puts a run over blocks to the first block with records at or after the offset in `wanted`.
fn seek(store: &Store, blocks: &mut DBRawIterator<'_>, wanted: &[u8; 16]) -> Result<()> {
    blocks.seek(wanted);
    if blocks.key() == Some(wanted) {
        return Ok(());
    }
    // The offset lies within a block, or in a gap between two.
    let offset = registry::block_offset(wanted)?;
    blocks.seek_for_prev(wanted);
    match current_block(store, blocks)? {
        Some(block) if block.next_offset() > offset => {}
        Some(_) => blocks.next(),
        None => blocks.seek(wanted),
    }
    Ok(())
}

/// The block that a run over blocks stands at.
fn current_block<'a>(store: &Store, blocks: &'a DBRawIterator<'_>) -> Result<Option<Block<'a>>> {
    let Some((key, bytes)) = blocks.item() else {
        let status = blocks.status();
        return status
            .map(|()| None)
            .map_err(|error| store.failed("read topics", &error));
    };
    Block::parse(registry::block_offset(key)?, bytes).map(Some)
}

#[cfg(test)]
mod tests;
