//! TERMINATE, PAUSE and RESUME.

use kappa_sql::ast::{Name, QuerySelector};
use kappa_storage::store::Durability;

use super::fail;
use crate::catalog::StoredQuery;
use crate::engine::Engine;
use crate::error::Result;
use crate::meta_entry::MetaEntry;
use crate::query::progress::Progress;
use crate::response::Response;
use crate::session::Session;
use crate::state::StateTable;

pub(super) async fn terminate(session: &Session, which: &QuerySelector) -> Result<Response> {
    let _ddl = session.engine.inner.ddl.lock().await;
    let ids = select(session, which)?;
    for id in &ids {
        end_query(&session.engine, id).await?;
    }
    Ok(Response::Done(format!("{} terminated", named(&ids))))
}

/// Ends a query for good. What it wrote stays: its relation, its view's rows and its topic.
pub(super) async fn end_query(engine: &Engine, id: &str) -> Result<()> {
    let inner = &engine.inner;
    let handle = inner.queries.lock().await.remove(id);
    if let Some(handle) = handle {
        handle.stop().await;
    }
    inner.infos.write().remove(id);
    let Some(query) = inner.catalog.read().queries.get(id).cloned() else {
        return Ok(());
    };
    let view = inner
        .catalog
        .read()
        .relations
        .get(&query.sink)
        .and_then(|stored| stored.view_table);
    let mut commit = inner.store.begin();
    for table in query.first_table..query.first_table + query.tables {
        if Some(table) != view {
            StateTable::delete(table, &mut commit);
        }
    }
    commit.delete_outbox(query.outbox());
    StoredQuery::delete(id, &mut commit);
    Progress::delete(id, &mut commit);
    inner.store.commit(commit, Durability::Sync)?;
    inner.catalog.write().queries.remove(id);
    Ok(())
}

pub(super) async fn pause(
    session: &Session,
    which: &QuerySelector,
    pause: bool,
) -> Result<Response> {
    let inner = &session.engine.inner;
    let _ddl = inner.ddl.lock().await;
    let ids = select(session, which)?;
    for id in &ids {
        let Some(mut query) = inner.catalog.read().queries.get(id).cloned() else {
            continue;
        };
        query.paused = pause;
        let mut commit = inner.store.begin();
        query.write(&mut commit)?;
        inner.store.commit(commit, Durability::Sync)?;
        inner.catalog.write().queries.insert(id.clone(), query);
        if let Some(handle) = inner.queries.lock().await.get(id) {
            match pause {
                true => handle.pause().await,
                false => handle.resume().await,
            }
        }
    }
    Ok(Response::Done(format!(
        "{} {}",
        named(&ids),
        if pause { "paused" } else { "resumed" }
    )))
}

fn named(ids: &[String]) -> String {
    match ids {
        [] => "no query".into(),
        [one] => format!("query {one}"),
        several => format!("queries {}", several.join(", ")),
    }
}

fn select(session: &Session, which: &QuerySelector) -> Result<Vec<String>> {
    let catalog = session.engine.inner.catalog.read();
    match which {
        QuerySelector::All => Ok(catalog.queries.keys().cloned().collect()),
        QuerySelector::Sink(name) => Err(fail(
            kappa_sql::Error::unknown(format!("there is no sink {name}")).at(name.span),
        )),
        QuerySelector::Id(name) => {
            let found = catalog
                .queries
                .keys()
                .find(|id| id.eq_ignore_ascii_case(&name.value));
            match found {
                Some(id) => Ok(vec![id.clone()]),
                None => Err(unknown(name, catalog.queries.keys())),
            }
        }
    }
}

pub(super) fn unknown<'a>(
    name: &Name,
    known: impl Iterator<Item = &'a String>,
) -> crate::error::Error {
    fail(
        kappa_sql::Error::unknown(format!("there is no query {name}"))
            .at(name.span)
            .did_you_mean(&name.value, known.map(String::as_str)),
    )
}
