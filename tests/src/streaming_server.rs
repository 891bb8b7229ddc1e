//! Snowflake's Snowpipe Streaming (high-performance, REST) for the tests, within the process and in
//! memory, with faults at will: logins by key pair, scoped tokens, pipes, channels with their client
//! and row sequencers, rows that are received first and committed later, rows that do not fit.
//!
//! Of SQL it has what a sink needs to see to its table: CREATE TABLE, ALTER TABLE ADD COLUMN, DESCRIBE
//! TABLE, over the drivers' protocol. Every database and schema exists.

mod account;
mod faults;
mod pipes;
mod sql;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::FutureExt;
use http_body_util::Full;
use hyper::header::{AUTHORIZATION, CONTENT_ENCODING, RETRY_AFTER};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};
use serde_json::{Value, json};
use tokio::sync::watch;

use self::account::Account;
use self::faults::{Fate, Faults};
pub use self::faults::{Fault, Kind};
pub use self::pipes::Row;
use self::pipes::{Column, Pipes};
use crate::http_server::{Answer, HttpServer};

/// A running server on loopback; it ends with this.
#[derive(Debug)]
pub struct StreamingServer {
    shared: Arc<Shared>,
    server: HttpServer,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// How many requests hang.
    hung: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    account: Account,
    pipes: Pipes,
    faults: Faults,
    host: String,
}

impl StreamingServer {
    /// Starts it on a free port, with nothing in it.
    ///
    /// # Panics
    /// When there is no port, no thread or no key to be had.
    pub fn start() -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                account: Account::new(),
                pipes: Pipes::default(),
                faults: Faults::default(),
                host: String::new(),
            }),
            hung: watch::Sender::new(0),
        });
        let served = Arc::clone(&shared);
        let respond = move |head, body| respond(Arc::clone(&served), head, body).boxed();
        let server = HttpServer::start("streaming server", Arc::new(respond));
        // Without the port, as the real one: clients add that of the account.
        lock(&shared.state).host = server.address().ip().to_string();
        Self { shared, server }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.shared.state)
    }

    /// Its address: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.server.address())
    }

    /// What leads a sink here, by the names of its properties.
    pub fn properties(&self) -> BTreeMap<String, String> {
        let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let mut properties: BTreeMap<_, _> = [
            ("ACCOUNT", account::ACCOUNT),
            ("USER", account::USER),
            ("DATABASE", "KAPPA"),
            ("SCHEMA", "PUBLIC"),
        ]
        .into_iter()
        .map(own)
        .collect();
        properties.insert("URL".to_owned(), self.url());
        properties.insert("PRIVATE_KEY".to_owned(), self.private_key());
        properties
    }

    /// The user's private key, PKCS#8 in PEM.
    pub fn private_key(&self) -> String {
        account::private_key()
    }

    /// A token that it takes as one of an OAuth integration.
    pub fn oauth_token(&self) -> &'static str {
        account::OAUTH
    }

    /// A token that it takes as a programmatic access token.
    pub fn access_token(&self) -> &'static str {
        account::ACCESS
    }

    /// Makes a table `KAPPA.PUBLIC.name`; `columns` are names, types and whether NULL is allowed.
    pub fn create_table(&self, name: &str, columns: &[(&str, &str, bool)]) {
        let columns = columns.iter().map(|(name, sql_type, nullable)| Column {
            name: (*name).to_owned(),
            sql_type: (*sql_type).to_owned(),
            nullable: *nullable,
        });
        self.state().pipes.create_table(name, columns.collect());
    }

    /// Makes a pipe `KAPPA.PUBLIC.name` into a table of the same schema.
    pub fn create_pipe(&self, name: &str, table: &str) {
        self.state().pipes.create_pipe(name, table);
    }

    /// The rows of table `KAPPA.PUBLIC.name`, in the order in which they were committed.
    pub fn rows(&self, name: &str) -> Vec<Row> {
        self.state().pipes.rows(name)
    }

    /// Rows become visible when their channel has been asked about `looks` times since they came.
    pub fn commit_after(&self, looks: u32) {
        self.state().pipes.looks = looks;
    }

    /// While on, nothing is committed.
    pub fn hold(&self, on: bool) {
        self.state().pipes.hold = on;
    }

    /// Channels that exist.
    pub fn channels(&self) -> Vec<String> {
        self.state().pipes.channel_names()
    }

    /// Removes all channels, with what is on its way, as Snowflake does to those that are idle.
    pub fn drop_channels(&self) {
        self.state().pipes.drop_channels();
    }

    /// How long scoped tokens are good for that are given from now on, in seconds.
    pub fn tokens_last(&self, seconds: i64) {
        self.state().account.token_seconds = seconds;
    }

    /// Scoped tokens given so far.
    pub fn tokens_given(&self) -> u64 {
        self.state().account.tokens_given
    }

    /// One fault more.
    pub fn fault(&self, fault: Fault) {
        self.state().faults.add(fault);
    }

    /// Forgets the faults that have not come to pass. How many there were.
    pub fn forget_faults(&self) -> usize {
        self.state().faults.forget()
    }

    /// Waits until a request hangs that does not yet, by the count of `before`.
    pub async fn hung(&self, before: u64) {
        let mut hung = self.shared.hung.subscribe();
        // The sender lives as long as this.
        drop(hung.wait_for(|now| *now > before).await);
    }

    /// How many requests hang.
    pub fn hanging(&self) -> u64 {
        *self.shared.hung.borrow()
    }

    /// Requests since the start that were of this sort.
    pub fn requests(&self, kind: Kind) -> u64 {
        self.state().faults.seen(kind)
    }
}

/// Executes a request; an error cuts the connection.
async fn respond(shared: Arc<Shared>, head: Parts, body: Bytes) -> io::Result<Answer> {
    let kind = Kind::of(&head);
    let fate = lock(&shared.state).faults.next(kind);
    let cut = || Err(io::Error::other("the answer is to be lost"));
    let execute = || lock(&shared.state).execute(kind, &head, body);
    match fate {
        Fate::Execute => Ok(execute()),
        Fate::Lose => {
            drop(execute());
            cut()
        }
        Fate::Cut => cut(),
        Fate::Hang { execute: before } => {
            if before {
                drop(execute());
            }
            shared.hung.send_modify(|hung| *hung += 1);
            std::future::pending().await
        }
        Fate::Status(status) => {
            let mut answer = refusal(status, "ERR_INJECTED", "injected");
            if status == StatusCode::TOO_MANY_REQUESTS {
                answer.headers_mut().insert(RETRY_AFTER, 0.into());
            }
            Ok(answer)
        }
        Fate::Expire => {
            lock(&shared.state).account.expire();
            Ok(execute())
        }
        Fate::Crash => {
            lock(&shared.state).pipes.crash();
            Ok(execute())
        }
        Fate::Fence => {
            lock(&shared.state).pipes.fence();
            Ok(execute())
        }
    }
}

impl State {
    fn execute(&mut self, kind: Kind, head: &Parts, body: Bytes) -> Answer {
        let token = head
            .headers
            .get(AUTHORIZATION)
            .and_then(|v| v.to_str().ok());
        let token_type = head.headers.get("x-snowflake-authorization-token-type");
        let token_type = token_type.and_then(|value| value.to_str().ok());
        let bearer = token
            .and_then(|token| token.strip_prefix("Bearer "))
            .unwrap_or_default();
        let query: BTreeMap<String, String> =
            url::form_urlencoded::parse(head.uri.query().unwrap_or_default().as_bytes())
                .into_owned()
                .collect();
        let allowed = match kind {
            Kind::Sql => Ok(()),
            Kind::Hostname | Kind::Token => self.account.check_login(bearer, token_type),
            _ => self.account.check_scoped(bearer, token_type),
        };
        if let Err(why) = allowed {
            return refusal(StatusCode::UNAUTHORIZED, "390144", &why);
        }
        match kind {
            Kind::Sql => sql::execute(self, head, &body),
            // As plain text, as the real one does; documented as JSON.
            Kind::Hostname => answer(StatusCode::OK, self.host.clone()),
            Kind::Token => match self.account.exchange(&body, &self.host) {
                Ok(token) => answer(StatusCode::OK, token),
                Err(why) => refusal(StatusCode::BAD_REQUEST, "invalid_request", &why),
            },
            Kind::Open | Kind::Append | Kind::Status | Kind::Drop | Kind::Other => {
                let encoding = head.headers.get(CONTENT_ENCODING);
                let encoding = encoding
                    .and_then(|value| value.to_str().ok())
                    .unwrap_or_default();
                match self
                    .pipes
                    .execute(kind, head.uri.path(), &query, encoding, &body)
                {
                    Ok(value) => answer(StatusCode::OK, value.to_string()),
                    Err((status, code, message)) => refusal(status, code, &message),
                }
            }
        }
    }
}

impl Kind {
    fn of(head: &Parts) -> Self {
        let path = head.uri.path();
        match head.method {
            Method::GET if path == "/v2/streaming/hostname" => Self::Hostname,
            Method::POST if path == "/oauth/token" => Self::Token,
            Method::POST if path.ends_with("/rows") => Self::Append,
            Method::POST if path.ends_with(":bulk-channel-status") => Self::Status,
            Method::PUT if path.contains("/channels/") => Self::Open,
            Method::DELETE if path.contains("/channels/") => Self::Drop,
            _ if path.starts_with("/session") || path.starts_with("/queries") => Self::Sql,
            _ => Self::Other,
        }
    }
}

fn answer(status: StatusCode, text: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(text)));
    *answer.status_mut() = status;
    answer
}

fn refusal(status: StatusCode, code: &str, message: &str) -> Answer {
    let body: Value = json!({"code": code, "message": message});
    answer(status, body.to_string())
}

/// A panic elsewhere leaves nothing half done here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
