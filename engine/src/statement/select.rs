//! SELECT: push queries, and ad hoc ones.

use std::sync::Arc;

use kappa_sql::ast::{Parsed, PullQuery, Statement};
use kappa_sql::planner::{Target, plan_pull, plan_query};
use tokio::sync::{mpsc, oneshot};

use super::create_as::{limits, start_at};
use super::fail;
use crate::error::{Error, Result};
use crate::pull;
use crate::query::push::{QUEUE_BATCHES, schema};
use crate::query::status::Status;
use crate::query::task::{Destination, QuerySpec, run_push};
use crate::response::{Response, Subscription};
use crate::session::Session;
use crate::state::StateLayout;

/// State tables of push queries are never written; their ids only have to exist.
const TRANSIENT_TABLES: u32 = u32::MAX / 2;

pub(super) async fn push(session: &Session, parsed: &Parsed) -> Result<Response> {
    let Statement::Push(query) = &parsed.statement else {
        return Err(Error::Internal("not a push query".into()));
    };
    let plan = plan_query(&session.engine.catalog(), query, Target::Push).map_err(fail)?;
    let (sender, receiver) = mpsc::channel(QUEUE_BATCHES);
    let status = Arc::new(Status::default());
    let schema = schema(&plan);
    let spec = QuerySpec {
        id: "push".into(),
        plan,
        destination: Destination::Subscriber,
        first_table: TRANSIENT_TABLES,
        layout: StateLayout::LATEST,
        outbox: TRANSIENT_TABLES,
        limits: limits(&session.properties),
        start: start_at(&session.properties),
    };
    let lag = Arc::clone(&status);
    let (opened, open) = oneshot::channel();
    tokio::spawn(run_push(
        spec,
        session.engine.shared(),
        sender,
        status,
        opened,
    ));
    // What is written from now on is not missed. Nothing is ever sent: it is dropped.
    drop(open.await);
    Ok(Response::Push(Subscription {
        schema,
        receiver,
        status: lag,
    }))
}

pub(super) async fn pull(session: &Session, query: &PullQuery) -> Result<Response> {
    if let Some(rows) = pull::answer(&session.engine, query)? {
        return Ok(Response::Rows(rows));
    }
    let plan = plan_pull(&session.engine.catalog(), query).map_err(fail)?;
    let rows = pull::run(&session.engine, &plan).await?;
    Ok(Response::Rows(rows))
}
