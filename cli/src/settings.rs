//! Command line and configuration file together: how the engine is to be opened.

use std::path::{Path, PathBuf};

use kappa_engine::Config;

use crate::args::Args;
use crate::properties;

const DATA_DIR: &str = "./kappa-data";

/// How the engine is to be opened, and the session's variables.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) config: Config,
    pub(crate) variables: Vec<(String, String)>,
}

impl Settings {
    /// A flag wins over `-p`, and that over the file.
    ///
    /// # Errors
    /// A configuration file that cannot be read; for a person.
    pub(crate) fn new(args: &Args) -> Result<Self, String> {
        let mut config = Config::embedded(DATA_DIR);
        let from_file = match &args.config {
            Some(file) => read(file)?,
            None => Vec::new(),
        };
        for (key, value) in from_file.into_iter().chain(args.properties.iter().cloned()) {
            match key.as_str() {
                "data.dir" => config.data_dir = PathBuf::from(value),
                "bootstrap.servers"
                | "kafka.bootstrap.servers"
                | "ksql.streams.bootstrap.servers" => {
                    config.bootstrap_servers = Some(value).filter(|servers| !servers.is_empty());
                }
                _ => {
                    config.properties.insert(key, value);
                }
            }
        }
        if let Some(dir) = &args.data_dir {
            config.data_dir.clone_from(dir);
        }
        if let Some(servers) = &args.bootstrap_servers {
            config.bootstrap_servers = Some(servers.clone()).filter(|servers| !servers.is_empty());
        }
        Ok(Self {
            config,
            variables: args.defines.clone(),
        })
    }
}

fn read(file: &Path) -> Result<Vec<(String, String)>, String> {
    let name = file.display();
    let text = std::fs::read_to_string(file)
        .map_err(|error| format!("cannot read the configuration file {name}: {error}"))?;
    properties::parse(&text).map_err(|error| format!("{name}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(line: &[&str]) -> Result<Settings, String> {
        Settings::new(&Args::read(line).unwrap())
    }

    #[test]
    fn flags_win_over_properties_and_those_over_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("kappa.properties");
        std::fs::write(
            &file,
            "data.dir=/a\nbootstrap.servers=a:1\nstep.max.rows=1\nkafka.x=y\n",
        )
        .unwrap();
        let file = file.to_str().unwrap();

        let plain = settings(&["kappa", "--config", file]).unwrap().config;
        assert_eq!(plain.data_dir, PathBuf::from("/a"));
        assert_eq!(plain.bootstrap_servers.as_deref(), Some("a:1"));
        assert_eq!(plain.properties["kafka.x"], "y");

        let both = settings(&[
            "kappa",
            "--config",
            file,
            "-p",
            "step.max.rows=2",
            "-p",
            "data.dir=/b",
            "--data-dir",
            "/c",
            "--bootstrap-servers",
            "",
        ])
        .unwrap()
        .config;
        assert_eq!(both.data_dir, PathBuf::from("/c"));
        assert_eq!(both.bootstrap_servers, None);
        assert_eq!(both.properties["step.max.rows"], "2");
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = settings(&["kappa", "--config", "/nowhere/k.conf"]).unwrap_err();
        assert!(
            error.starts_with("cannot read the configuration file /nowhere/k.conf: "),
            "{error}"
        );
    }
}
