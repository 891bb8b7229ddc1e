//! Functions of JSON in strings.

mod node;
pub(super) mod value;

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, ListBuilder, MapBuilder, StringBuilder,
};
use arrow::datatypes::{DataType, Float64Type, Int32Type, Int64Type};
use datafusion::common::Result;
use datafusion::logical_expr::ScalarUDF;

use self::node::Node;
use super::native::{Call, Get, Native, Overload, Param, Remembered, strings, takes};
use super::text::map_names;
use crate::types::SqlType;

const STRING: fn(&[DataType]) -> DataType = |_| DataType::Utf8;

pub(super) fn all() -> Vec<ScalarUDF> {
    use Param::{Any, String};
    static EXTRACT: &[Overload] = &[takes(&[String, String], STRING, extract)];
    static IS_JSON: &[Overload] = &[takes(
        &[String],
        |_| DataType::Boolean,
        |call| {
            let text = call.string(0);
            let is_json = |row| Some(text.get(row).and_then(Node::parse).is_some());
            Ok(Arc::new(
                (0..call.rows).map(is_json).collect::<BooleanArray>(),
            ))
        },
    )];
    static CONTAINS: &[Overload] = &[takes(
        &[String, Any],
        |_| DataType::Boolean,
        |call| Ok(Arc::new(contains(call))),
    )];
    static LENGTH: &[Overload] = &[takes(
        &[String],
        |_| DataType::Int32,
        |call| {
            let text = call.string(0);
            Ok(call.ints(|row| match Node::parse(text.get(row)?)? {
                Node::Array(items) => i32::try_from(items.len()).ok(),
                _ => None,
            }))
        },
    )];
    static CONCAT: &[Overload] = &[takes(&[String, String], STRING, |call| {
        Ok(call.strings(|row| concat(call, row)))
    })
    .variadic()];
    static ITEMS: &[Overload] = &[takes(
        &[String],
        |_| strings(),
        |call| {
            lists(call, |node, list| match node {
                Node::Array(items) => {
                    items
                        .iter()
                        .for_each(|item| list.append_value(item.to_string()));
                    true
                }
                _ => false,
            })
        },
    )];
    static KEYS: &[Overload] = &[takes(
        &[String],
        |_| strings(),
        |call| {
            lists(call, |node, list| match node {
                Node::Object(fields) => {
                    fields.iter().for_each(|(name, _)| list.append_value(name));
                    true
                }
                _ => false,
            })
        },
    )];
    static RECORDS: &[Overload] = &[takes(
        &[String],
        |_| SqlType::Map(Box::new(SqlType::String), Box::new(SqlType::String)).to_arrow(),
        records,
    )];
    static TO_JSON: &[Overload] = &[takes(&[Any], STRING, |call| {
        Ok(call.strings(|row| {
            let mut text = std::string::String::new();
            value::write(&call.args[0], row, &mut text)?;
            Some(text)
        }))
    })];
    vec![
        Native::create("extractjsonfield", EXTRACT),
        Native::create("is_json_string", IS_JSON),
        Native::create("json_array_contains", CONTAINS),
        Native::create("json_array_length", LENGTH),
        Native::create("json_concat", CONCAT),
        Native::create("json_items", ITEMS),
        Native::create("json_keys", KEYS),
        Native::create("json_records", RECORDS),
        Native::create("to_json_string", TO_JSON),
    ]
}

/// A step of a path such as `$.a[0]`.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Field(String),
    Item(usize),
    /// An index below zero, where nothing ever is.
    Nowhere,
}

/// The steps of a path. `None` if it is none.
fn path(text: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    let mut rest = text.strip_prefix('$')?;
    while !rest.is_empty() {
        if let Some(name) = rest.strip_prefix('.') {
            let end = name.find(['.', '[']).unwrap_or(name.len());
            if end == 0 {
                return None;
            }
            steps.push(Step::Field(name[..end].to_owned()));
            rest = &name[end..];
            continue;
        }
        let (inside, behind) = rest.strip_prefix('[')?.split_once(']')?;
        let name = inside
            .strip_prefix(['"', '\''])
            .and_then(|inside| inside.strip_suffix(['"', '\'']));
        steps.push(match name {
            Some(name) => Step::Field(name.to_owned()),
            None => match inside.trim().parse::<i64>().ok()? {
                ..0 => Step::Nowhere,
                index => Step::Item(usize::try_from(index).ok()?),
            },
        });
        rest = behind;
    }
    Some(steps)
}

/// `EXTRACTJSONFIELD(json, path)`: a string's text, or the JSON of anything else.
fn extract(call: &Call<'_>) -> Result<ArrayRef> {
    let text = call.string(0);
    let mut steps = Remembered::new();
    Ok(call.strings(|row| {
        let steps = steps.of(call.string(1).get(row)?, path)?;
        let root = Node::parse(text.get(row)?)?;
        let mut node = &root;
        for step in steps {
            node = match (step, node) {
                (Step::Field(name), _) => node.field(name)?,
                (Step::Item(index), Node::Array(items)) => items.get(*index)?,
                _ => return None,
            };
        }
        match node {
            Node::Null => None,
            Node::String(text) => Some(text.clone().into_owned()),
            other => Some(other.to_string()),
        }
    }))
}

fn contains(call: &Call<'_>) -> BooleanArray {
    let (text, wanted) = (call.string(0), &call.args[1]);
    let is_wanted = |node: &Node<'_>, row: usize| match node {
        Node::Null => wanted.is_null(row),
        _ if wanted.is_null(row) => false,
        Node::Bool(value) => match wanted.data_type() {
            DataType::Boolean => wanted.as_boolean().value(row) == *value,
            _ => false,
        },
        Node::String(value) => match wanted.data_type() {
            DataType::Utf8 => wanted.as_string::<i32>().value(row) == value,
            _ => false,
        },
        Node::Number(digits) => match wanted.data_type() {
            DataType::Int32 => {
                digits.parse() == Ok(i64::from(wanted.as_primitive::<Int32Type>().value(row)))
            }
            DataType::Int64 => digits.parse() == Ok(wanted.as_primitive::<Int64Type>().value(row)),
            DataType::Float64 => {
                let fraction = digits.contains(['.', 'e', 'E']);
                fraction && digits.parse() == Ok(wanted.as_primitive::<Float64Type>().value(row))
            }
            _ => false,
        },
        Node::Array(_) | Node::Object(_) => false,
    };
    (0..call.rows)
        .map(|row| {
            let found = match text.get(row).and_then(Node::parse) {
                Some(Node::Array(items)) => items.iter().any(|item| is_wanted(item, row)),
                _ => false,
            };
            Some(found)
        })
        .collect()
}

/// Objects become one with all their fields, of which the last of a name counts; anything else an
/// array of all items. `None` if one of the arguments is no JSON.
fn concat(call: &Call<'_>, row: usize) -> Option<String> {
    let nodes = (0..call.args.len())
        .map(|at| Node::parse(call.string(at).get(row)?))
        .collect::<Option<Vec<_>>>()?;
    if nodes.iter().all(|node| matches!(node, Node::Object(_))) {
        let mut all = Vec::new();
        for node in nodes {
            let Node::Object(fields) = node else { continue };
            for (name, value) in fields {
                match all.iter_mut().find(|(known, _)| *known == name) {
                    Some(field) => field.1 = value,
                    None => all.push((name, value)),
                }
            }
        }
        return Some(Node::Object(all).to_string());
    }
    let mut all = Vec::new();
    for node in nodes {
        match node {
            Node::Array(items) => all.extend(items),
            other => all.push(other),
        }
    }
    Some(Node::Array(all).to_string())
}

/// A list of strings of each row's JSON; NULL where `fill` says that it has none.
fn lists(call: &Call<'_>, fill: impl Fn(Node<'_>, &mut StringBuilder) -> bool) -> Result<ArrayRef> {
    let text = call.string(0);
    let mut lists = ListBuilder::new(StringBuilder::new());
    for row in 0..call.rows {
        let node = text.get(row).and_then(Node::parse);
        let filled = node.is_some_and(|node| fill(node, lists.values()));
        lists.append(filled);
    }
    Ok(Arc::new(lists.finish()))
}

/// `JSON_RECORDS(json)`: an object's fields, their values as JSON.
fn records(call: &Call<'_>) -> Result<ArrayRef> {
    let text = call.string(0);
    let mut maps = MapBuilder::new(
        Some(map_names()),
        StringBuilder::new(),
        StringBuilder::new(),
    );
    for row in 0..call.rows {
        let node = text.get(row).and_then(Node::parse);
        let Some(Node::Object(fields)) = node else {
            maps.append(false)?;
            continue;
        };
        for (name, value) in fields {
            maps.keys().append_value(name);
            maps.values().append_value(value.to_string());
        }
        maps.append(true)?;
    }
    Ok(Arc::new(maps.finish()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_steps() {
        let field = |name: &str| Step::Field(name.into());
        assert_eq!(
            path("$.a.b[0]"),
            Some(vec![field("a"), field("b"), Step::Item(0)])
        );
        assert_eq!(
            path("$['a b'][-1]"),
            Some(vec![field("a b"), Step::Nowhere])
        );
        assert_eq!(path("$.@type"), Some(vec![field("@type")]));
        assert_eq!(path("$"), Some(vec![]));
        assert_eq!(path("a"), None);
    }
}
