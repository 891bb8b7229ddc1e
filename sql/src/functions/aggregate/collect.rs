//! `COLLECT_LIST(value)` and `COLLECT_SET(value)`: the values of a group in the order in which they
//! came, the first thousand of them.

use arrow::array::{Array, ArrayRef};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::Accumulator;

use super::{Definition, any_one, from_list, list, size_of, to_list};

/// ksqlDB's limit, where none is set.
const VALUES_MAX: usize = 1000;

pub(super) static LIST: Definition = Definition {
    name: "collect_list",
    form: "COLLECT_LIST(value)",
    accept: any_one,
    returns: |types| list(&types[0]),
    state: |types| vec![list(&types[0])],
    make: |made| Ok(Box::new(Collect::new(made.types[0].clone(), false))),
};

pub(super) static SET: Definition = Definition {
    name: "collect_set",
    form: "COLLECT_SET(value)",
    accept: any_one,
    returns: |types| list(&types[0]),
    state: |types| vec![list(&types[0])],
    make: |made| Ok(Box::new(Collect::new(made.types[0].clone(), true))),
};

#[derive(Debug)]
struct Collect {
    of: arrow::datatypes::DataType,
    distinct: bool,
    values: Vec<ScalarValue>,
}

impl Collect {
    fn new(of: arrow::datatypes::DataType, distinct: bool) -> Self {
        Self {
            of,
            distinct,
            values: Vec::new(),
        }
    }

    fn add(&mut self, value: ScalarValue) {
        let known = self.distinct && self.values.contains(&value);
        if !known && self.values.len() < VALUES_MAX {
            self.values.push(value);
        }
    }
}

impl Accumulator for Collect {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for row in 0..values[0].len() {
            self.add(ScalarValue::try_from_array(&values[0], row)?);
        }
        Ok(())
    }

    /// Takes the last of the value's occurrences, as ksqlDB does.
    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for row in 0..values[0].len() {
            let value = ScalarValue::try_from_array(&values[0], row)?;
            if let Some(at) = self.values.iter().rposition(|known| *known == value) {
                self.values.remove(at);
            }
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        // Of a set's value nobody knows how many rows have it.
        !self.distinct
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(to_list(&self.values, &self.of))
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![to_list(&self.values, &self.of)])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for row in 0..states[0].len() {
            for value in from_list(&states[0], row)? {
                self.add(value);
            }
        }
        Ok(())
    }

    fn size(&self) -> usize {
        std::mem::size_of::<Self>() + size_of(&self.values)
    }
}
