//! The English names of months, days, eras and zones.

use super::{Field, Style};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];
const HALF_DAYS: [&str; 2] = ["AM", "PM"];
const ERAS: [&str; 2] = ["Before Christ", "Anno Domini"];
const SHORT_ERAS: [&str; 2] = ["BC", "AD"];

/// The name of a field's value; months and weekdays count from 1.
pub(super) fn name(field: Field, style: Style, value: i64) -> Option<&'static str> {
    let (names, first) = names(field, style)?;
    let full = names.get(usize::try_from(value - first).ok()?)?;
    Some(shortened(field, style, full))
}

/// The longest name of the field that `text` begins with, in any case: its value and its length.
/// Narrow names of months and weekdays (`J`) are ambiguous and stand for nothing.
pub(super) fn find(field: Field, style: Style, text: &str) -> Option<(i64, usize)> {
    let (names, first) = names(field, style)?;
    let mut found: Option<(i64, usize)> = None;
    for (name, value) in names.iter().zip(first..) {
        let name = shortened(field, style, name);
        let matches = text
            .get(..name.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(name));
        if matches && found.is_none_or(|(_, len)| len < name.len()) {
            found = Some((value, name.len()));
        }
    }
    if style == Style::Narrow && field != Field::Era {
        None
    } else {
        found
    }
}

fn names(field: Field, style: Style) -> Option<(&'static [&'static str], i64)> {
    Some(match (field, style) {
        (Field::Month, _) => (&MONTHS, 1),
        (Field::Weekday, _) => (&WEEKDAYS, 1),
        (Field::HalfDay, _) => (&HALF_DAYS, 0),
        (Field::Era, Style::Full) => (&ERAS, 0),
        (Field::Era, _) => (&SHORT_ERAS, 0),
        _ => return None,
    })
}

fn shortened(field: Field, style: Style, name: &'static str) -> &'static str {
    match (field, style) {
        (Field::HalfDay, _) | (_, Style::Full) | (Field::Era, Style::Short) => name,
        (_, Style::Short) => &name[..3],
        (_, Style::Narrow) => &name[..1],
    }
}

/// What the short names of zones mean, and their names in full.
pub(super) const ZONES: [(&str, &str, &str); 34] = [
    ("PST", "America/Los_Angeles", "Pacific Standard Time"),
    ("PDT", "America/Los_Angeles", "Pacific Daylight Time"),
    ("MST", "America/Denver", "Mountain Standard Time"),
    ("MDT", "America/Denver", "Mountain Daylight Time"),
    ("CST", "America/Chicago", "Central Standard Time"),
    ("CDT", "America/Chicago", "Central Daylight Time"),
    ("EST", "America/New_York", "Eastern Standard Time"),
    ("EDT", "America/New_York", "Eastern Daylight Time"),
    ("AKST", "America/Anchorage", "Alaska Standard Time"),
    ("AKDT", "America/Anchorage", "Alaska Daylight Time"),
    ("HST", "Pacific/Honolulu", "Hawaii-Aleutian Standard Time"),
    ("AST", "America/Halifax", "Atlantic Standard Time"),
    ("ADT", "America/Halifax", "Atlantic Daylight Time"),
    ("NST", "America/St_Johns", "Newfoundland Standard Time"),
    ("NDT", "America/St_Johns", "Newfoundland Daylight Time"),
    ("UTC", "UTC", "Coordinated Universal Time"),
    ("GMT", "GMT", "Greenwich Mean Time"),
    ("BST", "Europe/London", "British Summer Time"),
    ("WET", "Europe/Lisbon", "Western European Standard Time"),
    ("WEST", "Europe/Lisbon", "Western European Summer Time"),
    ("CET", "Europe/Paris", "Central European Standard Time"),
    ("CEST", "Europe/Paris", "Central European Summer Time"),
    ("EET", "Europe/Athens", "Eastern European Standard Time"),
    ("EEST", "Europe/Athens", "Eastern European Summer Time"),
    ("MSK", "Europe/Moscow", "Moscow Standard Time"),
    ("SAST", "Africa/Johannesburg", "South Africa Standard Time"),
    ("IST", "Asia/Kolkata", "India Standard Time"),
    ("HKT", "Asia/Hong_Kong", "Hong Kong Standard Time"),
    ("JST", "Asia/Tokyo", "Japan Standard Time"),
    ("KST", "Asia/Seoul", "Korean Standard Time"),
    (
        "AEST",
        "Australia/Sydney",
        "Australian Eastern Standard Time",
    ),
    (
        "AEDT",
        "Australia/Sydney",
        "Australian Eastern Daylight Time",
    ),
    ("NZST", "Pacific/Auckland", "New Zealand Standard Time"),
    ("NZDT", "Pacific/Auckland", "New Zealand Daylight Time"),
];
