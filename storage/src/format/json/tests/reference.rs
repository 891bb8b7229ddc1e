//! The slow twin: a recursive parser into a tree, and a recursive walk over the tree and the types.
//! Written from RFC 8259 and ksqlDB's rules alone, sharing nothing with the decoder it judges.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Decimal256Type, Float64Type, Int32Type, Int64Type,
    Time32MillisecondType, TimestampMillisecondType,
};
use base64::Engine as _;

use super::super::super::Side;

/// A decoded value of any type.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Boolean(bool),
    Integer(i128),
    Double(u64),
    Decimal(String),
    Text(String),
    Bytes(Vec<u8>),
    List(Vec<Value>),
    Map(Vec<(String, Value)>),
    Struct(Vec<Value>),
}

/// The value of `column` at `row`.
pub(super) fn value_of(column: &ArrayRef, row: usize) -> Value {
    if column.is_null(row) {
        return Value::Null;
    }
    match column.data_type() {
        DataType::Boolean => Value::Boolean(column.as_boolean().value(row)),
        DataType::Int32 => Value::Integer(column.as_primitive::<Int32Type>().value(row).into()),
        DataType::Int64 => Value::Integer(column.as_primitive::<Int64Type>().value(row).into()),
        DataType::Date32 => Value::Integer(column.as_primitive::<Date32Type>().value(row).into()),
        DataType::Time32(_) => Value::Integer(
            column
                .as_primitive::<Time32MillisecondType>()
                .value(row)
                .into(),
        ),
        DataType::Timestamp(..) => Value::Integer(
            column
                .as_primitive::<TimestampMillisecondType>()
                .value(row)
                .into(),
        ),
        DataType::Float64 => {
            Value::Double(column.as_primitive::<Float64Type>().value(row).to_bits())
        }
        DataType::Decimal128(..) => {
            Value::Decimal(column.as_primitive::<Decimal128Type>().value_as_string(row))
        }
        DataType::Decimal256(..) => {
            Value::Decimal(column.as_primitive::<Decimal256Type>().value_as_string(row))
        }
        DataType::Utf8 => Value::Text(column.as_string::<i32>().value(row).into()),
        DataType::Utf8View => Value::Text(column.as_string_view().value(row).into()),
        DataType::Binary => Value::Bytes(column.as_binary::<i32>().value(row).into()),
        DataType::List(_) => {
            let items = column.as_list::<i32>().value(row);
            Value::List((0..items.len()).map(|i| value_of(&items, i)).collect())
        }
        DataType::Map(..) => {
            let entries = column.as_map().value(row);
            let (keys, values) = (entries.column(0), entries.column(1));
            let pair = |i| match value_of(keys, i) {
                Value::Text(key) => (key, value_of(values, i)),
                other => panic!("key {other:?}"),
            };
            Value::Map((0..entries.len()).map(pair).collect())
        }
        DataType::Struct(_) => {
            let columns = column.as_struct().columns();
            Value::Struct(columns.iter().map(|column| value_of(column, row)).collect())
        }
        other => panic!("no values of {other}"),
    }
}

/// What a payload decodes to; `Err` if it is bad.
pub(super) fn decode(
    side: &Side,
    projection: &[usize],
    payload: Option<&[u8]>,
) -> Result<Vec<Value>, ()> {
    let nulls = || Ok(vec![Value::Null; projection.len()]);
    let Some(payload) = payload else {
        return nulls();
    };
    let mut parser = Parser {
        text: std::str::from_utf8(payload).map_err(|_| ())?,
        depth: 0,
    };
    let json = parser.value()?;
    parser.blanks();
    if !parser.text.is_empty() {
        return Err(());
    }
    if side.fields.len() == 1 && !side.wrap_single {
        let field = &side.fields[0];
        return projection
            .iter()
            .map(|_| coerce(field.data_type(), &json))
            .collect();
    }
    match &json {
        Json::Null => nulls(),
        Json::Object(fields) => projection
            .iter()
            .map(|&i| {
                let field = &side.fields[i];
                find(fields, field.name()).map_or(Ok(Value::Null), |v| coerce(field.data_type(), v))
            })
            .collect(),
        _ => Err(()),
    }
}

/// Jackson's tree: the last of several fields of one name has taken the place of the first.
enum Json {
    Null,
    Boolean(bool),
    Number(String),
    String(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

fn find<'a>(fields: &'a [(String, Json)], name: &str) -> Option<&'a Json> {
    let exact = fields.iter().find(|(key, _)| key == name);
    let folded = || {
        fields
            .iter()
            .rev()
            .find(|(key, _)| key.to_uppercase() == name)
    };
    exact.or_else(folded).map(|(_, value)| value)
}

fn coerce(data_type: &DataType, json: &Json) -> Result<Value, ()> {
    let integer = |min: i128, max: i128| {
        let value = match json {
            Json::Number(text) => {
                let (mantissa, exponent) = number(text);
                let power = u32::try_from(exponent.unsigned_abs()).ok();
                match (mantissa, power.and_then(|power| 10_i128.checked_pow(power))) {
                    (0, _) => 0,
                    (_, Some(power)) if exponent >= 0 => mantissa.checked_mul(power).ok_or(())?,
                    (_, None) if exponent >= 0 => return Err(()),
                    (_, Some(power)) => mantissa / power,
                    (_, None) => 0,
                }
            }
            Json::String(text) => {
                let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
                if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                    return Err(());
                }
                text.parse::<i128>().map_err(|_| ())?
            }
            _ => return Err(()),
        };
        if (min..=max).contains(&value) {
            Ok(Value::Integer(value))
        } else {
            Err(())
        }
    };
    if matches!(json, Json::Null) {
        return Ok(Value::Null);
    }
    Ok(match (data_type, json) {
        (DataType::Boolean, Json::Boolean(value)) => Value::Boolean(*value),
        (DataType::Int32 | DataType::Date32, _) => integer(i32::MIN.into(), i32::MAX.into())?,
        (DataType::Int64 | DataType::Timestamp(..), _) => {
            integer(i64::MIN.into(), i64::MAX.into())?
        }
        (DataType::Time32(_), _) => integer(0, 86_399_999)?,
        (DataType::Float64, Json::Number(text)) => {
            let value: f64 = text.parse().map_err(|_| ())?;
            if value.is_infinite() {
                return Err(());
            }
            Value::Double(value.to_bits())
        }
        (DataType::Float64, Json::String(text)) => {
            let text = text.trim_matches(|c| c <= ' ');
            let value = match text.trim_start_matches(['-', '+']) {
                "NaN" => f64::NAN,
                "Infinity" => text.parse().map_err(|_| ())?,
                _ if text.contains(|c: char| c.is_alphabetic() && c != 'e' && c != 'E') => {
                    return Err(());
                }
                _ => text
                    .parse::<f64>()
                    .ok()
                    .filter(|v| v.is_finite())
                    .ok_or(())?,
            };
            Value::Double(value.to_bits())
        }
        (
            &DataType::Decimal128(precision, scale) | &DataType::Decimal256(precision, scale),
            Json::Number(text) | Json::String(text),
        ) => Value::Decimal(decimal(text, precision.into(), scale as usize)?),
        (DataType::Utf8 | DataType::Utf8View, json) => Value::Text(as_text(json)?),
        (DataType::Binary, Json::String(text)) => {
            let engine = base64::engine::general_purpose::STANDARD;
            Value::Bytes(engine.decode(text).map_err(|_| ())?)
        }
        (DataType::List(item), Json::Array(items)) => {
            let items = items.iter().map(|json| coerce(item.data_type(), json));
            Value::List(items.collect::<Result<_, _>>()?)
        }
        (DataType::Map(entries, _), Json::Object(fields)) => {
            let DataType::Struct(entry) = entries.data_type() else {
                panic!("{entries:?}")
            };
            let value_type = entry[1].data_type();
            let pairs = fields
                .iter()
                .map(|(k, v)| coerce(value_type, v).map(|value| (k.clone(), value)));
            Value::Map(pairs.collect::<Result<_, ()>>()?)
        }
        (DataType::Struct(columns), Json::Object(fields)) => {
            let values = columns.iter().map(|column| {
                let json = find(fields, column.name());
                json.map_or(Ok(Value::Null), |json| coerce(column.data_type(), json))
            });
            Value::Struct(values.collect::<Result<_, _>>()?)
        }
        _ => return Err(()),
    })
}

/// A number of moderate length as `mantissa * 10^exponent`.
fn number(text: &str) -> (i128, i64) {
    let (mantissa, exponent) = split_exponent(text).unwrap();
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    (
        format!("{whole}{fraction}").parse().unwrap(),
        exponent - fraction.len() as i64,
    )
}

/// A number's text before its `e`, and its exponent; `Err` if that is no number.
fn split_exponent(text: &str) -> Result<(&str, i64), ()> {
    let Some((mantissa, exponent)) = text.split_once(['e', 'E']) else {
        return Ok((text, 0));
    };
    let digits = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(());
    }
    let far = if exponent.starts_with('-') {
        -1_000_000_000_000
    } else {
        1_000_000_000_000
    };
    Ok((
        mantissa,
        exponent
            .parse()
            .map_or(far, |exponent: i64| exponent.clamp(-far.abs(), far.abs())),
    ))
}

/// The decimal in plain notation with all of its scale, if it has at most `precision` digits.
fn decimal(text: &str, precision: usize, scale: usize) -> Result<String, ()> {
    let (mantissa, exponent) = split_exponent(text)?;
    let negative = mantissa.starts_with('-');
    let mantissa = mantissa.strip_prefix(['-', '+']).unwrap_or(mantissa);
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(());
    }
    if !digits.contains(|c| c != '0') {
        return Ok(format!("0.{}", "0".repeat(scale)));
    }
    // Where the point is, counted from the left, in digits with room for it on both sides.
    let room = 100;
    if exponent.abs() > room {
        return Err(());
    }
    let point = room + whole.len() as i64 + exponent;
    let digits = format!(
        "{}{digits}{}",
        "0".repeat(room as usize),
        "0".repeat(2 * room as usize)
    );
    let (whole, fraction) = digits.split_at(usize::try_from(point).map_err(|_| ())?);
    let (fraction, rest) = fraction.split_at(scale);
    let whole = whole.trim_start_matches('0');
    if rest.contains(|c| c != '0') || whole.len() > precision - scale {
        return Err(());
    }
    let whole = if whole.is_empty() { "0" } else { whole };
    let is_zero = !whole.contains(|c| c != '0') && !fraction.contains(|c| c != '0');
    let sign = if negative && !is_zero { "-" } else { "" };
    Ok(format!("{sign}{whole}.{fraction}"))
}

fn as_text(json: &Json) -> Result<String, ()> {
    Ok(match json {
        Json::Null => "null".into(),
        Json::String(text) => text.clone(),
        Json::Array(items) => {
            let items = items.iter().map(as_text).collect::<Result<Vec<_>, _>>()?;
            format!("[{}]", items.join(", "))
        }
        other => as_json(other)?,
    })
}

fn as_json(json: &Json) -> Result<String, ()> {
    Ok(match json {
        Json::Null => "null".into(),
        Json::Boolean(value) => value.to_string(),
        Json::Number(text) => big_decimal_text(text)?,
        Json::String(text) => serde_json::to_string(text).unwrap(),
        Json::Array(items) => {
            let items = items.iter().map(as_json).collect::<Result<Vec<_>, _>>()?;
            format!("[{}]", items.join(","))
        }
        Json::Object(fields) => {
            let field = |(name, value): &(String, Json)| {
                let name = serde_json::to_string(name).unwrap();
                as_json(value).map(|value| format!("{name}:{value}"))
            };
            format!(
                "{{{}}}",
                fields
                    .iter()
                    .map(field)
                    .collect::<Result<Vec<_>, _>>()?
                    .join(",")
            )
        }
    })
}

fn big_decimal_text(text: &str) -> Result<String, ()> {
    let (mantissa, exponent) = number(text);
    // Java counts the digits behind the point in an int.
    i32::try_from(-exponent).map_err(|_| ())?;
    let sign = if mantissa < 0 { "-" } else { "" };
    let digits = mantissa.unsigned_abs().to_string();
    let adjusted = exponent + digits.len() as i64 - 1;
    Ok(if exponent == 0 {
        format!("{sign}{digits}")
    } else if exponent < 0 && adjusted >= -6 {
        let padded = format!("{}{digits}", "0".repeat(10));
        let (whole, fraction) = padded.split_at(padded.len() - -exponent as usize);
        let whole = whole.trim_start_matches('0');
        format!(
            "{sign}{}.{fraction}",
            if whole.is_empty() { "0" } else { whole }
        )
    } else {
        let point = if digits.len() > 1 { "." } else { "" };
        let exponent = if adjusted == 0 {
            String::new()
        } else {
            format!("E{adjusted:+}")
        };
        format!("{sign}{}{point}{}{exponent}", &digits[..1], &digits[1..])
    })
}

struct Parser<'a> {
    text: &'a str,
    depth: usize,
}

impl Parser<'_> {
    fn blanks(&mut self) {
        self.text = self.text.trim_start_matches([' ', '\t', '\r', '\n']);
    }

    fn take(&mut self, token: &str) -> bool {
        match self.text.strip_prefix(token) {
            Some(rest) => {
                self.text = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, token: &str) -> Result<(), ()> {
        self.blanks();
        if self.take(token) { Ok(()) } else { Err(()) }
    }

    fn value(&mut self) -> Result<Json, ()> {
        self.blanks();
        if self.take("null") {
            Ok(Json::Null)
        } else if self.take("true") {
            Ok(Json::Boolean(true))
        } else if self.take("false") {
            Ok(Json::Boolean(false))
        } else if self.text.starts_with('"') {
            self.string().map(Json::String)
        } else if self.take("[") {
            let mut items = Vec::new();
            self.members("]", |parser| {
                items.push(parser.value()?);
                Ok(())
            })?;
            Ok(Json::Array(items))
        } else if self.take("{") {
            let mut fields: Vec<(String, Json)> = Vec::new();
            self.members("}", |parser| {
                parser.blanks();
                let name = parser.string()?;
                parser.expect(":")?;
                let value = parser.value()?;
                match fields.iter_mut().find(|field| field.0 == name) {
                    Some(field) => field.1 = value,
                    None => fields.push((name, value)),
                }
                Ok(())
            })?;
            Ok(Json::Object(fields))
        } else {
            self.number().map(Json::Number)
        }
    }

    fn members(
        &mut self,
        end: &str,
        mut member: impl FnMut(&mut Self) -> Result<(), ()>,
    ) -> Result<(), ()> {
        self.depth += 1;
        if self.depth > 128 {
            return Err(());
        }
        self.blanks();
        if !self.take(end) {
            loop {
                member(self)?;
                self.blanks();
                if self.take(end) {
                    break;
                }
                self.expect(",")?;
            }
        }
        self.depth -= 1;
        Ok(())
    }

    fn number(&mut self) -> Result<String, ()> {
        let start = self.text;
        self.take("-");
        if !self.take("0") {
            self.digits()?;
        }
        if self.take(".") {
            self.digits()?;
        }
        if self.take("e") || self.take("E") {
            let _ = self.take("+") || self.take("-");
            self.digits()?;
        }
        Ok(start[..start.len() - self.text.len()].to_owned())
    }

    fn digits(&mut self) -> Result<(), ()> {
        let rest = self.text.trim_start_matches(|c: char| c.is_ascii_digit());
        if rest.len() == self.text.len() {
            return Err(());
        }
        self.text = rest;
        Ok(())
    }

    fn string(&mut self) -> Result<String, ()> {
        if !self.take("\"") {
            return Err(());
        }
        let mut contents = String::new();
        loop {
            let mut chars = self.text.chars();
            match chars.next().ok_or(())? {
                '"' => {
                    self.text = chars.as_str();
                    return Ok(contents);
                }
                '\\' => {
                    let code = chars.next().ok_or(())?;
                    self.text = chars.as_str();
                    contents.push(match code {
                        '"' | '\\' | '/' => code,
                        'b' => '\u{8}',
                        'f' => '\u{c}',
                        'n' => '\n',
                        'r' => '\r',
                        't' => '\t',
                        'u' => self.unicode()?,
                        _ => return Err(()),
                    });
                }
                '\0'..' ' => return Err(()),
                char => {
                    self.text = chars.as_str();
                    contents.push(char);
                }
            }
        }
    }

    fn unicode(&mut self) -> Result<char, ()> {
        let mut units = vec![self.hex4()?];
        if (0xd800..0xdc00).contains(&units[0]) {
            if !self.take("\\u") {
                return Err(());
            }
            units.push(self.hex4()?);
        }
        let mut chars = char::decode_utf16(units);
        match (chars.next(), chars.next()) {
            (Some(Ok(char)), None) => Ok(char),
            _ => Err(()),
        }
    }

    fn hex4(&mut self) -> Result<u16, ()> {
        let (hex, rest) = self.text.split_at_checked(4).ok_or(())?;
        if !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(());
        }
        self.text = rest;
        u16::from_str_radix(hex, 16).map_err(|_| ())
    }
}
