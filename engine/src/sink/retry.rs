//! When to try again: later each time, and never all at once.

use std::time::Duration;

const MS_MIN: u64 = 200;
const MS_MAX: u64 = 30_000;

/// Waits that grow, up to half a minute, each shortened by chance so that many who failed together
/// do not come back together.
#[derive(Debug)]
pub(crate) struct Backoff {
    next_ms: u64,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next_ms: MS_MIN }
    }
}

impl Backoff {
    /// The next wait.
    pub(crate) fn next(&mut self) -> Duration {
        let full_ms = self.next_ms;
        self.next_ms = (full_ms * 2).min(MS_MAX);
        Duration::from_millis(full_ms - crate::engine::chance() % (full_ms / 2))
    }

    /// It went well: the next wait is short again.
    pub(crate) fn reset(&mut self) {
        self.next_ms = MS_MIN;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_half_a_minute() {
        let mut backoff = Backoff::default();
        let waits: Vec<u64> = (0..12).map(|_| backoff.next().as_millis() as u64).collect();
        assert!((100..=200).contains(&waits[0]), "{waits:?}");
        assert!((15_000..=30_000).contains(&waits[11]), "{waits:?}");
        backoff.reset();
        assert!(backoff.next() <= Duration::from_millis(200));
    }
}
