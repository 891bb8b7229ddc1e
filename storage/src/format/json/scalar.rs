//! One JSON value into a column of scalars, with ksqlDB's coercions: numbers may be written as
//! strings, a fraction is cut off an integer, and anything can be a STRING. What does not fit is
//! refused, where ksqlDB would take an integer's low bits.

use super::super::column::{Mismatch, Scalar, Strings};
use super::super::number::{self, Parts};
use super::scan::{self, Flaw, byte};
use super::{string, text as json_text};

/// The value is not JSON, or not of the column's type.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refused;

impl From<Flaw> for Refused {
    fn from(_: Flaw) -> Self {
        Self
    }
}

impl From<Mismatch> for Refused {
    fn from(_: Mismatch) -> Self {
        Self
    }
}

/// A piece of JSON text, and where in the batch's payloads it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) base: usize,
}

/// Appends the value at `at` to `column`, and says where it ends. It stands inside `depth` objects
/// and arrays. When it is refused the column is as before.
#[inline(always)]
pub(super) fn push(
    column: &mut Scalar,
    text: Text<'_>,
    at: usize,
    depth: usize,
) -> Result<usize, Refused> {
    if byte(text.bytes, at) == b'n' {
        return push_null(column, text, at);
    }
    match column {
        Scalar::String(column) => push_string(column, text, at, depth),
        Scalar::BigInt(numbers) => match number::integer(text.bytes, at) {
            Some((value, end)) if !goes_on(text, end) => {
                numbers.push(value);
                Ok(end)
            }
            _ => push_integer(column, text, at),
        },
        _ => push_other(column, text, at, depth),
    }
}

/// Appends a map's key, which may not stand in the payloads as it is.
pub(super) fn push_key(column: &mut Scalar, key: &[u8]) -> Result<(), Refused> {
    let write = |out: &mut Vec<u8>| -> Result<(), Refused> {
        out.extend_from_slice(key);
        Ok(())
    };
    match column {
        Scalar::String(column) => column.push_written(write),
        Scalar::StringView(column) => column.push_written(write),
        _ => Err(Refused),
    }
}

/// The types that are less common.
fn push_other(
    column: &mut Scalar,
    text: Text<'_>,
    at: usize,
    depth: usize,
) -> Result<usize, Refused> {
    match column {
        Scalar::StringView(column) => push_string(column, text, at, depth),
        Scalar::String(column) => push_string(column, text, at, depth),
        Scalar::Boolean(column) => {
            let value = byte(text.bytes, at) == b't';
            let word: &[u8] = if value { b"true" } else { b"false" };
            let end = scan::word_end(text.bytes, at, word)?;
            column.push(value);
            Ok(end)
        }
        Scalar::Double(column) if byte(text.bytes, at) != b'"' => {
            if let Some((value, end)) = number::short_double(text.bytes, at) {
                column.push(value);
                return Ok(end);
            }
            let end = scan::number_end(text.bytes, at)?;
            column.push(number::double(&text.bytes[at..end]).ok_or(Refused)?);
            Ok(end)
        }
        Scalar::Decimal128(_) | Scalar::Decimal256(_) if byte(text.bytes, at) != b'"' => {
            let end = scan::number_end(text.bytes, at)?;
            column.push_text(&text.bytes[at..end], text.base + at)?;
            Ok(end)
        }
        Scalar::Bytes(_) | Scalar::Double(_) | Scalar::Decimal128(_) | Scalar::Decimal256(_) => {
            push_quoted(column, text, at)
        }
        Scalar::Integer(_)
        | Scalar::BigInt(_)
        | Scalar::Date(_)
        | Scalar::Time(_)
        | Scalar::Timestamp(_) => push_integer(column, text, at),
    }
}

#[cold]
fn push_null(column: &mut Scalar, text: Text<'_>, at: usize) -> Result<usize, Refused> {
    let end = scan::word_end(text.bytes, at, b"null")?;
    column.push_null();
    Ok(end)
}

/// Whether the integer that ends at `end` is only the beginning of a number.
#[inline(always)]
fn goes_on(text: Text<'_>, end: usize) -> bool {
    matches!(byte(text.bytes, end), b'.' | b'e' | b'E')
}

fn push_integer(column: &mut Scalar, text: Text<'_>, at: usize) -> Result<usize, Refused> {
    if byte(text.bytes, at) == b'"' {
        return push_quoted(column, text, at);
    }
    let (value, end) = match number::integer(text.bytes, at) {
        Some((value, end)) if !goes_on(text, end) => (value, end),
        _ => {
            let end = scan::number_end(text.bytes, at)?;
            let parts = Parts::parse(&text.bytes[at..end]).ok_or(Refused)?;
            (parts.truncate().ok_or(Refused)?, end)
        }
    };
    column.push_integer(value)?;
    Ok(end)
}

/// Appends what a string says to a column of another type.
fn push_quoted(column: &mut Scalar, text: Text<'_>, at: usize) -> Result<usize, Refused> {
    if byte(text.bytes, at) != b'"' {
        return Err(Refused);
    }
    let (contents, end) = json_text::contents(text.bytes, at + 1)?;
    column.push_text(&contents, text.base + at + 1)?;
    Ok(end)
}

#[inline(always)]
fn push_string(
    column: &mut impl Strings,
    text: Text<'_>,
    at: usize,
    depth: usize,
) -> Result<usize, Refused> {
    if byte(text.bytes, at) != b'"' {
        return push_as_string(column, text, at, depth);
    }
    let start = at + 1;
    let end = scan::string_end(text.bytes, start)?;
    let contents = &text.bytes[start..end.quote];
    if end.escaped {
        column.push_written(|out| string::unescape(contents, out))?;
    } else {
        column.push(contents, text.base + start);
    }
    Ok(end.quote + 1)
}

/// Appends what is not a string to a column of strings.
#[cold]
fn push_as_string(
    column: &mut impl Strings,
    text: Text<'_>,
    at: usize,
    depth: usize,
) -> Result<usize, Refused> {
    // Only sound JSON may be turned into text.
    let end = scan::value_end(text.bytes, at, depth)?;
    column.push_written(|out| json_text::write(&text.bytes[..end], at, out).map(|_| ()))?;
    Ok(end)
}
