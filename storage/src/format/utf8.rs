//! Which payloads are UTF-8. The whole batch is checked at once, and single payloads only when
//! that fails: a batch's payloads lie one after the other in one buffer.

use arrow::array::{Array, BinaryArray};

/// The check of one batch.
#[derive(Debug)]
pub(super) struct Utf8<'a> {
    data: &'a [u8],
    offsets: &'a [i32],
    whole: bool,
}

impl<'a> Utf8<'a> {
    pub(super) fn new(payloads: &'a BinaryArray) -> Self {
        let (data, offsets) = (payloads.value_data(), payloads.value_offsets());
        let (first, last) = (offsets[0] as usize, offsets[payloads.len()] as usize);
        let data = &data[..last];
        Self {
            data,
            offsets,
            whole: simdutf8::basic::from_utf8(&data[first..]).is_ok(),
        }
    }

    /// Whether the payload of `row` is UTF-8.
    #[inline]
    pub(super) fn is_valid(&self, row: usize) -> bool {
        let (start, end) = (self.offsets[row] as usize, self.offsets[row + 1] as usize);
        if self.whole {
            // The batch as a whole is fine, so the payload is if it begins and ends between two
            // characters; half a character here and half in the next payload would be fine too.
            start == end || self.is_boundary(start) && self.is_boundary(end)
        } else {
            simdutf8::basic::from_utf8(&self.data[start..end]).is_ok()
        }
    }

    fn is_boundary(&self, at: usize) -> bool {
        self.data
            .get(at)
            .is_none_or(|byte| byte & 0b1100_0000 != 0b1000_0000)
    }
}
