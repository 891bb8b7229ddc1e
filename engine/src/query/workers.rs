//! The threads that help queries: they read and decode while a query's own thread runs its plan.
//!
//! What is done does not depend on them: a source's partitions are decoded side by side and merged by
//! time as ever, so the same rows come in the same order.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use rayon::prelude::*;
use rayon::{Scope, ThreadPool, ThreadPoolBuilder};

use crate::error::{Error, Result};

/// Fewer rows than this are not worth waking a thread for.
pub(super) const ROWS_MIN: usize = 2048;

/// The helpers of an engine. Queries that ask for the same number share them.
#[derive(Debug, Default)]
pub(crate) struct Pools(Mutex<BTreeMap<usize, Arc<ThreadPool>>>);

/// The helpers of a query.
#[derive(Clone, Debug)]
pub(crate) struct Workers(Option<Arc<ThreadPool>>);

impl Pools {
    /// So many workers; 0 stands for one for each processor. One is the query's own thread alone.
    pub(crate) fn get(&self, count: usize) -> Result<Workers> {
        let count = match count {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            count => count,
        };
        if count == 1 {
            return Ok(Workers(None));
        }
        let mut pools = self.0.lock();
        if let Some(pool) = pools.get(&count) {
            return Ok(Workers(Some(Arc::clone(pool))));
        }
        let pool = ThreadPoolBuilder::new()
            .num_threads(count)
            .thread_name(|number| format!("kappa-worker-{number}"))
            .build()
            .map_err(|error| Error::Internal(format!("no threads for {count} workers: {error}")))?;
        let pool = Arc::new(pool);
        pools.insert(count, Arc::clone(&pool));
        Ok(Workers(Some(pool)))
    }
}

impl Workers {
    /// Whether there are helpers.
    pub(super) fn help(&self) -> bool {
        self.0.is_some()
    }

    /// How many things can be done at a time.
    pub(super) fn count(&self) -> usize {
        self.0.as_ref().map_or(1, |pool| pool.current_num_threads())
    }

    /// Does the same for each of `items`, side by side if it is about many `rows`; the first error
    /// ends it.
    pub(super) fn map<T: Send, R: Send>(
        &self,
        items: &mut [T],
        rows: usize,
        act: impl Fn(&mut T) -> Result<R> + Send + Sync,
    ) -> Result<Vec<R>> {
        match &self.0 {
            Some(pool) if items.len() > 1 && rows >= ROWS_MIN => {
                pool.install(|| items.par_iter_mut().map(act).collect())
            }
            _ => items.iter_mut().map(act).collect(),
        }
    }

    /// Does `act`, which may have helpers do things meanwhile; waits for these. `None` where nobody
    /// helps.
    pub(super) fn beside<'scope, T>(&self, act: impl FnOnce(&Scope<'scope>) -> T) -> Option<T> {
        let pool = self.0.as_ref()?;
        Some(pool.in_place_scope(act))
    }
}
