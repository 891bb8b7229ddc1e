//! Numbers for the tests of operators that look random, and are the same each time.

/// A linear congruential generator (Knuth's MMIX), of which the upper half is used.
pub(super) struct Numbers(pub(super) u64);

impl Numbers {
    /// The next one, below `end`.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}
