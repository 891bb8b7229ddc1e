//! EXPLAIN of a statement, and of a running query with what its operators have done.

use kappa_sql::ast::{ExplainTarget, Statement};
use kappa_sql::planner::{Target, plan_pull, plan_query};

use super::fail;
use super::listing::lines;
use super::query_control::unknown;
use crate::error::Result;
use crate::plan::{self, StatePlace};
use crate::pull;
use crate::response::Response;
use crate::session::Session;
use crate::state::StateLayout;

pub(super) async fn run(
    session: &Session,
    analyze: bool,
    target: &ExplainTarget,
) -> Result<Response> {
    let engine = &session.engine;
    let parsed = match target {
        ExplainTarget::Query(name) => {
            let queries = engine.inner.queries.lock().await;
            let Some((id, handle)) = queries
                .iter()
                .find(|(id, _)| id.eq_ignore_ascii_case(&name.value))
            else {
                return Err(unknown(name, queries.keys()));
            };
            let info = handle.status.info(id, "", &handle.spec.id);
            let plan = handle
                .explain()
                .await
                .unwrap_or_else(|| "not running".into());
            let text = format!(
                "query {id}: {}, epoch {}, {} rows in, {} rows out, steps p50 {} µs, p99 {} µs\n{plan}",
                info.state.name(),
                info.epoch,
                info.rows_in,
                info.rows_out,
                info.step_us[0],
                info.step_us[1],
            );
            return lines("plan", &text);
        }
        ExplainTarget::Statement(parsed) => parsed,
    };
    let catalog = engine.catalog();
    let (query, target) = match &parsed.statement {
        Statement::Pull(query) => {
            let plan = plan_pull(&catalog, query).map_err(fail)?;
            return lines("plan", &pull::explain(engine, &plan, analyze).await?);
        }
        Statement::Push(query) => (query, Target::Push),
        Statement::CreateAs { query, kind, .. } => (query, Target::Create(*kind)),
        Statement::InsertSelect { query, .. } => (query, Target::Insert),
        _ => {
            return Err(fail(kappa_sql::Error::unsupported(
                "EXPLAIN is for queries: SELECT, CREATE … AS SELECT, INSERT INTO … SELECT",
            )));
        }
    };
    if analyze {
        return Err(fail(
            kappa_sql::Error::unsupported("EXPLAIN ANALYZE of a query that does not end")
                .hint("start it, and EXPLAIN ANALYZE its id: its operators count as they run"),
        ));
    }
    let plan = plan_query(&catalog, query, target).map_err(fail)?;
    let place = StatePlace {
        store: std::sync::Arc::clone(&engine.inner.store),
        first_table: u32::MAX / 2,
        layout: StateLayout::LATEST,
        transient: true,
    };
    let physical = plan::plan(&plan.plan, place).await?;
    let text = datafusion::physical_plan::displayable(physical.plan.as_ref())
        .indent(false)
        .to_string();
    lines("plan", &text)
}
