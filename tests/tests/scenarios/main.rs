//! Whole engines under long and varied input.

#![expect(clippy::disallowed_methods, reason = "servers have the machine's time")]
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests: a failure is the message"
)]

mod bad_input;
mod benchmarks;
mod broker;
mod compaction;
mod delta;
mod fan_out;
mod full_disk;
mod garbage;
mod gcs;
mod incarnation;
mod live;
mod nexmark;
mod oracle;
mod postgres;
mod push;
mod readers;
mod sinks;
mod snowflake;
mod view_everywhere;
