//! Times as text, by the patterns of Java's `DateTimeFormatter` (`yyyy-MM-dd'T'HH:mm:ss.SSSX`):
//! what `TIMESTAMP_FORMAT` and the functions that parse and format dates and times take. A pattern
//! is compiled once and used for many rows. Reads no clock and knows no machine's zone.
//!
//! It reads as ksqlDB does: letters in any case, what the pattern leaves out is taken from
//! 1970-01-01T00:00:00, and the names are English. The letters it knows:
//!
//! | letter | is | letter | is |
//! |---|---|---|---|
//! | `y` | year of the era (`yy`: of this century) | `S` | fraction of the second |
//! | `u` | year, 0 before 1 | `n` | nanosecond of the second |
//! | `G` | era (`AD`) | `A`, `N` | milli- or nanosecond of the day |
//! | `M`, `L` | month (`MMM`: `Jan`, `MMMM`: `January`) | `X` | offset, `Z` for none (`+01`, `XXX`: `+01:00`) |
//! | `d` | day of the month | `x` | offset (`+01`, `+00`) |
//! | `D` | day of the year | `Z` | offset (`+0100`, `ZZZZ`: `GMT+01:00`) |
//! | `E` | day of the week (`Mon`, `EEEE`: `Monday`) | `O` | offset (`GMT+1`) |
//! | `a` | `AM` or `PM` | `z` | zone's name (`PST`) |
//! | `H`, `k` | hour of the day, 0–23 or 1–24 | `VV` | zone's id (`Europe/Paris`) |
//! | `K`, `h` | hour of the half day, 0–11 or 1–12 | `'…'` | the text itself (`''`: a quote) |
//! | `m`, `s` | minute, second | `[…]` | may be left out |

mod compile;
mod format;
mod names;
mod parse;
mod zone;

#[cfg(test)]
mod tests;

use std::str::FromStr;

pub use zone::Zone;

/// A compiled pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: Box<str>,
    items: Vec<Item>,
    grain_ms: i64,
}

impl Pattern {
    /// Compiles a pattern. The error says what is wrong with it, mostly in Java's words.
    pub fn compile(text: &str) -> Result<Self, String> {
        let items = compile::items(text)?;
        // Nothing but these is finer than a second: zones change their offsets at whole ones.
        let below_a_second = items.iter().any(|item| {
            item.has(&[
                Field::Fraction,
                Field::Nano,
                Field::MilliOfDay,
                Field::NanoOfDay,
            ])
        });
        Ok(Self {
            text: text.into(),
            items,
            grain_ms: if below_a_second { 1 } else { 1000 },
        })
    }

    /// The time that `text` says, in milliseconds since 1970-01-01 UTC. If the text names neither
    /// an offset nor a zone, it is local time in `default_zone`.
    pub fn parse(&self, text: &str, default_zone: Zone) -> Result<i64, String> {
        parse::parse(&self.items, text, default_zone)
            .map_err(|why| format!("'{text}' does not match '{}': {why}", self.text))
    }

    /// The same of the start of a text; what follows does not matter.
    pub fn parse_start(&self, text: &str, default_zone: Zone) -> Result<i64, String> {
        parse::parse_start(&self.items, text, default_zone)
            .map_err(|why| format!("'{text}' does not match '{}': {why}", self.text))
    }

    /// The local time in `zone` at `ms` milliseconds since 1970-01-01 UTC as text. The error says
    /// that the time is beyond the calendar (some 260,000 years).
    pub fn format(&self, ms: i64, zone: Zone) -> Result<String, String> {
        format::format(&self.items, ms, zone)
            .ok_or_else(|| format!("{ms} ms since 1970-01-01 is beyond the calendar"))
    }

    /// Times of one such span of milliseconds, counted from 1970-01-01 UTC, have the same text in one
    /// zone.
    pub fn grain_ms(&self) -> i64 {
        self.grain_ms
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::compile(text)
    }
}

/// A piece of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Item {
    Literal(Box<str>),
    Number(Number),
    /// Two digits of a year of this century.
    ShortYear(Field),
    Text(Field, Style),
    Offset(OffsetForm),
    /// `GMT+1`, or `GMT+01:00` in full.
    LocalizedOffset {
        full: bool,
    },
    ZoneId,
    ZoneName {
        full: bool,
    },
    Optional(Vec<Item>),
}

impl Item {
    /// Whether it writes one of these fields as a number.
    fn has(&self, fields: &[Field]) -> bool {
        match self {
            Self::Number(number) => fields.contains(&number.field),
            Self::Optional(items) => items.iter().any(|item| item.has(fields)),
            _ => false,
        }
    }
}

/// A number in a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Number {
    field: Field,
    /// How many digits it has at least, and at most.
    min: usize,
    max: usize,
    sign: Sign,
    /// How many of the digits from here on belong to the numbers of fixed width that follow at
    /// once: in `yyyyMMdd` the year leaves four.
    reserved: usize,
}

/// Which signs a number may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    Never,
    Minus,
    /// Minus, and plus exactly when it has more digits than its least width.
    PlusIfLong,
}

/// A part of a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Era,
    Year,
    YearOfEra,
    Month,
    Day,
    DayOfYear,
    Weekday,
    HalfDay,
    /// 0–23.
    Hour,
    /// 1–24.
    ClockHour,
    /// 0–11.
    HalfDayHour,
    /// 1–12.
    HalfDayClockHour,
    Minute,
    Second,
    /// The first digits of the second's fraction, as many as the number is wide.
    Fraction,
    Nano,
    MilliOfDay,
    NanoOfDay,
}

/// How long a name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Short,
    Full,
    Narrow,
}

/// How an offset from UTC is written: `+01`, `+0100`, `+01:00`, with seconds if need be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct OffsetForm {
    colons: bool,
    minutes: Minutes,
    /// Seconds are written if there are any.
    seconds: bool,
    /// What stands for UTC itself.
    zero: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Minutes {
    IfAny,
    Always,
}
