//! What the store keeps of topics beside their records, as rows of `meta`.
//!
//! ```text
//! "store/topic/" name                                   -> TopicRow as JSON
//! "store/topic-id"                                      -> [last id given: u32 LE]
//! "store/partition/" [topic: u32 BE][partition: u32 BE] -> seven u64 LE: the fields of PartitionRow
//! records, in `topics`:
//! [topic: u32 BE][partition: u32 BE][first offset: u64 BE] -> block
//! ```
//!
//! A partition has a row once records of it were removed; without one it begins at offset 0. A
//! topic's id is never given to another.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::topic::CleanupPolicy;
use crate::{Error, Result};

/// Prefix of the rows of topics.
pub(crate) const TOPIC_PREFIX: &[u8] = b"store/topic/";
/// Key of the last topic id given.
pub(super) const LAST_ID: &[u8] = b"store/topic-id";
const PARTITION_PREFIX: &[u8] = b"store/partition/";

/// A topic's row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TopicRow {
    pub(crate) id: u32,
    pub(crate) partitions: i32,
    pub(crate) replicas: i16,
    pub(crate) cleanup: CleanupPolicy,
    pub(crate) retention_ms: Option<i64>,
    pub(crate) retention_bytes: Option<i64>,
}

impl TopicRow {
    pub(crate) fn decode(name: &str, bytes: &[u8]) -> Result<Self> {
        serde_json::from_slice(bytes)
            .map_err(|error| Error::Internal(format!("registry row of topic \"{name}\": {error}")))
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|error| Error::Internal(format!("registry row: {error}")))
    }
}

/// A partition's row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PartitionRow {
    /// First offset that is still there.
    pub(crate) start: i64,
    /// Offset of the next record, as of when the row was written: the blocks know better, unless
    /// the last of them are gone.
    pub(crate) next: i64,
    /// Bytes of all blocks ever written, as of when the row was written.
    pub(crate) bytes: u64,
    /// Bytes of the blocks before `start`.
    pub(crate) bytes_before_start: u64,
    /// How far it has been compacted.
    pub(crate) compacted: Compacted,
}

/// How far a partition has been compacted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Compacted {
    /// Records before this offset have been.
    pub(crate) end: i64,
    /// Bytes of the blocks before `end`, as of when they were appended.
    pub(crate) bytes: u64,
    /// Bytes of the blocks before `end` that compaction left.
    pub(crate) kept: u64,
}

impl PartitionRow {
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let (
            [
                start,
                next,
                bytes,
                bytes_before_start,
                end,
                bytes_compacted,
                kept,
            ],
            [],
        ) = bytes.as_chunks::<8>()
        else {
            return Err(Error::Internal(format!(
                "partition row of {} bytes",
                bytes.len()
            )));
        };
        Ok(Self {
            start: i64::from_le_bytes(*start),
            next: i64::from_le_bytes(*next),
            bytes: u64::from_le_bytes(*bytes),
            bytes_before_start: u64::from_le_bytes(*bytes_before_start),
            compacted: Compacted {
                end: i64::from_le_bytes(*end),
                bytes: u64::from_le_bytes(*bytes_compacted),
                kept: u64::from_le_bytes(*kept),
            },
        })
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        [
            self.start.to_le_bytes(),
            self.next.to_le_bytes(),
            self.bytes.to_le_bytes(),
            self.bytes_before_start.to_le_bytes(),
            self.compacted.end.to_le_bytes(),
            self.compacted.bytes.to_le_bytes(),
            self.compacted.kept.to_le_bytes(),
        ]
        .concat()
    }
}

/// Key of a topic's row.
pub(super) fn topic_key(name: &str) -> Vec<u8> {
    [TOPIC_PREFIX, name.as_bytes()].concat()
}

/// The name in the key of a topic's row.
pub(crate) fn topic_name(key: &[u8]) -> Result<String> {
    let name = key.strip_prefix(TOPIC_PREFIX).unwrap_or(key);
    String::from_utf8(name.to_vec())
        .map_err(|_| Error::Internal("a topic's name in the registry is not UTF-8".to_owned()))
}

/// Key of a partition's row.
pub(crate) fn partition_key(topic: u32, partition: i32) -> Vec<u8> {
    [
        PARTITION_PREFIX,
        &topic.to_be_bytes(),
        &partition.to_be_bytes(),
    ]
    .concat()
}

/// Prefix of the rows of a topic's partitions.
pub(super) fn partitions_prefix(topic: u32) -> Vec<u8> {
    [PARTITION_PREFIX, &topic.to_be_bytes()].concat()
}

/// Range of a topic's blocks.
pub(super) fn topic_range(topic: u32) -> Range<[u8; 16]> {
    block_key(topic, 0, 0)..block_key(topic + 1, 0, 0)
}

/// Key of the block that begins at `offset`.
pub(crate) fn block_key(topic: u32, partition: i32, offset: i64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..4].copy_from_slice(&topic.to_be_bytes());
    key[4..8].copy_from_slice(&partition.to_be_bytes());
    key[8..].copy_from_slice(&offset.to_be_bytes());
    key
}

/// The first offset in a block's key.
pub(crate) fn block_offset(key: &[u8]) -> Result<i64> {
    let offset = key.last_chunk::<8>().filter(|_| key.len() == 16);
    offset
        .map(|bytes| i64::from_be_bytes(*bytes))
        .ok_or_else(|| Error::Internal(format!("block key of {} bytes", key.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_round_trip() {
        let row = PartitionRow {
            start: 1,
            next: 2,
            bytes: 3,
            bytes_before_start: 4,
            compacted: Compacted {
                end: 5,
                bytes: 6,
                kept: 7,
            },
        };
        assert_eq!(PartitionRow::decode(&row.encode()).unwrap(), row);
        assert!(PartitionRow::decode(&[0; 48]).is_err());
        assert!(PartitionRow::decode(&[0; 64]).is_err());
        let topic = TopicRow {
            id: 9,
            partitions: 3,
            replicas: 1,
            cleanup: CleanupPolicy::CompactDelete,
            retention_ms: Some(5),
            retention_bytes: None,
        };
        assert_eq!(
            TopicRow::decode("t", &topic.encode().unwrap()).unwrap(),
            topic
        );
        assert_eq!(topic_name(&topic_key("a.b")).unwrap(), "a.b");
    }

    #[test]
    fn block_keys_are_in_order() {
        let keys = [
            block_key(1, 2, 3),
            block_key(1, 2, 300),
            block_key(1, 3, 0),
            block_key(2, 0, 0),
        ];
        assert!(keys.is_sorted());
        assert_eq!(block_offset(&keys[1]).unwrap(), 300);
        assert!(block_offset(b"short").is_err());
    }
}
