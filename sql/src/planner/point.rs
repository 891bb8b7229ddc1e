//! The commonest ad hoc query, `SELECT columns FROM view WHERE key = literal`, recognised without
//! planning: planning takes a hundred times as long as the answer.

use datafusion::common::ScalarValue;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, GroupByExpr, Ident, ObjectName, Query, Select, SelectItem, SetExpr,
    TableFactor, UnaryOperator, Value,
};

use crate::ast::PullQuery;
use crate::catalog::{Relation, Role};
use crate::parser::Literal;
use crate::types::SqlType;

/// A row of a relation, by its key.
#[derive(Clone, Debug, PartialEq)]
pub struct PointLookup {
    /// What is asked for: positions among the relation's columns, and the names they are to have.
    pub columns: Vec<(usize, String)>,
    /// The value of each key column, of its type.
    pub key: Vec<ScalarValue>,
    /// Where the value of each key column is written.
    pub places: Vec<KeyPlace>,
}

/// Where the value of a key column is written, in all statements of a [`Shape`](crate::parser::Shape).
#[derive(Clone, Debug, PartialEq)]
pub struct KeyPlace {
    /// Its place among the statement's literals: nothing else in a lookup is one.
    literal: usize,
    /// Whether there is a minus before it.
    negative: bool,
    data_type: SqlType,
}

impl KeyPlace {
    /// The value there; `None` where it takes a plan to say what the column is compared with.
    pub fn value(&self, literals: &[Literal<'_>]) -> Option<ScalarValue> {
        value(literals.get(self.literal)?, self.negative, &self.data_type)
    }
}

/// The name of the only relation that a query reads, if it reads no more than one.
pub fn only_relation(query: &PullQuery) -> Option<&str> {
    let select = plain_select(query)?;
    let [from] = select.from.as_slice() else {
        return None;
    };
    if !from.joins.is_empty() {
        return None;
    }
    match &from.relation {
        TableFactor::Table {
            name,
            alias: None,
            args: None,
            with_hints,
            version: None,
            with_ordinality: false,
            partitions,
            json_path: None,
            sample: None,
            index_hints,
        } if with_hints.is_empty() && partitions.is_empty() && index_hints.is_empty() => {
            only_part(name).map(|ident| ident.value.as_str())
        }
        _ => None,
    }
}

/// What a query looks up in `relation`, which it reads alone ([`only_relation`]): `None` for any
/// query that needs a plan.
pub fn point_lookup(query: &PullQuery, relation: &Relation) -> Option<PointLookup> {
    let select = plain_select(query)?;
    let mut columns = Vec::with_capacity(select.projection.len());
    for item in &select.projection {
        let (ident, name) = match item {
            SelectItem::UnnamedExpr(Expr::Identifier(ident)) => (ident, ident),
            SelectItem::ExprWithAlias {
                expr: Expr::Identifier(ident),
                alias,
            } => (ident, alias),
            _ => return None,
        };
        let index = relation
            .columns
            .iter()
            .position(|column| column.name == ident.value)?;
        if !matches!(relation.columns[index].role, Role::Key | Role::Value) {
            return None;
        }
        columns.push((index, name.value.clone()));
    }
    // DataFusion has something to say about two columns of one name.
    let named_twice = |i: usize| columns[..i].iter().any(|(_, name)| *name == columns[i].1);
    if (0..columns.len()).any(named_twice) {
        return None;
    }
    let mut conditions = Vec::new();
    equalities(select.selection.as_ref()?, &mut conditions)?;
    let keys: Vec<_> = relation.key_columns().collect();
    if keys.is_empty() || conditions.len() != keys.len() {
        return None;
    }
    let mut key = Vec::with_capacity(keys.len());
    let mut places = Vec::with_capacity(keys.len());
    for column in keys {
        // Each condition has one literal, and they are in the order of the text.
        let place = conditions
            .iter()
            .position(|(ident, _)| ident.value == column.name)?;
        let (literal, negative) = literal(conditions.get(place)?.1)?;
        key.push(value(&literal, negative, &column.data_type)?);
        places.push(KeyPlace {
            literal: place,
            negative,
            data_type: column.data_type.clone(),
        });
    }
    Some(PointLookup {
        columns,
        key,
        places,
    })
}

/// The SELECT of a query that has nothing but a list, FROM and WHERE.
fn plain_select(query: &Query) -> Option<&Select> {
    let Query {
        with: None,
        body,
        order_by: None,
        limit_clause: None,
        fetch: None,
        locks,
        for_clause: None,
        settings: None,
        format_clause: None,
        pipe_operators,
    } = query
    else {
        return None;
    };
    let SetExpr::Select(select) = body.as_ref() else {
        return None;
    };
    let grouped = match &select.group_by {
        GroupByExpr::Expressions(exprs, modifiers) => !exprs.is_empty() || !modifiers.is_empty(),
        GroupByExpr::All(_) => true,
    };
    let plain = locks.is_empty()
        && pipe_operators.is_empty()
        && !grouped
        && select.distinct.is_none()
        && select.top.is_none()
        && select.into.is_none()
        && select.lateral_views.is_empty()
        && select.prewhere.is_none()
        && select.cluster_by.is_empty()
        && select.distribute_by.is_empty()
        && select.sort_by.is_empty()
        && select.having.is_none()
        && select.named_window.is_empty()
        && select.qualify.is_none()
        && select.value_table_mode.is_none()
        && select.connect_by.is_empty();
    plain.then_some(select)
}

fn only_part(name: &ObjectName) -> Option<&Ident> {
    match name.0.as_slice() {
        [part] => part.as_ident(),
        _ => None,
    }
}

/// The equalities that `expr` is a conjunction of: column and literal.
fn equalities<'a>(expr: &'a Expr, found: &mut Vec<(&'a Ident, &'a Expr)>) -> Option<()> {
    let Expr::BinaryOp { left, op, right } = expr else {
        return None;
    };
    match op {
        BinaryOperator::And => {
            equalities(left, found)?;
            equalities(right, found)
        }
        BinaryOperator::Eq => {
            found.push(match (left.as_ref(), right.as_ref()) {
                (Expr::Identifier(ident), literal) | (literal, Expr::Identifier(ident)) => {
                    (ident, literal)
                }
                _ => return None,
            });
            Some(())
        }
        _ => None,
    }
}

/// A number or text, and whether there is a minus before it.
fn literal(expr: &Expr) -> Option<(Literal<'_>, bool)> {
    let (negative, value) = match expr {
        Expr::Value(value) => (false, value),
        Expr::UnaryOp {
            op: UnaryOperator::Minus,
            expr,
        } => match expr.as_ref() {
            Expr::Value(value) => (true, value),
            _ => return None,
        },
        _ => return None,
    };
    match &value.value {
        Value::Number(text, _) => Some((Literal::Number(text), negative)),
        Value::SingleQuotedString(text) => Some((Literal::Text(text.into()), negative)),
        _ => None,
    }
}

/// The value of a literal that is compared with a column of that type just as it is written.
fn value(literal: &Literal<'_>, negative: bool, data_type: &SqlType) -> Option<ScalarValue> {
    match (literal, data_type) {
        (Literal::Number(text), SqlType::Int | SqlType::BigInt) => {
            let number: i64 = match negative {
                true => format!("-{text}").parse().ok()?,
                false => text.parse().ok()?,
            };
            match data_type {
                SqlType::Int => Some(ScalarValue::Int32(Some(number.try_into().ok()?))),
                _ => Some(ScalarValue::Int64(Some(number))),
            }
        }
        (Literal::Text(text), SqlType::String) if !negative => {
            Some(ScalarValue::Utf8(Some(text.as_ref().to_owned())))
        }
        _ => None,
    }
}
