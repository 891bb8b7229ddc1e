//! A sink of files: rows are collected, written to a local file at a roll, committed together with
//! the offsets they came from, and then put into their place.
//!
//! ```text
//! rows ─> memory ─ roll ─> staging/<sink>/<name> (synced) ─ commit ─> put ─> forget
//! meta: staged/<sink>/<epoch> -> names of the epoch's files
//! ```
//!
//! The commit is what counts: files that it names are put again after a crash, with the same bytes
//! under the same name, and nothing of an epoch that was not committed is ever put.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{DataType, Field, Int8Type, Schema, SchemaRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use kappa_sql::catalog::Kind;
use kappa_sql::column;
use kappa_sql::planner::ContinuousPlan;
use kappa_storage::files::{FileFormat, FileTarget, write_file};
use kappa_storage::store::{Commit, Durability, Store, View};

use crate::error::{Error, Result};

/// How a sink of files writes.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct FileOptions {
    /// Where to: `s3://bucket/prefix`, `file:///directory`, or a directory.
    pub(crate) path: String,
    /// How files are written.
    pub(crate) format: FileFormat,
    /// Columns whose values make directories `column=value`.
    pub(crate) partition_by: Vec<String>,
    /// Longest time that rows wait for their file, in milliseconds.
    pub(crate) roll_interval_ms: i64,
    /// Bytes in memory at which a file is written.
    pub(crate) roll_bytes: usize,
}

/// Collects rows and writes files.
#[derive(Debug)]
pub(crate) struct FileOutput {
    sink: String,
    mark: String,
    options: FileOptions,
    target: FileTarget,
    staging: PathBuf,
    kind: Kind,
    schema: SchemaRef,
    /// Columns of the plan that the files have.
    columns: Vec<usize>,
    op: usize,
    partition_by: Vec<usize>,
    batches: Vec<RecordBatch>,
    bytes: usize,
}

impl FileOutput {
    /// The output of `plan` into files of the sink `sink`, whose names have `mark` in them.
    pub(crate) fn try_new(
        sink: &str,
        mark: &str,
        options: FileOptions,
        target: FileTarget,
        staging: PathBuf,
        plan: &ContinuousPlan,
    ) -> Result<Self> {
        let mut fields: Vec<Field> = plan
            .columns
            .iter()
            .map(|column| Field::new(&column.name, column.data_type.to_arrow(), true))
            .collect();
        let mut columns: Vec<usize> = (0..fields.len()).collect();
        let mut next = fields.len();
        if plan.window.is_some() {
            for name in [column::WINDOWSTART, column::WINDOWEND] {
                fields.push(Field::new(name, DataType::Int64, false));
                columns.push(next);
                next += 1;
            }
        }
        fields.push(Field::new(column::ROWTIME, DataType::Int64, false));
        columns.push(next);
        if plan.kind == Kind::Table {
            fields.push(Field::new(DELETED, DataType::Boolean, false));
        }
        let partition_by = options
            .partition_by
            .iter()
            .map(|name| {
                plan.columns
                    .iter()
                    .position(|column| column.name == *name)
                    .ok_or_else(|| {
                        Error::User(format!("PARTITION_BY names {name}, which is not a column"))
                    })
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Self {
            sink: sink.to_owned(),
            mark: mark.to_owned(),
            options,
            target,
            staging,
            kind: plan.kind,
            schema: Arc::new(Schema::new(fields)),
            columns,
            op: next + 1,
            partition_by,
            batches: Vec::new(),
            bytes: 0,
        })
    }

    /// Takes a step's rows. Returns how many.
    pub(crate) fn push(&mut self, batch: &RecordBatch) -> Result<usize> {
        let ops = batch.column(self.op).as_primitive::<Int8Type>();
        let mut columns: Vec<_> = self
            .columns
            .iter()
            .map(|index| Arc::clone(batch.column(*index)))
            .collect();
        if self.kind == Kind::Table {
            let deleted: BooleanArray = ops
                .values()
                .iter()
                .map(|op| Some(*op == column::DELETE))
                .collect();
            columns.push(Arc::new(deleted));
        }
        let mut rows = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        if self.kind == Kind::Stream && ops.values().contains(&column::DELETE) {
            // A stream's record without a value has no row to write.
            let kept: UInt32Array = (0..ops.len())
                .filter(|row| ops.value(*row) == column::INSERT)
                .map(|row| row as u32)
                .collect();
            rows = take_record_batch(&rows, &kept)?;
        }
        let count = rows.num_rows();
        if count > 0 {
            self.bytes += rows.get_array_memory_size();
            self.batches.push(rows);
        }
        Ok(count)
    }

    /// Whether a file must be written before more rows are taken.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes >= self.options.roll_bytes
    }

    /// Memory held, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.bytes
    }

    /// Writes what was collected to local files and names them in the commit of `epoch`.
    pub(crate) fn stage(&mut self, epoch: u64, commit: &mut Commit) -> Result<()> {
        if self.batches.is_empty() {
            return Ok(());
        }
        let mut batches = std::mem::take(&mut self.batches);
        self.bytes = 0;
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        if rows < batches.len() * SMALL_ROWS {
            batches = vec![concat_batches(&self.schema, &batches)?];
        }
        let directory = self.staging.join(&self.sink);
        std::fs::create_dir_all(&directory).map_err(|error| Error::External {
            message: format!("make the directory {}: {error}", directory.display()),
            retryable: true,
        })?;
        let mut names = Vec::new();
        for (place, rows) in self.by_place(batches)? {
            let name = format!(
                "{place}{}-{}-{epoch:012}.{}",
                self.sink.to_lowercase(),
                self.mark,
                self.options.format.extension()
            );
            let local = directory.join(format!("{epoch:012}-{}", names.len()));
            write_file(self.options.format, &local, &self.schema, &rows)?;
            names.push(name);
        }
        commit.put_meta(&staged_key(&self.sink, epoch), &serde_json::to_vec(&names)?);
        Ok(())
    }

    /// The rows by the directory that their values make.
    fn by_place(&self, batches: Vec<RecordBatch>) -> Result<Vec<(String, Vec<RecordBatch>)>> {
        if self.partition_by.is_empty() {
            return Ok(vec![(String::new(), batches)]);
        }
        let rows = concat_batches(&self.schema, &batches)?;
        drop(batches);
        let options = FormatOptions::default();
        let values = self
            .partition_by
            .iter()
            .map(|index| ArrayFormatter::try_new(rows.column(*index).as_ref(), &options))
            .collect::<Result<Vec<_>, _>>()?;
        let mut places: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        for row in 0..rows.num_rows() {
            let mut place = String::new();
            for (index, value) in self.partition_by.iter().zip(&values) {
                let value = match rows.column(*index).is_null(row) {
                    true => "__HIVE_DEFAULT_PARTITION__".to_owned(),
                    false => escape(&value.value(row).to_string()),
                };
                place.push_str(&format!(
                    "{}={value}/",
                    escape(self.schema.field(*index).name())
                ));
            }
            places.entry(place).or_default().push(row as u32);
        }
        places
            .into_iter()
            .map(|(place, of)| {
                let rows = take_record_batch(&rows, &UInt32Array::from(of))?;
                Ok((place, vec![rows]))
            })
            .collect()
    }

    /// Puts the files of all committed epochs into their place and forgets them.
    pub(crate) async fn publish(&self, store: &Arc<Store>) -> Result<usize> {
        let mut published = 0;
        for (key, row) in store.scan_meta(staged_prefix(&self.sink).as_bytes())? {
            let names: Vec<String> = serde_json::from_slice(&row)?;
            let epoch = String::from_utf8_lossy(&key)
                .rsplit('/')
                .next()
                .and_then(|epoch| epoch.parse::<u64>().ok())
                .ok_or_else(|| Error::Internal("a staged file without an epoch".into()))?;
            let directory = self.staging.join(&self.sink);
            for (number, name) in names.iter().enumerate() {
                let local = directory.join(format!("{epoch:012}-{number}"));
                self.target.put(name, &local).await?;
                published += 1;
            }
            let mut commit = store.begin();
            commit.delete_meta(&key);
            store.commit(commit, Durability::Sync)?;
            for number in 0..names.len() {
                // Left behind, it would only take space: names are never used again.
                drop(std::fs::remove_file(
                    directory.join(format!("{epoch:012}-{number}")),
                ));
            }
        }
        Ok(published)
    }

    /// Removes what is known of a sink.
    pub(crate) fn delete(sink: &str, commit: &mut Commit) {
        commit.delete_meta_prefix(staged_prefix(sink).as_bytes());
    }
}

/// Rows of a batch below which writing it alone costs more than copying it.
const SMALL_ROWS: usize = 1024;

/// Column that says, in files of a table's changes, that the row of the key is gone.
const DELETED: &str = "ROWDELETED";

fn staged_prefix(sink: &str) -> String {
    format!("staged/{sink}/")
}

fn staged_key(sink: &str, epoch: u64) -> Vec<u8> {
    format!("{}{epoch:020}", staged_prefix(sink)).into_bytes()
}

/// A value as part of a path: what is not a letter, digit or one of `-_.` is percent-encoded, and
/// so is a name of dots alone.
fn escape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let only_dots = value.chars().all(|c| c == '.');
    for byte in value.bytes() {
        let plain = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if plain && !only_dots {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    if out.is_empty() {
        "__HIVE_DEFAULT_PARTITION__".into()
    } else {
        out
    }
}

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn values_cannot_leave_their_directory() {
        assert_eq!(escape("../../x"), "..%2F..%2Fx");
        assert_eq!(escape(".."), "%2E%2E");
        assert_eq!(escape("a/b c"), "a%2Fb%20c");
        assert_eq!(escape("é"), "%C3%A9");
        assert_eq!(escape(""), "__HIVE_DEFAULT_PARTITION__");
    }
}
