//! Two partitions worked on by two threads, against one by one.

use crate::check::same;
use crate::measure::{Measured, Stretch, Took, reset_peak, settled};
use crate::query::{batch, open, rows, run, wait_for};
use crate::{Outcome, Place, bids};

const SUMS: &str = "SELECT BIDDER % 1000 AS K, COUNT(*) AS BIDS, SUM(PRICE) AS TOTAL FROM BID GROUP \
                    BY BIDDER % 1000 EMIT CHANGES";
const BATCH_SUMS: &str = "SELECT bidder % 1000 AS k, COUNT(*) AS bids, SUM(price) AS total FROM bid \
                          GROUP BY bidder % 1000";

/// Counts and sums per key, of JSON in an embedded topic of so many partitions, by as many workers.
async fn take(events: u64, partitions: i32) -> Outcome<Took> {
    let workers = partitions.to_string();
    let (engine, data_dir) = open(&Place::local(events), &[("query.workers", &workers)]).await?;
    bids::fill(engine.topics(), events, partitions).await?;
    let mut session = engine.session();
    run(&mut session, &[bids::STREAM]).await?;
    settled().await?;
    reset_peak();
    let stretch = Stretch::begin()?;
    let sink = format!("CREATE SINK RESULT WITH (CONNECTOR = 'blackhole') AS {SUMS}");
    run(&mut session, &[&sink]).await?;
    wait_for(&engine, events).await?;
    engine.flush().await?;
    let took = stretch.end()?;
    engine.shutdown().await?;
    std::fs::remove_dir_all(data_dir)?;
    Ok(took)
}

/// The answer of two workers over two partitions must be DataFusion's.
pub(crate) async fn check(events: u64) -> Outcome<()> {
    let (engine, data_dir) = open(&Place::local(events), &[("query.workers", "2")]).await?;
    bids::fill(engine.topics(), events, 2).await?;
    let mut session = engine.session();
    let view = format!("CREATE TABLE RESULT AS {SUMS}");
    run(&mut session, &[bids::STREAM, &view]).await?;
    engine.flush().await?;
    let ours = rows(&mut session, "SELECT K, BIDS, TOTAL FROM RESULT").await?;
    engine.shutdown().await?;
    std::fs::remove_dir_all(data_dir)?;
    let batch = batch(bids::batches(events)?)?.sql(BATCH_SUMS).await?;
    same(&ours, &batch.collect().await?)
}

/// How much faster two are, by the clock on the wall.
pub(crate) async fn two(place: &Place) -> Outcome<Measured> {
    // A second at least, so that beginning and ending do not count.
    let events = place.events * 2;
    let one = take(events, 1).await?;
    let two = take(events, 2).await?;
    let mut measured = Measured::of(events, two);
    measured.ratio = Some(one.wall_s / two.wall_s);
    measured.reference = Some("one by the clock".to_owned());
    Ok(measured)
}
