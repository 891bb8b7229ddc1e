//! What a statement answers.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use futures::{Stream, StreamExt};

use crate::error::{Error, Result};
use crate::query::status::Status;

/// What a statement answers.
#[derive(Debug)]
pub enum Response {
    /// It is done; what was done, for a person.
    Done(String),
    /// Rows that end: a listing, an ad hoc query, an explanation.
    Rows(Rows),
    /// Rows that go on until the subscriber stops, or the query's LIMIT is reached.
    Push(Subscription),
}

type Batches = Pin<Box<dyn Stream<Item = Result<RecordBatch>> + Send>>;

/// Rows that end, batch by batch.
pub struct Rows {
    schema: SchemaRef,
    batches: Batches,
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows")
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}

impl Rows {
    pub(crate) fn new(
        schema: SchemaRef,
        batches: impl Stream<Item = Result<RecordBatch>> + Send + 'static,
    ) -> Self {
        Self {
            schema,
            batches: Box::pin(batches),
        }
    }

    pub(crate) fn of(batch: RecordBatch) -> Self {
        let schema = batch.schema();
        Self::new(schema, futures::stream::once(async { Ok(batch) }))
    }

    /// Names and types of the columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The next rows; `None` after the last.
    pub async fn next(&mut self) -> Option<Result<RecordBatch>> {
        self.batches.next().await
    }

    /// All rows at once.
    ///
    /// # Errors
    /// Whatever stopped the query.
    pub async fn collect(mut self) -> Result<Vec<RecordBatch>> {
        let mut batches = Vec::new();
        while let Some(batch) = self.next().await {
            batches.push(batch?);
        }
        Ok(batches)
    }
}

/// A push query's rows. Dropping it ends the query.
#[derive(Debug)]
pub struct Subscription {
    pub(crate) schema: SchemaRef,
    pub(crate) receiver: tokio::sync::mpsc::Receiver<Result<RecordBatch>>,
    pub(crate) status: Arc<Status>,
}

impl Subscription {
    /// Names and types of the columns; a table's changes have none for the change: a row replaces
    /// the one of its key before it.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The next rows; `None` when the query has reached its LIMIT or was terminated.
    pub async fn next(&mut self) -> Option<Result<RecordBatch, Error>> {
        self.receiver.recv().await
    }

    /// Records that the query has yet to read: a subscriber that takes its rows slowly sees it
    /// grow.
    pub fn lag(&self) -> u64 {
        self.status.lag.load(Ordering::Relaxed)
    }
}
