//! Views in many partitions, and what other tests of ad hoc queries begin with.

use std::collections::BTreeMap;

use arrow::datatypes::{Field, Schema};
use arrow::record_batch::RecordBatch;
use arrow::util::pretty::pretty_format_batches;
use datafusion::physical_plan::{collect, collect_partitioned};
use kappa_sql::parser::parse;
use kappa_sql::planner::plan_pull;

use super::*;
use crate::clock::SystemClock;
use crate::config::Config;
use crate::response::Response;
use crate::session::Session;

const CREATE: [&str; 9] = [
    "CREATE STREAM s (id INT, big BIGINT, name STRING, part DOUBLE, flag BOOLEAN) \
     WITH (KAFKA_TOPIC = 's', VALUE_FORMAT = 'JSON', PARTITIONS = 1)",
    "CREATE TABLE by_id AS SELECT id, COUNT(*) AS n, MAX(big) AS most FROM s GROUP BY id",
    "CREATE TABLE by_big AS SELECT big, COUNT(*) AS n FROM s GROUP BY big",
    "CREATE TABLE by_name AS SELECT name, COUNT(*) AS n FROM s GROUP BY name",
    "CREATE TABLE by_part AS SELECT part, COUNT(*) AS n FROM s GROUP BY part",
    "CREATE TABLE by_flag WITH (KEY_FORMAT = 'JSON') AS SELECT flag, COUNT(*) AS n FROM s GROUP BY flag",
    "CREATE TABLE by_two WITH (KEY_FORMAT = 'JSON') AS \
     SELECT name, big, COUNT(*) AS n FROM s GROUP BY name, big",
    "CREATE TABLE by_time AS SELECT id, COUNT(*) AS n FROM s WINDOW TUMBLING (SIZE 1 SECOND) \
     GROUP BY id",
    "CREATE STREAM copy AS SELECT * FROM s",
];

const ROWS: [&str; 6] = [
    "(1, 1, 'a', 1.0, true)",
    "(-1, -1, '', -1.0, false)",
    "(7, 7, 'it''s', 0.5, true)",
    "(2147483647, 9223372036854775807, '1', 7.0, false)",
    "(-2147483648, -9223372036854775808, 'é\\n', 2147483648.0, true)",
    "(3, 3, '''', 3.0, true)",
];

/// An engine with views over a few rows.
pub(super) async fn engine() -> (tempfile::TempDir, Engine) {
    let data_dir = tempfile::tempdir().unwrap();
    let config = Config {
        data_dir: data_dir.path().to_owned(),
        bootstrap_servers: None,
        properties: BTreeMap::new(),
        sync: false,
        clock: Arc::new(SystemClock::new()),
    };
    let engine = Engine::open(config).await.unwrap();
    let mut session = engine.session();
    for statement in CREATE {
        outcome(&mut session, statement).await.unwrap();
    }
    for row in ROWS {
        let insert = format!("INSERT INTO s (id, big, name, part, flag) VALUES {row}");
        outcome(&mut session, &insert).await.unwrap();
    }
    engine.flush().await.unwrap();
    (data_dir, engine)
}

/// What a statement gives, as text.
pub(super) async fn outcome(session: &mut Session, statement: &str) -> Result<String, String> {
    match session.execute(statement).await {
        Ok(Response::Rows(rows)) => {
            let schema = format!("{:?}", rows.schema());
            let rows = rows.collect().await.map_err(|error| error.to_string())?;
            let found = rows.iter().map(RecordBatch::num_rows).sum::<usize>();
            // Only the way with a plan gives no batch for no row.
            match found {
                0 => Ok(format!("{schema} no row")),
                _ => Ok(format!(
                    "{schema}\n{}",
                    pretty_format_batches(&rows).unwrap()
                )),
            }
        }
        Ok(other) => Ok(format!("{other:?}")),
        Err(error) => Err(error.to_string()),
    }
}

/// What a query gives when views are read in so many partitions: its plan, and its rows.
async fn rows_of(engine: &Engine, question: &str, partitions_max: usize) -> (String, String) {
    let parsed = parse(question).unwrap().0.remove(0);
    let Statement::Pull(query) = &parsed.statement else {
        panic!("{question}");
    };
    let plan = plan_pull(&engine.catalog(), query).unwrap();
    let partitioning = Partitioning {
        partitions_max,
        partition_bytes_min: 0,
    };
    let (physical, state) = physical_in(engine, &plan, partitioning).await.unwrap();
    let shown = displayable(physical.as_ref()).indent(false).to_string();
    let batches = collect(physical, state.task_ctx()).await.unwrap();
    let rows = pretty_format_batches(&batches).unwrap().to_string();
    let mut rows: Vec<&str> = rows.lines().collect();
    rows.sort_unstable();
    (shown, rows.join("\n"))
}

#[tokio::test(flavor = "multi_thread")]
async fn views_in_partitions_give_the_same() {
    let (_data_dir, engine) = engine().await;
    let questions = [
        "SELECT COUNT(*), SUM(n), MIN(id), MAX(most) FROM by_id",
        "SELECT COUNT(*) FROM by_id WHERE most > 1",
        "SELECT n, COUNT(*), MIN(id) FROM by_id GROUP BY n HAVING COUNT(*) > 0 ORDER BY n",
        "SELECT DISTINCT n FROM by_name",
        "SELECT COUNT(DISTINCT name), MAX(n) FROM by_two",
        "SELECT COUNT(*), SUM(a.n) FROM by_id a JOIN by_big b ON a.id = b.big",
        "SELECT COUNT(*), COUNT(b.n) FROM by_id a LEFT JOIN by_big b ON a.id = b.big",
        "SELECT COUNT(*), COUNT(b.n) FROM by_name a FULL JOIN by_two b ON a.name = b.name",
        "SELECT id, n FROM by_id WHERE most = (SELECT MAX(big) FROM by_big)",
        "SELECT n FROM by_id WHERE id IN (SELECT MIN(big) FROM by_big GROUP BY n)",
        "SELECT COUNT(*) FROM (SELECT n FROM by_id UNION ALL SELECT n FROM by_time)",
        "WITH t AS (SELECT n, COUNT(*) AS c FROM by_time GROUP BY n) SELECT SUM(c) FROM t",
        "SELECT COUNT(*) FROM (SELECT * FROM by_id LIMIT 2)",
    ];
    for question in questions {
        let (_, alone) = rows_of(&engine, question, 1).await;
        for partitions_max in [2, 3, 1000] {
            let (plan, rows) = rows_of(&engine, question, partitions_max).await;
            assert_eq!(rows, alone, "{question}\n{plan}");
            let parts = format!("in {} parts", partitions_max.min(256));
            assert!(plan.contains(&parts), "{question}\n{plan}");
        }
    }
    // Their rows come in the order of the view.
    for question in [
        "SELECT * FROM by_id",
        "SELECT id FROM by_id WHERE n > 0 LIMIT 1",
        "SELECT COLLECT_LIST(id) FROM by_id",
        "SELECT FIRST_VALUE(id), COUNT(*) FROM by_id",
        "SELECT AVG(n), COUNT(*) FROM by_id",
        "SELECT SUM(CAST(n AS DOUBLE)) FROM by_id",
    ] {
        let (plan, rows) = rows_of(&engine, question, 3).await;
        assert!(!plan.contains("parts"), "{question}\n{plan}");
        assert_eq!(rows, rows_of(&engine, question, 1).await.1);
    }
    engine.shutdown().await.unwrap();
}

/// All rows of a view, its partitions one after the other.
async fn scanned(engine: &Engine, view: &str, partitions: usize) -> Vec<RecordBatch> {
    let stored = engine.inner.catalog.read().relations[view].clone();
    let layout = ViewLayout::try_new(&stored.relation, stored.view_table.unwrap()).unwrap();
    let columns = stored.relation.key_columns();
    let fields: Vec<Field> = columns
        .chain(stored.relation.value_columns())
        .map(|column| Field::new(&column.name, column.data_type.to_arrow(), true))
        .collect();
    let exec = view_scan::ViewScanExec::try_new(
        Arc::new(stored.relation),
        layout,
        lookup::Lookup::All,
        engine.inner.store.snapshot(),
        Arc::new(Schema::new(fields)),
        partitions,
    )
    .unwrap();
    let context = session_state().task_ctx();
    let partitioned = collect_partitioned(Arc::new(exec), context).await.unwrap();
    partitioned.into_iter().flatten().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_are_a_view_cut_in_pieces() {
    let (_data_dir, engine) = engine().await;
    let text = |batches: &[RecordBatch]| pretty_format_batches(batches).unwrap().to_string();
    for view in ["BY_ID", "BY_NAME", "BY_TWO", "BY_TIME"] {
        let whole = scanned(&engine, view, 1).await;
        assert_eq!(
            whole.iter().map(RecordBatch::num_rows).sum::<usize>(),
            ROWS.len()
        );
        for partitions in [2, 7, 256] {
            assert_eq!(
                text(&scanned(&engine, view, partitions).await),
                text(&whole),
                "{view}"
            );
        }
    }
    engine.shutdown().await.unwrap();
}
