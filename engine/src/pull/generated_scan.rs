//! Reads a generated relation from its start to the end that it has when the scan begins, or as many
//! rows as the query takes. Rows are made as they are asked for, not all before the first is used.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::{DataFusionError, Result as DfResult};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, SendableRecordBatchStream,
};
use futures::stream::{TryStreamExt, try_unfold};
use kappa_sql::catalog::{Connector, Relation};

use crate::error::{Error, Result};
use crate::plan::{source_node, source_properties};
use crate::query::input::{Input, Inputs, Maker};

/// Rows made at a time.
const BATCH_ROWS: usize = 8_192;

/// Reads a generated relation.
#[derive(Debug)]
pub(super) struct GeneratedScanExec {
    relation: Arc<Relation>,
    inputs: Inputs,
    schema: SchemaRef,
    /// Most rows that are wanted.
    limit: Option<usize>,
    properties: Arc<PlanProperties>,
}

impl GeneratedScanExec {
    /// # Errors
    /// A scan that would never end.
    pub(super) fn try_new(
        relation: Arc<Relation>,
        connector: &Connector,
        inputs: Inputs,
        schema: SchemaRef,
        limit: Option<usize>,
    ) -> Result<Self> {
        if connector.is_endless() && limit.is_none() {
            return Err(Error::User(format!(
                "{} has no end, and this query would read all of it: create it with EVENTS or RATE, \
                 say LIMIT (without WHERE, GROUP BY or ORDER BY), or ask for EMIT CHANGES",
                relation.name
            )));
        }
        let properties = source_properties(&schema);
        Ok(Self {
            relation,
            inputs,
            schema,
            limit,
            properties,
        })
    }
}

/// A scan under way.
struct Scan {
    input: Input,
    maker: Maker,
    partition: i32,
    partitions: i32,
    /// Rows still wanted.
    left: usize,
}

impl Scan {
    async fn open(
        relation: &Arc<Relation>,
        inputs: &Inputs,
        schema: &SchemaRef,
        limit: Option<usize>,
    ) -> Result<Self> {
        let partitions = relation.partitions.max(1);
        let positions: Vec<(i32, i64)> = (0..partitions).map(|partition| (partition, 0)).collect();
        let input = inputs.open(relation, schema, &positions).await?;
        Ok(Self {
            maker: input.maker()?,
            input,
            partition: 0,
            partitions,
            left: limit.unwrap_or(usize::MAX),
        })
    }

    /// The next rows: one partition after the other, as of when the scan was opened.
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        while self.partition < self.partitions && self.left > 0 {
            let partition = self.partition;
            let arrived = self.input.fetch(partition, BATCH_ROWS.min(self.left))?;
            if arrived.at_end {
                self.partition += 1;
            }
            if let Some(raw) = arrived.raw {
                let rows = self.maker.make(partition, &raw)?;
                self.left -= rows.batch.num_rows();
                return Ok(Some(rows.batch));
            }
        }
        Ok(None)
    }
}

impl DisplayAs for GeneratedScanExec {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Relation { name, topic, .. } = self.relation.as_ref();
        write!(f, "GeneratedScan: {name}, {topic}")?;
        match self.limit {
            Some(limit) => write!(f, ", limit={limit}"),
            None => Ok(()),
        }
    }
}

impl ExecutionPlan for GeneratedScanExec {
    fn name(&self) -> &str {
        "GeneratedScan"
    }

    source_node!();

    fn execute(
        &self,
        _partition: usize,
        _context: Arc<TaskContext>,
    ) -> DfResult<SendableRecordBatchStream> {
        let (relation, inputs) = (Arc::clone(&self.relation), self.inputs.clone());
        let (schema, limit) = (Arc::clone(&self.schema), self.limit);
        let external = |error: Error| DataFusionError::External(Box::new(error));
        let opened = async move {
            let scan = Scan::open(&relation, &inputs, &schema, limit).await;
            let scan = scan.map_err(external)?;
            Ok::<_, DataFusionError>(try_unfold(scan, move |mut scan| async move {
                // A scan of many rows is not to keep others from this thread, or go on when nobody
                // wants it any more.
                tokio::task::yield_now().await;
                let batch = scan.next().map_err(external)?;
                Ok(batch.map(|batch| (batch, scan)))
            }))
        };
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            Arc::clone(&self.schema),
            futures::stream::once(opened).try_flatten(),
        )))
    }
}
