//! The same through the engine: statements, restarts, what is shown.

use std::time::Duration;

use kappa_tests::instance;
use kappa_tests::streaming_server::StreamingServer;
use serde_json::Value;

use crate::fan_out::copy_directory;
use crate::incarnation::Incarnation;
use crate::snowflake::now_ms;

fn settings(server: &StreamingServer) -> Vec<(String, String)> {
    let properties = server.properties().into_iter();
    let own = properties.filter(|(name, _)| name != "USER");
    own.map(|(name, value)| (format!("snowflake.{}", name.to_lowercase()), value))
        .collect()
}

fn open(server: &StreamingServer, data_dir: &std::path::Path) -> Incarnation {
    let settings = settings(server);
    let settings: Vec<_> = settings
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    Incarnation::open_at(instance::config(data_dir, &settings), now_ms())
}

const STREAM: &str = "CREATE STREAM clicks (id INT KEY, page STRING, at TIMESTAMP, part DECIMAL(9, 2)) \
                      WITH (KAFKA_TOPIC = 'clicks', VALUE_FORMAT = 'JSON', PARTITIONS = 2)";

fn send(kappa: &Incarnation, ids: std::ops::Range<i32>) {
    for id in ids {
        let at_ms = 1_704_067_200_500 + i64::from(id % 10) * 1000;
        let value = match id % 10 {
            9 => r#"{"part":1.5}"#.to_owned(),
            _ => format!(r#"{{"page":"p{id}","at":{at_ms},"part":{id}.25}}"#),
        };
        kappa.send("clicks", 2, id, Some(value), i64::from(id) * 1000);
    }
}

#[test]
fn a_sink_streams_through_crashes_and_keeps_what_is_rejected() {
    let server = StreamingServer::start();
    server.commit_after(1);
    server.create_table(
        "CLICKS_SF",
        &[
            ("ID", "NUMBER(38,0)", true),
            ("PAGE", "VARCHAR(100)", false),
            ("AT", "TIMESTAMP_NTZ(3)", true),
            ("PART", "NUMBER(9,2)", true),
        ],
    );
    let data_dir = instance::data_dir().unwrap();
    let mut kappa = open(&server, data_dir.path());
    kappa.execute(STREAM);
    kappa.execute(
        "CREATE SINK clicks_sf FROM clicks WITH (CONNECTOR = 'snowflake', USER = 'STREAMER', \
         MODE = 'streaming', CHANNELS = 2)",
    );
    let mut sent = 0;
    for round in 0..12 {
        let more = 5 + round % 4;
        send(&kappa, sent..sent + more);
        sent += more;
        match round % 4 {
            0 => kappa.flush(),
            1 => {
                kappa.shut_down();
                kappa = open(&server, data_dir.path());
            }
            _ => {
                kappa.tick();
                kappa.tick();
                // Sooner or later within what Snowflake is asked.
                kappa.wait(Duration::from_millis(15 * round as u64));
                kappa.crash();
                kappa = open(&server, data_dir.path());
            }
        }
    }
    kappa.flush();
    let bad: Vec<i32> = (0..sent).filter(|id| id % 10 == 9).collect();
    let mut rows: Vec<_> = server
        .rows("CLICKS_SF")
        .into_iter()
        .map(|row| row.value)
        .collect();
    rows.sort_by_key(|row| row["ID"].as_i64());
    let expected = (0..sent).filter(|id| id % 10 != 9).map(|id| {
        serde_json::json!({
            "ID": id,
            "PAGE": format!("p{id}"),
            "AT": format!("2024-01-01T00:00:0{}.500", id % 10),
            "PART": format!("{id}.25"),
        })
    });
    assert_eq!(rows, expected.collect::<Vec<_>>());
    let shown = &kappa.ask("SHOW SINKS")[0];
    let good = sent as usize - bad.len();
    assert_eq!(shown[3..5], ["RUNNING".to_owned(), good.to_string()]);
    assert_eq!(shown[10], bad.len().to_string());
    assert!(
        kappa
            .ask("DESCRIBE clicks_sf")
            .contains(&vec!["rows rejected".to_owned(), bad.len().to_string()])
    );
    let kept =
        kappa.ask("SELECT QUERY, REASON, FROM_BYTES(PAYLOAD, 'utf8') FROM KAPPA_BAD_RECORDS");
    let mut ids: Vec<i32> = kept
        .iter()
        .map(|row| {
            assert_eq!(row[0], "CLICKS_SF");
            assert_eq!(
                row[1],
                "rejected by Snowflake: column \"PAGE\" must not be NULL"
            );
            let payload: Value = serde_json::from_str(&row[2]).unwrap();
            payload["ID"].as_i64().unwrap() as i32
        })
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, bad);
    kappa.shut_down();
}

#[test]
fn a_tables_changes_may_be_streamed_too() {
    let server = StreamingServer::start();
    let data_dir = instance::data_dir().unwrap();
    let kappa = open(&server, data_dir.path());
    kappa.execute(STREAM);
    kappa.execute(
        "CREATE TABLE pages WITH (VALUE_FORMAT = 'JSON') AS \
         SELECT page, COUNT(*) AS n FROM clicks GROUP BY page",
    );
    kappa.execute(
        "CREATE SINK changes FROM pages WITH (CONNECTOR = 'snowflake', USER = 'STREAMER', \
         MODE = 'streaming', INCLUDE_ROWTIME = true)",
    );
    send(&kappa, 0..3);
    kappa.flush();
    send(&kappa, 1..2);
    kappa.flush();
    let rows = server.rows("CHANGES").into_iter();
    let mut changes: Vec<_> = rows
        .map(|row| {
            (
                row.value["PAGE"].clone(),
                row.value["N"].clone(),
                row.value["ROWDELETED"].clone(),
            )
        })
        .collect();
    changes.sort_by_key(|change| format!("{change:?}"));
    let change = |page: &str, n: i64| (Value::from(page), Value::from(n), Value::from(false));
    assert_eq!(
        changes,
        [
            change("p0", 1),
            change("p1", 1),
            change("p1", 2),
            change("p2", 1)
        ]
    );
    kappa.shut_down();
}

#[test]
fn an_old_copy_of_a_data_directory_is_refused() {
    let server = StreamingServer::start();
    let data_dir = instance::data_dir().unwrap();
    let copy = instance::data_dir().unwrap();
    let kappa = open(&server, data_dir.path());
    kappa.execute(STREAM);
    kappa.execute(
        "CREATE SINK clicks_sf FROM clicks WITH (CONNECTOR = 'snowflake', USER = 'STREAMER', \
         MODE = 'streaming')",
    );
    send(&kappa, 0..3);
    kappa.flush();
    kappa.shut_down();
    copy_directory(data_dir.path(), copy.path());
    let kappa = open(&server, data_dir.path());
    send(&kappa, 3..6);
    kappa.flush();
    kappa.shut_down();
    let kappa = open(&server, copy.path());
    let error = kappa.try_flush().unwrap_err().to_string();
    assert!(error.contains("it is an old copy, or lost data"), "{error}");
    assert_eq!(server.rows("CLICKS_SF").len(), 6);
    kappa.shut_down();
}

#[test]
fn what_does_not_go_with_streaming_is_refused_at_its_place() {
    let server = StreamingServer::start();
    let data_dir = instance::data_dir().unwrap();
    let kappa = open(&server, data_dir.path());
    kappa.execute(STREAM);
    let refused = |with: &str| {
        kappa.refused(&format!(
            "CREATE SINK s FROM clicks WITH (CONNECTOR = 'snowflake', USER = 'STREAMER', {with})"
        ))
    };
    for (with, message) in [
        (
            "MODE = 'streaming', streaming_stage = 'st'",
            "STAGE does not go with MODE 'streaming'",
        ),
        (
            "MODE = 'streaming', PURGE = true",
            "PURGE does not go with MODE 'streaming'",
        ),
        (
            "MODE = 'streaming', ROLL_SIZE = 5",
            "ROLL_SIZE does not go with MODE 'streaming'",
        ),
        (
            "MODE = 'copy', CHANNELS = 2",
            "CHANNELS needs MODE 'streaming'",
        ),
        ("PIPE = 'p'", "PIPE needs MODE 'streaming'"),
        (
            "MODE = 'streaming', CHANNELS = 0",
            "CHANNELS '0' is not a number from 1 to 100",
        ),
        ("MODE = 'merge'", "MODE 'merge' needs a primary key"),
    ] {
        let shown = refused(with);
        assert!(shown.contains(message), "{with}: {shown}");
        if with != "MODE = 'merge'" {
            // The property is pointed at, not the statement's beginning.
            let last = with.rsplit(", ").next().unwrap();
            let name = last.split(' ').next().unwrap();
            let lines: Vec<Vec<char>> = shown.lines().map(|line| line.chars().collect()).collect();
            let marks = lines.iter().position(|line| line.contains(&'^')).unwrap();
            let at = lines[marks].iter().position(|c| *c == '^').unwrap();
            let line: String = lines[marks - 1][at..].iter().collect();
            assert!(line.starts_with(name), "{shown}");
        }
    }
    kappa.shut_down();
}
