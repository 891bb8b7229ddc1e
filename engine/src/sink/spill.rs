//! Rows set aside on local disk, in the order in which they came: Arrow IPC streams, one after another.
//!
//! They do not outlive the process: whoever sets them aside can read them again where they came from.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::ipc::reader::StreamReader;

use super::outbox::write_stream;
use crate::error::{Error, Result};

/// Rows on local disk. The file is gone when this is dropped; it is open only while it is written or
/// read, so that there may be many.
#[derive(Debug)]
pub(super) struct Spill {
    path: PathBuf,
    /// Of its rows, in memory, as they came.
    bytes: usize,
}

impl Spill {
    /// Nothing yet; the file at `path` is made with the first rows.
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, bytes: 0 }
    }

    /// Bytes of its rows, in memory, as they came.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Sets rows aside, which take so many bytes in memory.
    pub(super) fn push(&mut self, rows: &RecordBatch, bytes: usize) -> Result<()> {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.path);
        let mut file = BufWriter::new(file.map_err(|error| failed(&self.path, &error))?);
        let written = write_stream(&mut file, &rows.schema(), std::slice::from_ref(rows))
            .map_err(|error| failed(&self.path, &error));
        written.and_then(|()| file.flush().map_err(|error| failed(&self.path, &error)))?;
        self.bytes += bytes;
        Ok(())
    }

    /// Gives all rows to `take`, batch by batch, and forgets them.
    pub(super) fn drain(self, mut take: impl FnMut(&RecordBatch) -> Result<()>) -> Result<()> {
        let file = File::open(&self.path).map_err(|error| failed(&self.path, &error))?;
        let mut file = BufReader::new(file);
        loop {
            let rest = file
                .fill_buf()
                .map_err(|error| failed(&self.path, &error))?;
            if rest.is_empty() {
                return Ok(());
            }
            let stream = StreamReader::try_new(&mut file, None);
            for rows in stream.map_err(|error| failed(&self.path, &error))? {
                take(&rows.map_err(|error| failed(&self.path, &error))?)?;
            }
        }
    }
}

impl Drop for Spill {
    fn drop(&mut self) {
        // If it stays, the next start removes it.
        drop(std::fs::remove_file(&self.path));
    }
}

fn failed(path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::External {
        message: format!("set rows aside in {}: {error}", path.display()),
        retryable: true,
    }
}
