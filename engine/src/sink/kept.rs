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

/// What a reader needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Position {
    /// The last number that it has.
    pub(crate) last: u64,
    /// The last number that it will take; `None` when it takes whatever comes.
    pub(crate) until: Option<u64>,
}

impl Position {
    fn needs(&self, number: u64) -> bool {
        number > self.last && self.until.is_none_or(|until| number <= until)
    }
}

/// The readers of something that is kept, by name.
pub(crate) type Readers = BTreeMap<String, Position>;

/// By number what is kept, and how far each reader has come. Numbers begin with 1.
#[derive(Debug)]
pub(crate) struct Kept<T> {
    items: BTreeMap<u64, T>,
    readers: Readers,
}

impl<T: Waits> Kept<T> {
    pub(crate) fn new(items: BTreeMap<u64, T>, readers: Readers) -> Self {
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

    /// The last that is kept, and its number.
    pub(crate) fn last(&self) -> Option<(u64, T)> {
        let last = self.items.last_key_value();
        last.map(|(number, item)| (*number, item.clone()))
    }

    /// The first after a number.
    pub(crate) fn after(&self, number: u64) -> Option<(u64, T)> {
        let mut later = self.items.range(number + 1..);
        later.next().map(|(number, item)| (*number, item.clone()))
    }

    /// The first after a number that a reader takes.
    pub(crate) fn next(&self, reader: &str, number: u64) -> Option<(u64, T)> {
        let until = self.readers.get(reader).and_then(|position| position.until);
        let next = self.after(number);
        next.filter(|(number, _)| until.is_none_or(|until| *number <= until))
    }

    /// How much there is for a reader that has come to a number.
    pub(crate) fn backlog(&self, reader: &str, number: u64) -> Backlog {
        let until = self.readers.get(reader).and_then(|position| position.until);
        self.between(number, until.unwrap_or(u64::MAX))
    }

    /// How much there is.
    pub(crate) fn size(&self) -> Backlog {
        self.between(0, u64::MAX)
    }

    fn between(&self, after: u64, until: u64) -> Backlog {
        let mut backlog = Backlog::default();
        let items = self
            .items
            .range(after + 1..)
            .take_while(|(number, _)| **number <= until);
        for (_, item) in items {
            backlog.count += 1;
            backlog.bytes += item.bytes();
            backlog.since_ms = backlog.since_ms.or(Some(item.at_ms()));
        }
        backlog
    }

    /// How far a reader has come.
    pub(crate) fn position(&self, reader: &str) -> Option<u64> {
        self.readers.get(reader).map(|position| position.last)
    }

    /// Adds a reader that needs nothing up to `number`, or tells how far it has come.
    pub(crate) fn advance(&mut self, reader: &str, number: u64) {
        self.readers.entry(reader.to_owned()).or_default().last = number;
    }

    /// Says that a reader will take nothing after `number`.
    pub(crate) fn bound(&mut self, reader: &str, number: u64) {
        self.readers.entry(reader.to_owned()).or_default().until = Some(number);
    }

    /// Whether a reader takes whatever comes.
    pub(crate) fn is_read_by(&self, reader: &str) -> bool {
        let position = self.readers.get(reader);
        position.is_some_and(|position| position.until.is_none())
    }

    /// Whether somebody else takes whatever comes.
    pub(crate) fn has_others(&self, reader: &str) -> bool {
        let mut readers = self.readers.iter();
        readers.any(|(name, position)| name != reader && position.until.is_none())
    }

    pub(crate) fn detach(&mut self, reader: &str) {
        self.readers.remove(reader);
    }

    /// Takes out what no reader needs. Without readers that is nothing.
    pub(crate) fn take_passed(&mut self) -> BTreeMap<u64, T> {
        if self.readers.is_empty() {
            return BTreeMap::new();
        }
        let readers = &self.readers;
        let needed = |number: u64| readers.values().any(|position| position.needs(number));
        self.items
            .extract_if(.., |number, _| !needed(*number))
            .collect()
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
        assert_eq!(kept.backlog("c", 2), expected);
        kept.advance("b", 3);
        assert_eq!(kept.take_passed(), BTreeMap::from([(2, 20)]));
        kept.detach("b");
        assert_eq!(kept.take_passed(), BTreeMap::from([(4, 40)]));
        assert_eq!((kept.after(0), kept.after(7)), (Some((7, 70)), None));
        assert_eq!(
            (kept.newest(), kept.backlog("c", 7)),
            (7, Backlog::default())
        );
    }

    #[test]
    fn one_that_takes_no_more_holds_up_nothing_later() {
        let items = BTreeMap::from([(1, 10), (2, 20), (3, 30), (4, 40)]);
        let mut kept = Kept::new(items, BTreeMap::new());
        kept.advance("gone", 1);
        kept.advance("there", 4);
        assert!(kept.has_others("gone"));
        kept.bound("gone", 2);
        assert_eq!(
            kept.take_passed(),
            BTreeMap::from([(1, 10), (3, 30), (4, 40)])
        );
        assert_eq!(
            (kept.next("gone", 1), kept.next("there", 1)),
            (Some((2, 20)), Some((2, 20)))
        );
        kept.extend([(5, 50)]);
        assert_eq!(
            (kept.next("gone", 2), kept.next("there", 4)),
            (None, Some((5, 50)))
        );
        assert_eq!(
            (
                kept.backlog("gone", 1).bytes,
                kept.backlog("there", 1).bytes
            ),
            (20, 70)
        );
        assert!(!kept.has_others("there"));
        kept.advance("gone", 2);
        assert_eq!(kept.take_passed(), BTreeMap::from([(2, 20)]));
        assert_eq!(kept.last(), Some((5, 50)));
    }
}
