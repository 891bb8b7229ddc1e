//! Time zones: fixed offsets from UTC, and the regions of the tz database.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Duration, FixedOffset, MappedLocalTime, NaiveDateTime, Offset, TimeZone};
use chrono_tz::{OffsetName, Tz};

use super::names::ZONES;

/// A zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zone {
    /// So many seconds east of UTC.
    Fixed(FixedOffset),
    /// A region with its history of offsets.
    Region(Tz),
}

impl Zone {
    /// UTC.
    pub const UTC: Self = Self::Region(Tz::UTC);

    /// How far the zone is ahead of UTC at a time of UTC, in milliseconds. `None` beyond the
    /// calendar.
    pub fn offset_ms(self, ms: i64) -> Option<i64> {
        let utc = DateTime::from_timestamp_millis(ms)?.naive_utc();
        let seconds = match self {
            Self::Fixed(offset) => offset.local_minus_utc(),
            Self::Region(region) => region
                .offset_from_utc_datetime(&utc)
                .fix()
                .local_minus_utc(),
        };
        Some(i64::from(seconds) * 1000)
    }

    /// The zone's offset from UTC and its short name at that time of UTC.
    pub(super) fn at(self, utc: NaiveDateTime) -> (FixedOffset, String) {
        match self {
            Self::Fixed(offset) => (offset, self.to_string()),
            Self::Region(region) => {
                let offset = region.offset_from_utc_datetime(&utc);
                let name = offset
                    .abbreviation()
                    .map_or_else(|| self.to_string(), str::to_owned);
                (offset.fix(), name)
            }
        }
    }

    /// The time of UTC at a local time. Of two it is the earlier; a local time that clocks skip is
    /// as much after the gap as it is into it, as in Java.
    pub(super) fn to_utc(self, local: NaiveDateTime) -> Option<NaiveDateTime> {
        let region = match self {
            Self::Fixed(offset) => {
                return local.checked_sub_offset(offset);
            }
            Self::Region(region) => region,
        };
        let offset = match region.offset_from_local_datetime(&local) {
            MappedLocalTime::Single(offset) | MappedLocalTime::Ambiguous(offset, _) => offset,
            MappedLocalTime::None => {
                // No gap is as long as a day.
                let before = local.checked_sub_signed(Duration::days(1))?;
                match region.offset_from_local_datetime(&before) {
                    MappedLocalTime::Single(offset) | MappedLocalTime::Ambiguous(offset, _) => {
                        offset
                    }
                    MappedLocalTime::None => return None,
                }
            }
        };
        local.checked_sub_offset(offset.fix())
    }

    /// The zone whose id, name or offset is the longest that `text` begins with, and the length.
    pub(super) fn find(text: &str) -> Option<(Self, usize)> {
        let full = |zone: &&(&str, &str, &str)| {
            text.get(..zone.2.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(zone.2))
        };
        if let Some((_, region, name)) = ZONES.iter().find(full) {
            return Some((Self::Region(region.parse().ok()?), name.len()));
        }
        let is_id = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-' | '+' | ':');
        let len = text.find(|c| !is_id(c)).unwrap_or(text.len());
        (1..=len)
            .rev()
            .find_map(|len| Some((text[..len].parse().ok()?, len)))
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(offset) if offset.local_minus_utc() == 0 => f.write_str("Z"),
            Self::Fixed(offset) => offset.fmt(f),
            Self::Region(region) => f.write_str(region.name()),
        }
    }
}

impl FromStr for Zone {
    type Err = String;

    /// A region (`Europe/Paris`), an offset (`+2`, `+02:00`, `Z`), or an offset behind `UTC`, `GMT`
    /// or `UT`; also the common short names (`PST`), which mean a region.
    fn from_str(text: &str) -> Result<Self, String> {
        let unknown = || format!("unknown time zone '{text}'");
        if text.eq_ignore_ascii_case("Z") {
            return Ok(Self::Fixed(FixedOffset::east_opt(0).ok_or_else(unknown)?));
        }
        if text.starts_with(['+', '-']) {
            return offset(text).map(Self::Fixed).ok_or_else(unknown);
        }
        if let Some((_, region, _)) = ZONES.iter().find(|zone| zone.0.eq_ignore_ascii_case(text)) {
            return region.parse().map(Self::Region).map_err(|_| unknown());
        }
        if let Ok(region) = text.parse() {
            return Ok(Self::Region(region));
        }
        for prefix in ["UTC", "GMT", "UT"] {
            let start = text.get(..prefix.len());
            if start.is_some_and(|start| start.eq_ignore_ascii_case(prefix)) {
                let rest = &text[prefix.len()..];
                if rest.is_empty() {
                    return Ok(Self::UTC);
                }
                if let Some(offset) = offset(rest) {
                    return Ok(Self::Fixed(offset));
                }
            }
        }
        let region = chrono_tz::TZ_VARIANTS
            .iter()
            .find(|region| region.name().eq_ignore_ascii_case(text));
        region
            .map(|region| Self::Region(*region))
            .ok_or_else(unknown)
    }
}

/// `+2`, `+02`, `+0230`, `+02:30`, `+02:30:15`.
fn offset(text: &str) -> Option<FixedOffset> {
    let negative = match text.chars().next()? {
        '+' => false,
        '-' => true,
        _ => return None,
    };
    let rest = &text[1..];
    let (hours, minutes, seconds) = match rest.split(':').collect::<Vec<_>>()[..] {
        [hours] if hours.len() <= 2 => (hours, "0", "0"),
        [digits] if digits.len() == 4 && digits.is_ascii() => (&digits[..2], &digits[2..], "0"),
        [hours, minutes] if minutes.len() == 2 => (hours, minutes, "0"),
        [hours, minutes, seconds] if minutes.len() == 2 && seconds.len() == 2 => {
            (hours, minutes, seconds)
        }
        _ => return None,
    };
    let number = |text: &str, max| {
        let digits = (1..=2).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        text.parse::<i32>()
            .ok()
            .filter(|&value| digits && value <= max)
    };
    let seconds = number(hours, 18)? * 3600 + number(minutes, 59)? * 60 + number(seconds, 59)?;
    FixedOffset::east_opt(if negative { -seconds } else { seconds })
}

/// The UTC time that many milliseconds after 1970-01-01.
pub(super) fn utc(ms: i64) -> Option<NaiveDateTime> {
    DateTime::from_timestamp_millis(ms).map(|time| time.naive_utc())
}
