//! The ratchet over ksqlDB's own cases: those that pass go on passing.

use kappa_tests::ksql::{self, ratchet};

#[test]
fn only_the_listed_cases_fail() {
    let folder = ksql::folder();
    if !folder.is_dir() {
        println!(
            "there are no cases in {}: nothing is tested",
            folder.display()
        );
        return;
    }
    let update = std::env::var_os("UPDATE_KSQL").is_some_and(|value| value == "1");
    let report = ksql::run_all(&ksql::read(&folder).unwrap());
    if update {
        ratchet::write(&report).unwrap();
        return;
    }
    let differences = ratchet::differences(&report, &ratchet::read().unwrap());
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
