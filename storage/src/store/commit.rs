//! Commits: changes of catalog, state, outbox and embedded topics that are written as one.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use rocksdb::WriteBatch;

use super::state_log::{self, NewFile};
use super::{Store, key, meta, options};
use crate::record::NewRecords;
use crate::topic::block::{self, Encoded};
use crate::topic::embedded::log::{Partition, Topic};
use crate::topic::embedded::registry::block_key;
use crate::{Error, Result};

/// Whether a commit is on the disk when the call returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// It is, and with it all that was committed before.
    Sync,
    /// It is written to the log in order and survives the end of this process, but perhaps not a
    /// power cut; the next synced commit takes it along.
    NoSync,
}

/// Changes to be committed together. Later changes of the same key win.
///
/// Keys of `meta` that begin with `store/` are the store's own.
pub struct Commit {
    store: Arc<Store>,
    batch: WriteBatch,
    /// Bytes that it has room for.
    reserved: usize,
    /// Whether a range is deleted.
    deletes_ranges: bool,
    appends: Vec<Append>,
    /// Files for the logs of state tables.
    new_files: Vec<NewFile>,
    /// Files that these logs lose, by number, and tables that lose all of theirs.
    old_files: Vec<u64>,
    dropped: Vec<u32>,
}

/// Records for one partition.
struct Append {
    topic: String,
    partition: i32,
    blocks: Vec<Encoded>,
}

/// What a commit did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommitResult {
    /// Where the records appended to topics went, in the order of the calls.
    pub appended: Vec<Appended>,
}

/// Where appended records went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// Offsets of the records, which follow each other.
    pub offsets: Range<i64>,
}

impl Commit {
    pub(super) fn new(store: Arc<Store>, bytes: usize) -> Self {
        Self {
            store,
            batch: WriteBatch::with_capacity_bytes(bytes),
            reserved: bytes,
            deletes_ranges: false,
            appends: Vec::new(),
            new_files: Vec::new(),
            old_files: Vec::new(),
            dropped: Vec::new(),
        }
    }

    /// Whether there is nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.batch.is_empty()
            && self.appends.is_empty()
            && self.new_files.is_empty()
            && self.dropped.is_empty()
    }

    /// Bytes collected so far.
    pub fn size_in_bytes(&self) -> usize {
        let blocks = self.appends.iter().flat_map(|append| &append.blocks);
        let files = self.new_files.iter().map(NewFile::size_in_bytes);
        self.batch.size_in_bytes() + blocks.map(Encoded::len).sum::<usize>() + files.sum::<usize>()
    }

    /// Bytes of the rows collected so far, without records and what goes into files.
    pub fn batch_bytes(&self) -> usize {
        self.batch.size_in_bytes()
    }

    /// Makes room for so many bytes of rows, where none has been collected: growing into it costs as
    /// much as filling it, and twice the memory.
    pub fn reserve(&mut self, bytes: usize) {
        if self.batch.is_empty() && bytes > self.reserved {
            self.batch = WriteBatch::with_capacity_bytes(bytes);
            self.reserved = bytes;
        }
    }

    /// Writes a row of `meta`.
    pub fn put_meta(&mut self, key: &[u8], value: &[u8]) {
        self.batch
            .put_cf(self.store.family(options::META), key, meta::encode(value));
    }

    /// Removes a row of `meta`.
    pub fn delete_meta(&mut self, key: &[u8]) {
        self.batch.delete_cf(self.store.family(options::META), key);
    }

    /// Removes the rows of `meta` whose keys begin with `prefix`, which must not be empty.
    pub fn delete_meta_prefix(&mut self, prefix: &[u8]) {
        let end = key::after_prefix(prefix);
        if !end.is_empty() {
            self.delete_range(options::META, prefix, &end);
        }
    }

    /// Writes a state row; see [`key`] for its key. Rows are written fastest in key order.
    pub fn put_state(&mut self, key: &[u8], value: &[u8]) {
        self.batch
            .put_cf(self.store.family(options::STATE), key, value);
    }

    /// Removes a state row.
    pub fn delete_state(&mut self, key: &[u8]) {
        self.batch.delete_cf(self.store.family(options::STATE), key);
    }

    /// Removes the state rows of a range; see [`key`] for ranges. For many rows: each range costs
    /// every later read a little, until it is compacted.
    pub fn delete_state_range(&mut self, range: Range<Vec<u8>>) {
        if range.start < range.end {
            self.delete_range(options::STATE, &range.start, &range.end);
        }
    }

    /// Adds rows to a state table's log, as a file; returns its number. For many rows, which
    /// [`Store::read_log`] gives back. They are encoded and written when the commit is.
    pub fn put_log(&mut self, table: u32, schema: SchemaRef, batches: Vec<RecordBatch>) -> u64 {
        let number = self.store.state_logs.next_number();
        self.new_files.push(NewFile {
            table,
            number,
            schema,
            batches,
        });
        number
    }

    /// Removes a file from a state table's log.
    pub fn delete_log(&mut self, table: u32, number: u64) {
        self.delete_meta(&state_log::entry_key(table, number));
        self.old_files.push(number);
    }

    /// Removes all rows of a state table, and its log.
    pub fn delete_table(&mut self, table: u32) {
        self.delete_state_range(key::table_range(table));
        self.dropped.push(table);
    }

    /// Writes a row of a sink's outbox.
    pub fn put_outbox(&mut self, sink: u32, epoch: u64, seq: u64, value: &[u8]) {
        let key = key::outbox_key(sink, epoch, seq);
        self.batch
            .put_cf(self.store.family(options::OUTBOX), key, value);
    }

    /// Removes the rows of a sink's outbox for the epochs in `epochs`.
    pub fn delete_outbox_range(&mut self, sink: u32, epochs: Range<u64>) {
        let Range { start, end } = key::outbox_range(sink, epochs);
        if start < end {
            self.delete_range(options::OUTBOX, &start, &end);
        }
    }

    /// Removes a sink's whole outbox.
    pub fn delete_outbox(&mut self, sink: u32) {
        let Range { start, end } = key::sink_range(sink);
        self.delete_range(options::OUTBOX, &start, &end);
    }

    /// Appends records to a partition of an embedded topic. The topic is looked for when the commit
    /// is written; that it does not exist by then is a user error.
    pub fn append(&mut self, topic: &str, records: &NewRecords) -> Result<()> {
        let blocks = block::encode_new(records)?;
        self.appends.push(Append {
            topic: topic.to_owned(),
            partition: records.partition,
            blocks,
        });
        Ok(())
    }

    /// Deletes a range of a column family's keys.
    pub(crate) fn delete_range(&mut self, family: &str, start: &[u8], end: &[u8]) {
        let family = self.store.family(family);
        self.batch.delete_range_cf(family, start, end);
        self.deletes_ranges = true;
    }

    /// The batch itself, for what the embedded log writes beside records; not for ranges.
    pub(crate) fn batch(&mut self) -> &mut WriteBatch {
        &mut self.batch
    }

    pub(super) fn write(mut self, store: &Store, durability: Durability) -> Result<CommitResult> {
        if !std::ptr::eq(Arc::as_ptr(&self.store), store) {
            return Err(Error::Internal(
                "a commit was given to another store".to_owned(),
            ));
        }
        let appends = std::mem::take(&mut self.appends);
        if appends.is_empty() {
            self.write_batch(store, durability)?;
            return Ok(CommitResult::default());
        }
        let mut topics = Vec::with_capacity(appends.len());
        for append in &appends {
            let topic = store.log().topic(&append.topic)?;
            let partition = topic.partition(append.partition)?;
            topics.push((topic, partition));
        }
        // Keeps the topics from being deleted under the records. Each topic once and in the order
        // of ids, so that commits and deletions never wait for each other in a circle.
        let mut unique: Vec<&Arc<Topic>> = topics.iter().map(|(topic, _)| topic).collect();
        unique.sort_by_key(|topic| topic.id());
        unique.dedup_by_key(|topic| topic.id());
        let existing: Vec<_> = unique
            .iter()
            .map(|topic| (topic, topic.exists.read()))
            .collect();
        if let Some((topic, _)) = existing.iter().find(|(_, exists)| !**exists) {
            return Err(crate::topic::no_such_topic(&topic.name));
        }
        let mut reserved = Reserved {
            first: Vec::with_capacity(appends.len()),
        };
        let mut result = CommitResult::default();
        for (append, (topic, partition)) in appends.into_iter().zip(&topics) {
            let offsets = self.place(store, topic, partition, append.blocks, &mut reserved)?;
            let (topic, partition) = (append.topic, append.partition);
            result.appended.push(Appended {
                topic,
                partition,
                offsets,
            });
        }
        self.write_batch(store, durability)?;
        drop(reserved);
        for topic in unique {
            topic.wake();
        }
        Ok(result)
    }

    /// Gives an append its offsets and adds its blocks to the batch.
    fn place(
        &mut self,
        store: &Store,
        topic: &Topic,
        partition: &Arc<Partition>,
        blocks: Vec<Encoded>,
        reserved: &mut Reserved,
    ) -> Result<Range<i64>> {
        if blocks.is_empty() {
            let end = partition.range().end;
            return Ok(end..end);
        }
        let records = blocks.iter().map(|block| block.next_offset(0)).sum();
        let bytes = blocks.iter().map(|block| block.len() as u64).sum();
        let (first, mut bytes_before) = partition.reserve(records, bytes)?;
        reserved.first.push((partition.clone(), first));
        let mut offset = first;
        for block in blocks {
            let (next, len) = (block.next_offset(offset), block.len() as u64);
            let key = block_key(topic.id(), partition.number, offset);
            self.batch
                .put_cf(store.topics_family(), key, block.seal(bytes_before, 0));
            offset = next;
            bytes_before += len;
        }
        Ok(first..offset)
    }

    fn write_batch(mut self, store: &Store, mut durability: Durability) -> Result<()> {
        for table in std::mem::take(&mut self.dropped) {
            for file in store.log_files(table)? {
                self.delete_log(table, file.number);
            }
        }
        let files = std::mem::take(&mut self.new_files);
        if !files.is_empty() {
            for (key, value) in state_log::write(store, &files)? {
                self.put_meta(&key, &value);
            }
        }
        if !self.old_files.is_empty() {
            // They must not go before it is durable that they may.
            durability = Durability::Sync;
        }
        let old_files = std::mem::take(&mut self.old_files);
        let mut options = store.write_options(durability);
        // Rows come in key order, so where the last one went is near. Not with ranges: RocksDB uses
        // the one hint for its list of rows and its list of ranges, as though they were one, and
        // then rows are lost or the process dies (seen with 11.8.1, where another writer's batch is
        // inserted at the same time; MemTable::Add minds it on its other branch only).
        options.set_memtable_insert_hint_per_batch(!self.deletes_ranges);
        let written = store.db.write_opt(self.batch, &options);
        if !files.is_empty() {
            store.state_logs.ended(written.is_ok());
        }
        written.map_err(|error| store.failed("commit", &error))?;
        store.state_logs.remove(&old_files);
        Ok(())
    }
}

impl fmt::Debug for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Commit")
            .field("changes", &self.batch.len())
            .field("appends", &self.appends.len())
            .finish_non_exhaustive()
    }
}

/// Offsets given to appends that are not written yet. Dropped when they are, or when that failed:
/// their partitions' readers go on after them in both cases.
struct Reserved {
    first: Vec<(Arc<Partition>, i64)>,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        for (partition, first) in &self.first {
            partition.written(*first);
        }
    }
}
