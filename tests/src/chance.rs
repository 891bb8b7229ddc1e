//! Chance that can be repeated.

/// Numbers that a seed decides.
#[derive(Debug)]
pub struct Chance(u64);

impl Chance {
    /// Of the seed in `KAPPA_SEED`, or one that nobody chose; printed, so that a failure can be
    /// repeated.
    pub fn of_the_run() -> Self {
        let asked = std::env::var("KAPPA_SEED");
        let seed = asked.ok().and_then(|text| text.parse().ok());
        let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
        eprintln!("KAPPA_SEED={seed}");
        Self(seed)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        // Knuth's MMIX generator; its upper bits are the good ones.
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}
