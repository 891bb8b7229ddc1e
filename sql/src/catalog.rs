//! What SQL knows of the world: the registered streams and tables. A [`Catalog`] is an immutable
//! snapshot; the engine keeps the durable one and hands a snapshot to every statement.

mod connector;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use serde::{Deserialize, Serialize};

pub use self::connector::{Connector, Nexmark, NexmarkTable};
pub use crate::ast::Kind;
use crate::column;
use crate::types::SqlType;

/// Where a column's values live in a record.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// In the record's key: KEY of a stream, PRIMARY KEY of a table.
    Key,
    /// In the record's value.
    Value,
    /// All of the record's headers, `ARRAY<STRUCT<KEY STRING, VALUE BYTES>>`.
    Headers,
    /// The last header of this name, BYTES.
    Header(String),
}

/// A declared column.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Column {
    /// Its name, after the case rule.
    pub name: String,
    /// Its type.
    pub data_type: SqlType,
    /// Where its values live.
    pub role: Role,
}

/// How records are written, as SQL names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Format {
    /// JSON text.
    Json,
    /// Separated values.
    Delimited,
    /// One value as Kafka's own serialisers write it.
    Kafka,
    /// No columns at all.
    None,
}

impl Format {
    /// The formats there are, by name.
    pub const ALL: [(&'static str, Self); 4] = [
        ("JSON", Self::Json),
        ("DELIMITED", Self::Delimited),
        ("KAFKA", Self::Kafka),
        ("NONE", Self::None),
    ];

    /// Its name in SQL.
    pub fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(_, format)| *format == self)
            .map_or("NONE", |(name, _)| name)
    }
}

/// Format of one side of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SideFormat {
    /// How it is written.
    pub format: Format,
    /// DELIMITED: the separator; a comma where absent.
    pub delimiter: Option<char>,
    /// JSON: whether a single column stands in an object (`{"A": 1}`) or alone (`1`).
    pub wrap_single: bool,
}

/// Row time taken from a column instead of the record.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TimestampColumn {
    /// The column: BIGINT milliseconds, TIMESTAMP, or STRING with a format.
    pub column: String,
    /// Java `DateTimeFormatter` pattern of a STRING column.
    pub format: Option<String>,
}

/// How a windowed relation's key carries its window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyWindow {
    /// Start only; the end is `size` later (tumbling, hopping).
    Time {
        /// The window's length in milliseconds.
        size_ms: i64,
        /// Whether windows overlap.
        hopping: bool,
    },
    /// End and start, both inclusive.
    Session,
}

/// A registered stream or table.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Relation {
    /// Its name, after the case rule.
    pub name: String,
    /// Stream or table.
    pub kind: Kind,
    /// Columns in declared order.
    pub columns: Vec<Column>,
    /// The topic that holds its records; with a connector, what makes them ([`Connector::origin`]).
    pub topic: String,
    /// The topic's partitions when it was registered.
    pub partitions: i32,
    /// How keys are written.
    pub key_format: SideFormat,
    /// How values are written.
    pub value_format: SideFormat,
    /// Row time from a column.
    pub timestamp: Option<TimestampColumn>,
    /// Window in the key.
    pub window: Option<KeyWindow>,
    /// What makes its rows, where no topic holds them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connector: Option<Connector>,
    /// `CREATE SOURCE …`: may not be written to.
    pub read_only: bool,
    /// The query that keeps it, for `CREATE … AS SELECT`.
    pub query: Option<String>,
    /// The statement that made it.
    pub statement: String,
}

impl Relation {
    /// Columns in the record's key, in order.
    pub fn key_columns(&self) -> impl Iterator<Item = &Column> {
        self.columns
            .iter()
            .filter(|column| column.role == Role::Key)
    }

    /// Columns in the record's value, in order.
    pub fn value_columns(&self) -> impl Iterator<Item = &Column> {
        self.columns
            .iter()
            .filter(|column| column.role == Role::Value)
    }

    /// The columns that `SELECT *` gives: key columns first, then the others as declared.
    pub fn star_columns(&self) -> Vec<&Column> {
        self.key_columns()
            .chain(
                self.columns
                    .iter()
                    .filter(|column| column.role != Role::Key),
            )
            .collect()
    }

    /// A declared column by name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The schema a continuous scan of it offers: declared columns, pseudo columns, and the
    /// reserved change kind and position.
    pub fn scan_schema(&self) -> SchemaRef {
        let declared = self
            .star_columns()
            .into_iter()
            .map(|column| Field::new(&column.name, column.data_type.to_arrow(), true));
        let pseudo = column::pseudo_columns(self.window.is_some())
            .into_iter()
            .map(|(name, data_type)| Field::new(name, data_type, false));
        let reserved = [
            Field::new(column::OP, DataType::Int8, false),
            Field::new(column::SEQ, DataType::UInt64, false),
        ];
        Arc::new(Schema::new(
            declared.chain(pseudo).chain(reserved).collect::<Fields>(),
        ))
    }

    /// Whether a query maintains it as a table: it is then read from state, not from its topic.
    pub fn is_view(&self) -> bool {
        self.kind == Kind::Table && self.query.is_some()
    }

    /// The schema an ad hoc query sees: declared and pseudo columns, with a window's bounds behind
    /// the key, of which they are a part. A view's rows have no place in a topic.
    pub fn query_schema(&self) -> SchemaRef {
        let place = [column::ROWPARTITION, column::ROWOFFSET];
        let bounds = [column::WINDOWSTART, column::WINDOWEND];
        let mut fields: Vec<FieldRef> = self
            .scan_schema()
            .fields()
            .iter()
            .filter(|field| !field.name().starts_with('$'))
            .filter(|field| !(self.is_view() && place.contains(&field.name().as_str())))
            .cloned()
            .collect();
        let keys = self.key_columns().count();
        let is_value = |field: &FieldRef| !bounds.contains(&field.name().as_str());
        fields[keys..].sort_by_key(is_value);
        Arc::new(Schema::new(fields))
    }
}

/// A snapshot of what is registered.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    relations: BTreeMap<String, Arc<Relation>>,
}

impl Catalog {
    /// The stream or table of that name.
    pub fn get(&self, name: &str) -> Option<&Arc<Relation>> {
        self.relations.get(name)
    }

    /// All of them, by name.
    pub fn relations(&self) -> impl Iterator<Item = &Arc<Relation>> {
        self.relations.values()
    }

    /// Adds or replaces one.
    pub fn insert(&mut self, relation: Relation) {
        self.relations
            .insert(relation.name.clone(), Arc::new(relation));
    }

    /// Takes one out.
    pub fn remove(&mut self, name: &str) -> Option<Arc<Relation>> {
        self.relations.remove(name)
    }
}
