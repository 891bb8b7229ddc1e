//! The example against the servers: all three targets have what a plain reading of the lines gives.

use kappa_tests::text;

use super::{HEADERS, Sent, Settings, TABLE, Targets, rows_of, run};

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
    let Some(targets) = Targets::start().unwrap() else {
        return;
    };
    let settings = Settings {
        interval: "1 second".to_owned(),
        portions: 3,
        lines: 500,
    };
    let sent = Box::pin(run(&targets, &settings)).await.unwrap();
    assert_eq!(sent.lines.len(), 1500 + HEADERS.len());
    let wanted = wanted(&sent);

    let select = COLUMNS.replacen("TS", "REPLACE(TS::VARCHAR, ' ', 'T')", 1);
    let schema = targets.snowflake.schema();
    let answer = targets
        .snowflake
        .query(&format!("SELECT {select} FROM {schema}.{TABLE}"))
        .await
        .unwrap();
    let text = |cell: Option<String>| cell.unwrap_or_else(|| "NULL".to_owned());
    let rows = answer.into_iter().map(|row| {
        let mut row: Vec<String> = row.into_iter().map(text).collect();
        // Whole seconds: Snowflake writes the fraction out.
        row[0] = row[0].trim_end_matches(".000").to_owned();
        row
    });
    let rows = sorted(rows.collect());
    assert_eq!(rows.len(), wanted.len());
    assert_eq!(rows, wanted, "Snowflake");

    let files = [&targets.s3, &targets.gcs].map(|bucket| bucket.objects(&sent.folder));
    let mut bytes = Vec::new();
    for (cloud, files) in ["S3", "GCS"].into_iter().zip(files) {
        let files = files.await.unwrap();
        let batches = rows_of(&files).unwrap();
        let names: Vec<&str> = COLUMNS.split(", ").collect();
        let own = batches.iter().map(|batch| {
            let columns = names
                .iter()
                .map(|name| batch.schema().index_of(name).unwrap());
            batch.project(&columns.collect::<Vec<_>>()).unwrap()
        });
        let rows = text::rows(&own.collect::<Vec<_>>()).unwrap();
        assert_eq!(sorted(rows), wanted, "{cloud}");
        let data = files.iter().filter(|(name, _)| name.ends_with(".parquet"));
        assert!(
            data.clone()
                .all(|(name, _)| name.starts_with("dt=2026-11-02/"))
        );
        let mut own: Vec<Vec<u8>> = data.map(|(_, bytes)| bytes.clone()).collect();
        own.sort();
        bytes.push(own);
    }
    assert_eq!(bytes[0], bytes[1], "encoded once");
    targets.stop().unwrap();
}
