//! The columnar accumulators, held to `RowAccumulators` through histories that look random.

use arrow::array::{AsArray, Float64Array, Int32Array, Int64Array, StringArray};
use arrow::compute::{cast, concat};
use arrow::datatypes::{Field, Int64Type, Schema, TimeUnit};
use datafusion::functions_aggregate::average::avg_udaf;
use datafusion::functions_aggregate::count::count_udaf;
use datafusion::functions_aggregate::first_last::{first_value_udaf, last_value_udaf};
use datafusion::functions_aggregate::min_max::{max_udaf, min_udaf};
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::logical_expr::AggregateUDF;
use datafusion::physical_expr::aggregate::AggregateExprBuilder;
use datafusion::physical_expr::expressions::Column;

use super::*;
use crate::operator::numbers::Numbers;

const SLOTS: u64 = 7;

fn function(
    of: Arc<AggregateUDF>,
    argument: &DataType,
    distinct: bool,
) -> Arc<AggregateFunctionExpr> {
    let schema = Arc::new(Schema::new(vec![Field::new("V", argument.clone(), true)]));
    let column = Arc::new(Column::new("V", 0));
    let builder = AggregateExprBuilder::new(of, vec![column])
        .schema(schema)
        .alias("A");
    let builder = match distinct {
        true => builder.distinct(),
        false => builder,
    };
    Arc::new(builder.build().unwrap())
}

/// Few values, some of them null.
fn values(numbers: &mut Numbers, rows: usize, of: &DataType) -> ArrayRef {
    // Times of day have no text below zero.
    let least = if matches!(of, DataType::Time32(_)) {
        0
    } else {
        -3
    };
    let drawn: Vec<Option<i64>> = (0..rows)
        .map(|_| Some(numbers.below(23) as i64 + least).filter(|number| *number < 17))
        .collect();
    match of {
        DataType::Utf8 => {
            // Texts of all lengths, the empty one among them.
            let text = |number: i64| "äbc".repeat(number.unsigned_abs() as usize);
            Arc::new(drawn.iter().map(|n| n.map(text)).collect::<StringArray>())
        }
        DataType::Float64 => Arc::new(
            drawn
                .iter()
                .map(|n| n.map(|n| n as f64 / 4.0))
                .collect::<Float64Array>(),
        ),
        DataType::Date32 | DataType::Time32(_) => {
            let numbers: Int32Array = drawn.iter().map(|n| n.map(|n| n as i32)).collect();
            cast(&numbers, of).unwrap()
        }
        _ => cast(&drawn.into_iter().collect::<Int64Array>(), of).unwrap(),
    }
}

/// A list of a state by row, each as sorted texts: their values may come in any order, and NULL, which
/// counts for nothing, may be among them.
fn sorted_lists(state: &ArrayRef) -> Vec<String> {
    let lists = state.as_list::<i32>();
    let sorted = (0..lists.len()).map(|row| {
        let values = cast(&lists.value(row), &DataType::Utf8).unwrap();
        let mut values: Vec<_> = values.as_string::<i32>().iter().flatten().collect();
        values.sort_unstable();
        format!("{values:?}")
    });
    sorted.collect()
}

/// Rows that groups hold.
#[derive(Default)]
struct Held(Vec<(Slot, ArrayRef)>);

impl Held {
    fn columns(&self, of: &DataType) -> (Vec<Slot>, ArrayRef) {
        let slots = self.0.iter().map(|(slot, _)| *slot).collect();
        let rows: Vec<&dyn Array> = self.0.iter().map(|(_, row)| row.as_ref()).collect();
        let rows = match rows.is_empty() {
            true => new_empty_array(of),
            false => concat(&rows).unwrap(),
        };
        (slots, rows)
    }
}

/// Runs a columnar accumulator through updates, merges, retractions and forgotten groups. At every
/// point it must say what `RowAccumulators` says of the rows that its groups hold.
fn compare(function: &Arc<AggregateFunctionExpr>, argument: &DataType, retractable: bool) {
    let new = || native::create(function, retractable).expect("a columnar accumulator");
    let mut fast = new();
    let all: Vec<Slot> = (0..SLOTS as Slot).collect();
    fast.resize(all.len());
    let mut numbers = Numbers(7);
    let mut held = Held::default();
    for _ in 0..120 {
        match numbers.below(6) {
            0 => {
                let mut slots = all.clone();
                slots.retain(|_| numbers.below(3) == 0);
                fast.clear(&slots);
                held.0.retain(|(slot, _)| !slots.contains(slot));
            }
            1 => {
                // Saved and loaded, as by a restart.
                let state = fast.state(&all).unwrap();
                fast = new();
                fast.resize(all.len());
                fast.merge(&all, &state).unwrap();
            }
            2 if retractable => {
                let taken = numbers.below(1 + held.0.len() as u64) as usize;
                let taken = Held(held.0.split_off(taken));
                let (slots, rows) = taken.columns(argument);
                fast.retract(&slots, &[rows]).unwrap();
            }
            _ => {
                let rows = numbers.below(40) as usize;
                let slots: Vec<Slot> = (0..rows).map(|_| numbers.below(SLOTS) as Slot).collect();
                let rows = values(&mut numbers, rows, argument);
                let each = slots.iter().enumerate();
                held.0
                    .extend(each.map(|(row, slot)| (*slot, rows.slice(row, 1))));
                fast.update(&slots, &[rows]).unwrap();
            }
        }
        let mut slow = RowAccumulators::try_new(Arc::clone(function), false).unwrap();
        slow.resize(all.len());
        let (slots, rows) = held.columns(argument);
        slow.update(&slots, &[rows]).unwrap();
        assert_eq!(
            fast.evaluate(&all).unwrap().to_data(),
            slow.evaluate(&all).unwrap().to_data(),
            "{function:?}"
        );
        // Data directories have states that the slow one wrote.
        if function.fun().name().ends_with("_value") {
            assert_eq!(fast.state_types(), slow.state_types());
            let (ours, theirs) = (fast.state(&all).unwrap(), slow.state(&all).unwrap());
            assert_eq!(ours[0].to_data(), theirs[0].to_data());
            assert_eq!(ours[1].to_data(), theirs[1].to_data());
        }
        if function.is_distinct() {
            assert_eq!(fast.state_types(), slow.state_types());
            let theirs = slow.state(&all).unwrap();
            let mut loaded = new();
            loaded.resize(all.len());
            loaded.merge(&all, &theirs).unwrap();
            for mut ours in [fast.state(&all).unwrap(), loaded.state(&all).unwrap()] {
                assert_eq!(sorted_lists(&ours.remove(0)), sorted_lists(&theirs[0]));
            }
        }
    }
}

#[test]
fn columnar_ones_give_what_datafusions_do() {
    let (int, bigint, double) = (DataType::Int32, DataType::Int64, DataType::Float64);
    for retractable in [false, true] {
        for of in [&int, &bigint, &double, &DataType::Utf8] {
            compare(&function(count_udaf(), of, false), of, retractable);
        }
        for of in [&bigint, &double] {
            compare(&function(sum_udaf(), of, false), of, retractable);
        }
        compare(&function(avg_udaf(), &double, false), &double, retractable);
    }
    for of in [&int, &bigint, &double, &DataType::Date32] {
        compare(&function(min_udaf(), of, false), of, false);
        compare(&function(max_udaf(), of, false), of, false);
    }
}

#[test]
fn first_and_last_values_are_datafusions() {
    for of in [
        DataType::Boolean,
        DataType::Int32,
        DataType::Int64,
        DataType::Float64,
        DataType::Decimal128(12, 2),
        DataType::Date32,
        DataType::Time32(TimeUnit::Millisecond),
        DataType::Timestamp(TimeUnit::Millisecond, None),
        DataType::Utf8,
    ] {
        for function in [first_value_udaf(), last_value_udaf()] {
            for ignore_nulls in [false, true] {
                let schema = Arc::new(Schema::new(vec![Field::new("V", of.clone(), true)]));
                let built = AggregateExprBuilder::new(
                    Arc::clone(&function),
                    vec![Arc::new(Column::new("V", 0))],
                )
                .schema(schema)
                .alias("A")
                .with_ignore_nulls(ignore_nulls)
                .build();
                compare(&Arc::new(built.unwrap()), &of, false);
            }
        }
    }
}

#[test]
fn distinct_counts_are_datafusions() {
    for of in [
        DataType::Int32,
        DataType::Int64,
        DataType::Date32,
        DataType::Time32(TimeUnit::Millisecond),
        DataType::Timestamp(TimeUnit::Millisecond, None),
        DataType::Utf8,
    ] {
        compare(&function(count_udaf(), &of, true), &of, false);
    }
}

#[test]
fn forgotten_values_give_their_memory_back() {
    for of in [DataType::Int64, DataType::Utf8] {
        let function = function(count_udaf(), &of, true);
        let mut distinct = native::create(&function, false).unwrap();
        distinct.resize(2);
        let values: StringArray = (0..5000).map(|number| Some(format!("{number}"))).collect();
        let values = cast(&values, &of).unwrap();
        let slots: Vec<Slot> = (0..5000).map(|row| row % 2).collect();
        let small = distinct.size();
        distinct.update(&slots, &[values]).unwrap();
        let large = distinct.size();
        assert!(large > small + 5000 * 8, "{small} {large}");
        distinct.clear(&[0, 1]);
        assert!(distinct.size() < small + 1000, "{small} {large}");
        let counts = distinct.evaluate(&[0, 1]).unwrap();
        assert_eq!(counts.as_primitive::<Int64Type>().values(), &[0, 0]);
    }
}

#[test]
fn what_has_no_columnar_one_is_left_to_datafusion() {
    let function = function(count_udaf(), &DataType::Float64, true);
    assert!(native::create(&function, false).is_none());
    let distinct = self::function(count_udaf(), &DataType::Int64, true);
    assert!(
        native::create(&distinct, true).is_none(),
        "it cannot retract"
    );
}
