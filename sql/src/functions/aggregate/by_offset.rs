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

use super::{Definition, Made, from_list, list, to_list};

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
    values: Vec<(i64, ScalarValue)>,
}

impl ByOffset {
    fn add(&mut self, number: i64, value: ScalarValue) {
        let at = self.values.partition_point(|(known, _)| *known <= number);
        self.values.insert(at, (number, value));
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
            self.add(number, ScalarValue::try_from_array(&values[0], row)?);
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let values: Vec<ScalarValue> = self.values.iter().map(|(_, value)| value.clone()).collect();
        Ok(to_list(&values, &self.of))
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let numbers: Vec<ScalarValue> = self
            .values
            .iter()
            .map(|(number, _)| ScalarValue::from(*number))
            .collect();
        Ok(vec![self.evaluate()?, to_list(&numbers, &DataType::Int64)])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for row in 0..states[0].len() {
            let numbers = from_list(&states[1], row)?;
            for (value, number) in from_list(&states[0], row)?.into_iter().zip(numbers) {
                if let ScalarValue::Int64(Some(number)) = number {
                    NEXT.fetch_max(number.saturating_add(1), Ordering::Relaxed);
                    self.add(number, value);
                }
            }
        }
        Ok(())
    }

    fn size(&self) -> usize {
        std::mem::size_of::<Self>()
            + self
                .values
                .iter()
                .map(|(_, value)| value.size() + 8)
                .sum::<usize>()
    }
}
