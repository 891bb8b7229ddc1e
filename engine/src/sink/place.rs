//! Which directory a row's file is in: by the values of columns, and by its time.
//!
//! `PARTITION_BY = 'SITE, DAY'` makes `SITE=…/DAY=…/`; `PARTITION_PATH` is a template such as
//! `dt={ROWTIME:%Y-%m-%d}/site={SITE}`.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::{cast, take_record_batch};
use arrow::datatypes::{DataType, Int64Type, Schema, SchemaRef, TimeUnit};
use arrow::row::{RowConverter, SortField};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use chrono::format::{Fixed, Item, Numeric, StrftimeItems};
use chrono::{DateTime, Datelike, Months, NaiveDate, Utc};
use kappa_sql::column;

use crate::error::{Error, Result};

/// The name that Hive gives to what has no value.
const NOTHING: &str = "__HIVE_DEFAULT_PARTITION__";
/// Bytes of an encoded value in a name; what is longer is cut and told apart by its hash. Disks take
/// 255 bytes in a name.
const VALUE_BYTES_MAX: usize = 180;
/// Places whose names are remembered between batches.
const KNOWN_MAX: usize = 100_000;

/// A template, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Value(usize),
    Time {
        column: usize,
        format: String,
        unit: Unit,
    },
}

/// The finest unit of a time format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Unit {
    Second,
    Minute,
    Hour,
    Day,
    Month,
    Year,
}

/// A directory and the rows that go into it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    /// Empty, or with a `/` at its end.
    pub(crate) path: String,
    /// When stream time has passed it, in milliseconds; `None` when it never does.
    pub(crate) end_ms: Option<i64>,
}

impl Place {
    /// Whether stream time is so far past it.
    pub(crate) fn is_passed(&self, stream_time_ms: Option<i64>, grace_ms: i64) -> bool {
        match (self.end_ms, stream_time_ms) {
            (Some(end), Some(time)) => time >= end.saturating_add(grace_ms),
            _ => false,
        }
    }
}

/// Sends rows to their places.
#[derive(Debug)]
pub(crate) struct Placement {
    parts: Vec<Part>,
    schema: SchemaRef,
    converter: Option<RowConverter>,
    /// By the row of what makes a name.
    known: HashMap<Box<[u8]>, Arc<Place>>,
    /// By the name.
    named: HashMap<String, Arc<Place>>,
    nowhere: Arc<Place>,
}

impl Placement {
    /// Directories `column=value` for some columns.
    pub(crate) fn by_columns(schema: &SchemaRef, columns: &[String]) -> Result<Self, String> {
        let mut parts = Vec::new();
        for column in columns {
            parts.push(Part::Text(format!("{}=", escape(column))));
            parts.push(Part::Value(index_of(schema, column)?));
            parts.push(Part::Text("/".into()));
        }
        Ok(Self::new(schema, parts))
    }

    /// Directories from a template.
    pub(crate) fn by_template(schema: &SchemaRef, template: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = template.trim_end_matches('/');
        if rest.starts_with('/') {
            return Err("it must not begin with /".into());
        }
        if rest
            .split('/')
            .any(|part| part.is_empty() || part == "." || part == "..")
        {
            return Err("a part between two / must be a name".into());
        }
        while !rest.is_empty() {
            let Some(open) = rest.find('{') else {
                parts.push(Part::Text(rest.to_owned()));
                break;
            };
            if open > 0 {
                parts.push(Part::Text(rest[..open].to_owned()));
            }
            let inner = &rest[open + 1..];
            let close = inner.find('}').ok_or("a { has no }")?;
            parts.push(value_part(schema, &inner[..close])?);
            rest = &inner[close + 1..];
        }
        parts.push(Part::Text("/".into()));
        Ok(Self::new(schema, parts))
    }

    fn new(schema: &SchemaRef, parts: Vec<Part>) -> Self {
        Self {
            parts,
            schema: Arc::clone(schema),
            converter: None,
            known: HashMap::new(),
            named: HashMap::new(),
            nowhere: Arc::new(Place {
                path: String::new(),
                end_ms: None,
            }),
        }
    }

    /// The rows by their places, in the order in which places first come.
    pub(crate) fn split(&mut self, batch: &RecordBatch) -> Result<Vec<(Arc<Place>, RecordBatch)>> {
        if self.parts.is_empty() {
            return Ok(vec![(Arc::clone(&self.nowhere), batch.clone())]);
        }
        let keys = self.keys(batch)?;
        let converter = match &mut self.converter {
            Some(converter) => converter,
            None => {
                let fields = keys
                    .iter()
                    .map(|key| SortField::new(key.data_type().clone()));
                self.converter.insert(RowConverter::new(fields.collect())?)
            }
        };
        let rows = converter.convert_columns(&keys)?;
        let mut order: Vec<(Arc<Place>, Vec<u32>)> = Vec::new();
        let mut index: HashMap<*const Place, usize> = HashMap::new();
        if self.known.len() > KNOWN_MAX {
            self.known.clear();
            self.named.clear();
        }
        // Rows of one place tend to follow each other.
        let mut last: Option<(arrow::row::Row<'_>, usize)> = None;
        for number in 0..batch.num_rows() {
            let row = rows.row(number);
            if let Some((same, at)) = last
                && same == row
            {
                order[at].1.push(number as u32);
                continue;
            }
            let place = match self.known.get(row.as_ref()) {
                Some(place) => Arc::clone(place),
                None => {
                    // Several keys may make one name.
                    let place = self.place(batch, &keys, number)?;
                    let named = self.named.entry(place.path.clone());
                    let place = Arc::clone(named.or_insert_with(|| Arc::new(place)));
                    self.known.insert(row.as_ref().into(), Arc::clone(&place));
                    place
                }
            };
            let at = *index.entry(Arc::as_ptr(&place)).or_insert_with(|| {
                order.push((place, Vec::new()));
                order.len() - 1
            });
            order[at].1.push(number as u32);
            last = Some((row, at));
        }
        if let [(place, _)] = order.as_slice() {
            return Ok(vec![(Arc::clone(place), batch.clone())]);
        }
        order
            .into_iter()
            .map(|(place, rows)| Ok((place, take_record_batch(batch, &UInt32Array::from(rows))?)))
            .collect()
    }

    /// What makes the names: values, and times cut to their unit.
    fn keys(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let mut keys = Vec::new();
        for part in &self.parts {
            match part {
                Part::Text(_) => {}
                Part::Value(column) => keys.push(Arc::clone(batch.column(*column))),
                Part::Time { column, unit, .. } => {
                    let times = milliseconds(batch.column(*column))?;
                    let cut = match unit {
                        Unit::Second => 1_000,
                        Unit::Minute => 60_000,
                        Unit::Hour => 3_600_000,
                        // Months and years are told apart by name.
                        Unit::Day | Unit::Month | Unit::Year => 86_400_000,
                    };
                    let cut_times: Int64Array =
                        times.unary(|ms| ms.div_euclid(cut).saturating_mul(cut));
                    keys.push(Arc::new(cut_times));
                }
            }
        }
        Ok(keys)
    }

    fn place(&self, batch: &RecordBatch, keys: &[ArrayRef], row: usize) -> Result<Place> {
        let mut path = String::new();
        let mut end_ms = None;
        let mut keys = keys.iter();
        for part in &self.parts {
            match part {
                Part::Text(text) => path.push_str(text),
                Part::Value(column) => {
                    keys.next();
                    path.push_str(&value(batch.column(*column).as_ref(), row)?);
                }
                Part::Time {
                    column,
                    format,
                    unit,
                } => {
                    let times = keys.next().map(|key| key.as_primitive::<Int64Type>());
                    let ms = times
                        .filter(|times| times.is_valid(row))
                        .map(|t| t.value(row));
                    let time = ms.and_then(DateTime::from_timestamp_millis);
                    match time {
                        None => path.push_str(NOTHING),
                        Some(time) => path.push_str(&escape(&time.format(format).to_string())),
                    }
                    if self.schema.field(*column).name() == column::ROWTIME
                        && let Some(end) = time.and_then(|time| unit.end_ms(time))
                    {
                        end_ms = Some(end_ms.map_or(end, |other: i64| other.min(end)));
                    }
                }
            }
        }
        Ok(Place { path, end_ms })
    }
}

impl Unit {
    /// The end of the unit that a time is in.
    fn end_ms(self, time: DateTime<Utc>) -> Option<i64> {
        let ms = time.timestamp_millis();
        let after = |size: i64| ms.div_euclid(size).checked_add(1)?.checked_mul(size);
        let month = |month: u32, months: u32| {
            let first = NaiveDate::from_ymd_opt(time.year(), month, 1)?;
            let next = first.checked_add_months(Months::new(months))?;
            Some(next.and_hms_opt(0, 0, 0)?.and_utc().timestamp_millis())
        };
        match self {
            Self::Second => after(1_000),
            Self::Minute => after(60_000),
            Self::Hour => after(3_600_000),
            Self::Day => after(86_400_000),
            Self::Month => month(time.month(), 1),
            Self::Year => month(1, 12),
        }
    }

    fn of(item: &Item<'_>) -> Option<Self> {
        Some(match item {
            Item::Numeric(numeric, _) => match numeric {
                Numeric::Year | Numeric::YearDiv100 | Numeric::YearMod100 | Numeric::IsoYear => {
                    Self::Year
                }
                Numeric::Month => Self::Month,
                Numeric::Hour | Numeric::Hour12 => Self::Hour,
                Numeric::Minute => Self::Minute,
                Numeric::Second | Numeric::Nanosecond | Numeric::Timestamp => Self::Second,
                _ => Self::Day,
            },
            Item::Fixed(fixed) => match fixed {
                Fixed::ShortMonthName | Fixed::LongMonthName => Self::Month,
                Fixed::ShortWeekdayName | Fixed::LongWeekdayName => Self::Day,
                Fixed::LowerAmPm | Fixed::UpperAmPm => Self::Hour,
                _ => Self::Second,
            },
            Item::Literal(_) | Item::Space(_) | Item::OwnedLiteral(_) | Item::OwnedSpace(_) => {
                return None;
            }
            Item::Error => return None,
        })
    }
}

fn index_of(schema: &Schema, wanted: &str) -> Result<usize, String> {
    schema.index_of(wanted).map_err(|_| {
        let names = schema.fields().iter().map(|field| field.name().as_str());
        match kappa_sql::error::suggest(wanted, names) {
            Some(close) => format!("there is no column {wanted}: did you mean {close}?"),
            None => format!("there is no column {wanted}"),
        }
    })
}

/// A column as it is written: upper-case unless quoted.
pub(crate) fn column_name(written: &str) -> String {
    let bare = written.trim().trim_matches(['`', '"']);
    match bare.len() < written.trim().len() {
        true => bare.to_owned(),
        false => bare.to_uppercase(),
    }
}

fn value_part(schema: &Schema, inner: &str) -> Result<Part, String> {
    let Some((name, format)) = inner.split_once(':') else {
        return Ok(Part::Value(index_of(schema, &column_name(inner))?));
    };
    let column = index_of(schema, &column_name(name))?;
    let data_type = schema.field(column).data_type();
    if !matches!(
        data_type,
        DataType::Int64 | DataType::Date32 | DataType::Timestamp(_, _)
    ) {
        return Err(format!(
            "{} is no time: {{{}:{format}}} takes a TIMESTAMP, a DATE or milliseconds as BIGINT",
            schema.field(column).name(),
            name.trim(),
        ));
    }
    let mut unit = Unit::Year;
    for item in StrftimeItems::new(format) {
        if item == Item::Error {
            return Err(format!(
                "'{format}' is no format of a time (such as %Y-%m-%d)"
            ));
        }
        unit = Unit::of(&item).map_or(unit, |finer| unit.min(finer));
    }
    Ok(Part::Time {
        column,
        format: format.to_owned(),
        unit,
    })
}

fn milliseconds(array: &ArrayRef) -> Result<Int64Array> {
    let array = match array.data_type() {
        DataType::Int64 => Arc::clone(array),
        _ => {
            let at = cast(array, &DataType::Timestamp(TimeUnit::Millisecond, None))?;
            cast(&at, &DataType::Int64)?
        }
    };
    Ok(array.as_primitive::<Int64Type>().clone())
}

fn value(array: &dyn Array, row: usize) -> Result<String> {
    if array.is_null(row) {
        return Ok(NOTHING.to_owned());
    }
    let formatter = ArrayFormatter::try_new(array, &FormatOptions::default())?;
    let text = formatter.value(row).try_to_string().map_err(Error::from)?;
    Ok(escape(&text))
}

/// A value as part of a path: what is not a letter, digit or one of `-_.` is percent-encoded, and
/// so is a name of dots alone.
fn escape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let only_dots = value.chars().all(|c| c == '.');
    for byte in value.bytes() {
        let plain = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if plain && !only_dots {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    if out.is_empty() {
        return NOTHING.into();
    }
    if out.len() > VALUE_BYTES_MAX {
        let hash = kappa_storage::murmur2::murmur2(value.as_bytes()) as u32;
        out.truncate(VALUE_BYTES_MAX);
        let _ = write!(out, "~{hash:08x}");
    }
    out
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, StringArray};
    use arrow::datatypes::Field;

    use super::*;

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![
            Field::new("SITE", DataType::Utf8, true),
            Field::new("ROWTIME", DataType::Int64, false),
        ]))
    }

    fn places(placement: &mut Placement, rows: &[(Option<&str>, i64)]) -> Vec<(String, usize)> {
        let sites: StringArray = rows.iter().map(|(site, _)| *site).collect();
        let times: Int64Array = rows.iter().map(|(_, time)| Some(*time)).collect();
        let batch = RecordBatch::try_new(schema(), vec![Arc::new(sites), Arc::new(times)]).unwrap();
        let split = placement.split(&batch).unwrap();
        split
            .into_iter()
            .map(|(place, rows)| (place.path.clone(), rows.num_rows()))
            .collect()
    }

    const DAY: i64 = 86_400_000;

    #[test]
    fn values_cannot_leave_their_directory() {
        assert_eq!(escape("../../x"), "..%2F..%2Fx");
        assert_eq!(escape(".."), "%2E%2E");
        assert_eq!(escape("a/b c"), "a%2Fb%20c");
        assert_eq!(escape("é"), "%C3%A9");
        assert_eq!(escape(""), NOTHING);
        let long = escape(&"x".repeat(3000));
        assert!(
            long.len() < 200 && long != escape(&"x".repeat(3001)),
            "{long}"
        );
    }

    #[test]
    fn templates_name_columns_and_times() {
        let mut placement =
            Placement::by_template(&schema(), "dt={rowtime:%Y-%m-%d}/h={ROWTIME:%H}/{Site}")
                .unwrap();
        let rows = [
            (Some("a"), 0),
            (Some("a"), 3_599_999),
            (Some("a"), 3_600_000),
            (None, DAY),
            (Some("a"), 1),
        ];
        assert_eq!(
            places(&mut placement, &rows),
            [
                ("dt=1970-01-01/h=00/a/".to_owned(), 3),
                ("dt=1970-01-01/h=01/a/".to_owned(), 1),
                (format!("dt=1970-01-02/h=00/{NOTHING}/"), 1),
            ]
        );
        // One name for all days of a month.
        let mut placement = Placement::by_template(&schema(), "{ROWTIME:%Y%m}").unwrap();
        let rows = [(None, 0), (None, 5 * DAY), (None, 40 * DAY)];
        assert_eq!(
            places(&mut placement, &rows),
            [("197001/".to_owned(), 2), ("197002/".to_owned(), 1)]
        );
    }

    #[test]
    fn stream_time_passes_the_finest_unit() {
        let end = |template: &str, ms: i64| {
            let mut placement = Placement::by_template(&schema(), template).unwrap();
            let times: ArrayRef = Arc::new(Int64Array::from(vec![ms]));
            let sites: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
            let batch = RecordBatch::try_new(schema(), vec![sites, times]).unwrap();
            placement.split(&batch).unwrap()[0].0.end_ms
        };
        assert_eq!(end("{ROWTIME:%Y}", 1), Some(365 * DAY));
        assert_eq!(end("{ROWTIME:%Y-%m}", 1), Some(31 * DAY));
        assert_eq!(
            end("{ROWTIME:%F}/{ROWTIME:%H}", DAY + 1),
            Some(DAY + 3_600_000)
        );
        assert_eq!(end("{ROWTIME:%F}", -1), Some(0));
        assert_eq!(end("{SITE}", 1), None);
    }

    #[test]
    fn what_is_no_template_is_said() {
        let refused = |template: &str| Placement::by_template(&schema(), template).unwrap_err();
        assert!(refused("{SIT}").contains("did you mean SITE?"));
        assert!(refused("{SITE:%Y}").contains("no time"));
        assert!(refused("{ROWTIME:%Q}").contains("no format"));
        assert!(refused("a/../b").contains("must be a name"));
        assert!(refused("/a").contains("begin with /"));
        assert!(refused("{SITE").contains("has no }"));
    }
}
