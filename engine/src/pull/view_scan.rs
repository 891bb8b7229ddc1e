//! Reads a view's rows from state, at a snapshot.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, SendableRecordBatchStream,
};
use kappa_sql::catalog::Relation;
use kappa_sql::column;
use kappa_storage::store::{OwnedScan, Snapshot, View, key};

use super::lookup::{Lookup, SharedLookup};
use crate::plan::{partitioned_properties, source_node};
use crate::state::{Marks, WINDOW};
use crate::view::{StoredRows, ViewLayout};

/// Rows of one batch.
const BATCH_ROWS: usize = 8192;

/// Reads a view's rows.
#[derive(Debug)]
pub(super) struct ViewScanExec {
    relation: Arc<Relation>,
    layout: Arc<ViewLayout>,
    lookup: SharedLookup,
    /// If all is read: what each partition reads.
    parts: Vec<Range<Vec<u8>>>,
    snapshot: Snapshot,
    schema: SchemaRef,
    /// For each column of the schema, its place among those of [`ViewLayout::decode`].
    columns: Vec<usize>,
    /// Windows before it are over, whether compaction has come to them or not.
    horizon: Option<[u8; WINDOW]>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl ViewScanExec {
    pub(super) fn try_new(
        relation: Arc<Relation>,
        layout: ViewLayout,
        lookup: Lookup,
        snapshot: Snapshot,
        schema: SchemaRef,
        partitions: usize,
    ) -> crate::error::Result<Self> {
        let mut names: Vec<&str> = relation.key_columns().map(|c| c.name.as_str()).collect();
        names.extend(relation.value_columns().map(|c| c.name.as_str()));
        names.extend([column::ROWTIME, column::WINDOWSTART, column::WINDOWEND]);
        let columns = schema
            .fields()
            .iter()
            .filter_map(|field| names.iter().position(|name| name == field.name()))
            .collect();
        let parts = match &lookup {
            Lookup::All => key::table_parts(layout.table, partitions),
            Lookup::Keys(_) | Lookup::Ranges { .. } => Vec::new(),
        };
        let properties = partitioned_properties(&schema, parts.len().max(1));
        let horizon = match layout.window {
            None => None,
            Some(_) => Some(key::window_bytes(
                Marks::read(&snapshot, layout.table)?.horizon,
            )),
        };
        Ok(Self {
            relation,
            layout: Arc::new(layout),
            lookup: Arc::new(lookup),
            parts,
            snapshot,
            schema,
            columns,
            horizon,
            properties,
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }
}

/// Where a scan stands.
enum Position {
    Keys {
        next: usize,
    },
    Ranges {
        ranges: std::vec::IntoIter<Range<Vec<u8>>>,
        scan: Option<OwnedScan>,
    },
}

struct Scan {
    layout: Arc<ViewLayout>,
    lookup: SharedLookup,
    snapshot: Snapshot,
    schema: SchemaRef,
    columns: Vec<usize>,
    horizon: Option<[u8; WINDOW]>,
    position: Position,
    rows: StoredRows,
}

impl Scan {
    /// Reads the next rows; none after the last.
    fn read(&mut self) -> kappa_storage::Result<()> {
        let rows = &mut self.rows;
        rows.clear();
        let horizon = self.horizon;
        let with_keys = self.layout.reads_keys(&self.columns);
        let shown = |key: &[u8]| match (&horizon, key.last_chunk::<WINDOW>()) {
            (Some(horizon), Some(window)) => window >= horizon,
            _ => true,
        };
        match &mut self.position {
            Position::Keys { next } => {
                let Lookup::Keys(keys) = self.lookup.as_ref() else {
                    return Ok(());
                };
                while rows.len() == 0 && *next < keys.len() {
                    let end = (*next + BATCH_ROWS).min(keys.len());
                    let wanted: Vec<&[u8]> = keys[*next..end].iter().map(Vec::as_slice).collect();
                    let found = self.snapshot.multi_get_state(&wanted)?;
                    for (key, row) in wanted.iter().zip(found) {
                        if let Some(row) = row
                            && shown(key)
                        {
                            rows.push(key, row.as_ref());
                        }
                    }
                    *next = end;
                }
            }
            Position::Ranges { ranges, scan } => {
                while rows.len() < BATCH_ROWS {
                    let current = match scan {
                        Some(current) => current,
                        None => match ranges.next() {
                            None => break,
                            Some(range) => {
                                scan.insert(self.snapshot.clone().into_scan_state(range))
                            }
                        },
                    };
                    let wanted = BATCH_ROWS - rows.len();
                    let found = current.next_rows(wanted, |key, row| {
                        if shown(key) {
                            rows.push(if with_keys { key } else { &[] }, row);
                        }
                    })?;
                    if found < wanted {
                        *scan = None;
                    }
                }
            }
        }
        Ok(())
    }

    fn batch(&mut self) -> Result<Option<RecordBatch>> {
        let external = |error| DataFusionError::External(Box::new(error));
        self.read().map_err(external)?;
        if self.rows.len() == 0 {
            return Ok(None);
        }
        let columns = self
            .layout
            .decode(&self.rows, &self.columns)
            .map_err(|error| DataFusionError::External(Box::new(error)))?;
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows.len()));
        Ok(Some(RecordBatch::try_new_with_options(
            Arc::clone(&self.schema),
            columns,
            &options,
        )?))
    }
}

impl DisplayAs for ViewScanExec {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ViewScan: {}, {}", self.relation.name, self.lookup)?;
        match self.parts.len() {
            0 | 1 => Ok(()),
            parts => write!(f, " in {parts} parts"),
        }
    }
}

impl ExecutionPlan for ViewScanExec {
    fn name(&self) -> &str {
        "ViewScan"
    }

    source_node!();

    fn execute(
        &self,
        partition: usize,
        _context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let position = match self.lookup.as_ref() {
            Lookup::Keys(_) => Position::Keys { next: 0 },
            Lookup::Ranges { ranges, .. } => Position::Ranges {
                ranges: ranges.clone().into_iter(),
                scan: None,
            },
            Lookup::All => Position::Ranges {
                ranges: Vec::from_iter(self.parts.get(partition).cloned()).into_iter(),
                scan: None,
            },
        };
        let scan = Scan {
            layout: Arc::clone(&self.layout),
            lookup: Arc::clone(&self.lookup),
            snapshot: self.snapshot.clone(),
            schema: Arc::clone(&self.schema),
            columns: self.columns.clone(),
            horizon: self.horizon,
            position,
            rows: StoredRows::default(),
        };
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let batches = std::iter::from_fn({
            let mut scan = scan;
            move || {
                let _timer = metrics.elapsed_compute().timer();
                let batch = scan.batch().transpose();
                if let Some(Ok(batch)) = &batch {
                    metrics.record_output(batch.num_rows());
                }
                batch
            }
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            Arc::clone(&self.schema),
            futures::stream::iter(batches),
        )))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}
