//! COUNT(DISTINCT argument) with a row of state for each value: a commit writes those that are new,
//! and of a group's values those are in memory that rows have brought since it came there.
//!
//! ```text
//! values table: [table][vnode][group columns][argument's number: u8][value][window start, if windowed]
//!                   -> [a bit for each function that has counted it]
//! state row:    the count of each function, then the number of the group's rows in the values table
//! ```
//!
//! The functions over one argument share its values, as they differ by their filters only.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use arrow::row::{Row, RowConverter, Rows, SortField};
use datafusion::common::{Result, internal_err};
use datafusion::physical_expr::aggregate::LoweredAggregate;
use datafusion::physical_plan::aggregates::group_values::{GroupValues, new_group_values};
use datafusion::physical_plan::aggregates::order::GroupOrdering;
use kappa_storage::store::Commit;

use crate::operator::accumulator::Slot;
use crate::operator::groups::{Groups, first_rows, one_zero};
use crate::operator::{Memory, storage_error};
use crate::state::StateTable;

/// Functions that share values at most: a bit of `u32` each, and one is taken.
pub(super) const FUNCTIONS_MAX: usize = 31;
/// Arguments at most: their number is a byte of a key.
pub(super) const ARGUMENTS_MAX: usize = 1 << u8::BITS;
/// The bit of a value that the next commit writes.
const CHANGED: u32 = 1 << FUNCTIONS_MAX;
/// Bytes of a row in a commit besides the keys of group and value.
const ROW_OVERHEAD: usize = 9;
/// Bytes of a row besides the value itself, about.
const ROW_BYTES: usize = 48;
/// How often memory has a row that is written: in a commit, and in RocksDB.
const WRITTEN: usize = 2;

/// The type of what COUNT(DISTINCT …) counts, where its values can be rows; not where rows can be taken
/// away, as it would have to know how often a value came.
pub(super) fn counted_value(lowered: &LoweredAggregate, retractable: bool) -> Option<DataType> {
    let function = &lowered.aggregate;
    if retractable || !function.is_distinct() || function.fun().name() != "count" {
        return None;
    }
    let fields = function.state_fields().ok()?;
    let ([state], [_]) = (fields.as_slice(), function.expressions().as_slice()) else {
        return None;
    };
    let DataType::List(item) = state.data_type() else {
        return None;
    };
    let of = item.data_type().clone();
    RowConverter::supports_fields(&[SortField::new(of.clone())]).then_some(of)
}

/// An argument, and the functions that count it.
#[derive(Debug)]
pub(super) struct Counting {
    /// Its place, and those of the functions' filters, among the expressions of all functions.
    pub(super) argument: usize,
    pub(super) filters: Vec<Option<usize>>,
    pub(super) of: DataType,
}

/// What is counted of one argument, without state.
#[derive(Debug)]
pub(super) struct DistinctArgument {
    number: u8,
    pub(super) counting: Counting,
    /// Group and value, as the index has them.
    schema: SchemaRef,
    encoder: RowConverter,
    table: StateTable,
}

impl DistinctArgument {
    /// The argument of that number among those of its operator.
    pub(super) fn try_new(number: u8, counting: Counting, table: StateTable) -> Result<Self> {
        Ok(Self {
            number,
            schema: Arc::new(Schema::new(vec![
                Field::new("group", DataType::UInt32, false),
                Field::new("value", counting.of.clone(), true),
            ])),
            encoder: RowConverter::new(vec![SortField::new(counting.of.clone())])?,
            counting,
            table,
        })
    }

    fn functions(&self) -> usize {
        self.counting.filters.len()
    }

    /// Number of columns of a group's state.
    pub(super) fn width(&self) -> usize {
        self.functions() + 1
    }
}

/// Rows of a batch for one argument; those without a value, or that no function counts, are left out.
#[derive(Debug)]
pub(super) struct Counted {
    slots: Vec<Slot>,
    values: ArrayRef,
    /// Which functions count the row.
    bits: Vec<u32>,
}

impl Counted {
    /// Of all rows, each function has its filter, if it has one.
    pub(super) fn new<'a>(
        slots: &[Slot],
        values: &ArrayRef,
        filters: impl IntoIterator<Item = Option<&'a BooleanArray>>,
    ) -> Result<Self> {
        let mut bits = vec![0; slots.len()];
        for (function, filter) in filters.into_iter().enumerate() {
            let bit = 1 << function;
            match filter {
                None => bits.iter_mut().for_each(|bits| *bits |= bit),
                Some(filter) => {
                    let passes = match filter.nulls() {
                        None => filter.values().clone(),
                        Some(nulls) => filter.values() & nulls.inner(),
                    };
                    passes.set_indices().for_each(|row| bits[row] |= bit);
                }
            }
        }
        if let Some(nulls) = values.logical_nulls() {
            let nulls = !nulls.inner();
            nulls.set_indices().for_each(|row| bits[row] = 0);
        }
        if !bits.contains(&0) {
            return Ok(Self {
                slots: slots.to_vec(),
                values: Arc::clone(values),
                bits,
            });
        }
        let rows: Vec<u32> = (0..bits.len() as u32)
            .filter(|row| bits[*row as usize] != 0)
            .collect();
        Ok(Self {
            slots: rows.iter().map(|row| slots[*row as usize]).collect(),
            bits: rows.iter().map(|row| bits[*row as usize]).collect(),
            values: take(values.as_ref(), &UInt32Array::from(rows), None)?,
        })
    }
}

/// Values of the groups in memory.
pub(super) struct DistinctValues {
    argument: Arc<DistinctArgument>,
    /// The number of a group's value.
    index: Box<dyn GroupValues>,
    /// By that number: a bit for each function that has counted it, and [`CHANGED`].
    counted: Vec<u32>,
    /// By function and slot.
    counts: Vec<Vec<i64>>,
    /// By slot, how many rows the values table has, or will have with the next commit; and how many of
    /// them are in memory. Where all are, none is looked up.
    rows: Vec<i64>,
    in_memory: Vec<i64>,
    changed: Changed,
    numbers: Vec<usize>,
}

/// Values that the next commit writes.
#[derive(Debug)]
struct Changed {
    /// Their numbers and groups.
    values: Vec<(u32, Slot)>,
    /// The values themselves, in bytes that have their order.
    rows: Rows,
}

impl Changed {
    fn push(&mut self, number: u32, slot: Slot, value: Row<'_>) {
        self.values.push((number, slot));
        self.rows.push(value);
    }

    fn value(&self, place: usize) -> &[u8] {
        self.rows.row(place).data()
    }

    fn clear(&mut self) {
        self.values.clear();
        self.rows.clear();
    }

    fn size(&self) -> usize {
        self.values.capacity() * size_of::<(u32, Slot)>() + self.rows.size()
    }
}

impl fmt::Debug for DistinctValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DistinctValues")
            .field("argument", &self.argument)
            .field("len", &self.counted.len())
            .finish_non_exhaustive()
    }
}

impl DistinctValues {
    pub(super) fn try_new(argument: &Arc<DistinctArgument>) -> Result<Self> {
        Ok(Self {
            argument: Arc::clone(argument),
            index: new_group_values(Arc::clone(&argument.schema), &GroupOrdering::None)?,
            counted: Vec::new(),
            counts: vec![Vec::new(); argument.functions()],
            rows: Vec::new(),
            in_memory: Vec::new(),
            changed: Changed {
                values: Vec::new(),
                rows: argument.encoder.empty_rows(0, 0),
            },
            numbers: Vec::new(),
        })
    }

    /// Makes room for slots below `len`; new ones are empty groups.
    pub(super) fn resize(&mut self, len: usize) {
        if len > self.rows.len() {
            self.rows.resize(len, 0);
            self.in_memory.resize(len, 0);
            self.counts.iter_mut().for_each(|of| of.resize(len, 0));
        }
    }

    /// Adds rows to their groups, whose state keys have a window or not.
    pub(super) fn update(&mut self, input: Counted, groups: &Groups, windowed: bool) -> Result<()> {
        let Counted {
            slots,
            values,
            bits,
        } = input;
        let values = one_zero(values);
        let known = self.counted.len();
        let mut numbers = std::mem::take(&mut self.numbers);
        numbers.clear();
        let of_groups = Arc::new(UInt32Array::from(slots.clone()));
        self.index
            .intern(&[of_groups, Arc::clone(&values)], &mut numbers)?;
        let first_rows = first_rows(&numbers, known, self.index.len());
        if !first_rows.is_empty() {
            let of = first_rows.iter().map(|row| slots[*row as usize]).collect();
            let new = self.argument.encode(&values, first_rows)?;
            self.add(of, &new, groups, windowed)?;
        }
        let mut changed_again = Vec::new();
        for (row, number) in numbers.iter().enumerate() {
            let counted = &mut self.counted[*number];
            let mut new = bits[row] & !*counted;
            if new == 0 {
                continue;
            }
            if *counted & CHANGED == 0 {
                changed_again.push(row as u32);
            }
            *counted |= new | CHANGED;
            let slot = slots[row] as usize;
            while new != 0 {
                self.counts[new.trailing_zeros() as usize][slot] += 1;
                new &= new - 1;
            }
        }
        if !changed_again.is_empty() {
            let again = self.argument.encode(&values, changed_again.clone())?;
            for (row, value) in changed_again.into_iter().zip(again.iter()) {
                let (number, slot) = (numbers[row as usize], slots[row as usize]);
                self.changed.push(number as u32, slot, value);
            }
        }
        self.numbers = numbers;
        Ok(())
    }

    /// Takes in values that are new in memory, with their groups: those that the values table has not
    /// are to be written.
    fn add(
        &mut self,
        slots: Vec<Slot>,
        values: &Rows,
        groups: &Groups,
        windowed: bool,
    ) -> Result<()> {
        let known = self.counted.len();
        self.counted.resize(known + slots.len(), CHANGED);
        let unknown: Vec<usize> = (0..slots.len())
            .filter(|place| {
                let slot = slots[*place] as usize;
                self.in_memory[slot] < self.rows[slot]
            })
            .collect();
        if !unknown.is_empty() {
            let (mut keys, mut ends) = (Vec::new(), vec![0]);
            for place in &unknown {
                let (group, value) = (groups.key(slots[*place]), values.row(*place));
                self.argument
                    .push_key(&mut keys, group, windowed, value.data());
                ends.push(keys.len());
            }
            let keys: Vec<&[u8]> = ends
                .windows(2)
                .map(|ends| &keys[ends[0]..ends[1]])
                .collect();
            let table = &self.argument.table;
            let found = table.multi_get(&keys).map_err(storage_error)?;
            for (place, row) in unknown.iter().zip(&found) {
                if let Some(row) = row {
                    self.counted[known + place] = decode(row.as_ref())?;
                }
            }
        }
        for (place, (slot, value)) in slots.iter().zip(values.iter()).enumerate() {
            let number = known + place;
            self.in_memory[*slot as usize] += 1;
            if self.counted[number] & CHANGED != 0 {
                self.rows[*slot as usize] += 1;
                self.changed.push(number as u32, *slot, value);
            }
        }
        Ok(())
    }

    /// What is counted, without state.
    pub(super) fn argument(&self) -> &Arc<DistinctArgument> {
        &self.argument
    }

    /// What a function has counted in groups.
    pub(super) fn count(&self, function: usize, slots: &[Slot]) -> ArrayRef {
        column(&self.counts[function], slots)
    }

    /// State of groups.
    pub(super) fn state(&self, slots: &[Slot]) -> Vec<ArrayRef> {
        let columns = self.counts.iter().chain([&self.rows]);
        columns.map(|numbers| column(numbers, slots)).collect()
    }

    /// Makes saved state that of groups of which no value is in memory.
    pub(super) fn load(&mut self, slots: &[Slot], state: &[ArrayRef]) -> Result<()> {
        let columns = self.counts.iter_mut().chain([&mut self.rows]);
        for (numbers, saved) in columns.zip(state) {
            let Some(saved) = saved.as_primitive_opt::<Int64Type>() else {
                return internal_err!("the state of COUNT(DISTINCT …) is no number");
            };
            for (slot, saved) in slots.iter().zip(saved.values()) {
                numbers[*slot as usize] = *saved;
            }
        }
        Ok(())
    }

    /// Memory held. Only what changed will be written; but what grows doubles, and is there twice
    /// meanwhile.
    pub(super) fn memory(&self) -> Memory {
        let slots = self.rows.capacity() * (self.counts.len() + 2) * size_of::<i64>();
        let held = self.index.size()
            + slots
            + self.counted.capacity() * size_of::<u32>()
            + self.changed.size()
            + self.numbers.capacity() * size_of::<usize>();
        let rows = match self.changed.values.len() {
            0 => 0,
            len => len * ROW_BYTES + self.changed.rows.size(),
        };
        Memory {
            held,
            footprint: held + held / 2 + WRITTEN * rows,
        }
    }
}

impl DistinctArgument {
    /// The values of rows in bytes that have their order.
    fn encode(&self, values: &ArrayRef, rows: Vec<u32>) -> Result<Rows> {
        let values = take(values.as_ref(), &UInt32Array::from(rows), None)?;
        Ok(self.encoder.convert_columns(&[values])?)
    }

    /// Appends the key of a group's value to `out`.
    fn push_key(&self, out: &mut Vec<u8>, group: &[u8], windowed: bool, value: &[u8]) {
        self.table
            .push_part_key(out, group, windowed, (self.number, value));
    }
}

fn column(numbers: &[i64], slots: &[Slot]) -> ArrayRef {
    let numbers = slots.iter().map(|slot| numbers[*slot as usize]);
    Arc::new(Int64Array::from_iter_values(numbers))
}

/// The functions' bits of a row of the values table.
fn decode(row: &[u8]) -> Result<u32> {
    let mut bytes = [0; size_of::<u32>()];
    let Some(place) = bytes.get_mut(..row.len()) else {
        return internal_err!("a value's row has {} bytes", row.len());
    };
    place.copy_from_slice(row);
    Ok(u32::from_le_bytes(bytes) & !CHANGED)
}

/// Writes the values that changed in groups, which counts them as written.
pub(super) fn write(values: Vec<(&mut DistinctValues, &Groups, bool)>, commit: &mut Commit) {
    let ranks = ranks(&values);
    let len = values.iter().map(|(of, ..)| of.changed.values.len()).sum();
    let mut rows: Vec<(Order, u32, u32)> = Vec::with_capacity(len);
    let mut bytes = 0;
    for (number, ((of, groups, _), ranks)) in values.iter().zip(&ranks).enumerate() {
        for (place, (_, slot)) in of.changed.values.iter().enumerate() {
            let value = of.changed.value(place);
            let order = order(ranks[*slot as usize], of.argument.number, value);
            rows.push((order, number as u32, place as u32));
            bytes += groups.key(*slot).len() + value.len() + ROW_OVERHEAD;
        }
    }
    // RocksDB writes a sorted batch three times faster.
    rows.sort_unstable_by(|(a_order, a, a_place), (b_order, b, b_place)| {
        let value =
            |number: u32, place: u32| values[number as usize].0.changed.value(place as usize);
        a_order
            .cmp(b_order)
            .then_with(|| value(*a, *a_place).cmp(value(*b, *b_place)))
            // Windows of one key, which come in their order.
            .then_with(|| a.cmp(b))
    });
    commit.reserve(bytes);
    let mut key = Vec::new();
    for (_, number, place) in rows {
        let (values, groups, windowed) = &values[number as usize];
        let (of, slot) = values.changed.values[place as usize];
        let value = values.changed.value(place as usize);
        key.clear();
        values
            .argument
            .push_key(&mut key, groups.key(slot), *windowed, value);
        let counted = values.counted[of as usize] & !CHANGED;
        let bytes = values.argument.functions().div_ceil(u8::BITS as usize);
        commit.put_state(&key, &counted.to_le_bytes()[..bytes]);
    }
    for (values, ..) in values {
        for (number, _) in &values.changed.values {
            values.counted[*number as usize] &= !CHANGED;
        }
        values.changed.clear();
    }
}

/// Numbers that order as the keys of values do, up to the values' ninth byte. The keys of many values
/// begin alike, with their group's columns, so that `key_order` would compare them whole.
type Order = (u64, u64);

/// That of a value, by the place of its group.
fn order(rank: u32, argument: u8, value: &[u8]) -> Order {
    let (first, rest) = value.split_first().unwrap_or((&0, &[]));
    let mut start = [0; size_of::<u64>()];
    let len = rest.len().min(start.len());
    start[..len].copy_from_slice(&rest[..len]);
    let begin = u64::from(rank) << 16 | u64::from(argument) << 8 | u64::from(*first);
    (begin, u64::from_be_bytes(start))
}

/// For each of `values` by slot, the place of the slot's group in the order of keys without windows,
/// where the group has a value that changed.
fn ranks(values: &[(&mut DistinctValues, &Groups, bool)]) -> Vec<Vec<u32>> {
    let mut ranks: Vec<Vec<u32>> = Vec::with_capacity(values.len());
    let mut groups = Vec::new();
    for (number, (values, of, windowed)) in values.iter().enumerate() {
        let mut ranks_here = vec![u32::MAX; values.rows.len()];
        for (_, slot) in &values.changed.values {
            let rank = &mut ranks_here[*slot as usize];
            if *rank == u32::MAX {
                *rank = 0;
                let key = StateTable::without_window(of.key(*slot), *windowed);
                groups.push((key, number, *slot));
            }
        }
        ranks.push(ranks_here);
    }
    groups.sort_unstable();
    let mut rank = 0;
    let mut before = None;
    for (key, number, slot) in groups {
        if before.is_some_and(|before| before != key) {
            rank += 1;
        }
        before = Some(key);
        ranks[number][slot as usize] = rank;
    }
    ranks
}
