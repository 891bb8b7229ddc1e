//! Requests to Snowflake and what becomes of those that get no answer: they are sent again, later
//! and later, until the time for it is used up.

use std::time::Duration;

use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};
use reqwest::{Client, StatusCode, redirect};
use serde_json::Value;
use url::Url;

use super::random;
use super::secret::Secret;
use crate::{Error, Result};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// Snowflake answers within 45 s, if only that it is not done yet.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);
const WAIT_FIRST: Duration = Duration::from_millis(200);
const WAIT_MAX: Duration = Duration::from_secs(16);

/// A client that follows no redirect: a token must not go where it was not meant to.
pub(crate) fn client() -> Result<Client> {
    Client::builder()
        .redirect(redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .user_agent(concat!("kappa/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| Error::Internal(format!("no HTTP client: {}", causes(&error))))
}

/// What came of one request.
pub(crate) enum Reply {
    /// An answer of Snowflake's own, good or bad.
    Answer { body: Value, date: Option<String> },
    /// None, or one that says to try again: why, and how long to wait if it says so.
    Again(String, Option<Duration>),
    /// One that trying again does not change.
    Refused(String),
}

/// A request's parts; `body` is sent by POST, without one it is a GET.
pub(crate) struct Call<'a> {
    pub(crate) url: Url,
    pub(crate) token: Option<&'a Secret>,
    pub(crate) body: Option<&'a Value>,
}

/// Sends a request once.
pub(crate) async fn send(client: &Client, call: &Call<'_>) -> Reply {
    let mut request = match call.body {
        Some(body) => client.post(call.url.clone()).body(body.to_string()),
        None => client.get(call.url.clone()),
    };
    request = request
        .timeout(ANSWER_TIMEOUT)
        .header("content-type", "application/json")
        // Rows in JSON: the other form, application/snowflake, brings Arrow.
        .header("accept", "application/json");
    if let Some(token) = call.token {
        let value = format!("Snowflake Token=\"{}\"", token.reveal());
        request = request.header("authorization", value);
    }
    let response = match request.send().await {
        Ok(response) => response,
        Err(error) => return Reply::Again(causes(&error.without_url()), None),
    };
    let (status, headers) = (response.status(), response.headers().clone());
    let text = match response.bytes().await {
        Ok(bytes) => bytes,
        Err(error) => return Reply::Again(causes(&error.without_url()), None),
    };
    if is_again(status) {
        return Reply::Again(format!("HTTP status {status}"), retry_after(&headers));
    }
    match serde_json::from_slice::<Value>(&text) {
        Ok(body) if body.get("success").is_some() => Reply::Answer {
            body,
            date: headers
                .get(DATE)
                .and_then(|d| d.to_str().ok())
                .map(str::to_owned),
        },
        // Nothing of Snowflake's: a proxy's page, a wrong address.
        _ => Reply::Refused(format!(
            "HTTP status {status} and no answer of Snowflake's: is the address right?"
        )),
    }
}

pub(crate) fn is_again(status: StatusCode) -> bool {
    status.is_server_error()
        || status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::REQUEST_TIMEOUT
}

pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// An error with all its causes.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// The waits between tries. Time is counted by what was waited, so no clock is needed.
pub(crate) struct Backoff {
    left: Duration,
    next: Duration,
}

impl Backoff {
    /// `total` is how long all the waits may be together.
    pub(crate) fn new(total: Duration) -> Self {
        Self {
            left: total,
            next: WAIT_FIRST,
        }
    }

    /// Waits before the next try, `asked` when the server said how long; false when there is to be
    /// none.
    pub(crate) async fn wait(&mut self, asked: Option<Duration>) -> Result<bool> {
        // Half of it is random: clients that failed together do not come back together.
        let own = self.next.mul_f64(0.5 + random::fraction()? / 2.0);
        let wait = own.max(asked.unwrap_or_default());
        if self.left.is_zero() || wait > self.left + WAIT_MAX {
            return Ok(false);
        }
        self.left = self.left.saturating_sub(wait);
        self.next = (self.next * 2).min(WAIT_MAX);
        tokio::time::sleep(wait).await;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waits_come_to_an_end() {
        let mut backoff = Backoff::new(Duration::from_millis(300));
        let mut waits = 0;
        while backoff.wait(None).await.unwrap() {
            waits += 1;
        }
        assert!((2..=4).contains(&waits), "{waits}");
        let mut backoff = Backoff::new(Duration::from_secs(1));
        let asked = Some(Duration::from_secs(3600));
        assert!(!backoff.wait(asked).await.unwrap());
    }
}
