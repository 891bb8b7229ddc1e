//! A block's bytes, checked once and then read in place.

use std::ops::Range;

use super::{
    FLAG_GAPS, FLAG_HEADERS, FLAG_NULL_HEADER_VALUES, FLAG_NULL_KEYS, FLAG_NULL_VALUES, HEADER_LEN,
    LAYOUT, append_header,
};
use crate::{Error, Result};

/// A block of records, borrowed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block<'a> {
    /// Offset of the first record.
    pub(super) first_offset: i64,
    len: usize,
    last_delta: u32,
    bytes_total: usize,
    header: &'a [u8; HEADER_LEN],
    pub(super) timestamps: &'a [[u8; 8]],
    deltas: Option<&'a [[u8; 4]]>,
    pub(super) keys: Column<'a>,
    pub(super) values: Column<'a>,
    pub(super) headers: Option<Headers<'a>>,
}

/// One column of a block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column<'a> {
    /// One bit per value, 1 where it is not null; `None` where no value is null.
    pub(super) validity: Option<&'a [u8]>,
    /// End of each value within `data`.
    pub(super) ends: &'a [[u8; 4]],
    pub(super) data: &'a [u8],
}

/// The headers of a block's records.
#[derive(Clone, Copy, Debug)]
pub(super) struct Headers<'a> {
    /// Number of headers up to and with each record.
    pub(super) ends: &'a [[u8; 4]],
    pub(super) keys: Column<'a>,
    pub(super) values: Column<'a>,
}

impl<'a> Block<'a> {
    /// Reads a block that begins at `first_offset`, after checking its CRC.
    pub(crate) fn parse(first_offset: i64, bytes: &'a [u8]) -> Result<Self> {
        let block = Self::parse_checked(first_offset, bytes)?;
        let crc = append_header(crc32c::crc32c(&bytes[HEADER_LEN..]), bytes);
        if crc.to_le_bytes() != block.header[4..8] {
            return Err(damaged(first_offset, "its checksum is wrong"));
        }
        Ok(block)
    }

    /// Reads a block whose CRC has been checked before.
    pub(crate) fn parse_checked(first_offset: i64, bytes: &'a [u8]) -> Result<Self> {
        let short = || damaged(first_offset, "it is cut short");
        let (header, body) = bytes.split_first_chunk::<HEADER_LEN>().ok_or_else(short)?;
        if header[0] != LAYOUT {
            return Err(damaged(
                first_offset,
                &format!("its layout is {}", header[0]),
            ));
        }
        let flag = |bit: u8| header[1] & bit != 0;
        let len = number(header, 8) as usize;
        let mut body = Body { rest: body };
        let timestamps = body.take::<8>(len).ok_or_else(short)?;
        let deltas = match flag(FLAG_GAPS) {
            true => Some(body.take::<4>(len).ok_or_else(short)?),
            false => None,
        };
        let keys = body.column(len, flag(FLAG_NULL_KEYS)).ok_or_else(short)?;
        let values = body.column(len, flag(FLAG_NULL_VALUES)).ok_or_else(short)?;
        let headers = match flag(FLAG_HEADERS) {
            true => {
                let ends = body.take::<4>(len).ok_or_else(short)?;
                let count = ends
                    .last()
                    .map_or(0, |end| u32::from_le_bytes(*end) as usize);
                let keys = body.column(count, false).ok_or_else(short)?;
                let nulls = flag(FLAG_NULL_HEADER_VALUES);
                let values = body.column(count, nulls).ok_or_else(short)?;
                Some(Headers { ends, keys, values })
            }
            false => None,
        };
        if len == 0 || !body.rest.is_empty() {
            return Err(damaged(first_offset, "it has a wrong length"));
        }
        Ok(Self {
            first_offset,
            len,
            last_delta: number(header, 12),
            bytes_total: bytes.len(),
            header,
            timestamps,
            deltas,
            keys,
            values,
            headers,
        })
    }

    /// Number of records.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// One past the last record's offset.
    pub(crate) fn next_offset(&self) -> i64 {
        self.first_offset + i64::from(self.last_delta) + 1
    }

    /// The largest timestamp.
    pub(crate) fn newest_ms(&self) -> i64 {
        self.long(16)
    }

    /// Bytes in the partition up to this block's end, as of when it was appended.
    pub(crate) fn bytes_through(&self) -> u64 {
        self.bytes_before() + self.bytes_total as u64
    }

    /// Bytes in the partition before this block, as of when it was appended.
    pub(crate) fn bytes_before(&self) -> u64 {
        self.long(24) as u64
    }

    /// From when on tombstones may go, once the block has been compacted.
    pub(crate) fn tombstones_until(&self) -> Option<i64> {
        Some(self.long(32)).filter(|until| *until != 0)
    }

    /// Offset of a record.
    pub(crate) fn offset(&self, row: usize) -> i64 {
        self.first_offset
            + self.deltas.map_or(row as i64, |deltas| {
                i64::from(u32::from_le_bytes(deltas[row]))
            })
    }

    /// The offsets of the records in `rows`.
    pub(super) fn offsets(&self, rows: Range<usize>) -> impl Iterator<Item = i64> + '_ {
        rows.map(|row| self.offset(row))
    }

    /// The first record at or after `offset`; [`Self::len`] if all come before.
    pub(crate) fn row_at(&self, offset: i64) -> usize {
        let delta = offset - self.first_offset;
        match self.deltas {
            _ if delta <= 0 => 0,
            None => (delta as usize).min(self.len),
            Some(deltas) => deltas.partition_point(|at| i64::from(u32::from_le_bytes(*at)) < delta),
        }
    }

    /// A record's key.
    pub(crate) fn key(&self, row: usize) -> Option<&'a [u8]> {
        self.keys.get(row)
    }

    /// A record's value.
    pub(crate) fn value(&self, row: usize) -> Option<&'a [u8]> {
        self.values.get(row)
    }

    /// Bytes of the keys and values of `rows`.
    pub(crate) fn bytes(&self, rows: Range<usize>) -> usize {
        self.keys.range(rows.clone()).len() + self.values.range(rows).len()
    }

    fn long(&self, at: usize) -> i64 {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.header[at..at + 8]);
        i64::from_le_bytes(bytes)
    }
}

impl<'a> Column<'a> {
    /// Where the values of `rows` lie in `data`.
    pub(super) fn range(&self, rows: Range<usize>) -> Range<usize> {
        let end = |row: usize| u32::from_le_bytes(self.ends[row]) as usize;
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
        start..stop.max(start)
    }

    fn get(&self, row: usize) -> Option<&'a [u8]> {
        let valid = self
            .validity
            .is_none_or(|bits| bits[row / 8] >> (row % 8) & 1 == 1);
        valid
            .then(|| self.data.get(self.range(row..row + 1)))
            .flatten()
    }
}

/// What is still to be read of a block's body.
struct Body<'a> {
    rest: &'a [u8],
}

impl<'a> Body<'a> {
    fn take<const N: usize>(&mut self, count: usize) -> Option<&'a [[u8; N]]> {
        let (taken, rest) = self.rest.split_at_checked(count.checked_mul(N)?)?;
        self.rest = rest;
        Some(taken.as_chunks::<N>().0)
    }

    fn column(&mut self, count: usize, nulls: bool) -> Option<Column<'a>> {
        let validity = match nulls {
            true => Some(self.take::<1>(count.div_ceil(8))?.as_flattened()),
            false => None,
        };
        let ends = self.take::<4>(count)?;
        let len = ends
            .last()
            .map_or(0, |end| u32::from_le_bytes(*end) as usize);
        let data = self.take::<1>(len)?.as_flattened();
        Some(Column {
            validity,
            ends,
            data,
        })
    }
}

fn number(header: &[u8; HEADER_LEN], at: usize) -> u32 {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&header[at..at + 4]);
    u32::from_le_bytes(bytes)
}

fn damaged(first_offset: i64, how: &str) -> Error {
    Error::external(
        format!("read the records from offset {first_offset} on"),
        format!("the block on disk is damaged ({how}); restore the data directory from a backup"),
    )
}
