//! Where files go: a directory, or a bucket (S3, Google Cloud Storage, Azure) and a prefix in it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::StreamExt;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::path::Path as StorePath;
use object_store::{
    ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, RetryConfig, WriteMultipart,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use url::Url;

use super::directory::{DirectoryStore, copy_durably, create_durably};
use crate::{Error, Result};

/// Bytes of a file from which it is put in parts.
const MULTIPART_BYTES_MIN: u64 = 16 << 20;
/// Bytes of a part.
const PART_BYTES: usize = 8 << 20;
/// Parts on their way at a time.
const PARTS_MAX: usize = 4;

/// Who keeps the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// A directory of this machine.
    Local,
    /// Amazon S3, and what speaks its protocol.
    S3,
    /// Google Cloud Storage.
    Gcs,
    /// Azure Blob Storage.
    Azure,
}

impl Provider {
    /// The provider that a path's scheme names.
    pub fn of(path: &str) -> Option<Self> {
        match path.split_once("://") {
            None | Some(("file", _)) => Some(Self::Local),
            Some(("s3" | "s3a", _)) => Some(Self::S3),
            Some(("gs" | "gcs", _)) => Some(Self::Gcs),
            Some(("az" | "azure", _)) => Some(Self::Azure),
            Some(_) => None,
        }
    }

    /// How a path of it begins.
    pub fn example(self) -> &'static str {
        match self {
            Self::Local => "a directory",
            Self::S3 => "s3://bucket/prefix",
            Self::Gcs => "gs://bucket/prefix",
            Self::Azure => "az://container/prefix",
        }
    }
}

/// A file of a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Relative to the place.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// When it was written, by the clock of who keeps it, in milliseconds.
    pub modified_ms: i64,
}

/// A place for files. Clones are the same place.
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
    /// The target of `path`: `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix`,
    /// `file:///directory` or a directory.
    ///
    /// `options` are object_store's names of settings (for S3 `endpoint`, `region`,
    /// `access_key_id`, `secret_access_key`, …) over those of the environment (`AWS_…`,
    /// `GOOGLE_…`, `AZURE_…`).
    pub fn open(path: &str, options: &BTreeMap<String, String>) -> Result<Self> {
        let user = |error: &dyn fmt::Display| Error::User(format!("PATH '{path}': {error}"));
        let provider = Provider::of(path).ok_or_else(|| {
            user(&"only s3://…, gs://…, az://…, file://… and directories can be written")
        })?;
        let place = match provider {
            Provider::Local => Place::Directory(directory(path).map_err(|error| user(&error))?),
            Provider::S3 | Provider::Gcs | Provider::Azure => {
                let rest = path.split_once("://").map_or("", |(_, rest)| rest);
                let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
                if bucket.is_empty() {
                    let example = provider.example();
                    return Err(user(&format_args!("a bucket is missing: {example}")));
                }
                let store = open_store(provider, bucket, options).map_err(|error| user(&error))?;
                Place::Store {
                    store,
                    prefix: StorePath::parse(prefix).map_err(|error| user(&error))?,
                }
            }
        };
        Ok(Self {
            path: path.to_owned(),
            place,
        })
    }

    /// As the user wrote it.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The store that it is in, from its root, and its URL there, with a `/` at its end. A directory is
    /// made if absent.
    pub(crate) fn store(&self) -> Result<(Arc<dyn ObjectStore>, Url)> {
        match &self.place {
            Place::Directory(directory) => {
                let made = std::fs::create_dir_all(directory);
                let found = made.and_then(|()| directory.canonicalize());
                let found = found.map_err(|error| {
                    Error::retryable(format!("make the directory {}", directory.display()), error)
                })?;
                let url = Url::from_directory_path(&found);
                let url = url.map_err(|()| Error::User(format!("{} has no URL", self.path)))?;
                Ok((Arc::new(DirectoryStore::default()), url))
            }
            Place::Store { store, prefix } => {
                let scheme = match Provider::of(&self.path) {
                    Some(Provider::Gcs) => "gs",
                    Some(Provider::Azure) => "az",
                    _ => "s3",
                };
                let rest = self.path.split_once("://").map_or("", |(_, rest)| rest);
                let bucket = rest.split('/').next().unwrap_or_default();
                let wrong = |error: &dyn fmt::Display| {
                    Error::User(format!("PATH '{}': {error}", self.path))
                };
                let url = Url::parse(&format!("{scheme}://{bucket}/"));
                let mut url = url.map_err(|error| wrong(&error))?;
                url.path_segments_mut()
                    .map_err(|()| wrong(&"not a bucket"))?
                    .pop_if_empty()
                    .extend(prefix.parts().map(|part| part.as_ref().to_owned()))
                    .push("");
                Ok((Arc::clone(store), url))
            }
        }
    }

    /// Puts a local file into its place under `name`, which may have `/`s. It appears whole or not
    /// at all; one that is there already is replaced.
    pub async fn put(&self, name: &str, file: &Path) -> Result<()> {
        let what = || self.what("write", name);
        let (store, path) = match &self.place {
            Place::Directory(directory) => {
                let (from, to) = (file.to_owned(), directory.join(name));
                return blocking(move || copy_durably(&from, &to))
                    .await?
                    .map_err(|error| Error::retryable(what(), error));
            }
            Place::Store { store, prefix } => (store, full(prefix, name)?),
        };
        let local = |error: std::io::Error| Error::external(what(), error);
        let length = tokio::fs::metadata(file).await.map_err(local)?.len();
        if length < MULTIPART_BYTES_MIN {
            let bytes = tokio::fs::read(file).await.map_err(local)?;
            let put = store.put(&path, PutPayload::from(bytes)).await;
            return put.map(drop).map_err(|error| classify(what(), &error));
        }
        let upload = store.put_multipart(&path).await;
        let upload = upload.map_err(|error| classify(what(), &error))?;
        let mut parts = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
        let mut reader = tokio::fs::File::open(file).await.map_err(local)?;
        loop {
            let mut part = Vec::with_capacity(PART_BYTES);
            let mut limited = (&mut reader).take(PART_BYTES as u64);
            if limited.read_to_end(&mut part).await.map_err(local)? == 0 {
                break;
            }
            if let Err(error) = parts.wait_for_capacity(PARTS_MAX).await {
                drop(parts.abort().await);
                return Err(classify(what(), &error));
            }
            parts.put(Bytes::from(part));
        }
        let finished = parts.finish().await;
        finished.map(drop).map_err(|error| classify(what(), &error))
    }

    /// Writes a small object that must not be there yet. Returns the bytes of the one that is.
    pub async fn create(&self, name: &str, bytes: Vec<u8>) -> Result<Option<Vec<u8>>> {
        let what = || self.what("create", name);
        match &self.place {
            Place::Directory(directory) => {
                let to = directory.join(name);
                blocking(move || create_durably(&to, &bytes))
                    .await?
                    .map_err(|error| Error::retryable(what(), error))
            }
            Place::Store { store, prefix } => {
                let path = full(prefix, name)?;
                let options = PutOptions::from(PutMode::Create);
                let put = store
                    .put_opts(&path, PutPayload::from(bytes), options)
                    .await;
                match put {
                    Ok(_) => Ok(None),
                    // Perhaps our own, whose answer was lost: the caller compares.
                    Err(
                        object_store::Error::AlreadyExists { .. }
                        | object_store::Error::Precondition { .. },
                    ) => self.read(name).await,
                    Err(error) => Err(classify(what(), &error)),
                }
            }
        }
    }

    /// The bytes of a small object; `None` when there is none.
    pub async fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let what = || self.what("read", name);
        match &self.place {
            Place::Directory(directory) => match tokio::fs::read(directory.join(name)).await {
                Ok(bytes) => Ok(Some(bytes)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(Error::retryable(what(), error)),
            },
            Place::Store { store, prefix } => {
                let path = full(prefix, name)?;
                let there = match store.get(&path).await {
                    Ok(there) => there,
                    Err(object_store::Error::NotFound { .. }) => return Ok(None),
                    Err(error) => return Err(classify(what(), &error)),
                };
                let bytes = there.bytes().await;
                let bytes = bytes.map_err(|error| classify(what(), &error))?;
                Ok(Some(bytes.to_vec()))
            }
        }
    }

    /// Bytes of an object; `None` when there is none.
    pub async fn size(&self, name: &str) -> Result<Option<u64>> {
        let what = || self.what("look for", name);
        match &self.place {
            Place::Directory(directory) => match tokio::fs::metadata(directory.join(name)).await {
                Ok(there) => Ok(Some(there.len())),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(Error::retryable(what(), error)),
            },
            Place::Store { store, prefix } => match store.head(&full(prefix, name)?).await {
                Ok(there) => Ok(Some(there.size)),
                Err(object_store::Error::NotFound { .. }) => Ok(None),
                Err(error) => Err(classify(what(), &error)),
            },
        }
    }

    /// Copies a file to local disk, piece by piece. Returns its length in bytes; `None` when there is
    /// no such file.
    pub async fn fetch(&self, name: &str, to: &Path) -> Result<Option<u64>> {
        let what = || self.what("read", name);
        match &self.place {
            Place::Directory(directory) => {
                let copied = tokio::fs::copy(directory.join(name), to).await;
                match copied {
                    Ok(bytes) => Ok(Some(bytes)),
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                    Err(error) => Err(Error::retryable(what(), error)),
                }
            }
            Place::Store { store, prefix } => {
                let there = match store.get(&full(prefix, name)?).await {
                    Ok(there) => there,
                    Err(object_store::Error::NotFound { .. }) => return Ok(None),
                    Err(error) => return Err(classify(what(), &error)),
                };
                let local = |error: std::io::Error| Error::retryable(what(), error);
                let mut file = tokio::fs::File::create(to).await.map_err(local)?;
                let (mut pieces, mut bytes) = (there.into_stream(), 0);
                while let Some(piece) = pieces.next().await {
                    let piece = piece.map_err(|error| classify(what(), &error))?;
                    file.write_all(&piece).await.map_err(local)?;
                    bytes += piece.len() as u64;
                }
                file.flush().await.map_err(local)?;
                Ok(Some(bytes))
            }
        }
    }

    /// Removes a file; one that is not there is no error.
    pub async fn delete(&self, name: &str) -> Result<()> {
        let what = || self.what("delete", name);
        match &self.place {
            Place::Directory(directory) => {
                match tokio::fs::remove_file(directory.join(name)).await {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        Err(Error::retryable(what(), error))
                    }
                    _ => Ok(()),
                }
            }
            Place::Store { store, prefix } => match store.delete(&full(prefix, name)?).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
                Err(error) => Err(classify(what(), &error)),
            },
        }
    }

    /// All files below `folder` (all there are, when it is empty), each given to `each`, in no order.
    pub async fn list(&self, folder: &str, each: &mut (dyn FnMut(Listed) + Send)) -> Result<()> {
        let what = || self.what("list", folder);
        match &self.place {
            Place::Directory(directory) => {
                let (root, top) = (directory.clone(), directory.join(folder));
                let files = blocking(move || walk(&root, &top)).await?;
                let files = files.map_err(|error| Error::retryable(what(), error))?;
                files.into_iter().for_each(each);
            }
            Place::Store { store, prefix } => {
                let top = match folder.is_empty() {
                    true => prefix.clone(),
                    false => full(prefix, folder)?,
                };
                let root = match prefix.as_ref().is_empty() {
                    true => 0,
                    false => prefix.as_ref().len() + 1,
                };
                let mut listed = store.list(Some(&top));
                while let Some(object) = listed.next().await {
                    let object = object.map_err(|error| classify(what(), &error))?;
                    let Some(name) = object.location.as_ref().get(root..) else {
                        continue;
                    };
                    each(Listed {
                        name: name.to_owned(),
                        bytes: object.size,
                        modified_ms: object.last_modified.timestamp_millis(),
                    });
                }
            }
        }
        Ok(())
    }

    fn what(&self, verb: &str, name: &str) -> String {
        format!("{verb} {name} in {}", self.path)
    }
}

/// The files below a directory; none when it does not exist.
fn walk(root: &Path, top: &Path) -> std::io::Result<Vec<Listed>> {
    let (mut files, mut directories) = (Vec::new(), vec![top.to_owned()]);
    while let Some(directory) = directories.pop() {
        let entries = match std::fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            let (path, kind) = (entry.path(), entry.file_type()?);
            if kind.is_dir() {
                directories.push(path);
                continue;
            }
            let Some(name) = path.strip_prefix(root).ok().and_then(Path::to_str) else {
                continue;
            };
            let metadata = match entry.metadata() {
                Ok(metadata) if kind.is_file() => metadata,
                // A link, or gone since.
                _ => continue,
            };
            files.push(Listed {
                name: name.to_owned(),
                bytes: metadata.len(),
                modified_ms: DateTime::<Utc>::from(metadata.modified()?).timestamp_millis(),
            });
        }
    }
    Ok(files)
}

/// The directory that a path names.
fn directory(path: &str) -> std::result::Result<PathBuf, &'static str> {
    let directory = path.strip_prefix("file://").unwrap_or(path);
    if directory.is_empty() || directory.contains('\0') {
        return Err("not a directory");
    }
    let directory = PathBuf::from(directory);
    let mut parts = directory.components();
    match parts.any(|part| part == std::path::Component::ParentDir) {
        true => Err("a path with .. in it is not taken"),
        false => Ok(directory),
    }
}

fn open_store(
    provider: Provider,
    bucket: &str,
    options: &BTreeMap<String, String>,
) -> std::result::Result<Arc<dyn ObjectStore>, String> {
    // A sink tries again by itself, and shows why: each try ends soon.
    let retry = RetryConfig {
        max_retries: 2,
        retry_timeout: std::time::Duration::from_secs(20),
        ..RetryConfig::default()
    };
    let plain = plain_http(options);
    let failed = |error: object_store::Error| error.to_string();
    Ok(match provider {
        Provider::S3 => {
            let mut builder = AmazonS3Builder::from_env()
                .with_bucket_name(bucket)
                .with_retry(retry);
            if plain {
                builder = builder.with_allow_http(true);
            }
            for (name, value) in options {
                builder = builder.with_config(setting::<AmazonS3ConfigKey>("S3", name)?, value);
            }
            Arc::new(builder.build().map_err(failed)?)
        }
        Provider::Gcs => {
            let mut builder = GoogleCloudStorageBuilder::from_env()
                .with_bucket_name(bucket)
                .with_retry(retry);
            if plain {
                let client = object_store::ClientOptions::new().with_allow_http(true);
                builder = builder.with_client_options(client);
            }
            for (name, value) in options {
                builder = builder.with_config(setting::<GoogleConfigKey>("GCS", name)?, value);
            }
            Arc::new(builder.build().map_err(failed)?)
        }
        Provider::Azure | Provider::Local => {
            let mut builder = MicrosoftAzureBuilder::from_env()
                .with_container_name(bucket)
                .with_retry(retry);
            if plain {
                builder = builder.with_allow_http(true);
            }
            for (name, value) in options {
                builder = builder.with_config(setting::<AzureConfigKey>("Azure", name)?, value);
            }
            Arc::new(builder.build().map_err(failed)?)
        }
    })
}

/// Whether an endpoint without TLS was asked for in so many words.
fn plain_http(options: &BTreeMap<String, String>) -> bool {
    options
        .iter()
        .any(|(name, value)| name.ends_with("endpoint") && value.starts_with("http://"))
        || options
            .values()
            .any(|value| value.contains("\"gcs_base_url\":\"http://"))
}

fn setting<K: FromStr>(of: &str, name: &str) -> std::result::Result<K, String> {
    name.parse()
        .map_err(|_| format!("there is no {of} setting {name}"))
}

fn full(prefix: &StorePath, name: &str) -> Result<StorePath> {
    let full = match prefix.as_ref().is_empty() {
        true => name.to_owned(),
        false => format!("{prefix}/{name}"),
    };
    StorePath::parse(full).map_err(|error| Error::Internal(error.to_string()))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Error::Internal(error.to_string()))
}

/// What trying again may cure: all but refusals.
pub(crate) fn classify(what: String, error: &object_store::Error) -> Error {
    use object_store::Error as E;
    match error {
        E::PermissionDenied { .. }
        | E::Unauthenticated { .. }
        | E::NotFound { .. }
        | E::InvalidPath { .. }
        | E::NotSupported { .. } => Error::external(what, error),
        E::Generic { source, .. } if is_refused_list(source.as_ref()) => {
            Error::external(what, error)
        }
        _ => Error::retryable(what, error),
    }
}

/// Whether a list was refused: the library has no kind of error for that, and only its words tell.
fn is_refused_list(error: &(dyn std::error::Error + Send + Sync)) -> bool {
    let text = error.to_string();
    let refusals = ["401 Unauthorized", "403 Forbidden", "404 Not Found"];
    text.contains("list request") && refusals.iter().any(|status| text.contains(status))
}
