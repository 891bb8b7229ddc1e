//! Compaction of tables' topics: of the records with one key, the last stays. Small blocks that
//! lie next to each other are joined on the way.
//!
//! A pass reads the records that were never compacted and notes the last offset of each key, as
//! many keys as fit the memory for them. Then it goes through all blocks up to there and drops
//! records whose key has a later one. A tombstone stays for a time after the first pass that sees
//! it, so that readers underway learn of the deletion; until when is noted in its block.

use std::collections::HashMap;
use std::sync::Arc;

use super::log::{Partition, Topic};
use super::registry::{Compacted, block_key};
use super::{CompactionOptions, blocks, current_block, registry, seek};
use crate::Result;
use crate::store::{Commit, Durability, Store};
use crate::topic::CleanupPolicy;
use crate::topic::block::{BLOCK_BYTES, BLOCK_RECORDS, Block, Collector, encode_kept};

/// Changes are written once they have this many bytes.
const COMMIT_BYTES: usize = 4 << 20;
/// What a noted key costs beside its bytes.
const KEY_OVERHEAD: usize = 48;

/// Compacts a partition if it is due; returns how many records were dropped.
pub(super) fn apply(
    store: &Arc<Store>,
    topic: &Topic,
    partition: &Partition,
    options: &CompactionOptions,
    now_ms: i64,
) -> Result<u64> {
    let row = partition.row();
    let dirty = row.bytes.saturating_sub(row.compacted.bytes);
    let ratio = dirty as f64 / (dirty + row.compacted.kept).max(1) as f64;
    if topic.row.cleanup == CleanupPolicy::Delete
        || dirty < options.dirty_bytes_min.max(1)
        || ratio < options.dirty_ratio_min
    {
        return Ok(0);
    }
    let end = partition.range().end;
    let newest = Newest::read(store, topic, partition, row.compacted.end, end, options)?;
    let mut pass = Pass {
        store,
        topic,
        partition,
        newest: &newest,
        now_ms,
        tombstones_until: now_ms.saturating_add(options.delete_retention_ms).max(1),
        joined: Joined::default(),
        commit: store.begin(),
        kept: 0,
        dropped: 0,
    };
    let mut blocks = blocks(store, topic.id(), partition.number, newest.end);
    blocks.seek_to_first();
    while let Some(block) = current_block(store, &blocks)? {
        if !pass.block(&block)? {
            return Ok(pass.dropped);
        }
        blocks.next();
    }
    pass.finish()
}

/// The last offset of each key among records that were not compacted yet.
struct Newest {
    offsets: HashMap<Box<[u8]>, i64>,
    /// What was read: the records before this offset,
    end: i64,
    /// and the bytes of the partition up to there.
    bytes: u64,
}

impl Newest {
    fn read(
        store: &Store,
        topic: &Topic,
        partition: &Partition,
        start: i64,
        end: i64,
        options: &CompactionOptions,
    ) -> Result<Self> {
        let mut offsets: HashMap<Box<[u8]>, i64> = HashMap::new();
        let (mut reached, mut bytes, mut memory) = (start, partition.row().compacted.bytes, 0);
        let mut blocks = blocks(store, topic.id(), partition.number, end);
        seek(
            store,
            &mut blocks,
            &block_key(topic.id(), partition.number, start),
        )?;
        while memory < options.key_bytes_max
            && let Some(block) = current_block(store, &blocks)?
        {
            for row in 0..block.len() {
                let Some(key) = block.key(row) else { continue };
                match offsets.get_mut(key) {
                    Some(offset) => *offset = block.offset(row),
                    None => {
                        memory += key.len() + KEY_OVERHEAD;
                        offsets.insert(key.into(), block.offset(row));
                    }
                }
            }
            (reached, bytes) = (block.next_offset(), block.bytes_through());
            blocks.next();
        }
        Ok(Self {
            offsets,
            end: reached,
            bytes,
        })
    }

    /// Whether a later record has the same key. Records without a key are never dropped.
    fn supersedes(&self, block: &Block<'_>, row: usize) -> bool {
        let newest = block.key(row).and_then(|key| self.offsets.get(key));
        newest.is_some_and(|newest| *newest > block.offset(row))
    }
}

/// One way through a partition's blocks.
struct Pass<'a> {
    store: &'a Arc<Store>,
    topic: &'a Topic,
    partition: &'a Partition,
    newest: &'a Newest,
    now_ms: i64,
    /// Until when tombstones stay that this pass is the first to see.
    tombstones_until: i64,
    joined: Joined,
    commit: Commit,
    /// Bytes of the blocks that stay.
    kept: u64,
    dropped: u64,
}

/// Records that stay, to be written as new blocks in place of old ones.
#[derive(Default)]
struct Joined {
    records: Collector,
    /// First offsets of the blocks they come from.
    sources: Vec<i64>,
    tombstones_until: i64,
    bytes_through: u64,
}

impl Pass<'_> {
    /// Deals with the next block; false if the topic is gone.
    fn block(&mut self, block: &Block<'_>) -> Result<bool> {
        let mut tombstones = false;
        let due = block
            .tombstones_until()
            .is_some_and(|until| until <= self.now_ms);
        let keep: Vec<bool> = (0..block.len())
            .map(|row| {
                let tombstone = block.value(row).is_none() && block.key(row).is_some();
                let gone = self.newest.supersedes(block, row) || (tombstone && due);
                let keep = !gone;
                tombstones |= keep && tombstone;
                keep
            })
            .collect();
        let count = keep.iter().filter(|keep| **keep).count();
        self.dropped += (block.len() - count) as u64;
        let until = match block.tombstones_until() {
            Some(until) => until,
            None if tombstones => self.tombstones_until,
            None => 0,
        };
        let marked = block.tombstones_until().is_some() || until == 0;
        let large =
            block.bytes(0..block.len()) >= BLOCK_BYTES / 2 || block.len() >= BLOCK_RECORDS / 2;
        if count == block.len() && large && marked {
            self.flush()?;
            self.kept += block.bytes_through() - block.bytes_before();
            return Ok(true);
        }
        let fits = self.joined.records.len() + count <= BLOCK_RECORDS
            && self.joined.records.bytes() + block.bytes(0..block.len()) <= BLOCK_BYTES;
        if !fits {
            self.flush()?;
        }
        let mut row = 0;
        while row < keep.len() {
            let run = keep[row..]
                .iter()
                .take_while(|kept| **kept == keep[row])
                .count();
            if keep[row] {
                self.joined.records.extend(block, row..row + run)?;
            }
            row += run;
        }
        self.joined.sources.push(block.offset(0));
        self.joined.tombstones_until = self.joined.tombstones_until.max(until);
        self.joined.bytes_through = block.bytes_through();
        if self.commit.size_in_bytes() >= COMMIT_BYTES {
            return self.write();
        }
        Ok(true)
    }

    /// Puts the joined records into the commit.
    fn flush(&mut self) -> Result<()> {
        let joined = std::mem::take(&mut self.joined);
        let (topic, number) = (self.topic.id(), self.partition.number);
        let family = self.store.topics_family();
        for source in joined.sources {
            self.commit
                .batch()
                .delete_cf(family, block_key(topic, number, source));
        }
        if joined.records.len() == 0 {
            return Ok(());
        }
        let blocks = encode_kept(&joined.records.finish()?)?;
        // Later blocks come first here: the last one ends where its source did.
        let mut through = joined.bytes_through;
        for (first, block) in blocks.into_iter().rev() {
            let before = through.saturating_sub(block.len() as u64);
            self.kept += block.len() as u64;
            let bytes = block.seal(before, joined.tombstones_until);
            self.commit
                .batch()
                .put_cf(family, block_key(topic, number, first), bytes);
            through = before;
        }
        Ok(())
    }

    /// Writes the changes so far; false if the topic is gone.
    fn write(&mut self) -> Result<bool> {
        let exists = self.topic.exists.read();
        if !*exists {
            return Ok(false);
        }
        let commit = std::mem::replace(&mut self.commit, self.store.begin());
        self.store.commit(commit, Durability::NoSync)?;
        Ok(true)
    }

    fn finish(mut self) -> Result<u64> {
        self.flush()?;
        let (end, bytes) = (self.newest.end, self.newest.bytes);
        self.partition.set_compacted(Compacted {
            end,
            bytes,
            kept: self.kept,
        });
        let row = self.partition.row().encode();
        let key = registry::partition_key(self.topic.id(), self.partition.number);
        self.commit.put_meta(&key, &row);
        self.write()?;
        Ok(self.dropped)
    }
}
