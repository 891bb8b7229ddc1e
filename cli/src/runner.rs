//! One statement: handed to the engine, its answer printed.
//!
//! The shell, scripts and `kappa run` all go through here. Ctrl-C ends the statement, whatever it
//! is waiting for; a reader that goes away (`kappa … | head`) ends it too and is no error.

use std::io::{self, Write};
use std::sync::Arc;

use kappa_engine::{Clock, Error, Response, Rows, Session, Subscription};

use crate::output::{Format, Screen, writer};
use crate::report::note;
use crate::signals::{Event, Signals};
use crate::task::{Pump, Task};
use crate::terminal::Terminal;

/// A push query that is so many records behind is said to be, so often at most.
const LAG_NOTED: u64 = 100_000;
const LAG_NOTED_EVERY_MS: i64 = 10_000;

/// How a statement ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// By itself.
    Done,
    /// By a signal.
    Stopped(Event),
    /// Nobody reads the results any more.
    Closed,
}

/// Why a statement failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The engine says so.
    Statement(Error),
    /// Results cannot be written.
    Output(io::Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Statement(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// Executes statements of one session.
#[derive(Debug)]
pub(crate) struct Runner {
    session: Session,
    clock: Arc<dyn Clock>,
    terminal: Terminal,
    signals: Signals,
    /// How rows are printed.
    pub(crate) format: Format,
    /// Whether it is said how long statements take.
    pub(crate) timing: bool,
    /// Whether somebody watches who may like to know how to stop a push query.
    pub(crate) interactive: bool,
}

impl Runner {
    /// Executes statements of `session`.
    pub(crate) fn new(
        session: Session,
        clock: Arc<dyn Clock>,
        terminal: Terminal,
        format: Format,
        signals: Signals,
    ) -> Self {
        Self {
            session,
            clock,
            terminal,
            signals,
            format,
            timing: false,
            interactive: false,
        }
    }

    /// What signals there were.
    pub(crate) fn signals(&mut self) -> &mut Signals {
        &mut self.signals
    }

    /// Executes a statement and prints its answer.
    pub(crate) async fn execute(&mut self, statement: &str) -> Result<Ended, Failure> {
        match Box::pin(self.answer(statement)).await {
            Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                Ok(Ended::Closed)
            }
            ended => ended,
        }
    }

    /// Executes a statement whose answer nobody wants to see.
    pub(crate) async fn quietly(&mut self, statement: &str) -> Result<Option<Rows>, Error> {
        match self.session.execute(statement).await? {
            Response::Rows(rows) => Ok(Some(rows)),
            Response::Done(_) | Response::Push(_) => Ok(None),
        }
    }

    async fn answer(&mut self, statement: &str) -> Result<Ended, Failure> {
        let started_ms = self.clock.monotonic_ms();
        let mut session = self.session.clone();
        let text = statement.to_owned();
        let mut task = Task::start(async move {
            let response = session.execute(&text).await;
            (session, response)
        });
        let (session, response) = tokio::select! {
            biased;
            ended = task.done() => ended?,
            event = self.signals.next() => {
                if self.interactive {
                    note(&self.terminal, "\ninterrupted; the statement may have been carried out");
                }
                return Ok(Ended::Stopped(event));
            }
        };
        self.session = session;
        match response? {
            Response::Done(message) => self.done(&message, started_ms),
            Response::Rows(rows) => self.rows(rows, started_ms).await,
            Response::Push(subscription) => self.push(subscription).await,
        }
    }

    /// Messages go where the rows go, unless those are read by a program.
    fn done(&self, message: &str, started_ms: i64) -> Result<Ended, Failure> {
        let mut text = crate::output::text::escape_lines(message).into_owned();
        if self.timing {
            text.push_str(&format!(" ({})", self.elapsed(started_ms)));
        }
        if !text.is_empty() {
            if self.format == Format::Table {
                let mut out = self.terminal.stdout();
                writeln!(out, "{text}")?;
                out.flush()?;
            } else {
                note(&self.terminal, &text);
            }
        }
        Ok(Ended::Done)
    }

    async fn rows(&mut self, rows: Rows, started_ms: i64) -> Result<Ended, Failure> {
        let mut out = self.terminal.stdout();
        let mut count = 0;
        let mut ended = Ended::Done;
        let schema = rows.schema().clone();
        let mut rows = Pump::start(rows);
        let mut printed = writer(self.format, schema, self.screen(false), &mut out)?;
        loop {
            let batch = tokio::select! {
                biased;
                event = self.signals.next() => {
                    ended = Ended::Stopped(event);
                    printed.flush()?;
                    if self.interactive {
                        note(&self.terminal, "\ninterrupted");
                    }
                    break;
                }
                batch = rows.next() => batch,
            };
            match batch {
                None => break,
                Some(Ok(batch)) => {
                    count += batch.num_rows();
                    printed.batch(&batch)?;
                }
                Some(Err(error)) => {
                    // A header over nothing would look like an empty result.
                    drop(printed);
                    out.flush()?;
                    return Err(error.into());
                }
            }
        }
        if ended == Ended::Done || count > 0 {
            printed.finish()?;
        }
        drop(printed);
        if ended == Ended::Done {
            self.footer(&mut out, count, Some(started_ms))?;
        }
        out.flush()?;
        Ok(ended)
    }

    async fn push(&mut self, mut rows: Subscription) -> Result<Ended, Failure> {
        if self.interactive && self.terminal.output {
            note(&self.terminal, "Ctrl-C ends the query.");
        }
        let mut out = self.terminal.stdout();
        let mut count = 0;
        let mut noted_ms = None;
        let mut ended = Ended::Done;
        let mut printed = writer(
            self.format,
            rows.schema().clone(),
            self.screen(true),
            &mut out,
        )?;
        loop {
            let batch = tokio::select! {
                biased;
                event = self.signals.next() => {
                    ended = Ended::Stopped(event);
                    break;
                }
                batch = rows.next() => batch,
            };
            match batch {
                None => break,
                Some(Ok(batch)) => {
                    count += batch.num_rows();
                    printed.batch(&batch)?;
                    printed.flush()?;
                    self.note_lag(rows.lag(), &mut noted_ms);
                }
                Some(Err(error)) => return Err(error.into()),
            }
        }
        printed.finish()?;
        drop(printed);
        if ended == Ended::Stopped(Event::Interrupt) && self.terminal.output {
            // The terminal shows ^C at the start of the line.
            writeln!(out)?;
        }
        if self.interactive || ended == Ended::Done {
            self.footer(&mut out, count, None)?;
        }
        out.flush()?;
        Ok(ended)
    }

    fn screen(&self, live: bool) -> Screen {
        Screen {
            size: self.terminal.size(),
            color: self.terminal.colors_output(),
            live,
        }
    }

    /// `3 rows in 12 ms`, below a table.
    fn footer(
        &self,
        out: &mut dyn Write,
        count: usize,
        started_ms: Option<i64>,
    ) -> Result<(), Failure> {
        let mut text = if count == 1 {
            "1 row".to_owned()
        } else {
            format!("{count} rows")
        };
        if let (true, Some(started_ms)) = (self.timing, started_ms) {
            text.push_str(&format!(" in {}", self.elapsed(started_ms)));
        }
        if self.format == Format::Table {
            writeln!(out, "{text}")?;
        } else if self.timing {
            note(&self.terminal, &text);
        }
        Ok(())
    }

    fn elapsed(&self, started_ms: i64) -> String {
        match self.clock.monotonic_ms() - started_ms {
            ms @ ..10_000 => format!("{ms} ms"),
            ms => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        }
    }

    /// Says that rows are taken more slowly than they are made: the terminal is the bottleneck.
    fn note_lag(&self, lag: u64, noted_ms: &mut Option<i64>) {
        let now_ms = self.clock.monotonic_ms();
        if lag >= LAG_NOTED && noted_ms.is_none_or(|at| now_ms - at >= LAG_NOTED_EVERY_MS) {
            *noted_ms = Some(now_ms);
            note(&self.terminal, &format!("({lag} records behind)"));
        }
    }
}
