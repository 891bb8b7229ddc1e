//! `make bench`: how fast the engine is on one machine, commits on disk and exactly-once included.
//! `docs/benchmarks.md` says what each benchmark is.
//!
//! Each benchmark runs in a process of its own (this program called again), so that CPU time and
//! peak memory are that benchmark's. Events are counted per CPU-second: user and system time of the
//! process while the query works, the filling of the topics excluded.
//!
//! ```text
//! kappa-bench [NAME…]                                         all benchmarks, or those
//! kappa-bench --check [NAME…]                                 their answers, on few rows
//! kappa-bench --names                                         what there is
//! kappa-bench fill --bootstrap-servers S --events N           fills the topic of bids, for these
//! kappa-bench nexmark --bootstrap-servers S --bids N          the same with Nexmark's own bids
//! kappa-bench kafka --bootstrap-servers S --sql FILE --events N   measures a script over topics
//! ```

#![expect(clippy::print_stdout, reason = "a report")]
#![expect(clippy::disallowed_methods, reason = "a benchmark measures time")]

mod bids;
mod check;
mod decode;
mod files;
mod generated;
mod held_clock;
mod joins;
mod latency;
mod measure;
mod process;
mod pull;
mod query;
mod restart;
mod script;
mod workers;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use kappa_tests::server::Server;
use serde_json::Value;

use self::measure::Measured;
use self::query::QUERIES;

/// As in the program `kappa`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Events of a benchmark, unless `KAPPA_BENCH_EVENTS` says otherwise.
const EVENTS: u64 = 5_000_000;
/// Rows on which answers are checked.
const CHECK_EVENTS: u64 = 20_000;

/// Where a benchmark runs.
pub(crate) struct Place {
    /// Kafka, with the topic of bids; embedded topics without.
    pub(crate) bootstrap: Option<String>,
    pub(crate) events: u64,
}

impl Place {
    pub(crate) fn local(events: u64) -> Self {
        Self {
            bootstrap: None,
            events,
        }
    }

    /// An empty directory on the disk.
    pub(crate) fn fresh_dir(&self) -> Outcome<PathBuf> {
        let root = PathBuf::from("target/bench");
        std::fs::create_dir_all(&root)?;
        let directory = tempfile::Builder::new()
            .prefix("data-")
            .tempdir_in(root)?
            .keep();
        Ok(directory)
    }
}

/// A benchmark.
struct Benchmark {
    name: &'static str,
    what: &'static str,
    /// What events per CPU-second, or the ratio, should be.
    mark: Option<Mark>,
    needs_kafka: bool,
}

#[derive(Clone, Copy)]
enum Mark {
    PerCpuSecond(f64),
    Ratio(f64),
}

fn benchmarks() -> Vec<Benchmark> {
    let local = |name, what, mark| Benchmark {
        name,
        what,
        mark,
        needs_kafka: false,
    };
    let kafka = |name, what, mark| Benchmark {
        name,
        what,
        mark,
        needs_kafka: true,
    };
    let ratio = |ratio| Some(Mark::Ratio(ratio));
    let mut all = vec![
        local(
            "decode_seven",
            "JSON to Arrow, all seven columns",
            ratio(3.0),
        ),
        local(
            "decode_two",
            "JSON to Arrow, two of seven columns",
            ratio(3.5),
        ),
        kafka(
            "reader",
            "records of Kafka read and thrown away",
            Some(Mark::PerCpuSecond(4.0e6)),
        ),
    ];
    all.extend(
        QUERIES
            .iter()
            .map(|query| kafka(query.name, query.what, query.mark.map(Mark::PerCpuSecond))),
    );
    all.extend([
        kafka(
            "sum_100k_alo",
            "sum_100k at least once, against exactly once",
            ratio(0.9),
        ),
        local(
            "gen_1m",
            "count and sum, 1 M keys, generated bids",
            ratio(0.5),
        ),
        local(
            "keys_10m",
            "the same, 10 M keys, state.memory.mb = 256",
            Some(Mark::PerCpuSecond(200e3)),
        ),
        local(
            "distinct",
            "different values of 1 k keys, generated bids",
            None,
        ),
        local("distinct_32mb", "the same, state.memory.mb = 32", None),
        local(
            "growth",
            "the same, 100 k keys, ten times the events",
            ratio(0.85),
        ),
        local(
            "workers",
            "two partitions and workers, against one",
            ratio(1.7),
        ),
        local("join", "stream-table join, 1 M keys, uniform", ratio(0.5)),
        local(
            "join_skewed",
            "stream-table join, 1 M keys, a thousand of them busy",
            ratio(0.5),
        ),
        local("parquet", "a sink of Parquet files", ratio(0.7)),
        local("sinks_2", "two sinks of the same files", ratio(1.0 / 1.15)),
        local("sinks_3", "three sinks of the same files", ratio(1.0 / 1.3)),
        local(
            "directories",
            "files in 1000 open directories (mark: peak 300 MB)",
            None,
        ),
        local("step", "steps of one row (mark: 100 µs)", None),
        kafka(
            "latency_1k",
            "Kafka to Kafka, 1 k/s, at least once (mark: p99 20 ms)",
            None,
        ),
        kafka(
            "latency_50k",
            "Kafka to Kafka, 50 k/s, at least once (mark: p99 20 ms)",
            None,
        ),
        kafka(
            "latency_1k_eo",
            "the same, exactly once, commits every 20 ms (mark: p99 100 ms)",
            None,
        ),
        kafka(
            "latency_50k_eo",
            "the same, exactly once, commits every 20 ms (mark: p99 100 ms)",
            None,
        ),
        local("pull_1", "rows by key, one task (mark: 50 k/s)", None),
        local("pull_8", "rows by key, eight tasks (mark: 120 k/s)", None),
        local("scan", "all rows of a view (mark: 5 M/s)", None),
        local(
            "restart",
            "an engine opened on a gigabyte of state (mark: 3 s)",
            None,
        ),
        local(
            "startup",
            "the program started (marks: 200 ms, 60 MB)",
            None,
        ),
    ]);
    all
}

async fn measure(name: &str, place: &Place) -> Outcome<Measured> {
    const AT_LEAST_ONCE: &[(&str, &str)] = &[("processing.guarantee", "at_least_once")];
    const QUICK: &[(&str, &str)] = &[("commit.interval.ms", "20")];
    match name {
        "decode_seven" => decode::measure(place.events, &[0, 1, 2, 3, 4, 5, 6]),
        "decode_two" => decode::measure(place.events, &[0, 2]),
        "reader" => query::reader(place).await,
        "sum_100k_alo" => query::guarantees(place).await,
        "gen_1m" => generated::million_keys(place).await,
        "keys_10m" => generated::many_keys(place).await,
        "distinct" => generated::distinct(place, &[]).await,
        "distinct_32mb" => generated::distinct(place, &[("state.memory.mb", "32")]).await,
        "growth" => generated::growth(place).await,
        "workers" => workers::two(place).await,
        "join" => joins::measure(place, u64::MAX).await,
        "join_skewed" => joins::measure(place, joins::BUSY).await,
        "parquet" => files::measure(place).await,
        "sinks_2" => files::several(place, 2).await,
        "sinks_3" => files::several(place, 3).await,
        "directories" => files::directories(place).await,
        "step" => latency::step(place).await,
        "latency_1k" => latency::through_kafka(place, 1_000, AT_LEAST_ONCE).await,
        "latency_50k" => latency::through_kafka(place, 50_000, AT_LEAST_ONCE).await,
        "latency_1k_eo" => latency::through_kafka(place, 1_000, QUICK).await,
        "latency_50k_eo" => latency::through_kafka(place, 50_000, QUICK).await,
        "pull_1" => pull::by_key(place, 1).await,
        "pull_8" => pull::by_key(place, 8).await,
        "scan" => pull::scan(place).await,
        "restart" => restart::measure(place).await,
        "startup" => process::startup(place),
        name => match QUERIES.iter().find(|query| query.name == name) {
            Some(query) => query.measure(place, query.properties).await,
            None => Err(format!("there is no benchmark {name}").into()),
        },
    }
}

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let events = match std::env::var("KAPPA_BENCH_EVENTS") {
        Ok(text) => text.parse()?,
        Err(_) => EVENTS,
    };
    let runtime = || {
        tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
    };
    match words.as_slice() {
        ["--one", name, bootstrap @ ..] => {
            let place = Place {
                bootstrap: bootstrap.first().map(|servers| (*servers).to_owned()),
                events,
            };
            let measured = runtime()?.block_on(measure(name, &place))?;
            println!("{}", measured.json(name)?);
            Ok(())
        }
        ["--names"] => {
            for benchmark in benchmarks() {
                println!("{}", benchmark.name);
            }
            Ok(())
        }
        ["--check", names @ ..] => {
            let runtime = runtime()?;
            for name in check::names().filter(|name| wanted(names, name)) {
                runtime
                    .block_on(check::check(name, CHECK_EVENTS))
                    .map_err(|error| format!("{name}: {error}"))?;
                println!("{name} answers as DataFusion does");
            }
            Ok(())
        }
        ["fill", "--bootstrap-servers", servers, "--events", events] => {
            let place = Place {
                bootstrap: Some((*servers).to_owned()),
                events: events.parse()?,
            };
            runtime()?.block_on(fill(&place, false))
        }
        ["nexmark", "--bootstrap-servers", servers, "--bids", bids] => {
            let place = Place {
                bootstrap: Some((*servers).to_owned()),
                events: bids.parse()?,
            };
            runtime()?.block_on(fill(&place, true))
        }
        [
            "kafka",
            "--bootstrap-servers",
            servers,
            "--sql",
            file,
            "--events",
            events,
        ] => {
            let place = Place {
                bootstrap: Some((*servers).to_owned()),
                events: events.parse()?,
            };
            let measured = runtime()?.block_on(script::measure(&place, Path::new(file)))?;
            println!("{}", measured.json(file)?);
            Ok(())
        }
        names => report(names, events),
    }
}

fn wanted(names: &[&str], name: &str) -> bool {
    names.is_empty() || names.contains(&name)
}

async fn fill(place: &Place, nexmark: bool) -> Outcome<()> {
    let (engine, data_dir) = query::open(place, &[]).await?;
    match nexmark {
        true => bids::fill_nexmark(engine.topics(), place.events).await?,
        false => bids::fill(engine.topics(), place.events, 1).await?,
    }
    engine.shutdown().await?;
    Ok(std::fs::remove_dir_all(data_dir)?)
}

/// Runs benchmarks and prints their table.
fn report(names: &[&str], events: u64) -> Outcome<()> {
    let all = benchmarks();
    if let Some(unknown) = names
        .iter()
        .find(|name| all.iter().all(|benchmark| benchmark.name != **name))
    {
        let names: Vec<&str> = all.iter().map(|benchmark| benchmark.name).collect();
        return Err(format!(
            "there is no benchmark {unknown}: there are {}",
            names.join(", ")
        )
        .into());
    }
    let chosen: Vec<&Benchmark> = all
        .iter()
        .filter(|benchmark| wanted(names, benchmark.name))
        .collect();
    let mut kafka = None;
    if chosen.iter().any(|benchmark| benchmark.needs_kafka) {
        kafka = Server::start("kafka")?;
        if let Some(server) = &kafka {
            eprintln!("== filling a topic of Kafka with {events} bids");
            let place = Place {
                bootstrap: Some(server.value("BOOTSTRAP").to_owned()),
                events,
            };
            let filled = again(&[
                "fill",
                "--bootstrap-servers",
                server.value("BOOTSTRAP"),
                "--events",
                &place.events.to_string(),
            ])?;
            drop(filled);
        } else {
            eprintln!("== without Kafka: its benchmarks run on embedded topics");
        }
    }
    println!(
        "{:<14} {:>10} {:>8} {:>8} {:>13} {:>8} {:>9} {:>6}  {:<12} {:>7}  what",
        "benchmark",
        "events",
        "wall s",
        "cpu s",
        "events/cpu-s",
        "peak MB",
        "state MB",
        "ratio",
        "to",
        "mark",
    );
    let mut results = Vec::new();
    for benchmark in chosen {
        let mut arguments = vec!["--one", benchmark.name];
        if let (true, Some(server)) = (benchmark.needs_kafka, &kafka) {
            arguments.push(server.value("BOOTSTRAP"));
        }
        let result = again(&arguments)?;
        print_line(benchmark, &result);
        results.push(result);
    }
    let report = Path::new("target/bench/results.json");
    if let Some(directory) = report.parent() {
        std::fs::create_dir_all(directory)?;
    }
    std::fs::write(report, serde_json::to_string_pretty(&results)?)?;
    println!("written to {}", report.display());
    Ok(())
}

/// Calls this program again; returns the JSON that it prints, if it prints any.
fn again(arguments: &[&str]) -> Outcome<Value> {
    let output = Command::new(std::env::current_exe()?)
        .args(arguments)
        .stderr(Stdio::inherit())
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    if !output.status.success() {
        return Err(format!("{} failed: {text}", arguments.join(" ")).into());
    }
    match text.lines().find(|line| line.starts_with('{')) {
        Some(line) => Ok(serde_json::from_str(line)?),
        None => Ok(Value::Null),
    }
}

fn print_line(benchmark: &Benchmark, result: &Value) {
    let number = |key: &str| result[key].as_f64().unwrap_or_default();
    let ratio = match result["ratio"].as_f64() {
        Some(ratio) => format!("{ratio:.2}"),
        None => "-".to_owned(),
    };
    let mark = match benchmark.mark {
        Some(Mark::PerCpuSecond(mark)) => format!("{:.2} M", mark / 1e6),
        Some(Mark::Ratio(mark)) => format!("× {mark:.2}"),
        None => "-".to_owned(),
    };
    let mut others = String::new();
    for other in result["others"].as_array().into_iter().flatten() {
        let (name, value) = (other[0].as_str(), other[1].as_f64());
        others.push_str(&format!(
            "; {} {:.3}",
            name.unwrap_or_default(),
            value.unwrap_or_default()
        ));
    }
    println!(
        "{:<14} {:>10} {:>8.2} {:>8.2} {:>13.0} {:>8.0} {:>9.0} {:>6}  {:<12} {:>7}  {}{others}",
        benchmark.name,
        number("events"),
        number("wall_s"),
        number("cpu_s"),
        number("events_per_cpu_s"),
        number("peak_mb"),
        number("state_mb"),
        ratio,
        result["reference"].as_str().unwrap_or("-"),
        mark,
        benchmark.what,
    );
}
