//! Held to a table of counts and sums, whichever way its commits go: with the log and without it, with
//! groups that leave memory, with values in rows of their own and in their groups' rows, and opened again
//! at the last commit.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use arrow::array::StringArray;
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::ScalarValue;
use datafusion::functions_aggregate::{count::count_udaf, min_max::min_udaf, sum::sum_udaf};
use datafusion::physical_expr::aggregate::AggregateExprBuilder;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, Literal};
use kappa_sql::column;
use kappa_storage::store::{Durability, Store, StoreOptions};

use super::*;
use crate::operator::numbers::Numbers;
use crate::state::StateLayout;

const WINDOW: Hopping = Hopping {
    size_ms: 100,
    advance_ms: 100,
    grace_ms: 150,
};

/// Memory with which the log has room for what the tests have, and is not too small for it.
const ROOMY: usize = 500_000;

/// Key, value, row time.
type Row = (i64, Option<i64>, i64);

/// What a group has.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Group<V> {
    rows: i64,
    sum: Option<i64>,
    least: Option<i64>,
    /// Different values, those below zero, and texts.
    values: V,
    negative: V,
    texts: V,
    rowtime: i64,
}

/// By start of the window and key.
type Groups<V> = BTreeMap<(i64, i64), Group<V>>;
type Model = Groups<BTreeSet<i64>>;

fn input_schema() -> Schema {
    Schema::new(vec![
        Field::new("K", DataType::Int64, false),
        Field::new("V", DataType::Int64, true),
        Field::new("S", DataType::Utf8, true),
        Field::new("T", DataType::Int64, false),
    ])
}

fn batch(rows: &[Row]) -> RecordBatch {
    let keys = Int64Array::from_iter_values(rows.iter().map(|row| row.0));
    let values: Int64Array = rows.iter().map(|row| row.1).collect();
    let texts: StringArray = rows.iter().map(|row| row.1.map(text)).collect();
    let times = Int64Array::from_iter_values(rows.iter().map(|row| row.2));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(keys),
        Arc::new(values),
        Arc::new(texts),
        Arc::new(times),
    ];
    RecordBatch::try_new(Arc::new(input_schema()), columns).unwrap()
}

/// Fewer than there are values; some are the beginning of others.
fn text(value: i64) -> String {
    "a".repeat(value.rem_euclid(40) as usize)
}

fn spec(windowed: bool) -> AggregateSpec {
    let schema = Arc::new(input_schema());
    let input = |name: &str| -> Arc<dyn PhysicalExpr> {
        Arc::new(Column::new_with_schema(name, &schema).unwrap())
    };
    let aggregates = [
        (count_udaf(), "K", false, false),
        (sum_udaf(), "V", false, false),
        (min_udaf(), "V", false, false),
        (count_udaf(), "V", true, false),
        (count_udaf(), "V", true, true),
        (count_udaf(), "S", true, false),
    ];
    let aggregates = aggregates
        .into_iter()
        .map(|(function, argument, distinct, negative)| {
            let aggregate = AggregateExprBuilder::new(function, vec![input(argument)])
                .schema(Arc::clone(&schema))
                .alias("A")
                .with_distinct(distinct)
                .build();
            let zero = Arc::new(Literal::new(ScalarValue::Int64(Some(0))));
            let below = Arc::new(BinaryExpr::new(
                input("V"),
                datafusion::logical_expr::Operator::Lt,
                zero,
            ));
            LoweredAggregate {
                aggregate: Arc::new(aggregate.unwrap()),
                filter: negative.then_some(below as Arc<dyn PhysicalExpr>),
                order_bys: Vec::new(),
            }
        });
    let mut fields = vec![("K", DataType::Int64)];
    let names = ["N", "SUM", "MIN", "VALUES", "NEGATIVE", "TEXTS"];
    fields.extend(names.map(|name| (name, DataType::Int64)));
    if windowed {
        fields.extend(["START", "END"].map(|name| (name, DataType::Int64)));
    }
    fields.extend([("T", DataType::Int64), (column::OP, DataType::Int8)]);
    let fields = fields.into_iter();
    let fields: Vec<Field> = fields
        .map(|(name, of)| Field::new(name, of, true))
        .collect();
    AggregateSpec {
        group: vec![input("K")],
        aggregates: aggregates.collect(),
        rowtime: input("T"),
        op: None,
        emit_old: false,
        emit_final: false,
        open_ms: windowed.then_some(WINDOW.size_ms + WINDOW.grace_ms),
        schema: Arc::new(Schema::new(fields)),
    }
}

fn open(store: &Arc<Store>, windowed: bool, layout: StateLayout) -> GroupAggregate {
    let table = |id| StateTable::open(store, id, false).unwrap();
    let window = windowed.then_some(WINDOW);
    let tables = AggregateTables {
        groups: table(7),
        final_index: None,
        values: (layout == StateLayout::ValueRows).then(|| table(8)),
    };
    GroupAggregate::try_new(spec(windowed), window, tables, &input_schema()).unwrap()
}

/// The groups that came out.
fn output(batches: &[RecordBatch], windowed: bool) -> Groups<i64> {
    let mut groups = Groups::new();
    for batch in batches {
        let column = |index: usize| batch.column(index).as_primitive::<Int64Type>();
        let rowtimes = batch.num_columns() - 2;
        for row in 0..batch.num_rows() {
            let value = |index: usize| {
                let column = column(index);
                column.is_valid(row).then(|| column.value(row))
            };
            let start = if windowed {
                column(7).value(row)
            } else {
                i64::MIN
            };
            let group = Group {
                rows: column(1).value(row),
                sum: value(2),
                least: value(3),
                values: column(4).value(row),
                negative: column(5).value(row),
                texts: column(6).value(row),
                rowtime: column(rowtimes).value(row),
            };
            let before = groups.insert((start, column(0).value(row)), group);
            assert_eq!(before, None, "a group came twice");
        }
    }
    groups
}

/// Adds rows to their groups; returns these groups. A row that is late is left out.
fn apply(model: &mut Model, rows: &[Row], windowed: bool, stream_time: &mut i64) -> Groups<i64> {
    let mut touched = Groups::new();
    for (key, value, time) in rows {
        *stream_time = (*stream_time).max(*time);
        let start = if windowed {
            time / WINDOW.size_ms * WINDOW.size_ms
        } else {
            i64::MIN
        };
        if windowed && WINDOW.is_over(start, *stream_time) {
            continue;
        }
        let group = model.entry((start, *key)).or_insert_with(|| Group {
            rows: 0,
            sum: None,
            least: None,
            values: BTreeSet::new(),
            negative: BTreeSet::new(),
            texts: BTreeSet::new(),
            rowtime: i64::MIN,
        });
        group.rows += 1;
        if let Some(value) = value {
            group.sum = Some(group.sum.unwrap_or_default() + value);
            group.least = Some(group.least.map_or(*value, |least| least.min(*value)));
            group.values.insert(*value);
            group.texts.insert(text(*value).len() as i64);
            if *value < 0 {
                group.negative.insert(*value);
            }
        }
        group.rowtime = group.rowtime.max(*time);
        let shown = Group {
            rows: group.rows,
            sum: group.sum,
            least: group.least,
            values: group.values.len() as i64,
            negative: group.negative.len() as i64,
            texts: group.texts.len() as i64,
            rowtime: group.rowtime,
        };
        touched.insert((start, *key), shown);
    }
    touched
}

/// Runs a random history; returns the ways that its commits went.
fn run(seed: u64, windowed: bool, layout: StateLayout, memory: &[usize]) -> HashSet<String> {
    let directory = tempfile::tempdir().unwrap();
    let options = StoreOptions {
        memory_bytes: 16 << 20,
        sync: false,
        ..StoreOptions::default()
    };
    let store = Store::open(directory.path(), options).unwrap();
    let mut numbers = Numbers(seed);
    let mut operator = open(&store, windowed, layout);
    let (mut model, mut stream_time) = (Model::new(), -1);
    let mut committed = (model.clone(), stream_time);
    let mut ways = HashSet::new();
    let mut now = 0;
    for step in 0..300 {
        now += numbers.below(30) as i64;
        let keys = [2, 40, 400][numbers.below(3) as usize];
        let rows = (0..1 + numbers.below(300))
            .map(|_| {
                let value = (numbers.below(5) > 0).then(|| numbers.below(100) as i64 - 50);
                let time = (now - numbers.below(400) as i64).max(0);
                (numbers.below(keys) as i64, value, time)
            })
            .collect::<Vec<Row>>();
        let mut expected = Groups::new();
        for piece in rows.chunks(100) {
            operator.push(0, &batch(piece)).unwrap();
            expected.extend(apply(&mut model, piece, windowed, &mut stream_time));
        }
        let came = output(&operator.finish().unwrap(), windowed);
        assert_eq!(came, expected, "step {step} of seed {seed}");
        if numbers.below(2) == 0 {
            let mut commit = store.begin();
            let memory_max = memory[numbers.below(memory.len() as u64) as usize];
            ways.insert(format!("{:?}", operator.way(memory_max)));
            operator.flush(&mut commit, memory_max).unwrap();
            store.commit(commit, Durability::Sync).unwrap();
            // Not where the query has gone on meanwhile.
            if numbers.below(3) > 0 {
                operator.committed(memory_max).unwrap();
            }
            committed = (model.clone(), stream_time);
        }
        if numbers.below(12) == 0 {
            operator = open(&store, windowed, layout);
            (model, stream_time) = committed.clone();
        }
    }
    ways
}

#[test]
fn groups_count_the_same_whichever_way_they_are_written() {
    for windowed in [false, true] {
        for seed in 0..3 {
            let run = |layout, memory: &[usize]| run(seed, windowed, layout, memory);
            let only_rows = HashSet::from(["Rows".to_owned()]);
            let in_groups = run(StateLayout::ValuesInGroups, &[ROOMY, 0]);
            assert_eq!(in_groups, only_rows);
            let rows = run(StateLayout::ValueRows, &[0, usize::MAX]);
            assert_eq!(rows, only_rows);
            let log = run(StateLayout::ValueRows, &[ROOMY]);
            assert!(log.contains("Append") && log.contains("Rewrite"), "{log:?}");
            let all = run(StateLayout::ValueRows, &[ROOMY, ROOMY, ROOMY, 0]);
            for way in ["Rows", "Append", "Fold"] {
                assert!(all.contains(way), "{way} of seed {seed}: {all:?}");
            }
        }
    }
}

#[test]
fn a_log_that_is_not_needed_any_more_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), StoreOptions::default()).unwrap();
    let mut operator = open(&store, false, StateLayout::LATEST);
    let all: Vec<Row> = (0..400).map(|key| (key, Some(1), 0)).collect();
    let mut write = |rows: &[Row], memory_max| {
        operator.push(0, &batch(rows)).unwrap();
        operator.finish().unwrap();
        let mut commit = store.begin();
        operator.flush(&mut commit, memory_max).unwrap();
        store.commit(commit, Durability::Sync).unwrap();
        operator.committed(memory_max).unwrap();
        let rows = operator.table.scan_all().unwrap().len();
        (
            rows,
            store.log_files(7).unwrap().len(),
            operator.memory().held,
        )
    };
    let (rows, files, _) = write(&all, ROOMY);
    assert_eq!((rows, files), (0, 1));
    // Few change: they are added to the log for a while, then all groups become rows.
    let added: Vec<_> = (0..16).map(|_| write(&all[..1], ROOMY)).collect();
    assert!(added[..15].iter().all(|(rows, ..)| *rows == 0), "{added:?}");
    let (rows, files, memory) = added[15];
    assert_eq!((rows, files), (400, 0));
    // Groups leave memory only where the log has none.
    let (rows, files, less) = write(&all[..1], 0);
    assert_eq!((rows, files), (400, 0));
    assert!(less < memory, "{less} {memory}");
}
