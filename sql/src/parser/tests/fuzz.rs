//! Whatever the text, the parser answers.

use proptest::prelude::*;

use crate::parser::{KEYWORDS, Splitter, complete, parse, substitute};

const STATEMENTS: &[&str] = &[
    "CREATE OR REPLACE STREAM s (id INT KEY, v MAP<STRING, ARRAY<STRUCT<a INT>>>) WITH (FORMAT='JSON', PARTITIONS=4);",
    "CREATE TABLE t WITH (A=true) AS SELECT id, COUNT(*) AS n, s->a->b[1] x FROM s WINDOW HOPPING (SIZE 1 HOUR, ADVANCE BY 5 MINUTES, GRACE PERIOD 1 DAY) WHERE a = 'x' AND NOT b GROUP BY id HAVING COUNT(*) > 1 EMIT FINAL;",
    "SELECT s.*, v->*, CAST(a AS DECIMAL(4, 2)) FROM s LEFT JOIN t WITHIN (1 HOUR, 2 HOURS) GRACE PERIOD 1 DAY ON s.id = t.id PARTITION BY a EMIT CHANGES LIMIT 3;",
    "INSERT INTO s (a, \"b\") VALUES (1, -1.5e3), (STRUCT(a := MAP('k' := 2)), ARRAY[1, 2]);",
    "SELECT * FROM (SELECT a, SUM(b) OVER (PARTITION BY c ORDER BY d) FROM t) x WHERE a IN (1, 2) ORDER BY 1 LIMIT 2;",
    "SELECT TRANSFORM(a, (k, v) => k + v, x => CASE WHEN x IS NOT DISTINCT FROM 1 THEN 'a' ELSE b END) FROM s EMIT CHANGES;",
    "PRINT my-topic.name FROM BEGINNING INTERVAL 2 LIMIT 3;",
    "SET 'a' = 'b'; EXPLAIN ANALYZE SELECT 1; ALTER STREAM s ADD COLUMN a INT; ASSERT TOPIC t TIMEOUT 3 SECONDS;",
    "CREATE SINK k FROM s WITH (PATH='x'); -- comment\nDROP STREAM IF EXISTS s DELETE TOPIC; /* ; */",
];

/// The tokens of the statements above and others that are easily confused.
fn token() -> impl Strategy<Value = String> {
    let marks = [
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "<",
        ">",
        ">>",
        "->",
        "=>",
        ":=",
        "::",
        ":",
        ",",
        ".",
        ";",
        "*",
        "+",
        "-",
        "/",
        "%",
        "||",
        "=",
        "!=",
        "<>",
        "'",
        "\"",
        "`",
        "''",
        "'a'",
        "`a`",
        "\"b\"",
        "--",
        "/*",
        "*/",
        "$",
        "${",
        "${x}",
        "$$",
        "@",
        "?",
        "!",
        "#",
        "\\",
        "1",
        "1.5",
        "1e3",
        "0x1F",
        "1a",
        ".5",
        "a",
        "b",
        "é",
        "日",
        "\u{0}",
        "\u{feff}",
        "\t",
        "\r\n",
        "\n",
        "N'",
        "X'",
        "U&'",
        "_utf8",
        "COUNT(",
        "STRUCT(",
        "MAP(",
        "CAST(",
        "TRIM(",
        "999999999999999999999",
    ];
    prop_oneof![
        3 => proptest::sample::select(KEYWORDS).prop_map(str::to_owned),
        3 => proptest::sample::select(marks.to_vec()).prop_map(str::to_owned),
        1 => "\\PC{1,3}",
    ]
}

fn soup() -> impl Strategy<Value = String> {
    prop::collection::vec((token(), any::<bool>()), 0..40).prop_map(|tokens| {
        tokens
            .into_iter()
            .map(|(token, gap)| token + if gap { " " } else { "" })
            .collect()
    })
}

/// A good statement with a piece of it removed, doubled, or replaced by a token.
fn mutated() -> impl Strategy<Value = String> {
    (
        proptest::sample::select(STATEMENTS),
        0.0..1.0,
        0..12_usize,
        0..3_usize,
        token(),
    )
        .prop_map(|(text, place, len, how, token)| {
            let chars: Vec<char> = text.chars().collect();
            let start = (place * chars.len() as f64) as usize;
            let end = (start + len).min(chars.len());
            let piece: String = chars[start..end].iter().collect();
            let middle = match how {
                0 => String::new(),
                1 => format!("{piece}{piece}"),
                _ => token,
            };
            let (before, after): (String, String) = (
                chars[..start].iter().collect(),
                chars[end..].iter().collect(),
            );
            before + &middle + &after
        })
}

fn check(text: &str) {
    complete(text);
    substitute(text, &Default::default());
    for piece in Splitter::new(text) {
        assert_eq!(
            &text[piece.offset..piece.offset + piece.text.len()],
            piece.text
        );
    }
    match parse(text) {
        Ok(script) => {
            for parsed in script.0 {
                let end = parsed.offset + parsed.text.len();
                assert_eq!(&text[parsed.offset..end], parsed.text);
            }
        }
        Err(error) => {
            error.render(text);
            assert!(!error.message.is_empty());
            assert!(error.position.is_some(), "no place: {error}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn token_soup(text in soup()) {
        check(&text);
    }

    #[test]
    fn soup_behind_a_good_start(
        start in proptest::sample::select(vec!["SELECT ", "CREATE STREAM s ", "SELECT a FROM s ", "INSERT INTO s "]),
        text in soup(),
    ) {
        check(&format!("{start}{text}"));
    }

    #[test]
    fn mutations(text in mutated()) {
        check(&text);
    }
}

#[test]
fn the_seeds_parse() {
    for text in STATEMENTS {
        if let Err(error) = parse(text) {
            panic!("{}", error.render(text));
        }
    }
}
