//! Values of `meta` rows: `[CRC32C of the value: u32 LE][value]`.
//!
//! What says where reading goes on must not be believed when a bit has flipped in memory between
//! RocksDB's own checksums.

use crate::{Error, Result};

/// Key of the row that says how the directory is laid out.
pub(super) const FORMAT_VERSION: &[u8] = b"store/format";

pub(super) fn encode(value: &[u8]) -> Vec<u8> {
    [&crc32c::crc32c(value).to_le_bytes(), value].concat()
}

pub(super) fn decode<'a>(key: &[u8], stored: &'a [u8]) -> Result<&'a [u8]> {
    match stored.split_first_chunk::<4>() {
        Some((crc, value)) if crc32c::crc32c(value).to_le_bytes() == *crc => Ok(value),
        _ => Err(Error::external(
            format!("read the row \"{}\" of the catalog", key.escape_ascii()),
            "its checksum is wrong; restore the data directory from a backup",
        )),
    }
}
