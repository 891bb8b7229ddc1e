//! Records into the rows of a relation: only the columns somebody reads.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Int8Array, Int32Array, Int64Array,
};
use arrow::buffer::NullBuffer;
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Field, Fields, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use kappa_sql::catalog::{Column, Format as SqlFormat, KeyWindow, Relation, Role, SideFormat};
use kappa_sql::column;
use kappa_storage::format::{Decoder, Format, Side};
use kappa_storage::record::{Records, headers_type, no_headers};

use super::rowtime::{Flaws, RowTime};
use crate::error::{Error, Result};

/// A record that could not be made into a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadRecord {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) reason: String,
    /// The record's value, or its key where that was bad.
    pub(crate) payload: Option<Vec<u8>>,
}

/// Rows made of a run of records.
#[derive(Debug)]
pub(crate) struct DecodedRows {
    /// The columns asked for.
    pub(crate) batch: RecordBatch,
    /// Row times, whether asked for or not.
    pub(crate) rowtimes: Int64Array,
    /// Offsets of the rows.
    pub(crate) offsets: Int64Array,
    /// By offset.
    pub(crate) bad: Vec<BadRecord>,
}

impl DecodedRows {
    /// Takes out the rows at these places and lists them as bad.
    pub(crate) fn take_out(
        &mut self,
        partition: i32,
        places: &BTreeMap<i64, String>,
    ) -> Result<()> {
        if places.is_empty() {
            return Ok(());
        }
        let (Some(first), Some(last)) =
            (self.offsets.values().first(), self.offsets.values().last())
        else {
            return Ok(());
        };
        let mut good = vec![true; self.offsets.len()];
        for (offset, reason) in places.range(*first..=*last) {
            let Ok(row) = self.offsets.values().binary_search(offset) else {
                continue;
            };
            good[row] = false;
            self.bad.push(BadRecord {
                partition,
                offset: *offset,
                reason: reason.clone(),
                payload: None,
            });
        }
        if good.contains(&false) {
            // Those of a record are in its place already.
            self.bad.sort_by_key(|bad| bad.offset);
            let good = BooleanArray::from(good);
            self.batch = filter_record_batch(&self.batch, &good)?;
            self.rowtimes = keep(&self.rowtimes, &good)?;
            self.offsets = keep(&self.offsets, &good)?;
        }
        Ok(())
    }
}

/// Where a column of the output comes from.
#[derive(Clone, Debug)]
enum From {
    Key(usize),
    Value(usize),
    Headers,
    Header(String),
    RowTime,
    Partition,
    Offset,
    WindowStart,
    WindowEnd,
    Op,
    /// Put in when the step's rows are merged.
    Seq,
}

/// Makes rows of a relation's records.
#[derive(Debug)]
pub(crate) struct RowDecoder {
    schema: SchemaRef,
    columns: Vec<From>,
    key: Decoder,
    value: Decoder,
    window: Option<KeyWindow>,
    rowtime: RowTime,
    /// Whether the key was asked for: a bad key then makes a bad record.
    reads_key: bool,
    /// Whether the reserved change kind is needed: a table's tombstone is a row.
    is_table: bool,
}

/// Whether a column of `schema` is made of the records' headers.
pub(crate) fn reads_headers(relation: &Relation, schema: &Schema) -> bool {
    let of_headers = |name: &String| {
        relation
            .column(name)
            .is_some_and(|column| matches!(column.role, Role::Headers | Role::Header(_)))
    };
    schema.fields().iter().any(|field| of_headers(field.name()))
}

/// One side of a relation's records, for the formats.
pub(crate) fn side(relation: &Relation, role: &Role) -> Side {
    let format: &SideFormat = match role {
        Role::Key => &relation.key_format,
        _ => &relation.value_format,
    };
    let fields: Fields = relation
        .columns
        .iter()
        .filter(|column| column.role == *role)
        .map(|column| Field::new(&column.name, column.data_type.to_arrow(), true))
        .collect();
    let several = fields.len() > 1;
    Side {
        format: storage_format(format),
        fields,
        wrap_single: several || (*role != Role::Key && format.wrap_single),
    }
}

fn storage_format(side: &SideFormat) -> Format {
    match side.format {
        SqlFormat::Json => Format::Json,
        SqlFormat::Delimited => Format::Delimited {
            delimiter: side.delimiter.unwrap_or(','),
        },
        SqlFormat::Kafka => Format::Kafka,
        SqlFormat::None => Format::None,
    }
}

impl RowDecoder {
    /// A decoder of the columns of `schema`, which are the relation's, pseudo or reserved ones.
    pub(crate) fn try_new(relation: &Relation, schema: SchemaRef) -> Result<Self> {
        let index = |role: &Role, wanted: &Column| {
            relation
                .columns
                .iter()
                .filter(|c| c.role == *role)
                .position(|c| c.name == wanted.name)
        };
        let mut key_projection = Vec::new();
        let mut value_projection = Vec::new();
        let mut columns = Vec::new();
        for field in schema.fields() {
            let from = match field.name().as_str() {
                column::ROWTIME => From::RowTime,
                column::ROWPARTITION => From::Partition,
                column::ROWOFFSET => From::Offset,
                column::WINDOWSTART => From::WindowStart,
                column::WINDOWEND => From::WindowEnd,
                column::OP => From::Op,
                column::SEQ => From::Seq,
                name => {
                    let Some(wanted) = relation.column(name) else {
                        return Err(Error::Internal(format!("no column {name} to decode")));
                    };
                    match &wanted.role {
                        role @ Role::Key => {
                            let position = index(role, wanted).unwrap_or_default();
                            From::Key(project(&mut key_projection, position))
                        }
                        role @ Role::Value => {
                            let position = index(role, wanted).unwrap_or_default();
                            From::Value(project(&mut value_projection, position))
                        }
                        Role::Headers => From::Headers,
                        Role::Header(name) => From::Header(name.clone()),
                    }
                }
            };
            columns.push(from);
        }
        let reads_key = !key_projection.is_empty();
        let rowtime = RowTime::try_new(relation, |wanted| match &wanted.role {
            role @ Role::Key => {
                let position = index(role, wanted).unwrap_or_default();
                (true, project(&mut key_projection, position))
            }
            role => {
                let position = index(role, wanted).unwrap_or_default();
                (false, project(&mut value_projection, position))
            }
        })?;
        Ok(Self {
            schema,
            columns,
            key: Decoder::try_new(&side(relation, &Role::Key), &key_projection)?,
            value: Decoder::try_new(&side(relation, &Role::Value), &value_projection)?,
            window: relation.window,
            rowtime,
            reads_key,
            is_table: relation.kind == kappa_sql::catalog::Kind::Table,
        })
    }

    /// Makes rows of records. Bad records are left out of the rows and listed.
    pub(crate) fn decode(&mut self, partition: i32, records: &Records) -> Result<DecodedRows> {
        let rows = records.len();
        let mut bad = Flaws::new();
        let (keys, starts, ends) = self.split_window(records, &mut bad);
        let key = self.key.decode(keys.as_ref().unwrap_or(&records.keys))?;
        let value = self.value.decode(&records.values)?;
        if self.reads_key {
            for entry in &key.bad {
                bad.entry(entry.row)
                    .or_insert_with(|| format!("key: {}", entry.reason));
            }
        }
        for entry in &value.bad {
            bad.entry(entry.row)
                .or_insert_with(|| format!("value: {}", entry.reason));
        }
        if self.is_table && records.keys.null_count() > 0 {
            // A table's record says nothing without a key.
            for row in (0..rows).filter(|row| records.keys.is_null(*row)) {
                bad.entry(row)
                    .or_insert_with(|| "the key of a table's record is null".into());
            }
        }
        let rowtimes = self.rowtime.of(
            &records.timestamps,
            &key.columns,
            &value.columns,
            value.nulls.as_ref(),
            &mut bad,
        );
        let columns = self
            .columns
            .iter()
            .map(|from| -> ArrayRef {
                match from {
                    From::Key(index) => Arc::clone(&key.columns[*index]),
                    From::Value(index) => Arc::clone(&value.columns[*index]),
                    From::Headers => match &records.headers {
                        Some(headers) => Arc::new(headers.clone()),
                        None => no_headers(rows),
                    },
                    From::Header(name) => Arc::new(last_header(records, name)),
                    From::RowTime => Arc::new(rowtimes.clone()),
                    From::Partition => Arc::new(Int32Array::from_value(partition, rows)),
                    From::Offset => Arc::new(records.offsets.clone()),
                    From::WindowStart => Arc::new(starts.clone()),
                    From::WindowEnd => Arc::new(ends.clone()),
                    From::Op => Arc::new(ops(value.nulls.as_ref(), rows)),
                    From::Seq => Arc::new(arrow::array::UInt64Array::from_value(0, rows)),
                }
            })
            .collect();
        let options = arrow::record_batch::RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?;
        let mut decoded = DecodedRows {
            batch,
            rowtimes,
            offsets: records.offsets.clone(),
            bad: Vec::new(),
        };
        if !bad.is_empty() {
            let mut good = vec![true; rows];
            bad.keys().for_each(|row| good[*row] = false);
            let good = BooleanArray::from(good);
            decoded.batch = filter_record_batch(&decoded.batch, &good)?;
            decoded.rowtimes = keep(&decoded.rowtimes, &good)?;
            decoded.offsets = keep(&decoded.offsets, &good)?;
            for (row, reason) in bad {
                let payload = if reason.starts_with("key") {
                    &records.keys
                } else {
                    &records.values
                };
                decoded.bad.push(BadRecord {
                    partition,
                    offset: records.offsets.value(row),
                    reason,
                    payload: payload.is_valid(row).then(|| payload.value(row).to_vec()),
                });
            }
        }
        Ok(decoded)
    }

    /// Takes the window off the keys of a windowed relation, as Kafka Streams wrote it:
    /// `[key][start: 8 bytes]`, for sessions `[key][end: 8 bytes][start: 8 bytes]`.
    fn split_window(
        &self,
        records: &Records,
        bad: &mut Flaws,
    ) -> (Option<BinaryArray>, Int64Array, Int64Array) {
        let Some(window) = self.window else {
            return (
                None,
                Int64Array::from_value(0, 0),
                Int64Array::from_value(0, 0),
            );
        };
        let suffix = match window {
            KeyWindow::Time { .. } => 8,
            KeyWindow::Session => 16,
        };
        let number = |bytes: &[u8]| bytes.try_into().map(i64::from_be_bytes).unwrap_or_default();
        let mut keys = arrow::array::BinaryBuilder::new();
        let mut starts = Vec::with_capacity(records.len());
        let mut ends = Vec::with_capacity(records.len());
        for row in 0..records.len() {
            if records.keys.is_null(row) {
                keys.append_null();
                starts.push(0);
                ends.push(0);
                bad.insert(row, "key: a windowed record without a key".into());
                continue;
            }
            let bytes = records.keys.value(row);
            let Some(length) = bytes.len().checked_sub(suffix) else {
                keys.append_null();
                starts.push(0);
                ends.push(0);
                let reason = format!("key: {} bytes are too few for a windowed key", bytes.len());
                bad.insert(row, reason);
                continue;
            };
            let (key, rest) = bytes.split_at(length);
            keys.append_value(key);
            match window {
                KeyWindow::Time { size_ms, .. } => {
                    let start = number(rest);
                    starts.push(start);
                    ends.push(start.saturating_add(size_ms));
                }
                KeyWindow::Session => {
                    ends.push(number(&rest[..8]));
                    starts.push(number(&rest[8..]));
                }
            }
        }
        (
            Some(keys.finish()),
            Int64Array::from(starts),
            Int64Array::from(ends),
        )
    }
}

/// The change kinds of records: those without a value are deletes.
fn ops(nulls: Option<&NullBuffer>, rows: usize) -> Int8Array {
    match nulls {
        None => Int8Array::from_value(column::INSERT, rows),
        Some(nulls) => nulls
            .iter()
            .map(|valid| match valid {
                true => column::INSERT,
                false => column::DELETE,
            })
            .collect::<Vec<_>>()
            .into(),
    }
}

fn project(projection: &mut Vec<usize>, column: usize) -> usize {
    match projection.iter().position(|known| *known == column) {
        Some(position) => position,
        None => {
            projection.push(column);
            projection.len() - 1
        }
    }
}

fn keep(values: &Int64Array, mask: &BooleanArray) -> Result<Int64Array> {
    let kept = arrow::compute::filter(values, mask)?;
    Ok(kept.as_primitive::<arrow::datatypes::Int64Type>().clone())
}

/// The last header of that name of each record.
fn last_header(records: &Records, name: &str) -> BinaryArray {
    let Some(headers) = &records.headers else {
        return BinaryArray::new_null(records.len());
    };
    debug_assert_eq!(*headers.data_type(), headers_type());
    (0..records.len())
        .map(|row| {
            let entries = headers.value(row);
            let entries = entries.as_struct();
            let keys = entries.column(0).as_string::<i32>();
            let values = entries.column(1).as_binary::<i32>();
            (0..entries.len())
                .rev()
                .find(|entry| keys.is_valid(*entry) && keys.value(*entry) == name)
                .filter(|entry| values.is_valid(*entry))
                .map(|entry| values.value(entry).to_vec())
        })
        .collect()
}
