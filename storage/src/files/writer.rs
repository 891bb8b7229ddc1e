//! Rows into a local file, batch by batch: the same rows give the same bytes.

use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::datatypes::SchemaRef;
use arrow::json::writer::LineDelimited;
use arrow::record_batch::RecordBatch;
use flate2::write::GzEncoder;
use parquet::arrow::ArrowWriter;

use super::avro::AvroRows;
use super::encoding::{Compression, FileEncoding, FileFormat};
use crate::delta::{cast_rows, table_schema};
use crate::{Error, Result};

/// A file that is being written.
pub struct FileWriter {
    path: PathBuf,
    written: Arc<AtomicU64>,
    rows: Rows,
    /// The columns that rows are cast to first, if any.
    cast: Option<SchemaRef>,
}

/// The file's bytes, counted.
type Output = Counted<BufWriter<File>>;

enum Rows {
    Parquet(Box<ArrowWriter<Output>>),
    Json(Box<arrow::json::Writer<Compressed<Output>, LineDelimited>>),
    Csv(Box<arrow::csv::Writer<Compressed<Output>>>),
    Avro(Box<AvroRows<Output>>),
}

impl fmt::Debug for FileWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileWriter({})", self.path.display())
    }
}

impl FileWriter {
    /// Begins a new file.
    pub fn create(encoding: &FileEncoding, path: &Path, schema: &SchemaRef) -> Result<Self> {
        let fail = |error: &dyn fmt::Display| Error::retryable(what(path), error);
        let file = File::create(path).map_err(|error| fail(&error))?;
        let written = Arc::new(AtomicU64::new(0));
        let counted = Counted {
            inner: BufWriter::new(file),
            written: Arc::clone(&written),
        };
        let cast = match encoding.format {
            FileFormat::Delta => Some(table_schema(schema)?),
            FileFormat::Parquet | FileFormat::Json | FileFormat::Csv | FileFormat::Avro => None,
        };
        let rows = match encoding.format {
            FileFormat::Parquet | FileFormat::Delta => {
                let schema = cast.as_ref().unwrap_or(schema).clone();
                let writer = ArrowWriter::try_new(counted, schema, Some(encoding.parquet()))
                    .map_err(|error| Error::external(what(path), error))?;
                Rows::Parquet(Box::new(writer))
            }
            FileFormat::Json => Rows::Json(Box::new(
                arrow::json::WriterBuilder::new()
                    .with_explicit_nulls(true)
                    .build(Compressed::new(encoding.compression, counted).map_err(|e| fail(&e))?),
            )),
            FileFormat::Csv => Rows::Csv(Box::new(
                arrow::csv::WriterBuilder::new()
                    .with_header(true)
                    .build(Compressed::new(encoding.compression, counted).map_err(|e| fail(&e))?),
            )),
            FileFormat::Avro => Rows::Avro(Box::new(
                AvroRows::create(encoding.compression, schema, counted)
                    .map_err(|error| Error::external(what(path), error))?,
            )),
        };
        Ok(Self {
            path: path.to_owned(),
            written,
            rows,
            cast,
        })
    }

    /// Adds rows.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let fail = |error: &dyn fmt::Display| Error::retryable(what(&self.path), error);
        let cast = match &self.cast {
            Some(schema) => Some(cast_rows(batch, schema).map_err(|error| fail(&error))?),
            None => None,
        };
        let batch = cast.as_ref().unwrap_or(batch);
        match &mut self.rows {
            Rows::Parquet(writer) => writer.write(batch).map_err(|error| fail(&error))?,
            Rows::Json(writer) => writer.write(batch).map_err(|error| fail(&error))?,
            Rows::Csv(writer) => writer.write(batch).map_err(|error| fail(&error))?,
            Rows::Avro(writer) => writer.write(batch).map_err(|error| fail(&error))?,
        }
        Ok(())
    }

    /// Lets go of the memory that rows take which are not in the file yet.
    pub fn release(&mut self) -> Result<()> {
        let fail = |error: &dyn fmt::Display| Error::retryable(what(&self.path), error);
        match &mut self.rows {
            Rows::Parquet(writer) => writer.flush().map_err(|error| fail(&error)),
            Rows::Avro(writer) => writer.flush().map_err(|error| fail(&error)),
            Rows::Json(_) | Rows::Csv(_) => Ok(()),
        }
    }

    /// Bytes of the file so far, with those that are about to be written.
    pub fn size(&self) -> u64 {
        let waiting = match &self.rows {
            Rows::Parquet(writer) => writer.in_progress_size(),
            // What waits is not compressed yet: it counts for nothing until it is written.
            Rows::Json(_) | Rows::Csv(_) | Rows::Avro(_) => 0,
        };
        self.written.load(Ordering::Relaxed) + waiting as u64
    }

    /// Memory held, in bytes.
    pub fn memory(&self) -> usize {
        match &self.rows {
            Rows::Parquet(writer) => writer.memory_size(),
            Rows::Avro(writer) => writer.memory(),
            Rows::Json(_) | Rows::Csv(_) => 0,
        }
    }

    /// Ends the file and syncs it. Returns its length in bytes.
    pub fn finish(self) -> Result<u64> {
        let Self { path, rows, .. } = self;
        let fail = |error: &dyn fmt::Display| Error::retryable(what(&path), error);
        let out = match rows {
            Rows::Parquet(writer) => writer.into_inner().map_err(|error| fail(&error))?,
            Rows::Json(mut writer) => {
                writer.finish().map_err(|error| fail(&error))?;
                writer.into_inner().finish().map_err(|error| fail(&error))?
            }
            Rows::Csv(writer) => writer.into_inner().finish().map_err(|error| fail(&error))?,
            Rows::Avro(writer) => writer.finish().map_err(|error| fail(&error))?,
        };
        let file = out.inner.into_inner().map_err(|error| fail(&error))?;
        file.sync_all().map_err(|error| fail(&error))?;
        Ok(file.metadata().map_err(|error| fail(&error))?.len())
    }
}

fn what(path: &Path) -> String {
    format!("write the file {}", path.display())
}

/// Counts what goes through.
struct Counted<W> {
    inner: W,
    written: Arc<AtomicU64>,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.written.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Text on its way into a file.
pub(super) enum Compressed<W: Write> {
    Plain(W),
    Gzip(GzEncoder<W>),
    Zstd(zstd::Encoder<'static, W>),
}

impl<W: Write> Compressed<W> {
    pub(super) fn new(compression: Compression, out: W) -> io::Result<Self> {
        Ok(match compression {
            Compression::None | Compression::Snappy => Self::Plain(out),
            // Without a time in its header: the same rows, the same bytes.
            Compression::Gzip => Self::Gzip(GzEncoder::new(out, flate2::Compression::default())),
            Compression::Zstd => Self::Zstd(zstd::Encoder::new(out, 0)?),
        })
    }

    /// Ends the text; what it went into may still hold a part of it.
    pub(super) fn finish(self) -> io::Result<W> {
        match self {
            Self::Plain(out) => Ok(out),
            Self::Gzip(encoder) => encoder.finish(),
            Self::Zstd(encoder) => encoder.finish(),
        }
    }
}

impl<W: Write> Write for Compressed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(out) => out.write(bytes),
            Self::Gzip(out) => out.write(bytes),
            Self::Zstd(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(out) => out.flush(),
            // Flushing a compressor in the middle costs size and changes the bytes.
            Self::Gzip(_) | Self::Zstd(_) => Ok(()),
        }
    }
}
