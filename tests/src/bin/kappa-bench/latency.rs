//! How long a row takes: through a step, and from a record that is produced to its result in Kafka.

use std::time::{Duration, Instant};

use arrow::array::{Array, BinaryArray, Int64Array};
use kappa_engine::record::NewRecords;
use kappa_engine::topic::{CleanupPolicy, FetchLimit};

use crate::measure::{Measured, Stretch, percentile};
use crate::query::{open, run, wait_for};
use crate::{Outcome, Place, bids};

/// Steps of one row each: an aggregation by key.
pub(crate) async fn step(place: &Place) -> Outcome<Measured> {
    let rows = (place.events / 100).max(1);
    let local = Place {
        bootstrap: None,
        events: rows,
    };
    let (engine, data_dir) = open(&local, &[("step.max.rows", "1")]).await?;
    bids::fill(engine.topics(), rows, 1).await?;
    let mut session = engine.session();
    run(&mut session, &[bids::STREAM]).await?;
    let stretch = Stretch::begin()?;
    let sink = "CREATE SINK RESULT WITH (CONNECTOR = 'blackhole') AS SELECT BIDDER % 1000 AS K, \
                COUNT(*) AS BIDS FROM BID GROUP BY BIDDER % 1000 EMIT CHANGES";
    run(&mut session, &[sink]).await?;
    wait_for(&engine, rows).await?;
    engine.flush().await?;
    let took = stretch.end()?;
    let mut measured = Measured::of(rows, took);
    let mean = took.wall_s / rows as f64 * 1e6;
    let [p50, p99] = engine.queries()[0].step_us.map(|us| us as f64);
    measured.others = [("µs a step", mean), ("p50", p50), ("p99", p99)]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
    engine.shutdown().await?;
    std::fs::remove_dir_all(data_dir)?;
    Ok(measured)
}

/// Produces `per_s` records a second for some seconds, fewer in a trial run, and reads what a pass-through makes of them.
pub(crate) async fn through_kafka(
    place: &Place,
    per_s: u64,
    properties: &[(&str, &str)],
) -> Outcome<Measured> {
    const SECONDS: u64 = 5;
    /// Records are sent in bursts, one each so often.
    const BURST: Duration = Duration::from_millis(2);
    const FROM: &str = "latency_in";
    const TO: &str = "LATENCY_OUT";
    let (engine, data_dir) = open(place, properties).await?;
    let topics = engine.topics().clone();
    for topic in [FROM, TO] {
        if topics.describe(topic).await?.is_some() {
            topics.delete(topic).await?;
        }
    }
    bids::create(&topics, FROM, 1, CleanupPolicy::Delete).await?;
    let mut session = engine.session();
    run(
        &mut session,
        &[
            "CREATE STREAM LATENCY_IN (SENT BIGINT) WITH (KAFKA_TOPIC = 'latency_in', \
             VALUE_FORMAT = 'JSON')",
            "CREATE STREAM LATENCY_OUT AS SELECT SENT FROM LATENCY_IN EMIT CHANGES",
        ],
    )
    .await?;
    let began = Instant::now();
    let total = (per_s * SECONDS).min(place.events);
    let stretch = Stretch::begin()?;
    let producer = tokio::spawn({
        let topics = topics.clone();
        async move {
            let mut sent = 0;
            while sent < total {
                let due = (began.elapsed().as_secs_f64() * per_s as f64) as u64;
                let rows = due.min(total).saturating_sub(sent);
                if rows > 0 {
                    let now = began.elapsed().as_micros();
                    let text = format!("{{\"SENT\":{now}}}");
                    let records = NewRecords {
                        partition: 0,
                        timestamps: Int64Array::from_value(bids::FIRST_MS, rows as usize),
                        keys: BinaryArray::new_null(rows as usize),
                        values: BinaryArray::from_iter_values((0..rows).map(|_| text.as_bytes())),
                        headers: None,
                    };
                    topics.append(FROM, &[records]).await?;
                    sent += rows;
                }
                tokio::time::sleep(BURST).await;
            }
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
        }
    });
    let mut reader = topics.reader(TO, &[(0, 0)]).await?;
    let mut latencies = Vec::new();
    let mut last = Instant::now();
    while (latencies.len() as u64) < total {
        let limit = FetchLimit {
            records: 10_000,
            bytes: 1 << 20,
            headers: false,
        };
        let fetched = reader.fetch(0, limit)?;
        let now = began.elapsed().as_micros() as f64;
        match fetched.records {
            Some(records) => {
                for row in 0..records.values.len() {
                    let value: serde_json::Value =
                        serde_json::from_slice(records.values.value(row))?;
                    let sent = value["SENT"].as_f64().ok_or("a result without its time")?;
                    latencies.push((now - sent) / 1e3);
                }
                last = Instant::now();
            }
            None => reader.ready(Duration::from_millis(100)).await?,
        }
        if last.elapsed() > Duration::from_secs(30) {
            return Err(format!("{} of {total} results came", latencies.len()).into());
        }
    }
    producer.await??;
    let took = stretch.end()?;
    engine.shutdown().await?;
    std::fs::remove_dir_all(data_dir)?;
    // The first second warms connections and code up.
    latencies.drain(..latencies.len() / SECONDS as usize);
    latencies.sort_by(f64::total_cmp);
    let mut measured = Measured::of(total, took);
    measured.others = [("p50 ms", 0.5), ("p99 ms", 0.99)]
        .map(|(name, share)| (name.to_owned(), percentile(&latencies, share)))
        .to_vec();
    Ok(measured)
}
