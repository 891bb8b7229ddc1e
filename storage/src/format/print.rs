//! Numbers as text, the way Java prints them.

use std::io::Write;

use arrow::datatypes::i256;

/// Appends an integer.
#[inline]
pub(super) fn long(value: i64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut rest = value.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends a double as `Double.toString` prints it: the fewest digits that tell it apart from its
/// neighbours, `1.0E10` for what is very large or small, `NaN`, `Infinity`.
pub(super) fn double(value: f64, out: &mut Vec<u8>) {
    if value.is_nan() {
        return out.extend_from_slice(b"NaN");
    }
    if value.is_sign_negative() {
        out.push(b'-');
    }
    let value = value.abs();
    if value.is_infinite() {
        return out.extend_from_slice(b"Infinity");
    }
    if value == 0.0 {
        return out.extend_from_slice(b"0.0");
    }
    // Rust finds the same digits, in the form d.ddde-ddd.
    let mut buffer = [0_u8; 40];
    let mut rest = &mut buffer[..];
    // Where one digit would do Java takes the best two, which makes a difference only down here.
    let tiny = value < 1e-300;
    let written = if tiny && has_one_digit(value) {
        write!(rest, "{value:.1e}")
    } else {
        write!(rest, "{value:e}")
    };
    debug_assert!(written.is_ok(), "a double has at most 17 digits");
    let len = 40 - rest.len();
    let text = &buffer[..len];
    let mark = text.iter().position(|&byte| byte == b'e').unwrap_or(len);
    let (mantissa, exponent) = (&text[..mark], &text[(mark + 1).min(len)..]);
    let exponent = exponent_value(exponent);
    let mut digits = [0_u8; 40];
    let mut count = 0;
    for &digit in mantissa.iter().filter(|&&byte| byte != b'.') {
        digits[count] = digit;
        count += 1;
    }
    let digits = &digits[..count];
    match exponent {
        0..=6 => {
            let whole = exponent as usize + 1;
            let (whole_digits, fraction) = digits.split_at(whole.min(count));
            out.extend_from_slice(whole_digits);
            out.extend(std::iter::repeat_n(b'0', whole.saturating_sub(count)));
            out.push(b'.');
            out.extend_from_slice(if fraction.is_empty() { b"0" } else { fraction });
        }
        -3..=-1 => {
            out.extend_from_slice(b"0.");
            out.extend(std::iter::repeat_n(b'0', (-exponent - 1) as usize));
            out.extend_from_slice(digits);
        }
        _ => {
            out.push(digits[0]);
            out.push(b'.');
            out.extend_from_slice(if count > 1 { &digits[1..] } else { b"0" });
            out.push(b'E');
            long(exponent, out);
        }
    }
}

fn has_one_digit(value: f64) -> bool {
    let mut buffer = [0_u8; 40];
    let mut rest = &mut buffer[..];
    write!(rest, "{value:e}").is_ok() && buffer[1] == b'e'
}

fn exponent_value(text: &[u8]) -> i64 {
    let (sign, digits) = match text {
        [b'-', digits @ ..] => (-1, digits),
        digits => (1, digits),
    };
    sign * digits
        .iter()
        .fold(0, |value, digit| value * 10 + i64::from(digit - b'0'))
}

/// Appends a decimal in plain notation, with all of its scale: `-0.50`.
pub(super) fn decimal128(unscaled: i128, scale: i8, out: &mut Vec<u8>) {
    let mut digits = Vec::with_capacity(40);
    match u64::try_from(unscaled.unsigned_abs()).map(i64::try_from) {
        Ok(Ok(small)) => long(small, &mut digits),
        _ => digits.extend_from_slice(unscaled.unsigned_abs().to_string().as_bytes()),
    }
    plain(unscaled < 0, &digits, scale, out);
}

/// Appends a decimal in plain notation, with all of its scale.
pub(super) fn decimal256(unscaled: i256, scale: i8, out: &mut Vec<u8>) {
    let text = unscaled.to_string();
    plain(
        unscaled < i256::ZERO,
        text.trim_start_matches('-').as_bytes(),
        scale,
        out,
    );
}

fn plain(negative: bool, digits: &[u8], scale: i8, out: &mut Vec<u8>) {
    if negative {
        out.push(b'-');
    }
    let fraction = usize::try_from(scale).unwrap_or(0);
    if digits.len() > fraction {
        let (whole, fraction) = digits.split_at(digits.len() - fraction);
        out.extend_from_slice(whole);
        if !fraction.is_empty() {
            out.push(b'.');
            out.extend_from_slice(fraction);
        }
    } else {
        out.extend_from_slice(b"0.");
        out.extend(std::iter::repeat_n(b'0', fraction - digits.len()));
        out.extend_from_slice(digits);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn printed(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn doubles_print_as_in_java() {
        for (value, expected) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (-1.5, "-1.5"),
            (100.0, "100.0"),
            (1234567.0, "1234567.0"),
            (9999999.0, "9999999.0"),
            (1e7, "1.0E7"),
            (12345678.9, "1.23456789E7"),
            (1e10, "1.0E10"),
            (1.5e-3, "0.0015"),
            (0.001, "0.001"),
            (0.000999, "9.99E-4"),
            (1e-10, "1.0E-10"),
            (0.1, "0.1"),
            (9876.54321, "9876.54321"),
            (f64::MAX, "1.7976931348623157E308"),
            (f64::MIN_POSITIVE, "2.2250738585072014E-308"),
            (f64::from_bits(1), "4.9E-324"),
            (f64::from_bits(2), "9.9E-324"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "Infinity"),
            (f64::NEG_INFINITY, "-Infinity"),
            (1e23, "1.0E23"),
            (2e23, "2.0E23"),
            (120.0, "120.0"),
        ] {
            assert_eq!(printed(|out| double(value, out)), expected);
        }
    }

    #[test]
    fn decimals_keep_their_scale() {
        assert_eq!(printed(|out| decimal128(1010, 2, out)), "10.10");
        assert_eq!(printed(|out| decimal128(-5, 2, out)), "-0.05");
        assert_eq!(printed(|out| decimal128(0, 4, out)), "0.0000");
        assert_eq!(printed(|out| decimal128(7, 0, out)), "7");
        assert_eq!(
            printed(|out| decimal256(i256::from_i128(-100), 2, out)),
            "-1.00"
        );
        let most = "9".repeat(38);
        assert_eq!(
            printed(|out| decimal128(-(10_i128.pow(38) - 1), 0, out)),
            format!("-{most}")
        );
    }

    proptest! {
        #[test]
        fn integers_print_as_in_rust(value: i64) {
            prop_assert_eq!(printed(|out| long(value, out)), value.to_string());
        }

        #[test]
        fn doubles_are_read_back(bits: u64) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            let text = printed(|out| double(value, out));
            prop_assert_eq!(text.parse::<f64>().unwrap().to_bits(), bits);
        }
    }
}
