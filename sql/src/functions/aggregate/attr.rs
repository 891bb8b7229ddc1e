//! `ATTR(value)`: the value, if all rows of the group have the same.

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::Accumulator;

use super::{Definition, any_one, from_list, list, to_list};

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
        let values: Vec<ScalarValue> = self.values.iter().map(|(value, _)| value.clone()).collect();
        let counts: Vec<ScalarValue> = self
            .values
            .iter()
            .map(|(_, count)| ScalarValue::from(*count))
            .collect();
        Ok(vec![
            to_list(&values, &self.of),
            to_list(&counts, &DataType::Int64),
        ])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for row in 0..states[0].len() {
            let counts = from_list(&states[1], row)?;
            for (value, count) in from_list(&states[0], row)?.into_iter().zip(counts) {
                if let ScalarValue::Int64(Some(count)) = count {
                    self.add(value, count);
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
                .map(|(value, _)| value.size() + 8)
                .sum::<usize>()
    }
}
