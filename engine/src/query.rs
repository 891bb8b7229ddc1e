//! A running continuous query: its sources, its steps, its commits and its output.
//!
//! ```text
//! [input]: topic ─ reader ─ decode, or generator ─> [source]: row time ─> merge by time ─> leaves
//!                                                                    │ one run of the plan = step
//!                    [output]: encode, view rows <─────────────────┘
//!                        │  every commit interval: operators' state + view + offsets + records
//!                        └──────────> one synced write = commit
//! ```

pub(crate) mod decode;
pub(crate) mod durations;
pub(crate) mod generated;
pub(crate) mod inflight;
pub(crate) mod input;
pub(crate) mod kafka_sink;
pub(crate) mod merge;
pub(crate) mod output;
pub(crate) mod partition;
pub(crate) mod progress;
pub(crate) mod push;
mod read_ahead;
pub(crate) mod rowtime;
pub(crate) mod runner;
pub(crate) mod source;
pub(crate) mod status;
pub(crate) mod task;
pub(crate) mod workers;
