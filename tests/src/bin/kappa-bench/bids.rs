//! Bids like Nexmark's with a number of bidders that a benchmark can rely on: JSON records for
//! topics, and the same rows as Arrow columns for the references.

use std::sync::Arc;

use arrow::array::{BinaryArray, BinaryBuilder, Int64Array, RecordBatch, StringBuilder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use kappa_engine::nexmark::{Generator, Options, Producer, Table};
use kappa_engine::record::NewRecords;
use kappa_engine::topic::{CleanupPolicy, NewTopic, Topics};

use crate::Outcome;

/// Bidders, all of them equally busy.
pub(crate) const BIDDERS: u64 = 1_000_000;
/// Bids in a millisecond of event time: a window of ten seconds then holds ten million, as it would
/// when they come as fast as they are taken.
pub(crate) const PER_MS: u64 = 1_000;
/// Event time of the first bid.
pub(crate) const FIRST_MS: i64 = 1_700_000_000_000;
/// The topic.
pub(crate) const TOPIC: &str = "bid";

/// The statement that registers the topic.
pub(crate) const STREAM: &str = "CREATE STREAM BID (AUCTION BIGINT, BIDDER BIGINT, PRICE BIGINT, \
    CHANNEL STRING, URL STRING, DATETIME BIGINT, EXTRA STRING) WITH (KAFKA_TOPIC = 'bid', \
    VALUE_FORMAT = 'JSON', TIMESTAMP = 'DATETIME')";

/// A bid's numbers; everything about it follows from its number.
struct Bid {
    auction: i64,
    bidder: i64,
    price: i64,
    channel: usize,
    url: u64,
    time: i64,
}

const CHANNELS: [&str; 4] = ["Google", "Facebook", "Baidu", "Apple"];
const EXTRA: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRS";

fn bid(number: u64) -> Bid {
    // The finaliser of splitmix64.
    let mut hash = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^= hash >> 31;
    Bid {
        auction: 1000 + (hash % 10_000) as i64,
        bidder: 1000 + ((hash >> 20) % BIDDERS) as i64,
        price: 100 + (hash % 1_000_000) as i64,
        channel: (hash % 4) as usize,
        url: hash % 100_000_000,
        time: FIRST_MS + (number / PER_MS) as i64,
    }
}

/// Who made that bid.
pub(crate) fn bidder(number: u64) -> i64 {
    bid(number).bidder
}

/// The records of bids, some 220 bytes each.
pub(crate) fn records(numbers: impl Iterator<Item = u64>, partition: i32) -> NewRecords {
    use std::io::Write as _;
    let mut values = BinaryBuilder::new();
    let mut times = Vec::new();
    let mut text = Vec::new();
    for number in numbers {
        let Bid {
            auction,
            bidder,
            price,
            channel,
            url,
            time,
        } = bid(number);
        let channel = CHANNELS[channel];
        text.clear();
        let written = write!(
            text,
            "{{\"auction\":{auction},\"bidder\":{bidder},\"price\":{price},\"channel\":\
             \"{channel}\",\"url\":\"https://www.nexmark.com/{url}/item.htm?query=1&channel_id=\
             {}\",\"dateTime\":{time},\"extra\":\"{EXTRA}\"}}",
            url % 1_000_000
        );
        debug_assert!(written.is_ok(), "memory takes everything");
        values.append_value(&text);
        times.push(time);
    }
    NewRecords {
        partition,
        keys: BinaryArray::new_null(times.len()),
        timestamps: Int64Array::from(times),
        values: values.finish(),
        headers: None,
    }
}

/// The columns that the references read.
pub(crate) fn schema() -> SchemaRef {
    let field = |name: &str, data_type| Field::new(name, data_type, true);
    Arc::new(Schema::new(vec![
        field("auction", DataType::Int64),
        field("bidder", DataType::Int64),
        field("price", DataType::Int64),
        field("channel", DataType::Utf8),
        field("datetime", DataType::Int64),
    ]))
}

/// Bids `first..first + rows` as columns.
pub(crate) fn batch(first: u64, rows: u64) -> Outcome<RecordBatch> {
    let bids: Vec<Bid> = (first..first + rows).map(bid).collect();
    let numbers = |of: fn(&Bid) -> i64| Arc::new(Int64Array::from_iter_values(bids.iter().map(of)));
    let mut channels = StringBuilder::new();
    for bid in &bids {
        channels.append_value(CHANNELS[bid.channel]);
    }
    Ok(RecordBatch::try_new(
        schema(),
        vec![
            numbers(|bid| bid.auction),
            numbers(|bid| bid.bidder),
            numbers(|bid| bid.price),
            Arc::new(channels.finish()),
            numbers(|bid| bid.time),
        ],
    )?)
}

/// All bids before the given one as columns.
pub(crate) fn batches(events: u64) -> Outcome<Vec<RecordBatch>> {
    const ROWS: u64 = 8192;
    let firsts = (0..events).step_by(ROWS as usize);
    firsts
        .map(|first| batch(first, ROWS.min(events - first)))
        .collect()
}

/// Fills the topic with the first bids of the Nexmark benchmark's generator.
pub(crate) async fn fill_nexmark(topics: &Arc<dyn Topics>, bids: u64) -> Outcome<()> {
    const RUN: u64 = 20_000;
    create(topics, TOPIC, 1, CleanupPolicy::Delete).await?;
    let generator = Generator::new(Options::default());
    let mut producer = Producer::try_new(generator, Table::Bid, 1)?;
    // Of each 50 events the first four are not bids.
    let events = match (bids / 46, bids % 46) {
        (rounds, 0) => rounds * 50,
        (rounds, rest) => rounds * 50 + 4 + rest,
    };
    for first in (0..events).step_by(RUN as usize) {
        let records = producer.records(first..events.min(first + RUN))?;
        topics.append(TOPIC, &records).await?;
    }
    Ok(())
}

/// Makes a topic whose records stay: the rows are of another year, and the default would delete them.
pub(crate) async fn create(
    topics: &Arc<dyn Topics>,
    name: &str,
    partitions: i32,
    cleanup: CleanupPolicy,
) -> Outcome<()> {
    Ok(topics
        .create(&NewTopic {
            name: name.to_owned(),
            partitions,
            replicas: -1,
            cleanup,
            retention_ms: Some(-1),
            retention_bytes: None,
        })
        .await?)
}

/// Fills the topic with bids, dealt to its partitions one by one.
pub(crate) async fn fill(topics: &Arc<dyn Topics>, events: u64, partitions: i32) -> Outcome<()> {
    const RUN: u64 = 20_000;
    if topics.describe(TOPIC).await?.is_some() {
        topics.delete(TOPIC).await?;
    }
    create(topics, TOPIC, partitions, CleanupPolicy::Delete).await?;
    for first in (0..events).step_by(RUN as usize) {
        let rows = first..events.min(first + RUN);
        for partition in 0..partitions {
            let own = rows.clone().skip(partition as usize);
            let records = records(own.step_by(partitions as usize), partition);
            topics.append(TOPIC, &[records]).await?;
        }
    }
    Ok(())
}
