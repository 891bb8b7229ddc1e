//! `TOPK(value [, column …], k)` and `TOPKDISTINCT(value, k)`: the largest values of a group, the
//! largest first.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, StructArray};
use arrow::datatypes::{DataType, Field, Fields};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::Accumulator;

use super::{Definition, from_list, list, size_of, to_list};

pub(super) static TOPK: Definition = Definition {
    name: "topk",
    form: "TOPK(value [, column …], k)",
    accept: |types| match types {
        [value, others @ .., k] if is_sortable(value) && is_count(k) => {
            let named = others.iter().all(|of| !of.is_null());
            named.then(|| types.to_vec())
        }
        _ => None,
    },
    returns: |types| list(&item(types)),
    state: |types| vec![list(&item(types))],
    make: |made| {
        Ok(Box::new(Top {
            of: item(made.types),
            k: made.count(made.types.len() - 1)?,
            distinct: false,
            values: Vec::new(),
        }))
    },
};

pub(super) static TOPKDISTINCT: Definition = Definition {
    name: "topkdistinct",
    form: "TOPKDISTINCT(value, k)",
    accept: |types| match types {
        [value, k] if is_sortable(value) && is_count(k) => Some(types.to_vec()),
        _ => None,
    },
    returns: |types| list(&types[0]),
    state: |types| vec![list(&types[0])],
    make: |made| {
        Ok(Box::new(Top {
            of: made.types[0].clone(),
            k: made.count(1)?,
            distinct: true,
            values: Vec::new(),
        }))
    },
};

fn is_sortable(of: &DataType) -> bool {
    !of.is_nested() && !of.is_null() && *of != DataType::Boolean
}

fn is_count(of: &DataType) -> bool {
    matches!(of, DataType::Int32 | DataType::Int64)
}

/// What one of the largest is: the value, or a struct of it and the other columns.
fn item(types: &[DataType]) -> DataType {
    match types {
        [value, _] => value.clone(),
        [value, others @ .., _] => {
            let value = Field::new("sort_col", value.clone(), true);
            let others = others
                .iter()
                .enumerate()
                .map(|(index, of)| Field::new(format!("col{index}"), of.clone(), true));
            DataType::Struct(std::iter::once(value).chain(others).collect::<Fields>())
        }
        _ => DataType::Null,
    }
}

#[derive(Debug)]
struct Top {
    of: DataType,
    k: usize,
    distinct: bool,
    /// Descending.
    values: Vec<ScalarValue>,
}

/// What an item is sorted by.
fn key(value: &ScalarValue) -> Result<ScalarValue> {
    match value {
        ScalarValue::Struct(fields) => ScalarValue::try_from_array(fields.column(0), 0),
        other => Ok(other.clone()),
    }
}

impl Top {
    fn add(&mut self, value: ScalarValue) -> Result<()> {
        let wanted = key(&value)?;
        let mut at = self.values.len();
        // From the end: most values are not among the largest.
        while at > 0 {
            match key(&self.values[at - 1])?.partial_cmp(&wanted) {
                Some(Ordering::Less) => at -= 1,
                Some(Ordering::Equal) if self.distinct => return Ok(()),
                _ => break,
            }
        }
        if at < self.k {
            self.values.insert(at, value);
            self.values.truncate(self.k);
        }
        Ok(())
    }
}

impl Accumulator for Top {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let items: ArrayRef = match &self.of {
            DataType::Struct(fields) => {
                let columns = values[..fields.len()].to_vec();
                Arc::new(StructArray::try_new(fields.clone(), columns, None)?)
            }
            _ => Arc::clone(&values[0]),
        };
        for row in (0..items.len()).filter(|row| values[0].is_valid(*row)) {
            self.add(ScalarValue::try_from_array(&items, row)?)?;
        }
        Ok(())
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
                self.add(value)?;
            }
        }
        Ok(())
    }

    fn size(&self) -> usize {
        std::mem::size_of::<Self>() + size_of(&self.values)
    }
}
