//! How far a query had come at its last commit: what it reads from after a restart.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::meta_entry::MetaEntry;

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

impl MetaEntry for Progress {
    const KIND: &'static str = "progress";
}
