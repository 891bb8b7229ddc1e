//! Through rdkafka's safe interface: a call, an event and several allocations per message.

use std::time::Duration;

use rdkafka::Message;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::Headers;

use super::{Columns, Queue, Stop};
use crate::topic::kafka::context::ReadContext;

/// Takes messages one by one.
pub(in crate::topic::kafka) struct PolledQueue {
    pub(in crate::topic::kafka) queue: PartitionQueue<ReadContext>,
}

impl Queue for PolledQueue {
    fn read(&mut self, columns: &mut Columns) -> Stop {
        while columns.room() > 0 {
            let message = match self.queue.poll(Duration::ZERO) {
                None => return Stop::Empty,
                Some(Ok(message)) => message,
                Some(Err(KafkaError::PartitionEOF(_))) => return Stop::End(None),
                Some(Err(error)) => {
                    let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
                    return Stop::Failed(code, error.to_string());
                }
            };
            let timestamp = message.timestamp().to_millis().unwrap_or(-1);
            columns.push(
                message.offset(),
                timestamp,
                message.key(),
                message.payload(),
            );
            if let Some(headers) = message.headers()
                && columns.wants_headers()
            {
                for header in headers.iter() {
                    columns.header(header.key, header.value);
                }
            }
        }
        Stop::Full
    }
}
