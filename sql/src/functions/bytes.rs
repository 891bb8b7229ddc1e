//! Bytes as text in one of four encodings, and as numbers.

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use datafusion::common::Result;
use datafusion::logical_expr::ScalarUDF;

use super::native::{Call, Get, Native, Overload, Param, takes};

const STRING: fn(&[DataType]) -> DataType = |_| DataType::Utf8;
const BYTES: fn(&[DataType]) -> DataType = |_| DataType::Binary;

pub(super) fn all() -> Vec<ScalarUDF> {
    use Param::{Bytes, String};
    static TO_BYTES: &[Overload] = &[takes(&[String, String], BYTES, |call| {
        let (text, encoding) = (call.string(0), call.string(1));
        Ok(call.binaries(|row| Encoding::of(encoding.get(row)?)?.bytes(text.get(row)?)))
    })];
    static FROM_BYTES: &[Overload] = &[takes(&[Bytes, String], STRING, |call| {
        let (bytes, encoding) = (call.bytes(0), call.string(1));
        Ok(call.strings(|row| {
            let text = Encoding::of(encoding.get(row)?)?.text(bytes.get(row)?);
            Some(text)
        }))
    })];
    static ENCODE: &[Overload] = &[takes(&[String, String, String], STRING, |call| {
        let (text, from, to) = (call.string(0), call.string(1), call.string(2));
        Ok(call.strings(|row| {
            let (from, to) = (Encoding::of(from.get(row)?)?, Encoding::of(to.get(row)?)?);
            Some(to.text(&from.bytes(text.get(row)?)?))
        }))
    })];
    static INT_FROM_BYTES: [Overload; 2] = from_number_bytes(
        |_| DataType::Int32,
        |call| Ok(call.ints(|row| number(call, row).map(i32::from_be_bytes))),
    );
    static BIGINT_FROM_BYTES: [Overload; 2] = from_number_bytes(
        |_| DataType::Int64,
        |call| Ok(call.bigints(|row| number(call, row).map(i64::from_be_bytes))),
    );
    static DOUBLE_FROM_BYTES: [Overload; 2] = from_number_bytes(
        |_| DataType::Float64,
        |call| Ok(call.doubles(|row| number(call, row).map(f64::from_be_bytes))),
    );
    vec![
        Native::create("to_bytes", TO_BYTES),
        Native::create("from_bytes", FROM_BYTES),
        Native::create("encode", ENCODE),
        Native::create("int_from_bytes", &INT_FROM_BYTES),
        Native::create("bigint_from_bytes", &BIGINT_FROM_BYTES),
        Native::create("double_from_bytes", &DOUBLE_FROM_BYTES),
    ]
}

/// A function of the bytes of a number, and of their order where that is given.
const fn from_number_bytes(
    returns: fn(&[DataType]) -> DataType,
    run: fn(&Call<'_>) -> Result<ArrayRef>,
) -> [Overload; 2] {
    [
        takes(&[Param::Bytes], returns, run),
        takes(&[Param::Bytes, Param::String], returns, run),
    ]
}

/// The bytes of a number, the highest first. `None` unless there are exactly as many as it has.
fn number<const N: usize>(call: &Call<'_>, row: usize) -> Option<[u8; N]> {
    let mut bytes = <[u8; N]>::try_from(call.bytes(0).get(row)?).ok()?;
    if call.args.len() > 1 {
        match call.string(1).get(row)? {
            order if order.eq_ignore_ascii_case("BIG_ENDIAN") => {}
            order if order.eq_ignore_ascii_case("LITTLE_ENDIAN") => bytes.reverse(),
            _ => return None,
        }
    }
    Some(bytes)
}

/// How bytes are written as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Hex,
    Utf8,
    Ascii,
    Base64,
}

impl Encoding {
    fn of(name: &str) -> Option<Self> {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        Some(match () {
            () if is("hex") => Self::Hex,
            () if is("utf8") => Self::Utf8,
            () if is("ascii") => Self::Ascii,
            () if is("base64") => Self::Base64,
            () => return None,
        })
    }

    /// The bytes that `text` stands for.
    fn bytes(self, text: &str) -> Option<Vec<u8>> {
        match self {
            Self::Utf8 => Some(text.as_bytes().to_vec()),
            Self::Ascii => Some(
                text.chars()
                    .map(|c| if c.is_ascii() { c as u8 } else { b'?' })
                    .collect(),
            ),
            Self::Base64 => BASE64.decode(text).ok(),
            Self::Hex => {
                // `0x1F` and `x'1F'` are other systems' ways to write them.
                let quoted = |start| {
                    text.strip_prefix(start)
                        .and_then(|rest| rest.strip_suffix('\''))
                };
                let digits = match text.strip_prefix("0x") {
                    Some(digits) => digits,
                    None => {
                        let digits = quoted("x'").or_else(|| quoted("X'")).unwrap_or(text);
                        if !digits.len().is_multiple_of(2) {
                            return None;
                        }
                        digits
                    }
                };
                // Behind 0x the first digit may be left out, if it is zero.
                let zero = (digits.len() % 2 == 1).then_some('0');
                let nibbles = zero
                    .into_iter()
                    .chain(digits.chars())
                    .map(|c| c.to_digit(16).map(|digit| digit as u8))
                    .collect::<Option<Vec<u8>>>()?;
                Some(
                    nibbles
                        .chunks_exact(2)
                        .map(|pair| pair[0] << 4 | pair[1])
                        .collect(),
                )
            }
        }
    }

    /// `bytes` as text; what is none in the encoding becomes U+FFFD.
    fn text(self, bytes: &[u8]) -> String {
        match self {
            Self::Utf8 => String::from_utf8_lossy(bytes).into_owned(),
            Self::Ascii => bytes
                .iter()
                .map(|byte| match byte.is_ascii() {
                    true => char::from(*byte),
                    false => char::REPLACEMENT_CHARACTER,
                })
                .collect(),
            Self::Base64 => BASE64.encode(bytes),
            Self::Hex => {
                let digit =
                    |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or_default();
                bytes
                    .iter()
                    .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
                    .collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bytes_in_each_encoding() {
        let hex = Encoding::Hex.bytes("4578616d706C6521");
        assert_eq!(hex.as_deref(), Some(b"Example!".as_slice()));
        assert_eq!(
            Encoding::Hex.bytes("0x45").as_deref(),
            Some(b"E".as_slice())
        );
        assert_eq!(
            Encoding::Hex.bytes("x'45'").as_deref(),
            Some(b"E".as_slice())
        );
        assert_eq!(Encoding::Hex.bytes("4g"), None);
        assert_eq!(Encoding::Hex.bytes("123"), None);
        assert_eq!(
            Encoding::Hex.bytes("0x123").as_deref(),
            Some([1, 0x23].as_slice())
        );
        assert_eq!(Encoding::Hex.text(b"Ex"), "4578");
        assert_eq!(Encoding::Base64.text(b"Example!"), "RXhhbXBsZSE=");
        assert_eq!(
            Encoding::Ascii.text(&[0xc3, 0x9c, b'b']),
            "\u{fffd}\u{fffd}b"
        );
        assert_eq!(Encoding::of("latin1"), None);
    }
}
