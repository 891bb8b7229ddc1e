//! What a source reads from: a topic, whose records are decoded, or a generator.
//!
//! [`Inputs`] is where they are opened and asked for their ends, [`Input`] is one that is read. Both
//! kinds give the same: rows of the columns asked for, with their times and offsets.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use kappa_sql::catalog::Relation;
use kappa_storage::record::Records;
use kappa_storage::topic::{FetchLimit, OffsetRange, Reader, Topics};

use super::decode::{DecodedRows, RowDecoder, reads_headers};
use super::generated::{Generated, Recipe};
use crate::clock::Clock;
use crate::error::{Error, Result};

/// Most bytes of records that one fetch takes.
const FETCH_BYTES: usize = 8 << 20;

/// The end of what has none.
pub(crate) const ENDLESS: i64 = i64::MAX;

/// Opens inputs.
#[derive(Clone, Debug)]
pub(crate) struct Inputs {
    pub(crate) topics: Arc<dyn Topics>,
    pub(crate) clock: Arc<dyn Clock>,
}

/// An input that is read.
#[derive(Debug)]
pub(crate) enum Input {
    Topic {
        reader: Box<dyn Reader>,
        relation: Arc<Relation>,
        schema: SchemaRef,
        /// Whether a column is of the records' headers.
        headers: bool,
    },
    Generated(Box<Generated>),
}

/// What a fetch found.
#[derive(Debug)]
pub(crate) struct Arrived {
    /// What rows are to be made of, if there was anything.
    pub(crate) raw: Option<Raw>,
    /// Offset to continue from.
    pub(crate) next_offset: i64,
    /// Whether there was nothing beyond when asked.
    pub(crate) at_end: bool,
}

/// What rows are made of.
#[derive(Debug)]
pub(crate) enum Raw {
    Records(Box<Records>),
    /// Rows of a generator, from an offset on.
    Numbers {
        start: i64,
        count: usize,
    },
}

impl Raw {
    /// Number of records, the bad ones included.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Records(records) => records.len(),
            Self::Numbers { count, .. } => *count,
        }
    }
}

/// Makes rows of what arrived in one partition. Each partition has its own, so that they can be at
/// work at the same time.
#[derive(Debug)]
pub(crate) enum Maker {
    Decoder(Box<RowDecoder>),
    Generator(Arc<Recipe>),
}

impl Maker {
    /// The rows.
    pub(crate) fn make(&mut self, partition: i32, raw: &Raw) -> Result<DecodedRows> {
        match (self, raw) {
            (Self::Decoder(decoder), Raw::Records(records)) => decoder.decode(partition, records),
            (Self::Generator(recipe), Raw::Numbers { start, count }) => {
                recipe.make(partition, *start, *count)
            }
            (Self::Decoder(_), Raw::Numbers { .. }) | (Self::Generator(_), Raw::Records(_)) => {
                Err(Error::Internal("rows of another kind of input".into()))
            }
        }
    }
}

impl Inputs {
    /// The offsets that each partition of a relation has now; a last one of [`ENDLESS`] where there
    /// is no last one.
    pub(crate) async fn offsets(&self, relation: &Relation) -> Result<Vec<OffsetRange>> {
        match &relation.connector {
            None => Ok(self.topics.offsets(&relation.topic).await?),
            Some(connector) => {
                let now_ms = self.clock.now_ms();
                let rows = super::generated::rows_due(connector, now_ms);
                let partitions = 0..relation.partitions.max(1);
                let range = |partition| OffsetRange {
                    start: 0,
                    end: rows.map_or(ENDLESS, |rows| {
                        super::generated::rows_of(rows, partition, relation.partitions)
                    }),
                };
                Ok(partitions.map(range).collect())
            }
        }
    }

    /// The end of each partition, with what is written and cannot be read yet. Who reads what has no
    /// end is asked to read no further than it has come: to `positions`.
    pub(crate) async fn written(&self, relation: &Relation, positions: &[i64]) -> Result<Vec<i64>> {
        if relation.connector.is_none() {
            return Ok(self.topics.written(&relation.topic).await?);
        }
        let ranges = self.offsets(relation).await?;
        let ends = ranges
            .iter()
            .zip(positions)
            .map(|(range, position)| match range.end {
                ENDLESS => *position,
                end => end,
            });
        Ok(ends.collect())
    }

    /// Opens an input that stands at `positions` (partition, next offset) and gives the columns of
    /// `schema`.
    pub(crate) async fn open(
        &self,
        relation: &Arc<Relation>,
        schema: &SchemaRef,
        positions: &[(i32, i64)],
    ) -> Result<Input> {
        if let Some(connector) = &relation.connector {
            let clock = Arc::clone(&self.clock);
            let generated = Generated::try_new(relation, connector, schema, positions, clock)?;
            return Ok(Input::Generated(Box::new(generated)));
        }
        Ok(Input::Topic {
            reader: self.topics.reader(&relation.topic, positions).await?,
            relation: Arc::clone(relation),
            schema: Arc::clone(schema),
            headers: reads_headers(relation, schema),
        })
    }
}

impl Input {
    /// Called before every partition is fetched: what comes later is for the next time. Partitions
    /// that are filled by the clock are then all as of one moment.
    pub(crate) fn look(&mut self) {
        match self {
            Self::Topic { .. } => {}
            Self::Generated(generated) => generated.look(),
        }
    }

    /// What makes the rows of one more partition.
    pub(crate) fn maker(&self) -> Result<Maker> {
        Ok(match self {
            Self::Topic {
                relation, schema, ..
            } => Maker::Decoder(Box::new(RowDecoder::try_new(relation, Arc::clone(schema))?)),
            Self::Generated(generated) => Maker::Generator(Arc::clone(generated.recipe())),
        })
    }

    /// What comes next in `partition`, at most `records` records, without waiting.
    /// Partitions can be fetched at the same time.
    pub(crate) fn fetch(&self, partition: i32, records: usize) -> Result<Arrived> {
        let (reader, headers) = match self {
            Self::Topic {
                reader, headers, ..
            } => (reader, *headers),
            Self::Generated(generated) => return generated.fetch(partition, records),
        };
        let limit = FetchLimit {
            records,
            bytes: FETCH_BYTES,
            headers,
        };
        let fetched = reader.fetch(partition, limit)?;
        let records = fetched.records.filter(|records| !records.is_empty());
        Ok(Arrived {
            raw: records.map(|records| Raw::Records(Box::new(records))),
            next_offset: fetched.next_offset,
            at_end: fetched.at_end,
        })
    }

    /// Waits until there may be something to fetch, at most `timeout`.
    pub(crate) async fn ready(&mut self, timeout: Duration) -> Result<()> {
        match self {
            Self::Topic { reader, .. } => Ok(reader.ready(timeout).await?),
            Self::Generated(generated) => {
                tokio::time::sleep(generated.wait(timeout)).await;
                Ok(())
            }
        }
    }

    /// The number of partitions now.
    pub(crate) async fn partitions(&mut self) -> Result<i32> {
        match self {
            Self::Topic { reader, .. } => Ok(reader.partitions().await?),
            Self::Generated(generated) => Ok(generated.partitions()),
        }
    }

    /// Reads one more partition from its beginning.
    pub(crate) fn add_partition(&mut self, partition: i32) -> Result<()> {
        match self {
            Self::Topic { reader, .. } => Ok(reader.add_partition(partition, 0)?),
            // Their number is fixed.
            Self::Generated(_) => Ok(()),
        }
    }
}
