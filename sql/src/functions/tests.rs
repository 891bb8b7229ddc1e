//! Calls and what they give, as KSQL's reference describes the functions.

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::Schema;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::common::DFSchema;
use datafusion::prelude::SessionContext;
use std::sync::Arc;

use crate::catalog::Catalog;
use crate::parser::parse_expr;
use crate::planner::plan_constant;
use crate::types::CustomTypes;

/// The value of an expression without columns, as Arrow shows it.
fn evaluate(text: &str) -> String {
    let expr = parse_expr(text, &CustomTypes::new()).unwrap();
    let planned = match plan_constant(&Catalog::default(), &expr) {
        Ok(planned) => planned,
        Err(error) => return format!("error: {}", error.message),
    };
    let physical = match SessionContext::new().create_physical_expr(planned, &DFSchema::empty()) {
        Ok(physical) => physical,
        Err(error) => return format!("error: {error}"),
    };
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    let batch =
        RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options).unwrap();
    let array = physical.evaluate(&batch).unwrap().into_array(1).unwrap();
    let options = FormatOptions::new().with_null("NULL");
    ArrayFormatter::try_new(&array, &options)
        .unwrap()
        .value(0)
        .to_string()
}

fn check(cases: &[(&str, &str)]) {
    for (call, value) in cases {
        assert_eq!(evaluate(call), *value, "{call}");
    }
}

#[test]
fn strings() {
    check(&[
        ("INSTR('CORPORATE FLOOR', 'OR')", "2"),
        ("INSTR('CORPORATE FLOOR', 'OR', 3)", "5"),
        ("INSTR('CORPORATE FLOOR', 'OR', 3, 2)", "14"),
        ("INSTR('CORPORATE FLOOR', 'OR', -3)", "5"),
        ("INSTR('CORPORATE FLOOR', 'OR', -3, 2)", "2"),
        ("INSTR('CORPORATE FLOOR', 'MISSING')", "0"),
        ("SUBSTRING('stream', 1, 4)", "stre"),
        ("SUBSTRING('stream', 5)", "am"),
        ("SUBSTRING('stream', -3, 2)", "ea"),
        ("LPAD('Foo', 7, 'Bar')", "BarBFoo"),
        ("RPAD('Foo', 7, 'Bar')", "FooBarB"),
        ("RPAD('Foo', 2, 'Bar')", "Fo"),
        ("SPLIT('a,b,,c', ',')", "[a, b, , c]"),
        ("SPLIT('abc', '')", "[a, b, c]"),
        ("SPLIT_TO_MAP('a=1;b=2;x', ';', '=')", "{a: 1, b: 2}"),
        ("CHR(75)", "K"),
        ("CHR('\\u004b')", "K"),
        ("CONCAT('a', NULL, 'b')", "ab"),
        ("CONCAT_WS(', ', 'a', NULL, 'b')", "a, b"),
        ("CONCAT_WS(CAST(NULL AS STRING), 'a', 'b')", "NULL"),
        ("ELT(2, 'a', 'b', 'c')", "b"),
        ("ELT(4, 'a', 'b', 'c')", "NULL"),
        ("FIELD('b', 'a', 'b', 'c')", "2"),
        ("FIELD('x', 'a', 'b')", "0"),
        ("MASK('My Test $123')", "Xx-Xxxx--nnn"),
        ("MASK_KEEP_LEFT('My Test $123', 4)", "My Txxx--nnn"),
        ("MASK_RIGHT('My Test $123', 3)", "My Test $nnn"),
        ("'a' + 'b'", "ab"),
        ("ENCODE('4578616D706C6521', 'hex', 'utf8')", "Example!"),
        ("REGEXP_EXTRACT('(.*) (.*)', 'hello there', 2)", "there"),
        ("REGEXP_EXTRACT('x.', 'hello')", "NULL"),
        ("REGEXP_EXTRACT_ALL('.o', 'hello to you')", "[lo, to, yo]"),
        ("REGEXP_REPLACE('a1b22', '([0-9]+)', '<$1>')", "a<1>b<22>"),
        ("REGEXP_SPLIT_TO_ARRAY('aabcda', '(ab|cd)')", "[a, , a]"),
        ("URL_EXTRACT_PORT('http://localhost:8080/path')", "8080"),
        (
            "URL_EXTRACT_PARAMETER('http://localhost?a%20b=c%20d', 'a b')",
            "c d",
        ),
    ]);
}

#[test]
fn numbers() {
    check(&[
        ("ROUND(-1.5E0)", "-1"),
        ("ROUND(2.5E0)", "3"),
        ("ROUND(1.236E0, 2)", "1.24"),
        ("ROUND(CAST(1.25 AS DECIMAL(4, 2)), 1)", "1.30"),
        ("TRUNC(-1.7E0)", "-1"),
        ("SIGN(-3)", "-1"),
        ("GREATEST(4, 18, CAST(NULL AS INT), 6)", "18"),
        ("LEAST('b', 'a', 'c')", "a"),
        (
            "LEAST(1, 2000000000000)",
            "error: Function 'least' cannot be resolved due to ambiguous method parameters \
             (INTEGER, BIGINT)",
        ),
        ("GEO_DISTANCE(95, 0, 0, 0)", "NULL"),
    ]);
}

#[test]
fn times() {
    check(&[
        ("PARSE_DATE('2021-11-19', 'yyyy-MM-dd')", "2021-11-19"),
        ("PARSE_DATE('19/11/2021', 'yyyy-MM-dd')", "NULL"),
        ("PARSE_TIME('16:43:40', 'HH:mm:ss')", "16:43:40"),
        ("FORMAT_DATE(FROM_DAYS(18950), 'dd/MM/yyyy')", "19/11/2021"),
        (
            "STRINGTOTIMESTAMP('1970-01-01 00:00:01', 'yyyy-MM-dd HH:mm:ss')",
            "1000",
        ),
        (
            "TIMESTAMPTOSTRING(0, 'yyyy-MM-dd HH:mm', 'Europe/Paris')",
            "1970-01-01 01:00",
        ),
        ("DATEADD(DAYS, 2, FROM_DAYS(1))", "1970-01-04"),
        ("UNIX_DATE(DATESUB(DAYS, 2, FROM_DAYS(1)))", "-1"),
        (
            "UNIX_TIMESTAMP(TIMESTAMPADD(SECONDS, 2, FROM_UNIXTIME(100)))",
            "2100",
        ),
        (
            "UNIX_TIMESTAMP(CONVERT_TZ(FROM_UNIXTIME(0), '+0200', '+0500'))",
            "10800000",
        ),
        (
            "DATEADD(1, 2, FROM_DAYS(1))",
            "error: Function 'dateadd' does not accept parameters (INTEGER, INTEGER, DATE). Valid \
             alternatives are: dateadd(INTERVALUNIT, INT, DATE)",
        ),
    ]);
}

#[test]
fn collections() {
    check(&[
        ("ARRAY_LENGTH(ARRAY[1, 2, NULL])", "3"),
        ("ARRAY_CONTAINS(ARRAY['a', 'b'], 'b')", "true"),
        ("ARRAY_DISTINCT(ARRAY[1, 1, 2, 3, 1, 2])", "[1, 2, 3]"),
        ("ARRAY_EXCEPT(ARRAY[1, 2, 3, 1, 2], ARRAY[2, 3])", "[1]"),
        (
            "ARRAY_INTERSECT(ARRAY[1, 2, 3, 1, 2], ARRAY[2, 1])",
            "[1, 2]",
        ),
        (
            "ARRAY_UNION(ARRAY[1, 2, 3, 1, 2], ARRAY[4, 1])",
            "[1, 2, 3, 4]",
        ),
        ("ARRAY_CONCAT(ARRAY[1, 2], ARRAY[2, 3])", "[1, 2, 2, 3]"),
        ("ARRAY_REMOVE(ARRAY[1, 2, 1], 1)", "[2]"),
        ("ARRAY_MAX(ARRAY[-1, 2, NULL, 0])", "2"),
        ("ARRAY_MIN(ARRAY['b', 'a'])", "a"),
        (
            "ARRAY_SORT(ARRAY[-1, 2, NULL, 0], 'DESC')",
            "[2, 0, -1, NULL]",
        ),
        (
            "ARRAY_JOIN(ARRAY[true, NULL, false], '|')",
            "true|null|false",
        ),
        ("SLICE(ARRAY[1, 2, 3, 4], 2, 3)", "[2, 3]"),
        ("SLICE(ARRAY[1, 2], 2, 5)", "NULL"),
        ("GENERATE_SERIES(1, 5, 2)", "[1, 3, 5]"),
        ("GENERATE_SERIES(3, 1)", "[3, 2, 1]"),
        ("AS_MAP(ARRAY['a', 'b'], ARRAY[1, 2])", "{a: 1, b: 2}"),
        (
            "MAP_UNION(MAP('a' := 1, 'b' := 2), MAP('b' := 3))",
            "{a: 1, b: 3}",
        ),
        (
            "ENTRIES(MAP('b' := 2, 'a' := 1), true)",
            "[{K: a, V: 1}, {K: b, V: 2}]",
        ),
        ("ARRAY[true, 'no']", "[true, false]"),
        (
            "ARRAY[1, 'x']",
            "error: invalid input syntax for type INTEGER: \"x\"",
        ),
    ]);
}

#[test]
fn lambdas() {
    check(&[
        ("TRANSFORM(ARRAY[3, 6], x => x + 5)", "[8, 11]"),
        (
            "TRANSFORM(MAP('a' := 1), (k, v) => UCASE(k), (k, v) => v * 2)",
            "{A: 2}",
        ),
        ("FILTER(ARRAY[3, 6, 2, 10], x => x > 5)", "[6, 10]"),
        ("FILTER(MAP('a' := 1, 'b' := 2), (k, v) => v > 1)", "{b: 2}"),
        ("REDUCE(ARRAY[2, 3, 4], 10, (s, x) => s + x)", "19"),
        (
            "REDUCE(MAP('a' := 1, 'b' := 2), 0, (s, k, v) => s + v)",
            "3",
        ),
        (
            "REDUCE(ARRAY[1, 2], CAST(NULL AS INT), (s, x) => s + x)",
            "NULL",
        ),
    ]);
}

#[test]
fn json() {
    check(&[
        (
            "EXTRACTJSONFIELD('{\"a\": {\"b\": [1.50]}}', '$.a.b[0]')",
            "1.50",
        ),
        (
            "EXTRACTJSONFIELD('{\"a\": {\"b\": 1}}', '$.a')",
            "{\"b\":1}",
        ),
        ("EXTRACTJSONFIELD('{\"a\": 1}', '$.x')", "NULL"),
        ("IS_JSON_STRING('[1, 2, 3]')", "true"),
        ("IS_JSON_STRING('abc')", "false"),
        ("JSON_ARRAY_CONTAINS('[1, 2, 3]', 3)", "true"),
        ("JSON_ARRAY_CONTAINS('[1, 2, 3]', '3')", "false"),
        ("JSON_ARRAY_LENGTH('[1, 2, 3]')", "3"),
        ("JSON_ARRAY_LENGTH('{}')", "NULL"),
        (
            "JSON_CONCAT('{\"a\": 1}', '{\"b\": 2}')",
            "{\"a\":1,\"b\":2}",
        ),
        ("JSON_CONCAT('[\"a\", 1]', '3')", "[\"a\",1,3]"),
        ("JSON_KEYS('{\"b\": 1, \"a\": 2}')", "[b, a]"),
        (
            "JSON_RECORDS('{\"a\": \"abc\", \"d\": 1}')",
            "{a: \"abc\", d: 1}",
        ),
        ("JSON_ITEMS('[{\"a\": 1}, 2]')", "[{\"a\":1}, 2]"),
        ("TO_JSON_STRING(ARRAY[1, 2])", "[1,2]"),
        (
            "TO_JSON_STRING(STRUCT(A := 'x', B := 1.5E0))",
            "{\"A\":\"x\",\"B\":1.5}",
        ),
    ]);
}
