//! The body of a running query: steps and commits, without threads or waiting.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use arrow::array::RecordBatch;
use datafusion::physical_plan::execution_plan::reset_plan_states;
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream, execute_stream};
use futures::StreamExt;
use kappa_sql::catalog::{Connector, Relation};
use kappa_sql::column;
use kappa_storage::store::Store;
use kappa_storage::topic::Topics;
use rayon::Scope;
use tokio::runtime::Handle;
use tokio::sync::Mutex;

use super::inflight::{Inflight, NewSegment, Publication};
use super::kafka_sink::KafkaSink;
use super::merge::{RowPlace, Taken, take_step};
use super::output::Output;
use super::partition::Partition;
use super::progress::Progress;
use super::read_ahead::ReadAhead;
use super::source::{FoundByPartition, Reading, Source};
use super::status::Status;
use super::workers::{self, Workers};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::meta_entry::MetaEntry;
use crate::operator::Memory;
use crate::operator::windows::Late;
use crate::plan::{Leaf, StepPlan};
use crate::sink::output::OutboxOutput;
use crate::system::SystemTables;

/// Limits of a query's steps and commits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) step_rows_max: usize,
    pub(crate) commit_interval_ms: i64,
    pub(crate) memory_max: usize,
    pub(crate) exactly_once: bool,
    /// Threads that read and decode beside the plan; 0 stands for one for each processor.
    pub(crate) workers: usize,
}

/// Where a query's rows go.
#[derive(Debug)]
pub(super) enum Target {
    /// A relation: rows are committed.
    Relation(Box<Output>, Delivery),
    /// An outbox, for sinks.
    Outbox(Box<OutboxOutput>),
    /// Nowhere: rows are counted.
    Blackhole,
    /// A subscriber: rows are handed over and forgotten.
    Subscriber(super::push::Subscriber),
}

/// How a relation's records get to its topic.
#[derive(Debug)]
pub(super) enum Delivery {
    /// In the commit itself: the topic is embedded.
    Embedded,
    /// By a Kafka transaction after the commit.
    ExactlyOnce(Arc<Mutex<KafkaSink>>),
    /// Before the commit: after a crash they may come again.
    AtLeastOnce(Arc<dyn Topics>),
}

/// A query between two waits.
#[derive(Debug)]
pub(super) struct Runner {
    pub(super) id: String,
    pub(super) store: Arc<Store>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) status: Arc<Status>,
    pub(super) system: Arc<SystemTables>,
    pub(super) plan: StepPlan,
    pub(super) sources: Vec<Source>,
    /// What reads each of them.
    pub(super) readings: Vec<Reading>,
    pub(super) workers: Workers,
    pub(super) target: Target,
    pub(super) limits: Limits,
    pub(super) progress: Progress,
    /// Whether something happened since the last commit.
    pub(super) dirty: bool,
    pub(super) last_commit_ms: i64,
    pub(super) late: Late,
    /// The commit that is being written.
    pub(super) inflight: Option<Inflight>,
    /// Commits since there was one after which nothing had changed.
    pub(super) commits_unsettled: u32,
    /// How long the last commit took, its size, and that of its rows for RocksDB.
    pub(super) commit_ms: i64,
    pub(super) commit_bytes: usize,
    pub(super) batch_bytes: usize,
    /// The step that failed, if one did.
    pub(super) failure: Option<Failure>,
}

/// A step whose plan failed: how many rows it had, and where its last one was read.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) rows: usize,
    pub(super) last: RowPlace,
}

/// A step under way.
#[derive(Debug)]
struct Step {
    taken: Taken,
    /// Rows that were put last.
    piece_rows: usize,
    piecemeal: bool,
    /// When it takes no more rows.
    until_ms: i64,
    /// Whether workers that read on found nothing that could be taken.
    dry: bool,
    /// Why reading on failed.
    failed: Option<Error>,
}

impl Step {
    /// Adds rows that were put into the leaves; returns whether there were any.
    fn add(&mut self, taken: Result<Taken>) -> bool {
        match taken {
            Ok(Taken {
                rows,
                last: Some(last),
            }) => {
                self.piece_rows = rows;
                self.taken.rows += rows;
                self.taken.last = Some(last);
                true
            }
            nothing => {
                self.failed = self.failed.take().or(nothing.err());
                false
            }
        }
    }
}

/// What the plan came to.
enum Next {
    Batch(Option<datafusion::common::Result<RecordBatch>>),
    /// It waits for rows.
    Hungry,
}

/// Rows that are read, decoded and given to the plan together: few enough to stay in a processor's
/// cache on the way.
const PIECE_ROWS: usize = 8192;
/// Most rows of a step whose rows must be in memory together.
const STEP_ROWS_AT_ONCE: usize = 65_536;
/// Longest time for which a step takes rows.
const STEP_MS: i64 = 500;
/// How many commits may follow each other without the query waiting for one.
const COMMITS_UNSETTLED_MAX: u32 = 8;

/// How a bout of work ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bout {
    /// There may be more to do at once.
    Busy,
    /// All that had arrived is done, and there are rows to commit when their time comes.
    Waiting,
    /// All that had arrived is done and committed.
    Idle,
    /// The query has come to its end: a LIMIT was reached or its subscriber went away.
    Ended,
}

impl Runner {
    /// Works off what has arrived, for a while: steps, and commits where they are due. With `drain`
    /// commits whatever there is in the end.
    pub(super) fn work(&mut self, drain: bool) -> Result<Bout> {
        let bout = self.work_on(drain);
        if bout.is_err() {
            // What is opened again must find this commit whole.
            self.inflight = None;
        }
        bout
    }

    fn work_on(&mut self, drain: bool) -> Result<Bout> {
        const BOUT_MS: i64 = 100;
        let until = self.clock.monotonic_ms() + BOUT_MS;
        loop {
            let rows = match self.held_up() {
                None => self.step()?,
                Some(_) => 0,
            };
            if rows > 0 {
                self.deliver()?;
            }
            if let Target::Subscriber(subscriber) = &self.target {
                if subscriber.ended() {
                    return Ok(Bout::Ended);
                }
                if subscriber.is_full() {
                    return Ok(Bout::Busy);
                }
            }
            if self.inflight.as_mut().is_some_and(Inflight::has_ended) {
                self.settle()?;
            }
            let now = self.clock.monotonic_ms();
            let due = self.is_due(now) || (drain && rows == 0);
            if self.dirty && due {
                match self.commits_beside() {
                    true => self.begin_commit()?,
                    false => self.commit()?,
                }
            }
            if rows == 0 {
                self.settle()?;
                return Ok(match (self.dirty, self.caught_up()) {
                    (true, _) => Bout::Waiting,
                    (false, true) => Bout::Idle,
                    (false, false) => Bout::Waiting,
                });
            }
            if now >= until {
                return Ok(Bout::Busy);
            }
        }
    }

    /// Relations read, and the next offset of each of their partitions.
    pub(super) fn positions(&self) -> Vec<(Arc<Relation>, Vec<i64>)> {
        self.sources
            .iter()
            .map(|source| {
                let offsets = source.partitions.iter().map(|p| p.next_offset).collect();
                (Arc::clone(source.relation()), offsets)
            })
            .collect()
    }

    /// Whether what was done must be committed now.
    fn is_due(&self, now_ms: i64) -> bool {
        (now_ms >= self.due_ms() && self.inflight.is_none())
            || self.memory().footprint > self.limits.memory_max
            || matches!(&self.target, Target::Outbox(output) if output.is_full())
    }

    /// When the next commit is due, on the monotonic clock.
    pub(super) fn due_ms(&self) -> i64 {
        // Commits that take long come less often: half of the time at least is for steps.
        let interval_ms = self.limits.commit_interval_ms.max(2 * self.commit_ms);
        self.last_commit_ms.saturating_add(interval_ms)
    }

    /// Why nothing more is read for now: a sink is too far behind.
    pub(super) fn held_up(&self) -> Option<String> {
        match &self.target {
            Target::Outbox(output) => output.outbox.held_up(),
            _ => None,
        }
    }

    /// Whether everything that had arrived when last asked is done.
    pub(super) fn caught_up(&self) -> bool {
        self.all_partitions()
            .all(|partition| partition.at_end && partition.rows_waiting() == 0)
    }

    /// Whether everything before these offsets is done: topic by topic, partition by partition.
    pub(super) fn has_passed(&self, ends: &[Vec<i64>]) -> bool {
        self.sources.iter().zip(ends).all(|(source, ends)| {
            let mut partitions = source.partitions.iter().zip(ends);
            partitions.all(|(partition, end)| partition.next_offset >= *end)
        })
    }

    /// Whether there may be more to read at any moment, so that no end is ever come to.
    pub(super) fn grows(&self) -> bool {
        let mut connectors = self
            .sources
            .iter()
            .filter_map(|s| s.relation().connector.as_ref());
        connectors.any(Connector::grows)
    }

    /// One step over what is waiting. Returns its number of rows.
    fn step(&mut self) -> Result<usize> {
        let began_us = self.clock.monotonic_us();
        let taken = self.take(self.piece_rows())?;
        if taken.last.is_none() {
            return Ok(0);
        }
        let mut step = Step {
            taken,
            piece_rows: taken.rows,
            piecemeal: self.is_piecemeal(),
            until_ms: self.clock.monotonic_ms().saturating_add(STEP_MS),
            dry: false,
            failed: None,
        };
        self.run_plan(&mut step)?;
        if let Some(error) = step.failed {
            return Err(error);
        }
        for operator in &self.plan.operators {
            for (start, rows) in operator.lock().take_late() {
                *self.late.entry(start).or_default() += rows;
                self.progress.late += rows;
            }
        }
        self.status
            .late
            .store(self.progress.late, Ordering::Relaxed);
        self.status
            .memory
            .store(self.memory().held as u64, Ordering::Relaxed);
        let took_us = self.clock.monotonic_us().saturating_sub(began_us);
        self.status.steps.add(took_us);
        Ok(step.taken.rows)
    }

    /// Whether the plan can be given a step's rows piece by piece, each hot from the decoder. Rows
    /// that are numbered through the step, so that two inputs can be told apart by age, come at once.
    fn is_piecemeal(&self) -> bool {
        match self.sources.as_slice() {
            [only] => only.leaf.schema.column_with_name(column::SEQ).is_none(),
            _ => false,
        }
    }

    /// Most rows that are read in each partition at a time: all together `rows_max`.
    fn rows_each(&self, rows_max: usize) -> usize {
        let partitions = self.sources.iter().map(|source| source.partitions.len());
        (rows_max / partitions.sum::<usize>().max(1)).max(1)
    }

    /// Looks for partitions that topics have got since.
    pub(super) async fn discover_partitions(&mut self) -> Result<()> {
        for (source, reading) in self.sources.iter_mut().zip(&mut self.readings) {
            source.discover_partitions(reading).await?;
        }
        Ok(())
    }

    fn all_partitions(&self) -> impl Iterator<Item = &Partition> {
        self.sources.iter().flat_map(|source| &source.partitions)
    }

    fn take_in(&mut self, found: Vec<FoundByPartition>) {
        let mut records = 0;
        for (source, found) in self.sources.iter_mut().zip(found) {
            records += source.take_in(found);
        }
        self.status
            .rows_in
            .fetch_add(records as u64, Ordering::Relaxed);
        if records > 0 {
            self.dirty = true;
        }
    }

    /// Most rows of a piece: as many of each partition as stay in a processor's cache, if the
    /// partitions are decoded side by side.
    fn piece_rows(&self) -> usize {
        match self.sources.as_slice() {
            [only] => PIECE_ROWS * only.partitions.len().clamp(1, self.workers.count()),
            _ => PIECE_ROWS,
        }
    }

    /// Reads on where few rows wait, and puts rows into the leaves: at most `rows_max`, or all that a
    /// step may have where they must come at once.
    fn take(&mut self, rows_max: usize) -> Result<Taken> {
        let rows_max = match self.is_piecemeal() {
            true => rows_max.min(self.limits.step_rows_max),
            false => self.limits.step_rows_max.min(STEP_ROWS_AT_ONCE),
        };
        let rows_each = self.rows_each(rows_max);
        let few = rows_each.div_ceil(2);
        let sources = self.sources.iter().zip(&mut self.readings);
        let found = sources
            .map(|(source, reading)| {
                let places = source.places(|partition| partition.rows_waiting() < few);
                reading.read(&places, rows_each, &self.workers)
            })
            .collect::<Result<_>>()?;
        self.take_in(found);
        self.take_waiting(rows_max)
    }

    /// Puts rows that wait into the leaves, at most `rows_max`.
    fn take_waiting(&mut self, rows_max: usize) -> Result<Taken> {
        let taken = take_step(&mut self.sources, rows_max)?;
        if taken.last.is_some() {
            self.dirty = true;
        }
        Ok(taken)
    }

    /// Runs the plan once over the step's rows, and hands over what comes of them.
    fn run_plan(&mut self, step: &mut Step) -> Result<()> {
        let fresh: Arc<dyn ExecutionPlan> = reset_plan_states(Arc::clone(&self.plan.plan))?;
        self.plan.plan = Arc::clone(&fresh);
        if let [only] = self.sources.as_slice() {
            only.leaf.set_open(step.piecemeal);
        }
        let mut results = execute_stream(fresh, self.plan.state.task_ctx())?;
        loop {
            let ended = match self.reads_ahead(step) {
                true => self.drive_beside_readers(&mut results, step)?,
                false => self.drive(&mut results, step, None)?,
            };
            if ended {
                return Ok(());
            }
        }
    }

    /// Whether workers read on beside the plan: where there are many rows, and more of them in every
    /// partition.
    fn reads_ahead(&self, step: &Step) -> bool {
        self.workers.help()
            && step.piecemeal
            && step.failed.is_none()
            && !step.dry
            && step.piece_rows >= workers::ROWS_MIN
            && self.has_room(step)
            && self.all_partitions().all(|partition| !partition.at_end)
    }

    /// [`Self::drive`] while workers read on.
    fn drive_beside_readers(
        &mut self,
        results: &mut SendableRecordBatchStream,
        step: &mut Step,
    ) -> Result<bool> {
        let rows_each = self.rows_each(self.piece_rows().min(self.limits.step_rows_max));
        let mut readings = std::mem::take(&mut self.readings);
        let [reading] = readings.as_mut_slice() else {
            return Err(Error::Internal(
                "rows of several sources come at once".into(),
            ));
        };
        let ahead = reading.ahead(rows_each);
        let rows_before = step.taken.rows;
        let driven = self.workers.clone().beside(|scope| {
            let driven = self.drive(results, step, Some((&ahead, scope)));
            ahead.end();
            driven
        });
        match ahead.take() {
            Ok(found) => self.take_in(vec![found]),
            Err(error) => step.failed = Some(error),
        }
        self.readings = readings;
        step.dry = step.taken.rows == rows_before;
        driven.unwrap_or(Ok(false))
    }

    /// Hands over what the plan gives, and gives it rows when it waits for them. Returns whether the
    /// plan has ended; else rows are to be read in the other way from now on.
    fn drive<'scope>(
        &mut self,
        results: &mut SendableRecordBatchStream,
        step: &mut Step,
        ahead: Option<(&'scope ReadAhead<'_>, &Scope<'scope>)>,
    ) -> Result<bool> {
        loop {
            match self.poll(results) {
                Next::Batch(None) => return Ok(true),
                Next::Batch(Some(Ok(batch))) if batch.num_rows() == 0 => {}
                Next::Batch(Some(Ok(batch))) => self.hand_over(&batch)?,
                Next::Batch(Some(Err(error))) => {
                    let error = Error::from(error);
                    // What the disk or the broker did is not the rows' fault.
                    if let (false, Some(last)) =
                        (matches!(error, Error::External { .. }), step.taken.last)
                    {
                        let rows = step.taken.rows;
                        self.failure = Some(Failure { rows, last });
                    }
                    return Err(error);
                }
                Next::Hungry => {
                    let other_way = match ahead {
                        Some((ahead, scope)) => !self.feed_from(ahead, scope, step),
                        None => {
                            self.feed(step);
                            self.reads_ahead(step)
                        }
                    };
                    if other_way {
                        return Ok(false);
                    }
                }
            }
        }
    }

    /// Gives the plan rows that workers have found. False when that cannot go on.
    fn feed_from<'scope>(
        &mut self,
        ahead: &'scope ReadAhead<'_>,
        scope: &Scope<'scope>,
        step: &mut Step,
    ) -> bool {
        let piece_rows = self.piece_rows();
        let rows_each = self.rows_each(piece_rows);
        loop {
            match ahead.take() {
                Ok(found) => self.take_in(vec![found]),
                Err(error) => step.failed = Some(error),
            }
            if step.failed.is_some() || !self.has_room(step) {
                return false;
            }
            for source in &self.sources {
                let places = source.places(|partition| partition.is_short(rows_each));
                ahead.read_on(&places, scope);
            }
            let room = self.limits.step_rows_max - step.taken.rows;
            if step.add(self.take_waiting(piece_rows.min(room))) {
                return true;
            }
            if step.failed.is_some() || !ahead.wait() {
                return false;
            }
        }
    }

    fn poll(&self, results: &mut SendableRecordBatchStream) -> Next {
        let leaf = match self.sources.as_slice() {
            [only] => Some(&only.leaf),
            _ => None,
        };
        Handle::current().block_on(poll_fn(|context| match results.poll_next_unpin(context) {
            Poll::Ready(next) => Poll::Ready(Next::Batch(next)),
            Poll::Pending if leaf.is_some_and(Leaf::is_hungry) => Poll::Ready(Next::Hungry),
            Poll::Pending => Poll::Pending,
        }))
    }

    /// Whether the step may have more rows.
    fn has_room(&self, step: &Step) -> bool {
        step.taken.rows < self.limits.step_rows_max
            && self.clock.monotonic_ms() < step.until_ms
            && self.memory().footprint <= self.limits.memory_max
            && match &self.target {
                Target::Subscriber(subscriber) => !subscriber.ended() && !subscriber.is_full(),
                Target::Outbox(output) => !output.is_full(),
                _ => true,
            }
    }

    /// Gives the plan the rows that it waits for, or tells it that the step has no more.
    fn feed(&mut self, step: &mut Step) {
        let taken = match step.failed.is_none() && self.has_room(step) {
            true => {
                let room = self.limits.step_rows_max - step.taken.rows;
                self.take(self.piece_rows().min(room))
            }
            false => Ok(Taken::default()),
        };
        if !step.add(taken) {
            for source in &self.sources {
                source.leaf.set_open(false);
            }
        }
    }

    fn hand_over(&mut self, batch: &RecordBatch) -> Result<()> {
        let written = match &mut self.target {
            Target::Relation(output, _) => output.push(batch)?,
            Target::Outbox(output) => output.push(batch)?,
            Target::Blackhole => batch.num_rows(),
            Target::Subscriber(subscriber) => subscriber.push(batch)?,
        };
        self.status
            .rows_out
            .fetch_add(written as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Where rows may come twice after a crash, they need not wait for the commit.
    fn deliver(&mut self) -> Result<()> {
        if let Target::Relation(output, Delivery::AtLeastOnce(topics)) = &mut self.target {
            let records = output.take_records()?;
            if !records.is_empty() {
                let topic = &output.relation().topic;
                Handle::current().block_on(topics.append(topic, &records))?;
            }
        }
        Ok(())
    }

    /// Makes the epoch durable: operators' state, view, offsets and records in one write.
    pub(super) fn commit(&mut self) -> Result<()> {
        self.begin_commit()?;
        self.settle()
    }

    /// Waits for the commit that is under way, if one is.
    pub(super) fn settle(&mut self) -> Result<()> {
        let Some(mut inflight) = self.inflight.take() else {
            return Ok(());
        };
        self.commit_ms = inflight.wait()? - self.last_commit_ms;
        if !self.dirty {
            // All is on the disk, so whatever is in memory can go.
            self.commits_unsettled = 0;
            for operator in &self.plan.operators {
                operator.lock().committed(self.limits.memory_max)?;
            }
            if let Target::Relation(output, _) = &mut self.target {
                output.committed();
            }
        }
        if let Target::Outbox(output) = &self.target {
            output.outbox.committed(self.progress.epoch);
        }
        // Only now: who sees the epoch finds its rows written.
        self.status
            .epoch
            .store(self.progress.epoch, Ordering::Release);
        Ok(())
    }

    /// Whether the query goes on while its commit is written. Not always: operators forget what is
    /// over, or more than memory may hold, only when nothing has changed since the commit.
    fn commits_beside(&self) -> bool {
        !matches!(self.target, Target::Subscriber(_))
            && self.commits_unsettled < COMMITS_UNSETTLED_MAX
            && self.memory().footprint + self.commit_bytes <= self.limits.memory_max
    }

    /// Puts the epoch together, and starts writing it.
    fn begin_commit(&mut self) -> Result<()> {
        self.settle()?;
        self.last_commit_ms = self.clock.monotonic_ms();
        self.dirty = false;
        let bad: Vec<_> = self.sources.iter_mut().map(Source::take_bad).collect();
        self.progress.bad += bad.iter().map(Vec::len).sum::<usize>() as u64;
        self.status.bad.store(self.progress.bad, Ordering::Relaxed);
        if matches!(self.target, Target::Subscriber(_)) {
            for operator in &self.plan.operators {
                operator.lock().release()?;
            }
            return Ok(());
        }
        let mut commit = self.store.begin_with_capacity(self.batch_bytes);
        for operator in &self.plan.operators {
            operator.lock().flush(&mut commit, self.limits.memory_max)?;
        }
        self.progress.epoch += 1;
        self.progress.offsets = self.sources.iter().map(Source::offsets).collect();
        let now_ms = self.clock.now_ms();
        let mut publication = None;
        let mut segment = None;
        match &mut self.target {
            Target::Relation(output, delivery) => {
                output.flush_view(&mut commit);
                let records = output.take_records()?;
                let topic = &output.relation().topic;
                match delivery {
                    Delivery::Embedded => {
                        for records in &records {
                            commit.append(topic, records)?;
                        }
                    }
                    Delivery::ExactlyOnce(kafka) => {
                        let epoch = self.progress.epoch;
                        // Free: no commit is under way.
                        kafka.blocking_lock().stage(&mut commit, epoch, &records)?;
                        publication = Some(Publication {
                            sink: Arc::clone(kafka),
                            epoch,
                            records,
                        });
                    }
                    Delivery::AtLeastOnce(topics) => {
                        Handle::current().block_on(topics.append(topic, &records))?;
                    }
                }
            }
            Target::Outbox(output) => {
                segment = Some(NewSegment {
                    outbox: Arc::clone(&output.outbox),
                    epoch: self.progress.epoch,
                    rows: output.take()?,
                    offsets: self.progress.offsets.clone(),
                    now_ms,
                });
            }
            Target::Blackhole | Target::Subscriber(_) => {}
        }
        self.progress.write(&self.id, &mut commit)?;
        for (source, bad) in self.sources.iter().zip(bad) {
            let topic = &source.leaf.relation.topic;
            self.system
                .write_bad(&mut commit, now_ms, &self.id, topic, bad)?;
        }
        let late = std::mem::take(&mut self.late);
        self.system
            .write_late(&self.store, &mut commit, now_ms, &self.id, late)?;
        self.commit_bytes = commit.size_in_bytes();
        self.batch_bytes = commit.batch_bytes();
        self.commits_unsettled += 1;
        let store = Arc::clone(&self.store);
        self.inflight = Some(Inflight::start(
            store,
            commit,
            segment,
            publication,
            Arc::clone(&self.clock),
        ));
        Ok(())
    }

    /// Memory that the query's state and uncommitted output take.
    fn memory(&self) -> Memory {
        let operators = self.plan.operators.iter();
        let operators = operators.map(|operator| operator.lock().memory());
        operators.fold(Memory::of_rows(self.output_size()), |all, one| all + one)
    }

    fn output_size(&self) -> usize {
        match &self.target {
            Target::Relation(output, _) => output.size(),
            Target::Outbox(output) => output.size(),
            Target::Blackhole | Target::Subscriber(_) => 0,
        }
    }
}
