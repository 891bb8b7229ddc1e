//! Ad hoc queries: any SQL that DataFusion runs, over views, tables and streams as they are now.
//!
//! A view is read from its state table at one snapshot that all views of the query share, by key
//! where the query says which ([`lookup`]); anything else is read from its topic, from its start to
//! its present end, or made by its generator.

mod generated_scan;
mod lookup;
mod point;
mod topic_scan;
mod view_scan;

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::Result as DfResult;
use datafusion::execution::SessionState;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{LogicalPlan, TableScan, UserDefinedLogicalNode};
use datafusion::physical_plan::{ExecutionPlan, displayable, execute_stream};
use datafusion::physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner};
use futures::StreamExt;
use kappa_sql::ast::PullQuery;
use kappa_sql::planner::RelationSource;
use kappa_storage::store::Snapshot;

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::plan::session_state;
use crate::response::Rows;
use crate::view::ViewLayout;

pub(crate) use point::Layouts;

/// Answers an ad hoc query that needs no plan.
pub(crate) fn answer(engine: &Engine, query: &PullQuery) -> Result<Option<Rows>> {
    point::answer(engine, query)
}

/// Runs an ad hoc query.
pub(crate) async fn run(engine: &Engine, plan: &LogicalPlan) -> Result<Rows> {
    let (physical, state) = physical(engine, plan).await?;
    let schema = physical.schema();
    let stream = execute_stream(physical, state.task_ctx())?;
    Ok(Rows::new(
        schema,
        stream.map(|batch| batch.map_err(Error::from)),
    ))
}

/// The physical plan as text; with `analyze`, after it has run, with what its operators did.
pub(crate) async fn explain(engine: &Engine, plan: &LogicalPlan, analyze: bool) -> Result<String> {
    let (physical, state) = physical(engine, plan).await?;
    if !analyze {
        return Ok(displayable(physical.as_ref()).indent(false).to_string());
    }
    datafusion::physical_plan::collect(Arc::clone(&physical), state.task_ctx()).await?;
    use datafusion::physical_plan::display::DisplayableExecutionPlan;
    Ok(DisplayableExecutionPlan::with_metrics(physical.as_ref())
        .indent(false)
        .to_string())
}

async fn physical(
    engine: &Engine,
    plan: &LogicalPlan,
) -> Result<(Arc<dyn ExecutionPlan>, SessionState)> {
    let mut state = session_state();
    // What NOW() says.
    state.mark_start_execution();
    let optimized = state.optimize(plan)?;
    let planner = PullPlanner {
        engine: engine.clone(),
        snapshot: engine.inner.store.snapshot(),
    };
    let physical = DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(planner)])
        .create_physical_plan(&optimized, &state)
        .await?;
    Ok((physical, state))
}

#[derive(Debug)]
struct PullPlanner {
    engine: Engine,
    snapshot: Snapshot,
}

#[async_trait]
impl ExtensionPlanner for PullPlanner {
    async fn plan_extension(
        &self,
        _planner: &dyn PhysicalPlanner,
        _node: &dyn UserDefinedLogicalNode,
        _logical_inputs: &[&LogicalPlan],
        _physical_inputs: &[Arc<dyn ExecutionPlan>],
        _session: &dyn Session,
        _context: &PhysicalPlanningContext,
    ) -> DfResult<Option<Arc<dyn ExecutionPlan>>> {
        Ok(None)
    }

    async fn plan_table_scan(
        &self,
        _planner: &dyn PhysicalPlanner,
        scan: &TableScan,
        _session: &dyn Session,
        _context: &PhysicalPlanningContext,
    ) -> DfResult<Option<Arc<dyn ExecutionPlan>>> {
        let Some(source) = scan.source.downcast_ref::<RelationSource>() else {
            return Ok(None);
        };
        let relation = source.relation();
        let schema = Arc::clone(scan.projected_schema.inner());
        let external =
            |error: Error| datafusion::common::DataFusionError::External(Box::new(error));
        let view_table = self
            .engine
            .inner
            .catalog
            .read()
            .relations
            .get(&relation.name)
            .and_then(|stored| stored.view_table);
        if let Some(table) = view_table {
            let layout = ViewLayout::try_new(relation, table).map_err(external)?;
            let lookup = lookup::plan(relation, &layout, &scan.filters).map_err(external)?;
            let exec = view_scan::ViewScanExec::try_new(
                Arc::clone(relation),
                layout,
                lookup,
                self.snapshot.clone(),
                schema,
            )
            .map_err(external)?;
            return Ok(Some(Arc::new(exec)));
        }
        let inputs = self.engine.inputs();
        if let Some(connector) = &relation.connector {
            let exec = generated_scan::GeneratedScanExec::try_new(
                Arc::clone(relation),
                connector,
                inputs,
                schema,
                scan.fetch,
            )
            .map_err(external)?;
            return Ok(Some(Arc::new(exec)));
        }
        let exec = topic_scan::TopicScanExec::new(Arc::clone(relation), inputs.topics, schema);
        Ok(Some(Arc::new(exec)))
    }
}
