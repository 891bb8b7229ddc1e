//! Where a sink's rows land: each kind commits a numbered portion of them, whole or not at all, and
//! may be given the same portion again.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use futures::{FutureExt, StreamExt, TryStreamExt};
use kappa_storage::delta::{DataFile, Delta};
use kappa_storage::files::FileTarget;
use kappa_storage::postgres::Postgres;
use kappa_storage::snowflake::{
    ChannelMarks, EpochRows, RejectedRows, Snowflake, StagedFile, Streaming,
};

use super::commit_objects::{CommitObject, CommittedFile, Owner};
use super::delivery::Cursor;
use super::units::Unit;
use super::writer::SEQUENCE;
use crate::error::{Error, Result};
use crate::query::decode::BadRecord;

/// Bytes of rows that are committed together, of what waits.
const ROWS_BYTES_MAX: u64 = 32 << 20;
/// The same for each channel, and for all of a sink: a channel's limit is in bytes a second, and a
/// commit takes seconds.
const CHANNEL_BYTES_MAX: u64 = 16 << 20;
const CHANNELS_BYTES_MAX: u64 = 256 << 20;
/// Files of a unit that are put at a time.
const PUTS: usize = 4;

/// A place for rows.
#[derive(Debug)]
pub(crate) enum Target {
    /// Files in a directory or a bucket.
    Files(FilesTarget),
    /// A table of PostgreSQL.
    Postgres(Box<PostgresTarget>),
    /// A table of Snowflake, by way of files.
    Snowflake(Box<Snowflake>),
    /// A table of Snowflake, row by row.
    Streaming(Box<StreamingTarget>),
    /// A table of Delta Lake, in a directory or a bucket.
    Delta(Box<Delta>),
}

/// How far a target has come, by its own count; 0 when it has nothing yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reach {
    /// It has all up to this.
    pub(crate) all: u64,
    /// It has something of this, and nothing of what comes after.
    pub(crate) newest: u64,
}

/// What was committed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Committed {
    pub(crate) rows: u64,
    pub(crate) files: u64,
    /// Rows that the target did not take, and how many they are.
    pub(crate) rejected: u64,
    pub(crate) bad: Vec<BadRecord>,
    /// To be kept in the cursor, of a target that has channels.
    pub(crate) marks: Option<ChannelMarks>,
}

impl Target {
    /// Makes sure that rows can land there, after what the cursor says. Returns how far it has come,
    /// where it keeps count.
    pub(crate) async fn open(&mut self, cursor: &Cursor) -> Result<Option<Reach>> {
        let whole = |last| Reach {
            all: last,
            newest: last,
        };
        match self {
            Self::Files(_) => Ok(None),
            Self::Postgres(target) => {
                let last = target.postgres.open().await?;
                Ok(Some(whole(last.unwrap_or(0))))
            }
            Self::Snowflake(snowflake) => {
                snowflake.open().await?;
                Ok(snowflake.last_merged().await?.map(whole))
            }
            // Of its newest epoch it may lack some.
            Self::Streaming(target) => Ok(Some(Reach {
                all: 0,
                newest: target.streaming.open(&cursor.channels).await?,
            })),
            Self::Delta(delta) => Ok(Some(whole(Box::pin(delta.open()).await?))),
        }
    }

    /// How many bytes of rows it is given at a time, unless one epoch has more.
    pub(crate) fn rows_bytes_max(&self) -> u64 {
        match self {
            Self::Streaming(target) => {
                let bytes = CHANNEL_BYTES_MAX * target.streaming.channels() as u64;
                bytes.min(CHANNELS_BYTES_MAX)
            }
            _ => ROWS_BYTES_MAX,
        }
    }

    /// Commits a unit of files.
    pub(crate) async fn commit_unit(
        &mut self,
        number: u64,
        unit: &Unit,
        paths: &[PathBuf],
    ) -> Result<Committed> {
        match self {
            Self::Files(files) => files.commit(number, unit, paths).await,
            Self::Snowflake(snowflake) => {
                let files: Vec<StagedFile> = (unit.files.iter().zip(paths).enumerate())
                    .map(|(index, (file, path))| StagedFile {
                        name: format!("file-{number:012}-{index}.parquet"),
                        path: path.clone(),
                        rows: file.rows,
                        bytes: file.bytes,
                    })
                    .collect();
                snowflake.commit(number, &files).await?;
                Ok(Committed {
                    rows: unit.rows(),
                    files: files.len() as u64,
                    ..Committed::default()
                })
            }
            Self::Delta(delta) => {
                let files: Vec<DataFile> = (unit.files.iter().zip(paths))
                    .map(|(file, path)| DataFile {
                        place: file.place.clone(),
                        path: path.clone(),
                        bytes: file.bytes,
                    })
                    .collect();
                Box::pin(delta.commit(number, &files)).await?;
                Ok(Committed {
                    rows: unit.rows(),
                    files: files.len() as u64,
                    ..Committed::default()
                })
            }
            Self::Postgres(_) | Self::Streaming(_) => Err(Error::Internal("it takes rows".into())),
        }
    }

    /// Commits the rows of some epochs, one or more.
    pub(crate) async fn commit_rows(&mut self, epochs: Vec<EpochRows>) -> Result<Committed> {
        match self {
            Self::Postgres(target) => target.commit(epochs).await,
            Self::Streaming(target) => target.commit(epochs).await,
            Self::Files(_) | Self::Snowflake(_) | Self::Delta(_) => {
                Err(Error::Internal("it takes units".into()))
            }
        }
    }
}

/// A table of Snowflake that rows are streamed into, and the columns that it gets.
#[derive(Debug)]
pub(crate) struct StreamingTarget {
    pub(crate) streaming: Streaming,
    pub(crate) columns: Vec<usize>,
}

impl StreamingTarget {
    async fn commit(&mut self, mut epochs: Vec<EpochRows>) -> Result<Committed> {
        for batch in epochs.iter_mut().flat_map(|epoch| &mut epoch.rows) {
            *batch = batch.project(&self.columns)?;
        }
        let streamed = self.streaming.commit(epochs).await?;
        Ok(Committed {
            rows: streamed.rows,
            files: 0,
            rejected: streamed.rejected.iter().map(|rejected| rejected.rows).sum(),
            bad: streamed.rejected.into_iter().map(bad_record).collect(),
            marks: Some(streamed.marks),
        })
    }
}

/// Rejected rows as bad records: of a channel instead of a partition, an epoch instead of an offset.
fn bad_record(rejected: RejectedRows) -> BadRecord {
    BadRecord {
        partition: i32::try_from(rejected.channel).unwrap_or(i32::MAX),
        offset: i64::try_from(rejected.epoch).unwrap_or(i64::MAX),
        reason: rejected.reason,
        payload: rejected.payload,
    }
}

/// A table of PostgreSQL, and the columns that it gets.
#[derive(Debug)]
pub(crate) struct PostgresTarget {
    pub(crate) postgres: Postgres,
    pub(crate) columns: Vec<usize>,
    /// Whether changes are numbered, so that the last of a key counts.
    pub(crate) sequence: bool,
}

impl PostgresTarget {
    async fn commit(&mut self, epochs: Vec<EpochRows>) -> Result<Committed> {
        let (mut count, mut last) = (0, 0);
        let mut batches = Vec::new();
        for EpochRows { epoch, rows } in epochs {
            last = epoch;
            for batch in rows {
                let mut batch = batch.project(&self.columns)?;
                if self.sequence {
                    batch = numbered(&batch, count)?;
                }
                count += batch.num_rows() as i64;
                batches.push(batch);
            }
        }
        self.postgres.commit(last, &batches).await?;
        Ok(Committed {
            rows: count.unsigned_abs(),
            ..Committed::default()
        })
    }
}

/// The rows with their numbers, from `first`.
pub(crate) fn numbered(rows: &RecordBatch, first: i64) -> Result<RecordBatch> {
    let mut fields = rows.schema().fields().to_vec();
    fields.push(Arc::new(Field::new(SEQUENCE, DataType::Int64, false)));
    let mut columns = rows.columns().to_vec();
    let numbers = first..first + rows.num_rows() as i64;
    columns.push(Arc::new(Int64Array::from_iter_values(numbers)));
    Ok(RecordBatch::try_new(
        Arc::new(Schema::new(fields)),
        columns,
    )?)
}

/// Files in a directory or a bucket, and an object that says which belong together.
#[derive(Clone, Debug)]
pub(crate) struct FilesTarget {
    pub(crate) target: FileTarget,
    /// Whose the files are, by their names.
    pub(crate) owner: Owner,
    pub(crate) extension: &'static str,
    /// Whether each unit has a commit object.
    pub(crate) commits: bool,
}

impl FilesTarget {
    async fn commit(&self, number: u64, unit: &Unit, paths: &[PathBuf]) -> Result<Committed> {
        let committed = Committed {
            rows: unit.rows(),
            files: unit.files.len() as u64,
            ..Committed::default()
        };
        let names = self.names(number, unit);
        let object = self
            .commits
            .then(|| self.commit_object(number, unit, &names));
        if let Some(object) = &object
            && self.is_committed(number, object).await?
        {
            return Ok(committed);
        }
        let mut puts = Vec::new();
        for (name, path) in names.iter().cloned().zip(paths.iter().cloned()) {
            let target = self.target.clone();
            puts.push(async move { target.put(&name, &path).await }.boxed());
        }
        let puts = futures::stream::iter(puts).buffer_unordered(PUTS);
        puts.try_collect::<()>().await?;
        if let Some(object) = &object {
            let name = self.owner.commit(number);
            let there = self
                .target
                .create(&name, serde_json::to_vec(object)?)
                .await?;
            self.compare(&name, there, object)?;
        }
        Ok(committed)
    }

    /// The names of a unit's files.
    pub(crate) fn names(&self, number: u64, unit: &Unit) -> Vec<String> {
        let files = unit.files.iter();
        let named = files.map(|file| self.owner.file(&file.place, number, self.extension));
        named.collect()
    }

    /// Whoever finds the object finds all files.
    fn commit_object(&self, number: u64, unit: &Unit, names: &[String]) -> CommitObject {
        let files = names.iter().zip(&unit.files);
        CommitObject {
            writer: self.owner.mark.clone(),
            unit: number,
            files: files
                .map(|(path, file)| CommittedFile {
                    path: path.clone(),
                    rows: file.rows,
                    bytes: file.bytes,
                    min_rowtime: file.times[0],
                    max_rowtime: file.times[1],
                })
                .collect(),
        }
    }

    /// Whether the unit is there already. Looked at before its files are put: an old copy of the data
    /// directory must not write over what the newer one wrote.
    async fn is_committed(&self, number: u64, object: &CommitObject) -> Result<bool> {
        let name = self.owner.commit(number);
        let there = self.target.read(&name).await?;
        let found = there.is_some();
        self.compare(&name, there, object)?;
        Ok(found)
    }

    /// An object that says something else means that there are two with this sink's mark.
    fn compare(&self, name: &str, there: Option<Vec<u8>>, object: &CommitObject) -> Result<()> {
        match there {
            None => Ok(()),
            Some(there)
                if serde_json::from_slice(&there).is_ok_and(|it: CommitObject| it == *object) =>
            {
                Ok(())
            }
            Some(_) => Err(self.other_files(name)),
        }
    }

    /// What a commit object means that is not this sink's.
    pub(crate) fn other_files(&self, name: &str) -> Error {
        Error::User(format!(
            "{name} in {} lists other files than this sink has: another copy of this data directory \
             wrote there, or this one is the older. Stop it, or DROP the sink and create it again",
            self.target.path()
        ))
    }
}
