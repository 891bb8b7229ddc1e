//! What DataFusion's SQL planner asks of us while it plans an expression or a pull query.

use std::fmt;
use std::sync::{Arc, OnceLock};

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{Result, TableReference, plan_err};
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::planner::{ContextProvider, ExprPlanner, TypePlanner};
use datafusion::logical_expr::{
    AggregateUDF, HigherOrderUDF, ScalarUDF, TableProviderFilterPushDown, TableSource, WindowUDF,
};
use datafusion::sql::sqlparser::ast::DataType as AstType;

use crate::catalog::{Catalog, Relation};
use crate::functions::Functions;
use crate::types::SqlType;

/// How a relation is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scan {
    /// New rows, step by step, with the reserved columns.
    Continuous,
    /// What is there now, once.
    Once,
}

/// A registered relation as a leaf of a plan; the engine puts an operator in its place.
pub struct RelationSource {
    relation: Arc<Relation>,
    scan: Scan,
    schema: SchemaRef,
}

impl RelationSource {
    /// The leaf for `relation`.
    pub fn new(relation: Arc<Relation>, scan: Scan) -> Self {
        let schema = match scan {
            Scan::Continuous => relation.scan_schema(),
            Scan::Once => relation.query_schema(),
        };
        Self {
            relation,
            scan,
            schema,
        }
    }

    /// The relation.
    pub fn relation(&self) -> &Arc<Relation> {
        &self.relation
    }

    /// How it is read.
    pub fn scan(&self) -> Scan {
        self.scan
    }
}

impl fmt::Debug for RelationSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RelationSource({}, {:?})", self.relation.name, self.scan)
    }
}

impl TableSource for RelationSource {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        // Filters on the key choose what is read from state; they are still checked above.
        let pushdown = match self.scan {
            Scan::Once => TableProviderFilterPushDown::Inexact,
            Scan::Continuous => TableProviderFilterPushDown::Unsupported,
        };
        Ok(vec![pushdown; filters.len()])
    }
}

/// The dialect's types inside expressions.
#[derive(Debug)]
struct Types;

impl TypePlanner for Types {
    fn plan_type(&self, sql_type: &AstType) -> Result<Option<DataType>> {
        Ok(SqlType::from_ast(sql_type).map(|sql_type| sql_type.to_arrow()))
    }
}

/// The catalog and functions as DataFusion's SQL planner sees them.
pub(crate) struct Context<'a> {
    pub(crate) catalog: &'a Catalog,
    pub(crate) scan: Scan,
}

impl ContextProvider for Context<'_> {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        match self.catalog.get(name.table()) {
            Some(relation) => Ok(Arc::new(RelationSource::new(
                Arc::clone(relation),
                self.scan,
            ))),
            None => plan_err!("{} does not exist", name.table()),
        }
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        Functions::all().planners()
    }

    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        Some(Arc::new(Types))
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        Functions::all().scalar(name)
    }

    fn get_higher_order_meta(&self, name: &str) -> Option<Arc<HigherOrderUDF>> {
        Functions::all().higher_order(name)
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        Functions::all().aggregate(name)
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        Functions::all().window(name)
    }

    fn get_variable_type(&self, _names: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        static OPTIONS: OnceLock<ConfigOptions> = OnceLock::new();
        OPTIONS.get_or_init(ConfigOptions::default)
    }

    fn udf_names(&self) -> Vec<String> {
        Functions::all().scalar_names()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        Functions::all().higher_order_names()
    }

    fn udaf_names(&self) -> Vec<String> {
        Functions::all().aggregate_names()
    }

    fn udwf_names(&self) -> Vec<String> {
        Functions::all().window_names()
    }
}
