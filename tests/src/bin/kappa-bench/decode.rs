//! Decoding JSON, in memory, against arrow-json over the same bytes.

use std::hint::black_box;
use std::sync::Arc;

use arrow::array::{BinaryArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Fields, Schema};
use kappa_storage::format::{Decoder, Format, Side};

use crate::measure::{Measured, Stretch, Took};
use crate::{Outcome, bids};

const BATCH_ROWS: u64 = 8192;

/// All seven columns of bids, or some.
pub(crate) fn measure(events: u64, projection: &[usize]) -> Outcome<Measured> {
    // As many as stay in a processor's larger caches, over and over.
    let batches: Vec<BinaryArray> = (0..12)
        .map(|number| bids::records(number * BATCH_ROWS..(number + 1) * BATCH_ROWS, 0).values)
        .collect();
    let texts: Vec<String> = batches
        .iter()
        .map(|batch| {
            let lines: Vec<_> = batch
                .iter()
                .flatten()
                .map(String::from_utf8_lossy)
                .collect();
            lines.join("\n")
        })
        .collect();
    let fields = fields();
    let side = Side {
        format: Format::Json,
        fields: fields.clone(),
        wrap_single: true,
    };
    let schema = Arc::new(Schema::new(fields).project(projection)?);
    let mut decoder = Decoder::try_new(&side, projection)?;
    let ours = decoder.decode(&batches[0])?;
    let ours = RecordBatch::try_new(Arc::clone(&schema), ours.columns)?;
    if ours != arrow_json(&schema, &texts[0])? {
        return Err("arrow-json reads other values".into());
    }
    let rounds = (events / (BATCH_ROWS * batches.len() as u64)).max(1);
    let rows = rounds * BATCH_ROWS * batches.len() as u64;
    // Warm, and in turns, so that both see the same machine.
    let mut ours = Took::NOTHING;
    let mut theirs = Took::NOTHING;
    for _ in 0..rounds {
        let stretch = Stretch::begin_thread()?;
        for batch in &batches {
            black_box(decoder.decode(batch)?);
        }
        ours += stretch.end()?;
        let stretch = Stretch::begin_thread()?;
        for text in &texts {
            black_box(arrow_json(&schema, text)?);
        }
        theirs += stretch.end()?;
    }
    Ok(Measured::of(rows, ours).against("arrow-json", rows, theirs))
}

fn arrow_json(schema: &Arc<Schema>, text: &str) -> Outcome<RecordBatch> {
    let builder =
        arrow::json::ReaderBuilder::new(Arc::clone(schema)).with_batch_size(BATCH_ROWS as usize);
    let mut decoder = builder.build_decoder()?;
    decoder.decode(text.as_bytes())?;
    decoder
        .flush()?
        .ok_or_else(|| "arrow-json reads nothing".into())
}

fn fields() -> Fields {
    [
        ("auction", DataType::Int64),
        ("bidder", DataType::Int64),
        ("price", DataType::Int64),
        ("channel", DataType::Utf8),
        ("url", DataType::Utf8),
        ("dateTime", DataType::Int64),
        ("extra", DataType::Utf8),
    ]
    .into_iter()
    .map(|(name, data_type)| Field::new(name, data_type, true))
    .collect()
}
