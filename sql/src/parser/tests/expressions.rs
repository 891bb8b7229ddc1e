//! Expressions: how they group, and the nodes that are particular to the dialect.

use datafusion::sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, Expr, FunctionArg, FunctionArgumentList, FunctionArguments,
    OneOrManyWithParens, Subscript, Value,
};
use expect_test::{Expect, expect};

use crate::parser::parse_expr;
use crate::types::{CustomTypes, SqlType};

fn expr(text: &str) -> Expr {
    match parse_expr(text, &CustomTypes::new()) {
        Ok(expr) => expr,
        Err(error) => panic!("{}", error.render(text)),
    }
}

/// The expression with a parenthesis around every operation.
fn grouped(expr: &Expr) -> String {
    match expr {
        Expr::BinaryOp { left, op, right } => {
            format!("({} {op} {})", grouped(left), grouped(right))
        }
        Expr::UnaryOp { op, expr } => format!("({op} {})", grouped(expr)),
        Expr::IsDistinctFrom(left, right) => {
            format!("({} DISTINCT {})", grouped(left), grouped(right))
        }
        Expr::IsNotDistinctFrom(left, right) => {
            format!("({} SAME {})", grouped(left), grouped(right))
        }
        Expr::CompoundFieldAccess { root, access_chain } => {
            let chain: Vec<String> = access_chain
                .iter()
                .map(|access| match access {
                    AccessExpr::Dot(Expr::Value(field)) => match &field.value {
                        Value::SingleQuotedString(field) => format!("->{field}"),
                        other => panic!("{other}"),
                    },
                    AccessExpr::Subscript(Subscript::Index { index }) => {
                        format!("[{}]", grouped(index))
                    }
                    other => panic!("{other}"),
                })
                .collect();
            format!("{}{}", grouped(root), chain.concat())
        }
        other => other.to_string(),
    }
}

fn check(text: &str, out: Expect) {
    out.assert_eq(&grouped(&expr(text)));
}

#[test]
fn fields_and_subscripts_bind_tightest() {
    check("a->b->c = 1", expect!["(A->B->C = 1)"]);
    check("a[1]->b", expect!["A[1]->B"]);
    check("a->b[2]", expect!["A->B[2]"]);
    check("a->b[2]->c[3][4] + 1", expect!["(A->B[2]->C[3][4] + 1)"]);
    check("-a->b * 2", expect!["((- A->B) * 2)"]);
    check("t.a->`b c`", expect!["T.A->b c"]);
    check("f(x)->b", expect!["F(X)->B"]);
    check("(a)->b", expect!["(A)->B"]);
    check("a['k']->FROM", expect!["A['k']->FROM"]);
    check("a[b->c]->d", expect!["A[B->C]->D"]);
    check("a->b IS NULL", expect!["A.'B' IS NULL"]);
}

#[test]
fn operators_group_as_in_ksqldb() {
    check("a + b || c", expect!["((A + B) || C)"]);
    check("a || b = c AND d", expect!["(((A || B) = C) AND D)"]);
    check(
        "NOT a = b OR c AND d",
        expect!["((NOT (A = B)) OR (C AND D))"],
    );
    check("a % b * c - d", expect!["(((A % B) * C) - D)"]);
    check(
        "a IS DISTINCT FROM b AND c",
        expect!["((A DISTINCT B) AND C)"],
    );
    check(
        "a IS NOT DISTINCT FROM b + 1 OR c",
        expect!["((A SAME (B + 1)) OR C)"],
    );
    check("a != b", expect!["(A <> B)"]);
    check(
        "a BETWEEN 1 AND 2 AND b NOT IN (1, 2)",
        expect!["(A BETWEEN 1 AND 2 AND B NOT IN (1, 2))"],
    );
    check(
        "a NOT LIKE 'x!%' ESCAPE '!' AND b",
        expect!["(A NOT LIKE 'x!%' ESCAPE '!' AND B)"],
    );
    check(
        "CASE a WHEN 1 THEN b ELSE c END",
        expect!["CASE A WHEN 1 THEN B ELSE C END"],
    );
}

#[test]
fn chains_of_conditions_are_balanced() {
    check("a OR b OR c", expect!["((A OR B) OR C)"]);
    check(
        "a OR b OR c OR d OR e",
        expect!["(((A OR B) OR (C OR D)) OR E)"],
    );
    check(
        "a AND b AND c AND d OR e",
        expect!["(((A AND B) AND (C AND D)) OR E)"],
    );
}

#[test]
fn names_and_numbers() {
    check("1abc", expect!["1ABC"]);
    check("a@b", expect!["A@B"]);
    check("x.y", expect!["X.Y"]);
    check("`a``b`", expect!["`a``b`"]);
    check("1.5", expect!["1.5"]);
    check("1e3", expect!["1e3"]);
    check("1.5E-3", expect!["1.5E-3"]);
    check("'it''s'", expect!["'it''s'"]);
    check(
        "date + time + timestamp + key + interval + source",
        expect!["(((((DATE + TIME) + TIMESTAMP) + KEY) + INTERVAL) + SOURCE)"],
    );
    check("DATEADD(DAYS, 1, d)", expect!["DATEADD(DAYS, 1, D)"]);
    check("DATE '2024-01-01'", expect!["DATE '2024-01-01'"]);
    check("INTERVAL '1' DAY", expect!["INTERVAL '1' DAY"]);
    check("a AT TIME ZONE 'UTC'", expect!["A AT TIME ZONE 'UTC'"]);
}

fn args(expr: &Expr) -> &[FunctionArg] {
    match expr {
        Expr::Function(function) => match &function.args {
            FunctionArguments::List(FunctionArgumentList { args, .. }) => args,
            other => panic!("{other}"),
        },
        other => panic!("{other}"),
    }
}

#[test]
fn constructors() {
    let made = expr("STRUCT(a := 1, `b` := STRUCT(from := 'x'))");
    let [
        FunctionArg::Named { name, .. },
        FunctionArg::Named { arg, .. },
    ] = args(&made)
    else {
        panic!("{made}")
    };
    assert_eq!(
        (name.value.as_str(), arg.to_string().as_str()),
        ("A", "STRUCT(FROM := 'x')")
    );

    let made = expr("MAP('k' := 1, a->b := v, c + 1 := 2)");
    let names: Vec<String> = args(&made)
        .iter()
        .map(|arg| match arg {
            FunctionArg::ExprNamed { name, .. } => grouped(name),
            other => panic!("{other}"),
        })
        .collect();
    assert_eq!(names, ["'k'", "A->B", "(C + 1)"]);
    assert!(args(&expr("MAP()")).is_empty());
    assert!(matches!(expr("ARRAY[1, 2]"), Expr::Array(array) if array.elem.len() == 2));
    assert!(matches!(expr("ARRAY[]"), Expr::Array(array) if array.elem.is_empty()));
}

#[test]
fn lambdas() {
    let call = expr("REDUCE(m, 0, (s, k, v) => s + v, X => x->y)");
    let lambdas: Vec<(usize, String)> = args(&call)[2..]
        .iter()
        .map(|arg| match arg {
            FunctionArg::Unnamed(datafusion::sql::sqlparser::ast::FunctionArgExpr::Expr(
                Expr::Lambda(lambda),
            )) => {
                let params = match &lambda.params {
                    OneOrManyWithParens::One(_) => 1,
                    OneOrManyWithParens::Many(params) => params.len(),
                };
                (params, grouped(&lambda.body))
            }
            other => panic!("{other}"),
        })
        .collect();
    assert_eq!(lambdas, [(3, "(S + V)".to_owned()), (1, "X->Y".to_owned())]);
}

#[test]
fn casts_carry_our_types() {
    let target = |text: &str| match expr(text) {
        Expr::Cast { data_type, .. } => data_type,
        other => panic!("{other}"),
    };
    let ours = |text: &str| SqlType::from_ast(&target(text)).map(|of| of.to_string());
    assert_eq!(ours("CAST(a AS varchar)").unwrap(), "STRING");
    assert_eq!(
        ours("CAST(a AS MAP<STRING, ARRAY<STRUCT<x DECIMAL(4, 2)>>>)").unwrap(),
        "MAP<STRING, ARRAY<STRUCT<`X` DECIMAL(4, 2)>>>"
    );
    assert_eq!(ours("TRY_CAST(a AS INT)").unwrap(), "INTEGER");
    assert_eq!(ours("a::BIGINT").unwrap(), "BIGINT");
    // DataFusion's.
    assert_eq!(ours("CAST(a AS SMALLINT)"), None);
    assert_eq!(target("CAST(a AS FLOAT)").to_string(), "FLOAT");
}

#[test]
fn plain_calls_are_functions() {
    for text in [
        "SUBSTRING(a, 1, 2)",
        "TRIM(a)",
        "CEIL(a)",
        "FLOOR(a)",
        "POSITION(a, b)",
        "LEFT(a, 1)",
    ] {
        assert!(matches!(expr(text), Expr::Function(_)), "{text}");
    }
    assert!(matches!(
        expr("SUBSTRING(a FROM 1)"),
        Expr::Substring { .. }
    ));
    assert!(matches!(expr("EXTRACT(YEAR FROM a)"), Expr::Extract { .. }));
    let Expr::BinaryOp {
        op: BinaryOperator::Gt,
        left,
        ..
    } = expr("COUNT(DISTINCT a) > 1")
    else {
        panic!()
    };
    assert_eq!(left.to_string(), "COUNT(DISTINCT A)");
}
