//! Reading: the same methods on the store, which shows what is committed at each call, and on a
//! [`Snapshot`](super::Snapshot), which shows what was committed when it was taken.

use std::fmt;
use std::ops::{Deref, Range};

use rocksdb::{DBPinnableSlice, DBRawIterator, PrefixRange, ReadOptions};

use super::{Store, key, meta, options};
use crate::Result;

/// A key and its value, copied.
pub type Pair = (Vec<u8>, Vec<u8>);

/// Where a view looks.
pub trait At: Send + Sync {
    /// The store, and the snapshot of it if it is one.
    fn at(&self) -> (&Store, Option<&rocksdb::Snapshot<'_>>);
}

/// What can be read, of the store or of a snapshot.
pub trait View: At {
    /// A row of `meta`.
    fn get_meta(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let (store, _) = self.at();
        let found = store
            .db
            .get_pinned_cf_opt(store.family(options::META), key, &read_options(self.at().1))
            .map_err(|error| store.failed("read the catalog", &error))?;
        found
            .map(|stored| Ok(meta::decode(key, &stored)?.to_vec()))
            .transpose()
    }

    /// The rows of `meta` whose keys begin with `prefix`, in order.
    fn scan_meta(&self, prefix: &[u8]) -> Result<Vec<Pair>> {
        let (_, snapshot) = self.at();
        let mut options = read_options(snapshot);
        options.set_iterate_range(PrefixRange(prefix));
        let mut scan = scan(self.at(), options::META, options);
        let mut rows = Vec::new();
        while let Some((key, stored)) = scan.next_row()? {
            rows.push((key.to_vec(), meta::decode(key, stored)?.to_vec()));
        }
        Ok(rows)
    }

    /// The value of a state key.
    fn get_state(&self, key: &[u8]) -> Result<Option<Value<'_>>> {
        let (store, snapshot) = self.at();
        let family = store.family(options::STATE);
        let found = match snapshot {
            Some(_) => store
                .db
                .get_pinned_cf_opt(family, key, &read_options(snapshot)),
            None => store.db.get_pinned_cf_opt(family, key, &store.reading),
        };
        let found = found.map_err(|error| store.failed("read state", &error))?;
        Ok(found.map(Value))
    }

    /// The values of state keys, in the order of `keys`. Fastest when the keys are sorted.
    fn multi_get_state(&self, keys: &[&[u8]]) -> Result<Vec<Option<Value<'_>>>> {
        let (store, snapshot) = self.at();
        let found = store.db.batched_multi_get_cf_opt(
            store.family(options::STATE),
            keys.iter().copied(),
            keys.is_sorted(),
            &read_options(snapshot),
        );
        let mut values = Vec::with_capacity(found.len());
        for value in found {
            values.push(
                value
                    .map_err(|error| store.failed("read state", &error))?
                    .map(Value),
            );
        }
        Ok(values)
    }

    /// The state rows from `range.start` up to `range.end`, in key order. See [`key`] for ranges.
    fn scan_state(&self, range: Range<Vec<u8>>) -> Scan<'_> {
        scan_range(self.at(), options::STATE, range)
    }

    /// The outbox rows of a sink for the epochs in `epochs`, in order.
    fn scan_outbox(&self, sink: u32, epochs: Range<u64>) -> Scan<'_> {
        scan_range(self.at(), options::OUTBOX, key::outbox_range(sink, epochs))
    }
}

impl At for Store {
    fn at(&self) -> (&Store, Option<&rocksdb::Snapshot<'_>>) {
        (self, None)
    }
}

impl View for Store {}

fn read_options(snapshot: Option<&rocksdb::Snapshot<'_>>) -> ReadOptions {
    let mut options = ReadOptions::default();
    if let Some(snapshot) = snapshot {
        options.set_snapshot(snapshot);
    }
    options
}

fn scan_range<'a>(
    at: (&'a Store, Option<&'a rocksdb::Snapshot<'a>>),
    family: &'static str,
    range: Range<Vec<u8>>,
) -> Scan<'a> {
    let mut options = read_options(at.1);
    // RocksDB does not take an empty upper bound, nor one below the lower.
    let end = range.end.max(range.start.clone());
    options.set_iterate_lower_bound(range.start);
    options.set_iterate_upper_bound(end);
    scan(at, family, options)
}

fn scan<'a>(
    (store, snapshot): (&'a Store, Option<&'a rocksdb::Snapshot<'a>>),
    family: &'static str,
    options: ReadOptions,
) -> Scan<'a> {
    let family_handle = store.family(family);
    let rows = match snapshot {
        Some(snapshot) => snapshot.raw_iterator_cf_opt(family_handle, options),
        None => store.db.raw_iterator_cf_opt(family_handle, options),
    };
    Scan {
        store,
        family,
        rows,
        place: Place::Start,
    }
}

/// A value as it lies in the store's memory.
pub struct Value<'a>(DBPinnableSlice<'a>);

impl Deref for Value<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Value<'_> {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Value({} bytes)", self.len())
    }
}

/// A run over rows in key order. Sees what was committed when it began.
pub struct Scan<'a> {
    store: &'a Store,
    family: &'static str,
    rows: DBRawIterator<'a>,
    place: Place,
}

enum Place {
    Start,
    Inside,
    End,
}

impl Scan<'_> {
    /// The next key and value; `None` after the last.
    pub fn next_row(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        match self.place {
            Place::Start => self.rows.seek_to_first(),
            Place::Inside => self.rows.next(),
            Place::End => return Ok(None),
        }
        self.place = Place::Inside;
        if !self.rows.valid() {
            self.place = Place::End;
            let status = self.rows.status();
            let what = format!("scan the {}", self.family);
            return status
                .map(|()| None)
                .map_err(|error| self.store.failed(&what, &error));
        }
        Ok(self.rows.item())
    }

    /// At most `limit` more rows, copied.
    pub fn take_rows(&mut self, limit: usize) -> Result<Vec<Pair>> {
        let mut rows = Vec::new();
        while rows.len() < limit
            && let Some((key, value)) = self.next_row()?
        {
            rows.push((key.to_vec(), value.to_vec()));
        }
        Ok(rows)
    }
}

impl fmt::Debug for Scan<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scan")
            .field("family", &self.family)
            .finish_non_exhaustive()
    }
}
