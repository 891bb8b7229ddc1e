//! The committer of PostgreSQL by itself, against a real server: a schema for each test.

mod faults;
mod types_and_modes;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};

use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use kappa_storage::Result;
use kappa_storage::postgres::{Postgres, PostgresOptions, Target};
use kappa_tests::server::Server;

thread_local! {
    /// A test has a thread of its own, and the server until that ends.
    static HELD: RefCell<Option<Arc<Server>>> = const { RefCell::new(None) };
}

/// The server that all tests at work share. `None` where there can be none.
fn shared() -> Option<Arc<Server>> {
    static SERVER: Mutex<Weak<Server>> = Mutex::new(Weak::new());
    if let Some(held) = HELD.with_borrow(Clone::clone) {
        return Some(held);
    }
    let mut server = SERVER.lock().unwrap();
    let found = match server.upgrade() {
        Some(found) => found,
        None => Arc::new(Server::start("postgres").unwrap()?),
    };
    *server = Arc::downgrade(&found);
    HELD.set(Some(Arc::clone(&found)));
    Some(found)
}

pub(crate) fn server() -> Arc<Server> {
    shared().unwrap()
}

pub(crate) async fn admin() -> tokio_postgres::Client {
    connect(server().value("DATABASE")).await
}

pub(crate) async fn connect(database: &str) -> tokio_postgres::Client {
    let mut config: tokio_postgres::Config = server().value("URL").parse().unwrap();
    config.dbname(database);
    let (client, connection) = config.connect(tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// A schema of the test's own, empty; `None` where there is no server.
pub(crate) async fn schema(name: &str) -> Option<tokio_postgres::Client> {
    shared()?;
    let admin = admin().await;
    let sql = format!("DROP SCHEMA IF EXISTS {name} CASCADE; CREATE SCHEMA {name}");
    admin.batch_execute(&sql).await.unwrap();
    Some(admin)
}

pub(crate) fn options(more: &[(&str, &str)]) -> PostgresOptions {
    PostgresOptions::try_new(&values(more)).unwrap()
}

pub(crate) fn values(more: &[(&str, &str)]) -> BTreeMap<String, String> {
    let mut values = BTreeMap::from([("URL".to_owned(), server().value("URL").to_owned())]);
    values.extend(
        more.iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
    );
    values
}

pub(crate) fn target(fields: &[(&str, DataType)], keys: &[&str]) -> Target {
    let fields = fields
        .iter()
        .map(|(name, of)| Field::new(*name, of.clone(), true));
    Target {
        sink: "ORDERS_SINK".into(),
        mark: "q17/ORDERS_SINK".into(),
        schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
        keys: keys.iter().map(|key| (*key).to_owned()).collect(),
    }
}

pub(crate) fn sink(options: &PostgresOptions, target: &Target) -> Result<Postgres> {
    Postgres::try_new(options, target.clone())
}

pub(crate) fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    let columns = columns.into_iter().map(|(name, array)| (name, array, true));
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

/// Rows as text, NULL as ∅.
pub(crate) async fn rows(client: &tokio_postgres::Client, sql: &str) -> Vec<String> {
    let messages = client.simple_query(sql).await.unwrap();
    let rows = messages.iter().filter_map(|message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    rows.map(|row| {
        let cells = (0..row.len()).map(|at| row.get(at).unwrap_or("∅"));
        cells.collect::<Vec<_>>().join("|")
    })
    .collect()
}
