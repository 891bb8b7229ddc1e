//! Snowflake's answer to a statement: its rows, or why there are none.

use serde_json::Value;

use crate::{Error, Result};

/// The rows of a statement, as text.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    columns: Vec<String>,
    rows: Vec<Vec<Option<String>>>,
    /// All of the answer's `data`, for the statements whose answer is no table: PUT.
    data: Value,
}

/// Why a statement did not do what it should.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Snowflake said no.
    Refused(Refusal),
    /// Anything else.
    Error(Error),
}

/// What Snowflake said when it said no.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    what: String,
    code: String,
    pub(crate) message: String,
}

/// Snowflake's own trouble, or that of too much at a time: an internal error, a statement that was
/// cancelled, that took too long, or that waited too long for a lock or in a queue.
const AGAIN: &[&str] = &[
    "000603", "000604", "000605", "000610", "000625", "000630", "000637", "300002", "390188",
];
const NO_OBJECT: &[&str] = &["002003", "002043"];

impl Answer {
    /// Reads the body of an answer; `what` is for errors.
    pub(crate) fn read(what: &str, mut body: Value) -> Result<Self, Failure> {
        if body["success"] != true {
            return Err(Failure::Refused(Refusal::read(what, &body)));
        }
        let data = body["data"].take();
        let wrong = |cause| Failure::Error(Error::external(what, cause));
        if data["chunks"]
            .as_array()
            .is_some_and(|chunks| !chunks.is_empty())
        {
            return Err(wrong("the answer has more rows than are expected"));
        }
        let text = |value: &Value| match value {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        };
        let names = data["rowtype"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let columns = names
            .iter()
            .map(|c| c["name"].as_str().unwrap_or_default().to_owned());
        let rows = data["rowset"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let cells = |row: &Value| Some(row.as_array()?.iter().map(text).collect());
        let read: Option<Vec<_>> = rows.iter().map(cells).collect();
        if data["rowsetBase64"]
            .as_str()
            .is_some_and(|rows| !rows.is_empty())
        {
            return Err(wrong(
                "the answer is in Arrow's format, and JSON was asked for",
            ));
        }
        Ok(Self {
            columns: columns.collect(),
            rows: read.ok_or_else(|| wrong("the answer's rows are no rows"))?,
            data,
        })
    }

    /// The rows, each as long as there are columns.
    pub fn rows(&self) -> &[Vec<Option<String>>] {
        &self.rows
    }

    pub(crate) fn data(&self) -> &Value {
        &self.data
    }

    /// Where a column is; names differ in case between versions.
    pub(crate) fn column(&self, name: &str) -> Option<usize> {
        self.columns
            .iter()
            .position(|column| column.eq_ignore_ascii_case(name))
    }

    /// A column's cell in a row.
    pub(crate) fn cell<'a>(&self, row: &'a [Option<String>], name: &str) -> Option<&'a str> {
        row.get(self.column(name)?)?.as_deref()
    }

    /// The only cell of an answer with one.
    pub(crate) fn value(&self) -> Option<&str> {
        self.rows.first()?.first()?.as_deref()
    }
}

impl Refusal {
    pub(crate) fn read(what: &str, body: &Value) -> Self {
        let code = body["code"].as_str().or(body["data"]["errorCode"].as_str());
        Self {
            what: what.to_owned(),
            code: code.unwrap_or_default().to_owned(),
            message: body["message"]
                .as_str()
                .unwrap_or("no reason given")
                .to_owned(),
        }
    }

    /// Whether a table, stage or other object is not there, or not for this role.
    pub(crate) fn is_missing_object(&self) -> bool {
        NO_OBJECT.contains(&self.code.as_str())
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let Refusal {
            what,
            code,
            message,
        } = refusal;
        let retryable = AGAIN.contains(&code.as_str());
        let cause = match code.is_empty() {
            true => message,
            false => format!("{message} (Snowflake's code {code})"),
        };
        match retryable {
            true => Error::retryable(what, cause),
            false => Error::external(what, cause),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(refusal) => refusal.into(),
            Failure::Error(error) => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rows_are_text() {
        let body = json!({"success": true, "data": {
            "rowtype": [{"name": "file"}, {"name": "rows_loaded"}],
            "rowset": [["a", "3"], ["b", null], ["c", 4]],
        }});
        let answer = Answer::read("load", body).unwrap();
        let cell = |row: usize| answer.cell(&answer.rows()[row], "ROWS_LOADED");
        assert_eq!([cell(0), cell(1), cell(2)], [Some("3"), None, Some("4")]);
    }

    #[test]
    fn refusals_keep_code_and_words() {
        let body = json!({"success": false, "code": "002003", "message": "no table"});
        let Err(Failure::Refused(refusal)) = Answer::read("load \"T\"", body) else {
            panic!("not refused");
        };
        assert!(refusal.is_missing_object());
        let error = Error::from(refusal);
        assert!(!error.is_retryable());
        assert_eq!(
            error.to_string(),
            "load \"T\": no table (Snowflake's code 002003)"
        );
        let body = json!({"success": false, "code": "000625", "message": "lock"});
        let error = Error::from(Answer::read("merge", body).unwrap_err());
        assert!(error.is_retryable());
    }
}
