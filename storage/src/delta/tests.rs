//! Units in tables of a local directory: what comes of one that is sent again, of NULL, of rivals.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray};
use deltalake_core::datafusion::prelude::SessionContext;
use deltalake_core::kernel::StructField;

use super::*;
use crate::files::{FileFormat, FileWriter};

/// A change: key, value, whether the row is gone.
type Change = (Option<i64>, Option<&'static str>, bool);

fn target(directory: &Path) -> FileTarget {
    let path = directory.join("a table, 100%");
    FileTarget::open(path.to_str().unwrap(), &BTreeMap::new()).unwrap()
}

fn spec(mode: Mode, mark: &str) -> Spec {
    let rows = rows(&[], false);
    Spec {
        sink: "S".into(),
        mark: mark.into(),
        schema: rows.schema(),
        keys: vec!["Key".into()],
        partition_by: Vec::new(),
        mode,
        schema_evolution: false,
        encoding: FileEncoding::of(FileFormat::Delta),
    }
}

fn delta(directory: &Path, mode: Mode, mark: &str) -> Delta {
    Delta::try_new(target(directory), spec(mode, mark)).unwrap()
}

fn rows(changes: &[Change], merged: bool) -> RecordBatch {
    let keys: Int64Array = changes.iter().map(|(key, ..)| *key).collect();
    let values: StringArray = changes.iter().map(|(_, value, _)| *value).collect();
    let mut columns: Vec<(&str, ArrayRef, bool)> = vec![
        ("Key", Arc::new(keys), true),
        ("VALUE", Arc::new(values), true),
    ];
    if merged {
        let gone: BooleanArray = changes.iter().map(|(.., gone)| Some(*gone)).collect();
        let numbers = Int64Array::from_iter_values(0..changes.len() as i64);
        columns.push(("ROWDELETED", Arc::new(gone), false));
        columns.push(("ROWSEQ", Arc::new(numbers), false));
    }
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

/// A file of a unit.
fn file(directory: &Path, name: &str, changes: &[Change], merged: bool) -> DataFile {
    let rows = rows(changes, merged);
    let path = directory.join(name);
    let encoding = FileEncoding::of(FileFormat::Delta);
    let mut writer = FileWriter::create(&encoding, &path, &rows.schema()).unwrap();
    writer.write(&rows).unwrap();
    DataFile {
        place: String::new(),
        bytes: writer.finish().unwrap(),
        path,
    }
}

async fn load(directory: &Path) -> DeltaTable {
    let mut table = DeltaTable::new(table::log_store(&target(directory)).unwrap());
    table.load().await.unwrap();
    table
}

/// The table's rows, sorted.
async fn read(directory: &Path) -> Vec<(Option<i64>, Option<String>)> {
    let provider = load(directory).await.table_provider().await.unwrap();
    let session = SessionContext::new();
    session.register_table("t", provider).unwrap();
    let query = r#"SELECT CAST("Key" AS BIGINT), CAST("VALUE" AS VARCHAR) FROM t"#;
    let batches = session.sql(query).await.unwrap().collect().await.unwrap();
    let mut rows = Vec::new();
    for batch in batches {
        let keys = batch
            .column(0)
            .as_any()
            .downcast_ref::<Int64Array>()
            .unwrap();
        let values = arrow::compute::cast(batch.column(1), &arrow::datatypes::DataType::Utf8);
        let values = values.unwrap();
        let values = values.as_any().downcast_ref::<StringArray>().unwrap();
        let values = values.iter().map(|value| value.map(str::to_owned));
        rows.extend(keys.iter().zip(values));
    }
    rows.sort();
    rows
}

fn row(key: i64, value: &str) -> (Option<i64>, Option<String>) {
    (Some(key), Some(value.to_owned()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unit_that_is_sent_again_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let files = [file(at, "1", &[(Some(1), Some("a"), false)], false)];
    let mut sink = delta(at, Mode::Append, "aaaaaaaa");
    assert_eq!(sink.open().await.unwrap(), 0);
    sink.commit(1, &files).await.unwrap();
    sink.commit(1, &files).await.unwrap();
    // By the next process, too, whether or not it has asked before.
    let mut next = delta(at, Mode::Append, "aaaaaaaa");
    next.commit(1, &files).await.unwrap();
    assert_eq!(next.open().await.unwrap(), 1);
    // What was put without a commit is put again under the same name.
    let count = || std::fs::read_dir(at.join("a table, 100%")).unwrap().count();
    let before = count();
    assert_eq!(read(at).await, [row(1, "a")]);
    let files = [file(at, "2", &[(Some(2), Some("b"), false)], false)];
    let table = load(at).await;
    next.put(2, &files, &table, &[]).await.unwrap();
    assert_eq!((count(), read(at).await.len()), (before + 1, 1));
    next.commit(2, &files).await.unwrap();
    assert_eq!(count(), before + 1);
    // Other contents have another name.
    let files = [file(at, "2", &[(Some(3), Some("c"), false)], false)];
    next.put(2, &files, &table, &[]).await.unwrap();
    assert_eq!(count(), before + 2);
    assert_eq!(read(at).await, [row(1, "a"), row(2, "b")]);
    // Another sink is another matter.
    let mut other = delta(at, Mode::Append, "bbbbbbbb");
    other.commit(1, &files).await.unwrap();
    assert_eq!(read(at).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_change_of_a_key_counts_and_null_is_a_key() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let mut sink = delta(at, Mode::Merge, "aaaaaaaa");
    let first = [
        (Some(1), Some("a"), false),
        (None, Some("null"), false),
        (Some(2), Some("b"), false),
        (Some(1), Some("c"), false),
        (Some(3), None, true),
    ];
    sink.commit(1, &[file(at, "1", &first, true)])
        .await
        .unwrap();
    let null = |value: &str| (None, Some(value.to_owned()));
    assert_eq!(read(at).await, [null("null"), row(1, "c"), row(2, "b")]);
    let second = [
        (None, Some("still null"), false),
        (Some(2), None, true),
        (Some(2), Some("again"), false),
        (Some(1), None, true),
    ];
    sink.commit(2, &[file(at, "2", &second, true)])
        .await
        .unwrap();
    assert_eq!(read(at).await, [null("still null"), row(2, "again")]);
    let third = [(None, None, true), (Some(9), None, true)];
    sink.commit(3, &[file(at, "3", &third, true)])
        .await
        .unwrap();
    assert_eq!(read(at).await, [row(2, "again")]);
    // Nothing to change, which is known as well.
    sink.commit(4, &[file(at, "4", &third[1..], true)])
        .await
        .unwrap();
    assert_eq!(delta(at, Mode::Merge, "aaaaaaaa").open().await.unwrap(), 4);
    assert_eq!(read(at).await, [row(2, "again")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rivals_lose_no_row_of_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let marks = ["aaaaaaaa", "bbbbbbbb", "cccccccc"];
    let mut tasks = Vec::new();
    for (rival, mark) in marks.into_iter().enumerate() {
        let at = at.to_owned();
        let mode = if rival == 0 {
            Mode::Append
        } else {
            Mode::Merge
        };
        tasks.push(tokio::spawn(async move {
            let mut sink = delta(&at, mode, mark);
            for unit in 1..=5_u64 {
                let key = 100 * rival as i64 + unit as i64;
                let change = (Some(key), Some("v"), false);
                let name = format!("{mark}-{unit}");
                let files = [file(&at, &name, &[change], mode == Mode::Merge)];
                // As the engine does: until it succeeds.
                while let Err(error) = sink.commit(unit, &files).await {
                    assert!(error.is_retryable(), "{error}");
                }
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let keys = (0..3).flat_map(|rival| (1..=5).map(move |unit| row(100 * rival + unit, "v")));
    assert_eq!(read(at).await, keys.collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_of_one_mark_commit_a_unit_once() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let [mut one, mut two] = [(), ()].map(|()| delta(at, Mode::Append, "aaaaaaaa"));
    one.open().await.unwrap();
    two.open().await.unwrap();
    for unit in 1..=4 {
        let change = [(Some(unit as i64), Some("v"), false)];
        let files = [file(at, &unit.to_string(), &change, false)];
        let (a, b) = tokio::join!(one.commit(unit, &files), two.commit(unit, &files));
        a.unwrap();
        b.unwrap();
    }
    assert_eq!(read(at).await, [1, 2, 3, 4].map(|key| row(key, "v")));
}

#[tokio::test(flavor = "multi_thread")]
async fn null_is_kept_out_where_the_table_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let columns = delta(at, Mode::Append, "aaaaaaaa").columns.fields;
    let columns = columns.into_iter().map(|field| {
        let required = field.name() == "Key";
        StructField::new(field.name().clone(), field.data_type().clone(), !required)
    });
    let table = DeltaTable::new(table::log_store(&target(at)).unwrap());
    table.create().with_columns(columns).await.unwrap();
    let mut sink = delta(at, Mode::Append, "aaaaaaaa");
    let files = [file(at, "1", &[(Some(1), None, false)], false)];
    sink.commit(1, &files).await.unwrap();
    let files = [file(
        at,
        "2",
        &[(Some(1), None, false), (None, None, false)],
        false,
    )];
    let error = sink.commit(2, &files).await.unwrap_err();
    assert!(!error.is_retryable());
    let words = "column \"Key\" is NOT NULL in the table, and 1 rows have NULL there";
    assert!(error.to_string().starts_with(words), "{error}");
    assert_eq!(read(at).await, [(Some(1), None)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn merged_rows_keep_the_rules_of_the_table() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let mut sink = delta(at, Mode::Merge, "aaaaaaaa");
    sink.open().await.unwrap();
    let table = load(at).await.add_constraint();
    table
        .with_constraint("short", "VALUE <> 'long'")
        .await
        .unwrap();
    let good = [(Some(1), Some("a"), false)];
    sink.commit(1, &[file(at, "1", &good, true)]).await.unwrap();
    let bad = [(Some(2), Some("long"), false)];
    let error = sink
        .commit(2, &[file(at, "2", &bad, true)])
        .await
        .unwrap_err();
    assert!(!error.is_retryable(), "{error}");
    assert!(
        error.to_string().contains("rows failed validation check"),
        "{error}"
    );
    assert_eq!(read(at).await, [row(1, "a")]);
    // Rows that are appended are not looked at, so they are kept out altogether.
    let mut other = delta(at, Mode::Append, "bbbbbbbb");
    let error = other.open().await.unwrap_err().to_string();
    assert!(
        error.contains("has a rule (delta.constraints.short)"),
        "{error}"
    );
}
