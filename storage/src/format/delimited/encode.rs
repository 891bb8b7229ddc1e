//! Columns into lines.

use arrow::array::{ArrayRef, BinaryArray};
use arrow::datatypes::Fields;

use super::super::cells::{Cells, Payloads, Values};
use crate::{Error, Result};

/// Columns into lines without line ends.
#[derive(Debug)]
pub(in super::super) struct Encoder {
    fields: Fields,
    delimiter: char,
}

impl Encoder {
    pub(in super::super) fn new(fields: &Fields, delimiter: char) -> Self {
        Self {
            fields: fields.clone(),
            delimiter,
        }
    }

    pub(in super::super) fn encode(
        &mut self,
        columns: &[ArrayRef],
        null_row: impl Fn(usize) -> bool,
        rows: usize,
    ) -> Result<BinaryArray> {
        if columns.len() != self.fields.len() {
            let (expected, found) = (self.fields.len(), columns.len());
            return Err(Error::Internal(format!(
                "{found} columns to encode as {expected}"
            )));
        }
        let cells = self.fields.iter().zip(columns);
        let cells = cells.map(|(field, column)| Cells::try_new(field.data_type(), column));
        let cells: Vec<_> = cells.collect::<Result<_>>()?;
        let mut delimiter = [0; 4];
        let delimiter = self.delimiter.encode_utf8(&mut delimiter).as_bytes();
        let mut payloads = Payloads::with_capacity(rows, rows * 16);
        let mut text = Vec::new();
        for row in 0..rows {
            if null_row(row) {
                payloads.push_null();
                continue;
            }
            for (i, cells) in cells.iter().enumerate() {
                if i > 0 {
                    payloads.out.extend_from_slice(delimiter);
                }
                if cells.is_null(row) {
                    continue;
                }
                let text = match &cells.values {
                    Values::String(texts) => texts.value(row).as_bytes(),
                    _ => {
                        text.clear();
                        cells.print(row, &mut text);
                        &text
                    }
                };
                write(text, i == 0, delimiter, &mut payloads.out);
            }
            payloads.close()?;
        }
        payloads.finish()
    }
}

/// Appends a value, in quotes where commons-csv puts them. It is more cautious than it need be, at
/// the start of a line in particular, but `"-5",x` is what ksqlDB writes and its users compare. An
/// empty string alone is in quotes everywhere here, so that it does not come back as NULL.
fn write(text: &[u8], is_first: bool, delimiter: &[u8], out: &mut Vec<u8>) {
    let quote = match text {
        [] => true,
        [first, .., last] | [first @ last] => {
            (is_first && !first.is_ascii_alphanumeric())
                || *first <= b'#'
                || *last <= b' '
                || memchr::memchr3(b'"', b'\r', b'\n', text).is_some()
                || memchr::memmem::find(text, delimiter).is_some()
        }
    };
    if !quote {
        return out.extend_from_slice(text);
    }
    out.push(b'"');
    let mut rest = text;
    while let Some(quote) = memchr::memchr(b'"', rest) {
        out.extend_from_slice(&rest[..=quote]);
        out.push(b'"');
        rest = &rest[quote + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}
