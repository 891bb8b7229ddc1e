//! The careful path of the JSON decoder, for records that the fast one gives up: it says what is
//! wrong with a bad record, and decodes those that are right in an unusual way. First the whole
//! text is checked, then the fields that count are found, then their values are decoded.

use super::super::sql_type;
use super::super::{excerpt, shorten};
use super::node::{List, Map, Node, Record, Struct};
use super::scalar::{self, Text};
use super::scan::{self, Flaw, byte, skip_blanks};
use super::text as json_text;
use arrow::datatypes::{DataType, FieldRef};

/// Why a value cannot be decoded: where in the record, as SQL names the place, and what is there.
#[derive(Debug)]
pub(super) struct Problem {
    path: String,
    expected: String,
    found: String,
}

impl Problem {
    /// The same problem seen from the level above.
    pub(super) fn inside(mut self, step: impl FnOnce() -> String) -> Self {
        self.path.insert_str(0, &step());
        self
    }

    /// The sentence for the user.
    pub(super) fn reason(&self) -> String {
        let Self {
            path,
            expected,
            found,
        } = self;
        match path.strip_prefix("->") {
            Some(column) => format!("column \"{column}\": expected {expected}, found {found}"),
            None => format!("expected {expected}, found {found}"),
        }
    }
}

/// Where the one value of `payload` starts, once it is certain that the payload is UTF-8, JSON, and
/// one value; otherwise the reason why it is not.
pub(super) fn check(payload: &[u8]) -> Result<usize, String> {
    if let Err(err) = std::str::from_utf8(payload) {
        return Err(format!(
            "malformed JSON: not UTF-8 at byte {}",
            err.valid_up_to()
        ));
    }
    let start = skip_blanks(payload, 0);
    if start == payload.len() {
        return Err("expected JSON, found an empty payload".into());
    }
    let end = match scan::value_end(payload, start, 0) {
        Ok(end) => skip_blanks(payload, end),
        Err(flaw) => return Err(flaw_reason(payload, flaw)),
    };
    if end < payload.len() {
        let what = "expected the end of the record";
        return Err(flaw_reason(payload, Flaw { at: end, what }));
    }
    Ok(start)
}

fn flaw_reason(payload: &[u8], Flaw { at, what }: Flaw) -> String {
    let found = std::str::from_utf8(payload)
        .ok()
        .and_then(|text| text.get(at..));
    let found = match found.and_then(|rest| rest.chars().next()) {
        _ if !what.starts_with("expected") => {
            return format!("malformed JSON at byte {at}: {what}");
        }
        Some(char) => format!("{char:?}"),
        None => "the end".into(),
    };
    format!("malformed JSON at byte {at}: {what}, found {found}")
}

/// The reason why a record that should be an object is none.
pub(super) fn not_an_object(payload: Text<'_>, at: usize) -> String {
    let mut problem = problem(&DataType::Null, payload, at);
    problem.expected = "a JSON object".into();
    problem.reason()
}

/// Appends the value at `at` to `node`, a column of `data_type`. When there is a problem, the
/// columns are left as they are.
pub(super) fn value(
    node: &mut Node,
    data_type: &DataType,
    text: Text<'_>,
    at: usize,
) -> Result<(), Problem> {
    if byte(text.bytes, at) == b'n' {
        node.push_null();
        return Ok(());
    }
    let first = byte(text.bytes, at);
    match (node, data_type) {
        (Node::Scalar(column), _) => {
            scalar::push(column, text, at, 0).map_err(|_| problem(data_type, text, at))?;
        }
        (Node::List(list), DataType::List(item)) if first == b'[' => array(list, item, text, at)?,
        (Node::Map(map), DataType::Map(entries, _)) if first == b'{' => {
            let value = super::node::entry_fields(entries).map(|(_, value)| value);
            let value_type = value.map_or(&DataType::Null, |value| value.data_type());
            pairs(map, value_type, text, at)?;
        }
        (Node::Struct(column), DataType::Struct(fields)) if first == b'{' => {
            let Struct {
                record,
                len,
                validity,
            } = &mut **column;
            object(record, fields.iter(), text, at)?;
            *len += 1;
            validity.push_valid();
        }
        _ => return Err(problem(data_type, text, at)),
    }
    Ok(())
}

/// Appends the object at `at` to the columns of `record`, which are those of `fields`.
pub(super) fn object<'a>(
    record: &mut Record,
    fields: impl Iterator<Item = &'a FieldRef>,
    text: Text<'_>,
    at: usize,
) -> Result<(), Problem> {
    // Where the value of each column is: of fields with its exact name the last, of others that
    // mean it the last if there is none.
    let mut places: Vec<Option<(bool, usize)>> = vec![None; record.columns.len()];
    let (members, _) = json_text::fields(text.bytes, at)
        .map_err(|_| problem(&DataType::Struct(Default::default()), text, at))?;
    for (name, value) in members {
        let name = String::from_utf8_lossy(&name);
        if let Some(column) = record.names.exact(&name) {
            places[column as usize] = Some((true, value));
        }
        if let Some(column) = record.names.folded(&name) {
            let place = &mut places[column as usize];
            if place.is_none_or(|(exact, _)| !exact) {
                *place = Some((false, value));
            }
        }
    }
    for ((column, place), field) in record.columns.iter_mut().zip(places).zip(fields) {
        match place {
            Some((_, at)) => value(column, field.data_type(), text, at)
                .map_err(|problem| problem.inside(|| format!("->{}", field.name())))?,
            None => column.push_null(),
        }
    }
    Ok(())
}

fn array(list: &mut List, item: &FieldRef, text: Text<'_>, at: usize) -> Result<(), Problem> {
    let mut at = skip_blanks(text.bytes, at + 1);
    let mut place = 0;
    while byte(text.bytes, at) != b']' {
        place += 1;
        value(&mut list.items, item.data_type(), text, at)
            .map_err(|problem| problem.inside(|| format!("[{place}]")))?;
        at = match scan::value_end(text.bytes, at, 0) {
            Ok(end) => skip_blanks(text.bytes, end),
            Err(_) => return Err(problem(item.data_type(), text, at)),
        };
        if byte(text.bytes, at) == b',' {
            at = skip_blanks(text.bytes, at + 1);
        }
    }
    list.ends.push(list.items.len());
    list.validity.push_valid();
    Ok(())
}

fn pairs(map: &mut Map, value_type: &DataType, text: Text<'_>, at: usize) -> Result<(), Problem> {
    let (members, _) =
        json_text::fields(text.bytes, at).map_err(|_| problem(value_type, text, at))?;
    for (name, at) in members {
        scalar::push_key(&mut map.keys, &name).map_err(|_| problem(value_type, text, at))?;
        value(&mut map.values, value_type, text, at).map_err(|problem| {
            problem.inside(|| format!("['{}']", shorten(&String::from_utf8_lossy(&name))))
        })?;
    }
    map.ends.push(map.values.len());
    map.validity.push_valid();
    Ok(())
}

/// The value at `at` is no `data_type`.
fn problem(data_type: &DataType, text: Text<'_>, at: usize) -> Problem {
    let mut expected = sql_type::name(data_type);
    match data_type {
        DataType::Binary => expected.push_str(" in base64"),
        DataType::Time32(_) => expected.push_str(" as milliseconds of the day"),
        DataType::Date32 => expected.push_str(" as days since 1970-01-01"),
        DataType::Timestamp(..) => expected.push_str(" as milliseconds since 1970-01-01"),
        _ => {}
    }
    let end = scan::value_end(text.bytes, at, 0).unwrap_or(at);
    let value = || String::from_utf8_lossy(&text.bytes[at..end]);
    let found = match byte(text.bytes, at) {
        b'{' => "an object".into(),
        b'[' => "an array".into(),
        b'"' => match json_text::contents(text.bytes, at + 1) {
            Ok((contents, _)) => format!("string {}", excerpt(&String::from_utf8_lossy(&contents))),
            Err(_) => "a string".into(),
        },
        b'-' | b'0'..=b'9' => format!("number {}", shorten(&value())),
        _ => value().into_owned(),
    };
    Problem {
        path: String::new(),
        expected,
        found,
    }
}
