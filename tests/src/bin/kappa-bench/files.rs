//! Sinks of Parquet files beside a stream: against DataFusion's `COPY TO` of the same rows, several of
//! them against one, and one of many directories.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::UInt64Type;
use datafusion::config::TableParquetOptions;
use datafusion::dataframe::DataFrameWriteOptions;
use datafusion::datasource::MemTable;
use datafusion::prelude::{ParquetReadOptions, SessionContext};
use kappa_storage::nexmark::Table;

use crate::check::same;
use crate::generated::{bids, generate, generation, one_core};
use crate::measure::{Measured, Stretch, Took, reset_peak};
use crate::query::{open, run, wait_for};
use crate::{Outcome, Place};

/// Columns of the files among a bid's: auction, bidder, price, channel; and the time.
const COLUMNS: [usize; 4] = [0, 1, 2, 3];

/// Properties of a sink of a thousand directories.
pub(crate) const DIRECTORIES: &str = ", PARTITION_BY = 'DIRECTORY'";

/// All bids to Parquet.
pub(crate) async fn measure(place: &Place) -> Outcome<Measured> {
    let rows = bids(place.events);
    let mut took = through_sinks(place, 1, "").await?;
    let columns: Vec<usize> = COLUMNS
        .into_iter()
        .chain([Table::Bid.time_column()])
        .collect();
    took.cpu_s -= generation(rows, &columns)?.cpu_s;
    let theirs = copy(place, rows, &columns).await?;
    Ok(Measured::of(rows, took).against("COPY TO", rows, theirs))
}

/// To several sinks of the same bytes, against one.
pub(crate) async fn several(place: &Place, sinks: usize) -> Outcome<Measured> {
    let rows = bids(place.events);
    // Whoever comes first pays for a cold cache.
    through_sinks(place, 1, "").await?;
    let one = through_sinks(place, 1, "").await?;
    let took = through_sinks(place, sinks, "").await?;
    Ok(Measured::of(rows, took).against("one sink", rows, one))
}

/// To a thousand directories, all of which stay open.
pub(crate) async fn directories(place: &Place) -> Outcome<Measured> {
    let rows = bids(place.events);
    let took = through_sinks(place, 1, DIRECTORIES).await?;
    Ok(Measured::of(rows, took))
}

/// Each sink's files must hold the rows that the generator makes.
pub(crate) async fn check(events: u64, sinks: usize, properties: &str) -> Outcome<()> {
    let (_, data_dir) = write(&Place::local(events), sinks, properties).await?;
    let context = context(bids(events), &[0, 1, 2, 3, Table::Bid.time_column()])?;
    let theirs = context
        .sql("SELECT auction, bidder, price, channel, \"dateTime\" FROM bid")
        .await?
        .collect()
        .await?;
    for number in 0..sinks {
        let mut files = Vec::new();
        parquet_files(&data_dir.join(format!("files-{number}")), &mut files)?;
        let written = context
            .read_parquet(files, ParquetReadOptions::default())
            .await?
            .select_columns(&["AUCTION", "BIDDER", "PRICE", "CHANNEL", "DATETIME"])?;
        same(&written.collect().await?, &theirs)?;
    }
    Ok(std::fs::remove_dir_all(data_dir)?)
}

fn parquet_files(directory: &Path, found: &mut Vec<String>) -> Outcome<()> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            parquet_files(&path, found)?;
        } else if path
            .extension()
            .is_some_and(|extension| extension == "parquet")
        {
            found.push(path.display().to_string());
        }
    }
    Ok(())
}

/// All bids to sinks of files that share what can be shared.
async fn through_sinks(place: &Place, sinks: usize, properties: &str) -> Outcome<Took> {
    let (took, data_dir) = write(place, sinks, properties).await?;
    std::fs::remove_dir_all(data_dir)?;
    Ok(took)
}

/// What it took, and the directory in which `files-0`, `files-1`, … are.
async fn write(place: &Place, sinks: usize, properties: &str) -> Outcome<(Took, PathBuf)> {
    let rows = bids(place.events);
    let (engine, data_dir) = open(&Place::local(place.events), &[]).await?;
    let mut session = engine.session();
    let bid = format!(
        "CREATE STREAM BID (AUCTION BIGINT, BIDDER BIGINT, PRICE BIGINT, CHANNEL STRING, DATETIME \
         TIMESTAMP) WITH (CONNECTOR = 'nexmark', TABLE = 'bid', EVENTS = {})",
        place.events
    );
    run(&mut session, &[&bid]).await?;
    reset_peak();
    let stretch = Stretch::begin()?;
    for number in 0..sinks {
        let files = std::path::absolute(data_dir.join(format!("files-{number}")))?;
        let with = format!(
            "WITH (CONNECTOR = 'file', PATH = '{}', FORMAT = 'PARQUET', ROLL_INTERVAL = '1 HOUR' \
             {properties})",
            files.display()
        );
        let sink = match properties {
            "" => format!("CREATE SINK FILES_{number} FROM BID {with}"),
            _ => format!(
                "CREATE SINK FILES_{number} {with} AS SELECT AUCTION, BIDDER, PRICE, CHANNEL, \
                 DATETIME, BIDDER % 1000 AS DIRECTORY FROM BID"
            ),
        };
        run(&mut session, &[&sink]).await?;
    }
    wait_for(&engine, rows).await?;
    engine.flush().await?;
    let took = stretch.end()?;
    engine.shutdown().await?;
    Ok((took, data_dir))
}

/// What DataFusion takes to copy the same rows from memory into a file.
async fn copy(place: &Place, rows: u64, columns: &[usize]) -> Outcome<Took> {
    let directory = place.fresh_dir()?;
    let context = context(rows, columns)?;
    let stretch = Stretch::begin()?;
    let bids = context
        .sql("SELECT *, CAST(\"dateTime\" AS BIGINT) AS rowtime FROM bid")
        .await?;
    // The codec that a sink has unless it is told otherwise.
    let mut options = TableParquetOptions::default();
    options.global.compression = Some("zstd(1)".to_owned());
    let file = directory.join("copied.parquet").display().to_string();
    let copied = bids
        .write_parquet(&file, DataFrameWriteOptions::new(), Some(options))
        .await?;
    let took = stretch.end()?;
    let counts = copied.first().ok_or("no count")?;
    let copied = counts.column(0).as_primitive::<UInt64Type>().value(0);
    if copied != rows {
        return Err(format!("{copied} of {rows} rows copied").into());
    }
    std::fs::remove_dir_all(directory)?;
    Ok(took)
}

/// DataFusion on one core, with those columns of the bids as table `bid`.
fn context(rows: u64, columns: &[usize]) -> Outcome<SessionContext> {
    let batches = generate(rows, columns).collect::<Outcome<Vec<RecordBatch>>>()?;
    let schema = batches.first().ok_or("no rows")?.schema();
    let context = one_core();
    context.register_table("bid", Arc::new(MemTable::try_new(schema, vec![batches])?))?;
    Ok(context)
}
