//! A script's query measured over topics that are there: what `make bench-flink` compares with.

use std::path::Path;

use crate::measure::{Measured, Stretch, reset_peak};
use crate::query::{open, run, wait_for};
use crate::{Outcome, Place};

/// Runs the statements of a file, the last of which starts the query, until `place.events` are read.
pub(crate) async fn measure(place: &Place, file: &Path) -> Outcome<Measured> {
    let script = std::fs::read_to_string(file)?;
    let statements = kappa_engine::split(&script);
    let Some((query, before)) = statements.split_last() else {
        return Err(format!("{} has no statement", file.display()).into());
    };
    // As much for state as Flink's RocksDB has there.
    let (engine, data_dir) = open(place, &[("state.memory.mb", "2048")]).await?;
    let mut session = engine.session();
    run(&mut session, before).await?;
    reset_peak();
    let stretch = Stretch::begin()?;
    run(&mut session, &[query]).await?;
    wait_for(&engine, place.events).await?;
    engine.flush().await?;
    let took = stretch.end()?;
    let query = &engine.queries()[0];
    let (read, bad, late) = (query.rows_in, query.bad, query.late);
    if bad != 0 || late != 0 {
        return Err(format!("{bad} records were bad and {late} late").into());
    }
    engine.shutdown().await?;
    std::fs::remove_dir_all(data_dir)?;
    Ok(Measured::of(read, took))
}
