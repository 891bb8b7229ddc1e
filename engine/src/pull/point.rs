//! A view's row by its key, without a plan.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{Field, Schema};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use kappa_sql::ast::PullQuery;
use kappa_sql::planner::{only_relation, point_lookup};
use kappa_storage::store::{View, key};
use parking_lot::Mutex;

use crate::engine::Engine;
use crate::error::Result;
use crate::response::Rows;
use crate::view::{StoredRows, ViewLayout};

/// Layouts of views by their state table, whose number is never used again.
#[derive(Debug, Default)]
pub(crate) struct Layouts(Mutex<HashMap<u32, Arc<ViewLayout>>>);

/// Most layouts that are kept.
const LAYOUTS_MAX: usize = 1024;

/// Answers a query that asks for one row of a view by its key; `None` if it asks for something else.
pub(super) fn answer(engine: &Engine, query: &PullQuery) -> Result<Option<Rows>> {
    let Some(name) = only_relation(query) else {
        return Ok(None);
    };
    let catalog = engine.inner.catalog.read();
    let Some(stored) = catalog.relations.get(name) else {
        return Ok(None);
    };
    let relation = &stored.relation;
    let (Some(table), None) = (stored.view_table, relation.window) else {
        return Ok(None);
    };
    let Some(lookup) = point_lookup(query, relation) else {
        return Ok(None);
    };
    let fields: Vec<Field> = lookup
        .columns
        .iter()
        .map(|(index, name)| {
            let data_type = relation.columns[*index].data_type.to_arrow();
            Field::new(name, data_type, true)
        })
        .collect();
    // Of the columns that the layout gives: the key's, then the value's.
    let places: Vec<Option<usize>> = lookup
        .columns
        .iter()
        .map(|(index, _)| {
            let wanted = &relation.columns[*index].name;
            let mut names = relation.key_columns().chain(relation.value_columns());
            names.position(|column| column.name == *wanted)
        })
        .collect();
    let layout = {
        let mut layouts = engine.inner.layouts.0.lock();
        if layouts.len() >= LAYOUTS_MAX {
            layouts.clear();
        }
        match layouts.get(&table) {
            Some(layout) => Arc::clone(layout),
            None => {
                let layout = Arc::new(ViewLayout::try_new(relation, table)?);
                layouts.insert(table, Arc::clone(&layout));
                layout
            }
        }
    };
    drop(catalog);
    let columns: Vec<ArrayRef> = lookup
        .key
        .iter()
        .map(|value| Ok(value.to_array()?))
        .collect::<Result<_>>()?;
    let mut rows = StoredRows::default();
    for row in layout.encode_keys(&columns)? {
        let key = key::state_key(table, &row, None);
        let found = engine.inner.store.multi_get_state(&[&key])?;
        if let Some(row) = found.into_iter().next().flatten() {
            rows.push(&key, &row);
        }
    }
    let schema = Arc::new(Schema::new(fields));
    let all = layout.decode(&rows)?;
    let columns = places
        .into_iter()
        .flatten()
        .filter_map(|place| all.get(place).cloned())
        .collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    let batch = RecordBatch::try_new_with_options(schema, columns, &options)?;
    Ok(Some(Rows::of(batch)))
}
