//! An engine for a test: in a folder of its own, with a clock that the test sets, and commits that
//! come when the test asks for them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kappa_engine::{Config, Engine, Error, ManualClock};
use tempfile::TempDir;

/// A data directory that goes away with the test, in memory where the machine has a place for that.
///
/// # Errors
/// A disk that fails.
pub fn data_dir() -> std::io::Result<TempDir> {
    let memory = Path::new("/dev/shm");
    let builder = tempfile::Builder::new().prefix("kappa-test-").to_owned();
    match memory.is_dir() {
        true => builder.tempdir_in(memory),
        false => builder.tempdir(),
    }
}

/// Opens an engine on `data_dir`, on embedded topics, with these properties. Its clock stands at 0,
/// so nothing is committed but by `flush` and `shutdown`.
///
/// # Errors
/// What [`Engine::open`] gives.
pub async fn open(data_dir: &Path, properties: &[(&str, &str)]) -> Result<Engine, Error> {
    Engine::open(config(data_dir, properties)).await
}

/// What [`open`] opens an engine with.
pub fn config(data_dir: &Path, properties: &[(&str, &str)]) -> Config {
    let pairs = properties
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config {
        data_dir: PathBuf::from(data_dir),
        bootstrap_servers: None,
        properties: pairs.collect::<BTreeMap<_, _>>(),
        sync: false,
        clock: Arc::new(ManualClock::at(0)),
    }
}
