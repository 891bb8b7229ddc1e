//! Names of the columns that every row carries besides the user's own.
//!
//! Pseudo columns can be read in SQL; reserved ones cannot be named there (an identifier never
//! begins with `$`). All are ordinary columns of the Arrow schema, so whatever a query does not
//! use is pruned before it is decoded.

use arrow::datatypes::DataType;

/// Row time: milliseconds since 1970-01-01 UTC, BIGINT.
pub const ROWTIME: &str = "ROWTIME";
/// Partition the row was read from, INTEGER.
pub const ROWPARTITION: &str = "ROWPARTITION";
/// Offset the row was read from, BIGINT.
pub const ROWOFFSET: &str = "ROWOFFSET";
/// First millisecond of the row's window, BIGINT.
pub const WINDOWSTART: &str = "WINDOWSTART";
/// End of the row's window, BIGINT: the first millisecond after it (last one of a session).
pub const WINDOWEND: &str = "WINDOWEND";

/// Change kind, Int8: [`INSERT`] or [`DELETE`]. In a stream a delete is a record without a value;
/// in a table it is the old row, or a tombstone's key where the old row is not known.
pub const OP: &str = "$OP";
/// Position in the merged, time-ordered input of a step, UInt64: what a join orders its two sides
/// by.
pub const SEQ: &str = "$SEQ";

/// A row that is now true.
pub const INSERT: i8 = 1;
/// A row that is no longer true.
pub const DELETE: i8 = -1;

/// The pseudo columns and their types, in the order that listings show them.
pub fn pseudo_columns(windowed: bool) -> Vec<(&'static str, DataType)> {
    let mut columns = vec![
        (ROWTIME, DataType::Int64),
        (ROWPARTITION, DataType::Int32),
        (ROWOFFSET, DataType::Int64),
    ];
    if windowed {
        columns.push((WINDOWSTART, DataType::Int64));
        columns.push((WINDOWEND, DataType::Int64));
    }
    columns
}

/// Whether no user column may have this name.
pub fn is_reserved(name: &str) -> bool {
    matches!(
        name,
        ROWTIME | ROWPARTITION | ROWOFFSET | WINDOWSTART | WINDOWEND
    ) || name.starts_with('$')
}
