//! Reading an embedded topic.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;

use super::log::{Partition, Topic};
use super::registry::{block_key, block_offset};
use super::{blocks, current_block, seek};
use crate::Result;
use crate::store::Store;
use crate::topic::block::{Block, Collector};
use crate::topic::{FetchLimit, Fetched, Reader, no_such_topic, not_reading, out_of_range};

/// Reads partitions of an embedded topic.
#[derive(Debug)]
pub(super) struct EmbeddedReader {
    store: Arc<Store>,
    topic: Arc<Topic>,
    places: BTreeMap<i32, Mutex<Place>>,
}

/// Where a partition is being read.
#[derive(Debug)]
struct Place {
    partition: Arc<Partition>,
    offset: i64,
    /// The block that was read last, when a part of it is still to be returned.
    rest: Option<Rest>,
}

#[derive(Debug)]
struct Rest {
    first_offset: i64,
    /// Its checksum is right.
    bytes: Vec<u8>,
}

impl EmbeddedReader {
    pub(super) fn new(store: Arc<Store>, topic: Arc<Topic>) -> Self {
        Self {
            store,
            topic,
            places: BTreeMap::new(),
        }
    }

    /// Whether a fetch would return records or an error.
    fn has_news(&self) -> bool {
        let news = |place: &Mutex<Place>| {
            let place = place.lock();
            let range = place.partition.range();
            range.end != place.offset || range.start > place.offset
        };
        !*self.topic.exists.read() || self.places.values().any(news)
    }
}

#[async_trait]
impl Reader for EmbeddedReader {
    fn fetch(&self, partition: i32, limit: FetchLimit) -> Result<Fetched> {
        let name = &self.topic.name;
        let place = self
            .places
            .get(&partition)
            .ok_or_else(|| not_reading(name, partition))?;
        let place = &mut *place.lock();
        if !*self.topic.exists.read() {
            return Err(no_such_topic(name));
        }
        let wanted = place.offset;
        let range = place.partition.range();
        if wanted < range.start || wanted > range.end {
            return Err(out_of_range(name, partition, wanted, range));
        }
        if wanted == range.end {
            return Ok(Fetched {
                records: None,
                next_offset: wanted,
                at_end: true,
            });
        }
        let mut fetch = Fetch {
            collector: match limit.headers {
                true => Collector::default(),
                false => Collector::without_headers(),
            },
            limit,
            place,
        };
        if !fetch.take_rest()? {
            fetch.take_blocks(&self.store, &self.topic, range.end)?;
        }
        let records = fetch.collector;
        // Had the records been removed meanwhile, the gap could be taken for one of compaction.
        let now = place.partition.range();
        if wanted < now.start {
            return Err(out_of_range(name, partition, wanted, now));
        }
        let records = if records.len() == 0 {
            None
        } else {
            Some(records.finish()?)
        };
        Ok(Fetched {
            records,
            next_offset: place.offset,
            at_end: place.offset >= range.end,
        })
    }

    async fn ready(&mut self, timeout: Duration) -> Result<()> {
        let topic = self.topic.clone();
        let mut changed = std::pin::pin!(topic.changed.notified());
        // Listening before looking, or a change between the two would be missed.
        changed.as_mut().enable();
        if self.has_news() {
            tokio::task::coop::consume_budget().await;
        } else {
            // Elapsed is as good as woken: the caller fetches and sees.
            let _elapsed = tokio::time::timeout(timeout, changed).await;
        }
        Ok(())
    }

    async fn partitions(&mut self) -> Result<i32> {
        if !*self.topic.exists.read() {
            return Err(no_such_topic(&self.topic.name));
        }
        Ok(self.topic.partition_count())
    }

    fn add_partition(&mut self, partition: i32, offset: i64) -> Result<()> {
        let found = self.topic.partition(partition)?;
        self.places.insert(
            partition,
            Mutex::new(Place {
                partition: found,
                offset,
                rest: None,
            }),
        );
        Ok(())
    }
}

/// One fetch under way.
struct Fetch<'a> {
    collector: Collector,
    limit: FetchLimit,
    place: &'a mut Place,
}

impl Fetch<'_> {
    /// Takes what is left of the block that was read last; returns whether the limit is reached.
    fn take_rest(&mut self) -> Result<bool> {
        let Some(rest) = self.place.rest.take() else {
            return Ok(false);
        };
        let block = Block::parse_checked(rest.first_offset, &rest.bytes)?;
        let whole = self.take(&block)?;
        if !whole {
            self.place.rest = Some(rest);
        }
        Ok(!whole)
    }

    /// Takes blocks up to `end` or the limit.
    fn take_blocks(&mut self, store: &Store, topic: &Topic, end: i64) -> Result<()> {
        let number = self.place.partition.number;
        let mut blocks = blocks(store, topic.id(), number, end);
        seek(
            store,
            &mut blocks,
            &block_key(topic.id(), number, self.place.offset),
        )?;
        loop {
            if self.is_full() {
                return Ok(());
            }
            let Some(block) = current_block(store, &blocks)? else {
                break;
            };
            if !self.take(&block)? {
                if let Some((key, bytes)) = blocks.item()
                    && block.len() > 1
                {
                    let first_offset = block_offset(key)?;
                    self.place.rest = Some(Rest {
                        first_offset,
                        bytes: bytes.to_vec(),
                    });
                }
                return Ok(());
            }
            blocks.next();
        }
        self.place.offset = end;
        Ok(())
    }

    fn is_full(&self) -> bool {
        let (records, bytes) = (self.collector.len(), self.collector.bytes());
        records >= self.limit.records.max(1) || (records > 0 && bytes >= self.limit.bytes)
    }

    /// Takes records of a block as the limit allows; returns whether all that it has from the
    /// place's offset on were taken.
    fn take(&mut self, block: &Block<'_>) -> Result<bool> {
        let start = block.row_at(self.place.offset);
        let room = self
            .collector
            .room(block, start, self.limit.records.max(1), self.limit.bytes);
        let stop = start + room;
        self.collector.extend(block, start..stop)?;
        if stop == block.len() {
            self.place.offset = self.place.offset.max(block.next_offset());
            return Ok(true);
        }
        if stop > start {
            self.place.offset = block.offset(stop);
        }
        Ok(false)
    }
}
