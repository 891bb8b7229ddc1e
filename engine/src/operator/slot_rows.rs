//! The current row of each slot, as columns: in chunks, most of them as they came.
//!
//! ```text
//! places   slot → chunk and row       chunks   columns, and each row's slot
//! ```
//!
//! A chunk never changes, so a place stays good until [`SlotRows::tidy`], whatever is set meanwhile.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, UInt32Array, new_empty_array, new_null_array};
use arrow::compute::{interleave, take};
use arrow::datatypes::DataType;
use datafusion::common::Result;

use super::accumulator::Slot;

/// Rows of a chunk that no small ones are added to.
const CHUNK_ROWS: usize = 65_536;
/// Bytes of one: a column of texts can have two gigabytes.
const CHUNK_BYTES: usize = 64 << 20;

/// Where a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    chunk: u32,
    row: u32,
}

impl Place {
    /// There is no row.
    pub(crate) const NONE: Self = Self {
        chunk: u32::MAX,
        row: 0,
    };
    /// Whether there is a row, and which, was not looked up yet.
    pub(crate) const UNKNOWN: Self = Self {
        chunk: u32::MAX,
        row: 1,
    };

    /// Whether it is the place of a row.
    pub(crate) fn is_row(self) -> bool {
        self.chunk != u32::MAX
    }
}

#[derive(Debug)]
struct Chunk {
    columns: Vec<ArrayRef>,
    /// The slot of each row; [`SlotRows::NO_SLOT`] where it has none.
    owners: Vec<Slot>,
    /// Rows that are their slot's current one.
    current: usize,
    bytes: usize,
}

impl Chunk {
    /// Power of two that its length is of.
    fn size_class(&self) -> u32 {
        self.owners.len().max(1).ilog2()
    }
}

/// Rows by slot.
#[derive(Debug)]
pub(crate) struct SlotRows {
    types: Vec<DataType>,
    /// A row of NULLs, for what is not found.
    nulls: Vec<ArrayRef>,
    chunks: Vec<Chunk>,
    places: Vec<Place>,
    bytes: usize,
}

impl SlotRows {
    /// What stands for the slot of a row that has none.
    pub(crate) const NO_SLOT: Slot = Slot::MAX;

    /// No slots yet.
    pub(crate) fn new(types: Vec<DataType>) -> Self {
        let nulls = types.iter().map(|of| new_null_array(of, 1)).collect();
        Self {
            types,
            nulls,
            chunks: Vec::new(),
            places: Vec::new(),
            bytes: 0,
        }
    }

    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        self.chunks = Vec::new();
        self.places = Vec::new();
        self.bytes = 0;
    }

    /// Makes room for slots below `len`; new ones have `place`.
    pub(crate) fn resize(&mut self, len: usize, place: Place) {
        self.places.resize(len, place);
    }

    /// Takes rows in, none of which is current yet. Returns the place of the first; the others
    /// follow ([`SlotRows::nth`]).
    pub(crate) fn add(&mut self, mut columns: Vec<ArrayRef>, owners: Vec<Slot>) -> Result<Place> {
        for column in &mut columns {
            *column = without_rest(column)?;
        }
        let bytes: usize = columns
            .iter()
            .map(|column| column.get_array_memory_size())
            .sum();
        let bytes = bytes + owners.capacity() * size_of::<Slot>();
        self.bytes += bytes;
        self.chunks.push(Chunk {
            columns,
            owners,
            current: 0,
            bytes,
        });
        Ok(Place {
            chunk: self.chunks.len() as u32 - 1,
            row: 0,
        })
    }

    /// The place so many rows after the first one of a chunk.
    pub(crate) fn nth(first: Place, row: usize) -> Place {
        Place {
            chunk: first.chunk,
            row: row as u32,
        }
    }

    /// Where the current row of a slot is.
    pub(crate) fn place(&self, slot: Slot) -> Place {
        // There is none at `NO_SLOT`.
        self.places
            .get(slot as usize)
            .copied()
            .unwrap_or(Place::NONE)
    }

    /// Makes a row its slot's current one, or takes the slot's row away.
    pub(crate) fn set(&mut self, slot: Slot, place: Place) {
        let old = std::mem::replace(&mut self.places[slot as usize], place);
        if old.is_row() {
            self.chunks[old.chunk as usize].current -= 1;
        }
        if place.is_row() {
            self.chunks[place.chunk as usize].current += 1;
        }
    }

    /// Number of columns of a row.
    pub(crate) fn width(&self) -> usize {
        self.types.len()
    }

    /// The columns of rows; NULLs where there is none.
    pub(crate) fn columns(&self, places: &[Place]) -> Result<Vec<ArrayRef>> {
        let gather = self.gather(places);
        (0..self.width())
            .map(|number| gather.column(number))
            .collect()
    }

    /// What gives single columns of rows; NULLs where there is none.
    pub(crate) fn gather(&self, places: &[Place]) -> Gather<'_> {
        let missing = self.chunks.len();
        let mut any_missing = false;
        let indices = places
            .iter()
            .map(|place| match place.is_row() {
                true => (place.chunk as usize, place.row as usize),
                false => {
                    any_missing = true;
                    (missing, 0)
                }
            })
            .collect();
        Gather {
            rows: self,
            indices,
            any_missing,
        }
    }

    /// Puts small chunks together, and leaves behind rows that are current no more. Places that
    /// were noted before are worth nothing after it.
    ///
    /// Chunks that are put together are of one size class, so a row is copied as often as there are
    /// classes at most; and a chunk is copied for its old rows when they are the half of it.
    pub(crate) fn tidy(&mut self) -> Result<()> {
        loop {
            let half_old: Vec<usize> = (0..self.chunks.len())
                .filter(|number| {
                    let chunk = &self.chunks[*number];
                    chunk.current * 2 <= chunk.owners.len()
                })
                .collect();
            if let Some(chosen) = self.as_many_as_fit(&half_old) {
                self.rewrite(&chosen)?;
            } else if let Some(pair) = self.alike() {
                self.rewrite(&pair)?;
            } else {
                return Ok(());
            }
        }
    }

    /// The first of these chunks whose current rows make one chunk.
    fn as_many_as_fit(&self, numbers: &[usize]) -> Option<Vec<usize>> {
        let (mut rows, mut bytes) = (0, 0);
        let fitting = numbers.iter().copied().take_while(|number| {
            let (chunk, first) = (&self.chunks[*number], rows == 0);
            if chunk.current > 0 {
                rows += chunk.current;
                bytes += chunk.bytes;
            }
            first || (rows <= CHUNK_ROWS && bytes <= CHUNK_BYTES)
        });
        Some(fitting.collect::<Vec<_>>()).filter(|chosen| !chosen.is_empty())
    }

    /// Two small chunks of one size class.
    fn alike(&self) -> Option<[usize; 2]> {
        let mut seen = [None; CHUNK_ROWS.ilog2() as usize];
        let chunks = self.chunks.iter().enumerate();
        for (number, chunk) in chunks.filter(|(_, chunk)| chunk.bytes < CHUNK_BYTES) {
            let Some(seen) = seen.get_mut(chunk.size_class() as usize) else {
                continue;
            };
            if let Some(other) = seen.replace(number) {
                return Some([other, number]);
            }
        }
        None
    }

    /// Puts the current rows of chunks, given in ascending order, into a new one.
    fn rewrite(&mut self, numbers: &[usize]) -> Result<()> {
        let mut places = Vec::new();
        let mut owners = Vec::new();
        for number in numbers {
            for (row, owner) in self.chunks[*number].owners.iter().enumerate() {
                let place = Place {
                    chunk: *number as u32,
                    row: row as u32,
                };
                if self.place(*owner) == place {
                    places.push(place);
                    owners.push(*owner);
                }
            }
        }
        if !places.is_empty() {
            let columns = self.columns(&places)?;
            let first = self.add(columns, owners.clone())?;
            for (row, owner) in owners.into_iter().enumerate() {
                self.set(owner, Self::nth(first, row));
            }
        }
        for number in numbers.iter().rev() {
            self.remove(*number);
        }
        Ok(())
    }

    /// Removes a chunk without current rows; the last one gets its number.
    fn remove(&mut self, number: usize) {
        let last = self.chunks.len() as u32 - 1;
        let removed = self.chunks.swap_remove(number);
        self.bytes = self.bytes.saturating_sub(removed.bytes);
        let Some(moved) = self.chunks.get(number) else {
            return;
        };
        for (row, owner) in moved.owners.iter().enumerate() {
            if let Some(place) = self.places.get_mut(*owner as usize)
                && (place.chunk, place.row) == (last, row as u32)
            {
                place.chunk = number as u32;
            }
        }
    }

    /// Memory held, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.bytes + self.places.capacity() * size_of::<Place>()
    }
}

/// Rows to be put together, column by column.
#[derive(Debug)]
pub(crate) struct Gather<'a> {
    rows: &'a SlotRows,
    /// Chunk and row; behind the chunks where there is no row.
    indices: Vec<(usize, usize)>,
    any_missing: bool,
}

impl Gather<'_> {
    /// A column of the rows.
    pub(crate) fn column(&self, number: usize) -> Result<ArrayRef> {
        if self.indices.is_empty() {
            return Ok(new_empty_array(&self.rows.types[number]));
        }
        let chunks = self.rows.chunks.iter();
        let mut arrays: Vec<&dyn Array> =
            chunks.map(|chunk| chunk.columns[number].as_ref()).collect();
        if self.any_missing {
            arrays.push(self.rows.nulls[number].as_ref());
        }
        Ok(interleave(&arrays, &self.indices)?)
    }
}

/// A column that does not keep much more in memory than its own rows, as a slice of a large one
/// does.
fn without_rest(column: &ArrayRef) -> Result<ArrayRef> {
    const REST: usize = 4096;
    let own = column.to_data().get_slice_memory_size()?;
    if column.get_array_memory_size() <= 2 * own + REST {
        return Ok(Arc::clone(column));
    }
    let rows = UInt32Array::from_iter_values(0..column.len() as u32);
    Ok(take(column.as_ref(), &rows, None)?)
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, StringArray};

    use super::*;

    fn strings(values: impl IntoIterator<Item = String>) -> Vec<ArrayRef> {
        vec![Arc::new(StringArray::from_iter_values(values))]
    }

    #[test]
    fn old_rows_and_small_chunks_do_not_pile_up() {
        const SLOTS: usize = 5000;
        let mut rows = SlotRows::new(vec![DataType::Utf8]);
        rows.resize(SLOTS, Place::NONE);
        let mut model: Vec<Option<String>> = vec![None; SLOTS];
        let mut next = 1_usize;
        for step in 0..3000 {
            next = next * 1_103_515_245 % 2_147_483_647;
            let count = [1, 2, 7, 700][next % 4];
            let slots: Vec<Slot> = (0..count)
                .map(|row| match (next + row) % 50 {
                    0 => SlotRows::NO_SLOT,
                    _ => (next / 7 + row * 13) as Slot % SLOTS as Slot,
                })
                .collect();
            let first = rows
                .add(
                    strings((0..count).map(|row| format!("{step} {row}"))),
                    slots.clone(),
                )
                .unwrap();
            for (row, slot) in slots.into_iter().enumerate() {
                if slot == SlotRows::NO_SLOT {
                    continue;
                }
                let deletes = (next + row).is_multiple_of(11);
                model[slot as usize] = (!deletes).then(|| format!("{step} {row}"));
                rows.set(
                    slot,
                    match deletes {
                        true => Place::NONE,
                        false => SlotRows::nth(first, row),
                    },
                );
            }
            rows.tidy().unwrap();
            let kept: usize = rows.chunks.iter().map(|chunk| chunk.owners.len()).sum();
            let current = model.iter().flatten().count();
            assert!(kept <= 2 * current, "{kept} rows kept for {current}");
            assert!(rows.chunks.len() <= 17, "{} chunks", rows.chunks.len());
            let bytes: usize = rows.chunks.iter().map(|chunk| chunk.bytes).sum();
            assert_eq!(rows.bytes, bytes);
        }
        let places: Vec<Place> = (0..SLOTS as Slot).map(|slot| rows.place(slot)).collect();
        let columns = rows.columns(&places).unwrap();
        let found: Vec<Option<String>> = columns[0]
            .as_string::<i32>()
            .iter()
            .map(|value| value.map(str::to_owned))
            .collect();
        assert_eq!(found, model);
    }
}
