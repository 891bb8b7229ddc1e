//! What a case says of the streams, tables and topics that must be there in the end.

use regex::Regex;

use super::json::Json;
use super::relation::Relation;
use super::types::{Place, parse_columns};

/// Compares what is there with what a case's `post` says.
///
/// # Errors
/// What is not as it should be.
pub(super) fn check(
    post: &Json,
    relations: &[Relation],
    topics: &[(String, i32)],
) -> Result<(), String> {
    for source in post.get("sources").map(Json::items).unwrap_or_default() {
        check_source(source, relations)?;
    }
    let Some(expected) = post.get("topics") else {
        return Ok(());
    };
    if let Some(pattern) = expected.get("blacklist").and_then(Json::text) {
        let pattern = Regex::new(pattern).map_err(|error| error.to_string())?;
        if let Some((name, _)) = topics.iter().find(|(name, _)| pattern.is_match(name)) {
            return Err(format!("there is a topic {name}, which must not be"));
        }
    }
    for topic in expected.get("topics").map(Json::items).unwrap_or_default() {
        check_topic(topic, relations, topics)?;
    }
    Ok(())
}

fn check_source(source: &Json, relations: &[Relation]) -> Result<(), String> {
    let name = source.get("name").and_then(Json::text).unwrap_or_default();
    let Some(relation) = relations.iter().find(|relation| relation.name == name) else {
        return Err(format!("there is no {name}"));
    };
    let kind = source.get("type").and_then(Json::text).unwrap_or_default();
    if !relation.kind.eq_ignore_ascii_case(kind) {
        return Err(format!("{name} is a {}, expected a {kind}", relation.kind));
    }
    if let Some(schema) = source.get("schema").and_then(Json::text) {
        let expected = parse_columns(schema)?;
        // The cases' schemas do not say which columns are headers.
        let side = |keys: bool, columns: &[super::types::Column]| -> Vec<String> {
            let of_side = columns
                .iter()
                .filter(|column| (column.place == Place::Key) == keys);
            of_side
                .map(|column| format!("{} {}", column.name, column.data_type))
                .collect()
        };
        for (keys, word) in [(true, "key"), (false, "value")] {
            let (expected, actual) = (side(keys, &expected), side(keys, &relation.columns));
            if expected != actual {
                return Err(format!(
                    "{name}'s {word} columns are {}, expected {}",
                    actual.join(", "),
                    expected.join(", ")
                ));
            }
        }
    }
    if let Some(expected) = source.get("keyFormat") {
        check_format(name, "key", expected, &relation.key_format)?;
        check_window(name, expected, relation)?;
    }
    if let Some(expected) = source.get("valueFormat") {
        check_format(name, "value", expected, &relation.value_format)?;
    }
    Ok(())
}

/// `"JSON"` or `{"format": "JSON"}`.
fn check_format(name: &str, side: &str, expected: &Json, actual: &str) -> Result<(), String> {
    let expected = expected
        .get("format")
        .unwrap_or(expected)
        .text()
        .unwrap_or_default();
    match expected.is_empty() || expected.eq_ignore_ascii_case(actual) {
        true => Ok(()),
        false => Err(format!(
            "{name}'s {side} format is {actual}, expected {expected}"
        )),
    }
}

fn check_window(name: &str, expected: &Json, relation: &Relation) -> Result<(), String> {
    let kind = expected.get("windowType").and_then(Json::text);
    let size_ms = expected.get("windowSize").and_then(Json::int);
    let actual = relation.window.as_ref();
    let same = kind.map(str::to_uppercase) == actual.map(|window| window.kind.clone())
        && size_ms == actual.and_then(|window| window.size_ms);
    match same {
        true => Ok(()),
        false => Err(format!(
            "{name}'s window is {actual:?}, expected {kind:?} of {size_ms:?} ms"
        )),
    }
}

fn check_topic(
    expected: &Json,
    relations: &[Relation],
    topics: &[(String, i32)],
) -> Result<(), String> {
    let name = expected
        .get("name")
        .and_then(Json::text)
        .unwrap_or_default();
    // Repartition and changelog topics of Kafka Streams: there are none here.
    if name.starts_with("_confluent-ksql-") {
        return Ok(());
    }
    let Some((_, partitions)) = topics.iter().find(|(topic, _)| topic == name) else {
        return Err(format!("there is no topic {name}"));
    };
    if let Some(wanted) = expected.get("partitions").and_then(Json::int)
        && wanted != i64::from(*partitions)
    {
        return Err(format!(
            "topic {name} has {partitions} partitions, expected {wanted}"
        ));
    }
    let Some(relation) = relations.iter().find(|relation| relation.topic == name) else {
        return Ok(());
    };
    for (field, side, actual) in [
        ("keyFormat", "key", &relation.key_format),
        ("valueFormat", "value", &relation.value_format),
    ] {
        if let Some(format) = expected.get(field) {
            check_format(name, side, format, actual)?;
        }
    }
    Ok(())
}
