//! IFNULL.

use arrow::compute::is_not_null;
use arrow::compute::kernels::zip::zip;
use arrow::datatypes::DataType;
use datafusion::logical_expr::ScalarUDF;
use datafusion::logical_expr::type_coercion::binary::type_union_coercion;

use super::native::{Native, Overload, Param, takes};

pub(super) fn all() -> Vec<ScalarUDF> {
    static IFNULL: &[Overload] = &[takes(
        &[Param::Any, Param::Any],
        |types| types[0].clone(),
        |call| {
            let value = &call.args[0];
            Ok(zip(&is_not_null(value)?, value, &call.args[1])?)
        },
    )
    .unify(same)];
    vec![Native::create("ifnull", IFNULL)]
}

/// The one type that both have.
fn same(types: Vec<DataType>) -> Option<Vec<DataType>> {
    let common = match types.as_slice() {
        [a, b] if a == b => a.clone(),
        [a, b] => type_union_coercion(a, b)?,
        _ => return None,
    };
    Some(vec![common; 2])
}
