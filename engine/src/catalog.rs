//! The durable catalog: relations and queries as rows of the store, changed in the same commits as
//! everything else, and its snapshot in memory.
//!
//! ```text
//! meta: relation/<name> -> StoredRelation     query/<id> -> StoredQuery
//!       feed/<id> -> StoredFeed      writer/<id> -> StoredWriter      sink/<name> -> StoredSink
//!       type/<name> -> SqlType       counters -> Counters
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kappa_sql::catalog::{Catalog, Relation};
use kappa_sql::types::CustomTypes;
use kappa_storage::store::{Commit, Store, View};
use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::property::Properties;
use crate::sink::writer::WriterOptions;
use crate::state::StateLayout;

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
    #[serde(default)]
    pub(crate) layout: StateLayout,
    /// Properties of the session that made it.
    pub(crate) properties: Properties,
    pub(crate) paused: bool,
}

/// A query whose rows go into an outbox, for sinks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct StoredFeed {
    /// Its id, `FEED_3`.
    pub(crate) id: String,
    /// The CREATE SINK that brought it, whose input it reads.
    pub(crate) statement: String,
    /// The relation that it reads whole, if it does: other sinks of it may share the feed.
    pub(crate) relation: Option<String>,
    /// The relations it reads.
    pub(crate) sources: Vec<String>,
    /// Whether its rows are counted and dropped.
    pub(crate) blackhole: bool,
    /// First of its state tables, and their number.
    pub(crate) first_table: u32,
    pub(crate) tables: u32,
    #[serde(default)]
    pub(crate) layout: StateLayout,
    /// Properties of the session that made it.
    pub(crate) properties: Properties,
}

/// What makes files of a feed's rows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct StoredWriter {
    /// Its id, `WRITER_4`.
    pub(crate) id: String,
    pub(crate) feed: String,
    pub(crate) options: WriterOptions,
}

/// A sink.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct StoredSink {
    pub(crate) name: String,
    /// What tells it from all others, at its target: a sink made anew, or one of the same name
    /// elsewhere, never writes over what this one wrote.
    pub(crate) mark: String,
    /// Its statement, without secrets.
    pub(crate) statement: String,
    /// Values of secret properties that the statement gave.
    pub(crate) secrets: BTreeMap<String, String>,
    /// Where it writes, for people.
    pub(crate) place: String,
    pub(crate) sources: Vec<String>,
    pub(crate) feed: String,
    /// What makes its files, if it takes files.
    pub(crate) writer: Option<String>,
    pub(crate) paused: bool,
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
    pub(crate) feeds: BTreeMap<String, StoredFeed>,
    pub(crate) writers: BTreeMap<String, StoredWriter>,
    pub(crate) sinks: BTreeMap<String, StoredSink>,
    /// Sinks of an older layout, by name, with their statements.
    pub(crate) old_sinks: BTreeMap<String, String>,
    pub(crate) types: CustomTypes,
    pub(crate) counters: Counters,
}

/// The catalog of an engine, and how often it was changed.
#[derive(Debug)]
pub(crate) struct SharedCatalog {
    catalog: RwLock<DurableCatalog>,
    version: AtomicU64,
}

impl SharedCatalog {
    pub(crate) fn new(catalog: DurableCatalog) -> Self {
        Self {
            catalog: RwLock::new(catalog),
            version: AtomicU64::new(0),
        }
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, DurableCatalog> {
        self.catalog.read()
    }

    /// The catalog, to be changed.
    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, DurableCatalog> {
        let catalog = self.catalog.write();
        self.version.fetch_add(1, Ordering::AcqRel);
        catalog
    }

    /// Another one after each [`Self::write`]: what was found in the catalog, while it was locked for
    /// reading, with this version is still true.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }
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
        for (_, row) in store.scan_meta(b"feed/")? {
            let stored: StoredFeed = serde_json::from_slice(&row)?;
            catalog.feeds.insert(stored.id.clone(), stored);
        }
        for (_, row) in store.scan_meta(b"writer/")? {
            let stored: StoredWriter = serde_json::from_slice(&row)?;
            catalog.writers.insert(stored.id.clone(), stored);
        }
        for (_, row) in store.scan_meta(b"sink/")? {
            match serde_json::from_slice::<StoredSink>(&row) {
                Ok(stored) => drop(catalog.sinks.insert(stored.name.clone(), stored)),
                Err(_) => {
                    let old: OldSink = serde_json::from_slice(&row)?;
                    catalog.old_sinks.insert(old.name, old.statement);
                }
            }
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

impl StoredFeed {
    /// The number of its outbox: the one after its state tables'.
    pub(crate) fn outbox(&self) -> u32 {
        self.first_table + self.tables
    }

    pub(crate) fn write(&self, commit: &mut Commit) -> Result<()> {
        let key = format!("feed/{}", self.id);
        commit.put_meta(key.as_bytes(), &serde_json::to_vec(self)?);
        Ok(())
    }

    pub(crate) fn delete(id: &str, commit: &mut Commit) {
        commit.delete_meta(format!("feed/{id}").as_bytes());
    }
}

impl StoredWriter {
    pub(crate) fn write(&self, commit: &mut Commit) -> Result<()> {
        let key = format!("writer/{}", self.id);
        commit.put_meta(key.as_bytes(), &serde_json::to_vec(self)?);
        Ok(())
    }

    pub(crate) fn delete(id: &str, commit: &mut Commit) {
        commit.delete_meta(format!("writer/{id}").as_bytes());
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

/// A sink before there were feeds. It is shown as failed, to be made again.
#[derive(Deserialize)]
struct OldSink {
    name: String,
    statement: String,
}

impl Counters {
    pub(crate) fn write(&self, commit: &mut Commit) -> Result<()> {
        commit.put_meta(b"counters", &serde_json::to_vec(self)?);
        Ok(())
    }
}
