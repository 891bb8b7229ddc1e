//! The end of a transaction: all rows delivered, the marker beside them, and both committed; or
//! none of it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::{BaseProducer, Producer};
use tokio::time::Instant;

use super::SLICE;
use super::verdict::Verdict;
use crate::topic::kafka::cluster::REQUEST_TIMEOUT;
use crate::topic::kafka::context::{Delivery, ReadContext, WriteContext};

/// How long to wait for rows underway at once when they are not wanted any more.
const ABORT_SLICE: Duration = Duration::from_millis(100);

/// One commit under way, off the async threads.
pub(super) struct Commit<'a> {
    pub(super) producer: &'a BaseProducer<WriteContext>,
    pub(super) begun: Instant,
    pub(super) timeout: Duration,
    pub(super) stopping: &'a AtomicBool,
}

impl Commit<'_> {
    /// Returns whether something happened to a connection meanwhile.
    pub(super) fn run(
        &self,
        delivery: &Delivery,
        sent: usize,
        offsets: &TopicPartitionList,
        group: &BaseConsumer<ReadContext>,
    ) -> std::result::Result<bool, KafkaError> {
        let health = &self.producer.context().health;
        let troubles = health.troubles();
        self.drain()?;
        if let Some((error, _)) = delivery.failed() {
            return Err(error);
        }
        // librdkafka has committed without rows that timed out before (fixed in 1.5.2).
        if delivery.delivered() != sent {
            return Err(KafkaError::MessageProduction(Code::MessageTimedOut));
        }
        let group = group
            .group_metadata()
            .ok_or(KafkaError::Global(Code::State))?;
        self.repeat(|slice| {
            self.producer
                .send_offsets_to_transaction(offsets, &group, slice)
        })?;
        self.repeat(|slice| self.producer.commit_transaction(slice))?;
        self.producer.poll(Duration::ZERO);
        Ok(health.troubles() != troubles)
    }

    /// Waits for all deliveries. `flush` would look only every 100 ms.
    fn drain(&self) -> std::result::Result<(), KafkaError> {
        while self.producer.in_flight_count() > 0 {
            self.producer.poll(Duration::from_millis(1));
            if self.begun.elapsed() > self.timeout || self.stopping.load(Ordering::Relaxed) {
                return Err(KafkaError::Flush(Code::OperationTimedOut));
            }
        }
        Ok(())
    }

    /// Repeats a call that ran out of time, as librdkafka goes on with it where it was. Its result
    /// decides; that time is up would say nothing of what the broker did.
    fn repeat(
        &self,
        call: impl Fn(Duration) -> std::result::Result<(), KafkaError>,
    ) -> std::result::Result<(), KafkaError> {
        loop {
            let error = match call(SLICE) {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            self.producer.poll(Duration::ZERO);
            // Twice the timeout: by then the broker has aborted the transaction itself.
            let over = self.begun.elapsed() > self.timeout * 2;
            if Verdict::of(&error, false) != Verdict::Retry
                || over
                || self.stopping.load(Ordering::Relaxed)
            {
                return Err(error);
            }
        }
    }
}

/// Aborts a transaction, off the async threads. Librdkafka waits for the fate of rows underway but
/// does not look at what it learns of it: that is for whoever calls it to do.
pub(super) fn abort(
    producer: &BaseProducer<WriteContext>,
    stopping: &AtomicBool,
) -> std::result::Result<(), KafkaError> {
    let begun = Instant::now();
    loop {
        let Err(error) = producer.abort_transaction(ABORT_SLICE) else {
            return Ok(());
        };
        let over = begun.elapsed() > REQUEST_TIMEOUT || stopping.load(Ordering::Relaxed);
        if Verdict::of(&error, false) != Verdict::Retry || over {
            return Err(error);
        }
        let slice = Instant::now();
        while producer.in_flight_count() > 0 && slice.elapsed() < ABORT_SLICE {
            producer.poll(Duration::from_millis(1));
        }
    }
}
