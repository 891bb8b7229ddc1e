//! Ad hoc queries of a view through the library.

use std::time::Instant;

use crate::check::same;
use crate::measure::{Measured, Stretch, settled};
use crate::query::{batch, open, rows, run};
use crate::{Outcome, Place, bids};

const VIEW: &str = "CREATE TABLE RESULT AS SELECT BIDDER, COUNT(*) AS BIDS, SUM(PRICE) AS TOTAL FROM \
                    BID GROUP BY BIDDER EMIT CHANGES";

/// A question that takes all rows of the view.
const ALL: &str = "SELECT COUNT(*), SUM(BIDS), SUM(TOTAL) FROM RESULT";

async fn view(place: &Place) -> Outcome<(kappa_engine::Engine, std::path::PathBuf)> {
    let local = Place {
        bootstrap: None,
        events: place.events,
    };
    let (engine, data_dir) = open(&local, &[]).await?;
    bids::fill(engine.topics(), place.events, 1).await?;
    run(&mut engine.session(), &[bids::STREAM, VIEW]).await?;
    engine.flush().await?;
    Ok((engine, data_dir))
}

/// The view's rows, one by key and all, must be what DataFusion makes of the bids.
pub(crate) async fn check(events: u64) -> Outcome<()> {
    let (engine, data_dir) = view(&Place::local(events)).await?;
    let mut session = engine.session();
    let sums = "SELECT bidder, COUNT(*) AS bids, SUM(price) AS total FROM bid GROUP BY bidder";
    let batch = batch(bids::batches(events)?)?;
    let theirs = batch
        .sql(&format!(
            "SELECT COUNT(*), SUM(bids), SUM(total) FROM ({sums})"
        ))
        .await?;
    same(&rows(&mut session, ALL).await?, &theirs.collect().await?)?;
    for bidder in (0..100).map(bids::bidder) {
        let ours = rows(&mut session, &by_bidder(bidder)).await?;
        let theirs = batch
            .sql(&format!(
                "SELECT bids, total FROM ({sums}) WHERE bidder = {bidder}"
            ))
            .await?;
        same(&ours, &theirs.collect().await?)?;
    }
    engine.shutdown().await?;
    Ok(std::fs::remove_dir_all(data_dir)?)
}

fn by_bidder(bidder: i64) -> String {
    format!("SELECT BIDS, TOTAL FROM RESULT WHERE BIDDER = {bidder}")
}

/// Rows by key, by so many tasks at once.
pub(crate) async fn by_key(place: &Place, tasks: u64) -> Outcome<Measured> {
    let place = Place {
        bootstrap: None,
        events: place.events / 10,
    };
    let (engine, data_dir) = view(&place).await?;
    let queries = (place.events / 20).max(tasks);
    let stretch = Stretch::begin()?;
    let started = Instant::now();
    let running: Vec<_> = (0..tasks)
        .map(|task| {
            let (engine, events) = (engine.clone(), place.events);
            tokio::spawn(async move {
                let mut session = engine.session();
                let mut found = 0;
                for number in 0..queries / tasks {
                    let bidder = bids::bidder((number * tasks + task) % events);
                    for batch in rows(&mut session, &by_bidder(bidder)).await? {
                        found += batch.num_rows();
                    }
                }
                Ok::<_, Box<dyn std::error::Error + Send + Sync>>(found)
            })
        })
        .collect();
    let mut found = 0;
    for task in running {
        found += task.await??;
    }
    let per_s = queries as f64 / started.elapsed().as_secs_f64();
    let took = stretch.end()?;
    if found as u64 != queries / tasks * tasks {
        return Err(format!("{found} of {queries} rows were found").into());
    }
    let mut measured = Measured::of(queries, took);
    measured.others.push(("queries/s".to_owned(), per_s));
    engine.shutdown().await?;
    std::fs::remove_dir_all(data_dir)?;
    Ok(measured)
}

/// All rows of the view.
pub(crate) async fn scan(place: &Place) -> Outcome<Measured> {
    let (engine, data_dir) = view(place).await?;
    let mut session = engine.session();
    // Once, so that the blocks are in memory.
    rows(&mut session, ALL).await?;
    settled().await?;
    let stretch = Stretch::begin()?;
    let started = Instant::now();
    let answer = rows(&mut session, ALL).await?;
    let wall_s = started.elapsed().as_secs_f64();
    let took = stretch.end()?;
    let count = answer
        .iter()
        .find(|batch| batch.num_rows() > 0)
        .and_then(|batch| {
            let column = batch.column(0).as_any();
            column.downcast_ref::<arrow::array::Int64Array>()
        })
        .map_or(0, |column| column.value(0));
    let mut measured = Measured::of(count as u64, took);
    measured
        .others
        .push(("rows/s".to_owned(), count as f64 / wall_s));
    engine.shutdown().await?;
    std::fs::remove_dir_all(data_dir)?;
    Ok(measured)
}
