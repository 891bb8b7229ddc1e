//! The committer while connections are cut, backends killed and processes crash: nothing lost,
//! nothing twice.
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use datafusion::arrow::array::*;
use datafusion::arrow::datatypes::DataType;

use kappa_storage::postgres::{Postgres, PostgresOptions, Target};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// What a proxy does to the next connection that meets the condition; once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    None,
    /// Forwards the n-th COMMIT from now on and cuts before the answer.
    AfterCommit(usize),
    /// Cuts instead of forwarding it.
    BeforeCommit(usize),
    /// Cuts after so many bytes from the client.
    AfterBytes(usize),
    /// Keeps COMMIT back for a moment while the client is cut off: the old transaction is still
    /// open when the client comes again.
    LateCommit(usize),
}

struct Proxy {
    port: u16,
    cut: Arc<Mutex<Cut>>,
    cuts: Arc<Mutex<BTreeMap<&'static str, u32>>>,
}

impl Proxy {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let cut = Arc::new(Mutex::new(Cut::None));
        let cuts: Arc<Mutex<BTreeMap<_, _>>> = Arc::default();
        let (knob, count) = (cut.clone(), Arc::clone(&cuts));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(relay(client, knob.clone(), count.clone()));
            }
        });
        Self { port, cut, cuts }
    }
}

async fn relay(
    client: TcpStream,
    knob: Arc<Mutex<Cut>>,
    cuts: Arc<Mutex<BTreeMap<&'static str, u32>>>,
) {
    let port: u16 = server().value("PORT").parse().unwrap();
    let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let back = tokio::spawn(async move {
        drop(tokio::io::copy(&mut from_server, &mut to_client).await);
    });
    let mut buffer = vec![0; 16 << 10];
    while let Ok(count @ 1..) = from_client.read(&mut buffer).await {
        let bytes = &buffer[..count];
        let commits = bytes
            .windows(7)
            .filter(|window| window == b"COMMIT\0")
            .count();
        let (cut, hit, name) = {
            let mut left = knob.lock().unwrap();
            let cut = *left;
            let (hit, name) = match &mut *left {
                Cut::None => (false, ""),
                Cut::AfterCommit(n) => (count_down(n, commits), "after"),
                Cut::BeforeCommit(n) => (count_down(n, commits), "before"),
                Cut::LateCommit(n) => (count_down(n, commits), "late"),
                Cut::AfterBytes(n) => (count_down(n, count), "bytes"),
            };
            if hit {
                *left = Cut::None;
            }
            (cut, hit, name)
        };
        if !hit {
            if to_server.write_all(bytes).await.is_err() {
                break;
            }
            continue;
        }
        *cuts.lock().unwrap().entry(name).or_default() += 1;
        back.abort();
        drop(back.await);
        // The client's side is closed here; the server's side when this ends.
        match cut {
            Cut::AfterCommit(_) => drop(to_server.write_all(bytes).await),
            Cut::LateCommit(_) => {
                drop(from_client);
                tokio::time::sleep(Duration::from_millis(30)).await;
                drop(to_server.write_all(bytes).await);
            }
            Cut::AfterBytes(n) => {
                drop(to_server.write_all(&bytes[..n]).await);
            }
            _ => {}
        }
        return;
    }
    back.abort();
}

/// Whether `by` is as much as is left.
fn count_down(left: &mut usize, by: usize) -> bool {
    let hit = by >= *left;
    *left = left.saturating_sub(by);
    hit
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// The rows of epochs in `epochs`, as the engine hands them over: always the same.
fn unit(keyed: bool, epochs: std::ops::RangeInclusive<u64>) -> RecordBatch {
    // Large enough that a unit is several packets.
    const ROWS: u64 = 200;
    let all: Vec<_> = epochs
        .flat_map(|epoch| (0..ROWS).map(move |n| (epoch, n)))
        .collect();
    if !keyed {
        let ids: Int64Array = all
            .iter()
            .map(|(epoch, n)| Some((epoch * ROWS + n) as i64))
            .collect();
        let text: StringArray = all
            .iter()
            .map(|(epoch, n)| Some(format!("{epoch} {n:050}")))
            .collect();
        return batch(vec![("ID", Arc::new(ids)), ("NAME", Arc::new(text))]);
    }
    let id = |(epoch, n): &(u64, u64)| (n * 7 + epoch * 13) % 50;
    let ids: Int64Array = all.iter().map(|change| Some(id(change) as i64)).collect();
    let text: StringArray = all
        .iter()
        .map(|(epoch, n)| Some(format!("{epoch} {n:050}")))
        .collect();
    let deleted: BooleanArray = all
        .iter()
        .map(|(epoch, n)| Some((epoch + n) % 3 == 0))
        .collect();
    let seq: Int64Array = all
        .iter()
        .map(|(epoch, n)| Some((epoch * ROWS + n) as i64))
        .collect();
    batch(vec![
        ("ID", Arc::new(ids)),
        ("NAME", Arc::new(text)),
        ("ROWDELETED", Arc::new(deleted)),
        ("ROWSEQ", Arc::new(seq)),
    ])
}

/// What must be in the table after the epochs 1..=last.
fn expected(keyed: bool, last: u64) -> Vec<String> {
    let rows = unit(keyed, 1..=last);
    let ids = rows.column(0).as_primitive::<arrow::datatypes::Int64Type>();
    let names = rows.column(1).as_string::<i32>();
    let mut table = BTreeMap::new();
    for row in 0..rows.num_rows() {
        if keyed && rows.column(2).as_boolean().value(row) {
            table.remove(&ids.value(row));
        } else {
            table.insert(ids.value(row), names.value(row));
        }
    }
    table
        .into_iter()
        .map(|(id, name)| format!("{id}|{name}"))
        .collect()
}

async fn opened(settings: &PostgresOptions, target: &Target, errors: &mut u32) -> Postgres {
    loop {
        let mut postgres = sink(settings, target).unwrap();
        match postgres.open().await {
            Ok(_) => return postgres,
            Err(error) => {
                assert!(error.is_retryable(), "{error}");
                *errors += 1;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_cuts_kills_and_crashes_lose_nothing_and_double_nothing() {
    const RUNS: u64 = 200;
    const EPOCHS: u64 = 8;
    // A database of its own: who is killed there is nobody else's.
    let admin = admin().await;
    for sql in [
        "DROP DATABASE IF EXISTS chaos WITH (FORCE)",
        "CREATE DATABASE chaos",
    ] {
        admin.batch_execute(sql).await.unwrap();
    }
    let admin = connect("chaos").await;
    let proxy = Proxy::start().await;
    let port = proxy.port.to_string();
    let (mut errors, mut killed, mut crashes) = (0, 0, 0);
    for run in 0..RUNS {
        let mut random = Random(run * 7919 + 1);
        let keyed = run % 2 == 1;
        let keys: &[&str] = if keyed { &["ID"] } else { &[] };
        let mut target = target(&[("ID", DataType::Int64), ("NAME", DataType::Utf8)], keys);
        target.mark = format!("chaos {run}");
        let table = format!("t{run}");
        let settings = options(&[
            ("DATABASE", "chaos"),
            ("TABLE", &table),
            ("PORT", &port),
            ("SSLMODE", "disable"),
        ]);
        let mut postgres = opened(&settings, &target, &mut errors).await;
        let mut last = 0;
        while last < EPOCHS {
            // A unit of one to three epochs. After a crash it is cut otherwise.
            let to = (last + 1 + random.below(3)).min(EPOCHS);
            let nth = 1 + random.below(2) as usize;
            *proxy.cut.lock().unwrap() = match random.below(8) {
                0 | 1 => Cut::AfterCommit(nth),
                2 => Cut::BeforeCommit(nth),
                3 => Cut::LateCommit(nth),
                4 | 5 => Cut::AfterBytes(1 + random.below(40_000) as usize),
                _ => Cut::None,
            };
            let kill = (random.below(6) == 0).then(|| random.below(8));
            loop {
                let rows = unit(keyed, last + 1..=to);
                let victim = async {
                    if let Some(wait) = kill {
                        tokio::time::sleep(Duration::from_millis(wait)).await;
                        let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                                   WHERE datname = 'chaos' AND application_name = 'kappa'";
                        let _ = admin.simple_query(sql).await;
                    }
                };
                killed += u32::from(kill.is_some());
                let rows = [rows];
                let (done, ()) = tokio::join!(postgres.commit(to, &rows), victim);
                match done {
                    Ok(_) => break,
                    Err(error) => {
                        assert!(error.is_retryable(), "run {run}: {error}");
                        errors += 1;
                    }
                }
                if random.below(2) == 0 {
                    // The process dies, and its successor asks the database how far it came.
                    crashes += 1;
                    postgres = opened(&settings, &target, &mut errors).await;
                    break;
                }
            }
            last = postgres.last_committed().unwrap_or(0);
        }
        if run % 50 == 0 {
            eprintln!("run {run}");
        }
        let found = rows(&admin, &format!("SELECT id, name FROM {table} ORDER BY id")).await;
        assert!(
            found == expected(keyed, EPOCHS),
            "run {run}: {} rows",
            found.len()
        );
    }
    let cuts = proxy.cuts.lock().unwrap().clone();
    eprintln!("{RUNS} runs: {errors} errors, {killed} kills, {crashes} crashes, cuts {cuts:?}");
    assert!(
        errors > 100 && crashes > 50 && cuts.len() == 4,
        "the faults did not happen"
    );
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_recognised() {
    let Some(admin) = schema("lost").await else {
        return;
    };
    let proxy = Proxy::start().await;
    let target = target(&[("ID", DataType::Int64), ("NAME", DataType::Utf8)], &[]);
    let port = proxy.port.to_string();
    let settings = options(&[("TABLE", "lost.t"), ("PORT", &port), ("SSLMODE", "disable")]);
    let mut postgres = sink(&settings, &target).unwrap();
    postgres.open().await.unwrap();
    for (epoch, cut) in [
        (1, Cut::AfterCommit(1)),
        (2, Cut::LateCommit(1)),
        (3, Cut::BeforeCommit(1)),
    ] {
        *proxy.cut.lock().unwrap() = cut;
        let rows_in = [unit(false, epoch..=epoch)];
        let error = postgres.commit(epoch, &rows_in).await.unwrap_err();
        assert!(error.is_retryable(), "{error}");
        let again = postgres.commit(epoch, &rows_in).await.unwrap();
        // Only the one that never arrived is written by the second try.
        let written = if matches!(cut, Cut::BeforeCommit(_)) {
            200
        } else {
            0
        };
        assert_eq!(again.rows, written, "{cut:?}");
    }
    let found = rows(&admin, "SELECT id, name FROM lost.t ORDER BY id").await;
    assert_eq!(found, expected(false, 3));
}

#[tokio::test]
async fn a_commit_that_is_given_up_is_made_later() {
    let Some(admin) = schema("given_up").await else {
        return;
    };
    let target = target(&[("ID", DataType::Int64), ("NAME", DataType::Utf8)], &[]);
    let mut postgres = sink(&options(&[("TABLE", "given_up.t")]), &target).unwrap();
    postgres.open().await.unwrap();
    let rows_in = [unit(false, 1..=20)];
    for micros in (0..40).map(|n| n * 500) {
        let commit = postgres.commit(20, &rows_in);
        drop(tokio::time::timeout(Duration::from_micros(micros), commit).await);
    }
    postgres.commit(20, &rows_in).await.unwrap();
    assert_eq!(
        rows(&admin, "SELECT id, name FROM given_up.t ORDER BY id").await,
        expected(false, 20)
    );
}
