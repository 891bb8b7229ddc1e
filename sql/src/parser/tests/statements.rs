//! Every statement, and what becomes of it.

use std::collections::BTreeMap;

use super::{one, statement};
use crate::ast::{
    DropKind, Emit, ExplainTarget, JoinKind, Kind, Literal, Query, QuerySelector, Role,
    SelectItemKind, ShowKind, SinkInput, Statement, WindowKind,
};
use crate::error::ErrorKind;
use crate::parser::{Splitter, parse, parse_one, parse_with};
use crate::types::SqlType;

fn query(text: &str) -> Query {
    match statement(text) {
        Statement::Push(query) | Statement::CreateAs { query, .. } => query,
        other => panic!("{other:?}"),
    }
}

#[test]
fn create_source() {
    let text = "create or replace source table if not exists Users (
        id int primary key, `Name` varchar, tags ARRAY<STRING>, all_headers ARRAY<STRUCT<key STRING, value BYTES>> HEADERS,
        trace BYTES HEADER('trace')
    ) with (kafka_topic='users', partitions=4, wrap_single_value=false, value_delimiter=NULL, x=-1.5);";
    let Statement::CreateSource {
        or_replace,
        source_only,
        kind,
        if_not_exists,
        name,
        columns,
        with,
    } = statement(text)
    else {
        panic!("{text}")
    };
    assert!(or_replace && source_only && if_not_exists);
    assert_eq!((kind, name.value.as_str()), (Kind::Table, "USERS"));
    let columns: Vec<_> = columns
        .iter()
        .map(|column| {
            (
                column.name.value.as_str(),
                column.data_type.to_string(),
                column.role.clone(),
            )
        })
        .collect();
    assert_eq!(
        columns,
        [
            ("ID", "INTEGER".to_owned(), Role::PrimaryKey),
            ("Name", "STRING".to_owned(), Role::Value),
            ("TAGS", "ARRAY<STRING>".to_owned(), Role::Value),
            (
                "ALL_HEADERS",
                "ARRAY<STRUCT<`KEY` STRING, `VALUE` BYTES>>".to_owned(),
                Role::Headers
            ),
            ("TRACE", "BYTES".to_owned(), Role::Header("trace".into())),
        ]
    );
    let with: Vec<_> = with
        .iter()
        .map(|it| (it.name.as_str(), it.value.clone()))
        .collect();
    assert_eq!(
        with,
        [
            ("KAFKA_TOPIC", Literal::String("users".into())),
            ("PARTITIONS", Literal::Int(4)),
            ("WRAP_SINGLE_VALUE", Literal::Bool(false)),
            ("VALUE_DELIMITER", Literal::Null),
            ("X", Literal::Number("-1.5".into())),
        ]
    );
}

#[test]
fn create_as() {
    let Statement::CreateAs {
        or_replace: false,
        kind: Kind::Stream,
        name,
        with,
        query,
        ..
    } = statement("CREATE STREAM s WITH (FORMAT='JSON') AS SELECT * FROM t")
    else {
        panic!()
    };
    assert_eq!(name.value, "S");
    assert_eq!(with.string("FORMAT"), Ok(Some("JSON")));
    assert_eq!(query.emit, None);
    assert_eq!(query.from.source.name.value, "T");
}

#[test]
fn clauses_of_a_query() {
    let query = query(
        "SELECT a, b AS c, d `e`, *, t.*, s->f->* FROM t x
         WINDOW HOPPING (SIZE 1 HOUR, ADVANCE BY 5 MINUTES, RETENTION 2 DAYS, GRACE PERIOD 0 SECONDS)
         WHERE a > 1 GROUP BY (a, b), c PARTITION BY (d) HAVING count(*) > 1 EMIT FINAL LIMIT 5;",
    );
    let items: Vec<String> = query
        .items
        .iter()
        .map(|item| match &item.kind {
            SelectItemKind::Expr {
                expr,
                alias: Some(alias),
            } => format!("{expr} as {alias}"),
            SelectItemKind::Expr { expr, alias: None } => expr.to_string(),
            SelectItemKind::Wildcard => "*".into(),
            SelectItemKind::QualifiedWildcard(source) => format!("{source}.*"),
            SelectItemKind::StructWildcard(expr) => format!("{expr}->*"),
        })
        .collect();
    assert_eq!(items, ["A", "B as C", "D as e", "*", "T.*", "S.'F'->*"]);
    assert_eq!(query.from.source.alias_or_name().value, "X");
    let window = query.window.unwrap();
    assert_eq!(
        window.kind,
        WindowKind::Hopping {
            size_ms: 3_600_000,
            advance_ms: 300_000
        }
    );
    assert_eq!(
        (window.retention_ms, window.grace_ms),
        (Some(172_800_000), Some(0))
    );
    assert_eq!(query.filter.unwrap().to_string(), "A > 1");
    // Only one pair of parentheses around everything is a list.
    let group_by: Vec<String> = query.group_by.iter().map(ToString::to_string).collect();
    assert_eq!(group_by, ["(A, B)", "C"]);
    assert_eq!(query.partition_by[0].to_string(), "D");
    assert_eq!(query.having.unwrap().to_string(), "COUNT(*) > 1");
    assert_eq!((query.emit, query.limit), (Some(Emit::Final), Some(5)));
}

#[test]
fn windows() {
    let kind = |window: &str| {
        query(&format!(
            "SELECT count(*) FROM t WINDOW {window} GROUP BY a EMIT CHANGES"
        ))
        .window
        .unwrap()
    };
    let tumbling = kind("TUMBLING (SIZE 10 SECONDS, GRACE 5 SECONDS)");
    assert_eq!(tumbling.kind, WindowKind::Tumbling { size_ms: 10_000 });
    assert_eq!(tumbling.grace_ms, Some(5_000));
    let session = WindowKind::Session { gap_ms: 60_000 };
    assert_eq!(kind("SESSION (1 MINUTE)").kind, session);
    assert_eq!(
        kind("SESSION (GAP 60 SECONDS, GRACE PERIOD 1 DAY)").kind,
        session
    );
    assert_eq!(
        kind("SLIDING (SIZE 1 HOUR, ADVANCE BY 1 SECOND)").kind,
        WindowKind::Sliding {
            size_ms: 3_600_000,
            advance_ms: Some(1_000)
        }
    );
    // Behind GROUP BY, too.
    let late = query("SELECT count(*) FROM t GROUP BY a WINDOW SESSION (1 MINUTE) EMIT CHANGES");
    assert_eq!(late.window.unwrap().kind, session);
    // A name that is no clause.
    assert_eq!(
        query("SELECT window FROM emit EMIT CHANGES")
            .from
            .source
            .name
            .value,
        "EMIT"
    );
}

#[test]
fn joins() {
    let query = query(
        "SELECT * FROM a INNER JOIN b x WITHIN (1 HOUR, 2 HOURS) GRACE PERIOD 1 DAY ON a.id = x.id
         LEFT OUTER JOIN c AS y ON a.id = y.id FULL JOIN d WITHIN 5 SECONDS ON true
         RIGHT JOIN e ON e.id = a.id EMIT CHANGES",
    );
    let joins: Vec<_> = query
        .from
        .joins
        .iter()
        .map(|join| {
            (
                join.kind,
                join.right.alias_or_name().value.as_str(),
                join.on.to_string(),
            )
        })
        .collect();
    assert_eq!(
        joins,
        [
            (JoinKind::Inner, "X", "A.ID = X.ID".to_owned()),
            (JoinKind::Left, "Y", "A.ID = Y.ID".to_owned()),
            (JoinKind::Full, "D", "true".to_owned()),
            (JoinKind::Right, "E", "E.ID = A.ID".to_owned()),
        ]
    );
    let within = query.from.joins[0].within.unwrap();
    assert_eq!((within.before_ms, within.after_ms), (3_600_000, 7_200_000));
    assert_eq!(within.grace_ms, Some(86_400_000));
    assert_eq!(query.from.joins[2].within.unwrap().before_ms, 5_000);
}

#[test]
fn push_or_pull() {
    let is_push = |text: &str| matches!(statement(text), Statement::Push(_));
    assert!(is_push("SELECT * FROM t EMIT CHANGES"));
    assert!(is_push("SELECT * FROM t LIMIT 5 EMIT CHANGES;"));
    for text in [
        "SELECT * FROM t",
        "SELECT emit FROM t",
        "SELECT 'x EMIT CHANGES' FROM t",
        "WITH x AS (SELECT 1) SELECT * FROM x ORDER BY 1 LIMIT 2 OFFSET 1",
        "VALUES (1, 2)",
        "(SELECT 1) UNION ALL (SELECT 2)",
        "SELECT a, SUM(b) OVER (PARTITION BY c ORDER BY d) FROM t JOIN u USING (id)",
        "SELECT COUNT(DISTINCT a) FILTER (WHERE b) FROM (SELECT * FROM t) x GROUP BY ALL",
    ] {
        assert!(matches!(statement(text), Statement::Pull(_)), "{text}");
    }
}

#[test]
fn insert() {
    let Statement::InsertValues {
        target,
        columns,
        rows,
    } = statement("INSERT INTO s (a, `b`) VALUES (1, 'x'), (-2, STRUCT(f := 1))")
    else {
        panic!()
    };
    assert_eq!(target.value, "S");
    let columns: Vec<_> = columns
        .unwrap()
        .into_iter()
        .map(|name| name.value)
        .collect();
    assert_eq!(columns, ["A", "b"]);
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[1][1].to_string(), "STRUCT(F := 1)");
    assert!(matches!(
        statement("INSERT INTO s WITH (QUERY_ID='x') SELECT * FROM t EMIT CHANGES"),
        Statement::InsertSelect { .. }
    ));
}

#[test]
fn sinks() {
    let Statement::CreateSink {
        name,
        input: SinkInput::Source(from),
        with,
        ..
    } = statement("CREATE SINK IF NOT EXISTS k FROM v WITH (CONNECTOR='file', PATH='x')")
    else {
        panic!()
    };
    assert_eq!((name.value.as_str(), from.value.as_str()), ("K", "V"));
    assert_eq!(with.string("PATH"), Ok(Some("x")));
    for text in [
        "CREATE SINK k WITH (PATH='x') AS SELECT * FROM v EMIT CHANGES",
        "CREATE SINK k AS SELECT * FROM v EMIT CHANGES WITH (PATH='x')",
    ] {
        let Statement::CreateSink {
            input: SinkInput::Query(_),
            with,
            ..
        } = statement(text)
        else {
            panic!("{text}")
        };
        assert_eq!(with.string("PATH"), Ok(Some("x")));
    }
}

#[test]
fn types_made_in_a_script_are_known_behind() {
    let script = parse(
        "CREATE TYPE address AS STRUCT<city STRING>; CREATE STREAM s (a ARRAY<address>) WITH (F='x');
         CREATE STREAM t AS SELECT CAST(a AS ADDRESS) FROM s;",
    )
    .unwrap();
    let Statement::CreateSource { columns, .. } = &script.0[1].statement else {
        panic!()
    };
    assert_eq!(
        columns[0].data_type.to_string(),
        "ARRAY<STRUCT<`CITY` STRING>>"
    );

    let custom = BTreeMap::from([("A".to_owned(), SqlType::Int)]);
    assert!(parse_with("CREATE STREAM s (x a) WITH (F='x')", &custom).is_ok());
    let text = "CREATE TYPE IF NOT EXISTS a AS STRING; CREATE STREAM s (x a) WITH (F='x')";
    let script = parse_with(text, &custom).unwrap();
    let Statement::CreateSource { columns, .. } = &script.0[1].statement else {
        panic!()
    };
    assert_eq!(columns[0].data_type, SqlType::Int);
    let gone = parse_with("DROP TYPE a; CREATE STREAM s (x a) WITH (F='x')", &custom).unwrap_err();
    assert_eq!(gone.kind, ErrorKind::Unknown);
}

#[test]
fn drop_and_control() {
    let Statement::Drop {
        kind: DropKind::Table,
        if_exists: true,
        name,
        delete_topic: true,
    } = statement("DROP TABLE IF EXISTS t DELETE TOPIC")
    else {
        panic!()
    };
    assert_eq!(name.value, "T");
    assert_eq!(
        statement("TERMINATE ALL"),
        Statement::Terminate(QuerySelector::All)
    );
    let Statement::Terminate(QuerySelector::Id(id)) = statement("terminate ctas_x_1") else {
        panic!()
    };
    assert_eq!(id.value, "CTAS_X_1");
    let Statement::Pause(QuerySelector::Sink(sink)) = statement("PAUSE SINK k") else {
        panic!()
    };
    assert_eq!(sink.value, "K");
    assert!(matches!(
        statement("RESUME `x`"),
        Statement::Resume(QuerySelector::Id(_))
    ));
}

#[test]
fn show_and_describe() {
    let shown = |text| match statement(text) {
        Statement::Show { kind, extended } => (kind, extended),
        other => panic!("{other:?}"),
    };
    assert_eq!(shown("SHOW STREAMS"), (ShowKind::Streams, false));
    assert_eq!(shown("LIST TABLES EXTENDED"), (ShowKind::Tables, true));
    assert_eq!(
        shown("SHOW ALL TOPICS EXTENDED"),
        (ShowKind::Topics { all: true }, true)
    );
    assert_eq!(shown("show sinks"), (ShowKind::Sinks, false));
    assert!(matches!(
        statement("DESCRIBE x EXTENDED"),
        Statement::Describe { extended: true, .. }
    ));
    assert!(matches!(
        statement("DESCRIBE TABLES"),
        Statement::DescribeAll { .. }
    ));
    let Statement::DescribeFunction(name) = statement("DESCRIBE FUNCTION len") else {
        panic!()
    };
    assert_eq!(name.value, "LEN");
}

#[test]
fn explain_keeps_the_inner_statement_and_its_source() {
    let text = "SHOW TYPES;\n EXPLAIN ANALYZE  SELECT a\nFROM t ;";
    let script = parse(text).unwrap();
    let Statement::Explain {
        analyze: true,
        target: ExplainTarget::Statement(inner),
    } = &script.0[1].statement
    else {
        panic!()
    };
    assert_eq!(inner.text, "SELECT a\nFROM t");
    assert_eq!(
        &text[inner.offset..inner.offset + inner.text.len()],
        inner.text
    );
    assert_eq!((inner.line, inner.column), (2, 19));
    assert!(matches!(
        statement("EXPLAIN CSAS_X_1"),
        Statement::Explain {
            analyze: false,
            target: ExplainTarget::Query(_)
        }
    ));
}

#[test]
fn print_takes_topics_as_they_are_written() {
    let topic = |text| match statement(text) {
        Statement::Print(print) => print,
        other => panic!("{other:?}"),
    };
    assert_eq!(topic("PRINT Web-logs.v1").topic, "Web-logs.v1");
    assert_eq!(topic("PRINT 'a b'").topic, "a b");
    assert_eq!(topic("PRINT `x`").topic, "x");
    let print = topic("PRINT t FROM BEGINNING INTERVAL 2 LIMIT 3");
    assert!(print.from_beginning);
    assert_eq!(
        (print.topic.as_str(), print.interval, print.limit),
        ("t", Some(2), Some(3))
    );
}

#[test]
fn settings_and_variables() {
    let set = |text| match statement(text) {
        Statement::Set { key, value, .. } => (key, value),
        other => panic!("{other:?}"),
    };
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    assert_eq!(
        set("SET 'Commit.interval' = 'x''y'"),
        pair("Commit.interval", "x'y")
    );
    assert_eq!(
        set("SET commit.interval.ms = 1000;"),
        pair("commit.interval.ms", "1000")
    );
    assert_eq!(set("SET 'a' = TRUE"), pair("a", "true"));
    assert!(matches!(statement("UNSET 'a'"), Statement::Unset { .. }));
    let Statement::Define { name, value } = statement("DEFINE x = '''a'''") else {
        panic!()
    };
    assert_eq!((name.value.as_str(), value.as_str()), ("X", "'a'"));
    assert!(matches!(statement("UNDEFINE x"), Statement::Undefine(_)));
}

#[test]
fn alter_and_assert() {
    let Statement::AlterSource { columns, .. } =
        statement("ALTER STREAM s ADD COLUMN a INT, ADD b ARRAY<INT>")
    else {
        panic!()
    };
    assert_eq!(columns.len(), 2);
    let Statement::AssertTopic {
        exists: false,
        topic,
        timeout_ms: Some(3_000),
        ..
    } = statement("ASSERT NOT EXISTS TOPIC a-b WITH (PARTITIONS=1) TIMEOUT 3 SECONDS")
    else {
        panic!()
    };
    assert_eq!(topic, "a-b");
    assert!(matches!(
        statement("ASSERT SCHEMA SUBJECT 'x' ID 3"),
        Statement::AssertSchema {
            exists: true,
            id: Some(3),
            ..
        }
    ));
}

#[test]
fn statements_know_their_source() {
    let text = "-- one\nSHOW TYPES ; /* two */ \n\n  SELECT 1 -- end\n;;\n";
    let script = parse(text).unwrap();
    let found: Vec<_> = script
        .0
        .iter()
        .map(|it| (it.text.as_str(), it.offset, it.line, it.column))
        .collect();
    assert_eq!(found, [("SHOW TYPES", 7, 2, 1), ("SELECT 1", 34, 4, 3)]);
    assert_eq!(parse("  -- nothing\n").unwrap().0, []);
}

#[test]
fn pieces_can_be_parsed_one_by_one() {
    let text = "SHOW TYPES; nonsense; SHOW SINKS";
    let results: Vec<_> = Splitter::new(text)
        .map(|piece| parse_one(piece, &BTreeMap::new()))
        .collect();
    assert!(results[0].is_ok() && results[2].is_ok());
    assert_eq!(
        results[1].as_ref().unwrap_err().position.unwrap().column,
        13
    );
    assert_eq!(one(text.split(';').next().unwrap()).text, "SHOW TYPES");
}
