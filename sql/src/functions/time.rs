//! Functions of dates, times and timestamps: as text by Java's patterns, as numbers, and moved by so
//! many units.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, Date32Array, StringBuilder, Time32MillisecondArray,
    TimestampMillisecondArray,
};
use arrow::datatypes::{
    DataType, Date32Type, Time32MillisecondType, TimeUnit, TimestampMillisecondType,
};
use datafusion::common::Result;
use datafusion::logical_expr::ScalarUDF;

use super::native::{Call, Get, Native, Overload, Param, Remembered, takes};
use crate::java_time::{Pattern, Zone};

const STRING: fn(&[DataType]) -> DataType = |_| DataType::Utf8;
const INT: fn(&[DataType]) -> DataType = |_| DataType::Int32;
const BIGINT: fn(&[DataType]) -> DataType = |_| DataType::Int64;
const DATE: fn(&[DataType]) -> DataType = |_| DataType::Date32;
const TIME: fn(&[DataType]) -> DataType = |_| DataType::Time32(TimeUnit::Millisecond);
const TIMESTAMP: fn(&[DataType]) -> DataType = |_| DataType::Timestamp(TimeUnit::Millisecond, None);

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

pub(super) fn all() -> Vec<ScalarUDF> {
    use Param::{BigInt, Date, Int, String, Time, Timestamp, Unit};
    static PARSE_DATE: &[Overload] = &[takes(&[String, String], DATE, |call| {
        // ksqlDB reads dates with another of Java's classes, which lets anything follow.
        let mut made = Remembered::new();
        let parse = move |row| {
            let pattern = pattern_of(&mut made, call.string(1).get(row)?)?;
            pattern
                .parse_start(call.string(0).get(row)?, Zone::UTC)
                .ok()
        };
        Ok(dates(call, days_of(parse)))
    })];
    static PARSE_TIME: &[Overload] = &[takes(&[String, String], TIME, |call| {
        let mut parse = parser(call);
        Ok(times(call, move |row| {
            i32::try_from(parse(row)?.rem_euclid(DAY_MS)).ok()
        }))
    })];
    static PARSE_TIMESTAMP: &[Overload] = &[
        takes(&[String, String], TIMESTAMP, |call| {
            Ok(timestamps(call, parser(call)))
        }),
        takes(&[String, String, String], TIMESTAMP, |call| {
            Ok(timestamps(call, parser(call)))
        }),
    ];
    static STRINGTODATE: &[Overload] = &[takes(&[String, String], INT, |call| {
        Ok(call.ints(days_of(parser(call))))
    })];
    static STRINGTOTIMESTAMP: &[Overload] = &[
        takes(&[String, String], BIGINT, |call| {
            Ok(call.bigints(parser(call)))
        }),
        takes(&[String, String, String], BIGINT, |call| {
            Ok(call.bigints(parser(call)))
        }),
    ];
    static FORMAT_DATE: &[Overload] = &[takes(&[Date, String], STRING, |call| {
        let date = call.args[0].as_primitive::<Date32Type>();
        Ok(format(call, |row| Some(i64::from(date.get(row)?) * DAY_MS)))
    })];
    static DATETOSTRING: &[Overload] = &[takes(&[Int, String], STRING, |call| {
        Ok(format(call, |row| {
            Some(i64::from(call.int(0).get(row)?) * DAY_MS)
        }))
    })];
    static FORMAT_TIME: &[Overload] = &[takes(&[Time, String], STRING, |call| {
        let time = call.args[0].as_primitive::<Time32MillisecondType>();
        Ok(format(call, |row| time.get(row).map(i64::from)))
    })];
    static FORMAT_TIMESTAMP: &[Overload] = &[
        takes(&[Timestamp, String], STRING, format_timestamp),
        takes(&[Timestamp, String, String], STRING, format_timestamp),
    ];
    static TIMESTAMPTOSTRING: &[Overload] = &[
        takes(&[BigInt, String], STRING, |call| {
            Ok(format(call, |row| call.bigint(0).get(row)))
        }),
        takes(&[BigInt, String, String], STRING, |call| {
            Ok(format(call, |row| call.bigint(0).get(row)))
        }),
    ];
    static CONVERT_TZ: &[Overload] = &[takes(&[Timestamp, String, String], TIMESTAMP, convert_tz)];
    static FROM_DAYS: &[Overload] = &[takes(&[Int], DATE, |call| {
        Ok(dates(call, |row| call.int(0).get(row)))
    })];
    static FROM_UNIXTIME: &[Overload] = &[takes(&[BigInt], TIMESTAMP, |call| {
        Ok(timestamps(call, |row| call.bigint(0).get(row)))
    })];
    static UNIX_DATE: &[Overload] = &[takes(&[Date], INT, |call| {
        let date = call.args[0].as_primitive::<Date32Type>();
        Ok(call.ints(|row| date.get(row)))
    })];
    static UNIX_TIMESTAMP: &[Overload] = &[takes(&[Timestamp], BIGINT, |call| {
        let timestamp = call.args[0].as_primitive::<TimestampMillisecondType>();
        Ok(call.bigints(|row| timestamp.get(row)))
    })];
    static DATEADD: &[Overload] = &[takes(&[Unit, Int, Date], DATE, |call| move_date(call, 1))];
    static DATESUB: &[Overload] = &[takes(&[Unit, Int, Date], DATE, |call| move_date(call, -1))];
    static TIMEADD: &[Overload] = &[takes(&[Unit, Int, Time], TIME, |call| move_time(call, 1))];
    static TIMESUB: &[Overload] = &[takes(&[Unit, Int, Time], TIME, |call| move_time(call, -1))];
    static TIMESTAMPADD: &[Overload] = &[takes(&[Unit, Int, Timestamp], TIMESTAMP, |call| {
        move_timestamp(call, 1)
    })];
    static TIMESTAMPSUB: &[Overload] = &[takes(&[Unit, Int, Timestamp], TIMESTAMP, |call| {
        move_timestamp(call, -1)
    })];
    vec![
        Native::create("parse_date", PARSE_DATE),
        Native::create("parse_time", PARSE_TIME),
        Native::create("parse_timestamp", PARSE_TIMESTAMP),
        Native::create("stringtodate", STRINGTODATE),
        Native::create("stringtotimestamp", STRINGTOTIMESTAMP),
        Native::create("format_date", FORMAT_DATE),
        Native::create("datetostring", DATETOSTRING),
        Native::create("format_time", FORMAT_TIME),
        Native::create("format_timestamp", FORMAT_TIMESTAMP),
        Native::create("timestamptostring", TIMESTAMPTOSTRING),
        Native::create("convert_tz", CONVERT_TZ),
        Native::create("from_days", FROM_DAYS),
        Native::create("from_unixtime", FROM_UNIXTIME),
        Native::create("unix_date", UNIX_DATE),
        Native::create("unix_timestamp", UNIX_TIMESTAMP),
        Native::create("dateadd", DATEADD),
        Native::create("datesub", DATESUB),
        Native::create("timeadd", TIMEADD),
        Native::create("timesub", TIMESUB),
        Native::create("timestampadd", TIMESTAMPADD),
        Native::create("timestampsub", TIMESTAMPSUB),
    ]
}

/// Functions whose first argument is a unit of time, written as a word.
pub(crate) const TAKE_UNITS: [&str; 6] = [
    "DATEADD",
    "DATESUB",
    "TIMEADD",
    "TIMESUB",
    "TIMESTAMPADD",
    "TIMESTAMPSUB",
];

/// A unit's length in milliseconds, by its name in the plural or the singular. Years and months have
/// no length of their own.
pub(crate) fn unit_ms(name: &str) -> Option<i64> {
    let name = name.to_ascii_uppercase();
    Some(match name.strip_suffix('S').unwrap_or(&name) {
        "MILLISECOND" => 1,
        "SECOND" => 1000,
        "MINUTE" => 60 * 1000,
        "HOUR" => 60 * 60 * 1000,
        "DAY" => DAY_MS,
        _ => return None,
    })
}

fn dates(call: &Call<'_>, of: impl FnMut(usize) -> Option<i32>) -> ArrayRef {
    Arc::new((0..call.rows).map(of).collect::<Date32Array>())
}

fn times(call: &Call<'_>, of: impl FnMut(usize) -> Option<i32>) -> ArrayRef {
    Arc::new((0..call.rows).map(of).collect::<Time32MillisecondArray>())
}

fn timestamps(call: &Call<'_>, of: impl FnMut(usize) -> Option<i64>) -> ArrayRef {
    Arc::new(
        (0..call.rows)
            .map(of)
            .collect::<TimestampMillisecondArray>(),
    )
}

/// The zone of a row: the third argument, or UTC.
struct Zones<'a> {
    call: &'a Call<'a>,
    index: usize,
    made: Remembered<Zone>,
}

impl<'a> Zones<'a> {
    fn new(call: &'a Call<'a>, index: usize) -> Self {
        let made = Remembered::new();
        Self { call, index, made }
    }

    fn of(&mut self, row: usize) -> Option<Zone> {
        if self.call.args.len() <= self.index {
            return Some(Zone::UTC);
        }
        let text = self.call.string(self.index).get(row)?;
        Some(*self.made.of(text, |text| text.parse().ok())?)
    }
}

/// Milliseconds since 1970-01-01 UTC that a row's text says: text, pattern and, maybe, zone.
fn parser<'a>(call: &'a Call<'a>) -> impl FnMut(usize) -> Option<i64> + 'a {
    let mut made = Remembered::new();
    let mut zones = Zones::new(call, 2);
    move |row| {
        let text = call.string(0).get(row)?;
        let pattern = call.string(1).get(row)?;
        let zone = zones.of(row)?;
        pattern_of(&mut made, pattern)?.parse(text, zone).ok()
    }
}

fn pattern_of<'a>(made: &'a mut Remembered<Pattern>, text: &str) -> Option<&'a Pattern> {
    let pattern = made.of(text, |text| Pattern::compile(text).ok())?;
    Some(pattern)
}

fn days_of(mut ms: impl FnMut(usize) -> Option<i64>) -> impl FnMut(usize) -> Option<i32> {
    move |row| i32::try_from(ms(row)?.div_euclid(DAY_MS)).ok()
}

/// A row's time as text: time, pattern and, maybe, zone.
fn format(call: &Call<'_>, mut ms: impl FnMut(usize) -> Option<i64>) -> ArrayRef {
    let mut made = Remembered::new();
    let mut zones = Zones::new(call, 2);
    let mut texts = StringBuilder::with_capacity(call.rows, 0);
    for row in 0..call.rows {
        let mut of_row = || -> Option<(&str, Zone, i64)> {
            Some((call.string(1).get(row)?, zones.of(row)?, ms(row)?))
        };
        texts.append_option(of_row().and_then(|(pattern, zone, ms)| {
            made.of(pattern, Formatter::compile)?.format(ms, zone)
        }));
    }
    Arc::new(texts.finish())
}

/// Writes times by a pattern. Keeps the last text: rows that follow each other are mostly of one
/// second, and few patterns say more.
struct Formatter {
    pattern: Pattern,
    text: String,
    /// Of which times the text is: of that span of the pattern's grain, in that zone.
    of: Option<(i64, Zone)>,
}

impl Formatter {
    fn compile(pattern: &str) -> Option<Self> {
        Some(Self {
            pattern: Pattern::compile(pattern).ok()?,
            text: String::new(),
            of: None,
        })
    }

    /// `None` for a time beyond the calendar.
    fn format(&mut self, ms: i64, zone: Zone) -> Option<&str> {
        let of = Some((ms.div_euclid(self.pattern.grain_ms()), zone));
        if self.of != of {
            self.of = None;
            self.text = self.pattern.format(ms, zone).ok()?;
            self.of = of;
        }
        Some(&self.text)
    }
}

fn format_timestamp(call: &Call<'_>) -> Result<ArrayRef> {
    let timestamp = call.args[0].as_primitive::<TimestampMillisecondType>();
    Ok(format(call, |row| timestamp.get(row)))
}

/// The same time of day in another zone: the local time of `from` becomes that of `to`.
fn convert_tz(call: &Call<'_>) -> Result<ArrayRef> {
    let timestamp = call.args[0].as_primitive::<TimestampMillisecondType>();
    let (mut from, mut to) = (Zones::new(call, 1), Zones::new(call, 2));
    Ok(timestamps(call, |row| {
        let (ms, from, to) = (timestamp.get(row)?, from.of(row)?, to.of(row)?);
        ms.checked_add(to.offset_ms(ms)?)?
            .checked_sub(from.offset_ms(ms)?)
    }))
}

/// By how many milliseconds a row is moved, `sign` times.
fn moved<'a>(call: &'a Call<'a>, sign: i64) -> impl FnMut(usize) -> Option<i64> + 'a {
    move |row| {
        let unit = unit_ms(call.string(0).get(row)?)?;
        unit.checked_mul(i64::from(call.int(1).get(row)?))?
            .checked_mul(sign)
    }
}

fn move_date(call: &Call<'_>, sign: i64) -> Result<ArrayRef> {
    let date = call.args[2].as_primitive::<Date32Type>();
    let mut moved = moved(call, sign);
    Ok(dates(call, |row| {
        let ms = (i64::from(date.get(row)?) * DAY_MS).checked_add(moved(row)?)?;
        i32::try_from(ms.div_euclid(DAY_MS)).ok()
    }))
}

fn move_time(call: &Call<'_>, sign: i64) -> Result<ArrayRef> {
    let time = call.args[2].as_primitive::<Time32MillisecondType>();
    let mut moved = moved(call, sign);
    Ok(times(call, |row| {
        let ms = i64::from(time.get(row)?).checked_add(moved(row)?)?;
        i32::try_from(ms.rem_euclid(DAY_MS)).ok()
    }))
}

fn move_timestamp(call: &Call<'_>, sign: i64) -> Result<ArrayRef> {
    let timestamp = call.args[2].as_primitive::<TimestampMillisecondType>();
    let mut moved = moved(call, sign);
    Ok(timestamps(call, |row| {
        timestamp.get(row)?.checked_add(moved(row)?)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is kept from one row to the next must not be seen.
    #[test]
    fn formatting_rows_is_formatting_each() {
        let zones = ["UTC", "Europe/Paris", "Asia/Kathmandu", "-03:30"];
        let patterns = [
            "yyyy-MM-dd HH:mm:ss",
            "yyyy-MM-dd",
            "ss[.SSS]",
            "HH:mm:ss.SSSX",
            "A",
            "N",
            "n",
            "z VV O",
            "EEEE MMM GG a h K k",
        ];
        // Around the ends of seconds and days, before and after 1970 and a change of offset.
        let starts = [0, 1_698_541_200_000, -86_400_000, -2_524_000_000_000];
        let times: Vec<i64> = starts
            .iter()
            .flat_map(|start| (-2_100..2_100).step_by(150).map(move |ms| start + ms))
            .collect();
        for text in patterns {
            let mut formatter = Formatter::compile(text).unwrap();
            let pattern = Pattern::compile(text).unwrap();
            for zone in zones {
                let zone: Zone = zone.parse().unwrap();
                for ms in times.iter().copied().chain([i64::MAX, i64::MIN]) {
                    assert_eq!(
                        formatter.format(ms, zone),
                        pattern.format(ms, zone).ok().as_deref(),
                        "{text} {zone:?} {ms}"
                    );
                }
            }
        }
    }

    #[test]
    fn units_have_lengths_in_both_numbers() {
        assert_eq!(unit_ms("DAYS"), Some(86_400_000));
        assert_eq!(unit_ms("day"), Some(86_400_000));
        assert_eq!(unit_ms("MILLISECONDS"), Some(1));
        assert_eq!(unit_ms("MONTHS"), None);
    }
}
