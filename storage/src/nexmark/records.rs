//! Rows as records of topics, JSON in the value and no key.

use std::ops::Range;

use arrow::array::{AsArray, BinaryArray, Int64Array};
use arrow::datatypes::{Int64Type, TimestampMillisecondType};

use super::{Generator, Rows, Table};
use crate::format::{Encoder, Format, Side};
use crate::record::NewRecords;
use crate::{Error, Result};

/// Makes records of one table's rows.
#[derive(Debug)]
pub struct Producer {
    generator: Generator,
    table: Table,
    partitions: u64,
    encoder: Encoder,
    projection: Vec<usize>,
}

impl Producer {
    /// A producer for a topic of `partitions` partitions.
    ///
    /// # Errors
    /// No partitions.
    pub fn try_new(generator: Generator, table: Table, partitions: i32) -> Result<Self> {
        let fields = table.schema().fields().clone();
        let projection = (0..fields.len()).collect();
        let encoder = Encoder::try_new(&Side {
            format: Format::Json,
            fields,
            wrap_single: true,
        })?;
        let partitions = u64::try_from(partitions)
            .ok()
            .filter(|partitions| *partitions > 0)
            .ok_or_else(|| Error::User(format!("a topic cannot have {partitions} partitions")))?;
        Ok(Self {
            generator,
            table,
            partitions,
            encoder,
            projection,
        })
    }

    /// The table.
    pub fn table(&self) -> Table {
        self.table
    }

    /// The records of the table's rows among these events: dealt out to the partitions in turn, and
    /// in the order of time in each. A record's time is its row's.
    ///
    /// # Errors
    /// More than 2 GiB of records for one partition.
    pub fn records(&mut self, events: Range<u64>) -> Result<Vec<NewRecords>> {
        let start = self.table.rows_before(events.start);
        let end = self.table.rows_before(events.end);
        let mut all = Vec::new();
        for first in start..end.min(start + self.partitions) {
            let rows = Rows {
                first,
                step: self.partitions,
                count: (end - first).div_ceil(self.partitions) as usize,
            };
            let batch = self.generator.rows(self.table, rows, &self.projection)?;
            let times = batch
                .column(self.table.time_column())
                .as_primitive::<TimestampMillisecondType>();
            let timestamps: Int64Array = times.reinterpret_cast::<Int64Type>();
            all.push(NewRecords {
                // Below the number of partitions, which was an i32.
                partition: (first % self.partitions) as i32,
                timestamps,
                keys: BinaryArray::new_null(rows.count),
                values: self.encoder.encode(batch.columns(), None, rows.count)?,
                headers: None,
            });
        }
        Ok(all)
    }
}
