//! Sends one file to a stage's storage, unless it is there.
//!
//! A file is held in memory while it is sent: its checksum goes with it, in front.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use object_store::aws::AmazonS3Builder;
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, ClientOptions, ObjectStore, ObjectStoreExt, PutOptions, RetryConfig,
};
use openssl::sha::sha256;
use reqwest::{Client, RequestBuilder, Response, StatusCode};

use super::encrypt::Encrypted;
use super::place::{Place, Storage};
use crate::Error;
use crate::snowflake::StagedFile;
use crate::snowflake::http::{causes, is_again, retry_after};
use crate::snowflake::secret::Secret;

/// The slowest upload that is waited for, in bytes a second.
const RATE_MIN: u64 = 100_000;
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a file did not get there.
pub(super) enum Trouble {
    /// The credentials are not taken (any more).
    Expired(String),
    /// Later it may work.
    Again(String, Option<Duration>),
    Never(String),
    Error(Error),
}

/// What is sent.
struct Content {
    bytes: Bytes,
    /// Base64 of the SHA-256 of the file as it is on disk.
    digest: String,
    encrypted: Option<Encrypted>,
}

/// Sends `file` unless it is there already.
pub(super) async fn upload(
    place: &Place,
    file: &StagedFile,
    client: &Client,
) -> Result<(), Trouble> {
    match &place.storage {
        Storage::S3 { .. } => to_s3(place, file).await,
        Storage::Gcs { folder, token } => {
            let url = format!("{folder}/{}", file.name);
            let authorized = |request: RequestBuilder| request.bearer_auth(token.reveal());
            if is_there(authorized(client.head(&url)), place, file).await? {
                return Ok(());
            }
            let content = read(place, file).await?;
            let request = authorized(client.put(&url));
            put(google_headers(request, &content), content).await
        }
        Storage::Presigned { url } => {
            let content = read(place, file).await?;
            let put_it = google_headers(client.put(url.reveal()), &content);
            put(put_it, content).await.map_err(|trouble| match trouble {
                // What GCS says of an address that was good for a time only.
                Trouble::Never(cause) if cause.starts_with("HTTP status 400") => {
                    Trouble::Expired(cause)
                }
                other => other,
            })
        }
        Storage::Azure { folder, signature } => {
            let url = signed(folder, &file.name, signature);
            if is_there(client.head(url.reveal()), place, file).await? {
                return Ok(());
            }
            let content = read(place, file).await?;
            let mut request = client
                .put(url.reveal())
                .header("x-ms-blob-type", "BlockBlob")
                .header("x-ms-meta-sfcdigest", &content.digest);
            if let Some(encrypted) = &content.encrypted {
                request = request
                    .header("x-ms-meta-encryptiondata", encrypted.data())
                    .header("x-ms-meta-matdesc", &encrypted.description);
            }
            put(request, content).await
        }
        Storage::Local { directory } => to_disk(directory, file).await,
    }
}

/// Reads the file, and encrypts it where that is asked for.
async fn read(place: &Place, file: &StagedFile) -> Result<Content, Trouble> {
    let what = || format!("read staged file {}", file.path.display());
    let bytes = tokio::fs::read(&file.path)
        .await
        .map_err(|error| Trouble::Error(Error::external(what(), error)))?;
    if bytes.len() as u64 != file.bytes {
        let cause = format!(
            "it has {} bytes and was written with {}",
            bytes.len(),
            file.bytes
        );
        return Err(Trouble::Error(Error::external(what(), cause)));
    }
    let digest = STANDARD.encode(sha256(&bytes));
    let Some(material) = &place.material else {
        return Ok(Content {
            bytes: bytes.into(),
            digest,
            encrypted: None,
        });
    };
    let mut encrypted = material
        .encrypt(&file.name, &bytes)
        .map_err(Trouble::Error)?;
    Ok(Content {
        bytes: std::mem::take(&mut encrypted.bytes).into(),
        digest,
        encrypted: Some(encrypted),
    })
}

fn google_headers(request: RequestBuilder, content: &Content) -> RequestBuilder {
    let request = request.header("x-goog-meta-sfc-digest", &content.digest);
    match &content.encrypted {
        None => request,
        Some(encrypted) => request
            .header("x-goog-meta-encryptiondata", encrypted.data())
            .header("x-goog-meta-matdesc", &encrypted.description),
    }
}

fn signed(folder: &str, name: &str, signature: &Secret) -> Secret {
    let signature = signature.reveal().trim_start_matches('?');
    Secret::from(format!("{folder}/{name}?{signature}"))
}

async fn put(request: RequestBuilder, content: Content) -> Result<(), Trouble> {
    let timeout = Duration::from_secs(60 + content.bytes.len() as u64 / RATE_MIN);
    answer(request.timeout(timeout).body(content.bytes).send().await)?;
    Ok(())
}

/// Whether the file is in its place. When that cannot be told it is not sent.
async fn is_there(
    request: RequestBuilder,
    place: &Place,
    file: &StagedFile,
) -> Result<bool, Trouble> {
    let sent = request.timeout(HEADER_TIMEOUT).send().await;
    if let Ok(response) = &sent
        && response.status() == StatusCode::NOT_FOUND
    {
        return Ok(false);
    }
    let response = answer(sent)?;
    let size = response.headers().get("content-length");
    let size = size.and_then(|size| size.to_str().ok()?.parse().ok());
    same_size(place, file, size)?;
    Ok(true)
}

/// A name is never used twice: other bytes under it are nothing we wrote.
fn same_size(place: &Place, file: &StagedFile, found: Option<u64>) -> Result<(), Trouble> {
    match found {
        Some(found) if place.material.is_none() && found != file.bytes => {
            Err(Trouble::Never(format!(
                "the stage has a file of that name with {found} bytes, ours has {}: remove it if \
                 nothing else needs it",
                file.bytes
            )))
        }
        _ => Ok(()),
    }
}

/// Sorts what a storage answers. Its address may hold a signature and is not shown.
fn answer(sent: reqwest::Result<Response>) -> Result<Response, Trouble> {
    let response = sent.map_err(|error| Trouble::Again(causes(&error.without_url()), None))?;
    let status = response.status();
    let cause = format!("HTTP status {status} of the stage's storage");
    match status {
        status if status.is_success() => Ok(response),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(Trouble::Expired(cause)),
        status if is_again(status) => Err(Trouble::Again(cause, retry_after(response.headers()))),
        _ => Err(Trouble::Never(cause)),
    }
}

async fn to_s3(place: &Place, file: &StagedFile) -> Result<(), Trouble> {
    let Storage::S3 {
        bucket,
        prefix,
        region,
        endpoint,
        key_id,
        key,
        token,
    } = &place.storage
    else {
        return Ok(());
    };
    let timeout = Duration::from_secs(60 + file.bytes / RATE_MIN);
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(bucket)
        .with_region(region)
        .with_access_key_id(key_id.reveal())
        .with_secret_access_key(key.reveal())
        .with_token(token.reveal())
        .with_retry(RetryConfig {
            max_retries: 3,
            retry_timeout: Duration::from_secs(60),
            ..Default::default()
        });
    let mut client = ClientOptions::new().with_timeout(timeout);
    if let Some(endpoint) = endpoint {
        client = client.with_allow_http(endpoint.starts_with("http://"));
        builder = builder.with_endpoint(endpoint);
    }
    let store = builder.with_client_options(client).build();
    let store = store.map_err(|error| Trouble::Never(error.to_string()))?;
    let path = Path::from(match prefix.is_empty() {
        true => file.name.clone(),
        false => format!("{prefix}/{}", file.name),
    });
    match store.head(&path).await {
        Ok(found) => return same_size(place, file, Some(found.size)),
        Err(object_store::Error::NotFound { .. }) => {}
        Err(error) => return Err(s3_trouble(&error)),
    }
    let content = read(place, file).await?;
    let mut attributes = Attributes::new();
    let mut set = |name: &'static str, value: String| {
        attributes.insert(Attribute::Metadata(name.into()), value.into());
    };
    set("sfc-digest", content.digest);
    if let Some(encrypted) = content.encrypted {
        set("x-amz-key", encrypted.key);
        set("x-amz-iv", encrypted.iv);
        set("x-amz-matdesc", encrypted.description);
    }
    let options = PutOptions {
        attributes,
        ..Default::default()
    };
    let put = store.put_opts(&path, content.bytes.into(), options).await;
    put.map_err(|error| s3_trouble(&error))?;
    Ok(())
}

fn s3_trouble(error: &object_store::Error) -> Trouble {
    use object_store::Error as E;
    let cause = causes(error);
    let old = [
        "ExpiredToken",
        "InvalidToken",
        "status 400",
        "400 Bad Request",
    ];
    match error {
        E::Unauthenticated { .. } | E::PermissionDenied { .. } => Trouble::Expired(cause),
        _ if old.iter().any(|word| cause.contains(word)) => Trouble::Expired(cause),
        E::Generic { .. } => Trouble::Again(cause, None),
        _ => Trouble::Never(cause),
    }
}

/// Whole or not at all.
async fn to_disk(directory: &str, file: &StagedFile) -> Result<(), Trouble> {
    let what = || format!("copy {} to {directory}", file.name);
    let failed = |error| Trouble::Error(Error::external(what(), error));
    let directory = std::path::Path::new(directory);
    let (part, target) = (
        directory.join(format!(".{}.part", file.name)),
        directory.join(&file.name),
    );
    tokio::fs::create_dir_all(directory).await.map_err(failed)?;
    tokio::fs::copy(&file.path, &part).await.map_err(failed)?;
    tokio::fs::rename(&part, &target).await.map_err(failed)
}
