//! The fast path of the JSON decoder: one pass over a record, straight into the columns. It guesses
//! each field from the record before and gives up on whatever is unusual: text that is not JSON,
//! values of the wrong type, fields that come twice. Then the record is taken back and
//! [`careful`](super::careful), its slow twin, decides. So this path needs no reasons and no
//! second thoughts, and what it accepts the other accepts with the same values.
//!
//! It may look a few bytes beyond its record, into the next one: nothing is checked against the
//! record's end until the end, where a position beyond it gives the record up.

use std::ops::Range;

use super::node::{List, Map, Node, Record, Struct};
use super::scalar::{self, Refused, Text};
use super::scan::{self, DEPTH_MAX, byte, skip_blanks, value_end};

/// Appends the value at `at` to `node`, and says where it ends. It stands inside `depth` objects
/// and arrays. When it is refused, the columns are left as they are.
#[inline(always)]
pub(super) fn value(
    node: &mut Node,
    text: Text<'_>,
    at: usize,
    depth: usize,
) -> Result<usize, Refused> {
    match node {
        Node::Scalar(column) => scalar::push(column, text, at, depth),
        nested => nested_value(nested, text, at, depth),
    }
}

fn nested_value(
    node: &mut Node,
    text: Text<'_>,
    at: usize,
    depth: usize,
) -> Result<usize, Refused> {
    if byte(text.bytes, at) == b'n' {
        let end = scan::word_end(text.bytes, at, b"null")?;
        node.push_null();
        return Ok(end);
    }
    match node {
        Node::Scalar(column) => scalar::push(column, text, at, depth),
        Node::List(list) => array(list, text, at, depth),
        Node::Map(map) => entries(map, text, at, depth),
        Node::Struct(column) => {
            let Struct {
                record,
                len,
                validity,
            } = &mut **column;
            let end = object(record, *len, text, at, depth)?;
            *len += 1;
            validity.push_valid();
            Ok(end)
        }
    }
}

/// Appends the object at `at` to the columns, which have `row` rows.
#[inline]
pub(super) fn object(
    record: &mut Record,
    row: usize,
    text: Text<'_>,
    at: usize,
    depth: usize,
) -> Result<usize, Refused> {
    let Record {
        columns,
        names,
        shape,
    } = record;
    let bytes = text.bytes;
    if byte(bytes, at) != b'{' || depth >= DEPTH_MAX || names.ambiguous {
        return Err(Refused);
    }
    let mut at = at + 1;
    let mut next = 0;
    // One bit for each column that has its value; those beyond the 64th are asked for their length.
    let mut found = 0_u64;
    if byte(bytes, skip_blanks(bytes, at)) == b'}' {
        at = skip_blanks(bytes, at) + 1;
    } else {
        loop {
            let (column, start) = match shape.guess(&mut next, bytes, at) {
                Some(guess) => guess,
                None => {
                    let key = scan::key(bytes, skip_blanks(bytes, at))?;
                    let column = names.column(bytes, key)?;
                    shape.learn(&mut next, &bytes[at..key.value], column);
                    (column, key.value)
                }
            };
            at = match column.and_then(|column| Some((column, columns.get_mut(column as usize)?))) {
                Some((column, node)) => {
                    let bit = 1_u64.checked_shl(column).unwrap_or(0);
                    let again = if bit == 0 {
                        node.len() != row
                    } else {
                        found & bit != 0
                    };
                    if again {
                        // Of two fields of one name the last counts.
                        return Err(Refused);
                    }
                    found |= bit;
                    value(node, text, start, depth + 1)?
                }
                None => value_end(bytes, start, depth + 1)?,
            };
            let mut separator = byte(bytes, at);
            if separator != b',' && separator != b'}' {
                at = skip_blanks(bytes, at);
                separator = byte(bytes, at);
            }
            at += 1;
            match separator {
                b',' => {}
                b'}' => break,
                _ => return Err(Refused),
            }
        }
    }
    if found.count_ones() as usize != columns.len() {
        for column in columns.iter_mut().filter(|column| column.len() == row) {
            column.push_null();
        }
    }
    Ok(at)
}

/// Appends the array at `at`.
fn array(list: &mut List, text: Text<'_>, at: usize, depth: usize) -> Result<usize, Refused> {
    let bytes = text.bytes;
    if byte(bytes, at) != b'[' || depth >= DEPTH_MAX {
        return Err(Refused);
    }
    let mut at = skip_blanks(bytes, at + 1);
    if byte(bytes, at) != b']' {
        loop {
            at = value(&mut list.items, text, at, depth + 1)?;
            at = skip_blanks(bytes, at);
            match byte(bytes, at) {
                b',' => at = skip_blanks(bytes, at + 1),
                b']' => break,
                _ => return Err(Refused),
            }
        }
    }
    list.ends.push(list.items.len());
    list.validity.push_valid();
    Ok(at + 1)
}

/// Appends the object at `at` as a map.
fn entries(map: &mut Map, text: Text<'_>, at: usize, depth: usize) -> Result<usize, Refused> {
    let bytes = text.bytes;
    if byte(bytes, at) != b'{' || depth >= DEPTH_MAX {
        return Err(Refused);
    }
    map.names.clear();
    let mut at = skip_blanks(bytes, at + 1);
    if byte(bytes, at) != b'}' {
        loop {
            let key = scan::key(bytes, at)?;
            if key.end.escaped {
                // Two spellings may be one name.
                return Err(Refused);
            }
            let name = key.name..key.end.quote;
            map.keys
                .push_text(&bytes[name.clone()], text.base + key.name)?;
            map.names.push(name);
            at = value(&mut map.values, text, key.value, depth + 1)?;
            at = skip_blanks(bytes, at);
            match byte(bytes, at) {
                b',' => at = skip_blanks(bytes, at + 1),
                b'}' => break,
                _ => return Err(Refused),
            }
        }
    }
    if has_duplicates(&mut map.names, bytes) {
        return Err(Refused);
    }
    map.ends.push(map.values.len());
    map.validity.push_valid();
    Ok(at + 1)
}

fn has_duplicates(names: &mut [Range<usize>], bytes: &[u8]) -> bool {
    const FEW: usize = 8;
    let name = |range: &Range<usize>| &bytes[range.clone()];
    if names.len() > FEW {
        names.sort_unstable_by(|a, b| name(a).cmp(name(b)));
        return names
            .windows(2)
            .any(|pair| name(&pair[0]) == name(&pair[1]));
    }
    names
        .iter()
        .enumerate()
        .any(|(i, a)| names[..i].iter().any(|b| name(a) == name(b)))
}
