//! All cases, several at a time: each on an engine and a thread of its own, so that one which hangs
//! or panics fails by itself.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::panic::PanicHookInfo;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::time::Duration;

use super::case::Case;
use super::run::Failed;
use super::{rest, run};
use crate::instance;

/// Cases at a time.
const THREADS: usize = 2;
/// How long a case may take.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Each case with its verdict, in the cases' order.
#[derive(Debug, Default)]
pub struct Report {
    /// The case, and why it failed if it did.
    pub verdicts: Vec<(Case, Result<(), Failed>)>,
}

/// Runs the cases.
pub fn run_all(cases: &[Case]) -> Report {
    keep_panics();
    let next = AtomicUsize::new(0);
    let verdicts = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(case) = cases.get(index) else { return };
                    let verdict = run_one(index, case);
                    locked(&verdicts).insert(index, verdict);
                }
            });
        }
    });
    let verdicts = verdicts
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    Report {
        verdicts: cases.iter().cloned().zip(verdicts.into_values()).collect(),
    }
}

fn run_one(index: usize, case: &Case) -> Result<(), Failed> {
    let thread = format!("case-{index}");
    let (sender, receiver) = sync_channel(1);
    let of_thread = (thread.clone(), case.clone());
    let spawned = std::thread::Builder::new()
        .name(thread.clone())
        .stack_size(16 << 20)
        .spawn(move || {
            let (thread, case) = of_thread;
            run_here(&thread, &case, &sender);
        });
    if let Err(error) = spawned {
        return Err(format!("no thread for it: {error}").into());
    }
    let verdict = match receiver.recv_timeout(TIMEOUT) {
        Ok(verdict) => verdict,
        Err(RecvTimeoutError::Timeout) => {
            Err(format!("no answer within {} s", TIMEOUT.as_secs()).into())
        }
        Err(RecvTimeoutError::Disconnected) => Err("panicked".to_owned().into()),
    };
    match locked(&PANICS).remove(&thread) {
        Some(panic) => Err(Failed {
            reason: format!("panicked {panic}"),
            detail: String::new(),
        }),
        None => verdict,
    }
}

fn run_here(thread: &str, case: &Case, sender: &SyncSender<Result<(), Failed>>) {
    let verdict = || -> Result<(), Failed> {
        let failed = |error: std::io::Error| Failed::from(error.to_string());
        let data_dir = instance::data_dir().map_err(failed)?;
        // The name goes to the threads that block for this case, and from there to their panics.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .thread_name(thread)
            .enable_all()
            .build()
            .map_err(failed)?;
        match case.is_rest() {
            true => runtime.block_on(Box::pin(rest::run(case, data_dir.path()))),
            false => runtime.block_on(Box::pin(run::run(case, data_dir.path()))),
        }
    };
    // Nobody waits any more after the timeout.
    drop(sender.send(verdict()));
}

/// Panics by the name of the thread.
static PANICS: Mutex<BTreeMap<String, String>> = Mutex::new(BTreeMap::new());

/// Panics of a case's threads are kept for its verdict and not printed.
fn keep_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = Arc::new(std::panic::take_hook());
        std::panic::set_hook(Box::new(move |info: &PanicHookInfo<'_>| {
            let thread = std::thread::current();
            match thread.name().filter(|name| name.starts_with("case-")) {
                None => before(info),
                Some(name) => {
                    let place = info.location().map(ToString::to_string).unwrap_or_default();
                    let message = info.payload_as_str().unwrap_or("without a message");
                    let kept = format!("at {place}: {message}");
                    locked(&PANICS).entry(name.to_owned()).or_insert(kept);
                }
            }
        }));
    });
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Report {
    /// Passed and all of the cases that `which` picks.
    pub fn count(&self, which: impl Fn(&Case) -> bool) -> (usize, usize) {
        let picked = self.verdicts.iter().filter(|(case, _)| which(case));
        picked.fold((0, 0), |(passed, all), (_, verdict)| {
            (passed + usize::from(verdict.is_ok()), all + 1)
        })
    }

    /// Passed and all by file, then the failing cases, each with its reason in a line.
    pub fn text(&self) -> String {
        let mut files: Vec<&str> = self
            .verdicts
            .iter()
            .map(|(case, _)| case.file.as_str())
            .collect();
        files.dedup();
        let mut text = String::new();
        for file in files {
            let (passed, all) = self.count(|case| case.file == file);
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{file:48} {passed:4}/{all}");
        }
        for (case, verdict) in &self.verdicts {
            if let Err(failed) = verdict {
                let reason = failed.reason.replace('\n', " ");
                let short: String = reason.chars().take(300).collect();
                let registry = if case.needs_registry() {
                    " [registry]"
                } else {
                    ""
                };
                let _ = writeln!(text, "FAIL{registry} {}: {short}", case.name);
            }
        }
        text
    }

    /// Writes expected against actual of each failing case to `<folder>/<file>/<case>.txt`.
    ///
    /// # Errors
    /// A disk that fails.
    pub fn write(&self, folder: &Path) -> std::io::Result<()> {
        if folder.exists() {
            std::fs::remove_dir_all(folder)?;
        }
        for (case, verdict) in &self.verdicts {
            let Err(failed) = verdict else { continue };
            let of_file = folder.join(&case.file);
            std::fs::create_dir_all(&of_file)?;
            let text = format!(
                "{}\n\n{}\n\n{}\n\n{}",
                case.name, case.statements, failed.reason, failed.detail
            );
            std::fs::write(of_file.join(file_name(case)), text)?;
        }
        Ok(())
    }
}

/// A case's name without its file, as a name for a file.
fn file_name(case: &Case) -> String {
    let name = case.name.strip_prefix(&case.file).unwrap_or(&case.name);
    let safe = |c: char| {
        if c.is_ascii_alphanumeric() || "-_.= ".contains(c) {
            c
        } else {
            '_'
        }
    };
    let name: String = name
        .trim_start_matches(" - ")
        .chars()
        .map(safe)
        .take(180)
        .collect();
    format!("{}.txt", name.trim())
}
