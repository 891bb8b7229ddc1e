//! MERGE: applies a unit's changes to a table by key, of each key the last.

use std::collections::HashSet;
use std::fs::File;

use deltalake_core::datafusion::common::{Column, ScalarValue, TableReference};
use deltalake_core::datafusion::functions_window::expr_fn::row_number;
use deltalake_core::datafusion::logical_expr::{
    Expr, ExprFunctionExt, Operator, and, binary_expr, ident, lit,
};
use deltalake_core::datafusion::prelude::{
    DataFrame, ParquetReadOptions, SessionConfig, SessionContext,
};
use deltalake_core::kernel::transaction::CommitProperties;
use deltalake_core::{DeltaResult, DeltaTable};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use url::Url;

use super::table::Columns;
use super::{DataFile, Spec, statistics};
use crate::{Error, Result};

/// Column that says that the row of the key is gone.
pub(super) const ROWDELETED: &str = "ROWDELETED";
/// Column that numbers the changes of a unit.
pub(super) const ROWSEQ: &str = "ROWSEQ";
/// Column that numbers the changes of a key, from the last one.
const RANK: &str = "__kappa_rank";
/// What the changes and the table are called.
const CHANGES: &str = "changes";
const TABLE: &str = "rows";

/// The changes of a unit, and which keys have NULL there.
#[derive(Clone)]
pub(super) struct Changes {
    rows: DataFrame,
    keys_with_null: HashSet<String>,
}

/// Reads the changes of a unit: of each key the last one.
///
/// # Errors
/// `External` when a file cannot be read.
pub(super) async fn changes(files: &[DataFile], spec: &Spec) -> Result<Changes> {
    let what = || "read the changes of a unit".to_owned();
    let mut keys_with_null = HashSet::new();
    let mut urls = Vec::new();
    for file in files {
        keys_with_null.extend(keys_with_null_in(file, spec)?);
        let url = std::path::absolute(&file.path)
            .ok()
            .and_then(|path| Url::from_file_path(path).ok());
        let url = url.ok_or_else(|| Error::Internal(format!("no URL: {:?}", file.path)))?;
        urls.push(url.to_string());
    }
    // Text as the table has it, not as views.
    let config = SessionConfig::new().set_bool(
        "datafusion.execution.parquet.schema_force_view_types",
        false,
    );
    let session = SessionContext::new_with_config(config);
    let options = ParquetReadOptions::default().file_extension("");
    let rows = session.read_parquet(urls, options).await;
    let rows = rows.map_err(|error| Error::retryable(what(), error))?;
    let columns: Vec<Expr> = rows
        .schema()
        .fields()
        .iter()
        .map(|f| ident(f.name()))
        .collect();
    let last = || {
        let rank = row_number()
            .partition_by(spec.keys.iter().map(ident).collect())
            .order_by(vec![ident(ROWSEQ).sort(false, false)])
            .build()?;
        rows.window(vec![rank.alias(RANK)])?
            .filter(ident(RANK).eq(lit(ScalarValue::UInt64(Some(1)))))?
            .select(columns)
    };
    Ok(Changes {
        rows: last().map_err(|error| Error::Internal(format!("{}: {error}", what())))?,
        keys_with_null,
    })
}

fn keys_with_null_in(file: &DataFile, spec: &Spec) -> Result<Vec<String>> {
    let what = || format!("read the file {}", file.path.display());
    let opened = File::open(&file.path).map_err(|error| Error::retryable(what(), error))?;
    let file = ParquetRecordBatchReaderBuilder::try_new(opened);
    let file = file.map_err(|error| Error::Internal(format!("{}: {error}", what())))?;
    let mut found = Vec::new();
    for key in &spec.keys {
        if statistics::null_count(file.metadata(), file.schema(), key)? != Some(0) {
            found.push(key.clone());
        }
    }
    Ok(found)
}

/// Merges the changes into the table. A table that has nothing to change gets no commit.
pub(super) async fn merge(
    table: DeltaTable,
    changes: Changes,
    spec: &Spec,
    columns: &Columns,
    commit: CommitProperties,
) -> DeltaResult<DeltaTable> {
    let of = |relation: &str, name: &str| {
        Expr::Column(Column::new(Some(TableReference::bare(relation)), name))
    };
    let same = |key: &String| {
        // NULL is a key like any other; but without one the table's files can be told apart by what
        // the log says of their keys.
        let operator = match changes.keys_with_null.contains(key) {
            true => Operator::IsNotDistinctFrom,
            false => Operator::Eq,
        };
        binary_expr(of(TABLE, key), operator, of(CHANGES, key))
    };
    let matched = spec.keys.iter().map(same).reduce(and);
    let matched = matched.unwrap_or_else(|| lit(false));
    let gone = || of(CHANGES, ROWDELETED);
    let names: Vec<&String> = columns.fields.iter().map(|field| field.name()).collect();
    let rest: Vec<&&String> = names
        .iter()
        .filter(|name| !spec.keys.contains(name))
        .collect();
    let mut merge = table
        .merge(changes.rows, matched)
        .with_source_alias(CHANGES)
        .with_target_alias(TABLE)
        .with_writer_properties(spec.encoding.parquet())
        .with_commit_properties(commit)
        .when_matched_delete(|delete| delete.predicate(gone()))?;
    if !rest.is_empty() {
        merge = merge.when_matched_update(|update| {
            rest.iter().fold(update, |update, name| {
                update.update(Column::new_unqualified(name.as_str()), of(CHANGES, name))
            })
        })?;
    }
    let merge = merge.when_not_matched_insert(|insert| {
        names.iter().fold(
            insert.predicate(Expr::Not(Box::new(gone()))),
            |insert, name| insert.set(Column::new_unqualified(name.as_str()), of(CHANGES, name)),
        )
    })?;
    let (table, _) = merge.await?;
    Ok(table)
}
