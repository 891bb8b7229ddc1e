//! What waits for readers: numbered, and kept until all of them are past it.

use std::collections::BTreeMap;

/// What is kept: an epoch's rows, or a unit of files.
pub(crate) trait Waits: Clone {
    fn bytes(&self) -> u64;

    /// When it was written, by the wall clock.
    fn at_ms(&self) -> i64;
}

/// How much waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Backlog {
    pub(crate) count: u64,
    pub(crate) bytes: u64,
    /// When the oldest of it was written.
    pub(crate) since_ms: Option<i64>,
}

/// By number what is kept, and how far each reader has come. Numbers begin with 1.
#[derive(Debug)]
pub(crate) struct Kept<T> {
    items: BTreeMap<u64, T>,
    readers: BTreeMap<String, u64>,
}

impl<T: Waits> Kept<T> {
    pub(crate) fn new(items: BTreeMap<u64, T>, readers: BTreeMap<String, u64>) -> Self {
        Self { items, readers }
    }

    pub(crate) fn extend(&mut self, items: impl IntoIterator<Item = (u64, T)>) {
        self.items.extend(items);
    }

    pub(crate) fn get(&self, number: u64) -> Option<&T> {
        self.items.get(&number)
    }

    /// The last number of what is kept; 0 when nothing is.
    pub(crate) fn newest(&self) -> u64 {
        self.items.keys().next_back().copied().unwrap_or(0)
    }

    /// The first after a number.
    pub(crate) fn after(&self, number: u64) -> Option<(u64, T)> {
        let mut later = self.items.range(number + 1..);
        later.next().map(|(number, item)| (*number, item.clone()))
    }

    /// How much there is after a number.
    pub(crate) fn backlog(&self, number: u64) -> Backlog {
        let mut backlog = Backlog::default();
        for item in self.items.range(number + 1..).map(|(_, item)| item) {
            backlog.count += 1;
            backlog.bytes += item.bytes();
            backlog.since_ms = backlog.since_ms.or(Some(item.at_ms()));
        }
        backlog
    }

    /// How far a reader has come.
    pub(crate) fn position(&self, reader: &str) -> Option<u64> {
        self.readers.get(reader).copied()
    }

    /// Adds a reader that needs nothing up to `number`, or tells how far it has come.
    pub(crate) fn advance(&mut self, reader: &str, number: u64) {
        self.readers.insert(reader.to_owned(), number);
    }

    pub(crate) fn detach(&mut self, reader: &str) {
        self.readers.remove(reader);
    }

    /// Takes out what all readers are past. Without readers nothing is.
    pub(crate) fn take_passed(&mut self) -> BTreeMap<u64, T> {
        let Some(passed) = self.readers.values().min().copied() else {
            return BTreeMap::new();
        };
        let kept = self.items.split_off(&(passed + 1));
        std::mem::replace(&mut self.items, kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Waits for i64 {
        fn bytes(&self) -> u64 {
            self.unsigned_abs()
        }

        fn at_ms(&self) -> i64 {
            *self
        }
    }

    #[test]
    fn the_last_reader_decides() {
        let mut kept = Kept::new(BTreeMap::from([(2, 20), (4, 40)]), BTreeMap::new());
        kept.extend([(7, 70)]);
        assert!(kept.take_passed().is_empty());
        kept.advance("a", 4);
        kept.advance("b", 0);
        assert!(kept.take_passed().is_empty());
        let expected = Backlog {
            count: 2,
            bytes: 110,
            since_ms: Some(40),
        };
        assert_eq!(kept.backlog(2), expected);
        kept.advance("b", 3);
        assert_eq!(kept.take_passed(), BTreeMap::from([(2, 20)]));
        kept.detach("b");
        assert_eq!(kept.take_passed(), BTreeMap::from([(4, 40)]));
        assert_eq!((kept.after(0), kept.after(7)), (Some((7, 70)), None));
        assert_eq!((kept.newest(), kept.backlog(7)), (7, Backlog::default()));
    }
}
