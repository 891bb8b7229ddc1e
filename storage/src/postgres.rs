//! Rows into a table of PostgreSQL, each unit of them once. A unit and the number of its last epoch
//! become visible in one transaction, so what the database has of a sink can always be asked, and
//! a unit that is sent again is recognised. Which rows are in a unit is the caller's business.
//!
//! The number is kept in `kappa_sinks`, next to the table:
//!
//! `kappa_sinks(sink text primary key, epoch bigint)`

mod column;
mod connect;
mod copy;
mod fault;
mod json;
mod name;
mod numeric;
mod options;
mod table;
mod unit;

use std::fmt;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use tokio_postgres::Client;

pub use self::options::{PostgresOptions, is_secret};
use self::table::Plan;
use crate::{Error, Result};

/// Column of a table's changes, after those of its schema: whether the row is gone.
pub const ROW_DELETED: &str = "ROWDELETED";
/// Column of a table's changes, the last: their order.
pub const ROW_SEQ: &str = "ROWSEQ";

/// What is to be written.
#[derive(Clone, Debug)]
pub struct Target {
    /// The sink's name: in messages, and the table's where `TABLE` names none.
    pub sink: String,
    /// What the database knows this sink by: unique to it for ever, even among those dropped.
    pub mark: String,
    /// The rows' columns.
    pub schema: SchemaRef,
    /// The primary key of a table; empty for a stream.
    pub keys: Vec<String>,
}

/// What a commit has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Rows sent, changes that a later one of the same unit hides included; 0 when the database had
    /// the unit already.
    pub rows: u64,
}

/// Writes one sink's units, in order, one at a time.
pub struct Postgres {
    options: PostgresOptions,
    target: Target,
    /// What a batch must have: the schema's columns, and for a table two more.
    fields: Schema,
    /// The connection, when the last call ended well. Whatever fails leaves none: the next call
    /// starts from what the database has, not from what this end believes.
    session: Option<Session>,
    /// The last epoch known to be in the database.
    epoch: Option<u64>,
    opened: bool,
}

struct Session {
    client: Client,
    plan: Plan,
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Postgres({}, epoch {:?})", self.place(), self.epoch)
    }
}

impl Postgres {
    /// Checks what can be checked without the database.
    ///
    /// # Errors
    /// `User`: a column that Postgres has no type for, names that become one, a key that is no
    /// column, upsert without keys.
    pub fn try_new(options: &PostgresOptions, target: Target) -> Result<Self> {
        let mut options = options.clone();
        if options.table.is_none() {
            options.table = Some(name::Table::of_sink(&target.sink)?);
        }
        let mut fields = target.schema.fields().to_vec();
        if !target.keys.is_empty() {
            fields.push(Field::new(ROW_DELETED, DataType::Boolean, false).into());
            fields.push(Field::new(ROW_SEQ, DataType::Int64, false).into());
        }
        let fields = Schema::new(fields);
        table::check(&options, &target, &fields)?;
        Ok(Self {
            options,
            target,
            fields,
            session: None,
            epoch: None,
            opened: false,
        })
    }

    /// Connects, makes what is missing, checks that the columns fit, and returns the last epoch that
    /// the database has of this sink: none when it has nothing yet. A transaction of a predecessor
    /// that is still at work is waited for, so the answer is final.
    ///
    /// # Errors
    /// `User`: table or columns do not fit, with what to do. `External`: not reached, or refused.
    pub async fn open(&mut self) -> Result<Option<u64>> {
        self.session = None;
        let (session, epoch) = self.connect().await?;
        self.session = Some(session);
        self.epoch = epoch;
        self.opened = true;
        Ok(epoch)
    }

    /// The last epoch known to be in the database. Rows of it and of earlier ones must not be sent
    /// again in a unit with a later number.
    pub fn last_committed(&self) -> Option<u64> {
        self.epoch
    }

    /// Writes a unit, whose last epoch is `epoch`, in one transaction; connects again if need be. A
    /// unit that the database has already is left alone.
    ///
    /// Batches have the schema's columns; for a table [`ROW_DELETED`] BOOLEAN and [`ROW_SEQ`] BIGINT
    /// after them.
    ///
    /// # Errors
    /// Call again with the same unit after any error that is retryable; it is then written once.
    /// Others name the row and column that Postgres cannot take, what is missing, or that another
    /// has written for this sink since [`Postgres::open`], which then has to be called again.
    pub async fn commit(&mut self, epoch: u64, rows: &[RecordBatch]) -> Result<Committed> {
        if !self.opened {
            return Err(Error::Internal("commit before open of a sink".into()));
        }
        if self.epoch.is_some_and(|known| epoch <= known) {
            return Ok(Committed { rows: 0 });
        }
        // Taken away: a call that fails or is given up midway leaves no half-done transaction.
        let session = match self.session.take() {
            Some(session) if !session.client.is_closed() => session,
            _ => {
                let (session, found) = self.connect().await?;
                if found == Some(epoch) {
                    return Ok(self.done(session, epoch, 0));
                }
                self.expect(found)?;
                session
            }
        };
        let unit = unit::Unit {
            session: &session,
            options: &self.options,
            target: &self.target,
            fields: &self.fields,
        };
        let rows = match unit.write(self.epoch, epoch, rows).await? {
            unit::Outcome::Written(rows) => rows,
            unit::Outcome::Found(found) if found == Some(epoch) => 0,
            unit::Outcome::Found(found) => {
                self.expect(found)?;
                return Err(Error::Internal(format!(
                    "{}: epoch not advanced",
                    self.place()
                )));
            }
        };
        Ok(self.done(session, epoch, rows))
    }

    fn done(&mut self, session: Session, epoch: u64, rows: u64) -> Committed {
        self.session = Some(session);
        self.epoch = Some(epoch);
        Committed { rows }
    }

    /// Whether the database is where this end left it.
    fn expect(&self, found: Option<u64>) -> Result<()> {
        if found == self.epoch {
            return Ok(());
        }
        let said =
            |epoch: Option<u64>| epoch.map_or("no epoch".to_owned(), |n| format!("epoch {n}"));
        Err(Error::external(
            format!("write to {}", self.place()),
            format!(
                "it has {} of sink {} where {} was expected: another instance writes for this sink, \
                 or the database was restored; stop the other one, then start the sink again",
                said(found),
                self.target.sink,
                said(self.epoch),
            ),
        ))
    }

    async fn connect(&self) -> Result<(Session, Option<u64>)> {
        let client = connect::connect(&self.options).await?;
        let (plan, epoch) = table::open(&client, &self.options, &self.target, &self.fields).await?;
        Ok((Session { client, plan }, epoch))
    }

    /// Where it writes, for messages.
    fn place(&self) -> String {
        self.options.place()
    }
}
