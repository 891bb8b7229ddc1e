//! JOIN in a continuous query: a stream with a table, on the table's key.

use std::sync::Arc;

use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Operator, cast};

use super::expr::{from_datafusion, plan_expr};
use super::scope::{Scope, relation};
use crate::ast::{Join, JoinKind};
use crate::catalog::{Catalog, Kind};
use crate::error::{Error, Result};
use crate::node::{StreamTableJoinNode, StreamTableJoinType};
use crate::types::SqlType;

/// Joins `left` with the relation of `join`.
pub(super) fn plan(catalog: &Catalog, left: Scope, join: &Join) -> Result<Scope> {
    let right_relation = relation(catalog, &join.right)?;
    let right_name = join.right.alias_or_name();
    if left
        .sources
        .iter()
        .any(|(alias, _)| *alias == right_name.value)
    {
        return Err(Error::invalid(format!(
            "Cannot join {right_name} with itself under one name: give each side an alias"
        ))
        .at(right_name.span));
    }
    match (left.kind, right_relation.kind) {
        (Kind::Stream, Kind::Table) => {}
        (Kind::Stream, Kind::Stream) => {
            return Err(not_yet("stream-stream").at(join.span));
        }
        (Kind::Table, Kind::Table) => return Err(not_yet("table-table").at(join.span)),
        (Kind::Table, Kind::Stream) => {
            return Err(Error::invalid(
                "a table cannot be joined with a stream: put the stream first, FROM stream JOIN \
                 table",
            )
            .at(join.span));
        }
    }
    if let Some(within) = &join.within {
        return Err(Error::invalid(
            "WITHIN is for joins of two streams: a table is read as it is when the stream's row \
             comes",
        )
        .at(within.span));
    }
    let join_type = match join.kind {
        JoinKind::Inner => StreamTableJoinType::Inner,
        JoinKind::Left => StreamTableJoinType::Left,
        JoinKind::Right | JoinKind::Full => {
            return Err(Error::invalid(
                "a stream and a table can only be joined by INNER or LEFT JOIN: a table's change \
                 alone emits nothing",
            )
            .at(join.span));
        }
    };
    // A stream's record without a value has nothing to join.
    let mut left = left;
    left.filter(None)?;
    let right = Scope::scan(catalog, &join.right)?;
    let both = Arc::new(
        left.plan
            .schema()
            .join(right.plan.schema())
            .map_err(|error| from_datafusion(&error, left.plan.schema()))?,
    );
    let condition = plan_expr(catalog, &join.on, &both)?;
    let mut pairs = Vec::new();
    for equality in conjuncts(condition) {
        pairs.push(sides(equality, &left, &right, join)?);
    }
    let mut stream_key = Vec::new();
    for key in &right.key {
        let Some(position) = pairs.iter().position(|(_, table)| table == key) else {
            return Err(needs_key(&right, join));
        };
        let (stream, _) = pairs.swap_remove(position);
        stream_key.push(match_type(stream, key, &left, &right, join)?);
    }
    if !pairs.is_empty() {
        return Err(needs_key(&right, join));
    }
    // The result is keyed by the stream's side where that is a column, else by the table's.
    let key = stream_key
        .iter()
        .zip(&right.key)
        .map(|(stream, table)| match stream {
            Expr::Column(_) => stream.clone(),
            _ => table.clone(),
        })
        .collect();
    let node = StreamTableJoinNode::try_new(
        left.plan.clone(),
        right.plan.clone(),
        join_type,
        stream_key,
        right.key.clone(),
    )
    .map_err(|error| from_datafusion(&error, &both))?;
    let mut scope = left;
    scope.extend(node);
    scope.key = key;
    scope.sources.extend(right.sources);
    Ok(scope)
}

fn not_yet(what: &str) -> Error {
    Error::unsupported(format!("{what} joins are not there yet"))
        .hint("a stream can be joined with a table on the table's key")
}

fn conjuncts(expr: Expr) -> Vec<Expr> {
    match expr {
        Expr::BinaryExpr(BinaryExpr {
            left,
            op: Operator::And,
            right,
        }) => {
            let mut all = conjuncts(*left);
            all.extend(conjuncts(*right));
            all
        }
        other => vec![other],
    }
}

/// Takes `a = b` apart into the stream's side and the table's.
fn sides(equality: Expr, left: &Scope, right: &Scope, join: &Join) -> Result<(Expr, Expr)> {
    let Expr::BinaryExpr(BinaryExpr {
        left: a,
        op: Operator::Eq,
        right: b,
    }) = equality
    else {
        return Err(
            Error::invalid("a join condition is an equality, or several joined by AND")
                .at(join.span),
        );
    };
    let of = |expr: &Expr, scope: &Scope| {
        let refs = expr.column_refs();
        !refs.is_empty()
            && refs
                .iter()
                .all(|column| scope.plan.schema().maybe_index_of_column(column).is_some())
    };
    match (of(&a, left), of(&b, right), of(&b, left), of(&a, right)) {
        (true, true, ..) => Ok((*a, *b)),
        (_, _, true, true) => Ok((*b, *a)),
        _ => Err(Error::invalid("each side of a join condition must name columns of one source, and the two sides different sources").at(join.span)),
    }
}

fn match_type(stream: Expr, key: &Expr, left: &Scope, right: &Scope, join: &Join) -> Result<Expr> {
    let type_of = |expr: &Expr, scope: &Scope| {
        let schema = scope.plan.schema();
        expr.get_type(schema)
            .map_err(|error| from_datafusion(&error, schema))
    };
    let (from, to) = (type_of(&stream, left)?, type_of(key, right)?);
    if from == to {
        return Ok(stream);
    }
    let (from, to) = (SqlType::from_arrow(&from), SqlType::from_arrow(&to));
    match (&from, &to) {
        (Some(a), Some(b)) if a == b || (*a == SqlType::Int && *b == SqlType::BigInt) => {
            Ok(cast(stream, b.to_arrow()))
        }
        (Some(a), Some(b)) => Err(Error::type_mismatch(format!(
            "the two sides of the join condition have different types: {a} and {b}"
        ))
        .at(join.span)
        .hint(format!("cast the stream's side: CAST(… AS {b})"))),
        _ => Err(Error::type_mismatch("a join condition needs comparable types").at(join.span)),
    }
}

fn needs_key(right: &Scope, join: &Join) -> Error {
    let (alias, relation) = &right.sources[0];
    let key: Vec<_> = relation
        .key_columns()
        .map(|column| format!("{alias}.{}", column.name))
        .collect();
    Error::invalid(format!(
        "the join condition must compare the table's whole primary key ({}), and nothing else",
        key.join(", ")
    ))
    .at(join.span)
}
