//! The subscriber's end of a push query.

use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Field, Int8Type, Schema, SchemaRef};
use kappa_sql::column;
use kappa_sql::planner::ContinuousPlan;
use tokio::sync::mpsc;

use crate::error::{Error, Result};

/// How many batches wait for a subscriber before the query waits, too.
pub(crate) const QUEUE_BATCHES: usize = 16;

/// Hands rows to a subscriber.
#[derive(Debug)]
pub(crate) struct Subscriber {
    schema: SchemaRef,
    columns: usize,
    sender: mpsc::Sender<Result<RecordBatch, Error>>,
    /// Rows still to be sent, where the query has a LIMIT.
    left: Option<u64>,
}

/// The columns that a subscriber of `plan` sees.
pub(crate) fn schema(plan: &ContinuousPlan) -> SchemaRef {
    let fields: Vec<Field> = plan
        .columns
        .iter()
        .map(|column| Field::new(&column.name, column.data_type.to_arrow(), true))
        .collect();
    Arc::new(Schema::new(fields))
}

impl Subscriber {
    pub(crate) fn new(
        plan: &ContinuousPlan,
        sender: mpsc::Sender<Result<RecordBatch, Error>>,
    ) -> Self {
        Self {
            schema: schema(plan),
            columns: plan.columns.len(),
            sender,
            left: plan.limit,
        }
    }

    /// Whether the LIMIT is reached or nobody listens any more.
    pub(crate) fn ended(&self) -> bool {
        self.left == Some(0) || self.sender.is_closed()
    }

    /// Whether a step's rows would have to wait.
    pub(crate) fn is_full(&self) -> bool {
        self.sender.capacity() == 0
    }

    /// Waits until the subscriber has room or is gone. A query whose subscriber has none reads
    /// nothing more: it holds up nobody else, and its lag is what the subscriber sees grow.
    pub(crate) async fn room(&self) {
        // An error means that nobody listens: the caller finds out by `ended`.
        drop(self.sender.reserve().await);
    }

    /// Sends rows; returns how many. Rows that are no longer true are not sent: a table's row
    /// replaces the one of its key before it.
    pub(crate) fn push(&mut self, batch: &RecordBatch) -> Result<usize> {
        let ops = batch
            .column(batch.num_columns() - 1)
            .as_primitive::<Int8Type>();
        let mut rows = batch.clone();
        if ops.values().contains(&column::DELETE) {
            let kept: BooleanArray = ops
                .values()
                .iter()
                .map(|op| Some(*op == column::INSERT))
                .collect();
            rows = filter_record_batch(batch, &kept)?;
        }
        if let Some(left) = &mut self.left {
            let count = rows
                .num_rows()
                .min(usize::try_from(*left).unwrap_or(usize::MAX));
            rows = rows.slice(0, count);
            *left -= count as u64;
        }
        let columns = rows.columns()[..self.columns].to_vec();
        let count = rows.num_rows();
        if count > 0 {
            let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
            // Room was waited for before the step; an error means that nobody listens.
            if let Err(mpsc::error::TrySendError::Full(batch)) = self.sender.try_send(Ok(batch)) {
                tokio::runtime::Handle::current().block_on(async {
                    drop(self.sender.send(batch).await);
                });
            }
        }
        Ok(count)
    }
}
