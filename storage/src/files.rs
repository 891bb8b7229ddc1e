//! Files of rows, on local disk and in object stores: how they are written, and how they get to
//! their place whole or not at all. Which rows go into which file is the caller's business, and
//! so is the name: a file put twice under one name must have the same bytes.

mod writer;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::path::Path as StorePath;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};

pub use self::writer::{FileFormat, write_file};
use crate::{Error, Result};

/// Where files go: a directory, or a bucket and a prefix in it.
#[derive(Clone)]
pub struct FileTarget {
    /// As the user wrote it.
    path: String,
    place: Place,
}

#[derive(Clone)]
enum Place {
    Directory(PathBuf),
    Store {
        store: Arc<dyn ObjectStore>,
        prefix: StorePath,
    },
}

impl fmt::Debug for FileTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileTarget({})", self.path)
    }
}

impl FileTarget {
    /// The target of `path`: `s3://bucket/prefix`, `file:///directory` or a directory.
    ///
    /// For S3, `options` are object_store's names of settings (`endpoint`, `region`,
    /// `access_key_id`, `secret_access_key`, …) over those of the environment (`AWS_…`).
    pub fn open(path: &str, options: &BTreeMap<String, String>) -> Result<Self> {
        let user = |error: &dyn fmt::Display| Error::User(format!("PATH '{path}': {error}"));
        if let Some(rest) = path.strip_prefix("s3://") {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            if bucket.is_empty() {
                return Err(user(&"a bucket is missing: s3://bucket/prefix"));
            }
            let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket);
            for (name, value) in options {
                let key: AmazonS3ConfigKey = name
                    .parse()
                    .map_err(|_| user(&format_args!("there is no S3 setting {name}")))?;
                if key == AmazonS3ConfigKey::Endpoint && value.starts_with("http://") {
                    builder = builder.with_allow_http(true);
                }
                builder = builder.with_config(key, value);
            }
            let store = builder.build().map_err(|error| user(&error))?;
            let prefix = StorePath::parse(prefix).map_err(|error| user(&error))?;
            return Ok(Self {
                path: path.to_owned(),
                place: Place::Store {
                    store: Arc::new(store),
                    prefix,
                },
            });
        }
        let directory = path.strip_prefix("file://").unwrap_or(path);
        if directory.contains("://") {
            return Err(user(
                &"only s3://…, file://… and directories can be written",
            ));
        }
        if directory.is_empty() || directory.contains('\0') {
            return Err(user(&"not a directory"));
        }
        let directory = PathBuf::from(directory);
        if directory
            .components()
            .any(|part| part == std::path::Component::ParentDir)
        {
            return Err(user(&"a path with .. in it is not taken"));
        }
        Ok(Self {
            path: path.to_owned(),
            place: Place::Directory(directory),
        })
    }

    /// As the user wrote it.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Puts a local file into its place under `name`, which may have `/`s. It appears whole or not
    /// at all; one that is there already is replaced.
    pub async fn put(&self, name: &str, file: &Path) -> Result<()> {
        let what = || format!("write {name} to {}", self.path);
        match &self.place {
            Place::Directory(directory) => {
                let (from, to) = (file.to_owned(), directory.join(name));
                tokio::task::spawn_blocking(move || copy_durably(&from, &to))
                    .await
                    .map_err(|error| Error::Internal(error.to_string()))?
                    .map_err(|error| Error::retryable(what(), error))
            }
            Place::Store { store, prefix } => {
                let bytes = tokio::fs::read(file)
                    .await
                    .map_err(|error| Error::external(what(), error))?;
                let full = match prefix.as_ref().is_empty() {
                    true => name.to_owned(),
                    false => format!("{prefix}/{name}"),
                };
                let path =
                    StorePath::parse(full).map_err(|error| Error::Internal(error.to_string()))?;
                store
                    .put(&path, PutPayload::from(bytes))
                    .await
                    .map_err(|error| classify(what(), &error))?;
                Ok(())
            }
        }
    }
}

/// What trying again may cure: all but refusals.
fn classify(what: String, error: &object_store::Error) -> Error {
    use object_store::Error as E;
    match error {
        E::PermissionDenied { .. }
        | E::Unauthenticated { .. }
        | E::NotFound { .. }
        | E::InvalidPath { .. }
        | E::NotSupported { .. } => Error::external(what, error),
        _ => Error::retryable(what, error),
    }
}

/// Copies beside the destination, syncs, renames, and syncs the directory.
fn copy_durably(from: &Path, to: &Path) -> std::io::Result<()> {
    let directory = to.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(directory)?;
    let mut temporary = to.as_os_str().to_owned();
    temporary.push(".tmp");
    let temporary = PathBuf::from(temporary);
    {
        let mut reader = File::open(from)?;
        let mut writer = File::create(&temporary)?;
        std::io::copy(&mut reader, &mut writer)?;
        writer.flush()?;
        writer.sync_all()?;
    }
    std::fs::rename(&temporary, to)?;
    File::open(directory)?.sync_all()
}
