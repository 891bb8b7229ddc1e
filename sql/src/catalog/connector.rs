//! Streams whose rows are made as they are read, and what they are made from.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::types::SqlType;

/// What makes a stream's rows, where no topic holds them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Connector {
    /// The generator of the Nexmark benchmark.
    Nexmark(Nexmark),
}

/// Events of the Nexmark benchmark, of which a stream has those of one table.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Nexmark {
    /// The table.
    pub table: NexmarkTable,
    /// How many events there are, those of the other tables included; no end where absent.
    pub events: Option<u64>,
    /// How many come in a second of the wall clock; where absent all are there at once.
    pub rate: Option<u64>,
    /// The number of the first.
    pub offset: u64,
    /// What the values depend on.
    pub seed: u64,
    /// When the first came, milliseconds since 1970-01-01 UTC: when the stream was created.
    pub created_ms: i64,
}

/// A table of the Nexmark benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum NexmarkTable {
    Person,
    Auction,
    Bid,
}

impl Connector {
    /// Its name in the property CONNECTOR.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Nexmark(_) => "nexmark",
        }
    }

    /// What stands where other streams have a topic. No topic can be called so.
    pub fn origin(&self) -> String {
        match self {
            Self::Nexmark(nexmark) => format!("nexmark:{}", nexmark.table.name()),
        }
    }

    /// Says when the stream was created.
    pub fn set_created(&mut self, now_ms: i64) {
        match self {
            Self::Nexmark(nexmark) => nexmark.created_ms = now_ms,
        }
    }

    /// Whether reading it never comes to an end, however long one waits: all its rows are there, and
    /// there is no last one.
    pub fn is_endless(&self) -> bool {
        match self {
            Self::Nexmark(nexmark) => nexmark.events.is_none() && nexmark.rate.is_none(),
        }
    }

    /// Whether there may be more rows at any time.
    pub fn grows(&self) -> bool {
        match self {
            Self::Nexmark(nexmark) => nexmark.events.is_none() || nexmark.rate.is_some(),
        }
    }
}

/// `events 0 to 1000000, 5000 a second, seed 1`
impl fmt::Display for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Nexmark(nexmark) = self;
        write!(f, "events from {}", nexmark.offset)?;
        match nexmark.events {
            Some(events) => write!(f, " to {}", nexmark.offset.saturating_add(events))?,
            None => f.write_str(" on")?,
        }
        match nexmark.rate {
            Some(rate) => write!(f, ", {rate} a second")?,
            None => f.write_str(", as fast as they are read")?,
        }
        write!(f, ", seed {}", nexmark.seed)
    }
}

impl NexmarkTable {
    /// The tables there are, by name.
    pub const ALL: [(&'static str, Self); 3] = [
        ("person", Self::Person),
        ("auction", Self::Auction),
        ("bid", Self::Bid),
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::Auction => "auction",
            Self::Bid => "bid",
        }
    }

    /// Its columns, under the names that a statement gives them which does not quote them.
    pub fn columns(self) -> &'static [(&'static str, SqlType)] {
        use SqlType::{BigInt, String, Timestamp};
        match self {
            Self::Person => &[
                ("ID", BigInt),
                ("NAME", String),
                ("EMAILADDRESS", String),
                ("CREDITCARD", String),
                ("CITY", String),
                ("STATE", String),
                ("DATETIME", Timestamp),
                ("EXTRA", String),
            ],
            Self::Auction => &[
                ("ID", BigInt),
                ("ITEMNAME", String),
                ("DESCRIPTION", String),
                ("INITIALBID", BigInt),
                ("RESERVE", BigInt),
                ("DATETIME", Timestamp),
                ("EXPIRES", Timestamp),
                ("SELLER", BigInt),
                ("CATEGORY", BigInt),
                ("EXTRA", String),
            ],
            Self::Bid => &[
                ("AUCTION", BigInt),
                ("BIDDER", BigInt),
                ("PRICE", BigInt),
                ("CHANNEL", String),
                ("URL", String),
                ("DATETIME", Timestamp),
                ("EXTRA", String),
            ],
        }
    }
}
