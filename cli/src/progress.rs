//! A bar while a query that was just made reads what is there already.
//!
//! Shown when there is more to read than a moment's work. Any key takes it away; the query goes on.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossterm::event::{Event, KeyEventKind, poll, read};
use crossterm::terminal::{disable_raw_mode, enable_raw_mode};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use kappa_engine::{Clock, Engine, QueryInfo, QueryState};
use tokio::sync::oneshot;

use crate::report::note;
use crate::signals::Signals;
use crate::terminal::Terminal;

/// Fewer records than that are read before a bar could be drawn.
const LAG_SHOWN: u64 = 5_000;
/// A query that catches up within that time needs no bar.
const PATIENCE_MS: i64 = 1_000;
/// Time a new query gets to find out how much there is to read.
const START_MS: i64 = 150;
const LOOK: Duration = Duration::from_millis(100);

/// The queries there are, by id.
pub(crate) fn ids(engine: &Engine) -> HashSet<String> {
    engine.queries().into_iter().map(|query| query.id).collect()
}

/// Shows how the query that was not there `before` catches up, until it has or a key is pressed.
pub(crate) async fn follow(
    engine: &Engine,
    before: &HashSet<String>,
    terminal: &Terminal,
    clock: &dyn Clock,
    signals: &mut Signals,
) {
    if !terminal.input || !terminal.errors {
        return;
    }
    let made = engine
        .queries()
        .into_iter()
        .find(|query| !before.contains(&query.id));
    let Some(QueryInfo { id, .. }) = made else {
        return;
    };
    let started_ms = clock.monotonic_ms();
    let waited_ms = || clock.monotonic_ms() - started_ms;
    let mut shown: Option<(Bar, Keys)> = None;
    loop {
        let now = engine.queries().into_iter().find(|query| query.id == id);
        let works =
            |query: &QueryInfo| matches!(query.state, QueryState::Starting | QueryState::Running);
        let Some(query) = now.filter(works) else {
            break;
        };
        let behind = query.lag >= LAG_SHOWN || (shown.is_some() && query.lag > 0);
        if !behind && waited_ms() >= START_MS {
            break;
        }
        if behind && waited_ms() >= PATIENCE_MS {
            // Keys are taken only now: whoever pastes two statements wants both.
            let (bar, _) =
                shown.get_or_insert_with(|| (Bar::new(&query, terminal), Keys::listen()));
            bar.show(&query, clock.monotonic_ms());
        }
        let pressed = async {
            match &mut shown {
                Some((_, keys)) => keys.pressed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = signals.next() => break,
            () = pressed => break,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
    let Some((bar, keys)) = shown else { return };
    bar.bar.finish_and_clear();
    drop(keys);
    let left = engine.queries().into_iter().find(|query| query.id == id);
    match left {
        Some(query) if query.lag == 0 => {
            let rows = thousands(query.rows_in);
            note(terminal, &format!("{id} has caught up: {rows} rows read"));
        }
        Some(query) => {
            let rows = thousands(query.lag);
            note(
                terminal,
                &format!("{id} goes on, {rows} rows to go (SHOW QUERIES)"),
            );
        }
        None => {}
    }
}

/// Keys without Enter. Ctrl-C is one of them. They are read on a thread of their own for the line
/// editor's reason: a terminal that goes away is read for ever.
struct Keys {
    pressed: oneshot::Receiver<()>,
    enough: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Keys {
    fn listen() -> Self {
        let (sender, pressed) = oneshot::channel();
        let enough = Arc::new(AtomicBool::new(false));
        let stop = enough.clone();
        let thread = std::thread::Builder::new()
            .name("keys".to_owned())
            .spawn(move || {
                if enable_raw_mode().is_err() {
                    return;
                }
                while !stop.load(Ordering::Relaxed) {
                    match poll(LOOK) {
                        Ok(false) => {}
                        Ok(true) => match read() {
                            Ok(Event::Key(key)) if key.kind == KeyEventKind::Press => break,
                            _ => {}
                        },
                        Err(_) => break,
                    }
                }
                // If the mode cannot be left, the line editor sets the one it needs anyway.
                let _ = disable_raw_mode();
                let _ = sender.send(());
            });
        Self {
            pressed,
            enough,
            thread: thread.ok(),
        }
    }

    /// Waits for a key; also over when there can be none.
    async fn pressed(&mut self) {
        // The sender is gone: that is an answer too.
        let _ = (&mut self.pressed).await;
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.enough.store(true, Ordering::Relaxed);
        // The line editor must not find a second reader. One that reads a terminal that went away
        // is left alone.
        let answered = |keys: &mut Self| {
            (0..5).any(|_| {
                std::thread::sleep(LOOK / 2);
                !matches!(
                    keys.pressed.try_recv(),
                    Err(oneshot::error::TryRecvError::Empty)
                )
            })
        };
        if answered(self)
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

struct Bar {
    bar: ProgressBar,
    rate: Rate,
}

impl Bar {
    fn new(query: &QueryInfo, terminal: &Terminal) -> Self {
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
        let template = if terminal.colors_errors() {
            "{prefix} {bar:30.cyan/dim} {percent}% {msg}"
        } else {
            "{prefix} {bar:30} {percent}% {msg}"
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("━╸─"));
        }
        bar.set_prefix(query.id.clone());
        Self {
            bar,
            rate: Rate::default(),
        }
    }

    fn show(&mut self, query: &QueryInfo, now_ms: i64) {
        self.bar.set_length(query.rows_in + query.lag);
        self.bar.set_position(query.rows_in);
        let rate = self.rate.next(query.rows_in, now_ms);
        self.bar.set_message(format!(
            "{} rows/s, {} to go (any key: do not wait)",
            thousands(rate),
            thousands(query.lag)
        ));
        self.bar.tick();
    }
}

/// Rows a second, smoothed over some two seconds.
#[derive(Debug, Default)]
struct Rate {
    last: Option<(u64, i64)>,
    smooth: Option<f64>,
}

impl Rate {
    fn next(&mut self, rows: u64, now_ms: i64) -> u64 {
        if let Some((before, before_ms)) = self.last {
            let ms = now_ms - before_ms;
            if ms <= 0 {
                return self.smooth.unwrap_or(0.0) as u64;
            }
            let rate = rows.saturating_sub(before) as f64 * 1_000.0 / ms as f64;
            let weight = (ms as f64 / 2_000.0).min(1.0);
            let smooth = self.smooth.map_or(rate, |old| old + (rate - old) * weight);
            self.smooth = Some(smooth);
        }
        self.last = Some((rows, now_ms));
        self.smooth.unwrap_or(0.0) as u64
    }
}

/// `1,234,567`.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(thousands(number), text);
        }
    }

    #[test]
    fn the_rate_follows_slowly() {
        let mut rate = Rate::default();
        assert_eq!(rate.next(0, 0), 0);
        assert_eq!(rate.next(1_000, 100), 10_000);
        assert_eq!(rate.next(1_000, 100), 10_000);
        assert_eq!(rate.next(1_000, 200), 9_500);
        // A query that was restarted counts from nothing.
        assert_eq!(rate.next(0, 2_200), 0);
    }
}
