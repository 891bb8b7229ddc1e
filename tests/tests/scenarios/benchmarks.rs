//! Every benchmark runs, on few rows and without a cluster, and answers as DataFusion does.

use std::path::Path;
use std::process::Command;

fn bench(arguments: &[&str]) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_kappa-bench"))
        .args(arguments)
        .env("KAPPA_BENCH_EVENTS", "3000")
        .env_remove("KAPPA_TEST_SERVERS")
        .env_remove("KAPPA_REQUIRE_SERVERS")
        .current_dir(root)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {text}{said}");
    text
}

#[test]
fn what_is_measured_answers_as_datafusion_does() {
    let text = bench(&["--check"]);
    assert!(text.lines().count() >= 19, "{text}");
    assert!(
        text.lines()
            .all(|line| line.ends_with("answers as DataFusion does")),
        "{text}"
    );
}

#[test]
fn every_benchmark_measures_something() {
    let names = bench(&["--names"]);
    assert!(names.lines().count() >= 25, "{names}");
    for name in names.lines() {
        let text = bench(&["--one", name]);
        let result: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
        assert_eq!(result["name"], name);
        assert!(result["events"].as_u64().unwrap() > 0, "{text}");
    }
}
