//! Several files of one encoding into one, their rows one after the other, in little memory.
//!
//! Parquet is read and written anew, so that its row groups become larger. Of other formats the bytes
//! are copied, behind the header (CSV's names, Avro's schema) that they all begin with.

use std::fmt;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use flate2::read::MultiGzDecoder;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::avro::AvroRows;
use super::encoding::{Compression, FileEncoding, FileFormat};
use super::writer::{Compressed, FileWriter};
use crate::{Error, Result};

/// Rows that are read at a time.
const BATCH_ROWS: usize = 8192;

/// A file that others are merged into.
pub struct FileMerger {
    path: PathBuf,
    schema: SchemaRef,
    out: Out,
}

enum Out {
    Rows(Box<FileWriter>),
    Bytes {
        out: Box<Compressed<BufWriter<File>>>,
        /// How the bytes of a file are compressed as a whole.
        compression: Compression,
        header: Vec<u8>,
        begun: bool,
    },
}

impl fmt::Debug for FileMerger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileMerger({})", self.path.display())
    }
}

impl FileMerger {
    /// Begins a new file on local disk, of files with these columns.
    pub fn create(encoding: &FileEncoding, path: &Path, schema: &SchemaRef) -> Result<Self> {
        let what = || format!("write the file {}", path.display());
        let out = match encoding.format {
            FileFormat::Parquet => Out::Rows(Box::new(FileWriter::create(encoding, path, schema)?)),
            FileFormat::Delta => {
                return Err(Error::Internal(
                    "files of a Delta Lake table are merged by its own means".into(),
                ));
            }
            FileFormat::Json | FileFormat::Csv | FileFormat::Avro => {
                let compression = match encoding.format {
                    // Of its blocks, not of the file.
                    FileFormat::Avro => Compression::None,
                    _ => encoding.compression,
                };
                let file = File::create(path).map(BufWriter::new);
                let out = file.and_then(|file| Compressed::new(compression, file));
                let out = out.map_err(|error| Error::retryable(what(), error))?;
                Out::Bytes {
                    out: Box::new(out),
                    compression,
                    header: header(encoding, schema)
                        .map_err(|error| Error::external(what(), error))?,
                    begun: false,
                }
            }
        };
        Ok(Self {
            path: path.to_owned(),
            schema: schema.clone(),
            out,
        })
    }

    /// Adds all rows of a file on local disk. `name` is what the file is called in errors.
    pub fn append(&mut self, input: &Path, name: &str) -> Result<()> {
        let what = || format!("merge {name} into {}", self.path.display());
        let other = || {
            let path = self.path.display();
            Error::User(format!(
                "{name} has other columns than files have now: it cannot be merged into {path}"
            ))
        };
        let file = File::open(input).map_err(|error| Error::retryable(what(), error))?;
        match &mut self.out {
            Out::Rows(writer) => {
                let reader = ParquetRecordBatchReaderBuilder::try_new(file)
                    .map_err(|error| Error::external(what(), error))?;
                if reader.schema().fields() != self.schema.fields() {
                    return Err(other());
                }
                let reader = reader.with_batch_size(BATCH_ROWS).build();
                for batch in reader.map_err(|error| Error::external(what(), error))? {
                    writer.write(&batch.map_err(|error| Error::external(what(), error))?)?;
                }
            }
            Out::Bytes {
                out,
                compression,
                header,
                begun,
                ..
            } => {
                let fail = |error: std::io::Error| Error::retryable(what(), error);
                let mut bytes: Box<dyn Read> = match compression {
                    Compression::Gzip => Box::new(MultiGzDecoder::new(BufReader::new(file))),
                    Compression::Zstd => Box::new(zstd::Decoder::new(file).map_err(fail)?),
                    Compression::None | Compression::Snappy => Box::new(file),
                };
                let mut found = Vec::with_capacity(header.len());
                let mut first = bytes.by_ref().take(header.len() as u64);
                first.read_to_end(&mut found).map_err(fail)?;
                if found != *header {
                    return Err(other());
                }
                if !std::mem::replace(begun, true) {
                    out.write_all(header).map_err(fail)?;
                }
                std::io::copy(&mut bytes, out).map_err(fail)?;
            }
        }
        Ok(())
    }

    /// Ends the file and syncs it. Returns its length in bytes.
    pub fn finish(self) -> Result<u64> {
        match self.out {
            Out::Rows(writer) => writer.finish(),
            Out::Bytes { out, .. } => {
                let end = || {
                    let file = out.finish()?.into_inner()?;
                    file.sync_all()?;
                    Ok(file.metadata()?.len())
                };
                end().map_err(|error: std::io::Error| {
                    Error::retryable(format!("write the file {}", self.path.display()), error)
                })
            }
        }
    }
}

/// What files of these columns begin with.
fn header(encoding: &FileEncoding, schema: &SchemaRef) -> arrow::error::Result<Vec<u8>> {
    let mut header = Vec::new();
    match encoding.format {
        FileFormat::Csv => {
            let builder = arrow::csv::WriterBuilder::new().with_header(true);
            let mut writer = builder.build(&mut header);
            writer.write(&RecordBatch::new_empty(schema.clone()))?;
        }
        FileFormat::Avro => {
            AvroRows::create(encoding.compression, schema, &mut header)?.finish()?;
        }
        FileFormat::Json | FileFormat::Parquet | FileFormat::Delta => {}
    }
    Ok(header)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray};
    use arrow::compute::concat_batches;

    use super::*;

    fn rows(range: std::ops::Range<i64>) -> RecordBatch {
        let texts = StringArray::from_iter_values(range.clone().map(|n| format!("a \"{n}\"\n, b")));
        let columns: [(&str, ArrayRef); 2] = [
            ("a \"name\",\n", Arc::new(texts)),
            ("N", Arc::new(Int64Array::from_iter_values(range))),
        ];
        RecordBatch::try_from_iter(columns).unwrap()
    }

    fn avro_rows(range: std::ops::Range<i64>) -> RecordBatch {
        let numbers = Arc::new(Int64Array::from_iter_values(range)) as ArrayRef;
        RecordBatch::try_from_iter([("N", numbers)]).unwrap()
    }

    fn write(encoding: &FileEncoding, path: &Path, rows: &RecordBatch) {
        let mut writer = FileWriter::create(encoding, path, &rows.schema()).unwrap();
        writer.write(rows).unwrap();
        writer.finish().unwrap();
    }

    fn parquet(path: &Path) -> RecordBatch {
        let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
        // Row groups of the inputs do not stay.
        assert_eq!(reader.metadata().num_row_groups(), 1);
        let schema = reader.schema().clone();
        let batches: Vec<_> = reader.build().unwrap().map(Result::unwrap).collect();
        concat_batches(&schema, &batches).unwrap()
    }

    fn avro(path: &Path) -> RecordBatch {
        let file = BufReader::new(File::open(path).unwrap());
        let reader = arrow_avro::reader::ReaderBuilder::new()
            .build(file)
            .unwrap();
        let schema = reader.schema();
        let batches: Vec<_> = reader.map(Result::unwrap).collect();
        concat_batches(&schema, &batches).unwrap()
    }

    fn text(path: &Path, compression: Compression) -> Vec<u8> {
        let bytes = std::fs::read(path).unwrap();
        let mut found = Vec::new();
        match compression {
            Compression::Gzip => {
                // One member, as readers like it that stop after the first.
                let mut gzip = flate2::read::GzDecoder::new(bytes.as_slice());
                gzip.read_to_end(&mut found).unwrap();
            }
            Compression::Zstd => found = zstd::decode_all(bytes.as_slice()).unwrap(),
            Compression::None | Compression::Snappy => found = bytes,
        }
        found
    }

    #[test]
    fn merged_files_have_all_rows_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let formats = FileFormat::ALL.into_iter().map(|(_, format)| format);
        for format in formats.filter(|format| *format != FileFormat::Delta) {
            for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
                let make = match format {
                    FileFormat::Avro => avro_rows,
                    _ => rows,
                };
                let mut encoding = FileEncoding::of(format);
                encoding.compression = compression;
                let schema = make(0..0).schema();
                let mut merger = FileMerger::create(&encoding, &at("merged"), &schema).unwrap();
                for range in [0..10, 10..11, 11..5_000] {
                    write(&encoding, &at("input"), &make(range));
                    merger.append(&at("input"), "input").unwrap();
                }
                let bytes = merger.finish().unwrap();
                assert_eq!(bytes, at("merged").metadata().unwrap().len());
                let all = make(0..5_000);
                match format {
                    FileFormat::Parquet => assert_eq!(parquet(&at("merged")), all),
                    FileFormat::Delta => panic!("it was left out"),
                    FileFormat::Avro => {
                        assert_eq!(avro(&at("merged")).columns(), all.columns());
                    }
                    FileFormat::Json | FileFormat::Csv => {
                        write(&encoding, &at("whole"), &all);
                        let (merged, whole) = (
                            text(&at("merged"), compression),
                            text(&at("whole"), compression),
                        );
                        assert!(merged == whole, "{format:?} {compression:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn other_columns_are_not_merged() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for format in [FileFormat::Parquet, FileFormat::Csv, FileFormat::Avro] {
            let encoding = FileEncoding::of(format);
            write(&encoding, &at("input"), &avro_rows(0..3));
            let renamed = arrow::datatypes::Schema::new(vec![arrow::datatypes::Field::new(
                "OTHER",
                arrow::datatypes::DataType::Int64,
                false,
            )]);
            let mut merger =
                FileMerger::create(&encoding, &at("merged"), &Arc::new(renamed)).unwrap();
            let refused = merger
                .append(&at("input"), "the-input")
                .unwrap_err()
                .to_string();
            assert!(refused.contains("the-input has other columns"), "{refused}");
        }
    }
}
