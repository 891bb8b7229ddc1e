//! What the engine says about records that it could not use, as relations that can be queried:
//! `KAPPA_BAD_RECORDS`, a stream, and `KAPPA_LATE_ROWS`, a table.
//!
//! Both are written in the commit of the epoch they belong to, so they are exact.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, Int32Array, Int64Array, StringArray};
use kappa_sql::catalog::{Column, Format, Kind, Relation, Role, SideFormat};
use kappa_sql::types::SqlType;
use kappa_storage::format::Encoder;
use kappa_storage::record::NewRecords;
use kappa_storage::store::{Commit, Store, View};
use kappa_storage::topic::embedded::EmbeddedTopics;
use kappa_storage::topic::kafka::KafkaTopics;
use kappa_storage::topic::kafka::properties::{Origin, Properties};
use kappa_storage::topic::{CleanupPolicy, NewTopic, Topics};
use parking_lot::Mutex;

use crate::error::Result;
use crate::operator::windows::Late;
use crate::query::decode::{BadRecord, side};

/// The topic, and name, of the stream of bad records.
pub(crate) const BAD_RECORDS: &str = "KAPPA_BAD_RECORDS";
/// The topic, and name, of the table of late rows.
pub(crate) const LATE_ROWS: &str = "KAPPA_LATE_ROWS";

/// The system relations, and what writes them.
#[derive(Debug)]
pub(crate) struct SystemTables {
    relations: [Arc<Relation>; 2],
    encoders: Mutex<[Encoder; 3]>,
    payloads: bool,
}

/// Whether a relation is one of ours; its topic is embedded, wherever others live.
pub(crate) fn is_system(name: &str) -> bool {
    name == BAD_RECORDS || name == LATE_ROWS
}

impl SystemTables {
    /// Makes the system topics where they do not exist. `payloads`: whether the bad records'
    /// contents may be kept.
    pub(crate) async fn open(topics: &EmbeddedTopics, payloads: bool) -> Result<Self> {
        let relations = [bad_records(), late_rows()];
        for (relation, cleanup) in relations
            .iter()
            .zip([CleanupPolicy::Delete, CleanupPolicy::Compact])
        {
            if topics.describe(&relation.topic).await?.is_none() {
                let topic = NewTopic {
                    name: relation.topic.clone(),
                    partitions: 1,
                    replicas: 1,
                    cleanup,
                    retention_ms: None,
                    retention_bytes: None,
                };
                topics.create(&topic).await?;
            }
        }
        let encoders = [
            Encoder::try_new(&side(&relations[0], &Role::Value))?,
            Encoder::try_new(&side(&relations[1], &Role::Key))?,
            Encoder::try_new(&side(&relations[1], &Role::Value))?,
        ];
        Ok(Self {
            relations: relations.map(Arc::new),
            encoders: Mutex::new(encoders),
            payloads,
        })
    }

    /// The system relations.
    pub(crate) fn relations(&self) -> &[Arc<Relation>] {
        &self.relations
    }

    /// Writes bad records into a commit.
    pub(crate) fn write_bad(
        &self,
        commit: &mut Commit,
        now_ms: i64,
        query: &str,
        topic: &str,
        bad: Vec<BadRecord>,
    ) -> Result<()> {
        if bad.is_empty() {
            return Ok(());
        }
        let rows = bad.len();
        let partitions: Int32Array = bad.iter().map(|bad| bad.partition).collect();
        let offsets: Int64Array = bad.iter().map(|bad| bad.offset).collect();
        let reasons: StringArray = bad.iter().map(|bad| Some(bad.reason.as_str())).collect();
        let payloads: BinaryArray = bad
            .iter()
            .map(|bad| bad.payload.as_deref().filter(|_| self.payloads))
            .collect();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(
                Int64Array::from_value(now_ms, rows)
                    .reinterpret_cast::<arrow::datatypes::TimestampMillisecondType>(),
            ),
            Arc::new(StringArray::from_iter_values(std::iter::repeat_n(
                query, rows,
            ))),
            Arc::new(StringArray::from_iter_values(std::iter::repeat_n(
                topic, rows,
            ))),
            Arc::new(partitions),
            Arc::new(offsets),
            Arc::new(reasons),
            Arc::new(payloads),
        ];
        let values = self.encoders.lock()[0].encode(&columns, None, rows)?;
        commit.append(
            BAD_RECORDS,
            &NewRecords {
                partition: 0,
                timestamps: Int64Array::from_value(now_ms, rows),
                keys: BinaryArray::new_null(rows),
                values,
                headers: None,
            },
        )?;
        Ok(())
    }

    /// Adds late rows to their counts, in a commit.
    pub(crate) fn write_late(
        &self,
        store: &Store,
        commit: &mut Commit,
        now_ms: i64,
        query: &str,
        late: Late,
    ) -> Result<()> {
        if late.is_empty() {
            return Ok(());
        }
        let key = format!("late/{query}").into_bytes();
        let mut counts: BTreeMap<i64, u64> = match store.get_meta(&key)? {
            None => BTreeMap::new(),
            Some(bytes) => serde_json::from_slice(&bytes)?,
        };
        let mut changed = Vec::new();
        for (start, rows) in late {
            let count = counts.entry(start).or_default();
            *count += rows;
            changed.push((start, i64::try_from(*count).unwrap_or(i64::MAX)));
        }
        commit.put_meta(&key, &serde_json::to_vec(&counts)?);
        let rows = changed.len();
        let keys: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(std::iter::repeat_n(
                query, rows,
            ))),
            Arc::new(
                changed
                    .iter()
                    .map(|(start, _)| *start)
                    .collect::<Int64Array>(),
            ),
        ];
        let values: Vec<ArrayRef> = vec![Arc::new(
            changed
                .iter()
                .map(|(_, count)| *count)
                .collect::<Int64Array>(),
        )];
        let mut encoders = self.encoders.lock();
        let keys = encoders[1].encode(&keys, None, rows)?;
        let values = encoders[2].encode(&values, None, rows)?;
        commit.append(
            LATE_ROWS,
            &NewRecords {
                partition: 0,
                timestamps: Int64Array::from_value(now_ms, rows),
                keys,
                values,
                headers: None,
            },
        )?;
        Ok(())
    }
}

fn bad_records() -> Relation {
    relation(
        BAD_RECORDS,
        Kind::Stream,
        &[
            ("TIME", SqlType::Timestamp, Role::Value),
            ("QUERY", SqlType::String, Role::Value),
            ("TOPIC", SqlType::String, Role::Value),
            ("PARTITION", SqlType::Int, Role::Value),
            ("OFFSET", SqlType::BigInt, Role::Value),
            ("REASON", SqlType::String, Role::Value),
            ("PAYLOAD", SqlType::Bytes, Role::Value),
        ],
    )
}

fn late_rows() -> Relation {
    relation(
        LATE_ROWS,
        Kind::Table,
        &[
            ("QUERY", SqlType::String, Role::Key),
            ("WINDOW_START", SqlType::BigInt, Role::Key),
            ("ROWS_LATE", SqlType::BigInt, Role::Value),
        ],
    )
}

fn relation(name: &str, kind: Kind, columns: &[(&str, SqlType, Role)]) -> Relation {
    let json = SideFormat {
        format: Format::Json,
        delimiter: None,
        wrap_single: true,
    };
    let none = SideFormat {
        format: Format::None,
        delimiter: None,
        wrap_single: false,
    };
    Relation {
        name: name.into(),
        kind,
        columns: columns
            .iter()
            .map(|(name, data_type, role)| Column {
                name: (*name).into(),
                data_type: data_type.clone(),
                role: role.clone(),
            })
            .collect(),
        topic: name.into(),
        partitions: 1,
        key_format: if kind == Kind::Table { json } else { none },
        value_format: json,
        timestamp: None,
        window: None,
        connector: None,
        read_only: true,
        query: None,
        statement: "made by Kappa".into(),
    }
}

/// Topics in Kafka, but for the system's own, which are in the data directory.
#[derive(Debug)]
pub(crate) struct RoutedTopics {
    embedded: EmbeddedTopics,
    kafka: KafkaTopics,
}

impl RoutedTopics {
    /// Connects to the cluster.
    pub(crate) async fn connect(
        embedded: EmbeddedTopics,
        servers: &str,
        config: &crate::Config,
    ) -> Result<Self> {
        Ok(Self {
            embedded,
            kafka: kafka_topics(servers, config).await?,
        })
    }

    /// The cluster.
    pub(crate) fn kafka(&self) -> &KafkaTopics {
        &self.kafka
    }

    fn of(&self, name: &str) -> &dyn Topics {
        match is_system(name) {
            true => &self.embedded,
            false => &self.kafka,
        }
    }
}

/// Connects to a cluster as an engine does that is opened so, without opening one: for programs that
/// only fill topics. The data directory is not looked at.
///
/// # Errors
/// Properties that do not exist; a cluster that cannot be reached.
pub async fn kafka_topics(servers: &str, config: &crate::Config) -> Result<KafkaTopics> {
    let given = config
        .properties
        .iter()
        .filter_map(|(name, value)| Some((name.strip_prefix("kafka.")?.to_owned(), value.clone())));
    let properties = Properties::try_new(Origin::Operator, given)?;
    Ok(KafkaTopics::connect(servers, properties).await?)
}

#[async_trait::async_trait]
impl Topics for RoutedTopics {
    async fn create(&self, topic: &NewTopic) -> kappa_storage::Result<()> {
        self.of(&topic.name).create(topic).await
    }

    async fn delete(&self, name: &str) -> kappa_storage::Result<()> {
        self.of(name).delete(name).await
    }

    async fn describe(
        &self,
        name: &str,
    ) -> kappa_storage::Result<Option<kappa_storage::topic::TopicDescription>> {
        self.of(name).describe(name).await
    }

    async fn grow(&self, name: &str, partitions: i32) -> kappa_storage::Result<()> {
        self.of(name).grow(name, partitions).await
    }

    async fn list(&self) -> kappa_storage::Result<Vec<kappa_storage::topic::TopicDescription>> {
        self.kafka.list().await
    }

    async fn offsets(
        &self,
        name: &str,
    ) -> kappa_storage::Result<Vec<kappa_storage::topic::OffsetRange>> {
        self.of(name).offsets(name).await
    }

    async fn written(&self, name: &str) -> kappa_storage::Result<Vec<i64>> {
        self.of(name).written(name).await
    }

    async fn reader(
        &self,
        name: &str,
        positions: &[(i32, i64)],
    ) -> kappa_storage::Result<Box<dyn kappa_storage::topic::Reader>> {
        self.of(name).reader(name, positions).await
    }

    async fn append(&self, name: &str, records: &[NewRecords]) -> kappa_storage::Result<()> {
        self.of(name).append(name, records).await
    }
}
