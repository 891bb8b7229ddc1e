//! A leaf of a continuous query's plan: it gives the rows that the step puts there. While it is open
//! more may come, so it says when it has none left, and waits.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::task::Poll;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, SendableRecordBatchStream,
};
use kappa_sql::catalog::Relation;
use parking_lot::Mutex;

use super::source_node::{source_node, source_properties};

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
        let properties = source_properties(&leaf.schema);
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

    source_node!();

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
