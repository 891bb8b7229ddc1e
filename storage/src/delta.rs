//! Delta Lake as a sink: lands numbered units of Parquet files in a table, each exactly once.
//!
//! A unit is one commit of the table's log. Files of rows are put under the table's root, and the
//! commit adds them; changes by key are merged, and the commit has what that came to. Either commit
//! carries the unit's number as an application transaction of the sink's mark: that is how a commit
//! whose answer was lost is known, by this process or the next. A file that was put without a commit
//! is no part of the table, and is put again under its name, with its bytes.
//!
//! The log is read and written by the `deltalake` library, over our own object stores. It keeps a list
//! of the table's files in memory.

mod add;
mod fault;
mod merge;
mod statistics;
mod table;
mod types;

use std::path::PathBuf;

use arrow::datatypes::SchemaRef;
use deltalake_core::kernel::engine::arrow_conversion::TryIntoKernel;
use deltalake_core::kernel::transaction::{CommitBuilder, CommitProperties};
use deltalake_core::kernel::{Action, Add, StructType, Transaction};
use deltalake_core::protocol::{DeltaOperation, SaveMode};
use deltalake_core::table::config::TablePropertiesExt;
use deltalake_core::{DeltaResult, DeltaTable};
use futures::{FutureExt, StreamExt, TryStreamExt};
use serde_json::json;

use self::fault::{is_conflict, told};
use self::table::Columns;
pub(crate) use self::types::{cast_rows, table_schema};
use crate::files::{FileEncoding, FileTarget};
use crate::{Error, Result};

/// Files of a unit that are put at a time.
const PUTS: usize = 4;
/// How often a unit is tried when other writers are faster each time.
const TRIES: usize = 10;

/// How rows get into a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One after the other.
    Append,
    /// By key, of each key the last.
    Merge,
}

impl Mode {
    /// By their names in SQL.
    pub const ALL: [(&'static str, Self); 2] = [("append", Self::Append), ("merge", Self::Merge)];
}

/// What is written, and how.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The sink's name.
    pub sink: String,
    /// Eight hex digits that no other sink has or will have.
    pub mark: String,
    /// The columns of the rows; of merged ones without `ROWDELETED` and `ROWSEQ`.
    pub schema: SchemaRef,
    /// The primary key's columns, where rows are merged.
    pub keys: Vec<String>,
    /// Columns that partition the table.
    pub partition_by: Vec<String>,
    /// How rows get there.
    pub mode: Mode,
    /// Whether columns that the table lacks are added.
    pub schema_evolution: bool,
    /// How the files of merged rows are written; those of others are written already.
    pub encoding: FileEncoding,
}

/// A file of a unit, on local disk; the same bytes at every try.
#[derive(Clone, Debug)]
pub struct DataFile {
    /// The directory under the table's root that it belongs to: empty, or with a `/` at its end.
    pub place: String,
    /// Where it is.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
}

/// A sink's table.
#[derive(Debug)]
pub struct Delta {
    place: FileTarget,
    spec: Spec,
    columns: Columns,
    /// As of the last commit that was seen; `None` after a failure.
    table: Option<DeltaTable>,
    /// The last unit that the table has.
    last: u64,
}

impl Delta {
    /// Checks what can be checked here; nothing is sent.
    ///
    /// # Errors
    /// `User` when a column cannot go to Delta Lake, or has a name that is needed here.
    pub fn try_new(place: FileTarget, spec: Spec) -> Result<Self> {
        let schema = table_schema(&spec.schema)?;
        let table: StructType = schema.as_ref().try_into_kernel().map_err(|error| {
            Error::User(format!("Delta Lake cannot have these columns: {error}"))
        })?;
        let reserved = [merge::ROWDELETED, merge::ROWSEQ];
        let mut names = schema.fields().iter().map(|field| field.name().as_str());
        if spec.mode == Mode::Merge
            && let Some(name) = names.find(|name| reserved.contains(name))
        {
            return Err(Error::User(format!(
                "column \"{name}\" has a name that the sink needs for itself: rename it in the query"
            )));
        }
        if spec.mode == Mode::Merge && spec.keys.is_empty() {
            return Err(Error::Internal("a merge without keys".into()));
        }
        Ok(Self {
            place,
            columns: Columns {
                schema,
                fields: table.fields().cloned().collect(),
            },
            spec,
            table: None,
            last: 0,
        })
    }

    /// Reads the table's log, and sees to it that there is a table to which the rows can go. Returns
    /// the last unit that it has, 0 when it has none. May be called again.
    ///
    /// # Errors
    /// `User` when the table is not as it must be; `External`, retryable or not, for the rest.
    pub async fn open(&mut self) -> Result<u64> {
        self.table = None;
        let table = Box::pin(table::open(&self.place, &self.spec, &self.columns)).await?;
        let what = || self.what("read the log of");
        let state = table.snapshot().map_err(|error| told(what(), &error))?;
        let log_store = table.log_store();
        let last = state.transaction_version(log_store.as_ref(), self.app_id());
        let last = last.await.map_err(|error| told(what(), &error))?;
        self.last = last.and_then(|last| u64::try_from(last).ok()).unwrap_or(0);
        self.table = Some(table);
        Ok(self.last)
    }

    /// Lands the unit exactly once. After an error it is called again with the same unit, here or
    /// in another process, until it succeeds; units come in the order of their numbers.
    ///
    /// # Errors
    /// `User` when the table is not as it must be, or a row is not; `External` for the rest.
    pub async fn commit(&mut self, number: u64, files: &[DataFile]) -> Result<()> {
        // What adds the files, and which columns they were seen to fill.
        let mut put: Option<(Vec<String>, Vec<Add>)> = None;
        for _ in 0..TRIES {
            // A table that a commit failed on is read again: it may have the unit by now.
            let table = match self.table.take() {
                Some(table) => table,
                None => {
                    self.open().await?;
                    continue;
                }
            };
            if number <= self.last {
                self.table = Some(table);
                return Ok(());
            }
            let done = match self.spec.mode {
                Mode::Append => {
                    let required = table::required(&table);
                    let adds = match &put {
                        Some((filled, adds)) if *filled == required => adds.clone(),
                        _ => self.put(number, files, &table, &required).await?,
                    };
                    put = Some((required, adds.clone()));
                    Box::pin(self.append(table, number, adds)).await
                }
                Mode::Merge => Box::pin(self.merge(table, number, files)).await?,
            };
            match done {
                Ok(table) => {
                    self.table = Some(table);
                    self.last = number;
                    return Ok(());
                }
                Err(error) if is_conflict(&error) => {}
                Err(error) => return Err(told(self.what("commit to"), &error)),
            }
        }
        Err(Error::retryable(
            self.what("commit to"),
            format!("other writers changed it {TRIES} times meanwhile"),
        ))
    }

    /// Puts the files of a unit under the table's root, if `required` columns have no NULL in them.
    /// Returns what adds them to the table.
    async fn put(
        &self,
        number: u64,
        files: &[DataFile],
        table: &DeltaTable,
        required: &[String],
    ) -> Result<Vec<Add>> {
        let indexed_max = table::indexed_max(table);
        let puts = files.iter().cloned().map(|file| {
            let (place, spec) = (self.place.clone(), self.spec.clone());
            let (schema, required) = (SchemaRef::clone(&self.columns.schema), required.to_vec());
            async move {
                let path = file.path.clone();
                let described = tokio::task::spawn_blocking(move || {
                    let name = add::name(&file, &spec.mark, number)?;
                    let partition_by = &spec.partition_by;
                    add::action(&file, name, &schema, partition_by, &required, indexed_max)
                });
                let add = described
                    .await
                    .map_err(|error| Error::Internal(error.to_string()))??;
                place.put(&add.path, &path).await?;
                Ok(add)
            }
            .boxed()
        });
        let puts: Vec<_> = puts.collect();
        futures::stream::iter(puts)
            .buffered(PUTS)
            .try_collect()
            .await
    }

    /// Commits files that are there.
    async fn append(
        &self,
        table: DeltaTable,
        number: u64,
        adds: Vec<Add>,
    ) -> DeltaResult<DeltaTable> {
        let commit = self.properties(&table, number)?;
        let log_store = table.log_store();
        let operation = DeltaOperation::Write {
            mode: SaveMode::Append,
            partition_by: None,
            predicate: None,
        };
        let committed = CommitBuilder::from(commit)
            .with_actions(adds.into_iter().map(Action::Add).collect())
            .build(Some(table.snapshot()?), log_store.clone(), operation)
            .await?;
        let mut table = DeltaTable::new(log_store);
        table.state = Some(committed.snapshot);
        Ok(table)
    }

    /// Merges the changes of a unit.
    async fn merge(
        &self,
        mut table: DeltaTable,
        number: u64,
        files: &[DataFile],
    ) -> Result<DeltaResult<DeltaTable>> {
        // What is merged into an old version would be a conflict with every newer one.
        if let Err(error) = table.update_state().await {
            return Ok(Err(error));
        }
        if !table::missing(&table, &self.place, &self.spec, &self.columns)?.is_empty() {
            return Err(Error::retryable(
                self.what("merge into"),
                "it has lost columns",
            ));
        }
        let changes = Box::pin(merge::changes(files, &self.spec)).await?;
        let before = table.version();
        let commit = match self.properties(&table, number) {
            Ok(commit) => commit,
            Err(error) => return Ok(Err(error)),
        };
        let merge = merge::merge(table, changes, &self.spec, &self.columns, commit);
        let merged = match Box::pin(merge).await {
            Ok(merged) => merged,
            Err(error) => return Ok(Err(error)),
        };
        match merged.version() == before {
            // There was nothing to change, which is to be known as well.
            true => Ok(Box::pin(self.append(merged, number, Vec::new())).await),
            false => Ok(Ok(merged)),
        }
    }

    /// What a unit's commit carries, and does beside.
    fn properties(&self, table: &DeltaTable, number: u64) -> DeltaResult<CommitProperties> {
        let state = table.snapshot()?;
        let interval = state.table_config().checkpoint_interval().get();
        // Old entries of the log are looked for when a checkpoint is written, not in every commit: it
        // lists all of the log.
        let checkpoint = (state.version() + 2).is_multiple_of(interval);
        let version = i64::try_from(number).unwrap_or(i64::MAX);
        let words = format!("kappa sink {} unit {number}", self.spec.sink);
        Ok(CommitProperties::default()
            // Without a time, so that it never expires.
            .with_application_transaction(Transaction::new(self.app_id(), version))
            .with_metadata([("userMetadata".to_owned(), json!(words))])
            .with_cleanup_expired_logs((!checkpoint).then_some(false)))
    }

    /// Who commits, in the table's log.
    fn app_id(&self) -> String {
        format!("kappa/{}", self.spec.mark)
    }

    fn what(&self, verb: &str) -> String {
        format!("{verb} the Delta table {}", self.place.path())
    }
}

#[cfg(test)]
mod tests;
