//! Bad records, bad statements about topics, and bad data directories: what is wrong is said, nothing
//! is lost, and nobody else is concerned.

use std::fs;
use std::time::Duration;

use arrow::array::{BinaryArray, Int64Array};
use kappa_engine::{Engine, Error};
use kappa_storage::record::NewRecords;
use kappa_tests::instance;
use kappa_tests::topic::Record;
use tokio::runtime::Runtime;

use crate::incarnation::{Incarnation, Table};

/// Two streams over topics of one partition with a copy of each. The copy of `good` has to go on
/// whatever is in `s`.
fn with_streams() -> (tempfile::TempDir, Incarnation) {
    let data_dir = instance::data_dir().unwrap();
    let kappa = Incarnation::open(instance::config(data_dir.path(), &[]));
    for (name, columns) in [
        ("s", "id INT KEY, v INT, t STRING"),
        ("good", "id INT KEY, v INT"),
    ] {
        kappa.execute(&format!(
            "CREATE STREAM {name} ({columns}) \
             WITH (KAFKA_TOPIC = '{name}', VALUE_FORMAT = 'JSON', PARTITIONS = 1)"
        ));
        kappa.execute(&format!(
            "CREATE STREAM {name}_copy AS SELECT * FROM {name}"
        ));
    }
    (data_dir, kappa)
}

fn value(kappa: &Incarnation, id: i32, value: impl Into<Vec<u8>>, timestamp: i64) {
    let record = Record {
        key: Some(id.to_be_bytes().to_vec()),
        value: Some(value.into()),
        timestamp,
        headers: Vec::new(),
    };
    kappa.append("s", 0, &record);
}

/// Offset and reason of each bad record of the query that copies `s`.
fn bad(kappa: &Incarnation) -> Table {
    kappa.ask("SELECT `OFFSET`, reason FROM KAPPA_BAD_RECORDS WHERE query LIKE 'CSAS_S_COPY%'")
}

/// Checks that `good` is copied as ever, and that SHOW QUERIES has the number of bad records.
fn others_go_on(kappa: &Incarnation, bad: usize) {
    kappa.send("good", 1, 1, Some(r#"{"V":1}"#.to_owned()), 0);
    kappa.flush();
    assert_eq!(kappa.ask("SELECT id, v FROM good_copy"), [["1", "1"]]);
    let queries = kappa.engine.queries();
    for query in queries {
        assert_eq!(
            query.state.name(),
            "RUNNING",
            "{}: {:?}",
            query.id,
            query.error
        );
        let expected = if query.id.starts_with("CSAS_S_COPY") {
            bad as u64
        } else {
            0
        };
        assert_eq!(query.bad, expected, "{}", query.id);
    }
}

#[test]
fn a_bad_record_is_kept_and_the_rows_beside_it_go_on() {
    let (_data_dir, kappa) = with_streams();
    let deep = format!(
        "{{\"V\":1,\"T\":{}1{}}}",
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    let big = format!("{{\"V\":1,\"T\":\"{}", "x".repeat(10 << 20));
    let cases: [(&str, &[u8], &str); 9] = [
        ("malformed", b"{\"V\":1,,}", "JSON"),
        ("truncated", b"{\"V\":1,\"T\":\"a", "JSON"),
        ("not JSON", b"hello", "JSON"),
        ("empty", b"", "JSON"),
        ("not UTF-8", b"{\"V\":1,\"T\":\"\xff\"}", "UTF-8"),
        ("wrongly typed", b"{\"V\":\"soon\",\"T\":\"a\"}", "V"),
        ("out of range", b"{\"V\":3000000000,\"T\":\"a\"}", "V"),
        ("deep", deep.as_bytes(), "deep"),
        ("big and truncated", big.as_bytes(), "JSON"),
    ];
    value(&kappa, -1, r#"{"V":0,"T":"first"}"#, 0);
    for (number, (_, bytes, _)) in cases.iter().enumerate() {
        value(&kappa, number as i32, *bytes, 0);
        value(&kappa, 100 + number as i32, r#"{"V":7,"T":"beside"}"#, 0);
    }
    kappa.flush();
    let rows = kappa.ask("SELECT COUNT(*), SUM(v) FROM s_copy");
    assert_eq!(rows, [["10", "63"]]);
    let bad = bad(&kappa);
    for (number, (name, _, reason)) in cases.iter().enumerate() {
        let offset = (1 + 2 * number).to_string();
        let found: Vec<_> = bad.iter().filter(|row| row[0] == offset).collect();
        assert_eq!(found.len(), 1, "{name}: {bad:?}");
        assert!(found[0][1].contains(reason), "{name}: {}", found[0][1]);
        assert!(found[0][1].len() < 500, "{name}: a reason, not a payload");
    }
    assert_eq!(bad.len(), cases.len());
    others_go_on(&kappa, cases.len());
    kappa.shut_down();
}

#[test]
fn a_record_of_10_mb_and_one_of_deep_nesting_are_rows_where_they_are_good() {
    let (_data_dir, kappa) = with_streams();
    value(
        &kappa,
        1,
        format!("{{\"V\":1,\"T\":\"{}\"}}", "x".repeat(10 << 20)),
        0,
    );
    // What nobody reads may be as deep as it likes, within reason.
    let deep = format!("{{\"V\":2,\"OTHER\":{}{}}}", "[".repeat(50), "]".repeat(50));
    value(&kappa, 2, deep, 0);
    kappa.flush();
    let rows = kappa.ask("SELECT v, LENGTH(t) FROM s_copy");
    assert_eq!(
        rows,
        [
            vec!["1".to_owned(), (10 << 20).to_string()],
            vec!["2".into(), "NULL".into()]
        ]
    );
    others_go_on(&kappa, 0);
    kappa.shut_down();
}

#[test]
fn keys_can_be_bad_too() {
    let (_data_dir, kappa) = with_streams();
    let record = Record {
        key: Some(b"abc".to_vec()),
        value: Some(b"{\"V\":1}".to_vec()),
        ..Record::default()
    };
    kappa.append("s", 0, &record);
    let nothing = Record::default();
    kappa.append("s", 0, &nothing);
    kappa.flush();
    let bad = bad(&kappa);
    assert_eq!(bad.len(), 1, "{bad:?}");
    assert!(
        bad[0][1].contains("ID") && bad[0][1].contains("4 bytes, found 3"),
        "{bad:?}"
    );
    others_go_on(&kappa, 1);
    kappa.shut_down();
}

#[test]
fn impossible_timestamps_are_bad() {
    let (_data_dir, kappa) = with_streams();
    kappa.execute("DROP STREAM s_copy");
    kappa.execute("DROP STREAM s");
    kappa.execute(
        "CREATE STREAM s (id INT KEY, v INT, at BIGINT) \
         WITH (KAFKA_TOPIC = 's', VALUE_FORMAT = 'JSON', TIMESTAMP = 'at')",
    );
    kappa.execute("CREATE STREAM s_copy AS SELECT * FROM s");
    kappa.execute(
        "CREATE TABLE counts AS SELECT id, COUNT(*) AS n FROM s \
         WINDOW TUMBLING (SIZE 10 SECONDS, GRACE PERIOD 10 SECONDS) GROUP BY id",
    );
    for at in [
        "0",
        "-1",
        "9223372036854775807",
        "1700000000000000",
        "null",
        "253402300799999",
    ] {
        value(&kappa, 1, format!("{{\"V\":1,\"AT\":{at}}}"), 0);
    }
    kappa.flush();
    let bad = bad(&kappa);
    let reasons: Vec<&str> = bad.iter().map(|row| row[1].as_str()).collect();
    assert_eq!(reasons.len(), 4, "{reasons:?}");
    assert!(reasons[0].contains("negative timestamp -1"), "{reasons:?}");
    assert!(
        reasons[1].contains("9223372036854775807 is beyond the year 9999"),
        "{reasons:?}"
    );
    assert!(
        reasons[2].contains("not micro- or nanoseconds"),
        "{reasons:?}"
    );
    assert!(reasons[3].contains("AT is null"), "{reasons:?}");
    let rows = kappa.ask("SELECT WINDOWSTART, n FROM counts");
    assert_eq!(rows, [["0", "1"], ["253402300790000", "1"]]);
    kappa.shut_down();
}

#[test]
fn topics_that_do_not_fit_are_named() {
    let data_dir = instance::data_dir().unwrap();
    let kappa = Incarnation::open(instance::config(data_dir.path(), &[]));
    kappa.execute(
        "CREATE STREAM two (id INT) WITH (KAFKA_TOPIC = 'two', VALUE_FORMAT = 'JSON', PARTITIONS = 2)",
    );
    let other = kappa.refused(
        "CREATE STREAM s (id INT) WITH (KAFKA_TOPIC = 'two', VALUE_FORMAT = 'JSON', PARTITIONS = 3)",
    );
    assert!(
        other.contains("two") && other.contains('2') && other.contains('3'),
        "{other}"
    );
    assert!(other.contains('^'), "{other}");
    kappa.shut_down();
}

fn open_error(data_dir: &std::path::Path) -> String {
    let config = instance::config(data_dir, &[]);
    match Runtime::new().unwrap().block_on(Engine::open(config)) {
        Ok(_) => panic!("it opened"),
        Err(error) => {
            assert!(!matches!(error, Error::Internal(_)), "{error}");
            error.render()
        }
    }
}

#[test]
fn a_data_directory_in_use_is_named() {
    let data_dir = instance::data_dir().unwrap();
    let kappa = Incarnation::open(instance::config(data_dir.path(), &[]));
    kappa.execute(
        "CREATE STREAM s (id INT) WITH (KAFKA_TOPIC = 's', VALUE_FORMAT = 'JSON', PARTITIONS = 1)",
    );
    let error = open_error(data_dir.path());
    assert!(
        error.contains(&data_dir.path().display().to_string()),
        "{error}"
    );
    assert!(error.contains("in use"), "{error}");
    assert_eq!(kappa.ask("SELECT COUNT(*) FROM s"), [["0"]]);
    kappa.shut_down();
}

#[test]
fn a_damaged_data_directory_is_named_and_left_alone() {
    let data_dir = instance::data_dir().unwrap();
    let kappa = Incarnation::open(instance::config(data_dir.path(), &[]));
    kappa.execute(
        "CREATE STREAM s (id INT) WITH (KAFKA_TOPIC = 's', VALUE_FORMAT = 'JSON', PARTITIONS = 1)",
    );
    kappa.shut_down();
    let current = walk(data_dir.path())
        .into_iter()
        .find(|path| path.file_name().is_some_and(|name| name == "CURRENT"))
        .unwrap();
    let whole = fs::read(&current).unwrap();
    fs::write(&current, b"garbage").unwrap();
    let error = open_error(data_dir.path());
    assert!(
        error.contains(&data_dir.path().display().to_string()),
        "{error}"
    );
    fs::write(&current, whole).unwrap();
    let kappa = Incarnation::open(instance::config(data_dir.path(), &[]));
    assert_eq!(kappa.ask("SELECT COUNT(*) FROM s"), [["0"]]);
    kappa.shut_down();
}

fn walk(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(walk(&path)),
            false => found.push(path),
        }
    }
    found
}

#[test]
fn a_step_that_fails_on_one_row_goes_on_without_it() {
    let (_data_dir, kappa) = with_streams();
    kappa.execute("CREATE STREAM casts AS SELECT id, SPLIT_PART(t, ',', v) AS a FROM s");
    for id in 0..20 {
        // There is no part 0.
        let v = if id == 13 { 0 } else { 1 };
        value(&kappa, id, format!("{{\"V\":{v},\"T\":\"a\"}}"), 0);
    }
    kappa.flush();
    kappa.wait(Duration::from_millis(10));
    let rows = kappa.ask("SELECT COUNT(*) FROM casts");
    let bad = kappa.ask("SELECT COUNT(*) FROM KAPPA_BAD_RECORDS WHERE query LIKE 'CSAS_CASTS%'");
    assert_eq!((rows[0][0].as_str(), bad[0][0].as_str()), ("19", "1"));
    kappa.execute("DROP STREAM casts");
    others_go_on(&kappa, 0);
    kappa.shut_down();
}

/// Three partitions with a backlog, in which workers read ahead; one of them has more bad records in a
/// row than are read at a time.
#[test]
fn a_backlog_with_thousands_of_bad_records_comes_in_order() {
    const RECORDS: i64 = 40_000;
    const BAD: std::ops::Range<i64> = 5_000..30_000;
    for workers in ["1", "4"] {
        let data_dir = instance::data_dir().unwrap();
        let properties = [
            ("query.workers", workers),
            ("auto.offset.reset", "earliest"),
        ];
        let kappa = Incarnation::open(instance::config(data_dir.path(), &properties));
        kappa.execute(
            "CREATE STREAM s (p INT, n INT) \
             WITH (KAFKA_TOPIC = 's', VALUE_FORMAT = 'JSON', PARTITIONS = 3)",
        );
        for partition in 0..3 {
            let value = |n| match partition == 1 && BAD.contains(&n) {
                true => "{".to_owned(),
                false => format!("{{\"P\":{partition},\"N\":{n}}}"),
            };
            let records = NewRecords {
                partition,
                timestamps: Int64Array::from_iter_values(0..RECORDS),
                keys: BinaryArray::new_null(RECORDS as usize),
                values: BinaryArray::from_iter_values((0..RECORDS).map(value)),
                headers: None,
            };
            kappa
                .block_on(kappa.engine.topics().append("s", &[records]))
                .unwrap();
        }
        kappa.execute("CREATE STREAM o WITH (PARTITIONS = 1) AS SELECT * FROM s");
        kappa.flush();
        let back = "SELECT COUNT(*) FROM (SELECT n, LAG(n) OVER (ORDER BY ROWOFFSET) AS before \
                    FROM o) AS t WHERE n < before";
        assert_eq!(kappa.ask(back), [["0"]], "{workers} workers");
        let found = kappa.ask("SELECT n, p FROM o");
        let rows = (0..RECORDS).flat_map(|n| (0..3).map(move |p| (n, p)));
        let rows = rows.filter(|(n, p)| *p != 1 || !BAD.contains(n));
        let mut rows: Table = rows
            .map(|(n, p)| vec![n.to_string(), p.to_string()])
            .collect();
        rows.sort_unstable();
        assert!(found == rows, "{} of {} rows", found.len(), rows.len());
        let bad = "SELECT COUNT(*), COUNT(DISTINCT `OFFSET`), MIN(`OFFSET`), MAX(`OFFSET`) \
                   FROM KAPPA_BAD_RECORDS";
        assert_eq!(kappa.ask(bad), [["25000", "25000", "5000", "29999"]]);
        kappa.shut_down();
    }
}
