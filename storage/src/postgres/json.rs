//! Nested values as JSON.

use arrow::array::Array;
use arrow::datatypes::FieldRef;
use arrow::error::ArrowError;
use arrow::json::writer::{EncoderOptions, NullableEncoder, make_encoder};

/// NULL inside a value is written, not left out: a reader sees every field.
pub(super) fn options() -> EncoderOptions {
    EncoderOptions::default().with_explicit_nulls(true)
}

/// The encoder of a column's values.
pub(super) fn encoder<'a>(
    field: &'a FieldRef,
    array: &'a dyn Array,
    options: &'a EncoderOptions,
) -> Result<NullableEncoder<'a>, ArrowError> {
    make_encoder(field, array, options)
}

/// Whether there is a zero character in JSON text: an escape of it that is not itself escaped.
pub(super) fn has_zero(text: &[u8]) -> bool {
    let mut at = 0;
    while at < text.len() {
        match text[at] {
            b'\\' if text[at + 1..].starts_with(b"u0000") => return true,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::has_zero;

    #[test]
    fn tells_a_zero_from_its_spelling() {
        assert!(has_zero(br#"{"a":"x\u0000"}"#));
        assert!(has_zero(br#""\\\u0000""#));
        assert!(!has_zero(br#""\\u0000""#));
        assert!(!has_zero(br#""\u0001 \n""#));
    }
}
