//! Apache Kafka for the tests, by the script that `KAPPA_TEST_SERVERS` leads to.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// Whether there is a Kafka to test with.
#[derive(Debug)]
pub enum Available {
    /// The script that starts one.
    Yes(PathBuf),
    /// None, which is fine.
    No,
    /// None, and `KAPPA_REQUIRE_SERVERS=1` makes that a failure.
    Missing,
}

/// Looks for Kafka.
pub fn available() -> Available {
    let script =
        std::env::var_os("KAPPA_TEST_SERVERS").map(|folder| Path::new(&folder).join("kafka"));
    match script.filter(|script| script.is_file()) {
        Some(script) => Available::Yes(script),
        None if std::env::var_os("KAPPA_REQUIRE_SERVERS").is_some_and(|value| value == "1") => {
            Available::Missing
        }
        None => Available::No,
    }
}

/// A running broker; it ends with this.
#[derive(Debug)]
pub struct Broker {
    script: PathBuf,
    data_dir: TempDir,
    /// Where it listens.
    pub bootstrap_servers: String,
}

impl Broker {
    /// Starts one.
    ///
    /// # Errors
    /// Why it does not start.
    pub fn start(script: &Path) -> Result<Self, String> {
        let data_dir = tempfile::tempdir().map_err(|error| error.to_string())?;
        let printed = call(script, "start", data_dir.path())?;
        let bootstrap_servers = printed
            .lines()
            .find_map(|line| line.strip_prefix("BOOTSTRAP="))
            .ok_or_else(|| format!("no BOOTSTRAP= in what {} says: {printed}", script.display()))?
            .to_owned();
        Ok(Self {
            script: script.to_owned(),
            data_dir,
            bootstrap_servers,
        })
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // The folder goes away in any case; nobody is left to tell.
        drop(call(&self.script, "stop", self.data_dir.path()));
    }
}

fn call(script: &Path, command: &str, data_dir: &Path) -> Result<String, String> {
    let output = Command::new(script)
        .arg(command)
        .arg(data_dir)
        .output()
        .map_err(|error| format!("{}: {error}", script.display()))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(format!(
            "{} {command}: {}",
            script.display(),
            String::from_utf8_lossy(&output.stderr)
        )),
    }
}
