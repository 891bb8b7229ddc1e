//! What must be done now and then while the program runs: topics forget what they need not keep.

use std::time::Duration;

use kappa_engine::Engine;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use crate::report::report;
use crate::terminal::Terminal;

const EVERY: Duration = Duration::from_secs(60);

/// The task that does it.
pub(crate) struct Upkeep(JoinHandle<()>);

impl Upkeep {
    /// Keeps the engine's topics in shape until [`Upkeep::end`].
    pub(crate) fn start(runtime: &Runtime, engine: &Engine, terminal: &Terminal) -> Self {
        let (engine, terminal) = (engine.clone(), terminal.clone());
        Self(runtime.spawn(async move {
            let mut told = None;
            loop {
                tokio::time::sleep(EVERY).await;
                let failure = engine.maintain().await.err().map(|error| error.render());
                // A disk that is full stays so for a while: once is enough.
                if let Some(message) = &failure
                    && told.as_ref() != Some(message)
                {
                    report(&terminal, message);
                }
                told = failure;
            }
        }))
    }

    /// Ends it. The task holds the engine, and has let go of it then: were the data directory closed
    /// by it later, on a thread of its own, the program's end would take away what it needs.
    pub(crate) async fn end(self) {
        self.0.abort();
        // That it was cancelled is no news.
        drop(self.0.await);
    }
}
