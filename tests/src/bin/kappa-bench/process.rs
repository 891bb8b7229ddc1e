//! Programs as processes: how soon `kappa` has answered, and how much memory it takes doing nothing;
//! and how fast `kcat` reads a topic.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::measure::{Measured, Stretch, Took, percentile, status_mb};
use crate::{Outcome, Place};

fn program() -> Outcome<PathBuf> {
    let program = std::env::current_exe()?.with_file_name("kappa");
    match program.is_file() {
        true => Ok(program),
        false => Err(format!("{} is not there: build it first", program.display()).into()),
    }
}

/// From the start of the program to its end, with one answer between, on a data directory that is
/// there; and the memory of one that waits for input.
pub(crate) fn startup(place: &Place) -> Outcome<Measured> {
    const ROUNDS: usize = 10;
    let data_dir = place.fresh_dir()?;
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let started = Instant::now();
        let status = Command::new(program()?)
            .arg("--data-dir")
            .arg(&data_dir)
            .args(["-e", "SHOW PROPERTIES"])
            .stdout(Stdio::null())
            .status()?;
        if !status.success() {
            return Err(format!("kappa ended with {status}").into());
        }
        times.push(started.elapsed().as_secs_f64() * 1e3);
    }
    let mut idle = Command::new(program()?)
        .arg("--data-dir")
        .arg(&data_dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()?;
    std::thread::sleep(Duration::from_secs(1));
    let idle_mb = status_mb(&idle.id().to_string(), "VmRSS")?;
    // The end of its input is its end.
    drop(idle.stdin.take());
    idle.wait()?;
    std::fs::remove_dir_all(data_dir)?;
    times.sort_by(f64::total_cmp);
    let mut measured = Measured::of(ROUNDS as u64, Took::NOTHING);
    measured.others = vec![
        ("ms from start to end".to_owned(), percentile(&times, 0.5)),
        ("MB idle".to_owned(), idle_mb),
    ];
    Ok(measured)
}

/// What `kcat`, which is librdkafka and little else, takes to read that many records of partition 0
/// and throw them away; `None` where it is not installed.
pub(crate) fn kcat(servers: &str, topic: &str, records: u64) -> Outcome<Option<Took>> {
    let stretch = Stretch::begin_children()?;
    let status = Command::new("kcat")
        .args(["-C", "-q", "-b", servers, "-t", topic, "-p", "0", "-f", ""])
        .args(["-o", "beginning", "-c", &records.to_string()])
        .stdout(Stdio::null())
        .status();
    match status {
        Ok(status) if status.success() => Ok(Some(stretch.end()?)),
        Ok(status) => Err(format!("kcat ended with {status}").into()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}
