//! Columns of people.

use arrow::array::ArrayRef;

use super::random::{Field, below};
use super::text::{Texts, length, padding};
use super::{FIRST_ID, Generator, Kind, Table, last_person, no_such_column, numbers};
use crate::Result;

pub(super) const COLUMNS: [(&str, Kind); 8] = [
    ("id", Kind::Number),
    ("name", Kind::Text),
    ("emailAddress", Kind::Text),
    ("creditCard", Kind::Text),
    ("city", Kind::Text),
    ("state", Kind::Text),
    ("dateTime", Kind::Time),
    ("extra", Kind::Text),
];
pub(super) const TIME: usize = 6;

const FIRST_NAMES: [&str; 11] = [
    "Peter", "Paul", "Luke", "John", "Saul", "Vicky", "Kate", "Julie", "Sarah", "Deiter", "Walter",
];
const LAST_NAMES: [&str; 9] = [
    "Shultz", "Abrams", "Spencer", "White", "Bartels", "Walton", "Smith", "Jones", "Noris",
];
const CITIES: [&str; 10] = [
    "Phoenix",
    "Los Angeles",
    "San Francisco",
    "Boise",
    "Portland",
    "Bend",
    "Redmond",
    "Seattle",
    "Kent",
    "Cheyenne",
];
const STATES: [&str; 6] = ["AZ", "CA", "ID", "OR", "WA", "WY"];

/// Bytes of a row on average.
const BYTES: usize = 200;
const MAIL_USER_LONGEST: u64 = 7;
const MAIL_HOST_LONGEST: u64 = 5;
const CREDIT_CARD_LENGTH: usize = 19;

impl Generator {
    pub(super) fn person(&self, events: &[u64], column: usize) -> Result<ArrayRef> {
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
            0 => Ok(numbers(events, |event| FIRST_ID + last_person(event))),
            1 => texts(14, &|event, out| {
                let (first, last) = name(random.of(event, Field::Name));
                out.put(first.as_bytes());
                out.put(b" ");
                out.put(last.as_bytes());
            }),
            2 => texts(16, &|event, out| {
                let user = random.of(event, Field::MailUser);
                let host = random.of(event, Field::MailHost);
                out.put_letters(user, length(user, MAIL_USER_LONGEST));
                out.put(b"@");
                out.put_letters(host, length(host, MAIL_HOST_LONGEST));
                out.put(b".com");
            }),
            3 => texts(CREDIT_CARD_LENGTH, &|event, out| {
                out.put(&credit_card(random.of(event, Field::CreditCard)));
            }),
            4 => texts(13, &|event, out| {
                out.put(one_of(&CITIES, random.of(event, Field::City)).as_bytes());
            }),
            5 => texts(2, &|event, out| {
                out.put(one_of(&STATES, random.of(event, Field::State)).as_bytes());
            }),
            TIME => Ok(self.times(events)),
            7 => texts(BYTES, &|event, out| {
                let (first, last) = name(random.of(event, Field::Name));
                let user = length(random.of(event, Field::MailUser), MAIL_USER_LONGEST);
                let host = length(random.of(event, Field::MailHost), MAIL_HOST_LONGEST);
                let city = one_of(&CITIES, random.of(event, Field::City));
                let mail = user + host + "@.com".len();
                let taken = 8 + first.len() + 1 + last.len() + mail + CREDIT_CARD_LENGTH;
                let bits = random.of(event, Field::Extra);
                out.put_letters(bits, padding(bits, taken + city.len() + 2, BYTES));
            }),
            _ => Err(no_such_column(Table::Person, column)),
        }
    }
}

fn one_of(texts: &[&'static str], bits: u64) -> &'static str {
    texts[below(bits >> 32, texts.len() as u64) as usize]
}

fn name(bits: u64) -> (&'static str, &'static str) {
    (one_of(&FIRST_NAMES, bits), one_of(&LAST_NAMES, bits << 32))
}

/// Four groups of four digits.
fn credit_card(bits: u64) -> [u8; CREDIT_CARD_LENGTH] {
    let mut card = [b' '; CREDIT_CARD_LENGTH];
    for (group, digits) in card.chunks_mut(5).enumerate() {
        let mut number = (((bits >> (16 * group)) & 0xffff) * 10_000) >> 16;
        for digit in digits[..4].iter_mut().rev() {
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
        }
    }
    card
}
