//! Both ways to an answer: a statement by its shape, and one with a comment behind it, which has no
//! shape and is parsed.

use super::*;
use crate::pull::tests::{engine, outcome};
use crate::session::Session;

/// Views, and their key columns.
const VIEWS: [(&str, &[&str]); 6] = [
    ("by_id", &["id"]),
    ("by_big", &["big"]),
    ("by_name", &["name"]),
    ("by_part", &["part"]),
    ("by_flag", &["flag"]),
    ("by_two", &["name", "big"]),
];

const LITERALS: [&str; 30] = [
    "1",
    "-1",
    "- 1",
    "- -1",
    "+1",
    "007",
    "42",
    "2147483647",
    "2147483648",
    "-2147483648",
    "-2147483649",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "-9223372036854775809",
    "1.0",
    "1e0",
    "1L",
    "(1)",
    "1 + 0",
    "'1'",
    "'a'",
    "'A'",
    "''",
    "''''",
    "'it''s'",
    "'é\\n'",
    "-'a'",
    "NULL",
    "true",
];

/// Whether a statement is answered by its shape. However it is, the answer is the same.
async fn check(session: &mut Session, statement: &str) -> bool {
    let parsed = outcome(session, &format!("{statement} -- parsed")).await;
    for _ in 0..2 {
        assert_eq!(outcome(session, statement).await, parsed, "{statement}");
    }
    let shape = Shape::of(statement);
    shape.is_some_and(|shape| answer_shape(&session.engine, &shape).unwrap().is_some())
}

fn conditions(key: &[&str], literal: impl Fn(usize) -> String) -> String {
    let equal = |(index, column): (usize, &&str)| match index % 2 {
        0 => format!("{column} = {}", literal(index)),
        _ => format!("{} = {column}", literal(index)),
    };
    let all: Vec<String> = key.iter().enumerate().map(equal).collect();
    all.join(" AND ")
}

#[tokio::test(flavor = "multi_thread")]
async fn both_ways_give_the_same() {
    let (_data_dir, engine) = engine().await;
    let mut session = engine.session();
    let mut by_shape = Vec::new();
    // Any literal after any other: what the first taught holds for all.
    for (view, key) in VIEWS {
        for literal in LITERALS.iter().chain(LITERALS.iter().rev()) {
            let condition = conditions(key, |index| match index {
                0 => (*literal).to_owned(),
                _ => "1".to_owned(),
            });
            let statement = format!("SELECT n FROM {view} WHERE {condition}");
            if check(&mut session, &statement).await {
                by_shape.push(format!("{view} {literal}"));
            }
        }
    }
    by_shape.sort();
    by_shape.dedup();
    let expected = |view: &str, literals: &[&str]| -> Vec<String> {
        let each = literals.iter().map(|literal| format!("{view} {literal}"));
        each.collect()
    };
    let small = ["1", "-1", "- 1", "007", "42", "2147483647", "-2147483648"];
    let large = [
        "2147483648",
        "-2147483649",
        "9223372036854775807",
        "-9223372036854775808",
    ];
    let texts = ["'1'", "'a'", "'A'", "''", "''''", "'it''s'", "'é\\n'"];
    let mut wanted = [
        expected("by_id", &small),
        expected("by_big", &small),
        expected("by_big", &large),
        expected("by_name", &texts),
        expected("by_two", &texts),
    ]
    .concat();
    wanted.sort();
    assert_eq!(by_shape, wanted);
    engine.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn shapes_of_all_kinds_give_the_same() {
    let (_data_dir, engine) = engine().await;
    let mut session = engine.session();
    let by_shape = [
        "SELECT n FROM by_id WHERE id = 1;",
        "select id, n, most from by_id where id=-1 ;",
        "SELECT most AS n, n AS `n``` , \"ID\" AS \"a 'b' 1\" FROM BY_ID\n\tWHERE 7 = `ID`",
        "SELECT n AS nn FROM by_id WHERE id = 999",
        "SELECT n FROM by_two WHERE big = -1 AND name = ''",
        "SELECT big, name FROM by_two WHERE 'a' = name AND 1 = big",
    ];
    for statement in by_shape {
        // Quotes in quotes have no shape.
        let wanted = !statement.contains("``");
        assert_eq!(check(&mut session, statement).await, wanted, "{statement}");
    }
    let planned = [
        "SELECT * FROM by_id WHERE id = 1",
        "SELECT n, n FROM by_id WHERE id = 1",
        "SELECT n FROM by_id WHERE id = 1 AND id = 2",
        "SELECT n FROM by_id WHERE id = 1 AND n = 1",
        "SELECT n FROM by_id WHERE id = 1 OR id = 7",
        "SELECT n FROM by_id WHERE id IN (1, -1)",
        "SELECT n FROM by_id WHERE id = 1 LIMIT 1",
        "SELECT n FROM by_id WHERE n = 1",
        "SELECT n 'x' FROM by_id WHERE id = 1",
        "SELECT n AS 'x' FROM by_id WHERE id = 1",
        "SELECT 1 FROM by_id WHERE id = 1",
        "SELECT - n FROM by_id WHERE id = 1",
        "SELECT n FROM by_id WHERE id = id",
        "SELECT n FROM by_id WHERE id = most",
        "SELECT n FROM by_id WHERE 1 = 1",
        "SELECT rowtime FROM by_id WHERE id = 1",
        "SELECT nn FROM by_id WHERE id = 1",
        "SELECT n FROM by_id WHERE idd = 1",
        "SELECT n FROM nowhere WHERE id = 1",
        "SELECT n FROM by_id b WHERE id = 1",
        "SELECT n FROM by_id, by_big WHERE id = 1",
        "SELECT n FROM by_name WHERE name = 'it' 's'",
        "SELECT n FROM by_two WHERE name = 'a'",
        "SELECT n FROM by_two WHERE name = 'a' AND name = 'b'",
        "SELECT n FROM by_two WHERE name = 'a' AND big = '1'",
        "SELECT n FROM by_two WHERE name = 1 AND big = 1",
        "SELECT n FROM by_time WHERE id = 1",
        "SELECT id FROM s WHERE id = 1",
        "SELECT id FROM copy WHERE id = 1",
        "SELECT n FROM by_id WHERE id = 1; SELECT n FROM by_id WHERE id = 1",
        "SELECT n FROM by_id WHERE id = 'a",
        "SELECT n FROM by_id WHERE id = ${x}",
        "SELECT n FROM by_id WHERE id =",
        "SELECT n FROM by_id WHERE id = 1 1",
        "SELECT FROM by_id WHERE id = 1",
        "SELECT n FROM by_id WHERE id 1",
        "SHOW TABLES",
        "",
    ];
    for statement in planned {
        assert!(!check(&mut session, statement).await, "{statement}");
    }
    outcome(&mut session, "DEFINE x = '7'").await.unwrap();
    let text = "SELECT n FROM by_id WHERE id = ${x}";
    assert_eq!(
        outcome(&mut session, text).await,
        outcome(&mut session, "SELECT n FROM by_id WHERE id = 7").await
    );
    engine.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shape_is_worth_nothing_after_the_catalog_has_changed() {
    let (_data_dir, engine) = engine().await;
    let mut session = engine.session();
    let question = "SELECT n FROM by_id WHERE id = 1";
    assert!(check(&mut session, question).await);
    let shape = Shape::of(question).unwrap();
    outcome(&mut session, "DROP TABLE by_id").await.unwrap();
    assert!(answer_shape(&engine, &shape).unwrap().is_none());
    outcome(&mut session, question).await.unwrap_err();
    assert!(!check(&mut session, question).await);
    // The column is a text now, and the key another.
    let create = "CREATE TABLE by_id AS SELECT big AS id, MAX(name) AS n FROM s GROUP BY big";
    outcome(&mut session, create).await.unwrap();
    engine.flush().await.unwrap();
    assert!(answer_shape(&engine, &shape).unwrap().is_none());
    assert!(
        outcome(&mut session, question)
            .await
            .unwrap()
            .contains("| a |")
    );
    assert!(check(&mut session, question).await);
    engine.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_shapes_are_kept_than_may_be() {
    let (_data_dir, engine) = engine().await;
    let mut session = engine.session();
    for number in 0..PREPARED_MAX + 2 {
        let question = format!("SELECT n AS n{number} FROM by_id WHERE id = 1");
        outcome(&mut session, &question).await.unwrap();
    }
    assert_eq!(engine.inner.prepared.0.read().len(), 2);
    engine.shutdown().await.unwrap();
}
