//! The task of a writer: takes what its outbox has, and makes units of it.

use std::sync::Arc;
use std::time::Duration;

use kappa_storage::store::Store;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::command::{Command, Commands};
use super::outbox::Outbox;
use super::retry::Backoff;
use super::status::TaskStatus;
use super::units::Units;
use super::writer::{Writer, WriterOptions};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::query::status::QueryState;

/// Longest time without a look at the clock, which tests move.
const LOOK: Duration = Duration::from_millis(100);

/// A running writer.
#[derive(Debug)]
pub(crate) struct WriterHandle {
    pub(crate) units: Arc<Units>,
    pub(crate) status: Arc<TaskStatus>,
    commands: Commands,
    task: JoinHandle<()>,
}

/// What a writer is made of.
#[derive(Clone, Debug)]
pub(crate) struct WriterSpec {
    pub(crate) id: String,
    pub(crate) options: WriterOptions,
    pub(crate) store: Arc<Store>,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) units: Arc<Units>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl WriterHandle {
    pub(crate) fn start(spec: WriterSpec) -> Self {
        let (commands, receiver) = Commands::new();
        let status = Arc::new(TaskStatus::default());
        let units = Arc::clone(&spec.units);
        let task = Task {
            spec,
            status: Arc::clone(&status),
            commands: receiver,
        };
        Self {
            units,
            status,
            commands,
            task: tokio::spawn(task.run()),
        }
    }

    /// Makes units of everything that is in the outbox now.
    pub(crate) fn flush(&self) -> impl Future<Output = Result<()>> + use<> {
        self.commands.clone().flush()
    }

    /// The way to it, for its sinks.
    pub(crate) fn commands(&self) -> Commands {
        self.commands.clone()
    }

    pub(crate) async fn resume(&self) {
        self.commands.send(Command::Resume).await;
    }

    /// Ends it. Files that are not done are written again after a restart.
    pub(crate) async fn stop(self) {
        self.commands.send(Command::Stop).await;
        drop(self.task.await);
    }
}

struct Task {
    spec: WriterSpec,
    status: Arc<TaskStatus>,
    commands: mpsc::Receiver<Command>,
}

/// Why a run ended.
enum Ended {
    Stopped,
    Failed(Error),
}

impl Task {
    async fn run(mut self) {
        let mut backoff = Backoff::default();
        loop {
            let error = match self.run_once(&mut backoff).await {
                Ended::Stopped => return,
                Ended::Failed(error) => error,
            };
            let wait = error.is_retryable().then(|| backoff.next());
            let state = match wait {
                Some(_) => QueryState::Retrying,
                None => QueryState::Error,
            };
            self.status.set_state(state, Some(error.to_string()));
            if !self.wait(wait, &error).await {
                return;
            }
        }
    }

    /// Waits before the next try; false when there is to be none.
    async fn wait(&mut self, wait: Option<Duration>, error: &Error) -> bool {
        let until = wait.map(|wait| tokio::time::Instant::now() + wait);
        loop {
            let command = match until {
                None => self.commands.recv().await,
                Some(until) => match tokio::time::timeout_at(until, self.commands.recv()).await {
                    Ok(command) => command,
                    Err(_) => return true,
                },
            };
            match command {
                None | Some(Command::Stop) => return false,
                // A writer does not pause: what waits for its sinks is kept.
                Some(Command::Pause) => {}
                Some(Command::Resume) => return true,
                Some(Command::Flush(answer)) => drop(answer.send(Err(error.clone()))),
                Some(Command::Depart(answer)) => drop(answer.send(None)),
            }
        }
    }

    async fn run_once(&mut self, backoff: &mut Backoff) -> Ended {
        let spec = self.spec.clone();
        let opened = blocking(move || {
            Writer::open(
                &spec.id,
                spec.options,
                &spec.store,
                spec.units,
                spec.outbox.schema(),
            )
        });
        let mut writer = match opened.await {
            Ok(writer) => writer,
            Err(error) => return Ended::Failed(error),
        };
        self.status.set_state(QueryState::Running, None);
        let mut news = self.spec.outbox.subscribe();
        loop {
            writer = match self.take(writer, false).await {
                Ok(writer) => writer,
                Err(error) => return Ended::Failed(error),
            };
            backoff.reset();
            let clock = &self.spec.clock;
            let due = writer.due_ms().map(|due_ms| {
                let wait_ms = due_ms.saturating_sub(clock.monotonic_ms()).max(1);
                Duration::from_millis(wait_ms.unsigned_abs()).min(LOOK)
            });
            let command = tokio::select! {
                command = self.commands.recv() => command,
                changed = news.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return Ended::Stopped,
                },
                () = tokio::time::sleep(due.unwrap_or(LOOK)) => continue,
            };
            match command {
                None | Some(Command::Stop) => return Ended::Stopped,
                Some(Command::Pause | Command::Resume) => {}
                Some(Command::Flush(answer)) => {
                    writer = match self.take(writer, true).await {
                        Ok(writer) => writer,
                        Err(error) => {
                            drop(answer.send(Err(error.clone())));
                            return Ended::Failed(error);
                        }
                    };
                    drop(answer.send(Ok(())));
                }
                Some(Command::Depart(answer)) => {
                    writer = match self.take(writer, true).await {
                        Ok(writer) => writer,
                        Err(error) => return Ended::Failed(error),
                    };
                    drop(answer.send(writer.departure()));
                }
            }
        }
    }

    /// Takes all that the outbox has; with `all`, makes units of it.
    async fn take(&self, mut writer: Writer, all: bool) -> Result<Writer> {
        let spec = self.spec.clone();
        blocking(move || {
            let now_ms = || spec.clock.monotonic_ms();
            while let Some((epoch, segment)) = spec.outbox.next(&spec.id, writer.position()) {
                let rows = spec.outbox.read(epoch)?;
                writer.push(epoch, rows, segment.offsets, now_ms())?;
                writer.roll(false, now_ms(), spec.clock.now_ms())?;
            }
            if all || writer.has_open_files() {
                writer.roll(all, now_ms(), spec.clock.now_ms())?;
            }
            spec.outbox.advance(&spec.id, writer.cursor());
            spec.outbox.trim(now_ms())?;
            Ok(writer)
        })
        .await
    }
}

/// Work on a thread that may block.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::Internal(format!("a sink's work panicked: {error}")))?
}
