//! The drivers' protocol, as far as a sink goes that sees to its table.

use bytes::Bytes;
use hyper::StatusCode;
use hyper::http::request::Parts;
use serde_json::{Value, json};

use super::pipes::Column;
use super::{State, account, answer};
use crate::http_server::Answer;

const SESSION: &str = "session-token";

/// A refusal: Snowflake's code and words.
type Refusal = (&'static str, String);

pub(super) fn execute(state: &mut State, head: &Parts, body: &Bytes) -> Answer {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let done = match head.uri.path() {
        "/session/v1/login-request" => log_in(state, &body["data"]),
        "/session" => Ok(Value::Null),
        "/queries/v1/query-request" => {
            let token = head
                .headers
                .get("authorization")
                .and_then(|value| value.to_str().ok());
            match token == Some(&format!("Snowflake Token=\"{SESSION}\"")) {
                true => query(state, body["sqlText"].as_str().unwrap_or_default()),
                false => Err(("390104", "no such session".into())),
            }
        }
        other => Err(("391902", format!("there is no {other}"))),
    };
    let body = match done {
        Ok(data) => json!({"success": true, "data": data}),
        Err((code, message)) => json!({"success": false, "code": code, "message": message}),
    };
    answer(StatusCode::OK, body.to_string())
}

fn log_in(state: &State, data: &Value) -> Result<Value, Refusal> {
    let token = data["TOKEN"].as_str().unwrap_or_default();
    let allowed = match data["AUTHENTICATOR"].as_str().unwrap_or_default() {
        "SNOWFLAKE_JWT" => state.account.check_jwt(token),
        "OAUTH" if token == account::OAUTH => Ok(()),
        "PROGRAMMATIC_ACCESS_TOKEN" if token == account::ACCESS => Ok(()),
        other => Err(format!("no login by {other}")),
    };
    allowed.map_err(|why| ("390144", why))?;
    Ok(json!({"token": SESSION, "masterToken": "master-token"}))
}

fn query(state: &mut State, sql: &str) -> Result<Value, Refusal> {
    let created = |state: &mut State, rest: &str| {
        let (name, columns) = rest.split_once(" (").ok_or_else(|| unsupported(sql))?;
        let name = table_name(name, sql)?;
        if state.pipes.table(&name).is_none() {
            let columns = columns.strip_suffix(')').ok_or_else(|| unsupported(sql))?;
            let columns: Result<Vec<_>, _> = parts(columns)
                .iter()
                .map(|column| definition(column, sql))
                .collect();
            state.pipes.create_table(&name, columns?);
        }
        Ok(rows(&["status"], vec![json!(["done"])]))
    };
    if let Some(rest) = sql.strip_prefix("CREATE TABLE IF NOT EXISTS ") {
        return created(state, rest);
    }
    if let Some(rest) = sql.strip_prefix("ALTER TABLE ") {
        let added = rest.split_once(" ADD COLUMN IF NOT EXISTS ");
        let (name, column) = added.ok_or_else(|| unsupported(sql))?;
        let column = definition(column, sql)?;
        let table = state.pipes.table(&table_name(name, sql)?);
        table.ok_or_else(|| missing(name))?.columns.push(column);
        return Ok(rows(&["status"], vec![json!(["done"])]));
    }
    if let Some(name) = sql.strip_prefix("DESCRIBE TABLE ") {
        let table = state.pipes.table(&table_name(name, sql)?);
        let columns = table.ok_or_else(|| missing(name))?.columns.iter();
        let cells = columns.map(|column| {
            let nullable = if column.nullable { "Y" } else { "N" };
            json!([column.name, column.sql_type, nullable])
        });
        return Ok(rows(&["name", "type", "null?"], cells.collect()));
    }
    Err(unsupported(sql))
}

fn rows(names: &[&str], rows: Vec<Value>) -> Value {
    let names: Vec<_> = names.iter().map(|name| json!({ "name": name })).collect();
    json!({"rowtype": names, "rowset": rows})
}

fn unsupported(sql: &str) -> Refusal {
    ("001003", format!("this server does not know: {sql}"))
}

fn missing(name: &str) -> Refusal {
    (
        "002003",
        format!("Object {name} does not exist or not authorized."),
    )
}

/// The name of `"KAPPA"."PUBLIC"."NAME"`.
fn table_name(text: &str, sql: &str) -> Result<String, Refusal> {
    let name = text.strip_prefix("\"KAPPA\".\"PUBLIC\".\"");
    let name = name.and_then(|name| name.strip_suffix('"'));
    name.map(str::to_owned).ok_or_else(|| unsupported(sql))
}

/// What stands between commas that are in no brackets.
fn parts(text: &str) -> Vec<String> {
    let (mut parts, mut depth) = (vec![String::new()], 0);
    for c in text.chars() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(part) = parts.last_mut() {
            part.push(c);
        }
    }
    parts
}

/// `"NAME" TYPE`, with the types as DESCRIBE has them.
fn definition(text: &str, sql: &str) -> Result<Column, Refusal> {
    let text = text
        .trim()
        .strip_prefix('"')
        .ok_or_else(|| unsupported(sql))?;
    let (name, sql_type) = text.split_once("\" ").ok_or_else(|| unsupported(sql))?;
    let sql_type = match sql_type {
        "INTEGER" => "NUMBER(38,0)",
        "VARCHAR" => "VARCHAR(16777216)",
        "BINARY" => "BINARY(8388608)",
        other => other,
    };
    Ok(Column {
        name: name.to_owned(),
        sql_type: sql_type.to_owned(),
        nullable: true,
    })
}
