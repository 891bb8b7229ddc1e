//! CREATE STREAM|TABLE over a topic or a connector.

use kappa_sql::ast::{Parsed, Statement};
use kappa_sql::planner::{check_new, plan_source};
use kappa_storage::store::Durability;

use super::{fail, topic};
use crate::catalog::StoredRelation;
use crate::error::{Error, Result};
use crate::response::Response;
use crate::session::Session;

pub(super) async fn run(session: &Session, parsed: &Parsed) -> Result<Response> {
    let Statement::CreateSource {
        or_replace,
        source_only,
        kind,
        if_not_exists,
        name,
        ..
    } = &parsed.statement
    else {
        return Err(Error::Internal("not a CREATE".into()));
    };
    let inner = &session.engine.inner;
    let _ddl = inner.ddl.lock().await;
    let catalog = session.engine.catalog();
    if *if_not_exists && catalog.get(&name.value).is_some() {
        return Ok(Response::Done(format!(
            "Cannot add {} `{name}`: A {} with the same name already exists.",
            kind.word(),
            kind.word()
        )));
    }
    if !or_replace {
        check_new(&catalog, name, *kind).map_err(fail)?;
    }
    let there = catalog.get(&name.value);
    if *or_replace && (*source_only || there.is_some_and(|there| there.read_only)) {
        return Err(fail(
            kappa_sql::Error::invalid(format!(
                "Cannot add {} '{name}': CREATE OR REPLACE is not supported on source {}s.",
                kind.word(),
                kind.word()
            ))
            .at(name.span),
        ));
    }
    let defaults = session.properties.defaults();
    let mut new = plan_source(&parsed.statement, &parsed.text, &defaults).map_err(fail)?;
    let embedded = inner.config.bootstrap_servers.is_none();
    new.relation.partitions = match &mut new.relation.connector {
        None => topic::ensure(inner.topics.as_ref(), &new, name, embedded).await?,
        Some(connector) => {
            connector.set_created(inner.clock.now_ms());
            new.topic.partitions.unwrap_or(1)
        }
    };
    let stored = StoredRelation {
        relation: new.relation,
        view_table: None,
    };
    let mut commit = inner.store.begin();
    stored.write(&mut commit)?;
    inner.store.commit(commit, Durability::Sync)?;
    let done = format!("{} {} created", title(*kind), name.value);
    inner
        .catalog
        .write()
        .relations
        .insert(name.value.clone(), stored);
    Ok(Response::Done(done))
}

/// The kind's word at the start of a sentence.
pub(super) fn title(kind: kappa_sql::ast::Kind) -> &'static str {
    match kind {
        kappa_sql::ast::Kind::Stream => "Stream",
        kappa_sql::ast::Kind::Table => "Table",
    }
}
