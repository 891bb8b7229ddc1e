//! Benchmarks of a continuous query over the topic of bids: from the first record to the commit of
//! the last, everything that a query does included.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};
use kappa_engine::topic::FetchLimit;
use kappa_engine::{Clock, Config, Engine, Response, Session, SystemClock};

use crate::check::same;
use crate::measure::{Measured, Stretch, Took, reset_peak, size_mb};
use crate::{Outcome, Place, bids, process};

/// A query to measure.
pub(crate) struct QueryBench {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    /// Events per CPU-second that it should reach.
    pub(crate) mark: Option<f64>,
    /// The continuous query, without EMIT CHANGES.
    pub(crate) select: &'static str,
    /// The same question as a batch query over the table `bid`.
    pub(crate) batch: &'static str,
    pub(crate) properties: &'static [(&'static str, &'static str)],
    /// Whether the result is a view instead of a black hole.
    pub(crate) view: bool,
}

const fn query(
    name: &'static str,
    what: &'static str,
    mark: f64,
    select: &'static str,
    batch: &'static str,
) -> QueryBench {
    QueryBench {
        name,
        what,
        mark: Some(mark),
        select,
        batch,
        properties: &[],
        view: false,
    }
}

macro_rules! tumbling {
    ($keys:literal) => {
        concat!(
            "SELECT BIDDER % ",
            $keys,
            " AS K, COUNT(*) AS BIDS FROM BID WINDOW TUMBLING (SIZE 10 SECONDS) GROUP BY BIDDER % ",
            $keys
        )
    };
}

macro_rules! tumbling_batch {
    ($keys:literal) => {
        concat!(
            "SELECT bidder % ",
            $keys,
            " AS k, COUNT(*) AS bids FROM bid GROUP BY bidder % ",
            $keys,
            ", datetime / 10000"
        )
    };
}

macro_rules! sums {
    ($keys:literal) => {
        concat!(
            "SELECT BIDDER % ",
            $keys,
            " AS K, COUNT(*) AS BIDS, SUM(PRICE) AS TOTAL FROM BID GROUP BY BIDDER % ",
            $keys
        )
    };
}

macro_rules! sums_batch {
    ($keys:literal) => {
        concat!(
            "SELECT bidder % ",
            $keys,
            " AS k, COUNT(*) AS bids, SUM(price) AS total FROM bid GROUP BY bidder % ",
            $keys
        )
    };
}

pub(crate) const QUERIES: [QueryBench; 12] = [
    query(
        "q0",
        "pass-through of all columns",
        2.4e6,
        "SELECT * FROM BID",
        "SELECT auction, bidder, price, channel, datetime FROM bid",
    ),
    query(
        "q2",
        "filter on one column, two columns out",
        2.9e6,
        "SELECT AUCTION, PRICE FROM BID WHERE AUCTION % 123 = 0",
        "SELECT auction, price FROM bid WHERE auction % 123 = 0",
    ),
    query(
        "q12_1k",
        "tumbling count per bidder, 1 k bidders",
        2.0e6,
        tumbling!("1000"),
        tumbling_batch!("1000"),
    ),
    query(
        "q12_100k",
        "tumbling count per bidder, 100 k bidders",
        1.8e6,
        tumbling!("100000"),
        tumbling_batch!("100000"),
    ),
    query(
        "q12_1m",
        "tumbling count per bidder, 1 M bidders",
        1.0e6,
        tumbling!("1000000"),
        tumbling_batch!("1000000"),
    ),
    query(
        "sum_1k",
        "count and sum per bidder, 1 k bidders",
        2.0e6,
        sums!("1000"),
        sums_batch!("1000"),
    ),
    query(
        "sum_100k",
        "count and sum per bidder, 100 k bidders",
        1.8e6,
        sums!("100000"),
        sums_batch!("100000"),
    ),
    query(
        "sum_1m",
        "count and sum per bidder, 1 M bidders",
        1.0e6,
        sums!("1000000"),
        sums_batch!("1000000"),
    ),
    query(
        "hopping",
        "hopping count per bidder, 10 s by 2 s, 100 k bidders",
        400e3,
        "SELECT BIDDER % 100000 AS K, COUNT(*) AS BIDS FROM BID WINDOW HOPPING (SIZE 10 SECONDS, \
         ADVANCE BY 2 SECONDS) GROUP BY BIDDER % 100000",
        "SELECT bidder % 100000 AS k, COUNT(*) AS bids FROM (SELECT bidder, datetime / 2000 - \
         UNNEST([0, 1, 2, 3, 4]) AS start FROM bid) GROUP BY bidder % 100000, start",
    ),
    query(
        "session",
        "session count per bidder, gap 10 s, 100 k bidders",
        400e3,
        "SELECT BIDDER % 100000 AS K, COUNT(*) AS BIDS FROM BID WINDOW SESSION (10 SECONDS) GROUP \
         BY BIDDER % 100000",
        // A bidder is never quiet for ten seconds.
        "SELECT bidder % 100000 AS k, COUNT(*) AS bids FROM bid GROUP BY bidder % 100000",
    ),
    QueryBench {
        name: "latest_100k",
        what: "latest price and channel per bidder, 100 k bidders",
        mark: None,
        select: "SELECT BIDDER % 100000 AS K, LATEST_BY_OFFSET(PRICE) AS PRICE, \
                 LATEST_BY_OFFSET(CHANNEL) AS CHANNEL FROM BID GROUP BY BIDDER % 100000",
        // One partition: in the order of the rows.
        batch: "SELECT bidder % 100000 AS k, LAST_VALUE(price) AS price, LAST_VALUE(channel) AS \
                channel FROM bid GROUP BY bidder % 100000",
        properties: &[],
        view: false,
    },
    QueryBench {
        name: "view_100k",
        what: "count and sum per bidder into a view and its topic, 100 k bidders",
        mark: None,
        select: sums!("100000"),
        batch: sums_batch!("100000"),
        properties: &[],
        view: true,
    },
];

/// Opens an engine where the benchmark's topics are.
pub(crate) async fn open(place: &Place, properties: &[(&str, &str)]) -> Outcome<(Engine, PathBuf)> {
    open_with_clock(place, properties, Arc::new(SystemClock::new())).await
}

/// The same with a clock of one's own.
pub(crate) async fn open_with_clock(
    place: &Place,
    properties: &[(&str, &str)],
    clock: Arc<dyn Clock>,
) -> Outcome<(Engine, PathBuf)> {
    let data_dir = place.fresh_dir()?;
    let engine = Engine::open(config(place, &data_dir, properties, clock)).await?;
    Ok((engine, data_dir))
}

/// What an engine is opened with.
pub(crate) fn config(
    place: &Place,
    data_dir: &Path,
    properties: &[(&str, &str)],
    clock: Arc<dyn Clock>,
) -> Config {
    Config {
        data_dir: data_dir.to_owned(),
        bootstrap_servers: place.bootstrap.clone(),
        properties: properties
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect::<BTreeMap<_, _>>(),
        sync: true,
        clock,
    }
}

/// Executes statements whose answers do not matter.
pub(crate) async fn run(session: &mut Session, statements: &[&str]) -> Outcome<()> {
    for statement in statements {
        session
            .execute(statement)
            .await
            .map_err(|error| error.render())?;
    }
    Ok(())
}

/// The rows of an ad hoc query.
pub(crate) async fn rows(session: &mut Session, question: &str) -> Outcome<Vec<RecordBatch>> {
    match session
        .execute(question)
        .await
        .map_err(|error| error.render())?
    {
        Response::Rows(rows) => Ok(rows.collect().await?),
        other => Err(format!("{other:?} instead of rows").into()),
    }
}

impl QueryBench {
    fn statement(&self) -> String {
        match self.view {
            true => format!("CREATE TABLE RESULT AS {} EMIT CHANGES", self.select),
            false => format!(
                "CREATE SINK RESULT WITH (CONNECTOR = 'blackhole') AS {} EMIT CHANGES",
                self.select
            ),
        }
    }

    /// Runs the query over all bids of the topic.
    pub(crate) async fn measure(
        &self,
        place: &Place,
        properties: &[(&str, &str)],
    ) -> Outcome<Measured> {
        let events = place.events;
        let (engine, data_dir) = open(place, properties).await?;
        let mut session = engine.session();
        if place.bootstrap.is_none() {
            bids::fill(engine.topics(), events, 1).await?;
        }
        run(&mut session, &[bids::STREAM]).await?;
        let bare = read_bare(&engine, events).await?;
        reset_peak();
        let stretch = Stretch::begin()?;
        if self.view && place.bootstrap.is_some() {
            // Left by the last run.
            if engine.topics().describe("RESULT").await?.is_some() {
                engine.topics().delete("RESULT").await?;
            }
        }
        run(&mut session, &[&self.statement()]).await?;
        wait_for(&engine, events).await?;
        engine.flush().await?;
        let took = stretch.end()?;
        let query = &engine.queries()[0];
        let read = query.rows_in;
        if read < events || query.bad != 0 || query.late != 0 {
            let (bad, late) = (query.bad, query.late);
            return Err(format!("{read} of {events} read, {bad} bad, {late} late").into());
        }
        engine.shutdown().await?;
        let mut measured = Measured::of(read, took).against("reader", events, bare);
        measured.state_mb = size_mb(&data_dir)?;
        std::fs::remove_dir_all(&data_dir)?;
        Ok(measured)
    }

    /// The query's answer over `events` bids must be that of DataFusion over the same bids.
    pub(crate) async fn check(&self, events: u64) -> Outcome<()> {
        let place = Place {
            bootstrap: None,
            ..Place::local(events)
        };
        let (engine, data_dir) = open(&place, &[("step.max.rows", "777")]).await?;
        bids::fill(engine.topics(), events, 1).await?;
        let mut session = engine.session();
        let kind = match self.select.contains("GROUP BY") {
            true => "TABLE",
            false => "STREAM",
        };
        let create = format!("CREATE {kind} RESULT AS {} EMIT CHANGES", self.select);
        run(&mut session, &[bids::STREAM, &create]).await?;
        engine.flush().await?;
        let columns = match self.name {
            "q0" => "AUCTION, BIDDER, PRICE, CHANNEL, DATETIME",
            "q2" => "AUCTION, PRICE",
            "latest_100k" => "K, PRICE, CHANNEL",
            _ if self.select.contains("TOTAL") => "K, BIDS, TOTAL",
            _ => "K, BIDS",
        };
        let ours = rows(&mut session, &format!("SELECT {columns} FROM RESULT")).await?;
        engine.shutdown().await?;
        std::fs::remove_dir_all(&data_dir)?;
        let theirs = batch(bids::batches(events)?)?
            .sql(self.batch)
            .await?
            .collect()
            .await?;
        same(&ours, &theirs)
    }
}

/// Records read and thrown away: what no query can be faster than. Against `kcat` doing the same.
pub(crate) async fn reader(place: &Place) -> Outcome<Measured> {
    let (engine, data_dir) = open(place, &[]).await?;
    if place.bootstrap.is_none() {
        bids::fill(engine.topics(), place.events, 1).await?;
    }
    let took = read_bare(&engine, place.events).await?;
    engine.shutdown().await?;
    std::fs::remove_dir_all(data_dir)?;
    let measured = Measured::of(place.events, took);
    Ok(match &place.bootstrap {
        Some(servers) => match process::kcat(servers, bids::TOPIC, place.events)? {
            Some(took) => measured.against("kcat", place.events, took),
            None => measured,
        },
        None => measured,
    })
}

async fn read_bare(engine: &Engine, events: u64) -> Outcome<Took> {
    let mut reader = engine.topics().reader(bids::TOPIC, &[(0, 0)]).await?;
    let limit = FetchLimit {
        records: 8192,
        bytes: 8 << 20,
        headers: false,
    };
    let stretch = Stretch::begin()?;
    let mut read = 0;
    while read < events {
        match reader.fetch(0, limit)?.records {
            Some(records) => read += records.len() as u64,
            None => reader.ready(std::time::Duration::from_millis(100)).await?,
        }
    }
    stretch.end()
}

/// A view's query exactly once, against the same at least once.
pub(crate) async fn guarantees(place: &Place) -> Outcome<Measured> {
    let Some(query) = QUERIES.iter().find(|query| query.view) else {
        return Err("no query makes a view".into());
    };
    let exactly = query.measure(place, &[]).await?;
    let properties = [("processing.guarantee", "at_least_once")];
    let least = query.measure(place, &properties).await?;
    let took = Took {
        wall_s: least.wall_s,
        cpu_s: least.cpu_s,
    };
    Ok(exactly.against("at least once", least.events, took))
}

/// Waits until the first query has read that many records, without asking it to hurry.
pub(crate) async fn wait_for(engine: &Engine, events: u64) -> Outcome<()> {
    let mut last = (0, std::time::Instant::now());
    loop {
        let query = engine.queries().into_iter().next().ok_or("no query")?;
        if let Some(error) = query.error {
            return Err(error.into());
        }
        if query.rows_in >= events {
            return Ok(());
        }
        if query.rows_in != last.0 {
            last = (query.rows_in, std::time::Instant::now());
        } else if last.1.elapsed().as_secs() > 30 {
            return Err(format!("only {} of {events} records are there", last.0).into());
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// DataFusion on one core, with the table `bid`.
pub(crate) fn batch(batches: Vec<RecordBatch>) -> Outcome<SessionContext> {
    let config = SessionConfig::new()
        .with_target_partitions(1)
        .with_batch_size(8192);
    let context = SessionContext::new_with_config(config);
    let table = MemTable::try_new(bids::schema(), vec![batches])?;
    context.register_table("bid", Arc::new(table))?;
    Ok(context)
}
