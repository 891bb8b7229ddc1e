//! A sink of Parquet files beside a stream, against DataFusion's `COPY TO` of the same rows.

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::datasource::MemTable;
use datafusion::prelude::SessionContext;
use kappa_storage::nexmark::Table;

use crate::generated::{bids, generate, generation, one_core};
use crate::measure::{Measured, Stretch, reset_peak};
use crate::query::{open, run, wait_for};
use crate::{Outcome, Place};

/// Columns of the files among a bid's: auction, bidder, price, channel; and the time.
const COLUMNS: [usize; 4] = [0, 1, 2, 3];
const NAMES: &str = "AUCTION, BIDDER, PRICE, CHANNEL";

/// All bids to Parquet.
pub(crate) async fn measure(place: &Place) -> Outcome<Measured> {
    let rows = bids(place.events);
    let (engine, data_dir) = open(&Place::local(place.events), &[]).await?;
    let stream = format!(
        "CREATE STREAM BID (AUCTION BIGINT, BIDDER BIGINT, PRICE BIGINT, CHANNEL STRING, DATETIME \
         TIMESTAMP) WITH (CONNECTOR = 'nexmark', TABLE = 'bid', EVENTS = {})",
        place.events
    );
    let mut session = engine.session();
    run(&mut session, &[&stream]).await?;
    let files = data_dir.join("files");
    let sink = format!(
        "CREATE SINK FILES WITH (CONNECTOR = 'file', PATH = '{}', FORMAT = 'PARQUET') AS SELECT \
         {NAMES}, DATETIME FROM BID",
        std::path::absolute(&files)?.display()
    );
    reset_peak();
    let stretch = Stretch::begin()?;
    run(&mut session, &[&sink]).await?;
    wait_for(&engine, rows).await?;
    engine.flush().await?;
    let mut took = stretch.end()?;
    engine.shutdown().await?;
    let columns: Vec<usize> = COLUMNS
        .into_iter()
        .chain([Table::Bid.time_column()])
        .collect();
    took.cpu_s -= generation(rows, &columns)?.cpu_s;

    let context = context(rows, &columns)?;
    let stretch = Stretch::begin()?;
    let copy = context
        .sql("SELECT *, CAST(\"dateTime\" AS BIGINT) AS rowtime FROM bid")
        .await?;
    let copied = parquet(copy, &data_dir.join("copied.parquet")).await?;
    let theirs = stretch.end()?;
    if copied != rows {
        return Err(format!("{copied} of {rows} rows copied").into());
    }
    std::fs::remove_dir_all(data_dir)?;
    Ok(Measured::of(rows, took).against("Parquet", rows, theirs))
}

/// DataFusion on one core, with those columns of the bids as table `bid`.
fn context(rows: u64, columns: &[usize]) -> Outcome<SessionContext> {
    let batches = generate(rows, columns).collect::<Outcome<Vec<RecordBatch>>>()?;
    let schema = batches.first().ok_or("no rows")?.schema();
    let context = one_core();
    context.register_table("bid", Arc::new(MemTable::try_new(schema, vec![batches])?))?;
    Ok(context)
}

/// Writes a query's rows as `COPY TO` does; DataFusion's own Parquet feature is not compiled in.
async fn parquet(rows: datafusion::dataframe::DataFrame, to: &std::path::Path) -> Outcome<u64> {
    use futures::StreamExt;
    use parquet::arrow::ArrowWriter;
    use parquet::basic::{Compression, ZstdLevel};
    use parquet::file::properties::WriterProperties;
    let mut stream = rows.execute_stream().await?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .build();
    let file = std::fs::File::create(to)?;
    let mut writer = ArrowWriter::try_new(file, stream.schema(), Some(properties))?;
    let mut count = 0;
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        count += batch.num_rows() as u64;
        writer.write(&batch)?;
    }
    writer.close()?;
    Ok(count)
}
