//! Text into a time: first the fields that the text names, then the time they mean together.

use chrono::{Datelike, FixedOffset, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta};

use super::names;
use super::{Field, Item, Minutes, Number, OffsetForm, Sign, Zone};

/// The time that `text` says, in milliseconds since 1970-01-01 UTC, or why it says none.
pub(super) fn parse(items: &[Item], text: &str, default_zone: Zone) -> Result<i64, String> {
    let reader = read(items, text)?;
    if reader.at < text.len() {
        return Err(reader.here("expected the end"));
    }
    reader.fields.resolve(default_zone)
}

pub(super) fn parse_start(items: &[Item], text: &str, default_zone: Zone) -> Result<i64, String> {
    read(items, text)?.fields.resolve(default_zone)
}

fn read<'a>(items: &[Item], text: &'a str) -> Result<Reader<'a>, String> {
    let mut reader = Reader {
        text,
        at: 0,
        fields: Fields::default(),
    };
    reader.items(items)?;
    Ok(reader)
}

/// The fields that a text has named.
#[derive(Clone, Debug, Default)]
struct Fields {
    values: [Option<i64>; 18],
    offset: Option<FixedOffset>,
    zone: Option<Zone>,
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    fields: Fields,
}

impl Reader<'_> {
    fn items(&mut self, items: &[Item]) -> Result<(), String> {
        items.iter().try_for_each(|item| self.item(item))
    }

    fn item(&mut self, item: &Item) -> Result<(), String> {
        match item {
            Item::Literal(literal) => self.literal(literal),
            Item::Number(number) => self.number(*number),
            Item::ShortYear(field) => {
                let digits = self.digits(2);
                if digits.len() < 2 {
                    return Err(self.here("expected two digits of a year"));
                }
                let year = 2000 + value(digits);
                self.at += 2;
                self.set(*field, year)
            }
            Item::Text(field, style) => match names::find(*field, *style, self.rest()) {
                Some((value, len)) => {
                    self.at += len;
                    self.set(*field, value)
                }
                None => Err(self.here(match field {
                    Field::Month => "expected a month's name",
                    Field::Weekday => "expected a weekday's name",
                    Field::Era => "expected an era",
                    _ => "expected AM or PM",
                })),
            },
            Item::Offset(form) => self.offset(*form),
            Item::LocalizedOffset { .. } => self.localized_offset(),
            Item::ZoneId | Item::ZoneName { .. } => match Zone::find(self.rest()) {
                Some((zone, len)) => {
                    self.at += len;
                    self.fields.zone = Some(zone);
                    Ok(())
                }
                None => Err(self.here("expected a time zone")),
            },
            Item::Optional(items) => {
                let (at, fields) = (self.at, self.fields.clone());
                if self.items(items).is_err() {
                    (self.at, self.fields) = (at, fields);
                }
                Ok(())
            }
        }
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn here(&self, what: &str) -> String {
        let character = self.text[..self.at].chars().count() + 1;
        format!("{what} at character {character}")
    }

    fn digits(&self, max: usize) -> &str {
        let rest = self.rest();
        let count = rest
            .bytes()
            .take(max)
            .take_while(u8::is_ascii_digit)
            .count();
        &rest[..count]
    }

    fn literal(&mut self, literal: &str) -> Result<(), String> {
        let mut found = self.rest().chars();
        let same = |a: char, b: char| a == b || a.to_lowercase().eq(b.to_lowercase());
        for expected in literal.chars() {
            if !found.next().is_some_and(|found| same(expected, found)) {
                return Err(self.here(&format!("expected '{literal}'")));
            }
        }
        self.at = self.text.len() - found.as_str().len();
        Ok(())
    }

    fn number(&mut self, number: Number) -> Result<(), String> {
        let start = self.at;
        let sign = match self.rest().as_bytes().first() {
            Some(b'-') if number.sign != Sign::Never => -1,
            Some(b'+') if number.sign == Sign::PlusIfLong => 1,
            _ => 0,
        };
        self.at += usize::from(sign != 0);
        let digits = self.digits(number.max + number.reserved).len();
        let count = digits
            .saturating_sub(number.reserved)
            .max(number.min)
            .min(number.max);
        let is_long = count > number.min;
        let plus_is_right = number.sign != Sign::PlusIfLong || sign < 0 || (sign > 0) == is_long;
        if digits < count || digits == 0 || !plus_is_right {
            self.at = start;
            return Err(self.here(&format!("expected {}", describe(number.field))));
        }
        let mut value = value(&self.text[self.at..self.at + count]);
        self.at += count;
        if sign < 0 {
            value = -value;
        }
        if number.field == Field::Fraction {
            value *= 10_i64.pow(9_u32.saturating_sub(count as u32));
        }
        self.set(number.field, value)
    }

    fn offset(&mut self, form: OffsetForm) -> Result<(), String> {
        let rest = self.rest();
        let zero = rest.get(..form.zero.len());
        let sign = match rest.as_bytes().first() {
            Some(b'+') => 1,
            Some(b'-') => -1,
            _ if zero.is_some_and(|zero| zero.eq_ignore_ascii_case(form.zero)) => {
                self.at += form.zero.len();
                self.fields.offset = FixedOffset::east_opt(0);
                return Ok(());
            }
            _ => return Err(self.here("expected an offset from UTC")),
        };
        self.at += 1;
        let hours = self.two_digits("", 18)?;
        let hours = hours.ok_or_else(|| self.here("expected the hours of an offset"))?;
        let colon = if form.colons { ":" } else { "" };
        let minutes = match (self.two_digits(colon, 59)?, form.minutes) {
            (None, Minutes::Always) => return Err(self.here("expected the minutes of an offset")),
            (minutes, _) => minutes.unwrap_or(0),
        };
        let seconds = if form.seconds {
            self.two_digits(colon, 59)?.unwrap_or(0)
        } else {
            0
        };
        let east = sign * (hours * 3600 + minutes * 60 + seconds);
        self.fields.offset = FixedOffset::east_opt(east);
        Ok(())
    }

    fn localized_offset(&mut self) -> Result<(), String> {
        self.literal("GMT")?;
        let len = self
            .rest()
            .find(|c: char| !matches!(c, '+' | '-' | ':' | '0'..='9'));
        let len = len.unwrap_or(self.rest().len());
        // `GMT` alone is an offset of nothing.
        let offset = if len == 0 {
            Ok(Zone::UTC)
        } else {
            self.rest()[..len].parse()
        };
        self.fields.offset = match offset {
            Ok(Zone::Fixed(offset)) => Some(offset),
            Ok(Zone::Region(_)) => FixedOffset::east_opt(0),
            Err(_) => return Err(self.here("expected an offset from GMT")),
        };
        self.at += len;
        Ok(())
    }

    /// Two digits behind `prefix`; `None` if there are none here.
    fn two_digits(&mut self, prefix: &str, max: i32) -> Result<Option<i32>, String> {
        let digits = self
            .rest()
            .strip_prefix(prefix)
            .and_then(|rest| rest.get(..2));
        let Some(digits) = digits.filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))
        else {
            return Ok(None);
        };
        // Two digits fit.
        let number = value(digits) as i32;
        if number > max {
            return Err(self.here(&format!("an offset has no {number}")));
        }
        self.at += prefix.len() + 2;
        Ok(Some(number))
    }

    fn set(&mut self, field: Field, value: i64) -> Result<(), String> {
        let (min, max) = range(field);
        if !(min..=max).contains(&value) {
            return Err(format!(
                "{} {value} is not from {min} to {max}",
                describe(field)
            ));
        }
        let before = self.fields.values[field as usize].replace(value);
        if before.is_some_and(|before| before != value) {
            return Err(format!("{} is named twice and differs", describe(field)));
        }
        Ok(())
    }
}

/// The value of at most 18 digits.
fn value(digits: &str) -> i64 {
    digits
        .bytes()
        .fold(0, |value, digit| value * 10 + i64::from(digit - b'0'))
}

fn range(field: Field) -> (i64, i64) {
    match field {
        Field::Era | Field::HalfDay => (0, 1),
        Field::Year => (-262_000, 262_000),
        Field::YearOfEra => (1, 262_000),
        Field::Month => (1, 12),
        // 0 is the same as 12, and as 24.
        Field::HalfDayClockHour => (0, 12),
        Field::Day => (1, 31),
        Field::DayOfYear => (1, 366),
        Field::Weekday => (1, 7),
        // 24:00 is the end of the day.
        Field::Hour | Field::ClockHour => (0, 24),
        Field::HalfDayHour => (0, 11),
        Field::Minute | Field::Second => (0, 59),
        Field::Fraction | Field::Nano => (0, 999_999_999),
        Field::MilliOfDay => (0, 86_399_999),
        Field::NanoOfDay => (0, 86_399_999_999_999),
    }
}

fn describe(field: Field) -> &'static str {
    match field {
        Field::Era => "an era",
        Field::Year | Field::YearOfEra => "a year",
        Field::Month => "a month",
        Field::Day => "a day",
        Field::DayOfYear => "a day of the year",
        Field::Weekday => "a weekday",
        Field::HalfDay => "AM or PM",
        Field::Hour | Field::ClockHour | Field::HalfDayHour | Field::HalfDayClockHour => "an hour",
        Field::Minute => "a minute",
        Field::Second => "a second",
        Field::Fraction => "a fraction of a second",
        Field::Nano | Field::NanoOfDay => "nanoseconds",
        Field::MilliOfDay => "milliseconds of the day",
    }
}

impl Fields {
    fn get(&self, field: Field) -> Option<i64> {
        self.values[field as usize]
    }

    /// The time that the fields mean together, in milliseconds since 1970-01-01 UTC.
    fn resolve(&self, default_zone: Zone) -> Result<i64, String> {
        let beyond = || "the time is beyond the calendar".to_owned();
        let (time, days) = self.time()?;
        // 24:00 is the next day's beginning, if there is a day.
        let days = if self
            .get(Field::DayOfYear)
            .or(self.get(Field::Day))
            .is_some()
        {
            days
        } else {
            0
        };
        let date = self
            .date()?
            .checked_add_signed(TimeDelta::days(days))
            .ok_or_else(beyond)?;
        let local = NaiveDateTime::new(date, time);
        let utc = match self.offset {
            Some(offset) => local.checked_sub_offset(offset),
            None => self.zone.unwrap_or(default_zone).to_utc(local),
        };
        Ok(utc.ok_or_else(beyond)?.and_utc().timestamp_millis())
    }

    fn date(&self) -> Result<NaiveDate, String> {
        let year = match (
            self.get(Field::Year),
            self.get(Field::YearOfEra),
            self.get(Field::Era),
        ) {
            (Some(year), _, _) => year,
            (None, Some(year), Some(0)) => 1 - year,
            (None, Some(year), _) => year,
            (None, None, _) => 1970,
        };
        // The ranges of the fields make these fit.
        let year = year as i32;
        let date = match self.get(Field::DayOfYear) {
            Some(day) => NaiveDate::from_yo_opt(year, day as u32),
            None => {
                let month = self.get(Field::Month).unwrap_or(1) as u32;
                let day = self.get(Field::Day).unwrap_or(1) as u32;
                // The 31st of a shorter month is its last day, as in Java.
                (28..=day)
                    .rev()
                    .chain([day])
                    .find_map(|day| NaiveDate::from_ymd_opt(year, month, day))
            }
        };
        let date = date.ok_or_else(|| format!("{year} has no such day"))?;
        let full = self
            .get(Field::DayOfYear)
            .or(self.get(Field::Day))
            .is_some();
        if let Some(weekday) = self.get(Field::Weekday).filter(|_| full)
            && weekday != i64::from(date.weekday().number_from_monday())
        {
            return Err(format!("{date} is a {}", date.format("%A")));
        }
        Ok(date)
    }

    /// The time of day, and the days to add for 24:00.
    fn time(&self) -> Result<(NaiveTime, i64), String> {
        const DAY_NANOS: i64 = 86_400_000_000_000;
        let nanos = if let Some(nanos) = self.get(Field::NanoOfDay) {
            nanos
        } else if let Some(ms) = self.get(Field::MilliOfDay) {
            ms * 1_000_000
        } else {
            let half_day = self.get(Field::HalfDay);
            let of_half_day = self
                .get(Field::HalfDayHour)
                .or(self.get(Field::HalfDayClockHour).map(|hour| hour % 12));
            let of_day = self
                .get(Field::Hour)
                .or(self.get(Field::ClockHour).map(|hour| hour % 24));
            let hour = match (of_day, of_half_day) {
                (Some(hour), _) => hour,
                // Half a day without an hour is its middle.
                (None, None) => half_day.map_or(0, |half| 6 + 12 * half),
                (None, Some(hour)) => hour + 12 * half_day.unwrap_or(0),
            };
            if of_day
                .zip(half_day)
                .is_some_and(|(hour, half)| hour / 12 % 2 != half)
            {
                return Err(format!("hour {hour} is in the other half of the day"));
            }
            let minutes = hour * 60 + self.get(Field::Minute).unwrap_or(0);
            let seconds = minutes * 60 + self.get(Field::Second).unwrap_or(0);
            let nano = self
                .get(Field::Nano)
                .or(self.get(Field::Fraction))
                .unwrap_or(0);
            let nanos = seconds * 1_000_000_000 + nano;
            if nanos > DAY_NANOS {
                return Err("24:00 is the end of the day".into());
            }
            nanos
        };
        let (days, nanos) = (nanos / DAY_NANOS, nanos % DAY_NANOS);
        let (seconds, nanos) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
        // Less than a day.
        NaiveTime::from_num_seconds_from_midnight_opt(seconds as u32, nanos as u32)
            .map(|time| (time, days))
            .ok_or_else(|| "no such time of day".to_owned())
    }
}
