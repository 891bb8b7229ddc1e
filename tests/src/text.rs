//! Rows as text, as the `.slt` files have them.

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};

/// Each row's cells. A NULL is `NULL`, an empty text `(empty)`.
///
/// # Errors
/// A type that has no text.
pub fn rows(batches: &[RecordBatch]) -> Result<Vec<Vec<String>>, ArrowError> {
    let options = FormatOptions::default().with_null("NULL");
    let mut rows = Vec::new();
    for batch in batches {
        let columns = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column, &options))
            .collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            let cells = columns
                .iter()
                .map(|column| match column.value(row).to_string() {
                    text if text.is_empty() => "(empty)".to_owned(),
                    text => text,
                });
            rows.push(cells.collect());
        }
    }
    Ok(rows)
}

/// A type's letter in the `.slt` files: `I` whole numbers, `R` other numbers, `B` booleans, `T` text,
/// `?` the rest.
pub fn letter(data_type: &DataType) -> char {
    match data_type {
        DataType::Boolean => 'B',
        other if other.is_integer() => 'I',
        other if other.is_numeric() => 'R',
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => 'T',
        _ => '?',
    }
}
