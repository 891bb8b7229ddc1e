//! The end: queries finish their step and commit, within the time a service manager gives.

use std::time::Duration;

use kappa_engine::{Clock, Engine};

use crate::exit::Exit;
use crate::report::{note, report};
use crate::signals::Signals;
use crate::terminal::Terminal;

/// systemd and Kubernetes kill later than that, and people lose patience about then.
const DRAIN_MS: u64 = 9_000;
/// A shutdown that takes longer deserves a word.
const SILENT_MS: u64 = 1_000;

/// Shuts the engine down; the exit code, which is `exit` if that went well.
pub(crate) async fn shutdown(
    engine: &Engine,
    terminal: &Terminal,
    mut signals: Signals,
    clock: &dyn Clock,
    exit: Exit,
) -> Exit {
    let started = clock.monotonic_ms();
    let mut ended = std::pin::pin!(engine.shutdown());
    let mut again = std::pin::pin!(signals.next_interrupt());
    let mut wait_ms = SILENT_MS;
    loop {
        tokio::select! {
            result = &mut ended => {
                return match result {
                    Ok(()) => exit,
                    Err(error) => {
                        report(terminal, &error.render());
                        if exit == Exit::Done { Exit::Failed } else { exit }
                    }
                };
            }
            () = &mut again => {
                note(terminal, "ended at once; the next start goes on from the last commit");
                return Exit::Interrupted;
            }
            () = tokio::time::sleep(Duration::from_millis(wait_ms)) => {
                if clock.monotonic_ms() - started >= DRAIN_MS as i64 {
                    report(
                        terminal,
                        "error: the queries did not finish in time; the next start goes on from the \
                         last commit",
                    );
                    return if exit == Exit::Done { Exit::Failed } else { exit };
                }
                note(terminal, "waiting for the queries to commit; Ctrl-C ends at once");
                wait_ms = DRAIN_MS - SILENT_MS;
            }
        }
    }
}
