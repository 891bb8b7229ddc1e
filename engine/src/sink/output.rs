//! Where a feed's query puts its rows: collected until a commit, then into the outbox.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;

use super::outbox::Outbox;
use super::rows::RowShape;
use crate::error::Result;

/// Rows of a batch below which writing it alone costs more than copying it.
const SMALL_ROWS: usize = 1024;
/// Bytes of rows at which they are committed, however short the time.
const BYTES_MAX: usize = 16 << 20;

/// Collects the rows of an epoch.
#[derive(Debug)]
pub(crate) struct OutboxOutput {
    pub(crate) outbox: Arc<Outbox>,
    shape: RowShape,
    batches: Vec<RecordBatch>,
    bytes: usize,
}

impl OutboxOutput {
    /// The output of a query that goes on after `epoch`, its last commit.
    pub(crate) fn new(outbox: Arc<Outbox>, shape: RowShape, epoch: u64) -> Self {
        outbox.reopen(epoch);
        Self {
            outbox,
            shape,
            batches: Vec::new(),
            bytes: 0,
        }
    }

    /// Takes a step's rows. Returns how many.
    pub(crate) fn push(&mut self, batch: &RecordBatch) -> Result<usize> {
        let rows = self.shape.rows(batch)?;
        let count = rows.num_rows();
        if count > 0 {
            self.bytes += rows.get_array_memory_size();
            self.batches.push(rows);
        }
        Ok(count)
    }

    /// Memory held, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.bytes
    }

    /// Whether there is enough for a commit.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes >= BYTES_MAX
    }

    /// The epoch's rows.
    pub(crate) fn take(&mut self) -> Result<Vec<RecordBatch>> {
        self.bytes = 0;
        let batches = std::mem::take(&mut self.batches);
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        if rows < batches.len() * SMALL_ROWS && batches.len() > 1 {
            return Ok(vec![concat_batches(&self.shape.schema, &batches)?]);
        }
        Ok(batches)
    }
}
