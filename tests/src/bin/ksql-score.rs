//! `ksql-score [FILTER]`: how many of ksqlDB's own cases pass. FILTER picks those whose file's or own
//! name contains it.
//!
//! Cases that need a schema registry are run and counted apart; so are the pull and push queries of
//! `rest/`. The last line is the score of all others: `ksql-score: PASSED of TOTAL passed`.

#![expect(clippy::print_stdout, reason = "its output is what it is for")]

use std::path::Path;
use std::process::ExitCode;

use kappa_engine::{Clock, SystemClock};
use kappa_tests::ksql::{self, Case};

fn main() -> ExitCode {
    let filter = std::env::args().nth(1).unwrap_or_default();
    let folder = ksql::folder();
    if !folder.is_dir() {
        println!(
            "ksql-score: there are no cases in {}; KSQL_CASES names a folder",
            folder.display()
        );
        return ExitCode::SUCCESS;
    }
    let mut cases = match ksql::read(&folder) {
        Ok(cases) => cases,
        Err(error) => {
            println!("ksql-score: {error}");
            return ExitCode::FAILURE;
        }
    };
    cases.retain(|case| case.name.contains(&filter));
    let clock = SystemClock::new();
    let report = ksql::run_all(&cases);
    print!("{}", report.text());
    let target = match std::env::var_os("CARGO_TARGET_DIR") {
        Some(target) => target.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"),
    };
    let details = target.join("ksql-score");
    if let Err(error) = report.write(&details) {
        println!("ksql-score: {}: {error}", details.display());
        return ExitCode::FAILURE;
    }
    let (passed, all) = report.count(|_| true);
    println!(
        "{passed} of {all} cases in {} s; expected against actual of the others is in {}",
        clock.monotonic_ms() / 1000,
        details.display()
    );
    let (passed, all) = report.count(|case| !case.is_rest() && case.needs_registry());
    println!("need a schema registry: {passed} of {all} passed");
    let (passed, all) = report.count(Case::is_rest);
    println!("pull and push queries (rest/): {passed} of {all} passed");
    let (passed, all) = report.count(|case| !case.is_rest() && !case.needs_registry());
    println!("ksql-score: {passed} of {all} passed");
    ExitCode::SUCCESS
}
