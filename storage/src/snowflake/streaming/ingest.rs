//! Snowpipe Streaming's REST interface: where it is, the token for it, and its requests, each of
//! which is repeated until it has an answer or the time for it is used up.
//!
//! The account's host names the ingest host and gives a token that is good there only (a "scoped"
//! token). It is renewed shortly before it ends, and when it is refused.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE};
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::Value;
use tokio::sync::Mutex;
use url::Url;

use crate::snowflake::http::{self, Backoff};
use crate::snowflake::name::ObjectName;
use crate::snowflake::options::{Login, SnowflakeOptions};
use crate::snowflake::secret::Secret;
use crate::snowflake::session::Clock;
use crate::snowflake::{jwt, random};
use crate::{Error, Result};

/// How long before its end a token is renewed.
const RENEW_MS: i64 = 60_000;
/// How long a token is taken to live that does not say it.
const LIFE_MS: i64 = 50 * 60_000;
const TOKEN_TYPE: &str = "X-Snowflake-Authorization-Token-Type";

/// A request; it may be sent several times.
pub(super) struct Request<'a> {
    pub(super) method: Method,
    /// After the pipe's path, `/channels/C` for one.
    pub(super) path: String,
    pub(super) query: &'a [(&'a str, String)],
    pub(super) body: Body,
}

pub(super) enum Body {
    Json(Value),
    /// JSON lines, compressed by Zstandard.
    Rows(Vec<u8>),
}

/// An answer.
#[derive(Debug)]
pub(super) enum Reply {
    Done(Value),
    /// Trying again changes nothing: why, in Snowflake's words.
    Refused(Refusal),
}

#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) code: String,
    pub(super) message: String,
    /// Whether the request was sent before and got no answer: it may have been executed then.
    pub(super) repeated: bool,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (HTTP {}", self.message, self.status.as_u16())?;
        match self.code.is_empty() {
            true => f.write_str(")"),
            false => write!(f, ", {})", self.code),
        }
    }
}

/// The interface as one pipe has it.
pub(super) struct Ingest {
    http: Client,
    options: Arc<SnowflakeOptions>,
    now: Clock,
    pipe: ObjectName,
    access: Mutex<Option<Access>>,
}

/// Where to send requests, and the proof to send along.
#[derive(Clone)]
struct Access {
    base: Url,
    token: Secret,
    token_type: &'static str,
    renew_at_ms: i64,
}

impl fmt::Debug for Ingest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ingest({} at {})", self.pipe, self.options.url)
    }
}

impl Ingest {
    pub(super) fn new(
        http: Client,
        options: Arc<SnowflakeOptions>,
        pipe: ObjectName,
        now: Clock,
    ) -> Self {
        Self {
            http,
            options,
            now,
            pipe,
            access: Mutex::new(None),
        }
    }

    pub(super) fn pipe(&self) -> &ObjectName {
        &self.pipe
    }

    /// Sends a request of the pipe; `root` is what its path begins with.
    pub(super) async fn call(&self, what: &str, root: &str, request: Request<'_>) -> Result<Reply> {
        let mut backoff = Backoff::new(self.options.retry);
        let (mut renewed, mut repeated) = (false, false);
        loop {
            let access = self.access().await?;
            let url = self.url(&access, root, &request)?;
            let built = self.http.request(request.method.clone(), url);
            let built = match &request.body {
                Body::Json(value) => built
                    .header(CONTENT_TYPE, "application/json")
                    .body(value.to_string()),
                Body::Rows(rows) => built
                    .header(CONTENT_TYPE, "application/x-ndjson")
                    .header(CONTENT_ENCODING, "zstd")
                    .body(rows.clone()),
            };
            let built = proven(built, &access.token, access.token_type);
            let (again, asked) = match sent(built).await {
                Sent::Answer(status, text) if status.is_success() => {
                    return Ok(Reply::Done(serde_json::from_str(&text).unwrap_or_default()));
                }
                Sent::Answer(StatusCode::UNAUTHORIZED, _) if !renewed => {
                    renewed = true;
                    self.forget(&access).await;
                    continue;
                }
                Sent::Answer(status, text) => {
                    return Ok(Reply::Refused(Refusal {
                        repeated,
                        ..refusal(status, &text)
                    }));
                }
                Sent::Again(cause, asked) => (cause, asked),
            };
            repeated = true;
            if !backoff.wait(asked).await? {
                return Err(Error::retryable(what, again));
            }
        }
    }

    fn url(&self, access: &Access, root: &str, request: &Request<'_>) -> Result<Url> {
        let mut url = access.base.clone();
        let part = |name: &str| {
            percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC)
                .to_string()
                // As the documentation writes them.
                .replace("%2D", "-")
                .replace("%5F", "_")
        };
        let ObjectName {
            database,
            schema,
            name,
        } = &self.pipe;
        url.set_path(&format!(
            "{root}/databases/{}/schemas/{}/pipes/{}{}",
            part(database),
            part(schema),
            part(name),
            request.path
        ));
        let mut pairs = url.query_pairs_mut();
        pairs.append_pair("requestId", &random::uuid()?);
        for (name, value) in request.query {
            pairs.append_pair(name, value);
        }
        drop(pairs);
        Ok(url)
    }

    /// Asks anew where the interface is, and for a token: the pipe has moved.
    pub(super) async fn reset(&self) {
        *self.access.lock().await = None;
    }

    async fn forget(&self, refused: &Access) {
        let mut access = self.access.lock().await;
        // Another request may have been faster.
        if access
            .as_ref()
            .is_some_and(|access| access.token == refused.token)
        {
            *access = None;
        }
    }

    /// Where to and how: asked for once, by whoever needs it first.
    async fn access(&self) -> Result<Access> {
        let mut access = self.access.lock().await;
        if let Some(access) = access.as_ref()
            && (self.now)() < access.renew_at_ms
        {
            return Ok(access.clone());
        }
        let fresh = self.ask_for_access().await?;
        *access = Some(fresh.clone());
        Ok(fresh)
    }

    async fn ask_for_access(&self) -> Result<Access> {
        let what = format!(
            "ask {} for the host of Snowpipe Streaming",
            self.options.url
        );
        let mut url = self.options.url.clone();
        url.set_path("/v2/streaming/hostname");
        let text = self.ask(&what, |http| http.get(url.clone())).await?;
        // Certificates do not match underscores.
        let host = value_of(&text, &["hostname"]).replace('_', "-");
        let base = self.base(&host).ok_or_else(|| {
            let cause = format!("'{host}' is no host");
            Error::external(&what, cause)
        })?;
        if let Login::AccessToken(token) = &self.options.login {
            return Ok(Access {
                base,
                token: token.clone(),
                token_type: "PROGRAMMATIC_ACCESS_TOKEN",
                renew_at_ms: i64::MAX,
            });
        }
        let what = format!("ask {} for a token for {host}", self.options.url);
        let mut url = self.options.url.clone();
        url.set_path("/oauth/token");
        let form = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer")
            .append_pair("scope", &host)
            .finish();
        let asked_ms = (self.now)();
        let text = self
            .ask(&what, |http| {
                http.post(url.clone())
                    .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                    .body(form.clone())
            })
            .await?;
        let token = value_of(&text, &["token", "access_token"]);
        let renew_at_ms = match end_ms(&token) {
            // One that lives shorter than that is renewed at half of its life.
            Some(end) => (end - RENEW_MS).max(asked_ms + (end - asked_ms) / 2),
            None => asked_ms + LIFE_MS,
        };
        Ok(Access {
            base,
            token: Secret::from(token),
            token_type: "OAUTH",
            renew_at_ms,
        })
    }

    /// The address of a host: with the account's scheme, and its port, which Snowflake does not name.
    fn base(&self, host: &str) -> Option<Url> {
        let account = &self.options.url;
        let mut base = Url::parse(&format!("{}://{host}", account.scheme())).ok()?;
        if base.port().is_none() && account.port().is_some() {
            base.set_port(account.port()).ok()?;
        }
        (base.host_str().is_some() && base.path() == "/").then_some(base)
    }

    /// Sends a request to the account's own host, with the user's login.
    async fn ask(&self, what: &str, request: impl Fn(&Client) -> RequestBuilder) -> Result<String> {
        let options = &self.options;
        let mut backoff = Backoff::new(options.retry);
        loop {
            let (token, token_type) = match &options.login {
                Login::KeyPair(key) => {
                    let token = jwt::sign(key, &options.account, &options.user, (self.now)())?;
                    (token, "KEYPAIR_JWT")
                }
                Login::OAuth(token) => (token.clone(), "OAUTH"),
                Login::AccessToken(token) => (token.clone(), "PROGRAMMATIC_ACCESS_TOKEN"),
                Login::Password(_) => {
                    return Err(Error::Internal("streaming with a password".to_owned()));
                }
            };
            match sent(proven(request(&self.http), &token, token_type)).await {
                Sent::Answer(status, text) if status.is_success() => return Ok(text),
                Sent::Answer(status, text) => {
                    return Err(Error::external(what, refusal(status, &text)));
                }
                Sent::Again(cause, asked) => {
                    if !backoff.wait(asked).await? {
                        return Err(Error::retryable(what, cause));
                    }
                }
            }
        }
    }
}

enum Sent {
    Answer(StatusCode, String),
    /// None, or one that says to try again: why, and how long to wait if it says so.
    Again(String, Option<std::time::Duration>),
}

fn proven(request: RequestBuilder, token: &Secret, token_type: &str) -> RequestBuilder {
    request
        .timeout(http::ANSWER_TIMEOUT)
        .bearer_auth(token.reveal())
        .header(TOKEN_TYPE, token_type)
        .header("accept", "application/json")
}

async fn sent(request: RequestBuilder) -> Sent {
    let response = match request.send().await {
        Ok(response) => response,
        Err(error) => return Sent::Again(http::causes(&error.without_url()), None),
    };
    let (status, asked) = (response.status(), http::retry_after(response.headers()));
    match response.text().await {
        Err(error) => Sent::Again(http::causes(&error.without_url()), None),
        Ok(text) if http::is_again(status) => {
            Sent::Again(refusal(status, &text).to_string(), asked)
        }
        Ok(text) => Sent::Answer(status, text),
    }
}

fn refusal(status: StatusCode, text: &str) -> Refusal {
    let body: Value = serde_json::from_str(text).unwrap_or_default();
    let word = |names: [&str; 2]| {
        let found = names.iter().find_map(|name| body.get(*name)?.as_str());
        found.map(str::to_owned)
    };
    let reason = || status.canonical_reason().unwrap_or("refused").to_owned();
    Refusal {
        status,
        code: word(["code", "error_code"]).unwrap_or_default(),
        message: word(["message", "error"]).unwrap_or_else(reason),
        repeated: false,
    }
}

/// A member of an answer, or all of it where it is plain text: both are seen.
fn value_of(text: &str, names: &[&str]) -> String {
    let body: Value = serde_json::from_str(text).unwrap_or_default();
    let found = names.iter().find_map(|name| body.get(*name)?.as_str());
    let plain = || body.as_str().unwrap_or(text.trim()).to_owned();
    found.map_or_else(plain, str::to_owned)
}

/// When a token ends, if it is a JSON web token.
fn end_ms(token: &str) -> Option<i64> {
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    claims.get("exp")?.as_i64()?.checked_mul(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_plain_or_json() {
        for text in [
            "h.example\n",
            "\"h.example\"",
            r#"{"hostname":"h.example"}"#,
        ] {
            assert_eq!(value_of(text, &["hostname"]), "h.example", "{text}");
        }
    }

    #[test]
    fn a_tokens_end_is_read_where_it_says_it() {
        let claims = URL_SAFE_NO_PAD.encode(r#"{"exp":1700000000}"#);
        assert_eq!(end_ms(&format!("h.{claims}.s")), Some(1_700_000_000_000));
        for opaque in ["", "opaque", "a.b.c", "..."] {
            assert_eq!(end_ms(opaque), None);
        }
    }

    #[test]
    fn refusals_keep_code_and_words() {
        let text = r#"{"code":"STALE_CONTINUATION_TOKEN_SEQUENCER","message":"stale"}"#;
        let shown = refusal(StatusCode::BAD_REQUEST, text).to_string();
        assert_eq!(
            shown,
            "stale (HTTP 400, STALE_CONTINUATION_TOKEN_SEQUENCER)"
        );
        let shown = refusal(StatusCode::FORBIDDEN, "<html>").to_string();
        assert_eq!(shown, "Forbidden (HTTP 403)");
    }
}
