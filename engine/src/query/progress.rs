//! How far a query had come at its last commit: what it reads from after a restart.

use std::collections::BTreeMap;

use kappa_storage::store::{Commit, View};
use serde::{Deserialize, Serialize};

use crate::error::Result;

/// Positions and epoch of a query. Written in the same commit as its state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// The last committed epoch; 0 before the first.
    pub(crate) epoch: u64,
    /// For each source of the plan, in order: partition and next offset.
    pub(crate) offsets: Vec<BTreeMap<i32, i64>>,
    /// Records that could not be read, ever.
    pub(crate) bad: u64,
    /// Rows that came too late, ever.
    pub(crate) late: u64,
}

impl Progress {
    /// What the last commit of `query` wrote, if there was one.
    pub(crate) fn read(store: &impl View, query: &str) -> Result<Option<Self>> {
        match store.get_meta(&key(query))? {
            None => Ok(None),
            Some(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        }
    }

    /// Writes it into a commit.
    pub(crate) fn write(&self, query: &str, commit: &mut Commit) -> Result<()> {
        commit.put_meta(&key(query), &serde_json::to_vec(self)?);
        Ok(())
    }

    /// Removes it in a commit.
    pub(crate) fn delete(query: &str, commit: &mut Commit) {
        commit.delete_meta(&key(query));
    }
}

fn key(query: &str) -> Vec<u8> {
    format!("progress/{query}").into_bytes()
}
