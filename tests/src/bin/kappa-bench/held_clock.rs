//! A clock whose date stands still until it is set, while intervals go on: what a generator with a
//! rate makes comes when the benchmark wants it, and all at once.

use std::sync::atomic::{AtomicI64, Ordering};

use kappa_engine::{Clock, SystemClock};

/// Events a second of a stream whose events the clock lets through: so many come in a millisecond
/// that few of those are needed.
pub(crate) const RATE: u64 = 1_000_000;

/// The clock.
#[derive(Debug)]
pub(crate) struct HeldClock {
    running: SystemClock,
    now_ms: AtomicI64,
}

impl HeldClock {
    const START_MS: i64 = 1_700_000_000_000;

    /// A clock that lets no event through.
    pub(crate) fn new() -> Self {
        Self {
            running: SystemClock::new(),
            now_ms: AtomicI64::new(Self::START_MS),
        }
    }

    /// Lets the first `events` events through, and up to a millisecond's more, of a stream with
    /// [`RATE`] that was created before any was let through.
    pub(crate) fn let_through(&self, events: u64) {
        let since_ms = i64::try_from((events * 1_000).div_ceil(RATE)).unwrap_or(i64::MAX / 2);
        self.now_ms
            .store(Self::START_MS + since_ms, Ordering::Relaxed);
    }
}

impl Clock for HeldClock {
    fn now_ms(&self) -> i64 {
        self.now_ms.load(Ordering::Relaxed)
    }

    fn monotonic_ms(&self) -> i64 {
        self.running.monotonic_ms()
    }
}
