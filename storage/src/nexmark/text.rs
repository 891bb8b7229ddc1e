//! Columns of text, written straight into an Arrow buffer.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};

use super::random::{below, nth};
use crate::{Error, Result};

/// The shortest word.
const SHORTEST: u64 = 3;

/// A column of text in the making.
#[derive(Debug)]
pub(super) struct Texts {
    values: Vec<u8>,
    offsets: Vec<i32>,
    /// Whether a column has more than its offsets can say.
    too_long: bool,
}

impl Texts {
    /// Room for `rows` texts of about `bytes_each`.
    pub(super) fn with_capacity(rows: usize, bytes_each: usize) -> Self {
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        Self {
            values: Vec::with_capacity(rows * bytes_each),
            offsets,
            too_long: false,
        }
    }

    /// Adds to the text that is being written. ASCII only.
    #[inline]
    pub(super) fn put(&mut self, text: &[u8]) {
        self.values.extend_from_slice(text);
    }

    /// Ends the text that is being written.
    #[inline]
    pub(super) fn end(&mut self) {
        match i32::try_from(self.values.len()) {
            Ok(end) => self.offsets.push(end),
            Err(_) => self.too_long = true,
        }
    }

    /// Adds `length` letters that `bits` decide.
    #[inline]
    pub(super) fn put_letters(&mut self, bits: u64, length: usize) {
        let end = self.values.len() + length;
        for word in 0..length.div_ceil(8) {
            self.values.extend_from_slice(&letters(nth(bits, word)));
        }
        self.values.truncate(end);
    }

    /// Adds `length` letters that `bits` decide, some of the inner ones (1 in 13) `gap` instead.
    pub(super) fn put_words(&mut self, bits: u64, length: usize, gap: u8) {
        let start = self.values.len();
        self.put_letters(bits, length);
        let inner = self
            .values
            .get_mut(start + 1..(start + length).max(start + 2) - 1);
        for (place, letter) in inner.unwrap_or_default().iter_mut().enumerate() {
            // Letters take the first half of what `bits` start.
            let chance = nth(!bits, place / 4) >> (place % 4 * 16);
            if (chance & 0xffff) * 13 < 0x1_0000 {
                *letter = gap;
            }
        }
    }

    /// What was written since it was last cleared, ended or not.
    pub(super) fn written(&self) -> &[u8] {
        &self.values
    }

    /// Empties it.
    pub(super) fn clear(&mut self) {
        self.values.clear();
        self.offsets.truncate(1);
    }

    /// The column.
    pub(super) fn finish(self) -> Result<ArrayRef> {
        if self.too_long {
            return Err(Error::Internal(
                "more than 2 GiB of text in one batch".into(),
            ));
        }
        let offsets = OffsetBuffer::new(ScalarBuffer::from(self.offsets));
        let array = StringArray::try_new(offsets, Buffer::from_vec(self.values), None)
            .map_err(|error| Error::Internal(error.to_string()))?;
        Ok(Arc::new(array))
    }
}

/// How long a text is that `bits` start: at least 3, below `longest`.
#[inline]
pub(super) fn length(bits: u64, longest: u64) -> usize {
    (SHORTEST + below(bits >> 32, longest - SHORTEST)) as usize
}

/// How long the padding of a row is whose other columns take `taken` bytes, so that rows take
/// `average` on average: up to a fifth of the padding more or less, none where there is no room.
#[inline]
pub(super) fn padding(bits: u64, taken: usize, average: usize) -> usize {
    let Some(wanted) = average.checked_sub(taken) else {
        return 0;
    };
    let spread = (wanted + 2) / 5;
    wanted - spread + below(bits >> 32, 2 * spread as u64) as usize
}

/// Eight letters, each of a byte of `bits`.
#[inline]
fn letters(bits: u64) -> [u8; 8] {
    /// Every other byte: what it is multiplied by fits into two.
    const EVEN: u64 = 0x00ff_00ff_00ff_00ff;
    let even = (((bits & EVEN) * 26) >> 8) & EVEN;
    let odd = (((bits >> 8) & EVEN) * 26) & !EVEN;
    ((even | odd) + u64::from_ne_bytes([b'a'; 8])).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;

    use super::*;

    #[test]
    fn letters_are_letters() {
        assert_eq!(&letters(0), b"aaaaaaaa");
        assert_eq!(&letters(u64::MAX), b"zzzzzzzz");
        assert_eq!(&letters(0xff00), b"azaaaaaa");
        let mut seen = [0_u32; 26];
        for n in 0..10_000 {
            for letter in letters(nth(3, n)) {
                seen[usize::from(letter - b'a')] += 1;
            }
        }
        assert!(seen.iter().all(|n| (2_500..3_700).contains(n)), "{seen:?}");
    }

    #[test]
    fn texts_have_their_length_and_gaps() {
        let mut texts = Texts::with_capacity(100, 60);
        for n in 0..1_000 {
            texts.put_words(nth(5, n), n % 50, b'_');
            texts.end();
        }
        let column = texts.finish().unwrap();
        let mut gaps = 0;
        for (n, text) in column.as_string::<i32>().iter().enumerate() {
            let text = text.unwrap();
            assert_eq!(text.len(), n % 50);
            assert!(!text.starts_with('_') && !text.ends_with('_'));
            gaps += text.matches('_').count();
        }
        // A thirteenth of the inner letters.
        assert!((1_500..2_000).contains(&gaps), "{gaps}");
    }
}
