//! Rows as text: aligned tables, JSON lines or CSV.
//!
//! Every format writes batch by batch and holds back a bounded number of rows at most, so a result
//! may be of any size. [`value`] turns single values into text, [`text`] measures, wraps and
//! escapes it; [`layout`] fits columns into a terminal.

mod csv;
mod json;
mod layout;
mod records;
mod table;
pub(crate) mod text;
mod value;

use std::io::{self, Write};

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use clap::ValueEnum;

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Aligned columns that fit the terminal
    #[default]
    #[value(alias = "tabular")]
    Table,
    /// One JSON object a line
    Json,
    /// Comma-separated values with a header (RFC 4180, lines end in LF)
    Csv,
}

impl Format {
    /// Its name, as `output` takes it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Json => "json",
            Self::Csv => "csv",
        }
    }
}

/// Where and how rows are shown.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Screen {
    /// Columns and rows of the terminal; `None` if it is none: nothing is cut or wrapped then.
    pub(crate) size: Option<(usize, usize)>,
    /// Whether escape sequences for colours are understood.
    pub(crate) color: bool,
    /// Whether rows come one by one, without an end: each is shown at once, on one line.
    pub(crate) live: bool,
}

/// Takes the rows of one result.
pub(crate) trait RowWriter {
    /// The next rows. They may be held back unless the screen is live.
    fn batch(&mut self, batch: &RecordBatch) -> io::Result<()>;

    /// Lets everything be seen that was written so far.
    fn flush(&mut self) -> io::Result<()>;

    /// There are no more rows. A header is printed even if there were none.
    fn finish(&mut self) -> io::Result<()>;
}

/// A writer for rows of that schema.
pub(crate) fn writer<'a>(
    format: Format,
    schema: SchemaRef,
    screen: Screen,
    out: &'a mut dyn Write,
) -> io::Result<Box<dyn RowWriter + 'a>> {
    Ok(match format {
        Format::Table => Box::new(table::Table::new(schema, screen, out)),
        Format::Json => Box::new(json::Json::new(out)),
        Format::Csv => Box::new(csv::Csv::new(&schema, out)?),
    })
}

#[cfg(test)]
pub(crate) mod tests {
    //! Batches for the tests of the formats.

    use std::sync::Arc;

    use arrow::array::*;
    use arrow::buffer::OffsetBuffer;
    use arrow::datatypes::*;

    use super::*;

    /// Two rows of every type of the dialect: values, then NULLs.
    pub(crate) fn every_type() -> RecordBatch {
        let strings = || Arc::new(StringArray::from(vec!["a", "b"])) as ArrayRef;
        let item = Arc::new(Field::new("item", DataType::Utf8, true));
        let list = ListArray::new(
            item,
            OffsetBuffer::new(vec![0, 2, 2].into()),
            strings(),
            Some(vec![true, false].into()),
        );
        let entries = StructArray::from(vec![
            (
                Arc::new(Field::new("key", DataType::Utf8, false)),
                strings(),
            ),
            (
                Arc::new(Field::new("value", DataType::Int32, true)),
                Arc::new(Int32Array::from(vec![Some(1), None])) as ArrayRef,
            ),
        ]);
        let map = MapArray::new(
            Arc::new(Field::new("entries", entries.data_type().clone(), false)),
            OffsetBuffer::new(vec![0, 2, 2].into()),
            entries,
            Some(vec![true, false].into()),
            false,
        );
        let nested = StructArray::new(
            Fields::from(vec![
                Field::new("F", DataType::Boolean, true),
                Field::new("G", DataType::Utf8, true),
            ]),
            vec![
                Arc::new(BooleanArray::from(vec![Some(true), None])),
                Arc::new(StringArray::from(vec![None, Some("x")])),
            ],
            Some(vec![true, false].into()),
        );
        let decimal = Decimal128Array::from(vec![Some(12_300), None])
            .with_precision_and_scale(10, 4)
            .unwrap();
        RecordBatch::try_from_iter_with_nullable(
            [
                (
                    "BOOL",
                    Arc::new(BooleanArray::from(vec![Some(true), None])) as ArrayRef,
                ),
                ("INT", Arc::new(Int32Array::from(vec![Some(-7), None]))),
                (
                    "BIGINT",
                    Arc::new(Int64Array::from(vec![Some(i64::MAX), None])),
                ),
                (
                    "DOUBLE",
                    Arc::new(Float64Array::from(vec![Some(0.1), None])),
                ),
                ("DECIMAL", Arc::new(decimal)),
                (
                    "STRING",
                    Arc::new(StringArray::from(vec![Some("it's"), None])),
                ),
                (
                    "BYTES",
                    Arc::new(BinaryArray::from(vec![Some(b"\x00\xffk".as_slice()), None])),
                ),
                (
                    "DATE",
                    Arc::new(Date32Array::from(vec![Some(19_675), None])),
                ),
                (
                    "TIME",
                    Arc::new(Time32MillisecondArray::from(vec![Some(3_723_004), None])),
                ),
                (
                    "TIMESTAMP",
                    Arc::new(TimestampMillisecondArray::from(vec![
                        Some(1_700_000_000_120),
                        None,
                    ])),
                ),
                ("ARRAY", Arc::new(list)),
                ("MAP", Arc::new(map)),
                ("STRUCT", Arc::new(nested)),
            ]
            .map(|(name, array)| (name, array, true)),
        )
        .unwrap()
    }

    /// What a format prints for the batches.
    pub(crate) fn print(format: Format, screen: Screen, batches: &[RecordBatch]) -> String {
        let mut out = Vec::new();
        let mut writer = writer(format, batches[0].schema(), screen, &mut out).unwrap();
        for batch in batches {
            writer.batch(batch).unwrap();
        }
        writer.finish().unwrap();
        drop(writer);
        String::from_utf8(out).unwrap()
    }
}
