//! Columns of auctions.

use std::sync::Arc;

use arrow::array::{ArrayRef, TimestampMillisecondArray};

use super::price::Prices;
use super::random::{Field, below};
use super::text::{Texts, length, padding};
use super::{
    AUCTIONS, AUCTIONS_IN_FLIGHT, FIRST_ID, Generator, HOT_STRIDE, Kind, ROUND, Table, is_hot,
    last_auction, last_person, no_such_column, numbers, some_person,
};
use crate::Result;

pub(super) const COLUMNS: [(&str, Kind); 10] = [
    ("id", Kind::Number),
    ("itemName", Kind::Text),
    ("description", Kind::Text),
    ("initialBid", Kind::Number),
    ("reserve", Kind::Number),
    ("dateTime", Kind::Time),
    ("expires", Kind::Time),
    ("seller", Kind::Number),
    ("category", Kind::Number),
    ("extra", Kind::Text),
];
pub(super) const TIME: usize = 5;

/// Bytes of a row on average.
const BYTES: usize = 500;
const NAME_LONGEST: u64 = 20;
const DESCRIPTION_LONGEST: u64 = 100;
const FIRST_CATEGORY: u64 = 10;
const CATEGORIES: u64 = 5;

/// All but one in so many auctions are a hot seller's.
const HOT_SELLERS_RATIO: u64 = 4;

impl Generator {
    pub(super) fn auction(&self, events: &[u64], column: usize) -> Result<ArrayRef> {
        let random = self.random;
        let texts = |bytes_each, write: &dyn Fn(u64, &mut Texts)| {
            let mut texts = Texts::with_capacity(events.len(), bytes_each);
            for event in events {
                write(*event, &mut texts);
                texts.end();
            }
            texts.finish()
        };
        match column {
            0 => Ok(numbers(events, |event| FIRST_ID + last_auction(event))),
            1 => texts(12, &|event, out| {
                let bits = random.of(event, Field::ItemName);
                out.put_words(bits, length(bits, NAME_LONGEST), b' ');
            }),
            2 => texts(56, &|event, out| {
                let bits = random.of(event, Field::Description);
                out.put_words(bits, length(bits, DESCRIPTION_LONGEST), b' ');
            }),
            3 => {
                let prices = Prices::get();
                Ok(numbers(events, |event| {
                    prices.of(random.of(event, Field::InitialBid))
                }))
            }
            4 => {
                let prices = Prices::get();
                Ok(numbers(events, |event| {
                    prices.of(random.of(event, Field::InitialBid))
                        + prices.of(random.of(event, Field::Reserve))
                }))
            }
            TIME => Ok(self.times(events)),
            6 => {
                let expires = events.iter().map(|event| self.expires_ms(*event));
                Ok(Arc::new(TimestampMillisecondArray::from_iter_values(
                    expires,
                )))
            }
            7 => Ok(numbers(events, |event| {
                let bits = random.of(event, Field::Seller);
                FIRST_ID
                    + match is_hot(bits, HOT_SELLERS_RATIO) {
                        true => last_person(event) / HOT_STRIDE * HOT_STRIDE,
                        false => some_person(bits, event),
                    }
            })),
            8 => Ok(numbers(events, |event| {
                FIRST_CATEGORY + below(random.of(event, Field::Category) >> 32, CATEGORIES)
            })),
            9 => texts(BYTES, &|event, out| {
                let name = length(random.of(event, Field::ItemName), NAME_LONGEST);
                let description = length(random.of(event, Field::Description), DESCRIPTION_LONGEST);
                // Six numbers of eight bytes, as the benchmark counts.
                let taken = 6 * 8 + name + description;
                let bits = random.of(event, Field::Extra);
                out.put_letters(bits, padding(bits, taken, BYTES));
            }),
            _ => Err(no_such_column(Table::Auction, column)),
        }
    }

    /// When the auction of an event ends: on average when as many others as are in flight have been
    /// opened.
    fn expires_ms(&self, event: u64) -> i64 {
        let opens_ms = self.time_ms(event);
        let later = event + AUCTIONS_IN_FLIGHT * ROUND / AUCTIONS;
        let horizon_ms = (self.time_ms(later) - opens_ms).unsigned_abs();
        // The time of a slow generator does not fit into 32 bits of chance.
        let most_ms = (2 * horizon_ms).clamp(1, u64::from(u32::MAX));
        let length_ms = 1 + below(self.random.of(event, Field::Expires) >> 32, most_ms);
        opens_ms.saturating_add_unsigned(length_ms)
    }
}
