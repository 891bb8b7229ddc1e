//! An account of Snowflake: the one of the tests' server, or a real one that the environment names.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::Schema;
use kappa_engine::{Clock, SystemClock};
use kappa_storage::snowflake::{Snowflake, SnowflakeOptions, Target};

use crate::server::Server;

/// The properties by which somebody logs in, and where tables are. In the environment they have
/// `SNOWFLAKE_` before their names.
const PROPERTIES: [&str; 11] = [
    "ACCOUNT",
    "URL",
    "USER",
    "AUTHENTICATOR",
    "PRIVATE_KEY_FILE",
    "PRIVATE_KEY_PASSPHRASE",
    "TOKEN",
    "DATABASE",
    "SCHEMA",
    "WAREHOUSE",
    "ROLE",
];

/// Rows as text.
pub type Rows = Vec<Vec<Option<String>>>;

/// An account, and a database and schema in it.
#[derive(Clone)]
pub struct Account {
    properties: BTreeMap<&'static str, String>,
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Values may be secrets.
        write!(f, "Account({:?})", self.properties.keys())
    }
}

impl Account {
    /// That of the server `snowflake`.
    pub fn of_server(server: &Server) -> Self {
        let names = [
            "ACCOUNT",
            "URL",
            "USER",
            "PRIVATE_KEY_FILE",
            "DATABASE",
            "SCHEMA",
        ];
        let pairs = names.map(|name| (name, server.value(name).to_owned()));
        Self {
            properties: BTreeMap::from(pairs),
        }
    }

    /// The one that `SNOWFLAKE_ACCOUNT` or `SNOWFLAKE_URL` names, with `SNOWFLAKE_USER`,
    /// `SNOWFLAKE_PRIVATE_KEY_FILE` and so on; `None` without either.
    ///
    /// # Errors
    /// What is missing.
    pub fn of_environment() -> Result<Option<Self>, String> {
        let properties: BTreeMap<&'static str, String> = PROPERTIES
            .into_iter()
            .filter_map(|name| Some((name, std::env::var(format!("SNOWFLAKE_{name}")).ok()?)))
            .filter(|(_, value)| !value.is_empty())
            .collect();
        if !properties.contains_key("ACCOUNT") && !properties.contains_key("URL") {
            return Ok(None);
        }
        let account = Self { properties };
        account.options()?;
        Ok(Some(account))
    }

    /// The same account, and another schema of its database.
    pub fn with_schema(&self, schema: &str) -> Self {
        let mut properties = self.properties.clone();
        properties.insert("SCHEMA", schema.to_owned());
        Self { properties }
    }

    /// A property by its name in WITH.
    pub fn property(&self, name: &str) -> Option<&str> {
        self.properties.get(name).map(String::as_str)
    }

    /// The properties by their names in WITH.
    pub fn properties(&self) -> &BTreeMap<&'static str, String> {
        &self.properties
    }

    /// The schema with its database, as SQL has it.
    pub fn schema(&self) -> String {
        let name = |name| self.property(name).unwrap_or("PUBLIC");
        format!("{}.{}", name("DATABASE"), name("SCHEMA"))
    }

    /// Properties of a process that writes here: `snowflake.url`, ….
    pub fn settings(&self) -> Vec<(String, String)> {
        self.properties
            .iter()
            .map(|(name, value)| (format!("snowflake.{}", name.to_lowercase()), value.clone()))
            .collect()
    }

    /// The rows of a statement, in a session of its own. Snowflake gives large results in a way that
    /// is not read here: ask for some thousands of rows at most.
    ///
    /// # Errors
    /// A login or statement that is refused, a server that is away.
    pub async fn query(&self, sql: &str) -> Result<Rows, String> {
        let target = Target {
            sink: "READER".to_owned(),
            mark: "00000000".to_owned(),
            schema: Arc::new(Schema::empty()),
            keys: Vec::new(),
        };
        // Snowflake lets in nobody whose clock is wrong.
        let clock = SystemClock::new();
        let mut session =
            Snowflake::try_new(&self.options()?, target, Arc::new(move || clock.now_ms()))
                .map_err(|error| error.to_string())?;
        let answer = session.query(sql).await.map_err(|error| error.to_string());
        session.close().await;
        Ok(answer?.rows().to_vec())
    }

    fn options(&self) -> Result<SnowflakeOptions, String> {
        let properties = self.properties.iter();
        let properties = properties.map(|(name, value)| ((*name).to_owned(), value.clone()));
        SnowflakeOptions::parse(&properties.collect())
            .map_err(|error| format!("the account of Snowflake: {error}"))
    }
}
