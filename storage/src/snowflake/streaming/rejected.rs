//! Which rows Snowflake has rejected. It says how many, why the last of them, and up to which offset
//! token; the rows are looked for among those that were sent, by what the table's columns take.

use serde_json::Value;

use super::RejectedRows;
use super::chunk::{Chunk, Token};
use crate::Result;
use crate::snowflake::table::TableColumn;

/// What Snowflake said of a channel's rejected rows.
pub(super) struct Complaint<'a> {
    pub(super) channel: usize,
    pub(super) rows: u64,
    pub(super) upper: Option<Token>,
    pub(super) message: &'a str,
}

/// The rejected rows of the channel's `chunks`: each by itself where they can be told, else the
/// chunks that they are among.
pub(super) fn find(
    complaint: &Complaint<'_>,
    chunks: &[&Chunk],
    columns: &[TableColumn],
) -> Result<Vec<RejectedRows>> {
    let Complaint {
        channel,
        rows,
        upper,
        message,
    } = complaint;
    let within = |chunk: &&&Chunk| upper.is_none_or(|upper| chunk.token <= upper);
    let suspects: Vec<_> = chunks.iter().filter(within).collect();
    let mut found = Vec::new();
    for chunk in &suspects {
        for line in chunk.lines()?.split(|byte| *byte == b'\n') {
            let row: Value = serde_json::from_slice(line).unwrap_or_default();
            if let Some(reason) = flaw(&row, columns) {
                found.push(RejectedRows {
                    channel: *channel,
                    epoch: chunk.token.epoch,
                    rows: 1,
                    reason: format!("rejected by Snowflake: {reason}"),
                    payload: Some(line.to_vec()),
                });
            }
        }
    }
    if found.len() as u64 == *rows {
        return Ok(found);
    }
    // What seems wrong here may be right there, and the other way round: all that is known then.
    let last = suspects.last().map(|chunk| chunk.token);
    let reason = format!(
        "rejected by Snowflake: {rows} of the rows up to offset token {}, the last because: {message}",
        upper
            .or(last)
            .map_or("?".to_owned(), |token| token.to_string()),
    );
    let mut kept = Vec::new();
    for chunk in &suspects {
        kept.push(RejectedRows {
            channel: *channel,
            epoch: chunk.token.epoch,
            rows: 0,
            reason: format!("{reason}; they are among these {}", chunk.rows),
            payload: Some(chunk.lines()?),
        });
    }
    match kept.first_mut() {
        Some(first) => first.rows = *rows,
        None => kept.push(RejectedRows {
            channel: *channel,
            epoch: upper.map_or(0, |token| token.epoch),
            rows: *rows,
            reason,
            payload: None,
        }),
    }
    Ok(kept)
}

/// Why a table does not take a row, as far as that is simple to say.
fn flaw(row: &Value, columns: &[TableColumn]) -> Option<String> {
    let row = row.as_object()?;
    columns.iter().find_map(|column| {
        let name = &column.name;
        let Some(value) = row.get(name).filter(|value| !value.is_null()) else {
            return (!column.nullable).then(|| format!("column \"{name}\" must not be NULL"));
        };
        (!fits(value, &column.sql_type)).then(|| {
            format!(
                "column \"{name}\" of type {} does not take {value}",
                column.sql_type
            )
        })
    })
}

/// Whether a type takes a value; it does where that is not simple to say.
fn fits(value: &Value, sql_type: &str) -> bool {
    let (name, arguments) = sql_type.split_once('(').unwrap_or((sql_type, ""));
    let mut arguments = arguments.trim_end_matches(')').split(',');
    let mut argument = || {
        arguments
            .next()
            .and_then(|text| text.trim().parse::<usize>().ok())
    };
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return true,
    };
    match name.trim().to_ascii_uppercase().as_str() {
        "VARCHAR" => argument().is_none_or(|length| text.chars().count() <= length),
        "BINARY" => argument().is_none_or(|length| text.len() / 2 <= length),
        "FLOAT" => text.parse::<f64>().is_ok(),
        "NUMBER" => {
            let (precision, scale) = (argument().unwrap_or(38), argument().unwrap_or(0));
            let digits = text.trim_start_matches(['-', '+']);
            let plain = digits
                .bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b'.');
            if !plain {
                // With an exponent, a number all the same.
                return text.parse::<f64>().is_ok_and(f64::is_finite);
            }
            let whole = digits.split('.').next().unwrap_or_default();
            whole.trim_start_matches('0').len() + scale <= precision
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_does_not_fit_is_seen() {
        let cases = [
            (json!("abc"), "VARCHAR(3)", true),
            (json!("abcd"), "VARCHAR(3)", false),
            (json!("éüö"), "VARCHAR(3)", true),
            (json!(99), "NUMBER(2,0)", true),
            (json!(-100), "NUMBER(2,0)", false),
            (json!("99.99"), "NUMBER(4,2)", true),
            (json!("100.5"), "NUMBER(4,2)", false),
            (json!("x"), "NUMBER(38,0)", false),
            (json!(1e300), "NUMBER(38,0)", true),
            (json!("NaN"), "FLOAT", true),
            (json!("n/a"), "FLOAT", false),
            (json!("0102"), "BINARY(2)", true),
            (json!("010203"), "BINARY(2)", false),
            (json!({"a": 1}), "OBJECT", true),
            (json!("2022-01-08"), "DATE", true),
        ];
        for (value, sql_type, expected) in cases {
            assert_eq!(fits(&value, sql_type), expected, "{value} {sql_type}");
        }
    }
}
