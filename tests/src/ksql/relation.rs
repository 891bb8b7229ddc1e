//! What the engine says of its streams and tables, by SHOW and DESCRIBE EXTENDED: what is needed to
//! write and read their records from outside.

use arrow::array::{Array, RecordBatch, StringArray};
use kappa_engine::{Response, Session};

use super::types::{Column, Place, parse_type};

/// A stream or table.
#[derive(Clone, Debug, Default)]
pub(super) struct Relation {
    pub(super) name: String,
    /// `stream` or `table`.
    pub(super) kind: String,
    pub(super) topic: String,
    pub(super) key_format: String,
    pub(super) value_format: String,
    pub(super) columns: Vec<Column>,
    pub(super) window: Option<Window>,
}

/// What its keys carry beside the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Window {
    /// `TUMBLING`, `HOPPING` or `SESSION`.
    pub(super) kind: String,
    /// Its length; sessions have none.
    pub(super) size_ms: Option<i64>,
}

impl Relation {
    /// All that are registered.
    ///
    /// # Errors
    /// A listing that cannot be had or read.
    pub(super) async fn all(session: &mut Session) -> Result<Vec<Self>, String> {
        let mut relations = Vec::new();
        for listing in ["SHOW STREAMS", "SHOW TABLES"] {
            for name in column(&rows(session, listing).await?, 0)? {
                relations.push(Self::describe(session, &name).await?);
            }
        }
        Ok(relations)
    }

    async fn describe(session: &mut Session, name: &str) -> Result<Self, String> {
        let statement = format!("DESCRIBE `{}` EXTENDED", name.replace('`', "``"));
        let batches = rows(session, &statement).await?;
        let [names, types, keys] = [0, 1, 2].map(|index| column(&batches, index));
        let mut relation = Self {
            name: name.to_owned(),
            ..Self::default()
        };
        for ((name, value), key) in names?.into_iter().zip(types?).zip(keys?) {
            let detail = name
                .strip_prefix('(')
                .and_then(|name| name.strip_suffix(')'));
            match detail {
                None => relation.columns.push(Column {
                    data_type: parse_type(&value)?,
                    place: match key.as_str() {
                        "KEY" | "PRIMARY KEY" => Place::Key,
                        "" => Place::Value,
                        _ => Place::Headers,
                    },
                    name,
                }),
                Some("kind") => relation.kind = value,
                Some("topic") => relation.topic = value,
                Some("key format") => relation.key_format = value,
                Some("value format") => relation.value_format = value,
                Some("window") => relation.window = Some(window(&value)?),
                Some(_) => {}
            }
        }
        Ok(relation)
    }

    /// Its columns in the key, or in the value.
    pub(super) fn side(&self, place: Place) -> Side<'_> {
        let format = match place {
            Place::Key => &self.key_format,
            Place::Value | Place::Headers => &self.value_format,
        };
        let columns = self
            .columns
            .iter()
            .filter(|column| column.place == place)
            .collect();
        Side { format, columns }
    }
}

/// One side of a relation's records.
#[derive(Clone, Debug)]
pub(super) struct Side<'a> {
    pub(super) format: &'a str,
    pub(super) columns: Vec<&'a Column>,
}

/// `TUMBLING 30000 ms`, `HOPPING 30000 ms`, `SESSION`.
fn window(text: &str) -> Result<Window, String> {
    let mut words = text.split_whitespace();
    let kind = words.next().ok_or("an empty window")?.to_owned();
    let size_ms = match words.next() {
        None => None,
        Some(size) => Some(
            size.parse()
                .map_err(|_| format!("no window's size: '{text}'"))?,
        ),
    };
    Ok(Window { kind, size_ms })
}

async fn rows(session: &mut Session, statement: &str) -> Result<Vec<RecordBatch>, String> {
    match session.execute(statement).await {
        Ok(Response::Rows(rows)) => rows.collect().await.map_err(|error| error.to_string()),
        Ok(_) => Err(format!("{statement} gives no rows")),
        Err(error) => Err(format!("{statement}: {error}")),
    }
}

fn column(batches: &[RecordBatch], index: usize) -> Result<Vec<String>, String> {
    let mut texts = Vec::new();
    for batch in batches {
        let array = batch
            .columns()
            .get(index)
            .and_then(|column| column.as_any().downcast_ref::<StringArray>())
            .ok_or_else(|| format!("a listing without text in its column {index}"))?;
        texts.extend(array.iter().map(|text| text.unwrap_or_default().to_owned()));
    }
    Ok(texts)
}
