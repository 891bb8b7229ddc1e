//! From a continuous query's logical plan to a physical one whose leaves are fed step by step and
//! whose stateful nodes hold state tables.

mod leaf;
mod source_node;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::{DFSchema, Result};
use datafusion::execution::SessionState;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, LogicalPlan, TableScan, UserDefinedLogicalNode};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::LoweredAggregateBuilder;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner};
use datafusion::prelude::SessionConfig;
use kappa_sql::node::{AggregateNode, ChangelogNode, Emit, StreamTableJoinNode, WindowSpec};
use kappa_sql::planner::RelationSource;
use kappa_storage::store::Store;
use parking_lot::Mutex;

pub(crate) use leaf::{Leaf, LeafExec};
pub(crate) use source_node::{partitioned_properties, source_node, source_properties};

use crate::operator::aggregate::{
    AggregateSpec, AggregateTables, GroupAggregate, SessionAggregate,
};
use crate::operator::changelog::Changelog;
use crate::operator::exec::OperatorExec;
use crate::operator::join::StreamTableJoin;
use crate::operator::keyed_rows::KeyedRows;
use crate::operator::windows::Hopping;
use crate::operator::{Operator, storage_error};
use crate::state::{StateLayout, StateTable};

/// A continuous query ready to run.
#[derive(Debug)]
pub(crate) struct StepPlan {
    pub(crate) plan: Arc<dyn ExecutionPlan>,
    pub(crate) leaves: Vec<Leaf>,
    pub(crate) operators: Vec<Arc<Mutex<dyn Operator>>>,
    /// How many state tables it took.
    pub(crate) tables: u32,
    /// The context its steps run in.
    pub(crate) state: Arc<SessionState>,
}

/// Where a query's state lives.
#[derive(Clone, Debug)]
pub(crate) struct StatePlace {
    pub(crate) store: Arc<Store>,
    /// The first of the query's table ids; they follow each other in plan order.
    pub(crate) first_table: u32,
    pub(crate) layout: StateLayout,
    /// Whether nothing of it is ever committed (push queries).
    pub(crate) transient: bool,
}

/// The session state that all of Kappa's plans are made in.
pub(crate) fn session_state() -> SessionState {
    // Its rules and its hundreds of functions are the same for all.
    static STATE: LazyLock<SessionState> = LazyLock::new(new_session_state);
    STATE.clone()
}

fn new_session_state() -> SessionState {
    let mut config = SessionConfig::new()
        .with_target_partitions(1)
        .with_round_robin_repartition(false)
        .with_information_schema(false);
    // Plans are small and rows are few: sorting filters by cost and statistics does not pay.
    config.options_mut().execution.collect_statistics = false;
    SessionStateBuilder::new()
        .with_config(config)
        .with_default_features()
        .build()
}

/// Plans a continuous query physically.
pub(crate) async fn plan(plan: &LogicalPlan, place: StatePlace) -> Result<StepPlan> {
    let planner = Arc::new(Planner {
        place,
        next_table: AtomicU32::new(0),
        leaves: Mutex::new(Vec::new()),
        operators: Mutex::new(Vec::new()),
    });
    let state = session_state();
    let optimized = state.optimize(plan)?;
    let extension: Arc<dyn ExtensionPlanner + Send + Sync> = Arc::clone(&planner) as _;
    let physical = DefaultPhysicalPlanner::with_extension_planners(vec![extension])
        .create_physical_plan(&optimized, &state)
        .await?;
    let tables = planner.next_table.load(Ordering::Relaxed);
    let leaves = std::mem::take(&mut *planner.leaves.lock());
    let operators = std::mem::take(&mut *planner.operators.lock());
    Ok(StepPlan {
        plan: physical,
        leaves,
        operators,
        tables,
        state: Arc::new(state),
    })
}

/// Makes the leaves and the stateful nodes.
#[derive(Debug)]
struct Planner {
    place: StatePlace,
    next_table: AtomicU32,
    leaves: Mutex<Vec<Leaf>>,
    operators: Mutex<Vec<Arc<Mutex<dyn Operator>>>>,
}

/// What turns logical expressions over one input into physical ones.
struct Exprs<'a> {
    planner: &'a dyn PhysicalPlanner,
    session: &'a dyn Session,
    context: &'a PhysicalPlanningContext,
    schema: &'a DFSchema,
}

impl Exprs<'_> {
    fn one(&self, expr: &Expr) -> Result<Arc<dyn PhysicalExpr>> {
        self.planner
            .create_physical_expr(expr, self.schema, self.session, self.context)
    }

    fn all(&self, exprs: &[Expr]) -> Result<Vec<Arc<dyn PhysicalExpr>>> {
        exprs.iter().map(|expr| self.one(expr)).collect()
    }
}

impl Planner {
    fn table(&self) -> Result<StateTable> {
        let number = self.next_table.fetch_add(1, Ordering::Relaxed);
        StateTable::open(
            &self.place.store,
            self.place.first_table + number,
            self.place.transient,
        )
        .map_err(storage_error)
    }

    fn exec(
        &self,
        title: String,
        inputs: Vec<Arc<dyn ExecutionPlan>>,
        operator: impl Operator + 'static,
        schema: &DFSchema,
    ) -> Arc<dyn ExecutionPlan> {
        let operator: Arc<Mutex<dyn Operator>> = Arc::new(Mutex::new(operator));
        self.operators.lock().push(Arc::clone(&operator));
        Arc::new(OperatorExec::new(
            title,
            inputs,
            operator,
            Arc::clone(schema.inner()),
        ))
    }

    fn aggregate(
        &self,
        node: &AggregateNode,
        exprs: &Exprs<'_>,
        input: &Arc<dyn ExecutionPlan>,
        title: String,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = datafusion::logical_expr::UserDefinedLogicalNodeCore::schema(node);
        let physical_schema = input.schema();
        let aggregates = node
            .aggregates
            .iter()
            .map(|expr| {
                LoweredAggregateBuilder::new(
                    &with_filter(expr),
                    exprs.schema,
                    &physical_schema,
                    exprs.session.execution_props(),
                    exprs.context,
                )
                .build()
            })
            .collect::<Result<Vec<_>>>()?;
        let open_ms = node.window.map(|window| window.open_ms());
        let emit_final = node.emit == Emit::Final;
        let spec = AggregateSpec {
            group: exprs.all(&node.group)?,
            aggregates,
            rowtime: exprs.one(&node.rowtime)?,
            op: node.op.as_ref().map(|op| exprs.one(op)).transpose()?,
            emit_old: node.emit_old,
            emit_final,
            open_ms,
            schema: Arc::clone(schema.inner()),
        };
        let table = self.table()?;
        let inputs = vec![Arc::clone(input)];
        let window = match node.window {
            Some(WindowSpec::Session {
                gap_ms, grace_ms, ..
            }) => {
                let operator =
                    SessionAggregate::try_new(spec, gap_ms, grace_ms, table, &physical_schema)?;
                return Ok(self.exec(title, inputs, operator, schema));
            }
            Some(WindowSpec::Hopping {
                size_ms,
                advance_ms,
                grace_ms,
                ..
            }) => Some(Hopping {
                size_ms,
                advance_ms,
                grace_ms,
            }),
            None => None,
        };
        let has_values =
            self.place.layout == StateLayout::ValueRows && spec.counts_distinct_values();
        let tables = AggregateTables {
            groups: table,
            final_index: (emit_final && window.is_some())
                .then(|| self.table())
                .transpose()?,
            values: has_values.then(|| self.table()).transpose()?,
        };
        let operator = GroupAggregate::try_new(spec, window, tables, &physical_schema)?;
        Ok(self.exec(title, inputs, operator, schema))
    }
}

/// COUNT(DISTINCT CASE WHEN condition THEN column END) as COUNT(DISTINCT column) with a filter, so that
/// functions that differ by the condition only share the column's values.
fn with_filter(expr: &Expr) -> Expr {
    let (expr, name) = match expr {
        Expr::Alias(alias) => (alias.expr.as_ref(), Some(&alias.name)),
        _ => (expr, None),
    };
    let mut rewritten = expr.clone();
    if let Expr::AggregateFunction(function) = &mut rewritten
        && let params = &mut function.params
        && params.distinct
        && function.func.name() == "count"
        && let [Expr::Case(case)] = params.args.as_slice()
        && case.expr.is_none()
        && case.else_expr.as_deref().is_none_or(is_null)
        && let [(condition, value)] = case.when_then_expr.as_slice()
        // Nothing that the condition may guard against an error.
        && let Expr::Column(_) = value.as_ref()
    {
        let condition = condition.as_ref().clone();
        let filter = match params.filter.take() {
            None => condition,
            Some(filter) => filter.and(condition),
        };
        params.args = vec![value.as_ref().clone()];
        params.filter = Some(Box::new(filter));
    }
    match name {
        Some(name) => rewritten.alias(name),
        None => rewritten,
    }
}

fn is_null(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(value, _) if value.is_null())
}

fn fields(
    exprs: &[Arc<dyn PhysicalExpr>],
    schema: &arrow::datatypes::Schema,
) -> Result<Vec<arrow::datatypes::FieldRef>> {
    exprs.iter().map(|expr| expr.return_field(schema)).collect()
}

#[async_trait]
impl ExtensionPlanner for Planner {
    async fn plan_extension(
        &self,
        planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        logical_inputs: &[&LogicalPlan],
        physical_inputs: &[Arc<dyn ExecutionPlan>],
        session: &dyn Session,
        context: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let exprs = |input: usize| Exprs {
            planner,
            session,
            context,
            schema: logical_inputs[input].schema(),
        };
        let title = node_title(node);
        if let Some(node) = node.as_any().downcast_ref::<AggregateNode>() {
            return self
                .aggregate(node, &exprs(0), &physical_inputs[0], title)
                .map(Some);
        }
        if let Some(node) = node.as_any().downcast_ref::<ChangelogNode>() {
            let exprs = exprs(0);
            let input = &physical_inputs[0];
            let schema = input.schema();
            let key = exprs.all(&node.key)?;
            let Some(op_index) = schema
                .fields()
                .iter()
                .position(|f| f.name() == kappa_sql::column::OP)
            else {
                return datafusion::common::internal_err!("a table's changes without their kind");
            };
            let stored = Changelog::stored_columns(&schema, op_index)
                .into_iter()
                .map(|index| schema.field(index).data_type().clone())
                .collect();
            let rows = KeyedRows::try_new(self.table()?, &fields(&key, &schema)?, stored)?;
            let operator = Changelog::new(
                key,
                exprs.one(&node.op)?,
                op_index,
                Arc::clone(&schema),
                rows,
            );
            return Ok(Some(self.exec(
                title,
                vec![Arc::clone(input)],
                operator,
                exprs.schema,
            )));
        }
        if let Some(node) = node.as_any().downcast_ref::<StreamTableJoinNode>() {
            let (stream, table) = (exprs(0), exprs(1));
            let table_schema = physical_inputs[1].schema();
            let table_key = table.all(&node.table_key)?;
            let stored = table_schema
                .fields()
                .iter()
                .map(|f| f.data_type().clone())
                .collect();
            let rows =
                KeyedRows::try_new(self.table()?, &fields(&table_key, &table_schema)?, stored)?;
            let schema = datafusion::logical_expr::UserDefinedLogicalNodeCore::schema(node);
            let operator = StreamTableJoin::new(
                node.join_type,
                stream.all(&node.stream_key)?,
                stream.one(node.stream_position())?,
                table_key,
                table.one(node.table_position())?,
                table.one(node.table_op())?,
                Arc::clone(schema.inner()),
                rows,
            );
            // The table's changes are read first: see `operator::join::TABLE`.
            let inputs = vec![
                Arc::clone(&physical_inputs[1]),
                Arc::clone(&physical_inputs[0]),
            ];
            return Ok(Some(self.exec(title, inputs, operator, schema)));
        }
        Ok(None)
    }

    async fn plan_table_scan(
        &self,
        _planner: &dyn PhysicalPlanner,
        scan: &TableScan,
        _session: &dyn Session,
        _context: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let Some(source) = scan.source.downcast_ref::<RelationSource>() else {
            return Ok(None);
        };
        let schema = Arc::clone(scan.projected_schema.inner());
        let leaf = Leaf::new(Arc::clone(source.relation()), Arc::clone(&schema));
        let exec = LeafExec::new(&leaf);
        self.leaves.lock().push(leaf);
        Ok(Some(Arc::new(exec)))
    }
}

fn node_title(node: &dyn UserDefinedLogicalNode) -> String {
    struct Title<'a>(&'a dyn UserDefinedLogicalNode);
    impl std::fmt::Display for Title<'_> {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            self.0.fmt_for_explain(f)
        }
    }
    Title(node).to_string()
}

#[cfg(test)]
mod tests;
