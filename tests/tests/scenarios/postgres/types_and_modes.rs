//! The committer against a real Postgres.
use std::sync::Arc;

use datafusion::arrow::array::*;
use datafusion::arrow::datatypes::{DataType, Field, TimeUnit};

use kappa_storage::Error;
use kappa_storage::postgres::{Committed, PostgresOptions};

use super::*;

fn ids(ids: &[i64]) -> RecordBatch {
    batch(vec![("ID", Arc::new(Int64Array::from(ids.to_vec())))])
}

fn changes(rows: &[(i64, Option<&str>, bool)]) -> RecordBatch {
    let ids: Int64Array = rows.iter().map(|row| Some(row.0)).collect();
    let names: StringArray = rows.iter().map(|row| row.1).collect();
    let deleted: BooleanArray = rows.iter().map(|row| Some(row.2)).collect();
    let seq: Int64Array = (0..rows.len() as i64).map(Some).collect();
    batch(vec![
        ("ID", Arc::new(ids)),
        ("NAME", Arc::new(names)),
        ("ROWDELETED", Arc::new(deleted)),
        ("ROWSEQ", Arc::new(seq)),
    ])
}

#[tokio::test]
async fn every_type_comes_back_as_it_went() {
    let Some(admin) = schema("types").await else {
        return;
    };
    let mut list = ListBuilder::new(Int64Builder::new());
    list.append_value([Some(1), None]);
    list.append_null();
    list.append_value([]);
    let mut map = MapBuilder::new(None, StringBuilder::new(), Int64Builder::new());
    map.keys().append_value("a\"b");
    map.values().append_value(7);
    map.append(true).unwrap();
    map.append(false).unwrap();
    map.append(true).unwrap();
    let fields = vec![
        (
            Arc::new(Field::new("x", DataType::Int64, true)),
            Arc::new(Int64Array::from(vec![Some(1), Some(1), None])) as ArrayRef,
        ),
        (
            Arc::new(Field::new("y", DataType::Utf8, true)),
            Arc::new(StringArray::from(vec![Some("é\n"), None, None])),
        ),
    ];
    let nested = StructArray::from(fields);
    let max38 = 99_999_999_999_999_999_999_999_999_999_999_999_999_i128;
    let decimal = |values: Vec<Option<i128>>, precision, scale| -> ArrayRef {
        Arc::new(
            Decimal128Array::from(values)
                .with_precision_and_scale(precision, scale)
                .unwrap(),
        )
    };
    let columns: Vec<(&str, ArrayRef, [&str; 3])> = vec![
        (
            "S",
            Arc::new(StringArray::from(vec![Some("añ€😀"), None, Some("")])),
            ["añ€😀", "∅", ""],
        ),
        (
            "LS",
            Arc::new(LargeStringArray::from(vec![Some("x"), None, Some("\t\\")])),
            ["x", "∅", "\t\\"],
        ),
        (
            "SV",
            Arc::new(StringViewArray::from(vec![
                Some("a string of more than twelve"),
                None,
                Some("s"),
            ])),
            ["a string of more than twelve", "∅", "s"],
        ),
        (
            "B",
            Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)])),
            ["t", "∅", "f"],
        ),
        (
            "I8",
            Arc::new(Int8Array::from(vec![Some(i8::MIN), None, Some(i8::MAX)])),
            ["-128", "∅", "127"],
        ),
        (
            "I16",
            Arc::new(Int16Array::from(vec![Some(i16::MIN), None, Some(i16::MAX)])),
            ["-32768", "∅", "32767"],
        ),
        (
            "I32",
            Arc::new(Int32Array::from(vec![Some(i32::MIN), None, Some(i32::MAX)])),
            ["-2147483648", "∅", "2147483647"],
        ),
        (
            "I64",
            Arc::new(Int64Array::from(vec![Some(i64::MIN), None, Some(i64::MAX)])),
            ["-9223372036854775808", "∅", "9223372036854775807"],
        ),
        (
            "F32",
            Arc::new(Float32Array::from(vec![Some(f32::NAN), None, Some(-1.5)])),
            ["NaN", "∅", "-1.5"],
        ),
        (
            "F64",
            Arc::new(Float64Array::from(vec![
                Some(f64::NEG_INFINITY),
                None,
                Some(f64::MIN_POSITIVE),
            ])),
            ["-Infinity", "∅", "2.2250738585072014e-308"],
        ),
        (
            "D2",
            decimal(vec![Some(-12_345), None, Some(5)], 10, 2),
            ["-123.45", "∅", "0.05"],
        ),
        (
            "D0",
            decimal(vec![Some(-max38), None, Some(max38)], 38, 0),
            [
                "-99999999999999999999999999999999999999",
                "∅",
                "99999999999999999999999999999999999999",
            ],
        ),
        (
            "D38",
            decimal(vec![Some(-max38), None, Some(1)], 38, 38),
            [
                "-0.99999999999999999999999999999999999999",
                "∅",
                "0.00000000000000000000000000000000000001",
            ],
        ),
        (
            "DN",
            decimal(vec![Some(-12), None, Some(0)], 5, -3),
            ["-12000", "∅", "0"],
        ),
        (
            "DT",
            Arc::new(Date32Array::from(vec![Some(0), None, Some(-719_162)])),
            ["1970-01-01", "∅", "0001-01-01"],
        ),
        (
            "T0",
            Arc::new(Time32SecondArray::from(vec![Some(86_399), None, Some(0)])),
            ["23:59:59", "∅", "00:00:00"],
        ),
        (
            "T3",
            Arc::new(Time32MillisecondArray::from(vec![Some(1), None, Some(0)])),
            ["00:00:00.001", "∅", "00:00:00"],
        ),
        (
            "T6",
            Arc::new(Time64MicrosecondArray::from(vec![
                Some(86_399_999_999),
                None,
                Some(0),
            ])),
            ["23:59:59.999999", "∅", "00:00:00"],
        ),
        (
            "T9",
            Arc::new(Time64NanosecondArray::from(vec![
                Some(1_999),
                None,
                Some(0),
            ])),
            ["00:00:00.000001", "∅", "00:00:00"],
        ),
        (
            "TS3",
            Arc::new(TimestampMillisecondArray::from(vec![
                Some(1_700_000_000_123),
                None,
                Some(-1),
            ])),
            ["2023-11-14 22:13:20.123", "∅", "1969-12-31 23:59:59.999"],
        ),
        (
            "TS6",
            Arc::new(
                TimestampMicrosecondArray::from(vec![Some(1), None, Some(0)]).with_timezone("UTC"),
            ),
            [
                "1970-01-01 00:00:00.000001+00",
                "∅",
                "1970-01-01 00:00:00+00",
            ],
        ),
        (
            "TS9",
            Arc::new(TimestampNanosecondArray::from(vec![
                Some(-1),
                None,
                Some(1_000),
            ])),
            [
                "1969-12-31 23:59:59.999999",
                "∅",
                "1970-01-01 00:00:00.000001",
            ],
        ),
        (
            "BY",
            Arc::new(BinaryArray::from(vec![
                Some(&b"\0\xff"[..]),
                None,
                Some(b""),
            ])),
            ["\\x00ff", "∅", "\\x"],
        ),
        ("L", Arc::new(list.finish()), ["[1, null]", "∅", "[]"]),
        ("M", Arc::new(map.finish()), ["{\"a\\\"b\": 7}", "∅", "{}"]),
        (
            "ST",
            Arc::new(nested),
            [
                "{\"x\": 1, \"y\": \"é\\n\"}",
                "{\"x\": 1, \"y\": null}",
                "{\"x\": null, \"y\": null}",
            ],
        ),
    ];
    let fields: Vec<_> = columns
        .iter()
        .map(|column| (column.0, column.1.data_type().clone()))
        .collect();
    let target = target(&fields, &[]);
    let mut postgres = sink(&options(&[("TABLE", "types.all_of_them")]), &target).unwrap();
    assert_eq!(postgres.open().await.unwrap(), None);
    let expected: Vec<_> = columns.iter().map(|column| column.2).collect();
    let rows_in = batch(
        columns
            .into_iter()
            .map(|column| (column.0, column.1))
            .collect(),
    );
    // More than one piece, so that pieces are joined.
    let many: Vec<_> = std::iter::repeat_n(rows_in.clone(), 500).collect();
    postgres.commit(1, &[rows_in]).await.unwrap();
    let found = rows(
        &admin,
        "SET timezone = 'UTC'; SELECT * FROM types.all_of_them",
    )
    .await;
    for row in 0..3 {
        let cells: Vec<_> = expected.iter().map(|column| column[row]).collect();
        assert_eq!(found[row], cells.join("|"));
    }
    assert_eq!(
        postgres.commit(2, &many).await.unwrap(),
        Committed { rows: 1500 }
    );
    let sql = "SELECT count(*), count(DISTINCT t::text) FROM types.all_of_them t";
    assert_eq!(rows(&admin, sql).await, ["1503|3"]);
}

#[tokio::test]
async fn numbers_fit_into_wider_columns() {
    let Some(admin) = schema("wider").await else {
        return;
    };
    admin.batch_execute("CREATE DOMAIN wider.price AS numeric; CREATE TABLE wider.t (a bigint, b numeric, c float8, d wider.price, e timestamptz, f json, g varchar(5), h jsonb)").await.unwrap();
    let target = target(
        &[
            ("A", DataType::Int32),
            ("B", DataType::Int64),
            ("C", DataType::Float32),
            ("D", DataType::Decimal128(9, 3)),
            ("E", DataType::Timestamp(TimeUnit::Millisecond, None)),
            ("F", DataType::Utf8),
            ("G", DataType::Utf8),
            ("H", DataType::Utf8),
        ],
        &[],
    );
    let mut postgres = sink(&options(&[("TABLE", "wider.t")]), &target).unwrap();
    postgres.open().await.unwrap();
    let row = batch(vec![
        ("A", Arc::new(Int32Array::from(vec![-5]))),
        ("B", Arc::new(Int64Array::from(vec![i64::MIN]))),
        ("C", Arc::new(Float32Array::from(vec![0.25]))),
        (
            "D",
            Arc::new(
                Decimal128Array::from(vec![-1_234_567])
                    .with_precision_and_scale(9, 3)
                    .unwrap(),
            ),
        ),
        ("E", Arc::new(TimestampMillisecondArray::from(vec![0]))),
        ("F", Arc::new(StringArray::from(vec!["{\"a\":1}"]))),
        ("G", Arc::new(StringArray::from(vec!["héé"]))),
        ("H", Arc::new(StringArray::from(vec!["[1,2]"]))),
    ]);
    postgres.commit(1, &[row]).await.unwrap();
    let sql = "SET timezone='UTC'; SELECT * FROM wider.t";
    assert_eq!(
        rows(&admin, sql).await,
        ["-5|-9223372036854775808|0.25|-1234.567|1970-01-01 00:00:00+00|{\"a\":1}|héé|[1, 2]"]
    );
}

#[tokio::test]
async fn decimals_of_all_sizes_and_scales() {
    let Some(admin) = schema("decimals").await else {
        return;
    };
    let mut seed = 7_u64;
    let mut random = move || {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        seed >> 11
    };
    let max38 = 10_i128.pow(38);
    for scale in [0_i8, 1, 2, 3, 4, 5, 9, 17, 18, 19, 37, 38] {
        let values: Vec<i128> = (0..200)
            .map(|_| {
                let wide = (i128::from(random()) << 75)
                    ^ (i128::from(random()) << 30)
                    ^ i128::from(random());
                let cut = 10_i128.pow((random() % 38) as u32 + 1);
                let zeros = 10_i128.pow((random() % 5) as u32);
                let value = (wide % cut) / zeros * zeros;
                if random() % 2 == 0 { -value } else { value }
            })
            .filter(|value| value.abs() < max38)
            .collect();
        let array = Decimal128Array::from(values)
            .with_precision_and_scale(38, scale)
            .unwrap();
        let expected: Vec<_> = (0..array.len())
            .map(|row| array.value_as_string(row))
            .collect();
        let of = array.data_type().clone();
        let table = format!("decimals.s{scale}");
        let id: Int64Array = (0..array.len() as i64).map(Some).collect();
        let target = target(&[("ID", DataType::Int64), ("D", of)], &[]);
        let mut postgres = sink(&options(&[("TABLE", &table)]), &target).unwrap();
        // One mark for all: each table has its own epoch beside it only if its schema differs.
        admin
            .batch_execute("DROP TABLE IF EXISTS decimals.kappa_sinks")
            .await
            .unwrap();
        postgres.open().await.unwrap();
        postgres
            .commit(
                1,
                &[batch(vec![("ID", Arc::new(id)), ("D", Arc::new(array))])],
            )
            .await
            .unwrap();
        let found = rows(&admin, &format!("SELECT d FROM {table} ORDER BY id")).await;
        assert_eq!(found, expected);
        // What was sent is the very number, not one that prints alike.
        let sql = format!(
            "SELECT count(*) FROM {table} WHERE d <> d::text::numeric OR d::text::numeric <> d"
        );
        assert_eq!(rows(&admin, &sql).await, ["0"]);
    }
}

#[tokio::test]
async fn appends_each_unit_once() {
    let Some(admin) = schema("appends").await else {
        return;
    };
    let target = target(&[("ID", DataType::Int64)], &[]);
    let settings = options(&[("TABLE", "appends.t")]);
    let mut postgres = sink(&settings, &target).unwrap();
    assert_eq!(postgres.open().await.unwrap(), None);
    assert_eq!(
        postgres
            .commit(3, &[ids(&[1, 2]), ids(&[]), ids(&[3])])
            .await
            .unwrap()
            .rows,
        3
    );
    assert_eq!(
        postgres.commit(3, &[ids(&[1, 2, 3])]).await.unwrap().rows,
        0
    );
    assert_eq!(postgres.commit(4, &[]).await.unwrap().rows, 0);
    // Another process after a crash.
    let mut again = sink(&settings, &target).unwrap();
    assert_eq!(again.open().await.unwrap(), Some(4));
    assert_eq!(again.last_committed(), Some(4));
    assert_eq!(again.commit(4, &[ids(&[9])]).await.unwrap().rows, 0);
    again.commit(9, &[ids(&[4])]).await.unwrap();
    assert_eq!(
        rows(&admin, "SELECT id FROM appends.t ORDER BY 1").await,
        ["1", "2", "3", "4"]
    );
    assert_eq!(
        rows(&admin, "SELECT * FROM appends.kappa_sinks").await,
        ["q17/ORDERS_SINK|9"]
    );
    // The first one is now the second to write, and must not.
    let error = postgres.commit(10, &[ids(&[5])]).await.unwrap_err();
    assert!(
        !error.is_retryable() && error.to_string().contains("epoch 9"),
        "{error}"
    );
    assert_eq!(rows(&admin, "SELECT count(*) FROM appends.t").await, ["4"]);
    assert_eq!(postgres.open().await.unwrap(), Some(9));
    postgres.commit(10, &[ids(&[5])]).await.unwrap();
}

#[tokio::test]
async fn upserts_the_last_change_of_each_key() {
    let Some(admin) = schema("upserts").await else {
        return;
    };
    let target = target(
        &[("ID", DataType::Int64), ("NAME", DataType::Utf8)],
        &["ID"],
    );
    let settings = options(&[("TABLE", "upserts.t")]);
    let mut postgres = sink(&settings, &target).unwrap();
    postgres.open().await.unwrap();
    let all = "SELECT * FROM upserts.t ORDER BY id";
    let first = changes(&[
        (1, Some("a"), false),
        (2, Some("b"), false),
        (3, None, false),
        (1, Some("c"), false),
    ]);
    assert_eq!(
        postgres
            .commit(1, std::slice::from_ref(&first))
            .await
            .unwrap()
            .rows,
        4
    );
    assert_eq!(rows(&admin, all).await, ["1|c", "2|b", "3|∅"]);
    postgres.commit(1, &[first]).await.unwrap();
    // Deleted and back, updated and deleted, deleted without being there.
    let second = changes(&[
        (1, None, true),
        (1, Some("d"), false),
        (2, Some("e"), false),
        (2, None, true),
        (7, None, true),
        (8, Some("f"), false),
        (8, None, true),
    ]);
    postgres.commit(2, &[second]).await.unwrap();
    assert_eq!(rows(&admin, all).await, ["1|d", "3|∅"]);
    // A table made beforehand, whose other columns a deletion cannot fill.
    admin.batch_execute("CREATE TABLE upserts.made (id bigint, name text NOT NULL, more int DEFAULT 7, PRIMARY KEY (id)); DROP TABLE upserts.kappa_sinks").await.unwrap();
    let mut postgres = sink(&options(&[("TABLE", "upserts.made")]), &target).unwrap();
    postgres.open().await.unwrap();
    postgres
        .commit(1, &[changes(&[(1, Some("a"), false), (2, None, true)])])
        .await
        .unwrap();
    let error = postgres
        .commit(2, &[changes(&[(3, None, false)])])
        .await
        .unwrap_err();
    assert!(
        !error.is_retryable() && error.to_string().contains("23502"),
        "{error}"
    );
    postgres
        .commit(2, &[changes(&[(1, None, true), (4, Some("x"), false)])])
        .await
        .unwrap();
    assert_eq!(rows(&admin, "SELECT * FROM upserts.made").await, ["4|x|7"]);
}

#[tokio::test]
async fn a_table_can_be_appended_and_can_be_all_key() {
    let Some(admin) = schema("modes").await else {
        return;
    };
    let keyed = target(
        &[("ID", DataType::Int64), ("NAME", DataType::Utf8)],
        &["ID"],
    );
    let mut postgres = sink(
        &options(&[("TABLE", "modes.log"), ("MODE", "append")]),
        &keyed,
    )
    .unwrap();
    postgres.open().await.unwrap();
    postgres
        .commit(1, &[changes(&[(1, Some("a"), false), (1, None, true)])])
        .await
        .unwrap();
    assert_eq!(
        rows(&admin, "SELECT * FROM modes.log ORDER BY rowseq").await,
        ["1|a|f|0", "1|∅|t|1"]
    );
    admin
        .batch_execute("DROP TABLE modes.kappa_sinks")
        .await
        .unwrap();

    let all_key = target(
        &[("ID", DataType::Int64), ("NAME", DataType::Utf8)],
        &["NAME", "ID"],
    );
    let settings = options(&[
        ("TABLE", "modes.\"Odd \"\"name\""),
        ("KEEP_COLUMN_CASE", "true"),
    ]);
    let mut postgres = sink(&settings, &all_key).unwrap();
    postgres.open().await.unwrap();
    let unit = changes(&[
        (1, Some("a"), false),
        (2, Some("b"), false),
        (2, Some("b"), true),
    ]);
    postgres.commit(1, &[unit]).await.unwrap();
    assert_eq!(
        rows(
            &admin,
            "SELECT \"ID\", \"NAME\" FROM modes.\"Odd \"\"name\""
        )
        .await,
        ["1|a"]
    );
    let stream = target(&[("ID", DataType::Int64)], &[]);
    assert!(matches!(
        sink(&options(&[("MODE", "upsert")]), &stream),
        Err(Error::User(_))
    ));
}

#[tokio::test]
async fn says_what_is_wrong_with_the_table() {
    let Some(admin) = schema("wrong").await else {
        return;
    };
    let target = target(
        &[("ID", DataType::Int64), ("NAME", DataType::Utf8)],
        &["ID"],
    );
    let open = async |sql: &str, more: &[(&str, &str)]| {
        let sql = format!("DROP TABLE IF EXISTS wrong.t; {sql}");
        admin.batch_execute(&sql).await.unwrap();
        let mut all = vec![("TABLE", "wrong.t")];
        all.extend(more);
        sink(&options(&all), &target).unwrap().open().await
    };
    let said = |result: Result<Option<u64>, Error>, parts: &[&str]| {
        let error = result.unwrap_err();
        assert!(matches!(error, Error::User(_)), "{error:?}");
        for part in parts {
            assert!(error.to_string().contains(part), "{error}");
        }
    };
    said(
        open("", &[("CREATE_TABLE", "false")]).await,
        &["does not exist", "\"wrong\".\"t\""],
    );
    said(
        open("CREATE TABLE wrong.t (id int PRIMARY KEY, name text)", &[]).await,
        &["\"id\"", "integer", "Int64", "bigint", "CAST"],
    );
    said(
        open(
            "CREATE TABLE wrong.t (id bigint PRIMARY KEY, name bytea)",
            &[],
        )
        .await,
        &["\"name\"", "bytea", "Utf8"],
    );
    said(
        open("CREATE TABLE wrong.t (id bigint PRIMARY KEY)", &[]).await,
        &["no column \"name\"", "SCHEMA_EVOLUTION"],
    );
    said(
        open(
            "CREATE TABLE wrong.t (id bigint, name text, UNIQUE (id, name))",
            &[],
        )
        .await,
        &["unique index", "(\"id\")"],
    );
    said(
        open(
            "CREATE TABLE wrong.t (id bigint PRIMARY KEY, name text, x int NOT NULL)",
            &[],
        )
        .await,
        &["\"x\"", "DEFAULT"],
    );
    let unique =
        "CREATE TABLE wrong.t (x int NOT NULL DEFAULT 1, name text, id bigint NOT NULL UNIQUE)";
    assert_eq!(open(unique, &[]).await.unwrap(), None);
    // A column is added, and filled.
    let bare = "CREATE TABLE wrong.t (id bigint PRIMARY KEY); INSERT INTO wrong.t VALUES (5)";
    admin
        .batch_execute(&format!("DROP TABLE wrong.t; {bare}"))
        .await
        .unwrap();
    let evolving = options(&[("TABLE", "wrong.t"), ("SCHEMA_EVOLUTION", "true")]);
    let mut postgres = sink(&evolving, &target).unwrap();
    postgres.open().await.unwrap();
    postgres
        .commit(1, &[changes(&[(6, Some("x"), false)])])
        .await
        .unwrap();
    assert_eq!(
        rows(&admin, "SELECT * FROM wrong.t ORDER BY id").await,
        ["5|∅", "6|x"]
    );
}

#[tokio::test]
async fn tells_errors_that_pass_from_those_that_stay() {
    let Some(admin) = schema("errors").await else {
        return;
    };
    let target = target(&[("ID", DataType::Int64)], &[]);
    let open = async |more: &[(&str, &str)]| {
        let mut all = vec![("TABLE", "errors.t")];
        all.extend(more);
        sink(&options(&all), &target)
            .unwrap()
            .open()
            .await
            .unwrap_err()
    };
    for (more, part) in [
        (&[("PASSWORD", "s3cret-and-wrong")][..], "28P01"),
        (&[("DATABASE", "nowhere")], "3D000"),
        (&[("TABLE", "noschema.t")], "3F000"),
        (&[("SSLMODE", "verify-full")], "certificate verify failed"),
    ] {
        let error = open(more).await;
        assert!(!error.is_retryable(), "{error}");
        assert!(error.to_string().contains(part), "{error}");
        assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
        assert!(!format!("{error:?}").contains("kappa-secret"), "{error:?}");
    }
    let closed = open(&[("PORT", "1")]).await;
    assert!(closed.is_retryable(), "{closed}");

    admin.batch_execute("DROP ROLE IF EXISTS limited; CREATE ROLE limited LOGIN PASSWORD 'x'; CREATE TABLE errors.t (id bigint); GRANT USAGE ON SCHEMA errors TO limited").await.unwrap();
    let limited = [("USER", "limited"), ("PASSWORD", "x")];
    let error = open(&limited).await;
    assert!(
        !error.is_retryable() && error.to_string().contains("42501"),
        "{error}"
    );
    let grants = "CREATE TABLE errors.kappa_sinks (sink text primary key, epoch bigint not null); GRANT SELECT, INSERT, UPDATE ON errors.kappa_sinks TO limited; GRANT INSERT ON errors.t TO limited";
    admin.batch_execute(grants).await.unwrap();
    let settings = options(&[("TABLE", "errors.t"), limited[0], limited[1]]);
    let mut least = sink(&settings, &target).unwrap();
    least.open().await.unwrap();
    least.commit(1, &[ids(&[1])]).await.unwrap();
    admin
        .batch_execute("REVOKE INSERT ON errors.t FROM limited")
        .await
        .unwrap();
    let error = least.commit(2, &[ids(&[2])]).await.unwrap_err();
    assert!(
        !error.is_retryable() && error.to_string().contains("42501"),
        "{error}"
    );
    admin
        .batch_execute("GRANT INSERT ON errors.t TO limited")
        .await
        .unwrap();
    least.commit(2, &[ids(&[2])]).await.unwrap();
    assert_eq!(
        rows(&admin, "SELECT id FROM errors.t ORDER BY 1").await,
        ["1", "2"]
    );
}

#[tokio::test]
async fn names_the_row_and_column_of_a_zero_character() {
    let Some(admin) = schema("zeros").await else {
        return;
    };
    let target = target(&[("ID", DataType::Int64), ("NAME", DataType::Utf8)], &[]);
    let mut postgres = sink(&options(&[("TABLE", "zeros.t")]), &target).unwrap();
    postgres.open().await.unwrap();
    let unit = |names: &[&str]| {
        let ids: Int64Array = (0..names.len() as i64).map(Some).collect();
        batch(vec![
            ("ID", Arc::new(ids)),
            ("NAME", Arc::new(StringArray::from(names.to_vec()))),
        ])
    };
    let error = postgres
        .commit(1, &[unit(&["a"]), unit(&["b", "c\0d"])])
        .await
        .unwrap_err();
    assert!(!error.is_retryable(), "{error}");
    assert!(
        error.to_string().contains("row 3 of the unit, column NAME"),
        "{error}"
    );
    postgres.commit(1, &[unit(&["a"])]).await.unwrap();
    assert_eq!(rows(&admin, "SELECT * FROM zeros.t").await, ["0|a"]);
    let dates = super::target(&[("D", DataType::Date32)], &[]);
    let mut postgres = sink(&options(&[("TABLE", "zeros.d")]), &dates).unwrap();
    postgres.open().await.unwrap();
    let never = batch(vec![("D", Arc::new(Date32Array::from(vec![i32::MIN])))]);
    let error = postgres.commit(2, &[never]).await.unwrap_err();
    assert!(
        error.to_string().contains("row 1 of the unit, column D"),
        "{error}"
    );
}

#[tokio::test]
async fn speaks_tls_as_asked() {
    let Some(admin) = schema("tls").await else {
        return;
    };
    // What the server says of the very connection that writes.
    let made = "CREATE FUNCTION tls.used() RETURNS boolean LANGUAGE sql AS \
                'SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()'; \
                CREATE TABLE tls.t (id bigint, used boolean DEFAULT tls.used())";
    admin.batch_execute(made).await.unwrap();
    let target = target(&[("ID", DataType::Int64)], &[]);
    let server = server();
    let ca = server.value("CA");
    let tries = [
        ("disable", None, "127.0.0.1", Ok("f")),
        ("prefer", None, "127.0.0.1", Ok("t")),
        ("require", None, "127.0.0.1", Ok("t")),
        ("require", Some(ca), "127.0.0.1", Ok("t")),
        ("verify-full", Some(ca), "127.0.0.1", Ok("t")),
        ("verify-full", Some(ca), "localhost", Ok("t")),
        (
            "verify-full",
            None,
            "localhost",
            Err("certificate verify failed"),
        ),
        // The same machine under a name that is not in the certificate.
        (
            "verify-full",
            Some(ca),
            "127.1",
            Err("certificate verify failed"),
        ),
    ];
    for (epoch, (mode, ca, host, expected)) in (1_u32..).zip(tries) {
        let mut all = vec![("TABLE", "tls.t"), ("SSLMODE", mode), ("HOST", host)];
        all.extend(ca.map(|ca| ("SSLROOTCERT", ca)));
        let mut postgres = sink(&options(&all), &target).unwrap();
        match (postgres.open().await, expected) {
            (Ok(_), Ok(used)) => {
                postgres
                    .commit(epoch.into(), &[ids(&[epoch.into()])])
                    .await
                    .unwrap();
                let sql = format!("SELECT used FROM tls.t WHERE id = {epoch}");
                assert_eq!(rows(&admin, &sql).await, [used], "{mode} {host}");
            }
            (Err(error), Err(part)) => {
                assert!(
                    !error.is_retryable() && error.to_string().contains(part),
                    "{error}"
                );
            }
            (opened, _) => panic!("{mode} {host}: {opened:?}"),
        }
    }
}

#[tokio::test]
async fn hides_its_secrets_and_helps_with_names() {
    let values = values(&[("TABEL", "x")]);
    let error = PostgresOptions::try_new(&values).unwrap_err().to_string();
    assert!(error.contains("did you mean TABLE?"), "{error}");
    let target = target(&[("ID", DataType::Int64)], &[]);
    let shown = format!(
        "{:?} {:?}",
        options(&[]),
        sink(&options(&[]), &target).unwrap()
    );
    assert!(!shown.contains("kappa-secret"), "{shown}");
}
