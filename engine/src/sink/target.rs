//! Where a sink's rows land: each kind commits a numbered portion of them, whole or not at all, and
//! may be given the same portion again.

use std::path::PathBuf;

use arrow::array::RecordBatch;
use futures::{FutureExt, StreamExt, TryStreamExt};
use kappa_storage::files::FileTarget;
use serde::{Deserialize, Serialize};

use super::units::Unit;
use crate::error::{Error, Result};

/// Files of a unit that are put at a time.
const PUTS: usize = 4;

/// A place for rows.
#[derive(Debug)]
pub(crate) enum Target {
    /// Files in a directory or a bucket.
    Files(FilesTarget),
}

/// What was committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Committed {
    pub(crate) rows: u64,
    pub(crate) files: u64,
}

impl Target {
    /// Makes sure that rows can land there. Returns how far it has come, where it knows.
    pub(crate) async fn open(&mut self) -> Result<Option<u64>> {
        match self {
            Self::Files(_) => Ok(None),
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
        }
    }

    /// Commits rows up to an epoch.
    pub(crate) async fn commit_rows(
        &mut self,
        epoch: u64,
        rows: &[RecordBatch],
    ) -> Result<Committed> {
        let _ = (epoch, rows);
        match self {
            Self::Files(_) => Err(Error::Internal("files take units".into())),
        }
    }
}

/// Files in a directory or a bucket, and an object that says which belong together.
#[derive(Debug)]
pub(crate) struct FilesTarget {
    pub(crate) target: FileTarget,
    /// What names of files begin with.
    pub(crate) prefix: String,
    /// What tells this sink's files from all others.
    pub(crate) mark: String,
    pub(crate) extension: &'static str,
    /// Whether each unit has a commit object.
    pub(crate) commits: bool,
}

/// A commit object: the files of a unit, all of which are there.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct CommitObject {
    writer: String,
    unit: u64,
    files: Vec<CommittedFile>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct CommittedFile {
    path: String,
    rows: u64,
    bytes: u64,
    min_rowtime: i64,
    max_rowtime: i64,
}

impl FilesTarget {
    async fn commit(&self, number: u64, unit: &Unit, paths: &[PathBuf]) -> Result<Committed> {
        let names: Vec<String> = unit
            .files
            .iter()
            .map(|file| {
                let (prefix, mark) = (&self.prefix, &self.mark);
                format!(
                    "{}{prefix}-{mark}-{number:012}.{}",
                    file.place, self.extension
                )
            })
            .collect();
        let mut puts = Vec::new();
        for (name, path) in names.iter().cloned().zip(paths.iter().cloned()) {
            let target = self.target.clone();
            puts.push(async move { target.put(&name, &path).await }.boxed());
        }
        let puts = futures::stream::iter(puts).buffer_unordered(PUTS);
        puts.try_collect::<()>().await?;
        if self.commits {
            self.write_commit(number, unit, names).await?;
        }
        Ok(Committed {
            rows: unit.rows(),
            files: unit.files.len() as u64,
        })
    }

    /// Whoever finds the object finds all files. One that somebody else wrote means that there are
    /// two with this sink's mark: a copy of the data directory.
    async fn write_commit(&self, number: u64, unit: &Unit, names: Vec<String>) -> Result<()> {
        let files = names.into_iter().zip(&unit.files);
        let object = CommitObject {
            writer: self.mark.clone(),
            unit: number,
            files: files
                .map(|(path, file)| CommittedFile {
                    path,
                    rows: file.rows,
                    bytes: file.bytes,
                    min_rowtime: file.times[0],
                    max_rowtime: file.times[1],
                })
                .collect(),
        };
        let name = format!("_commits/{}-{}/{number:020}.json", self.prefix, self.mark);
        let bytes = serde_json::to_vec(&object)?;
        match self.target.create(&name, bytes).await? {
            None => Ok(()),
            Some(there)
                if serde_json::from_slice::<CommitObject>(&there).is_ok_and(|o| o == object) =>
            {
                Ok(())
            }
            Some(_) => Err(Error::User(format!(
                "{name} in {} lists other files: a copy of this data directory writes there, too. \
                 Stop it, or DROP the sink and create it again",
                self.target.path()
            ))),
        }
    }
}
