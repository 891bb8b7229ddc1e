//! An engine opened on state that is there: how long it is until its query has given the first new
//! result. The files were just written, so the disk is not what is measured.

use std::sync::Arc;
use std::time::Instant;

use kappa_engine::{Clock, Engine};

use crate::held_clock::{HeldClock, RATE};
use crate::measure::{Measured, Stretch, reset_peak, size_mb};
use crate::query::{config, open_with_clock, run, wait_for};
use crate::{Outcome, Place, generated};

/// Events behind the restart.
const NEW_EVENTS: u64 = 1_000;

/// A view of twice as many rows as there are events otherwise: a key each, as most queries' keys are
/// more spread than their rows.
pub(crate) async fn measure(place: &Place) -> Outcome<Measured> {
    let events = place.events * 2;
    let clock = Arc::new(HeldClock::new());
    let local = Place::local(events);
    let (engine, data_dir) =
        open_with_clock(&local, &[], Arc::clone(&clock) as Arc<dyn Clock>).await?;
    let stream = format!(
        "CREATE STREAM BID (AUCTION BIGINT, PRICE BIGINT) WITH (CONNECTOR = 'nexmark', TABLE = \
         'bid', RATE = {RATE})"
    );
    let view = "CREATE TABLE RESULT AS SELECT ROWOFFSET AS K, COUNT(*) AS BIDS, SUM(PRICE) AS \
                TOTAL, MIN(AUCTION) AS FIRST, MAX(AUCTION) AS LAST FROM BID GROUP BY ROWOFFSET \
                EMIT CHANGES";
    run(&mut engine.session(), &[&stream, view]).await?;
    clock.let_through(events);
    wait_for(&engine, generated::bids(events)).await?;
    engine.flush().await?;
    engine.shutdown().await?;
    drop(engine);
    let state_mb = size_mb(&data_dir)?;

    reset_peak();
    clock.let_through(events + NEW_EVENTS);
    let stretch = Stretch::begin()?;
    let started = Instant::now();
    let engine = Engine::open(config(&local, &data_dir, &[], clock)).await?;
    let open_s = started.elapsed().as_secs_f64();
    while engine.queries().iter().all(|query| query.rows_out == 0) {
        if let Some(error) = engine.queries().into_iter().find_map(|query| query.error) {
            return Err(error.into());
        }
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    let first_s = started.elapsed().as_secs_f64();
    engine.flush().await?;
    let took = stretch.end()?;
    let committed_s = started.elapsed().as_secs_f64();
    engine.shutdown().await?;
    std::fs::remove_dir_all(data_dir)?;
    let mut measured = Measured::of(NEW_EVENTS, took);
    measured.state_mb = state_mb;
    measured.others = vec![
        ("s until open".to_owned(), open_s),
        ("s until a result".to_owned(), first_s),
        ("s until its commit".to_owned(), committed_s),
    ];
    Ok(measured)
}
