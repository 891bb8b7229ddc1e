//! Rows into the bytes of a file: the same rows give the same bytes.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use crate::{Error, Result};

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum FileFormat {
    /// Apache Parquet, Zstandard-compressed.
    Parquet,
    /// A JSON object a line.
    Json,
    /// Comma-separated values under a line of names.
    Csv,
}

impl FileFormat {
    /// The formats by their names in SQL.
    pub const ALL: [(&'static str, Self); 3] = [
        ("PARQUET", Self::Parquet),
        ("JSON", Self::Json),
        ("CSV", Self::Csv),
    ];

    /// What files of it end with.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Json => "jsonl",
            Self::Csv => "csv",
        }
    }
}

/// Writes rows to a new local file and syncs it. Returns its length in bytes.
pub fn write_file(
    format: FileFormat,
    path: &Path,
    schema: &SchemaRef,
    batches: &[RecordBatch],
) -> Result<u64> {
    let what = || format!("write the file {}", path.display());
    let io = |error: std::io::Error| Error::retryable(what(), error);
    let file = File::create(path).map_err(io)?;
    match format {
        FileFormat::Parquet => {
            let properties = WriterProperties::builder()
                .set_compression(Compression::ZSTD(ZstdLevel::default()))
                .set_created_by("kappa".into())
                .build();
            let fail = |error: parquet::errors::ParquetError| Error::external(what(), error);
            let mut writer =
                ArrowWriter::try_new(BufWriter::new(&file), schema.clone(), Some(properties))
                    .map_err(fail)?;
            for batch in batches {
                writer.write(batch).map_err(fail)?;
            }
            writer.close().map_err(fail)?;
        }
        FileFormat::Json => {
            let fail = |error: arrow::error::ArrowError| Error::external(what(), error);
            let mut out = BufWriter::new(&file);
            let mut writer = arrow::json::WriterBuilder::new()
                .with_explicit_nulls(true)
                .build::<_, arrow::json::writer::LineDelimited>(&mut out);
            for batch in batches {
                writer.write(batch).map_err(fail)?;
            }
            writer.finish().map_err(fail)?;
            drop(writer);
            out.flush().map_err(io)?;
        }
        FileFormat::Csv => {
            let fail = |error: arrow::error::ArrowError| Error::external(what(), error);
            let mut writer = arrow::csv::WriterBuilder::new()
                .with_header(true)
                .build(BufWriter::new(&file));
            for batch in batches {
                writer.write(batch).map_err(fail)?;
            }
            writer.into_inner().flush().map_err(io)?;
        }
    }
    file.sync_all().map_err(io)?;
    let length = file.metadata().map_err(io)?.len();
    Ok(length)
}
