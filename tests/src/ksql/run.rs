//! One case of `query/`, from an empty engine to a verdict.
//!
//! Every record is processed before the next is there: the order in the file is the order of
//! arrival, also across topics. All goes through what any program has: statements, and records in
//! topics.

use std::fmt::Write as _;
use std::path::Path;

use kappa_engine::{Engine, Error, Response, Session};

use super::case::{Case, Record as Wanted, plain};
use super::json::Json;
use super::payload::{Bounds, decode, encode};
use super::relation::{Relation, Side};
use super::types::Place;
use super::{cause, compare, post};
use crate::instance;
use crate::topic::{self, Record, Tail};

/// Why a case failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// In a line.
    pub reason: String,
    /// Expected against actual, where there is more to say.
    pub detail: String,
}

impl From<String> for Failed {
    fn from(reason: String) -> Self {
        Self {
            reason,
            detail: String::new(),
        }
    }
}

/// Runs a case in `data_dir`, which is empty.
///
/// # Errors
/// Why it failed.
pub(super) async fn run(case: &Case, data_dir: &Path) -> Result<(), Failed> {
    let engine = instance::open(data_dir, &[("step.max.rows", "1")])
        .await
        .map_err(|error| format!("the engine does not open: {error}"))?;
    let mut attempt = Attempt {
        case,
        session: engine.session(),
        engine: engine.clone(),
    };
    let verdict = attempt.run().await;
    let closed = engine.shutdown().await;
    verdict?;
    closed.map_err(|error| Failed::from(format!("the engine does not close: {error}")))
}

struct Attempt<'a> {
    case: &'a Case,
    engine: Engine,
    session: Session,
}

impl Attempt<'_> {
    async fn run(&mut self) -> Result<(), Failed> {
        set_up(self.case, &self.engine, &mut self.session).await?;
        if let Some(error) = self.statements().await? {
            return self.judge(&error);
        }
        let relations = Relation::all(&mut self.session).await?;
        let mut outputs = Outputs::of(self.case);
        self.engine
            .flush()
            .await
            .map_err(|error| format!("a query failed: {error}"))?;
        outputs.look(&self.engine).await?;
        for input in &self.case.inputs {
            send(&self.engine, &relations, input).await?;
            if let Err(error) = self.engine.flush().await {
                return self.judge(&error);
            }
            outputs.look(&self.engine).await?;
        }
        if let Some(failure) = &self.case.failure {
            return Err(format!("nothing was refused, expected: {}", failure.message).into());
        }
        outputs.compare(&relations)?;
        if let Some(post) = &self.case.post {
            let topics = self
                .engine
                .topics()
                .list()
                .await
                .map_err(|error| error.to_string())?;
            let topics: Vec<(String, i32)> = topics
                .into_iter()
                .map(|topic| (topic.name, topic.partitions))
                .collect();
            post::check(post, &relations, &topics)?;
        }
        Ok(())
    }

    /// Carries out the statements. The error of the last one where an error is expected.
    async fn statements(&mut self) -> Result<Option<Error>, Failed> {
        let statements = split(&self.case.statements);
        for (index, statement) in statements.iter().enumerate() {
            let last = index + 1 == statements.len();
            match execute(&mut self.session, statement).await {
                Ok(()) => {}
                Err(error) if last && self.case.failure.is_some() => return Ok(Some(error)),
                Err(error) => {
                    return Err(Failed {
                        reason: format!("refused: {error}"),
                        detail: error.render(),
                    });
                }
            }
        }
        Ok(None)
    }

    fn judge(&self, error: &Error) -> Result<(), Failed> {
        match &self.case.failure {
            None => Err(format!("a query failed: {error}").into()),
            Some(failure) => cause::check(failure, error).map_err(|reason| Failed {
                reason,
                detail: error.render(),
            }),
        }
    }
}

/// The topics that a case says what must be in, and what is.
pub(super) struct Outputs<'a> {
    case: &'a Case,
    topics: Vec<(&'a str, Tail, Vec<Record>)>,
}

impl<'a> Outputs<'a> {
    /// Of nothing yet.
    pub(super) fn of(case: &'a Case) -> Self {
        let mut topics: Vec<(&str, Tail, Vec<Record>)> = Vec::new();
        for output in &case.outputs {
            if !topics.iter().any(|(topic, ..)| *topic == output.topic) {
                topics.push((&output.topic, Tail::new(&output.topic), Vec::new()));
            }
        }
        Self { case, topics }
    }

    /// Takes what is there since the last look. Looking after each input keeps the order of arrival
    /// where a topic has several partitions.
    pub(super) async fn look(&mut self, engine: &Engine) -> Result<(), Failed> {
        for (_, tail, records) in &mut self.topics {
            records.extend(tail.look(engine.topics().as_ref()).await?);
        }
        Ok(())
    }

    /// Compares what is there with what must be.
    pub(super) fn compare(&self, relations: &[Relation]) -> Result<(), Failed> {
        let mut detail = String::new();
        let mut reasons = Vec::new();
        for (topic, _, actual) in &self.topics {
            let outputs = self.case.outputs.iter();
            let expected: Vec<&Wanted> = outputs.filter(|output| output.topic == *topic).collect();
            if expected.len() != actual.len() {
                let (actual, expected) = (actual.len(), expected.len());
                reasons.push(format!("{topic} has {actual} records, expected {expected}"));
            }
            let format = TopicFormat::of(relations, topic);
            let mut differs = false;
            for index in 0..expected.len().max(actual.len()) {
                let (wanted, found) = (expected.get(index), actual.get(index));
                let shown = (
                    wanted.map_or("-".to_owned(), |wanted| show(wanted)),
                    found.map_or("-".to_owned(), |found| format.show(found)),
                );
                // Writing to a string cannot fail.
                let _ = writeln!(
                    detail,
                    "{topic} {index}\n  expected {}\n  actual   {}",
                    shown.0, shown.1
                );
                let (Some(wanted), Some(found)) = (wanted, found) else {
                    continue;
                };
                if let Err(difference) = self.same(&format, wanted, found) {
                    let _ = writeln!(detail, "  DIFFERS: {difference}");
                    if !differs {
                        reasons.push(format!("{topic} record {index}: {difference}"));
                    }
                    differs = true;
                }
            }
        }
        match reasons.is_empty() {
            true => Ok(()),
            false => Err(Failed {
                reason: reasons.join("; "),
                detail,
            }),
        }
    }

    fn same(
        &self,
        format: &TopicFormat<'_>,
        wanted: &Wanted,
        found: &Record,
    ) -> Result<(), String> {
        let (key, window) = format.key(found)?;
        let value = decode(&format.value, found.value.as_deref())?;
        compare::side(&format.key, &wanted.key, &key).map_err(|why| format!("key: {why}"))?;
        compare::side(&format.value, &wanted.value, &value)
            .map_err(|why| format!("value: {why}"))?;
        if wanted.window != window {
            return Err(format!(
                "window: expected {:?}, got {window:?}",
                wanted.window
            ));
        }
        if let Some(timestamp) = wanted.timestamp
            && timestamp != found.timestamp
            // Rows that a statement inserts have the time of day.
            && !(self.case.inputs.is_empty() && timestamp == 0)
        {
            return Err(format!(
                "timestamp: expected {timestamp}, got {}",
                found.timestamp
            ));
        }
        if wanted.headers != found.headers {
            return Err(format!(
                "headers: expected {:?}, got {:?}",
                wanted.headers, found.headers
            ));
        }
        Ok(())
    }
}

/// Makes the topics that a case names, and sets its properties.
pub(super) async fn set_up(
    case: &Case,
    engine: &Engine,
    session: &mut Session,
) -> Result<(), Failed> {
    for (name, partitions) in &case.topics {
        let partitions = partitions
            .and_then(|count| i32::try_from(count).ok())
            .unwrap_or(1);
        topic::create(engine.topics().as_ref(), name, partitions).await?;
    }
    for (name, value) in &case.properties {
        // What sets up ksqlDB's planner, Kafka Streams and the cases' own runner means nothing here.
        let foreign = [
            "ksql.new.query.planner.",
            "ksql.streams.",
            "use.exact.numeric.",
        ];
        if foreign.iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        let set = format!("SET '{name}' = '{}'", plain(value));
        execute(session, &set)
            .await
            .map_err(|error| format!("refused: {set}: {error}"))?;
    }
    Ok(())
}

/// The statements of a script: cut at each `;` outside quotes and comments.
pub(super) fn split(script: &str) -> Vec<&str> {
    let mut statements = Vec::new();
    let (mut start, mut at) = (0, 0);
    while at < script.len() {
        let rest = &script[at..];
        // How far what starts here goes: a text, a quoted name, a comment, or a character.
        let end = |close: &str, from: usize| {
            rest[from..]
                .find(close)
                .map_or(rest.len(), |found| from + found + close.len())
        };
        at += match rest.chars().next() {
            Some(quote @ ('\'' | '"' | '`')) => end(&quote.to_string(), 1),
            _ if rest.starts_with("--") => end("\n", 0),
            _ if rest.starts_with("/*") => end("*/", 2),
            Some(';') => {
                statements.push(&script[start..at]);
                start = at + 1;
                1
            }
            Some(c) => c.len_utf8(),
            None => break,
        };
    }
    statements.push(&script[start..]);
    statements.retain(|statement| !statement.trim().is_empty());
    statements
}

/// Carries out a statement; what it lists is read and forgotten.
async fn execute(session: &mut Session, statement: &str) -> Result<(), Error> {
    match session.execute(statement).await? {
        Response::Rows(rows) => rows.collect().await.map(drop),
        Response::Done(_) | Response::Push(_) => Ok(()),
    }
}

/// Sends an input.
pub(super) async fn send(
    engine: &Engine,
    relations: &[Relation],
    input: &Wanted,
) -> Result<(), Failed> {
    let format = TopicFormat::of(relations, &input.topic);
    let mut key = encode(&format.key, &input.key)?;
    if let Some(window) = &input.window {
        window.append_to(key.get_or_insert_default());
    }
    let record = Record {
        key,
        value: encode(&format.value, &input.value)?,
        timestamp: input.timestamp.unwrap_or(0),
        headers: input.headers.clone(),
    };
    let topics = engine.topics().as_ref();
    topic::create(topics, &input.topic, 1).await?;
    // As in the cases' own runner, where all is in partition 0.
    Ok(topic::append(topics, &input.topic, 0, &record).await?)
}

/// How a topic's records are written: as the relation over it says.
struct TopicFormat<'a> {
    key: Side<'a>,
    value: Side<'a>,
    relation: Option<&'a Relation>,
}

impl<'a> TopicFormat<'a> {
    fn of(relations: &'a [Relation], topic: &str) -> Self {
        match relations.iter().find(|relation| relation.topic == topic) {
            Some(relation) => Self {
                key: relation.side(Place::Key),
                value: relation.side(Place::Value),
                relation: Some(relation),
            },
            None => Self {
                key: Side {
                    format: "KAFKA",
                    columns: Vec::new(),
                },
                value: Side {
                    format: "JSON",
                    columns: Vec::new(),
                },
                relation: None,
            },
        }
    }

    fn key(&self, record: &Record) -> Result<(Json, Option<Bounds>), String> {
        let window = self.relation.and_then(|relation| relation.window.as_ref());
        match (window, &record.key) {
            (Some(window), Some(key)) => {
                let (key, bounds) = Bounds::split(window, key)?;
                Ok((decode(&self.key, Some(key))?, Some(bounds)))
            }
            (_, key) => Ok((decode(&self.key, key.as_deref())?, None)),
        }
    }

    fn show(&self, record: &Record) -> String {
        let raw = |bytes: &Option<Vec<u8>>| match bytes {
            None => "null".to_owned(),
            Some(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        };
        let (key, window) = match self.key(record) {
            Ok((key, window)) => (key.to_string(), window),
            Err(_) => (raw(&record.key), None),
        };
        line(
            &key,
            &raw(&record.value),
            Some(record.timestamp),
            window.as_ref(),
            &record.headers,
        )
    }
}

fn show(record: &Wanted) -> String {
    let (key, value) = (record.key.to_string(), plain(&record.value));
    line(
        &key,
        &value,
        record.timestamp,
        record.window.as_ref(),
        &record.headers,
    )
}

fn line(
    key: &str,
    value: &str,
    timestamp: Option<i64>,
    window: Option<&Bounds>,
    headers: &[(String, Option<Vec<u8>>)],
) -> String {
    let mut line = format!("{key} -> {value}");
    if let Some(timestamp) = timestamp {
        line += &format!(" @{timestamp}");
    }
    if let Some(window) = window {
        line += &format!(" [{}, {}]", window.start, window.end);
    }
    if !headers.is_empty() {
        line += &format!(" {headers:?}");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn script_is_cut_outside_quotes_and_comments() {
        assert_eq!(
            split("SELECT ';''', `a;` -- x;\nFROM é; /* ; */ DROP \";\";\n"),
            ["SELECT ';''', `a;` -- x;\nFROM é", " /* ; */ DROP \";\""]
        );
    }
}
