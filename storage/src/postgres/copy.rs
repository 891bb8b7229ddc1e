//! Rows in the binary format of `COPY`, from Arrow's columns.
//!
//! `PGCOPY\n\xff\r\n\0 [flags: i32][extension: i32]`, then for each row
//! `[columns: i16]` and for each column `[bytes: i32, -1 for NULL][value]`, then `-1: i16`.
//! Numbers are big-endian; days and microseconds count from 2000-01-01.

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, OffsetSizeTrait, PrimitiveArray,
    RecordBatch,
};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type,
    Int16Type, Int32Type, Schema, Time32MillisecondType, Time32SecondType, Time64MicrosecondType,
    Time64NanosecondType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType,
};
use arrow::json::writer::{EncoderOptions, NullableEncoder};
use bytes::{BufMut, Bytes, BytesMut};

use super::column::Form;
use super::{json, numeric};
use crate::{Error, Result};

const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const NULL: i32 = -1;
const END: i16 = -1;
/// A piece of this size is handed to the connection.
const PIECE_BYTES: usize = 256 << 10;
/// Days from 1970 to 2000.
const EPOCH_DAYS: i32 = 10_957;
const EPOCH_MICROS: i64 = 10_957 * 86_400_000_000;
/// The dates that Postgres has: from 4714 BC, and the first it has not. It takes the very least and
/// greatest number for infinity.
const DAYS: std::ops::Range<i32> = -2_451_545..2_145_031_949;
const MICROS: std::ops::Range<i64> = -211_813_488_000_000_000..9_223_371_331_200_000_000;

/// Encodes batches into pieces for the connection.
pub(super) struct Encoder<'a> {
    schema: &'a Schema,
    buffer: BytesMut,
    /// Of JSON's encoder, which writes into a `Vec`.
    scratch: Vec<u8>,
    rows: u64,
}

/// A batch that is being encoded.
pub(super) struct Cursor<'a> {
    cells: Vec<Cells<'a>>,
    next: usize,
    rows: usize,
}

/// A column, with what is to be done to its values decided.
enum Cells<'a> {
    Utf8(&'a arrow::array::StringArray, Form),
    LargeUtf8(&'a arrow::array::LargeStringArray, Form),
    Utf8View(&'a arrow::array::StringViewArray, Form),
    Bool(&'a BooleanArray),
    Int8(&'a PrimitiveArray<Int8Type>, Form),
    Int16(&'a PrimitiveArray<Int16Type>, Form),
    Int32(&'a PrimitiveArray<Int32Type>, Form),
    Int64(&'a Int64Array, Form),
    Float32(&'a PrimitiveArray<Float32Type>, Form),
    Float64(&'a PrimitiveArray<Float64Type>),
    Decimal(&'a PrimitiveArray<Decimal128Type>, i8),
    Date(&'a PrimitiveArray<Date32Type>),
    TimeSecond(&'a PrimitiveArray<Time32SecondType>),
    TimeMillisecond(&'a PrimitiveArray<Time32MillisecondType>),
    TimeMicrosecond(&'a PrimitiveArray<Time64MicrosecondType>),
    TimeNanosecond(&'a PrimitiveArray<Time64NanosecondType>),
    Millisecond(&'a PrimitiveArray<TimestampMillisecondType>),
    Microsecond(&'a PrimitiveArray<TimestampMicrosecondType>),
    Nanosecond(&'a PrimitiveArray<TimestampNanosecondType>),
    Binary(&'a arrow::array::BinaryArray),
    LargeBinary(&'a arrow::array::LargeBinaryArray),
    BinaryView(&'a arrow::array::BinaryViewArray),
    FixedBinary(&'a arrow::array::FixedSizeBinaryArray),
    Json(NullableEncoder<'a>, Form),
}

/// Why a value cannot be written.
struct Unfit(&'static str);

const ZERO: Unfit = Unfit(
    "text with a zero character, which Postgres cannot store; take it out in the query, as with \
     REPLACE",
);
const OUT_OF_RANGE: Unfit = Unfit("a date before 4714 BC or after what Postgres can store");
const TOO_LONG: Unfit = Unfit("a value of more than 2 GiB");

impl<'a> Encoder<'a> {
    /// For columns of that schema.
    pub(super) fn new(schema: &'a Schema) -> Self {
        let mut buffer = BytesMut::with_capacity(PIECE_BYTES + (PIECE_BYTES >> 2));
        buffer.put_slice(HEADER);
        Self {
            schema,
            buffer,
            scratch: Vec::new(),
            rows: 0,
        }
    }

    /// Rows encoded until now.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// The next piece of the batch, at most a row larger than a piece; none when it is used up.
    pub(super) fn next_piece(&mut self, cursor: &mut Cursor<'_>) -> Result<Option<Bytes>> {
        while cursor.next < cursor.rows {
            if self.buffer.len() >= PIECE_BYTES {
                return Ok(Some(self.take()));
            }
            let row = cursor.next;
            self.buffer.put_i16(cursor.cells.len() as i16);
            for (index, cells) in cursor.cells.iter_mut().enumerate() {
                if let Err(Unfit(why)) = cells.put(row, &mut self.buffer, &mut self.scratch) {
                    return Err(self.unfit(index, why));
                }
            }
            cursor.next += 1;
            self.rows += 1;
        }
        Ok(None)
    }

    /// The last piece.
    pub(super) fn finish(&mut self) -> Bytes {
        self.buffer.put_i16(END);
        self.take()
    }

    fn take(&mut self) -> Bytes {
        let piece = self.buffer.split().freeze();
        self.buffer.reserve(PIECE_BYTES + (PIECE_BYTES >> 2));
        piece
    }

    fn unfit(&self, column: usize, why: &str) -> Error {
        let name = self.schema.field(column).name();
        Error::external(
            format!("row {} of the unit, column {name}", self.rows + 1),
            why,
        )
    }
}

impl<'a> Cursor<'a> {
    /// At the first row of a batch of that schema; `forms` says how each column is written.
    pub(super) fn new(
        batch: &'a RecordBatch,
        forms: &[Form],
        schema: &'a Schema,
        json: &'a EncoderOptions,
    ) -> Result<Self> {
        let types = || batch.columns().iter().map(Array::data_type);
        let expected = || schema.fields().iter().map(|field| field.data_type());
        if !types().eq(expected()) {
            return Err(Error::Internal(format!(
                "a batch for Postgres has columns {:?}, and not {:?}",
                types().collect::<Vec<_>>(),
                expected().collect::<Vec<_>>(),
            )));
        }
        let columns = batch.columns().iter().zip(schema.fields()).zip(forms);
        let cells = columns.map(|((array, field), form)| match form {
            Form::Json | Form::Jsonb => json::encoder(field, array, json)
                .map(|encoder| Cells::Json(encoder, *form))
                .map_err(|error| {
                    Error::User(format!(
                        "column {} cannot become JSON: {error}",
                        field.name()
                    ))
                }),
            _ => Cells::of(array, *form).ok_or_else(|| {
                Error::Internal(format!(
                    "column {}: {} as {form:?}",
                    field.name(),
                    array.data_type()
                ))
            }),
        });
        Ok(Self {
            cells: cells.collect::<Result<_>>()?,
            next: 0,
            rows: batch.num_rows(),
        })
    }
}

impl<'a> Cells<'a> {
    fn of(array: &'a ArrayRef, form: Form) -> Option<Self> {
        Some(match array.data_type() {
            DataType::Utf8 => Self::Utf8(array.as_string(), form),
            DataType::LargeUtf8 => Self::LargeUtf8(array.as_string(), form),
            DataType::Utf8View => Self::Utf8View(array.as_string_view(), form),
            DataType::Boolean => Self::Bool(array.as_boolean()),
            DataType::Int8 => Self::Int8(array.as_primitive(), form),
            DataType::Int16 => Self::Int16(array.as_primitive(), form),
            DataType::Int32 => Self::Int32(array.as_primitive(), form),
            DataType::Int64 => Self::Int64(array.as_primitive(), form),
            DataType::Float32 => Self::Float32(array.as_primitive(), form),
            DataType::Float64 => Self::Float64(array.as_primitive()),
            DataType::Decimal128(_, scale) => Self::Decimal(array.as_primitive(), *scale),
            DataType::Date32 => Self::Date(array.as_primitive()),
            DataType::Time32(TimeUnit::Second) => Self::TimeSecond(array.as_primitive()),
            DataType::Time32(_) => Self::TimeMillisecond(array.as_primitive()),
            DataType::Time64(TimeUnit::Microsecond) => Self::TimeMicrosecond(array.as_primitive()),
            DataType::Time64(_) => Self::TimeNanosecond(array.as_primitive()),
            DataType::Timestamp(TimeUnit::Millisecond, _) => {
                Self::Millisecond(array.as_primitive())
            }
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                Self::Microsecond(array.as_primitive())
            }
            DataType::Timestamp(TimeUnit::Nanosecond, _) => Self::Nanosecond(array.as_primitive()),
            DataType::Binary => Self::Binary(array.as_binary()),
            DataType::LargeBinary => Self::LargeBinary(array.as_binary()),
            DataType::BinaryView => Self::BinaryView(array.as_binary_view()),
            DataType::FixedSizeBinary(_) => Self::FixedBinary(array.as_fixed_size_binary()),
            _ => return None,
        })
    }

    /// Appends the value of a row.
    fn put(&mut self, row: usize, to: &mut BytesMut, scratch: &mut Vec<u8>) -> Result<(), Unfit> {
        match self {
            Self::Utf8(array, form) => put_text(utf8(*array, row), *form, to),
            Self::LargeUtf8(array, form) => put_text(utf8(*array, row), *form, to),
            Self::Utf8View(array, form) => {
                put_text(array.is_valid(row).then(|| array.value(row)), *form, to)
            }
            Self::Bool(array) => {
                match array.is_valid(row) {
                    true => to.put_slice(&[0, 0, 0, 1, u8::from(array.value(row))]),
                    false => to.put_i32(NULL),
                }
                Ok(())
            }
            Self::Int8(array, form) => put_int(value(array, row).map(i64::from), *form, to),
            Self::Int16(array, form) => put_int(value(array, row).map(i64::from), *form, to),
            Self::Int32(array, form) => put_int(value(array, row).map(i64::from), *form, to),
            Self::Int64(array, form) => put_int(value(array, row), *form, to),
            Self::Float32(array, Form::Float4) => {
                put_fixed(value(array, row).map(f32::to_be_bytes), to)
            }
            Self::Float32(array, _) => {
                put_fixed(value(array, row).map(|v| f64::from(v).to_be_bytes()), to)
            }
            Self::Float64(array) => put_fixed(value(array, row).map(f64::to_be_bytes), to),
            Self::Decimal(array, scale) => {
                match value(array, row) {
                    Some(value) => numeric::put(to, value, *scale),
                    None => to.put_i32(NULL),
                }
                Ok(())
            }
            Self::Date(array) => {
                let days = value(array, row).map(|days| {
                    let days = days
                        .checked_sub(EPOCH_DAYS)
                        .filter(|days| DAYS.contains(days));
                    days.map(i32::to_be_bytes).ok_or(OUT_OF_RANGE)
                });
                put_fixed(days.transpose()?, to)
            }
            Self::TimeSecond(array) => {
                let micros = value(array, row).map(|v| i64::from(v) * 1_000_000);
                put_fixed(micros.map(i64::to_be_bytes), to)
            }
            Self::TimeMillisecond(array) => {
                let micros = value(array, row).map(|v| i64::from(v) * 1000);
                put_fixed(micros.map(i64::to_be_bytes), to)
            }
            Self::TimeMicrosecond(array) => put_fixed(value(array, row).map(i64::to_be_bytes), to),
            Self::TimeNanosecond(array) => put_fixed(
                value(array, row).map(|v| v.div_euclid(1000).to_be_bytes()),
                to,
            ),
            Self::Millisecond(array) => {
                put_timestamp(value(array, row).map(|v| v.checked_mul(1000)), to)
            }
            Self::Microsecond(array) => put_timestamp(value(array, row).map(Some), to),
            // Postgres has no nanoseconds: they are cut off, towards the past.
            Self::Nanosecond(array) => {
                put_timestamp(value(array, row).map(|v| Some(v.div_euclid(1000))), to)
            }
            Self::Binary(array) => put_bytes(array.is_valid(row).then(|| array.value(row)), to),
            Self::LargeBinary(array) => {
                put_bytes(array.is_valid(row).then(|| array.value(row)), to)
            }
            Self::BinaryView(array) => put_bytes(array.is_valid(row).then(|| array.value(row)), to),
            Self::FixedBinary(array) => {
                put_bytes(array.is_valid(row).then(|| array.value(row)), to)
            }
            Self::Json(encoder, form) => {
                if encoder.is_null(row) {
                    to.put_i32(NULL);
                    return Ok(());
                }
                scratch.clear();
                if *form == Form::Jsonb {
                    scratch.push(JSONB_VERSION);
                }
                encoder.encode(row, scratch);
                if json::has_zero(scratch) {
                    return Err(ZERO);
                }
                put_bytes(Some(scratch), to)
            }
        }
    }
}

const JSONB_VERSION: u8 = 1;

fn value<T: ArrowPrimitiveType>(array: &PrimitiveArray<T>, row: usize) -> Option<T::Native> {
    array.is_valid(row).then(|| array.value(row))
}

fn utf8<O: OffsetSizeTrait>(
    array: &arrow::array::GenericStringArray<O>,
    row: usize,
) -> Option<&str> {
    array.is_valid(row).then(|| array.value(row))
}

fn put_fixed<const N: usize>(value: Option<[u8; N]>, to: &mut BytesMut) -> Result<(), Unfit> {
    match value {
        Some(bytes) => {
            to.put_i32(N as i32);
            to.put_slice(&bytes);
        }
        None => to.put_i32(NULL),
    }
    Ok(())
}

/// The form was chosen so that the value fits.
fn put_int(value: Option<i64>, form: Form, to: &mut BytesMut) -> Result<(), Unfit> {
    match (value, form) {
        (Some(value), Form::IntAsNumeric) => {
            numeric::put(to, i128::from(value), 0);
            Ok(())
        }
        (value, Form::Int2) => put_fixed(value.map(|v| (v as i16).to_be_bytes()), to),
        (value, Form::Int4) => put_fixed(value.map(|v| (v as i32).to_be_bytes()), to),
        (value, _) => put_fixed(value.map(i64::to_be_bytes), to),
    }
}

fn put_timestamp(micros: Option<Option<i64>>, to: &mut BytesMut) -> Result<(), Unfit> {
    let micros = micros.map(|micros| {
        let micros = micros.and_then(|micros| micros.checked_sub(EPOCH_MICROS));
        let micros = micros.filter(|micros| MICROS.contains(micros));
        micros.map(i64::to_be_bytes).ok_or(OUT_OF_RANGE)
    });
    put_fixed(micros.transpose()?, to)
}

fn put_text(text: Option<&str>, form: Form, to: &mut BytesMut) -> Result<(), Unfit> {
    let Some(text) = text else {
        to.put_i32(NULL);
        return Ok(());
    };
    if memchr::memchr(0, text.as_bytes()).is_some() {
        return Err(ZERO);
    }
    if form != Form::TextAsJsonb {
        return put_bytes(Some(text.as_bytes()), to);
    }
    if json::has_zero(text.as_bytes()) {
        return Err(ZERO);
    }
    to.put_i32(i32::try_from(text.len() + 1).map_err(|_| TOO_LONG)?);
    to.put_u8(JSONB_VERSION);
    to.put_slice(text.as_bytes());
    Ok(())
}

fn put_bytes(bytes: Option<&[u8]>, to: &mut BytesMut) -> Result<(), Unfit> {
    match bytes {
        Some(bytes) => {
            to.put_i32(i32::try_from(bytes.len()).map_err(|_| TOO_LONG)?);
            to.put_slice(bytes);
        }
        None => to.put_i32(NULL),
    }
    Ok(())
}
