//! KAFKA: one column as Kafka's own serialisers write it. Numbers are big-endian and take exactly
//! their width, strings are UTF-8, bytes are themselves; nothing is coerced. Also no column at all,
//! in a topic of which only the other side matters.

use arrow::array::{Array, ArrayRef, BinaryArray};
use arrow::datatypes::{DataType, FieldRef, Fields};

use super::cells::{Cells, Payloads, Values};
use super::column::{Scalar, Strings};
use super::sql_type;
use super::utf8::Utf8;
use super::{BadValue, Decoded};
use crate::{Error, Result};

/// Whether the format has a form for the type; otherwise the name of the type.
pub(super) fn supports(data_type: &DataType) -> Result<(), &'static str> {
    match data_type {
        DataType::Int32
        | DataType::Int64
        | DataType::Float64
        | DataType::Utf8
        | DataType::Utf8View
        | DataType::Binary => Ok(()),
        other => Err(sql_type::base(other)),
    }
}

/// Payloads into at most one column.
#[derive(Debug)]
pub(super) struct Decoder {
    column: Option<(FieldRef, Scalar)>,
    /// The declared column if nobody wants it: what is bad is bad all the same.
    unwanted: Option<FieldRef>,
}

impl Decoder {
    pub(super) fn try_new(fields: &Fields, projection: &[usize]) -> Result<Self> {
        let Some(field) = fields.first() else {
            return Ok(Self {
                column: None,
                unwanted: None,
            });
        };
        if projection.is_empty() {
            return Ok(Self {
                column: None,
                unwanted: Some(field.clone()),
            });
        }
        let column = Scalar::new(field.data_type()).ok_or_else(|| {
            Error::Internal(format!(
                "no KAFKA column for {}",
                sql_type::name(field.data_type())
            ))
        })?;
        Ok(Self {
            column: Some((field.clone(), column)),
            unwanted: None,
        })
    }

    pub(super) fn decode(&mut self, payloads: &BinaryArray) -> Result<Decoded> {
        let mut bad = Vec::new();
        let utf8 = Utf8::new(payloads);
        if let Some((_, column)) = &mut self.column {
            column.reserve(payloads.len());
        }
        for row in 0..payloads.len() {
            if payloads.is_null(row) {
                if let Some((_, column)) = &mut self.column {
                    column.push_null();
                }
                continue;
            }
            let payload = payloads.value(row);
            let at = payloads.value_offsets()[row] as usize;
            let wanted = self.column.as_ref().map(|(field, _)| field);
            let Some(field) = wanted.or(self.unwanted.as_ref()) else {
                continue;
            };
            match check(field, payload, || utf8.is_valid(row)) {
                Ok(()) => {
                    if let Some((_, column)) = &mut self.column {
                        push(column, payload, at);
                    }
                }
                Err(reason) => {
                    bad.push(BadValue { row, reason });
                    if let Some((_, column)) = &mut self.column {
                        column.push_null();
                    }
                }
            }
        }
        let columns = match &mut self.column {
            Some((field, column)) => {
                let array = column.finish(field.data_type(), payloads.values());
                vec![array.inspect_err(|_| column.truncate(0))?]
            }
            None => Vec::new(),
        };
        let nulls = payloads
            .nulls()
            .filter(|nulls| nulls.null_count() > 0)
            .cloned();
        Ok(Decoded {
            columns,
            bad,
            nulls,
        })
    }
}

fn check(field: &FieldRef, payload: &[u8], is_utf8: impl Fn() -> bool) -> Result<(), String> {
    let width = match field.data_type() {
        DataType::Int32 => 4,
        DataType::Int64 | DataType::Float64 => 8,
        DataType::Utf8 | DataType::Utf8View if !is_utf8() => {
            let valid = std::str::from_utf8(payload)
                .err()
                .map_or(0, |err| err.valid_up_to());
            return Err(format!(
                "column \"{}\": expected STRING, found invalid UTF-8 at byte {valid}",
                field.name()
            ));
        }
        _ => return Ok(()),
    };
    if payload.len() == width {
        return Ok(());
    }
    Err(format!(
        "column \"{}\": expected {} in {width} bytes, found {}",
        field.name(),
        sql_type::base(field.data_type()),
        payload.len()
    ))
}

/// Appends a payload that has been checked.
fn push(column: &mut Scalar, payload: &[u8], at: usize) {
    match (column, payload) {
        (Scalar::Integer(column), &[a, b, c, d]) => column.push(i32::from_be_bytes([a, b, c, d])),
        (Scalar::BigInt(column), &[a, b, c, d, e, f, g, h]) => {
            column.push(i64::from_be_bytes([a, b, c, d, e, f, g, h]));
        }
        (Scalar::Double(column), &[a, b, c, d, e, f, g, h]) => {
            column.push(f64::from_be_bytes([a, b, c, d, e, f, g, h]));
        }
        (Scalar::String(column), payload) => column.push(payload, at),
        (Scalar::StringView(column), payload) => column.push(payload, at),
        (Scalar::Bytes(column), payload) => column.push(payload),
        (column, _) => column.push_null(),
    }
}

/// At most one column into payloads.
#[derive(Debug)]
pub(super) struct Encoder {
    field: Option<FieldRef>,
}

impl Encoder {
    pub(super) fn new(fields: &Fields) -> Self {
        Self {
            field: fields.first().cloned(),
        }
    }

    pub(super) fn encode(
        &mut self,
        columns: &[ArrayRef],
        null_row: impl Fn(usize) -> bool,
        rows: usize,
    ) -> Result<BinaryArray> {
        let (field, column) = match (&self.field, columns) {
            (None, []) => return Ok(BinaryArray::new_null(rows)),
            (Some(field), [column]) => (field, column),
            _ => {
                let found = columns.len();
                return Err(Error::Internal(format!(
                    "{found} columns to encode in KAFKA format"
                )));
            }
        };
        let cells = Cells::try_new(field.data_type(), column)?;
        let mut payloads = Payloads::with_capacity(rows, rows * 8);
        for row in 0..rows {
            if null_row(row) || cells.is_null(row) {
                payloads.push_null();
                continue;
            }
            let out = &mut payloads.out;
            match &cells.values {
                Values::Integer(values) => out.extend_from_slice(&values[row].to_be_bytes()),
                Values::BigInt(values) => out.extend_from_slice(&values[row].to_be_bytes()),
                Values::Double(values) => out.extend_from_slice(&values[row].to_be_bytes()),
                Values::String(texts) => out.extend_from_slice(texts.value(row).as_bytes()),
                Values::Bytes(blobs) => out.extend_from_slice(blobs.value(row)),
                Values::Boolean(_) | Values::Decimal128(_) | Values::Decimal256(_) => {
                    return Err(Error::Internal(
                        "a type that KAFKA format does not have".into(),
                    ));
                }
            }
            payloads.close()?;
        }
        payloads.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Decoder, Encoder, Format, Side};
    use super::*;
    use arrow::array::AsArray;
    use arrow::datatypes::Field;

    fn side(data_type: DataType) -> Side {
        let fields = vec![Field::new("K", data_type, true)].into();
        Side {
            format: Format::Kafka,
            fields,
            wrap_single: false,
        }
    }

    #[test]
    fn a_value_has_its_width_and_comes_back_the_same() {
        for (data_type, payload, reason) in [
            (
                DataType::Int32,
                &[0xff, 0xff, 0xff, 0xfe][..],
                "expected INTEGER in 4 bytes",
            ),
            (
                DataType::Int64,
                &[0, 0, 0, 0, 0, 0, 1, 0],
                "expected BIGINT in 8 bytes",
            ),
            (
                DataType::Float64,
                &[0x3f, 0xf8, 0, 0, 0, 0, 0, 0],
                "expected DOUBLE in 8 bytes",
            ),
            (
                DataType::Utf8,
                "é".as_bytes(),
                "expected STRING, found invalid UTF-8 at byte 1",
            ),
            (
                DataType::Utf8View,
                "é".as_bytes(),
                "expected STRING, found invalid UTF-8 at byte 1",
            ),
            (DataType::Binary, b"\xff", ""),
        ] {
            let side = side(data_type.clone());
            let payloads = BinaryArray::from_opt_vec(vec![Some(payload), None, Some(b"a\xc3")]);
            let decoded = Decoder::try_new(&side, &[0])
                .unwrap()
                .decode(&payloads)
                .unwrap();
            assert_eq!(decoded.columns[0].data_type(), &data_type);
            assert!(decoded.columns[0].is_null(1));
            assert_eq!(
                decoded.bad.iter().map(|bad| bad.row).collect::<Vec<_>>(),
                if reason.is_empty() { vec![] } else { vec![2] }
            );
            assert!(
                decoded.bad.iter().all(|bad| bad.reason.contains(reason)),
                "{:?}",
                decoded.bad
            );
            let unread = Decoder::try_new(&side, &[])
                .unwrap()
                .decode(&payloads)
                .unwrap();
            assert_eq!(unread.bad, decoded.bad);
            let encoded = Encoder::try_new(&side)
                .unwrap()
                .encode(&decoded.columns, None, 3)
                .unwrap();
            assert_eq!(encoded.slice(0, 2), payloads.slice(0, 2));
        }
        let payloads = BinaryArray::from_vec(vec![&[0, 0, 0, 7]]);
        let decoded = Decoder::try_new(&side(DataType::Int32), &[0])
            .unwrap()
            .decode(&payloads);
        let column = decoded.unwrap().columns.remove(0);
        assert_eq!(
            column
                .as_primitive::<arrow::datatypes::Int32Type>()
                .value(0),
            7
        );
    }

    #[test]
    fn what_the_format_cannot_hold_is_refused_by_name() {
        let check = |format, fields: Vec<Field>| {
            let side = Side {
                format,
                fields: fields.into(),
                wrap_single: true,
            };
            Decoder::try_new(&side, &[])
                .map(|_| ())
                .map_err(|err| err.to_string())
        };
        let field = |name, data_type| Field::new(name, data_type, true);
        assert_eq!(
            check(
                Format::Kafka,
                vec![field("V0", DataType::Int32), field("V1", DataType::Utf8)]
            ),
            Err(
                "The 'KAFKA' format only supports a single field. Got: [`V0` INTEGER, `V1` STRING]"
                    .into()
            )
        );
        assert_eq!(
            check(Format::Kafka, vec![field("F", DataType::Boolean)]),
            Err("The 'KAFKA' format does not support type 'BOOLEAN', column: `F`".into())
        );
        assert_eq!(
            check(Format::None, vec![field("FOO", DataType::Int32)]),
            Err("The 'NONE' format can only be used when no columns are defined. Got: [`FOO` INTEGER]".into())
        );
        let list = DataType::new_list(DataType::Int32, true);
        assert_eq!(
            check(Format::Delimited { delimiter: ',' }, vec![field("K", list)]),
            Err("The 'DELIMITED' format does not support type 'ARRAY', column: `K`".into())
        );
        for format in [Format::Kafka, Format::None, Format::Json] {
            assert_eq!(check(format, vec![]), Ok(()));
        }
    }
}
