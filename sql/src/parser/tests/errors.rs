//! What is said about a statement that is none. Every message is pinned.

use expect_test::expect;

use super::refused;

#[test]
fn first_words() {
    refused(
        "CREAT STREAM s (a INT);",
        expect![[r#"
        error: "CREAT" is not a statement
          1 | CREAT STREAM s (a INT);
            | ^^^^^ did you mean CREATE?"#]],
    );
    refused(
        "SELEKT 1",
        expect![[r#"
        error: "SELEKT" is not a statement
          1 | SELEKT 1
            | ^^^^^^ did you mean SELECT?"#]],
    );
    refused(
        "foo",
        expect![[r#"
        error: "foo" is not a statement
          1 | foo
            | ^^^"#]],
    );
    refused(
        "DELETE FROM t",
        expect![[r#"
        error: "DELETE" is not a statement
          1 | DELETE FROM t
            | ^^^^^^ delete a row of a table by writing a record of its key without a value"#]],
    );
    refused(
        "RUN SCRIPT 'x'",
        expect![[r#"
        error: "RUN" is not a statement
          1 | RUN SCRIPT 'x'
            | ^^^ start kappa with -f and the script"#]],
    );
    refused(
        "'x'",
        expect![[r#"
            error: expected a statement, found 'x'
              1 | 'x'
                | ^^^"#]],
    );
    refused(
        "SHOW TYPES SHOW SINKS",
        expect![[r#"
        error: expected the end of the statement, found "SHOW"
          1 | SHOW TYPES SHOW SINKS
            |            ^^^^ a ; is missing before SHOW"#]],
    );
}

#[test]
fn create() {
    refused(
        "CREATE STREM s (a INT)",
        expect![[r#"
        error: expected STREAM, TABLE, SINK or TYPE after CREATE, found "STREM"
          1 | CREATE STREM s (a INT)
            |        ^^^^^ did you mean STREAM?"#]],
    );
    refused(
        "CREATE",
        expect![[r#"
        error: expected STREAM, TABLE, SINK or TYPE after CREATE, found the end of the statement
          1 | CREATE
            |       ^"#]],
    );
    refused(
        "CREATE OR REPLACE VIEW v AS SELECT 1",
        expect![[r#"
        error: expected STREAM or TABLE, found "VIEW"
          1 | CREATE OR REPLACE VIEW v AS SELECT 1
            |                   ^^^^"#]],
    );
    refused(
        "CREATE VIEW v AS SELECT 1",
        expect![[r#"
        error: expected STREAM, TABLE, SINK or TYPE after CREATE, found "VIEW"
          1 | CREATE VIEW v AS SELECT 1
            |        ^^^^ a view is a table here: CREATE TABLE … AS SELECT …"#]],
    );
    refused(
        "CREATE SINK CONNECTOR c WITH (A='x')",
        expect![[r#"
        error: connectors of Kafka Connect are not supported
          1 | CREATE SINK CONNECTOR c WITH (A='x')
            |        ^^^^ CREATE SINK writes to files and other systems"#]],
    );
    refused(
        "CREATE STREAM s",
        expect![[r#"
        error: expected columns, WITH or AS, found the end of the statement
          1 | CREATE STREAM s
            |                ^"#]],
    );
    refused(
        "CREATE STREAM select (a INT) WITH (A='x')",
        expect![[r#"
        error: expected the name of the stream, found "select"
          1 | CREATE STREAM select (a INT) WITH (A='x')
            |               ^^^^^^ SELECT is reserved: as a name, write `SELECT`"#]],
    );
    refused(
        "CREATE STREAM 'x' (a INT) WITH (A='x')",
        expect![[r#"
            error: expected the name of the stream, found 'x'
              1 | CREATE STREAM 'x' (a INT) WITH (A='x')
                |               ^^^ text is in single quotes, a name is not: `x`"#]],
    );
    refused(
        "CREATE STREAM s (a INT NOT NULL) WITH (A='x')",
        expect![[r#"
        error: expected "," or ")" after a column, found "NOT"
          1 | CREATE STREAM s (a INT NOT NULL) WITH (A='x')
            |                        ^^^ a column has a name, a type, and perhaps KEY or PRIMARY KEY"#]],
    );
    refused(
        "CREATE STREAM s (a INT, ) WITH (A='x')",
        expect![[r#"
        error: expected the name of a column, found ")"
          1 | CREATE STREAM s (a INT, ) WITH (A='x')
            |                         ^"#]],
    );
    refused(
        "CREATE STREAM s (a INT, A STRING) WITH (A='x')",
        expect![[r#"
        error: the column "A" is there twice
          1 | CREATE STREAM s (a INT, A STRING) WITH (A='x')
            |                         ^"#]],
    );
    refused(
        "CREATE STREAM s (a INTT) WITH (A='x')",
        expect![[r#"
        error: the type "INTT" does not exist
          1 | CREATE STREAM s (a INTT) WITH (A='x')
            |                    ^^^^ did you mean INT?"#]],
    );
    refused(
        "CREATE STREAM s (a) WITH (A='x')",
        expect![[r#"
        error: expected a type, found ")"
          1 | CREATE STREAM s (a) WITH (A='x')
            |                   ^"#]],
    );
    refused(
        "CREATE STREAM s (a INT WITH (A='x')",
        expect![[r#"
        error: expected "," or ")" after a column, found "WITH"
          1 | CREATE STREAM s (a INT WITH (A='x')
            |                        ^^^^"#]],
    );
    refused(
        "CREATE STREAM s (a INT) WITH (A='x') AS SELECT * FROM t",
        expect![[r#"
        error: columns come from the query after AS
          1 | CREATE STREAM s (a INT) WITH (A='x') AS SELECT * FROM t
            |                 ^ name them there: SELECT a AS b"#]],
    );
    refused(
        "CREATE STREAM s (a INT) WITH (A='x'",
        expect![[r#"
        error: the parenthesis is not closed
          1 | CREATE STREAM s (a INT) WITH (A='x'
            |                              ^"#]],
    );
    refused(
        "CREATE TABLE t AS SELECT * FROM s ORDER BY a",
        expect![[r#"
        error: ORDER BY is not supported in a continuous query yet
          1 | CREATE TABLE t AS SELECT * FROM s ORDER BY a
            |                                   ^^^^^"#]],
    );
}

#[test]
fn with() {
    refused(
        "CREATE STREAM s (a INT) WITH (FORMAT=JSON)",
        expect![[r#"
        error: expected a value, found "JSON"
          1 | CREATE STREAM s (a INT) WITH (FORMAT=JSON)
            |                                      ^^^^ text is in single quotes: 'JSON'"#]],
    );
    refused(
        "CREATE STREAM s (a INT) WITH (FORMAT 'JSON')",
        expect![[r#"
            error: expected "=" and the value of FORMAT, found 'JSON'
              1 | CREATE STREAM s (a INT) WITH (FORMAT 'JSON')
                |                                      ^^^^^^"#]],
    );
    refused(
        "CREATE STREAM s (a INT) WITH (FORMAT='JSON' PARTITIONS=4)",
        expect![[r#"
        error: expected "," or ")", found "PARTITIONS"
          1 | CREATE STREAM s (a INT) WITH (FORMAT='JSON' PARTITIONS=4)
            |                                             ^^^^^^^^^^"#]],
    );
    refused(
        "CREATE STREAM s (a INT) WITH (FORMAT='JSON', format='CSV')",
        expect![[r#"
        error: the property FORMAT is given twice
          1 | CREATE STREAM s (a INT) WITH (FORMAT='JSON', format='CSV')
            |                                              ^^^^^^"#]],
    );
}

#[test]
fn queries() {
    refused(
        "SELECT FROM t EMIT CHANGES",
        expect![[r#"
        error: expected an expression, found "FROM"
          1 | SELECT FROM t EMIT CHANGES
            |        ^^^^"#]],
    );
    refused(
        "SELECT a, FROM t",
        expect![[r#"
        error: expected an expression, found "FROM"
          1 | SELECT a, FROM t
            |           ^^^^"#]],
    );
    refused(
        "SELECT a FORM t EMIT CHANGES",
        expect![[r#"
        error: expected FROM, found "FORM"
          1 | SELECT a FORM t EMIT CHANGES
            |          ^^^^ did you mean FROM?"#]],
    );
    refused(
        "SELECT a FROM t WHER a = 1 EMIT CHANGES",
        expect![[r#"
        error: expected WINDOW, WHERE, GROUP BY, PARTITION BY, HAVING, EMIT or LIMIT, found "WHER"
          1 | SELECT a FROM t WHER a = 1 EMIT CHANGES
            |                 ^^^^ did you mean WHERE?"#]],
    );
    refused(
        "SELECT a FROM t WHERE a = 1 GROPU BY a EMIT CHANGES",
        expect![[r#"
            error: expected WINDOW, GROUP BY, PARTITION BY, HAVING, EMIT, LIMIT or the end of the query, found "GROPU"
              1 | SELECT a FROM t WHERE a = 1 GROPU BY a EMIT CHANGES
                |                             ^^^^^ did you mean GROUP BY?"#]],
    );
    refused(
        "SELECT a FROM t EMIT CHANGE",
        expect![[r#"
        error: expected CHANGES or FINAL after EMIT, found "CHANGE"
          1 | SELECT a FROM t EMIT CHANGE
            |                      ^^^^^^ did you mean CHANGES?"#]],
    );
    refused(
        "SELECT a FROM t EMIT",
        expect![[r#"
        error: expected CHANGES or FINAL after EMIT, found the end of the statement
          1 | SELECT a FROM t EMIT
            |                     ^"#]],
    );
    refused(
        "SELECT a FROM t EMIT CHANGES WHERE a = 1",
        expect![[r#"
        error: WHERE must come before EMIT
          1 | SELECT a FROM t EMIT CHANGES WHERE a = 1
            |                              ^^^^^"#]],
    );
    refused(
        "SELECT a FROM t GROUP BY a WHERE a = 1 EMIT CHANGES",
        expect![[r#"
        error: WHERE must come before GROUP BY
          1 | SELECT a FROM t GROUP BY a WHERE a = 1 EMIT CHANGES
            |                            ^^^^^"#]],
    );
    refused(
        "SELECT a FROM t WHERE a = 1 WHERE b = 2 EMIT CHANGES",
        expect![[r#"
        error: WHERE is given twice
          1 | SELECT a FROM t WHERE a = 1 WHERE b = 2 EMIT CHANGES
            |                             ^^^^^"#]],
    );
    refused(
        "SELECT DISTINCT a FROM t EMIT CHANGES",
        expect![[r#"
        error: SELECT DISTINCT is not supported in a continuous query yet
          1 | SELECT DISTINCT a FROM t EMIT CHANGES
            |        ^^^^^^^^ GROUP BY the columns"#]],
    );
    refused(
        "SELECT a FROM (SELECT * FROM t) EMIT CHANGES",
        expect![[r#"
        error: a subquery is not supported in a continuous query yet
          1 | SELECT a FROM (SELECT * FROM t) EMIT CHANGES
            |               ^ give it a name: CREATE STREAM … AS SELECT …"#]],
    );
    refused(
        "SELECT a FROM t UNION SELECT a FROM u EMIT CHANGES",
        expect![[r#"
        error: UNION is not supported in a continuous query yet
          1 | SELECT a FROM t UNION SELECT a FROM u EMIT CHANGES
            |                 ^^^^^"#]],
    );
    refused(
        "SELECT a FROM t, u EMIT CHANGES",
        expect![[r#"
        error: a list of sources is not supported in a continuous query yet
          1 | SELECT a FROM t, u EMIT CHANGES
            |                ^ write JOIN … ON …"#]],
    );
    refused(
        "SELECT a FROM t LIMIT x EMIT CHANGES",
        expect![[r#"
        error: expected the limit, a whole number, found "x"
          1 | SELECT a FROM t LIMIT x EMIT CHANGES
            |                       ^"#]],
    );
    refused(
        "SELECT a FROM t LIMIT 1.5 EMIT CHANGES",
        expect![[r#"
        error: expected the limit, a whole number, found "1.5"
          1 | SELECT a FROM t LIMIT 1.5 EMIT CHANGES
            |                       ^^^"#]],
    );
    refused(
        "SELECT count(* FROM t EMIT CHANGES",
        expect![[r#"
            error: expected ")", found "FROM"
              1 | SELECT count(* FROM t EMIT CHANGES
                |                ^^^^"#]],
    );
    refused(
        "SELECT (a + (b * 2) FROM t",
        expect![[r#"
            error: expected ")", found "FROM"
              1 | SELECT (a + (b * 2) FROM t
                |                     ^^^^"#]],
    );
    refused(
        "SELECT a) FROM t EMIT CHANGES",
        expect![[r#"
            error: expected "," or FROM, found ")"
              1 | SELECT a) FROM t EMIT CHANGES
                |         ^"#]],
    );
    refused(
        "SELECT a FROM t) EMIT CHANGES",
        expect![[r#"
        error: expected the end of the statement, found ")"
          1 | SELECT a FROM t) EMIT CHANGES
            |                ^ it was never opened"#]],
    );
    refused(
        "SELECT 'a FROM t",
        expect![[r#"
        error: the text is not closed: a ' is missing
          1 | SELECT 'a FROM t
            |        ^"#]],
    );
    refused(
        "SELECT \"a FROM t",
        expect![[r#"
        error: the name is not closed: a " is missing
          1 | SELECT "a FROM t
            |        ^"#]],
    );
    refused(
        "SELECT a /* FROM t",
        expect![[r#"
            error: the comment is not closed: */ is missing
              1 | SELECT a /* FROM t
                |          ^"#]],
    );
    refused(
        "SELECT a +\nFROM t EMIT CHANGES",
        expect![[r#"
        error: expected an expression, found "FROM"
          2 | FROM t EMIT CHANGES
            | ^^^^"#]],
    );
    refused(
        "SELECT a->1 FROM t EMIT CHANGES",
        expect![[r#"
        error: expected a field name, found "1"
          1 | SELECT a->1 FROM t EMIT CHANGES
            |           ^"#]],
    );
    refused(
        "SELECT CAST(a AS) FROM t EMIT CHANGES",
        expect![[r#"
        error: expected a type, found ")"
          1 | SELECT CAST(a AS) FROM t EMIT CHANGES
            |                 ^"#]],
    );
    refused(
        "SELECT CAST(a, INT) FROM t EMIT CHANGES",
        expect![[r#"
        error: expected AS and a type, found ","
          1 | SELECT CAST(a, INT) FROM t EMIT CHANGES
            |              ^"#]],
    );
    refused(
        "SELECT CAST(a AS DECIMAL(4, 5)) FROM t",
        expect![[r#"
        error: DECIMAL scale must not be more than the precision: 5 is more than 4
          1 | SELECT CAST(a AS DECIMAL(4, 5)) FROM t
            |                             ^"#]],
    );
    refused(
        "SELECT CASE a THEN 1 END FROM t EMIT CHANGES",
        expect![[r#"
        error: expected WHEN, found "THEN"
          1 | SELECT CASE a THEN 1 END FROM t EMIT CHANGES
            |               ^^^^"#]],
    );
    refused(
        "SELECT ‘a’ FROM t",
        expect![[r#"
        error: the character "‘" has no meaning here
          1 | SELECT ‘a’ FROM t
            |        ^ text is in straight single quotes: 'text'"#]],
    );
    refused(
        "SELECT ${limit} FROM t",
        expect![[r#"
        error: the variable "limit" is not defined
          1 | SELECT ${limit} FROM t
            |        ^ give it a value with DEFINE"#]],
    );
    refused(
        "SELECT ? FROM t",
        expect![[r#"
        error: parameters such as "?" are not supported
          1 | SELECT ? FROM t
            |        ^"#]],
    );
    refused(
        "SELECT 1.5abc FROM t",
        expect![[r#"
        error: "1.5abc" is neither a number nor a name
          1 | SELECT 1.5abc FROM t
            |        ^^^^^^"#]],
    );
    refused(
        "SELECT a AS where FROM t EMIT CHANGES",
        expect![[r#"
        error: expected a name after AS, found "where"
          1 | SELECT a AS where FROM t EMIT CHANGES
            |             ^^^^^ WHERE is reserved: as a name, write `WHERE`"#]],
    );
}

#[test]
fn pull_queries() {
    refused(
        "SELECT a FROM t GROPU BY a",
        expect![[r#"
            error: expected FROM, WHERE, GROUP BY, HAVING, ORDER BY or LIMIT, found "GROPU"
              1 | SELECT a FROM t GROPU BY a
                |                 ^^^^^ did you mean GROUP BY?"#]],
    );
    refused(
        "SELECT a FROM t WINDOW TUMBLING (SIZE 1 HOUR) GROUP BY a",
        expect![[r#"
        error: WINDOW is for continuous queries
          1 | SELECT a FROM t WINDOW TUMBLING (SIZE 1 HOUR) GROUP BY a
            |                 ^^^^^^ add EMIT CHANGES or EMIT FINAL, or query a table that has windows"#]],
    );
    refused(
        "SELECT s->* FROM t",
        expect![[r#"
        error: ->* is not supported in a pull query yet
          1 | SELECT s->* FROM t
            |         ^^ name the fields"#]],
    );
    refused(
        "SELECT a FROM t WHERE",
        expect![[r#"
        error: expected an expression, found the end of the statement
          1 | SELECT a FROM t WHERE
            |                      ^"#]],
    );
    refused(
        "SELECT a FROM t LIMIT 1 LIMIT 2",
        expect![[r#"
            error: expected the end of the statement, found "LIMIT"
              1 | SELECT a FROM t LIMIT 1 LIMIT 2
                |                         ^^^^^"#]],
    );
}

#[test]
fn joins() {
    refused(
        "SELECT * FROM a JOIN b EMIT CHANGES",
        expect![[r#"
        error: expected WITHIN or ON and the condition of the join, found "EMIT"
          1 | SELECT * FROM a JOIN b EMIT CHANGES
            |                        ^^^^"#]],
    );
    refused(
        "SELECT * FROM a LEFT b ON a.x = b.x EMIT CHANGES",
        expect![[r#"
        error: expected JOIN, found "b"
          1 | SELECT * FROM a LEFT b ON a.x = b.x EMIT CHANGES
            |                      ^"#]],
    );
    refused(
        "SELECT * FROM a JOIN b USING (id) EMIT CHANGES",
        expect![[r#"
        error: USING is not supported in a continuous query yet
          1 | SELECT * FROM a JOIN b USING (id) EMIT CHANGES
            |                        ^^^^^ write ON a.id = b.id"#]],
    );
    refused(
        "SELECT * FROM a CROSS JOIN b EMIT CHANGES",
        expect![[r#"
        error: CROSS JOIN is not supported in a continuous query yet
          1 | SELECT * FROM a CROSS JOIN b EMIT CHANGES
            |                 ^^^^^"#]],
    );
    refused(
        "SELECT * FROM a JOIN b WITHIN HOURS ON a.x = b.x EMIT CHANGES",
        expect![[r#"
            error: expected the time between rows, a whole number, found "HOURS"
              1 | SELECT * FROM a JOIN b WITHIN HOURS ON a.x = b.x EMIT CHANGES
                |                               ^^^^^"#]],
    );
    refused(
        "SELECT * FROM a JOIN b WITHN 1 HOUR ON a.x = b.x EMIT CHANGES",
        expect![[r#"
        error: expected WITHIN or ON, found "WITHN"
          1 | SELECT * FROM a JOIN b WITHN 1 HOUR ON a.x = b.x EMIT CHANGES
            |                        ^^^^^ did you mean WITHIN?"#]],
    );
    refused(
        "SELECT * FROM s.a EMIT CHANGES",
        expect![[r#"
        error: expected the end of the name, found "."
          1 | SELECT * FROM s.a EMIT CHANGES
            |                ^ names have no schema here"#]],
    );
}

#[test]
fn windows() {
    refused(
        "SELECT * FROM a WINDOW TUMBLNG (SIZE 1 HOUR) EMIT CHANGES",
        expect![[r#"
        error: expected TUMBLING, HOPPING, SESSION or SLIDING after WINDOW, found "TUMBLNG"
          1 | SELECT * FROM a WINDOW TUMBLNG (SIZE 1 HOUR) EMIT CHANGES
            |                        ^^^^^^^ did you mean TUMBLING?"#]],
    );
    refused(
        "SELECT * FROM a WINDOW TUMBLING (SIZE 1 HOUR EMIT CHANGES",
        expect![[r#"
            error: the parenthesis is not closed
              1 | SELECT * FROM a WINDOW TUMBLING (SIZE 1 HOUR EMIT CHANGES
                |                                 ^"#]],
    );
    refused(
        "SELECT * FROM a WINDOW TUMBLING (SIZE 1 WEEK) EMIT CHANGES",
        expect![[r#"
        error: expected MILLISECONDS, SECONDS, MINUTES, HOURS or DAYS, found "WEEK"
          1 | SELECT * FROM a WINDOW TUMBLING (SIZE 1 WEEK) EMIT CHANGES
            |                                         ^^^^ a week has 7 DAYS"#]],
    );
    refused(
        "SELECT * FROM a WINDOW TUMBLING (SIZE 0 DAYS) EMIT CHANGES",
        expect![[r#"
        error: the size of a window must be more than zero
          1 | SELECT * FROM a WINDOW TUMBLING (SIZE 0 DAYS) EMIT CHANGES
            |                                       ^^^^^^"#]],
    );
    refused(
        "SELECT * FROM a WINDOW TUMBLING (SIZE -1 DAYS) EMIT CHANGES",
        expect![[r#"
        error: expected the size of a window, a whole number, found "-"
          1 | SELECT * FROM a WINDOW TUMBLING (SIZE -1 DAYS) EMIT CHANGES
            |                                       ^"#]],
    );
    refused(
        "SELECT * FROM a WINDOW TUMBLING (SIZE 1 HUOR) EMIT CHANGES",
        expect![[r#"
            error: expected MILLISECONDS, SECONDS, MINUTES, HOURS or DAYS, found "HUOR"
              1 | SELECT * FROM a WINDOW TUMBLING (SIZE 1 HUOR) EMIT CHANGES
                |                                         ^^^^ did you mean HOUR?"#]],
    );
    refused(
        "SELECT * FROM a WINDOW TUMBLING (GRACE PERIOD 1 DAY) EMIT CHANGES",
        expect![[r#"
        error: a TUMBLING window needs a SIZE
          1 | SELECT * FROM a WINDOW TUMBLING (GRACE PERIOD 1 DAY) EMIT CHANGES
            |                 ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^"#]],
    );
    refused(
        "SELECT * FROM a WINDOW HOPPING (SIZE 1 HOUR) EMIT CHANGES",
        expect![[r#"
        error: a HOPPING window needs ADVANCE BY
          1 | SELECT * FROM a WINDOW HOPPING (SIZE 1 HOUR) EMIT CHANGES
            |                 ^^^^^^^^^^^^^^^^^^^^^^^^^^^^"#]],
    );
    refused(
        "SELECT * FROM a WINDOW HOPPING (SIZE 1 HOUR, ADVANCE BY 2 HOURS) EMIT CHANGES",
        expect![[r#"
        error: a window cannot advance by more than its size
          1 | SELECT * FROM a WINDOW HOPPING (SIZE 1 HOUR, ADVANCE BY 2 HOURS) EMIT CHANGES
            |                 ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^"#]],
    );
    refused(
        "SELECT * FROM a WINDOW SESSION (1 HOUR, SIZE 1 HOUR) EMIT CHANGES",
        expect![[r#"
        error: expected GAP, RETENTION or GRACE of a SESSION window, found "SIZE"
          1 | SELECT * FROM a WINDOW SESSION (1 HOUR, SIZE 1 HOUR) EMIT CHANGES
            |                                         ^^^^"#]],
    );
    refused(
        "SELECT * FROM a WINDOW TUMBLING (SIZE 9999999999999999 DAYS) EMIT CHANGES",
        expect![[r#"
        error: the size of a window is too large
          1 | SELECT * FROM a WINDOW TUMBLING (SIZE 9999999999999999 DAYS) EMIT CHANGES
            |                                       ^^^^^^^^^^^^^^^^"#]],
    );
    refused(
        "SELECT * FROM a WINDOW TUMBLING (SIZE 1 DAY, SIZE 2 DAYS) EMIT CHANGES",
        expect![[r#"
        error: SIZE is given twice
          1 | SELECT * FROM a WINDOW TUMBLING (SIZE 1 DAY, SIZE 2 DAYS) EMIT CHANGES
            |                                              ^^^^^^^^^^^"#]],
    );
}

#[test]
fn insert() {
    refused(
        "INSERT s VALUES (1)",
        expect![[r#"
        error: expected INTO, found "s"
          1 | INSERT s VALUES (1)
            |        ^"#]],
    );
    refused(
        "INSERT INTO s (a, b) VALUES (1)",
        expect![[r#"
            error: the number of values in the row does not match the columns: 2 are named, not 1
              1 | INSERT INTO s (a, b) VALUES (1)
                |                             ^^^"#]],
    );
    refused(
        "INSERT INTO s (a, a) VALUES (1, 2)",
        expect![[r#"
        error: the column "A" is there twice
          1 | INSERT INTO s (a, a) VALUES (1, 2)
            |                   ^"#]],
    );
    refused(
        "INSERT INTO s VALUES 1",
        expect![[r#"
        error: expected "(", found "1"
          1 | INSERT INTO s VALUES 1
            |                      ^"#]],
    );
    refused(
        "INSERT INTO s VALUES (1,)",
        expect![[r#"
        error: expected an expression, found ")"
          1 | INSERT INTO s VALUES (1,)
            |                         ^"#]],
    );
    refused(
        "INSERT INTO s (a) SELECT a FROM t",
        expect![[r#"
        error: a list of columns before SELECT is not supported
          1 | INSERT INTO s (a) SELECT a FROM t
            |               ^ give the columns their names in the query: SELECT a AS b"#]],
    );
    refused(
        "INSERT INTO s VALUE (1)",
        expect![[r#"
        error: expected VALUES or SELECT, found "VALUE"
          1 | INSERT INTO s VALUE (1)
            |               ^^^^^ did you mean VALUES?"#]],
    );
}

#[test]
fn others() {
    refused(
        "SHOW STREEMS",
        expect![[r#"
        error: expected STREAMS, TABLES, QUERIES, TOPICS, FUNCTIONS, PROPERTIES, SINKS, TYPES or VARIABLES after SHOW, found "STREEMS"
          1 | SHOW STREEMS
            |      ^^^^^^^ did you mean STREAMS?"#]],
    );
    refused(
        "SHOW TYPES EXTENDED",
        expect![[r#"
        error: there is nothing more to show here
          1 | SHOW TYPES EXTENDED
            |            ^^^^^^^^"#]],
    );
    refused(
        "DROP s",
        expect![[r#"
        error: expected STREAM, TABLE, SINK or TYPE after DROP, found "s"
          1 | DROP s
            |      ^"#]],
    );
    refused(
        "DROP SINK k DELETE TOPIC",
        expect![[r#"
        error: only streams and tables have a topic
          1 | DROP SINK k DELETE TOPIC
            |             ^^^^^^^^^^^^"#]],
    );
    refused(
        "DESCRIBE",
        expect![[r#"
        error: expected the name of a stream, table, sink or query, found the end of the statement
          1 | DESCRIBE
            |         ^"#]],
    );
    refused(
        "EXPLAIN",
        expect![[r#"
        error: expected the id of a query, found the end of the statement
          1 | EXPLAIN
            |        ^"#]],
    );
    refused(
        "EXPLAIN EXPLAIN SELECT 1",
        expect![[r#"
        error: expected a statement or the id of a query, found "EXPLAIN"
          1 | EXPLAIN EXPLAIN SELECT 1
            |         ^^^^^^^"#]],
    );
    refused(
        "TERMINATE",
        expect![[r#"
        error: expected the id of a query, found the end of the statement
          1 | TERMINATE
            |          ^"#]],
    );
    refused(
        "PRINT t FROM START",
        expect![[r#"
        error: expected FROM BEGINNING, INTERVAL or LIMIT or the end of the statement, found "FROM"
          1 | PRINT t FROM START
            |         ^^^^"#]],
    );
    refused(
        "SET 'a' 'b'",
        expect![[r#"
            error: expected "=" and a value, found 'b'
              1 | SET 'a' 'b'
                |         ^^^"#]],
    );
    refused(
        "SET 'a' = b",
        expect![[r#"
        error: expected a value, found "b"
          1 | SET 'a' = b
            |           ^ text is in single quotes"#]],
    );
    refused(
        "DEFINE x = 1",
        expect![[r#"
            error: expected the text of the variable in single quotes, found "1"
              1 | DEFINE x = 1
                |            ^"#]],
    );
    refused(
        "ALTER STREAM s DROP COLUMN a",
        expect![[r#"
        error: expected ADD and a column, found "DROP"
          1 | ALTER STREAM s DROP COLUMN a
            |                ^^^^ columns can be added, and not changed or dropped"#]],
    );
    refused(
        "ALTER STREAM s ADD a INT KEY",
        expect![[r#"
        error: keys and headers cannot be added
          1 | ALTER STREAM s ADD a INT KEY
            |                    ^^^^^^^^^"#]],
    );
    refused(
        "ASSERT VALUES s (a) VALUES (1)",
        expect![[r#"
        error: this ASSERT is for ksqlDB's test runner
          1 | ASSERT VALUES s (a) VALUES (1)
            |        ^^^^^^"#]],
    );
    refused(
        "ASSERT SCHEMA",
        expect![[r#"
        error: expected SUBJECT or ID, found the end of the statement
          1 | ASSERT SCHEMA
            |              ^"#]],
    );
}

#[test]
fn places_in_a_script() {
    refused(
        "SHOW TYPES;\n\nSELECT a,\n\tb c d\nFROM t EMIT CHANGES;",
        expect![[r#"
            error: expected "," or FROM, found "d"
              4 |     b c d
                |         ^"#]],
    );
}
