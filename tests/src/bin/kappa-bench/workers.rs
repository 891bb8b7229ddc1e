//! Two partitions worked on by two threads, against one by one.

use crate::measure::{Measured, Stretch, Took, reset_peak, settled};
use crate::query::{open, run, wait_for};
use crate::{Outcome, Place, bids};

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
    run(
        &mut session,
        &[
            "CREATE SINK RESULT WITH (CONNECTOR = 'blackhole') AS SELECT BIDDER % 1000 AS K, \
           COUNT(*) AS BIDS, SUM(PRICE) AS TOTAL FROM BID GROUP BY BIDDER % 1000 EMIT CHANGES",
        ],
    )
    .await?;
    wait_for(&engine, events).await?;
    engine.flush().await?;
    let took = stretch.end()?;
    engine.shutdown().await?;
    std::fs::remove_dir_all(data_dir)?;
    Ok(took)
}

/// How much faster two are, by the clock on the wall.
pub(crate) async fn two(place: &Place) -> Outcome<Measured> {
    let one = take(place.events, 1).await?;
    let two = take(place.events, 2).await?;
    let mut measured = Measured::of(place.events, two);
    measured.ratio = Some(one.wall_s / two.wall_s);
    measured.reference = Some("one by the clock".to_owned());
    Ok(measured)
}
