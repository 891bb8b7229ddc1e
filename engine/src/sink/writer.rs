//! Rows of an outbox into files: which rows are in which file, and when a file is done.
//!
//! A file is done (it *rolls*) between two epochs, by its size, its rows, its age, its idleness, or
//! because stream time has passed its directory. What rolls together is one unit, committed with how
//! far the writer has come. Directories roll at different epochs, so that is
//!
//! ```text
//! meta: writer/<id> -> cursor: all rows up to this epoch are in units
//!                      ahead:  directory -> epoch up to which its rows are, too
//! ```
//!
//! and after a crash the epochs after the cursor are read again, without what is ahead.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::{max, min};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use kappa_sql::column;
use kappa_storage::files::{FileEncoding, FileFormat};
use kappa_storage::store::{Durability, Store};
use serde::{Deserialize, Serialize};

use super::departure::Departure;
use super::open_file::{CHUNK_BYTES, OpenFile, TEMPORARY};
use super::outbox::Offsets;
use super::place::{Place, Placement};
use super::target::numbered;
use super::units::{Unit, UnitFile, Units};
use crate::error::Result;
use crate::meta_entry::MetaEntry;

/// Memory for rows on their way into files, in bytes.
const MEMORY_MAX: usize = 32 << 20;
/// Column that numbers the rows of a unit, where their order counts.
pub(crate) const SEQUENCE: &str = "ROWSEQ";

/// How files are written and when they roll. Sinks with equal options share a writer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WriterOptions {
    pub(crate) encoding: FileEncoding,
    /// Columns left out of the files.
    pub(crate) without: Vec<String>,
    /// Whether rows are numbered.
    pub(crate) sequence: bool,
    pub(crate) partition_by: Vec<String>,
    pub(crate) partition_path: Option<String>,
    pub(crate) roll: RollOptions,
    pub(crate) open_max: usize,
}

/// When a file is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RollOptions {
    /// Bytes of the file.
    pub(crate) bytes: u64,
    pub(crate) rows: u64,
    /// Longest time since its first row, in milliseconds.
    pub(crate) interval_ms: i64,
    /// Longest time since its last row.
    pub(crate) inactivity_ms: i64,
    /// How far stream time must be past the end of its directory.
    pub(crate) grace_ms: i64,
}

/// How far a writer has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WriterProgress {
    /// All rows up to this epoch are in units.
    pub(crate) cursor: u64,
    /// The last unit's number.
    pub(crate) unit: u64,
    /// Largest row time so far.
    stream_time_ms: Option<i64>,
    ahead: BTreeMap<String, u64>,
}

/// Writes files.
#[derive(Debug)]
pub(crate) struct Writer {
    id: String,
    options: WriterOptions,
    store: Arc<Store>,
    units: Arc<Units>,
    placement: Placement,
    /// Columns of the outbox that files have.
    columns: Vec<usize>,
    schema: SchemaRef,
    rowtime: Option<usize>,
    progress: WriterProgress,
    /// The last epoch taken.
    position: u64,
    /// Where the sources go on after it; `None` when nothing was taken yet.
    offsets: Option<Offsets>,
    open: BTreeMap<String, OpenFile>,
    /// Memory of the open files.
    memory: usize,
    /// Number of the next file.
    next_temporary: u64,
    next_sequence: i64,
    /// Bytes of files for each byte of rows in memory, from what was written.
    ratio: f64,
}

impl Writer {
    /// Opens a writer of an outbox with the columns `schema`, where its last commit left it.
    pub(crate) fn open(
        id: &str,
        options: WriterOptions,
        store: &Arc<Store>,
        units: Arc<Units>,
        schema: &SchemaRef,
    ) -> Result<Self> {
        let progress = WriterProgress::read(store.as_ref(), id)?.unwrap_or_default();
        let placement = options.placement(schema)?;
        let columns: Vec<usize> = (0..schema.fields().len())
            .filter(|index| !options.without.contains(schema.field(*index).name()))
            .collect();
        let mut fields: Vec<Field> = columns.iter().map(|c| schema.field(*c).clone()).collect();
        if options.sequence {
            fields.push(Field::new(SEQUENCE, DataType::Int64, false));
        }
        // What a crash has left half-written.
        for entry in std::fs::read_dir(units.directory()?)
            .into_iter()
            .flatten()
            .flatten()
        {
            if entry.file_name().to_string_lossy().ends_with(TEMPORARY) {
                drop(std::fs::remove_file(entry.path()));
            }
        }
        Ok(Self {
            id: id.to_owned(),
            store: Arc::clone(store),
            units,
            placement,
            columns,
            schema: Arc::new(Schema::new(fields)),
            rowtime: schema.index_of(column::ROWTIME).ok(),
            position: progress.cursor,
            offsets: None,
            progress,
            open: BTreeMap::new(),
            memory: 0,
            next_temporary: 0,
            next_sequence: 0,
            ratio: 0.5,
            options,
        })
    }

    /// The last epoch taken.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// All rows up to this epoch are in units, durably.
    pub(crate) fn cursor(&self) -> u64 {
        self.progress.cursor
    }

    /// Whether rows wait in files that are not done.
    pub(crate) fn has_open_files(&self) -> bool {
        !self.open.is_empty()
    }

    /// Where a sink that takes no more than the units so far would go on without them: after a roll
    /// of everything. `None` when nothing was taken since the writer was opened.
    pub(crate) fn departure(&self) -> Option<Departure> {
        let all_in_units = self.open.is_empty() && self.progress.cursor == self.position;
        let offsets = self.offsets.clone().filter(|_| all_in_units)?;
        Some(Departure {
            last: self.progress.unit,
            epoch: self.position,
            offsets,
            stream_time_ms: self.progress.stream_time_ms,
        })
    }

    /// Takes the rows of an epoch, after which the sources go on at `offsets`. `now_ms` is by the
    /// monotonic clock.
    pub(crate) fn push(
        &mut self,
        epoch: u64,
        batches: impl IntoIterator<Item = Result<RecordBatch>>,
        offsets: Offsets,
        now_ms: i64,
    ) -> Result<()> {
        let before_ms = self.progress.stream_time_ms;
        for batch in batches {
            let batch = batch?;
            if let Some(rowtime) = self.rowtime {
                let latest = max(batch.column(rowtime).as_primitive::<Int64Type>());
                self.progress.stream_time_ms = self.progress.stream_time_ms.max(latest);
            }
            for (place, rows) in self.placement.split(&batch)? {
                let ahead = self.progress.ahead.get(&place.path).copied();
                if ahead.is_none_or(|ahead| epoch > ahead) {
                    self.add(place, rows, epoch, now_ms, before_ms)?;
                }
            }
        }
        self.position = epoch;
        self.offsets = Some(offsets);
        Ok(())
    }

    /// Adds rows to their file. `stream_time_ms` is that before the epoch.
    fn add(
        &mut self,
        place: Arc<Place>,
        rows: RecordBatch,
        epoch: u64,
        now_ms: i64,
        stream_time_ms: Option<i64>,
    ) -> Result<()> {
        let times = match self.rowtime {
            Some(rowtime) => {
                let times = rows.column(rowtime).as_primitive::<Int64Type>();
                [min(times).unwrap_or(0), max(times).unwrap_or(0)]
            }
            None => [0, 0],
        };
        let rows = self.columns_of(&rows)?;
        if !self.open.contains_key(&place.path) {
            let temporary = self
                .units
                .directory()?
                .join(self.next_temporary.to_string());
            self.next_temporary += 1;
            let late = place.is_passed(stream_time_ms, self.options.roll.grace_ms);
            let path = place.path.clone();
            let file = OpenFile::new(Arc::clone(&place), temporary, epoch, now_ms, late);
            self.open.insert(path, file);
        }
        let (encoding, schema) = (self.options.encoding, Arc::clone(&self.schema));
        self.with_file(&place.path, |file| {
            file.push(rows, times, now_ms);
            match file.waiting() >= CHUNK_BYTES {
                true => file.encode(&encoding, &schema),
                false => Ok(()),
            }
        })?;
        match self.memory > MEMORY_MAX {
            true => self.make_room(),
            false => Ok(()),
        }
    }

    /// Does something to an open file.
    fn with_file<T>(
        &mut self,
        path: &str,
        act: impl FnOnce(&mut OpenFile) -> Result<T>,
    ) -> Result<T> {
        let Some(file) = self.open.get_mut(path) else {
            return Err(crate::Error::Internal(format!(
                "the file in {path} is not open"
            )));
        };
        let before = file.memory();
        let done = act(file);
        self.memory = self.memory.saturating_sub(before) + file.memory();
        done
    }

    /// Lets go of half of the memory: of that of the files which have most.
    fn make_room(&mut self) -> Result<()> {
        let files = self.open.iter();
        let mut files: Vec<(usize, String)> = files
            .map(|(path, file)| (file.memory(), path.clone()))
            .collect();
        files.sort_unstable_by_key(|(memory, _)| Reverse(*memory));
        let schema = Arc::clone(&self.schema);
        for (_, path) in files {
            if self.memory <= MEMORY_MAX / 2 {
                break;
            }
            self.with_file(&path, |file| file.release(&schema))?;
        }
        Ok(())
    }

    /// The columns of the files, and the rows' numbers.
    fn columns_of(&mut self, rows: &RecordBatch) -> Result<RecordBatch> {
        let mut rows = rows.project(&self.columns)?;
        if self.options.sequence {
            rows = numbered(&rows, self.next_sequence)?;
            self.next_sequence += rows.num_rows() as i64;
        }
        Ok(rows)
    }

    /// Directories whose files are done.
    fn due(&self, now_ms: i64) -> Vec<String> {
        let roll = &self.options.roll;
        let mut ages = self.open.values().map(|file| now_ms - file.first_ms);
        if self.options.encoding.format == FileFormat::Delta
            && ages.any(|age| age >= roll.interval_ms)
        {
            // A unit is a commit of the table: better one for all, each interval, than one for each
            // partition at its own time.
            return self.open.keys().cloned().collect();
        }
        let mut due: Vec<String> = Vec::new();
        let mut rest: Vec<(i64, &String)> = Vec::new();
        for (path, file) in &self.open {
            let stream_time_ms = self.progress.stream_time_ms;
            let passed = file.place.is_passed(stream_time_ms, roll.grace_ms);
            let is_due = (passed && !file.late)
                || file.rows >= roll.rows
                || file.size(self.ratio) >= roll.bytes
                || now_ms - file.first_ms >= roll.interval_ms
                || now_ms - file.last_ms >= roll.inactivity_ms;
            match is_due {
                true => due.push(path.clone()),
                false => rest.push((file.last_ms, path)),
            }
        }
        // Too many: those go that had no rows for the longest time.
        let excess = rest.len().saturating_sub(self.options.open_max);
        if excess > 0 {
            rest.sort_unstable();
            due.extend(rest.iter().take(excess).map(|(_, path)| (*path).clone()));
        }
        due
    }

    /// When a file is done though no row comes, on the monotonic clock.
    pub(crate) fn due_ms(&self) -> Option<i64> {
        let roll = &self.options.roll;
        let of_file = |file: &OpenFile| {
            let age = file.first_ms.saturating_add(roll.interval_ms);
            age.min(file.last_ms.saturating_add(roll.inactivity_ms))
        };
        self.open.values().map(of_file).min()
    }

    /// Makes a unit of the files that are done; of all with `all`. Returns whether there was one.
    pub(crate) fn roll(&mut self, all: bool, now_ms: i64, wall_ms: i64) -> Result<bool> {
        let due = match all {
            true => self.open.keys().cloned().collect(),
            false => self.due(now_ms),
        };
        if due.is_empty() {
            return self.pass();
        }
        let number = self.progress.unit + 1;
        let mut unit = Unit {
            files: Vec::new(),
            at_ms: wall_ms,
        };
        for path in &due {
            let Some(file) = self.open.remove(path) else {
                continue;
            };
            self.memory = self.memory.saturating_sub(file.memory());
            let (rows, bytes_in) = (file.rows, file.bytes_in);
            let (times, end_ms) = (file.times, file.place.end_ms);
            let (temporary, bytes) = file.finish(&self.options.encoding, &self.schema)?;
            self.ratio = (bytes as f64 / bytes_in.max(1) as f64).clamp(0.001, 10.0);
            let name = self.units.path(number, unit.files.len());
            std::fs::rename(&temporary, &name).map_err(|error| crate::Error::External {
                message: format!("name the file {}: {error}", name.display()),
                retryable: true,
            })?;
            unit.files.push(UnitFile {
                place: path.clone(),
                rows,
                bytes,
                times,
                end_ms,
            });
            self.progress.ahead.insert(path.clone(), self.position);
        }
        sync_directory(self.units.directory()?)?;
        self.next_sequence = 0;
        self.progress.unit = number;
        self.move_cursor();
        let mut commit = self.store.begin();
        self.units.write(number, &unit, &mut commit)?;
        self.progress.write(&self.id, &mut commit)?;
        self.store.commit(commit, Durability::Sync)?;
        self.units.committed(number, unit);
        Ok(true)
    }

    /// All rows of epochs before the oldest open file are in units.
    fn move_cursor(&mut self) {
        let oldest = self.open.values().map(|file| file.since_epoch).min();
        self.progress.cursor = oldest.map_or(self.position, |epoch| epoch - 1);
        let cursor = self.progress.cursor;
        self.progress.ahead.retain(|_, epoch| *epoch > cursor);
    }

    /// Notes epochs all of whose rows were in units before.
    fn pass(&mut self) -> Result<bool> {
        if self.open.is_empty() && self.progress.cursor < self.position {
            self.move_cursor();
            let mut commit = self.store.begin();
            self.progress.write(&self.id, &mut commit)?;
            self.store.commit(commit, Durability::Sync)?;
        }
        Ok(false)
    }
}

impl WriterOptions {
    /// How rows of these columns are placed.
    pub(crate) fn placement(&self, schema: &SchemaRef) -> Result<Placement> {
        let placement = match &self.partition_path {
            Some(template) => Placement::by_template(schema, template),
            None => Placement::by_columns(schema, &self.partition_by),
        };
        placement.map_err(crate::Error::User)
    }
}

impl WriterProgress {
    /// That of a writer which goes on where another one was when it had everything in units.
    pub(crate) fn after(departure: &Departure) -> Self {
        Self {
            cursor: departure.epoch,
            unit: departure.last,
            stream_time_ms: departure.stream_time_ms,
            ahead: BTreeMap::new(),
        }
    }
}

impl MetaEntry for WriterProgress {
    const KIND: &'static str = "writer_progress";
}

fn sync_directory(directory: &std::path::Path) -> Result<()> {
    let synced = std::fs::File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(|error| crate::Error::External {
        message: format!("sync the directory {}: {error}", directory.display()),
        retryable: true,
    })
}

#[cfg(test)]
mod tests;
