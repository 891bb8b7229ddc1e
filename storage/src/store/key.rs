//! Keys of state rows and outbox rows. The only module that builds or takes apart such a key.
//!
//! ```text
//! state   [table: u32 BE][vnode: u8][key bytes][window start: i64 BE, sign flipped]
//!                                              └ windowed tables only
//! part    [table: u32 BE][vnode: u8][key bytes][kind: u8][part][window start]
//!                         └ of the row that it is a part of
//! outbox  [sink: u32 BE][epoch: u64 BE][seq: u64 BE]
//! ```
//!
//! `vnode` is the low byte of Kafka's murmur2 of the key bytes, so the rows of one of 256 hash
//! slices lie together. The key bytes come from the caller in an order-preserving encoding in which
//! no key is the beginning of another (Arrow's row format is one): all windows of a key are then
//! one range, and within a vnode rows come in key order, then in window order.

use std::ops::Range;

use crate::murmur2::murmur2;
use crate::{Error, Result};

/// Bytes in front of the key bytes of a state key.
const PREFIX_LEN: usize = 5;
/// Bytes of a window start at the end of a state key.
const WINDOW_LEN: usize = 8;
/// Length of an outbox key.
const OUTBOX_LEN: usize = 20;

/// The hash slice, one of 256, that a key's rows live in.
pub fn vnode(key: &[u8]) -> u8 {
    (murmur2(key) & 0xff) as u8
}

/// The key of a state row.
pub fn state_key(table: u32, key: &[u8], window_start: Option<i64>) -> Vec<u8> {
    let mut out = Vec::with_capacity(PREFIX_LEN + key.len() + WINDOW_LEN);
    push_state_key(&mut out, table, key, window_start);
    out
}

/// Appends the key of a state row to `out`.
pub fn push_state_key(out: &mut Vec<u8>, table: u32, key: &[u8], window_start: Option<i64>) {
    out.extend_from_slice(&table.to_be_bytes());
    out.push(vnode(key));
    out.extend_from_slice(key);
    if let Some(start) = window_start {
        out.extend_from_slice(&window_bytes(start));
    }
}

/// Appends the key of a part of a state row to `out`: the part's kind and own bytes go behind the row's,
/// and it lives in `table`, in the row's hash slice. `row` is the row's state key, `windowed` or not.
///
/// As no key is the beginning of another, the same has to hold for the parts of one kind.
pub fn push_part_key(
    out: &mut Vec<u8>,
    table: u32,
    row: &[u8],
    windowed: bool,
    (kind, part): (u8, &[u8]),
) {
    let window_len = if windowed { WINDOW_LEN } else { 0 };
    let (key, window) = row.split_at(row.len().saturating_sub(window_len));
    out.extend_from_slice(&table.to_be_bytes());
    out.extend_from_slice(key.get(size_of::<u32>()..).unwrap_or_default());
    out.push(kind);
    out.extend_from_slice(part);
    out.extend_from_slice(window);
}

/// Appends a window start to a key that has none.
pub fn push_window(out: &mut Vec<u8>, window_start: i64) {
    out.extend_from_slice(&window_bytes(window_start));
}

/// A state key, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateKey<'a> {
    /// The state table.
    pub table: u32,
    /// The hash slice of the key.
    pub vnode: u8,
    /// The caller's key bytes.
    pub key: &'a [u8],
    /// Start of the window, of windowed tables.
    pub window_start: Option<i64>,
}

/// Takes a state key apart; `windowed` says whether its table is.
pub fn parse_state_key(bytes: &[u8], windowed: bool) -> Result<StateKey<'_>> {
    let damaged = || Error::Internal(format!("state key of {} bytes is too short", bytes.len()));
    let (table, rest) = bytes.split_first_chunk::<4>().ok_or_else(damaged)?;
    let (vnode, rest) = rest.split_first().ok_or_else(damaged)?;
    let (key, window_start) = if windowed {
        let (key, window) = rest.split_last_chunk::<WINDOW_LEN>().ok_or_else(damaged)?;
        (key, Some(decode_window(*window)))
    } else {
        (rest, None)
    };
    Ok(StateKey {
        table: u32::from_be_bytes(*table),
        vnode: *vnode,
        key,
        window_start,
    })
}

/// Range of all rows of a table. `u32::MAX` is not a table: its range is empty.
pub fn table_range(table: u32) -> Range<Vec<u8>> {
    table.to_be_bytes().to_vec()..table.saturating_add(1).to_be_bytes().to_vec()
}

/// A table's rows in so many ranges, of equally many hash slices each if 256 can be divided so. At
/// least one, and at most one for each slice.
pub fn table_parts(table: u32, parts: usize) -> Vec<Range<Vec<u8>>> {
    const VNODES: usize = 1 << u8::BITS;
    let parts = parts.clamp(1, VNODES);
    let begin = |part: usize| match u8::try_from(part * VNODES / parts) {
        Ok(vnode) if part > 0 => vnode_range(table, vnode).start,
        Ok(_) => table_range(table).start,
        Err(_) => table_range(table).end,
    };
    (0..parts)
        .map(|part| begin(part)..begin(part + 1))
        .collect()
}

/// Range of a table's rows in one hash slice.
pub fn vnode_range(table: u32, vnode: u8) -> Range<Vec<u8>> {
    prefix_range(table, vnode, &[])
}

/// Range of a table's rows in one hash slice whose key bytes begin with `key_prefix`.
pub fn prefix_range(table: u32, vnode: u8, key_prefix: &[u8]) -> Range<Vec<u8>> {
    let mut start = Vec::with_capacity(PREFIX_LEN + key_prefix.len());
    start.extend_from_slice(&table.to_be_bytes());
    start.push(vnode);
    start.extend_from_slice(key_prefix);
    let end = after_prefix(&start);
    start..end
}

/// Range of a key's rows: of all its windows when the table is windowed.
pub fn key_range(table: u32, key: &[u8]) -> Range<Vec<u8>> {
    prefix_range(table, vnode(key), key)
}

/// Range of a key's windows that start within `starts`.
pub fn window_range(table: u32, key: &[u8], starts: Range<i64>) -> Range<Vec<u8>> {
    state_key(table, key, Some(starts.start))..state_key(table, key, Some(starts.end))
}

/// The table and the window start of a windowed table's key, as the compaction filter wants them:
/// without checks that would cost, `None` for anything too short.
pub(super) fn table_and_window(bytes: &[u8]) -> Option<(u32, i64)> {
    let (table, rest) = bytes.split_first_chunk::<4>()?;
    let (_, window) = rest.split_last_chunk::<WINDOW_LEN>()?;
    Some((u32::from_be_bytes(*table), decode_window(*window)))
}

/// The table of a state key.
pub(super) fn table_of(bytes: &[u8]) -> Option<u32> {
    bytes
        .first_chunk::<4>()
        .map(|table| u32::from_be_bytes(*table))
}

/// The key of an outbox row.
pub fn outbox_key(sink: u32, epoch: u64, seq: u64) -> [u8; OUTBOX_LEN] {
    let mut out = [0; OUTBOX_LEN];
    out[..4].copy_from_slice(&sink.to_be_bytes());
    out[4..12].copy_from_slice(&epoch.to_be_bytes());
    out[12..].copy_from_slice(&seq.to_be_bytes());
    out
}

/// An outbox key, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboxKey {
    /// The sink the row is for.
    pub sink: u32,
    /// The epoch that wrote it.
    pub epoch: u64,
    /// Its place within the epoch.
    pub seq: u64,
}

/// Takes an outbox key apart.
pub fn parse_outbox_key(bytes: &[u8]) -> Result<OutboxKey> {
    let damaged = || Error::Internal(format!("outbox key of {} bytes", bytes.len()));
    let (sink, rest) = bytes.split_first_chunk::<4>().ok_or_else(damaged)?;
    let (epoch, rest) = rest.split_first_chunk::<8>().ok_or_else(damaged)?;
    let seq: [u8; 8] = rest.try_into().map_err(|_| damaged())?;
    Ok(OutboxKey {
        sink: u32::from_be_bytes(*sink),
        epoch: u64::from_be_bytes(*epoch),
        seq: u64::from_be_bytes(seq),
    })
}

/// Range of a sink's outbox rows of the epochs within `epochs`.
pub fn outbox_range(sink: u32, epochs: Range<u64>) -> Range<Vec<u8>> {
    outbox_key(sink, epochs.start, 0).to_vec()..outbox_key(sink, epochs.end, 0).to_vec()
}

/// Range of all outbox rows of a sink. `u32::MAX` is not a sink: its range is empty.
pub fn sink_range(sink: u32) -> Range<Vec<u8>> {
    table_range(sink)
}

/// The first key after all that begin with `prefix`, which must not be all `0xff`: a table id of
/// `u32::MAX` does not exist.
pub(super) fn after_prefix(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            break;
        }
    }
    end
}

/// A window start as it stands at the end of a key: in order of bytes.
pub fn window_bytes(start: i64) -> [u8; WINDOW_LEN] {
    (start ^ i64::MIN).to_be_bytes()
}

fn decode_window(bytes: [u8; WINDOW_LEN]) -> i64 {
    i64::from_be_bytes(bytes) ^ i64::MIN
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn layout_is_as_drawn() {
        let key = state_key(0x0102_0304, b"k", Some(-1));
        let mut expected = vec![1, 2, 3, 4, vnode(b"k"), b'k'];
        expected.extend([0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(key, expected);
        assert_eq!(
            outbox_key(1, 2, 3),
            [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3]
        );
    }

    #[test]
    fn short_keys_are_errors() {
        for len in 0..PREFIX_LEN {
            assert!(parse_state_key(&vec![0; len], false).is_err());
        }
        assert!(parse_state_key(&[0; PREFIX_LEN + 7], true).is_err());
        assert!(parse_outbox_key(&[0; 19]).is_err());
        assert!(parse_outbox_key(&[0; 21]).is_err());
        assert_eq!(table_and_window(&[0; 11]), None);
    }

    #[test]
    fn ranges_hold_what_they_should() {
        let all = table_range(7);
        assert!(all.contains(&state_key(7, b"", None)));
        assert!(all.contains(&state_key(7, &[0xff; 40], Some(i64::MAX))));
        assert!(!all.contains(&state_key(8, b"", None)));
        assert!(!all.contains(&state_key(6, &[0xff; 40], None)));
        assert!(table_range(u32::MAX).is_empty());
        let slice = vnode_range(7, 255);
        assert_eq!(slice.end, [0, 0, 0, 8]);
        for (wanted, parts) in [
            (0, 1),
            (1, 1),
            (2, 2),
            (3, 3),
            (255, 255),
            (256, 256),
            (999, 256),
        ] {
            let ranges = table_parts(7, wanted);
            assert_eq!(ranges.len(), parts);
            assert_eq!(ranges[0].start, all.start);
            assert_eq!(ranges[parts - 1].end, all.end);
            assert!(ranges.iter().all(|range| !range.is_empty()));
            assert!(ranges.windows(2).all(|two| two[0].end == two[1].start));
        }
        let windows = window_range(7, b"k", -5..5);
        for (start, inside) in [(-6, false), (-5, true), (0, true), (4, true), (5, false)] {
            assert_eq!(
                windows.contains(&state_key(7, b"k", Some(start))),
                inside,
                "{start}"
            );
        }
        let epochs = outbox_range(3, 5..7);
        for (epoch, inside) in [(4, false), (5, true), (6, true), (7, false)] {
            assert_eq!(
                epochs.contains(&outbox_key(3, epoch, u64::MAX).to_vec()),
                inside
            );
        }
    }

    proptest! {
        #[test]
        fn state_keys_round_trip(
            table in any::<u32>(),
            key in proptest::collection::vec(any::<u8>(), 0..40),
            window in proptest::option::of(any::<i64>()),
        ) {
            let bytes = state_key(table, &key, window);
            let parsed = parse_state_key(&bytes, window.is_some())?;
            prop_assert_eq!(
                parsed,
                StateKey { table, vnode: vnode(&key), key: &key, window_start: window }
            );
            if let Some(window) = window {
                prop_assert_eq!(table_and_window(&bytes), Some((table, window)));
            }
            prop_assert_eq!(table_of(&bytes), Some(table));
            if table < u32::MAX {
                prop_assert!(key_range(table, &key).contains(&bytes));
                prop_assert!(vnode_range(table, vnode(&key)).contains(&bytes));
            }
        }

        /// Keys of one length, so that none is the beginning of another.
        #[test]
        fn order_is_table_vnode_key_window(
            a in (0_u32..3, proptest::array::uniform3(any::<u8>()), any::<i64>()),
            b in (0_u32..3, proptest::array::uniform3(any::<u8>()), any::<i64>()),
        ) {
            let place = |(table, key, window): (u32, [u8; 3], i64)| (table, vnode(&key), key, window);
            let bytes = |(table, key, window): (u32, [u8; 3], i64)| {
                state_key(table, &key, Some(window))
            };
            prop_assert_eq!(place(a).cmp(&place(b)), bytes(a).cmp(&bytes(b)));
        }

        #[test]
        fn parts_are_in_their_rows_slice_and_window(
            table in 0_u32..u32::MAX,
            key in proptest::collection::vec(any::<u8>(), 0..40),
            part in proptest::collection::vec(any::<u8>(), 0..40),
            window in proptest::option::of(any::<i64>()),
        ) {
            let mut bytes = Vec::new();
            let row = state_key(7, &key, window);
            push_part_key(&mut bytes, table, &row, window.is_some(), (9, &part));
            let parsed = parse_state_key(&bytes, window.is_some())?;
            let both = [key.as_slice(), &[9], &part].concat();
            prop_assert_eq!(
                parsed,
                StateKey { table, vnode: vnode(&key), key: &both, window_start: window }
            );
            prop_assert!(prefix_range(table, vnode(&key), &key).contains(&bytes));
        }

        #[test]
        fn outbox_keys_round_trip_in_order(
            a in (any::<u32>(), any::<u64>(), any::<u64>()),
            b in (any::<u32>(), any::<u64>(), any::<u64>()),
        ) {
            let key = outbox_key(a.0, a.1, a.2);
            let parsed = parse_outbox_key(&key)?;
            prop_assert_eq!((parsed.sink, parsed.epoch, parsed.seq), a);
            prop_assert_eq!(a.cmp(&b), key.cmp(&outbox_key(b.0, b.1, b.2)));
        }
    }
}
