//! COPY INTO: loads files of the stage into a table, each once.
//!
//! Snowflake remembers for 64 days which files a table has loaded, by name and checksum, and skips
//! them. So a load that is asked for again, because its answer was lost or its sender died, changes
//! nothing. Files are always named one by one: a load of a folder would succeed without them.

use super::StagedFile;
use super::name::{ObjectName, literal};
use super::query::Answer;
use super::session::Session;
use super::stage::Stage;
use crate::{Error, Result};

/// Names that FILES takes at most.
const FILES_MAX: usize = 1000;

/// Loads `files` into `table`, columns by their names.
pub(crate) async fn load(
    session: &mut Session,
    stage: &Stage,
    table: &ObjectName,
    files: &[StagedFile],
    keep_column_case: bool,
) -> Result<()> {
    for part in files.chunks(FILES_MAX) {
        let what = match part {
            [only] => format!("load {} into table {table}", only.name),
            _ => format!(
                "load {} files from {} on into table {table}",
                part.len(),
                part[0].name
            ),
        };
        let sql = statement(stage, table, part, keep_column_case);
        let answer = session.run(&what, &sql).await?;
        check(&what, &answer, part)?;
    }
    Ok(())
}

fn statement(
    stage: &Stage,
    table: &ObjectName,
    files: &[StagedFile],
    keep_column_case: bool,
) -> String {
    let names: Vec<_> = files.iter().map(|file| literal(&file.name)).collect();
    let by_name = match keep_column_case {
        true => "CASE_SENSITIVE",
        false => "CASE_INSENSITIVE",
    };
    format!(
        "COPY INTO {table} FROM {} FILES=({}) \
         FILE_FORMAT=(TYPE=PARQUET USE_LOGICAL_TYPE=TRUE BINARY_AS_TEXT=FALSE) \
         MATCH_BY_COLUMN_NAME={by_name} ON_ERROR=ABORT_STATEMENT PURGE=FALSE",
        stage.folder(),
        names.join(",")
    )
}

/// Compares what was loaded with what was sent.
fn check(what: &str, answer: &Answer, files: &[StagedFile]) -> Result<()> {
    let wrong = |cause: String| Err(Error::external(what, cause));
    // How Snowflake says that it had loaded all of them before: a file that is not in the stage
    // would have been an error.
    if answer.column("file").is_none() {
        let words = answer.value().unwrap_or_default();
        return match words.contains("0 files processed") {
            true => Ok(()),
            false => wrong(format!("its answer is not understood: {words}")),
        };
    }
    for file in files {
        let is_it = |row: &&Vec<Option<String>>| {
            let name = answer.cell(row, "file").unwrap_or_default();
            name.rsplit('/').next() == Some(file.name.as_str())
        };
        let Some(row) = answer.rows().iter().find(is_it) else {
            return wrong(format!("its answer says nothing of {}", file.name));
        };
        match answer.cell(row, "status") {
            Some("LOAD_SKIPPED") => {}
            Some("LOADED") => {
                let loaded = answer.cell(row, "rows_loaded").unwrap_or("?");
                if loaded != file.rows.to_string() {
                    return wrong(format!(
                        "{loaded} of {} rows of {} were loaded",
                        file.rows, file.name
                    ));
                }
            }
            status => {
                let reason = answer.cell(row, "first_error").unwrap_or("no reason given");
                let status = status.unwrap_or("without a status");
                return wrong(format!("{} is {status}: {reason}", file.name));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn file(name: &str, rows: u64) -> StagedFile {
        StagedFile {
            name: name.to_owned(),
            path: name.into(),
            rows,
            bytes: 1,
        }
    }

    fn checked(columns: &[&str], rows: Value) -> Result<(), String> {
        let columns: Vec<_> = columns.iter().map(|name| json!({"name": name})).collect();
        let data = json!({"rowtype": columns, "rowset": rows});
        let answer = Answer::read("load", json!({"success": true, "data": data})).unwrap();
        let files = [file("a.parquet", 2), file("b.parquet", 3)];
        check("load", &answer, &files).map_err(|error| error.to_string())
    }

    #[test]
    fn every_file_must_be_accounted_for() {
        let columns = ["file", "status", "rows_loaded", "first_error"];
        let loaded = json!(["s/a.parquet", "LOADED", "2", null]);
        let with = |second: Value| checked(&columns, json!([loaded, second]));
        assert_eq!(with(json!(["s/b.parquet", "LOADED", "3", null])), Ok(()));
        assert_eq!(
            with(json!(["s/b.parquet", "LOAD_SKIPPED", "0", "before"])),
            Ok(())
        );
        assert_eq!(
            with(json!(["s/b.parquet", "LOADED", "1", null])).unwrap_err(),
            "load: 1 of 3 rows of b.parquet were loaded"
        );
        assert_eq!(
            with(json!(["s/b.parquet", "LOAD_FAILED", "0", "bad cell"])).unwrap_err(),
            "load: b.parquet is LOAD_FAILED: bad cell"
        );
        assert_eq!(
            with(json!(["s/c.parquet", "LOADED", "3", null])).unwrap_err(),
            "load: its answer says nothing of b.parquet"
        );
    }

    #[test]
    fn all_loaded_before_is_a_sentence() {
        let words = json!([["Copy executed with 0 files processed."]]);
        assert_eq!(checked(&["status"], words), Ok(()));
        let error = checked(&["status"], json!([["Hm."]])).unwrap_err();
        assert_eq!(error, "load: its answer is not understood: Hm.");
    }
}
