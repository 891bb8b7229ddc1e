//! A scalar function of our own: its overloads, which of them a call means, and how it is run.
//!
//! Columns at a time: an overload's code gets arrays of exactly the types it says it takes, and makes
//! one array. A value that it cannot compute is NULL, as in the dialect, and never an error.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, Float64Array, Int32Array, Int64Array, ListArray,
    MapArray, StringArray,
};
use arrow::datatypes::{DataType, Float64Type, Int32Type, Int64Type, TimeUnit};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use crate::types::SqlType;

/// What an argument may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Param {
    Boolean,
    Int,
    BigInt,
    Double,
    /// A decimal as it is; integers become the decimal that holds them.
    Decimal,
    String,
    Bytes,
    Date,
    Time,
    Timestamp,
    /// A unit of time, written as a word. It is a string that the planner made of it.
    Unit,
    /// Any array, as it is.
    Array,
    /// An array of strings.
    Strings,
    /// Any map, as it is.
    Map,
    /// Anything, as it is.
    Any,
}

/// How well an argument fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    Exact,
    Cast,
}

impl Param {
    /// The type that an argument of type `of` is cast to, if it may be passed here.
    fn accept(self, of: &DataType) -> Option<(Fit, DataType)> {
        let own = self.data_type();
        if *of == DataType::Null {
            return Some((Fit::Exact, own.unwrap_or(DataType::Null)));
        }
        if let Some(own) = own {
            if own == *of {
                return Some((Fit::Exact, own));
            }
            // Other widths that DataFusion's functions make.
            if SqlType::from_arrow(of).is_some_and(|sql_type| sql_type.to_arrow() == own) {
                return Some((Fit::Exact, own));
            }
            return self.widens(of).then_some((Fit::Cast, own));
        }
        let cast = |to: DataType| Some((Fit::Cast, to));
        // Lists and maps that DataFusion's functions make may be called otherwise inside.
        let normal = || SqlType::from_arrow(of).map_or_else(|| of.clone(), |of| of.to_arrow());
        match (self, of) {
            (Self::Any, _)
            | (
                Self::Array,
                DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..),
            )
            | (Self::Map, DataType::Map(..))
            | (Self::Decimal, DataType::Decimal128(..) | DataType::Decimal256(..)) => {
                Some((Fit::Exact, normal()))
            }
            (Self::Decimal, DataType::Int32) => cast(DataType::Decimal128(10, 0)),
            (Self::Decimal, DataType::Int64) => cast(DataType::Decimal128(19, 0)),
            _ => None,
        }
    }

    /// The type, where it is one.
    fn data_type(self) -> Option<DataType> {
        Some(match self {
            Self::Boolean => DataType::Boolean,
            Self::Int => DataType::Int32,
            Self::BigInt => DataType::Int64,
            Self::Double => DataType::Float64,
            Self::String | Self::Unit => DataType::Utf8,
            Self::Bytes => DataType::Binary,
            Self::Date => DataType::Date32,
            Self::Time => DataType::Time32(TimeUnit::Millisecond),
            Self::Timestamp => DataType::Timestamp(TimeUnit::Millisecond, None),
            Self::Strings => strings(),
            Self::Decimal | Self::Array | Self::Map | Self::Any => return None,
        })
    }

    /// Whether the dialect casts a value of type `of` without being told.
    fn widens(self, of: &DataType) -> bool {
        let decimal = matches!(of, DataType::Decimal128(..) | DataType::Decimal256(..));
        match self {
            Self::BigInt => *of == DataType::Int32,
            Self::Double => decimal || matches!(of, DataType::Int32 | DataType::Int64),
            Self::Date | Self::Time | Self::Timestamp => *of == DataType::Utf8,
            Self::Strings => matches!(of, DataType::List(item) if item.data_type().is_null()),
            _ => false,
        }
    }

    /// How it is called where the overloads are listed.
    fn name(self) -> &'static str {
        match self {
            Self::Boolean => "BOOLEAN",
            Self::Int => "INT",
            Self::BigInt => "BIGINT",
            Self::Double => "DOUBLE",
            Self::Decimal => "DECIMAL",
            Self::String => "VARCHAR",
            Self::Bytes => "BYTES",
            Self::Date => "DATE",
            Self::Time => "TIME",
            Self::Timestamp => "TIMESTAMP",
            Self::Unit => "INTERVALUNIT",
            Self::Array => "ARRAY<T>",
            Self::Strings => "ARRAY<VARCHAR>",
            Self::Map => "MAP<VARCHAR, T>",
            Self::Any => "T",
        }
    }
}

/// `ARRAY<STRING>`
pub(super) fn strings() -> DataType {
    list_of(DataType::Utf8)
}

/// `ARRAY<item>`
pub(super) fn list_of(item: DataType) -> DataType {
    DataType::new_list(item, true)
}

/// Makes types that must agree the same; `None` if they cannot be.
pub(super) type Unify = fn(Vec<DataType>) -> Option<Vec<DataType>>;

/// One way to call a function.
#[derive(Clone, Copy)]
pub(super) struct Overload {
    /// The arguments.
    pub(super) params: &'static [Param],
    /// Whether the last one may come any number of times, or not at all.
    pub(super) variadic: bool,
    /// Which of its types must agree.
    pub(super) unify: Option<Unify>,
    /// The result's type.
    pub(super) returns: fn(&[DataType]) -> DataType,
    pub(super) run: fn(&Call<'_>) -> Result<ArrayRef>,
}

/// The overload that takes exactly `params`.
pub(super) const fn takes(
    params: &'static [Param],
    returns: fn(&[DataType]) -> DataType,
    run: fn(&Call<'_>) -> Result<ArrayRef>,
) -> Overload {
    Overload {
        params,
        variadic: false,
        unify: None,
        returns,
        run,
    }
}

impl Overload {
    /// The last argument may come any number of times.
    pub(super) const fn variadic(mut self) -> Self {
        self.variadic = true;
        self
    }

    /// Types must agree as `unify` says.
    pub(super) const fn unify(mut self, unify: Unify) -> Self {
        self.unify = Some(unify);
        self
    }

    fn accept(&self, types: &[DataType]) -> Option<(Fit, Vec<DataType>)> {
        let fixed = self.params.len() - usize::from(self.variadic);
        if types.len() < fixed || (!self.variadic && types.len() > fixed) {
            return None;
        }
        let mut worst = Fit::Exact;
        let mut accepted = Vec::with_capacity(types.len());
        for (index, of) in types.iter().enumerate() {
            let param = self.params[index.min(self.params.len() - 1)];
            let (fit, to) = param.accept(of)?;
            worst = worst.max(fit);
            accepted.push(to);
        }
        let accepted = match self.unify {
            Some(unify) => unify(accepted)?,
            None => accepted,
        };
        Some((worst, accepted))
    }
}

/// The arguments of a call.
pub(super) struct Call<'a> {
    pub(super) args: &'a [ArrayRef],
    pub(super) rows: usize,
    /// The type to return.
    pub(super) returns: &'a DataType,
}

impl Call<'_> {
    pub(super) fn string(&self, index: usize) -> &StringArray {
        self.args[index].as_string()
    }

    pub(super) fn bytes(&self, index: usize) -> &BinaryArray {
        self.args[index].as_binary()
    }

    pub(super) fn int(&self, index: usize) -> &Int32Array {
        self.args[index].as_primitive::<Int32Type>()
    }

    pub(super) fn bigint(&self, index: usize) -> &Int64Array {
        self.args[index].as_primitive::<Int64Type>()
    }

    pub(super) fn double(&self, index: usize) -> &Float64Array {
        self.args[index].as_primitive::<Float64Type>()
    }

    pub(super) fn list(&self, index: usize) -> &ListArray {
        self.args[index].as_list()
    }

    pub(super) fn map(&self, index: usize) -> &MapArray {
        self.args[index].as_map()
    }

    /// A string of each row.
    pub(super) fn strings<T: AsRef<str>>(&self, of: impl FnMut(usize) -> Option<T>) -> ArrayRef {
        Arc::new((0..self.rows).map(of).collect::<StringArray>())
    }

    /// Bytes of each row.
    pub(super) fn binaries<T: AsRef<[u8]>>(&self, of: impl FnMut(usize) -> Option<T>) -> ArrayRef {
        Arc::new((0..self.rows).map(of).collect::<BinaryArray>())
    }

    /// An INT of each row.
    pub(super) fn ints(&self, of: impl FnMut(usize) -> Option<i32>) -> ArrayRef {
        Arc::new((0..self.rows).map(of).collect::<Int32Array>())
    }

    /// A BIGINT of each row.
    pub(super) fn bigints(&self, of: impl FnMut(usize) -> Option<i64>) -> ArrayRef {
        Arc::new((0..self.rows).map(of).collect::<Int64Array>())
    }

    /// A DOUBLE of each row.
    pub(super) fn doubles(&self, of: impl FnMut(usize) -> Option<f64>) -> ArrayRef {
        Arc::new((0..self.rows).map(of).collect::<Float64Array>())
    }
}

/// A value of an array, `None` where it is NULL.
pub(super) trait Get {
    /// What it has.
    type Item<'a>
    where
        Self: 'a;

    /// The value of a row.
    fn get(&self, row: usize) -> Option<Self::Item<'_>>;
}

impl Get for StringArray {
    type Item<'a> = &'a str;

    fn get(&self, row: usize) -> Option<&str> {
        self.is_valid(row).then(|| self.value(row))
    }
}

impl Get for BinaryArray {
    type Item<'a> = &'a [u8];

    fn get(&self, row: usize) -> Option<&[u8]> {
        self.is_valid(row).then(|| self.value(row))
    }
}

impl<T: arrow::datatypes::ArrowPrimitiveType> Get for arrow::array::PrimitiveArray<T> {
    type Item<'a> = T::Native;

    fn get(&self, row: usize) -> Option<T::Native> {
        self.is_valid(row).then(|| self.value(row))
    }
}

/// A function.
pub(super) struct Native {
    name: &'static str,
    signature: Signature,
    overloads: &'static [Overload],
}

impl Native {
    /// The function of that name, whose result depends on nothing but its arguments.
    pub(super) fn create(name: &'static str, overloads: &'static [Overload]) -> ScalarUDF {
        ScalarUDF::from(Self {
            name,
            signature: Signature::user_defined(Volatility::Immutable),
            overloads,
        })
    }

    /// The overload for arguments of these types, and the types it wants them to have. The first
    /// exact one, or else the first that takes them with casts.
    fn resolve(&self, types: &[DataType]) -> std::result::Result<(&Overload, Vec<DataType>), Why> {
        let mut found: Vec<(Fit, Vec<DataType>, &Overload)> = self
            .overloads
            .iter()
            .filter_map(|overload| {
                let (fit, accepted) = overload.accept(types)?;
                Some((fit, accepted, overload))
            })
            .collect();
        found.sort_by_key(|(fit, _, overload)| (*fit, overload.variadic));
        let untyped = !types.is_empty() && types.iter().all(|of| of.is_null());
        let ambiguous = match found.as_slice() {
            [first, second, ..] => {
                first.2.variadic && first.0 == second.0 && (untyped || first.0 == Fit::Cast)
            }
            _ => false,
        };
        match found.into_iter().next() {
            Some(_) if ambiguous => Err(Why::Ambiguous),
            Some((_, accepted, overload)) => Ok((overload, accepted)),
            None => Err(Why::Parameters),
        }
    }

    fn refuse<T>(&self, why: Why, types: &[DataType]) -> Result<T> {
        let given = types
            .iter()
            .map(|of| SqlType::from_arrow(of).map_or("null".to_owned(), |of| of.to_string()))
            .collect::<Vec<_>>()
            .join(", ");
        let name = self.name;
        match why {
            Why::Ambiguous => plan_err!(
                "Function '{name}' cannot be resolved due to ambiguous method parameters ({given})"
            ),
            Why::Parameters => {
                let alternatives = self
                    .overloads
                    .iter()
                    .map(|overload| overload.describe(name))
                    .collect::<Vec<_>>()
                    .join(", ");
                plan_err!(
                    "Function '{name}' does not accept parameters ({given}). Valid alternatives \
                     are: {alternatives}"
                )
            }
        }
    }
}

impl Overload {
    fn describe(&self, name: &str) -> String {
        let params: Vec<&str> = self.params.iter().map(|param| param.name()).collect();
        let more = if self.variadic { "..." } else { "" };
        format!("{name}({}{more})", params.join(", "))
    }
}

/// Why there is no overload for a call.
#[derive(Clone, Copy)]
enum Why {
    Parameters,
    Ambiguous,
}

impl std::fmt::Debug for Native {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Native").field("name", &self.name).finish()
    }
}

/// There is one function of a name.
impl PartialEq for Native {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Native {}

impl Hash for Native {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for Native {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match self.resolve(types) {
            Ok((_, accepted)) => Ok(accepted),
            Err(why) => self.refuse(why, types),
        }
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match self.resolve(types) {
            Ok((overload, accepted)) => Ok((overload.returns)(&accepted)),
            Err(why) => self.refuse(why, types),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let constant = !args.args.is_empty()
            && args
                .args
                .iter()
                .all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let types: Vec<DataType> = args.args.iter().map(ColumnarValue::data_type).collect();
        let (overload, accepted) = match self.resolve(&types) {
            Ok(resolved) => resolved,
            Err(why) => return self.refuse(why, &types),
        };
        let arrays = args
            .args
            .iter()
            .zip(&accepted)
            .map(|(arg, wanted)| {
                let array = arg.to_array(rows)?;
                match array.data_type() == wanted {
                    true => Ok(array),
                    false => Ok(arrow::compute::cast(&array, wanted)?),
                }
            })
            .collect::<Result<Vec<_>>>()?;
        let result = (overload.run)(&Call {
            args: &arrays,
            rows,
            returns: args.return_field.data_type(),
        })?;
        if result.len() != rows {
            return exec_err!("{} made {} rows of {rows}", self.name, result.len());
        }
        match constant {
            true => ScalarValue::try_from_array(&result, 0).map(ColumnarValue::Scalar),
            false => Ok(ColumnarValue::Array(result)),
        }
    }
}

/// What is made of a text that is the same in many rows, such as a pattern: made once for as long
/// as it does not change.
pub(super) struct Remembered<T> {
    of: String,
    made: Option<T>,
    fresh: bool,
}

impl<T> Remembered<T> {
    pub(super) fn new() -> Self {
        Self {
            of: String::new(),
            made: None,
            fresh: true,
        }
    }

    /// What `make` makes of `text`.
    pub(super) fn of(
        &mut self,
        text: &str,
        make: impl FnOnce(&str) -> Option<T>,
    ) -> Option<&mut T> {
        if self.fresh || self.of != text {
            self.of.clear();
            self.of.push_str(text);
            self.made = make(text);
            self.fresh = false;
        }
        self.made.as_mut()
    }
}
