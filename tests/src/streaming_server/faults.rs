//! What is to go wrong with the next requests.

use std::collections::BTreeMap;

use hyper::StatusCode;

/// Sorts of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A login, or a statement of SQL.
    Sql,
    /// Where the interface is.
    Hostname,
    /// A scoped token.
    Token,
    /// A channel is opened.
    Open,
    /// Rows are sent.
    Append,
    /// Channels are asked about.
    Status,
    /// A channel is dropped.
    Drop,
    /// Anything else.
    Other,
}

/// What goes wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is executed, and the connection cut.
    Lose(Option<Kind>, u32),
    /// The connection is cut.
    Cut(Option<Kind>, u32),
    /// It is not executed and never answered.
    Hang(Option<Kind>, u32),
    /// It is executed and never answered.
    HangAfter(Option<Kind>, u32),
    /// It is refused with that status; 429 says to come back at once.
    Status(u16, Option<Kind>, u32),
    /// All scoped tokens have ended.
    Expire(Option<Kind>, u32),
    /// The pipe has crashed: what is on its way is lost, and channels must be opened anew.
    Crash(Option<Kind>, u32),
    /// Somebody else has just opened all channels.
    Fence(Option<Kind>, u32),
}

impl Fault {
    /// The sort of request that it is for, all where there is none, and how many to let pass first.
    fn place(&mut self) -> (Option<Kind>, &mut u32) {
        match self {
            Self::Lose(kind, skip)
            | Self::Cut(kind, skip)
            | Self::Hang(kind, skip)
            | Self::HangAfter(kind, skip)
            | Self::Status(_, kind, skip)
            | Self::Expire(kind, skip)
            | Self::Crash(kind, skip)
            | Self::Fence(kind, skip) => (*kind, skip),
        }
    }
}

/// What is to happen to one request.
pub(super) enum Fate {
    Execute,
    Lose,
    Cut,
    Hang { execute: bool },
    Status(StatusCode),
    Expire,
    Crash,
    Fence,
}

/// The faults that were asked for.
#[derive(Debug, Default)]
pub(super) struct Faults {
    due: Vec<Fault>,
    seen: BTreeMap<Kind, u64>,
}

impl Faults {
    pub(super) fn add(&mut self, fault: Fault) {
        self.due.push(fault);
    }

    pub(super) fn forget(&mut self) -> usize {
        let count = self.due.len();
        self.due.clear();
        count
    }

    pub(super) fn seen(&self, kind: Kind) -> u64 {
        self.seen.get(&kind).copied().unwrap_or(0)
    }

    pub(super) fn next(&mut self, kind: Kind) -> Fate {
        *self.seen.entry(kind).or_default() += 1;
        let due = self.due.iter_mut().position(|fault| {
            let (of, skip) = fault.place();
            let due = of.is_none_or(|of| of == kind) && *skip == 0;
            if of.is_none_or(|of| of == kind) {
                *skip = skip.saturating_sub(1);
            }
            due
        });
        let Some(at) = due else {
            return Fate::Execute;
        };
        match self.due.remove(at) {
            Fault::Lose(..) => Fate::Lose,
            Fault::Cut(..) => Fate::Cut,
            Fault::Hang(..) => Fate::Hang { execute: false },
            Fault::HangAfter(..) => Fate::Hang { execute: true },
            Fault::Status(status, ..) => Fate::Status(
                StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            ),
            Fault::Expire(..) => Fate::Expire,
            Fault::Crash(..) => Fate::Crash,
            Fault::Fence(..) => Fate::Fence,
        }
    }
}
