//! A view's row by its key, without a plan; and without parsing, for a statement that differs in its
//! literals only from one that was answered so before.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::ScalarValue;
use kappa_sql::ast::{PullQuery, Statement};
use kappa_sql::parser::Shape;
use kappa_sql::planner::{KeyPlace, only_relation, point_lookup};
use kappa_storage::store::{View, key};
use parking_lot::RwLock;

use crate::engine::Engine;
use crate::error::Result;
use crate::response::Rows;
use crate::view::{StoredRows, ViewLayout};

/// Lookups that were asked for, by the shape of their statements.
#[derive(Debug, Default)]
pub(crate) struct Prepared(RwLock<HashMap<String, Arc<Lookup>>>);

/// Most lookups that are kept.
const PREPARED_MAX: usize = 1024;

/// A lookup of one row, but for its key.
#[derive(Debug)]
struct Lookup {
    /// The version of the catalog that it was made of. It is worth nothing with any other.
    version: u64,
    layout: ViewLayout,
    schema: SchemaRef,
    /// For each column of the schema, its place among those of [`ViewLayout::decode`].
    columns: Vec<usize>,
    /// Where a statement has the key.
    key: Vec<KeyPlace>,
}

/// Answers a query that asks for one row of a view by its key; `None` if it asks for something else.
pub(super) fn answer(engine: &Engine, query: &PullQuery) -> Result<Option<Rows>> {
    match lookup(engine, query)? {
        Some((lookup, key)) => lookup.read(engine, &key).map(Some),
        None => Ok(None),
    }
}

/// Answers a statement of a shape that is known: what [`answer`] gives, without parsing it.
pub(super) fn answer_shape(engine: &Engine, shape: &Shape<'_>) -> Result<Option<Rows>> {
    let inner = &engine.inner;
    let lookup = inner.prepared.0.read().get(shape.text()).map(Arc::clone);
    let Some(lookup) = lookup.filter(|lookup| lookup.version == inner.catalog.version()) else {
        return Ok(None);
    };
    let literals = shape.literals();
    let key: Option<Vec<ScalarValue>> = lookup.key.iter().map(|of| of.value(literals)).collect();
    match key {
        Some(key) => lookup.read(engine, &key).map(Some),
        None => Ok(None),
    }
}

/// Remembers a statement's shape if [`answer`] has an answer to it.
pub(super) fn learn(engine: &Engine, shape: &Shape<'_>, statement: &Statement) -> Result<()> {
    let Statement::Pull(query) = statement else {
        return Ok(());
    };
    let Some((lookup, key)) = lookup(engine, query)? else {
        return Ok(());
    };
    let literals = shape.literals();
    let places = lookup.key.iter().map(|of| of.value(literals));
    if literals.len() != key.len() || !places.eq(key.iter().cloned().map(Some)) {
        return Ok(());
    }
    let mut prepared = engine.inner.prepared.0.write();
    if prepared.len() >= PREPARED_MAX {
        prepared.clear();
    }
    prepared.insert(shape.text().to_owned(), Arc::new(lookup));
    Ok(())
}

/// What a query looks up, and the key it asks for; `None` if it takes a plan.
fn lookup(engine: &Engine, query: &PullQuery) -> Result<Option<(Lookup, Vec<ScalarValue>)>> {
    let Some(name) = only_relation(query) else {
        return Ok(None);
    };
    let catalog = engine.inner.catalog.read();
    // Nobody changes it meanwhile.
    let version = engine.inner.catalog.version();
    let Some(stored) = catalog.relations.get(name) else {
        return Ok(None);
    };
    let relation = &stored.relation;
    let (Some(table), None) = (stored.view_table, relation.window) else {
        return Ok(None);
    };
    let Some(found) = point_lookup(query, relation) else {
        return Ok(None);
    };
    let fields: Vec<Field> = found
        .columns
        .iter()
        .map(|(index, name)| {
            let data_type = relation.columns[*index].data_type.to_arrow();
            Field::new(name, data_type, true)
        })
        .collect();
    // Of the columns that the layout gives: the key's, then the value's.
    let columns = found
        .columns
        .iter()
        .filter_map(|(index, _)| {
            let wanted = &relation.columns[*index].name;
            let mut names = relation.key_columns().chain(relation.value_columns());
            names.position(|column| column.name == *wanted)
        })
        .collect();
    let lookup = Lookup {
        version,
        layout: ViewLayout::try_new(relation, table)?,
        schema: Arc::new(Schema::new(fields)),
        columns,
        key: found.places,
    };
    Ok(Some((lookup, found.key)))
}

impl Lookup {
    /// The row of that key, if there is one.
    fn read(&self, engine: &Engine, values: &[ScalarValue]) -> Result<Rows> {
        let columns: Vec<ArrayRef> = values
            .iter()
            .map(|value| Ok(value.to_array()?))
            .collect::<Result<_>>()?;
        let mut rows = StoredRows::default();
        for row in self.layout.encode_keys(&columns)? {
            let key = key::state_key(self.layout.table, &row, None);
            if let Some(row) = engine.inner.store.get_state(&key)? {
                rows.push(&key, &row);
            }
        }
        let columns = self.layout.decode(&rows, &self.columns)?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let schema = Arc::clone(&self.schema);
        let batch = RecordBatch::try_new_with_options(schema, columns, &options)?;
        Ok(Rows::of(batch))
    }
}

#[cfg(test)]
mod tests;
