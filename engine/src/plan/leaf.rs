//! A leaf of a continuous query's plan: it gives the rows that the step put there.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_err};
use datafusion::execution::TaskContext;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{
    Boundedness, ChildrenPropertiesMode, EmissionType, ReplaceChildrenOptions,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
    SendableRecordBatchStream,
};
use kappa_sql::catalog::Relation;
use parking_lot::Mutex;

/// The rows of one relation in a step, of the columns that the plan reads.
#[derive(Clone, Debug)]
pub(crate) struct Leaf {
    pub(crate) relation: Arc<Relation>,
    pub(crate) schema: SchemaRef,
    slot: Arc<Mutex<Option<RecordBatch>>>,
}

impl Leaf {
    /// A leaf without rows.
    pub(crate) fn new(relation: Arc<Relation>, schema: SchemaRef) -> Self {
        Self {
            relation,
            schema,
            slot: Arc::default(),
        }
    }

    /// Gives the next step its rows.
    pub(crate) fn put(&self, batch: RecordBatch) {
        *self.slot.lock() = Some(batch);
    }
}

/// Gives a step's rows, once.
#[derive(Debug)]
pub(crate) struct LeafExec {
    leaf: Leaf,
    properties: Arc<PlanProperties>,
}

impl LeafExec {
    /// The operator that reads `leaf`.
    pub(crate) fn new(leaf: &Leaf) -> Self {
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&leaf.schema)),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        ));
        Self {
            leaf: leaf.clone(),
            properties,
        }
    }
}

impl DisplayAs for LeafExec {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns: Vec<_> = self
            .leaf
            .schema
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .collect();
        let relation = &self.leaf.relation;
        write!(
            f,
            "Source: {} {}, topic={}, columns=[{}]",
            relation.kind.word(),
            relation.name,
            relation.topic,
            columns.join(", ")
        )
    }
}

impl ExecutionPlan for LeafExec {
    fn name(&self) -> &str {
        "Source"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match children.is_empty() {
            true => Ok(self),
            false => internal_err!("a source has no inputs"),
        }
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(
            children,
            ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute),
        )
    }

    fn execute(
        &self,
        _partition: usize,
        _context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let batch = self.leaf.slot.lock().take();
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            Arc::clone(&self.leaf.schema),
            futures::stream::iter(batch.map(Ok)),
        )))
    }
}
