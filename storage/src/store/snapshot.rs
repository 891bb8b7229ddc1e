//! What was committed at one moment. RocksDB's own snapshot borrows the database; this one owns a
//! reference to the store, so that it can travel between threads and outlive a function.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use self_cell::self_cell;

use super::Store;
use super::view::{At, Scan, View};
use crate::Result;

type Borrowed<'a> = rocksdb::Snapshot<'a>;

self_cell!(
    struct Cell {
        owner: Arc<Store>,
        #[covariant]
        dependent: Borrowed,
    }
);

/// What was committed when it was taken. Cheap to take and to clone; while it lives, the disk space
/// of rows that it shows and that were changed since is not given back.
#[derive(Clone)]
pub struct Snapshot {
    shared: Arc<Shared>,
}

struct Shared {
    cell: Cell,
    seq: u64,
}

impl Snapshot {
    pub(super) fn take(store: Arc<Store>) -> Self {
        let (cell, seq) = store.clone().expiry.snapshot_taken(|| {
            let cell = Cell::new(store, |store| store.db.snapshot());
            let seq = cell.borrow_dependent().sequence_number();
            (cell, seq)
        });
        Self {
            shared: Arc::new(Shared { cell, seq }),
        }
    }

    /// The state rows in `range`, by a scan that owns the snapshot: for streams that outlive the
    /// function that begins them.
    pub fn into_scan_state(self, range: Range<Vec<u8>>) -> OwnedScan {
        OwnedScan {
            cell: ScanCell::new(self, |snapshot| snapshot.scan_state(range)),
        }
    }

    /// All outbox rows of a sink, by a scan that owns the snapshot.
    pub fn into_scan_outbox(self, sink: u32, epochs: Range<u64>) -> OwnedScan {
        OwnedScan {
            cell: ScanCell::new(self, |snapshot| snapshot.scan_outbox(sink, epochs)),
        }
    }

    /// The store it was taken of.
    pub fn store(&self) -> &Arc<Store> {
        self.shared.cell.borrow_owner()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.cell.borrow_owner().expiry.snapshot_gone(self.seq);
    }
}

impl At for Snapshot {
    fn at(&self) -> (&Store, Option<&rocksdb::Snapshot<'_>>) {
        (
            self.shared.cell.borrow_owner(),
            Some(self.shared.cell.borrow_dependent()),
        )
    }
}

impl View for Snapshot {}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("seq", &self.shared.seq)
            .finish_non_exhaustive()
    }
}

self_cell!(
    struct ScanCell {
        owner: Snapshot,
        #[not_covariant]
        dependent: Scan,
    }
);

/// A [`Scan`] that owns what it reads from.
pub struct OwnedScan {
    cell: ScanCell,
}

impl OwnedScan {
    /// Calls `each` with the next rows, at most `limit`, and returns how many there were: less than
    /// `limit` at the end.
    pub fn next_rows(&mut self, limit: usize, mut each: impl FnMut(&[u8], &[u8])) -> Result<usize> {
        self.cell.with_dependent_mut(|_, scan| {
            let mut count = 0;
            while count < limit
                && let Some((key, value)) = scan.next_row()?
            {
                each(key, value);
                count += 1;
            }
            Ok(count)
        })
    }
}

impl fmt::Debug for OwnedScan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedScan").finish_non_exhaustive()
    }
}
