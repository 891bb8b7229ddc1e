//! Arrow columns being filled from Kafka's messages, one record at a time.

use std::sync::Arc;

use arrow::array::{
    BinaryArray, BinaryBuilder, Int64Array, ListArray, NullBufferBuilder, StringBuilder,
    StructArray,
};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::DataType;

use crate::record::{Records, headers_type};
use crate::topic::FetchLimit;
use crate::{Error, Result};

/// Most bytes of keys or of values in one array, with room for offsets of 31 bits.
const ARRAY_BYTES_MAX: usize = 1 << 30;

/// Records being collected.
#[derive(Debug)]
pub(super) struct Columns {
    offsets: Vec<i64>,
    timestamps: Vec<i64>,
    keys: Bytes,
    values: Bytes,
    /// From the first record with headers on: the number of headers before each record.
    header_ends: Option<Vec<i32>>,
    header_keys: StringBuilder,
    header_values: BinaryBuilder,
    limit: FetchLimit,
}

impl Columns {
    /// Empty columns. `bytes` of values are expected, as many as came the last time.
    pub(super) fn new(limit: FetchLimit, bytes: usize) -> Self {
        let limit = FetchLimit {
            records: limit.records.max(1),
            bytes: limit.bytes.min(ARRAY_BYTES_MAX),
            ..limit
        };
        Self {
            offsets: Vec::new(),
            timestamps: Vec::new(),
            keys: Bytes::default(),
            values: Bytes {
                data: Vec::with_capacity(bytes.min(limit.bytes)),
                ..Bytes::default()
            },
            header_ends: None,
            header_keys: StringBuilder::new(),
            header_values: BinaryBuilder::new(),
            limit,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.offsets.len()
    }

    /// How many more records are wanted.
    pub(super) fn room(&self) -> usize {
        let bytes = self.keys.data.len() + self.values.data.len();
        if self.len() > 0 && bytes >= self.limit.bytes {
            return 0;
        }
        self.limit.records - self.len().min(self.limit.records)
    }

    pub(super) fn last_offset(&self) -> Option<i64> {
        self.offsets.last().copied()
    }

    /// Whether [`Self::header`] is to be called.
    pub(super) fn wants_headers(&self) -> bool {
        self.limit.headers
    }

    /// Bytes of values.
    pub(super) fn value_bytes(&self) -> usize {
        self.values.data.len()
    }

    /// Adds a record; [`Self::header`] adds its headers.
    pub(super) fn push(
        &mut self,
        offset: i64,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) {
        self.offsets.push(offset);
        self.timestamps.push(timestamp);
        self.keys.push(key);
        self.values.push(value);
        if let Some(ends) = &mut self.header_ends {
            ends.extend(ends.last().copied());
        }
    }

    /// Adds a header to the last record.
    pub(super) fn header(&mut self, key: &str, value: Option<&[u8]>) {
        let records = self.offsets.len();
        let ends = self.header_ends.get_or_insert_with(|| vec![0; records + 1]);
        if let Some(end) = ends.last_mut() {
            *end += 1;
        }
        self.header_keys.append_value(key);
        self.header_values.append_option(value);
    }

    pub(super) fn finish(self) -> Result<Records> {
        let headers = match self.header_ends {
            Some(ends) => Some(header_lists(ends, self.header_keys, self.header_values)?),
            None => None,
        };
        Ok(Records {
            offsets: Int64Array::from(self.offsets),
            timestamps: Int64Array::from(self.timestamps),
            keys: self.keys.finish()?,
            values: self.values.finish()?,
            headers,
        })
    }
}

fn header_lists(
    ends: Vec<i32>,
    mut keys: StringBuilder,
    mut values: BinaryBuilder,
) -> Result<ListArray> {
    let wrong = |what: String| Error::Internal(format!("headers: {what}"));
    let DataType::List(item) = headers_type() else {
        return Err(wrong("not a list".into()));
    };
    let DataType::Struct(fields) = item.data_type().clone() else {
        return Err(wrong("not structs".into()));
    };
    let columns: Vec<arrow::array::ArrayRef> =
        vec![Arc::new(keys.finish()), Arc::new(values.finish())];
    let entries = StructArray::try_new(fields, columns, None).map_err(|e| wrong(e.to_string()))?;
    let ends = OffsetBuffer::new(ScalarBuffer::from(ends));
    ListArray::try_new(item, ends, Arc::new(entries), None).map_err(|e| wrong(e.to_string()))
}

/// A binary column.
#[derive(Debug)]
struct Bytes {
    ends: Vec<i32>,
    data: Vec<u8>,
    validity: NullBufferBuilder,
}

impl Default for Bytes {
    fn default() -> Self {
        Self {
            ends: vec![0],
            data: Vec::new(),
            validity: NullBufferBuilder::new(0),
        }
    }
}

impl Bytes {
    fn push(&mut self, value: Option<&[u8]>) {
        match value {
            Some(value) => {
                self.data.extend_from_slice(value);
                self.validity.append_non_null();
            }
            None => self.validity.append_null(),
        }
        // Fits: a fetch stops at 1 GB, and no message of Kafka's is larger than that.
        self.ends.push(self.data.len() as i32);
    }

    fn finish(mut self) -> Result<BinaryArray> {
        let ends = OffsetBuffer::new(ScalarBuffer::from(self.ends));
        BinaryArray::try_new(ends, Buffer::from_vec(self.data), self.validity.finish())
            .map_err(|error| Error::Internal(format!("records of Kafka's: {error}")))
    }
}
