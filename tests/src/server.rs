//! Real servers for the tests, started by the scripts that `KAPPA_TEST_SERVERS` leads to
//! (`tests/servers`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A running server on loopback; it ends with this.
#[derive(Debug)]
pub struct Server {
    script: PathBuf,
    data_dir: TempDir,
    values: BTreeMap<String, String>,
}

impl Server {
    /// Starts the server of that name (`kafka`, `minio`, …). `None`, said on standard error, where
    /// it cannot be had and `KAPPA_REQUIRE_SERVERS=1` does not make that a failure.
    ///
    /// # Errors
    /// Why it does not start.
    pub fn start(name: &str) -> Result<Option<Self>, String> {
        let Some(script) = available(name)? else {
            return Ok(None);
        };
        let data_dir = tempfile::tempdir().map_err(|error| error.to_string())?;
        let mut server = Self {
            script,
            data_dir,
            values: BTreeMap::new(),
        };
        server.resume()?;
        Ok(Some(server))
    }

    /// Starts it again after [`Server::stop`], on the same port and data.
    ///
    /// # Errors
    /// Why it does not start.
    pub fn resume(&mut self) -> Result<(), String> {
        let printed = self.call("start", &[])?;
        let pairs = printed.lines().filter_map(|line| line.split_once('='));
        self.values = pairs
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        Ok(())
    }

    /// Ends it in order.
    ///
    /// # Errors
    /// Why it does not end.
    pub fn stop(&self) -> Result<(), String> {
        self.call("stop", &[]).map(drop)
    }

    /// What the script says about it: `BOOTSTRAP`, `ENDPOINT`, …
    ///
    /// # Panics
    /// When the script says nothing of that name.
    pub fn value(&self, key: &str) -> &str {
        match self.values.get(key) {
            Some(value) => value,
            None => panic!("{} says no {key}=", self.script.display()),
        }
    }

    /// The script's command, to be spawned: a tool that is fed, or read, while it runs.
    pub fn command(&self, command: &str, args: &[&str]) -> Command {
        let mut built = Command::new(&self.script);
        built.arg(command).arg(self.data_dir.path()).args(args);
        built
    }

    /// Calls the script with a command, the server's folder, and more; returns what it prints.
    ///
    /// # Errors
    /// What it says when it fails.
    pub fn call(&self, command: &str, args: &[&str]) -> Result<String, String> {
        call(&self.script, command, Some(self.data_dir.path()), args)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.data_dir.path().join("server.log"));
            let log = log.unwrap_or_default();
            let last = log.lines().rev().take(20).collect::<Vec<_>>();
            let last: Vec<&str> = last.into_iter().rev().collect();
            eprintln!(
                "last words of {}:\n{}",
                self.script.display(),
                last.join("\n")
            );
        }
        // The folder goes away in any case; nobody is left to tell.
        drop(self.stop());
    }
}

/// The script of a server that can be had.
pub(crate) fn available(name: &str) -> Result<Option<PathBuf>, String> {
    let required = std::env::var_os("KAPPA_REQUIRE_SERVERS").is_some_and(|value| value == "1");
    let script = std::env::var_os("KAPPA_TEST_SERVERS")
        .map(|folder| Path::new(&folder).join(name))
        .filter(|script| script.is_file());
    let why_not = match script {
        None => "KAPPA_TEST_SERVERS names none (make test does)".to_owned(),
        Some(script) => match call(&script, "fetch", None, &[]) {
            Ok(_) => return Ok(Some(script)),
            Err(error) => error,
        },
    };
    if required {
        return Err(format!(
            "no {name}, and KAPPA_REQUIRE_SERVERS=1 wants one: {why_not}"
        ));
    }
    eprintln!("not tested against {name}: {why_not}");
    Ok(None)
}

fn call(
    script: &Path,
    command: &str,
    folder: Option<&Path>,
    args: &[&str],
) -> Result<String, String> {
    let output = Command::new(script)
        .arg(command)
        .args(folder)
        .args(args)
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
