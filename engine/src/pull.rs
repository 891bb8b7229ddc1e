//! Ad hoc queries: any SQL that DataFusion runs, over views, tables and streams as they are now.
//!
//! A view is read from its state table at one snapshot that all views of the query share, by key
//! where the query says which ([`lookup`], and without a plan [`point`]), all of it by several processors
//! where the order of its rows makes no difference; anything else is read from its topic, from its
//! start to its present end, or made by its generator.

mod generated_scan;
mod lookup;
mod point;
mod topic_scan;
mod view_scan;

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::Result as DfResult;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::execution::SessionState;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{
    Expr, ExprSchemable, LogicalPlan, TableScan, UserDefinedLogicalNode,
};
use datafusion::physical_plan::{ExecutionPlan, displayable, execute_stream};
use datafusion::physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner};
use futures::StreamExt;
use kappa_sql::ast::{PullQuery, Statement};
use kappa_sql::parser::Shape;
use kappa_sql::planner::RelationSource;
use kappa_storage::store::Snapshot;

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::plan::session_state;
use crate::response::Rows;
use crate::view::ViewLayout;

pub(crate) use point::Prepared;

/// Answers an ad hoc query that needs no plan.
pub(crate) fn answer(engine: &Engine, query: &PullQuery) -> Result<Option<Rows>> {
    point::answer(engine, query)
}

/// Answers a statement that [`answer`] would answer, without having parsed it: if one of its shape
/// was answered before.
pub(crate) fn answer_shape(engine: &Engine, shape: &Shape<'_>) -> Result<Option<Rows>> {
    point::answer_shape(engine, shape)
}

/// Remembers a statement's shape for [`answer_shape`].
pub(crate) fn learn(engine: &Engine, shape: &Shape<'_>, statement: &Statement) -> Result<()> {
    point::learn(engine, shape, statement)
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

/// How views are read by several processors.
#[derive(Clone, Copy, Debug)]
struct Partitioning {
    /// In how many partitions at most.
    partitions_max: usize,
    /// Least bytes of a view, on disk, that a partition is worth while for.
    partition_bytes_min: u64,
}

/// A hundred thousand rows or so take a few milliseconds.
const PARTITION_BYTES_MIN: u64 = 4 << 20;

async fn physical(
    engine: &Engine,
    plan: &LogicalPlan,
) -> Result<(Arc<dyn ExecutionPlan>, SessionState)> {
    let partitioning = Partitioning {
        partitions_max: std::thread::available_parallelism().map_or(1, usize::from),
        partition_bytes_min: PARTITION_BYTES_MIN,
    };
    physical_in(engine, plan, partitioning).await
}

async fn physical_in(
    engine: &Engine,
    plan: &LogicalPlan,
    partitioning: Partitioning,
) -> Result<(Arc<dyn ExecutionPlan>, SessionState)> {
    let mut state = session_state();
    // What NOW() says.
    state.mark_start_execution();
    let optimized = state.optimize(plan)?;
    let planner = PullPlanner {
        engine: engine.clone(),
        snapshot: engine.inner.store.snapshot(),
        partitioning: in_any_order(&optimized)?.then_some(partitioning),
    };
    let physical = DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(planner)])
        .create_physical_plan(&optimized, &state)
        .await?;
    Ok((physical, state))
}

/// Aggregates to which the order of rows makes no difference: but for a sum of DOUBLE, and averages,
/// which are made of one.
const IN_ANY_ORDER: [&str; 6] = ["bool_and", "bool_or", "count", "max", "min", "sum"];

/// Whether a query's rows may be read in any order: it gathers them by aggregates to which that makes
/// no difference. The rows of other queries come in the order of the view, time after time.
fn in_any_order(plan: &LogicalPlan) -> DfResult<bool> {
    let (mut gathers, mut ordered) = (false, false);
    plan.apply_with_subqueries(|node| {
        let LogicalPlan::Aggregate(aggregate) = node else {
            return Ok(TreeNodeRecursion::Continue);
        };
        gathers = true;
        for expr in &aggregate.aggr_expr {
            expr.apply(|expr| {
                if let Expr::AggregateFunction(call) = expr {
                    let name = call.func.name();
                    ordered |= !IN_ANY_ORDER.contains(&name);
                    if name == "sum" {
                        for of in &call.params.args {
                            ordered |= of.get_type(aggregate.input.schema())?.is_floating();
                        }
                    }
                }
                Ok(TreeNodeRecursion::Continue)
            })?;
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(gathers && !ordered)
}

#[derive(Debug)]
struct PullPlanner {
    engine: Engine,
    snapshot: Snapshot,
    /// `None`: a view is read from its start to its end.
    partitioning: Option<Partitioning>,
}

impl PullPlanner {
    /// In how many partitions a view is read.
    fn partitions(&self, table: u32) -> usize {
        let Some(partitioning) = self.partitioning else {
            return 1;
        };
        let bytes = self.engine.inner.store.bytes_of_table(table);
        let worth = bytes.checked_div(partitioning.partition_bytes_min);
        let worth = worth.and_then(|worth| usize::try_from(worth).ok());
        let most = partitioning.partitions_max.max(1);
        worth.unwrap_or(usize::MAX).clamp(1, most)
    }
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
                self.partitions(table),
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

#[cfg(test)]
mod tests;
