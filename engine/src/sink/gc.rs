//! What sinks of files have left at their target that no reader needs: found, and removed on request.
//!
//! Only what is there is looked at, so neither a data directory nor an engine is needed, and one may be
//! running. What could still become part of a sink is never garbage: a file goes only when an object
//! that never changes (the commit of its own number, or a compaction) says that it is not needed.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use futures::{StreamExt, TryStreamExt};
use kappa_storage::files::{FileTarget, Listed};

use super::commit_objects::{
    COMMITS, CommitObject, CommittedFile, CompactionObject, Named, Owner, What,
};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::response::Rows;

/// Objects that are read, or files that are removed, at a time.
const REQUESTS: usize = 16;

/// What is to be looked for, and removed.
#[derive(Clone, Debug)]
pub struct GarbageRequest {
    /// The `PATH` of the sinks.
    pub path: String,
    /// Only sinks of this `FILE_PREFIX`.
    pub prefix: Option<String>,
    /// Only sinks with these marks; all when there is none.
    pub marks: Vec<String>,
    /// Only what was written so long ago, in milliseconds.
    pub older_than_ms: i64,
    /// Whether these sinks are gone, so that what they had not finished never will be.
    pub dropped: bool,
    /// Whether it is removed.
    pub delete: bool,
    /// Whether files are listed instead of counted.
    pub list: bool,
}

/// Finds what is of no use below a path, and removes it if asked to. The rows say what there is, and
/// what becomes of it.
///
/// # Errors
/// A path that cannot be opened, listed or written; an object that is none of ours among the commit
/// objects. What was removed before stays so.
pub async fn collect_garbage(config: &Config, request: &GarbageRequest) -> Result<Rows> {
    let settings = config.store_settings(&request.path)?;
    let target = FileTarget::open(&request.path, &settings)?;
    let wanted = |owner: &Owner| {
        let prefix = request.prefix.as_ref();
        prefix.is_none_or(|prefix| *prefix == owner.prefix)
            && (request.marks.is_empty() || request.marks.contains(&owner.mark))
    };
    let mut owners: BTreeMap<Owner, Found> = BTreeMap::new();
    let mut found = |listed: Listed, objects: bool| {
        let Some(named) = Named::parse(&listed.name).filter(|named| wanted(&named.owner)) else {
            return;
        };
        let owner = owners.entry(named.owner).or_default();
        match (named.what, named.temporary) {
            (What::Commit { unit }, false) if objects => owner.units.extend([unit]),
            (What::Compaction { compaction }, false) if objects => {
                owner.compactions.insert(compaction, listed.modified_ms);
            }
            (What::Commit { .. } | What::Compaction { .. }, false) => {}
            (what, temporary) if !objects => owner.files.push((listed, what, temporary)),
            _ => {}
        }
    };
    // Files before objects: one that is committed meanwhile is found in its object.
    target.list("", &mut |listed| found(listed, false)).await?;
    target
        .list(COMMITS, &mut |listed| found(listed, true))
        .await?;
    let oldest_ms = config.clock.now_ms().saturating_sub(request.older_than_ms);
    let mut report = Report::default();
    for (owner, found) in owners {
        let needs = found.read(&target, &owner).await?;
        let mut garbage = Vec::new();
        for (listed, what, temporary) in &found.files {
            let state = match temporary {
                true => State::Temporary,
                false => needs.state(&listed.name, *what),
            };
            let since_ms = match state {
                // Readers may have it until somebody told them.
                State::Replaced { at_ms } => at_ms.max(listed.modified_ms),
                _ => listed.modified_ms,
            };
            let goes = since_ms < oldest_ms && state.is_garbage(request.dropped);
            if goes {
                garbage.push(listed.name.clone());
            }
            report.add(&owner, listed, state, goes, request);
        }
        if request.delete {
            let deletes = garbage.iter().map(|name| target.delete(name));
            let deletes = futures::stream::iter(deletes).buffer_unordered(REQUESTS);
            deletes.try_collect::<()>().await?;
        }
    }
    report.rows()
}

/// What there is of a sink.
#[derive(Default)]
struct Found {
    /// Its files, and what is temporary.
    files: Vec<(Listed, What, bool)>,
    /// Units with a commit object.
    units: BTreeSet<u64>,
    /// Compactions with an object, and when it was written.
    compactions: BTreeMap<u64, i64>,
}

impl Found {
    /// Reads the objects that say which of the files are needed.
    async fn read(&self, target: &FileTarget, owner: &Owner) -> Result<Needs> {
        let mut needs = Needs {
            units: self.units.clone(),
            compactions: self.compactions.keys().copied().collect(),
            ..Needs::default()
        };
        let units: BTreeSet<u64> = (self.files.iter())
            .filter_map(|(_, what, _)| match *what {
                What::File { unit } => Some(unit),
                _ => None,
            })
            .collect();
        let commits = units.intersection(&self.units).map(|unit| async {
            let name = owner.commit(*unit);
            Ok::<_, Error>(match target.read(&name).await? {
                Some(bytes) => parsed::<CommitObject>(target, &name, &bytes)?.files,
                None => Vec::new(),
            })
        });
        let mut commits = futures::stream::iter(commits).buffer_unordered(REQUESTS);
        while let Some(files) = commits.try_next().await? {
            needs.add(files);
        }
        let compactions = self.compactions.iter().map(|(number, at_ms)| async {
            let name = owner.compaction(*number);
            Ok::<_, Error>(match target.read(&name).await? {
                Some(bytes) => Some((parsed::<CompactionObject>(target, &name, &bytes)?, *at_ms)),
                None => None,
            })
        });
        let mut compactions = futures::stream::iter(compactions).buffer_unordered(REQUESTS);
        while let Some(read) = compactions.try_next().await? {
            if let Some((compaction, at_ms)) = read {
                needs.add(compaction.files);
                let replaced = compaction.replaces.into_iter();
                needs.replaced.extend(replaced.map(|name| (name, at_ms)));
            }
        }
        Ok(needs)
    }
}

fn parsed<T: serde::de::DeserializeOwned>(
    target: &FileTarget,
    name: &str,
    bytes: &[u8],
) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| {
        Error::User(format!(
            "{name} in {} is no commit object: {error}",
            target.path()
        ))
    })
}

/// What the objects of a sink say.
#[derive(Clone, Debug, Default)]
struct Needs {
    units: BTreeSet<u64>,
    compactions: BTreeSet<u64>,
    named: HashSet<String>,
    /// Files whose rows are in another one, and since when.
    replaced: HashMap<String, i64>,
}

/// What a file is to the readers of a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    /// An object names it.
    InUse,
    /// A compaction took its rows, at that time by the clock of who keeps the files.
    Replaced { at_ms: i64 },
    /// The object that would name it does not, and never will.
    LeftOver,
    /// Its object is yet to come, if the sink is still there.
    Unfinished,
    /// What a cut-off write into a local directory has left.
    Temporary,
    /// There is no object that could tell.
    Unknown,
}

impl State {
    /// Whether nobody needs it.
    fn is_garbage(self, dropped: bool) -> bool {
        match self {
            Self::Replaced { .. } | Self::LeftOver | Self::Temporary => true,
            Self::Unfinished => dropped,
            Self::InUse | Self::Unknown => false,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::InUse => "in use",
            Self::Replaced { .. } => "replaced",
            Self::LeftOver => "left over",
            Self::Unfinished => "unfinished",
            Self::Temporary => "temporary",
            Self::Unknown => "without commit object",
        }
    }
}

impl Needs {
    fn add(&mut self, files: Vec<CommittedFile>) {
        self.named.extend(files.into_iter().map(|file| file.path));
    }

    fn state(&self, name: &str, what: What) -> State {
        if let Some(at_ms) = self.replaced.get(name) {
            return State::Replaced { at_ms: *at_ms };
        }
        if self.named.contains(name) {
            return State::InUse;
        }
        let (number, numbers) = match what {
            What::File { unit } => (unit, &self.units),
            What::Merged { compaction } => (compaction, &self.compactions),
            What::Commit { .. } | What::Compaction { .. } => return State::InUse,
        };
        match self.units.is_empty() {
            // Perhaps the sink writes none.
            true => State::Unknown,
            false if numbers.contains(&number) => State::LeftOver,
            false if numbers.last().is_none_or(|last| number > *last) => State::Unfinished,
            // Somebody has removed it.
            false => State::Unknown,
        }
    }
}

/// What was found, as rows.
#[derive(Default)]
struct Report {
    /// By sink, state and action, or file: how many, and their bytes.
    lines: BTreeMap<[String; 5], [i64; 2]>,
}

impl Report {
    fn add(
        &mut self,
        owner: &Owner,
        listed: &Listed,
        state: State,
        goes: bool,
        request: &GarbageRequest,
    ) {
        let action = match (goes, request.delete) {
            (false, _) => "kept",
            (true, false) => "would go",
            (true, true) => "removed",
        };
        let name = match request.list {
            true => listed.name.clone(),
            false => String::new(),
        };
        let key = [&owner.prefix, &owner.mark, state.name(), action, &name].map(str::to_owned);
        let line = self.lines.entry(key).or_default();
        line[0] += 1;
        line[1] += i64::try_from(listed.bytes).unwrap_or(i64::MAX);
    }

    fn rows(self) -> Result<Rows> {
        let is_listed = self.lines.keys().any(|key| !key[4].is_empty());
        let text = |index: usize| -> ArrayRef {
            let cells = self.lines.keys().map(|key| key[index].as_str());
            Arc::new(StringArray::from_iter_values(cells))
        };
        let number = |index: usize| -> ArrayRef {
            let cells = self.lines.values().map(|line| line[index]);
            Arc::new(Int64Array::from_iter_values(cells))
        };
        let mut columns = vec![
            ("prefix", text(0)),
            ("mark", text(1)),
            ("what", text(2)),
            ("action", text(3)),
        ];
        match is_listed {
            true => columns.push(("file", text(4))),
            false => columns.push(("files", number(0))),
        }
        columns.push(("bytes", number(1)));
        Ok(Rows::of(RecordBatch::try_from_iter(columns)?))
    }
}
