//! When files roll, what a crash leaves, and what many open directories cost.

use std::collections::BTreeMap;
use std::path::Path;

use arrow::array::{ArrayRef, Int64Array, StringArray};
use datafusion::parquet::file::reader::{FileReader, SerializedFileReader};
use kappa_storage::files::{FileEncoding, FileFormat};
use kappa_storage::store::StoreOptions;
use tempfile::TempDir;

use super::*;

const MINUTE: i64 = 60_000;

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("SITE", DataType::Utf8, true),
        Field::new("ROWTIME", DataType::Int64, false),
    ]))
}

fn rows(rows: &[(&str, i64)]) -> Vec<Result<RecordBatch>> {
    let sites = StringArray::from_iter_values(rows.iter().map(|row| row.0));
    let times = Int64Array::from_iter_values(rows.iter().map(|row| row.1));
    let columns: Vec<ArrayRef> = vec![Arc::new(sites), Arc::new(times)];
    vec![Ok(RecordBatch::try_new(schema(), columns).unwrap())]
}

fn options() -> WriterOptions {
    WriterOptions {
        encoding: FileEncoding::of(FileFormat::Csv),
        without: Vec::new(),
        sequence: false,
        partition_by: vec!["SITE".into()],
        partition_path: None,
        roll: RollOptions {
            bytes: u64::MAX,
            rows: u64::MAX,
            interval_ms: i64::MAX,
            inactivity_ms: i64::MAX,
            grace_ms: 0,
        },
        open_max: 1000,
    }
}

struct Fixture {
    directory: TempDir,
    store: Arc<Store>,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = StoreOptions {
            sync: false,
            ..StoreOptions::default()
        };
        let store = Store::open(directory.path().join("store"), options).unwrap();
        Self { directory, store }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn open(&self, options: &WriterOptions) -> Writer {
        let units = Units::open(&self.store, self.path(), "W", BTreeMap::new(), true).unwrap();
        Writer::open(
            "W",
            options.clone(),
            &self.store,
            Arc::new(units),
            &schema(),
        )
        .unwrap()
    }
}

/// The directories of a unit's files and how many rows each has, if there is such a unit.
fn unit(writer: &Writer, number: u64) -> Option<Vec<(String, u64)>> {
    let (found, unit) = writer.units.next("S", number - 1)?;
    assert_eq!(found, number);
    let files = unit.files.iter();
    Some(files.map(|file| (file.place.clone(), file.rows)).collect())
}

fn place(name: &str, rows: u64) -> (String, u64) {
    (format!("SITE={name}/"), rows)
}

#[test]
fn files_roll_by_rows_age_and_idleness() {
    let fixture = Fixture::new();
    let mut options = options();
    options.roll.rows = 3;
    options.roll.interval_ms = 100;
    options.roll.inactivity_ms = 30;
    let mut writer = fixture.open(&options);
    writer
        .push(1, rows(&[("a", 1), ("b", 1), ("a", 2)]), Vec::new(), 0)
        .unwrap();
    assert!(!writer.roll(false, 0, 0).unwrap());
    // Three rows.
    writer.push(2, rows(&[("a", 3)]), Vec::new(), 20).unwrap();
    assert!(writer.roll(false, 20, 0).unwrap());
    assert_eq!(unit(&writer, 1), Some(vec![place("a", 3)]));
    // `b` has had none since 0.
    assert_eq!(writer.due_ms(), Some(30));
    assert!(!writer.roll(false, 29, 0).unwrap());
    assert!(writer.roll(false, 30, 0).unwrap());
    assert_eq!(unit(&writer, 2), Some(vec![place("b", 1)]));
    // A row every now and then, until its file is old.
    for (epoch, now_ms) in [(3, 40), (4, 65), (5, 90), (6, 115)] {
        writer
            .push(epoch, rows(&[("c", 1)]), Vec::new(), now_ms)
            .unwrap();
        if epoch == 5 {
            // Rows end before the third here.
            break;
        }
        assert!(!writer.roll(false, now_ms, 0).unwrap());
    }
    assert!(writer.roll(false, 140, 0).unwrap());
    assert_eq!(unit(&writer, 3), Some(vec![place("c", 3)]));
    assert!(!writer.has_open_files());
}

#[test]
fn files_of_a_delta_table_roll_together_when_one_is_old() {
    let fixture = Fixture::new();
    let mut options = options();
    options.encoding = FileEncoding::of(FileFormat::Delta);
    options.roll.rows = 3;
    options.roll.interval_ms = 100;
    let mut writer = fixture.open(&options);
    let push = |writer: &mut Writer, epoch, sites: &[(&str, i64)], now_ms| {
        writer.push(epoch, rows(sites), Vec::new(), now_ms).unwrap();
    };
    push(&mut writer, 1, &[("a", 1)], 0);
    push(&mut writer, 2, &[("b", 1), ("b", 2), ("b", 3)], 50);
    // A large one goes alone.
    assert!(writer.roll(false, 50, 0).unwrap());
    assert_eq!(unit(&writer, 1), Some(vec![place("b", 3)]));
    push(&mut writer, 3, &[("c", 1)], 99);
    assert!(!writer.roll(false, 99, 0).unwrap());
    assert!(writer.roll(false, 100, 0).unwrap());
    assert_eq!(unit(&writer, 2), Some(vec![place("a", 1), place("c", 1)]));
    assert!(!writer.has_open_files());
}

#[test]
fn files_roll_when_stream_time_passes_their_directory() {
    let fixture = Fixture::new();
    let mut options = options();
    options.partition_by.clear();
    options.partition_path = Some("{ROWTIME:%H%M}".into());
    options.roll.grace_ms = 5_000;
    let mut writer = fixture.open(&options);
    writer
        .push(1, rows(&[("a", 0), ("a", MINUTE + 4_999)]), Vec::new(), 0)
        .unwrap();
    assert!(!writer.roll(false, 0, 0).unwrap());
    writer
        .push(2, rows(&[("a", 1), ("a", MINUTE + 5_000)]), Vec::new(), 0)
        .unwrap();
    assert!(writer.roll(false, 0, 0).unwrap());
    assert_eq!(unit(&writer, 1), Some(vec![("0000/".to_owned(), 2)]));
    // Rows that come later wait for each other: not a file for each commit.
    writer.push(3, rows(&[("late", 2)]), Vec::new(), 0).unwrap();
    writer.push(4, rows(&[("late", 3)]), Vec::new(), 0).unwrap();
    assert!(!writer.roll(false, 0, 0).unwrap());
    assert!(writer.roll(true, 0, 0).unwrap());
    let expected = vec![("0000/".to_owned(), 2), ("0001/".to_owned(), 2)];
    assert_eq!(unit(&writer, 2), Some(expected));
}

#[test]
fn too_many_directories_close_those_that_were_idle_longest() {
    let fixture = Fixture::new();
    let mut options = options();
    options.open_max = 2;
    let mut writer = fixture.open(&options);
    writer.push(1, rows(&[("a", 1)]), Vec::new(), 1).unwrap();
    writer.push(2, rows(&[("b", 1)]), Vec::new(), 2).unwrap();
    writer.push(3, rows(&[("a", 1)]), Vec::new(), 3).unwrap();
    writer.push(4, rows(&[("c", 1)]), Vec::new(), 4).unwrap();
    assert!(writer.roll(false, 4, 0).unwrap());
    assert_eq!(unit(&writer, 1), Some(vec![place("b", 1)]));
}

#[test]
fn after_a_crash_no_row_is_lost_or_doubled() {
    let fixture = Fixture::new();
    let mut options = options();
    options.roll.rows = 2;
    let epochs: [&[_]; 5] = [
        &[("a", 1), ("b", 1)],
        &[("a", 2)],
        &[("a", 3), ("c", 1)],
        &[("c", 2), ("b", 2)],
        &[("a", 4)],
    ];
    let mut written: BTreeMap<String, u64> = BTreeMap::new();
    let mut writer = fixture.open(&options);
    let mut counted = 0;
    // Opened anew, as after a crash, before every epoch; epochs come again from the cursor.
    for upto in 1..=epochs.len() {
        for (epoch, batches) in (1..)
            .zip(&epochs)
            .skip(writer.position() as usize)
            .take(upto)
        {
            if epoch > upto as u64 {
                break;
            }
            writer.push(epoch, rows(batches), Vec::new(), 0).unwrap();
            writer.roll(false, 0, 0).unwrap();
        }
        writer = fixture.open(&options);
    }
    for (epoch, batches) in (1..).zip(&epochs).skip(writer.position() as usize) {
        writer.push(epoch, rows(batches), Vec::new(), 0).unwrap();
    }
    writer.roll(true, 0, 0).unwrap();
    while let Some((number, unit)) = writer.units.next("S", counted) {
        for (index, file) in unit.files.iter().enumerate() {
            let text = std::fs::read_to_string(writer.units.path(number, index)).unwrap();
            // A line of names, then a line a row.
            assert_eq!(text.lines().count() as u64, file.rows + 1);
            *written.entry(file.place.clone()).or_default() += file.rows;
        }
        counted = number;
    }
    let expected = [place("a", 4), place("b", 2), place("c", 2)];
    assert_eq!(written, BTreeMap::from(expected));
    assert_eq!(writer.cursor(), epochs.len() as u64);
}

#[test]
fn a_thousand_open_directories_stay_within_their_memory() {
    let fixture = Fixture::new();
    let mut options = options();
    options.encoding = FileEncoding::of(FileFormat::Parquet);
    let mut writer = fixture.open(&options);
    let sites: Vec<String> = (0..1000).map(|site| format!("site {site}")).collect();
    // 60 bytes a row that no dictionary makes smaller, some 60 MB in all.
    let mut most = 0;
    for epoch in 1..=20 {
        let batch: Vec<(&str, i64)> = (0..50_000)
            .map(|row| {
                (
                    sites[row % 1000].as_str(),
                    (epoch * 50_000) as i64 + row as i64,
                )
            })
            .collect();
        writer.push(epoch, rows(&batch), Vec::new(), 0).unwrap();
        most = most.max(writer.memory);
    }
    assert_eq!(writer.open.len(), 1000);
    assert!(most <= MEMORY_MAX + CHUNK_BYTES, "{most}");
    writer.roll(true, 0, 0).unwrap();
    let (_, unit) = writer.units.next("S", 0).unwrap();
    assert_eq!((unit.files.len(), unit.rows()), (1000, 1_000_000));
    // However often its rows were set aside.
    let file = std::fs::File::open(writer.units.path(1, 0)).unwrap();
    let reader = SerializedFileReader::new(file).unwrap();
    assert_eq!(reader.metadata().num_row_groups(), 1);
}

/// Rows in memory, set aside and encoded, in turns.
#[test]
fn rows_keep_their_order_wherever_they_wait() {
    let fixture = Fixture::new();
    let encoding = FileEncoding::of(FileFormat::Csv);
    let place = Arc::new(Place {
        path: String::new(),
        end_ms: None,
    });
    let mut file = OpenFile::new(place, fixture.path().join("7"), 1, 0, false);
    for time in 0..12 {
        file.push(rows(&[("a", time)]).remove(0).unwrap(), [time, time], 0);
        match time % 4 {
            0 | 1 => {
                file.release(&schema()).unwrap();
                assert_eq!(file.memory(), 0);
            }
            2 => {}
            _ => {
                file.encode(&encoding, &schema()).unwrap();
                // It has an encoder, and nothing that waits to be set aside.
                file.release(&schema()).unwrap();
                file.encode(&encoding, &schema()).unwrap();
            }
        }
    }
    file.push(rows(&[("a", 12)]).remove(0).unwrap(), [12, 12], 0);
    file.release(&schema()).unwrap();
    assert_eq!((file.rows, file.times), (13, [0, 12]));
    let (path, bytes) = file.finish(&encoding, &schema()).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let times: Vec<String> = (0..13).map(|time| format!("a,{time}")).collect();
    assert_eq!(text, format!("SITE,ROWTIME\n{}\n", times.join("\n")));
    assert_eq!(text.len() as u64, bytes);
    // What was set aside is gone.
    let left = std::fs::read_dir(fixture.path()).unwrap();
    let left = left.filter(|entry| entry.as_ref().unwrap().path().is_file());
    assert_eq!(left.count(), 1);
}
