//! The answers, checked against a plain count over the lines.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::File;
use std::path::{Path, PathBuf};

use arrow::array::{Array, RecordBatch};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::log::Request;

/// A session may have silences of this length, in milliseconds.
const GAP_MS: i64 = 10 * 60 * 1000;

/// Checks all answers; the error names the question whose answer is wrong.
pub(crate) fn answers(log: &[Request], answers: &[Vec<RecordBatch>]) -> Result<(), Box<dyn Error>> {
    let [urls, browsers, minutes, sessions] = answers else {
        return Err(format!("{} answers to 4 questions", answers.len()).into());
    };
    equal("top URLs", rows(urls)?, top_urls(log))?;
    equal("error rate by browser", rows(browsers)?, error_rates(log))?;
    // The percentile is an approximation: checked to lie among the minute's times, not exactly.
    let minutes = rows(minutes)?;
    let counted = busiest_minutes(log);
    let without_percentile: Vec<Vec<String>> =
        minutes.iter().map(|row| row[..5].to_vec()).collect();
    equal("busiest minutes", without_percentile, counted)?;
    for row in &minutes {
        let percentile: f64 = row[5].parse()?;
        if !(5.0..=2205.0).contains(&percentile) {
            return Err(format!("a percentile of {percentile} ms in {row:?}").into());
        }
    }
    equal(
        "sessions of user17's",
        rows(sessions)?,
        sessions_of(log, "user17"),
    )?;
    Ok(())
}

/// Checks that the Parquet files have every request once, in its site's directory; returns them
/// with their numbers of rows.
pub(crate) fn files(
    log: &[Request],
    directory: &Path,
) -> Result<Vec<(PathBuf, usize)>, Box<dyn Error>> {
    let mut found = Vec::new();
    for site in 0..4 {
        let expected = log.iter().filter(|request| request.site == site).count();
        let mut rows = 0;
        let mut files: Vec<PathBuf> =
            std::fs::read_dir(directory.join(format!("SITE=W3SVC{}", site + 1)))?
                .map(|entry| entry.map(|entry| entry.path()))
                .collect::<Result<_, _>>()?;
        files.sort();
        for file in files {
            let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(&file)?)?.build()?;
            let count = reader
                .map(|batch| batch.map(|batch| batch.num_rows()))
                .sum::<Result<usize, _>>()?;
            rows += count;
            found.push((file, count));
        }
        if rows != expected {
            return Err(format!("site {site}: {rows} rows in files, {expected} requests").into());
        }
    }
    Ok(found)
}

fn equal(
    what: &str,
    actual: Vec<Vec<String>>,
    expected: Vec<Vec<String>>,
) -> Result<(), Box<dyn Error>> {
    if actual == expected {
        return Ok(());
    }
    Err(format!("{what}: got {actual:?}, counted {expected:?}").into())
}

fn rows(batches: &[RecordBatch]) -> Result<Vec<Vec<String>>, Box<dyn Error>> {
    let mut rows = Vec::new();
    for batch in batches {
        let options = FormatOptions::default();
        let columns = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column.as_ref() as &dyn Array, &options))
            .collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            rows.push(
                columns
                    .iter()
                    .map(|column| column.value(row).to_string())
                    .collect(),
            );
        }
    }
    Ok(rows)
}

fn top_urls(log: &[Request]) -> Vec<Vec<String>> {
    let mut hits: BTreeMap<&str, u64> = BTreeMap::new();
    for request in log {
        *hits.entry(request.url).or_default() += 1;
    }
    let mut hits: Vec<_> = hits.into_iter().collect();
    hits.sort_by_key(|(url, count)| (std::cmp::Reverse(*count), *url));
    hits.iter()
        .take(5)
        .map(|(url, count)| vec![(*url).to_owned(), count.to_string()])
        .collect()
}

fn error_rates(log: &[Request]) -> Vec<Vec<String>> {
    let mut rates: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for request in log {
        let name = request.browser.split('/').next().unwrap_or_default();
        let entry = rates.entry(name).or_default();
        entry.0 += 1;
        entry.1 += u64::from(request.status >= 500);
    }
    rates
        .iter()
        .map(|(browser, (requests, errors))| {
            let percent = (10_000.0 * *errors as f64 / *requests as f64).round() / 100.0;
            vec![
                (*browser).to_owned(),
                requests.to_string(),
                format!("{percent:?}"),
            ]
        })
        .collect()
}

fn busiest_minutes(log: &[Request]) -> Vec<Vec<String>> {
    let mut minutes: BTreeMap<(String, i64), (u64, u64)> = BTreeMap::new();
    for request in log.iter().filter(|request| [0, 3].contains(&request.site)) {
        let minute = request.time_ms / 60_000 * 60_000;
        let entry = minutes.entry((request.site_name(), minute)).or_default();
        entry.0 += 1;
        entry.1 += u64::from(request.status >= 500);
    }
    let mut minutes: Vec<_> = minutes.into_iter().collect();
    minutes.sort_by_key(|((site, start), (requests, _))| {
        (std::cmp::Reverse(*requests), site.clone(), *start)
    });
    minutes
        .iter()
        .take(5)
        .map(|((site, start), (requests, errors))| {
            let owner = if site == "W3SVC1" { "shop" } else { "api" };
            vec![
                site.clone(),
                owner.to_owned(),
                start.to_string(),
                requests.to_string(),
                errors.to_string(),
            ]
        })
        .collect()
}

fn sessions_of(log: &[Request], user: &str) -> Vec<Vec<String>> {
    let mut sessions: Vec<(i64, i64, u64, i64)> = Vec::new();
    for request in log.iter().filter(|request| request.user_name() == user) {
        match sessions.last_mut() {
            Some((_, end, pages, taken)) if request.time_ms - *end <= GAP_MS => {
                *end = request.time_ms;
                *pages += 1;
                *taken += request.taken_ms;
            }
            _ => sessions.push((request.time_ms, request.time_ms, 1, request.taken_ms)),
        }
    }
    sessions
        .iter()
        .map(|(start, end, pages, taken)| {
            vec![
                user.to_owned(),
                start.to_string(),
                end.to_string(),
                pages.to_string(),
                taken.to_string(),
            ]
        })
        .collect()
}
