//! An epoch's rows as JSON lines, cut into chunks, each with an offset token.
//!
//! Where it is cut depends on the rows alone, so every try to send an epoch, by this process or the
//! next, cuts the same chunks: what Snowflake has is known by a chunk's token. How many chunks go
//! into one request does not matter for that.

use std::fmt;
use std::io::Write;
use std::str::FromStr;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StructArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Float32Type, Float64Type, Schema};
use arrow::error::ArrowError;
use arrow::json::writer::{Encoder, EncoderFactory, EncoderOptions, NullableEncoder, make_encoder};

use super::EpochRows;
use crate::{Error, Result};

/// Bytes of JSON lines in a chunk, and in a request, unless one row alone is longer. Snowflake takes
/// 4 MB in a request.
pub(super) const CHUNK_BYTES: usize = 4_000_000;
/// Fast: what is sent is limited by Snowflake, not by the network.
const LEVEL: i32 = 1;

/// A chunk's place in the history of a sink, and its offset token: `epoch:chunk`, padded with zeros
/// so that texts sort as the numbers do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Token {
    pub(super) epoch: u64,
    pub(super) chunk: u32,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:020}:{:010}", self.epoch, self.chunk)
    }
}

impl FromStr for Token {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (epoch, chunk) = text.split_once(':').ok_or(())?;
        let token = Self {
            epoch: epoch.parse().map_err(|_| ())?,
            chunk: chunk.parse().map_err(|_| ())?,
        };
        // Nothing but what we write: another's token may look like a number, too.
        match token.to_string() == text {
            true => Ok(token),
            false => Err(()),
        }
    }
}

/// Rows that are sent together.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) token: Token,
    pub(super) rows: u64,
    /// Length of its lines.
    pub(super) bytes: usize,
    /// Its lines, compressed.
    body: Vec<u8>,
}

impl Chunk {
    fn new(token: Token, rows: u64, lines: &[u8]) -> Result<Self> {
        Ok(Self {
            token,
            rows,
            bytes: lines.len(),
            body: compressed(lines)?,
        })
    }

    /// Which of so many channels it goes through.
    pub(super) fn channel(&self, channels: usize) -> usize {
        let turn = self.token.epoch.wrapping_add(u64::from(self.token.chunk));
        usize::try_from(turn % channels as u64).unwrap_or(0)
    }

    /// Its rows, a line of JSON each.
    pub(super) fn lines(&self) -> Result<Vec<u8>> {
        zstd::decode_all(self.body.as_slice())
            .map_err(|error| Error::Internal(format!("a chunk cannot be read: {error}")))
    }
}

/// The body of a request with some chunks: one Zstandard frame.
pub(super) fn body(chunks: &[&Chunk]) -> Result<Vec<u8>> {
    if let [only] = chunks {
        return Ok(only.body.clone());
    }
    let mut lines = Vec::new();
    for chunk in chunks {
        lines.extend(chunk.lines()?);
    }
    compressed(&lines)
}

fn compressed(lines: &[u8]) -> Result<Vec<u8>> {
    let encode = || {
        let mut encoder = zstd::Encoder::new(Vec::new(), LEVEL)?;
        encoder.write_all(lines)?;
        encoder.finish()
    };
    encode().map_err(|error: std::io::Error| Error::Internal(format!("no compression: {error}")))
}

/// Cuts epochs into chunks; `names` are those of the columns in the table.
pub(super) fn cut(epochs: &[EpochRows], names: &[String]) -> Result<Vec<Chunk>> {
    let options = options();
    let mut chunks = Vec::new();
    for EpochRows { epoch, rows } in epochs {
        let mut cutter = Cutter {
            next: Token {
                epoch: *epoch,
                chunk: 0,
            },
            lines: Vec::new(),
            rows: 0,
            chunks: &mut chunks,
        };
        for batch in rows {
            let (field, array) = prepared(batch, names)?;
            let mut encoder = make_encoder(&field, &array, &options).map_err(not_json)?;
            for row in 0..batch.num_rows() {
                cutter.push(row, &mut encoder)?;
            }
        }
        cutter.seal(0)?;
    }
    Ok(chunks)
}

/// Whether the columns can be written as JSON at all.
pub(super) fn check(schema: &Arc<Schema>) -> Result<()> {
    let names: Vec<String> = schema.fields().iter().map(|f| f.name().clone()).collect();
    let (field, array) = prepared(&RecordBatch::new_empty(Arc::clone(schema)), &names)?;
    make_encoder(&field, &array, &options()).map_err(not_json)?;
    Ok(())
}

/// Collects lines until a chunk is full.
struct Cutter<'a> {
    next: Token,
    lines: Vec<u8>,
    rows: u64,
    chunks: &'a mut Vec<Chunk>,
}

impl Cutter<'_> {
    fn push(&mut self, row: usize, encoder: &mut NullableEncoder<'_>) -> Result<()> {
        let start = self.lines.len();
        encoder.encode(row, &mut self.lines);
        self.lines.push(b'\n');
        if self.rows > 0 && self.lines.len() > CHUNK_BYTES {
            self.seal(self.lines.len() - start)?;
        }
        self.rows += 1;
        Ok(())
    }

    /// Makes a chunk of the lines but for the last `left` bytes.
    fn seal(&mut self, left: usize) -> Result<()> {
        if self.rows == 0 {
            return Ok(());
        }
        let rest = self.lines.split_off(self.lines.len() - left);
        let chunk = Chunk::new(self.next, self.rows, &self.lines)?;
        self.chunks.push(chunk);
        self.next.chunk += 1;
        self.lines = rest;
        self.rows = 0;
        Ok(())
    }
}

fn not_json(error: ArrowError) -> Error {
    Error::User(format!(
        "the rows cannot be streamed to Snowflake as JSON: {error}: cast the column in the query"
    ))
}

/// Columns without a value are left out: Snowflake makes them NULL.
fn options() -> EncoderOptions {
    EncoderOptions::default().with_encoder_factory(Arc::new(Floats))
}

/// A batch as what the encoder takes, under the table's names. Decimals are text: as numbers of JSON
/// long ones would be read as floats.
fn prepared(batch: &RecordBatch, names: &[String]) -> Result<(FieldRef, StructArray)> {
    let mut fields = Vec::with_capacity(names.len());
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(names.len());
    for (column, name) in batch.columns().iter().zip(names) {
        let column = match column.data_type().is_decimal() {
            true => cast(column, &DataType::Utf8).map_err(not_json)?,
            false => Arc::clone(column),
        };
        fields.push(Field::new(name, column.data_type().clone(), true));
        columns.push(column);
    }
    let fields = Fields::from(fields);
    let array = StructArray::try_new_with_length(fields.clone(), columns, None, batch.num_rows());
    let array = array.map_err(not_json)?;
    Ok((Arc::new(Field::new_struct("", fields, false)), array))
}

/// Writes what JSON has no number for as Snowflake's words for it, instead of null.
#[derive(Debug)]
struct Floats;

impl EncoderFactory for Floats {
    fn make_default_encoder<'a>(
        &self,
        _field: &'a FieldRef,
        array: &'a dyn Array,
        _options: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        let encoder: Box<dyn Encoder + 'a> = match array.data_type() {
            DataType::Float64 => {
                let values = array.as_primitive::<Float64Type>().values();
                match values.iter().all(|value| value.is_finite()) {
                    true => return Ok(None),
                    false => Box::new(FloatEncoder(values.to_vec())),
                }
            }
            DataType::Float32 => {
                let values = array.as_primitive::<Float32Type>().values();
                match values.iter().all(|value| value.is_finite()) {
                    true => return Ok(None),
                    false => Box::new(FloatEncoder(
                        values.iter().copied().map(f64::from).collect(),
                    )),
                }
            }
            _ => return Ok(None),
        };
        Ok(Some(NullableEncoder::new(encoder, array.nulls().cloned())))
    }
}

struct FloatEncoder(Vec<f64>);

impl Encoder for FloatEncoder {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        let value = self.0[row];
        let text = match value {
            value if value.is_nan() => "\"NaN\"".to_owned(),
            f64::INFINITY => "\"inf\"".to_owned(),
            f64::NEG_INFINITY => "\"-inf\"".to_owned(),
            // With the exponent of large ones, not all their zeros.
            value => format!("{value:?}"),
        };
        out.extend_from_slice(text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array,
        ListArray, MapBuilder, StringArray, StringBuilder, Time32MillisecondArray,
        TimestampMillisecondArray,
    };
    use arrow::datatypes::Int32Type;
    use proptest::prelude::*;

    use super::*;

    fn texts(values: &[String]) -> RecordBatch {
        let schema = Schema::new(vec![Field::new("A", DataType::Utf8, true)]);
        let column: ArrayRef = Arc::new(StringArray::from_iter_values(values));
        RecordBatch::try_new(Arc::new(schema), vec![column]).unwrap()
    }

    fn names(batch: &RecordBatch) -> Vec<String> {
        let schema = batch.schema();
        schema.fields().iter().map(|f| f.name().clone()).collect()
    }

    fn lines_of(chunks: &[Chunk]) -> String {
        let lines = chunks.iter().map(|chunk| chunk.lines().unwrap());
        String::from_utf8(lines.flatten().collect()).unwrap()
    }

    #[test]
    fn tokens_sort_as_their_texts() {
        let token = |epoch, chunk| Token { epoch, chunk };
        let sorted = [
            token(1, 9),
            token(1, 10),
            token(2, 0),
            token(10, 0),
            token(u64::MAX, 1),
        ];
        let texts = sorted.map(|token| token.to_string());
        assert!(texts.is_sorted() && sorted.is_sorted());
        assert_eq!(texts[0], "00000000000000000001:0000000009");
        assert_eq!(texts.map(|text| text.parse::<Token>().unwrap()), sorted);
        for foreign in ["", "1:9", "7", "00000000000000000001:000000000x"] {
            assert!(foreign.parse::<Token>().is_err(), "{foreign}");
        }
    }

    #[test]
    fn every_type_is_written_as_snowflake_reads_it() {
        let mut map = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
        map.keys().append_value("k");
        map.values().append_value("v");
        map.append(true).unwrap();
        let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some([Some(1), None])]);
        let text: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
        let part = Arc::new(Field::new("f", DataType::Utf8, true));
        let big = 12_345_678_901_234_567_890_123_456_789_012_345_678_i128;
        let decimal = Decimal128Array::from(vec![big])
            .with_precision_and_scale(38, 2)
            .unwrap();
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("b", Arc::new(BooleanArray::from(vec![true]))),
            ("i", Arc::new(Int64Array::from(vec![i64::MIN]))),
            ("d", Arc::new(decimal)),
            ("s", Arc::new(StringArray::from(vec!["a\n\"\\\u{1}é"]))),
            ("bin", Arc::new(BinaryArray::from(vec![&[1_u8, 255][..]]))),
            ("day", Arc::new(Date32Array::from(vec![19_000]))),
            (
                "tod",
                Arc::new(Time32MillisecondArray::from(vec![3_723_004])),
            ),
            (
                "ts",
                Arc::new(TimestampMillisecondArray::from(vec![1_700_000_000_123])),
            ),
            ("l", Arc::new(list)),
            ("m", Arc::new(map.finish())),
            ("r", Arc::new(StructArray::from(vec![(part, text)]))),
            ("none", Arc::new(Int64Array::new_null(1))),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        check(&batch.schema()).unwrap();
        let epoch = EpochRows {
            epoch: 1,
            rows: vec![batch.clone()],
        };
        assert_eq!(
            lines_of(&cut(&[epoch], &names(&batch)).unwrap()),
            "{\"b\":true,\"i\":-9223372036854775808,\"d\":\"123456789012345678901234567890123456.78\",\
             \"s\":\"a\\n\\\"\\\\\\u0001é\",\"bin\":\"01ff\",\"day\":\"2022-01-08\",\
             \"tod\":\"01:02:03.004\",\"ts\":\"2023-11-14T22:13:20.123\",\"l\":[1,null],\
             \"m\":{\"k\":\"v\"},\"r\":{\"f\":\"x\"}}\n"
        );
    }

    #[test]
    fn floats_without_a_number_are_words() {
        let values = vec![1.5, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300];
        let column: ArrayRef = Arc::new(Float64Array::from(values));
        let batch = RecordBatch::try_from_iter([("F", column)]).unwrap();
        let epoch = EpochRows {
            epoch: 1,
            rows: vec![batch],
        };
        assert_eq!(
            lines_of(&cut(&[epoch], &["F".into()]).unwrap()),
            "{\"F\":1.5}\n{\"F\":\"NaN\"}\n{\"F\":\"inf\"}\n{\"F\":\"-inf\"}\n{\"F\":1e300}\n"
        );
    }

    #[test]
    fn a_row_too_long_for_a_chunk_is_one() {
        let values = ["a".into(), "b".repeat(CHUNK_BYTES), "c".into(), "d".into()];
        let epoch = EpochRows {
            epoch: 3,
            rows: vec![texts(&values)],
        };
        let chunks = cut(&[epoch], &["A".into()]).unwrap();
        let rows: Vec<_> = chunks.iter().map(|chunk| chunk.rows).collect();
        assert_eq!(rows, [1, 1, 2]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn batches_do_not_matter_for_the_cut(
            lengths in prop::collection::vec(1_usize..900_000, 1..20),
            at in any::<prop::sample::Index>(),
        ) {
            let values: Vec<_> = lengths.iter().map(|length| "x".repeat(*length)).collect();
            let whole = texts(&values);
            let at = at.index(values.len());
            let parts = vec![whole.slice(0, at), whole.slice(at, values.len() - at)];
            let names = ["A".to_owned()];
            let other = EpochRows { epoch: 1, rows: vec![texts(&["y".into()])] };
            let one = cut(&[EpochRows { epoch: 2, rows: vec![whole] }], &names).unwrap();
            let two = cut(&[other, EpochRows { epoch: 2, rows: parts }], &names).unwrap();
            let shape = |chunks: &[Chunk]| -> Vec<_> {
                chunks.iter().map(|c| (c.token, c.rows, c.bytes)).collect()
            };
            prop_assert_eq!(shape(&one), shape(&two[1..]));
            prop_assert!(one.iter().all(|chunk| chunk.bytes <= CHUNK_BYTES));
            prop_assert_eq!(one.iter().map(|c| c.rows).sum::<u64>(), values.len() as u64);
            let all: Vec<_> = one.iter().collect();
            prop_assert_eq!(zstd::decode_all(&body(&all).unwrap()[..]).unwrap(), lines_of(&one).into_bytes());
        }
    }
}
