//! One case of `rest/`: statements, inputs, then pull or push queries with the rows they answer.
//!
//! The engine has no HTTP front door here, so what is compared is what one would send: the columns'
//! names and types, the rows in any order, and whether the query ends.

use std::path::Path;
use std::time::Duration;

use kappa_engine::{Engine, Error, Response, Session, Subscription};

use super::case::Case;
use super::json::Json;
use super::relation::Relation;
use super::run::{Failed, Outputs, send, set_up, split};
use super::types::{Type, parse_columns};
use super::{cause, compare, rows};
use crate::instance;

/// How long a push query may take to give the rows that a case expects.
const PATIENCE: Duration = Duration::from_secs(5);

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
    let verdict = match (attempt.run().await, &case.failure) {
        (Ok(()), None) => Ok(()),
        (Ok(()), Some(failure)) => {
            Err(format!("nothing was refused, expected: {}", failure.message).into())
        }
        (Err(Stopped::Failed(failed)), _) => Err(failed),
        (Err(Stopped::Refused(error)), None) => Err(Failed {
            reason: format!("refused: {error}"),
            detail: error.render(),
        }),
        (Err(Stopped::Refused(error)), Some(failure)) => {
            cause::check(failure, &error).map_err(|reason| Failed {
                reason,
                detail: error.render(),
            })
        }
    };
    let closed = engine.shutdown().await;
    verdict?;
    closed.map_err(|error| format!("the engine does not close: {error}").into())
}

struct Attempt<'a> {
    case: &'a Case,
    engine: Engine,
    session: Session,
}

/// Why a case went no further.
enum Stopped {
    Refused(Error),
    Failed(Failed),
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl From<Failed> for Stopped {
    fn from(failed: Failed) -> Self {
        Self::Failed(failed)
    }
}

impl From<String> for Stopped {
    fn from(reason: String) -> Self {
        Self::Failed(reason.into())
    }
}

impl Attempt<'_> {
    async fn run(&mut self) -> Result<(), Stopped> {
        set_up(self.case, &self.engine, &mut self.session).await?;
        let statements = split(&self.case.statements);
        let is_query = |statement: &&str| statement.trim_start().starts_with("SELECT ");
        let (queries, others): (Vec<&str>, Vec<&str>) = statements.into_iter().partition(is_query);
        for statement in others {
            if let Response::Rows(rows) = self.session.execute(statement).await? {
                rows.collect().await?;
            }
        }
        let relations = Relation::all(&mut self.session).await?;
        let mut outputs = Outputs::of(self.case);
        // What INSERT VALUES wrote is there before any input is.
        self.engine.flush().await?;
        outputs.look(&self.engine).await?;
        let mut answers = Vec::new();
        if self.case.query_first {
            for query in &queries {
                answers.push(self.session.execute(query).await?);
            }
        }
        for input in &self.case.inputs {
            send(&self.engine, &relations, input).await?;
            self.engine.flush().await?;
            outputs.look(&self.engine).await?;
        }
        if !self.case.query_first {
            for query in &queries {
                answers.push(self.session.execute(query).await?);
            }
        }
        let mut expected = self.case.responses.iter().filter_map(|response| {
            response
                .get("query")
                .or(response.get("queryProto"))
                .map(Json::items)
        });
        for answer in answers {
            match expected.next() {
                Some(lines) => check(answer, lines).await?,
                // An error is expected of it, which may come only with its rows.
                None => drop(read(answer, None).await?),
            }
        }
        if expected.next().is_some() {
            return Err(
                "fewer queries than answers: Protobuf answers are not there yet"
                    .to_owned()
                    .into(),
            );
        }
        outputs.compare(&relations)?;
        Ok(())
    }
}

/// Compares a query's answer with the lines expected of it.
async fn check(answer: Response, lines: &[Json]) -> Result<(), Stopped> {
    let header = lines.iter().find_map(|line| line.get("header"));
    let wanted: Vec<&Json> = lines
        .iter()
        .filter_map(|line| line.get("row")?.get("columns"))
        .collect();
    let ends = lines.iter().any(|line| line.get("finalMessage").is_some());
    let count = if ends { None } else { Some(wanted.len()) };
    let (columns, found) = read(answer, count).await?;
    if let Some(schema) = header
        .and_then(|header| header.get("schema"))
        .and_then(Json::text)
    {
        let expected: Vec<(String, Type)> = parse_columns(schema)?
            .into_iter()
            .map(|column| (column.name, column.data_type))
            .collect();
        if expected != columns {
            let text = |columns: &[(String, Type)]| {
                let columns = columns.iter().map(|(name, of)| format!("`{name}` {of}"));
                columns.collect::<Vec<_>>().join(", ")
            };
            let reason = format!(
                "the columns are {}, expected {}",
                text(&columns),
                text(&expected)
            );
            return Err(reason.into());
        }
    }
    let mut left = found.clone();
    let mut missing = Vec::new();
    for row in &wanted {
        let types: Vec<&Type> = columns.iter().map(|(_, of)| of).collect();
        match left
            .iter()
            .position(|found| compare::row(row, found, &types))
        {
            Some(index) => drop(left.swap_remove(index)),
            None => missing.push(row.to_string()),
        }
    }
    if missing.is_empty() && left.is_empty() {
        return Ok(());
    }
    let text = |rows: &[Json]| {
        rows.iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(" ")
    };
    let reason = format!(
        "{} rows, expected {}; missing {}; too many {}",
        found.len(),
        wanted.len(),
        missing.join(" "),
        text(&left)
    );
    let expected: Vec<Json> = wanted.into_iter().cloned().collect();
    let detail = format!("expected {}\nactual   {}", text(&expected), text(&found));
    Err(Failed { reason, detail }.into())
}

type Answer = (Vec<(String, Type)>, Vec<Json>);

/// An answer's columns and rows: all, or of a push query that goes on, the first `count`.
async fn read(answer: Response, count: Option<usize>) -> Result<Answer, Stopped> {
    let schema = match &answer {
        Response::Done(text) => return Err(format!("no rows but '{text}'").into()),
        Response::Rows(rows) => rows.schema().clone(),
        Response::Push(rows) => rows.schema().clone(),
    };
    let batches = match answer {
        Response::Rows(rows) => rows.collect().await?,
        Response::Push(subscription) => receive(subscription, count).await?,
        Response::Done(_) => Vec::new(),
    };
    let columns = schema.fields().iter();
    let columns =
        columns.map(|field| Ok((field.name().clone(), rows::type_of(field.data_type())?)));
    let columns = columns.collect::<Result<_, String>>()?;
    let mut found = Vec::new();
    for batch in &batches {
        found.extend(rows::rows(batch)?);
    }
    Ok((columns, found))
}

async fn receive(
    mut subscription: Subscription,
    count: Option<usize>,
) -> Result<Vec<arrow::array::RecordBatch>, Stopped> {
    let mut batches = Vec::new();
    let mut rows = 0;
    while count.is_none_or(|count| rows < count) {
        match tokio::time::timeout(PATIENCE, subscription.next()).await {
            Ok(Some(batch)) => {
                let batch = batch?;
                rows += batch.num_rows();
                batches.push(batch);
            }
            Ok(None) => break,
            Err(_) => return Err(format!("the query stands still after {rows} rows").into()),
        }
    }
    Ok(batches)
}
