//! Random numbers that are addressed, not drawn: a hash of seed, event and field.

/// What a number is for. Two uses never share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Name,
    MailUser,
    MailHost,
    CreditCard,
    City,
    State,
    Extra,
    ItemName,
    Description,
    InitialBid,
    Reserve,
    Expires,
    Seller,
    Category,
    Auction,
    Bidder,
    Price,
    Channel,
    UrlFirst,
    UrlSecond,
    UrlThird,
    HasChannelId,
}

/// Room for fields in the numbers of one event.
const FIELDS: u64 = 32;

/// The odd number next to 2^64 divided by the golden ratio: its multiples spread evenly.
const STRIDE: u64 = 0x9e37_79b9_7f4a_7c15;

/// The numbers of one seed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Random {
    key: u64,
}

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self { key: mix(!seed) }
    }

    /// 64 bits for a field of an event.
    #[inline]
    pub(super) fn of(&self, event: u64, field: Field) -> u64 {
        let place = event.wrapping_mul(FIELDS).wrapping_add(field as u64);
        mix(self.key.wrapping_add(place.wrapping_mul(STRIDE)))
    }
}

/// The `n`th 64 bits of what `bits` start.
#[inline]
pub(super) fn nth(bits: u64, n: usize) -> u64 {
    mix(bits.wrapping_add((n as u64 + 1).wrapping_mul(STRIDE)))
}

/// A number from 0 to below `end`, as 32 bits decide. `end` is small.
#[inline]
pub(super) fn below(bits: u64, end: u64) -> u64 {
    (bits * end) >> 32
}

/// SplitMix64's last step: every bit of the result depends on every bit of `z`, one to one.
#[inline]
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_spread_evenly() {
        let random = Random::new(7);
        let mut counts = [0_u32; 10];
        for event in 0..100_000 {
            counts[below(random.of(event, Field::Price) >> 32, 10) as usize] += 1;
        }
        assert!(
            counts.iter().all(|count| (9_600..10_400).contains(count)),
            "{counts:?}"
        );
    }

    #[test]
    fn seeds_and_fields_make_a_difference() {
        let of = |seed, event, field| Random::new(seed).of(event, field);
        assert_eq!(of(1, 2, Field::Price), of(1, 2, Field::Price));
        assert_ne!(of(1, 2, Field::Price), of(2, 2, Field::Price));
        assert_ne!(of(1, 2, Field::Price), of(1, 3, Field::Price));
        assert_ne!(of(1, 2, Field::Price), of(1, 2, Field::Bidder));
    }
}
