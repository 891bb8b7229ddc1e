//! A sink of Parquet files beside a stream, against DataFusion's `COPY TO` of the same rows.

use crate::measure::{Measured, Stretch, reset_peak};
use crate::query::{batch, open, run, wait_for};
use crate::{Outcome, Place, bids};

/// All bids to Parquet.
pub(crate) async fn measure(place: &Place) -> Outcome<Measured> {
    let events = place.events / 2;
    let local = Place {
        bootstrap: None,
        events,
    };
    let (engine, data_dir) = open(&local, &[]).await?;
    bids::fill(engine.topics(), events, 1).await?;
    let stream = "CREATE STREAM BID (AUCTION BIGINT, BIDDER BIGINT, PRICE BIGINT, CHANNEL STRING, \
                  DATETIME BIGINT) WITH (KAFKA_TOPIC = 'bid', VALUE_FORMAT = 'JSON', TIMESTAMP = \
                  'DATETIME')";
    let mut session = engine.session();
    run(&mut session, &[stream]).await?;
    let files = data_dir.join("files");
    let sink = format!(
        "CREATE SINK FILES FROM BID WITH (CONNECTOR = 'file', PATH = '{}', FORMAT = 'PARQUET')",
        std::path::absolute(&files)?.display()
    );
    reset_peak();
    let stretch = Stretch::begin()?;
    run(&mut session, &[&sink]).await?;
    wait_for(&engine, events).await?;
    engine.flush().await?;
    let took = stretch.end()?;
    engine.shutdown().await?;
    let context = batch(bids::batches(events)?)?;
    let stretch = Stretch::begin()?;
    let copy = context
        .sql("SELECT auction, bidder, price, channel, datetime, datetime AS rowtime FROM bid")
        .await?;
    let copied = parquet(copy, &data_dir.join("copied.parquet")).await?;
    let theirs = stretch.end()?;
    if copied != events {
        return Err(format!("{copied} of {events} rows copied").into());
    }
    std::fs::remove_dir_all(data_dir)?;
    Ok(Measured::of(events, took).against("Parquet", events, theirs))
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
