//! Sinks: rows of a relation or a query, delivered to other systems, each row once.
//!
//! ```text
//!               ┌─> [writing]: files ─> units ─┬─> [delivery] S3        a cursor each
//! feed ─> outbox┤   (encoded once)             └─> [delivery] GCS
//! (a query)     └─────────────────────────────────> [delivery] Postgres
//! ```
//!
//! Sinks of files may have small files merged at their target, by a task of their own ([compacting]).
//!
//! A feed is a query whose commits put rows into an outbox. A writer makes files of them; sinks that
//! want the same files share it. Each sink delivers at its own pace, and what all have is given back.
//! One that fails holds up neither the feed nor the others, until its policy says so.

pub(crate) mod command;
pub(crate) mod commit_objects;
pub(crate) mod compacting;
pub(crate) mod delivery;
pub(crate) mod departure;
pub(crate) mod gc;
pub(crate) mod kept;
mod open_file;
pub(crate) mod options;
pub(crate) mod outbox;
pub(crate) mod output;
pub(crate) mod place;
pub(crate) mod retry;
pub(crate) mod rows;
pub(crate) mod running;
pub(crate) mod secret;
pub(crate) mod small_files;
mod spill;
pub(crate) mod status;
pub(crate) mod target;
pub(crate) mod units;
pub(crate) mod writer;
pub(crate) mod writing;
