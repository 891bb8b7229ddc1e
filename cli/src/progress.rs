//! A bar while a query that was just made reads what is there already.
//!
//! Shown when there is more to read than a moment's work. Any key takes it away; the query goes on.

use std::collections::HashSet;
use std::io;
use std::time::Duration;

use crossterm::event::{Event, KeyEventKind, poll, read};
use crossterm::terminal::{disable_raw_mode, enable_raw_mode};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use kappa_engine::{Clock, Engine, QueryInfo, QueryState};

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
pub(crate) fn follow(
    engine: &Engine,
    before: &HashSet<String>,
    terminal: &Terminal,
    clock: &dyn Clock,
    signals: &Signals,
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
    let mut raw = None;
    let mut bar: Option<Bar> = None;
    loop {
        let now = engine.queries().into_iter().find(|query| query.id == id);
        let Some(query) = now.filter(|query| query.state == QueryState::Running) else {
            break;
        };
        let behind = query.lag >= LAG_SHOWN || (bar.is_some() && query.lag > 0);
        if !behind && waited_ms() >= START_MS {
            break;
        }
        if behind && waited_ms() >= PATIENCE_MS {
            let shown = bar.get_or_insert_with(|| Bar::new(&query, terminal));
            shown.show(&query, clock.monotonic_ms());
        }
        // Only now: whoever pastes two statements wants both.
        if bar.is_some() && raw.is_none() {
            raw = Raw::enter().ok();
        }
        match &raw {
            Some(_) if pressed() => break,
            Some(_) => {}
            None => std::thread::sleep(LOOK),
        }
        if signals.terminated() || signals.interrupted() {
            break;
        }
    }
    drop(raw);
    if let Some(bar) = bar {
        let left = engine.queries().into_iter().find(|query| query.id == id);
        bar.bar.finish_and_clear();
        match left {
            Some(query) if query.lag == 0 => {
                note(
                    terminal,
                    &format!("{id} has caught up: {} rows read", thousands(query.rows_in)),
                );
            }
            Some(query) => {
                note(
                    terminal,
                    &format!(
                        "{id} goes on, {} rows to go (SHOW QUERIES)",
                        thousands(query.lag)
                    ),
                );
            }
            None => {}
        }
    }
}

/// Keys without Enter.
struct Raw;

impl Raw {
    fn enter() -> io::Result<Self> {
        enable_raw_mode().map(|()| Self)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // If it cannot be left, the line editor sets the mode it needs anyway.
        let _ = disable_raw_mode();
    }
}

/// Waits a moment for a key. Ctrl-C is one in raw mode.
fn pressed() -> bool {
    match poll(LOOK) {
        Ok(true) => matches!(read(), Ok(Event::Key(key)) if key.kind == KeyEventKind::Press),
        Ok(false) => false,
        // Without keys there would be no way out.
        Err(_) => true,
    }
}

struct Bar {
    bar: ProgressBar,
    rows_at_start: u64,
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
            rows_at_start: query.rows_in,
            rate: Rate::default(),
        }
    }

    fn show(&mut self, query: &QueryInfo, now_ms: i64) {
        let done = query.rows_in - self.rows_at_start.min(query.rows_in);
        self.bar.set_length(done + query.lag);
        self.bar.set_position(done);
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
fn thousands(number: u64) -> String {
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
