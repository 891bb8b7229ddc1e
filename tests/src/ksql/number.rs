//! Decimal numbers as Java's `BigDecimal` has them: 1.0 and 1.00 are two of them.

/// A number with its scale.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Decimal {
    negative: bool,
    /// Without leading zeros; empty for zero.
    digits: String,
    /// How many of the digits stand after the point; negative after an exponent.
    pub(super) scale: i64,
}

impl Decimal {
    /// Reads `-12.30`, `1E5`, `7`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (negative, rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (number, exponent) = match rest.split_once(['e', 'E']) {
            Some((number, exponent)) => (number, exponent.parse::<i64>().ok()?),
            None => (rest, 0),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let all = format!("{whole}{fraction}");
        if all.is_empty() || !all.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let digits = all.trim_start_matches('0').to_owned();
        let scale = i64::try_from(fraction.len()).ok()? - exponent;
        Some(Self {
            negative: negative && !digits.is_empty(),
            digits,
            scale,
        })
    }

    /// Whether both are the same number, whatever their scales.
    pub(super) fn same_value(&self, other: &Self) -> bool {
        self.reduced() == other.reduced()
    }

    fn reduced(&self) -> Self {
        let digits = self.digits.trim_end_matches('0');
        let zeros = i64::try_from(self.digits.len() - digits.len()).unwrap_or(i64::MAX);
        match digits.is_empty() {
            true => Self {
                negative: false,
                digits: String::new(),
                scale: 0,
            },
            false => Self {
                negative: self.negative,
                digits: digits.to_owned(),
                scale: self.scale - zeros,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scale_counts_for_equality_and_not_for_value() {
        let parse = |text| Decimal::parse(text).unwrap();
        assert_ne!(parse("1.0"), parse("1.00"));
        assert!(parse("1.0").same_value(&parse("1.00")));
        assert!(parse("1E2").same_value(&parse("100.0")));
        assert!(parse("-0.0").same_value(&parse("0")));
        assert!(!parse("10").same_value(&parse("1")));
        assert!(!parse("-1").same_value(&parse("1")));
        assert_eq!(parse("010.50"), parse("10.50"));
        assert_eq!(parse("1E2").scale, -2);
        for text in ["", "-", ".", "NaN", "1e", "0x1"] {
            assert!(Decimal::parse(text).is_none(), "{text}");
        }
    }
}
