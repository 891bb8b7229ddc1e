//! Prices: 100 × 10^(6u) for an even u, so that each power of ten has as many.
//!
//! By tables that are made of multiplications and square roots alone, which IEEE defines to the last
//! bit: `powf` may differ from one machine to the next, and a price with it.

use std::sync::LazyLock;

/// Steps of each table: 10 bits of `u` each.
const STEPS: usize = 1 << 10;
const BITS: u32 = 10;

/// The dearest is this many times the cheapest.
const SPAN: f64 = 1e6;
const CHEAPEST: f64 = 100.0;

#[derive(Debug)]
pub(super) struct Prices {
    /// Powers for the first 10 bits, and for the 10 after them.
    coarse: Vec<f64>,
    fine: Vec<f64>,
    /// What one fine step multiplies by, less 1; within it a straight line is good enough.
    slope: f64,
}

impl Prices {
    pub(super) fn get() -> &'static Self {
        static PRICES: LazyLock<Prices> = LazyLock::new(Prices::new);
        &PRICES
    }

    fn new() -> Self {
        let coarse_step = root(SPAN);
        let fine_step = root(coarse_step);
        Self {
            coarse: powers(CHEAPEST, coarse_step),
            fine: powers(1.0, fine_step),
            slope: fine_step - 1.0,
        }
    }

    /// The price that `bits` decide, from 100 to 10^8.
    #[inline]
    pub(super) fn of(&self, bits: u64) -> u64 {
        let coarse = self.coarse[(bits >> (64 - BITS)) as usize];
        let fine = self.fine[(bits >> (64 - 2 * BITS)) as usize % STEPS];
        let rest = (bits & u64::from(u32::MAX)) as f64 / (1_u64 << 32) as f64;
        (coarse * fine * (1.0 + rest * self.slope)).round() as u64
    }
}

/// The root whose `STEPS`th power is `of`.
fn root(of: f64) -> f64 {
    (0..BITS).fold(of, |root, _| root.sqrt())
}

fn powers(first: f64, step: f64) -> Vec<f64> {
    std::iter::successors(Some(first), |power| Some(power * step))
        .take(STEPS)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_are_powers() {
        let prices = Prices::get();
        assert_eq!(prices.of(0), 100);
        assert_eq!(prices.of(u64::MAX), 100_000_000);
        for u in [0.1, 0.25, 0.5, 0.77, 0.999] {
            let bits = (u * (1_u64 << 53) as f64) as u64 * (1 << 11);
            let exact = 100.0 * 10_f64.powf(6.0 * u);
            let price = prices.of(bits) as f64;
            assert!((price / exact - 1.0).abs() < 2e-3, "{u}: {price} {exact}");
            assert!((price - exact).abs() < 2.0 || (price / exact - 1.0).abs() < 2e-5);
        }
    }
}
