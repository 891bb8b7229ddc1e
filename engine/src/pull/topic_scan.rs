//! Reads a relation from its topic, from the start to the end that it has when the scan begins. Of
//! a table, the last row of each key.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{AsArray, Int8Array, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Field, Int8Type, Schema, SchemaRef};
use arrow::row::{RowConverter, SortField};
use datafusion::common::{DataFusionError, Result as DfResult};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, SendableRecordBatchStream,
};
use futures::TryStreamExt;
use kappa_sql::catalog::{Kind, Relation};
use kappa_sql::column;
use kappa_storage::topic::{FetchLimit, Topics};

use crate::error::{Error, Result};
use crate::plan::{source_node, source_properties};
use crate::query::decode::{RowDecoder, reads_headers};

/// Reads a relation from its topic.
#[derive(Debug)]
pub(super) struct TopicScanExec {
    relation: Arc<Relation>,
    topics: Arc<dyn Topics>,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
}

impl TopicScanExec {
    pub(super) fn new(relation: Arc<Relation>, topics: Arc<dyn Topics>, schema: SchemaRef) -> Self {
        let properties = source_properties(&schema);
        Self {
            relation,
            topics,
            schema,
            properties,
        }
    }
}

/// What is decoded: the columns asked for, then the change kind, and of a table its key.
fn decoded_schema(relation: &Relation, schema: &SchemaRef) -> SchemaRef {
    let mut fields: Vec<Arc<Field>> = schema.fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new(column::OP, DataType::Int8, false)));
    if relation.kind == Kind::Table {
        for key in relation.key_columns() {
            if schema.column_with_name(&key.name).is_none() {
                fields.push(Arc::new(Field::new(
                    &key.name,
                    key.data_type.to_arrow(),
                    true,
                )));
            }
        }
    }
    Arc::new(Schema::new(fields))
}

/// The topic's records from start to end as rows, a batch at a time to `take`.
async fn read(
    relation: &Relation,
    topics: &Arc<dyn Topics>,
    schema: &SchemaRef,
    mut take: impl FnMut(RecordBatch) -> Result<()>,
) -> Result<()> {
    let ranges = topics.offsets(&relation.topic).await?;
    let positions: Vec<(i32, i64)> = ranges
        .iter()
        .enumerate()
        .map(|(number, range)| (number as i32, range.start))
        .collect();
    let mut reader = topics.reader(&relation.topic, &positions).await?;
    let mut decoder = RowDecoder::try_new(relation, Arc::clone(schema))?;
    let limit = FetchLimit {
        records: 8192,
        bytes: 8 << 20,
        headers: reads_headers(relation, schema),
    };
    for ((partition, start), range) in positions.into_iter().zip(&ranges) {
        let mut offset = start;
        while offset < range.end {
            let fetched = reader.fetch(partition, limit)?;
            if fetched.next_offset == offset && fetched.records.is_none() {
                if fetched.at_end {
                    break;
                }
                reader.ready(Duration::from_millis(100)).await?;
            }
            offset = fetched.next_offset;
            let Some(mut records) = fetched.records else {
                continue;
            };
            // Records that came after the scan began are left out.
            let within = records
                .offsets
                .values()
                .partition_point(|offset| *offset < range.end);
            records = records.slice(0, within);
            take(decoder.decode(partition, &records)?.batch)?;
        }
    }
    Ok(())
}

/// The last row of each key; keys whose last row is a delete are gone.
struct LastRows {
    keys: Vec<usize>,
    op: usize,
    converter: RowConverter,
    batches: Vec<RecordBatch>,
    last: HashMap<Box<[u8]>, (usize, u32)>,
}

impl LastRows {
    fn try_new(relation: &Relation, schema: &SchemaRef) -> Result<Self> {
        let keys: Vec<usize> = relation
            .key_columns()
            .filter_map(|key| schema.column_with_name(&key.name).map(|(index, _)| index))
            .collect();
        let op = schema.index_of(column::OP)?;
        let converter = RowConverter::new(
            keys.iter()
                .map(|i| SortField::new(schema.field(*i).data_type().clone()))
                .collect(),
        )?;
        Ok(Self {
            keys,
            op,
            converter,
            batches: Vec::new(),
            last: HashMap::new(),
        })
    }

    fn add(&mut self, batch: RecordBatch) -> Result<()> {
        let columns: Vec<_> = self
            .keys
            .iter()
            .map(|index| Arc::clone(batch.column(*index)))
            .collect();
        let rows = self.converter.convert_columns(&columns)?;
        let ops: &Int8Array = batch.column(self.op).as_primitive::<Int8Type>();
        for (row, key) in rows.iter().enumerate() {
            if ops.value(row) == column::DELETE {
                self.last.remove(key.data());
            } else {
                self.last
                    .insert(Box::from(key.data()), (self.batches.len(), row as u32));
            }
        }
        self.batches.push(batch);
        Ok(())
    }

    fn finish(self) -> Result<Vec<RecordBatch>> {
        let mut rows: Vec<Vec<u32>> = vec![Vec::new(); self.batches.len()];
        for (batch, row) in self.last.into_values() {
            rows[batch].push(row);
        }
        self.batches
            .iter()
            .zip(rows)
            .filter(|(_, rows)| !rows.is_empty())
            .map(|(batch, mut rows)| {
                rows.sort_unstable();
                Ok(take_record_batch(batch, &UInt32Array::from(rows))?)
            })
            .collect()
    }
}

async fn scan(
    relation: Arc<Relation>,
    topics: Arc<dyn Topics>,
    schema: SchemaRef,
) -> Result<Vec<RecordBatch>> {
    let decoded = decoded_schema(&relation, &schema);
    let width = schema.fields().len();
    let mut batches = Vec::new();
    if relation.kind == Kind::Table && relation.window.is_none() {
        let mut last = LastRows::try_new(&relation, &decoded)?;
        read(&relation, &topics, &decoded, |batch| last.add(batch)).await?;
        batches = last.finish()?;
    } else {
        let op = decoded.index_of(column::OP)?;
        read(&relation, &topics, &decoded, |batch| {
            let ops = batch.column(op).as_primitive::<Int8Type>();
            let kept: UInt32Array = ops
                .values()
                .iter()
                .enumerate()
                .filter(|(_, op)| **op == column::INSERT)
                .map(|(row, _)| row as u32)
                .collect();
            let batch = match kept.len() == batch.num_rows() {
                true => batch,
                false => take_record_batch(&batch, &kept)?,
            };
            batches.push(batch);
            Ok(())
        })
        .await?;
    }
    let wanted: Vec<usize> = (0..width).collect();
    batches
        .iter()
        .map(|batch| {
            let batch = batch.project(&wanted)?;
            let options = arrow::record_batch::RecordBatchOptions::new()
                .with_row_count(Some(batch.num_rows()));
            Ok(RecordBatch::try_new_with_options(
                Arc::clone(&schema),
                batch.columns().to_vec(),
                &options,
            )?)
        })
        .collect()
}

impl DisplayAs for TopicScanExec {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "TopicScan: {}, topic={}, from start to end",
            self.relation.name, self.relation.topic
        )
    }
}

impl ExecutionPlan for TopicScanExec {
    fn name(&self) -> &str {
        "TopicScan"
    }

    source_node!();

    fn execute(
        &self,
        _partition: usize,
        _context: Arc<TaskContext>,
    ) -> DfResult<SendableRecordBatchStream> {
        let (relation, topics) = (Arc::clone(&self.relation), Arc::clone(&self.topics));
        let schema = Arc::clone(&self.schema);
        let batches = async move {
            let batches = scan(relation, topics, schema)
                .await
                .map_err(|error: Error| DataFusionError::External(Box::new(error)))?;
            Ok::<_, DataFusionError>(futures::stream::iter(batches.into_iter().map(Ok)))
        };
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            Arc::clone(&self.schema),
            futures::stream::once(batches).try_flatten(),
        )))
    }
}
