//! The list of cases that are allowed to fail. It only shrinks.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::Report;

/// Where the list is.
pub fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("ksql/failing.txt")
}

const HEAD: &str = "\
# Cases of ksqlDB's suite that may fail, by name: `cargo test --test ksql` fails when another one does,
# and when one of these passes. UPDATE_KSQL=1 writes the list anew; it should only get shorter.
";

/// The names in the list.
///
/// # Errors
/// A list that cannot be read.
pub fn read() -> std::io::Result<BTreeSet<String>> {
    let text = std::fs::read_to_string(path())?;
    let names = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    Ok(names.map(str::to_owned).collect())
}

/// Writes the list of what failed.
///
/// # Errors
/// A list that cannot be written.
pub fn write(report: &Report) -> std::io::Result<()> {
    let mut text = HEAD.to_owned();
    let failed = report
        .verdicts
        .iter()
        .filter(|(_, verdict)| verdict.is_err());
    let mut names: Vec<&str> = failed.map(|(case, _)| case.name.as_str()).collect();
    names.sort_unstable();
    for name in names {
        text.push_str(name);
        text.push('\n');
    }
    std::fs::write(path(), text)
}

/// What is not as the list says: a case that fails and may not, one that passes and is listed, and a
/// name that no case has.
pub fn differences(report: &Report, allowed: &BTreeSet<String>) -> Vec<String> {
    let mut differences = Vec::new();
    for (case, verdict) in &report.verdicts {
        match (verdict, allowed.contains(&case.name)) {
            (Err(failed), false) => {
                differences.push(format!("{} fails: {}", case.name, failed.reason));
            }
            (Ok(()), true) => {
                differences.push(format!("{} passes now: take it off the list", case.name));
            }
            _ => {}
        }
    }
    let known: BTreeSet<&str> = report
        .verdicts
        .iter()
        .map(|(case, _)| case.name.as_str())
        .collect();
    for name in allowed.iter().filter(|name| !known.contains(name.as_str())) {
        differences.push(format!("{name} is listed, and there is no such case"));
    }
    differences
}
