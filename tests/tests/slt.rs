//! Runs every file of `tests/slt` as a matrix of named tests: embedded topics and Kafka, straight and
//! with a restart midway, 1 and 3 partitions.
//!
//! In a file `${PARTITIONS}` is the number of partitions and `${T}` goes before every topic's name. A
//! file whose result rightly depends on the order in which partitions are read begins with the line
//! `# one partition: …` and is run with 1. The restart is where the file says `RESTART`, else before
//! its middle record.

#![expect(
    clippy::unwrap_used,
    reason = "a test without the harness that tells clippy so"
)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use kappa_tests::server::Server;
use kappa_tests::slt::{Database, Variant};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use sqllogictest::{DefaultColumnType, Record, Runner, strict_column_validator};

/// Started by the first test that wants it.
type SharedBroker = Arc<Mutex<Option<Server>>>;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let broker = SharedBroker::default();
    let mut trials = Vec::new();
    for file in files() {
        let text = std::fs::read_to_string(&file).unwrap();
        let stem = file.file_stem().unwrap().to_string_lossy().into_owned();
        let one_partition = text.starts_with("# one partition");
        for kafka in [false, true] {
            for restart in [false, true] {
                for partitions in [1, 3] {
                    if one_partition && partitions > 1 {
                        continue;
                    }
                    let test = Test {
                        file: file.clone(),
                        text: text.clone(),
                        restart,
                        partitions,
                    };
                    let name = format!(
                        "{stem}::{}::{}::{partitions}_partition{}",
                        if kafka { "kafka" } else { "embedded" },
                        if restart { "restart" } else { "straight" },
                        if partitions > 1 { "s" } else { "" },
                    );
                    trials.push(if kafka {
                        test.on_kafka(name, &broker)
                    } else {
                        test.embedded(name)
                    });
                }
            }
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    drop(broker.lock().unwrap_or_else(PoisonError::into_inner).take());
    conclusion.exit_code()
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("slt");
    let entries = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = entries
        .filter(|path| path.extension().is_some_and(|it| it == "slt"))
        .collect();
    files.sort();
    files
}

struct Test {
    file: PathBuf,
    text: String,
    restart: bool,
    partitions: u32,
}

impl Test {
    fn embedded(self, name: String) -> Trial {
        let prefix = String::new();
        Trial::test(name, move || self.run(None, prefix))
    }

    fn on_kafka(self, name: String, broker: &SharedBroker) -> Trial {
        let prefix = name.replace("::", "-") + "-";
        let broker = Arc::clone(broker);
        Trial::ignorable_test(name, move || {
            let servers = {
                let mut broker = broker.lock().unwrap_or_else(PoisonError::into_inner);
                if broker.is_none() {
                    *broker = Server::start("kafka")?;
                }
                broker
                    .as_ref()
                    .map(|broker| broker.value("BOOTSTRAP").to_owned())
            };
            if servers.is_none() {
                return Ok(Completion::ignored_with("no Kafka here"));
            }
            self.run(servers, prefix).map(|()| Completion::Completed)
        })
    }

    fn run(self, bootstrap_servers: Option<String>, topic_prefix: String) -> Result<(), Failed> {
        let text = self
            .text
            .replace("${PARTITIONS}", &self.partitions.to_string())
            .replace("${T}", &topic_prefix);
        let variant = Variant {
            bootstrap_servers,
            restart: self.restart,
            topic_prefix,
        };
        let name = self.file.file_name().unwrap().to_string_lossy();
        let records = sqllogictest::parse_with_name(&text, name).map_err(|e| e.to_string())?;
        let records = with_restart(records);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let mut runner = Runner::new(|| Database::open(variant.clone()));
            runner.with_column_validator(strict_column_validator);
            let result = runner.run_multi_async(records).await;
            runner.shutdown_async().await;
            result.map_err(|error| error.display(false).to_string().into())
        })
    }
}

/// The records with a RESTART before the middle one, unless there is one already.
fn with_restart(mut records: Vec<Record<DefaultColumnType>>) -> Vec<Record<DefaultColumnType>> {
    let says_it = |record: &Record<DefaultColumnType>| matches!(record, Record::Statement { sql, .. } if sql.trim() == "RESTART");
    if records.iter().any(says_it) {
        return records;
    }
    let executed: Vec<usize> = records
        .iter()
        .enumerate()
        .filter(|(_, record)| matches!(record, Record::Statement { .. } | Record::Query { .. }))
        .map(|(index, _)| index)
        .collect();
    let restart = sqllogictest::parse("statement ok\nRESTART\n").unwrap();
    if let Some(middle) = executed.get(executed.len() / 2) {
        records.splice(*middle..*middle, restart);
    }
    records
}
