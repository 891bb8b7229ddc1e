//! What Postgres says when it refuses, as our error: whether trying again may help.

use std::error::Error as _;
use std::io;

use tokio_postgres::error::SqlState;

use crate::Error;

/// The error of a call: `what` was tried, and where.
pub(super) fn fault(what: String, error: &tokio_postgres::Error) -> Error {
    let Some(refusal) = error.as_db_error() else {
        let mut cause = error.to_string();
        let mut inner = error.source();
        let mut io_failed = false;
        while let Some(error) = inner {
            io_failed |= error.is::<io::Error>();
            let said = error.to_string();
            if !cause.contains(&said) {
                cause = format!("{cause}: {said}");
            }
            inner = error.source();
        }
        // What this side cannot do is said without a cause of the network's.
        let ours = [
            "error performing TLS",
            "authentication error",
            "invalid configuration",
        ];
        let ours = !io_failed && ours.iter().any(|start| cause.starts_with(start));
        return match ours {
            true => Error::external(what, cause),
            false => Error::retryable(what, cause),
        };
    };
    let mut cause = refusal.message().to_owned();
    for (name, more) in [("detail", refusal.detail()), ("hint", refusal.hint())] {
        if let Some(more) = more {
            cause = format!("{cause}; {name}: {more}");
        }
    }
    let cause = format!("{cause} (SQLSTATE {})", refusal.code().code());
    match may_pass(refusal.code()) {
        true => Error::retryable(what, cause),
        false => Error::external(what, cause),
    }
}

/// Whether the same call may succeed later: the connection, a conflict with another transaction,
/// a want of resources, a server that stops, fails over or is read-only while it does.
fn may_pass(code: &SqlState) -> bool {
    let passing = ["40001", "40P01", "55P03", "57014", "25006"];
    let classes = ["08", "53", "57P0", "58"];
    passing.contains(&code.code()) || classes.iter().any(|class| code.code().starts_with(class))
}
