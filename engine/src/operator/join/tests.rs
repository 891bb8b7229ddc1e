//! Held to a table that changes row by row.

use std::collections::HashMap;

use arrow::array::{Array, Int8Array, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type, Schema};
use datafusion::physical_expr::expressions::Column;
use kappa_storage::store::{Durability, Store, StoreOptions};

use super::*;
use crate::operator::numbers::Numbers;
use crate::state::StateTable;

/// Key columns of the rows: a number and, in joins by two columns, a text made of it.
fn key_columns(keys: &[Option<i64>], two: bool) -> Vec<ArrayRef> {
    let mut columns: Vec<ArrayRef> = vec![Arc::new(keys.iter().copied().collect::<Int64Array>())];
    if two {
        let texts = keys.iter().map(|key| key.map(|key| format!("k{key}")));
        columns.push(Arc::new(texts.collect::<StringArray>()));
    }
    columns
}

fn schema(two: bool, rest: &[(&str, DataType)]) -> SchemaRef {
    let mut fields = vec![Field::new("K", DataType::Int64, true)];
    if two {
        fields.push(Field::new("L", DataType::Utf8, true));
    }
    let rest = rest.iter();
    fields.extend(rest.map(|(name, of)| Field::new(*name, of.clone(), true)));
    Arc::new(Schema::new(fields))
}

fn stream_schema(two: bool) -> SchemaRef {
    schema(
        two,
        &[("V", DataType::Int64), (column::SEQ, DataType::UInt64)],
    )
}

fn table_schema(two: bool) -> SchemaRef {
    schema(
        two,
        &[
            ("NAME", DataType::Utf8),
            (column::OP, DataType::Int8),
            (column::SEQ, DataType::UInt64),
        ],
    )
}

fn open(store: &Arc<Store>, join_type: StreamTableJoinType, two: bool) -> StreamTableJoin {
    let (stream, table) = (stream_schema(two), table_schema(two));
    let column = |schema: &SchemaRef, name: &str| -> Arc<dyn PhysicalExpr> {
        Arc::new(Column::new_with_schema(name, schema).unwrap())
    };
    let keys = |schema: &SchemaRef| -> Vec<Arc<dyn PhysicalExpr>> {
        let names = if two { &["K", "L"][..] } else { &["K"][..] };
        names.iter().map(|name| column(schema, name)).collect()
    };
    let key_fields: Vec<FieldRef> = keys(&table)
        .iter()
        .map(|expr| expr.return_field(&table).unwrap())
        .collect();
    let fields: Vec<_> = stream
        .fields()
        .iter()
        .chain(table.fields())
        .cloned()
        .collect();
    let types = table.fields().iter().map(|field| field.data_type().clone());
    let state = StateTable::open(store, 7, false).unwrap();
    StreamTableJoin::new(
        join_type,
        keys(&stream),
        column(&stream, column::SEQ),
        keys(&table),
        column(&table, column::SEQ),
        column(&table, column::OP),
        Arc::new(Schema::new(fields)),
        KeyedRows::try_new(state, &key_fields, types.collect()).unwrap(),
    )
}

/// A row of the table or of the stream: position, key, and the name or `None` for a delete.
type Change = (u64, Option<i64>, Option<String>);
type StreamRow = (u64, Option<i64>);

fn table_batch(rows: &[Change], two: bool) -> RecordBatch {
    let mut columns = key_columns(&rows.iter().map(|row| row.1).collect::<Vec<_>>(), two);
    columns.push(Arc::new(
        rows.iter()
            .map(|row| row.2.clone())
            .collect::<StringArray>(),
    ));
    columns.push(Arc::new(Int8Array::from_iter_values(rows.iter().map(
        |row| match row.2 {
            Some(_) => column::INSERT,
            None => column::DELETE,
        },
    ))));
    columns.push(Arc::new(UInt64Array::from_iter_values(
        rows.iter().map(|row| row.0),
    )));
    RecordBatch::try_new(table_schema(two), columns).unwrap()
}

fn stream_batch(rows: &[StreamRow], two: bool) -> RecordBatch {
    let mut columns = key_columns(&rows.iter().map(|row| row.1).collect::<Vec<_>>(), two);
    let positions = || rows.iter().map(|row| row.0);
    columns.push(Arc::new(Int64Array::from_iter_values(
        positions().map(|position| position as i64),
    )));
    columns.push(Arc::new(UInt64Array::from_iter_values(positions())));
    RecordBatch::try_new(stream_schema(two), columns).unwrap()
}

/// The stream's value and the table's name of each row that came out.
fn output(batches: &[RecordBatch]) -> Vec<(i64, Option<String>)> {
    let mut rows = Vec::new();
    for batch in batches {
        let values = batch.column_by_name("V").unwrap();
        let values = values.as_primitive::<Int64Type>();
        let names = batch.column_by_name("NAME").unwrap().as_string::<i32>();
        for row in 0..batch.num_rows() {
            let name = names.is_valid(row).then(|| names.value(row).to_owned());
            rows.push((values.value(row), name));
        }
    }
    rows
}

/// Rows in pieces of random length.
fn pieces<'a, T>(rows: &'a [T], numbers: &mut Numbers) -> Vec<&'a [T]> {
    let mut rest = rows;
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        let count = 1 + numbers.below(rest.len() as u64) as usize;
        let (piece, after) = rest.split_at(count);
        pieces.push(piece);
        rest = after;
    }
    pieces
}

fn random_steps(join_type: StreamTableJoinType, two: bool, seed: u64) {
    let mut numbers = Numbers(seed);
    let directory = tempfile::tempdir().unwrap();
    let options = StoreOptions {
        memory_bytes: 16 << 20,
        sync: false,
        ..StoreOptions::default()
    };
    let store = Store::open(directory.path(), options).unwrap();
    let mut join = open(&store, join_type, two);
    let mut model: HashMap<i64, String> = HashMap::new();
    let mut committed = model.clone();
    for step in 0..60 {
        let keys = [3, 40, 2000][numbers.below(3) as usize];
        let changes_of_ten = [0, 1, 5, 10][numbers.below(4) as usize];
        let mut changes: Vec<Change> = Vec::new();
        let mut stream: Vec<StreamRow> = Vec::new();
        let mut expected = Vec::new();
        for position in 0..numbers.below(400) {
            let key = (numbers.below(20) > 0).then(|| numbers.below(keys) as i64);
            if numbers.below(10) < changes_of_ten {
                let name = (numbers.below(4) > 0).then(|| format!("{step} {position}"));
                if let Some(key) = key {
                    match &name {
                        Some(name) => model.insert(key, name.clone()),
                        None => model.remove(&key),
                    };
                }
                changes.push((position, key, name));
            } else {
                let found = key.and_then(|key| model.get(&key).cloned());
                if found.is_some() || join_type == StreamTableJoinType::Left {
                    expected.push((position as i64, found));
                }
                stream.push((position, key));
            }
        }
        for piece in pieces(&changes, &mut numbers) {
            join.push(TABLE, &table_batch(piece, two)).unwrap();
        }
        for piece in pieces(&stream, &mut numbers) {
            join.push(1, &stream_batch(piece, two)).unwrap();
        }
        let came = output(&join.finish().unwrap());
        assert_eq!(came, expected, "step {step} of seed {seed}");
        if numbers.below(2) == 0 {
            let mut commit = store.begin();
            let memory_max = [usize::MAX, usize::MAX, 0][numbers.below(3) as usize];
            join.flush(&mut commit, memory_max).unwrap();
            store.commit(commit, Durability::Sync).unwrap();
            join.committed(memory_max).unwrap();
            committed = model.clone();
        }
        if numbers.below(8) == 0 {
            join = open(&store, join_type, two);
            model = committed.clone();
        }
    }
}

#[test]
fn a_stream_row_sees_the_table_as_of_its_position() {
    for seed in 0..4 {
        for join_type in [StreamTableJoinType::Inner, StreamTableJoinType::Left] {
            for two in [false, true] {
                random_steps(join_type, two, seed);
            }
        }
    }
}
