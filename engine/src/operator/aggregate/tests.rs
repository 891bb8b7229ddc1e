//! Held to a table of counts and sums, whichever way its commits go: with the log and without it, with
//! groups that leave memory, with values in rows of their own and in their groups' rows, and opened again
//! at the last commit.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use arrow::array::StringArray;
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::ScalarValue;
use datafusion::functions_aggregate::{count::count_udaf, min_max::min_udaf, sum::sum_udaf};
use datafusion::logical_expr::AggregateUDF;
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

fn input(name: &str) -> Arc<dyn PhysicalExpr> {
    Arc::new(Column::new_with_schema(name, &input_schema()).unwrap())
}

/// A function of a column; with a bound only of rows whose value is below.
fn function(
    function: Arc<AggregateUDF>,
    argument: &str,
    distinct: bool,
    below: Option<i64>,
) -> LoweredAggregate {
    let aggregate = AggregateExprBuilder::new(function, vec![input(argument)])
        .schema(Arc::new(input_schema()))
        .alias("A")
        .with_distinct(distinct)
        .build();
    let filter = below.map(|bound| -> Arc<dyn PhysicalExpr> {
        let bound = Arc::new(Literal::new(ScalarValue::Int64(Some(bound))));
        let less = datafusion::logical_expr::Operator::Lt;
        Arc::new(BinaryExpr::new(input("V"), less, bound))
    });
    LoweredAggregate {
        aggregate: Arc::new(aggregate.unwrap()),
        filter,
        order_bys: Vec::new(),
    }
}

fn spec(windowed: bool) -> AggregateSpec {
    let aggregates = vec![
        function(count_udaf(), "K", false, None),
        function(sum_udaf(), "V", false, None),
        function(min_udaf(), "V", false, None),
        function(count_udaf(), "V", true, None),
        function(count_udaf(), "V", true, Some(0)),
        function(count_udaf(), "S", true, None),
    ];
    spec_of(aggregates, windowed)
}

fn spec_of(aggregates: Vec<LoweredAggregate>, windowed: bool) -> AggregateSpec {
    let mut fields = vec![("K".to_owned(), DataType::Int64)];
    let results = 0..aggregates.len();
    fields.extend(results.map(|number| (format!("A{number}"), DataType::Int64)));
    let mut add = |name: &str, of| fields.push((name.to_owned(), of));
    if windowed {
        add("START", DataType::Int64);
        add("END", DataType::Int64);
    }
    add("T", DataType::Int64);
    add(column::OP, DataType::Int8);
    let fields = fields.into_iter();
    let fields: Vec<Field> = fields
        .map(|(name, of)| Field::new(name, of, true))
        .collect();
    AggregateSpec {
        group: vec![input("K")],
        aggregates,
        rowtime: input("T"),
        op: None,
        emit_old: false,
        emit_final: false,
        open_ms: windowed.then_some(WINDOW.size_ms + WINDOW.grace_ms),
        schema: Arc::new(Schema::new(fields)),
    }
}

fn open(store: &Arc<Store>, windowed: bool, layout: StateLayout) -> GroupAggregate {
    open_with(store, spec(windowed), windowed, layout)
}

fn open_with(
    store: &Arc<Store>,
    spec: AggregateSpec,
    windowed: bool,
    layout: StateLayout,
) -> GroupAggregate {
    let table = |id| StateTable::open(store, id, false).unwrap();
    let window = windowed.then_some(WINDOW);
    let tables = AggregateTables {
        groups: table(7),
        final_index: None,
        values: (layout == StateLayout::ValueRows).then(|| table(8)),
    };
    GroupAggregate::try_new(spec, window, tables, &input_schema()).unwrap()
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

/// Adds rows, and commits them; returns what came of them.
fn commit_rows(
    store: &Arc<Store>,
    operator: &mut GroupAggregate,
    rows: &[Row],
    memory_max: usize,
) -> Vec<RecordBatch> {
    operator.push(0, &batch(rows)).unwrap();
    let came = operator.finish().unwrap();
    let mut commit = store.begin();
    operator.flush(&mut commit, memory_max).unwrap();
    store.commit(commit, Durability::Sync).unwrap();
    operator.committed(memory_max).unwrap();
    came
}

#[test]
fn a_log_that_is_not_needed_any_more_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), StoreOptions::default()).unwrap();
    let mut operator = open(&store, false, StateLayout::LATEST);
    let all: Vec<Row> = (0..400).map(|key| (key, Some(1), 0)).collect();
    let mut write = |rows: &[Row], memory_max| {
        commit_rows(&store, &mut operator, rows, memory_max);
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

#[test]
fn more_functions_count_an_argument_than_share_its_values() {
    const FUNCTIONS: usize = 70;
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), StoreOptions::default()).unwrap();
    let bounds = 0..FUNCTIONS as i64;
    let open = || {
        let functions = bounds.clone();
        let functions = functions.map(|bound| function(count_udaf(), "V", true, Some(bound)));
        let spec = spec_of(functions.collect(), false);
        open_with(&store, spec, false, StateLayout::LATEST)
    };
    let mut operator = open();
    for (memory_max, below) in [(usize::MAX, 20), (0, 40), (0, 60), (usize::MAX, 80)] {
        let rows: Vec<Row> = (0..below).map(|value| (1, Some(value), 0)).collect();
        let came = commit_rows(&store, &mut operator, &rows, memory_max);
        let counts = |came: &[RecordBatch]| -> Vec<i64> {
            let columns = came[0].columns()[1..=FUNCTIONS].iter();
            columns
                .map(|column| column.as_primitive::<Int64Type>().value(0))
                .collect()
        };
        let expected: Vec<i64> = bounds.clone().map(|bound| bound.min(below)).collect();
        assert_eq!(counts(&came), expected);
        operator = open();
        let again = commit_rows(&store, &mut operator, &rows, memory_max);
        assert_eq!(counts(&again), expected, "opened again");
    }
}

#[test]
fn more_arguments_are_counted_than_have_numbers() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), StoreOptions::default()).unwrap();
    // Each is another argument.
    let sums = (0..300_i64).map(|number| {
        let number = Arc::new(Literal::new(ScalarValue::Int64(Some(number))));
        let plus = datafusion::logical_expr::Operator::Plus;
        let sum: Arc<dyn PhysicalExpr> = Arc::new(BinaryExpr::new(input("V"), plus, number));
        let aggregate = AggregateExprBuilder::new(count_udaf(), vec![sum])
            .schema(Arc::new(input_schema()))
            .alias("A")
            .with_distinct(true)
            .build();
        LoweredAggregate {
            aggregate: Arc::new(aggregate.unwrap()),
            filter: None,
            order_bys: Vec::new(),
        }
    });
    let spec = spec_of(sums.collect(), false);
    let mut operator = open_with(&store, spec, false, StateLayout::LATEST);
    for _ in 0..2 {
        let rows = [(1, Some(1), 0), (1, Some(2), 0), (1, None, 0)];
        let came = commit_rows(&store, &mut operator, &rows, 0);
        let counts = came[0].columns()[1..=300].iter();
        let counts = counts.map(|column| column.as_primitive::<Int64Type>().value(0));
        assert!(counts.into_iter().all(|count| count == 2));
    }
}

#[test]
fn values_of_windows_that_are_over_go() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), StoreOptions::default()).unwrap();
    let mut operator = open(&store, true, StateLayout::LATEST);
    let values = StateTable::open(&store, 8, false).unwrap();
    for time in [0, 10_000] {
        commit_rows(&store, &mut operator, &[(1, Some(5), time)], 0);
    }
    // A number and a text in each window.
    assert_eq!(values.scan_all().unwrap().len(), 4);
    store.compact_table(8);
    let left = values.scan_all().unwrap();
    assert_eq!(left.len(), 2);
    for (key, _) in left {
        assert_eq!(values.split_window(&key).unwrap().1, 10_000);
    }
}
