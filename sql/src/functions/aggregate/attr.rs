//! `ATTR(value)`: the value, if all rows of the group have the same.

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::Accumulator;

use super::{Definition, any_one, each_numbered, list, numbered_state, size_of};

pub(super) static ATTR: Definition = Definition {
    name: "attr",
    form: "ATTR(value)",
    accept: any_one,
    returns: |types| types[0].clone(),
    state: |types| vec![list(&types[0]), list(&DataType::Int64)],
    make: |made| {
        Ok(Box::new(Attr {
            of: made.types[0].clone(),
            values: Vec::new(),
        }))
    },
};

/// The different values of the group, and how many rows have each.
#[derive(Debug)]
struct Attr {
    of: DataType,
    values: Vec<(ScalarValue, i64)>,
}

impl Attr {
    fn add(&mut self, value: ScalarValue, count: i64) {
        match self.values.iter_mut().find(|(known, _)| *known == value) {
            Some(known) => known.1 += count,
            None => self.values.push((value, count)),
        }
        self.values.retain(|(_, count)| *count != 0);
    }
}

impl Accumulator for Attr {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for row in 0..values[0].len() {
            self.add(ScalarValue::try_from_array(&values[0], row)?, 1);
        }
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for row in 0..values[0].len() {
            self.add(ScalarValue::try_from_array(&values[0], row)?, -1);
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        match self.values.as_slice() {
            [(only, _)] => Ok(only.clone()),
            _ => ScalarValue::try_new_null(&self.of),
        }
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(numbered_state(&self.values, &self.of))
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        each_numbered(states, |value, count| self.add(value, count))
    }

    fn size(&self) -> usize {
        std::mem::size_of::<Self>() + size_of(self.values.iter().map(|(value, _)| value))
    }
}
