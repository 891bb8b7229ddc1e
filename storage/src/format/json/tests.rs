//! The JSON decoder against a slow and simple twin, the [`reference`], and by examples.

mod reference;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BinaryArray, BooleanArray};
use arrow::datatypes::{DataType, Field, Fields, TimeUnit};
use proptest::prelude::*;

use self::reference::Value;
use super::super::{Decoded, Decoder, Encoder, Format, Side};

fn struct_of(fields: &[(&str, DataType)]) -> DataType {
    DataType::Struct(fields_of(fields))
}

fn fields_of(fields: &[(&str, DataType)]) -> Fields {
    fields
        .iter()
        .map(|(name, t)| Field::new(*name, t.clone(), true))
        .collect()
}

fn list_of(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("item", item, true)))
}

fn map_of(value: DataType) -> DataType {
    let fields = vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("value", value, true),
    ];
    let entries = Field::new("entries", DataType::Struct(fields.into()), false);
    DataType::Map(Arc::new(entries), false)
}

fn side(fields: &[(&str, DataType)]) -> Side {
    Side {
        format: Format::Json,
        fields: fields_of(fields),
        wrap_single: true,
    }
}

fn bare(data_type: DataType) -> Side {
    Side {
        wrap_single: false,
        ..side(&[("V", data_type)])
    }
}

/// A column of every type.
fn all_types() -> Side {
    side(&[
        ("B", DataType::Boolean),
        ("I", DataType::Int32),
        ("L", DataType::Int64),
        ("D", DataType::Float64),
        ("C", DataType::Decimal128(6, 2)),
        ("W", DataType::Decimal256(50, 10)),
        ("S", DataType::Utf8),
        ("T", DataType::Utf8View),
        ("Y", DataType::Binary),
        ("DATE", DataType::Date32),
        ("TIME", DataType::Time32(TimeUnit::Millisecond)),
        ("TS", DataType::Timestamp(TimeUnit::Millisecond, None)),
        ("A", list_of(DataType::Int64)),
        ("AA", list_of(list_of(DataType::Utf8))),
        ("M", map_of(DataType::Int64)),
        (
            "R",
            struct_of(&[("X", DataType::Int32), ("y", DataType::Utf8View)]),
        ),
        (
            "AR",
            list_of(struct_of(&[
                ("X", DataType::Int32),
                ("M", map_of(DataType::Utf8)),
            ])),
        ),
    ])
}

fn decode_with(side: &Side, projection: &[usize], payloads: &BinaryArray) -> Decoded {
    Decoder::try_new(side, projection)
        .unwrap()
        .decode(payloads)
        .unwrap()
}

fn decode(side: &Side, payload: &str) -> Decoded {
    let projection: Vec<usize> = (0..side.fields.len()).collect();
    decode_with(side, &projection, &BinaryArray::from_iter_values([payload]))
}

/// The only row's values.
fn values(side: &Side, payload: &str) -> Vec<Value> {
    let decoded = decode(side, payload);
    assert_eq!(decoded.bad, [], "{payload}");
    decoded
        .columns
        .iter()
        .map(|column| reference::value_of(column, 0))
        .collect()
}

/// The reason why the only row is bad.
fn reason(side: &Side, payload: &str) -> String {
    let mut decoded = decode(side, payload);
    assert!(
        decoded
            .columns
            .iter()
            .all(|column| column.len() == 1 && column.is_null(0))
    );
    decoded
        .bad
        .pop()
        .map(|bad| bad.reason)
        .unwrap_or_else(|| panic!("{payload} is not bad"))
}

fn text(text: &str) -> Value {
    Value::Text(text.into())
}

#[test]
fn reasons_name_the_place_and_what_is_there() {
    let side = all_types();
    for (payload, expected) in [
        (
            r#"{"I":"abc"}"#,
            r#"column "I": expected INTEGER, found string "abc""#,
        ),
        (
            r#"{"I":3000000000}"#,
            r#"column "I": expected INTEGER, found number 3000000000"#,
        ),
        (
            r#"{"I":true}"#,
            r#"column "I": expected INTEGER, found true"#,
        ),
        (
            r#"{"L":[1]}"#,
            r#"column "L": expected BIGINT, found an array"#,
        ),
        (
            r#"{"B":"true"}"#,
            r#"column "B": expected BOOLEAN, found string "true""#,
        ),
        (
            r#"{"D":1e999}"#,
            r#"column "D": expected DOUBLE, found number 1e999"#,
        ),
        (
            r#"{"C":1.234}"#,
            r#"column "C": expected DECIMAL(6, 2), found number 1.234"#,
        ),
        (
            r#"{"Y":"%"}"#,
            r#"column "Y": expected BYTES in base64, found string "%""#,
        ),
        (
            r#"{"TIME":86400000}"#,
            r#"column "TIME": expected TIME as milliseconds of the day, found number 86400000"#,
        ),
        (
            r#"{"A":[1,2,"x"]}"#,
            r#"column "A[3]": expected BIGINT, found string "x""#,
        ),
        (
            r#"{"A":{}}"#,
            r#"column "A": expected ARRAY<BIGINT>, found an object"#,
        ),
        (
            r#"{"M":{"k":{}}}"#,
            r#"column "M['k']": expected BIGINT, found an object"#,
        ),
        (
            r#"{"R":{"x":[]}}"#,
            r#"column "R->X": expected INTEGER, found an array"#,
        ),
        (
            r#"{"AR":[{},{"M":{"a":"b"},"X":{}}]}"#,
            r#"column "AR[2]->X": expected INTEGER, found an object"#,
        ),
        ("", "expected JSON, found an empty payload"),
        (" \n", "expected JSON, found an empty payload"),
        ("[1]", "expected a JSON object, found an array"),
        ("7", "expected a JSON object, found number 7"),
        (
            "{",
            "malformed JSON at byte 1: expected a field name in quotes, found the end",
        ),
        (
            r#"{"I":1"#,
            "malformed JSON at byte 6: expected ',' or '}', found the end",
        ),
        (
            r#"{"I":1}}"#,
            "malformed JSON at byte 7: expected the end of the record, found '}'",
        ),
        (
            r#"{"I" 1}"#,
            "malformed JSON at byte 5: expected ':', found '1'",
        ),
        (
            r#"{"I":é}"#,
            "malformed JSON at byte 5: expected a value, found 'é'",
        ),
        (
            r#"{"u":01}"#,
            "malformed JSON at byte 6: expected ',' or '}', found '1'",
        ),
        (
            r#"{"u":"\x"}"#,
            "malformed JSON at byte 6: no such escape in JSON",
        ),
        (
            r#"{"u":"\ud800"}"#,
            "malformed JSON at byte 6: half of a surrogate pair is no character",
        ),
        (
            "{\"u\":\"\n\"}",
            "malformed JSON at byte 6: control characters in strings must be escaped",
        ),
        (
            r#"{"u":"#,
            "malformed JSON at byte 5: expected a value, found the end",
        ),
    ] {
        assert_eq!(reason(&side, payload), expected, "{payload}");
    }
    let long = format!("{{\"I\":\"{}\"}}", "x".repeat(10_000));
    let expected = format!(
        "column \"I\": expected INTEGER, found string \"{}…\"",
        "x".repeat(40)
    );
    assert_eq!(reason(&side, &long), expected);
    let digits = format!("{{\"M\":{{\"{0}\":{0}}}}}", "1".repeat(10_000));
    let ones = "1".repeat(40);
    let expected = format!("column \"M['{ones}…']\": expected BIGINT, found number {ones}…");
    assert_eq!(reason(&side, &digits), expected);
    assert_eq!(
        reason(&bare(DataType::Int32), "\"a\""),
        r#"column "V": expected INTEGER, found string "a""#
    );
}

#[test]
fn invalid_utf8_is_bad_wherever_it_is_and_only_there() {
    let side = side(&[("S", DataType::Utf8)]);
    let payloads: Vec<&[u8]> = vec![
        b"{\"S\":\"a\"}",
        b"{\"S\":\"\xff\"}",
        b"{\"u\":\"\xc3\"}",
        // Together these two would be fine.
        b"{\"S\":\"x\xc3",
        b"\xa9\"}",
        b"{\"S\":\"b\"}",
    ];
    let decoded = decode_with(&side, &[0], &BinaryArray::from_vec(payloads));
    let bad: Vec<_> = decoded
        .bad
        .iter()
        .map(|bad| (bad.row, bad.reason.as_str()))
        .collect();
    assert_eq!(
        bad,
        [
            (1, "malformed JSON: not UTF-8 at byte 6"),
            (2, "malformed JSON: not UTF-8 at byte 6"),
            (3, "malformed JSON: not UTF-8 at byte 7"),
            (4, "malformed JSON: not UTF-8 at byte 0"),
        ]
    );
    let column: Vec<_> = (0..6)
        .map(|row| reference::value_of(&decoded.columns[0], row))
        .collect();
    let null = Value::Null;
    assert_eq!(
        column,
        [
            text("a"),
            null.clone(),
            null.clone(),
            null.clone(),
            null,
            text("b")
        ]
    );
}

#[test]
fn numbers_may_be_strings_and_integers_lose_their_fraction() {
    let side = all_types();
    let row = values(
        &side,
        r#"{"i":"-007","l":1.99e2,"d":"NaN","c":"12.5","w":1,"s":1.50,"t":true,"date":"-1",
           "time":0.9,"ts":"+9223372036854775807","a":["1",2.7,null],"y":"AA=="}"#,
    );
    assert_eq!(row[1], Value::Integer(-7));
    assert_eq!(row[2], Value::Integer(199));
    assert!(matches!(row[3], Value::Double(bits) if f64::from_bits(bits).is_nan()));
    assert_eq!(row[4], Value::Decimal("12.50".into()));
    assert_eq!(row[5], Value::Decimal("1.0000000000".into()));
    assert_eq!(row[6], text("1.50"));
    assert_eq!(row[7], text("true"));
    assert_eq!(row[8], Value::Bytes(vec![0]));
    assert_eq!(row[9], Value::Integer(-1));
    assert_eq!(row[10], Value::Integer(0));
    assert_eq!(row[11], Value::Integer(i64::MAX.into()));
    let items = vec![Value::Integer(1), Value::Integer(2), Value::Null];
    assert_eq!(row[12], Value::List(items));
}

#[test]
fn the_exact_name_counts_before_others_and_the_last_field_of_a_name() {
    let one = side(&[("FOO", DataType::Utf8)]);
    for (payload, expected) in [
        (r#"{"FOO":1,"foo":2}"#, "1"),
        (r#"{"foo":2,"FOO":1}"#, "1"),
        (r#"{"foo":2,"Foo":3}"#, "3"),
        (r#"{"FOO":1,"FOO":3,"fOO":4}"#, "3"),
        (r#"{"\u0046OO":5}"#, "5"),
    ] {
        assert_eq!(values(&one, payload), [text(expected)], "{payload}");
    }
    assert_eq!(values(&one, r#"{"foo":1,"FOO":null}"#), [Value::Null]);
    // An earlier value that does not fit does not matter.
    let number = side(&[("N", DataType::Int32)]);
    assert_eq!(values(&number, r#"{"N":"x","N":1}"#), [Value::Integer(1)]);
    let both = side(&[("foo", DataType::Utf8), ("FOO", DataType::Utf8)]);
    assert_eq!(values(&both, r#"{"foo":1}"#), [text("1"), text("1")]);
    assert_eq!(
        values(&both, r#"{"FOO":2,"foo":1}"#),
        [text("1"), text("2")]
    );
    assert_eq!(values(&both, r#"{"Foo":3}"#), [Value::Null, text("3")]);
    let map = side(&[("M", map_of(DataType::Int64))]);
    let pairs = vec![
        ("a".into(), Value::Integer(3)),
        ("b".into(), Value::Integer(2)),
    ];
    assert_eq!(
        values(&map, r#"{"M":{"a":"x","b":2,"\u0061":3}}"#),
        [Value::Map(pairs)]
    );
}

#[test]
fn null_in_all_its_forms() {
    let fields = side(&[("A", DataType::Int32), ("B", DataType::Utf8)]);
    let payloads = BinaryArray::from_opt_vec(vec![
        None,
        Some(b"null"),
        Some(b"{}"),
        Some(b"{\"a\":null,\"b\":null,\"c\":null}"),
        Some(b"{\"a\":1}"),
    ]);
    let decoded = decode_with(&fields, &[0, 1], &payloads);
    assert_eq!(decoded.bad, []);
    let nulls = decoded.nulls.unwrap();
    assert_eq!(
        nulls.iter().collect::<Vec<_>>(),
        [false, false, true, true, true]
    );
    assert_eq!(decoded.columns[0].null_count(), 4);
    assert_eq!(decoded.columns[1].null_count(), 5);

    let decoded = decode_with(&bare(DataType::Int32), &[0], &payloads.slice(0, 2));
    assert_eq!((decoded.bad.len(), decoded.columns[0].null_count()), (0, 2));
    assert_eq!(
        decoded.nulls.unwrap().null_count(),
        1,
        "a bare null is a value that is NULL"
    );
}

#[test]
fn malformed_records_are_bad_whatever_is_read() {
    let side = side(&[("A", DataType::Int32), ("B", DataType::Utf8)]);
    let payloads = BinaryArray::from_iter_values([
        "{\"A\":1,\"B\":\"x\"}",
        "{\"A\":1,\"B\":\"\\q\"}",
        "{\"A\":1,\"B\":\"x\"",
        "{\"A\":1,\"B\":[1,{\"x\":01}]}",
        "{\"A\":1,\"B\":[1,{\"x\":[]}]}",
        "17",
    ]);
    for projection in [&[][..], &[0], &[1], &[1, 0]] {
        let decoded = decode_with(&side, projection, &payloads);
        let rows: Vec<_> = decoded.bad.iter().map(|bad| bad.row).collect();
        assert_eq!(rows, [1, 2, 3, 5], "{projection:?}");
        assert_eq!(decoded.columns.len(), projection.len());
    }
    // What a value's type is matters only where it is read.
    let payloads = BinaryArray::from_iter_values(["{\"A\":\"x\",\"B\":\"x\"}"]);
    assert_eq!(decode_with(&side, &[1], &payloads).bad, []);
    assert_eq!(decode_with(&side, &[0], &payloads).bad.len(), 1);
}

#[test]
fn ordinary_records_take_the_fast_path() {
    let side = all_types();
    let all: Vec<usize> = (0..side.fields.len()).collect();
    let full = "{\"B\":true,\"I\":-1,\"L\":9007199254740993,\"D\":1.5e10,\"C\":1.50,\"W\":\"0.1\",\
        \"S\":\"a/\\\"\\u001F\\né\",\"T\":null,\"Y\":\"AAE=\",\"DATE\":-1,\"TIME\":1,\"TS\":-5,\
        \"A\":[1,null],\"AA\":[[\"x\"],[],null],\"M\":{\"k\":1,\"n\":null},\
        \"R\":{\"X\":1,\"y\":null},\"AR\":[{\"X\":null,\"M\":{}},null]}";
    let payloads = BinaryArray::from_iter_values([
        full,
        &full.replace(',', ", ").replace(':', ": "),
        "{}",
        " { } \n",
        "{\"i\":12.7,\"s\":12.50,\"unknown\":{\"x\":[1,2,{}]},\"t\":{\"a\":1}}",
        "{\"S\":\"x\",\"I\":1,\"L\":\"7\"}",
        full,
    ]);
    let mut decoder = super::Decoder::try_new(&side, &all).unwrap();
    for _ in 0..3 {
        assert_eq!(decoder.decode(&payloads).unwrap().bad, []);
    }
    assert_eq!(decoder.given_up, 0);
    let twice = BinaryArray::from_iter_values(["{\"I\":1,\"I\":2}"]);
    assert_eq!(decoder.decode(&twice).unwrap().bad, []);
    assert_eq!(decoder.given_up, 1);
}

#[test]
fn fields_that_are_never_the_same_are_found_all_the_same() {
    let side = side(&[("A", DataType::Int32), ("B", DataType::Int32)]);
    let rows = (0..5_000).map(|i| match i % 3 {
        0 => format!("{{\"x{i}\":1,\"A\":{i},\"y{i}\":[],\"B\":{i}}}"),
        1 => format!("{{\"B\":{i},\"z{i}\":{{\"x\":1}},\"A\":{i}}}"),
        _ => format!("{{\"b\":{i},\"{}{i}\":1,\"a\":{i}}}", "long".repeat(100)),
    });
    let payloads = BinaryArray::from_iter_values(rows);
    let mut decoder = super::Decoder::try_new(&side, &[0, 1]).unwrap();
    for _ in 0..4 {
        let decoded = decoder.decode(&payloads).unwrap();
        assert_eq!(decoded.bad, []);
        for (row, i) in (0..5_000).enumerate() {
            assert_eq!(
                reference::value_of(&decoded.columns[0], row),
                Value::Integer(i)
            );
            assert_eq!(
                reference::value_of(&decoded.columns[1], row),
                Value::Integer(i)
            );
        }
    }
    assert_eq!(decoder.given_up, 0);
}

#[test]
fn depth_is_limited_and_size_is_not() {
    let side = side(&[("S", DataType::Utf8), ("A", list_of(DataType::Utf8))]);
    let nested = |levels: usize| format!("{{\"u\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
    assert_eq!(decode(&side, &nested(127)).bad, []);
    assert_eq!(
        reason(&side, &nested(128)),
        "malformed JSON at byte 132: nested deeper than 128 levels"
    );
    let deep = format!("{{\"s\":{}}}", "{\"a\":".repeat(1_000_000));
    assert!(reason(&side, &deep).ends_with("nested deeper than 128 levels"));
    let as_text = format!("{{\"s\":{}{}}}", "[".repeat(127), "]".repeat(127));
    assert_eq!(
        values(&side, &as_text)[0],
        text(&as_text[5..as_text.len() - 1])
    );
    let long = "é".repeat(5_000_000);
    assert_eq!(
        values(&side, &format!("{{\"S\":\"{long}\"}}"))[0],
        text(&long)
    );
    let many = format!("{{\"A\":[{}1]}}", "1,".repeat(1_000_000));
    assert!(matches!(&values(&side, &many)[1], Value::List(items) if items.len() == 1_000_001));
    let digits = "9".repeat(10_000_000);
    assert_eq!(
        values(&side, &format!("{{\"S\":{digits}}}"))[0],
        text(&digits)
    );
    let twice = format!("{{\"S\":{digits},\"s\":1e{digits}}}");
    assert_eq!(values(&side, &twice)[0], text(&digits));
}

#[test]
fn a_sliced_batch_is_decoded_like_a_whole_one() {
    let side = side(&[("S", DataType::Utf8), ("T", DataType::Utf8View)]);
    let rows: Vec<_> = (0..10)
        .map(|i| format!("{{\"S\":\"{i}é\",\"T\":\"a long string that is no inline view {i}\"}}"))
        .collect();
    let payloads = BinaryArray::from_iter_values(rows);
    let whole = decode_with(&side, &[1, 0], &payloads);
    for (start, len) in [(0, 10), (3, 4), (9, 1), (5, 0)] {
        let part = decode_with(&side, &[1, 0], &payloads.slice(start, len));
        assert_eq!(part.bad, []);
        for (whole, part) in whole.columns.iter().zip(&part.columns) {
            assert_eq!(&whole.slice(start, len), part);
        }
    }
}

#[test]
fn encoding_writes_what_jackson_would() {
    let side = all_types();
    let payload = "{\"B\":true,\"I\":-1,\"L\":9007199254740993,\"D\":1.0E10,\"C\":1.50,\
        \"W\":0.1000000000,\"S\":\"a/\\\"\\\\\\u001F\\né\",\"T\":null,\"Y\":\"AAE=\",\"DATE\":-1,\
        \"TIME\":1,\"TS\":-5,\"A\":[1,null],\"AA\":[[\"x\"],[],null],\"M\":{\"k\":1,\"n\":null},\
        \"R\":{\"X\":1,\"y\":null},\"AR\":[{\"X\":null,\"M\":{}},null]}";
    let columns = decode(&side, payload).columns;
    let mut encoder = Encoder::try_new(&side).unwrap();
    let encoded = encoder.encode(&columns, None, 1).unwrap();
    assert_eq!(std::str::from_utf8(encoded.value(0)).unwrap(), payload);
    let encoded = encoder
        .encode(&columns, Some(&BooleanArray::from(vec![true])), 1)
        .unwrap();
    assert!(encoded.is_null(0));
}

#[test]
fn a_bare_null_is_a_null_payload() {
    let column: ArrayRef = Arc::new(arrow::array::Float64Array::from(vec![
        Some(f64::NAN),
        None,
        Some(f64::NEG_INFINITY),
        Some(0.5),
    ]));
    let mut encoder = Encoder::try_new(&bare(DataType::Float64)).unwrap();
    let encoded = encoder
        .encode(std::slice::from_ref(&column), None, 4)
        .unwrap();
    let texts: Vec<_> = encoded
        .iter()
        .map(|v| v.map(|v| String::from_utf8_lossy(v).into_owned()))
        .collect();
    assert_eq!(
        texts,
        [
            Some("\"NaN\"".into()),
            None,
            Some("\"-Infinity\"".into()),
            Some("0.5".into())
        ]
    );
    let decoded = decode_with(&bare(DataType::Float64), &[0], &encoded);
    assert_eq!(decoded.bad, []);
    assert_eq!(decoded.columns[0].null_count(), 1);
    let wrapped = side(&[("V", DataType::Float64)]);
    let encoded = Encoder::try_new(&wrapped)
        .unwrap()
        .encode(&[column], None, 4)
        .unwrap();
    assert_eq!(encoded.value(1), b"{\"V\":null}");
}

#[test]
fn layouts_that_plans_make_are_encoded_too() {
    use arrow::compute::cast;
    let side = side(&[("S", DataType::Utf8), ("Y", DataType::Binary)]);
    let columns = decode(
        &side,
        r#"{"S":"a string longer than an inline view","Y":"AAECAwQFBgcICQoLDA0O"}"#,
    )
    .columns;
    let mut encoder = Encoder::try_new(&side).unwrap();
    let expected = encoder.encode(&columns, None, 1).unwrap();
    for (string, bytes) in [
        (DataType::Utf8View, DataType::BinaryView),
        (DataType::LargeUtf8, DataType::LargeBinary),
    ] {
        let columns = [
            cast(&columns[0], &string).unwrap(),
            cast(&columns[1], &bytes).unwrap(),
        ];
        assert_eq!(encoder.encode(&columns, None, 1).unwrap(), expected);
    }
    let swapped = [columns[1].clone(), columns[0].clone()];
    assert!(encoder.encode(&swapped, None, 1).is_err());
}

/// JSON for a random column, of the right type or any.
fn json_text() -> impl Strategy<Value = String> {
    let blank = || "( |\t|\n){0,1}";
    let string = "\"([a-zA-Z é😀]|\\\\n|\\\\\"|\\\\u00e9|\\\\ud83d\\\\ude00|[0-9]){0,14}\"";
    let number = "-?(0|[1-9][0-9]{0,7})(\\.[0-9]{1,4})?([eE][-+]?[0-2])?";
    let leaf = prop_oneof![
        4 => number,
        2 => "-?[1-9][0-9]{0,20}",
        2 => "\"[-+]?[0-9]{1,9}(\\.[0-9]{1,3})?\"",
        4 => string,
        1 => "\"([A-Za-z0-9+/]{4}){0,3}\"",
        1 => prop::sample::select(vec!["null", "true", "false", "\"NaN\"", "\"-Infinity\""]).prop_map(str::to_owned),
    ];
    let names =
        "\"(B|b|I|i|L|D|d|C|W|S|s|T|Y|DATE|TIME|TS|A|AA|M|m|R|AR|x|X|y|Y|\\\\u0053|other)\"";
    leaf.prop_recursive(4, 40, 5, move |inner| {
        let item = (blank(), inner.clone(), blank()).prop_map(|(a, v, b)| format!("{a}{v}{b}"));
        let field = (blank(), names, blank(), item.clone())
            .prop_map(|(a, name, b, value)| format!("{a}{name}{b}:{value}"));
        prop_oneof![
            prop::collection::vec(item, 0..5).prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::vec(field, 0..6).prop_map(|f| format!("{{{}}}", f.join(","))),
        ]
    })
}

/// A record of some of the columns with values that mostly fit.
fn record() -> impl Strategy<Value = String> {
    let field = prop_oneof![
        "\"[Bb]\":(true|false|null)",
        "\"[Ii]\":(-?[1-9][0-9]{0,8}|null|\"[0-9]{1,6}\")",
        "\"[Ll]\": ?-?[1-9][0-9]{0,17}",
        "\"D\":-?[1-9][0-9]{0,10}(\\.[0-9]{1,8})?([eE]-?[1-9][0-9]?)?",
        "\"C\":-?[1-9][0-9]{0,3}(\\.[0-9]{1,2}0?)?",
        "\"W\":\"?-?[1-9][0-9]{0,20}\\.[0-9]{1,10}\"?",
        "\"[Ss]\":\"([a-zé ]|\\\\u00e9|\\\\/){0,20}\"",
        "\"T\":\"[a-z]{0,30}\"",
        "\"Y\":\"([A-Za-z0-9+/]{4}){0,4}\"",
        "\"(DATE|Date|TIME|TS)\":[1-9][0-9]{0,6}",
        "\"A\":\\[([1-9][0-9]?(, ?[1-9]){0,3})?\\]",
        "\"AA\":\\[(\\[(\"[a-z]{1,3}\"(,\"[a-z]\"){0,2})?\\](,\\[\\]){0,2})?\\]",
        "\"M\":\\{(\"[a-c]\":[1-9](,\"[a-d]\":[1-9]){0,3})?\\}",
        "\"R\":\\{(\"X\":[1-9](,\"y\":\"[a-z]{0,3}\")?)?\\}",
        "\"AR\":\\[(\\{\"X\":[1-9],\"M\":\\{\"[a-c]\":\"x\"\\}\\}(,null)?)?\\]",
        "\"other\":(1|\"x\"|null|\\[1,\\{\\}\\])",
    ];
    let shape = |fields: Vec<String>| format!("{{{}}}", fields.join(","));
    prop_oneof![
        4 => prop::collection::vec(field, 0..10).prop_map(shape),
        1 => json_text(),
    ]
}

fn batch() -> impl Strategy<Value = Vec<Option<Vec<u8>>>> {
    let payload = (
        record(),
        0..10_u8,
        any::<prop::sample::Index>(),
        any::<u8>(),
    );
    let payload = payload.prop_map(|(record, kind, at, byte)| {
        let mut payload = record.into_bytes();
        let at = at.index(payload.len() + 1);
        match kind {
            0 => payload.truncate(at),
            1 => payload.insert(at, byte),
            2 if at < payload.len() => payload[at] = byte,
            3 => return None,
            _ => {}
        }
        Some(payload)
    });
    prop::collection::vec(payload, 1..24)
}

fn check_against_reference(
    side: &Side,
    projection: &[usize],
    batch: &[Option<Vec<u8>>],
) -> Result<(), TestCaseError> {
    let payloads = BinaryArray::from_opt_vec(batch.iter().map(|p| p.as_deref()).collect());
    let mut decoder = Decoder::try_new(side, projection).unwrap();
    // The second time it guesses, and guesses right and wrong.
    for _ in 0..2 {
        let decoded = decoder.decode(&payloads).unwrap();
        let mut bad = decoded.bad.iter().map(|bad| bad.row).peekable();
        for (row, payload) in batch.iter().enumerate() {
            let expected = reference::decode(side, projection, payload.as_deref());
            let shown = payload.as_deref().map(String::from_utf8_lossy);
            prop_assert_eq!(
                bad.next_if_eq(&row).is_none(),
                expected.is_ok(),
                "{:?}",
                shown
            );
            let null = || vec![Value::Null; projection.len()];
            let expected = expected.unwrap_or_else(|()| null());
            for (column, expected) in decoded.columns.iter().zip(expected) {
                prop_assert_eq!(reference::value_of(column, row), expected, "{:?}", shown);
            }
        }
        for (column, &i) in decoded.columns.iter().zip(projection) {
            prop_assert_eq!(column.data_type(), side.fields[i].data_type());
            prop_assert_eq!(column.len(), batch.len());
            column
                .to_data()
                .validate_full()
                .map_err(|e| TestCaseError::fail(e.to_string()))?;
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn the_fast_path_equals_its_slow_twin(batch in batch(), picks: u32, reversed: bool) {
        let side = all_types();
        let all = 0..side.fields.len();
        let mut projection: Vec<usize> = all.filter(|i| picks >> i & 1 == 1).collect();
        if reversed { projection.reverse() }
        check_against_reference(&side, &projection, &batch)?;
    }

    #[test]
    fn bare_values_equal_the_slow_twin(batch in batch(), column in 0..17_usize, read: bool) {
        let side = bare(all_types().fields[column].data_type().clone());
        check_against_reference(&side, if read { &[0] } else { &[] }, &batch)?;
    }

    #[test]
    fn any_bytes_are_taken(batch in prop::collection::vec(any::<Option<Vec<u8>>>(), 0..20)) {
        check_against_reference(&all_types(), &[0, 6, 3], &batch)?;
        check_against_reference(&bare(DataType::Utf8), &[0], &batch)?;
    }

    #[test]
    fn what_is_encoded_is_decoded_again(batch in batch()) {
        let side = all_types();
        let projection: Vec<usize> = (0..side.fields.len()).collect();
        let payloads = BinaryArray::from_opt_vec(batch.iter().map(|p| p.as_deref()).collect());
        let columns = decode_with(&side, &projection, &payloads).columns;
        let encoded = Encoder::try_new(&side).unwrap().encode(&columns, None, batch.len()).unwrap();
        for payload in encoded.iter().flatten() {
            prop_assert!(serde_json::from_slice::<serde_json::Value>(payload).is_ok());
        }
        let again = decode_with(&side, &projection, &encoded);
        prop_assert_eq!(again.bad, []);
        for (once, twice) in columns.iter().zip(&again.columns) {
            for row in 0..batch.len() {
                prop_assert_eq!(reference::value_of(once, row), reference::value_of(twice, row));
            }
        }
    }
}
