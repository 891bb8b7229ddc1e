//! The engine: one data directory, its topics, its catalog and its running queries.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kappa_sql::catalog::{Catalog, Connector};
use kappa_storage::store::{Durability, Store, StoreOptions, View};
use kappa_storage::topic::Topics;
use kappa_storage::topic::embedded::EmbeddedTopics;
use kappa_storage::topic::kafka::KafkaTopics;
use parking_lot::RwLock;
use tokio::sync::Mutex;

use crate::catalog::{DurableCatalog, SharedCatalog, StoredQuery};
use crate::clock::Clock;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::property::Properties;
use crate::query::input::Inputs;
use crate::query::status::{QueryInfo, QueryState, Status};
use crate::query::task::{QueryHandle, Shared};
use crate::query::workers::Pools;
use crate::session::Session;
use crate::sink::running::{self, Running};
use crate::statement;
use crate::system::{RoutedTopics, SystemTables};

/// How often it is looked whether what is committed can be read.
const READABLE_INTERVAL: Duration = Duration::from_millis(5);

/// An open engine. Clones are the same engine.
#[derive(Clone, Debug)]
pub struct Engine {
    pub(crate) inner: Arc<Inner>,
}

/// By a query's id: what it writes, its statement and its counters.
type Infos = BTreeMap<String, (String, String, Arc<Status>)>;

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) properties: Properties,
    pub(crate) store: Arc<Store>,
    pub(crate) topics: Arc<dyn Topics>,
    kafka: Option<KafkaTopics>,
    engine_id: String,
    embedded: EmbeddedTopics,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) system: Arc<SystemTables>,
    pools: Arc<Pools>,
    pub(crate) catalog: SharedCatalog,
    /// Running queries by id.
    pub(crate) queries: Mutex<BTreeMap<String, QueryHandle>>,
    /// What runs for sinks. Waited for before `queries`.
    pub(crate) sinks: Mutex<Running>,
    /// Held by whoever changes the catalog.
    pub(crate) ddl: Mutex<()>,
    /// What everybody may see of the queries, without waiting for them.
    pub(crate) infos: RwLock<Infos>,
    /// Lookups by key that were asked for.
    pub(crate) prepared: crate::pull::Prepared,
}

impl Engine {
    /// Opens an engine, and starts the queries that its data directory has.
    ///
    /// # Errors
    /// A data directory that is in use, damaged or from a newer Kappa; properties that do not
    /// exist.
    pub async fn open(config: Config) -> Result<Self> {
        let mut properties = Properties::default();
        for (name, value) in &config.properties {
            if !name.starts_with("kafka.") && !Config::is_setting(name) {
                properties.set(name, value)?;
            }
        }
        config.check_settings()?;
        let directory = config.data_dir.clone();
        let options = StoreOptions {
            sync: config.sync,
            ..StoreOptions::default()
        };
        let store = tokio::task::spawn_blocking(move || Store::open(directory, options))
            .await
            .map_err(|error| Error::Internal(error.to_string()))??;
        let embedded = EmbeddedTopics::new(Arc::clone(&store));
        let system = Arc::new(SystemTables::open(&embedded, true).await?);
        let mut kafka = None;
        let topics: Arc<dyn Topics> = match &config.bootstrap_servers {
            None => Arc::new(embedded.clone()),
            Some(servers) => {
                let routed = RoutedTopics::connect(embedded.clone(), servers, &config).await?;
                kafka = Some(routed.kafka().clone());
                Arc::new(routed)
            }
        };
        let engine_id = engine_id(&store)?;
        let catalog = DurableCatalog::read(&store)?;
        let stored: Vec<StoredQuery> = catalog.queries.values().cloned().collect();
        let engine = Self {
            inner: Arc::new(Inner {
                clock: Arc::clone(&config.clock),
                config,
                properties,
                store,
                topics,
                kafka,
                engine_id,
                embedded,
                system,
                pools: Arc::default(),
                catalog: SharedCatalog::new(catalog),
                queries: Mutex::new(BTreeMap::new()),
                sinks: Mutex::default(),
                ddl: Mutex::new(()),
                infos: RwLock::new(BTreeMap::new()),
                prepared: crate::pull::Prepared::default(),
            }),
        };
        for query in stored {
            // A query that cannot start is shown as such; the others run.
            if let Err(error) = statement::create_as::restart(&engine, &query).await {
                engine.show_failed(query.id, query.sink, query.statement, &error);
            }
        }
        running::start_all(&engine).await;
        Ok(engine)
    }

    /// Shows a query that could not be started.
    fn show_failed(&self, id: String, sink: String, statement: String, error: &Error) {
        let status = Arc::new(Status::default());
        status.set_state(QueryState::Error, Some(error.to_string()));
        self.inner
            .infos
            .write()
            .insert(id, (sink, statement, status));
    }

    /// A session, with properties of its own.
    pub fn session(&self) -> Session {
        Session::new(self.clone())
    }

    /// Carries out one statement in a session of its own.
    ///
    /// # Errors
    /// A statement that cannot be carried out, and why.
    pub async fn execute(&self, sql: &str) -> Result<crate::Response> {
        self.session().execute(sql).await
    }

    /// Starts a push query in a session of its own.
    ///
    /// # Errors
    /// A statement that is not a push query, or cannot be carried out.
    pub async fn subscribe(&self, sql: &str) -> Result<crate::Subscription> {
        match self.execute(sql).await? {
            crate::Response::Push(subscription) => Ok(subscription),
            _ => Err(Error::User(
                "a push query ends with EMIT CHANGES or EMIT FINAL".into(),
            )),
        }
    }

    /// The topics: for producers and consumers inside this process.
    pub fn topics(&self) -> &Arc<dyn Topics> {
        &self.inner.topics
    }

    /// Waits until all that topics hold now is processed and committed by all running queries, and
    /// what they wrote can be read. A transaction that somebody else has open on such a topic is
    /// waited for.
    ///
    /// Of rows that are generated and have no end, what is made now is waited for, and what has come
    /// of that.
    ///
    /// # Errors
    /// A query that failed.
    pub async fn flush(&self) -> Result<()> {
        loop {
            // One that cannot go on does not keep the others from it.
            let queries = self.flush_queries().await;
            let (delivered, before) = {
                let sinks = self.inner.sinks.lock().await;
                (sinks.flush(), sinks.progress())
            };
            let delivered = delivered.await;
            let after = self.sinks_settled().await;
            // One that went over to a feed of its own has yet to read that; one that was too far behind
            // may have held up a query.
            if after.moved != before.moved || queries.is_err() && after != before {
                continue;
            }
            queries?;
            delivered?;
            break;
        }
        for topic in self.written_topics() {
            let ends = self.inner.topics.written(&topic).await?;
            loop {
                let ranges = self.inner.topics.offsets(&topic).await?;
                if ranges
                    .iter()
                    .zip(&ends)
                    .all(|(range, end)| range.end >= *end)
                {
                    break;
                }
                tokio::time::sleep(READABLE_INTERVAL).await;
            }
        }
        Ok(())
    }

    /// Waits for sinks that go over to feeds of their own.
    async fn sinks_settled(&self) -> running::Progress {
        loop {
            let sinks = self.inner.sinks.lock().await;
            if !sinks.moves() {
                return sinks.progress();
            }
            drop(sinks);
            tokio::time::sleep(READABLE_INTERVAL).await;
        }
    }

    async fn flush_queries(&self) -> Result<()> {
        let mut rounds = 0;
        loop {
            let queries = self.inner.queries.lock().await;
            // Such a query always has something to commit. What it wrote before the first round has
            // gone through as many queries as there are after as many rounds.
            let grows = |query: &QueryHandle| {
                let mut sources = query.spec.plan.sources.iter();
                sources.any(|s| s.connector.as_ref().is_some_and(Connector::grows))
            };
            let rounds_max = match queries.values().any(grows) {
                true => queries.len(),
                false => usize::MAX,
            };
            // A query may commit by itself, before its turn and after that of one which reads it.
            let epochs = || -> Vec<u64> { queries.values().map(QueryHandle::epoch).collect() };
            let before = epochs();
            let (mut again, mut failed) = (false, None);
            for query in queries.values() {
                match query.flush().await {
                    Ok(more) => again |= more,
                    Err(error) => failed = failed.or(Some(error)),
                }
            }
            rounds += usize::from(!again);
            if !again && (epochs() == before || rounds > rounds_max) {
                return failed.map_or(Ok(()), Err);
            }
        }
    }

    /// The topics that running queries write.
    fn written_topics(&self) -> BTreeSet<String> {
        let catalog = self.inner.catalog.read();
        let sinks = catalog.queries.values().map(|query| &query.sink);
        sinks
            .filter_map(|sink| catalog.relations.get(sink))
            .map(|stored| stored.relation.topic.clone())
            .collect()
    }

    /// The running queries.
    pub fn queries(&self) -> Vec<QueryInfo> {
        let infos = self.inner.infos.read();
        infos
            .iter()
            .map(|(id, (sink, statement, status))| status.info(id, sink, statement))
            .collect()
    }

    /// Names of relations and of their columns, for completion.
    pub fn names(&self) -> Vec<String> {
        let catalog = self.catalog();
        let mut names: Vec<String> = catalog
            .relations()
            .flat_map(|relation| {
                std::iter::once(relation.name.clone())
                    .chain(relation.columns.iter().map(|column| column.name.clone()))
            })
            .collect();
        names.sort();
        names.dedup();
        names
    }

    /// Removes records that topics need not keep. To be called now and then.
    ///
    /// # Errors
    /// A disk that fails.
    pub async fn maintain(&self) -> Result<()> {
        let embedded = self.inner.embedded.clone();
        let now_ms = self.inner.clock.now_ms();
        tokio::task::spawn_blocking(move || embedded.maintain(now_ms))
            .await
            .map_err(|error| Error::Internal(error.to_string()))??;
        Ok(())
    }

    /// Commits what the queries have done, ends them and closes the data directory.
    ///
    /// # Errors
    /// A disk that fails.
    pub async fn shutdown(&self) -> Result<()> {
        self.inner.sinks.lock().await.stop().await;
        let queries = std::mem::take(&mut *self.inner.queries.lock().await);
        futures::future::join_all(queries.into_values().map(QueryHandle::stop)).await;
        let store = Arc::clone(&self.inner.store);
        tokio::task::spawn_blocking(move || store.close())
            .await
            .map_err(|error| Error::Internal(error.to_string()))??;
        Ok(())
    }

    /// What is registered now.
    pub(crate) fn catalog(&self) -> Catalog {
        self.inner
            .catalog
            .read()
            .snapshot(self.inner.system.relations())
    }

    /// What queries share.
    pub(crate) fn shared(&self) -> Shared {
        Shared {
            store: Arc::clone(&self.inner.store),
            topics: Arc::clone(&self.inner.topics),
            kafka: self.inner.kafka.clone(),
            engine_id: self.inner.engine_id.clone(),
            clock: Arc::clone(&self.inner.clock),
            system: Arc::clone(&self.inner.system),
            pools: Arc::clone(&self.inner.pools),
        }
    }

    /// What relations are read from.
    pub(crate) fn inputs(&self) -> Inputs {
        self.shared().inputs()
    }
}

/// The name of this data directory among all that write to a cluster: made once, and kept.
fn engine_id(store: &Arc<Store>) -> Result<String> {
    const KEY: &[u8] = b"engine/id";
    if let Some(id) = store.get_meta(KEY)? {
        return Ok(String::from_utf8_lossy(&id).into_owned());
    }
    let id = format!("{:016x}", chance());
    let mut commit = store.begin();
    commit.put_meta(KEY, id.as_bytes());
    store.commit(commit, Durability::Sync)?;
    Ok(id)
}

/// A number that nobody has had before, for names.
pub(crate) fn chance() -> u64 {
    // `RandomState` is seeded by the operating system.
    std::hash::BuildHasher::hash_one(
        &std::collections::hash_map::RandomState::new(),
        std::process::id(),
    )
}
