//! An engine that can be made to end in the middle of things.

use std::sync::Arc;
use std::time::Duration;

use kappa_engine::{Clock, Config, Engine, ManualClock, Response};
use kappa_tests::text;
use kappa_tests::topic::{Record, append, partition_of};
use tokio::runtime::Runtime;

/// Rows as text, sorted.
pub(crate) type Table = Vec<Vec<String>>;

pub(crate) fn sorted(mut rows: Table) -> Table {
    rows.sort();
    rows
}

/// An open engine with threads of its own. Its clock stands until [`Incarnation::tick`].
pub(crate) struct Incarnation {
    runtime: Runtime,
    pub(crate) engine: Engine,
    clock: Arc<ManualClock>,
}

impl Incarnation {
    pub(crate) fn open(config: Config) -> Self {
        Self::open_at(config, 0)
    }

    /// With a clock that stands at that time.
    pub(crate) fn open_at(mut config: Config, now_ms: i64) -> Self {
        let runtime = Runtime::new().unwrap();
        let clock = Arc::new(ManualClock::at(now_ms));
        config.clock = Arc::clone(&clock) as _;
        let engine = runtime.block_on(Engine::open(config)).unwrap();
        Self {
            runtime,
            engine,
            clock,
        }
    }

    pub(crate) fn execute(&self, statement: &str) {
        if let Err(error) = self.try_execute(statement) {
            panic!("{}", error.render());
        }
    }

    pub(crate) fn try_execute(&self, statement: &str) -> Result<Response, kappa_engine::Error> {
        self.runtime
            .block_on(Box::pin(self.engine.execute(statement)))
    }

    pub(crate) fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// What `statement` is refused with, as a person sees it.
    pub(crate) fn refused(&self, statement: &str) -> String {
        match self.try_execute(statement) {
            Ok(answer) => panic!("{statement}: {answer:?}"),
            Err(error) => error.render(),
        }
    }

    pub(crate) fn ask(&self, query: &str) -> Table {
        self.runtime.block_on(async {
            match Box::pin(self.engine.execute(query)).await {
                Ok(Response::Rows(rows)) => {
                    sorted(text::rows(&rows.collect().await.unwrap()).unwrap())
                }
                Ok(other) => panic!("{query}: {other:?}"),
                Err(error) => panic!("{}", error.render()),
            }
        })
    }

    /// Appends a record with an INT key to the partition that its key belongs to.
    pub(crate) fn send(
        &self,
        topic: &str,
        partitions: i32,
        key: i32,
        value: Option<String>,
        timestamp: i64,
    ) {
        let sent = self.try_send(topic, partitions, key, value, timestamp);
        sent.unwrap();
    }

    pub(crate) fn try_send(
        &self,
        topic: &str,
        partitions: i32,
        key: i32,
        value: Option<String>,
        timestamp: i64,
    ) -> Result<(), String> {
        let key = key.to_be_bytes().to_vec();
        let record = Record {
            value: value.map(String::into_bytes),
            timestamp,
            headers: Vec::new(),
            key: Some(key.clone()),
        };
        self.try_append(topic, partition_of(&key, partitions), &record)
    }

    pub(crate) fn append(&self, topic: &str, partition: i32, record: &Record) {
        self.try_append(topic, partition, record).unwrap();
    }

    fn try_append(&self, topic: &str, partition: i32, record: &Record) -> Result<(), String> {
        let topics = self.engine.topics().as_ref();
        self.runtime
            .block_on(append(topics, topic, partition, record))
    }

    pub(crate) fn flush(&self) {
        self.try_flush().unwrap();
    }

    pub(crate) fn try_flush(&self) -> Result<(), kappa_engine::Error> {
        self.runtime.block_on(self.engine.flush())
    }

    /// Two seconds pass, so that queries commit by themselves.
    pub(crate) fn tick(&self) {
        self.clock.set(self.clock.now_ms() + 2_000);
        self.wait(Duration::from_millis(5));
    }

    /// Lets the engine go on for a moment.
    pub(crate) fn wait(&self, time: Duration) {
        self.runtime
            .block_on(async { tokio::time::sleep(time).await });
    }

    pub(crate) fn shut_down(self) {
        self.runtime.block_on(self.engine.shutdown()).unwrap();
    }

    /// The engine goes without a word. What was not committed is done again.
    pub(crate) fn crash(self) {
        self.runtime.shutdown_timeout(Duration::from_secs(10));
    }
}
