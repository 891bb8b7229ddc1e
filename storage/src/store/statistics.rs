//! How much a store holds, on disk and in memory.

use std::ops::Range;

use super::{Store, key, options};
use crate::Result;

/// How much a store holds, in bytes. Estimates of RocksDB's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// State tables, on disk.
    pub state: u64,
    /// Records of embedded topics, on disk.
    pub topics: u64,
    /// Rows on their way to sinks, on disk.
    pub outbox: u64,
    /// Writes not yet in table files, in memory.
    pub unflushed: u64,
    /// Cached blocks, indexes and filters, and what [`Self::unflushed`] charges to the cache.
    pub cache: u64,
    /// Table readers outside the cache.
    pub readers: u64,
}

impl Store {
    /// How much the store holds.
    pub fn statistics(&self) -> Result<Statistics> {
        let each = |property: &str| -> Result<u64> {
            options::ALL
                .iter()
                .map(|family| self.property(family, property))
                .sum()
        };
        Ok(Statistics {
            state: self.bytes_on_disk(options::STATE)?,
            topics: self.bytes_on_disk(options::TOPICS)?,
            outbox: self.bytes_on_disk(options::OUTBOX)?,
            unflushed: each("rocksdb.cur-size-all-mem-tables")?,
            cache: self.cache.get_usage() as u64,
            readers: each("rocksdb.estimate-table-readers-mem")?,
        })
    }

    /// Bytes of all state tables, flushed or not.
    pub fn bytes_of_state(&self) -> Result<u64> {
        let unflushed = self.property(options::STATE, "rocksdb.cur-size-all-mem-tables")?;
        Ok(self.bytes_on_disk(options::STATE)? + unflushed)
    }

    /// Bytes of one state table on disk, estimated.
    pub fn bytes_of_table(&self, table: u32) -> u64 {
        let Range { start, end } = key::table_range(table);
        let range = rocksdb::Range::new(&start, &end);
        self.db
            .get_approximate_sizes_cf(self.family(options::STATE), &[range])
            .iter()
            .sum()
    }

    fn bytes_on_disk(&self, family: &str) -> Result<u64> {
        let files = self.property(family, "rocksdb.total-sst-files-size")?;
        Ok(files + self.property(family, "rocksdb.total-blob-file-size")?)
    }

    fn property(&self, family: &str, property: &str) -> Result<u64> {
        let value = self.db.property_int_value_cf(self.family(family), property);
        value
            .map(Option::unwrap_or_default)
            .map_err(|error| self.failed("read statistics", &error))
    }
}
