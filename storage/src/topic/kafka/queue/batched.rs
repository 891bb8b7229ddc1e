//! Through librdkafka's batch interface: one call for many messages, and no allocation for each but
//! its own. Messages that a fetch has no room for wait here for the next.
#![expect(
    unsafe_code,
    reason = "rdkafka has no safe batch interface, and its safe one takes several times as long per \
              message; `polled.rs` does the same safely and is what this is tested against"
)]

use std::ffi::{CStr, CString};
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::Arc;

use rdkafka::bindings::{self, rd_kafka_message_t, rd_kafka_queue_t, rd_kafka_resp_err_t};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode as Code;

use super::{Columns, Queue, Stop};
use crate::topic::kafka::context::ReadContext;

/// Most messages taken from librdkafka at once.
const BATCH_MAX: usize = 4096;

/// Takes many messages at once.
pub(in crate::topic::kafka) struct BatchedQueue {
    handle: NonNull<rd_kafka_queue_t>,
    /// Taken from the queue and not yet used, in order.
    taken: Taken,
    /// The queue belongs to it; dropped last.
    _consumer: Arc<BaseConsumer<ReadContext>>,
}

// SAFETY: librdkafka's queues and messages may be used from any thread, by one at a time, which
// `&mut self` sees to.
unsafe impl Send for BatchedQueue {}

impl BatchedQueue {
    /// The queue of a partition that has been split off from the consumer's.
    pub(in crate::topic::kafka) fn new(
        consumer: &Arc<BaseConsumer<ReadContext>>,
        topic: &str,
        partition: i32,
    ) -> Option<Self> {
        let topic = CString::new(topic).ok()?;
        let client = consumer.client().native_ptr();
        // SAFETY: the client lives as long as the consumer, and the name as long as the call.
        let queue =
            unsafe { bindings::rd_kafka_queue_get_partition(client, topic.as_ptr(), partition) };
        let handle = NonNull::new(queue)?;
        Some(Self {
            handle,
            taken: Taken::default(),
            _consumer: consumer.clone(),
        })
    }
}

impl Queue for BatchedQueue {
    fn read(&mut self, columns: &mut Columns) -> Stop {
        loop {
            while columns.room() > 0 {
                let Some(message) = self.taken.next() else {
                    break;
                };
                if let Some(stop) = message.move_into(columns) {
                    return stop;
                }
            }
            let room = columns.room();
            if room == 0 {
                return Stop::Full;
            }
            if self.taken.fill(self.handle, room.min(BATCH_MAX)) == 0 {
                return Stop::Empty;
            }
        }
    }
}

impl Drop for BatchedQueue {
    fn drop(&mut self) {
        self.taken.clear();
        // SAFETY: made by `new` and destroyed once; the consumer still lives.
        unsafe { bindings::rd_kafka_queue_destroy(self.handle.as_ptr()) };
    }
}

/// Messages that are ours to destroy: those from `next` on.
#[derive(Default)]
struct Taken {
    messages: Vec<*mut rd_kafka_message_t>,
    next: usize,
}

impl Taken {
    /// Takes up to `wanted` messages that are there now, once all former ones are used; returns how
    /// many.
    fn fill(&mut self, queue: NonNull<rd_kafka_queue_t>, wanted: usize) -> usize {
        self.clear();
        self.messages.resize(wanted, ptr::null_mut());
        // SAFETY: the queue lives, and the array has room for `wanted` pointers.
        let count = unsafe {
            let array = self.messages.as_mut_ptr();
            bindings::rd_kafka_consume_batch_queue(queue.as_ptr(), 0, array, wanted)
        };
        // Below zero is an error of the arguments, of which there are none to be wrong.
        let count = usize::try_from(count).unwrap_or(0);
        self.messages.truncate(count);
        count
    }

    fn next(&mut self) -> Option<Message> {
        let message = *self.messages.get(self.next)?;
        self.next += 1;
        NonNull::new(message).map(Message)
    }

    fn clear(&mut self) {
        while self.next().is_some() {}
        self.messages.clear();
        self.next = 0;
    }
}

/// A message; destroyed when dropped.
struct Message(NonNull<rd_kafka_message_t>);

impl Message {
    /// Adds the message to the columns, unless it tells of something else.
    fn move_into(self, columns: &mut Columns) -> Option<Stop> {
        // SAFETY: the message is ours until it is dropped.
        let message = unsafe { self.0.as_ref() };
        if message.err != rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Some(self.told());
        }
        // SAFETY: key and payload are null or have the lengths that the message says.
        let (key, value) = unsafe {
            (
                bytes(message.key.cast(), message.key_len),
                bytes(message.payload.cast(), message.len),
            )
        };
        // SAFETY: a message that holds a record; a null pointer means that the type is not wanted.
        let timestamp =
            unsafe { bindings::rd_kafka_message_timestamp(self.0.as_ptr(), ptr::null_mut()) };
        columns.push(message.offset, timestamp, key, value);
        if columns.wants_headers() {
            self.headers(columns);
        }
        None
    }

    fn headers(&self, columns: &mut Columns) {
        let mut headers = ptr::null_mut();
        // SAFETY: the message lives; the headers belong to it.
        let found = unsafe { bindings::rd_kafka_message_headers(self.0.as_ptr(), &mut headers) };
        if found != rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return;
        }
        for index in 0.. {
            let (mut name, mut value, mut len) = (ptr::null(), ptr::null(), 0);
            // SAFETY: the headers live as long as the message; past the last one an error is
            // returned and nothing is written.
            let got = unsafe {
                bindings::rd_kafka_header_get_all(headers, index, &mut name, &mut value, &mut len)
            };
            if got != rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                return;
            }
            // SAFETY: the name ends with a NUL, and the value is null or has the length.
            let (name, value) = unsafe { (CStr::from_ptr(name), bytes(value.cast(), len)) };
            columns.header(&name.to_string_lossy(), value);
        }
    }

    /// What a message tells that is not a record.
    fn told(&self) -> Stop {
        // SAFETY: the message is ours until it is dropped.
        let message = unsafe { self.0.as_ref() };
        if message.err == rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__PARTITION_EOF {
            return Stop::End(Some(message.offset));
        }
        // SAFETY: of a message with an error it is a text within the message, or static.
        let said = unsafe { CStr::from_ptr(bindings::rd_kafka_message_errstr(self.0.as_ptr())) };
        Stop::Failed(Code::from(message.err), said.to_string_lossy().into_owned())
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        // SAFETY: taken from the queue, hence ours, and destroyed once.
        unsafe { bindings::rd_kafka_message_destroy(self.0.as_ptr()) };
    }
}

/// The bytes at `start`; `None` for a null pointer.
///
/// # Safety
/// A pointer that is not null must be to `len` bytes that live for `'a`.
unsafe fn bytes<'a>(start: *const u8, len: usize) -> Option<&'a [u8]> {
    // SAFETY: as the caller promises.
    (!start.is_null()).then(|| unsafe { slice::from_raw_parts(start, len) })
}
