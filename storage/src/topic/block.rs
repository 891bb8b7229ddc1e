//! A block: a run of records as it is written to the disk, column by column, so that many records
//! are read into Arrow arrays by a few copies. The embedded log's unit of reading and writing.
//!
//! ```text
//! all numbers little endian
//!   0  u8   layout, 1
//!   1  u8   flags: 1 offsets have gaps · 2 some key is null · 4 some value is null
//!                  8 has headers · 16 some header's value is null
//!   2  u16  0
//!   4  u32  CRC32C of the body, then of bytes 0..4 and 8..40
//!   8  u32  n, the number of records, at least 1
//!  12  u32  last offset - first offset
//!  16  i64  largest timestamp
//!  24  u64  bytes in the partition before this block
//!  32  i64  tombstones may go from this time on; 0 until the block has been compacted
//!  40  the body:
//!      i64 × n     timestamps
//!      u32 × n     offset - first offset              flag 1 only
//!      column      keys, n
//!      column      values, n
//!      u32 × n     headers up to and with record i    flag 8 only, like what follows
//!      column      header keys, as many as the last of these numbers says
//!      column      header values
//! column of m:  m bits in whole bytes, lowest first: 1 = not null    only where the flag says so
//!               u32 × m     end of value i within the bytes
//!               the bytes
//! ```
//!
//! The first offset is not in the block but in its key. What stands in bytes 24..40 is known last,
//! under a lock, hence the order of the CRC.

mod collect;
mod view;

use std::ops::Range;

use arrow::array::{Array, AsArray, BinaryArray, ListArray};

pub(crate) use self::collect::Collector;
pub(crate) use self::view::Block;
use crate::record::{NewRecords, Records};
use crate::{Error, Result};

const LAYOUT: u8 = 1;
const HEADER_LEN: usize = 40;
const FLAG_GAPS: u8 = 1;
const FLAG_NULL_KEYS: u8 = 2;
const FLAG_NULL_VALUES: u8 = 4;
const FLAG_HEADERS: u8 = 8;
const FLAG_NULL_HEADER_VALUES: u8 = 16;

/// A block ends once it has this many bytes of keys and values,
pub(crate) const BLOCK_BYTES: usize = 256 << 10;
/// or this many records.
pub(crate) const BLOCK_RECORDS: usize = 16 << 10;

/// A block that lacks only its place in the partition.
#[derive(Debug)]
pub(crate) struct Encoded {
    bytes: Vec<u8>,
    body_crc: u32,
    /// Last offset - first offset.
    last_delta: u32,
}

impl Encoded {
    /// One past the last offset when the block begins at `first_offset`.
    pub(crate) fn next_offset(&self, first_offset: i64) -> i64 {
        first_offset + i64::from(self.last_delta) + 1
    }

    /// The block's length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Fills in what was not known before and seals the block.
    pub(crate) fn seal(mut self, bytes_before: u64, tombstones_until: i64) -> Vec<u8> {
        self.bytes[24..32].copy_from_slice(&bytes_before.to_le_bytes());
        self.bytes[32..40].copy_from_slice(&tombstones_until.to_le_bytes());
        let crc = append_header(self.body_crc, &self.bytes);
        self.bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        self.bytes
    }
}

/// Goes on from the CRC of the body to that of the block, which begins with `bytes`.
fn append_header(body_crc: u32, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(
        crc32c::crc32c_append(body_crc, &bytes[..4]),
        &bytes[8..HEADER_LEN],
    )
}

/// Encodes new records as blocks whose offsets follow each other without gaps.
pub(crate) fn encode_new(records: &NewRecords) -> Result<Vec<Encoded>> {
    let columns = Columns {
        offsets: None,
        timestamps: records.timestamps.values(),
        keys: &records.keys,
        values: &records.values,
        headers: records.headers.as_ref(),
    };
    columns.check(records.len())?;
    columns.encode_all()
}

/// Encodes records that keep their offsets, with the first offset of each block.
pub(crate) fn encode_kept(records: &Records) -> Result<Vec<(i64, Encoded)>> {
    let columns = Columns {
        offsets: Some(records.offsets.values()),
        timestamps: records.timestamps.values(),
        keys: &records.keys,
        values: &records.values,
        headers: records.headers.as_ref(),
    };
    columns.check(records.len())?;
    let mut blocks = Vec::new();
    for rows in columns.cut() {
        blocks.push((records.offsets.value(rows.start), columns.encode(rows)?));
    }
    Ok(blocks)
}

/// The columns of records on their way into blocks.
struct Columns<'a> {
    /// Ascending; `None` where they are still to be given.
    offsets: Option<&'a [i64]>,
    timestamps: &'a [i64],
    keys: &'a BinaryArray,
    values: &'a BinaryArray,
    headers: Option<&'a ListArray>,
}

impl Columns<'_> {
    fn check(&self, len: usize) -> Result<()> {
        let headers = self.headers.map_or(len, Array::len);
        let offsets = self.offsets.map_or(len, <[i64]>::len);
        if [
            self.timestamps.len(),
            self.keys.len(),
            self.values.len(),
            headers,
            offsets,
        ]
        .iter()
        .any(|column| *column != len)
        {
            return Err(Error::Internal(
                "columns of records differ in length".to_owned(),
            ));
        }
        if let Some(headers) = self.headers
            && *headers.data_type() != crate::record::headers_type()
        {
            let found = headers.data_type();
            return Err(Error::Internal(format!("headers of records are {found}")));
        }
        Ok(())
    }

    fn encode_all(&self) -> Result<Vec<Encoded>> {
        self.cut()
            .into_iter()
            .map(|rows| self.encode(rows))
            .collect()
    }

    /// Cuts the rows into runs that fit a block each.
    fn cut(&self) -> Vec<Range<usize>> {
        let len = self.timestamps.len();
        let (keys, values) = (self.keys.value_offsets(), self.values.value_offsets());
        let bytes = |start: usize, end: usize| {
            (keys[end] - keys[start]) as usize + (values[end] - values[start]) as usize
        };
        let mut runs = Vec::new();
        let mut start = 0;
        while start < len {
            let mut end = (start + BLOCK_RECORDS).min(len);
            if bytes(start, end) > BLOCK_BYTES {
                // The first record always fits; then as many as stay within the limit.
                end = first_not(start + 1..end, |row| bytes(start, row + 1) <= BLOCK_BYTES);
            }
            if let Some(offsets) = self.offsets {
                let reach = |row: usize| offsets[row] - offsets[start] <= i64::from(u32::MAX);
                while !reach(end - 1) {
                    end -= 1;
                }
            }
            runs.push(start..end);
            start = end;
        }
        runs
    }

    fn encode(&self, rows: Range<usize>) -> Result<Encoded> {
        let (start, n) = (rows.start, rows.len());
        let keys = self.keys.slice(start, n);
        let values = self.values.slice(start, n);
        let timestamps = &self.timestamps[rows.clone()];
        let mut flags = 0;
        let mut last_delta = n as u32 - 1;
        let mut out =
            Vec::with_capacity(HEADER_LEN + n * 24 + data(&keys).len() + data(&values).len());
        out.resize(HEADER_LEN, 0);
        out.extend(
            timestamps
                .iter()
                .flat_map(|timestamp| timestamp.to_le_bytes()),
        );
        if let Some(offsets) = self.offsets {
            let first = offsets[start];
            last_delta = delta(first, offsets[rows.end - 1])?;
            if last_delta as usize != n - 1 {
                flags |= FLAG_GAPS;
                for offset in &offsets[rows.clone()] {
                    out.extend_from_slice(&delta(first, *offset)?.to_le_bytes());
                }
            }
        }
        if push_column(&mut out, &keys) {
            flags |= FLAG_NULL_KEYS;
        }
        if push_column(&mut out, &values) {
            flags |= FLAG_NULL_VALUES;
        }
        if let Some(headers) = self.headers {
            flags |= push_headers(&mut out, &headers.slice(start, n))?;
        }
        out[0] = LAYOUT;
        out[1] = flags;
        out[8..12].copy_from_slice(&(n as u32).to_le_bytes());
        out[12..16].copy_from_slice(&last_delta.to_le_bytes());
        let newest = timestamps.iter().copied().max().unwrap_or(0);
        out[16..24].copy_from_slice(&newest.to_le_bytes());
        let body_crc = crc32c::crc32c(&out[HEADER_LEN..]);
        Ok(Encoded {
            bytes: out,
            body_crc,
            last_delta,
        })
    }
}

fn delta(first: i64, offset: i64) -> Result<u32> {
    u32::try_from(offset - first)
        .map_err(|_| Error::Internal(format!("offset {offset} does not fit a block at {first}")))
}

/// The first of `rows` for which `holds` does not, where it holds for all before and none after.
fn first_not(rows: Range<usize>, holds: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (rows.start, rows.end);
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

/// The bytes of all values of an array, without those outside its slice.
fn data(array: &BinaryArray) -> &[u8] {
    let offsets = array.value_offsets();
    &array.value_data()[offsets[0] as usize..offsets[array.len()] as usize]
}

/// Appends a column; returns whether some value of it is null.
fn push_column(out: &mut Vec<u8>, array: &BinaryArray) -> bool {
    let nulls = array.nulls().filter(|nulls| nulls.null_count() > 0);
    if let Some(nulls) = nulls {
        let bits = nulls.inner().sliced();
        out.extend_from_slice(&bits.as_slice()[..array.len().div_ceil(8)]);
    }
    let offsets = array.value_offsets();
    let first = offsets[0];
    out.extend(
        offsets[1..]
            .iter()
            .flat_map(|end| (end - first).to_le_bytes()),
    );
    out.extend_from_slice(data(array));
    nulls.is_some()
}

/// Appends the headers and returns their flags: none when no record has any.
fn push_headers(out: &mut Vec<u8>, headers: &ListArray) -> Result<u8> {
    let entries = headers.values().as_struct();
    let keys = entries.column(0).as_string::<i32>();
    let values = entries.column(1).as_binary::<i32>();
    let mut ends = Vec::with_capacity(headers.len());
    let mut wanted = Vec::new();
    for (row, range) in headers.value_offsets().windows(2).enumerate() {
        if headers.is_valid(row) {
            wanted.extend(i64::from(range[0])..i64::from(range[1]));
        }
        ends.push(wanted.len() as u32);
    }
    if wanted.is_empty() {
        return Ok(0);
    }
    out.extend(ends.iter().flat_map(|end| end.to_le_bytes()));
    // A header's key is never null; Kafka has no such thing.
    let bytes_of_key = |row: &i64| Some(keys.value(*row as usize).as_bytes());
    push_column(out, &wanted.iter().map(bytes_of_key).collect());
    let value = |row: &i64| {
        values
            .is_valid(*row as usize)
            .then(|| values.value(*row as usize))
    };
    let values: BinaryArray = wanted.iter().map(value).collect();
    let nulls = push_column(out, &values);
    Ok(FLAG_HEADERS | if nulls { FLAG_NULL_HEADER_VALUES } else { 0 })
}

impl NewRecords {
    /// The records and their partition as bytes, for an outbox.
    ///
    /// `[partition: i32 LE]` then, per block, `[length: u32 LE][block]`.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut out = self.partition.to_le_bytes().to_vec();
        for block in encode_new(self)? {
            let bytes = block.seal(0, 0);
            let len = u32::try_from(bytes.len())
                .map_err(|_| Error::User("a record of more than 4 GB cannot be stored".into()))?;
            out.extend_from_slice(&len.to_le_bytes());
            out.extend_from_slice(&bytes);
        }
        Ok(out)
    }

    /// The records that [`Self::to_bytes`] made `bytes` from.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let damaged = || Error::Internal("stored records are cut short".to_owned());
        let (partition, mut rest) = bytes.split_first_chunk::<4>().ok_or_else(damaged)?;
        let mut collector = Collector::default();
        while !rest.is_empty() {
            let (len, tail) = rest.split_first_chunk::<4>().ok_or_else(damaged)?;
            let len = u32::from_le_bytes(*len) as usize;
            let (block, tail) = tail.split_at_checked(len).ok_or_else(damaged)?;
            let block = Block::parse(0, block)?;
            collector.extend(&block, 0..block.len())?;
            rest = tail;
        }
        let records = collector.finish()?;
        Ok(Self {
            partition: i32::from_le_bytes(*partition),
            timestamps: records.timestamps,
            keys: records.keys,
            values: records.values,
            headers: records.headers,
        })
    }
}

#[cfg(test)]
mod tests;
