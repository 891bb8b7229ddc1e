//! Bytes to and from disk and network: topic logs (embedded and Kafka), record formats, the one
//! RocksDB of a data directory, files on object stores, tables of Delta Lake, PostgreSQL and Snowflake,
//! and the events of a benchmark. Knows no SQL of ours: what it shares with the rest of Kappa are Arrow's
//! `Schema`, `RecordBatch` and arrays.

pub mod delta;
mod distance;
pub mod error;
pub mod files;
pub mod format;
pub mod murmur2;
pub mod nexmark;
pub mod postgres;
pub mod record;
pub mod snowflake;
pub mod store;
pub mod topic;

pub use error::{Error, Result};
