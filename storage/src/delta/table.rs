//! The table that rows go to: made where it is not there, checked, and widened where that is wanted.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use deltalake_core::DeltaTable;
use deltalake_core::kernel::transaction::{CommitProperties, PROTOCOL};
use deltalake_core::kernel::{DataType, StructField, StructType};
use deltalake_core::logstore::{LogStoreRef, StorageConfig, default_logstore};
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectStore;
use object_store::path::Path;
use object_store::prefix::PrefixStore;

use super::fault::told;
use super::{Mode, Spec};
use crate::files::{FileTarget, classify};
use crate::{Error, Result};

/// Where the log of a table is, under its root.
const LOG: &str = "_delta_log";
/// Properties of a table, and of its columns, that say what rows must be like.
const CONSTRAINT: &str = "delta.constraints.";
const COLUMN_RULES: [&str; 3] = [
    "delta.invariants",
    "delta.generationExpression",
    "delta.identity.start",
];
/// Columns with statistics, unless the table says otherwise.
const INDEXED_MAX: usize = 32;

/// The columns that a table should have.
#[derive(Clone, Debug)]
pub(super) struct Columns {
    pub(super) schema: SchemaRef,
    pub(super) fields: Vec<StructField>,
}

/// The log of the table at `place`, by way of our own object store.
pub(super) fn log_store(place: &FileTarget) -> Result<LogStoreRef> {
    let (store, url) = place.store()?;
    let root = Path::from_url_path(url.path()).map_err(|error| Error::User(error.to_string()))?;
    let under_root = Arc::new(PrefixStore::new(Arc::clone(&store), root));
    Ok(default_logstore(
        under_root,
        store,
        &url,
        &StorageConfig::default(),
    ))
}

/// The table as it is now; made where there is none, and widened where that is wanted.
pub(super) async fn open(place: &FileTarget, spec: &Spec, columns: &Columns) -> Result<DeltaTable> {
    let what = || format!("open the Delta table {}", place.path());
    let mut table = DeltaTable::new(log_store(place)?);
    // Asked first, as the library says too little of a bucket that cannot be read.
    let store = table.object_store();
    if !holds_any(&store, Some(LOG), |_| true)
        .await
        .map_err(|error| classify(what(), &error))?
    {
        let visible = |name: &str| !name.starts_with(['_', '.']);
        let strange = holds_any(&store, None, visible).await;
        if strange.map_err(|error| classify(what(), &error))? {
            return Err(Error::User(format!(
                "{} holds files that are no Delta table: take another path, or make a table of them",
                place.path()
            )));
        }
        return create(&table, spec, columns)
            .await
            .map_err(|error| told(format!("make the Delta table {}", place.path()), &error));
    }
    table.load().await.map_err(|error| told(what(), &error))?;
    let missing = missing(&table, place, spec, columns)?;
    if missing.is_empty() {
        return Ok(table);
    }
    let widened = table.add_columns().with_fields(missing).await;
    widened.map_err(|error| told(format!("add columns to {}", place.path()), &error))
}

/// Whether there is any object whose first name under the root is `wanted`.
async fn holds_any(
    store: &Arc<dyn ObjectStore>,
    under: Option<&str>,
    wanted: impl Fn(&str) -> bool,
) -> object_store::Result<bool> {
    let mut listed = store.list(under.map(Path::from).as_ref()).boxed();
    while let Some(object) = listed.try_next().await? {
        if object
            .location
            .parts()
            .next()
            .is_some_and(|name| wanted(name.as_ref()))
        {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn create(
    table: &DeltaTable,
    spec: &Spec,
    columns: &Columns,
) -> deltalake_core::DeltaResult<DeltaTable> {
    table
        .create()
        .with_columns(columns.fields.iter().cloned())
        .with_partition_columns(spec.partition_by.clone())
        // With more tries it would be made over one that somebody else makes at this moment.
        .with_commit_properties(CommitProperties::default().with_max_retries(0))
        .await
}

/// Columns with statistics, of a table's first ones.
pub(super) fn indexed_max(table: &DeltaTable) -> usize {
    let state = table.snapshot().ok();
    let asked = state.and_then(|state| {
        let properties = state.metadata().configuration();
        properties
            .get("delta.dataSkippingNumIndexedCols")?
            .parse::<i64>()
            .ok()
    });
    asked.map_or(INDEXED_MAX, |count| {
        usize::try_from(count).unwrap_or(usize::MAX)
    })
}

/// Columns of the table in which there may be no NULL.
pub(super) fn required(table: &DeltaTable) -> Vec<String> {
    let state = table.snapshot().ok();
    let fields = state.map(|state| state.schema());
    let fields = fields.iter().flat_map(|schema| schema.fields());
    fields
        .filter(|field| !field.is_nullable())
        .map(|field| field.name().clone())
        .collect()
}

/// Checks that rows can go to the table. Returns the columns that are to be added.
pub(super) fn missing(
    table: &DeltaTable,
    place: &FileTarget,
    spec: &Spec,
    columns: &Columns,
) -> Result<Vec<StructField>> {
    let path = place.path();
    let wrong = |text: String| Err(Error::User(format!("the Delta table {path} {text}")));
    let what = || format!("write to the Delta table {path}");
    let state = table.snapshot().map_err(|error| told(what(), &error))?;
    PROTOCOL
        .can_write_to(state)
        .map_err(|error| told(what(), &error.into()))?;
    let properties = state.metadata().configuration();
    let property = |name: &str| properties.get(name).map_or("", String::as_str);
    if !matches!(property("delta.columnMapping.mode"), "" | "none") {
        return wrong(
            "maps its columns to other names (delta.columnMapping.mode), which Kappa cannot \
                      write: take another table"
                .to_owned(),
        );
    }
    let there = state.schema();
    match spec.mode {
        Mode::Merge if property("delta.appendOnly") == "true" => {
            return wrong("takes no changes (delta.appendOnly): take MODE 'append'".to_owned());
        }
        Mode::Merge => {}
        Mode::Append => {
            let of_table = properties.keys().find(|name| name.starts_with(CONSTRAINT));
            let of_column = there.fields().find(|field| {
                COLUMN_RULES
                    .iter()
                    .any(|rule| field.metadata().contains_key(*rule))
            });
            if let Some(name) = of_table.or(of_column.map(|field| field.name())) {
                return wrong(format!(
                    "has a rule ({name}) that rows must keep, which MODE 'append' does not check: drop \
                     it, or take another table"
                ));
            }
        }
    }
    let partitions = state.metadata().partition_columns();
    if *partitions != spec.partition_by {
        let text = match partitions.is_empty() {
            true => "is not partitioned: leave PARTITION_BY out".to_owned(),
            false => format!(
                "is partitioned by {names}: set PARTITION_BY = '{names}'",
                names = quoted(partitions)
            ),
        };
        return wrong(text);
    }
    let mut missing = Vec::new();
    for field in &columns.fields {
        let Some(found) = there.field(field.name()) else {
            missing.push(field.clone());
            continue;
        };
        if !is_same(found.data_type(), field.data_type()) {
            return wrong(format!(
                "has column \"{}\" as {}, and here it is {}: cast it in the query",
                field.name(),
                found.data_type(),
                field.data_type()
            ));
        }
    }
    let ours = |name: &String| columns.fields.iter().any(|field| field.name() == name);
    if let Some(field) = there.fields().find(|f| !f.is_nullable() && !ours(f.name())) {
        let name = field.name();
        return wrong(format!(
            "needs a value for \"{name}\", which the rows do not have"
        ));
    }
    match missing.first() {
        Some(field) if !spec.schema_evolution => {
            let name = field.name();
            let alike = there.fields().find(|f| f.name().eq_ignore_ascii_case(name));
            wrong(match alike {
                Some(alike) => format!(
                    "spells \"{name}\" as \"{0}\": call it `{0}` in the query",
                    alike.name()
                ),
                None => format!(
                    "has no column for \"{name}\": set SCHEMA_EVOLUTION = true, or add \"{name}\" {}",
                    field.data_type()
                ),
            })
        }
        _ => Ok(missing),
    }
}

/// Names as PARTITION_BY takes them.
fn quoted(names: &[String]) -> String {
    let plain = |name: &str| !name.chars().any(char::is_lowercase);
    let names = names.iter().map(|name| match plain(name) {
        true => name.clone(),
        false => format!("`{name}`"),
    });
    names.collect::<Vec<_>>().join(", ")
}

/// Whether types are the same, but for where NULL may be.
fn is_same(a: &DataType, b: &DataType) -> bool {
    let same_fields = |a: &StructType, b: &StructType| {
        a.fields().count() == b.fields().count()
            && a.fields()
                .zip(b.fields())
                .all(|(a, b)| a.name() == b.name() && is_same(a.data_type(), b.data_type()))
    };
    match (a, b) {
        (DataType::Array(a), DataType::Array(b)) => is_same(a.element_type(), b.element_type()),
        (DataType::Map(a), DataType::Map(b)) => {
            is_same(a.key_type(), b.key_type()) && is_same(a.value_type(), b.value_type())
        }
        (DataType::Struct(a), DataType::Struct(b)) => same_fields(a, b),
        (a, b) => a == b,
    }
}
