//! Whole engines under long and varied input.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests: a failure is the message"
)]

mod bad_input;
mod broker;
mod incarnation;
mod oracle;
mod sinks;
