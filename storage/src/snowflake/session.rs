//! A session: logging in, keeping its tokens fresh, and sending statements so that each is carried
//! out once, however often its answer is lost.
//!
//! A statement has a request id. It is sent again under the same id, and Snowflake, which keeps the
//! ids of a session, answers instead of carrying it out twice. When the session itself is gone, it
//! is sent in a new one: all statements of ours are such that this does no harm, for none leaves a
//! transaction open.

mod login;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Client;
use serde_json::{Value, json};
use url::Url;

use super::http::{self, Backoff, Call, Reply};
use super::options::SnowflakeOptions;
use super::query::{Answer, Failure, Refusal};
use super::random;
use super::secret::Secret;
use crate::{Error, Result};

/// The wall clock, in milliseconds since 1970.
pub(crate) type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

const EXPIRED: &str = "390112";
const MASTER_EXPIRED: &str = "390114";
/// The session, or a token of it, is not known any more.
const GONE: &[&str] = &[
    "390104",
    "390108",
    "390110",
    "390111",
    "390113",
    MASTER_EXPIRED,
    "390115",
    "390195",
];
const IN_PROGRESS: &[&str] = &["333333", "333334"];
/// Between two looks at a statement that takes long; Snowflake holds each look for up to 45 s.
const POLL: Duration = Duration::from_millis(500);

/// What proves that a session is ours.
struct Tokens {
    session: Secret,
    master: Secret,
}

/// A session, or the means to get one.
pub(crate) struct Session {
    http: Client,
    options: Arc<SnowflakeOptions>,
    /// Session parameters for every login.
    parameters: Value,
    now: Clock,
    tokens: Option<Tokens>,
    sequence: u64,
    /// How many times it logged in: tells one session from the next.
    logins: u64,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({} as {})", self.options.url, self.options.user)
    }
}

impl Session {
    pub(crate) fn new(options: Arc<SnowflakeOptions>, tag: &str, now: Clock) -> Result<Self> {
        Ok(Self {
            http: http::client()?,
            parameters: login::parameters(&options, tag),
            options,
            now,
            tokens: None,
            sequence: 0,
            logins: 0,
        })
    }

    /// Carries out a statement that does no harm when it is carried out twice; `what` is for
    /// errors.
    pub(crate) async fn run(&mut self, what: &str, sql: &str) -> Result<Answer, Failure> {
        self.open().await?;
        self.sequence += 1;
        let (id, started) = (random::uuid()?, (self.now)());
        let body = json!({
            "sqlText": sql,
            "asyncExec": false,
            "sequenceId": self.sequence,
            "querySubmissionTime": started,
            "isInternal": false,
        });
        let mut backoff = Backoff::new(self.options.retry);
        let mut again = 0;
        loop {
            let mut url = self.url("/queries/v1/query-request");
            url.query_pairs_mut()
                .append_pair("requestId", &id)
                .append_pair("request_guid", &random::uuid()?);
            if again > 0 {
                url.query_pairs_mut()
                    .append_pair("retry", "true")
                    .append_pair("retryCount", &again.to_string())
                    .append_pair("clientStartTime", &started.to_string());
            }
            again += 1;
            let reply = self.call(url, Some(&body)).await;
            let Some(mut answer) = self.settle(what, reply, &mut backoff).await? else {
                continue;
            };
            while let Some(path) = in_progress(&answer) {
                if (self.now)() - started > self.patience_ms() {
                    self.abort(&id, sql).await;
                    let cause = "it takes longer than TIMEOUT";
                    return Err(Failure::Error(Error::retryable(what, cause)));
                }
                tokio::time::sleep(POLL).await;
                let (url, login) = (self.url(&path), self.logins);
                let reply = self.call(url, None).await;
                if let Some(next) = self.settle(what, reply, &mut backoff).await? {
                    answer = next;
                } else if self.logins != login {
                    // The new session knows nothing of it.
                    break;
                }
            }
            if in_progress(&answer).is_none() {
                return Answer::read(what, answer);
            }
        }
    }

    /// Logs in unless that was done.
    pub(crate) async fn open(&mut self) -> Result<()> {
        if self.tokens.is_none() {
            self.tokens = Some(login::log_in(self).await?);
            self.logins += 1;
        }
        Ok(())
    }

    /// Ends the session, if it can be done at once.
    pub(crate) async fn close(&mut self) {
        let Some(tokens) = self.tokens.take() else {
            return;
        };
        let mut url = self.url("/session");
        url.query_pairs_mut().append_pair("delete", "true");
        let call = Call {
            url,
            token: Some(&tokens.session),
            body: Some(&Value::Null),
        };
        // Snowflake ends it by itself in four hours: no answer is no failure.
        let _ = tokio::time::timeout(Duration::from_secs(5), http::send(&self.http, &call)).await;
    }

    /// For uploads and streaming.
    pub(crate) fn http(&self) -> &Client {
        &self.http
    }

    /// How long what got no answer is repeated.
    pub(crate) fn retry(&self) -> Duration {
        self.options.retry
    }

    /// Whether Snowflake itself is spoken to without TLS, as only tests do.
    pub(crate) fn is_plain(&self) -> bool {
        self.options.url.scheme() == "http"
    }

    fn url(&self, path: &str) -> Url {
        let mut url = self.options.url.clone();
        url.set_path(path);
        url
    }

    /// The server stops a statement after TIMEOUT; this is for one that does not.
    fn patience_ms(&self) -> i64 {
        i64::try_from(self.options.timeout.as_millis())
            .unwrap_or(i64::MAX)
            .saturating_add(60_000)
    }

    async fn call(&self, url: Url, body: Option<&Value>) -> Reply {
        let token = self.tokens.as_ref().map(|tokens| &tokens.session);
        http::send(&self.http, &Call { url, token, body }).await
    }

    /// Asks Snowflake to stop a statement.
    async fn abort(&self, id: &str, sql: &str) {
        let Ok(own) = random::uuid() else { return };
        let mut url = self.url("/queries/v1/abort-request");
        url.query_pairs_mut().append_pair("requestId", &own);
        let body = json!({"sqlText": sql, "requestId": id});
        // It ends by itself when this does not arrive.
        let _ = tokio::time::timeout(Duration::from_secs(5), self.call(url, Some(&body))).await;
    }

    /// A reply's answer, or `None` when the request is to be sent again: after a wait, a renewal
    /// or a login, all done here.
    async fn settle(
        &mut self,
        what: &str,
        reply: Reply,
        backoff: &mut Backoff,
    ) -> Result<Option<Value>, Failure> {
        let body = match reply {
            Reply::Answer { body, .. } => body,
            Reply::Again(cause, asked) => {
                return match backoff.wait(asked).await? {
                    true => Ok(None),
                    false => Err(Failure::Error(Error::retryable(what, cause))),
                };
            }
            Reply::Refused(cause) => return Err(Failure::Error(Error::external(what, cause))),
        };
        let code = code_of(&body);
        if code == EXPIRED && self.renew().await? {
            return Ok(None);
        }
        if code == EXPIRED || GONE.contains(&code) {
            self.tokens = None;
            // Counted: a server that forgets every session at once is not asked for ever.
            if !backoff.wait(None).await? {
                let refusal = Refusal::read(what, &body);
                return Err(Failure::Error(Error::retryable(what, refusal.message)));
            }
            self.open().await?;
            return Ok(None);
        }
        Ok(Some(body))
    }

    /// Gets a new session token; false when only a login helps.
    async fn renew(&mut self) -> Result<bool> {
        let Some(tokens) = &self.tokens else {
            return Ok(false);
        };
        let what = format!("renew the Snowflake session at {}", self.options.url);
        let body = json!({
            "oldSessionToken": tokens.session.reveal(),
            "requestType": "RENEW",
        });
        let mut backoff = Backoff::new(self.options.retry);
        loop {
            let mut url = self.url("/session/token-request");
            url.query_pairs_mut()
                .append_pair("requestId", &random::uuid()?);
            let call = Call {
                url,
                token: Some(&tokens.master),
                body: Some(&body),
            };
            match http::send(&self.http, &call).await {
                Reply::Answer { body, .. } => {
                    let fresh = Tokens::read(&body, "sessionToken");
                    let renewed = fresh.is_some();
                    if let Some(fresh) = fresh {
                        self.tokens = Some(fresh);
                    }
                    return Ok(renewed);
                }
                Reply::Again(cause, asked) => {
                    if !backoff.wait(asked).await? {
                        return Err(Error::retryable(what, cause));
                    }
                }
                Reply::Refused(_) => return Ok(false),
            }
        }
    }
}

impl Tokens {
    /// The tokens of an answer that has them.
    fn read(body: &Value, session: &str) -> Option<Self> {
        let data = body.get("data")?;
        let secret = |name| Some(Secret::from(data.get(name)?.as_str()?.to_owned()));
        Some(Self {
            session: secret(session)?,
            master: secret("masterToken")?,
        })
    }
}

fn code_of(body: &Value) -> &str {
    body.get("code").and_then(Value::as_str).unwrap_or_default()
}

/// Where to ask for the result of a statement that is still carried out.
fn in_progress(body: &Value) -> Option<String> {
    if !IN_PROGRESS.contains(&code_of(body)) {
        return None;
    }
    let path = body.get("data")?.get("getResultUrl")?.as_str()?;
    Some(path.to_owned())
}
