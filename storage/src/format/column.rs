//! Growing columns of scalar values. Unlike Arrow's builders they can be cut back to a row, which
//! is how decoders take back a record that turns out bad halfway.

mod strings;

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, BooleanArray, BooleanBufferBuilder, PrimitiveArray};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Decimal128Type, Decimal256Type, Float64Type,
    Int32Type, Int64Type, Time32MillisecondType, TimeUnit, TimestampMillisecondType,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::number::{self, Parts, Unscaled};
use crate::{Error, Result};

pub(super) use strings::{Copied, Strings, Viewed};

/// The value does not go with the column's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mismatch;

/// TIME is a time of day.
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// A column of one of SQL's scalar types.
#[derive(Debug)]
pub(super) enum Scalar {
    Boolean(Booleans),
    Integer(Numbers<Int32Type>),
    BigInt(Numbers<Int64Type>),
    Double(Numbers<Float64Type>),
    Decimal128(Decimals<Decimal128Type>),
    Decimal256(Decimals<Decimal256Type>),
    String(Copied),
    StringView(Viewed),
    Bytes(Bytes),
    Date(Numbers<Date32Type>),
    Time(Numbers<Time32MillisecondType>),
    Timestamp(Numbers<TimestampMillisecondType>),
}

/// The same expression for every kind of column.
macro_rules! each {
    ($scalar:expr, $column:ident => $body:expr) => {
        match $scalar {
            Scalar::Boolean($column) => $body,
            Scalar::Integer($column) => $body,
            Scalar::BigInt($column) => $body,
            Scalar::Double($column) => $body,
            Scalar::Decimal128($column) => $body,
            Scalar::Decimal256($column) => $body,
            Scalar::String($column) => $body,
            Scalar::StringView($column) => $body,
            Scalar::Bytes($column) => $body,
            Scalar::Date($column) => $body,
            Scalar::Time($column) => $body,
            Scalar::Timestamp($column) => $body,
        }
    };
}

impl Scalar {
    /// A column of that type, or `None` for the nested ones.
    pub(super) fn new(data_type: &DataType) -> Option<Self> {
        Some(match data_type {
            DataType::Boolean => Self::Boolean(Booleans::default()),
            DataType::Int32 => Self::Integer(Numbers::default()),
            DataType::Int64 => Self::BigInt(Numbers::default()),
            DataType::Float64 => Self::Double(Numbers::default()),
            &DataType::Decimal128(precision, scale) => Self::Decimal128(Decimals {
                precision,
                scale,
                numbers: Numbers::default(),
            }),
            &DataType::Decimal256(precision, scale) => Self::Decimal256(Decimals {
                precision,
                scale,
                numbers: Numbers::default(),
            }),
            DataType::Utf8 => Self::String(Copied::default()),
            DataType::Utf8View => Self::StringView(Viewed::default()),
            DataType::Binary => Self::Bytes(Bytes::default()),
            DataType::Date32 => Self::Date(Numbers::default()),
            DataType::Time32(TimeUnit::Millisecond) => Self::Time(Numbers::default()),
            DataType::Timestamp(TimeUnit::Millisecond, None) => Self::Timestamp(Numbers::default()),
            _ => return None,
        })
    }

    /// Number of rows.
    #[inline]
    pub(super) fn len(&self) -> usize {
        each!(self, column => column.len())
    }

    /// Makes room for so many more rows.
    pub(super) fn reserve(&mut self, rows: usize) {
        each!(self, column => column.reserve(rows));
    }

    /// Appends NULL.
    #[inline]
    pub(super) fn push_null(&mut self) {
        each!(self, column => column.push_null());
    }

    /// Forgets all rows from `len` on.
    pub(super) fn truncate(&mut self, len: usize) {
        each!(self, column => column.truncate(len));
    }

    /// Appends an integer to a column of integers of some kind.
    #[inline(always)]
    pub(super) fn push_integer(&mut self, value: i64) -> Result<(), Mismatch> {
        match self {
            Self::BigInt(column) => column.push(value),
            Self::Integer(column) => column.push(value.try_into().map_err(|_| Mismatch)?),
            Self::Date(column) => column.push(value.try_into().map_err(|_| Mismatch)?),
            // Fits: a day has fewer milliseconds than an i32 counts.
            Self::Time(column) if (0..DAY_MS).contains(&value) => column.push(value as i32),
            Self::Timestamp(column) => column.push(value),
            _ => return Err(Mismatch),
        }
        Ok(())
    }

    /// Appends what a text says: a field of a DELIMITED line, or a string in JSON that stands for
    /// a number or bytes. It is UTF-8, and stands at `at` in the batch's payloads.
    pub(super) fn push_text(&mut self, text: &[u8], at: usize) -> Result<(), Mismatch> {
        match self {
            Self::Boolean(column) => {
                if text.eq_ignore_ascii_case(b"true") {
                    column.push(true);
                } else if text.eq_ignore_ascii_case(b"false") {
                    column.push(false);
                } else {
                    return Err(Mismatch);
                }
            }
            Self::Integer(_)
            | Self::BigInt(_)
            | Self::Date(_)
            | Self::Time(_)
            | Self::Timestamp(_) => {
                return self.push_integer(number::long(text).ok_or(Mismatch)?);
            }
            Self::Double(column) => column.push(number::double(text).ok_or(Mismatch)?),
            Self::Decimal128(column) => column.push_text(text)?,
            Self::Decimal256(column) => column.push_text(text)?,
            Self::String(column) => column.push(text, at),
            Self::StringView(column) => column.push(text, at),
            Self::Bytes(column) => column.push_base64(text)?,
        }
        Ok(())
    }

    /// The rows as an array of `data_type`, the type the column was made for; the column is empty
    /// afterwards. `source` holds the payloads of the batch.
    pub(super) fn finish(&mut self, data_type: &DataType, source: &Buffer) -> Result<ArrayRef> {
        Ok(match self {
            Self::Boolean(column) => Arc::new(column.finish()),
            Self::Integer(column) => Arc::new(column.finish()),
            Self::BigInt(column) => Arc::new(column.finish()),
            Self::Double(column) => Arc::new(column.finish()),
            Self::Decimal128(column) => {
                Arc::new(column.numbers.finish().with_data_type(data_type.clone()))
            }
            Self::Decimal256(column) => {
                Arc::new(column.numbers.finish().with_data_type(data_type.clone()))
            }
            Self::String(column) => Arc::new(column.finish(source)?),
            Self::StringView(column) => Arc::new(column.finish(source)?),
            Self::Bytes(column) => Arc::new(column.finish()?),
            Self::Date(column) => Arc::new(column.finish()),
            Self::Time(column) => Arc::new(column.finish()),
            Self::Timestamp(column) => Arc::new(column.finish()),
        })
    }
}

/// Which rows are not NULL. Costs nothing until the first NULL.
#[derive(Debug, Default)]
pub(super) struct Validity(Option<BooleanBufferBuilder>);

impl Validity {
    /// One more row that is not NULL.
    #[inline(always)]
    pub(super) fn push_valid(&mut self) {
        if let Some(bits) = &mut self.0 {
            bits.append(true);
        }
    }

    /// One more row that is NULL, after `len` rows.
    pub(super) fn push_null(&mut self, len: usize) {
        let bits = self.0.get_or_insert_with(|| {
            let mut bits = BooleanBufferBuilder::new(len + 1);
            bits.append_n(len, true);
            bits
        });
        bits.append(false);
    }

    /// Forgets all rows from `len` on.
    pub(super) fn truncate(&mut self, len: usize) {
        if let Some(bits) = &mut self.0 {
            bits.truncate(len);
        }
    }

    /// Arrow's form of it; all is forgotten afterwards.
    pub(super) fn finish(&mut self) -> Option<NullBuffer> {
        let nulls = NullBuffer::new(self.0.take()?.finish());
        (nulls.null_count() > 0).then_some(nulls)
    }
}

/// A growing column of numbers.
#[derive(Debug)]
pub(super) struct Numbers<T: ArrowPrimitiveType> {
    values: Vec<T::Native>,
    validity: Validity,
}

impl<T: ArrowPrimitiveType> Default for Numbers<T> {
    fn default() -> Self {
        Self {
            values: Vec::new(),
            validity: Validity::default(),
        }
    }
}

impl<T: ArrowPrimitiveType> Numbers<T> {
    #[inline(always)]
    pub(super) fn push(&mut self, value: T::Native) {
        self.values.push(value);
        self.validity.push_valid();
    }

    fn push_null(&mut self) {
        self.validity.push_null(self.values.len());
        self.values.push(T::Native::default());
    }

    fn len(&self) -> usize {
        self.values.len()
    }

    fn reserve(&mut self, rows: usize) {
        self.values.reserve(rows);
    }

    fn truncate(&mut self, len: usize) {
        self.values.truncate(len);
        self.validity.truncate(len);
    }

    fn finish(&mut self) -> PrimitiveArray<T> {
        PrimitiveArray::new(
            std::mem::take(&mut self.values).into(),
            self.validity.finish(),
        )
    }
}

/// A growing column of decimals.
#[derive(Debug)]
pub(super) struct Decimals<T: ArrowPrimitiveType> {
    precision: u8,
    scale: i8,
    numbers: Numbers<T>,
}

impl<T: ArrowPrimitiveType<Native: Unscaled>> Decimals<T> {
    /// Appends the number that `text` says, if it fits without rounding.
    pub(super) fn push_text(&mut self, text: &[u8]) -> Result<(), Mismatch> {
        let parts = Parts::parse(text).ok_or(Mismatch)?;
        self.numbers
            .push(parts.unscaled(self.precision, self.scale).ok_or(Mismatch)?);
        Ok(())
    }
}

impl<T: ArrowPrimitiveType> Decimals<T> {
    fn push_null(&mut self) {
        self.numbers.push_null();
    }

    fn len(&self) -> usize {
        self.numbers.len()
    }

    fn reserve(&mut self, rows: usize) {
        self.numbers.reserve(rows);
    }

    fn truncate(&mut self, len: usize) {
        self.numbers.truncate(len);
    }
}

/// A growing column of booleans.
#[derive(Debug)]
pub(super) struct Booleans {
    values: BooleanBufferBuilder,
    validity: Validity,
}

impl Default for Booleans {
    fn default() -> Self {
        Self {
            values: BooleanBufferBuilder::new(0),
            validity: Validity::default(),
        }
    }
}

impl Booleans {
    pub(super) fn push(&mut self, value: bool) {
        self.values.append(value);
        self.validity.push_valid();
    }

    fn push_null(&mut self) {
        self.validity.push_null(self.values.len());
        self.values.append(false);
    }

    fn len(&self) -> usize {
        self.values.len()
    }

    fn reserve(&mut self, rows: usize) {
        self.values.reserve(rows);
    }

    fn truncate(&mut self, len: usize) {
        self.values.truncate(len);
        self.validity.truncate(len);
    }

    fn finish(&mut self) -> BooleanArray {
        BooleanArray::new(self.values.finish(), self.validity.finish())
    }
}

/// Where the variable-length values of a column end in their common buffer, as Arrow's offsets.
/// Positions from 2 GiB on do not fit, which `finish` finds by the length of the whole.
#[derive(Debug)]
pub(super) struct Ends(Vec<i32>);

impl Default for Ends {
    fn default() -> Self {
        Self(vec![0])
    }
}

impl Ends {
    #[inline(always)]
    pub(super) fn push(&mut self, end: usize) {
        self.0.push(end as i32);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len() - 1
    }

    pub(super) fn reserve(&mut self, rows: usize) {
        self.0.reserve(rows);
    }

    /// Forgets all rows from `len` on, and says where the values then end.
    pub(super) fn truncate(&mut self, len: usize) -> usize {
        self.0.truncate(len + 1);
        self.0[self.0.len() - 1] as u32 as usize
    }

    /// Arrow's offsets into values that are `total` long altogether.
    pub(super) fn finish(&mut self, total: usize) -> Result<OffsetBuffer<i32>> {
        let offsets = std::mem::take(self).0;
        if i32::try_from(total).is_err() {
            return Err(too_large());
        }
        Ok(OffsetBuffer::new(offsets.into()))
    }
}

/// The values of a batch outgrow Arrow's 32-bit offsets.
pub(super) fn too_large() -> Error {
    Error::User("more than 2 GiB in one column of one batch: read fewer records at a time".into())
}

/// A growing column of byte strings.
#[derive(Debug, Default)]
pub(super) struct Bytes {
    values: Vec<u8>,
    ends: Ends,
    validity: Validity,
}

impl Bytes {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.values.extend_from_slice(bytes);
        self.close();
    }

    /// Appends the bytes that the base64 text stands for.
    pub(super) fn push_base64(&mut self, text: &[u8]) -> Result<(), Mismatch> {
        let start = self.values.len();
        if BASE64.decode_vec(text, &mut self.values).is_err() {
            self.values.truncate(start);
            return Err(Mismatch);
        }
        self.close();
        Ok(())
    }

    fn close(&mut self) {
        self.ends.push(self.values.len());
        self.validity.push_valid();
    }

    fn push_null(&mut self) {
        self.validity.push_null(self.ends.len());
        self.ends.push(self.values.len());
    }

    fn len(&self) -> usize {
        self.ends.len()
    }

    fn reserve(&mut self, rows: usize) {
        self.ends.reserve(rows);
    }

    fn truncate(&mut self, len: usize) {
        self.values.truncate(self.ends.truncate(len));
        self.validity.truncate(len);
    }

    fn finish(&mut self) -> Result<BinaryArray> {
        let offsets = self.ends.finish(self.values.len())?;
        let values = Buffer::from(std::mem::take(&mut self.values));
        BinaryArray::try_new(offsets, values, self.validity.finish())
            .map_err(|err| Error::Internal(err.to_string()))
    }
}
