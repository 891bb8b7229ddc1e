//! SHOW and LIST.

use kappa_sql::ast::{Kind, ShowKind};
use kappa_sql::functions::Functions;

use super::listing::{Cells, rows};
use crate::error::Result;
use crate::property::PROPERTIES;
use crate::response::Response;
use crate::session::Session;
use crate::system::is_system;

pub(super) async fn run(session: &Session, kind: ShowKind, extended: bool) -> Result<Response> {
    match kind {
        ShowKind::Streams => relations(session, Kind::Stream, extended),
        ShowKind::Tables => relations(session, Kind::Table, extended),
        ShowKind::Queries => queries(session),
        ShowKind::Topics { all } => topics(session, all).await,
        ShowKind::Functions => functions(),
        ShowKind::Properties => properties(session),
        ShowKind::Sinks => super::sink::show(session).await,
        ShowKind::Types => {
            let types = session.engine.inner.catalog.read().types.clone();
            rows(vec![
                ("name", Cells::Text(types.keys().cloned().collect())),
                (
                    "type",
                    Cells::Text(types.values().map(ToString::to_string).collect()),
                ),
            ])
        }
        ShowKind::Variables => {
            let mut variables: Vec<_> = session.variables.iter().collect();
            variables.sort();
            rows(vec![
                (
                    "name",
                    Cells::Text(variables.iter().map(|(name, _)| (*name).clone()).collect()),
                ),
                (
                    "value",
                    Cells::Text(variables.iter().map(|(_, v)| (*v).clone()).collect()),
                ),
            ])
        }
    }
}

fn relations(session: &Session, kind: Kind, extended: bool) -> Result<Response> {
    let catalog = session.engine.catalog();
    let found: Vec<_> = catalog
        .relations()
        .filter(|relation| relation.kind == kind)
        .collect();
    let text = |of: &dyn Fn(&kappa_sql::catalog::Relation) -> String| {
        Cells::Text(found.iter().map(|relation| of(relation)).collect())
    };
    let mut columns = vec![
        ("name", text(&|r| r.name.clone())),
        ("topic", text(&|r| r.topic.clone())),
        (
            "key_format",
            text(&|r| r.key_format.format.name().to_owned()),
        ),
        (
            "value_format",
            text(&|r| r.value_format.format.name().to_owned()),
        ),
        ("windowed", text(&|r| r.window.is_some().to_string())),
    ];
    if extended {
        columns.push((
            "partitions",
            Cells::Number(
                found
                    .iter()
                    .map(|relation| i64::from(relation.partitions))
                    .collect(),
            ),
        ));
        columns.push(("query", text(&|r| r.query.clone().unwrap_or_default())));
        columns.push(("statement", text(&|r| r.statement.clone())));
    }
    rows(columns)
}

fn queries(session: &Session) -> Result<Response> {
    let mut infos = session.engine.queries();
    infos.retain(|info| !info.id.starts_with(super::sink::FEED));
    let text =
        |of: &dyn Fn(&crate::QueryInfo) -> String| Cells::Text(infos.iter().map(of).collect());
    let number = |of: &dyn Fn(&crate::QueryInfo) -> u64| {
        Cells::Number(
            infos
                .iter()
                .map(|info| i64::try_from(of(info)).unwrap_or(i64::MAX))
                .collect(),
        )
    };
    rows(vec![
        ("id", text(&|i| i.id.clone())),
        ("state", text(&|i| i.state.name().to_owned())),
        ("sink", text(&|i| i.sink.clone())),
        ("rows_in", number(&|i| i.rows_in)),
        ("rows_out", number(&|i| i.rows_out)),
        ("bad_records", number(&|i| i.bad)),
        ("late_rows", number(&|i| i.late)),
        ("lag", number(&|i| i.lag)),
        ("error", text(&|i| i.error.clone().unwrap_or_default())),
        (
            "statement",
            text(&|i| i.statement.split_whitespace().collect::<Vec<_>>().join(" ")),
        ),
    ])
}

async fn topics(session: &Session, all: bool) -> Result<Response> {
    let mut topics = session.engine.inner.topics.list().await?;
    topics.retain(|topic| all || !is_system(&topic.name));
    rows(vec![
        (
            "name",
            Cells::Text(topics.iter().map(|topic| topic.name.clone()).collect()),
        ),
        (
            "partitions",
            Cells::Number(topics.iter().map(|t| i64::from(t.partitions)).collect()),
        ),
        (
            "replicas",
            Cells::Number(topics.iter().map(|t| i64::from(t.replicas)).collect()),
        ),
    ])
}

fn functions() -> Result<Response> {
    let list = Functions::all().list();
    rows(vec![
        (
            "name",
            Cells::Text(list.iter().map(|(name, _)| name.clone()).collect()),
        ),
        (
            "kind",
            Cells::Text(
                list.iter()
                    .map(|(_, kind)| kind.name().to_owned())
                    .collect(),
            ),
        ),
    ])
}

fn properties(session: &Session) -> Result<Response> {
    let text =
        |of: &dyn Fn(&crate::Property) -> String| Cells::Text(PROPERTIES.iter().map(of).collect());
    rows(vec![
        ("name", text(&|p| p.name.to_owned())),
        (
            "value",
            text(&|p| session.properties.get(p.name).to_owned()),
        ),
        (
            "set",
            text(&|p| {
                (if session.properties.is_set(p.name) {
                    "SESSION"
                } else {
                    ""
                })
                .to_owned()
            }),
        ),
        ("default", text(&|p| p.default.to_owned())),
        ("help", text(&|p| p.help.to_owned())),
    ])
}
