//! The functions of the dialect: all of DataFusion's, and KSQL's names for those that do the same.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::planner::ExprPlanner;
use datafusion::logical_expr::{AggregateUDF, HigherOrderUDF, ScalarUDF, WindowUDF};
use datafusion::prelude::SessionConfig;

/// KSQL's names for scalar functions that DataFusion has under another.
const SCALAR_ALIASES: [(&str, &str); 15] = [
    ("len", "character_length"),
    ("ucase", "upper"),
    ("lcase", "lower"),
    ("array_contains", "array_has"),
    ("array_join", "array_to_string"),
    ("chr", "chr"),
    ("ceiling", "ceil"),
    ("generate_series", "generate_series"),
    ("ifnull", "nvl"),
    ("instr", "strpos"),
    ("regexp_split_to_array", "regexp_split_to_array"),
    ("split", "string_to_array"),
    ("as_map", "map"),
    ("sign", "signum"),
    ("ln", "ln"),
];

/// KSQL's names for aggregate functions that DataFusion has under another.
const AGGREGATE_ALIASES: [(&str, &str); 3] = [
    ("collect_list", "array_agg"),
    ("stddev_sample", "stddev"),
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
        scalar.insert(
            "as_value".into(),
            Arc::new(ScalarUDF::from(crate::function::AsValue::new())),
        );
        for (alias, name) in SCALAR_ALIASES {
            if let Some(function) = scalar.get(name).cloned() {
                scalar.entry(alias.into()).or_insert(function);
            }
        }
        let mut aggregate = state.aggregate_functions().clone();
        for (alias, name) in AGGREGATE_ALIASES {
            if let Some(function) = aggregate.get(name).cloned() {
                aggregate.entry(alias.into()).or_insert(function);
            }
        }
        Self {
            scalar,
            higher_order: state.higher_order_functions().clone(),
            aggregate,
            window: state.window_functions().clone(),
            planners: state.expr_planners().to_vec(),
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

fn default_state() -> SessionState {
    SessionStateBuilder::new()
        .with_config(SessionConfig::new().with_target_partitions(1))
        .with_default_features()
        .build()
}
