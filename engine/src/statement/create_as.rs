//! CREATE STREAM|TABLE … AS SELECT and INSERT INTO … SELECT: persistent queries.

use std::sync::Arc;

use kappa_sql::ast::{Name, Parsed, Query, Statement};
use kappa_sql::catalog::{Catalog, KeyWindow, Kind, Relation};
use kappa_sql::node::AggregateNode;
use kappa_sql::planner::{
    ContinuousPlan, NewRelation, Target, check_new, check_writable, plan_query, sink_relation,
};
use kappa_storage::store::Durability;

use super::create_source::title;
use super::{fail, topic};
use crate::catalog::{StoredQuery, StoredRelation};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::plan::{self, StatePlace};
use crate::property::Properties;
use crate::query::runner::Limits;
use crate::query::source::Start;
use crate::query::task::{Destination, QueryHandle, QuerySpec};
use crate::response::Response;
use crate::session::Session;
use crate::state::StateLayout;

pub(super) async fn run(session: &Session, parsed: &Parsed) -> Result<Response> {
    let Statement::CreateAs {
        or_replace,
        kind,
        if_not_exists,
        name,
        with,
        query,
    } = &parsed.statement
    else {
        return Err(Error::Internal("not a CREATE … AS".into()));
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
    let replaced = catalog.get(&name.value).filter(|_| *or_replace).cloned();
    if replaced.is_none() {
        check_new(&catalog, name, *kind).map_err(fail)?;
    }
    let plan = plan_query(&catalog, query, Target::Create(*kind)).map_err(fail)?;
    let defaults = session.properties.defaults();
    let new = sink_relation(name, with, &plan, &parsed.text, &defaults).map_err(fail)?;
    check_not_read(&plan, &new.relation, name)?;
    let prefix = match kind {
        Kind::Stream => "CSAS",
        Kind::Table => "CTAS",
    };
    if let Some(replaced) = replaced {
        super::drop::remove_relation(&session.engine, &replaced, false).await?;
    }
    let id = start(session, parsed, plan, new, name, prefix).await?;
    Ok(Response::Done(format!(
        "{} {name} created, kept by query {id}",
        title(*kind)
    )))
}

pub(super) async fn run_insert(session: &Session, parsed: &Parsed) -> Result<Response> {
    let Statement::InsertSelect {
        target,
        query,
        with,
    } = &parsed.statement
    else {
        return Err(Error::Internal("not an INSERT INTO … SELECT".into()));
    };
    let inner = &session.engine.inner;
    let _ddl = inner.ddl.lock().await;
    let catalog = session.engine.catalog();
    if let Some(error) = with.unknown(&["QUERY_ID"]) {
        return Err(fail(error));
    }
    let relation = insert_target(&catalog, target)?;
    let plan = plan_insert(&catalog, query, &relation, target)?;
    let new = NewRelation {
        relation: relation.as_ref().clone(),
        topic: Default::default(),
    };
    check_not_read(&plan, &new.relation, target)?;
    let id = start(session, parsed, plan, new, target, "INSERTQUERY").await?;
    Ok(Response::Done(format!("query {id} inserts into {target}")))
}

fn insert_target(catalog: &Catalog, target: &Name) -> Result<Arc<Relation>> {
    let Some(relation) = catalog.get(&target.value) else {
        return Err(fail(
            kappa_sql::Error::unknown(format!("{target} does not exist"))
                .at(target.span)
                .did_you_mean(&target.value, catalog.relations().map(|r| r.name.as_str())),
        ));
    };
    if relation.kind == Kind::Table {
        return Err(fail(
            kappa_sql::Error::invalid(format!(
                "INSERT INTO can only be used to insert into a stream. {target} is a table."
            ))
            .at(target.span),
        ));
    }
    check_writable(relation, target).map_err(fail)?;
    if relation.read_only {
        return Err(fail(
            kappa_sql::Error::invalid(format!("Cannot insert into read-only stream: {target}"))
                .at(target.span),
        ));
    }
    Ok(Arc::clone(relation))
}

fn plan_insert(
    catalog: &Catalog,
    query: &Query,
    relation: &Relation,
    target: &Name,
) -> Result<ContinuousPlan> {
    let plan = plan_query(catalog, query, Target::Insert).map_err(fail)?;
    plan.into_columns_of(relation)
        .map_err(|error| fail(error.or_at(target.span)))
}

fn check_not_read(plan: &ContinuousPlan, sink: &Relation, name: &Name) -> Result<()> {
    match plan
        .sources
        .iter()
        .find(|source| source.topic == sink.topic)
    {
        Some(source) => Err(fail(
            kappa_sql::Error::invalid(format!(
                "the query would write to the topic '{}', which it reads as {}",
                sink.topic, source.name
            ))
            .at(name.span)
            .hint("give another KAFKA_TOPIC"),
        )),
        None => Ok(()),
    }
}

/// Registers the query and what it writes, and starts it.
async fn start(
    session: &Session,
    parsed: &Parsed,
    plan: ContinuousPlan,
    mut new: NewRelation,
    name: &Name,
    prefix: &str,
) -> Result<String> {
    let engine = &session.engine;
    let inner = &engine.inner;
    let creates_sink = prefix != "INSERTQUERY";
    let mut counters = inner.catalog.read().counters;
    let id = match creates_sink {
        true => format!("{prefix}_{}_{}", new.relation.name, counters.query),
        false => format!("{prefix}_{}", counters.query),
    };
    let first_table = counters.table;
    let has_view = creates_sink && plan.kind == Kind::Table;
    // Planned once here, so that what cannot run is refused now, and to count its state tables.
    let place = StatePlace {
        store: Arc::clone(&inner.store),
        first_table: first_table + u32::from(has_view),
        layout: StateLayout::LATEST,
        transient: true,
    };
    let physical = plan::plan(&plan.plan, place).await.map_err(|error| {
        let error = Error::from(error);
        match error {
            Error::User(message) => fail(kappa_sql::Error::unsupported(message).at(name.span)),
            other => other,
        }
    })?;
    let tables = physical.tables + u32::from(has_view);
    drop(physical);
    counters.query += 1;
    // One number more for the outbox.
    counters.table += tables + 1;
    if creates_sink {
        new.relation.query = Some(id.clone());
        new.relation.partitions = topic::ensure(inner.topics.as_ref(), &new, name, true).await?;
    }
    let query = StoredQuery {
        id: id.clone(),
        statement: parsed.text.clone(),
        sink: new.relation.name.clone(),
        sources: plan
            .sources
            .iter()
            .map(|source| source.name.clone())
            .collect(),
        creates_sink,
        first_table,
        tables,
        layout: StateLayout::LATEST,
        properties: session.properties.clone(),
        paused: false,
    };
    let relation = StoredRelation {
        relation: new.relation,
        view_table: has_view.then_some(first_table),
    };
    let mut commit = inner.store.begin();
    query.write(&mut commit)?;
    counters.write(&mut commit)?;
    if creates_sink {
        relation.write(&mut commit)?;
    }
    inner.store.commit(commit, Durability::Sync)?;
    let sink = Arc::new(relation.relation.clone());
    {
        let mut catalog = inner.catalog.write();
        catalog.counters = counters;
        catalog.queries.insert(id.clone(), query.clone());
        if creates_sink {
            catalog.relations.insert(sink.name.clone(), relation);
        }
    }
    run_query(engine, &query, plan, sink).await;
    Ok(id)
}

/// Starts a query of the catalog again, where its last commit left it.
pub(crate) async fn restart(engine: &Engine, query: &StoredQuery) -> Result<()> {
    let inner = &engine.inner;
    let types = inner.catalog.read().types.clone();
    let script = kappa_sql::parser::parse_with(&query.statement, &types)
        .map_err(|error| Error::statement(error, &query.statement))?;
    let mut catalog = engine.catalog();
    let Some(sink) = catalog.get(&query.sink).cloned() else {
        return Err(Error::Internal(format!(
            "query {} has lost {}",
            query.id, query.sink
        )));
    };
    let plan = match script.0.into_iter().next().map(|parsed| parsed.statement) {
        Some(Statement::CreateAs {
            kind,
            query: select,
            ..
        }) => {
            catalog.remove(&query.sink);
            plan_query(&catalog, &select, Target::Create(kind))
                .map_err(|error| Error::statement(error, &query.statement))?
        }
        Some(Statement::InsertSelect {
            query: select,
            target,
            ..
        }) => plan_insert(&catalog, &select, &sink, &target)?,
        _ => return Err(Error::Internal(format!("query {} has no query", query.id))),
    };
    run_query(engine, query, plan, sink).await;
    Ok(())
}

async fn run_query(
    engine: &Engine,
    query: &StoredQuery,
    plan: ContinuousPlan,
    sink: Arc<Relation>,
) {
    let has_view = query.creates_sink && plan.kind == Kind::Table;
    let spec = QuerySpec {
        id: query.id.clone(),
        destination: Destination::Relation {
            relation: Arc::clone(&sink),
            has_view,
            retention_ms: window_retention(&plan),
        },
        plan,
        first_table: query.first_table,
        layout: query.layout,
        outbox: query.outbox(),
        limits: limits(&query.properties),
        start: start_at(&query.properties),
    };
    let handle = QueryHandle::start(spec, engine.shared(), query.paused);
    engine.inner.infos.write().insert(
        query.id.clone(),
        (
            sink.name.clone(),
            query.statement.clone(),
            Arc::clone(&handle.status),
        ),
    );
    engine
        .inner
        .queries
        .lock()
        .await
        .insert(query.id.clone(), handle);
}

/// The limits that properties set.
pub(crate) fn limits(properties: &Properties) -> Limits {
    let number = |name: &str| usize::try_from(properties.int(name)).unwrap_or(1);
    Limits {
        step_rows_max: number("step.max.rows"),
        commit_interval_ms: properties.int("commit.interval.ms"),
        memory_max: number("state.memory.mb") << 20,
        exactly_once: properties.get("processing.guarantee") != "at_least_once",
        workers: number("query.workers"),
    }
}

/// Where properties have new queries start.
pub(crate) fn start_at(properties: &Properties) -> Start {
    match properties.get("auto.offset.reset") {
        "latest" => Start::Latest,
        _ => Start::Earliest,
    }
}

/// How long the windows of a plan's result are kept, unless it is for good.
fn window_retention(plan: &ContinuousPlan) -> Option<i64> {
    use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
    use datafusion::logical_expr::LogicalPlan;
    let mut retention = None;
    // The closure never fails.
    let _ = plan.plan.apply(|node| {
        if let LogicalPlan::Extension(extension) = node
            && let Some(aggregate) = extension.node.as_any().downcast_ref::<AggregateNode>()
        {
            retention = aggregate.window.and_then(|window| window.retention_ms());
        }
        Ok(TreeNodeRecursion::Continue)
    });
    match plan.window {
        Some(KeyWindow::Time { .. } | KeyWindow::Session) => retention,
        None => None,
    }
}
