//! INSERT INTO … VALUES: records appended to the target's topic.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, Int64Array, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::Int64Type;
use kappa_sql::ast::{Parsed, Statement};
use kappa_sql::catalog::Role;
use kappa_sql::planner::plan_values;
use kappa_storage::format::Encoder;
use kappa_storage::murmur2;
use kappa_storage::record::NewRecords;

use super::fail;
use crate::error::{Error, Result};
use crate::query::decode::side;
use crate::response::Response;
use crate::session::Session;

pub(super) async fn run(session: &Session, parsed: &Parsed) -> Result<Response> {
    let Statement::InsertValues {
        target,
        columns,
        rows,
    } = &parsed.statement
    else {
        return Err(Error::Internal("not an INSERT INTO … VALUES".into()));
    };
    let catalog = session.engine.catalog();
    let Some(relation) = catalog.get(&target.value).cloned() else {
        return Err(fail(
            kappa_sql::Error::unknown(format!(
                "Cannot insert values into an unknown stream/table: `{target}` does not exist"
            ))
            .at(target.span)
            .did_you_mean(&target.value, catalog.relations().map(|r| r.name.as_str())),
        ));
    };
    let inserted =
        plan_values(&catalog, &relation, target, columns.as_deref(), rows).map_err(fail)?;
    let count = rows.len();
    let now_ms = session.engine.inner.clock.now_ms();
    let timestamps: Int64Array = inserted
        .rowtimes
        .iter()
        .map(|time| Some(time.unwrap_or(now_ms)))
        .collect();
    let keys =
        Encoder::try_new(&side(&relation, &Role::Key))?.encode(&inserted.keys, None, count)?;
    let values =
        Encoder::try_new(&side(&relation, &Role::Value))?.encode(&inserted.values, None, count)?;
    let mut by_partition: BTreeMap<i32, Vec<u32>> = BTreeMap::new();
    for row in 0..count {
        let partition = match keys.is_valid(row) {
            true => murmur2::partition(keys.value(row), relation.partitions.max(1)),
            false => (row as i32) % relation.partitions.max(1),
        };
        by_partition.entry(partition).or_default().push(row as u32);
    }
    let records = by_partition
        .into_iter()
        .map(|(partition, rows)| of_partition(partition, rows, &timestamps, &keys, &values))
        .collect::<Result<Vec<_>>>()?;
    session
        .engine
        .inner
        .topics
        .append(&relation.topic, &records)
        .await?;
    Ok(Response::Done(match count {
        1 => format!("1 row inserted into {target}"),
        count => format!("{count} rows inserted into {target}"),
    }))
}

fn of_partition(
    partition: i32,
    rows: Vec<u32>,
    timestamps: &Int64Array,
    keys: &BinaryArray,
    values: &BinaryArray,
) -> Result<NewRecords> {
    let rows: ArrayRef = Arc::new(UInt32Array::from(rows));
    Ok(NewRecords {
        partition,
        timestamps: take(timestamps, &rows, None)?
            .as_primitive::<Int64Type>()
            .clone(),
        keys: take(keys, &rows, None)?.as_binary().clone(),
        values: take(values, &rows, None)?.as_binary().clone(),
        headers: None,
    })
}
