//! The statements.

use serde::{Deserialize, Serialize};

use super::{Expr, Name, Parsed, Properties, PullQuery, Query, Span};
use crate::types::SqlType;

/// A statement of the dialect.
#[derive(Debug, Clone, PartialEq)]
pub enum Statement {
    /// `CREATE [OR REPLACE] [SOURCE] STREAM|TABLE name (columns) WITH (…)`
    CreateSource {
        /// OR REPLACE was said.
        or_replace: bool,
        /// SOURCE was said: a source that nothing may write to.
        source_only: bool,
        /// A stream or a table.
        kind: Kind,
        /// IF NOT EXISTS was said.
        if_not_exists: bool,
        /// What it shall be called.
        name: Name,
        /// Its columns; none if they are to be inferred.
        columns: Vec<ColumnDef>,
        /// The WITH clause.
        with: Properties,
    },
    /// `CREATE [OR REPLACE] STREAM|TABLE name [WITH (…)] AS SELECT …`
    CreateAs {
        /// OR REPLACE was said.
        or_replace: bool,
        /// A stream or a table.
        kind: Kind,
        /// IF NOT EXISTS was said.
        if_not_exists: bool,
        /// What it shall be called.
        name: Name,
        /// The WITH clause.
        with: Properties,
        /// The query that fills it.
        query: Query,
    },
    /// `INSERT INTO target [WITH (…)] SELECT …`
    InsertSelect {
        /// What is written to.
        target: Name,
        /// The WITH clause.
        with: Properties,
        /// The query that is to run.
        query: Query,
    },
    /// `INSERT INTO target [(columns)] VALUES (…), …`
    InsertValues {
        /// What is written to.
        target: Name,
        /// The columns the values are for; all columns in their order if `None`.
        columns: Option<Vec<Name>>,
        /// The rows; each has as many values as `columns` names, if that is given.
        rows: Vec<Vec<Expr>>,
    },
    /// `CREATE SINK name FROM source WITH (…)`
    CreateSink {
        /// IF NOT EXISTS was said.
        if_not_exists: bool,
        /// What it shall be called.
        name: Name,
        /// What it writes.
        input: SinkInput,
        /// The WITH clause.
        with: Properties,
    },
    /// `CREATE TYPE [IF NOT EXISTS] name AS type`
    CreateType {
        /// IF NOT EXISTS was said.
        if_not_exists: bool,
        /// What it shall be called.
        name: Name,
        /// What it stands for.
        data_type: SqlType,
    },
    /// `ALTER STREAM|TABLE name ADD [COLUMN] column type, …`
    AlterSource {
        /// A stream or a table.
        kind: Kind,
        /// Which.
        name: Name,
        /// The new columns, all of [`Role::Value`].
        columns: Vec<ColumnDef>,
    },
    /// `DROP STREAM|TABLE|SINK|TYPE [IF EXISTS] name [DELETE TOPIC]`
    Drop {
        /// What kind of thing.
        kind: DropKind,
        /// IF EXISTS was said.
        if_exists: bool,
        /// Which.
        name: Name,
        /// DELETE TOPIC was said.
        delete_topic: bool,
    },
    /// `TERMINATE ALL|id`
    Terminate(QuerySelector),
    /// `PAUSE ALL|id|SINK name`
    Pause(QuerySelector),
    /// `RESUME ALL|id|SINK name`
    Resume(QuerySelector),
    /// `SHOW …` or `LIST …`
    Show {
        /// What is listed.
        kind: ShowKind,
        /// EXTENDED was said.
        extended: bool,
    },
    /// `DESCRIBE name [EXTENDED]`
    Describe {
        /// Which source, sink or query.
        name: Name,
        /// EXTENDED was said.
        extended: bool,
    },
    /// `DESCRIBE FUNCTION name`
    DescribeFunction(Name),
    /// `DESCRIBE STREAMS|TABLES [EXTENDED]`
    DescribeAll {
        /// Streams or tables.
        kind: Kind,
        /// EXTENDED was said.
        extended: bool,
    },
    /// `EXPLAIN [ANALYZE] statement|id`
    Explain {
        /// ANALYZE was said.
        analyze: bool,
        /// What is explained.
        target: ExplainTarget,
    },
    /// `PRINT topic …`
    Print(Print),
    /// `SET 'key' = 'value'`
    Set {
        /// The property, as written.
        key: String,
        /// Where the key was written.
        key_span: Span,
        /// Its value, as text.
        value: String,
        /// Where the value was written.
        value_span: Span,
    },
    /// `UNSET 'key'`
    Unset {
        /// The property, as written.
        key: String,
        /// Where it was written.
        key_span: Span,
    },
    /// `DEFINE name = 'text'`: see [`crate::parser::substitute()`].
    Define {
        /// The variable.
        name: Name,
        /// What stands for it.
        value: String,
    },
    /// `UNDEFINE name`
    Undefine(Name),
    /// `ASSERT [NOT EXISTS] TOPIC topic [WITH (…)] [TIMEOUT n unit]`
    AssertTopic {
        /// False if NOT EXISTS was said.
        exists: bool,
        /// The topic, its case kept.
        topic: String,
        /// What it must have.
        with: Properties,
        /// How long to wait for it.
        timeout_ms: Option<i64>,
    },
    /// `ASSERT [NOT EXISTS] SCHEMA [SUBJECT subject] [ID n] [TIMEOUT n unit]`
    AssertSchema {
        /// False if NOT EXISTS was said.
        exists: bool,
        /// The subject.
        subject: Option<String>,
        /// The schema's id.
        id: Option<u64>,
        /// How long to wait for it.
        timeout_ms: Option<i64>,
    },
    /// `SELECT … EMIT CHANGES|FINAL`
    Push(Query),
    /// Any other SELECT, VALUES or WITH: SQL as DataFusion speaks it.
    Pull(Box<PullQuery>),
}

/// A stream or a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "SQL's words")]
pub enum Kind {
    Stream,
    Table,
}

impl Kind {
    /// The word for it in messages: `stream` or `table`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Stream => "stream",
            Self::Table => "table",
        }
    }
}

/// `name type [KEY | PRIMARY KEY | HEADERS | HEADER('key')]`
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnDef {
    /// Its name.
    pub name: Name,
    /// Its type.
    pub data_type: SqlType,
    /// Which part of a record it comes from.
    pub role: Role,
    /// All of it.
    pub span: Span,
}

/// Which part of a record a column comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// The value.
    Value,
    /// `KEY`: the key of a stream's record.
    Key,
    /// `PRIMARY KEY`: the key of a table's record.
    PrimaryKey,
    /// `HEADERS`: all headers.
    Headers,
    /// `HEADER('key')`: the last header of that name.
    Header(String),
}

/// What a sink writes.
#[derive(Debug, Clone, PartialEq)]
pub enum SinkInput {
    /// `FROM name`: a stream or table.
    Source(Name),
    /// `AS SELECT …`: the result of a query.
    Query(Box<Query>),
}

/// What DROP drops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "SQL's words")]
pub enum DropKind {
    Stream,
    Table,
    Sink,
    Type,
}

/// Which running queries a statement is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QuerySelector {
    /// All of them.
    All,
    /// The one of that id.
    Id(Name),
    /// The sink of that name.
    Sink(Name),
}

/// What SHOW lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "SQL's words")]
pub enum ShowKind {
    Streams,
    Tables,
    Queries,
    /// `SHOW [ALL] TOPICS`; `all` includes internal ones.
    Topics {
        all: bool,
    },
    Functions,
    Properties,
    Sinks,
    Types,
    Variables,
}

/// What EXPLAIN explains.
#[derive(Debug, Clone, PartialEq)]
pub enum ExplainTarget {
    /// A statement.
    Statement(Box<Parsed>),
    /// The running query of that id.
    Query(Name),
}

/// `PRINT topic [FROM BEGINNING] [INTERVAL n] [LIMIT n]`
#[derive(Debug, Clone, PartialEq)]
pub struct Print {
    /// The topic, its case kept: topics' names are not SQL's.
    pub topic: String,
    /// Where it was written.
    pub topic_span: Span,
    /// From the first record and not from the next one.
    pub from_beginning: bool,
    /// Only every n-th record.
    pub interval: Option<u64>,
    /// No more than so many.
    pub limit: Option<u64>,
}
