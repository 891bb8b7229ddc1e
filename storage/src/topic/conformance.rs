//! What every implementation of [`Topics`] must do: a suite that the embedded log and Kafka both
//! run. For tests: a broken promise is a panic that says which.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, AsArray, BinaryArray, ListArray, StringArray, StructArray};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::datatypes::DataType;
use async_trait::async_trait;

use super::{CleanupPolicy, FetchLimit, NewTopic, OffsetRange, Reader, Topics};
use crate::record::{NewRecords, Records, headers_type};
use crate::{Error, Result};

/// A log of topics under test.
#[async_trait]
pub trait Backend: Send + Sync {
    /// The topics.
    fn topics(&self) -> &dyn Topics;

    /// A name for a topic that no other test uses.
    fn name(&self, case: &str) -> String;

    /// Applies retention and compaction as of `now_ms`, without thresholds that would put it off;
    /// false where the log does that by itself and in its own time.
    async fn maintain(&self, now_ms: i64) -> Result<bool>;

    /// Removes the records before `offset`.
    async fn truncate(&self, topic: &str, partition: i32, offset: i64) -> Result<()>;

    /// Makes a topic accept records of several megabytes.
    async fn accept_large(&self, topic: &str) -> Result<()>;
}

/// Calls a macro with the names of all cases.
#[macro_export]
macro_rules! for_each_topic_case {
    ($callback:ident) => {
        $callback! {
            appends_are_read_back_in_order,
            reading_begins_anywhere,
            limits_of_a_fetch_hold,
            timestamps_are_kept,
            headers_are_kept,
            nulls_are_not_empty,
            partitions_are_independent,
            topics_are_made_described_and_deleted,
            what_cannot_be_is_a_user_error,
            the_end_of_a_partition_is_no_error,
            offsets_beyond_the_end_are_errors,
            offsets_before_the_start_are_errors,
            a_waiting_reader_is_woken,
            waiting_ends_without_records,
            a_topic_grows,
            large_records_pass,
            many_small_appends_are_read,
            writers_beside_each_other_lose_nothing,
            old_records_go,
            surplus_records_go,
            of_each_key_the_last_record_stays,
            tombstones_stay_for_a_time,
        }
    };
}

macro_rules! define_all {
    ($($case:ident,)*) => {
        /// Runs every case, one after the other.
        pub async fn all(backend: &dyn Backend) -> Result<()> {
            $(
                let what = |error| Error::Internal(format!("{}: {error}", stringify!($case)));
                $case(backend).await.map_err(what)?;
            )*
            Ok(())
        }
    };
}
for_each_topic_case!(define_all);

const LIMIT: FetchLimit = FetchLimit {
    records: 10_000,
    bytes: 64 << 20,
    headers: true,
};
/// How long something may take that should happen at once.
const PATIENCE: Duration = Duration::from_secs(20);

/// A header: key and value.
pub type Header = (String, Option<Vec<u8>>);

/// A record as these tests write them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// Time in milliseconds.
    pub timestamp: i64,
    /// Key.
    pub key: Option<Vec<u8>>,
    /// Value.
    pub value: Option<Vec<u8>>,
    /// Headers.
    pub headers: Vec<Header>,
}

impl Row {
    /// A record with a key and a value.
    pub fn new(timestamp: i64, key: &str, value: &str) -> Self {
        let bytes = |text: &str| Some(text.as_bytes().to_vec());
        Self {
            timestamp,
            key: bytes(key),
            value: bytes(value),
            headers: Vec::new(),
        }
    }

    fn numbered(number: usize) -> Self {
        Self::new(
            1_700_000_000_000 + number as i64,
            &format!("k{number}"),
            &format!("v{number}"),
        )
    }
}

/// Rows as records to append.
pub fn new_records(partition: i32, rows: &[Row]) -> NewRecords {
    NewRecords {
        partition,
        timestamps: rows
            .iter()
            .map(|row| row.timestamp)
            .collect::<Vec<_>>()
            .into(),
        keys: rows.iter().map(|row| row.key.as_deref()).collect(),
        values: rows.iter().map(|row| row.value.as_deref()).collect(),
        headers: rows
            .iter()
            .any(|row| !row.headers.is_empty())
            .then(|| header_lists(rows)),
    }
}

fn header_lists(rows: &[Row]) -> ListArray {
    let DataType::List(item) = headers_type() else {
        panic!("headers are not a list")
    };
    let DataType::Struct(fields) = item.data_type().clone() else {
        panic!("not structs")
    };
    let headers = || rows.iter().flat_map(|row| &row.headers);
    let keys: StringArray = headers().map(|header| Some(&header.0)).collect();
    let values: BinaryArray = headers().map(|header| header.1.as_deref()).collect();
    let entries = StructArray::new(fields, vec![Arc::new(keys), Arc::new(values)], None);
    let mut ends = vec![0];
    for row in rows {
        ends.push(ends[ends.len() - 1] + row.headers.len() as i32);
    }
    ListArray::new(
        item,
        OffsetBuffer::new(ScalarBuffer::from(ends)),
        Arc::new(entries),
        None,
    )
}

/// Records as offsets and rows.
pub fn rows_of(records: &Records) -> Vec<(i64, Row)> {
    let bytes = |array: &BinaryArray, row| array.is_valid(row).then(|| array.value(row).to_vec());
    let row = |row: usize| Row {
        timestamp: records.timestamps.value(row),
        key: bytes(&records.keys, row),
        value: bytes(&records.values, row),
        headers: headers_of(records, row),
    };
    (0..records.len())
        .map(|index| (records.offsets.value(index), row(index)))
        .collect()
}

fn headers_of(records: &Records, row: usize) -> Vec<Header> {
    let Some(lists) = &records.headers else {
        return Vec::new();
    };
    let list = lists.value(row);
    let entries = list.as_struct();
    let keys = entries.column(0).as_string::<i32>();
    let values = entries.column(1).as_binary::<i32>();
    let value = |index| values.is_valid(index).then(|| values.value(index).to_vec());
    (0..list.len())
        .map(|index| (keys.value(index).to_owned(), value(index)))
        .collect()
}

async fn make(backend: &dyn Backend, case: &str, partitions: i32) -> Result<String> {
    let name = backend.name(case);
    make_topic(backend, topic(&name, partitions)).await?;
    Ok(name)
}

async fn make_topic(backend: &dyn Backend, topic: NewTopic) -> Result<()> {
    backend.topics().create(&topic).await
}

fn topic(name: &str, partitions: i32) -> NewTopic {
    NewTopic {
        name: name.to_owned(),
        partitions,
        replicas: 1,
        cleanup: CleanupPolicy::Delete,
        // The times of these records are long past.
        retention_ms: Some(-1),
        retention_bytes: None,
    }
}

async fn append(backend: &dyn Backend, topic: &str, partition: i32, rows: &[Row]) -> Result<()> {
    backend
        .topics()
        .append(topic, &[new_records(partition, rows)])
        .await
}

/// Reads from where the reader stands up to the end.
async fn read_to_end(reader: &mut dyn Reader, partition: i32) -> Result<Vec<(i64, Row)>> {
    read_to_end_with(reader, partition, LIMIT).await
}

async fn read_to_end_with(
    reader: &mut dyn Reader,
    partition: i32,
    limit: FetchLimit,
) -> Result<Vec<(i64, Row)>> {
    let mut rows = Vec::new();
    within_patience(async {
        loop {
            let fetched = reader.fetch(partition, limit)?;
            rows.extend(fetched.records.iter().flat_map(rows_of));
            if fetched.at_end {
                return Ok(());
            }
            reader.ready(Duration::from_millis(100)).await?;
        }
    })
    .await?;
    Ok(rows)
}

/// Reads a partition from its start to its end.
async fn read(backend: &dyn Backend, topic: &str, partition: i32) -> Result<Vec<(i64, Row)>> {
    let ranges = backend.topics().offsets(topic).await?;
    let start = ranges[partition as usize].start;
    let mut reader = backend
        .topics()
        .reader(topic, &[(partition, start)])
        .await?;
    read_to_end(&mut *reader, partition).await
}

async fn fetch_error(reader: &mut dyn Reader, partition: i32) -> Result<String> {
    let mut message = None;
    within_patience(async {
        while message.is_none() {
            match reader.fetch(partition, LIMIT) {
                Err(error) => message = Some(error),
                Ok(fetched) => {
                    assert!(
                        fetched.records.is_none(),
                        "records instead of an error: {fetched:?}"
                    );
                    reader.ready(Duration::from_millis(100)).await?;
                }
            }
        }
        Ok(())
    })
    .await?;
    let error = message.ok_or_else(|| Error::Internal("no error".to_owned()))?;
    assert!(
        matches!(
            error,
            Error::External {
                retryable: false,
                ..
            }
        ),
        "{error:?}"
    );
    Ok(error.to_string())
}

async fn within_patience(work: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::time::timeout(PATIENCE, work)
        .await
        .unwrap_or_else(|_| Err(Error::Internal(format!("not done within {PATIENCE:?}"))))
}

fn numbered(range: std::ops::Range<usize>) -> Vec<(i64, Row)> {
    range
        .map(|number| (number as i64, Row::numbered(number)))
        .collect()
}

fn plain(rows: Vec<(i64, Row)>) -> Vec<Row> {
    rows.into_iter().map(|(_, row)| row).collect()
}

/// Several appends give records their offsets in order, from 0 on and without gaps.
pub async fn appends_are_read_back_in_order(backend: &dyn Backend) -> Result<()> {
    let name = make(backend, "order", 1).await?;
    for range in [0..1, 1..4, 4..500, 500..501] {
        append(backend, &name, 0, &plain(numbered(range))).await?;
    }
    append(backend, &name, 0, &[]).await?;
    assert_eq!(read(backend, &name, 0).await?, numbered(0..501));
    let range = backend.topics().offsets(&name).await?;
    assert_eq!(range, [OffsetRange { start: 0, end: 501 }]);
    backend.topics().delete(&name).await
}

/// A reader may begin at every offset, within what was appended together, too.
pub async fn reading_begins_anywhere(backend: &dyn Backend) -> Result<()> {
    let name = make(backend, "anywhere", 1).await?;
    for range in [0..10, 10..11, 11..40] {
        append(backend, &name, 0, &plain(numbered(range))).await?;
    }
    for start in [0, 1, 9, 10, 11, 12, 39, 40] {
        let mut reader = backend.topics().reader(&name, &[(0, start)]).await?;
        let rows = read_to_end(&mut *reader, 0).await?;
        assert_eq!(rows, numbered(start as usize..40), "from {start}");
    }
    backend.topics().delete(&name).await
}

/// No fetch returns more records than asked for, or goes on once it has the bytes; and all come.
pub async fn limits_of_a_fetch_hold(backend: &dyn Backend) -> Result<()> {
    let name = make(backend, "limits", 1).await?;
    let rows: Vec<Row> = (0..100)
        .map(|i| Row::new(1000 + i, "key", &"x".repeat(97)))
        .collect();
    append(backend, &name, 0, &rows[..60]).await?;
    append(backend, &name, 0, &rows[60..]).await?;
    for (records, bytes, most) in [(7, usize::MAX, 7), (1, 1, 1), (1000, 250, 3), (0, 0, 1)] {
        let limit = FetchLimit {
            records,
            bytes,
            headers: true,
        };
        let mut reader = backend.topics().reader(&name, &[(0, 0)]).await?;
        let mut read = Vec::new();
        within_patience(async {
            loop {
                let fetched = reader.fetch(0, limit)?;
                let found: Vec<_> = fetched.records.iter().flat_map(rows_of).collect();
                assert!(
                    found.len() <= most,
                    "{} of {most} for {limit:?}",
                    found.len()
                );
                read.extend(found);
                assert_eq!(fetched.next_offset, read.len() as i64);
                if fetched.at_end {
                    return Ok(());
                }
                reader.ready(Duration::from_millis(100)).await?;
            }
        })
        .await?;
        assert_eq!(plain(read), rows, "{limit:?}");
    }
    backend.topics().delete(&name).await
}

/// Times are kept as they are, in whatever order they come.
pub async fn timestamps_are_kept(backend: &dyn Backend) -> Result<()> {
    let name = make(backend, "timestamps", 1).await?;
    let times = [
        1_700_000_000_000,
        1,
        1_000_000,
        1_600_000_000_123,
        1_599_999_999_999,
    ];
    let rows: Vec<Row> = times.iter().map(|time| Row::new(*time, "k", "v")).collect();
    append(backend, &name, 0, &rows).await?;
    assert_eq!(plain(read(backend, &name, 0).await?), rows);
    backend.topics().delete(&name).await
}

/// Headers keep their order, repeated keys, and null and empty values.
pub async fn headers_are_kept(backend: &dyn Backend) -> Result<()> {
    let name = make(backend, "headers", 1).await?;
    let header = |key: &str, value: Option<&[u8]>| (key.to_owned(), value.map(<[u8]>::to_vec));
    let mut rows = plain(numbered(0..5));
    rows[1].headers = vec![
        header("b", Some(b"2")),
        header("a", None),
        header("b", Some(b"")),
    ];
    rows[3].headers = vec![header("epoch", Some(&[0, 255, 1]))];
    append(backend, &name, 0, &rows[..3]).await?;
    append(backend, &name, 0, &rows[3..4]).await?;
    append(backend, &name, 0, &rows[4..]).await?;
    assert_eq!(plain(read(backend, &name, 0).await?), rows);
    let mut reader = backend.topics().reader(&name, &[(0, 4)]).await?;
    assert_eq!(plain(read_to_end(&mut *reader, 0).await?), rows[4..]);
    // Who does not ask for them gets the same records without.
    let mut reader = backend.topics().reader(&name, &[(0, 0)]).await?;
    let limit = FetchLimit {
        headers: false,
        ..LIMIT
    };
    let bare = plain(read_to_end_with(&mut *reader, 0, limit).await?);
    rows.iter_mut().for_each(|row| row.headers.clear());
    assert_eq!(bare, rows);
    backend.topics().delete(&name).await
}

/// A key or value that is null is not one that is empty.
pub async fn nulls_are_not_empty(backend: &dyn Backend) -> Result<()> {
    let name = make(backend, "nulls", 1).await?;
    let contents = [None, Some(b"".to_vec()), Some(vec![0, 255])];
    let mut rows = Vec::new();
    for key in &contents {
        for value in &contents {
            rows.push(Row {
                timestamp: 5,
                key: key.clone(),
                value: value.clone(),
                headers: vec![],
            });
        }
    }
    append(backend, &name, 0, &rows).await?;
    append(backend, &name, 0, &rows[4..5]).await?;
    append(backend, &name, 0, &rows[..1]).await?;
    let expected = [&rows[..], &rows[4..5], &rows[..1]].concat();
    assert_eq!(plain(read(backend, &name, 0).await?), expected);
    backend.topics().delete(&name).await
}

/// One append writes to many partitions, one reader reads many, each at its own pace.
pub async fn partitions_are_independent(backend: &dyn Backend) -> Result<()> {
    let name = make(backend, "partitions", 7).await?;
    let records: Vec<_> = [6, 0, 3, 0]
        .iter()
        .map(|p| new_records(*p, &plain(numbered(0..*p as usize + 1))))
        .collect();
    backend.topics().append(&name, &records).await?;
    let ends: Vec<_> = backend
        .topics()
        .offsets(&name)
        .await?
        .iter()
        .map(|r| r.end)
        .collect();
    assert_eq!(ends, [2, 0, 0, 4, 0, 0, 7]);
    let mut reader = backend
        .topics()
        .reader(&name, &[(6, 5), (3, 0), (1, 0)])
        .await?;
    assert_eq!(read_to_end(&mut *reader, 1).await?, []);
    assert_eq!(read_to_end(&mut *reader, 6).await?, numbered(5..7));
    append(backend, &name, 1, &plain(numbered(0..3))).await?;
    assert_eq!(read_to_end(&mut *reader, 3).await?, numbered(0..4));
    read_exactly(&mut *reader, 1, &numbered(0..3)).await?;
    assert_eq!(reader.partitions().await?, 7);
    assert!(
        reader.fetch(2, LIMIT).is_err(),
        "partition 2 was never asked for"
    );
    let bad = backend
        .topics()
        .append(&name, &[new_records(7, &plain(numbered(0..1)))])
        .await;
    assert!(bad.is_err(), "there is no partition 7");
    backend.topics().delete(&name).await
}

/// Reads until all of `expected` are there: other than up to the end, which may not have moved yet
/// for the reader.
async fn read_exactly(
    reader: &mut dyn Reader,
    partition: i32,
    expected: &[(i64, Row)],
) -> Result<()> {
    let mut rows = Vec::new();
    within_patience(async {
        while rows.len() < expected.len() {
            let fetched = reader.fetch(partition, LIMIT)?;
            rows.extend(fetched.records.iter().flat_map(rows_of));
            if rows.len() < expected.len() {
                reader.ready(Duration::from_millis(100)).await?;
            }
        }
        Ok(())
    })
    .await?;
    assert_eq!(rows, expected);
    Ok(())
}

/// What was asked for is described, until it is deleted.
pub async fn topics_are_made_described_and_deleted(backend: &dyn Backend) -> Result<()> {
    let topics = backend.topics();
    let policies = [
        CleanupPolicy::Delete,
        CleanupPolicy::Compact,
        CleanupPolicy::CompactDelete,
    ];
    let mut names = Vec::new();
    for (partitions, cleanup) in (1..).zip(policies) {
        let name = backend.name("describe");
        assert_eq!(topics.describe(&name).await?, None);
        make_topic(
            backend,
            NewTopic {
                cleanup,
                ..topic(&name, partitions)
            },
        )
        .await?;
        let found = topics.describe(&name).await?;
        let found = found.ok_or_else(|| Error::Internal(format!("{name} is not there")))?;
        assert_eq!(
            (found.name.as_str(), found.partitions, found.replicas),
            (&*name, partitions, 1)
        );
        assert_eq!(found.cleanup, Some(cleanup));
        names.push(name);
    }
    let listed = topics.list().await?;
    assert!(listed.is_sorted_by_key(|topic| topic.name.clone()));
    for name in &names {
        assert_eq!(listed.iter().filter(|topic| topic.name == *name).count(), 1);
        topics.delete(name).await?;
        assert_eq!(topics.describe(name).await?, None);
    }
    // A topic made anew has nothing of the old one.
    append_to_new(backend, &names[0]).await?;
    topics.delete(&names[0]).await?;
    append_to_new(backend, &names[0]).await?;
    topics.delete(&names[0]).await
}

async fn append_to_new(backend: &dyn Backend, name: &str) -> Result<()> {
    make_topic(backend, topic(name, 1)).await?;
    assert_eq!(read(backend, name, 0).await?, []);
    append(backend, name, 0, &plain(numbered(0..3))).await?;
    assert_eq!(read(backend, name, 0).await?, numbered(0..3));
    Ok(())
}

/// What the caller can put right is said so, with the name of the topic.
pub async fn what_cannot_be_is_a_user_error(backend: &dyn Backend) -> Result<()> {
    let topics = backend.topics();
    let name = make(backend, "errors", 2).await?;
    let missing = backend.name("missing");
    let check = |result: Result<()>, name: &str, expected: &str| {
        let error = result.expect_err(expected);
        assert!(matches!(error, Error::User(_)), "{error:?}");
        let message = error.to_string();
        assert!(
            message.contains(name) && message.contains(expected),
            "{message}"
        );
    };
    check(
        topics.create(&topic(&name, 2)).await,
        &name,
        "exists already",
    );
    check(topics.create(&topic("a b", 2)).await, "a b", "not a name");
    check(
        topics.create(&topic(&missing, 0)).await,
        &missing,
        "0 partitions",
    );
    check(topics.delete(&missing).await, &missing, "does not exist");
    check(topics.grow(&missing, 3).await, &missing, "does not exist");
    check(topics.grow(&name, 1).await, &name, "can only be added");
    check(
        topics.offsets(&missing).await.map(drop),
        &missing,
        "does not exist",
    );
    check(
        topics.reader(&missing, &[(0, 0)]).await.map(drop),
        &missing,
        "does not exist",
    );
    check(
        topics.reader(&name, &[(2, 0)]).await.map(drop),
        &name,
        "no partition 2",
    );
    let records = [new_records(0, &plain(numbered(0..1)))];
    check(
        topics.append(&missing, &records).await,
        &missing,
        "does not exist",
    );
    assert_eq!(
        topics.describe(&missing).await?,
        None,
        "asking must not make the topic"
    );
    topics.delete(&name).await
}

/// Standing at the end, of an empty partition, too, is normal.
pub async fn the_end_of_a_partition_is_no_error(backend: &dyn Backend) -> Result<()> {
    let name = make(backend, "end", 2).await?;
    append(backend, &name, 0, &plain(numbered(0..2))).await?;
    let mut reader = backend.topics().reader(&name, &[(0, 2), (1, 0)]).await?;
    for partition in [0, 1, 0, 1] {
        assert_eq!(read_to_end(&mut *reader, partition).await?, []);
    }
    append(backend, &name, 0, &[Row::numbered(2)]).await?;
    read_exactly(&mut *reader, 0, &numbered(2..3)).await?;
    backend.topics().delete(&name).await
}

/// The error names topic, partition and offset: it is never taken for the end.
pub async fn offsets_beyond_the_end_are_errors(backend: &dyn Backend) -> Result<()> {
    let name = make(backend, "beyond", 2).await?;
    append(backend, &name, 1, &plain(numbered(0..3))).await?;
    let mut reader = backend.topics().reader(&name, &[(1, 17)]).await?;
    let message = fetch_error(&mut *reader, 1).await?;
    for part in [&name, "partition 1", "offset 17", "0 to 3"] {
        assert!(message.contains(part), "no {part} in: {message}");
    }
    backend.topics().delete(&name).await
}

/// Records that were removed are missed, never skipped.
pub async fn offsets_before_the_start_are_errors(backend: &dyn Backend) -> Result<()> {
    let name = make(backend, "before", 1).await?;
    append(backend, &name, 0, &plain(numbered(0..20))).await?;
    append(backend, &name, 0, &plain(numbered(20..30))).await?;
    let early = backend.topics().reader(&name, &[(0, 0)]).await?;
    backend.truncate(&name, 0, 7).await?;
    let range = backend.topics().offsets(&name).await?;
    assert_eq!(range, [OffsetRange { start: 7, end: 30 }]);
    assert_eq!(read(backend, &name, 0).await?, numbered(7..30));
    backend.truncate(&name, 0, 25).await?;
    assert_eq!(read(backend, &name, 0).await?, numbered(25..30));
    let mut late = backend.topics().reader(&name, &[(0, 24)]).await?;
    let message = fetch_error(&mut *late, 0).await?;
    for part in [&name, "partition 0", "offset 24", "25 to 30"] {
        assert!(message.contains(part), "no {part} in: {message}");
    }
    // One that was underway finds its records, as a log may have sent them before, or an error.
    match early.fetch(0, LIMIT) {
        Ok(fetched) => assert!(fetched.next_offset <= 30),
        Err(error) => assert!(error.to_string().contains("offset 0"), "{error}"),
    }
    // All gone: the offsets go on where they were.
    backend.truncate(&name, 0, 30).await?;
    append(backend, &name, 0, &[Row::numbered(30)]).await?;
    assert_eq!(read(backend, &name, 0).await?, numbered(30..31));
    backend.topics().delete(&name).await
}

/// A reader that waits learns of records as they come.
pub async fn a_waiting_reader_is_woken(backend: &dyn Backend) -> Result<()> {
    let name = make(backend, "woken", 2).await?;
    let mut reader = backend.topics().reader(&name, &[(0, 0), (1, 0)]).await?;
    for round in 0..5_usize {
        let partition = (round % 2) as i32;
        let write = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            append(backend, &name, partition, &[Row::numbered(round)]).await
        };
        let wait = async {
            loop {
                let other = reader.fetch(1 - partition, LIMIT)?;
                assert!(other.records.is_none(), "nothing was written there");
                if let Some(records) = reader.fetch(partition, LIMIT)?.records {
                    return Ok(rows_of(&records));
                }
                reader.ready(PATIENCE * 2).await?;
            }
        };
        let both = async { tokio::try_join!(write, wait) };
        let ((), rows) = tokio::time::timeout(PATIENCE, both)
            .await
            .unwrap_or_else(|_| Err(Error::Internal("the reader slept on".to_owned())))?;
        assert_eq!(rows, [(round as i64 / 2, Row::numbered(round))]);
    }
    backend.topics().delete(&name).await
}

/// Waiting ends after the time given for it.
pub async fn waiting_ends_without_records(backend: &dyn Backend) -> Result<()> {
    let name = make(backend, "waiting", 1).await?;
    let mut reader = backend.topics().reader(&name, &[(0, 0)]).await?;
    within_patience(async {
        for _ in 0..3 {
            reader.ready(Duration::from_millis(20)).await?;
            assert!(reader.fetch(0, LIMIT)?.records.is_none());
        }
        Ok(())
    })
    .await?;
    backend.topics().delete(&name).await
}

/// Partitions can be added; a reader learns of them and reads them when told to.
pub async fn a_topic_grows(backend: &dyn Backend) -> Result<()> {
    let name = make(backend, "grows", 1).await?;
    append(backend, &name, 0, &plain(numbered(0..2))).await?;
    let mut reader = backend.topics().reader(&name, &[(0, 0)]).await?;
    assert_eq!(reader.partitions().await?, 1);
    backend.topics().grow(&name, 3).await?;
    within_patience(async {
        while reader.partitions().await? != 3 {
            reader.ready(Duration::from_millis(100)).await?;
        }
        Ok(())
    })
    .await?;
    append(backend, &name, 2, &plain(numbered(0..5))).await?;
    reader.add_partition(2, 0)?;
    read_exactly(&mut *reader, 2, &numbered(0..5)).await?;
    read_exactly(&mut *reader, 0, &numbered(0..2)).await?;
    assert_eq!(backend.topics().offsets(&name).await?.len(), 3);
    backend.topics().delete(&name).await
}

/// Records of several megabytes, which no limit of a fetch keeps back.
pub async fn large_records_pass(backend: &dyn Backend) -> Result<()> {
    let name = make(backend, "large", 1).await?;
    backend.accept_large(&name).await?;
    let large: String = (0..5 << 20)
        .map(|i| char::from(b'a' + (i % 23) as u8))
        .collect();
    let rows = [
        Row::new(1, "a", &large),
        Row::new(2, "b", "small"),
        Row::new(3, "c", &large),
    ];
    append(backend, &name, 0, &rows).await?;
    let mut reader = backend.topics().reader(&name, &[(0, 0)]).await?;
    let mut read = Vec::new();
    within_patience(async {
        while read.len() < 3 {
            let fetched = reader.fetch(
                0,
                FetchLimit {
                    records: 10,
                    bytes: 1000,
                    headers: true,
                },
            )?;
            read.extend(fetched.records.iter().flat_map(rows_of));
            reader.ready(Duration::from_millis(20)).await?;
        }
        Ok(())
    })
    .await?;
    assert!(plain(read) == rows, "the records came back otherwise");
    backend.topics().delete(&name).await
}

/// Records appended one by one are read together.
pub async fn many_small_appends_are_read(backend: &dyn Backend) -> Result<()> {
    let name = make(backend, "small", 1).await?;
    for number in 0..300 {
        append(backend, &name, 0, &[Row::numbered(number)]).await?;
    }
    assert_eq!(read(backend, &name, 0).await?, numbered(0..300));
    backend.topics().delete(&name).await
}

/// Appends to one partition at the same time are all there, each once and in its writer's order.
pub async fn writers_beside_each_other_lose_nothing(backend: &dyn Backend) -> Result<()> {
    let name = make(backend, "writers", 2).await?;
    let write = async |writer: i64| -> Result<()> {
        for number in 0..20 {
            let row = Row::new(number + 1, &writer.to_string(), "v");
            let records = [
                new_records(0, &[row.clone(), row.clone()]),
                new_records(1, &[row]),
            ];
            backend.topics().append(&name, &records).await?;
        }
        Ok(())
    };
    futures::future::try_join_all((0..8).map(write)).await?;
    for (partition, each) in [(0, 2), (1, 1)] {
        let rows = read(backend, &name, partition).await?;
        assert!(
            rows.iter()
                .zip(0..)
                .all(|((offset, _), expected)| *offset == expected)
        );
        let mut times: BTreeMap<_, Vec<i64>> = BTreeMap::new();
        for (_, row) in rows {
            times.entry(row.key).or_default().push(row.timestamp);
        }
        assert_eq!(times.len(), 8);
        let expected: Vec<i64> = (1..=20).flat_map(|time| vec![time; each]).collect();
        assert!(times.values().all(|found| *found == expected), "{times:?}");
    }
    backend.topics().delete(&name).await
}

/// Retention by time: from the start on, up to the first record that is young enough.
pub async fn old_records_go(backend: &dyn Backend) -> Result<()> {
    let name = backend.name("retention-time");
    let kept = NewTopic {
        retention_ms: Some(1000),
        ..topic(&name, 2)
    };
    make_topic(backend, kept).await?;
    for time in [1000, 2000, 1500, 5000, 1200] {
        append(backend, &name, 1, &[Row::new(time, "k", "v")]).await?;
    }
    if backend.maintain(2500).await? {
        let offsets = async || Ok::<_, Error>(backend.topics().offsets(&name).await?[1].start);
        assert_eq!(offsets().await?, 1);
        assert!(backend.maintain(3000).await?);
        assert_eq!(offsets().await?, 1);
        assert!(backend.maintain(3001).await?);
        // 1200 is old, too, but younger records come before it.
        assert_eq!(offsets().await?, 3);
        assert_eq!(read(backend, &name, 1).await?.len(), 2);
        assert!(backend.maintain(i64::MAX).await?);
        let ranges = backend.topics().offsets(&name).await?;
        assert_eq!(ranges[1], OffsetRange { start: 5, end: 5 });
    }
    backend.topics().delete(&name).await
}

/// Retention by size: as much from the start on as leaves the size that is to be kept.
pub async fn surplus_records_go(backend: &dyn Backend) -> Result<()> {
    let name = backend.name("retention-size");
    let kept = NewTopic {
        retention_bytes: Some(10_000),
        ..topic(&name, 1)
    };
    make_topic(backend, kept).await?;
    for number in 0..30 {
        append(
            backend,
            &name,
            0,
            &[Row::new(number, "k", &"v".repeat(1000))],
        )
        .await?;
    }
    if backend.maintain(100).await? {
        let ranges = backend.topics().offsets(&name).await?;
        assert_eq!(ranges[0].end, 30);
        assert!((19..22).contains(&ranges[0].start), "{ranges:?}");
        assert!(backend.maintain(100).await?);
        assert_eq!(backend.topics().offsets(&name).await?, ranges);
        let rows = read(backend, &name, 0).await?;
        assert_eq!(rows[0].0, ranges[0].start);
    }
    backend.topics().delete(&name).await
}

/// Compaction: records keep their offsets and order, and reading may begin in the gaps.
pub async fn of_each_key_the_last_record_stays(backend: &dyn Backend) -> Result<()> {
    let name = backend.name("compaction");
    let compacted = NewTopic {
        cleanup: CleanupPolicy::Compact,
        ..topic(&name, 1)
    };
    make_topic(backend, compacted).await?;
    let key = |number: i64| format!("k{}", number % 10);
    let rows: Vec<Row> = (0..95)
        .map(|i| Row::new(i + 1, &key(i), &i.to_string()))
        .collect();
    for part in rows.chunks(7) {
        append(backend, &name, 0, part).await?;
    }
    if backend.maintain(1000).await? {
        let expected: Vec<_> = (85..95).map(|i| (i, rows[i as usize].clone())).collect();
        assert_eq!(read(backend, &name, 0).await?, expected);
        let ranges = backend.topics().offsets(&name).await?;
        assert_eq!(ranges, [OffsetRange { start: 0, end: 95 }]);
        for start in [0, 50, 85, 90, 94, 95] {
            let mut reader = backend.topics().reader(&name, &[(0, start)]).await?;
            let rows = read_to_end(&mut *reader, 0).await?;
            assert_eq!(rows.len() as i64, 10.min(95 - start), "from {start}");
        }
        // A second pass, over what the first one left.
        append(backend, &name, 0, &[Row::new(7, "k5", "new")]).await?;
        assert!(backend.maintain(1000).await?);
        let offsets: Vec<_> = read(backend, &name, 0)
            .await?
            .iter()
            .map(|row| row.0)
            .collect();
        assert_eq!(offsets, (86..96).collect::<Vec<i64>>());
    }
    backend.topics().delete(&name).await
}

/// Compaction keeps a tombstone at first, so that readers underway learn of the deletion. The
/// backend keeps them for a day.
pub async fn tombstones_stay_for_a_time(backend: &dyn Backend) -> Result<()> {
    const DAY: i64 = 24 * 60 * 60 * 1000;
    let name = backend.name("tombstones");
    let compacted = NewTopic {
        cleanup: CleanupPolicy::Compact,
        ..topic(&name, 1)
    };
    make_topic(backend, compacted).await?;
    let tombstone = Row {
        value: None,
        ..Row::new(2, "a", "")
    };
    append(
        backend,
        &name,
        0,
        &[Row::new(1, "a", "1"), Row::new(1, "b", "1")],
    )
    .await?;
    append(backend, &name, 0, std::slice::from_ref(&tombstone)).await?;
    if backend.maintain(1000).await? {
        let both = [(1, Row::new(1, "b", "1")), (2, tombstone)];
        assert_eq!(read(backend, &name, 0).await?, both);
        append(backend, &name, 0, &[Row::new(3, "c", "1")]).await?;
        assert!(backend.maintain(999 + DAY).await?);
        assert_eq!(read(backend, &name, 0).await?[..2], both);
        append(backend, &name, 0, &[Row::new(3, "d", "1")]).await?;
        assert!(backend.maintain(1000 + DAY).await?);
        let left: Vec<_> = read(backend, &name, 0)
            .await?
            .iter()
            .map(|row| row.0)
            .collect();
        assert_eq!(left, [1, 3, 4]);
    }
    backend.topics().delete(&name).await
}
