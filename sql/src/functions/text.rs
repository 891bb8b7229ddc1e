//! Functions of strings, and of bytes where KSQL has the same for both.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryBuilder, ListBuilder, MapBuilder, StringBuilder};
use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::ScalarUDF;

use super::native::{Call, Get, Native, Overload, Param, list_of, strings, takes};
use crate::types::SqlType;

const STRING: fn(&[DataType]) -> DataType = |_| DataType::Utf8;
const BYTES: fn(&[DataType]) -> DataType = |_| DataType::Binary;
const INT: fn(&[DataType]) -> DataType = |_| DataType::Int32;

pub(super) fn all() -> Vec<ScalarUDF> {
    use Param::{Bytes, Int, String};
    static LEN: &[Overload] = &[
        takes(&[String], INT, |call| {
            let text = call.string(0);
            Ok(call.ints(|row| Some(text.get(row)?.encode_utf16().count() as i32)))
        }),
        takes(&[Bytes], INT, |call| {
            let bytes = call.bytes(0);
            Ok(call.ints(|row| Some(bytes.get(row)?.len() as i32)))
        }),
    ];
    static INITCAP: &[Overload] = &[takes(&[String], STRING, |call| {
        let text = call.string(0);
        Ok(call.strings(|row| text.get(row).map(capitalised)))
    })];
    static INSTR: &[Overload] = &[
        takes(&[String, String], INT, instr),
        takes(&[String, String, Int], INT, instr),
        takes(&[String, String, Int, Int], INT, instr),
    ];
    static SUBSTRING: &[Overload] = &[
        takes(&[String, Int], STRING, substring),
        takes(&[String, Int, Int], STRING, substring),
        takes(&[Bytes, Int], BYTES, subbytes),
        takes(&[Bytes, Int, Int], BYTES, subbytes),
    ];
    static LPAD: &[Overload] = &[
        takes(&[String, Int, String], STRING, |call| {
            pad_text(call, Side::Left)
        }),
        takes(&[Bytes, Int, Bytes], BYTES, |call| {
            pad_bytes(call, Side::Left)
        }),
    ];
    static RPAD: &[Overload] = &[
        takes(&[String, Int, String], STRING, |call| {
            pad_text(call, Side::Right)
        }),
        takes(&[Bytes, Int, Bytes], BYTES, |call| {
            pad_bytes(call, Side::Right)
        }),
    ];
    static SPLIT: &[Overload] = &[
        takes(&[String, String], |_| strings(), split),
        takes(&[Bytes, Bytes], |_| list_of(DataType::Binary), split_bytes),
    ];
    static SPLIT_TO_MAP: &[Overload] = &[takes(
        &[String, String, String],
        |_| SqlType::Map(Box::new(SqlType::String), Box::new(SqlType::String)).to_arrow(),
        split_to_map,
    )];
    static CHR: &[Overload] = &[
        takes(&[Int], STRING, |call| {
            let code = call.int(0);
            Ok(call.strings(|row| {
                let code = u32::try_from(code.get(row)?).ok()?;
                char::from_u32(code).map(std::string::String::from)
            }))
        }),
        takes(&[String], STRING, |call| {
            let text = call.string(0);
            Ok(call.strings(|row| unescaped(text.get(row)?)))
        }),
    ];
    static CONCAT: &[Overload] = &[
        takes(&[String, String], STRING, concat_text).variadic(),
        takes(&[Bytes, Bytes], BYTES, concat_bytes).variadic(),
    ];
    static CONCAT_WS: &[Overload] = &[
        takes(&[String, String, String], STRING, join_text).variadic(),
        takes(&[Bytes, Bytes, Bytes], BYTES, join_bytes).variadic(),
    ];
    static ELT: &[Overload] = &[takes(&[Int, String], STRING, |call| {
        let n = call.int(0);
        Ok(call.strings(|row| {
            let at = usize::try_from(n.get(row)?).ok()?;
            let chosen = (1..call.args.len()).contains(&at);
            chosen.then(|| call.string(at).get(row)).flatten()
        }))
    })
    .variadic()];
    static FIELD: &[Overload] = &[takes(&[String, String], INT, |call| {
        let wanted = call.string(0);
        Ok(call.ints(|row| {
            let found = wanted.get(row).and_then(|wanted| {
                (1..call.args.len()).find(|at| call.string(*at).get(row) == Some(wanted))
            });
            Some(found.unwrap_or(0) as i32)
        }))
    })
    .variadic()];
    static REPLACE: &[Overload] = &[takes(&[String, String, String], STRING, |call| {
        let (text, old, new) = (call.string(0), call.string(1), call.string(2));
        Ok(call.strings(|row| Some(text.get(row)?.replace(old.get(row)?, new.get(row)?))))
    })];
    static TRIM: &[Overload] = &[takes(&[String], STRING, |call| {
        let text = call.string(0);
        // Java's: all up to the space counts as white.
        Ok(call.strings(|row| text.get(row).map(|text| text.trim_matches(|c| c <= ' '))))
    })];
    vec![
        Native::create("len", LEN),
        Native::create("initcap", INITCAP),
        Native::create("instr", INSTR),
        Native::create("substring", SUBSTRING),
        Native::create("lpad", LPAD),
        Native::create("rpad", RPAD),
        Native::create("split", SPLIT),
        Native::create("split_to_map", SPLIT_TO_MAP),
        Native::create("chr", CHR),
        Native::create("concat", CONCAT),
        Native::create("concat_ws", CONCAT_WS),
        Native::create("elt", ELT),
        Native::create("field", FIELD),
        Native::create("replace", REPLACE),
        Native::create("trim", TRIM),
    ]
}

/// Words, which white space separates, with a capital first and small letters after it.
fn capitalised(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut first = true;
    for c in text.chars() {
        match first {
            true => out.extend(c.to_uppercase()),
            false => out.extend(c.to_lowercase()),
        }
        first = c.is_whitespace();
    }
    out
}

/// `INSTR(text, part [, position [, occurrence]])`: where the part starts, counted from 1; 0 if it
/// does not. A negative position is counted from the end, and the search goes towards the start.
fn instr(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, part) = (call.string(0), call.string(1));
    let number = |index: usize, row: usize| match call.args.len() > index {
        true => call.int(index).get(row),
        false => Some(1),
    };
    Ok(call.ints(|row| {
        let (text, part) = (text.get(row)?, part.get(row)?);
        let (position, occurrence) = (number(2, row)?, number(3, row)?);
        let starts = text.match_indices_overlapping(part);
        let nth = usize::try_from(occurrence).ok().filter(|nth| *nth > 0);
        let Some(nth) = nth else { return Some(0) };
        let len = text.chars().count() as i32;
        let found = match position {
            0 => None,
            1.. => starts.filter(|at| *at + 1 >= position).nth(nth - 1),
            _ => {
                let before: Vec<i32> = starts.filter(|at| *at <= len + position).collect();
                before.into_iter().rev().nth(nth - 1)
            }
        };
        Some(found.map_or(0, |at| at + 1))
    }))
}

/// All places of a part in a text, in characters from 0, those that overlap too.
trait MatchIndices {
    fn match_indices_overlapping<'a>(&'a self, part: &'a str) -> impl Iterator<Item = i32> + 'a;
}

impl MatchIndices for str {
    fn match_indices_overlapping<'a>(&'a self, part: &'a str) -> impl Iterator<Item = i32> + 'a {
        self.char_indices()
            .map(|(at, _)| at)
            .enumerate()
            .filter(move |(_, at)| self[*at..].starts_with(part))
            .map(|(index, _)| index as i32)
    }
}

/// Where a part starts and ends: from `position`, counted from 1, or from the end where negative.
fn range(len: usize, position: i32, length: Option<i32>) -> (usize, usize) {
    let start = match position {
        ..0 => len.saturating_sub(position.unsigned_abs() as usize),
        _ => (position.max(1) as usize - 1).min(len),
    };
    let end = match length {
        Some(length) => start.saturating_add(length.max(0) as usize).min(len),
        None => len,
    };
    (start, end)
}

fn length(call: &Call<'_>, row: usize) -> Option<Option<i32>> {
    match call.args.len() {
        3 => call.int(2).get(row).map(Some),
        _ => Some(None),
    }
}

fn substring(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, position) = (call.string(0), call.int(1));
    Ok(call.strings(|row| {
        let text = text.get(row)?;
        let length = length(call, row)?;
        let (start, end) = match text.is_ascii() {
            true => range(text.len(), position.get(row)?, length),
            false => {
                let (start, end) = range(text.chars().count(), position.get(row)?, length);
                let at = |index| {
                    text.char_indices()
                        .nth(index)
                        .map_or(text.len(), |(at, _)| at)
                };
                (at(start), at(end))
            }
        };
        Some(&text[start..end])
    }))
}

fn subbytes(call: &Call<'_>) -> Result<ArrayRef> {
    let (bytes, position) = (call.bytes(0), call.int(1));
    Ok(call.binaries(|row| {
        let bytes = bytes.get(row)?;
        let (start, end) = range(bytes.len(), position.get(row)?, length(call, row)?);
        Some(&bytes[start..end])
    }))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Left,
    Right,
}

/// The longest text or bytes that padding makes: beyond it a row would be a way to use up memory.
const PADDED_MAX: usize = 16 << 20;

/// `items` filled up to `target` with `padding`, or cut. `None` without a padding.
fn padded<T: Copy>(items: &[T], target: i32, padding: &[T], side: Side) -> Option<Vec<T>> {
    let target = usize::try_from(target)
        .ok()
        .filter(|target| *target <= PADDED_MAX)?;
    if padding.is_empty() {
        return None;
    }
    let missing = target.saturating_sub(items.len());
    let fill = padding.iter().copied().cycle().take(missing);
    let kept = items.iter().copied().take(target);
    Some(match side {
        Side::Left => fill.chain(kept).collect(),
        Side::Right => kept.chain(fill).collect(),
    })
}

fn pad_text(call: &Call<'_>, side: Side) -> Result<ArrayRef> {
    let (text, target, padding) = (call.string(0), call.int(1), call.string(2));
    Ok(call.strings(|row| {
        let text: Vec<char> = text.get(row)?.chars().collect();
        let padding: Vec<char> = padding.get(row)?.chars().collect();
        let padded = padded(&text, target.get(row)?, &padding, side)?;
        Some(padded.into_iter().collect::<String>())
    }))
}

fn pad_bytes(call: &Call<'_>, side: Side) -> Result<ArrayRef> {
    let (bytes, target, padding) = (call.bytes(0), call.int(1), call.bytes(2));
    Ok(call.binaries(|row| padded(bytes.get(row)?, target.get(row)?, padding.get(row)?, side)))
}

fn split(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, delimiter) = (call.string(0), call.string(1));
    let mut lists = ListBuilder::new(StringBuilder::new());
    for row in 0..call.rows {
        let parts = text.get(row).zip(delimiter.get(row));
        match parts {
            None => {}
            Some((text, "")) => {
                let mut buffer = [0; 4];
                for c in text.chars() {
                    lists.values().append_value(c.encode_utf8(&mut buffer));
                }
            }
            Some((text, delimiter)) => {
                text.split(delimiter)
                    .for_each(|part| lists.values().append_value(part));
            }
        }
        lists.append(parts.is_some());
    }
    Ok(Arc::new(lists.finish()))
}

fn split_bytes(call: &Call<'_>) -> Result<ArrayRef> {
    let (bytes, delimiter) = (call.bytes(0), call.bytes(1));
    let mut lists = ListBuilder::new(BinaryBuilder::new());
    for row in 0..call.rows {
        let parts = bytes.get(row).zip(delimiter.get(row));
        match parts {
            None => {}
            Some((bytes, [])) => bytes
                .iter()
                .for_each(|byte| lists.values().append_value([*byte])),
            Some((mut rest, delimiter)) => {
                while let Some(at) = rest
                    .windows(delimiter.len())
                    .position(|window| window == delimiter)
                {
                    lists.values().append_value(&rest[..at]);
                    rest = &rest[at + delimiter.len()..];
                }
                lists.values().append_value(rest);
            }
        }
        lists.append(parts.is_some());
    }
    Ok(Arc::new(lists.finish()))
}

/// `SPLIT_TO_MAP(text, entry delimiter, value delimiter)`: what is no pair is left out, and of
/// entries with the same key the last counts.
fn split_to_map(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, between, within) = (call.string(0), call.string(1), call.string(2));
    let mut maps = MapBuilder::new(
        Some(map_names()),
        StringBuilder::new(),
        StringBuilder::new(),
    );
    for row in 0..call.rows {
        let whole = text.get(row).zip(between.get(row)).zip(within.get(row));
        let Some(((text, between), within)) =
            whole.filter(|((_, between), within)| !between.is_empty() && !within.is_empty())
        else {
            maps.append(false)?;
            continue;
        };
        let mut entries: Vec<(&str, &str)> = Vec::new();
        for entry in text.split(between) {
            // The second of more than two parts is the value.
            let mut parts = entry.split(within);
            let (Some(key), Some(value)) = (parts.next(), parts.next()) else {
                continue;
            };
            match entries.iter_mut().find(|(known, _)| *known == key) {
                Some(known) => known.1 = value,
                None => entries.push((key, value)),
            }
        }
        for (key, value) in entries {
            maps.keys().append_value(key);
            maps.values().append_value(value);
        }
        maps.append(true)?;
    }
    Ok(Arc::new(maps.finish()))
}

/// What the parts of a map are called ([`SqlType::to_arrow`]).
pub(super) fn map_names() -> arrow::array::MapFieldNames {
    arrow::array::MapFieldNames {
        entry: "entries".into(),
        key: "key".into(),
        value: "value".into(),
    }
}

/// The text of `\uXXXX`, one or more of them as UTF-16. `None` for anything else.
fn unescaped(text: &str) -> Option<String> {
    let mut units = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.strip_prefix("\\u")?.get(..4)?;
        units.push(u16::from_str_radix(digits, 16).ok()?);
        rest = &rest[6..];
    }
    if units.is_empty() {
        return None;
    }
    String::from_utf16(&units).ok()
}

fn concat_text(call: &Call<'_>) -> Result<ArrayRef> {
    Ok(call.strings(|row| {
        let parts = (0..call.args.len()).filter_map(|at| call.string(at).get(row));
        Some(parts.collect::<String>())
    }))
}

fn concat_bytes(call: &Call<'_>) -> Result<ArrayRef> {
    Ok(call.binaries(|row| {
        let parts = (0..call.args.len()).filter_map(|at| call.bytes(at).get(row));
        Some(parts.flatten().copied().collect::<Vec<u8>>())
    }))
}

/// `CONCAT_WS(separator, …)`: NULL only without a separator.
fn join_text(call: &Call<'_>) -> Result<ArrayRef> {
    Ok(call.strings(|row| {
        let separator = call.string(0).get(row)?;
        let parts: Vec<&str> = (1..call.args.len())
            .filter_map(|at| call.string(at).get(row))
            .collect();
        Some(parts.join(separator))
    }))
}

fn join_bytes(call: &Call<'_>) -> Result<ArrayRef> {
    Ok(call.binaries(|row| {
        let separator = call.bytes(0).get(row)?;
        let parts: Vec<&[u8]> = (1..call.args.len())
            .filter_map(|at| call.bytes(at).get(row))
            .collect();
        Some(parts.join(separator))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_capitalised_as_in_ksql() {
        assert_eq!(
            capitalised("the   Quick br0wn fOx"),
            "The   Quick Br0wn Fox"
        );
        assert_eq!(capitalised("some_string"), "Some_string");
    }

    #[test]
    fn parts_are_counted_from_either_end() {
        assert_eq!(range(6, 1, Some(3)), (0, 3));
        assert_eq!(range(6, 0, Some(2)), (0, 2));
        assert_eq!(range(6, -3, None), (3, 6));
        assert_eq!(range(6, -9, Some(2)), (0, 2));
        assert_eq!(range(6, 9, Some(2)), (6, 6));
        assert_eq!(range(6, 2, Some(-1)), (1, 1));
    }

    #[test]
    fn padding_fills_and_cuts() {
        let pad = |side| padded(b"foo", 7, b"Bar", side);
        assert_eq!(pad(Side::Left).as_deref(), Some(b"BarBfoo".as_slice()));
        assert_eq!(pad(Side::Right).as_deref(), Some(b"fooBarB".as_slice()));
        assert_eq!(
            padded(b"foo", 2, b"x", Side::Left).as_deref(),
            Some(b"fo".as_slice())
        );
        assert_eq!(padded(b"foo", -1, b"x", Side::Left), None);
        assert_eq!(padded(b"foo", 5, b"", Side::Left), None);
    }

    #[test]
    fn code_units_make_text() {
        assert_eq!(unescaped("\\u004b").as_deref(), Some("K"));
        assert_eq!(unescaped("\\uD820\\uDEB8").as_deref(), Some("\u{182b8}"));
        assert_eq!(unescaped("K"), None);
    }
}
