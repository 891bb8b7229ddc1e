//! Files in directories, on disk and whole when a write of them returns; and a directory as an object
//! store that writes so.

use std::fmt;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path as StorePath;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
    UploadPart,
};

/// The local disk. Unlike that of the library, it syncs what it writes: an entry of a log must not
/// come through a loss of power without the files that it lists.
#[derive(Debug, Default)]
pub(super) struct DirectoryStore(LocalFileSystem);

impl fmt::Display for DirectoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DirectoryStore")
    }
}

#[async_trait]
impl ObjectStore for DirectoryStore {
    async fn put_opts(
        &self,
        location: &StorePath,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let to = self.0.path_to_filesystem(location)?;
        let path = location.to_string();
        let bytes = Bytes::from(payload);
        let mode = options.mode.clone();
        match mode {
            PutMode::Create => {
                blocking(move || match create_durably(&to, &bytes)? {
                    None => Ok(()),
                    Some(_) => Err(Fault::Store(Error::AlreadyExists {
                        path,
                        source: "it is there".into(),
                    })),
                })
                .await?;
            }
            PutMode::Overwrite => blocking(move || Ok(write_durably(&bytes, &to)?)).await?,
            PutMode::Update(_) => return self.0.put_opts(location, bytes.into(), options).await,
        }
        Ok(PutResult {
            e_tag: None,
            version: None,
        })
    }

    async fn put_multipart_opts(
        &self,
        location: &StorePath,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        Ok(Box::new(Upload {
            to: self.0.path_to_filesystem(location)?,
            parts: self.0.put_multipart_opts(location, options).await?,
        }))
    }

    async fn get_opts(&self, location: &StorePath, options: GetOptions) -> Result<GetResult> {
        self.0.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<StorePath>>,
    ) -> BoxStream<'static, Result<StorePath>> {
        self.0.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&StorePath>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.0.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&StorePath>,
        offset: &StorePath,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.0.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&StorePath>) -> Result<ListResult> {
        self.0.list_with_delimiter(prefix).await
    }

    async fn copy_opts(
        &self,
        from: &StorePath,
        to: &StorePath,
        options: CopyOptions,
    ) -> Result<()> {
        self.0.copy_opts(from, to, options).await
    }
}

/// A file that is written in parts.
#[derive(Debug)]
struct Upload {
    to: PathBuf,
    parts: Box<dyn MultipartUpload>,
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.parts.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let done = self.parts.complete().await?;
        let to = self.to.clone();
        blocking(move || {
            File::open(&to)?.sync_all()?;
            Ok(File::open(directory_of(&to))?.sync_all()?)
        })
        .await?;
        Ok(done)
    }

    async fn abort(&mut self) -> Result<()> {
        self.parts.abort().await
    }
}

/// Why writing to a directory failed.
enum Fault {
    Io(std::io::Error),
    Store(Error),
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

async fn blocking(
    work: impl FnOnce() -> std::result::Result<(), Fault> + Send + 'static,
) -> Result<()> {
    let done = tokio::task::spawn_blocking(work).await?;
    done.map_err(|fault| match fault {
        Fault::Store(error) => error,
        Fault::Io(error) => Error::Generic {
            store: "DirectoryStore",
            source: Box::new(error),
        },
    })
}

/// Copies beside the destination, syncs, renames, and syncs the directory.
pub(super) fn copy_durably(from: &Path, to: &Path) -> std::io::Result<()> {
    let mut reader = File::open(from)?;
    replace(
        write_temporary(to, |writer| std::io::copy(&mut reader, writer).map(drop))?,
        to,
    )
}

/// Writes beside the destination, syncs, renames, and syncs the directory.
fn write_durably(bytes: &[u8], to: &Path) -> std::io::Result<()> {
    replace(write_temporary(to, |writer| writer.write_all(bytes))?, to)
}

/// Writes a file that must not be there yet; or returns the bytes of the one that is.
pub(super) fn create_durably(to: &Path, bytes: &[u8]) -> std::io::Result<Option<Vec<u8>>> {
    let temporary = write_temporary(to, |writer| writer.write_all(bytes))?;
    // A link, unlike a rename, does not replace.
    let linked = std::fs::hard_link(&temporary, to);
    std::fs::remove_file(&temporary)?;
    match linked {
        Ok(()) => {
            File::open(directory_of(to))?.sync_all()?;
            Ok(None)
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            std::fs::read(to).map(Some)
        }
        Err(error) => Err(error),
    }
}

/// What names of files end with that are not whole.
const TEMPORARY: &str = ".tmp";

/// The name of the file that a temporary one in a directory was to become; `None` for others.
pub fn without_temporary(name: &str) -> Option<&str> {
    let name = name.strip_suffix(TEMPORARY)?;
    let numbered = name.rsplit_once('.').filter(|(_, number)| {
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    });
    // Once they had no numbers.
    Some(numbered.map_or(name, |(name, _)| name))
}

/// Writes a file beside the destination, and syncs it. It has a name of its own, as several may write
/// the destination at a time.
fn write_temporary(
    to: &Path,
    write: impl FnOnce(&mut File) -> std::io::Result<()>,
) -> std::io::Result<PathBuf> {
    std::fs::create_dir_all(directory_of(to))?;
    let mut number = 0;
    let (path, mut file) = loop {
        let mut name = to.as_os_str().to_owned();
        name.push(format!(".{number}{TEMPORARY}"));
        let path = PathBuf::from(name);
        match File::options().write(true).create_new(true).open(&path) {
            Ok(file) => break (path, file),
            // Somebody else's, or what a crash has left.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(error),
        }
    };
    let written = write(&mut file).and_then(|()| file.sync_all());
    match written {
        Ok(()) => Ok(path),
        Err(error) => {
            // It takes space, perhaps the last there was.
            drop(std::fs::remove_file(&path));
            Err(error)
        }
    }
}

fn replace(temporary: PathBuf, to: &Path) -> std::io::Result<()> {
    std::fs::rename(&temporary, to)?;
    File::open(directory_of(to))?.sync_all()
}

fn directory_of(file: &Path) -> &Path {
    file.parent().unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt;

    use super::*;

    #[test]
    fn temporary_files_are_known_by_their_names() {
        let directory = tempfile::tempdir().unwrap();
        let to = directory.path().join("a.csv");
        for _ in 0..2 {
            let path = write_temporary(&to, |_| Ok(())).unwrap();
            assert_eq!(without_temporary(path.to_str().unwrap()), to.to_str());
        }
        assert_eq!(without_temporary("a.csv.tmp"), Some("a.csv"));
        assert_eq!(without_temporary("a.csv"), None);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_race_to_create_has_one_winner() {
        let directory = tempfile::tempdir().unwrap();
        let root = StorePath::from_absolute_path(directory.path()).unwrap();
        for round in 0..50 {
            let path = root.clone().join(format!("{round:020}.json"));
            let tries = (0..8).map(|n| {
                let path = path.clone();
                tokio::spawn(async move {
                    let body = PutPayload::from(format!("{n}").repeat(10_000));
                    let options = PutOptions::from(PutMode::Create);
                    DirectoryStore::default()
                        .put_opts(&path, body, options)
                        .await
                })
            });
            let mut winner = None;
            for (n, result) in tries.collect::<Vec<_>>().into_iter().enumerate() {
                match result.await.unwrap() {
                    Ok(_) => assert_eq!(winner.replace(n), None),
                    Err(error) => assert!(matches!(error, Error::AlreadyExists { .. }), "{error}"),
                }
            }
            let found = DirectoryStore::default().get(&path).await.unwrap();
            let body = winner.unwrap().to_string().repeat(10_000);
            assert_eq!(found.bytes().await.unwrap(), body);
        }
        let left = std::fs::read_dir(directory.path()).unwrap().count();
        assert_eq!(left, 50);
    }
}
