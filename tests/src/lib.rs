//! Black-box tests: what they share. Everything here uses the engine as any program would, through
//! its public interface; nothing of it is part of the product.

pub mod account;
pub mod bucket;
pub mod chance;
pub mod gcs_server;
mod http_server;
pub mod instance;
pub mod ksql;
pub mod readers;
pub mod server;
pub mod slt;
pub mod streaming_server;
pub mod text;
pub mod topic;
