//! Numbers out of text, eight digits at a time where it is hot, exactly where it is not.

use arrow::datatypes::i256;

/// The eight bytes from `at`, the first one lowest; zeros beyond the end.
#[inline(always)]
pub(super) fn load8(bytes: &[u8], at: usize) -> u64 {
    match bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        Some(chunk) => u64::from_le_bytes(*chunk),
        None => load8_at_end(bytes, at),
    }
}

#[cold]
fn load8_at_end(bytes: &[u8], at: usize) -> u64 {
    let mut chunk = [0; 8];
    let rest = bytes.get(at..).unwrap_or_default();
    let len = rest.len().min(8);
    chunk[..len].copy_from_slice(&rest[..len]);
    u64::from_le_bytes(chunk)
}

/// How many of the eight bytes are digits before the first that is not.
#[inline(always)]
fn count_digits(word: u64) -> usize {
    let digits = word ^ ZEROS;
    // A byte's top bit is set unless the byte is 0..=9. A carry out of a byte can only disturb
    // bytes above it, and those beyond the first non-digit do not matter.
    let others = (digits.wrapping_add(0x7676_7676_7676_7676) | digits) & 0x8080_8080_8080_8080;
    (others.trailing_zeros() / 8) as usize
}

const ZEROS: u64 = u64::from_le_bytes([b'0'; 8]);

/// The first position from `at` on that is no digit.
#[inline(always)]
pub(super) fn skip_digits(bytes: &[u8], mut at: usize) -> usize {
    loop {
        let count = count_digits(load8(bytes, at));
        at += count;
        if count < 8 {
            return at;
        }
    }
}

/// How many of the eight bytes are digits before the first that is not, and their value.
#[inline(always)]
fn leading_digits(word: u64) -> (usize, u64) {
    let count = count_digits(word);
    if count == 0 {
        return (0, 0);
    }
    // The digits moved to the top, zeros before them.
    let digits = (word ^ ZEROS) << (64 - 8 * count);
    let pairs = ((digits & 0x0f0f_0f0f_0f0f_0f0f).wrapping_mul(10 << 8 | 1)) >> 8;
    let fours = ((pairs & 0x00ff_00ff_00ff_00ff).wrapping_mul(100 << 16 | 1)) >> 16;
    let value = ((fours & 0x0000_ffff_0000_ffff).wrapping_mul(10_000 << 32 | 1)) >> 32;
    (count, value)
}

const POW10: [u64; 20] = {
    let mut powers = [1; 20];
    let mut i = 1;
    while i < 20 {
        powers[i] = powers[i - 1] * 10;
        i += 1;
    }
    powers
};

/// At most 19 digits from `at`: how many, and their value.
#[inline(always)]
fn digits(bytes: &[u8], at: usize) -> Option<(usize, u64)> {
    let (count, value) = leading_digits(load8(bytes, at));
    if count < 8 {
        return Some((count, value));
    }
    let (more, low) = leading_digits(load8(bytes, at + 8));
    let (count, value) = (8 + more, value * POW10[more] + low);
    if more < 8 {
        return Some((count, value));
    }
    let (more, low) = leading_digits(load8(bytes, at + 16));
    (more <= 3).then(|| (count + more, value * POW10[more] + low))
}

/// The JSON integer at `at` and where it ends. `None` for what is not one (no digit, a leading
/// zero) or does not fit; a fraction or exponent behind it is the caller's to look for.
#[inline(always)]
pub(super) fn integer(bytes: &[u8], at: usize) -> Option<(i64, usize)> {
    let negative = bytes.get(at) == Some(&b'-');
    let start = at + usize::from(negative);
    let (count, value) = digits(bytes, start)?;
    if count == 0 || (count > 1 && bytes[start] == b'0') {
        return None;
    }
    let value = if negative {
        0_i64.checked_sub_unsigned(value)
    } else {
        i64::try_from(value).ok()
    };
    value.map(|value| (value, start + count))
}

/// The JSON number at `at` as a double, and where it ends, if it is short enough for one exact
/// division (15 digits, no exponent) – as nearly all are.
#[inline]
pub(super) fn short_double(bytes: &[u8], at: usize) -> Option<(f64, usize)> {
    /// Powers of ten that doubles hold exactly.
    const EXACT: [f64; 16] = [
        1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
    ];
    let negative = bytes.get(at) == Some(&b'-');
    let start = at + usize::from(negative);
    let (whole_count, whole) = digits(bytes, start)?;
    if whole_count == 0 || (whole_count > 1 && bytes[start] == b'0') {
        return None;
    }
    let mut end = start + whole_count;
    let (mut mantissa, mut fraction_count) = (whole, 0);
    if bytes.get(end) == Some(&b'.') {
        let fraction;
        (fraction_count, fraction) = digits(bytes, end + 1)?;
        if fraction_count == 0 || whole_count + fraction_count > 15 {
            return None;
        }
        mantissa = whole * POW10[fraction_count] + fraction;
        end += 1 + fraction_count;
    }
    if whole_count + fraction_count > 15 || matches!(bytes.get(end), Some(b'e' | b'E')) {
        return None;
    }
    // Both operands are exact, so the quotient is the nearest double (Clinger).
    let value = mantissa as f64 / EXACT[fraction_count];
    Some((if negative { -value } else { value }, end))
}

/// A number's text taken apart: `[-+]digits[.digits][e[-+]digits]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts<'a> {
    pub(super) negative: bool,
    pub(super) whole: &'a [u8],
    pub(super) fraction: &'a [u8],
    /// Limited to ±`EXPONENT_MAX`, far beyond every type.
    pub(super) exponent: i64,
    /// Whether there is an exponent or a decimal point.
    pub(super) is_integer: bool,
}

const EXPONENT_MAX: i64 = 1 << 40;

impl<'a> Parts<'a> {
    /// Takes `text` apart as Java's `BigDecimal` does, which is JSON's grammar and a little more
    /// (`+1`, `007`, `.5`, `5.`). `None` if it is not a number.
    pub(super) fn parse(text: &'a [u8]) -> Option<Self> {
        let (negative, rest) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            rest => (false, rest),
        };
        let (whole, rest) = split_digits(rest);
        let (fraction, rest, has_point) = match rest {
            [b'.', rest @ ..] => {
                let (fraction, rest) = split_digits(rest);
                (fraction, rest, true)
            }
            rest => (&[][..], rest, false),
        };
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let (exponent, has_exponent) = match rest {
            [] => (0, false),
            [b'e' | b'E', rest @ ..] => (exponent(rest)?, true),
            _ => return None,
        };
        Some(Self {
            negative,
            whole,
            fraction,
            exponent,
            is_integer: !has_point && !has_exponent,
        })
    }

    /// All digits, the decimal point left out.
    pub(super) fn digits(&self) -> impl DoubleEndedIterator<Item = u8> + Clone + use<'a> {
        self.whole
            .iter()
            .chain(self.fraction)
            .map(|digit| digit - b'0')
    }

    /// Number of digits.
    pub(super) fn count(&self) -> usize {
        self.whole.len() + self.fraction.len()
    }

    /// The value without its fraction; `None` when it does not fit.
    pub(super) fn truncate(&self) -> Option<i64> {
        let whole_digits = self.whole.len() as i64 + self.exponent;
        let mut value = 0_i64;
        let mut digits = self.digits();
        for _ in 0..whole_digits.max(0) {
            match digits.next() {
                Some(digit) => {
                    value = value.checked_mul(10)?.checked_sub(i64::from(digit))?;
                }
                // Only zeros follow, and zero times any power of ten is zero.
                None if value == 0 => break,
                None => value = value.checked_mul(10)?,
            }
        }
        // Counted down, because there is one more negative number than positive ones.
        if self.negative {
            Some(value)
        } else {
            value.checked_neg()
        }
    }

    /// The value times `10^scale`, when it is whole and has at most `precision` digits.
    pub(super) fn unscaled<T: Unscaled>(&self, precision: u8, scale: i8) -> Option<T> {
        let leading_zeros = self.digits().take_while(|&digit| digit == 0).count();
        let count = (self.count() - leading_zeros) as i64;
        if count == 0 {
            return Some(T::default());
        }
        let shift = i64::from(scale) + self.exponent - self.fraction.len() as i64;
        if count + shift > i64::from(precision) || count + shift <= 0 {
            return None;
        }
        let (kept, dropped) = (count + shift.min(0), (-shift).max(0));
        if self
            .digits()
            .rev()
            .take(dropped as usize)
            .any(|digit| digit != 0)
        {
            return None;
        }
        let digits = self.digits().skip(leading_zeros).take(kept as usize);
        let zeros = std::iter::repeat_n(0, shift.max(0) as usize);
        let value = digits.chain(zeros).fold(T::default(), T::with_digit);
        Some(if self.negative {
            value.negated()
        } else {
            value
        })
    }
}

fn split_digits(text: &[u8]) -> (&[u8], &[u8]) {
    let count = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    text.split_at(count)
}

fn exponent(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    if digits.is_empty() {
        return None;
    }
    let mut value = 0;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = (value * 10 + i64::from(digit - b'0')).min(EXPONENT_MAX);
    }
    Some(if negative { -value } else { value })
}

/// The integer behind a decimal.
pub(super) trait Unscaled: Default + Copy {
    /// The number with one more digit. The caller counts them.
    fn with_digit(self, digit: u8) -> Self;
    /// The number with its sign changed.
    fn negated(self) -> Self;
}

impl Unscaled for i128 {
    fn with_digit(self, digit: u8) -> Self {
        self * 10 + Self::from(digit)
    }

    fn negated(self) -> Self {
        -self
    }
}

impl Unscaled for i256 {
    fn with_digit(self, digit: u8) -> Self {
        self.wrapping_mul(Self::from_i128(10))
            .wrapping_add(Self::from_i128(digit.into()))
    }

    fn negated(self) -> Self {
        self.wrapping_neg()
    }
}

/// The double that `text` says, as Java's `Double.parseDouble` reads it: a number with blanks
/// around it, `NaN` or `Infinity`. A number too large for a double is `None`, not infinity.
pub(super) fn double(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text)
        .ok()?
        .trim_matches(|c: char| c <= ' ');
    match text.strip_prefix(['-', '+']).unwrap_or(text) {
        "NaN" => Some(f64::NAN),
        "Infinity" if text.starts_with('-') => Some(f64::NEG_INFINITY),
        "Infinity" => Some(f64::INFINITY),
        _ => {
            Parts::parse(text.as_bytes())?;
            text.parse().ok().filter(|value: &f64| value.is_finite())
        }
    }
}

/// The integer that `text` says, as Java's `Long.parseLong` reads it: digits with an optional
/// sign, leading zeros welcome, no blanks.
pub(super) fn long(text: &[u8]) -> Option<i64> {
    let parts = Parts::parse(text)?;
    if parts.is_integer {
        parts.truncate()
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn integers_of_every_length_and_both_limits() {
        for text in [
            "0",
            "-0",
            "7",
            "12345678",
            "123456789",
            "9223372036854775807",
            "-9223372036854775808",
            "1234567890123456",
            "12345678901234567",
            "-1",
        ] {
            for tail in ["", ",", "}", " ", "x", ",\"abcdefgh\":"] {
                let bytes = format!("{text}{tail}");
                let expected = (text.parse().unwrap(), text.len());
                assert_eq!(integer(bytes.as_bytes(), 0), Some(expected), "{bytes}");
            }
        }
        for text in [
            "",
            "-",
            "x",
            "00",
            "01",
            "-01",
            "9223372036854775808",
            "-9223372036854775809",
            "12345678901234567890",
            "99999999999999999999999999",
            "+1",
            ":",
        ] {
            assert_eq!(integer(text.as_bytes(), 0), None, "{text}");
        }
    }

    #[test]
    fn truncation_is_exact_and_bounded() {
        let truncate = |text: &str| Parts::parse(text.as_bytes()).and_then(|p| p.truncate());
        assert_eq!(truncate("1.9"), Some(1));
        assert_eq!(truncate("-1.9"), Some(-1));
        assert_eq!(truncate("1e3"), Some(1000));
        assert_eq!(truncate("12345e-3"), Some(12));
        assert_eq!(truncate("0e999999999999999999999"), Some(0));
        assert_eq!(truncate("1e999999999999999999999"), None);
        assert_eq!(truncate("1e-999999999999999999999"), Some(0));
        assert_eq!(truncate("-9223372036854775808.5"), Some(i64::MIN));
        assert_eq!(truncate("9223372036854775808"), None);
        assert_eq!(
            truncate("0.00000000000000000000000009223372036854775807e44"),
            Some(i64::MAX)
        );
    }

    #[test]
    fn decimals_fit_exactly_or_not_at_all() {
        let decimal = |text: &str, p, s| {
            Parts::parse(text.as_bytes()).and_then(|parts| parts.unscaled::<i128>(p, s))
        };
        assert_eq!(decimal("12.3", 4, 2), Some(1230));
        assert_eq!(decimal("-12.30000", 4, 2), Some(-1230));
        assert_eq!(decimal("12.345", 4, 2), None);
        assert_eq!(decimal("100", 4, 2), None);
        assert_eq!(decimal("1e1", 4, 2), Some(1000));
        assert_eq!(decimal("0.001", 4, 2), None);
        assert_eq!(decimal("0.000", 4, 2), Some(0));
        assert_eq!(decimal("0e99999999999", 4, 2), Some(0));
        assert_eq!(decimal("1e99999999999", 4, 2), None);
        assert_eq!(decimal("1e-99999999999", 4, 2), None);
        assert_eq!(decimal("00012", 4, 2), Some(1200));
        assert_eq!(decimal(".5", 4, 2), Some(50));
        assert_eq!(decimal("+5.", 4, 2), Some(500));
        for bad in ["", "-", ".", "1e", "1e+", "x", "1x", "1.2.3", " 1", "1 "] {
            assert_eq!(decimal(bad, 4, 2), None, "{bad:?}");
        }
        let nines = "9".repeat(76);
        let wide = Parts::parse(nines.as_bytes()).and_then(|p| p.unscaled::<i256>(76, 0));
        assert_eq!(wide.map(|wide| wide.to_string()), Some(nines));
    }

    #[test]
    fn doubles_are_read_as_java_does() {
        assert_eq!(double(b" -1.5e3 "), Some(-1500.0));
        assert_eq!(double(b"-Infinity"), Some(f64::NEG_INFINITY));
        assert!(double(b"NaN").is_some_and(f64::is_nan));
        for bad in ["", "inf", "nan", "1e999", "-1e999", "1 2", "0x1p3", "1f"] {
            assert_eq!(double(bad.as_bytes()), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn integers_equal_the_standard_library(value: i64, tail in "([^0-9].{0,12})?") {
            let text = format!("{value}{tail}");
            prop_assert_eq!(integer(text.as_bytes(), 0), Some((value, value.to_string().len())));
        }

        #[test]
        fn short_doubles_equal_the_standard_library(text in "-?(0|[1-9][0-9]{0,9})(\\.[0-9]{1,9})?") {
            if let Some((value, end)) = short_double(text.as_bytes(), 0) {
                prop_assert_eq!(end, text.len());
                prop_assert_eq!(value.to_bits(), text.parse::<f64>().unwrap().to_bits());
            } else {
                prop_assert!(text.len() > 15);
            }
        }

        #[test]
        fn any_eight_bytes_are_taken_apart_as_one_by_one(bytes: [u8; 8]) {
            let count = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let value = bytes[..count].iter().fold(0, |v, d| v * 10 + u64::from(d - b'0'));
            prop_assert_eq!(leading_digits(u64::from_le_bytes(bytes)), (count, value));
        }
    }
}
