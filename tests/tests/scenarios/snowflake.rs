//! The Snowflake sink against a server that speaks as Snowflake does (`tests/servers/snowflake`).

mod streaming;
mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array,
    Int32Array, Int64Array, ListArray, MapBuilder, RecordBatch, StringArray, StringBuilder,
    StructArray, Time32MillisecondArray, TimestampMillisecondArray,
};
use datafusion::arrow::datatypes::{DataType, Field, Int32Type, Schema, SchemaRef};
use kappa_storage::Error;
use kappa_storage::files::FileTarget;
use kappa_storage::snowflake::{Committed, Snowflake, SnowflakeOptions, StagedFile, Target};
use serde_json::json;

use self::support::{Change, events};
pub(crate) use self::support::{Server, now_ms};

const ALL: &str = "SELECT ID, NAME FROM T ORDER BY ID, NAME";

/// A client that opens and commits.
async fn land(
    server: &Server,
    keys: &[&str],
    unit: u64,
    files: &[StagedFile],
) -> Result<Committed, Error> {
    let mut sink = server.sink(&events(), keys, &[]);
    sink.open().await?;
    let committed = sink.commit(unit, files).await?;
    sink.close().await;
    Ok(committed)
}

#[tokio::test]
async fn rows_are_appended_once_however_often_a_unit_comes() {
    if let Some(server) = Server::start() {
        appends_once(&server).await;
    }
}

pub(crate) async fn appends_once(server: &Server) {
    let mut sink = server.sink(&events(), &[], &[]);
    let files = [
        server.rows_file(1, 0, &[(1, "a"), (2, "b")]),
        server.rows_file(1, 1, &[(3, "c")]),
    ];
    sink.open().await.unwrap();
    assert_eq!(sink.commit(1, &files).await.unwrap().rows, 3);
    assert_eq!(sink.commit(1, &files).await.unwrap().rows, 3);
    assert_eq!(land(server, &[], 1, &files).await.unwrap().rows, 3);
    land(server, &[], 2, &[server.rows_file(2, 0, &[(4, "d")])])
        .await
        .unwrap();
    assert_eq!(server.rows(ALL).await, ["1|a", "2|b", "3|c", "4|d"]);
}

#[tokio::test]
async fn changes_are_merged_by_key() {
    if let Some(server) = Server::start() {
        merges_by_key(&server).await;
    }
}

pub(crate) async fn merges_by_key(server: &Server) {
    let mut sink = server.sink(&events(), &["id"], &[]);
    sink.open().await.unwrap();
    let first = [
        server.changes_file(1, 0, 0, &[(1, Some("a")), (2, Some("b")), (3, Some("c"))]),
        // Later changes of the same unit: an update, a delete, and a key that comes and goes.
        server.changes_file(
            1,
            1,
            3,
            &[(1, Some("A")), (2, None), (4, Some("d")), (4, None)],
        ),
    ];
    assert_eq!(sink.commit(1, &first).await.unwrap().rows, 7);
    assert_eq!(server.rows(ALL).await, ["1|A", "3|c"]);
    let second = [server.changes_file(2, 0, 0, &[(3, None), (2, Some("again")), (9, None)])];
    sink.commit(2, &second).await.unwrap();
    assert_eq!(server.rows(ALL).await, ["1|A", "2|again"]);
    // Units that were landed change nothing when they come again.
    sink.commit(2, &second).await.unwrap();
    land(server, &["id"], 2, &second).await.unwrap();
    land(server, &["id"], 1, &first).await.unwrap();
    assert_eq!(server.rows(ALL).await, ["1|A", "2|again"]);
    let left = server
        .rows(&format!(
            "SHOW TABLES LIKE 'KAPPA_%' IN SCHEMA {}",
            server.schema()
        ))
        .await;
    assert_eq!(left.len(), 1, "only the progress table stays: {left:?}");
}

#[tokio::test]
async fn null_is_a_key_and_keys_alone_are_a_table() {
    if let Some(server) = Server::start() {
        merges_keys_that_are_null(&server).await;
    }
}

pub(crate) async fn merges_keys_that_are_null(server: &Server) {
    let schema: SchemaRef = Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("name", DataType::Utf8, true),
    ]));
    let mut sink = server.sink(&schema, &["id", "name"], &[]);
    let unit = [server.changes_file(1, 0, 0, &[(1, Some("a")), (1, Some("a")), (2, Some("b"))])];
    sink.commit(1, &unit).await.unwrap();
    sink.commit(2, &[server.changes_file(2, 0, 0, &[(1, Some("a"))])])
        .await
        .unwrap();
    assert_eq!(server.rows(ALL).await, ["1|a", "2|b"]);
}

/// Every request in turn is met by a failure, in units that follow each other.
async fn survives(keys: &[&str], kinds: &[(&str, f64)]) {
    let Some(server) = Server::start() else {
        return;
    };
    let mut unit = 0;
    let mut expected = BTreeMap::new();
    for (kind, seconds) in kinds {
        let mut request = 0;
        loop {
            unit += 1;
            let id = unit as i64;
            let name = format!("{kind} {request}");
            let (files, gone) = match keys.is_empty() {
                true => (vec![server.rows_file(unit, 0, &[(id, &name)])], None),
                false => {
                    // Beside its own row, a unit changes that of the one before and deletes one.
                    let first: &[Change] = &[(id, Some("?")), (id - 1, Some("changed"))];
                    let last: &[Change] = &[(id, Some(&name)), (id - 2, None)];
                    let files = vec![
                        server.changes_file(unit, 0, 0, first),
                        server.changes_file(unit, 1, 2, last),
                    ];
                    expected.insert(id - 1, "changed".to_owned());
                    (files, Some(id - 2))
                }
            };
            expected.insert(id, name);
            if let Some(gone) = gone {
                expected.remove(&gone);
            }
            server.admin("reset", json!({})).await;
            let fault = json!({"match": ".", "skip": request, "kind": kind, "seconds": seconds,
                "status": 429});
            server.fault_with(fault).await;
            let landed = tokio::select! {
                landed = land(&server, keys, unit, &files) => landed.is_ok(),
                // The client dies here, in the middle of a request.
                _ = server.admin("hung", json!({})) => false,
            };
            let fired = server.admin("faults", json!({})).await["left"] == 0;
            // The rest of the requests are not to be met by a fault that was not due.
            server.admin("reset", json!({})).await;
            if !landed {
                land(&server, keys, unit, &files).await.unwrap();
            }
            assert_eq!(
                server.rows(ALL).await,
                rows_of(&expected),
                "{kind}, request {request}"
            );
            if !fired {
                break;
            }
            request += 1;
        }
        assert!(request > 8, "{kind}: {request} requests");
    }
    // Whatever was still on its way has arrived by now.
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    assert_eq!(server.rows(ALL).await, rows_of(&expected));
}

fn rows_of(rows: &BTreeMap<i64, String>) -> Vec<String> {
    rows.iter()
        .map(|(id, name)| format!("{id}|{name}"))
        .collect()
}

const ANSWERS_LOST: &[(&str, f64)] = &[
    ("lose", 0.0),
    ("cut", 0.0),
    ("status", 0.0),
    ("expire", 0.0),
    ("gone", 0.0),
];
const CRASHES: &[(&str, f64)] = &[("hang", 0.0), ("lost", 0.0), ("hang", 0.2), ("hang", 1.0)];

#[tokio::test]
async fn appending_survives_a_lost_answer_at_every_request() {
    survives(&[], ANSWERS_LOST).await;
}

#[tokio::test]
async fn appending_survives_a_crash_at_every_request() {
    survives(&[], CRASHES).await;
}

#[tokio::test]
async fn merging_survives_a_lost_answer_at_every_request() {
    survives(&["id"], ANSWERS_LOST).await;
}

#[tokio::test]
async fn merging_survives_a_crash_at_every_request() {
    survives(&["id"], CRASHES).await;
}

#[tokio::test]
async fn a_late_merge_of_a_dead_process_changes_nothing() {
    let Some(server) = Server::start() else {
        return;
    };
    let unit = |n, name| [server.changes_file(n, 0, 0, &[(1, Some(name))])];
    land(&server, &["id"], 1, &unit(1, "one")).await.unwrap();
    for (n, seconds) in [(10, 0.3), (20, 2.0)] {
        let fault = json!({"match": "MERGE INTO", "kind": "hang", "seconds": seconds});
        server.fault_with(fault).await;
        let old = unit(n, "old");
        tokio::select! {
            landed = land(&server, &["id"], n, &old) => panic!("{landed:?}"),
            _ = server.admin("hung", json!({})) => {}
        }
        land(&server, &["id"], n, &old).await.unwrap();
        land(&server, &["id"], n + 1, &unit(n + 1, "new"))
            .await
            .unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(2500)).await;
        assert_eq!(server.rows(ALL).await, ["1|new"], "{n}");
    }
}

#[tokio::test]
async fn a_late_merge_finds_its_number_taken_though_its_changes_are_there() {
    let Some(server) = Server::start() else {
        return;
    };
    let unit = |n, name| [server.changes_file(n, 0, 0, &[(1, Some(name))])];
    server
        .fault_with(json!({"match": "MERGE INTO", "kind": "hang", "seconds": 2}))
        .await;
    let old = unit(1, "old");
    tokio::select! {
        landed = land(&server, &["id"], 1, &old) => panic!("{landed:?}"),
        _ = server.admin("hung", json!({})) => {}
    }
    // The tables of units 1 and 2 cannot be dropped, so the late statement would find its own.
    let kept = json!({"match": "^DROP", "kind": "fail", "code": "003001", "message": "denied",
        "count": 100});
    server.fault_with(kept).await;
    land(&server, &["id"], 1, &old).await.unwrap();
    land(&server, &["id"], 2, &unit(2, "new")).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(2500)).await;
    let units = "SELECT COUNT(*) FROM KAPPA_CLICKS_0A1B2C3D_1";
    assert_eq!(server.rows(units).await, ["1"]);
    assert_eq!(server.rows(ALL).await, ["1|new"]);
}

#[tokio::test]
async fn a_session_is_renewed_and_else_replaced() {
    let Some(server) = Server::start() else {
        return;
    };
    let mut sink = server.sink(&events(), &[], &[]);
    sink.open().await.unwrap();
    server.fault("^COPY", "expire").await;
    sink.commit(1, &[server.rows_file(1, 0, &[(1, "a")])])
        .await
        .unwrap();
    assert_eq!(server.seen("/session/token-request").await.len(), 1);
    assert_eq!(server.seen("/session/v1/login-request").await.len(), 1);
    server.fault("^COPY", "master").await;
    sink.commit(2, &[server.rows_file(2, 0, &[(2, "b")])])
        .await
        .unwrap();
    assert_eq!(server.seen("/session/v1/login-request").await.len(), 2);
    server.fault("^PUT", "gone").await;
    sink.commit(3, &[server.rows_file(3, 0, &[(3, "c")])])
        .await
        .unwrap();
    assert_eq!(server.seen("/session/v1/login-request").await.len(), 3);
    assert_eq!(server.rows(ALL).await, ["1|a", "2|b", "3|c"]);
}

#[tokio::test]
async fn a_statement_that_takes_long_is_waited_for() {
    let Some(server) = Server::start() else {
        return;
    };
    let mut sink = server.sink(&events(), &[], &[]);
    sink.open().await.unwrap();
    let slow = json!({"match": "^COPY", "kind": "async", "seconds": 1.5});
    server.fault_with(slow).await;
    sink.commit(1, &[server.rows_file(1, 0, &[(1, "a")])])
        .await
        .unwrap();
    assert_eq!(server.seen("COPY").await, [true]);
    // Its session expires while it is waited for.
    server
        .fault_with(json!({"match": "^COPY", "kind": "async", "seconds": 1.5}))
        .await;
    server
        .fault_with(
            json!({"match": "GET /queries", "kind": "fail", "code": "390112",
        "message": "expired"}),
        )
        .await;
    sink.commit(2, &[server.rows_file(2, 0, &[(2, "b")])])
        .await
        .unwrap();
    assert_eq!(server.rows(ALL).await, ["1|a", "2|b"]);
}

#[tokio::test]
async fn a_lost_answer_is_not_a_second_execution() {
    let Some(server) = Server::start() else {
        return;
    };
    let mut sink = server.sink(&events(), &["id"], &[]);
    sink.open().await.unwrap();
    server.fault("MERGE INTO", "cut").await;
    sink.commit(1, &[server.changes_file(1, 0, 0, &[(1, Some("a"))])])
        .await
        .unwrap();
    assert_eq!(
        server.seen("MERGE").await,
        [true, false],
        "the second try is answered from memory"
    );
    assert_eq!(server.rows(ALL).await, ["1|a"]);
}

#[tokio::test]
async fn throttling_and_outages_are_waited_out_or_reported() {
    let Some(server) = Server::start() else {
        return;
    };
    let mut sink = server.sink(&events(), &[], &[]);
    for pattern in ["login-request", "^PUT '", "^PUT /_storage", "^COPY"] {
        for status in [429, 503] {
            let fault = json!({"match": pattern, "kind": "status", "status": status, "count": 2});
            server.fault_with(fault).await;
        }
    }
    sink.commit(1, &[server.rows_file(1, 0, &[(1, "a")])])
        .await
        .unwrap();
    assert_eq!(server.rows(ALL).await, ["1|a"]);
    let outage = json!({"match": "^COPY", "kind": "status", "status": 503, "count": 1000});
    server.fault_with(outage).await;
    let mut hurried = server.sink(&events(), &[], &[("RETRY_TIMEOUT", "1")]);
    let file = server.rows_file(2, 0, &[(2, "b")]);
    let error = hurried
        .commit(2, std::slice::from_ref(&file))
        .await
        .unwrap_err();
    assert!(error.is_retryable(), "{error}");
    assert!(error.to_string().contains("HTTP status 503"), "{error}");
    server.admin("reset", json!({})).await;
    hurried.commit(2, &[file]).await.unwrap();
    assert_eq!(server.rows(ALL).await, ["1|a", "2|b"]);
}

#[tokio::test]
async fn all_kinds_of_logins_are_let_in() {
    let Some(server) = Server::start() else {
        return;
    };
    let key = std::fs::read_to_string(server.value("PRIVATE_KEY_FILE")).unwrap();
    let body: String = key.lines().filter(|line| !line.starts_with("--")).collect();
    let encrypted = server.value("PRIVATE_KEY_FILE_ENCRYPTED");
    let token = server.value("TOKEN");
    let logins: [&[(&str, &str)]; 6] = [
        &[],
        &[
            ("PRIVATE_KEY_FILE", encrypted),
            ("PRIVATE_KEY_PASSPHRASE", server.value("PASSPHRASE")),
        ],
        &[("PRIVATE_KEY_FILE", server.value("PRIVATE_KEY_FILE_PKCS1"))],
        &[("PRIVATE_KEY_FILE", ""), ("pem_private_key", &body)],
        &[("PRIVATE_KEY_FILE", ""), ("TOKEN", token)],
        &[
            ("PRIVATE_KEY_FILE", ""),
            ("sfToken", token),
            ("AUTHENTICATOR", "oauth"),
            ("USER", ""),
        ],
    ];
    for login in logins {
        let mut sink = server.sink(&events(), &[], login);
        sink.open().await.unwrap();
        sink.close().await;
    }
}

#[tokio::test]
async fn refused_logins_say_what_to_do() {
    let Some(server) = Server::start() else {
        return;
    };
    let refused = async |more: &[(&str, &str)]| {
        let error = server.sink(&events(), &[], more).open().await.unwrap_err();
        assert!(!error.is_retryable(), "{error}");
        error.to_string()
    };
    let wrong_key = server.value("PRIVATE_KEY_FILE_WRONG").to_owned();
    let error = refused(&[("PRIVATE_KEY_FILE", &wrong_key)]).await;
    assert!(error.contains("JWT token is invalid"), "{error}");
    assert!(
        error.contains("RSA_PUBLIC_KEY_FP must be SHA256:"),
        "{error}"
    );
    let error = refused(&[("PRIVATE_KEY_FILE", ""), ("TOKEN", "wrong-token")]).await;
    assert!(
        error.contains("Programmatic access token is invalid"),
        "{error}"
    );
    assert!(!error.contains("wrong-token"), "{error}");
    server.admin("clock", json!({"seconds": -600})).await;
    let error = refused(&[]).await;
    assert!(
        error.contains("s ahead of Snowflake's: set it right"),
        "{error}"
    );
    server.admin("clock", json!({"seconds": 600})).await;
    let error = refused(&[]).await;
    assert!(
        error.contains("s behind Snowflake's: set it right"),
        "{error}"
    );
}

#[tokio::test]
async fn a_server_that_is_away_or_is_none_is_told_apart() {
    let Some(server) = Server::start() else {
        return;
    };
    let away = [("URL", "http://127.0.0.1:1"), ("RETRY_TIMEOUT", "1")];
    let error = server.sink(&events(), &[], &away).open().await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    server
        .fault_with(json!({"match": "login-request", "kind": "status", "status": 404}))
        .await;
    let error = server.sink(&events(), &[], &[]).open().await.unwrap_err();
    assert!(!error.is_retryable(), "{error}");
    assert!(
        error.to_string().contains("is the address right?"),
        "{error}"
    );
}

/// The bucket is a directory here: buckets have tests of their own.
#[tokio::test]
async fn an_external_stage_has_its_files_put_into_its_bucket() {
    let Some(server) = Server::start() else {
        return;
    };
    let bucket = tempfile::tempdir().unwrap();
    let url = format!("file://{}/", bucket.path().display());
    server
        .rows(&format!("CREATE STAGE LANDING URL='{url}'"))
        .await;
    let more = [("STAGE", "@landing/in"), ("STAGE_URL", url.as_str())];
    let sink = || {
        let bucket = FileTarget::open(&url, &BTreeMap::new()).unwrap();
        server.sink(&events(), &[], &more).with_bucket(bucket)
    };
    let unit = |number, id, name| [server.rows_file(number, 0, &[(id, name)])];
    sink().commit(1, &unit(1, 1, "a")).await.unwrap();
    server.fault("COPY INTO", "lose").await;
    let files = unit(2, 2, "b");
    // Its answer is lost, and it is asked for again: by this process, and by the next.
    sink().commit(2, &files).await.unwrap();
    sink().commit(2, &files).await.unwrap();
    assert_eq!(server.rows(ALL).await, ["1|a", "2|b"]);
    let folder = bucket.path().join("in/KAPPA_CLICKS_0A1B2C3D");
    let put = std::fs::read(folder.join("file-000000000002-0.parquet"));
    assert_eq!(put.unwrap(), std::fs::read(&files[0].path).unwrap());
    let alone = server.properties(&[("STAGE_URL", &url)]);
    let error = SnowflakeOptions::parse(&alone).unwrap_err().to_string();
    assert!(error.contains("needs STAGE"), "{error}");
}

#[tokio::test]
async fn a_table_that_is_not_there_is_made_only_if_wanted() {
    let Some(server) = Server::start() else {
        return;
    };
    let mut sink = server.sink(&events(), &[], &[("CREATE_TABLE", "false")]);
    let error = sink.open().await.unwrap_err();
    assert!(matches!(error, Error::User(_)), "{error}");
    let expected = "table \"KAPPA\".\"PUBLIC\".\"T\" is not in Snowflake";
    assert!(error.to_string().starts_with(expected), "{error}");
    server.sink(&events(), &[], &[]).open().await.unwrap();
    sink.open().await.unwrap();
}

#[tokio::test]
async fn a_new_column_needs_schema_evolution() {
    if let Some(server) = Server::start() {
        adds_columns_on_request(&server).await;
    }
}

pub(crate) async fn adds_columns_on_request(server: &Server) {
    land(server, &[], 1, &[server.rows_file(1, 0, &[(1, "a")])])
        .await
        .unwrap();
    let mut fields: Vec<_> = events().fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new("score", DataType::Float64, true)));
    let wider: SchemaRef = Arc::new(Schema::new(fields));
    let error = server.sink(&wider, &[], &[]).open().await.unwrap_err();
    let table = format!("\"{}\".\"T\"", server.schema().replace('.', "\".\""));
    assert_eq!(
        error.to_string(),
        format!(
            "table {table} in Snowflake has no column for \"score\": set SCHEMA_EVOLUTION = true, \
             or run ALTER TABLE {table} ADD COLUMN \"SCORE\" FLOAT"
        )
    );
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![2])),
        Arc::new(StringArray::from(vec!["b"])),
        Arc::new(Float64Array::from(vec![0.5])),
    ];
    let file = server.file(2, 0, &RecordBatch::try_new(wider.clone(), columns).unwrap());
    let mut sink = server.sink(&wider, &[], &[("SCHEMA_EVOLUTION", "true")]);
    sink.commit(2, &[file]).await.unwrap();
    assert_eq!(
        server.rows("SELECT * FROM T ORDER BY ID").await,
        ["1|a|NULL", "2|b|0.5"]
    );
}

#[tokio::test]
async fn a_unit_that_does_not_fit_the_table_is_refused_whole() {
    let Some(server) = Server::start() else {
        return;
    };
    server
        .rows("CREATE TABLE T (ID INTEGER, NAME INTEGER)")
        .await;
    let files = [
        server.rows_file(1, 0, &[(1, "11")]),
        server.rows_file(1, 1, &[(2, "not a number")]),
    ];
    let error = land(&server, &[], 1, &files).await.unwrap_err();
    assert!(!error.is_retryable(), "{error}");
    assert!(
        error
            .to_string()
            .starts_with("load 2 files from file-000000000001-0"),
        "{error}"
    );
    assert!(server.rows(ALL).await.is_empty());
}

#[tokio::test]
async fn columns_of_all_types_arrive() {
    if let Some(server) = Server::start() {
        takes_all_types(&server).await;
    }
}

pub(crate) async fn takes_all_types(server: &Server) {
    let mut map = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    map.keys().append_value("k");
    map.values().append_value("v");
    map.append(true).unwrap();
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some([Some(1), None, Some(3)])]);
    let inner: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
    let row = StructArray::from(vec![(
        Arc::new(Field::new("f", DataType::Utf8, true)),
        inner,
    )]);
    let price = Decimal128Array::from(vec![12345])
        .with_precision_and_scale(10, 2)
        .unwrap();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("b", Arc::new(BooleanArray::from(vec![true]))),
        ("i", Arc::new(Int32Array::from(vec![-7]))),
        ("d", Arc::new(price)),
        ("day", Arc::new(Date32Array::from(vec![19_000]))),
        (
            "tod",
            Arc::new(Time32MillisecondArray::from(vec![3_723_004])),
        ),
        (
            "ts",
            Arc::new(TimestampMillisecondArray::from(vec![1_700_000_000_123])),
        ),
        ("bin", Arc::new(BinaryArray::from_vec(vec![b"\x01\xff"]))),
        ("l", Arc::new(list)),
        ("m", Arc::new(map.finish())),
        ("r", Arc::new(row)),
    ];
    let field =
        |(name, array): &(&str, ArrayRef)| Field::new(*name, array.data_type().clone(), true);
    let schema: SchemaRef = Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()));
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    let file = server.file(1, 0, &RecordBatch::try_new(schema.clone(), arrays).unwrap());
    let mut sink = server.sink(&schema, &[], &[]);
    sink.commit(1, &[file]).await.unwrap();
    // An account may write times without their fraction.
    let sql = "SELECT B::VARCHAR, I, D, DAY::VARCHAR, (TOD = '01:02:03.004'::TIME)::VARCHAR, \
               TS::VARCHAR, HEX_ENCODE(BIN), GET(L, 2)::VARCHAR, M:k::VARCHAR, R:f::VARCHAR FROM T";
    assert_eq!(
        server.rows(sql).await,
        ["true|-7|123.45|2022-01-08|true|2023-11-14 22:13:20.123|01FF|3|v|x"]
    );
}

#[tokio::test]
async fn column_names_keep_their_case_if_wanted() {
    if let Some(server) = Server::start() {
        keeps_case_on_request(&server).await;
    }
}

pub(crate) async fn keeps_case_on_request(server: &Server) {
    let mut sink = server.sink(&events(), &[], &[("KEEP_COLUMN_CASE", "true")]);
    sink.commit(1, &[server.rows_file(1, 0, &[(1, "a")])])
        .await
        .unwrap();
    assert_eq!(server.rows("SELECT \"id\", \"name\" FROM T").await, ["1|a"]);
}

#[tokio::test]
async fn every_storage_takes_files_plain_and_encrypted() {
    let Some(server) = Server::start() else {
        return;
    };
    let mut expected = Vec::new();
    let mut unit = 0;
    for kind in ["PRESIGNED", "GCS", "S3", "AZURE", "LOCAL_FS"] {
        for key_bytes in [0, 16, 32] {
            if kind == "LOCAL_FS" && key_bytes > 0 {
                continue;
            }
            unit += 1;
            server
                .admin("stage", json!({"kind": kind, "key_bytes": key_bytes}))
                .await;
            let name = format!("{kind} {key_bytes}");
            let rows = [(i64::try_from(unit).unwrap(), name.as_str())];
            let files = [
                server.rows_file(unit, 0, &rows),
                server.rows_file(unit, 1, &rows),
            ];
            let mut sink = server.sink(&events(), &[], &[("STAGE", "@LANDING/in")]);
            if unit == 1 {
                server.rows("CREATE STAGE LANDING").await;
            }
            sink.commit(unit, &files)
                .await
                .unwrap_or_else(|error| panic!("{name}: {error}"));
            sink.commit(unit, &files)
                .await
                .unwrap_or_else(|error| panic!("{name}: {error}"));
            expected.extend([format!("{unit}|{name}"), format!("{unit}|{name}")]);
        }
    }
    assert_eq!(server.rows(ALL).await, expected);
}

#[tokio::test]
async fn credentials_that_expired_are_asked_for_again() {
    let Some(server) = Server::start() else {
        return;
    };
    for (unit, kind) in (1..).zip(["PRESIGNED", "GCS", "S3", "AZURE"]) {
        server.admin("reset", json!({})).await;
        server.admin("stage", json!({"kind": kind})).await;
        let fault = json!({"match": "(PUT|HEAD) /_storage", "kind": "expire_credentials"});
        server.fault_with(fault).await;
        let name = format!("{kind} {unit}");
        let files = [server.rows_file(unit, 0, &[(i64::try_from(unit).unwrap(), name.as_str())])];
        land(&server, &[], unit, &files)
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(server.seen("PUT 'file:").await.len(), 2, "{kind}");
    }
    assert_eq!(
        server.rows(ALL).await,
        ["1|PRESIGNED 1", "2|GCS 2", "3|S3 3", "4|AZURE 4"]
    );
}

#[tokio::test]
async fn old_files_leave_the_stage() {
    let Some(server) = Server::start() else {
        return;
    };
    let mut sink = server.sink(&events(), &[], &[]);
    for unit in 1..=4 {
        sink.commit(unit, &[server.rows_file(unit, 0, &[(1, "a")])])
            .await
            .unwrap();
    }
    let list = "LIST @KAPPA.PUBLIC.KAPPA_CLICKS_0A1B2C3D";
    let names = async || {
        let rows = server.rows(list).await;
        rows.iter()
            .map(|row| row.split('|').next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let of = |unit| format!("kappa_clicks_0a1b2c3d/file-{unit:012}-0.parquet");
    assert_eq!(names().await, [of(3), of(4)]);
    // Another process finds what this one left.
    land(&server, &[], 5, &[server.rows_file(5, 0, &[(1, "a")])])
        .await
        .unwrap();
    assert_eq!(names().await, [of(5)]);
}

#[tokio::test]
async fn pre_and_postactions_are_carried_out() {
    let Some(server) = Server::start() else {
        return;
    };
    let actions = [
        (
            "PREACTIONS",
            "CREATE TABLE IF NOT EXISTS LOG (WHAT VARCHAR)",
        ),
        ("POSTACTIONS", "INSERT INTO LOG VALUES ('a;b')"),
    ];
    let mut sink = server.sink(&events(), &[], &actions);
    sink.commit(1, &[server.rows_file(1, 0, &[(1, "a")])])
        .await
        .unwrap();
    assert_eq!(server.rows("SELECT WHAT FROM LOG").await, ["a;b"]);
}

#[tokio::test]
async fn units_without_rows_need_nothing() {
    let Some(server) = Server::start() else {
        return;
    };
    let mut sink = server.sink(&events(), &[], &[]);
    sink.open().await.unwrap();
    assert_eq!(sink.commit(1, &[]).await.unwrap().rows, 0);
    let empty = server.rows_file(2, 0, &[]);
    assert_eq!(sink.commit(2, &[empty]).await.unwrap().rows, 0);
    assert!(server.seen("COPY").await.is_empty());
}

#[tokio::test]
async fn what_cannot_be_is_said_before_anything_is_sent() {
    let properties = [
        ("ACCOUNT", "o-a"),
        ("USER", "u"),
        ("TOKEN", "t"),
        ("DATABASE", "d"),
    ];
    let options = |more: &[(&str, &str)]| {
        let all = properties.iter().chain(more);
        let own = all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        SnowflakeOptions::parse(&own.collect()).unwrap()
    };
    let message = |more: &[(&str, &str)], schema: SchemaRef, keys: &[&str]| {
        let target = Target {
            sink: "S".to_owned(),
            mark: "00000000".to_owned(),
            schema,
            keys: keys.iter().map(|key| (*key).to_owned()).collect(),
        };
        let made = Snowflake::try_new(&options(more), target, Arc::new(now_ms));
        made.unwrap_err().to_string()
    };
    let of = |names: &[&str]| -> SchemaRef {
        let fields = names
            .iter()
            .map(|name| Field::new(*name, DataType::Utf8, true));
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    };
    assert!(message(&[("MODE", "merge")], events(), &[]).contains("needs a primary key"));
    assert!(message(&[("MODE", "copy")], events(), &["id"]).contains("take MODE 'merge'"));
    assert!(message(&[], of(&["a", "A"]), &[]).contains("two columns would be \"A\""));
    assert!(message(&[], of(&["a", "RowSeq"]), &["a"]).contains("column \"RowSeq\" has a name"));
}
