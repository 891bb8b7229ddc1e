//! SQL text to plans: parser, catalog snapshot, functions, planner.
//!
//! The way of a statement: [`parser`] makes an [`ast::Statement`] of its text; [`planner`] resolves
//! it against a [`catalog::Catalog`] and makes a DataFusion `LogicalPlan`, with the stateful steps of
//! a continuous query as [`node`]s in it. No I/O, no clock, no threads: all of that is the engine's.

pub mod ast;
pub mod catalog;
pub mod column;
pub mod dialect;
pub mod error;
pub mod functions;
pub mod java_time;
pub mod node;
pub mod parser;
pub mod planner;
pub mod types;

pub use error::{Error, ErrorKind, Result};
