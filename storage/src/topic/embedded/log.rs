//! The heads of the embedded topics' partitions, in memory: which offset comes next, which records
//! can be read. Commits get their offsets here, and readers are woken from here.
//!
//! An append gets its offsets first and is written then, without a lock held, so that appends
//! share a sync of the disk. A record can be read once all before it are written or given up; an
//! append that failed leaves a gap in the offsets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use super::registry::{Compacted, PartitionRow, TopicRow};
use crate::topic::OffsetRange;
use crate::{Error, Result};

/// The embedded topics of a store.
#[derive(Debug, Default)]
pub(crate) struct Log {
    topics: RwLock<BTreeMap<String, Arc<Topic>>>,
    /// Held while a topic is created, deleted or grown.
    pub(super) ddl: Mutex<()>,
}

impl Log {
    /// The topic of that name.
    pub(crate) fn topic(&self, name: &str) -> Result<Arc<Topic>> {
        self.find(name)
            .ok_or_else(|| crate::topic::no_such_topic(name))
    }

    pub(super) fn find(&self, name: &str) -> Option<Arc<Topic>> {
        self.topics.read().get(name).cloned()
    }

    pub(super) fn all(&self) -> Vec<Arc<Topic>> {
        self.topics.read().values().cloned().collect()
    }

    pub(crate) fn insert(&self, topic: Topic) {
        self.topics
            .write()
            .insert(topic.name.clone(), Arc::new(topic));
    }

    pub(super) fn remove(&self, name: &str) {
        self.topics.write().remove(name);
    }
}

/// One topic.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) name: String,
    pub(super) row: TopicRow,
    partitions: RwLock<Vec<Arc<Partition>>>,
    /// Whether the topic exists. Read-locked while records are written to it.
    pub(crate) exists: RwLock<bool>,
    /// Told when records can be read and when the topic goes.
    pub(super) changed: Notify,
    /// Held while old records are removed.
    pub(super) maintenance: Mutex<()>,
}

impl Topic {
    pub(crate) fn new(name: String, row: TopicRow, partitions: Vec<Arc<Partition>>) -> Self {
        Self {
            name,
            row,
            partitions: RwLock::new(partitions),
            exists: RwLock::new(true),
            changed: Notify::new(),
            maintenance: Mutex::new(()),
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.row.id
    }

    /// A partition of the topic.
    pub(crate) fn partition(&self, partition: i32) -> Result<Arc<Partition>> {
        let partitions = self.partitions.read();
        let found = usize::try_from(partition)
            .ok()
            .and_then(|index| partitions.get(index));
        found.cloned().ok_or_else(|| {
            crate::topic::no_such_partition(&self.name, partition, partitions.len() as i32)
        })
    }

    pub(super) fn partitions(&self) -> Vec<Arc<Partition>> {
        self.partitions.read().clone()
    }

    pub(super) fn partition_count(&self) -> i32 {
        self.partitions.read().len() as i32
    }

    pub(super) fn grow(&self, partitions: i32) {
        let mut all = self.partitions.write();
        for number in all.len() as i32..partitions {
            all.push(Arc::new(Partition::new(number)));
        }
        drop(all);
        self.changed.notify_waiters();
    }

    /// Wakes all readers that wait.
    pub(crate) fn wake(&self) {
        self.changed.notify_waiters();
    }
}

/// One partition.
#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) number: i32,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// First offset that is still there.
    start: i64,
    /// Offset of the next record.
    next: i64,
    /// Bytes of all blocks ever written.
    bytes: u64,
    /// Bytes of the blocks before `start`.
    bytes_before_start: u64,
    /// First offset of each append that is being written.
    in_flight: BTreeSet<i64>,
    compacted: Compacted,
}

impl State {
    fn end(&self) -> i64 {
        self.in_flight.first().copied().unwrap_or(self.next)
    }
}

impl Partition {
    /// A partition that has had no records yet.
    pub(super) fn new(number: i32) -> Self {
        Self {
            number,
            state: Mutex::default(),
        }
    }

    /// A partition as a store found it: the row kept of it, and the end and the bytes of its last
    /// block.
    pub(crate) fn recovered(
        number: i32,
        row: PartitionRow,
        last_block: Option<(i64, u64)>,
    ) -> Self {
        let (next, bytes) = match last_block {
            Some((next, bytes)) if next >= row.next => (next, bytes),
            _ => (row.next, row.bytes),
        };
        let state = State {
            start: row.start,
            next,
            bytes,
            bytes_before_start: row.bytes_before_start,
            in_flight: BTreeSet::new(),
            compacted: row.compacted,
        };
        Self {
            number,
            state: Mutex::new(state),
        }
    }

    /// What has to be kept of the partition beside its blocks.
    pub(super) fn row(&self) -> PartitionRow {
        let state = self.state.lock();
        PartitionRow {
            start: state.start,
            next: state.next,
            bytes: state.bytes,
            bytes_before_start: state.bytes_before_start,
            compacted: state.compacted,
        }
    }

    /// What can be read.
    pub(crate) fn range(&self) -> OffsetRange {
        let state = self.state.lock();
        OffsetRange {
            start: state.start,
            end: state.end(),
        }
    }

    /// Reserves the next `records` offsets, at least one, and `bytes` bytes: returns the first
    /// offset and the bytes before it. To be followed by [`Self::written`].
    pub(crate) fn reserve(&self, records: i64, bytes: u64) -> Result<(i64, u64)> {
        let mut state = self.state.lock();
        let (first, bytes_before) = (state.next, state.bytes);
        state.next = first
            .checked_add(records)
            .ok_or_else(|| Error::Internal("a partition ran out of offsets".to_owned()))?;
        state.bytes += bytes;
        state.in_flight.insert(first);
        Ok((first, bytes_before))
    }

    /// The append at `first` has been written, or has failed.
    pub(crate) fn written(&self, first: i64) {
        self.state.lock().in_flight.remove(&first);
    }

    /// Everything before `start` is about to be removed.
    pub(super) fn cut(&self, start: i64, bytes_before_start: u64) {
        let mut state = self.state.lock();
        if start > state.start {
            state.start = start;
            state.bytes_before_start = bytes_before_start;
            if state.compacted.end < start {
                state.compacted = Compacted {
                    end: start,
                    bytes: bytes_before_start,
                    kept: 0,
                };
            }
        }
    }

    /// Notes how far the partition has been compacted.
    pub(super) fn set_compacted(&self, compacted: Compacted) {
        let mut state = self.state.lock();
        if compacted.end >= state.compacted.end {
            state.compacted = compacted;
        }
    }
}
