//! From statements to plans.
//!
//! A continuous query ([`query`]) becomes a DataFusion `LogicalPlan` with Kappa's stateful nodes in
//! it; an ad hoc one ([`pull`]) is planned by DataFusion itself over the same catalog. Neither
//! reads a topic or a clock.

mod aggregate;
mod connector;
mod context;
mod expr;
mod join;
mod literal;
mod point;
mod projection;
mod pull;
mod query;
mod rewrite;
mod scope;
mod source;
mod table_function;
mod values;
mod wildcard;

#[cfg(test)]
pub(crate) use expr::plan_constant;

pub use context::{RelationSource, Scan};
pub use point::{KeyPlace, PointLookup, only_relation, point_lookup};
pub use pull::plan_pull;
pub use query::{ContinuousPlan, Target, plan_query, plan_select_all};
pub use source::{Defaults, NewRelation, SourceTopic, check_new, plan_source, sink_relation};
pub use values::{InsertedRows, check_writable, plan_values};
