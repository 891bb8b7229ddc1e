//! The engine: statements in, running queries and answers out.
//!
//! The way of a statement: [`Session::execute`] parses it (`kappa-sql`), and one file under
//! `statement/` carries it out. A continuous query becomes a `query` task that runs its plan in
//! steps and commits state, offsets and output together; an ad hoc one runs once over a snapshot
//! (`pull`). The one place where `kappa-sql` and `kappa-storage` meet.

mod catalog;
mod clock;
mod config;
mod engine;
mod error;
mod key_order;
mod meta_entry;
mod operator;
mod plan;
mod property;
mod pull;
mod query;
mod response;
mod session;
mod sink;
mod state;
mod statement;
mod system;
mod view;

pub use clock::{Clock, ManualClock, SystemClock};
pub use config::Config;
pub use engine::Engine;
pub use error::{Error, Result};
pub use property::{PROPERTIES, Property};
pub use query::status::{QueryInfo, QueryState};
pub use response::{Response, Rows, Subscription};
pub use session::Session;
pub use sink::gc::{GarbageRequest, collect_garbage};
pub use system::kafka_topics;

pub use kappa_sql::ErrorKind;
pub use kappa_sql::error::suggest;
pub use kappa_sql::parser::{KEYWORDS, complete};
pub use kappa_storage::nexmark;
pub use kappa_storage::record;
pub use kappa_storage::topic;

/// The statements of a script, one text each, without their `;`. Pieces that hold only blanks are
/// left out.
pub fn split(script: &str) -> Vec<&str> {
    kappa_sql::parser::Splitter::new(script)
        .map(|piece| piece.text)
        .filter(|text| !text.trim().is_empty())
        .collect()
}
