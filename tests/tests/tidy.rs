//! What the compiler and clippy do not see: the rules of the house, each with its reason.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests: a failure is the message"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// The files that are in the repository or about to be, by their paths in it, with their text.
fn files() -> Vec<(String, String)> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "git: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let paths = String::from_utf8(output.stdout).unwrap();
    let texts = paths.lines().filter_map(|path| {
        // A file that is deleted and not yet so in git, or is no text, has nothing to be checked.
        Some((
            path.to_owned(),
            std::fs::read_to_string(root().join(path)).ok()?,
        ))
    });
    texts.collect()
}

fn rust_files() -> Vec<(String, String)> {
    let mut files = files();
    files.retain(|(path, _)| path.ends_with(".rs"));
    files
}

/// For this platform only: what others need was never downloaded on a fresh machine.
fn metadata() -> Metadata {
    let version = Command::new("rustc").arg("-vV").output().unwrap().stdout;
    let version = String::from_utf8(version).unwrap();
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    let options = ["--locked", "--offline", "--filter-platform", host.unwrap()];
    MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .other_options(options.map(str::to_owned))
        .exec()
        .unwrap()
}

fn report(problems: Vec<String>) {
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

/// A reader who opens any file learns first what it is for.
#[test]
fn every_module_opens_by_saying_what_it_is() {
    let silent = rust_files()
        .into_iter()
        .filter(|(_, text)| !text.starts_with("//! "));
    report(
        silent
            .map(|(path, _)| format!("{path} does not begin with //!"))
            .collect(),
    );
}

/// A test that is not run, or that any panic satisfies, says nothing.
#[test]
fn no_test_is_switched_off_or_satisfied_by_any_panic() {
    let banned = [concat!("#[", "ignore"), concat!("should", "_panic")];
    let mut problems = Vec::new();
    for (path, text) in rust_files() {
        for word in banned.iter().filter(|word| text.contains(**word)) {
            problems.push(format!("{path} has {word}"));
        }
    }
    report(problems);
}

/// cli → engine → {sql, storage}; what stands beside them sees the engine alone.
#[test]
fn crates_import_only_downwards() {
    let allowed: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("kappa-sql", &[][..]),
        ("kappa-storage", &[]),
        ("kappa-engine", &["kappa-sql", "kappa-storage"]),
        ("kappa-cli", &["kappa-engine"]),
        // Decoding is measured by itself.
        ("kappa-tests", &["kappa-engine", "kappa-storage"]),
        ("kappa-examples", &["kappa-engine"]),
    ]);
    let mut problems = Vec::new();
    for package in metadata().workspace_packages() {
        let name = package.name.as_str();
        let Some(may) = allowed.get(name) else {
            problems.push(format!("{name} is new: say here what it may import"));
            continue;
        };
        for dependency in &package.dependencies {
            let other = dependency.name.as_str();
            // Tests may start servers, wherever they are.
            if dependency.kind == DependencyKind::Development && other == "kappa-tests" {
                continue;
            }
            if other.starts_with("kappa-") && other != name && !may.contains(&other) {
                problems.push(format!("{name} must not import {other}"));
            }
        }
    }
    report(problems);
}

/// The map is of use only while it is right.
#[test]
fn every_module_of_the_code_map_exists() {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let map = text
        .split("\n## ")
        .find(|section| section.starts_with("Code map"))
        .unwrap();
    let mut krate = String::new();
    let mut problems = Vec::new();
    let mut modules = 0;
    for row in map.lines().filter(|line| line.starts_with('|')) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let (crates, named) = (quoted(cells[1]), quoted(cells[2]));
        if let [name, ..] = crates.as_slice() {
            krate = (*name).to_owned();
        }
        for name in crates {
            if !root().join(name).is_dir() {
                problems.push(format!("there is no crate or folder {name}"));
            }
        }
        for name in named {
            modules += 1;
            let source = root().join(&krate).join("src");
            let module = name.replace("::", "/");
            if !source.join(format!("{module}.rs")).is_file() {
                problems.push(format!("{krate} has no module {name}"));
            }
        }
    }
    assert!(modules > 10, "the code map cannot be read");
    report(problems);
}

/// What stands between backticks.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// Nobody should have to read code to find a switch.
#[test]
fn every_property_is_documented() {
    let path = "docs/properties.md";
    let text = std::fs::read_to_string(root().join(path)).unwrap();
    let mut problems = Vec::new();
    for property in kappa_engine::PROPERTIES {
        let start = format!("| `{}` |", property.name);
        let row = text.lines().find(|line| line.starts_with(&start));
        match row.and_then(|row| row.split('|').nth(2)) {
            None => problems.push(format!("{path} has no row that begins with {start}")),
            Some(default) if default.trim().trim_matches('`') != property.default => {
                problems.push(format!(
                    "{path}: the default of {} is '{}'",
                    property.name, property.default
                ))
            }
            Some(_) => {}
        }
    }
    for name in text
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
    {
        if !kappa_engine::PROPERTIES
            .iter()
            .any(|property| property.name == name)
        {
            problems.push(format!("{path} has {name}, which is no property"));
        }
    }
    report(problems);
}

/// Licences that Apache-2.0 code may stand on and be shipped with as one binary.
const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    // Of its own files, which we do not change.
    "MPL-2.0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
    "bzip2-1.0.6",
];

#[test]
fn every_dependency_has_a_licence_that_we_may_use() {
    let packages = metadata().packages;
    let unusable = packages.iter().filter_map(|package| {
        let licence = package.license.as_deref().unwrap_or("none");
        (!may_use(licence)).then(|| format!("{} {}: {licence}", package.name, package.version))
    });
    report(unusable.collect());
}

/// Whether an SPDX expression, old spelling with `/` included, leaves us a way.
fn may_use(expression: &str) -> bool {
    let expression = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let tokens: Vec<&str> = expression.split_whitespace().collect();
    let mut at = 0;
    let usable = any(&tokens, &mut at);
    usable && at == tokens.len()
}

fn any(tokens: &[&str], at: &mut usize) -> bool {
    let mut usable = all(tokens, at);
    while tokens.get(*at) == Some(&"OR") {
        *at += 1;
        usable |= all(tokens, at);
    }
    usable
}

fn all(tokens: &[&str], at: &mut usize) -> bool {
    let mut usable = one(tokens, at);
    while tokens.get(*at) == Some(&"AND") {
        *at += 1;
        usable &= one(tokens, at);
    }
    usable
}

fn one(tokens: &[&str], at: &mut usize) -> bool {
    if tokens.get(*at) == Some(&"(") {
        *at += 1;
        let usable = any(tokens, at);
        *at += 1;
        return usable;
    }
    let mut licence = tokens.get(*at).copied().unwrap_or_default().to_owned();
    *at += 1;
    if tokens.get(*at) == Some(&"WITH") {
        licence += &format!(" WITH {}", tokens.get(*at + 1).copied().unwrap_or_default());
        *at += 2;
    }
    LICENCES.contains(&licence.as_str())
}

#[test]
fn licence_expressions_are_understood() {
    for (expression, usable) in [
        ("MIT/Apache-2.0", true),
        ("(MIT OR GPL-3.0) AND Unicode-3.0", true),
        ("MIT AND GPL-3.0", false),
        ("Apache-2.0 WITH LLVM-exception", true),
        ("GPL-3.0 OR LGPL-2.1", false),
        ("none", false),
    ] {
        assert_eq!(may_use(expression), usable, "{expression}");
    }
}

/// The hosts that files may point at: the world's, never a mirror of the machine they were written
/// on.
const HOSTS: &[&str] = &[
    "127.0.0.1",
    "apache.org",
    "blob.core.windows.net",
    "docs.rs",
    "github.com",
    "googleapis.com",
    "ksqldb.io",
    "nexmark.com",
    "rustup.rs",
    "snowflake.com",
    "snowflakecomputing.com",
];

#[test]
fn nothing_of_the_machine_it_was_written_on() {
    // Homes, and the folder that this was written in.
    let paths = [
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("/ho", "me/"),
        concat!("/Us", "ers/"),
    ];
    let mut problems = Vec::new();
    for (path, text) in files() {
        for (number, line) in text.lines().enumerate() {
            let place = format!("{path}:{}", number + 1);
            if paths.iter().any(|machine| absolute(line, machine)) {
                problems.push(format!("{place} has a path of one machine: {line}"));
            }
            for host in hosts(line) {
                let known = |known: &str| host == known || host.ends_with(&format!(".{known}"));
                // Placeholders, and names that only exist inside a document.
                let made_up = host.contains(['$', '{', '<']) || !host.contains('.');
                if !made_up && !HOSTS.iter().any(|name| known(name)) {
                    problems.push(format!(
                        "{place} points at {host}, which is not on the list"
                    ));
                }
            }
        }
    }
    report(problems);
}

/// Whether a path starts with `machine` here, not inside a longer relative one.
fn absolute(line: &str, machine: &str) -> bool {
    line.match_indices(machine).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|c| !c.is_alphanumeric() && !"._-}])".contains(c))
    })
}

fn hosts(line: &str) -> impl Iterator<Item = &str> {
    let starts = line
        .match_indices("http://")
        .chain(line.match_indices("https://"));
    starts.map(|(at, scheme)| {
        let rest = &line[at + scheme.len()..];
        let end = rest.find(|c: char| !c.is_alphanumeric() && !".-${}<".contains(c));
        rest[..end.unwrap_or(rest.len())].trim_end_matches('.')
    })
}
