//! The stage: where a unit's files are put for Snowflake to load them.
//!
//! PUT is a statement whose answer says where the stage's storage is and with which credentials;
//! the upload itself is the client's. A file's name is its own for ever and its bytes are the same
//! at every try, and so they are in the storage, encrypted or not: Snowflake, which knows a loaded
//! file by name and checksum, never takes a file put twice for two.
//!
//! An external stage is a bucket of the user's, which takes no PUT: its files go there directly.

mod encrypt;
mod place;
mod upload;

use std::collections::VecDeque;

use self::place::Place;
use self::upload::{Trouble, upload};
use super::http::Backoff;
use super::name::ObjectName;
use super::query::Failure;
use super::session::Session;
use super::{StagedFile, options::SnowflakeOptions};
use crate::files::FileTarget;
use crate::{Error, Result};

/// Credentials that turn out to be old are asked for anew this often for one file.
const RENEWALS_MAX: u32 = 3;
/// Files of this many units stay in the stage, the last one's among them.
const UNITS_KEPT: usize = 2;

/// A stage and the sink's place in it.
#[derive(Debug)]
pub(crate) struct Stage {
    name: ObjectName,
    path: String,
    /// Whether it is ours, to be made where it is not there.
    own: bool,
    purge: bool,
    /// Where an external stage's files are.
    bucket: Option<FileTarget>,
    /// Files of the last units.
    kept: VecDeque<Vec<String>>,
    swept: bool,
}

impl Stage {
    /// The user's stage, where the sink has a folder, or its own beside `table`.
    pub(crate) fn new(options: &SnowflakeOptions, table: &ObjectName, own_name: &str) -> Self {
        let (name, path, own) = match &options.stage {
            None => (table.beside(own_name), String::new(), true),
            Some(stage) => {
                let folder = match stage.path.is_empty() {
                    true => own_name.to_owned(),
                    false => format!("{}/{own_name}", stage.path),
                };
                (stage.name.clone(), folder, false)
            }
        };
        Self {
            name,
            path,
            own,
            purge: options.purge,
            bucket: None,
            kept: VecDeque::new(),
            swept: false,
        }
    }

    /// `@stage/path`.
    pub(crate) fn reference(&self) -> String {
        match self.path.is_empty() {
            true => format!("@{}", self.name),
            false => format!("@{}/{}", self.name, self.path),
        }
    }

    /// `@stage/path/`: a folder, to which names of files are added.
    pub(crate) fn folder(&self) -> String {
        match self.path.is_empty() {
            true => self.reference(),
            false => format!("{}/", self.reference()),
        }
    }

    /// Makes it an external stage whose files are in `bucket`.
    pub(crate) fn set_bucket(&mut self, bucket: FileTarget) {
        self.bucket = Some(bucket);
    }

    /// Makes it where it is ours and not there. Snowflake encrypts it: files are sent as they are.
    pub(crate) async fn open(&mut self, session: &mut Session) -> Result<()> {
        if self.own {
            let what = format!("make stage {} in Snowflake", self.name);
            let sql = format!(
                "CREATE STAGE IF NOT EXISTS {} ENCRYPTION=(TYPE='SNOWFLAKE_SSE')",
                self.name
            );
            session.run(&what, &sql).await?;
        }
        Ok(())
    }

    /// Puts files into the stage; those that are there already stay.
    pub(crate) async fn put(&self, session: &mut Session, files: &[StagedFile]) -> Result<()> {
        if let Some(bucket) = &self.bucket {
            for file in files {
                check_name(&file.name)?;
                let name = format!("{}/{}", self.path, file.name);
                // Put twice, it might have another checksum.
                if bucket.size(&name).await? != Some(file.bytes) {
                    bucket.put(&name, &file.path).await?;
                }
            }
            return Ok(());
        }
        let mut place: Option<Place> = None;
        for file in files {
            check_name(&file.name)?;
            let what = format!("put {} into stage {}", file.name, self.reference());
            let mut backoff = Backoff::new(session.retry());
            let mut renewals = 0;
            loop {
                let here = match place.take() {
                    Some(place) => place,
                    None => self.ask(session, &what, file).await?,
                };
                match upload(&here, file, session.http()).await {
                    Ok(()) => {
                        place = Some(here).filter(Place::serves_many);
                        break;
                    }
                    Err(Trouble::Expired(cause)) => {
                        renewals += 1;
                        if renewals > RENEWALS_MAX {
                            return Err(Error::retryable(what, cause));
                        }
                    }
                    Err(Trouble::Again(cause, asked)) => {
                        if !backoff.wait(asked).await? {
                            return Err(Error::retryable(what, cause));
                        }
                    }
                    Err(Trouble::Never(cause)) => return Err(Error::external(what, cause)),
                    Err(Trouble::Error(error)) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// Asks where a file goes.
    async fn ask(&self, session: &mut Session, what: &str, file: &StagedFile) -> Result<Place> {
        // Only the name of the path is looked at.
        let sql = format!(
            "PUT 'file:///kappa/{}' {} AUTO_COMPRESS=FALSE SOURCE_COMPRESSION=NONE \
             OVERWRITE=FALSE",
            file.name,
            self.reference()
        );
        let answer = session.run(what, &sql).await?;
        Place::read(answer.data(), session.is_plain()).map_err(|cause| Error::external(what, cause))
    }

    /// After a unit is loaded: removes the files of the units before, as far as that goes. A
    /// failure only leaves files lying about, which the next start looks for.
    pub(crate) async fn tidy(&mut self, session: &mut Session, loaded: &[StagedFile]) {
        if !self.purge {
            return;
        }
        let mut old = Vec::new();
        if !self.swept {
            self.swept = true;
            old = self.left_over(session, loaded).await;
        }
        self.kept
            .push_back(loaded.iter().map(|file| file.name.clone()).collect());
        while self.kept.len() > UNITS_KEPT {
            old.extend(self.kept.pop_front().unwrap_or_default());
        }
        for name in old {
            let what = format!("remove {name} from stage {}", self.reference());
            let sql = format!("REMOVE {}/{name}", self.reference());
            match session.run(&what, &sql).await {
                Ok(_) => {}
                // A server without REMOVE, or without the right to it: not for this session.
                Err(Failure::Refused(_)) => self.purge = false,
                Err(_) => return,
            }
            if !self.purge {
                return;
            }
        }
    }

    /// Files of an earlier process: those whose number is less than all of this unit's.
    async fn left_over(&self, session: &mut Session, loaded: &[StagedFile]) -> Vec<String> {
        let Some(first) = loaded.iter().filter_map(|file| number_of(&file.name)).min() else {
            return Vec::new();
        };
        let what = format!("list stage {}", self.reference());
        let sql = format!("LIST {}", self.reference());
        let Ok(answer) = session.run(&what, &sql).await else {
            return Vec::new();
        };
        let names = answer
            .rows()
            .iter()
            .filter_map(|row| answer.cell(row, "name"));
        let mine = names.filter_map(|name| name.rsplit('/').next());
        let old = mine.filter(|name| number_of(name).is_some_and(|number| number < first));
        old.filter(|name| check_name(name).is_ok())
            .map(str::to_owned)
            .collect()
    }
}

/// The number in `file-000000000042-0.parquet`.
fn number_of(name: &str) -> Option<u64> {
    name.strip_prefix("file-")?.split('-').next()?.parse().ok()
}

/// Names go into statements as they are.
fn check_name(name: &str) -> Result<()> {
    let valid = |c: char| c.is_ascii_alphanumeric() || "_-=.".contains(c);
    match !name.is_empty() && !name.starts_with('.') && name.chars().all(valid) {
        true => Ok(()),
        false => Err(Error::Internal(format!(
            "'{name}' is no name for a staged file"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_our_names() {
        assert_eq!(number_of("file-000000000042-0.parquet"), Some(42));
        assert_eq!(number_of("other-1.parquet"), None);
        assert!(check_name("file-000000000042-0.parquet").is_ok());
        for wrong in ["", ".a", "a'b", "a b", "a/b"] {
            assert!(check_name(wrong).is_err(), "{wrong}");
        }
    }
}
