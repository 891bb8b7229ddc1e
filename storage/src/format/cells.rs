//! The scalars of a column that is to be encoded, in whichever of its layouts the plan made it.

use std::any::type_name;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BinaryViewArray, BooleanArray, Date32Array, Decimal128Array,
    Decimal256Array, Float64Array, Int32Array, Int64Array, LargeBinaryArray, LargeStringArray,
    StringArray, StringViewArray, Time32MillisecondArray, TimestampMillisecondArray,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::DataType;

use super::print;
use super::sql_type;
use crate::{Error, Result};

/// A column of scalars.
#[derive(Debug)]
pub(super) struct Cells<'a> {
    pub(super) values: Values<'a>,
    nulls: Option<&'a NullBuffer>,
}

/// Its values.
#[derive(Debug)]
pub(super) enum Values<'a> {
    Boolean(&'a BooleanArray),
    Integer(&'a [i32]),
    BigInt(&'a [i64]),
    Double(&'a [f64]),
    Decimal128(&'a Decimal128Array),
    Decimal256(&'a Decimal256Array),
    String(Texts<'a>),
    Bytes(Blobs<'a>),
}

/// Strings in any of Arrow's layouts.
#[derive(Debug)]
pub(super) enum Texts<'a> {
    Utf8(&'a StringArray),
    LargeUtf8(&'a LargeStringArray),
    Utf8View(&'a StringViewArray),
}

impl Texts<'_> {
    #[inline]
    pub(super) fn value(&self, row: usize) -> &str {
        match self {
            Self::Utf8(array) => array.value(row),
            Self::LargeUtf8(array) => array.value(row),
            Self::Utf8View(array) => array.value(row),
        }
    }
}

/// Bytes in any of Arrow's layouts.
#[derive(Debug)]
pub(super) enum Blobs<'a> {
    Binary(&'a BinaryArray),
    LargeBinary(&'a LargeBinaryArray),
    BinaryView(&'a BinaryViewArray),
}

impl Blobs<'_> {
    #[inline]
    pub(super) fn value(&self, row: usize) -> &[u8] {
        match self {
            Self::Binary(array) => array.value(row),
            Self::LargeBinary(array) => array.value(row),
            Self::BinaryView(array) => array.value(row),
        }
    }
}

impl<'a> Cells<'a> {
    /// The cells of `array`, a column that was declared as `declared`.
    pub(super) fn try_new(declared: &DataType, array: &'a ArrayRef) -> Result<Self> {
        let actual = array.data_type();
        // Strings and bytes may come in another layout; all else as declared.
        let same = match (declared, actual) {
            (DataType::Decimal128(_, a), DataType::Decimal128(_, b))
            | (DataType::Decimal256(_, a), DataType::Decimal256(_, b)) => a == b,
            _ => sql_type::base(declared) == sql_type::base(actual),
        };
        if !same {
            return Err(Error::Internal(format!(
                "column to encode is {actual}, declared {}",
                sql_type::name(declared)
            )));
        }
        let values = match actual {
            DataType::Boolean => Values::Boolean(downcast(array)?),
            DataType::Int32 => Values::Integer(downcast::<Int32Array>(array)?.values()),
            DataType::Date32 => Values::Integer(downcast::<Date32Array>(array)?.values()),
            DataType::Time32(_) => {
                Values::Integer(downcast::<Time32MillisecondArray>(array)?.values())
            }
            DataType::Int64 => Values::BigInt(downcast::<Int64Array>(array)?.values()),
            DataType::Timestamp(..) => {
                Values::BigInt(downcast::<TimestampMillisecondArray>(array)?.values())
            }
            DataType::Float64 => Values::Double(downcast::<Float64Array>(array)?.values()),
            DataType::Decimal128(..) => Values::Decimal128(downcast(array)?),
            DataType::Decimal256(..) => Values::Decimal256(downcast(array)?),
            DataType::Utf8 => Values::String(Texts::Utf8(downcast(array)?)),
            DataType::LargeUtf8 => Values::String(Texts::LargeUtf8(downcast(array)?)),
            DataType::Utf8View => Values::String(Texts::Utf8View(downcast(array)?)),
            DataType::Binary => Values::Bytes(Blobs::Binary(downcast(array)?)),
            DataType::LargeBinary => Values::Bytes(Blobs::LargeBinary(downcast(array)?)),
            DataType::BinaryView => Values::Bytes(Blobs::BinaryView(downcast(array)?)),
            other => return Err(Error::Internal(format!("{other} is no scalar type"))),
        };
        Ok(Self {
            values,
            nulls: array.nulls(),
        })
    }

    #[inline]
    pub(super) fn is_null(&self, row: usize) -> bool {
        self.nulls.is_some_and(|nulls| nulls.is_null(row))
    }

    /// Appends the text of a boolean or number. Strings and bytes are left to the format.
    #[inline]
    pub(super) fn print(&self, row: usize, out: &mut Vec<u8>) {
        match &self.values {
            Values::Boolean(array) => {
                out.extend_from_slice(if array.value(row) { b"true" } else { b"false" });
            }
            Values::Integer(values) => print::long(values[row].into(), out),
            Values::BigInt(values) => print::long(values[row], out),
            Values::Double(values) => print::double(values[row], out),
            Values::Decimal128(array) => print::decimal128(array.value(row), array.scale(), out),
            Values::Decimal256(array) => print::decimal256(array.value(row), array.scale(), out),
            Values::String(texts) => out.extend_from_slice(texts.value(row).as_bytes()),
            Values::Bytes(blobs) => base64(blobs.value(row), out),
        }
    }
}

/// Appends bytes in base64.
pub(super) fn base64(bytes: &[u8], out: &mut Vec<u8>) {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    let start = out.len();
    // Four characters for every three bytes, the last group padded.
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    let written = STANDARD.encode_slice(bytes, &mut out[start..]);
    debug_assert!(written.is_ok(), "there is room");
}

/// `array` as what its type says it is.
pub(super) fn downcast<T: Array + 'static>(array: &dyn Array) -> Result<&T> {
    array.as_any().downcast_ref().ok_or_else(|| {
        Error::Internal(format!(
            "{} array is no {}",
            array.data_type(),
            type_name::<T>()
        ))
    })
}

/// The payloads of a batch being encoded.
#[derive(Debug)]
pub(super) struct Payloads {
    pub(super) out: Vec<u8>,
    offsets: Vec<i32>,
    nulls: super::column::Validity,
}

impl Payloads {
    pub(super) fn with_capacity(rows: usize, bytes: usize) -> Self {
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        Self {
            out: Vec::with_capacity(bytes),
            offsets,
            nulls: Default::default(),
        }
    }

    /// Makes what was written to `out` since the last payload the next one.
    #[inline]
    pub(super) fn close(&mut self) -> Result<()> {
        match i32::try_from(self.out.len()) {
            Ok(end) => self.offsets.push(end),
            Err(_) => {
                return Err(Error::User(
                    "more than 2 GiB of records in one batch: write fewer at a time".into(),
                ));
            }
        }
        self.nulls.push_valid();
        Ok(())
    }

    /// Makes null the next payload.
    pub(super) fn push_null(&mut self) {
        self.nulls.push_null(self.offsets.len() - 1);
        self.offsets.push(self.offsets[self.offsets.len() - 1]);
    }

    pub(super) fn finish(mut self) -> Result<BinaryArray> {
        let offsets = arrow::buffer::OffsetBuffer::new(self.offsets.into());
        BinaryArray::try_new(offsets, self.out.into(), self.nulls.finish())
            .map_err(|err| Error::Internal(err.to_string()))
    }
}
