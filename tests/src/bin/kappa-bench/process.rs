//! The program `kappa` as a process: how soon it answers, how much memory it takes doing nothing, and
//! how soon it goes on after a restart.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::measure::{Measured, Took, percentile, status_mb};
use crate::{Outcome, Place};

fn program() -> Outcome<PathBuf> {
    let program = std::env::current_exe()?.with_file_name("kappa");
    match program.is_file() {
        true => Ok(program),
        false => Err(format!("{} is not there: build it first", program.display()).into()),
    }
}

/// A shell that has answered its first statement.
fn start(data_dir: &std::path::Path) -> Outcome<(Child, f64)> {
    let started = Instant::now();
    let mut child = Command::new(program()?)
        .arg("--data-dir")
        .arg(data_dir)
        .args(["--output", "csv"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    if let Some(input) = &mut child.stdin {
        input.write_all(b"SHOW STREAMS;\n")?;
        input.flush()?;
    }
    let mut line = String::new();
    if let Some(output) = child.stdout.take() {
        BufReader::new(output).read_line(&mut line)?;
    }
    if line.is_empty() {
        return Err("kappa says nothing".into());
    }
    Ok((child, started.elapsed().as_secs_f64() * 1e3))
}

/// From the start of the program to its first answer, and its memory then.
pub(crate) fn startup(place: &Place) -> Outcome<Measured> {
    const ROUNDS: usize = 10;
    let data_dir = place.fresh_dir()?;
    let mut times = Vec::new();
    let mut idle_mb = 0.0;
    for _ in 0..ROUNDS {
        let (mut child, took_ms) = start(&data_dir)?;
        times.push(took_ms);
        std::thread::sleep(Duration::from_millis(100));
        idle_mb = status_mb(&child.id().to_string(), "VmRSS")?;
        drop(child.stdin.take());
        child.wait()?;
    }
    std::fs::remove_dir_all(data_dir)?;
    times.sort_by(f64::total_cmp);
    let mut measured = Measured::of(ROUNDS as u64, Took::NOTHING);
    measured.others = vec![
        ("ms to the first answer".to_owned(), percentile(&times, 0.5)),
        ("MB idle".to_owned(), idle_mb),
    ];
    Ok(measured)
}
