//! The engine's work for a statement, on tasks of its own.
//!
//! Planning, and some of DataFusion's operators, compute for seconds before they yield. Whoever
//! waits for them here can still be interrupted, and a panic of theirs is an error of the statement
//! instead of the program's end.

use std::future::Future;

use arrow::record_batch::RecordBatch;
use kappa_engine::{Error, Rows};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Batches made before they are printed.
const AHEAD: usize = 2;

/// Ends its work when dropped, as soon as that yields.
pub(crate) struct Task<T>(JoinHandle<T>);

impl<T: Send + 'static> Task<T> {
    /// Starts the work.
    pub(crate) fn start(work: impl Future<Output = T> + Send + 'static) -> Self {
        Self(tokio::spawn(work))
    }

    /// Waits for its result. A call that was given up may be repeated, one that returned may not.
    pub(crate) async fn done(&mut self) -> Result<T, Error> {
        (&mut self.0).await.map_err(|error| {
            let panic = error.try_into_panic().ok();
            let message = panic.and_then(|panic| {
                let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
                text.or_else(|| panic.downcast_ref::<String>().cloned())
            });
            Error::Internal(message.unwrap_or_else(|| "the statement's task was ended".to_owned()))
        })
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Rows, a little ahead of whoever takes them.
pub(crate) struct Pump {
    batches: mpsc::Receiver<Result<RecordBatch, Error>>,
    task: Option<Task<()>>,
}

impl Pump {
    /// Starts to read the rows.
    pub(crate) fn start(mut rows: Rows) -> Self {
        let (sender, batches) = mpsc::channel(AHEAD);
        let task = Task::start(async move {
            while let Some(batch) = rows.next().await {
                if sender.send(batch).await.is_err() {
                    return;
                }
            }
        });
        Self {
            batches,
            task: Some(task),
        }
    }

    /// The next rows; `None` after the last.
    pub(crate) async fn next(&mut self) -> Option<Result<RecordBatch, Error>> {
        if let Some(batch) = self.batches.recv().await {
            return Some(batch);
        }
        // No more rows, or no more task.
        let ended = self.task.as_mut()?.done().await;
        self.task = None;
        ended.err().map(Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error() {
        let result = Task::<()>::start(async { panic!("out of {}", "cheese") })
            .done()
            .await;
        assert!(matches!(result, Err(Error::Internal(text)) if text == "out of cheese"));
    }
}
