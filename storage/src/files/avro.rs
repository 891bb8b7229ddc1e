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
        // Not that of the arrays which it may be a slice of.
        let columns = batch.columns().iter();
        let bytes = columns
            .map(|column| column.to_data().get_slice_memory_size())
            .sum::<Result<usize, _>>()?;
        let rows = batch.num_rows().max(1);
        // Of large rows only few at a time.
        let step = (BLOCK_BYTES_MAX / (bytes / rows).max(1)).clamp(1, BLOCK_ROWS);
        for first in (0..batch.num_rows()).step_by(step) {
            let piece = batch.slice(first, step.min(batch.num_rows() - first));
            self.waiting_bytes += bytes / rows * piece.num_rows();
            self.waiting.push_batch(piece)?;
            if self.waiting_bytes >= BLOCK_BYTES_MAX {
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

    /// Ends the file; what it went into may still hold a part of it.
    pub(super) fn finish(mut self) -> Result<W, AvroError> {
        self.flush()?;
        self.writer.finish()?;
        Ok(self.writer.into_inner())
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::*;
    use arrow::buffer::OffsetBuffer;
    use arrow::compute::concat_batches;
    use arrow::datatypes::{Fields, TimeUnit};
    use arrow_avro::reader::ReaderBuilder;

    use super::*;

    /// Rows of every type: values, then NULLs, over and over.
    fn every_type(rows: usize) -> RecordBatch {
        let value = |index: usize| index.is_multiple_of(2);
        let strings = || -> ArrayRef {
            let strings = (0..rows).map(|index| value(index).then(|| format!("text {index}")));
            Arc::new(strings.collect::<StringArray>())
        };
        let longs = || (0..rows).map(|index| value(index).then_some(index as i64 - 7));
        let decimals = || (0..rows).map(|index| value(index).then_some(index as i128 * 12_345));
        let wide =
            (0..rows).map(|index| value(index).then(|| arrow::datatypes::i256::from_i128(-5)));
        let lengths =
            || OffsetBuffer::from_lengths((0..rows).map(|index| usize::from(value(index))));
        let pieces = |array: &dyn Array| array.slice(0, rows.div_ceil(2));
        let entry = StructArray::from(vec![
            (
                Arc::new(Field::new("key", DataType::Utf8, false)),
                Arc::new(StringArray::from_iter_values(
                    (0..rows.div_ceil(2)).map(|i| format!("k{i}")),
                )) as ArrayRef,
            ),
            (
                Arc::new(Field::new("value", DataType::Utf8, true)),
                pieces(&strings()),
            ),
        ]);
        let map = MapArray::new(
            Arc::new(Field::new("entries", entry.data_type().clone(), false)),
            lengths(),
            entry,
            None,
            false,
        );
        let list = ListArray::new(
            Arc::new(Field::new("item", DataType::Utf8, true)),
            lengths(),
            pieces(&strings()),
            None,
        );
        let inner = StructArray::new(
            Fields::from(vec![Field::new("G", DataType::Utf8, true)]),
            vec![strings()],
            None,
        );
        let outer = StructArray::new(
            Fields::from(vec![
                Field::new("F", DataType::Int64, true),
                Field::new("INNER", inner.data_type().clone(), true),
            ]),
            vec![
                Arc::new(longs().collect::<Int64Array>()),
                Arc::new(inner.clone()),
            ],
            None,
        );
        let columns: Vec<(&str, ArrayRef)> = vec![
            (
                "BOOLEAN",
                Arc::new(
                    (0..rows)
                        .map(|i| value(i).then_some(i.is_multiple_of(4)))
                        .collect::<BooleanArray>(),
                ),
            ),
            (
                "INT",
                Arc::new(
                    (0..rows)
                        .map(|i| value(i).then_some(i as i32 - 3))
                        .collect::<Int32Array>(),
                ),
            ),
            ("BIGINT", Arc::new(longs().collect::<Int64Array>())),
            (
                "DOUBLE",
                Arc::new(
                    (0..rows)
                        .map(|i| value(i).then_some(i as f64 / 3.0))
                        .collect::<Float64Array>(),
                ),
            ),
            (
                "DECIMAL",
                Arc::new(
                    decimals()
                        .collect::<Decimal128Array>()
                        .with_precision_and_scale(20, 4)
                        .unwrap(),
                ),
            ),
            (
                "WIDE",
                Arc::new(
                    wide.collect::<Decimal256Array>()
                        .with_precision_and_scale(60, 10)
                        .unwrap(),
                ),
            ),
            ("STRING", strings()),
            (
                "BYTES",
                Arc::new(
                    (0..rows)
                        .map(|i| value(i).then_some([0_u8, 255, i as u8]))
                        .collect::<BinaryArray>(),
                ),
            ),
            (
                "DATE",
                Arc::new(
                    (0..rows)
                        .map(|i| value(i).then_some(i as i32 - 9))
                        .collect::<Date32Array>(),
                ),
            ),
            (
                "TIME",
                Arc::new(
                    (0..rows)
                        .map(|i| value(i).then_some(i as i32))
                        .collect::<Time32MillisecondArray>(),
                ),
            ),
            (
                "TIMESTAMP",
                Arc::new(longs().collect::<TimestampMillisecondArray>()),
            ),
            ("ARRAY", Arc::new(list)),
            ("MAP", Arc::new(map)),
            // The names of two records are the same in a file.
            ("INNER", Arc::new(inner)),
            ("STRUCT", Arc::new(outer)),
        ];
        let columns = columns.into_iter().map(|(name, array)| (name, array, true));
        RecordBatch::try_from_iter_with_nullable(columns).unwrap()
    }

    fn written(compression: Compression, batches: &[RecordBatch]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut rows = AvroRows::create(compression, &batches[0].schema(), &mut out).unwrap();
        for batch in batches {
            rows.write(batch).unwrap();
        }
        rows.finish().unwrap();
        out
    }

    fn read(bytes: &[u8]) -> RecordBatch {
        let reader = ReaderBuilder::new().build(bytes).unwrap();
        let schema = reader.schema();
        let batches: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
        concat_batches(&schema, &batches).unwrap()
    }

    /// The rows as text, which does not tell how nested fields are called.
    fn text(batch: &RecordBatch) -> String {
        arrow::util::pretty::pretty_format_batches(std::slice::from_ref(batch))
            .unwrap()
            .to_string()
    }

    #[test]
    fn every_type_comes_back_under_every_codec() {
        let rows = every_type(500);
        for compression in [
            Compression::None,
            Compression::Snappy,
            Compression::Gzip,
            Compression::Zstd,
        ] {
            let found = read(&written(compression, std::slice::from_ref(&rows)));
            assert_eq!(text(&found), text(&rows), "{compression:?}");
            for (found, wanted) in found.schema().fields().iter().zip(rows.schema().fields()) {
                assert_eq!(found.name(), wanted.name());
                if !wanted.data_type().is_nested() && wanted.name() != "WIDE" {
                    assert_eq!(found.data_type(), wanted.data_type(), "{}", wanted.name());
                }
            }
        }
    }

    #[test]
    fn bytes_depend_on_rows_alone() {
        let rows = every_type(1000);
        let whole = written(Compression::Zstd, std::slice::from_ref(&rows));
        let again = written(Compression::Zstd, std::slice::from_ref(&rows));
        assert!(again == whole);
        let pieces: Vec<RecordBatch> = (0..10).map(|n| rows.slice(n * 100, 100)).collect();
        assert_eq!(
            text(&read(&written(Compression::Zstd, &pieces))),
            text(&rows)
        );
        let small = RecordBatch::try_from_iter([(
            "N",
            Arc::new(Int64Array::from_iter_values(0..10_000)) as ArrayRef,
        )])
        .unwrap();
        let pieces: Vec<RecordBatch> = (0..100).map(|n| small.slice(n * 100, 100)).collect();
        let pieces = written(Compression::None, &pieces);
        assert!(pieces == written(Compression::None, &[small]));
    }

    #[test]
    fn large_rows_make_small_blocks() {
        let texts = StringArray::from_iter_values((0..40).map(|_| "x".repeat(500_000)));
        let rows = RecordBatch::try_from_iter([("S", Arc::new(texts) as ArrayRef)]).unwrap();
        let bytes = written(Compression::None, std::slice::from_ref(&rows));
        // The header ends in the marker that follows each block.
        let marker = &bytes[bytes.len() - MARKER_BYTES..];
        let blocks = bytes
            .windows(MARKER_BYTES)
            .filter(|at| *at == marker)
            .count()
            - 1;
        assert!((10..=40).contains(&blocks), "{blocks}");
        assert_eq!(text(&read(&bytes)), text(&rows));
    }

    #[test]
    fn what_avro_cannot_hold_is_said() {
        let refused = |field: Field| avro_refusal(&Schema::new(vec![field])).unwrap();
        assert!(refused(Field::new("page name", DataType::Utf8, true)).contains("`page name`"));
        assert!(refused(Field::new("1", DataType::Utf8, true)).contains("digit"));
        assert!(refused(Field::new("", DataType::Utf8, true)).contains("``"));
        let part = Field::new("a-b", DataType::Date32, true);
        let nested = DataType::Struct(Fields::from(vec![part]));
        let list = DataType::new_list(nested.clone(), true);
        assert!(refused(Field::new("L", list, true)).contains("`a-b`"));
        let root = DataType::Struct(Fields::empty());
        assert!(refused(Field::new("topLevelRecord", root, true)).contains("row itself"));
        let map = |key: DataType| {
            let entry = vec![
                Field::new("key", key, false),
                Field::new("value", DataType::Utf8, true),
            ];
            let entry = DataType::Struct(Fields::from(entry));
            DataType::Map(Arc::new(Field::new("entries", entry, false)), false)
        };
        assert!(refused(Field::new("M", map(DataType::Int32), true)).contains("keys"));
        let fine = [
            Field::new("M", map(DataType::Utf8), true),
            Field::new("T", DataType::Timestamp(TimeUnit::Millisecond, None), true),
        ];
        assert_eq!(avro_refusal(&Schema::new(fine.to_vec())), None);
    }
}
