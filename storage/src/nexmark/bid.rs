//! Columns of bids, of which there are most: each in one run over the events.

use arrow::array::ArrayRef;

use super::price::Prices;
use super::random::Field;
use super::text::{Texts, padding};
use super::{
    FIRST_ID, Generator, HOT_STRIDE, Kind, Table, is_hot, last_auction, last_person,
    no_such_column, numbers, some_auction, some_person,
};
use crate::Result;

pub(super) const COLUMNS: [(&str, Kind); 7] = [
    ("auction", Kind::Number),
    ("bidder", Kind::Number),
    ("price", Kind::Number),
    ("channel", Kind::Text),
    ("url", Kind::Text),
    ("dateTime", Kind::Time),
    ("extra", Kind::Text),
];
pub(super) const TIME: usize = 5;

/// Bytes of a row on average, and what its numbers take of them, as the benchmark counts.
const BYTES: usize = 100;
const NUMBERS_BYTES: usize = 4 * 8;

/// All but one in so many bids are on a hot auction.
const HOT_AUCTION_RATIO: u64 = 2;
/// All but one in so many bids are a hot bidder's.
const HOT_BIDDERS_RATIO: u64 = 4;

impl Generator {
    pub(super) fn bid(&self, events: &[u64], column: usize) -> Result<ArrayRef> {
        let random = self.random;
        match column {
            0 => Ok(numbers(events, |event| {
                let bits = random.of(event, Field::Auction);
                FIRST_ID
                    + match is_hot(bits, HOT_AUCTION_RATIO) {
                        true => last_auction(event) / HOT_STRIDE * HOT_STRIDE,
                        false => some_auction(bits, event),
                    }
            })),
            1 => Ok(numbers(events, |event| {
                let bits = random.of(event, Field::Bidder);
                FIRST_ID
                    + match is_hot(bits, HOT_BIDDERS_RATIO) {
                        // Not the one who is a hot seller.
                        true => last_person(event) / HOT_STRIDE * HOT_STRIDE + 1,
                        false => some_person(bits, event),
                    }
            })),
            2 => {
                let prices = Prices::get();
                Ok(numbers(events, |event| {
                    prices.of(random.of(event, Field::Price))
                }))
            }
            3 => {
                let channels = self.channels();
                let mut texts = Texts::with_capacity(events.len(), 12);
                for event in events {
                    channels.put_name(random.of(*event, Field::Channel), &mut texts);
                    texts.end();
                }
                texts.finish()
            }
            4 => {
                let channels = self.channels();
                let mut texts = Texts::with_capacity(events.len(), 72);
                for event in events {
                    channels.put_url(random.of(*event, Field::Channel), &mut texts);
                    texts.end();
                }
                texts.finish()
            }
            TIME => Ok(self.times(events)),
            6 => {
                let mut texts = Texts::with_capacity(events.len(), BYTES - NUMBERS_BYTES + 8);
                for event in events {
                    let bits = random.of(*event, Field::Extra);
                    texts.put_letters(bits, padding(bits, NUMBERS_BYTES, BYTES));
                    texts.end();
                }
                texts.finish()
            }
            _ => Err(no_such_column(Table::Bid, column)),
        }
    }
}
