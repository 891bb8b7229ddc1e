//! What `help` says.

const OVERVIEW: &str = "\
Statements end with ; and may span lines. Commands:
  help [STATEMENT]         this, or how a statement is written: help create stream
  output [table|json|csv]  how results are printed
  timing [on|off]          says how long statements take
  run script 'file.sql'    executes a file
  history                  what was typed before
  clear, version, exit

Keys: Tab completes, Ctrl-R searches the history, Alt-Enter breaks the line, Ctrl-C ends a query or
clears the line, Ctrl-D leaves.

Statements:";

/// Name, what it is for, how it is written.
const STATEMENTS: &[(&str, &str, &str)] = &[
    (
        "CREATE STREAM",
        "registers a topic as a stream of events",
        "\
CREATE [OR REPLACE] STREAM [IF NOT EXISTS] name (column type [KEY], …)
  WITH (KAFKA_TOPIC = 'topic', VALUE_FORMAT = 'JSON', PARTITIONS = 1 …);
CREATE [OR REPLACE] STREAM [IF NOT EXISTS] name [WITH (…)] AS SELECT … [EMIT CHANGES];

  CREATE STREAM clicks (user STRING KEY, page STRING, at TIMESTAMP)
    WITH (KAFKA_TOPIC = 'clicks', VALUE_FORMAT = 'JSON', PARTITIONS = 1, TIMESTAMP = 'at');",
    ),
    (
        "CREATE TABLE",
        "registers a topic as rows by key, or keeps a query's result",
        "\
CREATE [OR REPLACE] TABLE [IF NOT EXISTS] name (column type [PRIMARY KEY], …) WITH (…);
CREATE [OR REPLACE] TABLE [IF NOT EXISTS] name [WITH (…)] AS SELECT … GROUP BY … [EMIT CHANGES|FINAL];

  CREATE TABLE hits AS
    SELECT page, COUNT(*) AS n FROM clicks WINDOW TUMBLING (SIZE 1 MINUTE) GROUP BY page;",
    ),
    (
        "CREATE SINK",
        "writes a stream or table to files or elsewhere",
        "\
CREATE SINK [IF NOT EXISTS] name FROM source WITH (CONNECTOR = 'file' | 's3', PATH = '…', FORMAT = …);

  CREATE SINK archive FROM clicks
    WITH (CONNECTOR = 'file', PATH = '/tmp/clicks', FORMAT = 'PARQUET');",
    ),
    (
        "INSERT",
        "adds rows, or starts a query that does",
        "\
INSERT INTO stream [(column, …)] VALUES (value, …), …;
INSERT INTO stream SELECT … [EMIT CHANGES];

  INSERT INTO clicks (user, page) VALUES ('ann', '/home');",
    ),
    (
        "SELECT",
        "asks: once, or with EMIT CHANGES for as long as you watch",
        "\
SELECT … FROM … [JOIN … ON …] [WHERE …] [GROUP BY …] [HAVING …] [ORDER BY …] [LIMIT n];
SELECT … FROM … [WINDOW …] [WHERE …] [GROUP BY …] [HAVING …] EMIT CHANGES|FINAL [LIMIT n];

  SELECT * FROM hits WHERE page = '/home';
  SELECT page, COUNT(*) FROM clicks GROUP BY page EMIT CHANGES;",
    ),
    (
        "PRINT",
        "shows a topic's records as they are",
        "PRINT 'topic' [FROM BEGINNING] [INTERVAL n] [LIMIT n];",
    ),
    (
        "SHOW",
        "lists what there is",
        "\
SHOW STREAMS | TABLES | QUERIES | TOPICS | SINKS [EXTENDED];
SHOW FUNCTIONS | PROPERTIES | TYPES | VARIABLES;",
    ),
    ("DESCRIBE", "shows columns and what is known", "DESCRIBE [FUNCTION] name [EXTENDED];"),
    (
        "EXPLAIN",
        "shows how a statement would run or a query runs",
        "EXPLAIN [ANALYZE] statement | query;",
    ),
    (
        "DROP",
        "removes a stream, table or sink",
        "DROP STREAM|TABLE|SINK [IF EXISTS] name [DELETE TOPIC];",
    ),
    (
        "TERMINATE",
        "ends, stops or continues a query",
        "TERMINATE id | ALL;\nPAUSE id | ALL;\nRESUME id | ALL;",
    ),
    (
        "SET",
        "sets a property or variable of this session",
        "\
SET 'property' = 'value';   UNSET 'property';   SHOW PROPERTIES;
DEFINE name = 'text';       UNDEFINE name;      ${name} in a statement is replaced by the text",
    ),
];

/// The overview, or what there is on a topic.
pub(super) fn text(topic: Option<&str>) -> String {
    let Some(topic) = topic else {
        let lines = STATEMENTS
            .iter()
            .map(|(name, purpose, _)| format!("\n  {name:<13}  {purpose}"));
        return format!("{OVERVIEW}{}", lines.collect::<String>());
    };
    let wanted = topic.trim().to_uppercase();
    let found: Vec<&str> = STATEMENTS
        .iter()
        .filter(|(name, _, usage)| {
            name.starts_with(&wanted) || usage.lines().any(|line| line.starts_with(&wanted))
        })
        .map(|(_, _, usage)| *usage)
        .collect();
    if found.is_empty() {
        let names: Vec<&str> = STATEMENTS.iter().map(|(name, _, _)| *name).collect();
        return format!(
            "There is no help on {topic}. There is on: {}.",
            names.join(", ")
        );
    }
    found.join("\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_is_found_by_the_start_of_a_statement() {
        assert!(text(None).contains("\n  SELECT         asks"));
        assert!(
            text(Some("create")).contains("AS SELECT") && text(Some("create")).contains("SINK")
        );
        assert!(text(Some("Pause")).starts_with("TERMINATE id"));
        assert!(text(Some("define")).contains("UNDEFINE"));
        assert!(text(Some("dance")).starts_with("There is no help on dance."));
    }

    #[test]
    fn lines_fit_a_terminal() {
        let all = STATEMENTS
            .iter()
            .map(|(name, _, _)| text(Some(name)))
            .chain([text(None)]);
        for line in all.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()) {
            assert!(line.chars().count() <= 102, "{line}");
        }
    }
}
