//! Every statement of ksqlDB's own cases that ksqlDB takes must parse.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::parser::parse;

/// What those cases have and this parser refuses on purpose, by the start of the message.
const REFUSED: &[&str] = &["->* is not supported in a pull query yet"];

fn folder() -> Option<PathBuf> {
    let given = std::env::var_os("KSQL_CASES").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/ksql-cases");
    Some(given.unwrap_or(beside)).filter(|folder| folder.is_dir())
}

/// The statements of each variant of a case, as one script.
fn scripts(case: &Value) -> Vec<String> {
    let list = |key: &str| -> Vec<String> {
        let items = case[key].as_array().map(Vec::as_slice).unwrap_or_default();
        items
            .iter()
            .filter_map(|item| item.as_str().map(str::to_owned))
            .collect()
    };
    let script = list("statements").join("\n");
    match list("format").first() {
        Some(_) => vec![script.replace("{FORMAT}", "JSON")],
        None => vec![script],
    }
}

#[test]
fn statements_of_the_corpus_parse() {
    let Some(folder) = folder() else {
        eprintln!("skipped: there is no folder of ksqlDB's cases, set KSQL_CASES to one");
        return;
    };
    let (mut cases, mut statements, mut refused) = (0, 0, 0);
    let mut failures = Vec::new();
    for (kind, expected) in [("query", "expectedException"), ("rest", "expectedError")] {
        let mut files: Vec<_> = fs::read_dir(folder.join(kind))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| {
                path.extension()
                    .is_some_and(|extension| extension == "json")
            })
            .collect();
        files.sort();
        for file in files {
            let content: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
            for case in content["tests"].as_array().unwrap() {
                if !case[expected].is_null() || case["enabled"] == Value::Bool(false) {
                    continue;
                }
                for script in scripts(case) {
                    cases += 1;
                    match parse(&script) {
                        Ok(parsed) => statements += parsed.0.len(),
                        Err(error) if REFUSED.iter().any(|it| error.message.starts_with(it)) => {
                            refused += 1;
                        }
                        Err(error) => failures.push(format!(
                            "{} - {}\n{}\n",
                            file.file_name().unwrap().to_string_lossy(),
                            case["name"],
                            error.render(&script)
                        )),
                    }
                }
            }
        }
    }
    eprintln!("{cases} cases, {statements} statements parsed, {refused} refused on purpose");
    assert!(
        failures.is_empty(),
        "{} fail:\n{}",
        failures.len(),
        failures.join("\n")
    );
}
