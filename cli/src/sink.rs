//! `kappa sink gc`: finds, and removes on request, what sinks of files have left that nobody needs.
//!
//! It works on what is at the target alone: no data directory is opened, and an engine may be running.

use std::io::Write;

use clap::{Args, Subcommand};
use kappa_engine::{Config, GarbageRequest, Result, collect_garbage};

use crate::exit::Exit;
use crate::output::{Format, Screen, writer};
use crate::report::{note, report};
use crate::signals::Signals;
use crate::terminal::Terminal;

/// What can be done with what sinks have written.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum SinkCommand {
    /// Finds files that no reader of a sink needs: replaced ones, left-overs of crashes
    ///
    /// Without --delete nothing is removed. Files that a commit object names are always kept, and so is
    /// what a sink may be writing now. Keys of an object store come from -p, --config or the
    /// environment, as for sinks. The data directory is not opened: Kappa may be running on it.
    Gc(Gc),
}

/// Where to look, and what goes.
#[derive(Clone, Debug, Args)]
pub(crate) struct Gc {
    /// The PATH of the sink: s3://bucket/prefix, gs://…, az://… or a directory
    path: String,

    /// Only a sink with this mark (DESCRIBE tells it); may be repeated
    #[arg(long, value_name = "MARK", value_parser = mark)]
    mark: Vec<String>,

    /// Every sink that has written there
    #[arg(long, conflicts_with = "mark")]
    all_marks: bool,

    /// Only sinks with this FILE_PREFIX
    #[arg(long, value_name = "PREFIX")]
    prefix: Option<String>,

    /// Only what is so old: 90m, 24h, 7d; longer than any COMPACT_GRACE
    #[arg(long, value_name = "AGE", default_value = "24h", value_parser = age_ms)]
    older_than: i64,

    /// These sinks are gone, no process writes for them: also what they had not finished
    #[arg(long)]
    dropped: bool,

    /// Lists files instead of counting them
    #[arg(long)]
    list: bool,

    /// Removes what is found
    #[arg(long)]
    delete: bool,
}

/// Does it.
pub(crate) async fn run(
    config: &Config,
    terminal: &Terminal,
    format: Format,
    mut signals: Signals,
    command: &SinkCommand,
) -> Exit {
    let SinkCommand::Gc(gc) = command;
    if (gc.delete || gc.dropped) && gc.mark.is_empty() && !gc.all_marks {
        let what = "error: say which sinks it is about: --mark MARK, or --all-marks";
        report(terminal, what);
        return Exit::Usage;
    }
    let request = GarbageRequest {
        path: gc.path.clone(),
        prefix: gc.prefix.clone(),
        marks: gc.mark.clone(),
        older_than_ms: gc.older_than,
        dropped: gc.dropped,
        delete: gc.delete,
        list: gc.list,
    };
    let done = tokio::select! {
        done = print(config, terminal, format, &request) => done,
        event = signals.next() => return event.exit(),
    };
    match done {
        Ok(()) => Exit::Done,
        Err(error) => {
            report(terminal, &error.render());
            Exit::Failed
        }
    }
}

async fn print(
    config: &Config,
    terminal: &Terminal,
    format: Format,
    request: &GarbageRequest,
) -> Result<()> {
    let rows = collect_garbage(config, request).await?;
    let screen = Screen {
        size: terminal.size(),
        color: terminal.colors_output(),
        live: false,
    };
    let schema = rows.schema().clone();
    let batches = rows.collect().await?;
    let mut out = terminal.stdout();
    let printed = writer(format, schema, screen, &mut out).and_then(|mut printed| {
        batches.iter().try_for_each(|batch| printed.batch(batch))?;
        printed.finish()
    });
    // A reader who has gone needs no rows.
    drop(printed.and_then(|()| out.flush()));
    if !request.delete {
        note(terminal, "Nothing was removed: that takes --delete.");
    }
    Ok(())
}

/// Eight hexadecimal digits.
fn mark(text: &str) -> Result<String, String> {
    let text = text.to_lowercase();
    match text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        true => Ok(text),
        false => Err("a mark has eight hexadecimal digits".to_owned()),
    }
}

/// A number with a unit, in milliseconds.
fn age_ms(text: &str) -> Result<i64, String> {
    let units = [
        ('s', 1_000),
        ('m', 60_000),
        ('h', 3_600_000),
        ('d', 86_400_000),
    ];
    let parsed = units.iter().find_map(|(unit, ms)| {
        let number: u32 = text.strip_suffix(*unit)?.parse().ok()?;
        i64::from(number).checked_mul(*ms)
    });
    parsed.ok_or_else(|| "it must be a number and s, m, h or d, such as 24h".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_units() {
        assert_eq!(age_ms("90m"), Ok(5_400_000));
        assert_eq!(age_ms("0s"), Ok(0));
        assert_eq!(age_ms("7d"), Ok(604_800_000));
        for wrong in ["", "h", "24", "-1h", "1w", "99999999999h", "1é"] {
            assert!(age_ms(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn marks_are_eight_digits() {
        assert_eq!(mark("0123ABcd"), Ok("0123abcd".to_owned()));
        assert!(mark("0123abc").is_err() && mark("0123abcg").is_err());
    }
}
