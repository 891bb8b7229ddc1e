//! Growing columns of strings, in Arrow's two forms: copied into one buffer with offsets, or as
//! views that leave long strings where they are, in the batch's payloads.

use arrow::array::{StringArray, StringViewArray, make_view};
use arrow::buffer::Buffer;

use super::{Ends, Validity, too_large};
use crate::{Error, Result};

/// A growing column of strings in some form. What is pushed must be UTF-8.
pub(in super::super) trait Strings {
    /// Appends `text`, which stands at `at` in the batch's payloads.
    fn push(&mut self, text: &[u8], at: usize);

    /// Appends a text that does not stand in the payloads as it is: `write` puts it behind what
    /// the buffer already holds, which it must leave alone. Nothing is appended when it fails.
    fn push_written<E>(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E>;
}

/// Strings copied one behind the other: Arrow's `Utf8`.
#[derive(Debug, Default)]
pub(in super::super) struct Copied {
    values: Vec<u8>,
    ends: Ends,
    validity: Validity,
    /// How long a string was on average last time, to make room for the next ones at once.
    bytes_per_row: usize,
}

impl Strings for Copied {
    #[inline(always)]
    fn push(&mut self, text: &[u8], _at: usize) {
        self.values.extend_from_slice(text);
        self.ends.push(self.values.len());
        self.validity.push_valid();
    }

    fn push_written<E>(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        let start = self.values.len();
        if let Err(err) = write(&mut self.values) {
            self.values.truncate(start);
            return Err(err);
        }
        self.ends.push(self.values.len());
        self.validity.push_valid();
        Ok(())
    }
}

impl Copied {
    pub(in super::super) fn push_null(&mut self) {
        self.validity.push_null(self.ends.len());
        self.ends.push(self.values.len());
    }

    pub(in super::super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(in super::super) fn reserve(&mut self, rows: usize) {
        self.ends.reserve(rows);
        self.values.reserve(rows * self.bytes_per_row);
    }

    pub(in super::super) fn truncate(&mut self, len: usize) {
        self.values.truncate(self.ends.truncate(len));
        self.validity.truncate(len);
    }

    pub(in super::super) fn finish(&mut self, _source: &Buffer) -> Result<StringArray> {
        self.bytes_per_row = self.values.len().div_ceil(self.ends.len().max(1));
        let offsets = self.ends.finish(self.values.len())?;
        let values = Buffer::from(std::mem::take(&mut self.values));
        StringArray::try_new(offsets, values, self.validity.finish())
            .map_err(|err| Error::Internal(err.to_string()))
    }
}

/// Strings as views into the payloads: Arrow's `Utf8View`.
#[derive(Debug, Default)]
pub(in super::super) struct Viewed {
    views: Vec<u128>,
    /// Long strings that do not stand in the payloads as they are. Its block number follows that
    /// of the payloads.
    written: Vec<u8>,
    validity: Validity,
}

const PAYLOADS: u32 = 0;
const WRITTEN: u32 = 1;

impl Strings for Viewed {
    #[inline(always)]
    fn push(&mut self, text: &[u8], at: usize) {
        // The payloads are one Arrow buffer with 32-bit offsets, so `at` fits.
        self.views.push(make_view(text, PAYLOADS, at as u32));
        self.validity.push_valid();
    }

    fn push_written<E>(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        let start = self.written.len();
        if let Err(err) = write(&mut self.written) {
            self.written.truncate(start);
            return Err(err);
        }
        // An offset that does not fit is found by `finish`, which refuses the whole column.
        self.views
            .push(make_view(&self.written[start..], WRITTEN, start as u32));
        self.validity.push_valid();
        Ok(())
    }
}

impl Viewed {
    pub(in super::super) fn push_null(&mut self) {
        self.validity.push_null(self.views.len());
        self.views.push(0);
    }

    pub(in super::super) fn len(&self) -> usize {
        self.views.len()
    }

    pub(in super::super) fn reserve(&mut self, rows: usize) {
        self.views.reserve(rows);
    }

    pub(in super::super) fn truncate(&mut self, len: usize) {
        // What the forgotten views had written stays behind; it is rare, and gone with the batch.
        self.views.truncate(len);
        self.validity.truncate(len);
    }

    pub(in super::super) fn finish(&mut self, source: &Buffer) -> Result<StringViewArray> {
        if i32::try_from(self.written.len()).is_err() {
            return Err(too_large());
        }
        let views = std::mem::take(&mut self.views).into();
        let buffers = vec![
            source.clone(),
            Buffer::from(std::mem::take(&mut self.written)),
        ];
        StringViewArray::try_new(views, buffers, self.validity.finish())
            .map_err(|err| Error::Internal(err.to_string()))
    }
}
