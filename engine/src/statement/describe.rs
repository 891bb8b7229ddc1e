//! DESCRIBE.

use kappa_sql::ast::Name;
use kappa_sql::catalog::{KeyWindow, Relation, Role};
use kappa_sql::functions::Functions;

use super::fail;
use super::listing::{Cells, rows};
use crate::error::Result;
use crate::query::input::ENDLESS;
use crate::response::Response;
use crate::session::Session;

pub(super) async fn run(session: &Session, name: &Name, extended: bool) -> Result<Response> {
    let catalog = session.engine.catalog();
    let Some(relation) = catalog.get(&name.value) else {
        let infos = session.engine.queries();
        if let Some(info) = infos.iter().find(|info| info.id == name.value) {
            return query(info);
        }
        if let Some(sink) = super::sink::describe(session, name).await? {
            return Ok(sink);
        }
        let names = catalog.relations().map(|r| r.name.as_str());
        return Err(fail(
            kappa_sql::Error::unknown(format!("{name} does not exist"))
                .at(name.span)
                .did_you_mean(&name.value, names),
        ));
    };
    let mut cells: [Vec<String>; 3] = Default::default();
    for column in relation.star_columns() {
        cells[0].push(column.name.clone());
        cells[1].push(column.data_type.to_string());
        cells[2].push(match (&column.role, relation.kind) {
            (Role::Key, kappa_sql::ast::Kind::Table) => "PRIMARY KEY".into(),
            (Role::Key, kappa_sql::ast::Kind::Stream) => "KEY".into(),
            (Role::Value, _) => String::new(),
            (Role::Headers, _) => "HEADERS".into(),
            (Role::Header(name), _) => format!("HEADER('{name}')"),
        });
    }
    if extended {
        for (what, value) in details(session, relation).await? {
            cells[0].push(format!("({what})"));
            cells[1].push(value);
            cells[2].push(String::new());
        }
    }
    let [names, types, keys] = cells;
    rows(vec![
        ("column", Cells::Text(names)),
        ("type", Cells::Text(types)),
        ("key", Cells::Text(keys)),
    ])
}

async fn details(session: &Session, relation: &Relation) -> Result<Vec<(&'static str, String)>> {
    let engine = &session.engine;
    let mut details = vec![("kind", relation.kind.word().to_owned())];
    match &relation.connector {
        Some(connector) => {
            details.push(("connector", relation.topic.clone()));
            details.push(("makes", connector.to_string()));
        }
        None => {
            let (key, value) = (relation.key_format.format, relation.value_format.format);
            details.push(("topic", relation.topic.clone()));
            details.push(("key format", key.name().to_owned()));
            details.push(("value format", value.name().to_owned()));
        }
    }
    if let Some(window) = relation.window {
        details.push((
            "window",
            match window {
                KeyWindow::Time {
                    size_ms,
                    hopping: false,
                } => format!("TUMBLING {size_ms} ms"),
                KeyWindow::Time {
                    size_ms,
                    hopping: true,
                } => format!("HOPPING {size_ms} ms"),
                KeyWindow::Session => "SESSION".into(),
            },
        ));
    }
    match engine.inputs().offsets(relation).await {
        Ok(offsets) if relation.connector.is_some() => {
            details.push(("partitions", offsets.len().to_string()));
            let rows = match offsets.iter().any(|range| range.end == ENDLESS) {
                true => "no end of them".to_owned(),
                false => offsets
                    .iter()
                    .map(|range| range.end)
                    .sum::<i64>()
                    .to_string(),
            };
            details.push(("rows there now", rows));
        }
        Ok(offsets) => {
            details.push(("partitions", offsets.len().to_string()));
            let records: i64 = offsets.iter().map(|range| range.end - range.start).sum();
            details.push(("records in the topic", records.to_string()));
        }
        Err(error) => details.push(("topic's state", error.to_string())),
    }
    let catalog = engine.inner.catalog.read();
    for query in catalog.queries.values() {
        if query.sink == relation.name {
            details.push(("written by", query.id.clone()));
        }
        if query.sources.contains(&relation.name) {
            details.push(("read by", query.id.clone()));
        }
    }
    if let Some(query) = &relation.query
        && let Some(info) = engine.queries().into_iter().find(|info| info.id == *query)
    {
        details.push(("query's state", info.state.name().to_owned()));
        if let Some(error) = info.error {
            details.push(("query's error", error));
        }
    }
    details.push(("statement", relation.statement.clone()));
    Ok(details)
}

fn query(info: &crate::QueryInfo) -> Result<Response> {
    let lines = [
        ("id", info.id.clone()),
        ("state", info.state.name().to_owned()),
        ("error", info.error.clone().unwrap_or_default()),
        ("writes", info.sink.clone()),
        ("records read", info.rows_in.to_string()),
        ("rows written", info.rows_out.to_string()),
        ("bad records", info.bad.to_string()),
        ("late rows", info.late.to_string()),
        ("records to read", info.lag.to_string()),
        ("state in memory, bytes", info.memory.to_string()),
        ("epoch", info.epoch.to_string()),
        ("statement", info.statement.clone()),
    ];
    rows(vec![
        (
            "what",
            Cells::Text(lines.iter().map(|(what, _)| (*what).to_owned()).collect()),
        ),
        (
            "value",
            Cells::Text(lines.iter().map(|(_, value)| value.clone()).collect()),
        ),
    ])
}

/// DESCRIBE FUNCTION.
pub(super) fn function(name: &Name) -> Result<Response> {
    let functions = Functions::all();
    let list = functions.list();
    let Some((found, kind)) = list
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(&name.value))
    else {
        return Err(fail(
            kappa_sql::Error::unknown(format!("function {name} does not exist"))
                .at(name.span)
                .did_you_mean(&name.value, list.iter().map(|(known, _)| known.as_str())),
        ));
    };
    let documentation = functions
        .scalar(found)
        .and_then(|function| {
            function
                .documentation()
                .map(|d| (d.syntax_example.clone(), d.description.clone()))
        })
        .or_else(|| {
            functions.aggregate(found).and_then(|function| {
                function
                    .documentation()
                    .map(|d| (d.syntax_example.clone(), d.description.clone()))
            })
        });
    let (syntax, description) = documentation.unwrap_or_default();
    rows(vec![
        ("name", Cells::Text(vec![found.clone()])),
        ("kind", Cells::Text(vec![kind.name().to_owned()])),
        ("syntax", Cells::Text(vec![syntax])),
        ("description", Cells::Text(vec![description])),
    ])
}
