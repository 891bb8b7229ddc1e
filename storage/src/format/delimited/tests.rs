//! DELIMITED by examples and by round trips.

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray};
use arrow::datatypes::{DataType, Field, Fields, TimeUnit};
use proptest::prelude::*;

use super::super::{Decoded, Decoder, Encoder, Format, Side};

fn side(types: &[DataType]) -> Side {
    let field = |(i, t): (usize, &DataType)| Field::new(format!("C{i}"), t.clone(), true);
    let fields: Fields = types.iter().enumerate().map(field).collect();
    Side {
        format: Format::Delimited { delimiter: ',' },
        fields,
        wrap_single: true,
    }
}

fn strings(count: usize) -> Side {
    side(&vec![DataType::Utf8; count])
}

fn with_delimiter(delimiter: char, side: Side) -> Side {
    Side {
        format: Format::Delimited { delimiter },
        ..side
    }
}

fn decode(side: &Side, line: &[u8]) -> Decoded {
    let projection: Vec<usize> = (0..side.fields.len()).collect();
    Decoder::try_new(side, &projection)
        .unwrap()
        .decode(&BinaryArray::from_vec(vec![line]))
        .unwrap()
}

fn texts(side: &Side, line: &str) -> Vec<Option<String>> {
    let decoded = decode(side, line.as_bytes());
    assert_eq!(decoded.bad, [], "{line}");
    decoded
        .columns
        .iter()
        .map(|c| {
            c.is_valid(0)
                .then(|| c.as_string::<i32>().value(0).to_owned())
        })
        .collect()
}

fn reason(side: &Side, line: &[u8]) -> String {
    let mut decoded = decode(side, line);
    assert!(
        decoded
            .columns
            .iter()
            .all(|column| column.len() == 1 && column.is_null(0))
    );
    decoded.bad.pop().unwrap().reason
}

fn encode(side: &Side, columns: &[ArrayRef]) -> Vec<String> {
    let rows = columns[0].len();
    let lines = Encoder::try_new(side)
        .unwrap()
        .encode(columns, None, rows)
        .unwrap();
    lines
        .iter()
        .map(|line| String::from_utf8(line.unwrap().to_vec()).unwrap())
        .collect()
}

#[test]
fn values_in_quotes_and_without() {
    let some = |texts: &[&str]| {
        texts
            .iter()
            .map(|t| Some((*t).to_owned()))
            .collect::<Vec<_>>()
    };
    let two = strings(2);
    assert_eq!(texts(&two, "a,b"), some(&["a", "b"]));
    assert_eq!(texts(&two, "\"a\",\"b,c\""), some(&["a", "b,c"]));
    assert_eq!(
        texts(&two, "\"a\"\"b\"  ,\"line\nend\""),
        some(&["a\"b", "line\nend"])
    );
    assert_eq!(
        texts(&two, "a \"b\" c, \"d\""),
        some(&["a \"b\" c", " \"d\""])
    );
    assert_eq!(texts(&two, "a,b\r\n"), some(&["a", "b"]));
    assert_eq!(texts(&two, ","), [None, None]);
    assert_eq!(texts(&two, "\"\",x"), some(&["", "x"]));
    assert_eq!(texts(&strings(1), ""), [None]);
    let tab = with_delimiter('\t', strings(2));
    assert_eq!(texts(&tab, "a b\t\"c\td\""), some(&["a b", "c\td"]));
    let space = with_delimiter(' ', strings(3));
    assert_eq!(texts(&space, "0 zero 0"), some(&["0", "zero", "0"]));
    let wide = with_delimiter('¦', strings(3));
    assert_eq!(texts(&wide, "a¦\"b¦\"¦é\n"), some(&["a", "b¦", "é"]));
}

#[test]
fn every_type_is_read_and_written() {
    let side = side(&[
        DataType::Boolean,
        DataType::Int32,
        DataType::Int64,
        DataType::Float64,
        DataType::Decimal128(21, 19),
        DataType::Utf8,
        DataType::Binary,
        DataType::Date32,
        DataType::Time32(TimeUnit::Millisecond),
        DataType::Timestamp(TimeUnit::Millisecond, None),
    ]);
    let line = "true,-5,7,1.5E10,-1.0123451234512345123,x y,dmFyaWF0aW9ucw==,-10,5,17";
    let decoded = decode(&side, line.as_bytes());
    assert_eq!(decoded.bad, []);
    assert_eq!(encode(&side, &decoded.columns), [line]);
    let nulls = decode(&side, b",,,,,,,,,");
    assert!(nulls.bad.is_empty() && nulls.columns.iter().all(|column| column.is_null(0)));
    assert_eq!(encode(&side, &nulls.columns), [",,,,,,,,,"]);
}

#[test]
fn lines_are_quoted_as_commons_csv_does() {
    let numbers = side(&[DataType::Int32, DataType::Int32]);
    let columns = decode(&numbers, b"-1,-2").columns;
    assert_eq!(encode(&numbers, &columns), ["\"-1\",-2"]);
    let two = strings(2);
    for (line, expected) in [
        ("a,b", "a,b"),
        ("\"a,b\",\"c\"\"d\"", "\"a,b\",\"c\"\"d\""),
        ("_a,_b", "\"_a\",_b"),
        ("a,é", "a,é"),
        ("é,a", "\"é\",a"),
        ("a,#b", "a,\"#b\""),
        ("a, b", "a,\" b\""),
        ("a,b ", "a,\"b \""),
        ("a,\"x\ny\"", "a,\"x\ny\""),
        ("\"\",\"\"", "\"\",\"\""),
        (",\"\"", ",\"\""),
    ] {
        assert_eq!(
            encode(&two, &decode(&two, line.as_bytes()).columns),
            [expected],
            "{line}"
        );
    }
}

#[test]
fn reasons_name_the_column_or_the_place() {
    let side = side(&[DataType::Int32, DataType::Boolean, DataType::Utf8]);
    for (line, expected) in [
        (&b"1,true"[..], "expected 3 columns, found 2"),
        (b"x,true,a,b", "expected 3 columns, found 4"),
        (b"", "expected 3 columns, found 0"),
        (b"x,true,a", "column \"C0\": expected INTEGER, found \"x\""),
        (
            b" 1,true,a",
            "column \"C0\": expected INTEGER, found \" 1\"",
        ),
        (
            b"3000000000,true,a",
            "column \"C0\": expected INTEGER, found \"3000000000\"",
        ),
        (b"1,yes,a", "column \"C1\": expected BOOLEAN, found \"yes\""),
        (
            b"1,true,\"a",
            "malformed line: the quote at byte 7 is never closed",
        ),
        (
            b"1,true,\"a\"b",
            "malformed line at byte 10: expected a delimiter after the closing quote",
        ),
        (
            b"1,true,a\n2,true,b",
            "expected one line, found another at byte 9",
        ),
        (b"1,true,\xff", "malformed line: not UTF-8 at byte 7"),
    ] {
        assert_eq!(reason(&side, line), expected);
    }
}

#[test]
fn what_is_not_read_is_counted_and_never_in_the_way() {
    let side = side(&[DataType::Int32, DataType::Utf8, DataType::Utf8View]);
    let lines: Vec<&[u8]> = vec![b"x,\"a\"\"b\",c", b"1,d", b"2,e,f", b"3,\"g,h"];
    let mut decoder = Decoder::try_new(&side, &[2, 1]).unwrap();
    let decoded = decoder.decode(&BinaryArray::from_vec(lines)).unwrap();
    let rows: Vec<_> = decoded.bad.iter().map(|bad| bad.row).collect();
    assert_eq!(rows, [1, 3]);
    let column: Vec<_> = decoded.columns[1].as_string::<i32>().iter().collect();
    assert_eq!(column, [Some("a\"b"), None, Some("e"), None]);
    let column: Vec<_> = decoded.columns[0].as_string_view().iter().collect();
    assert_eq!(column, [Some("c"), None, Some("f"), None]);
}

#[test]
fn halves_of_a_character_do_not_make_a_whole() {
    let lines: Vec<&[u8]> = vec![b"a\xc3", b"\xa9b", b"", b"c"];
    let mut decoder = Decoder::try_new(&strings(1), &[0]).unwrap();
    let decoded = decoder.decode(&BinaryArray::from_vec(lines)).unwrap();
    let rows: Vec<_> = decoded.bad.iter().map(|bad| bad.row).collect();
    assert_eq!(rows, [0, 1]);
}

proptest! {
    #[test]
    fn strings_come_back_as_they_were(
        rows in prop::collection::vec(prop::array::uniform3(any::<Option<String>>()), 1..10),
        nasty in prop::collection::vec(prop::array::uniform3(prop::option::of("[\",\r\n #a-]{0,5}")), 1..10),
        delimiter in prop::sample::select(vec![',', '\t', ' ', '|', '-', 'a', '¦']),
    ) {
        let side = with_delimiter(delimiter, strings(3));
        for rows in [rows, nasty] {
            let columns: Vec<ArrayRef> = (0..3)
                .map(|i| {
                    let column: arrow::array::StringArray =
                        rows.iter().map(|row| row[i].clone()).collect();
                    std::sync::Arc::new(column) as ArrayRef
                })
                .collect();
            let mut encoder = Encoder::try_new(&side).unwrap();
            let lines = encoder.encode(&columns, None, rows.len()).unwrap();
            let decoded = Decoder::try_new(&side, &[0, 1, 2]).unwrap().decode(&lines).unwrap();
            prop_assert_eq!(decoded.bad, []);
            prop_assert_eq!(decoded.columns, columns);
        }
    }

    #[test]
    fn any_bytes_are_taken(lines in prop::collection::vec(any::<Option<Vec<u8>>>(), 0..10), text in "[\",\r\n a1]{0,12}") {
        let types = [DataType::Utf8, DataType::Int64, DataType::Utf8View];
        let text = text.into_bytes();
        let lines = lines.iter().map(|line| line.as_deref()).chain([Some(&text[..])]).collect();
        let lines = BinaryArray::from_opt_vec(lines);
        for side in [side(&types), side(&types[..1]), with_delimiter('¦', side(&types))] {
            let all: Vec<usize> = (0..side.fields.len()).collect();
            for projection in [&all[..], &[0], &[]] {
                let decoded =
                    Decoder::try_new(&side, projection).unwrap().decode(&lines).unwrap();
                for column in &decoded.columns {
                    prop_assert_eq!(column.len(), lines.len());
                }
            }
        }
    }
}
