//! How RocksDB is set up: durable first, and within a memory limit that holds.

use std::path::Path;
use std::sync::Arc;

use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompressionType,
    DBRecoveryMode, LogLevel, Options, WriteBufferManager,
};

use super::expiry::{Expiry, FilterFactory};

/// Column family of the catalog, offsets, epochs, cursors and the topics' registry.
pub(super) const META: &str = "meta";
/// Column family of the state tables.
pub(super) const STATE: &str = "state";
/// Column family of the embedded topics' records.
pub(crate) const TOPICS: &str = "topics";
/// Column family of rows on their way to a sink.
pub(super) const OUTBOX: &str = "outbox";
/// All of ours, in the order they are opened.
pub(super) const ALL: [&str; 4] = [META, STATE, TOPICS, OUTBOX];

/// A value of at least this size goes to a blob file: the record blocks of topics are written once
/// and read in order, so compaction should move their keys only.
const BLOB_SIZE_MIN: u64 = 16 << 10;
/// Least memory a store works with.
const MEMORY_BYTES_MIN: usize = 16 << 20;

/// Compression of RocksDB's levels, the last for all further ones.
const LEVEL_COMPRESSION: [DBCompressionType; 2] = [DBCompressionType::None, DBCompressionType::Lz4];

/// Settings of a store.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Memory for cached blocks, indexes, filters and unflushed writes together. One write batch in
    /// flight comes on top. At least 16 MiB.
    pub memory_bytes: usize,
    /// Whether commits that ask for it wait until the disk has them. Switched off only where losing
    /// the last commits at a power cut does no harm: in tests.
    pub sync: bool,
    /// Threads that flush and compact.
    pub background_threads: i32,
    /// A restart reads the write-ahead log again; it is kept below this size.
    pub wal_bytes: u64,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            memory_bytes: 160 << 20,
            sync: true,
            background_threads: 2,
            wal_bytes: 128 << 20,
        }
    }
}

/// What all column families share, made from [`StoreOptions`].
pub(super) struct Setup {
    cache: Cache,
    write_buffer_bytes: usize,
    pub(super) database: Options,
}

impl Setup {
    pub(super) fn new(options: &StoreOptions) -> Self {
        let memory = options.memory_bytes.max(MEMORY_BYTES_MIN);
        let cache = Cache::new_lru_cache(memory);
        // Unflushed writes are charged to the cache, so that the two share one limit. Writers are
        // not stalled at the limit, a flush is started: a stall would not end while a full disk
        // lets no flush succeed, where an error has to be returned.
        let unflushed = memory / 3;
        let manager = WriteBufferManager::new_write_buffer_manager_with_cache(
            unflushed,
            false,
            cache.clone(),
        );
        let mut database = Options::default();
        database.create_if_missing(true);
        database.create_missing_column_families(true);
        database.set_write_buffer_manager(&manager);
        database.set_max_total_wal_size(options.wal_bytes);
        // The default, point in time, would silently drop all that follows a damaged record.
        database.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
        database.set_track_and_verify_wals_in_manifest(true);
        database.set_paranoid_checks(true);
        database.set_max_background_jobs(options.background_threads.max(2));
        database.set_max_open_files(512);
        // Written to the disk as they grow, so that a sync finds little left to do.
        database.set_bytes_per_sync(1 << 20);
        database.set_wal_bytes_per_sync(1 << 20);
        database.set_avoid_unnecessary_blocking_io(true);
        database.set_log_level(LogLevel::Warn);
        database.set_max_log_file_size(4 << 20);
        database.set_keep_log_file_num(4);
        database.set_stats_dump_period_sec(0);
        Self {
            cache,
            write_buffer_bytes: (unflushed / 2).min(64 << 20),
            database,
        }
    }

    pub(super) fn cache(&self) -> &Cache {
        &self.cache
    }

    /// The column families to open.
    pub(super) fn families(&self, expiry: &Arc<Expiry>) -> Vec<ColumnFamilyDescriptor> {
        let mut state = self.family();
        state.set_memtable_whole_key_filtering(true);
        state.set_memtable_prefix_bloom_ratio(0.1);
        state.set_compaction_filter_factory(FilterFactory {
            expiry: expiry.clone(),
        });
        let mut topics = self.family();
        topics.set_enable_blob_files(true);
        topics.set_min_blob_size(BLOB_SIZE_MIN);
        topics.set_blob_compression_type(DBCompressionType::Lz4);
        topics.set_enable_blob_gc(true);
        topics.set_blob_gc_force_threshold(0.5);
        let mut meta = self.family();
        meta.set_write_buffer_size(4 << 20);
        let named = |name, options| ColumnFamilyDescriptor::new(name, options);
        // RocksDB insists on it. Its write buffer would else be the largest, and after a full disk
        // RocksDB goes on only once there is room for the largest.
        let mut unused = self.family();
        unused.set_write_buffer_size(1 << 20);
        vec![
            named(rocksdb::DEFAULT_COLUMN_FAMILY_NAME, unused),
            named(META, meta),
            named(STATE, state),
            named(TOPICS, topics),
            named(OUTBOX, self.family()),
        ]
    }

    fn family(&self) -> Options {
        let mut blocks = BlockBasedOptions::default();
        blocks.set_block_cache(&self.cache);
        blocks.set_format_version(6);
        blocks.set_block_size(8 << 10);
        blocks.set_bloom_filter(10.0, false);
        blocks.set_optimize_filters_for_memory(true);
        blocks.set_data_block_index_type(rocksdb::DataBlockIndexType::BinaryAndHash);
        blocks.set_data_block_hash_ratio(0.75);
        // In the cache, or they would grow with the state and outside the memory limit. Split in
        // two levels, so that what is not in use can go.
        blocks.set_cache_index_and_filter_blocks(true);
        blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
        blocks.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
        blocks.set_partition_filters(true);
        blocks.set_pin_top_level_index_and_filter(true);
        let mut family = Options::default();
        family.set_block_based_table_factory(&blocks);
        family.set_compression_type(DBCompressionType::Lz4);
        // What is flushed is soon merged into the next level, and compressed there.
        family.set_compression_per_level(&LEVEL_COMPRESSION);
        family.set_write_buffer_size(self.write_buffer_bytes);
        family.set_level_compaction_dynamic_level_bytes(true);
        family
    }
}

/// The column families that a database has, or `None` where there is no database yet.
pub(super) fn existing_families(path: &Path) -> Option<Vec<String>> {
    path.join("CURRENT")
        .exists()
        .then(|| rocksdb::DB::list_cf(&Options::default(), path).unwrap_or_default())
}
