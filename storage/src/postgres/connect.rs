//! A connection to Postgres: TLS as asked, and a session that is set up for commits.

use std::time::Duration;

use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode};
use postgres_openssl::MakeTlsConnector;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config, NoTls, Socket};

use super::fault::fault;
use super::options::{PostgresOptions, SslMode};
use crate::{Error, Result};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long bytes may stay unacknowledged before the connection counts as lost.
const ACKNOWLEDGE_TIMEOUT: Duration = Duration::from_secs(60);
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);

/// A lock that another holds is given up in the end, to be tried again. A commit that Postgres
/// acknowledges has to be on its disk, as we forget the rows then; stricter settings are kept.
const SETUP: &str = "\
    SET client_min_messages = warning; SET lock_timeout = '60s'; \
    SELECT set_config('synchronous_commit', 'on', false) \
    WHERE current_setting('synchronous_commit') = 'off'";

/// Connects.
pub(super) async fn connect(options: &PostgresOptions) -> Result<Client> {
    let what = || format!("connect to {} as {}", options.server(), options.user);
    let mut config = Config::new();
    config
        .host(&options.host)
        .port(options.port)
        .dbname(&options.database)
        .user(&options.user)
        .application_name("kappa")
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_user_timeout(ACKNOWLEDGE_TIMEOUT)
        .keepalives_idle(KEEPALIVE_IDLE)
        .ssl_mode(match options.ssl_mode {
            SslMode::Disable => tokio_postgres::config::SslMode::Disable,
            SslMode::Prefer => tokio_postgres::config::SslMode::Prefer,
            SslMode::Require | SslMode::VerifyFull => tokio_postgres::config::SslMode::Require,
        });
    if let Some(password) = &options.password {
        config.password(password);
    }
    let client = match options.ssl_mode {
        SslMode::Disable => start(&config, NoTls).await,
        _ => start(&config, tls(options)?).await,
    };
    let client = client.map_err(|error| fault(what(), &error))?;
    client
        .batch_execute(SETUP)
        .await
        .map_err(|error| fault(what(), &error))?;
    Ok(client)
}

/// Connects, and drives the connection: its end is seen by the client, whose calls then fail, and it
/// ends when the client is dropped.
async fn start<T>(config: &Config, tls: T) -> Result<Client, tokio_postgres::Error>
where
    T: MakeTlsConnect<Socket> + Send,
    T::Stream: Send + 'static,
{
    let (client, connection) = config.connect(tls).await?;
    tokio::spawn(async move { drop(connection.await) });
    Ok(client)
}

/// As Postgres' own client does it: `require` checks the certificate only where SSLROOTCERT says
/// by whom it has to be signed, and `verify-full` checks that and the host's name.
fn tls(options: &PostgresOptions) -> Result<MakeTlsConnector> {
    let failed = |error: openssl::error::ErrorStack| Error::external("set up TLS", error);
    let mut builder = SslConnector::builder(SslMethod::tls_client()).map_err(failed)?;
    if let Some(path) = &options.ssl_root_cert {
        builder.set_ca_file(path).map_err(|error| {
            Error::User(format!(
                "SSLROOTCERT '{}' cannot be read: {error}",
                path.display()
            ))
        })?;
    }
    let full = options.ssl_mode == SslMode::VerifyFull;
    if !full && options.ssl_root_cert.is_none() {
        builder.set_verify(SslVerifyMode::NONE);
    }
    let mut connector = MakeTlsConnector::new(builder.build());
    connector.set_callback(move |connection, _| {
        connection.set_verify_hostname(full);
        Ok(())
    });
    Ok(connector)
}
