//! The durable catalog: relations and queries as rows of the store, changed in the same commits as
//! everything else, and its snapshot in memory.
//!
//! ```text
//! meta: relation/<name> -> StoredRelation     query/<id> -> StoredQuery
//!       sink/<name> -> StoredSink             type/<name> -> SqlType     counters -> Counters
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use kappa_sql::catalog::{Catalog, Relation};
use kappa_sql::types::CustomTypes;
use kappa_storage::store::{Commit, Store, View};
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::property::Properties;
use crate::query::files::FileOptions;

/// A relation, and where its view's rows are.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct StoredRelation {
    pub(crate) relation: Relation,
    /// State table of the view, for tables that a query maintains.
    pub(crate) view_table: Option<u32>,
}

/// A persistent query.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct StoredQuery {
    pub(crate) id: String,
    /// Its statement.
    pub(crate) statement: String,
    /// The relation it writes.
    pub(crate) sink: String,
    /// The relations it reads.
    pub(crate) sources: Vec<String>,
    /// Whether it came with the relation it writes (CREATE … AS) or was added (INSERT INTO).
    pub(crate) creates_sink: bool,
    /// First of its state tables, and their number.
    pub(crate) first_table: u32,
    pub(crate) tables: u32,
    /// Properties of the session that made it.
    pub(crate) properties: Properties,
    pub(crate) paused: bool,
}

/// A sink.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct StoredSink {
    pub(crate) name: String,
    /// Part of its files' names, so that a sink made anew, or one of the same name elsewhere, never
    /// writes over them. Empty for a sink that is older than marks.
    #[serde(default)]
    pub(crate) mark: String,
    /// The relations it reads.
    #[serde(alias = "source", deserialize_with = "one_or_several")]
    pub(crate) sources: Vec<String>,
    pub(crate) statement: String,
    pub(crate) options: SinkOptions,
    /// Settings of the object store that the statement gave; none of them secret.
    pub(crate) store_options: BTreeMap<String, String>,
    /// First of its state tables, and their number.
    #[serde(default = "unnumbered")]
    pub(crate) first_table: u32,
    #[serde(default)]
    pub(crate) tables: u32,
    pub(crate) properties: Properties,
    pub(crate) paused: bool,
}

/// The table of sinks that are older than numbers for them.
fn unnumbered() -> u32 {
    u32::MAX / 2
}

/// Where a sink's rows go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum SinkOptions {
    /// Into files.
    Files(FileOptions),
    /// Nowhere: they are counted. To measure or try a query without what it writes.
    Blackhole { blackhole: bool },
}

impl SinkOptions {
    /// Where to, for people.
    pub(crate) fn path(&self) -> &str {
        match self {
            Self::Files(options) => &options.path,
            Self::Blackhole { .. } => "blackhole",
        }
    }
}

/// Sinks that are older than `AS SELECT` have one source.
fn one_or_several<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Sources {
        One(String),
        Several(Vec<String>),
    }
    Ok(match Sources::deserialize(deserializer)? {
        Sources::One(one) => vec![one],
        Sources::Several(several) => several,
    })
}

/// The next numbers. Numbers are never used again.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Counters {
    pub(crate) query: u64,
    pub(crate) table: u32,
}

/// The catalog, as the last commit left it.
#[derive(Clone, Debug, Default)]
pub(crate) struct DurableCatalog {
    pub(crate) relations: BTreeMap<String, StoredRelation>,
    pub(crate) queries: BTreeMap<String, StoredQuery>,
    pub(crate) sinks: BTreeMap<String, StoredSink>,
    pub(crate) types: CustomTypes,
    pub(crate) counters: Counters,
}

impl DurableCatalog {
    /// Reads the catalog.
    pub(crate) fn read(store: &Arc<Store>) -> Result<Self> {
        let mut catalog = Self::default();
        for (_, row) in store.scan_meta(b"relation/")? {
            let stored: StoredRelation = serde_json::from_slice(&row)?;
            catalog
                .relations
                .insert(stored.relation.name.clone(), stored);
        }
        for (_, row) in store.scan_meta(b"query/")? {
            let stored: StoredQuery = serde_json::from_slice(&row)?;
            catalog.queries.insert(stored.id.clone(), stored);
        }
        for (_, row) in store.scan_meta(b"sink/")? {
            let stored: StoredSink = serde_json::from_slice(&row)?;
            catalog.sinks.insert(stored.name.clone(), stored);
        }
        for (key, row) in store.scan_meta(b"type/")? {
            let name = String::from_utf8_lossy(&key["type/".len()..]).into_owned();
            catalog.types.insert(name, serde_json::from_slice(&row)?);
        }
        if let Some(row) = store.get_meta(b"counters")? {
            catalog.counters = serde_json::from_slice(&row)?;
        }
        Ok(catalog)
    }

    /// The relations as SQL sees them.
    pub(crate) fn snapshot(&self, system: &[Arc<Relation>]) -> Catalog {
        let mut catalog = Catalog::default();
        for stored in self.relations.values() {
            catalog.insert(stored.relation.clone());
        }
        for relation in system {
            catalog.insert(relation.as_ref().clone());
        }
        catalog
    }
}

impl StoredRelation {
    pub(crate) fn write(&self, commit: &mut Commit) -> Result<()> {
        let key = format!("relation/{}", self.relation.name);
        commit.put_meta(key.as_bytes(), &serde_json::to_vec(self)?);
        Ok(())
    }

    pub(crate) fn delete(name: &str, commit: &mut Commit) {
        commit.delete_meta(format!("relation/{name}").as_bytes());
    }
}

impl StoredQuery {
    /// The number of its outbox: the one after its state tables'.
    pub(crate) fn outbox(&self) -> u32 {
        self.first_table + self.tables
    }

    pub(crate) fn write(&self, commit: &mut Commit) -> Result<()> {
        let key = format!("query/{}", self.id);
        commit.put_meta(key.as_bytes(), &serde_json::to_vec(self)?);
        Ok(())
    }

    pub(crate) fn delete(id: &str, commit: &mut Commit) {
        commit.delete_meta(format!("query/{id}").as_bytes());
    }
}

impl StoredSink {
    pub(crate) fn write(&self, commit: &mut Commit) -> Result<()> {
        let key = format!("sink/{}", self.name);
        commit.put_meta(key.as_bytes(), &serde_json::to_vec(self)?);
        Ok(())
    }

    pub(crate) fn delete(name: &str, commit: &mut Commit) {
        commit.delete_meta(format!("sink/{name}").as_bytes());
    }
}

impl Counters {
    pub(crate) fn write(&self, commit: &mut Commit) -> Result<()> {
        commit.put_meta(b"counters", &serde_json::to_vec(self)?);
        Ok(())
    }
}
