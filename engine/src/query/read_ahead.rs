//! Reading a source on while a step is under way: workers fetch and decode, each partition's rows by
//! one of them at a time, and the query's own thread takes what they have found when it likes.
//!
//! Only for what has a backlog. Once a partition has come to its end no more is read: whether
//! something has arrived there since must be asked after the others' rows were read.

use std::fmt;

use parking_lot::{Condvar, Mutex};
use rayon::Scope;

use super::input::Input;
use super::partition::PartitionReader;
use super::source::FoundByPartition;
use crate::error::{Error, Result};

/// Pieces of a partition that are read at a time: a worker is woken once for all of them.
const PIECES: usize = 4;

/// The reading.
pub(super) struct ReadAhead<'a> {
    input: &'a Input,
    /// Most rows of a piece.
    rows: usize,
    state: Mutex<State<'a>>,
    /// Something was found, or a worker has ended.
    news: Condvar,
}

struct State<'a> {
    /// Readers that no worker is at, with their partitions' places.
    idle: Vec<(usize, &'a mut PartitionReader)>,
    /// How many workers are at others.
    working: usize,
    found: FoundByPartition,
    failed: Option<Error>,
    /// Whether no more is to be read.
    ended: bool,
}

impl fmt::Debug for ReadAhead<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadAhead").finish_non_exhaustive()
    }
}

impl<'a> ReadAhead<'a> {
    /// Nothing is read yet. Pieces have at most `rows` rows.
    pub(super) fn new(input: &'a Input, readers: &'a mut [PartitionReader], rows: usize) -> Self {
        Self {
            input,
            rows,
            state: Mutex::new(State {
                idle: readers.iter_mut().enumerate().collect(),
                working: 0,
                found: Vec::new(),
                failed: None,
                ended: false,
            }),
            news: Condvar::new(),
        }
    }

    /// Has workers read on in these partitions, some pieces each, where none is at it already.
    pub(super) fn read_on<'scope>(&'scope self, places: &[usize], scope: &Scope<'scope>) {
        let mut state = self.state.lock();
        if state.ended {
            return;
        }
        let idle = std::mem::take(&mut state.idle);
        let (wanted, idle) = idle
            .into_iter()
            .partition::<Vec<_>, _>(|(place, _)| places.binary_search(place).is_ok());
        state.idle = idle;
        state.working += wanted.len();
        drop(state);
        for (place, reader) in wanted {
            scope.spawn(move |_| self.work(place, reader));
        }
    }

    fn work(&self, place: usize, reader: &'a mut PartitionReader) {
        let _at_work = AtWork(self);
        let mut pieces = 0;
        let mut state = loop {
            let read = reader.read(self.input, self.rows);
            pieces += 1;
            let mut state = self.state.lock();
            match read {
                Ok(found) => {
                    state.ended |= !found.may_go_on();
                    state.found.push((place, found));
                }
                Err(error) => {
                    state.ended = true;
                    state.failed = Some(error);
                }
            }
            if state.ended || pieces == PIECES {
                break state;
            }
            drop(state);
            self.news.notify_one();
        };
        state.idle.push((place, reader));
    }

    /// What was found since the last call.
    pub(super) fn take(&self) -> Result<FoundByPartition> {
        let mut state = self.state.lock();
        match state.failed.take() {
            Some(error) => Err(error),
            None => Ok(std::mem::take(&mut state.found)),
        }
    }

    /// Waits until there is something to take. False when nothing will be.
    pub(super) fn wait(&self) -> bool {
        let mut state = self.state.lock();
        while state.found.is_empty() && state.failed.is_none() && state.working > 0 {
            self.news.wait(&mut state);
        }
        !state.found.is_empty() || state.failed.is_some()
    }

    /// Workers end with the piece that they are at.
    pub(super) fn end(&self) {
        self.state.lock().ended = true;
    }
}

/// A worker is at a reader until this is dropped.
struct AtWork<'s, 'a>(&'s ReadAhead<'a>);

impl Drop for AtWork<'_, '_> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.working -= 1;
        if std::thread::panicking() {
            // Who waits must not do so for ever.
            state.ended = true;
            state.failed = Some(Error::Internal("a worker panicked".into()));
        }
        drop(state);
        self.0.news.notify_one();
    }
}
