//! The functions of the dialect: KSQL's own, and all of DataFusion's whose names are free. Where
//! DataFusion has one that does the same, it goes by KSQL's name, too.

mod aggregate;
mod array;
mod as_value;
mod bytes;
mod json;
mod lambda;
mod map;
mod mask;
mod math;
mod native;
mod null;
mod number;
mod operator;
mod regexp;
mod table;
mod text;
mod time;
mod url;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::planner::ExprPlanner;
use datafusion::logical_expr::{AggregateUDF, HigherOrderUDF, ScalarUDF, WindowUDF};
use datafusion::prelude::SessionConfig;

use self::operator::Operators;
pub(crate) use self::table::{cube, is_table_function};
pub(crate) use self::time::{TAKE_UNITS, unit_ms};

/// KSQL's names for scalar functions that DataFusion has under another.
const SCALAR_ALIASES: [(&str, &str); 3] =
    [("ucase", "upper"), ("lcase", "lower"), ("ceiling", "ceil")];

/// KSQL's names for aggregate functions that DataFusion has under another.
const AGGREGATE_ALIASES: [(&str, &str); 3] = [
    ("stddev_sample", "stddev"),
    // ksqlDB's is the variance, and stays so.
    ("stddev_samp", "var"),
    ("correlation", "corr"),
];

/// Functions by lower-case name.
#[derive(Debug)]
pub struct Functions {
    scalar: HashMap<String, Arc<ScalarUDF>>,
    higher_order: HashMap<String, Arc<HigherOrderUDF>>,
    aggregate: HashMap<String, Arc<AggregateUDF>>,
    window: HashMap<String, Arc<WindowUDF>>,
    planners: Vec<Arc<dyn ExprPlanner>>,
}

/// What a function is for, in a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the field's words")]
pub enum FunctionKind {
    Scalar,
    Aggregate,
    Window,
}

impl FunctionKind {
    /// Its name in a listing.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "SCALAR",
            Self::Aggregate => "AGGREGATE",
            Self::Window => "WINDOW",
        }
    }
}

impl Functions {
    /// All of them; made once.
    pub fn all() -> &'static Self {
        static ALL: OnceLock<Functions> = OnceLock::new();
        ALL.get_or_init(|| Self::of(&default_state()))
    }

    fn of(state: &SessionState) -> Self {
        let mut scalar = state.scalar_functions().clone();
        for function in own() {
            scalar.insert(function.name().to_owned(), Arc::new(function));
        }
        for (alias, name) in SCALAR_ALIASES {
            if let Some(function) = scalar.get(name).cloned() {
                scalar.entry(alias.into()).or_insert(function);
            }
        }
        let mut aggregate = state.aggregate_functions().clone();
        for (alias, name) in AGGREGATE_ALIASES {
            if let Some(function) = aggregate.get(name).cloned() {
                aggregate.insert(alias.into(), function);
            }
        }
        for function in aggregate::all() {
            aggregate.insert(function.name().to_owned(), Arc::new(function));
        }
        let mut higher_order = state.higher_order_functions().clone();
        for function in lambda::all() {
            higher_order.insert(function.name().to_owned(), Arc::new(function));
        }
        let operators: Arc<dyn ExprPlanner> = Arc::new(Operators);
        Self {
            scalar,
            higher_order,
            aggregate,
            window: state.window_functions().clone(),
            planners: std::iter::once(operators)
                .chain(state.expr_planners().iter().cloned())
                .collect(),
        }
    }

    /// The scalar function of that name, whatever its case.
    pub fn scalar(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.scalar.get(&name.to_ascii_lowercase()).cloned()
    }

    /// The aggregate function of that name, whatever its case.
    pub fn aggregate(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.aggregate.get(&name.to_ascii_lowercase()).cloned()
    }

    /// The window function of that name, whatever its case.
    pub fn window(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.window.get(&name.to_ascii_lowercase()).cloned()
    }

    /// The function over lambdas of that name, whatever its case.
    pub fn higher_order(&self, name: &str) -> Option<Arc<HigherOrderUDF>> {
        self.higher_order.get(&name.to_ascii_lowercase()).cloned()
    }

    /// What turns operators and literals into functions.
    pub fn planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &self.planners
    }

    /// Names of the scalar functions.
    pub fn scalar_names(&self) -> Vec<String> {
        self.scalar.keys().cloned().collect()
    }

    /// Names of the aggregate functions.
    pub fn aggregate_names(&self) -> Vec<String> {
        self.aggregate.keys().cloned().collect()
    }

    /// Names of the window functions.
    pub fn window_names(&self) -> Vec<String> {
        self.window.keys().cloned().collect()
    }

    /// Names of the functions over lambdas.
    pub fn higher_order_names(&self) -> Vec<String> {
        self.higher_order.keys().cloned().collect()
    }

    /// All functions by name, upper-case as they are written.
    pub fn list(&self) -> Vec<(String, FunctionKind)> {
        let named = |names: Vec<String>, kind| {
            names
                .into_iter()
                .map(move |name| (name.to_uppercase(), kind))
        };
        let mut list: Vec<_> = named(self.scalar_names(), FunctionKind::Scalar)
            .chain(named(self.higher_order_names(), FunctionKind::Scalar))
            .chain(named(self.aggregate_names(), FunctionKind::Aggregate))
            .chain(named(self.window_names(), FunctionKind::Window))
            .collect();
        list.sort();
        list
    }
}

/// KSQL's own scalar functions.
fn own() -> impl Iterator<Item = ScalarUDF> {
    std::iter::once(ScalarUDF::from(as_value::AsValue::new()))
        .chain(array::all())
        .chain(bytes::all())
        .chain(json::all())
        .chain(map::all())
        .chain(mask::all())
        .chain(math::all())
        .chain(null::all())
        .chain(regexp::all())
        .chain(table::all())
        .chain(text::all())
        .chain(time::all())
        .chain(url::all())
}

fn default_state() -> SessionState {
    SessionStateBuilder::new()
        .with_config(SessionConfig::new().with_target_partitions(1))
        .with_default_features()
        .build()
}
