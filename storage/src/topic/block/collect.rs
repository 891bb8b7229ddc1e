//! Joins parts of blocks to [`Records`]: each column of each part is one copy.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    BinaryArray, BooleanBufferBuilder, Int64Array, ListArray, StringArray, StructArray,
};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::DataType;

use super::view::{Column, Headers};
use super::{Block, first_not};
use crate::record::{Records, headers_type};
use crate::{Error, Result};

/// Bytes of keys or values that one array may hold, with room for offsets of 31 bits.
const ARRAY_BYTES_MAX: usize = 1 << 30;

/// Records being collected from blocks.
#[derive(Debug, Default)]
pub(crate) struct Collector {
    offsets: Vec<i64>,
    timestamps: Vec<i64>,
    keys: Bytes,
    values: Bytes,
    headers: Option<HeaderLists>,
    skips_headers: bool,
}

impl Collector {
    /// One that leaves records' headers out.
    pub(crate) fn without_headers() -> Self {
        Self {
            skips_headers: true,
            ..Self::default()
        }
    }

    /// Number of records so far.
    pub(crate) fn len(&self) -> usize {
        self.offsets.len()
    }

    /// Bytes of keys and values so far.
    pub(crate) fn bytes(&self) -> usize {
        self.keys.data.len() + self.values.data.len()
    }

    /// How many records from `start` on fit in, when there may be at most `records_max` and
    /// collecting stops once `bytes_max` is reached.
    pub(crate) fn room(
        &self,
        block: &Block<'_>,
        start: usize,
        records_max: usize,
        bytes_max: usize,
    ) -> usize {
        let left = records_max
            .saturating_sub(self.len())
            .min(block.len() - start);
        let bytes_left = bytes_max.min(ARRAY_BYTES_MAX).saturating_sub(self.bytes());
        if left == 0 || (bytes_left == 0 && self.len() > 0) {
            return 0;
        }
        if block.bytes(start..start + left) <= bytes_left {
            return left;
        }
        // The record that passes the limit is still taken.
        first_not(1..left, |rows| {
            block.bytes(start..start + rows) < bytes_left
        })
    }

    /// Adds the records `rows` of a block.
    pub(crate) fn extend(&mut self, block: &Block<'_>, rows: Range<usize>) -> Result<()> {
        let before = self.len();
        self.offsets.extend(block.offsets(rows.clone()));
        let timestamps = &block.timestamps[rows.clone()];
        self.timestamps
            .extend(timestamps.iter().map(|bytes| i64::from_le_bytes(*bytes)));
        self.keys.extend(&block.keys, rows.clone())?;
        self.values.extend(&block.values, rows.clone())?;
        let headers = block.headers.as_ref().filter(|_| !self.skips_headers);
        match (headers, &mut self.headers) {
            (None, None) => {}
            (None, Some(lists)) => lists.extend_empty(rows.len()),
            (Some(headers), lists) => {
                let lists = lists.get_or_insert_with(|| HeaderLists::empty(before));
                lists.extend(headers, rows)?;
            }
        }
        Ok(())
    }

    /// The collected records.
    pub(crate) fn finish(self) -> Result<Records> {
        Ok(Records {
            offsets: Int64Array::from(self.offsets),
            timestamps: Int64Array::from(self.timestamps),
            keys: self.keys.finish_binary()?,
            values: self.values.finish_binary()?,
            headers: self.headers.map(HeaderLists::finish).transpose()?,
        })
    }
}

/// A binary column being collected.
#[derive(Debug, Default)]
struct Bytes {
    ends: Vec<i32>,
    data: Vec<u8>,
    /// From the first null on.
    validity: Option<BooleanBufferBuilder>,
}

impl Bytes {
    fn extend(&mut self, column: &Column<'_>, rows: Range<usize>) -> Result<()> {
        let (before, base) = (self.ends.len(), self.data.len());
        let range = column.range(rows.clone());
        let data = column.data.get(range.clone()).ok_or_else(unordered)?;
        i32::try_from(base + data.len()).map_err(|_| too_large())?;
        self.data.extend_from_slice(data);
        // Ends ascend; the sum wraps only where they don't, which `finish` finds.
        let shift = (base as u32).wrapping_sub(range.start as u32);
        let ends = column.ends[rows.clone()].iter();
        self.ends
            .extend(ends.map(|end| u32::from_le_bytes(*end).wrapping_add(shift) as i32));
        match (column.validity, &mut self.validity) {
            (None, None) => {}
            (None, Some(validity)) => validity.append_n(rows.len(), true),
            (Some(bits), validity) => {
                let validity = validity.get_or_insert_with(|| {
                    let mut validity = BooleanBufferBuilder::new(before + rows.len());
                    validity.append_n(before, true);
                    validity
                });
                validity.append_packed_range(rows, bits);
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<(OffsetBuffer<i32>, Buffer, Option<NullBuffer>)> {
        let mut previous = 0;
        for end in &self.ends {
            if *end < previous {
                return Err(unordered());
            }
            previous = *end;
        }
        self.ends.insert(0, 0);
        let nulls = self.validity.map(|mut bits| NullBuffer::new(bits.finish()));
        let nulls = nulls.filter(|nulls| nulls.null_count() > 0);
        let offsets = OffsetBuffer::new(ScalarBuffer::from(self.ends));
        Ok((offsets, Buffer::from_vec(self.data), nulls))
    }

    fn finish_binary(self) -> Result<BinaryArray> {
        let (offsets, data, nulls) = self.finish()?;
        BinaryArray::try_new(offsets, data, nulls).map_err(|error| not_columns(&error))
    }
}

/// Lists of headers being collected.
#[derive(Debug)]
struct HeaderLists {
    /// Number of headers before each record, and after the last.
    offsets: Vec<i32>,
    keys: Bytes,
    values: Bytes,
}

impl HeaderLists {
    fn empty(records: usize) -> Self {
        Self {
            offsets: vec![0; records + 1],
            keys: Bytes::default(),
            values: Bytes::default(),
        }
    }

    fn extend_empty(&mut self, records: usize) {
        let last = self.keys.ends.len() as i32;
        self.offsets.resize(self.offsets.len() + records, last);
    }

    fn extend(&mut self, headers: &Headers<'_>, rows: Range<usize>) -> Result<()> {
        let end = |row: usize| u32::from_le_bytes(headers.ends[row]) as usize;
        let start = if rows.start == 0 {
            0
        } else {
            end(rows.start - 1)
        };
        let stop = if rows.is_empty() {
            start
        } else {
            end(rows.end - 1)
        };
        if start > stop || stop > headers.keys.ends.len() {
            return Err(unordered());
        }
        let base = self.keys.ends.len();
        for row in rows {
            let count = (base + end(row)).checked_sub(start).ok_or_else(unordered)?;
            self.offsets
                .push(i32::try_from(count).map_err(|_| too_large())?);
        }
        self.keys.extend(&headers.keys, start..stop)?;
        self.values.extend(&headers.values, start..stop)
    }

    fn finish(self) -> Result<ListArray> {
        let DataType::List(item) = headers_type() else {
            return Err(Error::Internal("headers are not a list".to_owned()));
        };
        let DataType::Struct(fields) = item.data_type().clone() else {
            return Err(Error::Internal("a header is not a struct".to_owned()));
        };
        if self.offsets.is_sorted() && self.offsets.last() == Some(&(self.keys.ends.len() as i32)) {
            let (offsets, data, _) = self.keys.finish()?;
            let keys = StringArray::try_new(offsets, data, None).map_err(|e| not_columns(&e))?;
            let values = self.values.finish_binary()?;
            let entries =
                StructArray::try_new(fields, vec![Arc::new(keys), Arc::new(values)], None)
                    .map_err(|error| not_columns(&error))?;
            let offsets = OffsetBuffer::new(ScalarBuffer::from(self.offsets));
            ListArray::try_new(item, offsets, Arc::new(entries), None)
                .map_err(|error| not_columns(&error))
        } else {
            Err(unordered())
        }
    }
}

fn unordered() -> Error {
    Error::Internal("a block's ends do not ascend".to_owned())
}

fn too_large() -> Error {
    Error::Internal("more than 2 GB of records were asked for at once".to_owned())
}

fn not_columns(error: &arrow::error::ArrowError) -> Error {
    Error::Internal(format!("a block's columns do not fit together: {error}"))
}
