//! Spans of time: a whole number and a unit.

/// The units, in milliseconds. ksqlDB's: it has no weeks, months or years.
const UNITS: &[(&str, i64)] = &[
    ("MILLISECOND", 1),
    ("SECOND", 1_000),
    ("MINUTE", 60_000),
    ("HOUR", 3_600_000),
    ("DAY", 86_400_000),
];

/// The milliseconds of a unit, in the singular or plural.
pub(crate) fn unit_ms(word: &str) -> Option<i64> {
    let word = word.to_ascii_uppercase();
    let (_, ms) = UNITS
        .iter()
        .find(|(unit, _)| word.strip_suffix('S').unwrap_or(&word) == *unit)?;
    Some(*ms)
}

/// The units as they are suggested.
pub(crate) const UNIT_WORDS: &[&str] = &["MILLISECONDS", "SECONDS", "MINUTES", "HOURS", "DAYS"];

/// Reads `30 SECONDS` or `1 minute` as milliseconds. `None` if it is anything else, or more than
/// an i64 holds.
pub fn parse_duration_ms(text: &str) -> Option<i64> {
    let mut words = text.split_whitespace();
    let (number, unit, rest) = (words.next()?, words.next()?, words.next());
    let number: i64 = number.parse().ok().filter(|number| *number >= 0)?;
    if rest.is_some() {
        None
    } else {
        number.checked_mul(unit_ms(unit)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(parse_duration_ms("30 SECONDS"), Some(30_000));
        assert_eq!(parse_duration_ms(" 1  day "), Some(86_400_000));
        assert_eq!(parse_duration_ms("0 milliseconds"), Some(0));
        for text in [
            "",
            "1",
            "SECONDS",
            "-1 SECOND",
            "1.5 HOURS",
            "1 WEEK",
            "1 DAY 2",
            "1 SECONDSS",
        ] {
            assert_eq!(parse_duration_ms(text), None, "{text}");
        }
        assert_eq!(parse_duration_ms("9223372036854775807 DAYS"), None);
    }
}
