//! Small tables of text and numbers that statements answer.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::RecordBatch;

use crate::error::Result;
use crate::response::{Response, Rows};

/// A column of a listing.
pub(super) enum Cells {
    Text(Vec<String>),
    Number(Vec<i64>),
}

/// A listing with these columns.
pub(super) fn rows(columns: Vec<(&str, Cells)>) -> Result<Response> {
    let mut fields = Vec::new();
    let mut arrays: Vec<ArrayRef> = Vec::new();
    for (name, cells) in columns {
        let (data_type, array): (DataType, ArrayRef) = match cells {
            Cells::Text(cells) => (DataType::Utf8, Arc::new(StringArray::from(cells))),
            Cells::Number(cells) => (DataType::Int64, Arc::new(Int64Array::from(cells))),
        };
        fields.push(Field::new(name, data_type, true));
        arrays.push(array);
    }
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?;
    Ok(Response::Rows(Rows::of(batch)))
}

/// One text cell in a column of that name for each line.
pub(super) fn lines(name: &str, text: &str) -> Result<Response> {
    rows(vec![(
        name,
        Cells::Text(text.lines().map(str::to_owned).collect()),
    )])
}
