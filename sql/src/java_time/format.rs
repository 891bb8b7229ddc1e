//! A time into text.

use std::fmt::Write;

use chrono::{Datelike, FixedOffset, NaiveDateTime, Timelike};

use super::names::{self, ZONES};
use super::zone::utc;
use super::{Field, Item, Minutes, Number, OffsetForm, Sign, Zone};

/// The local time at `ms` in `zone`; `None` beyond the calendar.
pub(super) fn format(items: &[Item], ms: i64, zone: Zone) -> Option<String> {
    let utc = utc(ms)?;
    let (offset, zone_name) = zone.at(utc);
    let time = Local {
        time: utc.checked_add_offset(offset)?,
        offset,
        zone,
        zone_name,
    };
    let mut out = String::new();
    time.write(items, &mut out);
    Some(out)
}

/// A local time and its zone.
struct Local {
    time: NaiveDateTime,
    offset: FixedOffset,
    zone: Zone,
    zone_name: String,
}

impl Local {
    fn write(&self, items: &[Item], out: &mut String) {
        for item in items {
            match item {
                Item::Literal(text) => out.push_str(text),
                Item::Number(number) => self.write_number(*number, out),
                Item::ShortYear(field) => {
                    let year = self.value(*field).rem_euclid(100);
                    pad(year, 2, out);
                }
                Item::Text(field, style) => {
                    out.push_str(names::name(*field, *style, self.value(*field)).unwrap_or("?"));
                }
                Item::Offset(form) => self.write_offset(*form, out),
                Item::LocalizedOffset { full } => self.write_localized_offset(*full, out),
                Item::ZoneId => {
                    // Writing to a string does not fail.
                    let _ = write!(out, "{}", self.zone);
                }
                Item::ZoneName { full: false } => out.push_str(&self.zone_name),
                Item::ZoneName { full: true } => {
                    let zone = ZONES.iter().find(|zone| zone.0 == self.zone_name);
                    out.push_str(zone.map_or(&self.zone_name, |zone| zone.2));
                }
                Item::Optional(items) => self.write(items, out),
            }
        }
    }

    /// The value of any field.
    fn value(&self, field: Field) -> i64 {
        let time = &self.time;
        let nano_of_day = i64::from(time.num_seconds_from_midnight()) * 1_000_000_000
            + i64::from(time.nanosecond());
        match field {
            Field::Era => i64::from(time.year() > 0),
            Field::Year => time.year().into(),
            Field::YearOfEra if time.year() > 0 => time.year().into(),
            Field::YearOfEra => 1 - i64::from(time.year()),
            Field::Month => time.month().into(),
            Field::Day => time.day().into(),
            Field::DayOfYear => time.ordinal().into(),
            Field::Weekday => time.weekday().number_from_monday().into(),
            Field::HalfDay => i64::from(time.hour() >= 12),
            Field::Hour => time.hour().into(),
            Field::ClockHour if time.hour() == 0 => 24,
            Field::ClockHour => time.hour().into(),
            Field::HalfDayHour => (time.hour() % 12).into(),
            Field::HalfDayClockHour if time.hour().is_multiple_of(12) => 12,
            Field::HalfDayClockHour => (time.hour() % 12).into(),
            Field::Minute => time.minute().into(),
            Field::Second => time.second().into(),
            Field::Fraction | Field::Nano => time.nanosecond().into(),
            Field::MilliOfDay => nano_of_day / 1_000_000,
            Field::NanoOfDay => nano_of_day,
        }
    }

    fn write_number(&self, number: Number, out: &mut String) {
        let mut value = self.value(number.field);
        if number.field == Field::Fraction {
            value /= 10_i64.pow(9_u32.saturating_sub(number.min as u32));
        }
        if value < 0 {
            out.push('-');
        } else if number.sign == Sign::PlusIfLong && value >= 10_i64.pow(number.min as u32) {
            out.push('+');
        }
        pad(value.abs(), number.min, out);
    }

    fn write_offset(&self, form: OffsetForm, out: &mut String) {
        let seconds = self.offset.local_minus_utc();
        if seconds == 0 {
            return out.push_str(form.zero);
        }
        let (hours, minutes, rest) = parts(seconds);
        out.push(if seconds < 0 { '-' } else { '+' });
        pad(hours, 2, out);
        let colon = if form.colons { ":" } else { "" };
        if form.minutes == Minutes::Always || minutes > 0 {
            out.push_str(colon);
            pad(minutes, 2, out);
        }
        if form.seconds && rest > 0 {
            out.push_str(colon);
            pad(rest, 2, out);
        }
    }

    fn write_localized_offset(&self, full: bool, out: &mut String) {
        let seconds = self.offset.local_minus_utc();
        out.push_str("GMT");
        if seconds == 0 {
            return;
        }
        let (hours, minutes, rest) = parts(seconds);
        out.push(if seconds < 0 { '-' } else { '+' });
        pad(hours, if full { 2 } else { 1 }, out);
        if full || minutes > 0 || rest > 0 {
            out.push(':');
            pad(minutes, 2, out);
        }
        if rest > 0 {
            out.push(':');
            pad(rest, 2, out);
        }
    }
}

/// Hours, minutes and seconds, without sign.
fn parts(seconds: i32) -> (i64, i64, i64) {
    let seconds = i64::from(seconds.unsigned_abs());
    (seconds / 3600, seconds / 60 % 60, seconds % 60)
}

fn pad(value: i64, width: usize, out: &mut String) {
    // Writing to a string does not fail.
    let _ = write!(out, "{value:0width$}");
}
