//! ksqlDB's own functional cases, run on the engine's public interface with embedded topics: the
//! outside judge of the dialect.
//!
//! The cases are data that is not ours: they are read from a folder ([`folder`]) when it is there,
//! and nothing of them is in this repository but the names of those that are allowed to fail
//! ([`ratchet`]). A case is expanded ([`case`]), run ([`run`], or [`rest`] for pull and push
//! queries), and what came out is compared with what it expects ([`compare`], [`cause`],
//! [`post`]).

mod case;
mod cause;
mod compare;
mod json;
mod number;
mod payload;
mod post;
pub mod ratchet;
mod relation;
mod rest;
mod rows;
mod run;
mod score;
mod types;

pub use case::{Case, folder, read};
pub use run::Failed;
pub use score::{Report, run_all};
