//! The program as a process: how it ends, and what is left when it is made to.

#![expect(
    clippy::disallowed_methods,
    reason = "processes have the machine's time"
)]
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests: a failure is the message"
)]

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kappa_tests::chance::Chance;
use kappa_tests::server::Server;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

const PIPELINE: &str = include_str!("../../examples/weblogs/pipeline.sql");

fn kappa(data_dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kappa"));
    command.arg("--data-dir").arg(data_dir).stdin(Stdio::null());
    command
}

/// What a command that succeeds prints.
fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill")
        .args([name, &child.id().to_string()])
        .status();
    assert!(sent.unwrap().success());
}

/// Ends it with SIGTERM, as an init system does: exit code 0, in under 10 s.
fn terminate(mut child: Child) {
    signal(&child, "-TERM");
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            assert_eq!(status.code(), Some(0));
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "it does not end");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn statements_that_fail_are_said_and_end_with_1() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("data");
    let failed = kappa(&data_dir)
        .args(["-e", "SELECT * FROM nowhere"])
        .output()
        .unwrap();
    assert_eq!(failed.status.code(), Some(1));
    let said = String::from_utf8(failed.stderr).unwrap();
    assert!(
        said.contains("NOWHERE does not exist") && said.contains('^'),
        "{said}"
    );
    let wrong = kappa(&data_dir)
        .args(["-p", "s3.secret=x", "-e", "SHOW STREAMS"])
        .output()
        .unwrap();
    let said = String::from_utf8(wrong.stderr).unwrap();
    assert!(
        !wrong.status.success() && said.contains("s3.secret_access_key"),
        "{said}"
    );
}

#[test]
fn topics_are_filled_with_nexmark_and_read_by_the_statements_it_prints() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("data");
    let fill = |arguments: &[&str]| output(kappa(&data_dir).arg("nexmark").args(arguments));
    fill(&["--events", "12345", "--partitions", "3"]);
    // The rest, and at a rate.
    let rest = ["--offset", "12345", "--events", "7655", "--rate", "20000"];
    let statements = fill(&rest);
    let script = folder.path().join("count.sql");
    let counts = "SELECT 'p' AS t, COUNT(*) AS n FROM person UNION ALL
         SELECT 'a', COUNT(*) FROM auction UNION ALL
         SELECT 'b', COUNT(*) FROM bid ORDER BY t;
         SELECT COUNT(DISTINCT id) AS n, MIN(rowtime) AS least, MAX(rowtime) AS most, MIN(dateTime) AS d
         FROM auction;
         CREATE STREAM made WITH (CONNECTOR = 'nexmark', TABLE = 'bid', EVENTS = 20000);
         SELECT COUNT(*) AS n FROM made m JOIN bid b
         ON m.auction = b.auction AND m.bidder = b.bidder AND m.price = b.price
         AND m.channel = b.channel AND m.url = b.url AND m.dateTime = b.dateTime AND m.extra = b.extra;";
    std::fs::write(&script, format!("{statements}{counts}")).unwrap();
    let said = output(
        kappa(&data_dir)
            .args(["--output", "csv", "-f"])
            .arg(&script),
    );
    for line in ["a,1200", "b,18400", "p,400", "18400"] {
        assert!(said.lines().any(|said| said == line), "{line}: {said}");
    }
    let times = "1200,1436918400000,1436918401995,2015-07-15T00:00:00";
    assert!(said.contains(times), "{said}");
    let wrong = kappa(&data_dir)
        .args(["nexmark", "--partitions", "2"])
        .output();
    let said = String::from_utf8(wrong.unwrap().stderr).unwrap();
    assert!(said.contains("has 3 partitions, not 2"), "{said}");
}

#[test]
fn two_processes_cannot_have_one_data_directory() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("data");
    let script = folder.path().join("one.sql");
    let statements = "CREATE STREAM s (v INT) WITH (KAFKA_TOPIC = 's', VALUE_FORMAT = 'JSON'); \
                      CREATE STREAM c AS SELECT * FROM s;";
    std::fs::write(&script, statements).unwrap();
    let log = folder.path().join("log");
    let first = kappa(&data_dir)
        .arg("run")
        .arg(&script)
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    loop {
        let said = std::fs::read_to_string(&log).unwrap();
        if said.contains("1 query running") {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{said}");
        std::thread::sleep(Duration::from_millis(20));
    }
    let second = kappa(&data_dir)
        .args(["-e", "SHOW STREAMS"])
        .output()
        .unwrap();
    let said = String::from_utf8(second.stderr).unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(said.contains("in use by another kappa process"), "{said}");
    terminate(first);
    output(kappa(&data_dir).args(["-e", "SHOW STREAMS"]));
}

/// A line of the log whose URL is its number.
fn line(number: usize) -> String {
    let (minute, second) = (number / 60 % 60, number % 60);
    let user = match number % 7 {
        0 => "-".to_owned(),
        user => format!("user{user}"),
    };
    format!(
        "2026-11-02 09:{minute:02}:{second:02} 10.0.0.1 {user} W3SVC{} WEB1 192.168.1.1 443 \
         GET /{number} - {} {} HTTP/2 site.example Firefox/145.0 -",
        number % 4 + 1,
        if number.is_multiple_of(10) { 500 } else { 200 },
        number % 100,
    )
}

/// Fifty times kill -9, at any moment: while the pipeline is being made, too.
#[test]
fn nothing_is_lost_or_doubled_by_kill_9() {
    const KILLS: usize = 50;
    const LINES: usize = 20_000;
    let Some(server) = Server::start("kafka").unwrap() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let (data_dir, files) = (folder.path().join("data"), folder.path().join("files"));
    let script = folder.path().join("pipeline.sql");
    let mut pipeline = PIPELINE.to_owned();
    for kind in ["STREAM", "TABLE", "SINK"] {
        pipeline = pipeline.replace(
            &format!("\nCREATE {kind} "),
            &format!("\nCREATE {kind} IF NOT EXISTS "),
        );
    }
    std::fs::write(&script, pipeline.replace("'10 SECONDS'", "'1 SECOND'")).unwrap();
    let on_kafka = |command: &mut Command| {
        command
            .args(["--bootstrap-servers", server.value("BOOTSTRAP")])
            .args(["-p", "commit.interval.ms=50", "-p", "step.max.rows=500"])
            .arg("-d")
            .arg(format!("OUT={}", files.display()));
    };
    let log = folder.path().join("log");
    let run = || {
        let mut command = kappa(&data_dir);
        on_kafka(&mut command);
        command.arg("run").arg(&script);
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(&log);
        command.stdout(Stdio::null()).stderr(log.unwrap());
        command.spawn().unwrap()
    };
    let mut chance = Chance::of_the_run();

    output(&mut server.command(
        "topics",
        &["--create", "--topic", "weblogs", "--partitions", "2"],
    ));
    let mut producer = server
        .command("console-producer", &["--topic", "weblogs"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = producer.stdin.take().unwrap();
    let mut sent = 0;
    for kill in 1..=KILLS {
        let mut child = run();
        let lines: String = (sent..LINES * kill / KILLS)
            .map(|number| line(number) + "\n")
            .collect();
        sent = LINES * kill / KILLS;
        input.write_all(lines.as_bytes()).unwrap();
        input.flush().unwrap();
        std::thread::sleep(Duration::from_millis(chance.below(2_000)));
        let ended = child.try_wait().unwrap();
        let said = || std::fs::read_to_string(&log).unwrap_or_default();
        assert!(ended.is_none(), "it ended by itself: {ended:?}\n{}", said());
        child.kill().unwrap();
        child.wait().unwrap();
    }
    drop(input);
    assert!(producer.wait().unwrap().success());

    // Now in peace, read by a consumer of another family.
    let child = run();
    let count = || -> BTreeMap<String, usize> {
        let read = server.call(
            "console-consumer",
            &[
                "--topic",
                "REQUESTS",
                "--from-beginning",
                "--isolation-level",
                "read_committed",
                "--timeout-ms",
                "3000",
            ],
        );
        let mut urls = BTreeMap::new();
        for row in read
            .unwrap_or_default()
            .lines()
            .filter(|line| line.starts_with('{'))
        {
            let row: serde_json::Value = serde_json::from_str(row).unwrap();
            assert!(row["OWNER"].is_string(), "not enriched: {row}");
            *urls
                .entry(row["URL"].as_str().unwrap().to_owned())
                .or_default() += 1;
        }
        urls
    };
    let begun = Instant::now();
    let mut urls = count();
    while urls.len() < LINES && begun.elapsed() < Duration::from_secs(60) {
        urls = count();
    }
    terminate(child);

    let ask = |query: &str| {
        let mut command = kappa(&data_dir);
        on_kafka(&mut command);
        output(command.args(["--output", "csv", "-e", query]))
    };
    let expected = (0..LINES).map(|number| (format!("/{number}"), 1)).collect();
    if urls != expected {
        let lost: Vec<&String> = expected
            .keys()
            .filter(|url| !urls.contains_key(*url))
            .collect();
        println!("lost: {lost:?}");
        for query in [
            "SHOW QUERIES",
            "SELECT COUNT(*) FROM RAW_LOGS",
            "SELECT COUNT(*) FROM LOGS",
            "SELECT * FROM KAPPA_BAD_RECORDS LIMIT 10",
        ] {
            println!("{query}:\n{}", ask(query));
        }
        panic!(
            "{} URLs, seen {} times",
            urls.len(),
            urls.values().sum::<usize>()
        );
    }

    // The views, and the files.
    let counted = [
        "SELECT SUM(REQUESTS) AS N, SUM(ERRORS) AS E FROM SITE_MINUTES",
        "SELECT SUM(PAGES) AS N FROM USER_SESSIONS",
    ];
    let named = (0..LINES).filter(|number| number % 7 != 0).count();
    let wanted = [
        format!("N,E\n{LINES},{}\n", LINES / 10),
        format!("N\n{named}\n"),
    ];
    let begun = Instant::now();
    loop {
        let answers = counted.map(ask);
        let rows = rows_in(&files);
        if answers == wanted && rows == LINES {
            break;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "{answers:?}, {rows} rows in files"
        );
        // It works on while it answers; a little longer each time.
        let child = run();
        std::thread::sleep(Duration::from_secs(3));
        terminate(child);
    }
}

/// Rows of the Parquet files under a directory.
fn rows_in(directory: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return 0;
    };
    entries
        .map(|entry| {
            let path = entry.unwrap().path();
            if path.ends_with("_commits") {
                // What says which files belong together.
                return 0;
            }
            if path.is_dir() {
                return rows_in(&path);
            }
            let file = std::fs::File::open(&path).unwrap();
            let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
            usize::try_from(reader.metadata().file_metadata().num_rows()).unwrap()
        })
        .sum()
}

#[test]
fn what_sinks_have_left_is_found_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        let file = std::fs::File::options().append(true).open(path).unwrap();
        file.set_modified(std::time::UNIX_EPOCH).unwrap();
    };
    let named = "d=1/a-0123abcd-000000000001.csv";
    let left_over = "d=2/a-0123abcd-000000000001.csv";
    write(named, "x");
    write(left_over, "xy");
    write("d=2/a-ffffffff-000000000001.csv", "x");
    write(
        "_commits/a-0123abcd/00000000000000000001.json",
        &format!(
            r#"{{"writer":"0123abcd","unit":1,"files":[
                {{"path":"{named}","rows":1,"bytes":1,"min_rowtime":0,"max_rowtime":0}}]}}"#
        ),
    );
    let gc = |more: &[&str]| {
        // No data directory is made, or needed.
        let mut command = kappa(&folder.path().join("data"));
        command.args(["sink", "gc", folder.path().to_str().unwrap()]);
        command.args(["--output", "csv"]).args(more);
        command
    };
    let header = "prefix,mark,what,action";
    let others = "a,ffffffff,without commit object,kept,1,1\n";
    assert_eq!(
        output(&mut gc(&[])),
        format!(
            "{header},files,bytes\na,0123abcd,in use,kept,1,1\n\
             a,0123abcd,left over,would go,1,2\n{others}"
        )
    );
    for more in [&["--delete"][..], &["--dropped"], &["--mark", "xyz"]] {
        let refused = gc(more).output().unwrap();
        assert_eq!(refused.status.code(), Some(2), "{more:?}");
    }
    assert!(folder.path().join(left_over).exists());
    assert_eq!(
        output(&mut gc(&["--delete", "--mark", "0123abcd", "--list"])),
        format!(
            "{header},file,bytes\na,0123abcd,in use,kept,{named},1\n\
             a,0123abcd,left over,removed,{left_over},2\n"
        )
    );
    assert!(!folder.path().join(left_over).exists());
    assert!(!folder.path().join("data").exists());
    let failed = kappa(&folder.path().join("data"))
        .args(["sink", "gc", "ftp://somewhere"])
        .output()
        .unwrap();
    assert_eq!(failed.status.code(), Some(1));
}
