//! `EARLIEST_BY_OFFSET(value, n [, ignore NULLs])` and `LATEST_BY_OFFSET`: the first or last n
//! values of a group. (The first or last one alone is DataFusion's `first_value` or `last_value`.)
//!
//! Each value is kept with a number that says when it came, so that the values of two sessions that
//! become one can be put in order.

use std::sync::atomic::{AtomicI64, Ordering};

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::Accumulator;

use super::{Definition, Made, each_numbered, list, numbered_state, size_of, to_list};

pub(super) static EARLIEST: Definition = Definition {
    name: "earliest_by_offset",
    form: "EARLIEST_BY_OFFSET(value [, n] [, ignore NULLs])",
    accept,
    returns: |types| list(&types[0]),
    state: |types| vec![list(&types[0]), list(&DataType::Int64)],
    make: |made| make(made, End::First),
};

pub(super) static LATEST: Definition = Definition {
    name: "latest_by_offset",
    form: "LATEST_BY_OFFSET(value [, n] [, ignore NULLs])",
    accept,
    returns: |types| list(&types[0]),
    state: |types| vec![list(&types[0]), list(&DataType::Int64)],
    make: |made| make(made, End::Last),
};

fn accept(types: &[DataType]) -> Option<Vec<DataType>> {
    let fits = match types {
        [value, n] | [value, n, DataType::Boolean] => {
            !value.is_null() && matches!(n, DataType::Int32 | DataType::Int64)
        }
        _ => false,
    };
    fits.then(|| types.to_vec())
}

fn make(made: &Made<'_>, end: End) -> Result<Box<dyn Accumulator>> {
    let ignore_nulls = !matches!(
        made.constants.get(2),
        Some(Some(ScalarValue::Boolean(Some(false))))
    );
    Ok(Box::new(ByOffset {
        of: made.types[0].clone(),
        end,
        n: made.count(1)?,
        ignore_nulls,
        values: Vec::new(),
    }))
}

/// The number of the next value. Saved numbers are below it once they have been read.
static NEXT: AtomicI64 = AtomicI64::new(0);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    First,
    Last,
}

#[derive(Debug)]
struct ByOffset {
    of: DataType,
    end: End,
    n: usize,
    ignore_nulls: bool,
    /// By number, ascending.
    values: Vec<(ScalarValue, i64)>,
}

impl ByOffset {
    fn add(&mut self, value: ScalarValue, number: i64) {
        let at = self.values.partition_point(|(_, known)| *known <= number);
        self.values.insert(at, (value, number));
        if self.values.len() > self.n {
            match self.end {
                End::First => self.values.truncate(self.n),
                End::Last => drop(self.values.remove(0)),
            }
        }
    }
}

impl Accumulator for ByOffset {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for row in 0..values[0].len() {
            if self.ignore_nulls && values[0].is_null(row) {
                continue;
            }
            if self.end == End::First && self.values.len() >= self.n {
                break;
            }
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            self.add(ScalarValue::try_from_array(&values[0], row)?, number);
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let values: Vec<ScalarValue> = self.values.iter().map(|(value, _)| value.clone()).collect();
        Ok(to_list(&values, &self.of))
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(numbered_state(&self.values, &self.of))
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        each_numbered(states, |value, number| {
            NEXT.fetch_max(number.saturating_add(1), Ordering::Relaxed);
            self.add(value, number);
        })
    }

    fn size(&self) -> usize {
        std::mem::size_of::<Self>() + size_of(self.values.iter().map(|(value, _)| value))
    }
}
