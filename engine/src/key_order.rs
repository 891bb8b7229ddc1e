//! Rows in the order of their state keys, as RocksDB takes them fastest.

/// Bytes at the start that all keys of a state table share: its id.
const SHARED: usize = 4;
/// Bytes behind them that are compared as numbers: a hash slice, a key of one number and a window
/// fit.
const PREFIX: usize = size_of::<u128>() + size_of::<u64>();

/// Sorts items by their state key, and those of one key by `then`. The keys lie all over memory, so
/// what mostly decides is put beside the items first: three times faster than comparing the keys.
pub(crate) fn sort_by_key<'a, T: Copy>(
    items: &mut [T],
    key: impl Fn(T) -> &'a [u8],
    then: impl Fn(T) -> usize,
) {
    let mut decorated: Vec<(Prefix, T)> = items
        .iter()
        .map(|item| (prefix(key(*item)), *item))
        .collect();
    decorated.sort_unstable_by(|(a_prefix, a), (b_prefix, b)| {
        a_prefix
            .cmp(b_prefix)
            .then_with(|| key(*a).cmp(key(*b)))
            .then_with(|| then(*a).cmp(&then(*b)))
    });
    for (item, (_, sorted)) in items.iter_mut().zip(decorated) {
        *item = sorted;
    }
}

type Prefix = (u128, u64);

/// The bytes behind the shared ones as numbers that order as they do; zeros where there are none.
fn prefix(key: &[u8]) -> Prefix {
    let mut bytes = [0; PREFIX];
    let rest = key.get(SHARED..).unwrap_or_default();
    let len = rest.len().min(PREFIX);
    bytes[..len].copy_from_slice(&rest[..len]);
    match (bytes.first_chunk(), bytes.last_chunk()) {
        (Some(high), Some(low)) => (u128::from_be_bytes(*high), u64::from_be_bytes(*low)),
        _ => (0, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::sort_by_key;

    #[test]
    fn the_order_is_that_of_the_bytes() {
        let tails: [&[u8]; 11] = [
            b"",
            b"\0",
            b"\0\0",
            b"a",
            b"a\0",
            b"a\0b",
            b"aaaaaaaaaaaaaaaa",
            b"aaaaaaaaaaaaaaaab",
            b"aaaaaaaaaaaaaaaac",
            b"aaaaaaaaaaaaaaaacaaaaaaaa",
            b"aaaaaaaaaaaaaaaacaaaaaaab",
        ];
        let keys: Vec<Vec<u8>> = tails
            .iter()
            .map(|tail| [b"\0\0\0\x07", *tail].concat())
            .collect();
        // Each key twice, from last to first.
        let mut items: Vec<usize> = (0..2 * keys.len()).rev().collect();
        sort_by_key(&mut items, |item| &keys[item / 2], |item| item);
        assert_eq!(items, (0..2 * keys.len()).collect::<Vec<_>>());
    }
}
