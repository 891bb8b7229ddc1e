//! A file that is not done: its rows are encoded, set aside on disk, or in memory, in this order.
//!
//! Rows are encoded many at a time. An encoder takes memory of its own, and a few rows at a time make
//! a poor file: what Parquet says of a row group stays in memory until the file is closed, and is as
//! long for ten rows as for a million.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use kappa_storage::files::{FileEncoding, FileWriter};

use super::place::Place;
use super::spill::Spill;
use crate::error::Result;

/// Bytes of a file's rows, in memory as they came, at which they are encoded.
pub(super) const CHUNK_BYTES: usize = 8 << 20;
/// Rows of a batch below which writing it alone costs more than copying it.
const SMALL_ROWS: usize = 1024;

/// The file, and what is known of its rows.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) place: Arc<Place>,
    pub(super) rows: u64,
    /// The epoch of its first rows.
    pub(super) since_epoch: u64,
    /// When its first and last row came, on the monotonic clock.
    pub(super) first_ms: i64,
    pub(super) last_ms: i64,
    /// Least and greatest time of its rows.
    pub(super) times: [i64; 2],
    /// Whether stream time had passed its directory before its first row came.
    pub(super) late: bool,
    /// Of all its rows, in memory as they came.
    pub(super) bytes_in: u64,
    /// What its temporary files are called, but for their ends.
    temporary: PathBuf,
    encoder: Option<FileWriter>,
    aside: Option<Spill>,
    batches: Vec<RecordBatch>,
    /// Of the batches.
    bytes: usize,
}

/// What names of temporary files end with.
pub(super) const TEMPORARY: &str = ".tmp";

impl OpenFile {
    /// A file without rows. `temporary` is what its temporary files are to be called.
    pub(super) fn new(
        place: Arc<Place>,
        temporary: PathBuf,
        epoch: u64,
        now_ms: i64,
        late: bool,
    ) -> Self {
        Self {
            place,
            rows: 0,
            since_epoch: epoch,
            first_ms: now_ms,
            last_ms: now_ms,
            times: [i64::MAX, i64::MIN],
            late,
            bytes_in: 0,
            temporary,
            encoder: None,
            aside: None,
            batches: Vec::new(),
            bytes: 0,
        }
    }

    /// Adds rows whose least and greatest times are `times`.
    pub(super) fn push(&mut self, rows: RecordBatch, times: [i64; 2], now_ms: i64) {
        let bytes = rows.get_array_memory_size();
        self.bytes += bytes;
        self.bytes_in += bytes as u64;
        self.rows += rows.num_rows() as u64;
        self.last_ms = now_ms;
        self.times = [self.times[0].min(times[0]), self.times[1].max(times[1])];
        self.batches.push(rows);
    }

    /// Memory held, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.bytes + self.encoder.as_ref().map_or(0, FileWriter::memory)
    }

    /// Bytes of the rows that are not encoded, in memory as they came.
    pub(super) fn waiting(&self) -> usize {
        self.bytes + self.aside.as_ref().map_or(0, Spill::bytes)
    }

    /// About how many bytes the file would have now, with so many for each byte of rows in memory.
    pub(super) fn size(&self, ratio: f64) -> u64 {
        let encoded = self.encoder.as_ref().map_or(0, FileWriter::size);
        encoded + (self.waiting() as f64 * ratio) as u64
    }

    /// Encodes all rows.
    pub(super) fn encode(&mut self, encoding: &FileEncoding, schema: &SchemaRef) -> Result<()> {
        let mut encoder = match self.encoder.take() {
            Some(encoder) => encoder,
            None => FileWriter::create(encoding, &self.path(""), schema)?,
        };
        if let Some(aside) = self.aside.take() {
            aside.drain(|rows| Ok(encoder.write(rows)?))?;
        }
        for rows in self.take_batches(schema)? {
            encoder.write(&rows)?;
        }
        self.encoder = Some(encoder);
        Ok(())
    }

    /// Lets go of the memory that rows take.
    pub(super) fn release(&mut self, schema: &SchemaRef) -> Result<()> {
        let batches = std::mem::take(&mut self.batches);
        let bytes = std::mem::take(&mut self.bytes);
        if !batches.is_empty() {
            let path = self.path(".rows");
            let aside = self.aside.get_or_insert_with(|| Spill::new(path));
            aside.push(&concat_batches(schema, &batches)?, bytes)?;
        }
        match &mut self.encoder {
            Some(encoder) => Ok(encoder.release()?),
            None => Ok(()),
        }
    }

    /// Encodes all rows and ends the file. Returns where it is, and its length in bytes.
    pub(super) fn finish(
        mut self,
        encoding: &FileEncoding,
        schema: &SchemaRef,
    ) -> Result<(PathBuf, u64)> {
        self.encode(encoding, schema)?;
        let path = self.path("");
        match self.encoder {
            Some(encoder) => Ok((path, encoder.finish()?)),
            None => Err(crate::Error::Internal("a file was not encoded".into())),
        }
    }

    /// The rows in memory, in batches that are worth writing.
    fn take_batches(&mut self, schema: &SchemaRef) -> Result<Vec<RecordBatch>> {
        let batches = std::mem::take(&mut self.batches);
        self.bytes = 0;
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        match batches.len() > 1 && rows < batches.len() * SMALL_ROWS {
            true => Ok(vec![concat_batches(schema, &batches)?]),
            false => Ok(batches),
        }
    }

    fn path(&self, kind: &str) -> PathBuf {
        let mut name = self.temporary.clone().into_os_string();
        name.push(kind);
        name.push(TEMPORARY);
        name.into()
    }
}
