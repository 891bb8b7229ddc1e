//! A row's time: the record's, or a column's where the relation says so.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::datatypes::{Int64Type, TimestampMillisecondType};
use kappa_sql::catalog::{Column, Relation};
use kappa_sql::java_time::{Pattern, Zone};
use kappa_sql::types::SqlType;

use crate::error::{Error, Result};

/// The end of the year 9999. One row from beyond it would make all others late.
const TIME_MS_MAX: i64 = 253_402_300_799_999;

/// What is wrong with rows, by their number: the first reason counts.
pub(crate) type Flaws = BTreeMap<usize, String>;

/// Where a relation's row times come from.
#[derive(Debug)]
pub(crate) struct RowTime {
    column: Option<TimeColumn>,
}

#[derive(Debug)]
struct TimeColumn {
    name: String,
    in_key: bool,
    index: usize,
    data_type: SqlType,
    pattern: Option<Pattern>,
}

impl RowTime {
    /// Row times of `relation`; `project` asks for the column to be decoded and says on which side
    /// and where it will be.
    pub(crate) fn try_new(
        relation: &Relation,
        mut project: impl FnMut(&Column) -> (bool, usize),
    ) -> Result<Self> {
        let Some(timestamp) = &relation.timestamp else {
            return Ok(Self { column: None });
        };
        let Some(column) = relation.column(&timestamp.column) else {
            return Err(Error::Internal(format!(
                "no timestamp column {}",
                timestamp.column
            )));
        };
        let pattern =
            match &timestamp.format {
                None => None,
                Some(format) => Some(Pattern::compile(format).map_err(|reason| {
                    Error::User(format!("TIMESTAMP_FORMAT '{format}': {reason}"))
                })?),
            };
        let (in_key, index) = project(column);
        Ok(Self {
            column: Some(TimeColumn {
                name: column.name.clone(),
                in_key,
                index,
                data_type: column.data_type.clone(),
                pattern,
            }),
        })
    }

    /// The rows' times; a row without a usable one is bad. A record that is null (`nulls`) has no
    /// columns: its own time stands.
    pub(crate) fn of(
        &self,
        record_times: &Int64Array,
        key: &[ArrayRef],
        value: &[ArrayRef],
        nulls: Option<&NullBuffer>,
        bad: &mut Flaws,
    ) -> Int64Array {
        let times = match &self.column {
            None => record_times.clone(),
            Some(column) => {
                let side = if column.in_key { key } else { value };
                column.times(record_times, &side[column.index], nulls, bad)
            }
        };
        let (mut least, mut most) = (0, 0);
        for time in times.values() {
            least = least.min(*time);
            most = most.max(*time);
        }
        if least < 0 || most > TIME_MS_MAX {
            self.note_unusable(&times, bad);
        }
        times
    }

    #[cold]
    fn note_unusable(&self, times: &Int64Array, bad: &mut Flaws) {
        for (row, time) in times.values().iter().enumerate() {
            if *time < 0 {
                bad.entry(row)
                    .or_insert_with(|| format!("negative timestamp {time}"));
            } else if *time > TIME_MS_MAX {
                bad.entry(row).or_insert_with(|| {
                    format!(
                        "timestamp {time} is beyond the year 9999: milliseconds since 1970 are \
                         expected, not micro- or nanoseconds"
                    )
                });
            }
        }
    }
}

impl TimeColumn {
    fn times(
        &self,
        record_times: &Int64Array,
        array: &ArrayRef,
        nulls: Option<&NullBuffer>,
        bad: &mut Flaws,
    ) -> Int64Array {
        if array.null_count() == 0
            && nulls.is_none()
            && let Some(numbers) = self.numbers(array)
        {
            return Int64Array::new(numbers.clone(), None);
        }
        let mut times = Vec::with_capacity(array.len());
        for row in 0..array.len() {
            if nulls.is_some_and(|nulls| nulls.is_null(row)) || bad.contains_key(&row) {
                times.push(record_times.value(row));
                continue;
            }
            let time = if array.is_null(row) {
                Err(format!("the timestamp column {} is null", self.name))
            } else {
                self.time(array, row)
            };
            times.push(match time {
                Ok(time) => time,
                Err(reason) => {
                    bad.insert(row, reason);
                    0
                }
            });
        }
        Int64Array::from(times)
    }

    /// The column's values, where they are times as they stand.
    fn numbers<'a>(&self, array: &'a ArrayRef) -> Option<&'a ScalarBuffer<i64>> {
        match self.data_type {
            SqlType::String => None,
            SqlType::Timestamp => Some(array.as_primitive::<TimestampMillisecondType>().values()),
            _ => Some(array.as_primitive::<Int64Type>().values()),
        }
    }

    fn time(&self, array: &ArrayRef, row: usize) -> Result<i64, String> {
        match (&self.data_type, &self.pattern) {
            (SqlType::String, Some(pattern)) => {
                let text = array.as_string::<i32>().value(row);
                pattern
                    .parse(text, Zone::UTC)
                    .map_err(|reason| format!("the timestamp column {}: {reason}", self.name))
            }
            (SqlType::Timestamp, _) => {
                Ok(array.as_primitive::<TimestampMillisecondType>().value(row))
            }
            _ => Ok(array.as_primitive::<Int64Type>().value(row)),
        }
    }
}
