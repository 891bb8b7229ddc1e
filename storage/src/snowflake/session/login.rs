//! Logging in.

use serde_json::{Map, Value, json};

use super::{Session, Tokens, code_of};
use crate::snowflake::http::{self, Backoff, Call, Reply};
use crate::snowflake::name::quote;
use crate::snowflake::options::{Login, SnowflakeOptions};
use crate::snowflake::query::Refusal;
use crate::snowflake::{account, jwt, random};
use crate::{Error, Result};

/// The driver that we speak like. Snowflake's answers to PUT depend on the driver that asks, and
/// one that it does not know is answered as the oldest ones are.
const DRIVER: (&str, &str) = ("Go", "1.14.0");
const JWT_INVALID: &str = "390144";
/// Snowflake allows for a difference of clocks of about this many seconds.
const SKEW_MAX: i64 = 30;
/// Waiting for another statement's lock ends after this many seconds, and is tried again.
const LOCK_SECONDS: u64 = 600;

/// The parameters of a sink's sessions; `tag` shows in Snowflake's query history.
pub(super) fn parameters(options: &SnowflakeOptions, tag: &str) -> Value {
    let mut parameters = Map::new();
    let mut set = |name: &str, value: Value| parameters.insert(name.to_owned(), value);
    set("AUTOCOMMIT", json!(true));
    set("QUERY_TAG", json!(tag));
    set(
        "STATEMENT_TIMEOUT_IN_SECONDS",
        json!(options.timeout.as_secs()),
    );
    set(
        "LOCK_TIMEOUT",
        json!(LOCK_SECONDS.min(options.timeout.as_secs())),
    );
    // What nobody waits for any more must not land later.
    set("ABORT_DETACHED_QUERY", json!(true));
    set("CLIENT_SESSION_KEEP_ALIVE", json!(false));
    set("GO_QUERY_RESULT_FORMAT", json!("JSON"));
    if let Some(timezone) = &options.timezone {
        set("TIMEZONE", json!(timezone));
    }
    Value::Object(parameters)
}

/// A new session.
pub(super) async fn log_in(session: &Session) -> Result<Tokens> {
    let options = &session.options;
    let what = format!("log in to Snowflake at {} as {}", options.url, options.user);
    let mut backoff = Backoff::new(options.retry);
    loop {
        let now_ms = (session.now)();
        let body = body(session, now_ms)?;
        let call = Call {
            url: url(session)?,
            token: None,
            body: Some(&body),
        };
        match http::send(&session.http, &call).await {
            Reply::Answer { body, date } => {
                if let Some(tokens) = Tokens::read(&body, "token") {
                    return Ok(tokens);
                }
                if body["success"] == true {
                    let cause = "its answer holds no tokens";
                    return Err(Error::external(what, cause));
                }
                return Err(refused(session, &what, &body, date.as_deref(), now_ms));
            }
            Reply::Again(cause, asked) => {
                if !backoff.wait(asked).await? {
                    return Err(Error::retryable(what, cause));
                }
            }
            Reply::Refused(cause) => return Err(Error::external(what, cause)),
        }
    }
}

fn url(session: &Session) -> Result<url::Url> {
    let options = &session.options;
    let mut url = session.url("/session/v1/login-request");
    let mut pairs = url.query_pairs_mut();
    pairs.append_pair("requestId", &random::uuid()?);
    pairs.append_pair("request_guid", &random::uuid()?);
    pairs.append_pair("databaseName", &as_written(&options.database));
    pairs.append_pair("schemaName", &as_written(&options.schema));
    if let Some(warehouse) = &options.warehouse {
        pairs.append_pair("warehouse", &as_written(warehouse));
    }
    if let Some(role) = &options.role {
        pairs.append_pair("roleName", &as_written(role));
    }
    drop(pairs);
    Ok(url)
}

/// A name as in SQL: in quotes where it would be read as another without.
fn as_written(name: &str) -> String {
    let plain = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    match name.chars().all(plain) && !name.starts_with(|c: char| c.is_ascii_digit()) {
        true => name.to_owned(),
        false => quote(name),
    }
}

fn body(session: &Session, now_ms: i64) -> Result<Value> {
    let options = &session.options;
    let mut data = json!({
        "ACCOUNT_NAME": account::claim(&options.account),
        "LOGIN_NAME": options.user,
        "CLIENT_APP_ID": DRIVER.0,
        "CLIENT_APP_VERSION": DRIVER.1,
        "CLIENT_ENVIRONMENT": {
            "APPLICATION": "Kappa",
            "OS": std::env::consts::OS,
            "ISOLATION_LEVEL": null,
        },
        "SESSION_PARAMETERS": session.parameters,
    });
    let mut proof = |kind: &str, token: &str| {
        data["AUTHENTICATOR"] = json!(kind);
        data["TOKEN"] = json!(token);
    };
    match &options.login {
        Login::KeyPair(key) => {
            let token = jwt::sign(key, &options.account, &options.user, now_ms)?;
            proof("SNOWFLAKE_JWT", token.reveal());
        }
        Login::OAuth(token) => proof("OAUTH", token.reveal()),
        Login::AccessToken(token) => proof("PROGRAMMATIC_ACCESS_TOKEN", token.reveal()),
        Login::Password(password) => data["PASSWORD"] = json!(password.reveal()),
    }
    Ok(json!({ "data": data }))
}

/// The error of a login that was refused: it says what to do.
fn refused(session: &Session, what: &str, body: &Value, date: Option<&str>, now_ms: i64) -> Error {
    let refusal = Refusal::read(what, body);
    if code_of(body) != JWT_INVALID {
        return refusal.into();
    }
    let skew = date
        .and_then(seconds_of)
        .map(|theirs| now_ms.div_euclid(1000) - theirs);
    if let Some(skew) = skew.filter(|skew| skew.abs() > SKEW_MAX) {
        let side = if skew > 0 { "ahead of" } else { "behind" };
        let cause = format!(
            "{}; this machine's clock is {} s {side} Snowflake's: set it right",
            refusal.message,
            skew.abs()
        );
        return Error::external(what, cause);
    }
    let Login::KeyPair(key) = &session.options.login else {
        return refusal.into();
    };
    let cause = format!(
        "{}; the user's RSA_PUBLIC_KEY_FP must be {}: see DESCRIBE USER, and set the public key \
         by ALTER USER … SET RSA_PUBLIC_KEY; account and user must be right, too",
        refusal.message,
        key.fingerprint()
    );
    Error::external(what, cause)
}

/// The seconds since 1970 of an HTTP date, `Tue, 24 Nov 2026 18:25:28 GMT`.
fn seconds_of(date: &str) -> Option<i64> {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let mut parts = date.split_whitespace().skip(1);
    let day: i64 = parts.next()?.parse().ok()?;
    let month = i64::try_from(MONTHS.find(parts.next()?)? / 3).ok()? + 1;
    let year: i64 = parts.next()?.parse().ok()?;
    let mut clock = parts.next()?.splitn(3, ':').map(str::parse::<i64>);
    let mut next = || clock.next()?.ok();
    let (hour, minute, second) = (next()?, next()?, next()?);
    // Days from the civil date, the year beginning in March.
    let (y, m) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_http_are_read() {
        assert_eq!(seconds_of("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(
            seconds_of("Sun, 06 Nov 1994 08:49:37 GMT"),
            Some(784_111_777)
        );
        assert_eq!(
            seconds_of("Thu, 29 Feb 2024 23:59:59 GMT"),
            Some(1_709_251_199)
        );
        assert_eq!(seconds_of("yesterday"), None);
    }

    #[test]
    fn names_keep_their_case() {
        assert_eq!(as_written("LAKE_1"), "LAKE_1");
        assert_eq!(as_written("Lake"), "\"Lake\"");
        assert_eq!(as_written("1A"), "\"1A\"");
    }
}
