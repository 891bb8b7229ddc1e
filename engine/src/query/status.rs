//! What the world may know of a running query.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::durations::Durations;

/// What a query is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryState {
    /// Being opened where its last commit left it: topics, state, what Kafka has of it.
    Starting,
    /// Reading what comes.
    Running,
    /// Stopped by PAUSE until RESUME.
    Paused,
    /// Failed for a reason outside; it tries again by itself.
    Retrying,
    /// A sink fell too far behind and left its feed: it goes on from its source when its target takes
    /// rows again.
    Stalled,
    /// Failed; it stays so until RESUME.
    Error,
}

impl QueryState {
    /// Its name in a listing.
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "STARTING",
            Self::Running => "RUNNING",
            Self::Paused => "PAUSED",
            Self::Retrying => "RETRYING",
            Self::Stalled => "STALLED",
            Self::Error => "ERROR",
        }
    }
}

/// A query as a listing shows it.
#[derive(Clone, Debug)]
pub struct QueryInfo {
    /// Its id, `CTAS_VISITS_3`.
    pub id: String,
    /// What it is doing.
    pub state: QueryState,
    /// Why it failed, in states ERROR and RETRYING.
    pub error: Option<String>,
    /// The relation it writes.
    pub sink: String,
    /// Its statement.
    pub statement: String,
    /// Records read since the engine started.
    pub rows_in: u64,
    /// Rows written since the engine started.
    pub rows_out: u64,
    /// Records that could not be read, ever.
    pub bad: u64,
    /// Rows that came too late, ever.
    pub late: u64,
    /// Records it has yet to read.
    pub lag: u64,
    /// Bytes of state in memory.
    pub memory: u64,
    /// The last committed epoch.
    pub epoch: u64,
    /// How long half of its steps took at most, and 99 of 100, in microseconds, since the engine
    /// started; within a quarter.
    pub step_us: [u64; 2],
}

/// Counters that the query's task sets and everybody reads.
#[derive(Debug)]
pub(crate) struct Status {
    pub(crate) rows_in: AtomicU64,
    pub(crate) rows_out: AtomicU64,
    pub(crate) bad: AtomicU64,
    pub(crate) late: AtomicU64,
    pub(crate) lag: AtomicU64,
    pub(crate) memory: AtomicU64,
    pub(crate) epoch: AtomicU64,
    pub(crate) steps: Durations,
    state: Mutex<(QueryState, Option<String>)>,
}

impl Default for Status {
    fn default() -> Self {
        Self {
            rows_in: AtomicU64::new(0),
            rows_out: AtomicU64::new(0),
            bad: AtomicU64::new(0),
            late: AtomicU64::new(0),
            lag: AtomicU64::new(0),
            memory: AtomicU64::new(0),
            epoch: AtomicU64::new(0),
            steps: Durations::default(),
            state: Mutex::new((QueryState::Starting, None)),
        }
    }
}

impl Status {
    pub(crate) fn set_state(&self, state: QueryState, error: Option<String>) {
        *self.state.lock() = (state, error);
    }

    pub(crate) fn state(&self) -> (QueryState, Option<String>) {
        self.state.lock().clone()
    }

    /// The query as a listing shows it.
    pub(crate) fn info(&self, id: &str, sink: &str, statement: &str) -> QueryInfo {
        let (state, error) = self.state();
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        QueryInfo {
            id: id.to_owned(),
            state,
            error,
            sink: sink.to_owned(),
            statement: statement.to_owned(),
            rows_in: get(&self.rows_in),
            rows_out: get(&self.rows_out),
            bad: get(&self.bad),
            late: get(&self.late),
            lag: get(&self.lag),
            memory: get(&self.memory),
            epoch: get(&self.epoch),
            step_us: [500, 990].map(|per_mille| self.steps.quantile(per_mille)),
        }
    }
}
