//! The task of a sink: takes what is ready, commits it at its target, and remembers how far it has
//! come. Failures are its own: it tries again by itself, or waits for RESUME SINK.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use kappa_storage::snowflake::{ChannelMarks, EpochRows};
use kappa_storage::store::{Durability, Store};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::command::{Command, Commands};
use super::compacting::{CompactionHandle, CompactionSpec};
use super::departure::{self, Departure};
use super::kept::Backlog;
use super::outbox::Outbox;
use super::retry::Backoff;
use super::small_files::{Progress, SmallFiles};
use super::status::TaskStatus;
use super::target::{Committed, Reach, Target};
use super::units::{Unit, Units};
use super::writing::blocking;
use crate::clock::Clock;
use crate::engine::{Engine, Inner};
use crate::error::{Error, Result};
use crate::meta_entry::MetaEntry;
use crate::query::status::QueryState;
use crate::system::SystemTables;

/// Longest time without a look at the clock, which tests move.
const LOOK: Duration = Duration::from_millis(100);
/// How long a sink may go on with what it is doing when it is to stop.
const STOP: Duration = Duration::from_secs(3);

/// What a sink takes.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// Files that a writer made.
    Units { units: Arc<Units>, writer: Commands },
    /// Rows as they come.
    Rows(Arc<Outbox>),
}

/// What becomes of a sink that falls behind, and what that means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OutagePolicy {
    pub(crate) kind: OutageKind,
    /// Bytes that may wait.
    pub(crate) bytes_max: u64,
    /// How long they may wait, in milliseconds.
    pub(crate) age_max_ms: i64,
}

/// What happens at the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OutageKind {
    /// The feed stops reading until the sink has caught up.
    Block,
    /// More is kept on disk, without limit.
    Spill,
    /// The sink leaves the feed that it shares with others, and goes on from the sources later. One
    /// that shares its feed with nobody blocks it: that costs nothing.
    Pause,
}

impl OutageKind {
    pub(crate) const ALL: [(&'static str, Self); 3] = [
        ("block", Self::Block),
        ("spill", Self::Spill),
        ("pause", Self::Pause),
    ];
}

/// How far a sink has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cursor {
    /// The last unit or epoch that is at the target.
    pub(crate) last: u64,
    /// Rows and files delivered, ever.
    pub(crate) rows: u64,
    pub(crate) files: u64,
    /// Rows that the target did not take, ever.
    #[serde(default)]
    pub(crate) rejected: u64,
    /// How far each channel has come, of a target that has channels.
    #[serde(default, skip_serializing_if = "ChannelMarks::is_empty")]
    pub(crate) channels: ChannelMarks,
}

impl MetaEntry for Cursor {
    const KIND: &'static str = "cursor";
}

impl Cursor {
    fn show(&self, status: &TaskStatus) {
        status.rows.store(self.rows, Ordering::Relaxed);
        status.files.store(self.files, Ordering::Relaxed);
        status.rejected.store(self.rejected, Ordering::Relaxed);
    }
}

/// What a sink is made of.
#[derive(Debug)]
pub(crate) struct DeliverySpec {
    pub(crate) lookout: Lookout,
    pub(crate) target: Target,
    /// Least time between two commits of rows, in milliseconds.
    pub(crate) interval_ms: i64,
    /// Up to where it takes what its feed has, if it leaves it.
    pub(crate) departure: Option<Departure>,
    /// Who gives it a feed of its own then.
    pub(crate) engine: Weak<Inner>,
    pub(crate) store: Arc<Store>,
    /// How its small files are merged, if they are.
    pub(crate) compaction: Option<CompactionSpec>,
    /// Takes the rows that the target did not.
    pub(crate) system: Arc<SystemTables>,
    /// Where the rows go, for people.
    pub(crate) place: String,
}

/// What a sink takes, and sees of how much waits for it.
#[derive(Debug)]
pub(crate) struct Lookout {
    pub(crate) sink: String,
    pub(crate) source: Source,
    /// The outbox of the feed, which the sink may hold up.
    pub(crate) outbox: Arc<Outbox>,
    /// Whether that feed's query has no state, so that another one can begin anywhere.
    pub(crate) can_leave: bool,
    pub(crate) policy: OutagePolicy,
    pub(crate) status: Arc<TaskStatus>,
    pub(crate) clock: Arc<dyn Clock>,
}

/// A running sink.
#[derive(Debug)]
pub(crate) struct DeliveryHandle {
    commands: Commands,
    task: JoinHandle<()>,
    compaction: Option<CompactionHandle>,
}

impl DeliveryHandle {
    pub(crate) fn start(spec: DeliverySpec, cursor: Cursor, paused: bool) -> Self {
        let (commands, receiver) = Commands::new();
        let DeliverySpec {
            lookout,
            target,
            interval_ms,
            departure,
            engine,
            store,
            compaction,
            system,
            place,
        } = spec;
        let status = Arc::clone(&lookout.status);
        cursor.show(&status);
        if paused {
            status.set_state(QueryState::Paused, None);
        }
        let task = Task {
            lookout,
            target,
            interval_ms,
            departure,
            engine,
            store,
            small_files: compaction
                .as_ref()
                .map(|spec| Arc::clone(&spec.small_files)),
            system,
            place,
            commands: receiver,
            cursor,
            committed_ms: i64::MIN / 2,
            paused,
            asked: Vec::new(),
        };
        Self {
            commands,
            task: tokio::spawn(Box::pin(task.run())),
            compaction: compaction.map(|spec| CompactionHandle::start(spec, paused)),
        }
    }

    /// What was merged, if files are, and what keeps it from going on.
    pub(crate) fn compaction(&self) -> Option<(Progress, Option<Error>)> {
        self.compaction.as_ref().map(CompactionHandle::progress)
    }

    /// Delivers all that is ready now.
    pub(crate) fn flush(&self) -> impl Future<Output = Result<()>> + use<> {
        self.commands.clone().flush()
    }

    pub(crate) async fn pause(&self) {
        if let Some(compaction) = &self.compaction {
            compaction.pause(true);
        }
        self.commands.send(Command::Pause).await;
    }

    pub(crate) async fn resume(&self) {
        if let Some(compaction) = &self.compaction {
            compaction.pause(false);
        }
        self.commands.send(Command::Resume).await;
    }

    /// Ends it after what it is doing, or in the middle of that when it takes long: the same portion
    /// is committed again after a restart.
    pub(crate) async fn stop(mut self) {
        let compaction = self.compaction.take();
        let compaction = async move {
            if let Some(compaction) = compaction {
                compaction.stop().await;
            }
        };
        tokio::join!(compaction, self.stop_delivery());
    }

    async fn stop_delivery(&mut self) {
        drop(tokio::time::timeout(STOP, self.commands.send(Command::Stop)).await);
        let ended = tokio::time::timeout(STOP, &mut self.task).await;
        if ended.is_err() {
            self.task.abort();
            drop((&mut self.task).await);
        }
    }
}

struct Task {
    lookout: Lookout,
    target: Target,
    interval_ms: i64,
    departure: Option<Departure>,
    engine: Weak<Inner>,
    store: Arc<Store>,
    /// What it delivered and may be merged.
    small_files: Option<Arc<SmallFiles>>,
    system: Arc<SystemTables>,
    place: String,
    commands: mpsc::Receiver<Command>,
    cursor: Cursor,
    /// When rows were committed last, on the monotonic clock.
    committed_ms: i64,
    paused: bool,
    /// Who waits for a flush that begins with another try.
    asked: Vec<oneshot::Sender<Result<()>>>,
}

/// Why a run ended.
enum Ended {
    Stopped,
    Paused,
    /// It has all up to its departure.
    Departed,
    Failed(Error),
}

impl Task {
    async fn run(mut self) {
        let mut backoff = Backoff::default();
        loop {
            if self.paused {
                self.lookout.status.set_state(QueryState::Paused, None);
                match self.wait(None, None).await {
                    true => continue,
                    false => return,
                }
            }
            let error = match self.run_once(&mut backoff).await {
                Ended::Stopped => return,
                Ended::Paused => {
                    self.paused = true;
                    continue;
                }
                Ended::Departed => return self.go_on().await,
                Ended::Failed(error) => error,
            };
            self.answer(&Err(self.shown(&error)));
            let wait = error.is_retryable().then(|| backoff.next());
            self.show(&error, wait.is_some());
            if !self.wait(wait, Some(&error)).await {
                return;
            }
        }
    }

    fn show(&self, error: &Error, retries: bool) {
        let state = match (retries, &self.departure) {
            (false, _) => QueryState::Error,
            (true, Some(_)) => QueryState::Stalled,
            (true, None) => QueryState::Retrying,
        };
        let status = &self.lookout.status;
        status.set_state(state, Some(error.to_string()));
    }

    /// Waits before the next try, at most `wait`; false when there is to be none.
    async fn wait(&mut self, wait: Option<Duration>, error: Option<&Error>) -> bool {
        let until = wait.map(|wait| tokio::time::Instant::now() + wait);
        loop {
            if self.look().await
                && let Some(error) = error
            {
                self.show(error, wait.is_some());
            }
            let mut timeout = tokio::time::Instant::now() + LOOK;
            if let Some(until) = until {
                if until <= tokio::time::Instant::now() {
                    return true;
                }
                timeout = timeout.min(until);
            }
            let Ok(command) = tokio::time::timeout_at(timeout, self.commands.recv()).await else {
                continue;
            };
            match command {
                None | Some(Command::Stop) => return false,
                Some(Command::Resume) => {
                    self.paused = false;
                    return true;
                }
                Some(Command::Pause) => {
                    self.paused = true;
                    return true;
                }
                // Not when its time comes, but now.
                Some(Command::Flush(answer)) if wait.is_some() => {
                    self.asked.push(answer);
                    return true;
                }
                // That is for writers.
                Some(Command::Depart(_)) => {}
                Some(Command::Flush(answer)) => {
                    let result = error.map_or(Ok(()), |error| Err(self.shown(error)));
                    drop(answer.send(result));
                }
            }
        }
    }

    /// An error as it is told to who waits for a flush.
    fn shown(&self, error: &Error) -> Error {
        Error::User(format!("sink {} failed: {error}", self.lookout.sink))
    }

    /// Answers those who wait for a flush.
    fn answer(&mut self, result: &Result<()>) {
        for asked in self.asked.drain(..) {
            drop(asked.send(result.clone()));
        }
    }

    async fn run_once(&mut self, backoff: &mut Backoff) -> Ended {
        match self.target.open(&self.cursor).await {
            Err(error) => return Ended::Failed(error),
            Ok(Some(reach)) => {
                if let Err(error) = self.compare(reach).await {
                    return Ended::Failed(error);
                }
            }
            Ok(None) => {}
        }
        self.lookout.status.set_state(QueryState::Running, None);
        let mut news = match &self.lookout.source {
            Source::Units { units, .. } => units.subscribe(),
            Source::Rows(outbox) => outbox.subscribe(),
        };
        loop {
            match self.deliver(!self.asked.is_empty()).await {
                Ok(true) => backoff.reset(),
                Ok(false) => {}
                Err(error) => return Ended::Failed(error),
            }
            // Before an answer, so that nothing is held up any more when it comes.
            self.look().await;
            let departure = self.departure.as_ref();
            if departure.is_some_and(|departure| self.cursor.last >= departure.last) {
                return Ended::Departed;
            }
            self.answer(&Ok(()));
            match self.next_command(&mut news).await {
                Next::Look => {}
                Next::Command(None | Some(Command::Stop)) => return Ended::Stopped,
                Next::Command(Some(Command::Pause)) => return Ended::Paused,
                Next::Command(Some(Command::Resume | Command::Depart(_))) => {}
                Next::Command(Some(Command::Flush(answer))) => self.asked.push(answer),
            }
        }
    }

    async fn next_command(&mut self, news: &mut watch::Receiver<u64>) -> Next {
        tokio::select! {
            command = self.commands.recv() => Next::Command(command),
            changed = news.changed() => match changed {
                Ok(()) => Next::Look,
                Err(_) => Next::Command(None),
            },
            () = tokio::time::sleep(LOOK) => Next::Look,
        }
    }

    /// Compares how far the target has come with the cursor. It may have what the local note of it
    /// was too late for, but neither less than was delivered nor more than there ever was.
    async fn compare(&mut self, reach: Reach) -> Result<()> {
        let newest = match &self.lookout.source {
            Source::Units { units, .. } => units.newest(),
            Source::Rows(outbox) => outbox.newest(),
        };
        let (sink, Reach { all, newest: last }) = (&self.lookout.sink, reach);
        if last < self.cursor.last {
            return Err(Error::User(format!(
                "the target of sink {sink} has its epochs up to {last}, though {} was delivered: it \
                 was restored, or what Kappa keeps there was removed. Restore the newer one, or DROP \
                 the sink and create it again",
                self.cursor.last
            )));
        }
        if last > newest.max(self.cursor.last) {
            return Err(Error::User(format!(
                "the target of sink {sink} has epoch {last}, but this data directory only {newest}: it \
                 is an old copy, or lost data. Restore the newer one, or DROP the sink and create it \
                 again"
            )));
        }
        if all > self.cursor.last {
            let committed = self.known_up_to(all);
            self.passed(all, committed, None).await?;
        }
        Ok(())
    }

    /// What there is up to `last`, of what comes after the cursor.
    fn known_up_to(&self, last: u64) -> Committed {
        let mut committed = Committed::default();
        let (sink, mut at) = (&self.lookout.sink, self.cursor.last);
        loop {
            let next = match &self.lookout.source {
                Source::Units { units, .. } => units
                    .next(sink, at)
                    .map(|(number, unit)| (number, unit.rows(), unit.files.len() as u64)),
                Source::Rows(outbox) => outbox
                    .next(sink, at)
                    .map(|(number, segment)| (number, segment.rows, 0)),
            };
            match next {
                Some((number, rows, files)) if number <= last => {
                    at = number;
                    committed.rows += rows;
                    committed.files += files;
                }
                _ => return committed,
            }
        }
    }

    /// Delivers what is ready; all of it at once with `all`. Whether there was anything.
    async fn deliver(&mut self, all: bool) -> Result<bool> {
        let mut any = false;
        loop {
            let some = match self.lookout.source.clone() {
                Source::Units { units, .. } => self.deliver_unit(&units).await?,
                Source::Rows(outbox) => self.deliver_rows(&outbox, all).await?,
            };
            if !some {
                return Ok(any);
            }
            any = true;
            self.look().await;
            // Commands need not wait for all of a long queue.
            if !all && !self.commands.is_empty() {
                return Ok(any);
            }
        }
    }

    async fn deliver_unit(&mut self, units: &Units) -> Result<bool> {
        let Some((number, unit)) = units.next(&self.lookout.sink, self.cursor.last) else {
            return Ok(false);
        };
        let paths = units.paths(number, &unit);
        let commit = self.target.commit_unit(number, &unit, &paths);
        let committed = Self::watched(&self.lookout, self.cursor.last, commit).await?;
        self.passed(number, committed, Some(unit)).await?;
        Ok(true)
    }

    async fn deliver_rows(&mut self, outbox: &Arc<Outbox>, all: bool) -> Result<bool> {
        let now_ms = self.lookout.clock.monotonic_ms();
        let waits = now_ms < self.committed_ms.saturating_add(self.interval_ms);
        if waits && !all {
            return Ok(false);
        }
        let (after, from) = (self.cursor.last, Arc::clone(outbox));
        let sink = self.lookout.sink.clone();
        let bytes_max = self.target.rows_bytes_max();
        let loaded = blocking(move || {
            let (mut last, mut bytes, mut epochs) = (after, 0, Vec::new());
            while bytes < bytes_max
                && let Some((epoch, segment)) = from.next(&sink, last)
            {
                let rows = from.load(epoch)?;
                epochs.push(EpochRows { epoch, rows });
                last = epoch;
                bytes += segment.bytes;
            }
            Ok((last, epochs))
        });
        let (last, epochs) = loaded.await?;
        if epochs.is_empty() {
            return Ok(false);
        }
        let commit = self.target.commit_rows(epochs);
        let committed = Self::watched(&self.lookout, self.cursor.last, commit).await?;
        self.committed_ms = now_ms;
        self.passed(last, committed, None).await?;
        Ok(true)
    }

    /// Remembers that all up to `last`, which may be a unit of files, is at the target, and gives it
    /// back. Rows that the target did not take are kept in the same commit.
    async fn passed(&mut self, last: u64, committed: Committed, unit: Option<Unit>) -> Result<()> {
        let mut cursor = self.cursor.clone();
        cursor.last = last;
        cursor.rows += committed.rows;
        cursor.files += committed.files;
        cursor.rejected += committed.rejected;
        if let Some(marks) = committed.marks {
            cursor.channels = marks;
        }
        let (noted, store, bad) = (cursor.clone(), Arc::clone(&self.store), committed.bad);
        let (sink, source) = (self.lookout.sink.clone(), self.lookout.source.clone());
        let (system, place) = (Arc::clone(&self.system), self.place.clone());
        let clock = &self.lookout.clock;
        let (now_ms, wall_ms) = (clock.monotonic_ms(), clock.now_ms());
        let small = match (&self.small_files, &self.target, unit) {
            (Some(small_files), Target::Files(files), Some(unit)) => {
                Some((Arc::clone(small_files), files.names(last, &unit), unit))
            }
            _ => None,
        };
        blocking(move || {
            let mut commit = store.begin();
            noted.write(&sink, &mut commit)?;
            system.write_bad(&mut commit, wall_ms, &sink, &place, bad)?;
            let noted = match small {
                None => None,
                Some((small_files, names, unit)) => {
                    let files = small_files.write(last, &unit, names, wall_ms, &mut commit)?;
                    Some((small_files, files))
                }
            };
            store.commit(commit, Durability::Sync)?;
            if let Some((small_files, files)) = noted {
                small_files.delivered(files);
            }
            match source {
                Source::Units { units, .. } => {
                    units.advance(&sink, last);
                    units.trim()
                }
                Source::Rows(outbox) => {
                    outbox.advance(&sink, last);
                    outbox.trim(now_ms)
                }
            }
        })
        .await?;
        cursor.show(&self.lookout.status);
        self.cursor = cursor;
        Ok(())
    }

    /// Looks how much waits, and leaves the feed when that is too much. Whether it did so now.
    async fn look(&mut self) -> bool {
        let too_much = self.lookout.look(self.cursor.last);
        let leaves = self.lookout.policy.kind == OutageKind::Pause && self.departure.is_none();
        if !(too_much && leaves && self.lookout.may_leave()) {
            return false;
        }
        self.departure = self.depart().await;
        // What its writer rolled for that waits, too.
        self.lookout.look(self.cursor.last);
        self.departure.is_some()
    }

    /// Takes nothing more than what its feed has by now. `None` when that cannot be said now.
    async fn depart(&self) -> Option<Departure> {
        let Lookout {
            sink,
            source,
            outbox,
            ..
        } = &self.lookout;
        let departure = match source {
            Source::Rows(outbox) => outbox.last().map(|(epoch, segment)| Departure {
                last: epoch,
                epoch,
                offsets: segment.offsets,
                stream_time_ms: None,
            }),
            Source::Units { writer, .. } => writer.depart().await,
        }?;
        let (store, noted, name) = (Arc::clone(&self.store), departure.clone(), sink.clone());
        let noted = blocking(move || {
            let mut commit = store.begin();
            noted.write(&name, &mut commit)?;
            Ok(store.commit(commit, Durability::Sync)?)
        });
        // A disk that fails: the next look tries again.
        noted.await.ok()?;
        match source {
            Source::Rows(outbox) => outbox.bound(sink, departure.last),
            Source::Units { units, .. } => {
                units.bound(sink, departure.last);
                if !units.has_others(sink) {
                    outbox.bound(units.writer(), departure.epoch);
                }
            }
        }
        Some(departure)
    }

    /// Has a feed of its own made, and ends when it is told to.
    async fn go_on(mut self) {
        self.lookout.status.moves.store(true, Ordering::Relaxed);
        self.answer(&Ok(()));
        if let Some(inner) = self.engine.upgrade() {
            tokio::spawn(departure::go_on(
                Engine { inner },
                self.lookout.sink.clone(),
            ));
        }
        while let Some(command) = self.commands.recv().await {
            match command {
                Command::Stop => return,
                Command::Flush(answer) => drop(answer.send(Ok(()))),
                Command::Pause | Command::Resume | Command::Depart(_) => {}
            }
        }
    }

    /// Commits at the target, and keeps looking meanwhile: it may take long.
    async fn watched(
        lookout: &Lookout,
        last: u64,
        commit: impl Future<Output = Result<Committed>>,
    ) -> Result<Committed> {
        let mut commit = std::pin::pin!(commit);
        loop {
            tokio::select! {
                done = &mut commit => return done,
                () = tokio::time::sleep(LOOK) => {
                    lookout.look(last);
                }
            }
        }
    }
}

impl Lookout {
    /// Whether it can leave its feed, and others take what that has, too.
    fn may_leave(&self) -> bool {
        let shares = match &self.source {
            Source::Rows(outbox) => outbox.has_others(&self.sink),
            Source::Units { units, .. } => {
                units.has_others(&self.sink) || self.outbox.has_others(units.writer())
            }
        };
        shares && self.can_leave
    }

    /// Looks, when the sink has all up to `last`. Whether too much waits for it.
    fn look(&self, last: u64) -> bool {
        let backlog = match &self.source {
            Source::Rows(outbox) => outbox.backlog(&self.sink, last),
            Source::Units { units, .. } => {
                let mut backlog = units.backlog(&self.sink, last);
                // Rows that are not in files yet.
                let waiting = self.outbox.backlog_of(units.writer());
                backlog.bytes += waiting.bytes;
                backlog.since_ms = backlog.since_ms.or(waiting.since_ms);
                backlog
            }
        };
        let Backlog {
            count,
            bytes,
            since_ms,
        } = backlog;
        let age_ms = since_ms.map_or(0, |at_ms| self.clock.now_ms().saturating_sub(at_ms));
        self.status.behind.store(count, Ordering::Relaxed);
        self.status.behind_bytes.store(bytes, Ordering::Relaxed);
        self.status
            .behind_ms
            .store(age_ms.max(0).unsigned_abs(), Ordering::Relaxed);
        let policy = &self.policy;
        let too_much = bytes > policy.bytes_max || age_ms > policy.age_max_ms;
        let holds = too_much
            && match policy.kind {
                OutageKind::Block => true,
                OutageKind::Spill => false,
                OutageKind::Pause => !self.may_leave(),
            };
        self.outbox.hold(
            &self.sink,
            holds.then(|| {
                format!(
                    "waits for sink {}, which is {} MiB and {} s behind",
                    self.sink,
                    bytes >> 20,
                    age_ms / 1000
                )
            }),
        );
        too_much
    }
}

enum Next {
    Look,
    Command(Option<Command>),
}
