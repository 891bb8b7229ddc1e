//! A bucket that sinks write to, as somebody else sees it: of a server of the tests, or of a real
//! account.

use std::collections::BTreeMap;

use futures::TryStreamExt;
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path;
use object_store::{ClientOptions, ObjectStore, ObjectStoreExt, Result};

use crate::gcs_server::GcsServer;
use crate::server::Server;

/// Contents by name.
pub type Objects = BTreeMap<String, Vec<u8>>;

/// A bucket, or what is under a prefix of it.
pub struct Bucket {
    connector: &'static str,
    /// `s3://bucket/prefix`, without a slash at the end.
    path: String,
    /// Within the bucket; may be empty.
    prefix: Path,
    store: Box<dyn ObjectStore>,
    /// What the engine needs for it: properties of the process.
    settings: Vec<(&'static str, String)>,
}

impl std::fmt::Debug for Bucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Settings are secrets.
        write!(f, "Bucket({})", self.path)
    }
}

impl Bucket {
    /// The bucket of a server of S3 (`minio`, `moto`).
    ///
    /// # Errors
    /// Values of the server that make no client.
    pub fn s3(server: &Server) -> Result<Self> {
        let store = AmazonS3Builder::new()
            .with_endpoint(server.value("ENDPOINT"))
            .with_allow_http(true)
            .with_region(server.value("REGION"))
            .with_bucket_name(server.value("BUCKET"))
            .with_access_key_id(server.value("ACCESS_KEY"))
            .with_secret_access_key(server.value("SECRET_KEY"))
            .build()?;
        let value = |key: &str| server.value(key).to_owned();
        Ok(Self {
            connector: "s3",
            path: format!("s3://{}", server.value("BUCKET")),
            prefix: Path::default(),
            store: Box::new(store),
            settings: vec![
                ("s3.endpoint", value("ENDPOINT")),
                ("s3.region", value("REGION")),
                ("s3.access_key_id", value("ACCESS_KEY")),
                ("s3.secret_access_key", value("SECRET_KEY")),
            ],
        })
    }

    /// The container of a server of Azure (`azurite`).
    ///
    /// # Errors
    /// Values of the server that make no client.
    pub fn azure(server: &Server) -> Result<Self> {
        let store = MicrosoftAzureBuilder::new()
            .with_endpoint(server.value("ENDPOINT").to_owned())
            .with_allow_http(true)
            .with_container_name(server.value("CONTAINER"))
            .with_account(server.value("ACCOUNT"))
            .with_access_key(server.value("KEY"))
            .build()?;
        let value = |key: &str| server.value(key).to_owned();
        Ok(Self {
            connector: "azure",
            path: format!("az://{}", server.value("CONTAINER")),
            prefix: Path::default(),
            store: Box::new(store),
            settings: vec![
                ("azure.endpoint", value("ENDPOINT")),
                ("azure.account_name", value("ACCOUNT")),
                ("azure.account_key", value("KEY")),
            ],
        })
    }

    /// A bucket of the tests' Google Cloud Storage.
    ///
    /// # Errors
    /// A name that makes no client.
    pub fn gcs(server: &GcsServer, name: &str) -> Result<Self> {
        let store = GoogleCloudStorageBuilder::new()
            .with_bucket_name(name)
            .with_service_account_key(server.service_account_key())
            .with_client_options(ClientOptions::new().with_allow_http(true))
            .build()?;
        Ok(Self {
            connector: "gcs",
            path: format!("gs://{name}"),
            prefix: Path::default(),
            store: Box::new(store),
            settings: vec![("gcs.service_account_key", server.service_account_key())],
        })
    }

    /// `s3://bucket/prefix`, `gs://…` or `az://…`, with the credentials of the environment, from
    /// which the engine has them too.
    ///
    /// # Errors
    /// Another scheme; an environment that makes no client.
    pub fn of_environment(path: &str) -> Result<Self> {
        let path = path.trim_end_matches('/');
        let (scheme, rest) = path.split_once("://").unwrap_or(("", path));
        let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let (connector, store): (_, Box<dyn ObjectStore>) = match scheme {
            "s3" => {
                let builder = AmazonS3Builder::from_env().with_bucket_name(name);
                ("s3", Box::new(builder.build()?))
            }
            "gs" => {
                let builder = GoogleCloudStorageBuilder::from_env().with_bucket_name(name);
                ("gcs", Box::new(builder.build()?))
            }
            "az" => {
                let builder = MicrosoftAzureBuilder::from_env().with_container_name(name);
                ("azure", Box::new(builder.build()?))
            }
            _ => {
                return Err(object_store::Error::Generic {
                    store: "Bucket",
                    source: format!("'{path}' is neither s3://… nor gs://… nor az://…").into(),
                });
            }
        };
        Ok(Self {
            connector,
            path: path.to_owned(),
            prefix: Path::parse(prefix)?,
            store,
            settings: Vec::new(),
        })
    }

    /// What is under a folder of it.
    pub fn folder(mut self, name: &str) -> Self {
        self.path = format!("{}/{name}", self.path);
        self.prefix = self.prefix.join(name);
        self
    }

    /// The address of a folder: `s3://bucket/prefix/folder`.
    pub fn path(&self, folder: &str) -> String {
        format!("{}/{folder}", self.path)
    }

    /// The connector and path of a folder, for WITH.
    pub fn connector(&self, folder: &str) -> String {
        format!(
            "CONNECTOR = '{}', PATH = '{}'",
            self.connector,
            self.path(folder)
        )
    }

    /// Properties of a process that writes here.
    pub fn settings(&self) -> &[(&'static str, String)] {
        &self.settings
    }

    /// The store of the whole bucket.
    pub fn store(&self) -> &dyn ObjectStore {
        self.store.as_ref()
    }

    /// What is in a folder, by names within it.
    ///
    /// # Errors
    /// A bucket that cannot be read.
    pub async fn objects(&self, folder: &str) -> Result<Objects> {
        let prefix = folder
            .split('/')
            .fold(self.prefix.clone(), |path, part| path.join(part));
        let mut objects = Objects::new();
        let mut listed = self.store.list(Some(&prefix));
        while let Some(object) = listed.try_next().await? {
            let bytes = self.store.get(&object.location).await?.bytes().await?;
            let name = &object.location.as_ref()[prefix.as_ref().len() + 1..];
            objects.insert(name.to_owned(), bytes.to_vec());
        }
        Ok(objects)
    }

    /// Puts an object into a folder, as anybody could.
    ///
    /// # Errors
    /// A bucket that cannot be written.
    pub async fn put(&self, folder: &str, name: &str, bytes: Vec<u8>) -> Result<()> {
        let path = name
            .split('/')
            .fold(self.prefix.clone().join(folder), |path, part| {
                path.join(part)
            });
        self.store.put(&path, bytes.into()).await.map(drop)
    }

    /// Removes all that is in it: the bucket's, or what is under its prefix.
    ///
    /// # Errors
    /// A bucket that cannot be written.
    pub async fn clear(&self) -> Result<()> {
        let mut listed = self.store.list(Some(&self.prefix));
        while let Some(object) = listed.try_next().await? {
            self.store.delete(&object.location).await?;
        }
        Ok(())
    }
}
