//! How an engine is opened.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use kappa_storage::files::Provider;

use crate::clock::{Clock, SystemClock};
use crate::error::{Error, Result};

/// Settings of what sinks write to that the process can be given, besides the environment: by the
/// beginning of their names.
const SETTINGS: [(&str, &[&str]); 5] = [
    (
        "s3.",
        &[
            "access_key_id",
            "endpoint",
            "region",
            "secret_access_key",
            "session_token",
            "virtual_hosted_style_request",
        ],
    ),
    (
        "postgres.",
        &[
            "database",
            "host",
            "password",
            "port",
            "sslmode",
            "sslrootcert",
            "url",
            "user",
        ],
    ),
    (
        "snowflake.",
        &[
            "account",
            "authenticator",
            "database",
            "private_key",
            "private_key_file",
            "private_key_passphrase",
            "role",
            "schema",
            "token",
            "url",
            "user",
            "warehouse",
        ],
    ),
    (
        "gcs.",
        &[
            "application_credentials",
            "service_account",
            "service_account_key",
        ],
    ),
    (
        "azure.",
        &[
            "account_key",
            "account_name",
            "authority_id",
            "client_id",
            "client_secret",
            "endpoint",
            "sas_key",
            "use_emulator",
        ],
    ),
];

/// How an engine is opened.
#[derive(Clone)]
pub struct Config {
    /// Where state, catalog and embedded topics live; made if absent.
    pub data_dir: PathBuf,
    /// Kafka's bootstrap servers, `host:port,…`; `None` for embedded topics.
    pub bootstrap_servers: Option<String>,
    /// Properties: those of [`crate::PROPERTIES`], `kafka.…` for the Kafka client, and `s3.…`, `gcs.…`,
    /// `azure.…`, `postgres.…` and `snowflake.…` for sinks.
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

    /// The settings that begin with `prefix` (`s3.`, `postgres.`, …), without it.
    ///
    /// # Errors
    /// A setting that does not exist.
    pub(crate) fn settings(&self, prefix: &str) -> Result<BTreeMap<String, String>> {
        let known = SETTINGS.iter().find(|(known, _)| *known == prefix);
        let known = known.map_or(&[][..], |(_, settings)| settings);
        let mut settings = BTreeMap::new();
        for (name, value) in &self.properties {
            let Some(setting) = name.strip_prefix(prefix) else {
                continue;
            };
            if !known.contains(&setting) {
                let hint = match kappa_sql::error::suggest(setting, known.iter().copied()) {
                    Some(close) => format!("did you mean '{prefix}{close}'?"),
                    None => format!("there are {prefix}{}", known.join(&format!(", {prefix}"))),
                };
                return Err(Error::User(format!(
                    "there is no property '{name}': {hint}"
                )));
            }
            settings.insert(setting.to_owned(), value.clone());
        }
        Ok(settings)
    }

    /// The settings of the object store that a path is in; none for a directory.
    ///
    /// # Errors
    /// A setting that does not exist.
    pub(crate) fn store_settings(&self, path: &str) -> Result<BTreeMap<String, String>> {
        match Provider::of(path) {
            Some(Provider::S3) => self.settings("s3."),
            Some(Provider::Gcs) => self.settings("gcs."),
            Some(Provider::Azure) => self.settings("azure."),
            Some(Provider::Local) | None => Ok(BTreeMap::new()),
        }
    }

    /// Checks all settings of what sinks write to.
    ///
    /// # Errors
    /// A setting that does not exist.
    pub(crate) fn check_settings(&self) -> Result<()> {
        SETTINGS
            .iter()
            .try_for_each(|(prefix, _)| self.settings(prefix).map(drop))
    }

    /// Whether a property is one of those settings.
    pub(crate) fn is_setting(name: &str) -> bool {
        SETTINGS.iter().any(|(prefix, _)| name.starts_with(prefix))
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
