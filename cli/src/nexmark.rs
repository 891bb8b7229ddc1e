//! `kappa nexmark`: fills topics with the events of the Nexmark benchmark.
//!
//! One topic a table, JSON in the value. Says in the end which statements read them. What is made is
//! the library's ([`kappa_engine::nexmark`]); this asks it for some events at a time, makes the next
//! ones while those are written, and keeps to the rate.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use kappa_engine::nexmark::{Generator, Options, Producer, Table};
use kappa_engine::record::NewRecords;
use kappa_engine::topic::{CleanupPolicy, NewTopic, Topics};
use kappa_engine::{Clock, Error, Result};

use crate::exit::Exit;
use crate::progress::thousands;
use crate::report::{note, report};
use crate::signals::Signals;
use crate::terminal::Terminal;

/// Events made and written at a time, where there is no rate.
const EVENTS_AT_ONCE: u64 = 20_000;
/// How often some are written where there is one.
const PACE_MS: u64 = 100;

/// What to fill topics with.
#[derive(Clone, Debug, Args)]
pub(crate) struct Fill {
    /// How many events, of all three kinds: 2% are people, 6% auctions, 92% bids
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    events: u64,

    /// Events a second [default: as fast as they can be written]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    rate: Option<u64>,

    /// The number of the first event: to go on where a run before this one ended
    #[arg(long, value_name = "N", default_value_t = 0)]
    offset: u64,

    /// What the values depend on
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// Partitions of topics that have to be made [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=100_000))]
    partitions: Option<i32>,
}

/// Fills the topics.
pub(crate) async fn run(
    topics: &Arc<dyn Topics>,
    terminal: &Terminal,
    clock: &dyn Clock,
    mut signals: Signals,
    fill: &Fill,
) -> Exit {
    let mut written = 0;
    let filled = tokio::select! {
        filled = write_all(topics, terminal, clock, fill, &mut written) => filled,
        event = signals.next() => {
            let next = fill.offset + written;
            note(terminal, &format!("{} events written; --offset {next} goes on", thousands(written)));
            return event.exit();
        }
    };
    match filled {
        Ok(()) => {
            let mut out = terminal.stdout();
            // A reader who has gone needs no statements.
            drop(write!(out, "{}", statements()).and_then(|()| out.flush()));
            Exit::Done
        }
        Err(error) => {
            report(terminal, &error.render());
            Exit::Failed
        }
    }
}

async fn write_all(
    topics: &Arc<dyn Topics>,
    terminal: &Terminal,
    clock: &dyn Clock,
    fill: &Fill,
    written: &mut u64,
) -> Result<()> {
    let generator = Generator::new(Options {
        seed: fill.seed,
        ..Options::default()
    });
    let mut producers = Vec::new();
    for table in Table::ALL {
        let partitions = ensure(topics.as_ref(), terminal, table.name(), fill.partitions).await?;
        producers.push(Producer::try_new(generator.clone(), table, partitions)?);
    }
    let bar = bar(terminal, fill.events);
    let started_ms = clock.monotonic_ms();
    let at_once = match fill.rate {
        Some(rate) => (rate * PACE_MS / 1_000).clamp(1, EVENTS_AT_ONCE),
        None => EVENTS_AT_ONCE,
    };
    let mut made = 0;
    let mut batch: Vec<(Table, Vec<NewRecords>)> = Vec::new();
    loop {
        let count = at_once.min(fill.events - made);
        let first = fill.offset.saturating_add(made);
        let making = make(producers, first, count);
        let ((again, next), appended) = tokio::try_join!(making, append(topics, &batch))?;
        producers = again;
        *written += appended;
        bar.set_position(*written);
        let ms = (clock.monotonic_ms() - started_ms).max(1).unsigned_abs();
        bar.set_message(format!("{} events/s", thousands(*written * 1_000 / ms)));
        if count == 0 && batch.is_empty() {
            break;
        }
        made += count;
        batch = next;
        if let Some(rate) = fill.rate {
            // An event is written when the time up to its end has passed.
            let due_ms = u128::from(made) * 1_000 / u128::from(rate);
            let wait_ms = due_ms.saturating_sub(u128::from(ms));
            let wait_ms = u64::try_from(wait_ms).unwrap_or(u64::MAX);
            tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        }
    }
    bar.finish_and_clear();
    let seconds = (clock.monotonic_ms() - started_ms).max(1) as f64 / 1_000.0;
    note(
        terminal,
        &format!(
            "{} events written in {seconds:.1} s, {} a second",
            thousands(*written),
            thousands((*written as f64 / seconds) as u64)
        ),
    );
    Ok(())
}

/// The topic's partitions. It is made where it does not exist: kept for good, since its records have
/// the times of the events, which are years ago.
async fn ensure(
    topics: &dyn Topics,
    terminal: &Terminal,
    name: &str,
    partitions: Option<i32>,
) -> Result<i32> {
    if let Some(found) = topics.describe(name).await? {
        if let Some(wanted) = partitions.filter(|wanted| *wanted != found.partitions) {
            return Err(Error::User(format!(
                "topic \"{name}\" exists and has {} partitions, not {wanted}: leave --partitions \
                 out, or delete it",
                found.partitions
            )));
        }
        note(
            terminal,
            &format!("topic {name} exists: records are added to it"),
        );
        return Ok(found.partitions);
    }
    let partitions = partitions.unwrap_or(1);
    let topic = NewTopic {
        name: name.to_owned(),
        partitions,
        replicas: -1,
        cleanup: CleanupPolicy::Delete,
        retention_ms: Some(-1),
        retention_bytes: None,
    };
    topics.create(&topic).await?;
    Ok(partitions)
}

/// Makes the records of some events, on a thread that may be busy.
async fn make(
    mut producers: Vec<Producer>,
    first: u64,
    count: u64,
) -> Result<(Vec<Producer>, Vec<(Table, Vec<NewRecords>)>)> {
    if count == 0 {
        return Ok((producers, Vec::new()));
    }
    tokio::task::spawn_blocking(move || {
        let batch = producers
            .iter_mut()
            .map(|producer| {
                let records = producer.records(first..first.saturating_add(count))?;
                Ok((producer.table(), records))
            })
            .collect::<Result<Vec<_>>>()?;
        Ok((producers, batch))
    })
    .await
    .map_err(|error| Error::Internal(error.to_string()))?
}

/// Appends records; the number of them.
async fn append(topics: &Arc<dyn Topics>, batch: &[(Table, Vec<NewRecords>)]) -> Result<u64> {
    let mut written = 0;
    for (table, records) in batch.iter().filter(|(_, records)| !records.is_empty()) {
        topics.append(table.name(), records).await?;
        written += records.iter().map(NewRecords::len).sum::<usize>() as u64;
    }
    Ok(written)
}

fn bar(terminal: &Terminal, events: u64) -> ProgressBar {
    let target = match terminal.errors {
        true => ProgressDrawTarget::stderr(),
        false => ProgressDrawTarget::hidden(),
    };
    let bar = ProgressBar::with_draw_target(Some(events), target);
    let template = if terminal.colors_errors() {
        "{bar:30.cyan/dim} {percent}% {msg}"
    } else {
        "{bar:30} {percent}% {msg}"
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("━╸─"));
    }
    bar
}

/// The statements that read the topics.
fn statements() -> String {
    use arrow::datatypes::DataType;
    let mut text = String::new();
    for table in Table::ALL {
        let columns: Vec<String> = table
            .schema()
            .fields()
            .iter()
            .map(|field| {
                let data_type = match field.data_type() {
                    DataType::Int64 => "BIGINT",
                    DataType::Timestamp(..) => "TIMESTAMP",
                    _ => "STRING",
                };
                format!("{} {data_type}", field.name())
            })
            .collect();
        text.push_str(&format!(
            "CREATE STREAM {name} ({columns})\n  WITH (KAFKA_TOPIC = '{name}', VALUE_FORMAT = \
             'JSON', TIMESTAMP = 'dateTime');\n",
            name = table.name(),
            columns = columns.join(", "),
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_to_be_pasted() {
        expect_test::expect![[r#"
            CREATE STREAM person (id BIGINT, name STRING, emailAddress STRING, creditCard STRING, city STRING, state STRING, dateTime TIMESTAMP, extra STRING)
              WITH (KAFKA_TOPIC = 'person', VALUE_FORMAT = 'JSON', TIMESTAMP = 'dateTime');
            CREATE STREAM auction (id BIGINT, itemName STRING, description STRING, initialBid BIGINT, reserve BIGINT, dateTime TIMESTAMP, expires TIMESTAMP, seller BIGINT, category BIGINT, extra STRING)
              WITH (KAFKA_TOPIC = 'auction', VALUE_FORMAT = 'JSON', TIMESTAMP = 'dateTime');
            CREATE STREAM bid (auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, url STRING, dateTime TIMESTAMP, extra STRING)
              WITH (KAFKA_TOPIC = 'bid', VALUE_FORMAT = 'JSON', TIMESTAMP = 'dateTime');
        "#]]
        .assert_eq(&statements());
    }
}
