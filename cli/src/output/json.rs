//! One JSON object a line.
//!
//! arrow-json writes it, with NULLs spelled out and decimals exact. Ours are the types it writes
//! otherwise than the dialect: BYTES (base64), points in time (as in the table, so that those no
//! calendar has are no error text), and maps whose keys are no strings.

use std::io::{self, Write};
use std::sync::Arc;

use arrow::array::{Array, AsArray, MapArray};
use arrow::datatypes::{DataType, FieldRef};
use arrow::error::ArrowError;
use arrow::json::writer::{
    Encoder, EncoderFactory, EncoderOptions, LineDelimited, NullableEncoder, WriterBuilder,
    make_encoder,
};
use arrow::record_batch::RecordBatch;

use super::RowWriter;
use super::value::Values;

/// Prints rows as JSON lines.
pub(crate) struct Json<'a> {
    writer: arrow::json::Writer<&'a mut dyn Write, LineDelimited>,
}

impl<'a> Json<'a> {
    /// Lines into `out`.
    pub(crate) fn new(out: &'a mut dyn Write) -> Self {
        let writer = WriterBuilder::new()
            .with_explicit_nulls(true)
            .with_encoder_factory(Arc::new(Dialect))
            .build(out);
        Self { writer }
    }
}

impl RowWriter for Json<'_> {
    fn batch(&mut self, batch: &RecordBatch) -> io::Result<()> {
        self.writer.write(batch).map_err(io_error)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.get_mut().flush()
    }

    fn finish(&mut self) -> io::Result<()> {
        self.writer.finish().map_err(io_error)
    }
}

/// A closed pipe must stay one: it is no failure.
fn io_error(error: ArrowError) -> io::Error {
    match error {
        ArrowError::IoError(_, error) => error,
        other => io::Error::other(other),
    }
}

/// How the dialect writes what arrow writes otherwise.
#[derive(Debug)]
struct Dialect;

impl EncoderFactory for Dialect {
    fn make_default_encoder<'a>(
        &self,
        field: &'a FieldRef,
        array: &'a dyn Array,
        options: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        let encoder: Box<dyn Encoder + 'a> = match array.data_type() {
            DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_)
            | DataType::Timestamp(..)
            | DataType::Date32 => Box::new(Quoted(Values::try_new(array)?)),
            DataType::Map(..) if !keys_are_strings(array.as_map()) => {
                let map = array.as_map();
                let value = match field.data_type() {
                    DataType::Map(entries, _) => match entries.data_type() {
                        DataType::Struct(fields) => fields.get(1),
                        _ => None,
                    },
                    _ => None,
                };
                let Some(value) = value else { return Ok(None) };
                Box::new(Entries {
                    map,
                    keys: Values::try_new(map.keys())?,
                    values: make_encoder(value, map.values(), options)?,
                })
            }
            _ => return Ok(None),
        };
        Ok(Some(NullableEncoder::new(encoder, array.nulls().cloned())))
    }
}

fn keys_are_strings(map: &MapArray) -> bool {
    matches!(
        map.keys().data_type(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
    )
}

/// A value's text as a string. It needs no escapes: it is base64 or a time.
struct Quoted<'a>(Values<'a>);

impl Encoder for Quoted<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        out.push(b'"');
        out.extend_from_slice(self.0.text(row).unwrap_or_default().as_bytes());
        out.push(b'"');
    }
}

/// A map whose keys are numbers, times and the like, as an object.
struct Entries<'a> {
    map: &'a MapArray,
    keys: Values<'a>,
    values: NullableEncoder<'a>,
}

impl Encoder for Entries<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        let offsets = self.map.value_offsets();
        let range = offsets[row] as usize..offsets[row + 1] as usize;
        out.push(b'{');
        for entry in range.clone() {
            if entry > range.start {
                out.push(b',');
            }
            out.push(b'"');
            let key = self.keys.text(entry).unwrap_or_default();
            // The text of a nested key can hold anything.
            out.extend(key.bytes().flat_map(|byte| match byte {
                b'"' | b'\\' => vec![b'\\', byte],
                0..0x20 => format!("\\u{byte:04x}").into_bytes(),
                byte => vec![byte],
            }));
            out.extend_from_slice(b"\":");
            if self.values.is_null(entry) {
                out.extend_from_slice(b"null");
            } else {
                self.values.encode(entry, out);
            }
        }
        out.push(b'}');
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        ArrayRef, Decimal128Array, Float64Array, Int32Array, StringArray, StructArray,
        TimestampMillisecondArray,
    };
    use arrow::buffer::OffsetBuffer;
    use arrow::datatypes::Field;
    use expect_test::expect;

    use super::super::tests::{every_type, print};
    use super::super::{Format, Screen};
    use super::*;

    fn json(column: ArrayRef) -> String {
        let batch = RecordBatch::try_from_iter([("A", column)]).unwrap();
        print(Format::Json, Screen::default(), &[batch])
    }

    #[test]
    fn every_type_in_json() {
        expect![[r#"
            {"BOOL":true,"INT":-7,"BIGINT":9223372036854775807,"DOUBLE":0.1,"DECIMAL":1.2300,"STRING":"it's","BYTES":"AP9r","DATE":"2023-11-14","TIME":"01:02:03.004","TIMESTAMP":"2023-11-14T22:13:20.120","ARRAY":["a","b"],"MAP":{"a":1,"b":null},"STRUCT":{"F":true,"G":null}}
            {"BOOL":null,"INT":null,"BIGINT":null,"DOUBLE":null,"DECIMAL":null,"STRING":null,"BYTES":null,"DATE":null,"TIME":null,"TIMESTAMP":null,"ARRAY":null,"MAP":null,"STRUCT":null}
        "#]]
        .assert_eq(&print(Format::Json, Screen::default(), &[every_type()]));
    }

    #[test]
    fn decimals_are_exact_and_what_is_no_number_is_null() {
        let decimal = Decimal128Array::from(vec![12_345_678_901_234_567_890_123_456_i128])
            .with_precision_and_scale(38, 2)
            .unwrap();
        assert_eq!(
            json(Arc::new(decimal)),
            "{\"A\":123456789012345678901234.56}\n"
        );
        assert_eq!(
            json(Arc::new(Float64Array::from(vec![f64::NAN]))),
            "{\"A\":null}\n"
        );
    }

    #[test]
    fn texts_and_impossible_times_stay_json() {
        let text = StringArray::from(vec!["a\"\\\n\u{1b}é"]);
        assert_eq!(json(Arc::new(text)), "{\"A\":\"a\\\"\\\\\\n\\u001bé\"}\n");
        let time = TimestampMillisecondArray::from(vec![i64::MAX]);
        assert_eq!(json(Arc::new(time)), "{\"A\":\"9223372036854775807\"}\n");
    }

    #[test]
    fn keys_that_are_no_strings_become_strings() {
        let entries = StructArray::from(vec![
            (
                Arc::new(Field::new("key", DataType::Int32, false)),
                Arc::new(Int32Array::from(vec![1, 2])) as ArrayRef,
            ),
            (
                Arc::new(Field::new("value", DataType::Utf8, true)),
                Arc::new(StringArray::from(vec![Some("x"), None])) as ArrayRef,
            ),
        ]);
        let field = Arc::new(Field::new("entries", entries.data_type().clone(), false));
        let map = MapArray::new(
            field,
            OffsetBuffer::new(vec![0, 2].into()),
            entries,
            None,
            false,
        );
        assert_eq!(json(Arc::new(map)), "{\"A\":{\"1\":\"x\",\"2\":null}}\n");
    }
}
