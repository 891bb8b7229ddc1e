//! What a benchmark measures of its own process, from Linux's /proc.

use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};

use crate::Outcome;

/// A stretch of work being measured.
pub(crate) struct Stretch {
    clock: fn() -> Outcome<f64>,
    cpu_s: f64,
    started: Instant,
}

/// What a stretch of work took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Took {
    pub(crate) wall_s: f64,
    pub(crate) cpu_s: f64,
}

impl Took {
    pub(crate) const NOTHING: Self = Self {
        wall_s: 0.0,
        cpu_s: 0.0,
    };
}

impl std::ops::AddAssign for Took {
    fn add_assign(&mut self, other: Self) {
        self.wall_s += other.wall_s;
        self.cpu_s += other.cpu_s;
    }
}

impl Stretch {
    /// Of the whole process.
    pub(crate) fn begin() -> Outcome<Self> {
        Self::by(process_seconds)
    }

    /// Of this thread alone, exactly.
    pub(crate) fn begin_thread() -> Outcome<Self> {
        Self::by(thread_seconds)
    }

    /// Of the child processes that have ended.
    pub(crate) fn begin_children() -> Outcome<Self> {
        Self::by(children_seconds)
    }

    fn by(clock: fn() -> Outcome<f64>) -> Outcome<Self> {
        Ok(Self {
            clock,
            cpu_s: clock()?,
            started: Instant::now(),
        })
    }

    pub(crate) fn end(self) -> Outcome<Took> {
        Ok(Took {
            wall_s: self.started.elapsed().as_secs_f64(),
            cpu_s: (self.clock)()? - self.cpu_s,
        })
    }
}

/// One line of the report.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measured {
    pub(crate) events: u64,
    pub(crate) wall_s: f64,
    pub(crate) cpu_s: f64,
    pub(crate) state_mb: f64,
    /// What the ratio is to.
    pub(crate) reference: Option<String>,
    pub(crate) ratio: Option<f64>,
    /// Figures of another kind: a latency, a share. Name and value.
    pub(crate) others: Vec<(String, f64)>,
}

impl Measured {
    pub(crate) fn of(events: u64, took: Took) -> Self {
        Self {
            events,
            wall_s: took.wall_s,
            cpu_s: took.cpu_s,
            ..Self::default()
        }
    }

    pub(crate) fn per_cpu_s(&self) -> f64 {
        self.events as f64 / self.cpu_s
    }

    /// Compares events per CPU-second with those of a reference.
    pub(crate) fn against(mut self, reference: &str, events: u64, took: Took) -> Self {
        self.ratio = Some(self.per_cpu_s() / (events as f64 / took.cpu_s));
        self.reference = Some(reference.to_owned());
        self
    }

    pub(crate) fn json(&self, name: &str) -> Outcome<Value> {
        Ok(json!({
            "name": name,
            "events": self.events,
            "wall_s": self.wall_s,
            "cpu_s": self.cpu_s,
            "events_per_cpu_s": if self.cpu_s > 0.0 { self.per_cpu_s() } else { 0.0 },
            "peak_mb": peak_mb()?,
            "state_mb": self.state_mb,
            "reference": self.reference,
            "ratio": self.ratio,
            "others": self.others.iter().map(|(name, value)| json!([name, value])).collect::<Vec<_>>(),
        }))
    }
}

/// User and system time of this process, in hundredths of a second.
fn process_seconds() -> Outcome<f64> {
    stat_seconds(11)
}

/// The same of its children that have ended.
fn children_seconds() -> Outcome<f64> {
    stat_seconds(13)
}

/// Two entries of the process's `stat` from that one on, counted behind its name (proc(5)).
fn stat_seconds(first: usize) -> Outcome<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let ticks: f64 = fields[first].parse::<f64>()? + fields[first + 1].parse::<f64>()?;
    Ok(ticks / 100.0)
}

/// Waits until the process has nothing to do: RocksDB compacts what a topic was filled with, which
/// would take a processor away from what is measured.
pub(crate) async fn settled() -> Outcome<()> {
    let mut quiet = 0;
    let mut last = process_seconds()?;
    while quiet < 3 {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        let now = process_seconds()?;
        quiet = if now - last < 0.015 { quiet + 1 } else { 0 };
        last = now;
    }
    Ok(())
}

/// Time of this thread on a processor, in nanoseconds.
fn thread_seconds() -> Outcome<f64> {
    let times = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds: f64 = times.split(' ').next().unwrap_or_default().parse()?;
    Ok(nanoseconds / 1e9)
}

/// Largest resident size of this process so far.
pub(crate) fn peak_mb() -> Outcome<f64> {
    status_mb("self", "VmHWM")
}

/// A size from a process's status, in MB.
pub(crate) fn status_mb(process: &str, entry: &str) -> Outcome<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status
        .lines()
        .find(|line| line.starts_with(entry))
        .ok_or("no such entry in /proc/…/status")?;
    let kb: f64 = line.split_whitespace().nth(1).unwrap_or_default().parse()?;
    Ok(kb / 1000.0)
}

/// Forgets the largest size so far, so that filling a topic does not count.
pub(crate) fn reset_peak() {
    // Not allowed everywhere; the peak then includes the preparation.
    drop(std::fs::write("/proc/self/clear_refs", "5"));
}

/// Bytes of the files below a directory, in MB.
pub(crate) fn size_mb(directory: &Path) -> Outcome<f64> {
    fn bytes(directory: &Path) -> std::io::Result<u64> {
        let mut size = 0;
        for entry in std::fs::read_dir(directory)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            size += match metadata.is_dir() {
                true => bytes(&entry.path())?,
                false => metadata.len(),
            };
        }
        Ok(size)
    }
    Ok(bytes(directory)? as f64 / 1e6)
}

/// The value below which `share` of the sorted values lie.
pub(crate) fn percentile(sorted: &[f64], share: f64) -> f64 {
    let index = (sorted.len() as f64 * share) as usize;
    sorted
        .get(index.min(sorted.len().saturating_sub(1)))
        .copied()
        .unwrap_or(f64::NAN)
}
