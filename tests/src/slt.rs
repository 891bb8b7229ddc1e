//! The database that the `.slt` files are run on.
//!
//! Beside the statements of SQL there are `FLUSH`, which waits until all that topics hold is
//! processed and committed, and `RESTART`, which closes the engine and opens it on the same data
//! directory (in the tests that restart; in the others it does nothing).

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kappa_engine::{Config, Engine, ManualClock, Response, Session};
use sqllogictest::{AsyncDB, ColumnType, DBOutput, DefaultColumnType};
use tempfile::TempDir;

use crate::{instance, text};

/// How a file is run.
#[derive(Clone, Debug)]
pub struct Variant {
    /// Kafka's; `None` for embedded topics.
    pub bootstrap_servers: Option<String>,
    /// Whether RESTART restarts.
    pub restart: bool,
    /// Put before topics' names: tests may share a broker.
    pub topic_prefix: String,
}

/// An engine under a file.
#[derive(Debug)]
pub struct Database {
    data_dir: TempDir,
    variant: Variant,
    open: Option<(Engine, Session)>,
    /// The SETs so far: a session does not outlive its engine, a file does.
    settings: Vec<String>,
}

/// What a statement is refused with, as a person sees it.
#[derive(Debug)]
pub struct Refused(String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

impl From<kappa_engine::Error> for Refused {
    fn from(error: kappa_engine::Error) -> Self {
        Self(error.render())
    }
}

impl Database {
    /// Opens an empty engine.
    ///
    /// # Errors
    /// Why it does not open.
    pub async fn open(variant: Variant) -> Result<Self, Refused> {
        let data_dir = instance::data_dir().map_err(|error| Refused(error.to_string()))?;
        let engine = Engine::open(config(data_dir.path(), &variant)).await?;
        let session = engine.session();
        Ok(Self {
            data_dir,
            variant,
            open: Some((engine, session)),
            settings: Vec::new(),
        })
    }

    async fn restart(&mut self) -> Result<(), Refused> {
        if let Some((engine, _)) = self.open.take() {
            engine.shutdown().await?;
        }
        let engine = Engine::open(config(self.data_dir.path(), &self.variant)).await?;
        let mut session = engine.session();
        for setting in &self.settings {
            session.execute(setting).await?;
        }
        self.open = Some((engine, session));
        Ok(())
    }

    async fn execute(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, Refused> {
        let Some((_, session)) = &mut self.open else {
            return Err(Refused("the engine is closed".into()));
        };
        let response = session.execute(sql).await?;
        if sql.trim_start().to_uppercase().starts_with("SET ") {
            self.settings.push(sql.to_owned());
        }
        let (schema, batches) = match response {
            Response::Done(_) => return Ok(DBOutput::StatementComplete(0)),
            Response::Rows(rows) => (rows.schema().clone(), rows.collect().await?),
            Response::Push(mut rows) => {
                let schema = rows.schema().clone();
                let mut batches = Vec::new();
                while let Some(batch) = rows.next().await {
                    batches.push(batch?);
                }
                (schema, batches)
            }
        };
        let letters = schema
            .fields()
            .iter()
            .map(|field| text::letter(field.data_type()));
        let types = letters
            .map(DefaultColumnType::from_char)
            .collect::<Option<_>>();
        Ok(DBOutput::Rows {
            types: types.unwrap_or_default(),
            rows: text::rows(&batches).map_err(|error| Refused(error.to_string()))?,
        })
    }
}

fn config(data_dir: &Path, variant: &Variant) -> Config {
    let prefix = (
        "ksql.output.topic.name.prefix",
        variant.topic_prefix.as_str(),
    );
    let mut config = instance::config(data_dir, &[prefix]);
    config.bootstrap_servers = variant.bootstrap_servers.clone();
    // A record at 0 is for Kafka's client one without a time.
    config.clock = Arc::new(ManualClock::at(1_000));
    config
}

#[async_trait]
impl AsyncDB for Database {
    type Error = Refused;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, Refused> {
        match sql.trim().trim_end_matches(';') {
            "FLUSH" => {
                if let Some((engine, _)) = &self.open {
                    engine.flush().await?;
                }
                Ok(DBOutput::StatementComplete(0))
            }
            "RESTART" => {
                if self.variant.restart {
                    self.restart().await?;
                }
                Ok(DBOutput::StatementComplete(0))
            }
            _ => {
                // Only a push query can take for ever, when it gets fewer rows than its LIMIT.
                let patience = Duration::from_secs(30);
                match tokio::time::timeout(patience, Box::pin(self.execute(sql))).await {
                    Ok(output) => output,
                    Err(_) => Err(Refused("no end of it within 30 s".into())),
                }
            }
        }
    }

    async fn shutdown(&mut self) {
        if let Some((engine, _)) = self.open.take() {
            // The file has been read to its end: what counts has been checked.
            drop(engine.shutdown().await);
        }
    }

    async fn sleep(duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}
