//! INSERT INTO … VALUES: expressions to one batch of the target's columns.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, new_null_array};
use arrow::compute::concat;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::DFSchema;
use datafusion::common::tree_node::TreeNode;
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::{Expr, ExprSchemable, cast};
use datafusion::optimizer::analyzer::type_coercion::TypeCoercionRewriter;
use datafusion::physical_expr::create_physical_expr;

use super::expr::{from_datafusion, plan_expr};
use crate::ast::{self, Name, Span};
use crate::catalog::{Catalog, Column, Kind, Relation, Role};
use crate::column;
use crate::error::{Error, Result};
use crate::types::SqlType;

/// Rows to be written.
#[derive(Clone, Debug)]
pub struct InsertedRows {
    /// Key columns, in the relation's order.
    pub keys: Vec<ArrayRef>,
    /// Value columns, in the relation's order.
    pub values: Vec<ArrayRef>,
    /// Row times as given; NULL where the row is to have the time of its insertion.
    pub rowtimes: Int64Array,
}

/// Evaluates the rows of an INSERT INTO … VALUES.
pub fn plan_values(
    catalog: &Catalog,
    relation: &Relation,
    target: &Name,
    names: Option<&[Name]>,
    rows: &[Vec<ast::Expr>],
) -> Result<InsertedRows> {
    check_target(relation, target)?;
    let declared: Vec<&Column> = relation
        .columns
        .iter()
        .filter(|column| matches!(column.role, Role::Key | Role::Value))
        .collect();
    let rowtime = Column {
        name: column::ROWTIME.into(),
        data_type: SqlType::BigInt,
        role: Role::Value,
    };
    let wanted: Vec<(&Column, Span)> = match names {
        None => declared
            .iter()
            .map(|column| (*column, target.span))
            .collect(),
        Some(names) => names
            .iter()
            .map(|name| named_column(relation, &declared, &rowtime, name))
            .collect::<Result<_>>()?,
    };
    for (index, (column, span)) in wanted.iter().enumerate() {
        if wanted[..index]
            .iter()
            .any(|(other, _)| other.name == column.name)
        {
            return Err(Error::invalid(format!("column {} is named twice", column.name)).at(*span));
        }
    }
    if relation.kind == Kind::Table
        && let Some(missing) = relation
            .key_columns()
            .find(|key| !wanted.iter().any(|(column, _)| column.name == key.name))
    {
        return Err(Error::invalid(format!(
            "Failed to insert values into '{}'. Value for primary key column(s) {} is required for \
             tables",
            relation.name, missing.name
        ))
        .at(target.span));
    }
    let mut cells: Vec<Vec<ArrayRef>> = vec![Vec::with_capacity(rows.len()); wanted.len()];
    for row in rows {
        if row.len() != wanted.len() {
            return Err(Error::invalid(format!(
                "Expected {} values, got {}: a value for each of {}",
                wanted.len(),
                row.len(),
                wanted
                    .iter()
                    .map(|(c, _)| c.name.as_str())
                    .collect::<Vec<_>>()
                    .join(", ")
            ))
            .at(target.span));
        }
        for ((expr, (column, span)), cells) in row.iter().zip(&wanted).zip(&mut cells) {
            cells.push(evaluate(catalog, expr, column).map_err(|error| error.or_at(*span))?);
        }
    }
    let mut columns = Vec::with_capacity(wanted.len());
    for ((column, _), cells) in wanted.iter().zip(&cells) {
        let arrays: Vec<&dyn Array> = cells.iter().map(AsRef::as_ref).collect();
        let array = concat(&arrays).map_err(|error| Error::internal(error.to_string()))?;
        columns.push((column.name.as_str(), array));
    }
    let of = |column: &Column| match columns.iter().find(|(name, _)| *name == column.name) {
        Some((_, array)) => Arc::clone(array),
        None => new_null_array(&column.data_type.to_arrow(), rows.len()),
    };
    let keys: Vec<ArrayRef> = relation.key_columns().map(of).collect();
    if relation.kind == Kind::Table && keys.iter().any(|key| key.null_count() > 0) {
        return Err(Error::invalid(format!(
            "the primary key of table {} cannot be NULL",
            relation.name
        ))
        .at(target.span));
    }
    let rowtimes = of(&rowtime);
    let rowtimes = rowtimes
        .as_any()
        .downcast_ref::<Int64Array>()
        .cloned()
        .ok_or_else(|| Error::internal("ROWTIME is not a BIGINT"))?;
    if let Some(negative) = rowtimes.iter().flatten().find(|time| *time < 0) {
        return Err(
            Error::invalid(format!("ROWTIME cannot be negative: {negative}")).at(target.span),
        );
    }
    Ok(InsertedRows {
        keys,
        values: relation.value_columns().map(of).collect(),
        rowtimes,
    })
}

/// Rows that are generated come from nowhere else.
pub fn check_writable(relation: &Relation, target: &Name) -> Result<()> {
    match &relation.connector {
        None => Ok(()),
        Some(connector) => Err(Error::invalid(format!(
            "Cannot insert into {}: CONNECTOR = '{}' makes its rows",
            relation.name,
            connector.name()
        ))
        .at(target.span)
        .hint("INSERT INTO a stream over a topic")),
    }
}

fn check_target(relation: &Relation, target: &Name) -> Result<()> {
    check_writable(relation, target)?;
    if relation.read_only {
        return Err(Error::invalid(format!(
            "Cannot insert values into read-only {}: {}",
            relation.kind.word(),
            relation.name
        ))
        .at(target.span));
    }
    if relation.window.is_some() {
        return Err(Error::unsupported(
            "INSERT VALUES into a windowed stream or table is not supported",
        )
        .at(target.span));
    }
    if relation
        .columns
        .iter()
        .any(|c| matches!(c.role, Role::Headers | Role::Header(_)))
    {
        return Err(Error::invalid(format!(
            "Cannot insert into {} because it has header columns",
            relation.name
        ))
        .at(target.span));
    }
    Ok(())
}

fn named_column<'a>(
    relation: &Relation,
    declared: &[&'a Column],
    rowtime: &'a Column,
    name: &Name,
) -> Result<(&'a Column, Span)> {
    if name.value == column::ROWTIME {
        return Ok((rowtime, name.span));
    }
    if matches!(
        name.value.as_str(),
        column::ROWPARTITION | column::ROWOFFSET
    ) {
        return Err(
            Error::invalid(format!("Inserting into column `{name}` is not allowed.")).at(name.span),
        );
    }
    match declared.iter().find(|column| column.name == name.value) {
        Some(column) => Ok((*column, name.span)),
        None => Err(Error::unknown(format!(
            "column {name} does not exist in {} {}",
            relation.kind.word(),
            relation.name
        ))
        .at(name.span)
        .did_you_mean(
            &name.value,
            declared.iter().map(|column| column.name.as_str()),
        )),
    }
}

/// The value of a constant expression as a column of one row.
fn evaluate(catalog: &Catalog, expr: &ast::Expr, column: &Column) -> Result<ArrayRef> {
    let schema = DFSchema::empty();
    let fail = |error| from_datafusion(&error, &DFSchema::empty());
    let planned = plan_expr(catalog, expr, &schema)?;
    let target = column.data_type.to_arrow();
    let from = planned.get_type(&schema).map_err(fail)?;
    check_assignable(&from, column)?;
    let planned: Expr = if from == target {
        planned
    } else {
        cast(planned, target.clone())
    };
    let coerced = planned
        .rewrite(&mut TypeCoercionRewriter::new(&schema))
        .map_err(fail)?
        .data;
    let physical = create_physical_expr(
        &coerced,
        &schema,
        &ExecutionProps::new(),
        &Default::default(),
    )
    .map_err(fail)?;
    let one_row = RecordBatch::try_new_with_options(
        Arc::new(Schema::new(Vec::<Field>::new())),
        Vec::new(),
        &RecordBatchOptions::new().with_row_count(Some(1)),
    )
    .map_err(|error| Error::internal(error.to_string()))?;
    let array = physical
        .evaluate(&one_row)
        .and_then(|value| value.into_array(1))
        .map_err(|error| {
            Error::type_mismatch(format!(
                "the value {expr} does not fit column {} of type {}: {}",
                column.name,
                column.data_type,
                error.find_root()
            ))
        })?;
    Ok(array)
}

fn check_assignable(from: &DataType, column: &Column) -> Result<()> {
    let wrong = |from: &str| {
        Error::type_mismatch(format!(
            "a value of type {from} does not fit column {} of type {}",
            column.name, column.data_type
        ))
    };
    if *from == DataType::Null {
        return Ok(());
    }
    let Some(from) = SqlType::from_arrow(from) else {
        return Err(wrong(&from.to_string()));
    };
    let to = &column.data_type;
    let fits = from == *to
        || (from.is_numeric() && to.is_numeric())
        || (from == SqlType::String
            && matches!(
                to,
                SqlType::Date | SqlType::Time | SqlType::Timestamp | SqlType::Bytes
            ))
        || matches!(
            (&from, to),
            (SqlType::Array(_), SqlType::Array(_))
                | (SqlType::Map(..), SqlType::Map(..))
                | (SqlType::Struct(_), SqlType::Struct(_))
        );
    if fits {
        Ok(())
    } else {
        Err(wrong(&from.to_string()))
    }
}
