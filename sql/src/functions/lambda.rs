//! TRANSFORM, FILTER and REDUCE: functions that take a lambda, which is run over the items of all
//! rows at once.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, ListArray, MapArray, UInt32Array, new_null_array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{cast, interleave, take, take_arrays};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, internal_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, HigherOrderFunctionArgs, HigherOrderReturnFieldArgs, HigherOrderSignature,
    HigherOrderUDF, HigherOrderUDFImpl, LambdaArgument, LambdaParametersProgress, ValueOrLambda,
    Volatility,
};

use super::map::{map_of, maps, value_of};
use super::native::list_of;
use crate::types::SqlType;

pub(super) fn all() -> Vec<HigherOrderUDF> {
    [Kind::Transform, Kind::Filter, Kind::Reduce]
        .map(|kind| {
            HigherOrderUDF::new_from_impl(Lambda {
                kind,
                signature: HigherOrderSignature::user_defined(Volatility::Immutable),
            })
        })
        .into()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Transform,
    Filter,
    Reduce,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Transform => "transform",
            Self::Filter => "filter",
            Self::Reduce => "reduce",
        }
    }

    /// How it is called.
    fn form(self) -> &'static str {
        match self {
            Self::Transform => {
                "TRANSFORM(array, x => …) or TRANSFORM(map, (k, v) => …, (k, v) => …)"
            }
            Self::Filter => "FILTER(array, x => …) or FILTER(map, (k, v) => …)",
            Self::Reduce => {
                "REDUCE(array, state, (s, x) => …) or REDUCE(map, state, (s, k, v) => …)"
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Lambda {
    kind: Kind,
    signature: HigherOrderSignature,
}

/// A type as the dialect has it.
fn normal(of: &DataType) -> DataType {
    SqlType::from_arrow(of).map_or_else(|| of.clone(), |of| of.to_arrow())
}

fn field(name: &str, of: DataType) -> FieldRef {
    Arc::new(Field::new(name, of, true))
}

/// The types of the parameters that stand for one item of a collection.
fn item_fields(collection: &DataType) -> Option<Vec<FieldRef>> {
    match collection {
        DataType::List(item) => Some(vec![field("item", item.data_type().clone())]),
        DataType::Map(..) => Some(vec![
            field("key", DataType::Utf8),
            field("value", value_of(collection)?),
        ]),
        _ => None,
    }
}

impl Lambda {
    fn refuse<T>(&self) -> Result<T> {
        plan_err!(
            "Function '{}' does not accept parameters of these types; it is called as {}",
            self.kind.name(),
            self.kind.form()
        )
    }
}

impl HigherOrderUDFImpl for Lambda {
    fn name(&self) -> &str {
        self.kind.name()
    }

    fn signature(&self) -> &HigherOrderSignature {
        &self.signature
    }

    fn coerce_value_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let values = if self.kind == Kind::Reduce { 2 } else { 1 };
        let is_collection = |of: &DataType| matches!(of, DataType::List(_) | DataType::Map(..));
        match types.first().map(normal) {
            Some(first) if types.len() == values && is_collection(&first) => {
                Ok(std::iter::once(first)
                    .chain(types[1..].iter().map(normal))
                    .collect())
            }
            _ => self.refuse(),
        }
    }

    fn lambda_parameters(
        &self,
        _step: usize,
        fields: &[ValueOrLambda<FieldRef, Option<FieldRef>>],
    ) -> Result<LambdaParametersProgress> {
        let Some(ValueOrLambda::Value(collection)) = fields.first() else {
            return self.refuse();
        };
        let Some(items) = item_fields(collection.data_type()) else {
            return self.refuse();
        };
        let lambdas = fields
            .iter()
            .filter(|field| matches!(field, ValueOrLambda::Lambda(_)))
            .count();
        let is_map = items.len() == 2;
        let wanted = if self.kind == Kind::Transform && is_map {
            2
        } else {
            1
        };
        if lambdas != wanted {
            return self.refuse();
        }
        Ok(LambdaParametersProgress::Complete(
            match (self.kind, fields.get(1)) {
                (Kind::Reduce, Some(ValueOrLambda::Value(state))) => {
                    let state = field("state", state.data_type().clone());
                    vec![std::iter::once(state).chain(items).collect()]
                }
                (Kind::Reduce, _) => return self.refuse(),
                _ => vec![items; wanted],
            },
        ))
    }

    fn return_field_from_args(&self, args: HigherOrderReturnFieldArgs) -> Result<FieldRef> {
        use ValueOrLambda::{Lambda as Body, Value};
        Ok(match (self.kind, args.arg_fields) {
            (Kind::Filter, [Value(collection), Body(test)]) => {
                if !matches!(test.data_type(), DataType::Boolean | DataType::Null) {
                    return plan_err!("the lambda of FILTER must give a BOOLEAN");
                }
                field("", collection.data_type().clone())
            }
            (Kind::Reduce, [Value(_), Value(state), Body(_)]) => {
                field("", state.data_type().clone())
            }
            (Kind::Transform, [Value(_), Body(item)]) => {
                field("", list_of(normal(item.data_type())))
            }
            (Kind::Transform, [Value(_), Body(key), Body(value)]) => {
                if *key.data_type() != DataType::Utf8 {
                    return plan_err!("the first lambda of TRANSFORM makes keys: a STRING");
                }
                field("", map_of(value.data_type()))
            }
            _ => return self.refuse(),
        })
    }

    fn invoke_with_args(&self, args: HigherOrderFunctionArgs) -> Result<ColumnarValue> {
        use ValueOrLambda::{Lambda as Body, Value};
        let rows = args.number_rows;
        let returns = args.return_field.data_type();
        let collection = match args.args.first() {
            Some(Value(collection)) => Collection::new(&collection.to_array(rows)?)?,
            _ => return self.refuse(),
        };
        let result = match (self.kind, args.args.as_slice()) {
            (Kind::Transform, [_, Body(item)]) => {
                let items = collection.run(item)?;
                collection.list(items, returns)?
            }
            (Kind::Transform, [_, Body(key), Body(value)]) => {
                let (keys, values) = (collection.run(key)?, collection.run(value)?);
                collection.map(&keys, &values, returns)?
            }
            (Kind::Filter, [_, Body(test)]) => {
                let test = collection.run(test)?;
                collection.filter(test.as_boolean(), returns)?
            }
            (Kind::Reduce, [_, Value(state), Body(lambda)]) => {
                let state = cast(&state.to_array(rows)?, returns)?;
                collection.reduce(state, lambda)?
            }
            _ => return self.refuse(),
        };
        Ok(ColumnarValue::Array(result))
    }
}

/// The items of all rows, one after the other.
struct Collection {
    /// One column for an array's items, two for a map's keys and values.
    columns: Vec<ArrayRef>,
    lengths: Vec<usize>,
    /// The row of each item.
    rows: UInt32Array,
    nulls: Option<NullBuffer>,
}

impl Collection {
    fn new(array: &ArrayRef) -> Result<Self> {
        let (offsets, columns) = match array.data_type() {
            DataType::List(_) => {
                let list: &ListArray = array.as_list();
                (list.offsets(), vec![Arc::clone(list.values())])
            }
            DataType::Map(..) => {
                let map: &MapArray = array.as_map();
                (
                    map.offsets(),
                    vec![Arc::clone(map.keys()), Arc::clone(map.values())],
                )
            }
            other => return internal_err!("{other} has no items"),
        };
        let (mut indices, mut rows) = (Vec::new(), Vec::new());
        let mut lengths = Vec::with_capacity(array.len());
        for (row, ends) in offsets.windows(2).enumerate() {
            let items = match array.is_null(row) {
                true => 0..0,
                false => ends[0] as u32..ends[1] as u32,
            };
            lengths.push(items.len());
            rows.extend(std::iter::repeat_n(row as u32, items.len()));
            indices.extend(items);
        }
        Ok(Self {
            columns: take_arrays(&columns, &UInt32Array::from(indices), None)?,
            lengths,
            rows: UInt32Array::from(rows),
            nulls: array.nulls().cloned(),
        })
    }

    /// What a lambda makes of each item.
    fn run(&self, lambda: &LambdaArgument) -> Result<ArrayRef> {
        run(lambda, &self.columns, &self.rows)
    }

    fn list(&self, items: ArrayRef, returns: &DataType) -> Result<ArrayRef> {
        let DataType::List(item) = returns else {
            return internal_err!("{returns} is no array");
        };
        let items = match items.data_type() == item.data_type() {
            true => items,
            false => cast(&items, item.data_type())?,
        };
        let offsets = OffsetBuffer::from_lengths(self.lengths.iter().copied());
        let nulls = self.nulls.clone();
        Ok(Arc::new(ListArray::try_new(
            Arc::clone(item),
            offsets,
            items,
            nulls,
        )?))
    }

    /// A map of the entries; a row where two have the same key, or one has none, is NULL.
    fn map(&self, keys: &ArrayRef, values: &ArrayRef, returns: &DataType) -> Result<ArrayRef> {
        let names = keys.as_string::<i32>();
        let mut indices: Vec<u32> = Vec::new();
        let mut lengths = Vec::with_capacity(self.lengths.len());
        let mut valid = Vec::with_capacity(self.lengths.len());
        let mut start = 0;
        for (row, length) in self.lengths.iter().enumerate() {
            let mut known = std::collections::HashSet::new();
            let items = start..start + length;
            start = items.end;
            let there = self.nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
            let fine = there
                && items
                    .clone()
                    .all(|at| names.is_valid(at) && known.insert(names.value(at)));
            if fine {
                indices.extend(items.map(|at| at as u32));
            }
            lengths.push(if fine { *length } else { 0 });
            valid.push(fine);
        }
        let indices = UInt32Array::from(indices);
        let (keys, values) = (take(keys, &indices, None)?, take(values, &indices, None)?);
        maps(
            returns,
            &keys,
            &values,
            lengths,
            Some(NullBuffer::from(valid)),
        )
    }

    fn filter(&self, test: &BooleanArray, returns: &DataType) -> Result<ArrayRef> {
        let passes = |at: &usize| test.is_valid(*at) && test.value(*at);
        let mut indices: Vec<u32> = Vec::new();
        let mut lengths = Vec::with_capacity(self.lengths.len());
        let mut start = 0;
        for length in &self.lengths {
            let before = indices.len();
            indices.extend((start..start + length).filter(passes).map(|at| at as u32));
            lengths.push(indices.len() - before);
            start += length;
        }
        let columns = take_arrays(&self.columns, &UInt32Array::from(indices), None)?;
        let kept = Self {
            columns,
            lengths,
            rows: UInt32Array::from(Vec::<u32>::new()),
            nulls: self.nulls.clone(),
        };
        match kept.columns.as_slice() {
            [items] => kept.list(Arc::clone(items), returns),
            [keys, values] => maps(
                returns,
                keys,
                values,
                kept.lengths.clone(),
                kept.nulls.clone(),
            ),
            _ => internal_err!("a collection without items"),
        }
    }

    /// All rows' first items at once, then their second ones, and so on.
    fn reduce(&self, mut state: ArrayRef, lambda: &LambdaArgument) -> Result<ArrayRef> {
        let mut starts = Vec::with_capacity(self.lengths.len());
        let mut next = 0;
        for length in &self.lengths {
            starts.push(next);
            next += length;
        }
        let longest = self.lengths.iter().copied().max().unwrap_or_default();
        for position in 0..longest {
            // A state that is NULL stays so.
            let rows: Vec<u32> = (0..self.lengths.len())
                .filter(|row| self.lengths[*row] > position && state.is_valid(*row))
                .map(|row| row as u32)
                .collect();
            if rows.is_empty() {
                break;
            }
            let items = rows
                .iter()
                .map(|row| (starts[*row as usize] + position) as u32);
            let items = UInt32Array::from_iter_values(items);
            let rows = UInt32Array::from(rows);
            let mut columns = vec![take(&state, &rows, None)?];
            columns.extend(take_arrays(&self.columns, &items, None)?);
            let made = cast(&run(lambda, &columns, &rows)?, state.data_type())?;
            let mut choice: Vec<(usize, usize)> = (0..state.len()).map(|row| (0, row)).collect();
            for (at, row) in rows.values().iter().enumerate() {
                choice[*row as usize] = (1, at);
            }
            state = interleave(&[state.as_ref(), made.as_ref()], &choice)?;
        }
        Ok(state)
    }
}

/// What a lambda makes of its parameters, of which each stands for the row of that number.
fn run(lambda: &LambdaArgument, parameters: &[ArrayRef], rows: &UInt32Array) -> Result<ArrayRef> {
    let closures: Vec<_> = parameters
        .iter()
        .map(|parameter| move || Ok(Arc::clone(parameter)))
        .collect();
    let parameters: Vec<&dyn Fn() -> Result<ArrayRef>> = closures
        .iter()
        .map(|closure| closure as &dyn Fn() -> Result<ArrayRef>)
        .collect();
    let made = lambda.evaluate(&parameters, |captured| {
        Ok(take_arrays(captured, rows, None)?)
    })?;
    match made.data_type() {
        DataType::Null => Ok(new_null_array(&DataType::Boolean, rows.len())),
        _ => made.into_array(rows.len()),
    }
}
