//! Keys and values between the cases' JSON and a topic's bytes, by a relation's format. Written
//! apart from the engine's formats, so that these are judged by it.

use super::json::Json;
use super::relation::{Side, Window};
use super::types::Type;

/// A key or value as the bytes that a producer would send.
///
/// # Errors
/// A value that the format has no form for.
pub(super) fn encode(side: &Side<'_>, value: &Json) -> Result<Option<Vec<u8>>, String> {
    if value.is_null() {
        return Ok(None);
    }
    let text = || match value {
        Json::String(text) => text.clone(),
        other => other.to_string(),
    };
    Ok(Some(match side.format {
        "JSON" => value.to_string().into_bytes(),
        "DELIMITED" => text().into_bytes(),
        "KAFKA" => match side.columns.first().map(|column| &column.data_type) {
            Some(Type::Int) => number::<i32>(&text())?.to_be_bytes().to_vec(),
            Some(Type::BigInt) => number::<i64>(&text())?.to_be_bytes().to_vec(),
            Some(Type::Double) => number::<f64>(&text())?.to_be_bytes().to_vec(),
            _ => text().into_bytes(),
        },
        "NONE" => return Ok(None),
        other => return Err(format!("the runner cannot write {other}")),
    }))
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    // An integer column takes 10.0 as 10: the cases' own serialiser coerces numbers.
    let whole = text.strip_suffix(".0").unwrap_or(text);
    whole
        .parse()
        .map_err(|_| format!("'{text}' is not a number that the column takes"))
}

/// What a consumer makes of a key or value.
///
/// # Errors
/// Bytes that are not of the format.
pub(super) fn decode(side: &Side<'_>, bytes: Option<&[u8]>) -> Result<Json, String> {
    let Some(bytes) = bytes else {
        return Ok(Json::Null);
    };
    let text = || std::str::from_utf8(bytes).map_err(|_| format!("{bytes:02x?} is not text"));
    match side.format {
        "JSON" => Json::parse(text()?).map_err(|error| format!("not JSON: {error}: {bytes:?}")),
        "DELIMITED" => Ok(Json::String(text()?.to_owned())),
        "KAFKA" => Ok(match side.columns.first().map(|column| &column.data_type) {
            Some(Type::Int) => Json::Number(i32::from_be_bytes(fixed(bytes)?).to_string()),
            Some(Type::BigInt) => Json::Number(i64::from_be_bytes(fixed(bytes)?).to_string()),
            Some(Type::Double) => Json::Number(f64::from_be_bytes(fixed(bytes)?).to_string()),
            _ => Json::String(text()?.to_owned()),
        }),
        "NONE" => Err(format!("bytes where the format is NONE: {bytes:?}")),
        other => Err(format!("the runner cannot read {other}")),
    }
}

fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N], String> {
    bytes
        .try_into()
        .map_err(|_| format!("{} bytes and not {N}", bytes.len()))
}

/// The window that a case gives a record, or that a key ends in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) session: bool,
}

impl Bounds {
    /// Behind the key: the start of a time window; the end and then the start of a session.
    pub(super) fn append_to(&self, key: &mut Vec<u8>) {
        if self.session {
            key.extend_from_slice(&self.end.to_be_bytes());
        }
        key.extend_from_slice(&self.start.to_be_bytes());
    }

    /// Takes the window off a key.
    pub(super) fn split<'a>(window: &Window, key: &'a [u8]) -> Result<(&'a [u8], Self), String> {
        let too_short = || format!("a key of {} bytes has no window", key.len());
        let (rest, start) = key.split_last_chunk::<8>().ok_or_else(too_short)?;
        let start = i64::from_be_bytes(*start);
        if window.kind == "SESSION" {
            let (rest, end) = rest.split_last_chunk::<8>().ok_or_else(too_short)?;
            return Ok((
                rest,
                Self {
                    start,
                    end: i64::from_be_bytes(*end),
                    session: true,
                },
            ));
        }
        let size = window.size_ms.ok_or("a time window without a size")?;
        // ksqlDB's ends stop at the largest time there is.
        Ok((
            rest,
            Self {
                start,
                end: start.saturating_add(size),
                session: false,
            },
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::super::types::{Place, parse_columns};
    use super::*;

    #[test]
    fn kafka_values_go_by_the_column() {
        for (columns, value, bytes) in [
            ("A INT", "7", &[0, 0, 0, 7][..]),
            ("A BIGINT", "-1", &[255; 8][..]),
            ("A DOUBLE", "1.0", &[0x3f, 0xf0, 0, 0, 0, 0, 0, 0][..]),
            ("A STRING", "\"x\"", b"x"),
            ("", "\"x\"", b"x"),
        ] {
            let columns = parse_columns(columns).unwrap();
            let side = Side {
                format: "KAFKA",
                columns: columns.iter().collect(),
            };
            let value = Json::parse(value).unwrap();
            let written = encode(&side, &value).unwrap().unwrap();
            assert_eq!(written, bytes);
            let read = decode(&side, Some(&written)).unwrap();
            assert_eq!(
                read.to_string().replace("1.0", "1"),
                value.to_string().replace("1.0", "1")
            );
        }
        assert_eq!(parse_columns("A INT KEY").unwrap()[0].place, Place::Key);
    }

    #[test]
    fn windows_are_behind_the_key() {
        let time = Bounds {
            start: 10,
            end: 30,
            session: false,
        };
        let session = Bounds {
            start: 10,
            end: 30,
            session: true,
        };
        for (bounds, kind, size_ms) in [(time, "TUMBLING", Some(20)), (session, "SESSION", None)] {
            let mut key = b"k".to_vec();
            bounds.append_to(&mut key);
            let window = Window {
                kind: kind.into(),
                size_ms,
            };
            assert_eq!(Bounds::split(&window, &key).unwrap(), (&b"k"[..], bounds));
        }
    }
}
