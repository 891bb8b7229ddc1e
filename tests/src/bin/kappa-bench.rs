//! `make bench`: how fast the engine is on one machine, commits included.
//!
//! Each benchmark runs in a process of its own (this program called again), so that CPU time and
//! peak memory are that benchmark's. Events are counted per CPU-second: user and system time of the
//! process while the query works, the filling of the topics excluded.

#![expect(clippy::print_stdout, reason = "a report")]
#![expect(clippy::disallowed_methods, reason = "a benchmark measures time")]

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use arrow::array::{BinaryArray, BinaryBuilder, Int64Array};
use kappa_engine::record::NewRecords;
use kappa_engine::{Config, Engine};

/// A benchmark: a query over a topic of bids.
struct Benchmark {
    name: &'static str,
    what: &'static str,
    statement: &'static str,
    keys: u64,
}

const BENCHMARKS: [Benchmark; 2] = [
    Benchmark {
        name: "passthrough",
        what: "JSON in, five of seven columns, JSON out",
        statement: "CREATE STREAM RESULT AS SELECT AUCTION, BIDDER, PRICE, CHANNEL, DATETIME FROM \
                    BID EMIT CHANGES",
        keys: 100_000,
    },
    Benchmark {
        name: "tumbling_count",
        what: "tumbling count per key, 100 k keys, into a view and its topic",
        statement: "CREATE TABLE RESULT WITH (KEY_FORMAT = 'KAFKA') AS SELECT BIDDER, COUNT(*) AS \
                    BIDS FROM BID WINDOW TUMBLING (SIZE 10 SECONDS) GROUP BY BIDDER EMIT CHANGES",
        keys: 100_000,
    },
];

const EVENTS: usize = 2_000_000;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let events = match std::env::var("KAPPA_BENCH_EVENTS") {
        Ok(text) => text.parse()?,
        Err(_) => EVENTS,
    };
    if let [flag, name] = arguments.as_slice()
        && flag == "--one"
    {
        let benchmark = BENCHMARKS
            .iter()
            .find(|b| b.name == name)
            .ok_or("no such benchmark")?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?;
        return runtime.block_on(run(benchmark, events));
    }
    println!(
        "{:<16} {:>10} {:>8} {:>8} {:>14} {:>9} {:>9}",
        "benchmark", "events", "wall s", "cpu s", "events/cpu-s", "peak MB", "disk MB"
    );
    let mut results = Vec::new();
    for benchmark in &BENCHMARKS {
        if !arguments.is_empty() && !arguments.iter().any(|wanted| wanted == benchmark.name) {
            continue;
        }
        let output = std::process::Command::new(std::env::current_exe()?)
            .args(["--one", benchmark.name])
            .stderr(std::process::Stdio::inherit())
            .output()?;
        let text = String::from_utf8(output.stdout)?;
        let Some(line) = text.lines().find(|line| line.starts_with('{')) else {
            return Err(format!("{} failed: {text}", benchmark.name).into());
        };
        let result: serde_json::Value = serde_json::from_str(line)?;
        println!(
            "{:<16} {:>10} {:>8.2} {:>8.2} {:>14.0} {:>9.0} {:>9.0}   {}",
            benchmark.name,
            result["events"].as_u64().unwrap_or_default(),
            result["wall_s"].as_f64().unwrap_or_default(),
            result["cpu_s"].as_f64().unwrap_or_default(),
            result["events_per_cpu_s"].as_f64().unwrap_or_default(),
            result["peak_mb"].as_f64().unwrap_or_default(),
            result["state_mb"].as_f64().unwrap_or_default(),
            benchmark.what,
        );
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

async fn run(benchmark: &Benchmark, events: usize) -> Result<(), Box<dyn Error>> {
    let directory = std::env::temp_dir().join(format!("kappa-bench-{}", std::process::id()));
    let engine = Engine::open(Config::embedded(&directory)).await?;
    let mut session = engine.session();
    session
        .execute(
            "CREATE STREAM BID (AUCTION BIGINT, BIDDER BIGINT, PRICE BIGINT, CHANNEL STRING, URL \
             STRING, DATETIME BIGINT, EXTRA STRING) WITH (KAFKA_TOPIC = 'bid', VALUE_FORMAT = \
             'JSON', PARTITIONS = 1, TIMESTAMP = 'DATETIME')",
        )
        .await?;
    let mut made = 0;
    while made < events {
        let rows = (events - made).min(20_000);
        engine
            .topics()
            .append("bid", &[bids(made, rows, benchmark.keys)])
            .await?;
        made += rows;
    }
    let (cpu, started) = (cpu_seconds()?, Instant::now());
    session
        .execute(benchmark.statement)
        .await
        .map_err(|error| error.render())?;
    engine.flush().await?;
    let wall_s = started.elapsed().as_secs_f64();
    let cpu_s = cpu_seconds()? - cpu;
    let query = &engine.queries()[0];
    if query.rows_in != events as u64 || query.bad != 0 {
        return Err(format!("{} of {events} read, {} bad", query.rows_in, query.bad).into());
    }
    check(&mut session, benchmark, events).await?;
    engine.shutdown().await?;
    let state_mb = size_of_directory(&directory)? as f64 / 1e6;
    println!(
        "{}",
        serde_json::json!({
            "name": benchmark.name,
            "events": events,
            "wall_s": wall_s,
            "cpu_s": cpu_s,
            "events_per_cpu_s": events as f64 / cpu_s,
            "peak_mb": peak_mb()?,
            "state_mb": state_mb,
            "reference": null,
            "ratio": null,
        })
    );
    std::fs::remove_dir_all(&directory)?;
    Ok(())
}

/// Every event must be in the result once.
async fn check(
    session: &mut kappa_engine::Session,
    benchmark: &Benchmark,
    events: usize,
) -> Result<(), Box<dyn Error>> {
    let question = match benchmark.name {
        "passthrough" => "SELECT COUNT(*) FROM RESULT",
        _ => "SELECT SUM(BIDS) FROM RESULT",
    };
    let kappa_engine::Response::Rows(rows) = session.execute(question).await? else {
        return Err("no rows".into());
    };
    let batches = rows.collect().await?;
    let counted = batches
        .iter()
        .find(|batch| batch.num_rows() > 0)
        .and_then(|batch| batch.column(0).as_any().downcast_ref::<Int64Array>())
        .map(|column| column.value(0));
    if counted != Some(events as i64) {
        return Err(format!("{events} events, {counted:?} in the result").into());
    }
    Ok(())
}

/// Bids as Nexmark's, 220 bytes of JSON each, 10,000 a second of event time.
fn bids(first: usize, rows: usize, keys: u64) -> NewRecords {
    let mut values = BinaryBuilder::with_capacity(rows, rows * 230);
    let mut times = Vec::with_capacity(rows);
    for number in first..first + rows {
        let mut hash = (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        hash ^= hash >> 31;
        let time = 1_700_000_000_000 + number as i64 / 10;
        let bid = format!(
            "{{\"auction\":{},\"bidder\":{},\"price\":{},\"channel\":\"{}\",\"url\":\"https://www.\
             nexmark.com/{}/item.htm?query=1&channel_id={}\",\"datetime\":{time},\"extra\":\"{}\"}}",
            1000 + hash % 10_000,
            1000 + (hash >> 20) % keys,
            100 + hash % 1_000_000,
            ["Google", "Facebook", "Baidu", "Apple"][(hash % 4) as usize],
            hash % 100_000_000,
            hash % 1_000_000,
            "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRS",
        );
        values.append_value(bid.as_bytes());
        times.push(time);
    }
    NewRecords {
        partition: 0,
        timestamps: Int64Array::from(times),
        keys: BinaryArray::new_null(rows),
        values: values.finish(),
        headers: None,
    }
}

/// User and system time of this process, from Linux's /proc.
fn cpu_seconds() -> Result<f64, Box<dyn Error>> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let ticks: f64 = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
    Ok(ticks / 100.0)
}

fn peak_mb() -> Result<f64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .ok_or("no VmHWM")?;
    let kb: f64 = line.split_whitespace().nth(1).unwrap_or_default().parse()?;
    Ok(kb / 1000.0)
}

fn size_of_directory(directory: &Path) -> Result<u64, Box<dyn Error>> {
    let mut size = 0;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        size += match metadata.is_dir() {
            true => size_of_directory(&entry.path())?,
            false => metadata.len(),
        };
    }
    Ok(size)
}
