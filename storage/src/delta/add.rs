//! A file of a unit as the log has it: its name, its partition and what its footer says.

use std::fs::File;
use std::io::Read;
use std::time::UNIX_EPOCH;

use arrow::array::{Array, ArrayRef, Scalar};
use arrow::compute::kernels::cmp::not_distinct;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use deltalake_core::kernel::Add;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::{DataFile, statistics};
use crate::{Error, Result};

/// What a directory is called that has no value; text of this kind is no value either.
const NOTHING: &str = "__HIVE_DEFAULT_PARTITION__";
/// Bytes that are read of a file at a time.
const BUFFER_BYTES: usize = 1 << 20;

/// The file's name under the root of its table. Files with other contents have other names, so an old
/// copy of the data directory cannot write over what the log lists.
///
/// # Errors
/// `External` when the file cannot be read.
pub(super) fn name(file: &DataFile, mark: &str, number: u64) -> Result<String> {
    let failed = |error| Error::retryable(format!("read the file {}", file.path.display()), error);
    let mut reader = File::open(&file.path).map_err(failed)?;
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut crc = 0;
    loop {
        let count = reader.read(&mut buffer).map_err(failed)?;
        if count == 0 {
            break;
        }
        crc = crc32c::crc32c_append(crc, &buffer[..count]);
    }
    let place = &file.place;
    Ok(format!(
        "{place}kappa-{mark}-{number:012}-{crc:08x}.parquet"
    ))
}

/// The action that adds the file, whose columns are `schema`, to a table.
///
/// # Errors
/// `User` when a column in `required` has a NULL; `External` when the file cannot be read.
pub(super) fn action(
    file: &DataFile,
    name: String,
    schema: &SchemaRef,
    partition_by: &[String],
    required: &[String],
    indexed_max: usize,
) -> Result<Add> {
    let what = || format!("read the file {}", file.path.display());
    let failed = |error: std::io::Error| Error::retryable(what(), error);
    let opened = File::open(&file.path).map_err(failed)?;
    let written = opened.metadata().and_then(|metadata| metadata.modified());
    let written = written.map_err(failed)?.duration_since(UNIX_EPOCH);
    let broken = |error: &dyn std::fmt::Display| Error::Internal(format!("{}: {error}", what()));
    let builder = ParquetRecordBatchReaderBuilder::try_new(opened).map_err(|e| broken(&e))?;
    for column in required {
        let nulls = statistics::null_count(builder.metadata(), schema, column)?;
        if nulls != Some(0) {
            return Err(Error::User(format!(
                "column \"{column}\" is NOT NULL in the table, and {} rows have NULL there: drop the \
                 constraint, or leave these rows out by a query",
                nulls.map_or("perhaps some".to_owned(), |count| count.to_string())
            )));
        }
    }
    let stats = statistics::of_file(builder.metadata(), schema, partition_by, indexed_max)?;
    let mask = ProjectionMask::columns(
        builder.parquet_schema(),
        partition_by.iter().map(String::as_str),
    );
    let mut values: Vec<Option<String>> = vec![None; partition_by.len()];
    if !partition_by.is_empty() {
        let reader = builder.with_projection(mask).build();
        let mut is_first = true;
        for batch in reader.map_err(|error| broken(&error))? {
            let batch = batch.map_err(|error| broken(&error))?;
            for (name, value) in partition_by.iter().zip(&mut values) {
                let column = batch.column_by_name(name);
                let column = column.ok_or_else(|| broken(&format_args!("{name} is missing")))?;
                if is_first {
                    *value = partition_value(column, 0).map_err(|error| broken(&error))?;
                }
                if !all_are(column, value).map_err(|error| broken(&error))? {
                    return Err(Error::User(format!(
                        "two values of \"{name}\" have one directory, {}: partition by shorter ones",
                        file.place
                    )));
                }
            }
            is_first = false;
        }
    }
    Ok(Add {
        path: name,
        partition_values: partition_by.iter().cloned().zip(values).collect(),
        size: i64::try_from(file.bytes).unwrap_or(i64::MAX),
        modification_time: written
            .ok()
            .and_then(|since| i64::try_from(since.as_millis()).ok())
            .unwrap_or(0),
        data_change: true,
        stats: Some(stats.to_string()),
        ..Add::default()
    })
}

/// Whether all rows have that value of a partition.
fn all_are(column: &ArrayRef, value: &Option<String>) -> Result<bool, ArrowError> {
    if column.is_empty() {
        return Ok(true);
    }
    let first = Scalar::new(column.slice(0, 1));
    // Text is compared of few: of the first, and of what is not the same.
    let same = not_distinct(column, &first)?;
    for row in (0..column.len()).filter(|row| *row == 0 || !same.value(*row)) {
        if partition_value(column, row)? != *value {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A value of a partition as the log has it.
fn partition_value(column: &ArrayRef, row: usize) -> Result<Option<String>, ArrowError> {
    if column.is_null(row) {
        return Ok(None);
    }
    let options = FormatOptions::new().with_timestamp_tz_format(Some("%Y-%m-%d %H:%M:%S%.6f"));
    let formatter = ArrayFormatter::try_new(column, &options)?;
    let text = formatter.value(row).try_to_string()?;
    Ok((!text.is_empty() && text != NOTHING).then_some(text))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        BooleanArray, Date32Array, Decimal128Array, Int64Array, StringArray,
        TimestampMicrosecondArray,
    };

    use super::*;

    #[test]
    fn values_of_partitions_are_written_as_the_log_has_them() {
        let value = |column: ArrayRef| partition_value(&column, 0).unwrap();
        let text = |text: &str| Arc::new(StringArray::from(vec![text])) as ArrayRef;
        assert_eq!(value(text("a b/c")).unwrap(), "a b/c");
        assert_eq!(value(text("")), None);
        assert_eq!(value(text(NOTHING)), None);
        assert_eq!(value(Arc::new(Int64Array::from(vec![None]))), None);
        assert_eq!(value(Arc::new(Int64Array::from(vec![-7]))).unwrap(), "-7");
        assert_eq!(
            value(Arc::new(BooleanArray::from(vec![true]))).unwrap(),
            "true"
        );
        assert_eq!(
            value(Arc::new(Date32Array::from(vec![19_000]))).unwrap(),
            "2022-01-08"
        );
        let price = Decimal128Array::from(vec![-105]).with_precision_and_scale(10, 2);
        assert_eq!(value(Arc::new(price.unwrap())).unwrap(), "-1.05");
        let time = TimestampMicrosecondArray::from(vec![1_500_000]).with_timezone("UTC");
        assert_eq!(value(Arc::new(time)).unwrap(), "1970-01-01 00:00:01.500000");
    }

    #[test]
    fn a_file_has_one_value_of_a_partition() {
        let column = |values: Vec<Option<&str>>| Arc::new(StringArray::from(values)) as ArrayRef;
        let value = Some("a".to_owned());
        assert!(all_are(&column(vec![Some("a"), Some("a")]), &value).unwrap());
        assert!(!all_are(&column(vec![Some("a"), Some("b")]), &value).unwrap());
        assert!(!all_are(&column(vec![Some("b"), Some("b")]), &value).unwrap());
        assert!(all_are(&column(vec![None, Some("")]), &None).unwrap());
    }
}
