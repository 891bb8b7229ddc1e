//! DROP STREAM|TABLE|TYPE.

use std::sync::Arc;

use kappa_sql::ast::{DropKind, Kind, Parsed, Statement};
use kappa_sql::catalog::Relation;
use kappa_storage::store::Durability;

use super::create_source::title;
use super::{fail, query_control};
use crate::catalog::StoredRelation;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::response::Response;
use crate::session::Session;
use crate::state::StateTable;
use crate::system::is_system;

pub(super) async fn run(session: &Session, parsed: &Parsed) -> Result<Response> {
    let Statement::Drop {
        kind,
        if_exists,
        name,
        delete_topic,
    } = &parsed.statement
    else {
        return Err(Error::Internal("not a DROP".into()));
    };
    let wanted = match kind {
        DropKind::Stream => Kind::Stream,
        DropKind::Table => Kind::Table,
        DropKind::Type => return super::types::drop(session, name, *if_exists).await,
        DropKind::Sink => return super::sink::drop(session, name, *if_exists).await,
    };
    let engine = &session.engine;
    let _ddl = engine.inner.ddl.lock().await;
    let catalog = engine.catalog();
    let Some(relation) = catalog.get(&name.value).cloned() else {
        if *if_exists {
            return Ok(Response::Done(format!("Source {name} does not exist.")));
        }
        return Err(fail(
            kappa_sql::Error::unknown(format!("Source {name} does not exist."))
                .at(name.span)
                .did_you_mean(&name.value, catalog.relations().map(|r| r.name.as_str())),
        ));
    };
    if relation.kind != wanted {
        return Err(fail(
            kappa_sql::Error::invalid(format!(
                "Incompatible data source type is {}, but statement was DROP {}",
                relation.kind.word().to_uppercase(),
                wanted.word().to_uppercase()
            ))
            .at(name.span),
        ));
    }
    if is_system(&relation.name) {
        return Err(fail(
            kappa_sql::Error::invalid(format!("{name} is Kappa's own and cannot be dropped"))
                .at(name.span),
        ));
    }
    if *delete_topic && relation.read_only {
        return Err(fail(
            kappa_sql::Error::invalid(format!("Cannot delete topic for read-only source: {name}"))
                .at(name.span),
        ));
    }
    if *delete_topic && let Some(connector) = &relation.connector {
        return Err(fail(
            kappa_sql::Error::invalid(format!(
                "{name} has no topic to delete: CONNECTOR = '{}' makes its rows",
                connector.name()
            ))
            .at(name.span)
            .hint("leave DELETE TOPIC out"),
        ));
    }
    check_unused(engine, &relation).map_err(|error| fail(error.at(name.span)))?;
    remove_relation(engine, &relation, *delete_topic).await?;
    Ok(Response::Done(format!("{} {name} dropped", title(wanted))))
}

/// Nothing may read the relation, and only the query that made it may write it.
fn check_unused(engine: &Engine, relation: &Relation) -> Result<(), kappa_sql::Error> {
    let catalog = engine.inner.catalog.read();
    let readers: Vec<&str> = catalog
        .queries
        .values()
        .filter(|query| query.sources.contains(&relation.name))
        .map(|query| query.id.as_str())
        .collect();
    let writers: Vec<&str> = catalog
        .queries
        .values()
        .filter(|query| query.sink == relation.name && !query.creates_sink)
        .map(|query| query.id.as_str())
        .collect();
    if let Some(sink) = catalog
        .sinks
        .values()
        .find(|sink| sink.sources.contains(&relation.name))
    {
        return Err(kappa_sql::Error::invalid(format!(
            "Cannot drop {}: the sink {} reads it",
            relation.name, sink.name
        ))
        .hint(format!("DROP SINK {} first", sink.name)));
    }
    if readers.is_empty() && writers.is_empty() {
        return Ok(());
    }
    Err(kappa_sql::Error::invalid(format!(
        "Cannot drop {}. The following queries read from this source: [{}]. The following queries \
         write into this source: [{}].",
        relation.name,
        readers.join(", "),
        writers.join(", ")
    ))
    .hint(format!(
        "You need to terminate them before dropping {}.",
        relation.name
    )))
}

/// Ends the query that keeps the relation, and removes the relation with its view.
pub(super) async fn remove_relation(
    engine: &Engine,
    relation: &Arc<Relation>,
    delete_topic: bool,
) -> Result<()> {
    let inner = &engine.inner;
    if let Some(query) = &relation.query {
        query_control::end_query(engine, query).await?;
    }
    let view = inner
        .catalog
        .read()
        .relations
        .get(&relation.name)
        .and_then(|stored| stored.view_table);
    let mut commit = inner.store.begin();
    if let Some(table) = view {
        StateTable::delete(table, &mut commit);
    }
    StoredRelation::delete(&relation.name, &mut commit);
    inner.store.commit(commit, Durability::Sync)?;
    inner.catalog.write().relations.remove(&relation.name);
    if delete_topic {
        inner.topics.delete(&relation.topic).await?;
    }
    Ok(())
}
