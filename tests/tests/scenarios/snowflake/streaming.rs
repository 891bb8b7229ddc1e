//! Rows that are streamed into Snowflake, against a server of the tests' own: each row once, whatever
//! happens to requests, processes, channels and pipes.

mod engine;
mod sdk;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use futures::StreamExt;
use kappa_storage::Error;
use kappa_storage::snowflake::{
    ChannelMarks, EpochRows, RejectedRows, SnowflakeOptions, Streamed, Streaming, Target,
};
use kappa_tests::streaming_server::{Fault, Kind, Row, StreamingServer};
use serde_json::Value;

use super::now_ms;
use super::support::events;

/// Rows of a table of [`events`]; one without a name is refused where a name must be.
type Rows<'a> = &'a [(i64, Option<&'a str>)];

fn epoch(epoch: u64, rows: Rows) -> EpochRows {
    let columns: [ArrayRef; 2] = [
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.0))),
        Arc::new(StringArray::from_iter(rows.iter().map(|row| row.1))),
    ];
    let rows = vec![RecordBatch::try_new(events(), columns.to_vec()).unwrap()];
    EpochRows { epoch, rows }
}

/// Rows with these ids, all good.
fn good(number: u64, ids: std::ops::Range<i64>) -> EpochRows {
    let rows: Vec<_> = ids.map(|id| (id, Some("name"))).collect();
    epoch(number, &rows)
}

fn options(server: &StreamingServer, more: &[(&str, &str)]) -> SnowflakeOptions {
    let mut properties = server.properties();
    let usual = [
        ("TABLE", "T"),
        ("MODE", "streaming"),
        ("RETRY_TIMEOUT", "2"),
        ("CHANNELS", "3"),
    ];
    for (name, value) in usual.iter().chain(more) {
        match value.is_empty() {
            true => properties.remove(*name),
            false => properties.insert((*name).to_owned(), (*value).to_owned()),
        };
    }
    SnowflakeOptions::parse(&properties).unwrap()
}

fn sink_of(options: &SnowflakeOptions, schema: &SchemaRef) -> Streaming {
    let target = Target {
        sink: "CLICKS".to_owned(),
        mark: "0a1b2c3d".to_owned(),
        schema: Arc::clone(schema),
        keys: Vec::new(),
    };
    Streaming::try_new(options, target, Arc::new(now_ms)).unwrap()
}

fn sink(server: &StreamingServer) -> Streaming {
    sink_of(&options(server, &[]), &events())
}

/// What a data directory has of a sink.
#[derive(Debug, Clone, Default)]
struct Durable {
    last: u64,
    marks: ChannelMarks,
    rows: u64,
    rejected: Vec<RejectedRows>,
}

impl Durable {
    /// The epochs that are yet to be delivered.
    fn rest(&self, outbox: &[EpochRows]) -> Vec<EpochRows> {
        let rest = outbox.iter().filter(|rows| rows.epoch > self.last);
        rest.cloned().collect()
    }

    fn note(&mut self, last: u64, streamed: Streamed) {
        self.last = last;
        self.marks = streamed.marks;
        self.rows += streamed.rows;
        self.rejected.extend(streamed.rejected);
    }

    /// One try to deliver what is left.
    async fn once(&mut self, sink: &mut Streaming, outbox: &[EpochRows]) -> Result<(), Error> {
        sink.open(&self.marks).await?;
        let rest = self.rest(outbox);
        if let Some(last) = rest.last().map(|rows| rows.epoch) {
            let streamed = sink.commit(rest).await?;
            self.note(last, streamed);
        }
        Ok(())
    }

    /// Tries again as a sink does.
    async fn deliver(&mut self, sink: &mut Streaming, outbox: &[EpochRows]) {
        for _ in 0..20 {
            match self.once(sink, outbox).await {
                Ok(()) => return,
                Err(error) if error.is_retryable() => {}
                Err(error) => panic!("{error}"),
            }
        }
        panic!("it was not delivered in 20 tries");
    }
}

fn ids(rows: &[Row]) -> Vec<i64> {
    rows.iter()
        .map(|row| row.value["ID"].as_i64().unwrap())
        .collect()
}

fn sorted_ids(server: &StreamingServer) -> Vec<i64> {
    let mut ids = ids(&server.rows("T"));
    ids.sort_unstable();
    ids
}

/// Each channel has its rows in the order of their tokens, and of the outbox.
fn assert_in_order(rows: &[Row]) {
    let mut by_channel: BTreeMap<&str, Vec<&Row>> = BTreeMap::new();
    for row in rows {
        by_channel.entry(&row.channel).or_default().push(row);
    }
    for rows in by_channel.into_values() {
        assert!(rows.is_sorted_by_key(|row| &row.token));
        let ids = ids(&rows.into_iter().cloned().collect::<Vec<_>>());
        assert!(ids.is_sorted(), "{ids:?}");
    }
}

#[tokio::test]
async fn rows_are_in_the_table_when_an_epoch_is_delivered() {
    let server = StreamingServer::start();
    server.commit_after(3);
    let mut sink = sink(&server);
    assert_eq!(sink.open(&ChannelMarks::new()).await.unwrap(), 0);
    let streamed = sink.commit(vec![good(4, 0..10)]).await.unwrap();
    assert_eq!((streamed.rows, streamed.rejected.len()), (10, 0));
    assert_eq!(ids(&server.rows("T")), (0..10).collect::<Vec<_>>());
    assert_eq!(
        server.rows("T")[3].value,
        serde_json::json!({"ID": 3, "NAME": "name"})
    );
    // The sink's mark is in the channels' names.
    assert_eq!(
        server.channels(),
        [
            "KAPPA_CLICKS_0A1B2C3D_0",
            "KAPPA_CLICKS_0A1B2C3D_1",
            "KAPPA_CLICKS_0A1B2C3D_2"
        ]
    );
}

#[tokio::test]
async fn an_epoch_that_comes_again_is_not_sent_again() {
    let server = StreamingServer::start();
    let outbox = [good(1, 0..5), good(2, 5..9)];
    let mut first = sink(&server);
    first.open(&ChannelMarks::new()).await.unwrap();
    first.commit(outbox.to_vec()).await.unwrap();
    // Nobody noted it; the same process, then another, which has more by now.
    first.commit(outbox.to_vec()).await.unwrap();
    let sent = server.requests(Kind::Append);
    let mut second = sink(&server);
    assert_eq!(second.open(&ChannelMarks::new()).await.unwrap(), 2);
    second.commit(outbox.to_vec()).await.unwrap();
    assert_eq!(server.requests(Kind::Append), sent);
    let streamed = second
        .commit([&outbox[..], &[good(7, 9..12)]].concat())
        .await
        .unwrap();
    assert_eq!(streamed.rows, 12);
    assert_eq!(sorted_ids(&server), (0..12).collect::<Vec<_>>());
    assert_in_order(&server.rows("T"));
}

#[tokio::test]
async fn a_large_epoch_goes_through_all_channels_in_requests_of_bounded_size() {
    let server = StreamingServer::start();
    // Text that does not compress: the server refuses more than 4 MiB in a request.
    let mut seed = 7_u64;
    let names: Vec<String> = (0..24)
        .map(|_| {
            (0..700_000)
                .map(|_| char::from(b' ' + 2 + (random(&mut seed) % 90) as u8))
                .collect()
        })
        .collect();
    let rows: Vec<_> = (0..)
        .zip(&names)
        .map(|(id, name)| (id, Some(name.as_str())))
        .collect();
    let mut sink = sink(&server);
    sink.open(&ChannelMarks::new()).await.unwrap();
    sink.commit(vec![epoch(1, &rows)]).await.unwrap();
    let landed = server.rows("T");
    assert_eq!(landed.len(), 24);
    let by_id: BTreeMap<i64, &str> = landed
        .iter()
        .map(|row| {
            (
                row.value["ID"].as_i64().unwrap(),
                row.value["NAME"].as_str().unwrap(),
            )
        })
        .collect();
    assert!(by_id.into_values().eq(names.iter().map(String::as_str)));
    let channels: BTreeSet<_> = landed.iter().map(|row| row.channel.clone()).collect();
    assert_eq!(channels.len(), 3);
    assert_in_order(&landed);
    // Small epochs share requests.
    let before = server.requests(Kind::Append);
    sink.commit(
        (2..302)
            .map(|n| good(n, 100 + n as i64..101 + n as i64))
            .collect(),
    )
    .await
    .unwrap();
    assert_eq!(server.requests(Kind::Append), before + 3);
    assert_eq!(server.rows("T").len(), 324);
}

/// Each request in turn is met by a fault; epochs follow each other.
async fn survives(faults: &[fn(u32) -> Fault]) {
    let server = StreamingServer::start();
    server.commit_after(1);
    let (mut durable, mut outbox, mut next) = (Durable::default(), Vec::new(), 0);
    for fault in faults {
        let mut request = 0;
        loop {
            for _ in 0..3 {
                outbox.push(good(outbox.len() as u64 + 1, next..next + 4));
                next += 4;
            }
            let hanging = server.hanging();
            server.fault(fault(request));
            let mut process = sink(&server);
            tokio::select! {
                () = durable.deliver(&mut process, &outbox) => {}
                // It dies here, in the middle of a request.
                () = server.hung(hanging) => {}
            }
            let fired = server.forget_faults() == 0;
            durable.deliver(&mut sink(&server), &outbox).await;
            let what = format!("{:?}", fault(request));
            assert_eq!(sorted_ids(&server), (0..next).collect::<Vec<_>>(), "{what}");
            if !fired {
                break;
            }
            request += 1;
        }
        // A login, a table, a host, a token, three channels, rows, looks.
        assert!(request >= 12, "{:?}: {request} requests", fault(0));
    }
    assert_eq!(durable.rows, next.unsigned_abs());
    assert_in_order(&server.rows("T"));
}

#[tokio::test]
async fn requests_without_an_answer_are_survived() {
    survives(&[
        |skip| Fault::Lose(None, skip),
        |skip| Fault::Cut(None, skip),
    ])
    .await;
}

#[tokio::test]
async fn refusals_that_pass_are_survived() {
    survives(&[
        |skip| Fault::Status(429, None, skip),
        |skip| Fault::Status(500, None, skip),
        |skip| Fault::Status(503, None, skip),
        |skip| Fault::Expire(None, skip),
    ])
    .await;
}

#[tokio::test]
async fn pipes_that_crash_and_channels_that_others_open_are_survived() {
    survives(&[
        |skip| Fault::Crash(None, skip),
        |skip| Fault::Fence(None, skip),
    ])
    .await;
}

#[tokio::test]
async fn a_crash_at_any_request_is_survived() {
    survives(&[
        |skip| Fault::Hang(None, skip),
        |skip| Fault::HangAfter(None, skip),
    ])
    .await;
}

#[tokio::test]
async fn a_pipe_that_moves_is_followed() {
    for kind in [Kind::Open, Kind::Append, Kind::Status] {
        for skip in 0..3 {
            let server = StreamingServer::start();
            server.commit_after(2);
            server.fault(Fault::Status(410, Some(kind), skip));
            let outbox: Vec<_> = (0..6)
                .map(|n| good(n + 1, n as i64 * 3..n as i64 * 3 + 3))
                .collect();
            Durable::default()
                .deliver(&mut sink(&server), &outbox)
                .await;
            assert_eq!(sorted_ids(&server), (0..18).collect::<Vec<_>>());
            assert_eq!(server.forget_faults(), 0);
            assert!(server.requests(Kind::Hostname) > 1, "{kind:?} {skip}");
        }
    }
}

#[tokio::test]
async fn what_snowflake_has_not_committed_is_waited_for_and_said() {
    let server = StreamingServer::start();
    server.hold(true);
    let (mut durable, outbox) = (Durable::default(), [good(1, 0..5)]);
    let mut process = sink_of(&options(&server, &[("RETRY_TIMEOUT", "1")]), &events());
    let error = durable.once(&mut process, &outbox).await.unwrap_err();
    assert!(error.is_retryable());
    let text = error.to_string();
    assert!(
        text.contains("KAPPA_CLICKS_0A1B2C3D_1 has nothing"),
        "{text}"
    );
    assert!(
        text.contains("00000000000000000001:0000000000 is to come"),
        "{text}"
    );
    let (opened, sent) = (server.requests(Kind::Open), server.requests(Kind::Append));
    server.hold(false);
    // What is on its way is waited for, not sent again.
    durable.once(&mut process, &outbox).await.unwrap();
    assert_eq!(
        (server.requests(Kind::Open), server.requests(Kind::Append)),
        (opened, sent)
    );
    assert_eq!(sorted_ids(&server), (0..5).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_was_on_its_way_when_a_process_died_is_sent_again() {
    let server = StreamingServer::start();
    server.hold(true);
    let outbox = [good(1, 0..5), good(2, 5..9)];
    let mut durable = Durable::default();
    let first = sink_of(&options(&server, &[("RETRY_TIMEOUT", "1")]), &events());
    let mut first = first;
    durable.once(&mut first, &outbox).await.unwrap_err();
    drop(first);
    server.hold(false);
    assert!(server.rows("T").is_empty());
    durable.deliver(&mut sink(&server), &outbox).await;
    assert_eq!(sorted_ids(&server), (0..9).collect::<Vec<_>>());
}

#[tokio::test]
async fn one_who_opens_the_channels_again_and_again_is_noticed() {
    let server = StreamingServer::start();
    for _ in 0..20 {
        server.fault(Fault::Fence(Some(Kind::Append), 0));
    }
    let mut process = sink(&server);
    let mut durable = Durable::default();
    let error = durable
        .once(&mut process, &[good(1, 0..5)])
        .await
        .unwrap_err();
    assert!(!error.is_retryable());
    assert!(
        error.to_string().contains("another process has this sink"),
        "{error}"
    );
    // It is gone.
    server.forget_faults();
    durable.once(&mut process, &[good(1, 0..5)]).await.unwrap();
    assert_eq!(sorted_ids(&server), (0..5).collect::<Vec<_>>());
}

#[tokio::test]
async fn rows_of_another_process_are_noticed() {
    let server = StreamingServer::start();
    let (mut ours, mut theirs) = (sink(&server), sink(&server));
    ours.open(&ChannelMarks::new()).await.unwrap();
    ours.commit(vec![good(1, 0..5)]).await.unwrap();
    // A copy of the data directory goes on by itself.
    assert_eq!(theirs.open(&ChannelMarks::new()).await.unwrap(), 1);
    theirs
        .commit(
            (1..5)
                .map(|n| good(n, n as i64 * 10..n as i64 * 10 + 1))
                .collect(),
        )
        .await
        .unwrap();
    let error = ours
        .commit((1..4).map(|n| good(n, 0..5)).collect())
        .await
        .unwrap_err();
    assert!(!error.is_retryable());
    assert!(
        error
            .to_string()
            .contains("rows that this process did not send"),
        "{error}"
    );
}

#[tokio::test]
async fn channels_that_idle_away_are_made_anew_and_lost_ones_are_said() {
    let server = StreamingServer::start();
    let mut durable = Durable::default();
    let mut process = sink(&server);
    let mut outbox: Vec<_> = (1..7).map(|n| good(n, n as i64..n as i64 + 1)).collect();
    durable.deliver(&mut process, &outbox).await;
    server.drop_channels();
    // Nothing was on its way, and this process knows that.
    outbox.push(good(7, 7..8));
    durable.deliver(&mut process, &outbox).await;
    assert_eq!(sorted_ids(&server), (1..8).collect::<Vec<_>>());
    // The channels have their tokens again.
    outbox.push(good(8, 8..9));
    let mut next = sink(&server);
    durable.deliver(&mut next, &outbox).await;
    assert_eq!(sorted_ids(&server), (1..9).collect::<Vec<_>>());
    // Another process cannot know what was on its way.
    server.drop_channels();
    let error = durable.once(&mut sink(&server), &outbox).await.unwrap_err();
    assert!(!error.is_retryable());
    assert!(
        error
            .to_string()
            .contains("its offset token is none, though rows up to"),
        "{error}"
    );
    assert_eq!(sorted_ids(&server), (1..9).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_scoped_token_is_renewed_before_it_ends() {
    let server = StreamingServer::start();
    server.tokens_last(40);
    let offset = Arc::new(AtomicI64::new(0));
    let shift = Arc::clone(&offset);
    let target = Target {
        sink: "CLICKS".to_owned(),
        mark: "0a1b2c3d".to_owned(),
        schema: events(),
        keys: Vec::new(),
    };
    let now = Arc::new(move || now_ms() + shift.load(Ordering::Relaxed));
    let mut sink = Streaming::try_new(&options(&server, &[]), target, now).unwrap();
    sink.open(&ChannelMarks::new()).await.unwrap();
    sink.commit(vec![good(1, 0..1)]).await.unwrap();
    assert_eq!(server.tokens_given(), 1);
    // Half of its life is over.
    offset.store(25_000, Ordering::Relaxed);
    sink.commit(vec![good(2, 1..2)]).await.unwrap();
    assert_eq!(server.tokens_given(), 2);
    // Refused before its time: there is another, and the request is sent again.
    server.fault(Fault::Expire(Some(Kind::Append), 0));
    sink.commit(vec![good(3, 2..3)]).await.unwrap();
    assert_eq!(server.tokens_given(), 3);
    assert_eq!(sorted_ids(&server), [0, 1, 2]);
}

#[tokio::test]
async fn all_logins_but_a_password_are_taken() {
    let server = StreamingServer::start();
    let logins = [
        ("OAUTH", server.oauth_token()),
        ("PROGRAMMATIC_ACCESS_TOKEN", server.access_token()),
    ];
    for (number, (authenticator, token)) in (1..).zip(logins) {
        let login = [
            ("AUTHENTICATOR", authenticator),
            ("TOKEN", token),
            ("PRIVATE_KEY", ""),
        ];
        let mut sink = sink_of(&options(&server, &login), &events());
        sink.open(&ChannelMarks::new()).await.unwrap();
        sink.commit(
            (1..=number)
                .map(|n| good(n, n as i64..n as i64 + 1))
                .collect(),
        )
        .await
        .unwrap();
    }
    assert_eq!(sorted_ids(&server), [1, 2]);
    let login = [
        ("AUTHENTICATOR", "OAUTH"),
        ("TOKEN", "wrong"),
        ("PRIVATE_KEY", ""),
    ];
    let mut sink = sink_of(&options(&server, &login), &events());
    let error = sink.open(&ChannelMarks::new()).await.unwrap_err();
    assert!(
        !error.is_retryable() && !error.to_string().contains("wrong"),
        "{error}"
    );
    let mut properties = server.properties();
    properties.remove("PRIVATE_KEY");
    for (name, value) in [("PASSWORD", "p"), ("MODE", "streaming")] {
        properties.insert(name.to_owned(), value.to_owned());
    }
    let error = SnowflakeOptions::parse(&properties)
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("MODE 'streaming' takes no PASSWORD"),
        "{error}"
    );
}

#[tokio::test]
async fn another_pipe_may_be_named_and_a_missing_one_is_said() {
    let server = StreamingServer::start();
    let mut missing = sink_of(&options(&server, &[("PIPE", "LANDING")]), &events());
    let error = missing.open(&ChannelMarks::new()).await.unwrap_err();
    assert!(!error.is_retryable());
    assert!(
        error
            .to_string()
            .contains("ERR_PIPE_DOES_NOT_EXIST_OR_NOT_AUTHORIZED"),
        "{error}"
    );
    server.create_pipe("LANDING", "T");
    missing.open(&ChannelMarks::new()).await.unwrap();
    missing.commit(vec![good(1, 0..2)]).await.unwrap();
    assert_eq!(sorted_ids(&server), [0, 1]);
}

/// What was rejected: reason, and the rows' ids.
fn rejected(rejected: &[RejectedRows]) -> Vec<(u64, String, Vec<i64>)> {
    let ids = |payload: &[u8]| {
        let lines = payload
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty());
        lines
            .map(|line| {
                serde_json::from_slice::<Value>(line).unwrap()["ID"]
                    .as_i64()
                    .unwrap()
            })
            .collect()
    };
    let of = |rejected: &RejectedRows| {
        let payload = rejected.payload.as_deref().unwrap_or_default();
        (rejected.rows, rejected.reason.clone(), ids(payload))
    };
    rejected.iter().map(of).collect()
}

#[tokio::test]
async fn rows_that_the_table_does_not_take_are_told_one_by_one() {
    let server = StreamingServer::start();
    server.create_table(
        "T",
        &[("ID", "NUMBER(38,0)", false), ("NAME", "VARCHAR(3)", false)],
    );
    let outbox = [
        epoch(1, &[(1, Some("a")), (2, None), (3, Some("abcd"))]),
        epoch(2, &[(4, Some("b"))]),
    ];
    let mut durable = Durable::default();
    durable.deliver(&mut sink(&server), &outbox).await;
    assert_eq!(sorted_ids(&server), [1, 4]);
    assert_eq!(durable.rows, 2);
    assert_eq!(
        rejected(&durable.rejected),
        [
            (
                1,
                "rejected by Snowflake: column \"NAME\" must not be NULL".to_owned(),
                vec![2]
            ),
            (
                1,
                "rejected by Snowflake: column \"NAME\" of type VARCHAR(3) does not take \"abcd\""
                    .to_owned(),
                vec![3]
            ),
        ]
    );
}

#[tokio::test]
async fn rows_of_which_only_the_number_is_known_are_kept_with_their_neighbours() {
    let server = StreamingServer::start();
    // What is a date is not looked at here.
    server.create_table(
        "T",
        &[("ID", "NUMBER(38,0)", false), ("NAME", "DATE", true)],
    );
    let outbox = [epoch(
        5,
        &[(1, Some("2022-01-08")), (2, Some("tomorrow")), (3, None)],
    )];
    let mut durable = Durable::default();
    durable.deliver(&mut sink(&server), &outbox).await;
    assert_eq!(sorted_ids(&server), [1, 3]);
    assert_eq!(durable.rows, 2);
    let found = rejected(&durable.rejected);
    let [(1, reason, among)] = &found[..] else {
        panic!("{found:?}");
    };
    assert_eq!(
        *reason,
        "rejected by Snowflake: 1 of the rows up to offset token 00000000000000000005:0000000000, the \
         last because: a value is no DATE for NAME; they are among these 3"
    );
    assert_eq!(*among, [1, 2, 3]);
}

#[tokio::test]
async fn rejected_rows_are_told_once_though_a_process_dies_before_it_notes_them() {
    let server = StreamingServer::start();
    server.create_table(
        "T",
        &[("ID", "NUMBER(38,0)", false), ("NAME", "VARCHAR", false)],
    );
    let mut outbox = vec![epoch(1, &[(1, None), (2, Some("b"))])];
    let mut durable = Durable::default();
    durable.clone().deliver(&mut sink(&server), &outbox).await;
    outbox.push(epoch(2, &[(3, None)]));
    durable.deliver(&mut sink(&server), &outbox).await;
    durable.deliver(&mut sink(&server), &outbox).await;
    let ids: Vec<_> = rejected(&durable.rejected)
        .into_iter()
        .flat_map(|(_, _, ids)| ids)
        .collect();
    assert_eq!(ids, [1, 3]);
    assert_eq!((sorted_ids(&server), durable.rows), (vec![2], 1));
}

#[tokio::test]
async fn a_table_is_made_and_widened() {
    let server = StreamingServer::start();
    Durable::default()
        .deliver(&mut sink(&server), &[good(1, 0..1)])
        .await;
    let fields = [
        events().fields().to_vec(),
        vec![Arc::new(Field::new("f", DataType::Float64, true))],
    ];
    let schema: SchemaRef = Arc::new(Schema::new(fields.concat()));
    let mut narrow = sink_of(&options(&server, &[]), &schema);
    let error = narrow
        .open(&ChannelMarks::new())
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("has no column for \"f\""), "{error}");
    let mut wide = sink_of(&options(&server, &[("SCHEMA_EVOLUTION", "true")]), &schema);
    wide.open(&ChannelMarks::new()).await.unwrap();
}

/// xorshift64*: the same numbers for a seed, for ever.
fn random(state: &mut u64) -> u64 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    state.wrapping_mul(0x2545_F491_4F6C_DD1D)
}

/// Tries of a random run; the last is without faults.
const ROUNDS: u32 = 8;

/// One life of a sink under faults and crashes, until all is delivered.
async fn random_run(seed: u64) {
    let server = StreamingServer::start();
    server.create_table(
        "T",
        &[("ID", "NUMBER(38,0)", false), ("NAME", "VARCHAR", false)],
    );
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut below = |n: u64| random(&mut state) % n;
    let channels = (below(4) + 1).to_string();
    let options = options(&server, &[("CHANNELS", &channels)]);
    server.commit_after(below(3) as u32);
    let (mut durable, mut outbox) = (Durable::default(), Vec::new());
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    let (mut id, mut number) = (0, 0);
    let mut process = None;
    for round in 0..ROUNDS {
        for _ in 0..below(4) {
            // Epochs without rows are not in an outbox.
            number += below(3) + 1;
            let mut rows = Vec::new();
            for _ in 0..below(30) + 1 {
                id += 1;
                let name = (below(10) > 0).then_some("name");
                match name {
                    Some(_) => good.push(id),
                    None => bad.push(id),
                }
                rows.push((id, name));
            }
            outbox.push(epoch(number, &rows));
        }
        let skip = below(14) as u32;
        let fault = match below(10) {
            0 => Some(Fault::Lose(None, skip)),
            1 => Some(Fault::Cut(None, skip)),
            2 => Some(Fault::Status(429, None, skip)),
            3 => Some(Fault::Status(410, Some(Kind::Append), skip % 3)),
            4 => Some(Fault::Expire(None, skip)),
            5 => Some(Fault::Crash(None, skip)),
            6 => Some(Fault::Fence(None, skip)),
            7 => Some(Fault::Hang(None, skip)),
            8 => Some(Fault::HangAfter(None, skip)),
            _ => None,
        };
        if let Some(fault) = fault.filter(|_| round + 1 < ROUNDS) {
            server.fault(fault);
        }
        if round + 1 == ROUNDS {
            server.forget_faults();
        }
        let mut sink = process
            .take()
            .unwrap_or_else(|| sink_of(&options, &events()));
        // The note of what was delivered may be lost with the process.
        let noted = round + 1 == ROUNDS || below(4) > 0;
        let (mut after, hanging) = (durable.clone(), server.hanging());
        tokio::select! {
            () = after.deliver(&mut sink, &outbox) => if noted {
                durable = after;
                process = (below(2) > 0).then_some(sink);
            },
            () = server.hung(hanging) => {}
        }
    }
    let rows = server.rows("T");
    let mut landed = ids(&rows);
    landed.sort_unstable();
    assert_eq!(landed, good, "seed {seed}");
    assert_in_order(&rows);
    let told = rejected(&durable.rejected)
        .into_iter()
        .flat_map(|(_, _, ids)| ids);
    let mut told: Vec<_> = told.collect();
    told.sort_unstable();
    assert_eq!(told, bad, "seed {seed}");
    assert_eq!(durable.rows, good.len() as u64, "seed {seed}");
}

#[tokio::test]
async fn random_crash_runs_lose_and_double_nothing() {
    // Most of a run is waiting.
    let runs = futures::stream::iter(0..200).map(|seed| Box::pin(random_run(seed)));
    runs.buffer_unordered(20).collect::<()>().await;
}
