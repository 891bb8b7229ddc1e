//! The example against the servers: all three targets have what a plain reading of the lines gives.

use kappa_tests::bucket::Objects;
use kappa_tests::text;

use super::{HEADERS, Named, Sent, Settings, TABLE, Targets, is_data, rows_of, run};

/// The columns, in the order of [`fields`].
const COLUMNS: &str = "TS, C_IP, CS_USERNAME, S_SITENAME, S_COMPUTERNAME, S_IP, S_PORT, CS_METHOD, \
                       CS_URI_STEM, CS_URI_QUERY, SC_STATUS, TIME_TAKEN, CS_VERSION, CS_HOST, \
                       USER_AGENT, REFERER";

/// A line's values as text.
fn fields(line: &str) -> Vec<String> {
    let parts: Vec<&str> = line.split(' ').collect();
    assert_eq!(parts.len(), 17, "{line}");
    let or_null = |part: &str| match part {
        "-" => "NULL".to_owned(),
        some => some.to_owned(),
    };
    let mut row = vec![format!("{}T{}", parts[0], parts[1])];
    row.extend(parts[2..].iter().map(|part| (*part).to_owned()));
    for nullable in [2, 9, 15] {
        row[nullable] = or_null(&row[nullable]);
    }
    row[14] = row[14].replace('+', " ");
    row
}

fn wanted(sent: &Sent) -> Vec<Vec<String>> {
    let lines = sent.lines.iter().filter(|line| !line.starts_with('#'));
    sorted(lines.map(|line| fields(line)).collect())
}

fn sorted(mut rows: Vec<Vec<String>>) -> Vec<Vec<String>> {
    rows.sort();
    rows
}

#[tokio::test]
async fn every_line_is_in_all_three_targets_once() {
    let Some(mut targets) = Targets::start(Named::default()).unwrap() else {
        return;
    };
    let settings = Settings {
        interval: "1 second".to_owned(),
        portions: 3,
        lines: 500,
    };
    // From Kafka, then from embedded topics into the same table.
    let mut in_table = Vec::new();
    for bootstrap_servers in [targets.bootstrap_servers.take(), None] {
        targets.bootstrap_servers = bootstrap_servers;
        let sent = Box::pin(run(&targets, &settings)).await.unwrap();
        assert_eq!(sent.lines.len(), 1500 + HEADERS.len());
        assert_eq!(sent.rows_before, in_table.len() as u64);
        let wanted = wanted(&sent);
        in_table.extend(wanted.clone());
        let rows = rows_of_snowflake(&targets).await;
        assert_eq!(rows.len(), in_table.len());
        assert_eq!(rows, sorted(in_table.clone()));
        let s3 = targets.s3.objects(&sent.folder).await.unwrap();
        let gcs = targets.gcs.objects(&sent.folder).await.unwrap();
        for (cloud, objects) in [("S3", &s3), ("GCS", &gcs)] {
            assert_eq!(rows_of_files(objects), wanted, "{cloud}");
            let mut files = objects.keys().filter(|name| is_data(name));
            assert!(files.all(|name| name.starts_with("dt=2026-11-02/")));
        }
        assert_eq!(contents(&s3), contents(&gcs), "encoded once");
    }
    // Nothing is left but the table.
    let schema = targets.snowflake.schema();
    let stages = format!("SHOW STAGES IN SCHEMA {schema}");
    let stages = targets.snowflake.query(&stages).await.unwrap();
    assert_eq!(stages, Vec::<Vec<_>>::new());
    targets.stop().unwrap();
}

async fn rows_of_snowflake(targets: &Targets) -> Vec<Vec<String>> {
    let columns = COLUMNS.replacen("TS", "REPLACE(TS::VARCHAR, ' ', 'T')", 1);
    let schema = targets.snowflake.schema();
    let sql = format!("SELECT {columns} FROM {schema}.{TABLE}");
    let text = |cell: Option<String>| cell.unwrap_or_else(|| "NULL".to_owned());
    let rows = targets.snowflake.query(&sql).await.unwrap().into_iter();
    let rows = rows.map(|row| {
        let mut row: Vec<String> = row.into_iter().map(text).collect();
        // The lines have whole seconds.
        row[0] = row[0].trim_end_matches(".000").to_owned();
        row
    });
    sorted(rows.collect())
}

fn rows_of_files(objects: &Objects) -> Vec<Vec<String>> {
    let batches = rows_of(objects).unwrap();
    let own = batches.iter().map(|batch| {
        let columns = COLUMNS.split(", ");
        let columns = columns.map(|name| batch.schema().index_of(name).unwrap());
        batch.project(&columns.collect::<Vec<_>>()).unwrap()
    });
    sorted(text::rows(&own.collect::<Vec<_>>()).unwrap())
}

/// The files' bytes without their names, in which the two sinks differ.
fn contents(objects: &Objects) -> Vec<&[u8]> {
    let files = objects.iter().filter(|(name, _)| is_data(name));
    let mut contents: Vec<&[u8]> = files.map(|(_, bytes)| bytes.as_slice()).collect();
    contents.sort();
    contents
}
