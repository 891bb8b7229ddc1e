//! Snowflake as a sink: lands numbered units of Parquet files in a table, each exactly once.
//!
//! A unit's files are put into a stage and then loaded: by COPY INTO for rows that are appended, by
//! COPY INTO a table of the unit's own and MERGE for changes by key. Both can be done again after
//! any failure, by this process or the next, and the table is the same. What Snowflake is spoken to
//! with is its drivers' protocol over HTTPS. Rows can also be streamed, without files: [`Streaming`].

mod account;
mod copy;
mod http;
mod jwt;
mod key;
mod merge;
mod name;
mod options;
mod query;
mod random;
mod secret;
mod session;
mod stage;
mod streaming;
mod table;
mod types;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use self::merge::Merge;
use self::name::ObjectName;
pub use self::options::{Mode, SnowflakeOptions, canonical, is_secret};
pub use self::query::Answer;
use self::session::{Clock, Session};
use self::stage::Stage;
pub use self::streaming::{
    ChannelMark, ChannelMarks, EpochRows, RejectedRows, Streamed, Streaming,
};
use crate::files::FileTarget;
use crate::{Error, Result};

/// A file of a unit, on local disk; the same bytes at every try.
#[derive(Debug, Clone)]
pub struct StagedFile {
    /// Unique for ever within the sink: `file-000000000042-0.parquet`.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// Its rows.
    pub rows: u64,
    /// Its length.
    pub bytes: u64,
}

/// What is sent where.
#[derive(Debug, Clone)]
pub struct Target {
    /// The sink's name in upper case.
    pub sink: String,
    /// Eight hex digits that no other sink has or will have.
    pub mark: String,
    /// The columns of the files, without `ROWDELETED` and `ROWSEQ`.
    pub schema: SchemaRef,
    /// The primary key's columns; empty for rows that are appended.
    pub keys: Vec<String>,
}

/// What came of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// Rows of the unit's files; of a unit with keys, its changes.
    pub rows: u64,
}

/// A sink's connection to Snowflake.
#[derive(Debug)]
pub struct Snowflake {
    options: Arc<SnowflakeOptions>,
    target: Target,
    table: ObjectName,
    own_name: String,
    session: Session,
    stage: Stage,
    /// Set by `open` where changes are merged.
    merge: Option<Merge>,
    is_open: bool,
}

impl Snowflake {
    /// Checks what can be checked here; nothing is sent.
    ///
    /// # Errors
    /// `User` when mode and keys do not fit, or a column cannot go to Snowflake.
    pub fn try_new(options: &SnowflakeOptions, target: Target, now: Clock) -> Result<Self> {
        check_mode(options, &target)?;
        check_columns(options, &target)?;
        let options = Arc::new(options.clone());
        let table = table_of(&options, &target);
        let own_name = own_name(&target);
        let tag = format!("kappa sink {}", target.sink);
        Ok(Self {
            session: Session::new(options.clone(), &tag, now)?,
            stage: Stage::new(&options, &table, &own_name),
            options,
            target,
            table,
            own_name,
            merge: None,
            is_open: false,
        })
    }

    /// Files go into `bucket`, the place of an external stage, and not through Snowflake.
    pub fn with_bucket(mut self, bucket: FileTarget) -> Self {
        self.stage.set_bucket(bucket);
        self
    }

    /// Logs in and sees to it that the table, the stage and what else is needed are there. May be
    /// called again.
    ///
    /// # Errors
    /// `User` when the table is not as it must be; `External`, retryable or not, for the rest.
    pub async fn open(&mut self) -> Result<()> {
        self.session.open().await?;
        for sql in &self.options.preactions {
            self.session.run("carry out PREACTIONS", sql).await?;
        }
        let (target, options) = (&self.target, &self.options);
        let (session, table) = (&mut self.session, &self.table);
        let columns = table::open(session, options, table, &target.schema, &target.keys).await?;
        self.stage.open(session).await?;
        if !target.keys.is_empty() {
            let table = table.clone();
            let mut merge = Merge::new(table, columns, options.keep_column_case, &self.own_name);
            merge.open(session).await?;
            self.merge = Some(merge);
        }
        self.is_open = true;
        Ok(())
    }

    /// The last unit that was merged, 0 when none was; nothing is known of rows that are appended.
    /// For a sink that is open.
    ///
    /// # Errors
    /// `External`: retryable when Snowflake or the way there is in trouble, not so when it refuses.
    pub async fn last_merged(&mut self) -> Result<Option<u64>> {
        match &self.merge {
            None => Ok(None),
            Some(merge) => {
                let last = merge.last(&mut self.session).await?;
                Ok(Some(u64::try_from(last).unwrap_or(0)))
            }
        }
    }

    /// Lands the unit exactly once. After an error it is called again with the same unit, here or
    /// in another process, until it succeeds; units come in the order of their numbers.
    ///
    /// # Errors
    /// `External`: retryable when Snowflake or the way there is in trouble, not so when it refuses.
    pub async fn commit(&mut self, number: u64, files: &[StagedFile]) -> Result<Committed> {
        if !self.is_open {
            self.open().await?;
        }
        let rows = files.iter().map(|file| file.rows).sum();
        // A file without rows would be loaded as one that failed.
        let files: Vec<_> = files.iter().filter(|file| file.rows > 0).cloned().collect();
        if files.is_empty() {
            return Ok(Committed { rows });
        }
        let (session, stage) = (&mut self.session, &mut self.stage);
        stage.put(session, &files).await?;
        match &mut self.merge {
            Some(merge) => merge.commit(session, stage, number, &files).await?,
            None => {
                let keep_case = self.options.keep_column_case;
                copy::load(session, stage, &self.table, &files, keep_case).await?;
            }
        }
        for sql in &self.options.postactions {
            session.run("carry out POSTACTIONS", sql).await?;
        }
        stage.tidy(session, &files).await;
        Ok(Committed { rows })
    }

    /// Carries out one statement and gives its rows as text: for tests and for looking around.
    ///
    /// # Errors
    /// `External`, with Snowflake's own words where it refuses.
    pub async fn query(&mut self, sql: &str) -> Result<Answer> {
        Ok(self
            .session
            .run("carry out a query in Snowflake", sql)
            .await?)
    }

    /// Logs out, if that can be done at once.
    pub async fn close(&mut self) {
        self.session.close().await;
    }
}

/// The table that rows go to.
fn table_of(options: &SnowflakeOptions, target: &Target) -> ObjectName {
    options.table.clone().unwrap_or_else(|| ObjectName {
        database: options.database.clone(),
        schema: options.schema.clone(),
        name: target.sink.clone(),
    })
}

/// What a sink's own objects are called, and no other's.
fn own_name(target: &Target) -> String {
    // Kept to letters that need no quotes, since it is also a transaction's name.
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_uppercase()
        } else {
            '_'
        }
    };
    let sink: String = target.sink.chars().take(100).map(plain).collect();
    format!("KAPPA_{sink}_{}", target.mark.to_uppercase())
}

fn check_mode(options: &SnowflakeOptions, target: &Target) -> Result<()> {
    let wrong = |text: &str| Err(Error::User(text.to_owned()));
    match (options.mode, target.keys.is_empty()) {
        (Some(Mode::Merge), true) => {
            wrong("MODE 'merge' needs a primary key: take MODE 'copy' for a stream")
        }
        (Some(Mode::Streaming), _) => Err(Error::Internal("streaming takes no files".to_owned())),
        (Some(Mode::Copy), false) => {
            wrong("MODE 'copy' cannot change rows by key: take MODE 'merge' for a table")
        }
        _ => Ok(()),
    }
}

fn check_columns(options: &SnowflakeOptions, target: &Target) -> Result<()> {
    let mut names = HashSet::new();
    for field in target.schema.fields() {
        types::sql_type(field)?;
        let name = types::column_name(field.name(), options.keep_column_case);
        let plain = types::column_name(field.name(), false);
        if !target.keys.is_empty() && merge::RESERVED.contains(&plain.as_str()) {
            return Err(Error::User(format!(
                "column \"{}\" has a name that the Snowflake sink needs for itself: rename it in \
                 the query",
                field.name()
            )));
        }
        if !names.insert(name.clone()) {
            return Err(Error::User(format!(
                "two columns would be \"{name}\" in Snowflake: rename one in the query, or set \
                 KEEP_COLUMN_CASE = true"
            )));
        }
    }
    for key in &target.keys {
        if target.schema.field_with_name(key).is_err() {
            return Err(Error::Internal(format!(
                "key column \"{key}\" is no column"
            )));
        }
    }
    Ok(())
}
