//! Where the rows go: accounts of the user's as far as they are named, servers of the tests else.

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

/// What is there already: the user's. Servers are started for the rest.
#[derive(Default)]
pub(crate) struct Named {
    bootstrap_servers: Option<String>,
    snowflake: Option<Account>,
    s3: Option<Bucket>,
    gcs: Option<Bucket>,
}

impl Named {
    /// What `KAPPA_BOOTSTRAP_SERVERS`, `SNOWFLAKE_ACCOUNT` (and more: README.md), `S3_PATH` and
    /// `GCS_PATH` name.
    ///
    /// # Errors
    /// An environment that leads nowhere.
    pub(crate) fn of_environment() -> Result<Self, String> {
        let named = |name: &str| var(name).ok().filter(|value| !value.is_empty());
        let bucket = |name: &str| {
            let bucket = named(name).map(|path| Bucket::of_environment(&path));
            let bucket = bucket.transpose();
            bucket.map_err(|error| format!("{name}: {error}"))
        };
        Ok(Self {
            bootstrap_servers: named("KAPPA_BOOTSTRAP_SERVERS"),
            snowflake: Account::of_environment()?,
            s3: bucket("S3_PATH")?,
            gcs: bucket("GCS_PATH")?,
        })
    }
}

impl Targets {
    /// Starts what is not named. `None` when there is no such server here.
    ///
    /// # Errors
    /// A server that does not start.
    pub(crate) fn start(named: Named) -> Result<Option<Self>, String> {
        let mut told = Vec::new();
        let mut servers = Vec::new();

        let bootstrap_servers = if let Some(given) = named.bootstrap_servers {
            told.push(format!("topics     Kafka at {given}"));
            Some(given)
        } else if let Some(server) = Server::start("kafka")? {
            let address = server.value("BOOTSTRAP").to_owned();
            told.push(format!("topics     Kafka, started for this at {address}"));
            servers.push(server);
            Some(address)
        } else {
            told.push("topics     embedded: no Kafka here".to_owned());
            None
        };

        let snowflake = if let Some(account) = named.snowflake {
            let name = account.property("ACCOUNT").or(account.property("URL"));
            let name = name.unwrap_or_default();
            told.push(format!("Snowflake  your account {name}"));
            account
        } else {
            let Some(server) = Server::start("snowflake")? else {
                return Ok(None);
            };
            let url = server.value("URL");
            told.push(format!("Snowflake  an emulator, started for this at {url}"));
            let account = Account::of_server(&server);
            servers.push(server);
            account
        };

        let s3 = if let Some(bucket) = named.s3 {
            told.push(format!("S3         your bucket, {}", bucket.path("")));
            bucket
        } else {
            let Some(server) = Server::start("minio")? else {
                return Ok(None);
            };
            let endpoint = server.value("ENDPOINT");
            told.push(format!("S3         MinIO, started for this at {endpoint}"));
            let bucket = Bucket::s3(&server).map_err(|error| error.to_string())?;
            servers.push(server);
            bucket
        };

        let mut gcs_server = None;
        let gcs = if let Some(bucket) = named.gcs {
            told.push(format!("GCS        your bucket, {}", bucket.path("")));
            bucket
        } else {
            let server = gcs_server.insert(GcsServer::start());
            let endpoint = server.endpoint();
            told.push(format!(
                "GCS        a server within this process at {endpoint}"
            ));
            Bucket::gcs(server, "kappa").map_err(|error| error.to_string())?
        };
        Ok(Some(Self {
            bootstrap_servers,
            snowflake,
            s3,
            gcs,
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
