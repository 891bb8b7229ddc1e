//! Expired windows: dropped by compaction once no snapshot can still want them.
//!
//! RocksDB applies a compaction filter to rows that a snapshot protects, too. A horizon therefore
//! takes effect only when every living snapshot was taken after the horizon was set. Per table one
//! horizon is in effect, at most one waits for older snapshots to go, and the newest one waits
//! behind it: with one place less, overlapping snapshots and a horizon that moves every second
//! would put the next one off for ever.
//!
//! Not durable: the owner of a table sets its horizon again when it opens.

use std::collections::{BTreeMap, HashMap};
use std::ffi::CStr;
use std::sync::Arc;

use parking_lot::Mutex;
use rocksdb::CompactionDecision;
use rocksdb::compaction_filter::CompactionFilter;
use rocksdb::compaction_filter_factory::{CompactionFilterContext, CompactionFilterFactory};

use super::key;

/// What compaction needs to know of windowed tables and of living snapshots.
#[derive(Debug, Default)]
pub(super) struct Expiry {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    tables: HashMap<u32, Horizon>,
    /// Sequence numbers of the living snapshots, with how many were taken at each.
    snapshots: BTreeMap<u64, usize>,
}

/// The expiry horizons of one table, in milliseconds; windows that start before one are expired.
#[derive(Clone, Copy, Debug)]
struct Horizon {
    in_effect: i64,
    /// Takes effect when no snapshot older than this sequence number lives.
    waiting: Option<(u64, i64)>,
    newest: i64,
}

impl Horizon {
    fn advance(&mut self, now_seq: u64, oldest_snapshot: u64) {
        if let Some((seq, horizon)) = self.waiting
            && seq <= oldest_snapshot
        {
            self.in_effect = horizon;
            self.waiting = None;
        }
        if self.waiting.is_none() && self.newest > self.in_effect {
            if oldest_snapshot >= now_seq {
                self.in_effect = self.newest;
            } else {
                self.waiting = Some((now_seq, self.newest));
            }
        }
    }
}

impl Expiry {
    /// Moves a table's horizon. It never moves back.
    pub(super) fn set(&self, table: u32, horizon_ms: i64, now_seq: u64) {
        let mut inner = self.inner.lock();
        let oldest = inner.oldest_snapshot();
        let horizon = inner.tables.entry(table).or_insert(Horizon {
            in_effect: i64::MIN,
            waiting: None,
            newest: i64::MIN,
        });
        horizon.newest = horizon.newest.max(horizon_ms);
        horizon.advance(now_seq, oldest);
    }

    /// Forgets a table that is gone.
    pub(super) fn forget(&self, table: u32) {
        self.inner.lock().tables.remove(&table);
    }

    /// Notes a snapshot that `take` takes and returns with its sequence number. Under the lock, so
    /// that no horizon takes effect between the two.
    pub(super) fn snapshot_taken<T>(&self, take: impl FnOnce() -> (T, u64)) -> (T, u64) {
        let mut inner = self.inner.lock();
        let (snapshot, seq) = take();
        *inner.snapshots.entry(seq).or_default() += 1;
        (snapshot, seq)
    }

    /// Notes that a snapshot is gone.
    pub(super) fn snapshot_gone(&self, seq: u64) {
        let mut inner = self.inner.lock();
        if let Some(count) = inner.snapshots.get_mut(&seq) {
            *count -= 1;
            if *count == 0 {
                inner.snapshots.remove(&seq);
            }
        }
    }

    /// The horizons that a compaction which starts now may apply.
    fn in_effect(&self) -> HashMap<u32, i64> {
        let mut inner = self.inner.lock();
        let oldest = inner.oldest_snapshot();
        let in_effect = inner.tables.iter_mut().map(|(table, horizon)| {
            // What waits may go now; that a newer one then waits is for the next `set` to note, as
            // only there the sequence number is known.
            if let Some((seq, waiting)) = horizon.waiting
                && seq <= oldest
            {
                horizon.in_effect = waiting;
                horizon.waiting = None;
            }
            (*table, horizon.in_effect)
        });
        in_effect.collect()
    }
}

impl Inner {
    fn oldest_snapshot(&self) -> u64 {
        self.snapshots
            .first_key_value()
            .map_or(u64::MAX, |(seq, _)| *seq)
    }
}

/// Makes a filter for each compaction of the state rows.
pub(super) struct FilterFactory {
    pub(super) expiry: Arc<Expiry>,
}

impl CompactionFilterFactory for FilterFactory {
    type Filter = Filter;

    fn create(&mut self, _context: CompactionFilterContext) -> Filter {
        let horizons = self.expiry.in_effect();
        Filter {
            horizons,
            current: (u32::MAX, None),
        }
    }

    fn name(&self) -> &CStr {
        c"kappa.expiry"
    }
}

/// Drops the rows of expired windows from one compaction.
pub(super) struct Filter {
    horizons: HashMap<u32, i64>,
    /// The table of the last key and its horizon: keys come in order, so it seldom changes.
    current: (u32, Option<i64>),
}

impl CompactionFilter for Filter {
    fn filter(&mut self, _level: u32, key: &[u8], _value: &[u8]) -> CompactionDecision {
        let Some(table) = key::table_of(key) else {
            return CompactionDecision::Keep;
        };
        if table != self.current.0 {
            self.current = (table, self.horizons.get(&table).copied());
        }
        let Some(horizon) = self.current.1 else {
            return CompactionDecision::Keep;
        };
        match key::table_and_window(key) {
            Some((_, window_start)) if window_start < horizon => CompactionDecision::Remove,
            _ => CompactionDecision::Keep,
        }
    }

    fn name(&self) -> &CStr {
        c"kappa.expiry"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_horizon_waits_for_older_snapshots() {
        let expiry = Expiry::default();
        expiry.set(1, 100, 10);
        assert_eq!(expiry.in_effect()[&1], 100);
        let ((), old) = expiry.snapshot_taken(|| ((), 20));
        expiry.set(1, 200, 30);
        expiry.set(1, 300, 40);
        assert_eq!(expiry.in_effect()[&1], 100);
        let ((), young) = expiry.snapshot_taken(|| ((), 35));
        expiry.snapshot_gone(old);
        // 200 was set before the younger snapshot was taken, 300 after.
        assert_eq!(expiry.in_effect()[&1], 200);
        expiry.set(1, 250, 50);
        assert_eq!(expiry.in_effect()[&1], 200);
        expiry.snapshot_gone(young);
        expiry.set(1, 250, 60);
        assert_eq!(expiry.in_effect()[&1], 300);
        expiry.forget(1);
        assert!(expiry.in_effect().is_empty());
    }

    #[test]
    fn snapshots_that_always_overlap_do_not_hold_a_horizon_up_for_ever() {
        let expiry = Expiry::default();
        let mut previous = expiry.snapshot_taken(|| ((), 0)).1;
        for step in 1..50_u64 {
            let next = expiry.snapshot_taken(|| ((), step * 10)).1;
            expiry.snapshot_gone(previous);
            previous = next;
            expiry.set(1, step as i64, step * 10 + 5);
        }
        assert!(expiry.in_effect()[&1] >= 45, "{:?}", expiry.in_effect());
    }

    #[test]
    fn only_windows_of_registered_tables_go() {
        let mut filter = Filter {
            horizons: HashMap::from([(1, 100)]),
            current: (u32::MAX, None),
        };
        let mut removed = |table, window| {
            let key = key::state_key(table, b"key", Some(window));
            matches!(filter.filter(0, &key, b""), CompactionDecision::Remove)
        };
        assert!(removed(1, 99));
        assert!(!removed(1, 100));
        assert!(!removed(2, 99));
        assert!(removed(1, -5));
        assert!(matches!(
            filter.filter(0, b"abc", b""),
            CompactionDecision::Keep
        ));
    }
}
