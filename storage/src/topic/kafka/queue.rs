//! The queue of fetched messages of one partition, emptied into Arrow columns.
//!
//! Two ways to do the same: [`polled`], one message at a time through rdkafka's safe interface, and
//! [`batched`], many at a time through librdkafka's own. The first is the reference that the second
//! is tested against.

mod batched;
#[cfg(test)]
mod polled;

use rdkafka::error::RDKafkaErrorCode;

pub(super) use self::batched::BatchedQueue;
#[cfg(test)]
pub(super) use self::polled::PolledQueue;
use super::columns::Columns;

/// Why emptying a queue ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The columns have what they may.
    Full,
    /// There is nothing in the queue now.
    Empty,
    /// The end of the partition, at this offset if that is known.
    End(Option<i64>),
    /// The partition cannot be read on: the code, and librdkafka's words.
    Failed(RDKafkaErrorCode, String),
}

/// A partition's queue.
pub(super) trait Queue: Send {
    /// Moves messages into `columns` until something else than a message comes.
    fn read(&mut self, columns: &mut Columns) -> Stop;
}
