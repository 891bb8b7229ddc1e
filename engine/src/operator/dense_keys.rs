//! Slots of keys that are whole numbers, most of which between the least and the greatest are there:
//! then an array finds them, of four bytes a number, where a hash table would wait for memory twice.

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray};
use arrow::compute::{max, min};
use arrow::datatypes::{ArrowPrimitiveType, DataType, Int32Type, Int64Type};

use super::accumulator::Slot;

/// No key has this slot.
const NONE: Slot = Slot::MAX;
/// So many numbers for each key are not too many: a hash table takes more.
const NUMBERS_PER_KEY: usize = 4;
/// With fewer keys a hash table stays in a processor's cache.
const KEYS_MIN: usize = 16_384;

/// Slots by number.
#[derive(Debug)]
pub(super) struct DenseKeys {
    first: i64,
    slots: Vec<Slot>,
    null: Option<Slot>,
    keys: usize,
}

/// The least and the greatest of a column's numbers.
pub(super) type Bounds = (i64, i64);

/// Keys of these types may be dense.
pub(super) fn may_be_dense(types: &[&DataType]) -> bool {
    matches!(types, [DataType::Int32 | DataType::Int64])
}

/// The bounds of a column, and of what there was before.
pub(super) fn bounds(column: &ArrayRef, before: Option<Bounds>) -> Option<Bounds> {
    let own = match column.data_type() {
        DataType::Int32 => bounds_of(column.as_primitive::<Int32Type>()),
        DataType::Int64 => bounds_of(column.as_primitive::<Int64Type>()),
        _ => None,
    };
    match (own, before) {
        (Some(own), Some(before)) => Some((own.0.min(before.0), own.1.max(before.1))),
        (own, before) => own.or(before),
    }
}

fn bounds_of<T: ArrowPrimitiveType<Native: Into<i64>>>(
    column: &PrimitiveArray<T>,
) -> Option<Bounds> {
    Some((min(column)?.into(), max(column)?.into()))
}

/// Whether so many keys between these bounds are dense.
pub(super) fn are_dense(keys: usize, bounds: Bounds) -> bool {
    keys >= KEYS_MIN && length(bounds).is_some_and(|len| len / NUMBERS_PER_KEY <= keys)
}

/// How many numbers there are; `None` if too many to count.
fn length((least, greatest): Bounds) -> Option<usize> {
    let len = greatest.checked_sub(least)?.checked_add(1)?;
    usize::try_from(len).ok()
}

impl DenseKeys {
    /// No keys yet; those between `bounds`, which have a length, have room.
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            first: bounds.0,
            slots: vec![NONE; length(bounds).unwrap_or_default()],
            null: None,
            keys: 0,
        }
    }

    /// Appends the slot of each row's key to `slots`, and to `first_rows` the rows of keys that are
    /// new; these get the next slots. Returns whether it could: keys that are too far away make it
    /// do nothing.
    pub(super) fn intern(
        &mut self,
        column: &ArrayRef,
        slots: &mut Vec<Slot>,
        first_rows: &mut Vec<u32>,
    ) -> bool {
        if let Some(bounds) = bounds(column, None)
            && !self.make_room(bounds)
        {
            return false;
        }
        match column.data_type() {
            DataType::Int32 => {
                self.intern_all(column.as_primitive::<Int32Type>(), slots, first_rows);
            }
            DataType::Int64 => {
                self.intern_all(column.as_primitive::<Int64Type>(), slots, first_rows);
            }
            _ => return false,
        }
        true
    }

    fn intern_all<T: ArrowPrimitiveType<Native: Into<i64>>>(
        &mut self,
        column: &PrimitiveArray<T>,
        slots: &mut Vec<Slot>,
        first_rows: &mut Vec<u32>,
    ) {
        let mut next = self.keys as Slot;
        let mut slot_of = |row: usize, found: &mut Slot| {
            if *found == NONE {
                *found = next;
                next += 1;
                first_rows.push(row as u32);
            }
            *found
        };
        let first = self.first;
        if column.null_count() == 0 {
            let by_number = &mut self.slots;
            slots.extend(column.values().iter().enumerate().map(|(row, value)| {
                let value: i64 = (*value).into();
                // There is room from the first on: see `make_room`.
                slot_of(row, &mut by_number[value.wrapping_sub(first) as usize])
            }));
        } else {
            for row in 0..column.len() {
                let slot = match column.is_valid(row) {
                    true => {
                        let value: i64 = column.value(row).into();
                        slot_of(row, &mut self.slots[value.wrapping_sub(first) as usize])
                    }
                    false => slot_of(row, self.null.get_or_insert(NONE)),
                };
                slots.push(slot);
            }
        }
        self.keys = next as usize;
    }

    /// Makes room for the numbers between `bounds`, if they are not too far away.
    fn make_room(&mut self, bounds: Bounds) -> bool {
        let len = self.slots.len();
        let last = self.first.saturating_add(len as i64 - 1);
        if bounds.0 >= self.first && bounds.1 <= last {
            return true;
        }
        let wanted = (bounds.0.min(self.first), bounds.1.max(last));
        let Some(wanted_len) = length(wanted) else {
            return false;
        };
        // Twice as much as there was, so that what grows is not copied for each batch.
        let room = (2 * len).max(wanted_len);
        if wanted_len / NUMBERS_PER_KEY > self.keys {
            return false;
        }
        let before = self.first.wrapping_sub(wanted.0) as usize;
        if before == 0 {
            self.slots.resize(room, NONE);
            return true;
        }
        // Downwards; as far as numbers go.
        let spare = (room - wanted_len).min(wanted.0.wrapping_sub(i64::MIN) as usize);
        let mut slots = vec![NONE; spare + wanted_len];
        let at = spare + before;
        slots[at..at + len].copy_from_slice(&self.slots);
        self.slots = slots;
        self.first = wanted.0 - spare as i64;
        true
    }

    /// Memory held, in bytes.
    pub(super) fn size(&self) -> usize {
        self.slots.capacity() * size_of::<Slot>()
    }
}
