//! What sinks of files wrote, as DuckDB, pyarrow and deltalake's Python package read it.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Days, NaiveDate};
use kappa_tests::bucket::{Bucket, Objects};
use kappa_tests::instance;
use kappa_tests::readers::{Found, Reader, Readers, Request, sorted};
use kappa_tests::server::Server;
use kappa_tests::topic::{Record, partition_of};
use parquet::basic::Compression;
use parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::{Map, Value, json};

use crate::incarnation::{Incarnation, Table};
use crate::sinks::Place;

const ROWS: i32 = 60;

/// A column: its name, its type in SQL, and as a reader of text is told and tells it. Nested ones
/// cannot be in CSV.
type Column = (&'static str, &'static str, &'static str, &'static str);

const FLAT: &[Column] = &[
    ("FLAG", "BOOLEAN", "BOOLEAN", "BOOLEAN"),
    ("BIG", "BIGINT", "BIGINT", "BIGINT"),
    ("RATIO", "DOUBLE", "DOUBLE", "DOUBLE"),
    (
        "PRICE",
        "DECIMAL(20, 4)",
        "DECIMAL(20, 4)",
        "DECIMAL(20, 4)",
    ),
    ("NAME", "STRING", "VARCHAR", "STRING"),
    ("SITE", "STRING", "VARCHAR", "STRING"),
    // Text formats have no bytes: they are hexadecimal there.
    ("RAW", "BYTES", "VARCHAR", "STRING"),
    ("DAY", "DATE", "DATE", "DATE"),
    ("TOD", "TIME", "TIME", "TIME"),
    ("MOMENT", "TIMESTAMP", "TIMESTAMP", "TIMESTAMP"),
];
const NESTED: &[Column] = &[
    ("TAGS", "ARRAY<STRING>", "VARCHAR[]", "ARRAY<STRING>"),
    (
        "COUNTS",
        "MAP<STRING, INT>",
        "MAP(VARCHAR, INTEGER)",
        "MAP<STRING, INT>",
    ),
    (
        "PLACE",
        "STRUCT<X INT, LABEL STRING>",
        "STRUCT(X INTEGER, LABEL VARCHAR)",
        "STRUCT<X INT, LABEL STRING>",
    ),
    (
        "TREE",
        "ARRAY<STRUCT<K STRING, V ARRAY<INT>>>",
        "STRUCT(K VARCHAR, V INTEGER[])[]",
        "ARRAY<STRUCT<K STRING, V ARRAY<INT>>>",
    ),
];

/// A format and a compression.
type Encoding = (&'static str, &'static str);

fn columns(format: &str) -> impl Iterator<Item = &'static Column> {
    let nested = if format == "csv" { &[] } else { NESTED };
    FLAT.iter().chain(nested)
}

/// One fact, three ways: a value of a record, and what a reader should find. Every fifth row has
/// nothing but its key.
struct Thing {
    id: i32,
}

impl Thing {
    fn is_empty(&self) -> bool {
        self.id % 5 == 4
    }

    fn rowtime(&self) -> i64 {
        1_700_000_000_000 + i64::from(self.id) * 3_600_000
    }

    /// In units of 0.0001.
    fn price(&self) -> i64 {
        i64::from(self.id - 30) * 123_456_789
    }

    fn day(&self) -> NaiveDate {
        // Some before 1970.
        let first = NaiveDate::from_ymd_opt(1969, 12, 1).unwrap();
        first + Days::new(self.id as u64)
    }

    fn moment_ms(&self) -> i64 {
        i64::from(self.id - 3) * 100_000_123
    }

    fn site(&self) -> String {
        ["W3 1", "ü/=%", "a.b"][self.id as usize % 3].to_owned()
    }

    fn raw(&self) -> Vec<u8> {
        vec![self.id as u8, 0xff, 0]
    }

    /// The values that are the same in a record and for a reader.
    fn common(&self) -> Map<String, Value> {
        let id = self.id;
        let label = (id % 2 == 0).then_some("é");
        let counts = match id % 3 {
            0 => json!({}),
            _ => json!({"a": id, "b c": -id}),
        };
        let Value::Object(common) = json!({
            "FLAG": id % 2 == 0,
            // Beyond what a double holds.
            "BIG": 9_007_199_254_740_993 + i64::from(id),
            "RATIO": f64::from(id) / 8.0,
            "NAME": format!("naïve 日本 🦀, \"{id}\"\nand more"),
            "SITE": self.site(),
            "TAGS": [format!("t{id}"), null, ""],
            "COUNTS": counts,
            "PLACE": {"X": id, "LABEL": label},
            "TREE": [{"K": "k", "V": [id, null]}, {"K": null, "V": []}],
        }) else {
            unreachable!("an object is written above")
        };
        common
    }

    /// The record's value, as it is produced.
    fn record(&self) -> String {
        if self.is_empty() {
            return "{}".to_owned();
        }
        let mut value = self.common();
        let epoch = NaiveDate::default();
        let days = self.day().signed_duration_since(epoch).num_days();
        value.insert("RAW".to_owned(), STANDARD.encode(self.raw()).into());
        value.insert("DAY".to_owned(), days.into());
        value.insert("TOD".to_owned(), (self.id * 1000 + 7).into());
        value.insert("MOMENT".to_owned(), self.moment_ms().into());
        let text = Value::Object(value).to_string();
        // A number with all its digits, which serde's would not have.
        let price = decimal(self.price());
        format!("{}, \"PRICE\": {price}}}", &text[..text.len() - 1])
    }

    /// What a reader should find in a file of that format.
    fn expected(&self, format: &str) -> Map<String, Value> {
        let mut row = self.common();
        let time =
            chrono::NaiveTime::MIN + chrono::TimeDelta::milliseconds(i64::from(self.id) * 1000 + 7);
        let moment = DateTime::from_timestamp_millis(self.moment_ms()).unwrap();
        let raw: String = self
            .raw()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let rest = [
            ("PRICE", decimal(self.price())),
            ("RAW", raw),
            ("DAY", self.day().to_string()),
            ("TOD", time.format("%H:%M:%S%.6f").to_string()),
            ("MOMENT", moment.format("%Y-%m-%dT%H:%M:%S%.6f").to_string()),
        ];
        row.extend(rest.map(|(name, value)| (name.to_owned(), Value::from(value))));
        row.retain(|name, _| columns(format).any(|column| column.0 == name));
        if self.is_empty() {
            row.values_mut().for_each(|value| *value = Value::Null);
        }
        row.insert("ID".to_owned(), self.id.into());
        row.insert("ROWTIME".to_owned(), self.rowtime().into());
        row
    }

    /// With the columns that the directories `dt={ROWTIME:%Y-%m-%d}/folder={SITE}` make.
    fn expected_in_folders(&self, format: &str) -> Map<String, Value> {
        let mut row = self.expected(format);
        let time = DateTime::from_timestamp_millis(self.rowtime()).unwrap();
        row.insert("dt".to_owned(), time.format("%Y-%m-%d").to_string().into());
        let site = row["SITE"].clone();
        row.insert("folder".to_owned(), site);
        row
    }
}

fn decimal(units: i64) -> String {
    let sign = if units < 0 { "-" } else { "" };
    let units = units.abs();
    format!("{sign}{}.{:04}", units / 10_000, units % 10_000)
}

fn expected(format: &'static str, row: impl Fn(&Thing, &str) -> Map<String, Value>) -> Found {
    let told = columns(format).map(|(name, _, _, told)| {
        let told = match (format, *name) {
            ("parquet" | "avro", "RAW") => "BYTES",
            _ => told,
        };
        ((*name).to_owned(), told.to_owned())
    });
    let mut types: BTreeMap<String, String> = told.collect();
    types.insert("ID".to_owned(), "INT".to_owned());
    types.insert("ROWTIME".to_owned(), "BIGINT".to_owned());
    let rows: Vec<Value> = (0..ROWS)
        .map(|id| Value::Object(row(&Thing { id }, format)))
        .collect();
    for directory in ["dt", "folder"] {
        if rows[0].get(directory).is_some() {
            types.insert(directory.to_owned(), "STRING".to_owned());
        }
    }
    Found {
        types,
        rows: sorted(rows),
    }
}

/// What a reader is told of columns of a text format.
fn told(format: &str) -> Vec<(&'static str, &'static str)> {
    if matches!(format, "parquet" | "avro") {
        return Vec::new();
    }
    let own = columns(format).map(|(name, _, told, _)| (*name, *told));
    own.chain([("ID", "INTEGER"), ("ROWTIME", "BIGINT")])
        .collect()
}

/// An engine with sinks of these formats, compressions and more properties, each in a folder
/// `FORMAT_COMPRESSION`, that have delivered all rows.
fn written(place: &Place, sinks: &[Encoding], more: &str) -> (tempfile::TempDir, Incarnation) {
    let data_dir = instance::data_dir().unwrap();
    let kappa = Incarnation::open(place.config(data_dir.path()));
    let types = columns("parquet").map(|(name, kind, _, _)| format!(", {name} {kind}"));
    kappa.execute(&format!(
        "CREATE STREAM things (ID INT KEY{}) \
         WITH (KAFKA_TOPIC = 'things', VALUE_FORMAT = 'JSON', PARTITIONS = 2)",
        types.collect::<String>()
    ));
    let names = FLAT.iter().map(|column| format!(", {}", column.0));
    let flat = format!(
        "SELECT ID{} FROM things EMIT CHANGES",
        names.collect::<String>()
    );
    for (format, compression) in sinks {
        let name = format!("{format}_{compression}");
        let with = format!(
            "WITH ({}, FORMAT = '{format}', COMPRESSION = '{compression}'{more})",
            place.connector(&name)
        );
        kappa.execute(&match *format {
            "csv" => format!("CREATE SINK {name} {with} AS {flat}"),
            _ => format!("CREATE SINK {name} FROM things {with}"),
        });
    }
    // Three units each.
    for id in 0..ROWS {
        let thing = Thing { id };
        let key = id.to_be_bytes().to_vec();
        let partition = partition_of(&key, 2);
        let record = Record {
            key: Some(key),
            value: Some(thing.record().into_bytes()),
            timestamp: thing.rowtime(),
            headers: Vec::new(),
        };
        kappa.append("things", partition, &record);
        if id % 20 == 19 {
            kappa.flush();
        }
    }
    assert_eq!(kappa.ask("SELECT * FROM KAPPA_BAD_RECORDS"), Table::new());
    (data_dir, kappa)
}

fn save(objects: &Objects, directory: &Path) {
    for (name, bytes) in objects {
        let path = directory.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

const ALL: &[Encoding] = &[
    ("parquet", "none"),
    ("parquet", "snappy"),
    ("parquet", "gzip"),
    ("parquet", "zstd"),
    ("json", "none"),
    ("json", "gzip"),
    ("json", "zstd"),
    ("csv", "none"),
    ("csv", "gzip"),
    ("csv", "zstd"),
    ("avro", "none"),
    ("avro", "snappy"),
    ("avro", "deflate"),
    ("avro", "zstd"),
];

/// All types in all formats and compressions are found by others as they were sent.
pub(crate) fn everything_is_found(readers: &Readers, place: &Place) {
    let (_data_dir, kappa) = written(place, ALL, "");
    for (format, compression) in ALL {
        let objects = place.objects(&format!("{format}_{compression}"));
        check_compression(&objects, format, compression);
        // A copy, since a reader has no access to some places.
        let copy = tempfile::tempdir().unwrap();
        save(&objects, copy.path());
        let mut request = Request::new(format, copy.path().display().to_string());
        request.columns = told(format);
        for &reader in Reader::of_files(format) {
            let found = readers.read(reader, &request).unwrap();
            let wanted = expected(format, Thing::expected);
            assert_same(
                &found,
                &wanted,
                &format!("{reader:?} {format} {compression}"),
            );
        }
    }
    kappa.shut_down();
}

/// Says which row is not as it should be, not all of them.
fn assert_same(found: &Found, wanted: &Found, what: &str) {
    assert_eq!(found.types, wanted.types, "{what}");
    for (found, wanted) in found.rows.iter().zip(&wanted.rows) {
        assert_eq!(found, wanted, "{what}");
    }
    assert_eq!(found.rows.len(), wanted.rows.len(), "{what}");
}

fn check_compression(objects: &Objects, format: &str, compression: &str) {
    let ending = match (format, compression) {
        ("parquet", _) => ".parquet",
        ("json", "none") => ".jsonl",
        ("json", "gzip") => ".jsonl.gz",
        ("json", _) => ".jsonl.zst",
        ("avro", _) => ".avro",
        (_, "none") => ".csv",
        (_, "gzip") => ".csv.gz",
        _ => ".csv.zst",
    };
    let mut files = 0;
    for (name, bytes) in objects.iter().filter(|(name, _)| !name.starts_with('_')) {
        assert!(name.ends_with(ending), "{name}");
        files += 1;
        if format == "parquet" {
            let reader = SerializedFileReader::new(bytes::Bytes::from(bytes.clone())).unwrap();
            let used = reader.metadata().row_group(0).column(0).compression();
            let is_it = match compression {
                "none" => matches!(used, Compression::UNCOMPRESSED),
                "snappy" => matches!(used, Compression::SNAPPY),
                "gzip" => matches!(used, Compression::GZIP(_)),
                _ => matches!(used, Compression::ZSTD(_)),
            };
            assert!(is_it, "{name}: {used}, not {compression}");
        }
    }
    assert_eq!(files, 3, "{:?}", objects.keys());
}

#[test]
fn other_readers_find_all_types_in_all_formats() {
    if let Some(readers) = Readers::find().unwrap() {
        everything_is_found(&readers, &Place::directory());
    }
}

#[test]
fn other_readers_find_directories_as_columns() {
    let Some(readers) = Readers::find().unwrap() else {
        return;
    };
    let place = Place::directory();
    let sinks = [
        ("parquet", "zstd"),
        ("json", "gzip"),
        ("csv", "none"),
        ("avro", "snappy"),
    ];
    let more = ", PARTITION_PATH = 'dt={ROWTIME:%Y-%m-%d}/folder={SITE}'";
    let (_data_dir, kappa) = written(&place, &sinks, more);
    for (format, compression) in sinks {
        let copy = tempfile::tempdir().unwrap();
        save(
            &place.objects(&format!("{format}_{compression}")),
            copy.path(),
        );
        let mut request = Request::new(format, copy.path().display().to_string());
        request.columns = told(format);
        request.directories = true;
        for &reader in Reader::of_files(format) {
            let found = readers.read(reader, &request).unwrap();
            let wanted = expected(request.format, Thing::expected_in_folders);
            assert_same(&found, &wanted, &format!("{reader:?} {format}"));
        }
    }
    kappa.shut_down();
}

/// Whoever goes by commit objects sees what was committed, whatever else lies there.
fn commit_objects_lead_to_all_rows(s3: &str) {
    let (Some(readers), Some(server)) = (Readers::find().unwrap(), Server::start(s3).unwrap())
    else {
        return;
    };
    let bucket = Bucket::s3(&server).unwrap();
    let place = Place::Bucket(Bucket::s3(&server).unwrap());
    let (_data_dir, kappa) = written(&place, &[("parquet", "zstd"), ("json", "gzip")], "");
    for (format, name) in [("parquet", "parquet_zstd"), ("json", "json_gzip")] {
        let facts = kappa.ask(&format!("DESCRIBE {name}"));
        let mark = &facts.iter().find(|fact| fact[0] == "mark").unwrap()[1];
        let objects = place.objects(name);
        let (data, bytes) = objects
            .iter()
            .find(|(name, _)| !name.starts_with('_'))
            .unwrap();
        let stray = format!("stray-{data}");
        kappa
            .block_on(bucket.put(name, &stray, bytes.clone()))
            .unwrap();
        let mut request = Request::new(format, bucket.path(name)).at(&server);
        request.columns = told(format);
        let wanted = expected(format, Thing::expected);
        for &reader in Reader::of_files(format) {
            let what = format!("{reader:?} {format}");
            request.commits = None;
            let found = readers.read(reader, &request).unwrap();
            assert!(found.rows.len() > wanted.rows.len(), "{what}");
            request.commits = Some(format!("{name}-{mark}"));
            let found = readers.read(reader, &request).unwrap();
            assert_same(&found, &wanted, &what);
        }
    }
    kappa.shut_down();
}

#[test]
fn other_readers_go_by_commit_objects() {
    commit_objects_lead_to_all_rows("minio");
}

#[test]
fn other_readers_go_by_commit_objects_in_another_implementation_of_s3() {
    commit_objects_lead_to_all_rows("moto");
}

/// A folder of a place that is a directory.
fn folder(place: &Place, name: &str) -> String {
    match place {
        Place::Directory(directory) => directory.path().join(name).display().to_string(),
        Place::Bucket(bucket) => bucket.path(name),
    }
}

#[test]
fn another_reader_finds_all_types_in_a_delta_table() {
    let Some(readers) = Readers::find().unwrap() else {
        return;
    };
    let place = Place::directory();
    let (_data_dir, kappa) = written(&place, &[("delta", "zstd")], ", PARTITION_BY = 'SITE'");
    let request = Request::new("delta", folder(&place, "delta_zstd"));
    let found = readers.read(Reader::Delta, &request).unwrap();
    // Delta has no type for a time of day.
    let mut wanted = expected("parquet", |thing, format| {
        let mut row = thing.expected(format);
        if let Some(time) = row["TOD"].as_str() {
            let milliseconds = time[..time.len() - 3].to_owned();
            row.insert("TOD".to_owned(), milliseconds.into());
        }
        row
    });
    wanted.types.insert("TOD".to_owned(), "STRING".to_owned());
    assert_same(&found, &wanted, "deltalake");
    kappa.shut_down();
}

#[test]
fn another_reader_finds_a_merged_delta_table_as_it_is() {
    let Some(readers) = Readers::find().unwrap() else {
        return;
    };
    let (place, data_dir) = (Place::directory(), instance::data_dir().unwrap());
    let kappa = Incarnation::open(place.config(data_dir.path()));
    kappa.execute(
        "CREATE TABLE stock (id INT PRIMARY KEY, pieces INT) \
         WITH (KAFKA_TOPIC = 'stock', VALUE_FORMAT = 'JSON', PARTITIONS = 1)",
    );
    kappa.execute(&format!(
        "CREATE SINK stock_delta FROM stock WITH ({}, FORMAT = 'DELTA', INCLUDE_ROWTIME = false)",
        place.connector("stock")
    ));
    let mut stock = BTreeMap::new();
    for (step, (id, pieces)) in [
        (1, Some(10)),
        (2, Some(20)),
        (3, Some(30)),
        (1, Some(11)),
        (2, None),
        (3, None),
        (3, Some(31)),
        (4, None),
        (2, Some(21)),
        (1, None),
    ]
    .into_iter()
    .enumerate()
    {
        let value = pieces.map(|pieces| format!(r#"{{"PIECES":{pieces}}}"#));
        kappa.send("stock", 1, id, value, 0);
        match pieces {
            Some(pieces) => stock.insert(id, pieces),
            None => stock.remove(&id),
        };
        // Changes of a key within a merge, and over several.
        if step % 3 == 2 {
            kappa.flush();
        }
    }
    kappa.flush();
    let request = Request::new("delta", folder(&place, "stock"));
    let found = readers.read(Reader::Delta, &request).unwrap();
    let stock = stock.iter();
    let rows = stock.map(|(id, pieces)| json!({"ID": id, "PIECES": pieces}));
    assert_eq!(found.rows, sorted(rows.collect()));
    kappa.shut_down();
}
