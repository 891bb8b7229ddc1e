//! How long steps take: a histogram that costs an addition a step.
//!
//! ```text
//! bucket 0 1 2 3 | 4 5 6 7 | 8  9 10 11 | 12 …        four to each power of two: a bucket is at
//! µs     0 1 2 3 | 4 5 6 7 | 8 10 12 14 | 16 …        most a quarter wider than where it begins
//! ```

use std::sync::atomic::{AtomicU64, Ordering};

/// Buckets of each power of two, as a power of two.
const BITS: u32 = 2;
/// As many as any number of microseconds needs.
const BUCKETS: usize = ((65 - BITS) << BITS) as usize;

/// Durations in microseconds.
#[derive(Debug)]
pub(crate) struct Durations {
    counts: [AtomicU64; BUCKETS],
}

impl Default for Durations {
    fn default() -> Self {
        Self {
            counts: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }
}

fn bucket(us: u64) -> usize {
    let exponent = us.checked_ilog2().unwrap_or(0).saturating_sub(BITS);
    ((u64::from(exponent) << BITS) + (us >> exponent)) as usize
}

/// The largest duration in a bucket.
fn upper(bucket: usize) -> u64 {
    let exponent = ((bucket >> BITS) as u32).saturating_sub(1);
    let mantissa = bucket as u64 - (u64::from(exponent) << BITS);
    (u128::from(mantissa + 1) << exponent)
        .saturating_sub(1)
        .try_into()
        .unwrap_or(u64::MAX)
}

impl Durations {
    /// Counts a duration.
    pub(crate) fn add(&self, us: u64) {
        self.counts[bucket(us)].fetch_add(1, Ordering::Relaxed);
    }

    /// The duration that `per_mille` of 1,000 do not exceed, rounded up by a quarter at most; 0 when
    /// there was none.
    pub(crate) fn quantile(&self, per_mille: u64) -> u64 {
        let counts: Vec<u64> = self
            .counts
            .iter()
            .map(|count| count.load(Ordering::Relaxed))
            .collect();
        let total: u64 = counts.iter().sum();
        let wanted = (total * per_mille).div_ceil(1000);
        let mut seen = 0;
        for (bucket, count) in counts.into_iter().enumerate() {
            seen += count;
            if count > 0 && seen >= wanted {
                return upper(bucket);
            }
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_a_quarter_wide_at_most() {
        let samples =
            (0..64).flat_map(|bit| [0_u64, 1, 3].map(|more| (1_u64 << bit).saturating_add(more)));
        for us in samples.chain([0, 5, 999, 1_000_000, u64::MAX - 1, u64::MAX]) {
            let upper = upper(bucket(us));
            assert!(upper >= us, "{us}");
            assert!(upper - us <= us / 4, "{us} becomes {upper}");
        }
    }

    #[test]
    fn quantiles_of_a_thousand() {
        let durations = Durations::default();
        assert_eq!(durations.quantile(500), 0);
        for us in 1..=1000 {
            durations.add(us);
        }
        let near = |value: u64, exact: u64| (exact..=exact + exact / 4).contains(&value);
        assert!(near(durations.quantile(500), 500));
        assert!(near(durations.quantile(990), 990));
        assert!(near(durations.quantile(1000), 1000));
    }
}
