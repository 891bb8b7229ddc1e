//! How fast JSON becomes Arrow: Nexmark-like bids of about 220 bytes, all seven columns and two of
//! them, against arrow-json over the same bytes in the same run. One thread, its CPU time (so other
//! programs matter little), the best of several rounds.
//!
//! `cargo run --release -p kappa-storage --example decode_bids`
#![expect(clippy::print_stdout, reason = "a program that prints its result")]
#![expect(clippy::disallowed_methods, reason = "it measures time")]
#![expect(clippy::unwrap_used, reason = "an example: it stops where it fails")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{Array, ArrayRef, BinaryArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Fields, Schema};
use kappa_storage::format::{Decoder, Encoder, Format, Side};

const ROWS: usize = 100_000;
const BATCH_ROWS: usize = 8192;
const ROUNDS: usize = 9;

fn main() {
    let lines: Vec<String> = (0..ROWS).map(bid).collect();
    let bytes: usize = lines.iter().map(String::len).sum();
    println!("{ROWS} bids of {} bytes on average", bytes / ROWS);
    let batches: Vec<BinaryArray> = lines
        .chunks(BATCH_ROWS)
        .map(BinaryArray::from_iter_values)
        .collect();
    let texts: Vec<String> = lines
        .chunks(BATCH_ROWS)
        .map(|lines| lines.join("\n"))
        .collect();

    for (name, string, projection) in [
        ("seven columns", DataType::Utf8, &[0, 1, 2, 3, 4, 5, 6][..]),
        ("two columns", DataType::Utf8, &[0, 2]),
        ("no columns", DataType::Utf8, &[]),
        (
            "seven columns, string views",
            DataType::Utf8View,
            &[0, 1, 2, 3, 4, 5, 6],
        ),
    ] {
        let fields = fields(&string);
        let side = Side {
            format: Format::Json,
            fields: fields.clone(),
            wrap_single: true,
        };
        let mut decoder = Decoder::try_new(&side, projection).unwrap();
        let ours = best(|| {
            for batch in &batches {
                let decoded = decoder.decode(batch).unwrap();
                assert!(decoded.bad.is_empty());
                black_box(decoded);
            }
        });
        report(name, ours, bytes);

        let schema = Arc::new(Schema::new(fields).project(projection).unwrap());
        if projection.is_empty() {
            continue;
        }
        let theirs = best(|| {
            for text in &texts {
                black_box(arrow_json(&schema, text));
            }
        });
        report("  arrow-json", theirs, bytes);
        println!("  ratio {:.2}", theirs.as_secs_f64() / ours.as_secs_f64());
        let decoded = decoder.decode(&batches[0]).unwrap();
        let ours = RecordBatch::try_new(schema.clone(), decoded.columns).unwrap();
        assert_eq!(ours, arrow_json(&schema, &texts[0]), "the same values");
    }

    let fields = fields(&DataType::Utf8);
    let side = Side {
        format: Format::Json,
        fields,
        wrap_single: true,
    };
    let mut decoder = Decoder::try_new(&side, &[0, 1, 2, 3, 4, 5, 6]).unwrap();
    let columns: Vec<Vec<ArrayRef>> = batches
        .iter()
        .map(|batch| decoder.decode(batch).unwrap().columns)
        .collect();
    let mut encoder = Encoder::try_new(&side).unwrap();
    let time = best(|| {
        for (columns, batch) in columns.iter().zip(&batches) {
            black_box(encoder.encode(columns, None, batch.len()).unwrap());
        }
    });
    report("encoding seven columns", time, bytes);
    assert_eq!(
        encoder.encode(&columns[0], None, batches[0].len()).unwrap(),
        batches[0]
    );
}

fn arrow_json(schema: &Arc<Schema>, text: &str) -> RecordBatch {
    let builder = arrow::json::ReaderBuilder::new(schema.clone()).with_batch_size(BATCH_ROWS);
    let mut decoder = builder.build_decoder().unwrap();
    decoder.decode(text.as_bytes()).unwrap();
    decoder.flush().unwrap().unwrap()
}

fn report(name: &str, time: Duration, bytes: usize) {
    let seconds = time.as_secs_f64();
    let (rate, speed) = (ROWS as f64 / seconds / 1e6, bytes as f64 / seconds / 1e9);
    println!("{name:<28} {rate:6.2} M rows/s {speed:6.2} GB/s");
}

fn best(mut run: impl FnMut()) -> Duration {
    let clock = Instant::now();
    // Linux tells a thread's time on the CPU in nanoseconds; elsewhere the wall clock must do.
    let now = || match std::fs::read_to_string("/proc/thread-self/schedstat") {
        Ok(times) => Duration::from_nanos(times.split(' ').next().unwrap().parse().unwrap()),
        Err(_) => clock.elapsed(),
    };
    let round = |_| {
        let start = now();
        run();
        now() - start
    };
    (0..ROUNDS).map(round).min().unwrap()
}

fn fields(string: &DataType) -> Fields {
    let bigint = DataType::Int64;
    [
        ("auction", &bigint),
        ("bidder", &bigint),
        ("price", &bigint),
        ("channel", string),
        ("url", string),
        ("dateTime", &bigint),
        ("extra", string),
    ]
    .into_iter()
    .map(|(name, data_type)| Field::new(name, data_type.clone(), true))
    .collect()
}

/// A bid as the Nexmark generator makes it: half of the channels are hot ones with short names.
fn bid(i: usize) -> String {
    let mut state = i as u64 + 1;
    let mut random = |limit: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % limit
    };
    let mut letters = |count: u64| -> String {
        (0..count)
            .map(|_| (b'a' + random(26) as u8) as char)
            .collect()
    };
    let (a, b, c) = (letters(5), letters(5), letters(5));
    let extra = letters(20 + i as u64 % 30);
    let channel = match random(8) {
        0 => "Google".to_owned(),
        1 => "Facebook".to_owned(),
        2 => "Baidu".to_owned(),
        3 => "Apple".to_owned(),
        _ => format!("channel-{}", random(10_000)),
    };
    let (auction, bidder) = (1000 + random(100_000), 1000 + random(60_000));
    let (price, time) = (100 + random(10_000_000), 1_700_000_000_000 + i as u64 * 10);
    let channel_id = random(10_000_000);
    format!(
        "{{\"auction\":{auction},\"bidder\":{bidder},\"price\":{price},\"channel\":\"{channel}\",\
         \"url\":\"https://www.nexmark.com/{a}/{b}/{c}/item.htm?query=1&channel_id={channel_id}\",\
         \"dateTime\":{time},\"extra\":\"{extra}\"}}"
    )
}
