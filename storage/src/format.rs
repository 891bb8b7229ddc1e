//! Record formats: the bytes of records' keys and values into Arrow columns and back, a batch at a
//! time. A [`Decoder`] makes only the columns that are asked for, yet refuses every record that is
//! malformed as a whole, so which records are bad does not depend on who reads them. (What type a
//! value has is looked at only where the value is read.) Knows neither topics nor SQL: the types
//! are Arrow's, the coercions are ksqlDB's, and a bad record is a value, not an error.
//!
//! ```text
//! payloads ─> json | delimited | kafka ─> column (builders) ─> arrays
//! ```

mod cells;
mod column;
mod delimited;
mod json;
mod kafka;
mod number;
mod print;
mod sql_type;
mod utf8;

use std::borrow::Cow;
use std::fmt;

use arrow::array::{Array, ArrayRef, BinaryArray, BooleanArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::Fields;

use crate::{Error, Result};

/// How one side of a topic's records is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Format {
    /// One JSON object per record, or one bare JSON value.
    Json,
    /// One line of comma-separated values, quoted as commons-csv does.
    Delimited {
        /// What stands between two values.
        delimiter: char,
    },
    /// One column as Kafka's own serialisers write it: big-endian numbers, UTF-8, bytes.
    Kafka,
    /// No columns: nothing is read and null is written.
    None,
}

impl Format {
    /// The format of that name, in any case, with the text of its `…_DELIMITER` property if given:
    /// one character, `TAB` or `SPACE`.
    pub fn parse(name: &str, delimiter: Option<&str>) -> Result<Self> {
        let format = match name.to_ascii_uppercase().as_str() {
            "JSON" => Self::Json,
            "DELIMITED" => {
                let delimiter = delimiter.map_or(Ok(','), parse_delimiter)?;
                return Ok(Self::Delimited { delimiter });
            }
            "KAFKA" => Self::Kafka,
            "NONE" => Self::None,
            known @ ("AVRO" | "PROTOBUF" | "PROTOBUF_NOSR" | "JSON_SR") => {
                return Err(Error::User(format!(
                    "format {known} is not supported yet: use JSON, DELIMITED, KAFKA or NONE"
                )));
            }
            _ => return Err(Error::User(format!("Unknown format: {name}"))),
        };
        match delimiter {
            Some(_) => Err(Error::User(format!(
                "{format} does not support the following configs: [delimiter]"
            ))),
            None => Ok(format),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Json => "JSON",
            Self::Delimited { .. } => "DELIMITED",
            Self::Kafka => "KAFKA",
            Self::None => "NONE",
        })
    }
}

fn parse_delimiter(text: &str) -> Result<char> {
    if text.trim().is_empty() {
        return Err(Error::User(
            "Delimiter cannot be empty, if you meant to have a tab or space for delimiter, please \
             use the special values 'TAB' or 'SPACE'\nExample valid value: ';'"
                .into(),
        ));
    }
    match text.to_ascii_uppercase().as_str() {
        "TAB" => return Ok('\t'),
        "SPACE" => return Ok(' '),
        _ => {}
    }
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (Some('"' | '\r' | '\n'), None) => Err(Error::User(
            "Delimiter cannot be a quote or a line end".into(),
        )),
        (Some(delimiter), None) => Ok(delimiter),
        _ => Err(Error::User(format!(
            "Invalid delimiter value: '{text}'. Delimiter must be a single character or TAB,SPACE"
        ))),
    }
}

/// One side of a topic's records: all declared columns of the keys, or all of the values, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side {
    /// How the side is written.
    pub format: Format,
    /// The declared columns. STRING columns may be `Utf8` or `Utf8View`.
    pub fields: Fields,
    /// Whether a single column is a field of an object or the bare value. JSON with exactly one
    /// column looks at it; nothing else does.
    pub wrap_single: bool,
}

impl Side {
    /// Whether the format can hold these columns; the error says which one it cannot.
    pub fn check(&self) -> Result<()> {
        let format = self.format;
        match format {
            Format::None if !self.fields.is_empty() => {
                return Err(Error::User(format!(
                    "The 'NONE' format can only be used when no columns are defined. Got: {}",
                    sql_type::column_list(&self.fields)
                )));
            }
            Format::Kafka if self.fields.len() > 1 => {
                return Err(Error::User(format!(
                    "The 'KAFKA' format only supports a single field. Got: {}",
                    sql_type::column_list(&self.fields)
                )));
            }
            _ => {}
        }
        for field in &self.fields {
            let supported = match format {
                Format::Json => json::supports(field.data_type()),
                Format::Delimited { .. } => delimited::supports(field.data_type()),
                Format::Kafka => kafka::supports(field.data_type()),
                Format::None => Ok(()),
            };
            supported.map_err(|kind| {
                Error::User(format!(
                    "The '{format}' format does not support type '{kind}', column: `{}`",
                    field.name()
                ))
            })?;
        }
        Ok(())
    }
}

/// A payload that could not be decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadValue {
    /// Its row in the batch.
    pub row: usize,
    /// Which column, what was expected, what was found, and where in the payload. Quotes at most a
    /// few characters of it.
    pub reason: String,
}

/// What [`Decoder::decode`] made of a batch of payloads.
#[derive(Debug)]
pub struct Decoded {
    /// The projected columns in the order of the projection, each as long as the batch.
    pub columns: Vec<ArrayRef>,
    /// The bad payloads, by row. Their columns are null.
    pub bad: Vec<BadValue>,
    /// The rows that are nothing at all: no payload, or the bare JSON text `null` in place of an
    /// object. In a table these are deletions. `None` when there are none.
    pub nulls: Option<NullBuffer>,
}

/// Payloads into columns. Keeps what it learned about the payloads' shape from batch to batch.
#[derive(Debug)]
pub struct Decoder(DecoderKind);

#[derive(Debug)]
enum DecoderKind {
    Json(json::Decoder),
    Delimited(delimited::Decoder),
    Kafka(kafka::Decoder),
    None,
}

impl Decoder {
    /// A decoder that makes the columns `projection` (positions in `side.fields`, each at most
    /// once).
    pub fn try_new(side: &Side, projection: &[usize]) -> Result<Self> {
        side.check()?;
        let mut taken = vec![false; side.fields.len()];
        for &column in projection {
            match taken.get_mut(column) {
                Some(taken) if !*taken => *taken = true,
                _ => {
                    return Err(Error::Internal(format!(
                        "decoder projection {projection:?} of {} columns",
                        taken.len()
                    )));
                }
            }
        }
        Ok(Self(match side.format {
            Format::Json => DecoderKind::Json(json::Decoder::try_new(side, projection)?),
            Format::Delimited { delimiter } => DecoderKind::Delimited(delimited::Decoder::try_new(
                &side.fields,
                delimiter,
                projection,
            )?),
            Format::Kafka => DecoderKind::Kafka(kafka::Decoder::try_new(&side.fields, projection)?),
            Format::None => DecoderKind::None,
        }))
    }

    /// Decodes a batch. Fails only when a column outgrows what an Arrow array can hold.
    pub fn decode(&mut self, payloads: &BinaryArray) -> Result<Decoded> {
        match &mut self.0 {
            DecoderKind::Json(decoder) => decoder.decode(payloads),
            DecoderKind::Delimited(decoder) => decoder.decode(payloads),
            DecoderKind::Kafka(decoder) => decoder.decode(payloads),
            DecoderKind::None => Ok(Decoded {
                columns: Vec::new(),
                bad: Vec::new(),
                nulls: payloads
                    .nulls()
                    .filter(|nulls| nulls.null_count() > 0)
                    .cloned(),
            }),
        }
    }
}

/// Columns into payloads.
#[derive(Debug)]
pub struct Encoder(EncoderKind);

#[derive(Debug)]
enum EncoderKind {
    Json(json::Encoder),
    Delimited(delimited::Encoder),
    Kafka(kafka::Encoder),
    None,
}

impl Encoder {
    /// An encoder of all columns of `side`.
    pub fn try_new(side: &Side) -> Result<Self> {
        side.check()?;
        Ok(Self(match side.format {
            Format::Json => EncoderKind::Json(json::Encoder::new(side)),
            Format::Delimited { delimiter } => {
                EncoderKind::Delimited(delimited::Encoder::new(&side.fields, delimiter))
            }
            Format::Kafka => EncoderKind::Kafka(kafka::Encoder::new(&side.fields)),
            Format::None => EncoderKind::None,
        }))
    }

    /// Encodes `rows` rows. A row that is `true` in `null_rows` becomes a null payload, and so
    /// does a NULL in a bare single column. Every row of the declared types has an encoding, so
    /// there are no bad values here; what fails is a column of another type, or a batch of more
    /// than 2 GiB.
    pub fn encode(
        &mut self,
        columns: &[ArrayRef],
        null_rows: Option<&BooleanArray>,
        rows: usize,
    ) -> Result<BinaryArray> {
        let wrong = columns.iter().any(|column| column.len() != rows)
            || null_rows.is_some_and(|null_rows| null_rows.len() != rows);
        if wrong {
            return Err(Error::Internal(format!(
                "columns to encode are not all {rows} rows long"
            )));
        }
        let null_row = |row: usize| {
            null_rows.is_some_and(|null_rows| null_rows.is_valid(row) && null_rows.value(row))
        };
        match &mut self.0 {
            EncoderKind::Json(encoder) => encoder.encode(columns, null_row, rows),
            EncoderKind::Delimited(encoder) => encoder.encode(columns, null_row, rows),
            EncoderKind::Kafka(encoder) => encoder.encode(columns, null_row, rows),
            EncoderKind::None => Ok(BinaryArray::new_null(rows)),
        }
    }
}

/// The beginning of a text for a message.
fn shorten(text: &str) -> Cow<'_, str> {
    const CHARS_MAX: usize = 40;
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

/// The beginning of a text for a message, in quotes and with its control characters escaped.
fn excerpt(text: &str) -> String {
    format!("{:?}", shorten(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_named_in_any_case() {
        assert_eq!(Format::parse("json", None).unwrap(), Format::Json);
        let delimited = |delimiter| Format::Delimited { delimiter };
        assert_eq!(Format::parse("Delimited", None).unwrap(), delimited(','));
        assert_eq!(
            Format::parse("DELIMITED", Some("tab")).unwrap(),
            delimited('\t')
        );
        assert_eq!(
            Format::parse("DELIMITED", Some("SPACE")).unwrap(),
            delimited(' ')
        );
        assert_eq!(
            Format::parse("DELIMITED", Some("¦")).unwrap(),
            delimited('¦')
        );
        let error = |name, delimiter| match Format::parse(name, delimiter) {
            Err(Error::User(message)) => message,
            other => panic!("{other:?}"),
        };
        assert_eq!(error("FOO", None), "Unknown format: FOO");
        assert!(error("avro", None).starts_with("format AVRO is not supported yet"));
        assert_eq!(
            error("JSON", Some("|")),
            "JSON does not support the following configs: [delimiter]"
        );
        for empty in ["", " "] {
            assert!(error("DELIMITED", Some(empty)).starts_with("Delimiter cannot be empty, if"));
        }
        assert!(error("DELIMITED", Some("||")).starts_with("Invalid delimiter value: '||'"));
        assert!(error("DELIMITED", Some("\"")).starts_with("Delimiter cannot be a quote"));
    }

    #[test]
    fn the_none_format_reads_nothing_and_writes_null() {
        let side = Side {
            format: Format::None,
            fields: Fields::empty(),
            wrap_single: true,
        };
        let payloads = BinaryArray::from_opt_vec(vec![Some(b"ignored"), None]);
        let decoded = Decoder::try_new(&side, &[])
            .unwrap()
            .decode(&payloads)
            .unwrap();
        assert!(decoded.columns.is_empty() && decoded.bad.is_empty());
        let encoded = Encoder::try_new(&side)
            .unwrap()
            .encode(&[], None, 2)
            .unwrap();
        assert_eq!(encoded.null_count(), 2);
    }
}
