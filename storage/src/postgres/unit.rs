//! One unit in one transaction.

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use futures::SinkExt;

use super::copy::{Cursor, Encoder};
use super::fault::fault;
use super::json;
use super::options::PostgresOptions;
use super::table::{SINK_LOCK, read_epoch};
use super::{Session, Target};
use crate::{Error, Result};

/// Rows that are encoded at a time.
const ROWS: usize = 8192;

pub(super) struct Unit<'a> {
    pub(super) session: &'a Session,
    pub(super) options: &'a PostgresOptions,
    pub(super) target: &'a Target,
    pub(super) fields: &'a Schema,
}

pub(super) enum Outcome {
    /// It is in, with that many rows.
    Written(u64),
    /// Nothing was written: the database is at another epoch than expected.
    Found(Option<u64>),
}

impl Unit<'_> {
    /// Writes it if the database is at `from`, which then is at `to`.
    pub(super) async fn write(
        &self,
        from: Option<u64>,
        to: u64,
        rows: &[RecordBatch],
    ) -> Result<Outcome> {
        let (client, plan) = (&self.session.client, &self.session.plan);
        let failed = |error: tokio_postgres::Error| self.failed(&error);
        client
            .batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED")
            .await
            .map_err(failed)?;
        client
            .execute(SINK_LOCK, &[&self.target.mark])
            .await
            .map_err(failed)?;
        let found = read_epoch(client, &plan.sinks, &self.target.mark)
            .await
            .map_err(failed)?;
        if found != from {
            client.batch_execute("ROLLBACK").await.map_err(failed)?;
            return Ok(Outcome::Found(found));
        }
        self.advance(from, to).await?;
        let count = self.copy(rows).await?;
        if count > 0 {
            for sql in &plan.merge {
                client.execute(sql, &[]).await.map_err(failed)?;
            }
        }
        client.batch_execute("COMMIT").await.map_err(failed)?;
        Ok(Outcome::Written(count))
    }

    async fn advance(&self, from: Option<u64>, to: u64) -> Result<()> {
        let to = i64::try_from(to).map_err(|_| Error::Internal(format!("epoch {to}")))?;
        let (client, sinks) = (&self.session.client, &self.session.plan.sinks);
        let mark = &self.target.mark;
        let changed = match from.map(u64::cast_signed) {
            Some(from) => {
                let sql = format!("UPDATE {sinks} SET epoch = $2 WHERE sink = $1 AND epoch = $3");
                client.execute(&sql, &[mark, &to, &from]).await
            }
            None => {
                let sql = format!("INSERT INTO {sinks} (sink, epoch) VALUES ($1, $2)");
                client.execute(&sql, &[mark, &to]).await
            }
        };
        match changed.map_err(|error| self.failed(&error))? {
            1 => Ok(()),
            // The lock and the look at it came before: somebody writes who takes no lock.
            other => Err(Error::external(
                format!("write to {}", self.options.place()),
                format!(
                    "{other} rows of {sinks} are of sink {}, and not 1",
                    self.target.sink
                ),
            )),
        }
    }

    /// Sends the rows, and returns how many.
    async fn copy(&self, rows: &[RecordBatch]) -> Result<u64> {
        if rows.iter().all(|batch| batch.num_rows() == 0) {
            return Ok(0);
        }
        let (client, plan) = (&self.session.client, &self.session.plan);
        let failed = |error: tokio_postgres::Error| self.failed(&error);
        let sink = client.copy_in(&plan.copy).await.map_err(failed)?;
        let mut sink = std::pin::pin!(sink);
        let mut encoder = Encoder::new(self.fields);
        let json = json::options();
        for batch in rows {
            for first in (0..batch.num_rows()).step_by(ROWS) {
                let some = batch.slice(first, ROWS.min(batch.num_rows() - first));
                // Encoded before it is sent: JSON's encoder cannot move to another thread.
                let mut pieces = Vec::new();
                {
                    let mut cursor = Cursor::new(&some, &plan.forms, self.fields, &json)?;
                    while let Some(piece) = encoder.next_piece(&mut cursor)? {
                        pieces.push(piece);
                    }
                }
                for piece in pieces {
                    sink.send(piece).await.map_err(failed)?;
                }
            }
        }
        sink.send(encoder.finish()).await.map_err(failed)?;
        let taken = sink.finish().await.map_err(failed)?;
        let sent = encoder.rows();
        match taken == sent {
            true => Ok(sent),
            // A trigger or rule that drops rows would lose them without a word.
            false => Err(Error::external(
                format!("write to {}", self.options.place()),
                format!("it took {taken} of {sent} rows: a trigger there drops some"),
            )),
        }
    }

    fn failed(&self, error: &tokio_postgres::Error) -> Error {
        fault(format!("write to {}", self.options.place()), error)
    }
}
