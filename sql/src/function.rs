//! Functions of our own: what KSQL has and DataFusion does not.

mod as_value;

pub(crate) use as_value::AsValue;
