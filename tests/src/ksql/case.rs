//! The cases as they are in the files, one for each format and configuration that a case names.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;

use super::json::Json;
use super::payload::Bounds;

/// One thing to be tried.
#[derive(Clone, Debug)]
pub struct Case {
    /// The file's name without `.json`; those of `rest/` with that in front.
    pub file: String,
    /// `<file> - <name> - <FORMAT>`, unique.
    pub name: String,
    pub(super) statements: String,
    pub(super) properties: Vec<(String, Json)>,
    pub(super) topics: Vec<(String, Option<i64>)>,
    pub(super) inputs: Vec<Record>,
    pub(super) outputs: Vec<Record>,
    pub(super) failure: Option<Failure>,
    pub(super) post: Option<Json>,
    /// What a case of `rest/` is answered, statement by statement.
    pub(super) responses: Vec<Json>,
    /// Whether the push query is to be there before the inputs.
    pub(super) query_first: bool,
}

/// A record that a case sends or expects.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) topic: String,
    pub(super) key: Json,
    pub(super) value: Json,
    pub(super) timestamp: Option<i64>,
    pub(super) window: Option<Bounds>,
    pub(super) headers: Vec<(String, Option<Vec<u8>>)>,
}

/// An error that a case expects.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    /// The Java class, without its package.
    pub(super) class: String,
    /// What its message contains.
    pub(super) message: String,
}

impl Case {
    /// Whether it is of `rest/`: pull and push queries.
    pub fn is_rest(&self) -> bool {
        self.file.starts_with("rest/")
    }

    /// Whether it stands on a schema registry, or on Protobuf, which come later.
    pub fn needs_registry(&self) -> bool {
        const FORMATS: [&str; 4] = ["AVRO", "PROTOBUF", "PROTOBUF_NOSR", "JSON_SR"];
        let text = self.statements.to_uppercase();
        text.match_indices("FORMAT").any(|(at, word)| {
            let rest = text[at + word.len()..].trim_start();
            let named = rest.strip_prefix('=').map(str::trim_start);
            let format = named.and_then(|rest| rest.strip_prefix('\'')?.split('\'').next());
            format.is_some_and(|format| FORMATS.contains(&format))
        })
    }
}

/// Where the cases are: `KSQL_CASES`, or beside the workspace.
pub fn folder() -> PathBuf {
    match std::env::var_os("KSQL_CASES") {
        Some(folder) => folder.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/ksql-cases"),
    }
}

/// Reads all cases of a folder, in the order of their files' names; those of `query/`, then those of
/// `rest/`. A folder of neither name is taken for one of `query/`.
///
/// # Errors
/// A file that cannot be read or is not of the cases' form.
pub fn read(folder: &Path) -> Result<Vec<Case>, String> {
    let query = folder.join("query");
    let mut cases = Vec::new();
    read_files(if query.is_dir() { &query } else { folder }, "", &mut cases)?;
    let rest = folder.join("rest");
    if rest.is_dir() {
        read_files(&rest, "rest/", &mut cases)?;
    }
    Ok(cases)
}

fn read_files(folder: &Path, prefix: &str, cases: &mut Vec<Case>) -> Result<(), String> {
    let failed = |path: &Path, error: String| format!("{}: {error}", path.display());
    let entries = std::fs::read_dir(folder).map_err(|error| failed(folder, error.to_string()))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let file = format!("{prefix}{stem}");
        let text =
            std::fs::read_to_string(&path).map_err(|error| failed(&path, error.to_string()))?;
        let node = Json::parse(&text).map_err(|error| failed(&path, error))?;
        for test in node.get("tests").map(Json::items).unwrap_or_default() {
            expand(&file, test, cases).map_err(|error| failed(&path, error))?;
        }
    }
    Ok(())
}

/// The cases of one node: one for each format and configuration.
fn expand(file: &str, test: &Json, cases: &mut Vec<Case>) -> Result<(), String> {
    if test.get("enabled") == Some(&Json::Bool(false)) {
        return Ok(());
    }
    let base = base(file, test)?;
    let list = |name: &str| -> Vec<Option<String>> {
        match test.get(name).map(Json::items).unwrap_or_default() {
            [] => vec![None],
            items => items.iter().map(|item| Some(plain(item))).collect(),
        }
    };
    for format in list("format") {
        for config in list("config") {
            let mut case = base.clone();
            if let Some(format) = &format {
                case.statements = case.statements.replace("{FORMAT}", format);
                case.name += &format!(" - {format}");
            }
            if let Some(config) = &config {
                for (name, value) in &mut case.properties {
                    if value.text() == Some("{CONFIG}") {
                        *value = Json::String(config.clone());
                        case.name += &format!(" - {name}={config}");
                    }
                }
            }
            // A name that is there twice gets a number.
            let same = cases.iter().filter(|other| other.name == case.name).count();
            if same > 0 {
                case.name += &format!(" #{}", same + 1);
            }
            cases.push(case);
        }
    }
    Ok(())
}

fn base(file: &str, test: &Json) -> Result<Case, String> {
    let list = |name: &str| test.get(name).map(Json::items).unwrap_or_default();
    let name = required(test, "name")?.replace(['\n', '\r'], " ");
    let records = |name: &str| list(name).iter().map(record).collect::<Result<Vec<_>, _>>();
    let statements: Vec<&str> = list("statements").iter().filter_map(Json::text).collect();
    let topics = list("topics").iter().map(|topic| {
        Ok((
            required(topic, "name")?.to_owned(),
            topic.get("partitions").and_then(Json::int),
        ))
    });
    let failure = test
        .get("expectedException")
        .or(test.get("expectedError"))
        .map(|node| {
            let text = |name| node.get(name).and_then(Json::text).unwrap_or_default();
            let message = match text("causeMessage") {
                "" => text("message"),
                cause => cause,
            };
            let class = text("type").rsplit('.').next().unwrap_or_default();
            Failure {
                class: class.to_owned(),
                message: message.to_owned(),
            }
        });
    let conditions = test.get("inputConditions");
    let waits = conditions.and_then(|node| node.get("waitForActivePushQuery"));
    Ok(Case {
        file: file.to_owned(),
        name: format!("{file} - {}", name.trim()),
        statements: statements.join("\n"),
        properties: test
            .get("properties")
            .map(|node| node.fields().to_vec())
            .unwrap_or_default(),
        topics: topics.collect::<Result<_, String>>()?,
        inputs: records("inputs")?,
        outputs: records("outputs")?,
        failure,
        post: test.get("post").cloned(),
        responses: list("responses").to_vec(),
        query_first: waits == Some(&Json::Bool(true)),
    })
}

fn record(node: &Json) -> Result<Record, String> {
    let headers = node
        .get("headers")
        .map(Json::items)
        .unwrap_or_default()
        .iter()
        .map(|header| {
            let value = match header.get("VALUE").and_then(Json::text) {
                Some(text) => Some(
                    BASE64
                        .decode(text)
                        .map_err(|error| format!("{text}: {error}"))?,
                ),
                None => None,
            };
            Ok((required(header, "KEY")?.to_owned(), value))
        });
    let window = node
        .get("window")
        .filter(|window| !window.is_null())
        .map(|window| {
            let number = |name| {
                window
                    .get(name)
                    .and_then(Json::int)
                    .ok_or_else(|| format!("no {name} in {window}"))
            };
            let session = window
                .get("type")
                .and_then(Json::text)
                .is_some_and(|it| it.eq_ignore_ascii_case("session"));
            Ok::<_, String>(Bounds {
                start: number("start")?,
                end: number("end")?,
                session,
            })
        });
    Ok(Record {
        topic: required(node, "topic")?.to_owned(),
        key: node.get("key").cloned().unwrap_or(Json::Null),
        value: node.get("value").cloned().unwrap_or(Json::Null),
        timestamp: node.get("timestamp").and_then(Json::int),
        window: window.transpose()?,
        headers: headers.collect::<Result<_, String>>()?,
    })
}

fn required<'a>(node: &'a Json, name: &str) -> Result<&'a str, String> {
    node.get(name)
        .and_then(Json::text)
        .ok_or_else(|| format!("no {name} in {node}"))
}

/// A value as a property or a format's name has it.
pub(super) fn plain(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cases(test: &str) -> Vec<Case> {
        let mut cases = Vec::new();
        expand("file", &Json::parse(test).unwrap(), &mut cases).unwrap();
        cases
    }

    #[test]
    fn case_is_expanded_by_format_and_config() {
        let cases = cases(
            r#"{"name": "n", "format": ["JSON", "AVRO"], "config": [true, false],
                "properties": {"p": "{CONFIG}"},
                "statements": ["CREATE {FORMAT};", "WITH (VALUE_FORMAT = '{FORMAT}')"]}"#,
        );
        let names: Vec<&str> = cases.iter().map(|case| case.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "file - n - JSON - p=true",
                "file - n - JSON - p=false",
                "file - n - AVRO - p=true",
                "file - n - AVRO - p=false",
            ]
        );
        assert_eq!(
            cases[0].statements,
            "CREATE JSON;\nWITH (VALUE_FORMAT = 'JSON')"
        );
        assert!(!cases[0].needs_registry());
        assert!(cases[2].needs_registry());
    }

    #[test]
    fn record_has_its_defaults() {
        let cases = cases(
            r#"{"name": "n", "statements": [], "inputs": [{"topic": "t", "value": 1.10,
                "window": {"start": 1, "end": 2, "type": "Session"},
                "headers": [{"KEY": "a", "VALUE": "IQ=="}, {"KEY": "b", "VALUE": null}]}]}"#,
        );
        let record = &cases[0].inputs[0];
        assert_eq!((&record.key, record.timestamp), (&Json::Null, None));
        assert_eq!(record.value, Json::Number("1.10".into()));
        assert_eq!(
            record.window,
            Some(Bounds {
                start: 1,
                end: 2,
                session: true
            })
        );
        assert_eq!(
            record.headers,
            [("a".into(), Some(b"!".to_vec())), ("b".into(), None)]
        );
    }
}
