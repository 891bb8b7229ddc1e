//! A leaf of a continuous query's plan: it gives the rows that the step puts there. While it is open
//! more may come, so it says when it has none left, and waits.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::task::Poll;

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
    rows: Arc<Mutex<Waiting>>,
}

/// Rows that were put and not yet asked for.
#[derive(Debug, Default)]
struct Waiting {
    batches: VecDeque<RecordBatch>,
    /// Whether more may be put.
    open: bool,
    /// Whether it was asked for more than there was.
    hungry: bool,
}

impl Leaf {
    /// A leaf without rows.
    pub(crate) fn new(relation: Arc<Relation>, schema: SchemaRef) -> Self {
        Self {
            relation,
            schema,
            rows: Arc::default(),
        }
    }

    /// Gives the step rows.
    pub(crate) fn put(&self, batch: RecordBatch) {
        self.rows.lock().batches.push_back(batch);
    }

    /// Whether the step's rows are not all there yet: the leaf's end is not the step's.
    pub(crate) fn set_open(&self, open: bool) {
        self.rows.lock().open = open;
    }

    /// Whether the plan waits for rows of an open leaf.
    pub(crate) fn is_hungry(&self) -> bool {
        std::mem::take(&mut self.rows.lock().hungry)
    }

    /// The next rows, the end, or the wish for more.
    fn poll(&self) -> Poll<Option<Result<RecordBatch>>> {
        let mut rows = self.rows.lock();
        match rows.batches.pop_front() {
            Some(batch) => Poll::Ready(Some(Ok(batch))),
            // Nobody is to be woken: whoever runs the step polls again once it has put more.
            None if rows.open => {
                rows.hungry = true;
                Poll::Pending
            }
            None => Poll::Ready(None),
        }
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
        let leaf = self.leaf.clone();
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            Arc::clone(&self.leaf.schema),
            futures::stream::poll_fn(move |_| leaf.poll()),
        )))
    }
}
