//! Removal of records that are too old or too many, whole blocks at a time and from the start, as
//! Kafka removes segments.

use super::log::{Partition, Topic};
use super::registry::block_key;
use super::{blocks, current_block, registry};
use crate::Result;
use crate::store::{Durability, Store, TOPICS};
use crate::topic::CleanupPolicy;

/// Removes what a topic's retention lets go of a partition at the time `now_ms`; returns how many
/// blocks.
pub(super) fn apply(
    store: &std::sync::Arc<Store>,
    topic: &Topic,
    partition: &Partition,
    now_ms: i64,
) -> Result<u64> {
    if topic.row.cleanup == CleanupPolicy::Compact {
        return Ok(0);
    }
    let oldest_ms = topic
        .row
        .retention_ms
        .map(|kept| now_ms.saturating_sub(kept));
    let bytes_kept = topic.row.retention_bytes.map(|kept| kept as u64);
    if oldest_ms.is_none() && bytes_kept.is_none() {
        return Ok(0);
    }
    let total = partition.row().bytes;
    let (mut start, mut bytes_before, mut count) = (0, 0, 0);
    let mut blocks = blocks(store, topic.id(), partition.number, partition.range().end);
    blocks.seek_to_first();
    while let Some(block) = current_block(store, &blocks)? {
        let through = block.bytes_through();
        let too_old = oldest_ms.is_some_and(|oldest| block.newest_ms() < oldest);
        let too_many = bytes_kept.is_some_and(|kept| total.saturating_sub(through) >= kept);
        if !too_old && !too_many {
            break;
        }
        (start, bytes_before) = (block.next_offset(), through);
        count += 1;
        blocks.next();
    }
    if count > 0 {
        cut(store, topic, partition, start, bytes_before)?;
    }
    Ok(count)
}

/// Removes the records before `offset`. A block that it lies within stays, unseen up to there.
pub(super) fn truncate(
    store: &std::sync::Arc<Store>,
    topic: &Topic,
    partition: &Partition,
    offset: i64,
) -> Result<()> {
    let range = partition.range();
    let offset = offset.min(range.end);
    if offset <= range.start {
        return Ok(());
    }
    let mut bytes_before = partition.row().bytes_before_start;
    let mut blocks = blocks(store, topic.id(), partition.number, offset);
    blocks.seek_to_first();
    while let Some(block) = current_block(store, &blocks)? {
        if block.next_offset() > offset {
            break;
        }
        bytes_before = block.bytes_through();
        blocks.next();
    }
    cut(store, topic, partition, offset, bytes_before)
}

fn cut(
    store: &std::sync::Arc<Store>,
    topic: &Topic,
    partition: &Partition,
    start: i64,
    bytes_before: u64,
) -> Result<()> {
    let exists = topic.exists.read();
    if !*exists {
        return Ok(());
    }
    // Readers must know the new start before records go: they tell a gap from it.
    partition.cut(start, bytes_before);
    let number = partition.number;
    let mut end = block_key(topic.id(), number, start);
    let mut containing = blocks(store, topic.id(), number, start);
    containing.seek_to_last();
    if let Some(block) = current_block(store, &containing)?
        && block.next_offset() > start
    {
        end = block_key(topic.id(), number, block.offset(0));
    }
    let mut commit = store.begin();
    commit.delete_range(TOPICS, &block_key(topic.id(), number, 0), &end);
    let row = partition.row().encode();
    commit.put_meta(&registry::partition_key(topic.id(), number), &row);
    store.commit(commit, Durability::NoSync).map(drop)
}
