//! Where the rows go: real accounts as far as the environment names them, servers of the tests
//! else.

use std::env::var;

use kappa_tests::account::Account;
use kappa_tests::bucket::Bucket;
use kappa_tests::gcs_server::GcsServer;
use kappa_tests::server::Server;

/// What runs, and how it is reached. Servers end with it.
pub(crate) struct Targets {
    /// Kafka's; `None` for embedded topics.
    pub(crate) bootstrap_servers: Option<String>,
    pub(crate) snowflake: Account,
    pub(crate) s3: Bucket,
    pub(crate) gcs: Bucket,
    /// What each is, for a person.
    pub(crate) told: Vec<String>,
    servers: Vec<Server>,
    gcs_server: Option<GcsServer>,
}

impl Targets {
    /// Those of `KAPPA_BOOTSTRAP_SERVERS`, `SNOWFLAKE_ACCOUNT` (and more: README.md), `S3_PATH` and
    /// `GCS_PATH`, and servers for those that are not set. `None` when there is no such server here.
    ///
    /// # Errors
    /// A server that does not start; an environment that leads nowhere.
    pub(crate) fn start() -> Result<Option<Self>, String> {
        let mut told = Vec::new();
        let mut servers = Vec::new();
        let named = |name: &str| var(name).ok().filter(|value| !value.is_empty());

        let bootstrap_servers = match named("KAPPA_BOOTSTRAP_SERVERS") {
            Some(given) => {
                told.push(format!("topics     Kafka at {given}"));
                Some(given)
            }
            None => match Server::start("kafka")? {
                Some(server) => {
                    let address = server.value("BOOTSTRAP").to_owned();
                    told.push(format!("topics     Kafka, started for this at {address}"));
                    servers.push(server);
                    Some(address)
                }
                None => {
                    told.push("topics     embedded: no Kafka here".to_owned());
                    None
                }
            },
        };

        let snowflake = match Account::of_environment()? {
            Some(account) => {
                let name = account.property("ACCOUNT").or(account.property("URL"));
                let name = name.unwrap_or_default();
                told.push(format!("Snowflake  your account {name}"));
                account
            }
            None => {
                let Some(server) = Server::start("snowflake")? else {
                    return Ok(None);
                };
                let url = server.value("URL");
                told.push(format!("Snowflake  an emulator, started for this at {url}"));
                let account = Account::of_server(&server);
                servers.push(server);
                account
            }
        };

        let s3 = match named("S3_PATH") {
            Some(path) => {
                told.push(format!("S3         your bucket, {path}"));
                Bucket::of_environment(&path).map_err(|error| error.to_string())?
            }
            None => {
                let Some(server) = Server::start("minio")? else {
                    return Ok(None);
                };
                let endpoint = server.value("ENDPOINT");
                told.push(format!("S3         MinIO, started for this at {endpoint}"));
                let bucket = Bucket::s3(&server).map_err(|error| error.to_string())?;
                servers.push(server);
                bucket
            }
        };

        let mut gcs_server = None;
        let gcs = match named("GCS_PATH") {
            Some(path) => {
                told.push(format!("GCS        your bucket, {path}"));
                Bucket::of_environment(&path)
            }
            None => {
                let server = gcs_server.insert(GcsServer::start());
                let endpoint = server.endpoint();
                told.push(format!(
                    "GCS        a server within this process at {endpoint}"
                ));
                Bucket::gcs(server, "kappa")
            }
        };
        Ok(Some(Self {
            bootstrap_servers,
            snowflake,
            s3,
            gcs: gcs.map_err(|error| error.to_string())?,
            told,
            servers,
            gcs_server,
        }))
    }

    /// Ends what was started.
    ///
    /// # Errors
    /// What does not end.
    pub(crate) fn stop(self) -> Result<(), String> {
        drop(self.gcs_server);
        self.servers.iter().try_for_each(Server::stop)
    }
}
