//! What a query's rows become: records of the sink's topic, and rows of its view.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, BooleanArray, Int64Array, RecordBatch,
    UInt32Array,
};
use arrow::buffer::NullBuffer;
use arrow::compute::{concat, filter_record_batch, take};
use arrow::datatypes::Int8Type;
use kappa_sql::catalog::{KeyWindow, Kind, Relation, Role};
use kappa_sql::column;
use kappa_sql::planner::ContinuousPlan;
use kappa_storage::format::Encoder;
use kappa_storage::murmur2;
use kappa_storage::record::NewRecords;
use kappa_storage::store::Commit;

use super::decode::side;
use super::rowtime::{Flaws, RowTime};
use crate::error::{Error, Result};
use crate::view::{ViewWriter, int64};

/// Turns rows into records and view rows, and keeps them until the commit.
#[derive(Debug)]
pub(crate) struct Output {
    relation: Arc<Relation>,
    kind: Kind,
    partitions: i32,
    key_columns: Vec<usize>,
    value_columns: Vec<usize>,
    bounds: Option<[usize; 2]>,
    rowtime: usize,
    op: usize,
    sink_time: RowTime,
    key: Encoder,
    value: Encoder,
    view: Option<ViewWriter>,
    pending: BTreeMap<i32, Vec<NewRecords>>,
    pending_bytes: usize,
    /// Whether a key of nothing but NULLs is a key.
    always_keyed: bool,
    /// Partition of the next records without a key.
    keyless_partition: i32,
}

/// Rows with their record parts.
struct Encoded {
    keys: BinaryArray,
    values: BinaryArray,
    timestamps: Int64Array,
    partitions: Option<Vec<i32>>,
}

impl Output {
    /// The output of `plan` into `relation`, which has its columns, by name.
    pub(crate) fn try_new(
        relation: Arc<Relation>,
        plan: &ContinuousPlan,
        view: Option<ViewWriter>,
    ) -> Result<Self> {
        let position = |name: &str| {
            plan.columns
                .iter()
                .position(|column| column.name == name)
                .ok_or_else(|| {
                    Error::Internal(format!(
                        "the query has no column {name} for {}",
                        relation.name
                    ))
                })
        };
        let key_columns = relation
            .key_columns()
            .map(|c| position(&c.name))
            .collect::<Result<_>>()?;
        let value_columns = relation
            .value_columns()
            .map(|c| position(&c.name))
            .collect::<Result<_>>()?;
        let mut next = plan.columns.len();
        let bounds = plan.window.map(|_| {
            next += 2;
            [next - 2, next - 1]
        });
        let values: Vec<String> = relation.value_columns().map(|c| c.name.clone()).collect();
        let keys: Vec<String> = relation.key_columns().map(|c| c.name.clone()).collect();
        let sink_time = RowTime::try_new(&relation, |column| {
            let (in_key, names) = match column.role {
                Role::Key => (true, &keys),
                _ => (false, &values),
            };
            (
                in_key,
                names
                    .iter()
                    .position(|name| *name == column.name)
                    .unwrap_or_default(),
            )
        })?;
        Ok(Self {
            kind: plan.kind,
            always_keyed: plan.rekeyed && relation.key_columns().count() > 1,
            partitions: relation.partitions.max(1),
            key_columns,
            value_columns,
            bounds,
            rowtime: next,
            op: next + 1,
            sink_time,
            key: Encoder::try_new(&side(&relation, &Role::Key))?,
            value: Encoder::try_new(&side(&relation, &Role::Value))?,
            view,
            pending: BTreeMap::new(),
            pending_bytes: 0,
            keyless_partition: 0,
            relation,
        })
    }

    /// Takes a step's rows. Returns how many records they make.
    pub(crate) fn push(&mut self, batch: &RecordBatch) -> Result<usize> {
        let batch = match self.kind {
            Kind::Stream => batch.clone(),
            Kind::Table => self.last_changes(batch)?,
        };
        if batch.num_rows() == 0 {
            return Ok(0);
        }
        let keys = self.columns(&batch, &self.key_columns);
        let values = self.columns(&batch, &self.value_columns);
        let ops = batch.column(self.op).as_primitive::<Int8Type>();
        let deleted: Option<BooleanArray> = ops.values().contains(&column::DELETE).then(|| {
            ops.values()
                .iter()
                .map(|op| Some(*op == column::DELETE))
                .collect()
        });
        let rowtimes = int64(batch.column(self.rowtime));
        let bounds = self
            .bounds
            .map(|[start, end]| (int64(batch.column(start)), int64(batch.column(end))));
        let is_deleted = |row: usize| deleted.as_ref().is_some_and(|deleted| deleted.value(row));
        let gone = deleted
            .as_ref()
            .map(|deleted| NullBuffer::new(!deleted.values()));
        let mut bad = Flaws::new();
        let mut timestamps = self
            .sink_time
            .of(&rowtimes, &keys, &values, gone.as_ref(), &mut bad);
        if !bad.is_empty() {
            // A row whose own time column says nothing usable keeps the time it came with.
            let mut times = timestamps.values().to_vec();
            bad.keys()
                .for_each(|row| times[*row] = rowtimes.value(*row));
            timestamps = times.into();
        }
        if let Some(view) = &mut self.view {
            let bounds = bounds.as_ref().map(|(starts, ends)| (starts, ends));
            view.push(&keys, &values, &timestamps, bounds, &is_deleted)?;
        }
        let encoded = self.encode(
            &batch,
            &keys,
            &values,
            timestamps,
            deleted.as_ref(),
            &bounds,
        )?;
        let rows = batch.num_rows();
        self.add(encoded)?;
        Ok(rows)
    }

    fn columns(&self, batch: &RecordBatch, indices: &[usize]) -> Vec<ArrayRef> {
        indices
            .iter()
            .map(|index| Arc::clone(batch.column(*index)))
            .collect()
    }

    /// A table's rows without the deletes that the next row makes good: a delete and an insert of
    /// one key stand next to each other.
    fn last_changes(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let ops = batch.column(self.op).as_primitive::<Int8Type>().values();
        if !ops.contains(&column::DELETE) {
            return Ok(batch.clone());
        }
        let mut identity: Vec<ArrayRef> = self.columns(batch, &self.key_columns);
        if let Some(bounds) = self.bounds {
            identity.extend(self.columns(batch, &bounds));
        }
        let rows = arrow::row::RowConverter::new(
            identity
                .iter()
                .map(|array| arrow::row::SortField::new(array.data_type().clone()))
                .collect(),
        )?
        .convert_columns(&identity)?;
        let kept: BooleanArray = (0..ops.len())
            .map(|row| {
                let replaced = ops[row] == column::DELETE
                    && row + 1 < ops.len()
                    && ops[row + 1] == column::INSERT
                    && rows.row(row) == rows.row(row + 1);
                Some(!replaced)
            })
            .collect();
        Ok(filter_record_batch(batch, &kept)?)
    }

    fn encode(
        &mut self,
        batch: &RecordBatch,
        keys: &[ArrayRef],
        values: &[ArrayRef],
        timestamps: Int64Array,
        deleted: Option<&BooleanArray>,
        bounds: &Option<(Int64Array, Int64Array)>,
    ) -> Result<Encoded> {
        let rows = batch.num_rows();
        let keyless = match self.always_keyed {
            true => None,
            false => all_null(keys, rows),
        };
        let mut key = self.key.encode(keys, keyless.as_ref(), rows)?;
        let value = self.value.encode(values, deleted, rows)?;
        let partitions = (self.partitions > 1).then(|| {
            let keyless = self.keyless_partition;
            (0..rows)
                .map(|row| match key.is_valid(row) {
                    true => murmur2::partition(key.value(row), self.partitions),
                    false => keyless,
                })
                .collect()
        });
        self.keyless_partition = (self.keyless_partition + 1) % self.partitions;
        if let (Some((starts, ends)), Some(window)) = (bounds, self.relation.window) {
            key = with_window(&key, window, starts, ends);
        }
        Ok(Encoded {
            keys: key,
            values: value,
            timestamps,
            partitions,
        })
    }

    fn add(&mut self, encoded: Encoded) -> Result<()> {
        let Encoded {
            keys,
            values,
            timestamps,
            partitions,
        } = encoded;
        self.pending_bytes += keys.value_data().len() + values.value_data().len();
        let Some(partitions) = partitions else {
            let records = NewRecords {
                partition: 0,
                timestamps,
                keys,
                values,
                headers: None,
            };
            self.pending.entry(0).or_default().push(records);
            return Ok(());
        };
        let mut rows: BTreeMap<i32, Vec<u32>> = BTreeMap::new();
        for (row, partition) in partitions.iter().enumerate() {
            rows.entry(*partition).or_default().push(row as u32);
        }
        for (partition, rows) in rows {
            let rows = UInt32Array::from(rows);
            let records = NewRecords {
                partition,
                timestamps: int64(&take(&timestamps, &rows, None)?),
                keys: take(&keys, &rows, None)?.as_binary().clone(),
                values: take(&values, &rows, None)?.as_binary().clone(),
                headers: None,
            };
            self.pending.entry(partition).or_default().push(records);
        }
        Ok(())
    }

    /// The records since the last call, joined to one run a partition.
    pub(crate) fn take_records(&mut self) -> Result<Vec<NewRecords>> {
        self.pending_bytes = 0;
        std::mem::take(&mut self.pending)
            .into_iter()
            .map(|(partition, mut runs)| {
                if runs.len() == 1
                    && let Some(only) = runs.pop()
                {
                    return Ok(only);
                }
                let joined = |column: &dyn Fn(&NewRecords) -> ArrayRef| -> Result<ArrayRef> {
                    let arrays: Vec<ArrayRef> = runs.iter().map(column).collect();
                    let arrays: Vec<&dyn Array> = arrays.iter().map(AsRef::as_ref).collect();
                    Ok(concat(&arrays)?)
                };
                Ok(NewRecords {
                    partition,
                    timestamps: int64(&joined(&|run| Arc::new(run.timestamps.clone()))?),
                    keys: joined(&|run| Arc::new(run.keys.clone()))?
                        .as_binary()
                        .clone(),
                    values: joined(&|run| Arc::new(run.values.clone()))?
                        .as_binary()
                        .clone(),
                    headers: None,
                })
            })
            .collect()
    }

    /// The relation written.
    pub(crate) fn relation(&self) -> &Arc<Relation> {
        &self.relation
    }

    /// Writes the view's changes into a commit.
    pub(crate) fn flush_view(&mut self, commit: &mut Commit) {
        if let Some(view) = &mut self.view {
            view.flush(commit);
        }
    }

    /// The commit is durable.
    pub(crate) fn committed(&self) {
        if let Some(view) = &self.view {
            view.committed();
        }
    }

    /// Memory held, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.pending_bytes + self.view.as_ref().map_or(0, ViewWriter::size)
    }
}

/// The rows whose key columns are all NULL: their records have no key.
fn all_null(keys: &[ArrayRef], rows: usize) -> Option<BooleanArray> {
    let any = !keys.is_empty() && keys.iter().all(|key| key.logical_null_count() > 0);
    any.then(|| {
        let nulls: Vec<_> = keys.iter().filter_map(|key| key.logical_nulls()).collect();
        (0..rows)
            .map(|row| Some(nulls.iter().all(|nulls| nulls.is_null(row))))
            .collect()
    })
}

/// Keys with their window, as Kafka Streams writes them: `[key][start]`, for sessions
/// `[key][end][start]`, 8 bytes big-endian each.
fn with_window(
    keys: &BinaryArray,
    window: KeyWindow,
    starts: &Int64Array,
    ends: &Int64Array,
) -> BinaryArray {
    let mut out = BinaryBuilder::with_capacity(keys.len(), keys.value_data().len() + 16);
    let mut bytes = Vec::new();
    for row in 0..keys.len() {
        bytes.clear();
        if keys.is_valid(row) {
            bytes.extend_from_slice(keys.value(row));
        }
        if window == KeyWindow::Session {
            bytes.extend_from_slice(&ends.value(row).to_be_bytes());
        }
        bytes.extend_from_slice(&starts.value(row).to_be_bytes());
        out.append_value(&bytes);
    }
    out.finish()
}
