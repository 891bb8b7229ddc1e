//! Functions of regular expressions. Their syntax is the `regex` crate's, which is Java's without
//! what would take more than linear time: looking around and back references.

use std::sync::Arc;

use arrow::array::{ArrayRef, ListBuilder, StringBuilder};
use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::ScalarUDF;
use regex::Regex;

use super::native::{Call, Get, Native, Overload, Param, Remembered, strings, takes};

const STRING: fn(&[DataType]) -> DataType = |_| DataType::Utf8;

pub(super) fn all() -> Vec<ScalarUDF> {
    use Param::{Int, String};
    static EXTRACT: &[Overload] = &[
        takes(&[String, String], STRING, extract),
        takes(&[String, String, Int], STRING, extract),
    ];
    static EXTRACT_ALL: &[Overload] = &[
        takes(&[String, String], |_| strings(), extract_all),
        takes(&[String, String, Int], |_| strings(), extract_all),
    ];
    static REPLACE: &[Overload] = &[takes(&[String, String, String], STRING, |call| {
        let (text, new) = (call.string(0), call.string(2));
        let mut pattern = Remembered::new();
        Ok(call.strings(|row| {
            let regex = pattern.of(call.string(1).get(row)?, compile)?;
            let new = replacement(new.get(row)?)?;
            Some(regex.replace_all(text.get(row)?, new).into_owned())
        }))
    })];
    static SPLIT: &[Overload] = &[takes(
        &[String, String],
        |_| strings(),
        |call| {
            let text = call.string(0);
            let mut pattern = Remembered::new();
            lists(call, |row, list| {
                let regex = pattern.of(call.string(1).get(row)?, compile)?;
                regex
                    .split(text.get(row)?)
                    .for_each(|part| list.append_value(part));
                Some(())
            })
        },
    )];
    vec![
        Native::create("regexp_extract", EXTRACT),
        Native::create("regexp_extract_all", EXTRACT_ALL),
        Native::create("regexp_replace", REPLACE),
        Native::create("regexp_split_to_array", SPLIT),
    ]
}

fn compile(pattern: &str) -> Option<Regex> {
    Regex::new(pattern).ok()
}

/// Which group is asked for: the third argument, or the whole match.
fn group(call: &Call<'_>, row: usize) -> Option<usize> {
    match call.args.len() {
        3 => usize::try_from(call.int(2).get(row)?).ok(),
        _ => Some(0),
    }
}

/// `REGEXP_EXTRACT(pattern, text [, group])`
fn extract(call: &Call<'_>) -> Result<ArrayRef> {
    let text = call.string(1);
    let mut pattern = Remembered::new();
    Ok(call.strings(|row| {
        let made = pattern.of(call.string(0).get(row)?, |pattern| {
            let regex = compile(pattern)?;
            let groups = regex.capture_locations();
            Some((regex, groups))
        });
        let (regex, groups) = made?;
        let text = text.get(row)?;
        let range = match group(call, row)? {
            // Where the groups are takes longer to find.
            0 => regex.find(text)?.range(),
            group => {
                regex.captures_read(groups, text)?;
                let (start, end) = groups.get(group)?;
                start..end
            }
        };
        Some(&text[range])
    }))
}

/// The same of every match.
fn extract_all(call: &Call<'_>) -> Result<ArrayRef> {
    let text = call.string(1);
    let mut pattern = Remembered::new();
    lists(call, |row, list| {
        let regex = pattern.of(call.string(0).get(row)?, compile)?;
        let group = group(call, row)?;
        if group >= regex.captures_len() {
            return None;
        }
        for captures in regex.captures_iter(text.get(row)?) {
            list.append_option(captures.get(group).map(|found| found.as_str()));
        }
        Some(())
    })
}

/// A list of strings of each row; NULL where `fill` has none.
fn lists(
    call: &Call<'_>,
    mut fill: impl FnMut(usize, &mut StringBuilder) -> Option<()>,
) -> Result<ArrayRef> {
    let mut lists = ListBuilder::new(StringBuilder::new());
    for row in 0..call.rows {
        let filled = fill(row, lists.values());
        lists.append(filled.is_some());
    }
    Ok(Arc::new(lists.finish()))
}

/// Java's replacement text in the crate's words: `$1` is a group whatever follows, and a backslash
/// takes the meaning from what is behind it. `None` where nothing is.
fn replacement(java: &str) -> Option<String> {
    let mut out = String::with_capacity(java.len());
    let mut chars = java.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next()? {
                '$' => out.push_str("$$"),
                other => out.push(other),
            },
            '$' => {
                out.push_str("${");
                if chars.peek() == Some(&'{') {
                    chars.next();
                    out.extend(chars.by_ref().take_while(|c| *c != '}'));
                } else {
                    out.push(chars.next().filter(char::is_ascii_digit)?);
                }
                out.push('}');
            }
            other => out.push(other),
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn java_replacements_are_understood() {
        assert_eq!(replacement("$1x").as_deref(), Some("${1}x"));
        assert_eq!(replacement("${name}!").as_deref(), Some("${name}!"));
        assert_eq!(replacement(r"\$5 \\").as_deref(), Some(r"$$5 \"));
        assert_eq!(replacement("$"), None);
    }
}
