//! Snowpipe Streaming as a sink: rows into a table within seconds, without files and warehouse, each
//! exactly once.
//!
//! ```text
//! epoch 7 ─┬─ chunk 0 ─> channel 7 mod n      each channel keeps, with its rows, the token of the
//!          ├─ chunk 1 ─> channel 8 mod n      last chunk that is in the table: 7:0, 7:1, …
//!          └─ chunk 2 ─> channel 9 mod n
//! ```
//!
//! An epoch's rows are cut into chunks in a way that depends on nothing but the rows (`chunk.rs`), and
//! the chunks go through channels in turn (`channel.rs`). An epoch is delivered when each channel has
//! the last of its chunks in the table. After a crash, or when it is not certain what a channel has
//! taken, the channel is opened anew and only what comes after its token is sent.
//!
//! Rows are only added. Those that the table does not take are counted by Snowflake and skipped: they
//! are found here, as far as that can be, and given to the caller (`rejected.rs`).

mod channel;
mod chunk;
mod ingest;
mod rejected;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use futures::future::try_join_all;
use serde::{Deserialize, Serialize};

use self::channel::{Channel, Status};
use self::chunk::{Chunk, Token};
use self::ingest::Ingest;
use self::rejected::Complaint;
use super::name::ObjectName;
use super::options::{Mode, SnowflakeOptions};
use super::session::{Clock, Session};
use super::table::{self, TableColumn};
use super::{Target, check_columns, own_name, table_of};
use crate::{Error, Result};

/// Between two looks at how far the channels have come. Snowflake needs some seconds.
const LOOK_FIRST: Duration = Duration::from_millis(20);
const LOOK_MAX: Duration = Duration::from_secs(1);
/// How often RETRY_TIMEOUT may pass with nothing getting into the table before channels are opened
/// anew, which drops what is on its way: it may only be slow.
const STALLS_MAX: u32 = 10;

/// The rows of an epoch, to be given in the same order at every try.
#[derive(Debug, Clone)]
pub struct EpochRows {
    /// Its number; numbers grow.
    pub epoch: u64,
    /// All its rows, in the columns of [`Target::schema`].
    pub rows: Vec<RecordBatch>,
}

/// What the caller keeps of a channel, durably, together with how far it has delivered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelMark {
    /// The offset token of the last chunk that is in the table.
    pub committed: Option<String>,
    /// Rows that Snowflake has rejected, ever, as far as the caller knows them.
    pub rejected: u64,
}

/// [`ChannelMark`]s by the channels' names.
pub type ChannelMarks = BTreeMap<String, ChannelMark>;

/// Rows that the table did not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedRows {
    /// Which channel they came through, from 0.
    pub channel: usize,
    /// The epoch they are of.
    pub epoch: u64,
    /// How many they are. 0 where an entry of the same epochs has the count.
    pub rows: u64,
    /// Why.
    pub reason: String,
    /// The rows, or those that they are among, a line of JSON each; `None` when that is not known.
    pub payload: Option<Vec<u8>>,
}

/// What came of some epochs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Streamed {
    /// Rows that are in the table.
    pub rows: u64,
    /// Rows that are not.
    pub rejected: Vec<RejectedRows>,
    /// To be kept.
    pub marks: ChannelMarks,
}

/// A sink's connection to Snowpipe Streaming.
#[derive(Debug)]
pub struct Streaming {
    options: Arc<SnowflakeOptions>,
    target: Target,
    table: ObjectName,
    session: Session,
    ingest: Ingest,
    /// The table's columns, and the names of ours among them, in the order of ours.
    table_columns: Vec<TableColumn>,
    names: Vec<String>,
    channels: Vec<Channel>,
    is_open: bool,
    /// How often it was waited in vain.
    stalls: u32,
}

impl Streaming {
    /// Checks what can be checked here; nothing is sent.
    ///
    /// # Errors
    /// `User` when mode and options do not fit, or a column cannot go to Snowflake.
    pub fn try_new(options: &SnowflakeOptions, target: Target, now: Clock) -> Result<Self> {
        if options.mode != Some(Mode::Streaming) || !target.keys.is_empty() {
            return Err(Error::Internal(
                "streaming is for MODE 'streaming', without keys".into(),
            ));
        }
        check_columns(options, &target)?;
        chunk::check(&target.schema)?;
        let options = Arc::new(options.clone());
        let table = table_of(&options, &target);
        let pipe = match &options.pipe {
            Some(pipe) => pipe.clone(),
            None => table.beside(format!("{}-STREAMING", table.name)),
        };
        let name = own_name(&target);
        let channels = 0..options.channels;
        let tag = format!("kappa sink {}", target.sink);
        let session = Session::new(options.clone(), &tag, now.clone())?;
        Ok(Self {
            ingest: Ingest::new(session.http().clone(), options.clone(), pipe, now),
            session,
            channels: channels
                .map(|number| Channel::new(format!("{name}_{number}")))
                .collect(),
            options,
            target,
            table,
            table_columns: Vec::new(),
            names: Vec::new(),
            is_open: false,
            stalls: 0,
        })
    }

    /// Logs in, sees to the table, and opens the channels; those that are open stay so, with what is
    /// on its way. `marks` are those of the last epoch that was delivered. Returns the newest epoch of
    /// which there is something, 0 when there is none. May be called again.
    ///
    /// # Errors
    /// `User` when the table is not as it must be; `External`, retryable or not, for the rest.
    pub async fn open(&mut self, marks: &ChannelMarks) -> Result<u64> {
        self.session.open().await?;
        if !self.is_open {
            for sql in &self.options.preactions {
                self.session.run("carry out PREACTIONS", sql).await?;
            }
        }
        let (session, target) = (&mut self.session, &self.target);
        let columns = table::open(session, &self.options, &self.table, &target.schema, &[]).await?;
        self.names = columns.into_iter().map(|column| column.name).collect();
        self.table_columns = table::describe(session, &self.table)
            .await?
            .unwrap_or_default();
        let none = ChannelMark::default();
        let ingest = &self.ingest;
        let opened = self.channels.iter_mut().map(|channel| {
            let mark = marks.get(&channel.name).unwrap_or(&none);
            channel.open(ingest, mark)
        });
        try_join_all(opened).await?;
        self.is_open = true;
        let newest = self.channels.iter().filter_map(|channel| channel.committed);
        Ok(newest.map(|token| token.epoch).max().unwrap_or(0))
    }

    /// How many channels it has.
    pub fn channels(&self) -> usize {
        self.channels.len()
    }

    /// Lands the epochs exactly once, and returns when they are in the table. After an error it is
    /// called again, here or in another process, with the same epochs and perhaps more after them.
    ///
    /// # Errors
    /// `External`: retryable when Snowflake or the way there is in trouble or takes long, not so when
    /// it refuses. Call [`Streaming::open`] before the next try.
    pub async fn commit(&mut self, epochs: Vec<EpochRows>) -> Result<Streamed> {
        if !self.is_open {
            return Err(Error::Internal("streaming was not opened".to_owned()));
        }
        let names = self.names.clone();
        let cut = tokio::task::spawn_blocking(move || chunk::cut(&epochs, &names));
        let cut = cut
            .await
            .map_err(|error| Error::Internal(format!("cutting rows panicked: {error}")))??;
        let mut parts: Vec<Vec<&Chunk>> = vec![Vec::new(); self.channels.len()];
        for chunk in &cut {
            parts[chunk.channel(self.channels.len())].push(chunk);
        }
        self.land(&parts).await?;
        let mut streamed = Streamed {
            rows: cut.iter().map(|chunk| chunk.rows).sum(),
            ..Streamed::default()
        };
        for (number, (channel, part)) in self.channels.iter_mut().zip(&parts).enumerate() {
            streamed.marks.insert(channel.name.clone(), channel.mark());
            let rows = channel.rejected.saturating_sub(channel.known);
            if rows == 0 {
                continue;
            }
            let (upper, message) = match &channel.error {
                Some((upper, message)) => (*upper, message.as_str()),
                None => (None, "no reason given"),
            };
            let complaint = Complaint {
                channel: number,
                rows,
                upper,
                message,
            };
            streamed
                .rejected
                .extend(rejected::find(&complaint, part, &self.table_columns)?);
            streamed.rows = streamed.rows.saturating_sub(rows);
            channel.known = channel.rejected;
        }
        Ok(streamed)
    }

    /// Sends what each channel lacks until all of it is in the table.
    async fn land(&mut self, parts: &[Vec<&Chunk>]) -> Result<()> {
        let (mut waited, mut wait) = (Duration::ZERO, LOOK_FIRST);
        loop {
            let ingest = &self.ingest;
            let sent = self.channels.iter_mut().zip(parts);
            try_join_all(sent.map(|(channel, part)| channel.send(ingest, part))).await?;
            let statuses = channel::statuses(ingest, &self.channels).await?;
            if self.see(statuses)? {
                (waited, wait, self.stalls) = (Duration::ZERO, LOOK_FIRST, 0);
            }
            if !self.channels.iter().all(Channel::is_open) {
                continue;
            }
            let last = |part: &Vec<&Chunk>| part.last().map(|chunk| chunk.token);
            let mut behind = self.channels.iter().zip(parts);
            let behind = behind.find(|(channel, part)| channel.committed < last(part));
            let Some((first, part)) = behind else {
                return Ok(());
            };
            if waited >= self.options.retry {
                let error = stalled(&self.ingest, first, last(part), waited);
                self.stalls += 1;
                if self.stalls.is_multiple_of(STALLS_MAX) {
                    for channel in &mut self.channels {
                        channel.invalidate("nothing got into the table".to_owned());
                    }
                }
                return Err(error);
            }
            tokio::time::sleep(wait).await;
            waited += wait;
            wait = wait.mul_f32(1.5).min(LOOK_MAX);
        }
    }

    /// Takes note of statuses; whether something got into the table.
    fn see(&mut self, statuses: Vec<Option<Status>>) -> Result<bool> {
        let mut progress = false;
        for (channel, status) in self.channels.iter_mut().zip(statuses) {
            progress |= channel.see(&self.ingest, status)?;
        }
        Ok(progress)
    }

    /// Logs out, if that can be done at once. Channels stay: they are Snowflake's memory.
    pub async fn close(&mut self) {
        self.session.close().await;
    }
}

fn stalled(ingest: &Ingest, channel: &Channel, last: Option<Token>, waited: Duration) -> Error {
    let shown = |token: Option<Token>| match token {
        None => "nothing".to_owned(),
        Some(token) => token.to_string(),
    };
    Error::retryable(
        format!(
            "wait for rows to get into the table by pipe {}",
            ingest.pipe()
        ),
        format!(
            "Snowflake has taken what was sent and for {} s put nothing of it into the table: \
             channel {} has {}, and {} is to come",
            waited.as_secs(),
            channel.name,
            shown(channel.committed),
            shown(last)
        ),
    )
}
