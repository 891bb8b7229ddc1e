//! Whether what is measured answers as DataFusion's batch run over the same rows does.

use arrow::array::RecordBatch;
use arrow::util::pretty::pretty_format_batches;

use crate::generated::Question;
use crate::query::QUERIES;
use crate::{Outcome, files, generated, joins, pull, workers};

/// What can be checked: the queries over the topic of bids, and these. `decode_…` compare with
/// arrow-json whenever they run; what is left does as one of these, or has no rows for an answer.
const OTHERS: [&str; 10] = [
    "gen_1m",
    "keys_10m",
    "distinct",
    "distinct_32mb",
    "workers",
    "join",
    "join_skewed",
    "sinks_2",
    "directories",
    "pull_1",
];

pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    QUERIES.iter().map(|query| query.name).chain(OTHERS)
}

/// Runs a benchmark's query over so many events and compares.
pub(crate) async fn check(name: &str, events: u64) -> Outcome<()> {
    match name {
        "gen_1m" => generated::check(events, &Question::sums(1_000_000), &[]).await,
        "keys_10m" => {
            let memory = [("state.memory.mb", "256")];
            generated::check(events, &Question::sums(10_000_000), &memory).await
        }
        "distinct" => generated::check(events, &Question::distinct(), &[]).await,
        // Events are few here, and so is the memory.
        "distinct_32mb" => {
            let memory = [("state.memory.mb", "1")];
            generated::check(events, &Question::distinct(), &memory).await
        }
        "workers" => workers::check(events).await,
        "join" => joins::check(events, u64::MAX).await,
        "join_skewed" => joins::check(events, joins::BUSY).await,
        "sinks_2" => files::check(events, 2, "").await,
        "directories" => files::check(events, 1, files::DIRECTORIES).await,
        "pull_1" => pull::check(events).await,
        name => match QUERIES.iter().find(|query| query.name == name) {
            Some(query) => query.check(events).await,
            None => Err(format!("{name} cannot be checked").into()),
        },
    }
}

/// The same rows, in any order; the names of columns do not matter.
pub(crate) fn same(ours: &[RecordBatch], theirs: &[RecordBatch]) -> Outcome<()> {
    let (ours, theirs) = (sorted(ours)?, sorted(theirs)?);
    if ours.is_empty() {
        return Err("there are no rows to compare".into());
    }
    let differing = ours
        .iter()
        .zip(&theirs)
        .find(|(ours, theirs)| ours != theirs);
    match (differing, ours.len() == theirs.len()) {
        (None, true) => Ok(()),
        (None, false) => {
            Err(format!("{} rows, and {} by DataFusion", ours.len(), theirs.len()).into())
        }
        (Some((ours, theirs)), _) => Err(format!("{ours}, and {theirs} by DataFusion").into()),
    }
}

/// Rows as sorted lines.
fn sorted(batches: &[RecordBatch]) -> Outcome<Vec<String>> {
    let text = pretty_format_batches(batches)?.to_string();
    // Without the heading, whose names differ in case.
    let mut lines: Vec<String> = text
        .lines()
        .filter(|line| line.starts_with('|'))
        .skip(1)
        .map(|line| line.split_whitespace().collect())
        .collect();
    lines.sort();
    Ok(lines)
}
