//! Avro's object container files: what they can hold, and how rows get into them, block by block.

use std::io::Write;

use arrow::compute::BatchCoalescer;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use arrow_avro::compression::CompressionCodec;
use arrow_avro::errors::AvroError;
use arrow_avro::schema::AVRO_ROOT_RECORD_DEFAULT_NAME;
use arrow_avro::writer::format::{AvroFormat, AvroOcfFormat};
use arrow_avro::writer::{Writer, WriterBuilder};

use super::encoding::Compression;

/// Rows of a block: readers take a block into memory.
const BLOCK_ROWS: usize = 4096;
/// Bytes of rows at which a block is written, however few they are.
const BLOCK_BYTES_MAX: usize = 1 << 20;
/// Bytes of what stands between blocks.
const MARKER_BYTES: usize = 16;

/// Why rows of these columns cannot be in Avro files, if so.
pub fn avro_refusal(schema: &Schema) -> Option<String> {
    schema.fields().iter().find_map(|field| refusal(field))
}

fn refusal(field: &Field) -> Option<String> {
    let name = field.name();
    let mut chars = name.chars();
    let begins = chars
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == '_');
    if !begins || !chars.all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Some(format!(
            "Avro has no field `{name}`: its names are of letters, digits and _, and do not begin \
             with a digit"
        ));
    }
    if name == AVRO_ROOT_RECORD_DEFAULT_NAME && field.data_type().is_nested() {
        return Some(format!("in Avro {name} is the name of the row itself"));
    }
    match field.data_type() {
        DataType::List(item) => refusal(item),
        DataType::Struct(fields) => fields.iter().find_map(|field| refusal(field)),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(entry) if entry.len() == 2 => {
                match entry[0].data_type() == &DataType::Utf8 {
                    true => refusal(&entry[1]),
                    false => Some(format!(
                        "keys of an Avro map are STRING, which those of {name} are not"
                    )),
                }
            }
            _ => None,
        },
        _ => None,
    }
}

/// An object container file of `W`'s bytes.
pub(super) struct AvroRows<W: Write> {
    writer: Writer<W, Container>,
    /// Rows of the next block.
    waiting: BatchCoalescer,
    waiting_bytes: usize,
}

impl<W: Write> AvroRows<W> {
    /// Begins a file with its header.
    pub(super) fn create(
        compression: Compression,
        schema: &SchemaRef,
        out: W,
    ) -> Result<Self, AvroError> {
        let codec = match compression {
            Compression::None => None,
            Compression::Snappy => Some(CompressionCodec::Snappy),
            Compression::Gzip => Some(CompressionCodec::Deflate),
            Compression::Zstd => Some(CompressionCodec::ZStandard),
        };
        let builder = WriterBuilder::new(schema.as_ref().clone()).with_compression(codec);
        Ok(Self {
            writer: builder.build(out)?,
            waiting: BatchCoalescer::new(schema.clone(), BLOCK_ROWS),
            waiting_bytes: 0,
        })
    }

    /// Adds rows. Blocks do not depend on how rows come, unless these are large.
    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<(), AvroError> {
        let bytes = batch.get_array_memory_size();
        let rows = batch.num_rows().max(1);
        // Of large rows only few at a time.
        let step = (BLOCK_BYTES_MAX / (bytes / rows).max(1)).clamp(1, BLOCK_ROWS);
        for first in (0..batch.num_rows()).step_by(step) {
            let piece = batch.slice(first, step.min(batch.num_rows() - first));
            self.waiting_bytes += bytes / rows * piece.num_rows();
            self.waiting.push_batch(piece)?;
            if self.waiting_bytes >= BLOCK_BYTES_MAX * 2 {
                self.waiting.finish_buffered_batch()?;
            }
            self.write_blocks()?;
        }
        Ok(())
    }

    fn write_blocks(&mut self) -> Result<(), AvroError> {
        while let Some(block) = self.waiting.next_completed_batch() {
            self.writer.write(&block)?;
            self.waiting_bytes = 0;
        }
        Ok(())
    }

    /// Writes the rows that wait, as a block.
    pub(super) fn flush(&mut self) -> Result<(), AvroError> {
        self.waiting.finish_buffered_batch()?;
        self.write_blocks()
    }

    /// Memory of the rows that wait, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.waiting_bytes
    }

    /// Ends the file.
    pub(super) fn finish(mut self) -> Result<(), AvroError> {
        self.flush()?;
        self.writer.finish()
    }
}

/// The usual container, but for its marker: that of arrow-avro is chosen by chance, and the same rows
/// are to give the same bytes. This one comes from the header, so files of the same columns and codec
/// have the same header.
#[derive(Debug, Default)]
struct Container {
    marker: [u8; MARKER_BYTES],
}

impl AvroFormat for Container {
    const NEEDS_PREFIX: bool = false;

    fn start_stream<W: Write>(
        &mut self,
        writer: &mut W,
        schema: &Schema,
        compression: Option<CompressionCodec>,
    ) -> Result<(), AvroError> {
        let mut header = Vec::new();
        AvroOcfFormat::default().start_stream(&mut header, schema, compression)?;
        header.truncate(header.len().saturating_sub(MARKER_BYTES));
        let hash = openssl::sha::sha256(&header);
        self.marker.copy_from_slice(&hash[..MARKER_BYTES]);
        header.extend_from_slice(&self.marker);
        Ok(writer.write_all(&header)?)
    }

    fn sync_marker(&self) -> Option<&[u8; 16]> {
        Some(&self.marker)
    }
}
