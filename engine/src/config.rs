//! How an engine is opened.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::clock::{Clock, SystemClock};
use crate::error::{Error, Result};

/// Settings of S3 that the process can be given, besides the environment's `AWS_…`.
const S3_SETTINGS: [&str; 6] = [
    "access_key_id",
    "endpoint",
    "region",
    "secret_access_key",
    "session_token",
    "virtual_hosted_style_request",
];

/// How an engine is opened.
#[derive(Clone)]
pub struct Config {
    /// Where state, catalog and embedded topics live; made if absent.
    pub data_dir: PathBuf,
    /// Kafka's bootstrap servers, `host:port,…`; `None` for embedded topics.
    pub bootstrap_servers: Option<String>,
    /// Properties: those of [`crate::PROPERTIES`], `kafka.…` for the Kafka client and `s3.…` for S3.
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

    /// The settings `s3.…`, by object_store's names.
    ///
    /// # Errors
    /// A setting that does not exist.
    pub(crate) fn s3_settings(&self) -> Result<BTreeMap<String, String>> {
        let mut settings = BTreeMap::new();
        for (name, value) in &self.properties {
            let Some(setting) = name.strip_prefix("s3.") else {
                continue;
            };
            if !S3_SETTINGS.contains(&setting) {
                let hint = match kappa_sql::error::suggest(setting, S3_SETTINGS) {
                    Some(close) => format!("did you mean 's3.{close}'?"),
                    None => format!("S3's are s3.{}", S3_SETTINGS.join(", s3.")),
                };
                return Err(Error::User(format!(
                    "there is no property '{name}': {hint}"
                )));
            }
            settings.insert(setting.to_owned(), value.clone());
        }
        Ok(settings)
    }
}

/// Properties of clients may be secrets: only their names are shown.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("data_dir", &self.data_dir)
            .field("bootstrap_servers", &self.bootstrap_servers)
            .field("properties", &self.properties.keys())
            .field("sync", &self.sync)
            .finish_non_exhaustive()
    }
}
