//! One view to S3, Google Cloud Storage, Snowflake and PostgreSQL at once, each away in turn for some
//! epochs, under each policy: the others go on, and in the end all have what a plain count gives.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kappa_tests::account::Account;
use kappa_tests::bucket::{Bucket, Objects};
use kappa_tests::gcs_server::GcsServer;
use kappa_tests::instance;
use kappa_tests::server::Server;
use serde_json::json;

use crate::fan_out::{postgres_rows, snowflake_rows};
use crate::incarnation::{Incarnation, Table, sorted};
use crate::snowflake::now_ms;

const SINKS: [&str; 4] = ["on_s3", "on_gcs", "in_snowflake", "in_postgres"];

struct Everywhere {
    s3: Server,
    gcs: GcsServer,
    snowflake: Server,
    postgres: Server,
    data_dir: tempfile::TempDir,
}

impl Everywhere {
    fn start() -> Option<Self> {
        Some(Self {
            s3: Server::start("minio").unwrap()?,
            gcs: GcsServer::start(),
            snowflake: Server::start("snowflake").unwrap()?,
            postgres: Server::start("postgres").unwrap()?,
            data_dir: instance::data_dir().unwrap(),
        })
    }

    fn bucket(&self, sink: &str) -> Bucket {
        match sink {
            "on_s3" => Bucket::s3(&self.s3).unwrap(),
            _ => Bucket::gcs(&self.gcs, "kappa").unwrap(),
        }
    }

    fn account(&self) -> Account {
        Account::of_server(&self.snowflake)
    }

    fn open(&self) -> Incarnation {
        let url = self.postgres.value("URL").to_owned();
        let mut settings = vec![("postgres.url".to_owned(), url)];
        settings.extend(self.account().settings());
        for sink in ["on_s3", "on_gcs"] {
            let bucket = self.bucket(sink);
            let own = bucket.settings().iter();
            settings.extend(own.map(|(name, value)| ((*name).to_owned(), value.clone())));
        }
        let settings: Vec<(&str, &str)> = settings
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        // Snowflake lets in nobody whose clock is wrong.
        Incarnation::open_at(instance::config(self.data_dir.path(), &settings), now_ms())
    }

    fn create(&self, kappa: &Incarnation, policy: &str) {
        kappa.execute(
            "CREATE STREAM clicks (id INT KEY, page STRING) \
             WITH (KAFKA_TOPIC = 'clicks', VALUE_FORMAT = 'JSON', PARTITIONS = 2)",
        );
        kappa.execute(
            "CREATE TABLE pages WITH (VALUE_FORMAT = 'JSON') AS \
             SELECT page, COUNT(*) AS n FROM clicks GROUP BY page",
        );
        for sink in SINKS {
            let with = match sink {
                "in_snowflake" => "CONNECTOR = 'snowflake', TABLE = 'PAGES', RETRY_TIMEOUT = 1, \
                                   COMMIT_INTERVAL = '1 SECOND'"
                    .to_owned(),
                "in_postgres" => "CONNECTOR = 'postgres', TABLE = 'pages'".to_owned(),
                _ => format!("{}, FORMAT = 'JSON'", self.bucket(sink).connector("pages")),
            };
            kappa.execute(&format!(
                "CREATE SINK {sink} FROM pages WITH ({with} {policy})"
            ));
        }
    }

    fn stop(&mut self, kappa: &Incarnation, sink: &str) {
        match sink {
            "on_s3" => self.s3.stop().unwrap(),
            "on_gcs" => self.gcs.stop(),
            "in_postgres" => self.postgres.stop().unwrap(),
            // It has all in memory.
            _ => self.admin(
                kappa,
                "fault",
                json!({"match": ".", "kind": "status", "status": 503, "count": 1_000_000}),
            ),
        }
    }

    fn resume(&mut self, kappa: &Incarnation, sink: &str) {
        match sink {
            "on_s3" => self.s3.resume().unwrap(),
            "on_gcs" => self.gcs.resume(),
            "in_postgres" => self.postgres.resume().unwrap(),
            _ => self.admin(kappa, "reset", json!({})),
        }
    }

    fn admin(&self, kappa: &Incarnation, path: &str, body: serde_json::Value) {
        let url = format!("{}/_admin/{path}", self.snowflake.value("URL"));
        let sent = kappa.block_on(
            reqwest::Client::new()
                .post(url)
                .body(body.to_string())
                .send(),
        );
        sent.unwrap().error_for_status().unwrap();
    }

    /// The view as a target has it.
    fn rows(&self, kappa: &Incarnation, sink: &str) -> Table {
        match sink {
            "in_snowflake" => snowflake_rows(kappa, &self.account(), "SELECT PAGE, N FROM PAGES"),
            "in_postgres" => {
                let url = self.postgres.value("URL");
                postgres_rows(kappa, url, "SELECT page, n FROM pages")
            }
            _ => settled(&kappa.block_on(self.bucket(sink).objects("pages")).unwrap()),
        }
    }
}

/// The last change of each page in files of changes, which come in the order of their names.
fn settled(objects: &Objects) -> Table {
    let mut pages = BTreeMap::new();
    let files = objects.iter().filter(|(name, _)| !name.starts_with('_'));
    for (_, bytes) in files {
        let changes = serde_json::Deserializer::from_slice(bytes).into_iter();
        for change in changes.map(Result::<serde_json::Value, _>::unwrap) {
            let page = change["PAGE"].as_str().unwrap().to_owned();
            pages.insert(page, change["N"].to_string());
        }
    }
    sorted(pages.into_iter().map(|(page, n)| vec![page, n]).collect())
}

fn expected(sent: i32) -> Table {
    let mut pages: BTreeMap<String, i32> = BTreeMap::new();
    (0..sent).for_each(|id| *pages.entry(format!("p{}", id % 4)).or_default() += 1);
    sorted(
        pages
            .into_iter()
            .map(|(page, n)| vec![page, n.to_string()])
            .collect(),
    )
}

/// Waits until SHOW SINKS says what is wrong with a sink; without moving the clock, which Snowflake
/// looks at.
fn await_failed(kappa: &Incarnation, sink: &str) {
    let begun = Instant::now();
    loop {
        drop(kappa.try_flush());
        let shown = kappa.ask("SHOW SINKS");
        let row = shown.iter().find(|row| row[0] == sink.to_uppercase());
        let row = row.unwrap();
        if (row[3] == "RETRYING" || row[3] == "STALLED") && row[9] != "(empty)" {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{row:?}");
        kappa.wait(Duration::from_millis(20));
    }
}

/// Each target is away in turn, over crashes.
fn each_in_turn(policy: &str) {
    let Some(mut targets) = Everywhere::start() else {
        return;
    };
    let mut kappa = targets.open();
    targets.create(&kappa, policy);
    let mut sent = 0;
    let mut send = |kappa: &Incarnation| {
        for id in sent..sent + 5 {
            let page = format!(r#"{{"PAGE":"p{}"}}"#, id % 4);
            kappa.send("clicks", 2, id, Some(page), i64::from(id));
        }
        sent += 5;
        sent
    };
    send(&kappa);
    kappa.flush();
    for away in SINKS {
        targets.stop(&kappa, away);
        for round in 0..4 {
            let sent = send(&kappa);
            let refused = kappa.try_flush().unwrap_err().to_string().to_uppercase();
            assert!(refused.contains(&away.to_uppercase()), "{refused}");
            for other in SINKS.into_iter().filter(|other| *other != away) {
                assert_eq!(
                    targets.rows(&kappa, other),
                    expected(sent),
                    "{other}, {away} away"
                );
            }
            if round % 2 == 1 {
                kappa.crash();
                kappa = targets.open();
            }
        }
        await_failed(&kappa, away);
        targets.resume(&kappa, away);
        let sent = send(&kappa);
        kappa.flush();
        for sink in SINKS {
            assert_eq!(
                targets.rows(&kappa, sink),
                expected(sent),
                "{sink}, {away} back"
            );
        }
    }
    kappa.shut_down();
}

#[test]
fn a_view_goes_everywhere_when_what_waits_may_block() {
    each_in_turn("");
}

#[test]
fn a_view_goes_everywhere_when_what_waits_is_spilled() {
    each_in_turn(", ON_OUTAGE = 'spill', OUTBOX_MAX_BYTES = 1");
}

#[test]
fn a_view_goes_everywhere_when_sinks_leave_their_feed() {
    each_in_turn(", ON_OUTAGE = 'pause', OUTBOX_MAX_BYTES = 1");
}
