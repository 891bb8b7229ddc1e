//! Statements meant to hurt. Each test runs on a thread with the stack Rust gives by default.

use expect_test::expect;

use super::refused;
use crate::ast::Script;
use crate::error::Error;
use crate::parser::{CHAIN_MAX, NESTING_MAX, STATEMENT_BYTES_MAX, TERMS_MAX, UNIONS_MAX, parse};

/// Parses, clones, prints and drops on a small stack.
fn on_small_stack(text: String) -> Result<usize, Error> {
    std::thread::Builder::new()
        .stack_size(2 << 20)
        .spawn(move || {
            parse(&text).map(|script: Script| {
                let copy = script.clone();
                assert!(copy == script);
                format!("{copy:?}").len()
            })
        })
        .unwrap()
        .join()
        .unwrap()
}

fn refused_on_small_stack(text: String, says: &str) {
    let error = on_small_stack(text).unwrap_err();
    assert!(error.to_string().contains(says), "{error}");
}

/// As conditions of a continuous query and of a pull query.
fn as_filters(condition: &str) -> [String; 2] {
    [
        format!("CREATE STREAM s AS SELECT * FROM t WHERE {condition};"),
        format!("SELECT * FROM t WHERE {condition};"),
    ]
}

#[test]
fn parentheses() {
    let nested = |depth: usize| format!("{}1{} = 1", "(".repeat(depth), ")".repeat(depth));
    for text in as_filters(&nested(NESTING_MAX)) {
        on_small_stack(text).unwrap();
    }
    for depth in [NESTING_MAX + 1, 10_000, 400_000] {
        for text in as_filters(&nested(depth)) {
            refused_on_small_stack(text, "nested too deeply");
        }
    }
    refused(
        &format!("SELECT {}1 FROM t", "(".repeat(101)),
        expect![[r#"
            error: the statement is nested too deeply: the limit is 100 parentheses
              1 | …(((((((((((((((((((((((((((((((((((((((((1 FROM t
                |                                          ^"#]],
    );
}

#[test]
fn nesting_without_parentheses() {
    for count in [300, 100_000] {
        for piece in [
            "NOT ",
            "- ",
            "+ ",
            "CASE WHEN ",
            "x => ",
            "~ ",
            "INTERVAL ",
            "CASE ",
        ] {
            for text in as_filters(&format!("{}true", piece.repeat(count))) {
                let _ = on_small_stack(text);
            }
        }
    }
    for text in as_filters(&format!("{}true", "NOT ".repeat(10_000))) {
        refused_on_small_stack(text, "nested too deeply");
    }
}

#[test]
fn nested_calls_and_constructors() {
    for (open, close) in [
        ("ABS(", ")"),
        ("CAST(", " AS INT)"),
        ("NOT (", ")"),
        ("STRUCT(a := ", ")"),
        ("ARRAY[", "]"),
        ("a[", "]"),
        ("TRANSFORM(a, x => ", ")"),
        ("SUBSTRING(", ", 1)"),
        ("TRIM(", ")"),
        ("TRIM(BOTH FROM ", ")"),
        ("EXTRACT(YEAR FROM ", ")"),
        ("CASE WHEN (", ") THEN 1 END"),
        ("(SELECT (", "))"),
        ("x IN (", ")"),
        ("COALESCE(a, ", ", b)"),
        ("CONVERT(", ", INT)"),
        ("INTERVAL (", ")"),
        ("EXISTS (", ")"),
        ("ARRAY(", ")"),
    ] {
        for depth in [20, 49, 99, 5_000] {
            // Closed, not closed, and wrong at the innermost place.
            for inner in ["1", ""] {
                for condition in [
                    format!("{}{inner}{}", open.repeat(depth), close.repeat(depth)),
                    format!("{}{inner}", open.repeat(depth)),
                ] {
                    for text in as_filters(&condition) {
                        let _ = on_small_stack(text);
                    }
                }
            }
        }
    }
}

#[test]
fn subqueries_in_parentheses() {
    for depth in [5, 20, 45, 5_000] {
        for (open, close) in [
            ("(", ")"),
            ("(SELECT * FROM ", ") AS a"),
            ("((SELECT * FROM ", ") AS a JOIN b ON true)"),
            ("((SELECT * FROM (", ") AS a) AS b)"),
            ("(a JOIN ", " ON true)"),
        ] {
            let _ = on_small_stack(format!(
                "SELECT * FROM {}t{}",
                open.repeat(depth),
                close.repeat(depth)
            ));
            let _ = on_small_stack(format!("SELECT * FROM {}", open.repeat(depth)));
        }
    }
}

#[test]
fn chains_of_conditions() {
    for word in ["OR", "AND"] {
        let chain = |terms: usize| vec!["a = 1"; terms].join(&format!(" {word} "));
        for text in as_filters(&chain(TERMS_MAX)) {
            on_small_stack(text).unwrap();
        }
        for terms in [TERMS_MAX + 1, 100_000] {
            for text in as_filters(&chain(terms)) {
                refused_on_small_stack(text, "too many terms");
            }
        }
    }
    // The parse ends early and drops what it has.
    for text in as_filters(&format!("{} OR", vec!["a = 1"; TERMS_MAX - 1].join(" OR "))) {
        on_small_stack(text).unwrap_err();
    }
}

#[test]
fn chains_of_operators() {
    for operator in ["+", "||", "=", "*", "-> a ->", "::INT +"] {
        let chain = |count: usize| format!("a {}", format!("{operator} b ").repeat(count));
        for text in as_filters(&chain(CHAIN_MAX / 2)) {
            on_small_stack(text).unwrap();
        }
        for text in as_filters(&chain(20_000)) {
            let _ = on_small_stack(text);
        }
    }
    for piece in [
        " IS NULL",
        "[1]",
        "->b",
        "::INT",
        " IN (1)",
        " COLLATE x",
        ".a",
        " BETWEEN 1 AND 2",
    ] {
        for count in [CHAIN_MAX, 10_000] {
            for text in as_filters(&format!("a{}", piece.repeat(count))) {
                let _ = on_small_stack(text);
            }
        }
    }
    let chain = vec!["SELECT 1"; 10_000].join(" UNION ALL ");
    refused_on_small_stack(chain, "too many UNIONs");
    on_small_stack(vec!["SELECT 1"; UNIONS_MAX].join(" UNION ALL ")).unwrap();
}

#[test]
fn long_lists_are_fine() {
    let values: Vec<String> = (0..60_000).map(|value| value.to_string()).collect();
    for text in as_filters(&format!("a IN ({})", values.join(", "))) {
        on_small_stack(text).unwrap();
    }
    let rows: Vec<String> = (0..40_000).map(|value| format!("({value}, 'x')")).collect();
    on_small_stack(format!("INSERT INTO t (a, b) VALUES {};", rows.join(", "))).unwrap();
}

#[test]
fn large_texts() {
    let comment = format!("/*{}*/ SELECT 1", "x".repeat(2 * STATEMENT_BYTES_MAX));
    refused_on_small_stack(comment, "bytes long");
    refused_on_small_stack(
        format!("SELECT '{}'", "x".repeat(STATEMENT_BYTES_MAX)),
        "bytes long",
    );
    // A script may be longer than a statement.
    let script = "INSERT INTO t VALUES (1);\n".repeat(STATEMENT_BYTES_MAX / 20);
    on_small_stack(script).unwrap();
    on_small_stack(";".repeat(3 * STATEMENT_BYTES_MAX)).unwrap();
    on_small_stack("SELECT 1;".repeat(20_000)).unwrap();
}

#[test]
fn deep_types() {
    let nested = |depth: usize| {
        format!(
            "CREATE STREAM s (a {}INT{}) WITH (a=1)",
            "ARRAY<".repeat(depth),
            ">".repeat(depth)
        )
    };
    on_small_stack(nested(49)).unwrap();
    refused_on_small_stack(nested(60), "nested too deeply");
    refused_on_small_stack(nested(10_000), "too many operators");
    let structs = format!("CREATE STREAM s (a {})", "STRUCT<a ".repeat(50_000));
    refused_on_small_stack(structs, "too many operators");
}
