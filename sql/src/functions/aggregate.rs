//! KSQL's aggregate functions that DataFusion has not, or has otherwise.
//!
//! Each keeps a small list of values: its state is that list, and arguments that set a limit are
//! constants. One file a function; what they share is here.

mod attr;
mod by_offset;
mod collect;
mod histogram;
mod sum_list;
mod top;

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility,
};
use datafusion::physical_expr::expressions::Literal;

use crate::types::SqlType;

pub(super) fn all() -> Vec<AggregateUDF> {
    [
        &attr::ATTR,
        &by_offset::EARLIEST,
        &by_offset::LATEST,
        &collect::LIST,
        &collect::SET,
        &histogram::HISTOGRAM,
        &sum_list::SUM_LIST,
        &top::TOPK,
        &top::TOPKDISTINCT,
    ]
    .map(Own::create)
    .into()
}

/// A function.
struct Definition {
    name: &'static str,
    /// How it is called.
    form: &'static str,
    /// The types its arguments are cast to. `None` if it does not take them.
    accept: fn(&[DataType]) -> Option<Vec<DataType>>,
    /// The result's type.
    returns: fn(&[DataType]) -> DataType,
    /// Types of the state.
    state: fn(&[DataType]) -> Vec<DataType>,
    /// An empty group.
    make: fn(&Made<'_>) -> Result<Box<dyn Accumulator>>,
}

/// What an accumulator is made of.
struct Made<'a> {
    types: &'a [DataType],
    /// The arguments that are constants, by position.
    constants: &'a [Option<ScalarValue>],
}

impl Made<'_> {
    /// A positive number that is a constant.
    fn count(&self, index: usize) -> Result<usize> {
        let count = match self.constants.get(index) {
            Some(Some(ScalarValue::Int32(Some(count)))) => usize::try_from(*count).ok(),
            Some(Some(ScalarValue::Int64(Some(count)))) => usize::try_from(*count).ok(),
            _ => return exec_err!("argument {} must be a constant", index + 1),
        };
        match count {
            Some(count) if count > 0 => Ok(count),
            _ => exec_err!("argument {} must be 1 or more", index + 1),
        }
    }
}

struct Own {
    definition: &'static Definition,
    signature: Signature,
}

impl Own {
    fn create(definition: &'static Definition) -> AggregateUDF {
        AggregateUDF::from(Self {
            definition,
            signature: Signature::user_defined(Volatility::Immutable),
        })
    }

    fn accept(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match (self.definition.accept)(types) {
            Some(accepted) => Ok(accepted),
            None => {
                let given = types
                    .iter()
                    .map(|of| SqlType::from_arrow(of).map_or("null".into(), |of| of.to_string()))
                    .collect::<Vec<String>>()
                    .join(", ");
                plan_err!(
                    "Function '{}' does not accept parameters ({given}). It is called as {}",
                    self.definition.name,
                    self.definition.form
                )
            }
        }
    }
}

impl std::fmt::Debug for Own {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Own")
            .field("name", &self.definition.name)
            .finish()
    }
}

/// There is one function of a name.
impl PartialEq for Own {
    fn eq(&self, other: &Self) -> bool {
        self.definition.name == other.definition.name
    }
}

impl Eq for Own {}

impl Hash for Own {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.definition.name.hash(state);
    }
}

impl AggregateUDFImpl for Own {
    fn name(&self) -> &str {
        self.definition.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.accept(types)
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok((self.definition.returns)(&self.accept(types)?))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let types: Vec<DataType> = args
            .input_fields
            .iter()
            .map(|field| field.data_type().clone())
            .collect();
        Ok((self.definition.state)(&types)
            .into_iter()
            .enumerate()
            .map(|(index, of)| Arc::new(Field::new(format!("{}[{index}]", args.name), of, true)))
            .collect())
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let types = args
            .exprs
            .iter()
            .map(|expr| expr.data_type(args.schema))
            .collect::<Result<Vec<_>>>()?;
        let constants: Vec<Option<ScalarValue>> = args
            .exprs
            .iter()
            .map(|expr| {
                expr.downcast_ref::<Literal>()
                    .map(|literal| literal.value().clone())
            })
            .collect();
        (self.definition.make)(&Made {
            types: &types,
            constants: &constants,
        })
    }
}

/// Takes one argument of any type.
fn any_one(types: &[DataType]) -> Option<Vec<DataType>> {
    matches!(types, [only] if !only.is_null()).then(|| types.to_vec())
}

/// `ARRAY<item>`
fn list(item: &DataType) -> DataType {
    DataType::new_list(item.clone(), true)
}

/// Values as one of an array's type.
fn to_list(values: &[ScalarValue], item: &DataType) -> ScalarValue {
    ScalarValue::List(ScalarValue::new_list(values, item, true))
}

/// The values of one row of an array of arrays.
fn from_list(lists: &ArrayRef, row: usize) -> Result<Vec<ScalarValue>> {
    let lists = lists.as_list::<i32>();
    if lists.is_null(row) {
        return Ok(Vec::new());
    }
    let items = lists.value(row);
    (0..items.len())
        .map(|at| ScalarValue::try_from_array(&items, at))
        .collect()
}

/// Values with a number each as a state of two arrays.
fn numbered_state(values: &[(ScalarValue, i64)], item: &DataType) -> Vec<ScalarValue> {
    let (values, numbers): (Vec<ScalarValue>, Vec<ScalarValue>) = values
        .iter()
        .map(|(value, number)| (value.clone(), ScalarValue::from(*number)))
        .unzip();
    vec![to_list(&values, item), to_list(&numbers, &DataType::Int64)]
}

/// The values of such states, with their numbers.
fn each_numbered(states: &[ArrayRef], mut take: impl FnMut(ScalarValue, i64)) -> Result<()> {
    for row in 0..states[0].len() {
        let numbers = from_list(&states[1], row)?;
        for (value, number) in from_list(&states[0], row)?.into_iter().zip(numbers) {
            if let ScalarValue::Int64(Some(number)) = number {
                take(value, number);
            }
        }
    }
    Ok(())
}

/// Memory of values, in bytes.
fn size_of<'a>(values: impl IntoIterator<Item = &'a ScalarValue>) -> usize {
    values.into_iter().map(ScalarValue::size).sum()
}
