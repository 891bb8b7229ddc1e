//! Blocks: round trips, and damage found.

use std::sync::Arc;

use arrow::array::{Int64Array, ListArray, StringArray, StructArray};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::datatypes::DataType;
use proptest::prelude::*;

use super::*;
use crate::record::headers_type;

type Header = (String, Option<Vec<u8>>);
type Row = (i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<Header>);

fn headers_of(rows: &[Row]) -> ListArray {
    let DataType::List(item) = headers_type() else {
        panic!("not a list")
    };
    let DataType::Struct(fields) = item.data_type().clone() else {
        panic!("not a struct")
    };
    let all = || rows.iter().flat_map(|row| row.3.iter());
    let keys: StringArray = all().map(|header| Some(&header.0)).collect();
    let values: BinaryArray = all().map(|header| header.1.as_deref()).collect();
    let entries = StructArray::new(fields, vec![Arc::new(keys), Arc::new(values)], None);
    let mut ends = vec![0_i32];
    ends.extend(rows.iter().scan(0, |sum, row| {
        *sum += row.3.len() as i32;
        Some(*sum)
    }));
    ListArray::new(
        item,
        OffsetBuffer::new(ScalarBuffer::from(ends)),
        Arc::new(entries),
        None,
    )
}

fn new_records(rows: &[Row]) -> NewRecords {
    NewRecords {
        partition: 7,
        timestamps: rows.iter().map(|row| row.0).collect::<Vec<_>>().into(),
        keys: rows.iter().map(|row| row.1.as_deref()).collect(),
        values: rows.iter().map(|row| row.2.as_deref()).collect(),
        headers: Some(headers_of(rows)),
    }
}

fn rows_of(records: &Records) -> Vec<(i64, Row)> {
    let value = |array: &BinaryArray, row| array.is_valid(row).then(|| array.value(row).to_vec());
    let headers = |row: usize| -> Vec<Header> {
        let Some(lists) = &records.headers else {
            return Vec::new();
        };
        let list = lists.value(row);
        let entries = list.as_struct();
        let (keys, values) = (
            entries.column(0).as_string::<i32>(),
            entries.column(1).as_binary(),
        );
        (0..list.len())
            .map(|i| (keys.value(i).to_owned(), value(values, i)))
            .collect()
    };
    let row = |row: usize| {
        let timestamp = records.timestamps.value(row);
        let (key, value) = (value(&records.keys, row), value(&records.values, row));
        (
            records.offsets.value(row),
            (timestamp, key, value, headers(row)),
        )
    };
    (0..records.len()).map(row).collect()
}

fn any_row() -> impl Strategy<Value = Row> {
    let bytes = || proptest::option::weighted(0.8, proptest::collection::vec(any::<u8>(), 0..20));
    let headers = proptest::collection::vec(("[a-z]{0,5}", bytes()), 0..3);
    (
        any::<i64>(),
        bytes(),
        bytes(),
        prop_oneof![3 => Just(Vec::new()), 1 => headers],
    )
}

proptest! {
    #[test]
    fn new_records_round_trip(rows in proptest::collection::vec(any_row(), 1..60), cut in 0_usize..60) {
        // Sliced, so that every array begins somewhere within its buffers.
        let cut = cut.min(rows.len() - 1);
        let mut records = new_records(&rows);
        let len = rows.len() - cut;
        records.timestamps = records.timestamps.slice(cut, len);
        records.keys = records.keys.slice(cut, len);
        records.values = records.values.slice(cut, len);
        records.headers = records.headers.map(|headers| headers.slice(cut, len));
        let back = NewRecords::from_bytes(&records.to_bytes()?)?;
        prop_assert_eq!(back.partition, 7);
        let offsets = Int64Array::from_iter_values(0..len as i64);
        let NewRecords { timestamps, keys, values, headers, .. } = back;
        let back = rows_of(&Records { offsets, timestamps, keys, values, headers });
        let back: Vec<Row> = back.into_iter().map(|(_, row)| row).collect();
        prop_assert_eq!(&back, &rows[cut..]);
    }

    /// Several blocks with gaps, read in pieces from any offset on.
    #[test]
    fn kept_records_round_trip(
        blocks in proptest::collection::vec(proptest::collection::vec((any_row(), 0_i64..5), 1..9), 1..5),
        from in 0_i64..40,
        at_most in 1_usize..12,
    ) {
        let mut expected = Vec::new();
        let mut sealed = Vec::new();
        let mut next = 3;
        for rows in blocks {
            let offsets: Vec<i64> = rows.iter().map(|(_, gap)| { next += gap + 1; next - 1 }).collect();
            let rows: Vec<Row> = rows.into_iter().map(|(row, _)| row).collect();
            let NewRecords { timestamps, keys, values, headers, .. } = new_records(&rows);
            let records = Records { offsets: offsets.clone().into(), timestamps, keys, values, headers };
            expected.extend(offsets.into_iter().zip(rows));
            for (first, block) in encode_kept(&records)? {
                sealed.push((first, block.seal(99, 5)));
            }
        }
        let mut collector = Collector::default();
        for (first, bytes) in &sealed {
            let block = Block::parse(*first, bytes)?;
            prop_assert_eq!((block.bytes_before(), block.tombstones_until()), (99, Some(5)));
            let start = block.row_at(from);
            let room = collector.room(&block, start, at_most, usize::MAX);
            collector.extend(&block, start..start + room)?;
        }
        let expected: Vec<_> =
            expected.into_iter().filter(|(offset, _)| *offset >= from).take(at_most).collect();
        prop_assert_eq!(rows_of(&collector.finish()?), expected);
    }

    #[test]
    fn a_damaged_byte_is_found(at in 0_usize..200, bit in 0_u8..8) {
        let rows = [(5, Some(b"key".to_vec()), None, vec![("h".to_owned(), Some(vec![1]))])];
        let mut bytes = encode_new(&new_records(&rows))?.remove(0).seal(1, 2);
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        prop_assert!(Block::parse(0, &bytes).is_err());
        bytes[at] ^= 1 << bit;
        prop_assert!(Block::parse(0, &bytes[..at]).is_err());
    }
}

#[test]
fn large_runs_are_cut() {
    let row = |len: usize| (1, None, Some(vec![7; len]), Vec::new());
    let mut rows: Vec<Row> = vec![row(BLOCK_BYTES * 3)];
    rows.extend(std::iter::repeat_n(row(BLOCK_BYTES / 4), 6));
    rows.extend(std::iter::repeat_n(row(0), BLOCK_RECORDS + 1));
    let blocks = encode_new(&new_records(&rows)).unwrap();
    let lengths: Vec<i64> = blocks.iter().map(|block| block.next_offset(0)).collect();
    let total = 7 + BLOCK_RECORDS as i64 + 1;
    assert_eq!(lengths[..2], [1, 4]);
    assert_eq!(lengths.iter().sum::<i64>(), total);
    assert!(lengths.iter().all(|len| *len <= BLOCK_RECORDS as i64));
}

#[test]
fn a_fetch_stops_at_its_limits_but_takes_one_record() {
    let rows: Vec<Row> = (0..10)
        .map(|i| (i, None, Some(vec![0; 100]), Vec::new()))
        .collect();
    let bytes = encode_new(&new_records(&rows))
        .unwrap()
        .remove(0)
        .seal(0, 0);
    let block = Block::parse(0, &bytes).unwrap();
    let mut collector = Collector::default();
    for (records_max, bytes_max, expected) in [
        (10, 0, 1),
        (10, 100, 1),
        (10, 101, 2),
        (3, 1000, 3),
        (99, 99_999, 10),
        (0, 10, 0),
    ] {
        assert_eq!(collector.room(&block, 0, records_max, bytes_max), expected);
    }
    collector.extend(&block, 0..2).unwrap();
    assert_eq!(collector.room(&block, 2, 10, 200), 0);
    assert_eq!(collector.room(&block, 2, 10, 201), 1);
}
