//! The task that runs a query: waits for input, works, commits, obeys, and starts again after a
//! failure. One query's failure stays its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use kappa_sql::catalog::Relation;
use kappa_sql::planner::ContinuousPlan;
use kappa_storage::store::Store;
use kappa_storage::topic::Topics;
use kappa_storage::topic::kafka::KafkaTopics;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::input::{ENDLESS, Inputs};
use super::kafka_sink::KafkaSink;
use super::merge::RowPlace;
use super::output::Output;
use super::progress::Progress;
use super::runner::{Bout, Delivery, Failure, Limits, Runner, Target};
use super::source::{Reading, Source, Start};
use super::status::{QueryState, Status};
use super::workers::Pools;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::meta_entry::MetaEntry;
use crate::operator::windows::Late;
use crate::plan::{self, StatePlace};
use crate::sink::outbox::Outbox;
use crate::sink::output::OutboxOutput;
use crate::sink::rows::RowShape;
use crate::state::{StateLayout, StateTable};
use crate::system::SystemTables;
use crate::view::ViewWriter;

/// What a query is made of: enough to start it, and to start it again.
#[derive(Debug)]
pub(crate) struct QuerySpec {
    pub(crate) id: String,
    pub(crate) plan: ContinuousPlan,
    pub(crate) destination: Destination,
    /// The first of its state tables. A view has it; operators have those behind.
    pub(crate) first_table: u32,
    pub(crate) layout: StateLayout,
    /// Its outbox, for records that go to Kafka.
    pub(crate) outbox: u32,
    pub(crate) limits: Limits,
    pub(crate) start: Start,
}

/// Where a query's rows go.
#[derive(Debug)]
pub(crate) enum Destination {
    /// A relation's topic, and the view of a table.
    Relation {
        relation: Arc<Relation>,
        has_view: bool,
        retention_ms: Option<i64>,
    },
    /// An outbox, for sinks.
    Outbox {
        outbox: Arc<Outbox>,
        shape: RowShape,
    },
    /// Nowhere: rows are counted.
    Blackhole,
    /// Somebody who listens.
    Subscriber,
}

/// What queries share.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub(crate) store: Arc<Store>,
    pub(crate) topics: Arc<dyn Topics>,
    /// The cluster, where topics are Kafka's.
    pub(crate) kafka: Option<KafkaTopics>,
    /// What tells this data directory from others, in the cluster.
    pub(crate) engine_id: String,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) system: Arc<SystemTables>,
    pub(crate) pools: Arc<Pools>,
}

impl Shared {
    /// What sources are opened from.
    pub(crate) fn inputs(&self) -> Inputs {
        Inputs {
            topics: Arc::clone(&self.topics),
            clock: Arc::clone(&self.clock),
        }
    }
}

/// What can be asked of a running query.
#[derive(Debug)]
enum Command {
    Pause,
    Resume,
    /// Work off all that has arrived and commit it; answers whether there was anything.
    Flush(oneshot::Sender<Result<bool>>),
    /// The operators' metrics so far, as text.
    Explain(oneshot::Sender<String>),
    /// Commit what is done and end.
    Stop,
}

/// A running query. Dropping it ends the query without a commit.
#[derive(Debug)]
pub(crate) struct QueryHandle {
    pub(crate) spec: Arc<QuerySpec>,
    pub(crate) status: Arc<Status>,
    commands: mpsc::Sender<Command>,
    task: JoinHandle<()>,
}

impl QueryHandle {
    /// Starts a persistent query.
    pub(crate) fn start(spec: QuerySpec, shared: Shared, paused: bool) -> Self {
        let spec = Arc::new(spec);
        let status = Arc::new(Status::default());
        let (commands, receiver) = mpsc::channel(16);
        let task = Task {
            spec: Arc::clone(&spec),
            shared,
            status: Arc::clone(&status),
            commands: receiver,
            paused,
            care: Care::default(),
        };
        if paused {
            status.set_state(QueryState::Paused, None);
        }
        let task = tokio::spawn(task.run());
        Self {
            spec,
            status,
            commands,
            task,
        }
    }

    pub(crate) async fn pause(&self) {
        self.send(Command::Pause).await;
    }

    pub(crate) async fn resume(&self) {
        self.send(Command::Resume).await;
    }

    /// Works off all that has arrived and commits it. Whether that is to be asked for again: a row
    /// made a step fail, and the query goes on without it.
    pub(crate) async fn flush(&self) -> Result<bool> {
        let (sender, receiver) = oneshot::channel();
        self.send(Command::Flush(sender)).await;
        receiver.await.unwrap_or(Ok(false))
    }

    /// The last epoch that is committed and written.
    pub(crate) fn epoch(&self) -> u64 {
        self.status.epoch.load(Ordering::Acquire)
    }

    /// The plan with what its operators have done so far.
    pub(crate) async fn explain(&self) -> Option<String> {
        let (sender, receiver) = oneshot::channel();
        self.send(Command::Explain(sender)).await;
        receiver.await.ok()
    }

    /// Commits what is done and ends the query.
    pub(crate) async fn stop(self) {
        self.send(Command::Stop).await;
        // A task that panicked has nothing left to commit.
        drop(self.task.await);
    }

    async fn send(&self, command: Command) {
        // A closed channel means that the task has ended.
        drop(self.commands.send(command).await);
    }
}

struct Task {
    spec: Arc<QuerySpec>,
    shared: Shared,
    status: Arc<Status>,
    commands: mpsc::Receiver<Command>,
    paused: bool,
    care: Care,
}

/// What was learnt from steps that failed because of a row in them: such a row is found by halving
/// the steps, kept as a bad record, and the rows beside it go on.
#[derive(Debug, Default)]
struct Care {
    /// Most rows of a step for now; each step is committed then.
    step_rows_max: Option<usize>,
    /// Rows that made a step of their own fail: source, partition, offset, and the reason.
    poisoned: BTreeMap<RowPlace, String>,
}

impl Care {
    /// Learns from a failed step.
    fn learn(&mut self, failure: &Failure, error: &Error) {
        if failure.rows > 1 {
            self.step_rows_max = Some(failure.rows / 2);
        } else {
            self.poisoned.insert(failure.last, error.to_string());
        }
    }

    /// A bout went well: larger steps again.
    fn relax(&mut self, limits: &mut Limits, normal: &Limits) {
        if let Some(rows) = self.step_rows_max {
            let rows = rows.saturating_mul(2);
            self.step_rows_max = Some(rows).filter(|rows| *rows < normal.step_rows_max);
            *limits = self.limits(normal);
        }
    }

    fn limits(&self, normal: &Limits) -> Limits {
        match self.step_rows_max {
            None => *normal,
            Some(rows) => Limits {
                step_rows_max: rows.min(normal.step_rows_max),
                commit_interval_ms: 0,
                ..*normal
            },
        }
    }
}

/// Why a running query stopped running.
enum Stopped {
    /// For good.
    End,
    Paused,
    /// For a moment, to go on with more care.
    Careful,
    Failed(Error),
}

impl Task {
    async fn run(mut self) {
        let mut retry_ms = RETRY_MS_MIN;
        loop {
            if self.paused {
                self.status.set_state(QueryState::Paused, None);
                match self.wait_for_resume(None).await {
                    true => continue,
                    false => return,
                }
            }
            let started = self.shared.clock.monotonic_ms();
            match self.run_once().await {
                Stopped::End => return,
                Stopped::Paused => self.paused = true,
                Stopped::Careful => {}
                Stopped::Failed(error) if error.is_retryable() => {
                    if self.shared.clock.monotonic_ms() - started > RETRY_MS_MAX {
                        retry_ms = RETRY_MS_MIN;
                    }
                    self.status
                        .set_state(QueryState::Retrying, Some(error.to_string()));
                    if !self.wait_for_resume(Some(retry_ms)).await {
                        return;
                    }
                    retry_ms = (retry_ms * 2).min(RETRY_MS_MAX);
                }
                Stopped::Failed(error) => {
                    self.status
                        .set_state(QueryState::Error, Some(error.to_string()));
                    if !self.wait_for_resume(None).await {
                        return;
                    }
                }
            }
        }
    }

    /// Waits for RESUME, at most `timeout_ms`. False when the query is to end.
    async fn wait_for_resume(&mut self, timeout_ms: Option<i64>) -> bool {
        let deadline = timeout_ms.map(|ms| {
            tokio::time::Instant::now() + Duration::from_millis(ms.max(0).unsigned_abs())
        });
        loop {
            let command = match deadline {
                None => self.commands.recv().await,
                Some(deadline) => {
                    match tokio::time::timeout_at(deadline, self.commands.recv()).await {
                        Ok(command) => command,
                        Err(_) => return true,
                    }
                }
            };
            match command {
                None | Some(Command::Stop) => return false,
                Some(Command::Resume) => {
                    self.paused = false;
                    return true;
                }
                Some(Command::Pause) => self.paused = true,
                Some(Command::Flush(answer)) => drop(answer.send(self.why_not_flushed())),
                Some(Command::Explain(answer)) => drop(answer.send("not running".into())),
            }
        }
    }

    fn why_not_flushed(&self) -> Result<bool> {
        match self.status.state() {
            (QueryState::Error | QueryState::Retrying, Some(error)) => Err(Error::User(format!(
                "query {} failed: {error}",
                self.spec.id
            ))),
            _ => Ok(false),
        }
    }

    /// Opens the query where its last commit left it, and runs it until something stops it.
    async fn run_once(&mut self) -> Stopped {
        let opened = open(&self.spec, &self.shared, &self.status, None, &self.care).await;
        let mut runner = match opened {
            Ok(runner) => runner,
            Err(error) => return Stopped::Failed(error),
        };
        self.status.set_state(QueryState::Running, None);
        let mut discovered_ms = self.shared.clock.monotonic_ms();
        let mut measured_ms = i64::MIN / 2;
        loop {
            let now_ms = self.shared.clock.monotonic_ms();
            if now_ms - measured_ms > LAG_MS {
                measured_ms = now_ms;
                measure_lag(runner.positions(), &self.shared.inputs(), &self.status).await;
            }
            while let Ok(command) = self.commands.try_recv() {
                runner = match self.obey(command, runner).await {
                    Ok(runner) => runner,
                    Err(stopped) => return stopped,
                };
            }
            let result;
            (runner, result) = match work(runner, false).await {
                Ok(done) => done,
                Err(error) => return Stopped::Failed(error),
            };
            if result.is_ok() {
                self.care.relax(&mut runner.limits, &self.spec.limits);
            }
            let timeout_ms = match result {
                Err(error) => return self.failed(&mut runner, error),
                Ok(Bout::Busy) => continue,
                Ok(Bout::Ended) => return Stopped::End,
                Ok(Bout::Waiting) => {
                    (runner.due_ms() - self.shared.clock.monotonic_ms()).clamp(1, 100)
                }
                Ok(Bout::Idle) => IDLE_MS,
            };
            if self.shared.clock.monotonic_ms() - discovered_ms > DISCOVERY_MS {
                discovered_ms = self.shared.clock.monotonic_ms();
                if let Err(error) = runner.discover_partitions().await {
                    return Stopped::Failed(error);
                }
            }
            let timeout = Duration::from_millis(timeout_ms.unsigned_abs());
            let command = tokio::select! {
                command = self.commands.recv() => match command {
                    None => return Stopped::End,
                    Some(command) => Some(command),
                },
                () = wait_for_input(&mut runner, timeout) => None,
            };
            if let Some(command) = command {
                runner = match self.obey(command, runner).await {
                    Ok(runner) => runner,
                    Err(stopped) => return stopped,
                };
            }
        }
    }
}

impl Task {
    /// What to do about a failed bout.
    fn failed(&mut self, runner: &mut Runner, error: Error) -> Stopped {
        match runner.failure.take() {
            Some(failure) => {
                self.care.learn(&failure, &error);
                Stopped::Careful
            }
            None => Stopped::Failed(error),
        }
    }

    /// Does what a command says; what stops the query comes back as an error.
    async fn obey(&mut self, command: Command, runner: Runner) -> Result<Runner, Stopped> {
        match command {
            Command::Flush(answer) => match drain(runner, &self.shared.inputs(), answer).await {
                Ok((runner, Ok(()))) => Ok(runner),
                Ok((mut runner, Err(error))) => Err(self.failed(&mut runner, error)),
                Err(error) => Err(Stopped::Failed(error)),
            },
            other => obey(other, runner).await,
        }
    }
}

/// Does what a command says; what stops the query comes back as an error.
async fn obey(command: Command, runner: Runner) -> Result<Runner, Stopped> {
    let stop = async |runner: Runner, stopped: Stopped| match commit(runner).await {
        Ok(()) => stopped,
        Err(error) => Stopped::Failed(error),
    };
    match command {
        Command::Stop => Err(stop(runner, Stopped::End).await),
        Command::Pause => Err(stop(runner, Stopped::Paused).await),
        Command::Resume => Ok(runner),
        // Answered by the task itself.
        Command::Flush(_) => Ok(runner),
        Command::Explain(answer) => {
            use datafusion::physical_plan::display::DisplayableExecutionPlan;
            let plan = DisplayableExecutionPlan::with_metrics(runner.plan.plan.as_ref());
            drop(answer.send(plan.indent(false).to_string()));
            Ok(runner)
        }
    }
}

const RETRY_MS_MIN: i64 = 200;
const RETRY_MS_MAX: i64 = 30_000;
const IDLE_MS: i64 = 500;
const DISCOVERY_MS: i64 = 10_000;
const LAG_MS: i64 = 500;

/// Tells the world how many records are behind these positions, by relation and partition.
async fn measure_lag(positions: Vec<(Arc<Relation>, Vec<i64>)>, inputs: &Inputs, status: &Status) {
    let mut lag = 0;
    for (relation, offsets) in positions {
        // A log that cannot be asked now leaves the last known lag standing.
        let Ok(ranges) = inputs.offsets(&relation).await else {
            return;
        };
        // What has no end is not lagged behind.
        let ranges = ranges.iter().zip(&offsets);
        for (range, offset) in ranges.filter(|(range, _)| range.end != ENDLESS) {
            lag += range.end.saturating_sub(*offset).max(0).unsigned_abs();
        }
    }
    status.lag.store(lag, Ordering::Relaxed);
}

/// Works off all that has arrived, commits, and answers. A failed step is not answered: the flush
/// is tried again by whoever asked for it, when the query has recovered.
async fn drain(
    mut runner: Runner,
    inputs: &Inputs,
    answer: oneshot::Sender<Result<bool>>,
) -> Result<(Runner, Result<()>)> {
    if let Err(error) = runner.discover_partitions().await {
        drop(answer.send(Err(error.clone())));
        return Ok((runner, Err(error)));
    }
    // A reader learns of the end it has come to only some time later, so the ends are asked for.
    let mut ends = Vec::new();
    for (relation, offsets) in runner.positions() {
        match inputs.written(&relation, &offsets).await {
            Ok(offsets) => ends.push(offsets),
            Err(error) => {
                drop(answer.send(Err(error.clone())));
                return Ok((runner, Err(error)));
            }
        }
    }
    loop {
        let result;
        (runner, result) = work(runner, true).await?;
        match result {
            Err(error) => {
                let again = runner.failure.is_some();
                drop(answer.send(if again { Ok(true) } else { Err(error.clone()) }));
                return Ok((runner, Err(error)));
            }
            Ok(bout) if bout == Bout::Ended || (bout == Bout::Idle && runner.has_passed(&ends)) => {
                drop(answer.send(Ok(false)));
                return Ok((runner, Ok(())));
            }
            // More comes all the time, but what was asked for is done.
            Ok(Bout::Busy) if runner.grows() && runner.has_passed(&ends) => {
                let result;
                (runner, result) = commit_now(runner).await?;
                drop(answer.send(result.clone().map(|()| false)));
                return Ok((runner, result));
            }
            // Nobody waits any more.
            Ok(_) if answer.is_closed() => return Ok((runner, Ok(()))),
            Ok(_) if let Some(why) = runner.held_up() => {
                let why = format!("query {} {why}", runner.id);
                drop(answer.send(Err(Error::User(why))));
                return Ok((runner, Ok(())));
            }
            Ok(Bout::Idle | Bout::Waiting) => {
                wait_for_input(&mut runner, Duration::from_millis(20)).await;
            }
            Ok(_) => {}
        }
    }
}

/// A bout of work, on a thread that may block. Fails only when that thread panics.
async fn work(mut runner: Runner, drain: bool) -> Result<(Runner, Result<Bout>)> {
    tokio::task::spawn_blocking(move || {
        let result = runner.work(drain);
        (runner, result)
    })
    .await
    .map_err(|error| Error::Internal(format!("a step panicked: {error}")))
}

async fn commit(runner: Runner) -> Result<()> {
    commit_now(runner).await?.1
}

/// Commits what is done, to go on after that. Fails only when the thread panics.
async fn commit_now(mut runner: Runner) -> Result<(Runner, Result<()>)> {
    tokio::task::spawn_blocking(move || {
        let result = match runner.dirty {
            true => runner.commit(),
            false => runner.settle(),
        };
        (runner, result)
    })
    .await
    .map_err(|error| Error::Internal(format!("a commit panicked: {error}")))
}

/// Waits until a source may have something, at most `timeout`.
async fn wait_for_input(runner: &mut Runner, timeout: Duration) {
    match runner.readings.as_mut_slice() {
        [] => tokio::time::sleep(timeout).await,
        [only] => wait(only, timeout).await,
        readings => {
            let waits = readings
                .iter_mut()
                .map(|reading| Box::pin(wait(reading, timeout)));
            futures::future::select_all(waits).await;
        }
    }
}

async fn wait(reading: &mut Reading, timeout: Duration) {
    if reading.ready(timeout).await.is_err() {
        // The next fetch fails the same way and says so; do not spin until then.
        tokio::time::sleep(timeout.min(Duration::from_millis(100))).await;
    }
}

/// How the records of `relation` get to their topic.
async fn delivery(
    spec: &QuerySpec,
    shared: &Shared,
    relation: &Relation,
    epoch: u64,
) -> Result<Delivery> {
    let Some(kafka) = &shared.kafka else {
        return Ok(Delivery::Embedded);
    };
    if !spec.limits.exactly_once {
        return Ok(Delivery::AtLeastOnce(Arc::clone(&shared.topics)));
    }
    let sink = KafkaSink::open(
        kafka,
        &shared.store,
        &shared.engine_id,
        &spec.id,
        &relation.topic,
        spec.outbox,
        epoch,
    )
    .await?;
    Ok(Delivery::ExactlyOnce(Arc::new(tokio::sync::Mutex::new(
        sink,
    ))))
}

/// A query opened where its last commit left it.
async fn open(
    spec: &Arc<QuerySpec>,
    shared: &Shared,
    status: &Arc<Status>,
    subscriber: Option<super::push::Subscriber>,
    care: &Care,
) -> Result<Runner> {
    let transient = subscriber.is_some();
    let progress = match transient {
        true => None,
        false => Progress::read(shared.store.as_ref(), &spec.id)?,
    };
    let has_view = matches!(
        spec.destination,
        Destination::Relation { has_view: true, .. }
    );
    let view_tables = u32::from(has_view);
    let place = StatePlace {
        store: Arc::clone(&shared.store),
        first_table: spec.first_table + view_tables,
        layout: spec.layout,
        transient,
    };
    let plan = plan::plan(&spec.plan.plan, place).await?;
    let (mut sources, mut readings) = (Vec::new(), Vec::new());
    for (index, leaf) in plan.leaves.iter().enumerate() {
        let committed = progress
            .as_ref()
            .and_then(|progress| progress.offsets.get(index));
        let mut poisoned: BTreeMap<i32, BTreeMap<i64, String>> = BTreeMap::new();
        for ((source, partition, offset), reason) in &care.poisoned {
            if *source == index {
                let of_partition = poisoned.entry(*partition).or_default();
                of_partition.insert(*offset, reason.clone());
            }
        }
        let (source, reading) = Source::open(
            leaf.clone(),
            &shared.inputs(),
            committed,
            spec.start,
            poisoned,
        )
        .await?;
        sources.push(source);
        readings.push(reading);
    }
    let target = match (subscriber, &spec.destination) {
        (Some(subscriber), _) => Target::Subscriber(subscriber),
        (
            None,
            Destination::Relation {
                relation,
                has_view,
                retention_ms,
            },
        ) => {
            let view = match has_view {
                false => None,
                true => {
                    let table = StateTable::open(&shared.store, spec.first_table, false)?;
                    Some(ViewWriter::try_new(
                        relation,
                        spec.first_table,
                        table,
                        *retention_ms,
                    )?)
                }
            };
            let output = Output::try_new(Arc::clone(relation), &spec.plan, view)?;
            let epoch = progress.as_ref().map_or(0, |progress| progress.epoch);
            let delivery = delivery(spec, shared, relation, epoch).await?;
            Target::Relation(Box::new(output), delivery)
        }
        (None, Destination::Outbox { outbox, shape }) => {
            let epoch = progress.as_ref().map_or(0, |progress| progress.epoch);
            let output = OutboxOutput::new(Arc::clone(outbox), shape.clone(), epoch);
            Target::Outbox(Box::new(output))
        }
        (None, Destination::Blackhole) => Target::Blackhole,
        (None, Destination::Subscriber) => {
            return Err(Error::Internal("a push query without a subscriber".into()));
        }
    };
    let progress = progress.unwrap_or_default();
    status.epoch.store(progress.epoch, Ordering::Relaxed);
    status.bad.store(progress.bad, Ordering::Relaxed);
    status.late.store(progress.late, Ordering::Relaxed);
    Ok(Runner {
        id: spec.id.clone(),
        store: Arc::clone(&shared.store),
        clock: Arc::clone(&shared.clock),
        status: Arc::clone(status),
        system: Arc::clone(&shared.system),
        plan,
        sources,
        readings,
        workers: shared.pools.get(spec.limits.workers)?,
        target,
        limits: care.limits(&spec.limits),
        progress,
        dirty: false,
        last_commit_ms: i64::MIN / 2,
        late: Late::new(),
        inflight: None,
        commits_unsettled: 0,
        commit_ms: 0,
        commit_bytes: 0,
        batch_bytes: 0,
        failure: None,
    })
}

/// Runs a push query until its subscriber goes away, its LIMIT is reached or it fails. `opened` goes
/// when its place in the topics is settled.
pub(crate) async fn run_push(
    spec: QuerySpec,
    shared: Shared,
    sender: mpsc::Sender<Result<arrow::array::RecordBatch>>,
    status: Arc<Status>,
    opened: oneshot::Sender<()>,
) {
    let spec = Arc::new(spec);
    let subscriber = super::push::Subscriber::new(&spec.plan, sender.clone());
    let fail = async |error: Error| drop(sender.send(Err(error)).await);
    let mut runner = match open(&spec, &shared, &status, Some(subscriber), &Care::default()).await {
        Ok(runner) => runner,
        Err(error) => return fail(error).await,
    };
    drop(opened);
    let mut measured_ms = i64::MIN / 2;
    loop {
        let now_ms = shared.clock.monotonic_ms();
        if now_ms - measured_ms > LAG_MS {
            measured_ms = now_ms;
            measure_lag(runner.positions(), &shared.inputs(), &status).await;
        }
        if let Target::Subscriber(subscriber) = &runner.target {
            let room = tokio::time::timeout(Duration::from_millis(100), subscriber.room());
            let waits = room.await.is_err();
            if subscriber.ended() {
                return;
            }
            if waits {
                continue;
            }
        }
        let result;
        (runner, result) = match work(runner, false).await {
            Ok(done) => done,
            Err(error) => return fail(error).await,
        };
        match result {
            Err(error) => return fail(error).await,
            Ok(Bout::Ended) => return,
            Ok(Bout::Busy) => {}
            Ok(Bout::Waiting | Bout::Idle) => tokio::select! {
                () = sender.closed() => return,
                () = wait_for_input(&mut runner, Duration::from_millis(100)) => {}
            },
        }
    }
}
