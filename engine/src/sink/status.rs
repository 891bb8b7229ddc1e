//! What the world may know of a sink or its writer.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::query::status::QueryState;

/// State and counters, set by a task and read by everybody.
#[derive(Debug)]
pub(crate) struct TaskStatus {
    state: Mutex<(QueryState, Option<String>)>,
    /// Rows and files delivered, ever.
    pub(crate) rows: AtomicU64,
    pub(crate) files: AtomicU64,
    /// Units or epochs, and bytes, that are yet to be delivered.
    pub(crate) behind: AtomicU64,
    pub(crate) behind_bytes: AtomicU64,
    /// How long the oldest of them has been waiting, in milliseconds.
    pub(crate) behind_ms: AtomicU64,
    /// Whether it has all that it will get from its feed, and goes over to one of its own.
    pub(crate) moves: AtomicBool,
}

impl Default for TaskStatus {
    fn default() -> Self {
        Self {
            state: Mutex::new((QueryState::Starting, None)),
            rows: AtomicU64::new(0),
            files: AtomicU64::new(0),
            behind: AtomicU64::new(0),
            behind_bytes: AtomicU64::new(0),
            behind_ms: AtomicU64::new(0),
            moves: AtomicBool::new(false),
        }
    }
}

impl TaskStatus {
    pub(crate) fn set_state(&self, state: QueryState, error: Option<String>) {
        *self.state.lock() = (state, error);
    }

    pub(crate) fn state(&self) -> (QueryState, Option<String>) {
        self.state.lock().clone()
    }

    /// A counter's value.
    pub(crate) fn get(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }
}
