//! EXPLODE and CUBE_EXPLODE: functions that make several rows of one. As functions of a value they
//! only have a type; the planner puts an unnesting of the arrays in their place
//! (`planner::table_function`).

use std::sync::{Arc, OnceLock};

use arrow::array::{Array, ArrayRef, ListArray, UInt32Array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::take;
use arrow::datatypes::DataType;
use datafusion::common::{Result, exec_err, internal_err};
use datafusion::logical_expr::ScalarUDF;

use super::native::{Call, Native, Overload, Param, list_of, takes};

/// More columns make too many rows.
const CUBE_COLUMNS_MAX: usize = 16;

const ITEM: fn(&[DataType]) -> DataType = |types| match &types[0] {
    DataType::List(item) => item.data_type().clone(),
    other => other.clone(),
};

pub(super) fn all() -> Vec<ScalarUDF> {
    use Param::Array;
    static EXPLODE: &[Overload] = &[takes(&[Array], ITEM, misplaced)];
    static CUBE_EXPLODE: &[Overload] = &[takes(&[Array], |types| types[0].clone(), misplaced)];
    vec![
        Native::create("explode", EXPLODE),
        Native::create("cube_explode", CUBE_EXPLODE),
    ]
}

fn misplaced(_call: &Call<'_>) -> Result<ArrayRef> {
    exec_err!("a table function stands in the SELECT of a continuous query over a stream")
}

/// Whether a function of that name makes rows.
pub(crate) fn is_table_function(name: &str) -> bool {
    matches!(name, "explode" | "cube_explode")
}

/// All ways to set some of an array's items to NULL: what CUBE_EXPLODE makes rows of.
pub(crate) fn cube() -> &'static Arc<ScalarUDF> {
    static FUNCTION: OnceLock<Arc<ScalarUDF>> = OnceLock::new();
    static CUBE: &[Overload] = &[takes(
        &[Param::Array],
        |types| list_of(types[0].clone()),
        run_cube,
    )];
    FUNCTION.get_or_init(|| Arc::new(Native::create("cube", CUBE)))
}

fn run_cube(call: &Call<'_>) -> Result<ArrayRef> {
    let lists = call.list(0);
    let offsets = lists.value_offsets();
    let mut indices: Vec<Option<u32>> = Vec::new();
    let (mut widths, mut counts) = (Vec::new(), Vec::new());
    for row in 0..call.rows {
        let items = match lists.is_valid(row) {
            true => offsets[row] as usize..offsets[row + 1] as usize,
            false => 0..0,
        };
        // A NULL is NULL either way.
        let free: Vec<usize> = items
            .clone()
            .filter(|item| lists.values().is_valid(*item))
            .collect();
        if items.is_empty() || free.len() > CUBE_COLUMNS_MAX {
            counts.push(0);
            continue;
        }
        // The first item changes last.
        let combinations = 1_u32 << free.len();
        for set in 0..combinations {
            for item in items.clone() {
                let place = free.iter().rev().position(|free| *free == item);
                let kept = place.is_some_and(|place| set & (1 << place) != 0);
                indices.push(kept.then_some(item as u32));
            }
            widths.push(items.len());
        }
        counts.push(combinations as usize);
    }
    let DataType::List(outer) = call.returns else {
        return internal_err!("{} is no array", call.returns);
    };
    let DataType::List(inner) = outer.data_type() else {
        return internal_err!("{} is no array of arrays", call.returns);
    };
    let values = take(lists.values(), &UInt32Array::from(indices), None)?;
    let inner = ListArray::try_new(
        Arc::clone(inner),
        OffsetBuffer::from_lengths(widths),
        values,
        None,
    )?;
    let nulls = lists.nulls().cloned();
    Ok(Arc::new(ListArray::try_new(
        Arc::clone(outer),
        OffsetBuffer::from_lengths(counts),
        Arc::new(inner),
        nulls,
    )?))
}
