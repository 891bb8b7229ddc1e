//! Stateful operators: what a continuous query remembers between steps.
//!
//! An operator sees time only through row times: nothing here reads a clock. It reads its inputs to
//! the end of a step, then emits the changes; its state goes to disk at a commit, with everything
//! else of the epoch.

pub(crate) mod accumulator;
pub(crate) mod aggregate;
pub(crate) mod changelog;
mod dense_keys;
pub(crate) mod exec;
pub(crate) mod groups;
pub(crate) mod join;
pub(crate) mod keyed_rows;
#[cfg(test)]
mod numbers;
pub(crate) mod slot_rows;
pub(crate) mod windows;

use std::fmt::Debug;
use std::ops::Add;

use arrow::record_batch::RecordBatch;
use datafusion::common::{DataFusionError, Result};
use kappa_storage::store::Commit;

use self::windows::Late;

/// Rows of a state table encoded at a time: a commit goes through its keys in order, and needs no
/// copy of all rows.
const ENCODED_ROWS: usize = 8192;

/// A stateful operator of a running query.
pub(crate) trait Operator: Debug + Send {
    /// Takes rows of input number `input` (they come input by input, in number order).
    fn push(&mut self, input: usize, batch: &RecordBatch) -> Result<()>;

    /// Ends the step: emits what changed in it.
    fn finish(&mut self) -> Result<Vec<RecordBatch>>;

    /// Writes what changed since the last commit. `memory_max` is what [`Self::committed`] will be
    /// given.
    fn flush(&mut self, commit: &mut Commit, memory_max: usize) -> Result<()>;

    /// The commit is durable. What is in memory can go where its footprint is above `memory_max`
    /// bytes: it can be read again.
    fn committed(&mut self, memory_max: usize) -> Result<()>;

    /// Forgets what can change no more. All that a push query forgets, as it commits nothing.
    fn release(&mut self) -> Result<()> {
        Ok(())
    }

    /// Memory of the state.
    fn memory(&self) -> Memory;

    /// Late rows by window start since the last call.
    fn take_late(&mut self) -> Late {
        Late::new()
    }
}

/// Memory of state, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    /// What it takes.
    pub(crate) held: usize,
    /// The same, and what writing it will take.
    pub(crate) footprint: usize,
}

impl Memory {
    /// That of state all of which a commit may write as rows: encoded in the commit, and in RocksDB's
    /// memory. State that is in a log will be rows one day.
    pub(crate) fn of_rows(held: usize) -> Self {
        Self {
            held,
            footprint: held.saturating_mul(5) / 2,
        }
    }

    /// Without a part of it.
    pub(crate) fn without(self, part: Self) -> Self {
        Self {
            held: self.held.saturating_sub(part.held),
            footprint: self.footprint.saturating_sub(part.footprint),
        }
    }
}

impl Add for Memory {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            held: self.held + other.held,
            footprint: self.footprint.saturating_add(other.footprint),
        }
    }
}

/// A storage error inside an operator.
pub(crate) fn storage_error(error: kappa_storage::Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}
