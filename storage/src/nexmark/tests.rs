//! What is promised of the generated events.

use std::collections::HashSet;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Int64Type, TimestampMillisecondType};

use super::*;

fn generator(seed: u64) -> Generator {
    Generator::new(Options {
        seed,
        ..Options::default()
    })
}

fn all_columns(table: Table) -> Vec<usize> {
    (0..table.schema().fields().len()).collect()
}

/// The table's rows among the first `events` events.
fn first(generator: &Generator, table: Table, events: u64) -> RecordBatch {
    let rows = Rows {
        first: 0,
        step: 1,
        count: table.rows_before(events) as usize,
    };
    generator.rows(table, rows, &all_columns(table)).unwrap()
}

fn longs<'a>(batch: &'a RecordBatch, name: &str) -> &'a [i64] {
    let column = batch.column_by_name(name).unwrap();
    column.as_primitive::<Int64Type>().values()
}

fn times<'a>(batch: &'a RecordBatch, name: &str) -> &'a [i64] {
    let column = batch.column_by_name(name).unwrap();
    column.as_primitive::<TimestampMillisecondType>().values()
}

/// The share of rows of which something is true.
fn share(values: &[i64], is: impl Fn(usize, i64) -> bool) -> f64 {
    let count = values
        .iter()
        .enumerate()
        .filter(|(row, value)| is(*row, **value))
        .count();
    count as f64 / values.len() as f64
}

fn near(found: f64, expected: f64, tolerance: f64) {
    assert!(
        (found - expected).abs() < tolerance,
        "{found}, not {expected}"
    );
}

#[test]
fn tables_have_their_shares_of_the_events() {
    for (events, people, auctions, bids) in [
        (0, 0, 0, 0),
        (1, 1, 0, 0),
        (2, 1, 1, 0),
        (4, 1, 3, 0),
        (5, 1, 3, 1),
        (50, 1, 3, 46),
        (53, 2, 5, 46),
        (1_000_000, 20_000, 60_000, 920_000),
    ] {
        let rows = Table::ALL.map(|table| table.rows_before(events));
        assert_eq!(rows, [people, auctions, bids], "{events}");
    }
    let mut events: Vec<u64> = Table::ALL
        .into_iter()
        .flat_map(|table| (0..table.rows_before(500)).map(move |row| table.event_of(row)))
        .collect();
    events.sort_unstable();
    assert_eq!(events, (0..500).collect::<Vec<_>>());
    for table in Table::ALL {
        for row in 0..200 {
            assert_eq!(table.rows_before(table.event_of(row)), row);
        }
    }
}

#[test]
fn any_rows_are_the_same_alone() {
    let generator = generator(1);
    for table in Table::ALL {
        let all = all_columns(table);
        let whole = first(&generator, table, 20_000);
        for (first, step, count) in [(0, 1, 1), (17, 1, 100), (1, 3, 60), (300, 1, 0), (5, 7, 12)] {
            let rows = Rows { first, step, count };
            let part = super::Generator::new(generator.options)
                .rows(table, rows, &all)
                .unwrap();
            let places: arrow::array::UInt64Array =
                (0..count as u64).map(|row| first + row * step).collect();
            let expected = arrow::compute::take_record_batch(&whole, &places).unwrap();
            assert_eq!(part, expected, "{table:?} {rows:?}");
        }
        let mut backwards = all.clone();
        backwards.reverse();
        let rows = Rows {
            first: 0,
            step: 1,
            count: whole.num_rows(),
        };
        let turned = generator.rows(table, rows, &backwards).unwrap();
        assert_eq!(turned, whole.project(&backwards).unwrap());
        let none = generator.rows(table, rows, &[]).unwrap();
        assert_eq!((none.num_rows(), none.num_columns()), (whole.num_rows(), 0));
        assert!(generator.rows(table, rows, &[all.len()]).is_err());
    }
}

#[test]
fn another_seed_makes_other_values_at_the_same_times() {
    for table in Table::ALL {
        let [one, other] = [1, 2].map(|seed| first(&generator(seed), table, 5_000));
        let time = table.time_column();
        for column in all_columns(table) {
            let same = one.column(column) == other.column(column);
            let fixed = column == time || one.schema().field(column).name() == "id";
            assert_eq!(same, fixed, "{table:?} {column}");
        }
    }
}

#[test]
fn times_grow_with_the_events() {
    let bids = first(&generator(1), Table::Bid, 100_000);
    let times = times(&bids, "dateTime");
    assert!(times.is_sorted());
    assert_eq!(times[0], 1_436_918_400_000);
    assert_eq!(times.last(), Some(&(1_436_918_400_000 + 9_999)));
    let slow = Generator::new(Options {
        events_per_second: 3,
        ..Options::default()
    });
    assert_eq!(slow.time_ms(6) - slow.time_ms(0), 2_000);
}

#[test]
fn hot_ones_have_their_share() {
    let generator = generator(1);
    // Late enough for all that are active at a time to be there.
    let rows = Rows {
        first: 1_000_000,
        step: 1,
        count: 200_000,
    };
    let bids = generator.rows(Table::Bid, rows, &[0, 1, 3]).unwrap();
    // Half are on hot auctions, and of the others one in about a hundred by chance.
    near(
        share(longs(&bids, "auction"), |_, id| id % 100 == 0),
        0.5 + 0.5 / 100.0,
        0.01,
    );
    near(
        share(longs(&bids, "bidder"), |_, id| id % 100 == 1),
        0.75 + 0.25 / 100.0,
        0.01,
    );
    let channels = bids.column(2).as_string::<i32>();
    let hot = ["Google", "Facebook", "Baidu", "Apple"];
    for name in hot {
        let count = channels.iter().flatten().filter(|it| *it == name).count();
        near(count as f64 / 200_000.0, 0.125, 0.01);
    }
    let others: HashSet<&str> = channels.iter().flatten().collect();
    assert!(
        others.len() > 9_900 && others.len() <= 10_004,
        "{}",
        others.len()
    );
    let rows = Rows {
        first: 60_000,
        step: 1,
        count: 100_000,
    };
    let auctions = generator.rows(Table::Auction, rows, &[7, 8]).unwrap();
    near(
        share(longs(&auctions, "seller"), |_, id| id % 100 == 0),
        0.75 + 0.25 / 100.0,
        0.01,
    );
    for category in 10..15 {
        let of = |_, found| found == category;
        near(share(longs(&auctions, "category"), of), 0.2, 0.01);
    }
}

#[test]
fn ids_exist_when_they_are_spoken_of_or_soon_after() {
    let generator = generator(3);
    let last = |table: Table, event: u64| (999 + table.rows_before(event + 1)) as i64;
    let lead = ID_LEAD as i64;
    let bids = first(&generator, Table::Bid, 200_000);
    let (auctions, bidders) = (longs(&bids, "auction"), longs(&bids, "bidder"));
    for row in 0..bids.num_rows() {
        let event = Table::Bid.event_of(row as u64);
        let newest = last(Table::Auction, event);
        // A hot one may be as old as the stride.
        assert!((newest - 100..=newest + lead).contains(&auctions[row]) && auctions[row] >= 1_000);
        let newest = last(Table::Person, event);
        assert!((newest - 999..=newest + lead).contains(&bidders[row]) && bidders[row] >= 1_000);
    }
    let opened = first(&generator, Table::Auction, 200_000);
    let sellers = longs(&opened, "seller");
    for (row, id) in longs(&opened, "id").iter().enumerate() {
        assert_eq!(*id, 1_000 + row as i64);
        let newest = last(Table::Person, Table::Auction.event_of(row as u64));
        assert!((newest - 999..=newest + lead).contains(&sellers[row]) && sellers[row] >= 1_000);
    }
    let people = first(&generator, Table::Person, 5_000);
    assert_eq!(longs(&people, "id"), (1_000..1_100).collect::<Vec<_>>());
}

#[test]
fn prices_and_ends_are_in_their_range() {
    let generator = generator(1);
    let bids = first(&generator, Table::Bid, 200_000);
    let prices = longs(&bids, "price");
    assert!(
        prices
            .iter()
            .all(|price| (100..=100_000_000).contains(price))
    );
    // As many in each power of ten.
    for power in 2..8 {
        let from = 10_i64.pow(power);
        let of = |_, price: i64| (from..from * 10).contains(&price);
        near(share(prices, of), 1.0 / 6.0, 0.01);
    }
    let auctions = first(&generator, Table::Auction, 200_000);
    let (least, reserve) = (longs(&auctions, "initialBid"), longs(&auctions, "reserve"));
    assert!(
        least
            .iter()
            .zip(reserve)
            .all(|(least, most)| most - least >= 100)
    );
    let (opens, ends) = (times(&auctions, "dateTime"), times(&auctions, "expires"));
    let lengths: Vec<i64> = ends
        .iter()
        .zip(opens)
        .map(|(end, open)| end - open)
        .collect();
    // A hundred auctions are opened in a sixth of a second.
    assert!(lengths.iter().all(|ms| (1..=334).contains(ms)));
    near(
        lengths.iter().sum::<i64>() as f64 / lengths.len() as f64,
        167.0,
        4.0,
    );
}

#[test]
fn texts_look_as_they_should() {
    let generator = generator(1);
    let people = first(&generator, Table::Person, 50_000);
    let text = |batch: &RecordBatch, name: &str, row| {
        batch
            .column_by_name(name)
            .unwrap()
            .as_string::<i32>()
            .value(row)
            .to_owned()
    };
    let mut states = HashSet::new();
    for row in 0..people.num_rows() {
        states.insert(text(&people, "state", row));
        let (user, host) = (text(&people, "emailAddress", row), ".com");
        assert!(user.contains('@') && user.ends_with(host), "{user}");
        let card = text(&people, "creditCard", row);
        assert!(
            card.len() == 19 && card.split(' ').all(|group| group.len() == 4),
            "{card}"
        );
        assert_eq!(text(&people, "name", row).split(' ').count(), 2);
    }
    assert_eq!(states.len(), 6);
    assert!(states.contains("OR") && states.contains("ID") && states.contains("CA"));
    let bids = first(&generator, Table::Bid, 100_000);
    let (mut with_id, mut others) = (0, 0);
    for row in 0..bids.num_rows() {
        let url = text(&bids, "url", row);
        let channel = text(&bids, "channel", row);
        assert!(url.starts_with("https://www.nexmark.com/"), "{url}");
        assert_eq!(url.split('/').count(), 7, "{url}");
        let id = url.split_once("item.htm?query=1").unwrap().1;
        let Some(number) = channel.strip_prefix("channel-") else {
            assert_eq!(id, "");
            continue;
        };
        others += 1;
        if !id.is_empty() {
            with_id += 1;
            let bits: u32 = number.parse().unwrap();
            let expected = i64::from(bits.reverse_bits() as i32).abs();
            assert_eq!(id, format!("&channel_id={expected}"));
        }
    }
    near(f64::from(with_id) / f64::from(others), 0.9, 0.02);
}

/// As the benchmark counts bytes: eight for a number, one for each character.
#[test]
fn rows_have_their_size_on_average() {
    let generator = generator(1);
    let padded = |table, texts: &[&str], numbers: usize| {
        let batch = first(&generator, table, 500_000);
        let bytes: usize = texts
            .iter()
            .map(|name| batch.column_by_name(name).unwrap().as_string::<i32>())
            .map(|column| column.value_data().len())
            .sum();
        bytes as f64 / batch.num_rows() as f64 + (numbers * 8) as f64
    };
    let person = [
        "name",
        "emailAddress",
        "creditCard",
        "city",
        "state",
        "extra",
    ];
    near(padded(Table::Person, &person, 1), 200.0, 1.5);
    near(
        padded(Table::Auction, &["itemName", "description", "extra"], 6),
        500.0,
        2.0,
    );
    near(padded(Table::Bid, &["extra"], 4), 100.0, 1.0);
}

#[test]
fn records_are_json_dealt_out_in_turn() {
    let generator = generator(1);
    // Bytes of JSON on average: names, quotes and the pages of bids come on top.
    for (table, bytes) in [
        (Table::Person, 305.0),
        (Table::Auction, 612.0),
        (Table::Bid, 247.0),
    ] {
        let mut producer = Producer::try_new(generator.clone(), table, 3).unwrap();
        let mut partitions: [Vec<String>; 3] = Default::default();
        for events in [0..1_234, 1_234..1_234, 1_234..20_000] {
            for records in producer.records(events).unwrap() {
                assert!(records.timestamps.values().is_sorted());
                assert_eq!(records.keys.null_count(), records.len());
                let values = records.values.iter().flatten();
                partitions[records.partition as usize]
                    .extend(values.map(|value| String::from_utf8(value.to_vec()).unwrap()));
            }
        }
        let whole = producer_of_one(&generator, table)
            .records(0..20_000)
            .unwrap();
        let [whole] = whole.as_slice() else {
            panic!("one partition")
        };
        let mut total = 0;
        for (row, value) in whole.values.iter().flatten().enumerate() {
            total += value.len();
            assert_eq!(partitions[row % 3][row / 3].as_bytes(), value);
        }
        near(total as f64 / whole.len() as f64, bytes, bytes / 20.0);
        let first: serde_json::Value = serde_json::from_slice(whole.values.value(0)).unwrap();
        assert_eq!(first["dateTime"], whole.timestamps.value(0));
    }
    assert!(Producer::try_new(generator, Table::Bid, 0).is_err());
}

fn producer_of_one(generator: &Generator, table: Table) -> Producer {
    Producer::try_new(generator.clone(), table, 1).unwrap()
}
