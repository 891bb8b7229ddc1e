//! How an engine is opened.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::clock::{Clock, SystemClock};

/// How an engine is opened.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where state, catalog and embedded topics live; made if absent.
    pub data_dir: PathBuf,
    /// Kafka's bootstrap servers, `host:port,…`; `None` for embedded topics.
    pub bootstrap_servers: Option<String>,
    /// Properties: those of [`crate::PROPERTIES`], and `kafka.…` for the Kafka client.
    pub properties: BTreeMap<String, String>,
    /// Whether commits wait for the disk. Off only for tests that need no durability.
    pub sync: bool,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
}

impl Config {
    /// Embedded topics in `data_dir`, everything else by default.
    pub fn embedded(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            bootstrap_servers: None,
            properties: BTreeMap::new(),
            sync: true,
            clock: Arc::new(SystemClock::new()),
        }
    }
}
