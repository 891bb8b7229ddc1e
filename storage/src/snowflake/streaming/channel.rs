//! A channel: an ordered way into a table, with Snowflake's memory of how far it has come.
//!
//! What was sent is not yet in the table. Snowflake says later, by the offset token, up to where it
//! is; opening a channel anew drops what is not. So whenever it is not certain what a channel has
//! taken, it is opened anew and everything after its token is sent again.
//!
//! Whoever opens a channel shuts out the one who had it open before. Somebody else on this channel is
//! another process with the same sink: that is noticed, and an error.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::ChannelMark;
use super::chunk::{self, CHUNK_BYTES, Chunk, Token};
use super::ingest::{Body, Ingest, Refusal, Reply, Request};
use crate::{Error, Result};

const CONTROL: &str = "/v2/streaming";
const DATA: &str = "/v2/streaming/data";
/// How often a channel is opened anew while nothing gets into the table.
const REOPENS_MAX: u32 = 5;
const REOPEN_WAIT: Duration = Duration::from_millis(50);

/// What Snowflake says of a channel.
#[derive(Debug)]
pub(super) struct Status {
    code: String,
    committed: Option<String>,
    created_ms: Option<i64>,
    rejected: u64,
    error: Option<(Option<Token>, String)>,
}

impl Status {
    fn read(value: &Value) -> Self {
        let text = |name: &str| {
            let text = value.get(name)?.as_str()?;
            (!text.is_empty()).then(|| text.to_owned())
        };
        let number = |name: &str| value.get(name).and_then(Value::as_u64);
        let upper = text("last_error_offset_upper_bound").and_then(|token| token.parse().ok());
        Self {
            code: text("channel_status_code").unwrap_or_default(),
            committed: text("last_committed_offset_token"),
            created_ms: value.get("created_on_ms").and_then(Value::as_i64),
            // Documented by both names.
            rejected: number("rows_error_count")
                .or_else(|| number("rows_errors"))
                .unwrap_or(0),
            error: text("last_error_message").map(|message| (upper, message)),
        }
    }
}

/// One of a sink's channels.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) name: String,
    /// For the next request; `None` when it must be opened first.
    continuation: Option<String>,
    /// Up to where Snowflake has it in the table.
    pub(super) committed: Option<Token>,
    /// Up to where it has been taken since it was opened, or was in the table then.
    pub(super) sent: Option<Token>,
    /// Up to where it was ever handed over, taken or not.
    tried: Option<Token>,
    /// Whether this process has had it open, and when it was made.
    opened: bool,
    created_ms: Option<i64>,
    /// Rows that Snowflake has rejected since the channel was made, and those of them that the
    /// caller knows.
    pub(super) rejected: u64,
    pub(super) known: u64,
    /// Of the last rejected rows: up to where they are, and why.
    pub(super) error: Option<(Option<Token>, String)>,
    /// How often it was opened anew since something got into the table.
    reopened: u32,
    /// Why it has to be opened anew.
    reason: String,
}

impl Channel {
    pub(super) fn new(name: String) -> Self {
        Self {
            name,
            continuation: None,
            committed: None,
            sent: None,
            tried: None,
            opened: false,
            created_ms: None,
            rejected: 0,
            known: 0,
            error: None,
            reopened: 0,
            reason: String::new(),
        }
    }

    /// Opens it, unless it is open. `mark` is what the caller keeps of it.
    pub(super) async fn open(&mut self, ingest: &Ingest, mark: &ChannelMark) -> Result<()> {
        self.reopened = 0;
        self.known = mark.rejected;
        let kept = match &mark.committed {
            None => None,
            Some(text) => Some(text.parse::<Token>().map_err(|()| {
                Error::Internal(format!("'{text}' is kept as a token of {}", self.name))
            })?),
        };
        if self.continuation.is_none() {
            self.open_anew(ingest).await?;
        }
        if self.committed < kept {
            self.continuation = None;
            return Err(self.lost(ingest, self.committed, kept));
        }
        // A channel that was made anew counts from 0.
        if self.rejected < self.known {
            self.known = 0;
        }
        Ok(())
    }

    async fn open_anew(&mut self, ingest: &Ingest) -> Result<()> {
        let what = format!("open channel {} of pipe {}", self.name, ingest.pipe());
        let mut token = None;
        loop {
            let request = Request {
                method: Method::PUT,
                path: format!("/channels/{}", self.name),
                query: &[],
                body: Body::Json(match token {
                    None => json!({}),
                    Some(token) => json!({"offset_token": Token::to_string(&token)}),
                }),
            };
            let answer = match ingest.call(&what, CONTROL, request).await? {
                Reply::Done(answer) => answer,
                Reply::Refused(refusal) if refusal.status == StatusCode::GONE => {
                    ingest.reset().await;
                    return Err(Error::retryable(what, refusal));
                }
                Reply::Refused(refusal) => return Err(Error::external(what, refusal)),
            };
            let Some(next) = answer["next_continuation_token"].as_str() else {
                return Err(Error::external(
                    what,
                    "its answer has no continuation token",
                ));
            };
            let status = Status::read(&answer["channel_status"]);
            let committed = self.token_of(&what, status.committed.as_deref())?;
            if self.opened && committed > self.tried {
                return Err(self.shared(ingest));
            }
            if committed < self.committed {
                // Snowflake removes channels that were idle for long. If nothing was on its way
                // then, it is certain what is in the table, and the new channel is told.
                let certain = committed.is_none() && self.tried == self.committed;
                if !certain || token.is_some() {
                    return Err(self.lost(ingest, committed, self.committed));
                }
                token = self.committed;
                continue;
            }
            if self.opened && self.created_ms != status.created_ms {
                self.known = 0;
            }
            (self.opened, self.created_ms) = (true, status.created_ms);
            self.continuation = Some(next.to_owned());
            (self.committed, self.sent) = (committed, committed);
            self.tried = self.tried.max(committed);
            self.rejected = status.rejected;
            self.error = status.error;
            return Ok(());
        }
    }

    fn token_of(&self, what: &str, text: Option<&str>) -> Result<Option<Token>> {
        let Some(text) = text else {
            return Ok(None);
        };
        match text.parse() {
            Ok(token) => Ok(Some(token)),
            Err(()) => Err(Error::external(
                what,
                format!(
                    "channel {} has the offset token '{text}', which is not Kappa's",
                    self.name
                ),
            )),
        }
    }

    /// Sends all chunks that it has not taken, in order. They are those of this channel.
    pub(super) async fn send(&mut self, ingest: &Ingest, chunks: &[&Chunk]) -> Result<()> {
        loop {
            // Also with nothing to send: a channel that was made anew gets its token again.
            if self.continuation.is_none() {
                self.reopen(ingest).await?;
            }
            let Some(continuation) = self.continuation.clone() else {
                return Err(Error::Internal("a channel is not open".to_owned()));
            };
            let first = chunks.partition_point(|chunk| Some(chunk.token) <= self.sent);
            let group = group(&chunks[first..]);
            let ([start, ..], [.., end]) = (group, group) else {
                return Ok(());
            };
            let what = format!(
                "send rows through channel {} of pipe {}",
                self.name,
                ingest.pipe()
            );
            let query = [
                ("continuationToken", continuation),
                ("startOffsetToken", start.token.to_string()),
                ("endOffsetToken", end.token.to_string()),
            ];
            let request = Request {
                method: Method::POST,
                path: format!("/channels/{}/rows", self.name),
                query: &query,
                body: Body::Rows(chunk::body(group)?),
            };
            // Before it is sent: whether it was taken may never be known.
            let tried = self.tried;
            self.tried = self.tried.max(Some(end.token));
            match ingest.call(&what, DATA, request).await? {
                Reply::Done(answer) => {
                    let next = answer["next_continuation_token"]
                        .as_str()
                        .map(str::to_owned);
                    self.sent = Some(end.token);
                    if next.is_none() {
                        self.reason = "an answer had no continuation token".to_owned();
                    }
                    self.continuation = next;
                }
                Reply::Refused(refusal) if is_invalid(&refusal) => {
                    if refusal.status == StatusCode::GONE {
                        ingest.reset().await;
                    }
                    if !refusal.repeated {
                        self.tried = tried;
                    }
                    self.invalidate(refusal.to_string());
                }
                Reply::Refused(refusal) => return Err(Error::external(what, refusal)),
            }
        }
    }

    /// It must be opened anew before anything else is sent.
    pub(super) fn invalidate(&mut self, reason: String) {
        self.continuation = None;
        self.reason = reason;
    }

    pub(super) fn is_open(&self) -> bool {
        self.continuation.is_some()
    }

    async fn reopen(&mut self, ingest: &Ingest) -> Result<()> {
        if self.reopened == REOPENS_MAX {
            let what = format!(
                "stream rows through channel {} of pipe {}",
                self.name,
                ingest.pipe()
            );
            let cause = format!(
                "it was opened {REOPENS_MAX} times and got nothing into the table: {}",
                self.reason
            );
            return Err(match self.reason.contains("SEQUENCER") {
                true => Error::external(
                    what,
                    format!(
                        "{cause}: another process has this sink, with a copy of this data \
                         directory. Stop it, then RESUME the sink"
                    ),
                ),
                false => Error::retryable(what, cause),
            });
        }
        if self.reopened > 0 {
            tokio::time::sleep(REOPEN_WAIT * (1 << self.reopened)).await;
        }
        self.reopened += 1;
        self.open_anew(ingest).await
    }

    /// Takes note of a status; whether something got into the table.
    pub(super) fn see(&mut self, ingest: &Ingest, status: Option<Status>) -> Result<bool> {
        let Some(status) = status else {
            self.invalidate("Snowflake does not know the channel any more".to_owned());
            return Ok(false);
        };
        let what = format!("look at channel {} of pipe {}", self.name, ingest.pipe());
        let committed = self.token_of(&what, status.committed.as_deref())?;
        if committed > self.tried {
            return Err(self.shared(ingest));
        }
        if committed < self.committed {
            self.invalidate("its offset token went back".to_owned());
            return Ok(false);
        }
        let progress = committed > self.committed;
        self.committed = committed;
        self.rejected = status.rejected;
        self.error = status.error;
        if progress {
            self.reopened = 0;
        }
        // Documented as SUCCESS in one place and ACTIVE in another; what is wrong begins with ERR.
        if status.code.starts_with("ERR") {
            let why = self
                .error
                .as_ref()
                .map(|(_, message)| format!(": {message}"));
            self.invalidate(format!("{}{}", status.code, why.unwrap_or_default()));
        }
        Ok(progress)
    }

    /// What the caller is to keep.
    pub(super) fn mark(&self) -> ChannelMark {
        ChannelMark {
            committed: self.committed.map(|token| token.to_string()),
            rejected: self.rejected,
        }
    }

    fn shared(&self, ingest: &Ingest) -> Error {
        Error::external(
            format!(
                "stream rows through channel {} of pipe {}",
                self.name,
                ingest.pipe()
            ),
            "it has rows that this process did not send: another process has this sink, with a copy \
             of this data directory. Stop it; this sink cannot go on: DROP it and create it again",
        )
    }

    fn lost(&self, ingest: &Ingest, found: Option<Token>, known: Option<Token>) -> Error {
        let shown = |token: Option<Token>| match token {
            None => "none".to_owned(),
            Some(token) => token.to_string(),
        };
        Error::external(
            format!("open channel {} of pipe {}", self.name, ingest.pipe()),
            format!(
                "its offset token is {}, though rows up to {} were delivered: the table, the pipe \
                 or the channel was made anew, restored, or left idle for more than 30 days while \
                 Kappa was away. Kappa does not send again what was delivered: DROP the sink and \
                 create it again",
                shown(found),
                shown(known)
            ),
        )
    }
}

/// The statuses of channels, by their place; `None` for those that Snowflake does not know.
pub(super) async fn statuses(ingest: &Ingest, channels: &[Channel]) -> Result<Vec<Option<Status>>> {
    let what = format!("look at the channels of pipe {}", ingest.pipe());
    let names: Vec<&str> = channels
        .iter()
        .map(|channel| channel.name.as_str())
        .collect();
    let request = Request {
        method: Method::POST,
        path: ":bulk-channel-status".to_owned(),
        query: &[],
        body: Body::Json(json!({ "channel_names": names })),
    };
    match ingest.call(&what, CONTROL, request).await? {
        Reply::Done(answer) => {
            let all = &answer["channel_statuses"];
            Ok(names
                .iter()
                .map(|name| all.get(*name).map(Status::read))
                .collect())
        }
        // All of them are to be opened anew, at the place where the pipe is now.
        Reply::Refused(refusal) if refusal.status == StatusCode::GONE => {
            ingest.reset().await;
            Ok(names.iter().map(|_| None).collect())
        }
        Reply::Refused(refusal) => Err(Error::external(what, refusal)),
    }
}

/// Whether opening the channel anew helps.
fn is_invalid(refusal: &Refusal) -> bool {
    let by_status = matches!(
        refusal.status,
        StatusCode::CONFLICT | StatusCode::GONE | StatusCode::NOT_FOUND
    );
    by_status || refusal.code.contains("CONTINUATION_TOKEN") || refusal.code.contains("CHANNEL")
}

/// The first chunks, as many as go into a request.
fn group<'a, 'b>(chunks: &'b [&'a Chunk]) -> &'b [&'a Chunk] {
    let mut bytes = 0;
    let fits = chunks.iter().take_while(|chunk| {
        bytes += chunk.bytes;
        bytes <= CHUNK_BYTES
    });
    let count = fits.count().max(1).min(chunks.len());
    &chunks[..count]
}
