//! The weblogs example: makes a seeded log of four web sites, runs `pipeline.sql` on it, asks
//! `questions.sql`, and checks every answer against a plain count over the same lines.
//!
//! `weblogs [DATA_DIR]`; without one, in a directory that is removed at the end.

#![expect(
    clippy::print_stdout,
    reason = "showing its results is what an example does"
)]

mod check;
mod log;

use std::error::Error;
use std::path::PathBuf;

use arrow::array::{BinaryArray, Int64Array, RecordBatch};
use arrow::util::pretty::pretty_format_batches;
use kappa_engine::record::NewRecords;
use kappa_engine::{Config, Engine, Response};

const PIPELINE: &str = include_str!("pipeline.sql");
const QUESTIONS: &str = include_str!("questions.sql");

/// Lines of the log.
const LINES: usize = 20_000;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let given = std::env::args().nth(1).map(PathBuf::from);
    let directory = match &given {
        Some(directory) => directory.clone(),
        None => std::env::temp_dir().join(format!("kappa-weblogs-{}", std::process::id())),
    };
    let result = run(&directory).await;
    if given.is_none() {
        std::fs::remove_dir_all(&directory)?;
    }
    result
}

async fn run(directory: &std::path::Path) -> Result<(), Box<dyn Error>> {
    let engine = Engine::open(Config::embedded(directory)).await?;
    let mut session = engine.session();
    let files = std::path::absolute(directory.join("files"))?;
    session
        .execute(&format!("DEFINE OUT = '{}'", files.display()))
        .await?;
    println!("The pipeline:");
    for statement in kappa_engine::split(PIPELINE) {
        match session
            .execute(statement)
            .await
            .map_err(|error| error.render())?
        {
            Response::Done(done) => println!("  {done}"),
            other => return Err(format!("unexpected: {other:?}").into()),
        }
    }
    let log = log::generate(LINES);
    println!("\n{LINES} lines of log, the first:\n  {}", log[0].to_line());
    for chunk in log.chunks(1000) {
        engine.topics().append("weblogs", &records(chunk)).await?;
    }
    engine.flush().await?;
    for query in engine.queries() {
        println!(
            "  {:<24} {:<8} {:>6} rows in, {:>6} rows out, {} bad, {} late",
            query.id,
            query.state.name(),
            query.rows_in,
            query.rows_out,
            query.bad,
            query.late
        );
    }
    let mut answers: Vec<Vec<RecordBatch>> = Vec::new();
    for question in kappa_engine::split(QUESTIONS) {
        let Response::Rows(rows) = session
            .execute(question)
            .await
            .map_err(|error| error.render())?
        else {
            return Err("a question without rows".into());
        };
        let batches = rows.collect().await.map_err(|error| error.render())?;
        println!(
            "\n{}\n{}",
            question.trim(),
            pretty_format_batches(&batches)?
        );
        answers.push(batches);
    }
    check::answers(&log, &answers)?;
    println!("\nThe Parquet files:");
    for (file, rows) in check::files(&log, &files)? {
        println!("  {} ({rows} rows)", file.display());
    }
    println!("\nAll answers, and the files, agree with a plain count over the lines.");
    engine.shutdown().await?;
    Ok(())
}

/// Lines as records: two partitions, by user, so that one user's lines stay in order.
fn records(requests: &[log::Request]) -> Vec<NewRecords> {
    (0..2)
        .map(|partition| {
            let own: Vec<&log::Request> = requests
                .iter()
                .filter(|request| request.user % 2 == partition)
                .collect();
            let lines: Vec<String> = own.iter().map(|request| request.to_line()).collect();
            NewRecords {
                partition: partition as i32,
                timestamps: own
                    .iter()
                    .map(|request| request.time_ms)
                    .collect::<Int64Array>(),
                keys: BinaryArray::new_null(own.len()),
                values: lines.iter().map(|line| Some(line.as_bytes())).collect(),
                headers: None,
            }
        })
        .filter(|records| !records.is_empty())
        .collect()
}

/// What `make demo` shows has to be right in every test run.
#[cfg(test)]
#[tokio::test]
async fn the_example_checks_itself() -> Result<(), Box<dyn Error>> {
    let directory = std::env::temp_dir().join(format!("kappa-weblogs-test-{}", std::process::id()));
    let result = run(&directory).await;
    std::fs::remove_dir_all(&directory)?;
    result
}
