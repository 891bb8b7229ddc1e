//! Decimals as Postgres's binary `numeric`.
//!
//! `[digits: i16][weight of the first digit: i16][sign: u16][shown decimals: u16][digit: i16]…`,
//! the digits to the base of 10,000, the first and the last not zero.

use bytes::{BufMut, BytesMut};

const NEGATIVE: u16 = 0x4000;
/// 39 decimal digits reach over at most 11 digits of Postgres.
const DIGITS_MAX: usize = 12;
const POWERS: [u16; 4] = [1, 10, 100, 1000];

/// Appends `value` × 10^-`scale`, after its length.
pub(super) fn put(buffer: &mut BytesMut, value: i128, scale: i8) {
    let mut digits = [0_u16; DIGITS_MAX];
    // Where the last decimal digit is, counted from the one before the point.
    let lowest = -i32::from(scale);
    let base = lowest.div_euclid(4);
    let mut rest = value.unsigned_abs();
    let mut at = lowest;
    while rest != 0 {
        // Division of 64 bits is an instruction, of 128 a function.
        let (mut part, whole) = (
            (rest % 10_000_000_000_000_000) as u64,
            rest / 10_000_000_000_000_000,
        );
        for i in 0..16 {
            if part == 0 {
                break;
            }
            let place = at + i;
            let group = usize::try_from(place.div_euclid(4) - base).unwrap_or_default();
            let power = POWERS[usize::try_from(place.rem_euclid(4)).unwrap_or_default()];
            digits[group] += (part % 10) as u16 * power;
            part /= 10;
        }
        rest = whole;
        at += 16;
    }
    let first = digits.iter().rposition(|digit| *digit != 0);
    let last = digits.iter().position(|digit| *digit != 0);
    let (count, weight) = match (first, last) {
        (Some(first), Some(last)) => (first + 1 - last, base + first as i32),
        _ => (0, 0),
    };
    buffer.put_i32(8 + 2 * count as i32);
    buffer.put_i16(count as i16);
    buffer.put_i16(weight as i16);
    buffer.put_u16(if value < 0 { NEGATIVE } else { 0 });
    buffer.put_u16(scale.max(0) as u16);
    if let (Some(first), Some(last)) = (first, last) {
        for digit in digits[last..=first].iter().rev() {
            buffer.put_u16(*digit);
        }
    }
}
