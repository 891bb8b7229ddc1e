//! `SUM_LIST(array)`: the sum of the items of all arrays.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::sum;
use arrow::datatypes::{DataType, Float64Type, Int32Type, Int64Type};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::Accumulator;

use super::Definition;

pub(super) static SUM_LIST: Definition = Definition {
    name: "sum_list",
    form: "SUM_LIST(array of INT, BIGINT or DOUBLE)",
    accept: |types| match types {
        [DataType::List(item)]
            if matches!(
                item.data_type(),
                DataType::Int32 | DataType::Int64 | DataType::Float64
            ) =>
        {
            Some(types.to_vec())
        }
        _ => None,
    },
    returns: |types| item(&types[0]),
    state: |types| vec![item(&types[0])],
    make: |made| {
        Ok(Box::new(match item(&made.types[0]) {
            DataType::Int32 => Sum::Int(0),
            DataType::Int64 => Sum::BigInt(0),
            _ => Sum::Double(0.0),
        }))
    },
};

fn item(of: &DataType) -> DataType {
    match of {
        DataType::List(item) => item.data_type().clone(),
        other => other.clone(),
    }
}

/// Integers wrap around, as in Java.
#[derive(Debug)]
enum Sum {
    Int(i32),
    BigInt(i64),
    Double(f64),
}

impl Sum {
    fn add(&mut self, items: &ArrayRef, sign: i8) {
        match self {
            Self::Int(total) => {
                let more = sum(items.as_primitive::<Int32Type>()).unwrap_or_default();
                *total = total.wrapping_add(more.wrapping_mul(sign.into()));
            }
            Self::BigInt(total) => {
                let more = sum(items.as_primitive::<Int64Type>()).unwrap_or_default();
                *total = total.wrapping_add(more.wrapping_mul(sign.into()));
            }
            Self::Double(total) => {
                let more = sum(items.as_primitive::<Float64Type>()).unwrap_or_default();
                *total += more * f64::from(sign);
            }
        }
    }

    fn add_lists(&mut self, values: &[ArrayRef], sign: i8) {
        let lists = values[0].as_list::<i32>();
        for row in (0..lists.len()).filter(|row| lists.is_valid(*row)) {
            self.add(&lists.value(row), sign);
        }
    }
}

impl Accumulator for Sum {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add_lists(values, 1);
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add_lists(values, -1);
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(match self {
            Self::Int(total) => ScalarValue::from(*total),
            Self::BigInt(total) => ScalarValue::from(*total),
            Self::Double(total) => ScalarValue::from(*total),
        })
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.evaluate()?])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.add(&states[0], 1);
        Ok(())
    }

    fn size(&self) -> usize {
        std::mem::size_of::<Self>()
    }
}
