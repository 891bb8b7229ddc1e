//! JSON: one object per record, or one bare value.
//!
//! ```text
//! payload ─> fast ──accepted────────────────> columns
//!             └──given up─> careful ──right─┘
//!                              └──wrong──> bad value, with the reason
//! ```
//!
//! What is JSON is RFC 8259's matter, for fields that nobody reads as well; what becomes a column's
//! value is [`scalar`]'s.

mod careful;
mod encode;
mod fast;
mod names;
mod node;
mod scalar;
mod scan;
mod string;
#[cfg(test)]
mod tests;
mod text;

use arrow::array::{Array, ArrayRef, BinaryArray, BooleanBufferBuilder};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, FieldRef};

use self::node::{Node, Record};
use self::scalar::{Refused, Text};
use super::utf8::Utf8;
use super::{BadValue, Decoded, Side};
use crate::Result;

pub(super) use encode::Encoder;

/// Whether JSON has a form for the type; otherwise the name of the type.
pub(super) fn supports(data_type: &DataType) -> Result<(), &'static str> {
    Node::new(data_type).map(|_| ())
}

/// JSON payloads into columns.
#[derive(Debug)]
pub(super) struct Decoder {
    /// The projected columns.
    fields: Vec<FieldRef>,
    columns: Columns,
    /// How many payloads the fast path has given up.
    #[cfg(test)]
    given_up: usize,
}

#[derive(Debug)]
enum Columns {
    /// The record is an object, and they are its fields.
    Fields(Record),
    /// The record is the value of the only column, which may not be wanted.
    Bare(Option<Node>),
}

/// What a sound record is.
enum Kind {
    Value,
    /// Nothing: the text `null` where an object should be.
    Null,
}

impl Decoder {
    pub(super) fn try_new(side: &Side, projection: &[usize]) -> Result<Self> {
        let fields: Vec<_> = projection.iter().map(|&i| side.fields[i].clone()).collect();
        let unsupported = |kind| crate::Error::Internal(format!("no JSON column for {kind}"));
        let columns = if side.fields.len() == 1 && !side.wrap_single {
            let node = fields.first().map(|field| Node::new(field.data_type()));
            Columns::Bare(node.transpose().map_err(unsupported)?)
        } else {
            Columns::Fields(Record::new(fields.iter()).map_err(unsupported)?)
        };
        Ok(Self {
            fields,
            columns,
            #[cfg(test)]
            given_up: 0,
        })
    }

    pub(super) fn decode(&mut self, payloads: &BinaryArray) -> Result<Decoded> {
        self.columns.begin_batch(payloads.len());
        let mut bad = Vec::new();
        let mut null_texts: Option<BooleanBufferBuilder> = None;
        let utf8 = Utf8::new(payloads);
        let (data, offsets) = (payloads.value_data(), payloads.value_offsets());
        for row in 0..payloads.len() {
            if payloads.is_null(row) {
                self.columns.push_null();
                continue;
            }
            let (start, end) = (offsets[row] as usize, offsets[row + 1] as usize);
            if utf8.is_valid(row) {
                if self.columns.push_fast(data, start, end, row).is_ok() {
                    continue;
                }
                self.columns.truncate(row);
            }
            #[cfg(test)]
            {
                self.given_up += 1;
            }
            let payload = Text {
                bytes: &data[start..end],
                base: start,
            };
            match self.columns.push_careful(&self.fields, payload) {
                Ok(Kind::Value) => {}
                Ok(Kind::Null) => null_texts
                    .get_or_insert_with(|| {
                        let mut bits = BooleanBufferBuilder::new(payloads.len());
                        bits.append_n(payloads.len(), true);
                        bits
                    })
                    .set_bit(row, false),
                Err(reason) => {
                    self.columns.truncate(row);
                    self.columns.push_null();
                    bad.push(BadValue { row, reason });
                }
            }
        }
        let columns = self
            .columns
            .finish(&self.fields, payloads)
            .inspect_err(|_| {
                // What the failed batch left behind is not the next one's.
                self.columns.truncate(0);
            })?;
        let null_texts = null_texts.map(|mut bits| NullBuffer::new(bits.finish()));
        let nulls = NullBuffer::union(payloads.nulls(), null_texts.as_ref());
        Ok(Decoded {
            columns,
            bad,
            nulls: nulls.filter(|nulls| nulls.null_count() > 0),
        })
    }
}

impl Columns {
    fn begin_batch(&mut self, rows: usize) {
        match self {
            Self::Fields(record) => record.begin_batch(rows),
            Self::Bare(node) => node.iter_mut().for_each(|node| node.begin_batch(rows)),
        }
    }

    fn push_null(&mut self) {
        match self {
            Self::Fields(record) => record.push_null(),
            Self::Bare(node) => node.iter_mut().for_each(Node::push_null),
        }
    }

    fn truncate(&mut self, len: usize) {
        match self {
            Self::Fields(record) => record.truncate(len),
            Self::Bare(node) => node.iter_mut().for_each(|node| node.truncate(len)),
        }
    }

    /// Appends the payload that stands from `start` to `end` of `data`, if it is UTF-8 and nothing
    /// is unusual about it. May leave half a row behind if there is.
    #[inline(always)]
    fn push_fast(
        &mut self,
        data: &[u8],
        start: usize,
        end: usize,
        row: usize,
    ) -> Result<(), Refused> {
        /// How far the scanner looks ahead. A record has an end that it can see, so it need not
        /// be told where it is, and eight bytes can be loaded at once wherever it stands.
        const SLACK: usize = 8;
        let len = end - start;
        let end_of_value = match self {
            Self::Fields(record) => {
                let bytes = &data[start..data.len().min(end + SLACK)];
                let at = skip_blanks_before(bytes);
                fast::object(record, row, Text { bytes, base: start }, at, 0)?
            }
            // A bare number has no end of its own: it must not run into the next one.
            Self::Bare(node) => {
                let bytes = &data[start..end];
                let at = skip_blanks_before(bytes);
                match node {
                    Some(node) => fast::value(node, Text { bytes, base: start }, at, 0)?,
                    None => scan::value_end(bytes, at, 0)?,
                }
            }
        };
        let is_whole = end_of_value == len
            || end_of_value < len && {
                let payload = &data[start..end];
                scan::skip_blanks(payload, end_of_value) == len
            };
        if is_whole { Ok(()) } else { Err(Refused) }
    }

    /// Appends a payload, or says why it cannot be. May leave half a row behind if so.
    fn push_careful(&mut self, fields: &[FieldRef], payload: Text<'_>) -> Result<Kind, String> {
        let at = careful::check(payload.bytes)?;
        let result = match self {
            Self::Fields(record) => match scan::byte(payload.bytes, at) {
                b'{' => careful::object(record, fields.iter(), payload, at),
                b'n' => {
                    record.push_null();
                    return Ok(Kind::Null);
                }
                _ => return Err(careful::not_an_object(payload, at)),
            },
            Self::Bare(Some(node)) => {
                let field = &fields[0];
                careful::value(node, field.data_type(), payload, at)
                    .map_err(|problem| problem.inside(|| format!("->{}", field.name())))
            }
            Self::Bare(None) => Ok(()),
        };
        result
            .map(|()| Kind::Value)
            .map_err(|problem| problem.reason())
    }

    fn finish(&mut self, fields: &[FieldRef], payloads: &BinaryArray) -> Result<Vec<ArrayRef>> {
        match self {
            Self::Fields(record) => record.finish(fields.iter(), payloads.values()),
            Self::Bare(node) => node
                .iter_mut()
                .zip(fields)
                .map(|(node, field)| node.finish(field.data_type(), payloads.values()))
                .collect(),
        }
    }
}

#[inline(always)]
fn skip_blanks_before(bytes: &[u8]) -> usize {
    if scan::byte(bytes, 0) == b'{' {
        0
    } else {
        scan::skip_blanks(bytes, 0)
    }
}
