//! How a sink's files and its commit objects are named, and what the objects say.
//!
//! ```text
//! <place><prefix>-<mark>-<unit>.<format>                        a file of a unit
//! <place><prefix>-<mark>-<last unit>-c<compaction>.<format>     several, merged
//! _commits/<prefix>-<mark>/<unit>.json                          CommitObject
//! _commits/<prefix>-<mark>/compact-<compaction>.json            CompactionObject
//! ```

use kappa_storage::files::without_temporary;
use serde::{Deserialize, Serialize};

/// Where commit objects are.
pub(crate) const COMMITS: &str = "_commits";
/// What names of compactions' objects begin with.
const COMPACT: &str = "compact-";
/// What names of files end with.
const EXTENSIONS: [&str; 8] = [
    "parquet",
    "avro",
    "jsonl",
    "jsonl.gz",
    "jsonl.zst",
    "csv",
    "csv.gz",
    "csv.zst",
];

/// The files of a unit, all of which are there.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CommitObject {
    pub(crate) writer: String,
    pub(crate) unit: u64,
    pub(crate) files: Vec<CommittedFile>,
}

/// Files that take the place of others, whose rows they have.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CompactionObject {
    pub(crate) writer: String,
    pub(crate) compaction: u64,
    pub(crate) files: Vec<CommittedFile>,
    pub(crate) replaces: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CommittedFile {
    pub(crate) path: String,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) min_rowtime: i64,
    pub(crate) max_rowtime: i64,
}

/// Whose a file or an object is: all that one sink wrote has the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Owner {
    pub(crate) prefix: String,
    /// What tells a sink's files from all others.
    pub(crate) mark: String,
}

impl Owner {
    /// The name of a unit's file.
    pub(crate) fn file(&self, place: &str, unit: u64, extension: &str) -> String {
        let Self { prefix, mark } = self;
        format!("{place}{prefix}-{mark}-{unit:012}.{extension}")
    }

    /// The name of a file that others were merged into, `unit` being the last of theirs. It sorts
    /// where they did.
    pub(crate) fn merged(
        &self,
        place: &str,
        unit: u64,
        compaction: u64,
        extension: &str,
    ) -> String {
        let Self { prefix, mark } = self;
        format!("{place}{prefix}-{mark}-{unit:012}-c{compaction}.{extension}")
    }

    /// The name of a unit's object.
    pub(crate) fn commit(&self, unit: u64) -> String {
        let Self { prefix, mark } = self;
        format!("{COMMITS}/{prefix}-{mark}/{unit:020}.json")
    }

    /// The name of a compaction's object.
    pub(crate) fn compaction(&self, compaction: u64) -> String {
        let Self { prefix, mark } = self;
        format!("{COMMITS}/{prefix}-{mark}/{COMPACT}{compaction:020}.json")
    }

    fn parse(text: &str) -> Option<Self> {
        let (prefix, mark) = text.rsplit_once('-')?;
        let hexadecimal = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        let fits = !prefix.is_empty() && mark.len() == 8 && mark.chars().all(hexadecimal);
        fits.then(|| Self {
            prefix: prefix.to_owned(),
            mark: mark.to_owned(),
        })
    }
}

/// A name, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) owner: Owner,
    pub(crate) what: What,
    /// Whether it is only what a crash has left of it.
    pub(crate) temporary: bool,
}

/// What a name is of, with numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// A file of a unit.
    File { unit: u64 },
    /// A file of several units, merged.
    Merged { compaction: u64 },
    /// The object of a unit.
    Commit { unit: u64 },
    /// The object of a compaction.
    Compaction { compaction: u64 },
}

impl Named {
    /// `None` for names that no sink gives.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (name, temporary) = match without_temporary(name) {
            Some(name) => (name, true),
            None => (name, false),
        };
        let (folder, last) = name.rsplit_once('/').unwrap_or(("", name));
        let (owner, what) = match folder.strip_prefix(COMMITS) {
            Some(owner) => {
                let stem = last.strip_suffix(".json")?;
                let what = match stem.strip_prefix(COMPACT) {
                    Some(text) => What::Compaction {
                        compaction: number(text, 20)?,
                    },
                    None => What::Commit {
                        unit: number(stem, 20)?,
                    },
                };
                (Owner::parse(owner.strip_prefix('/')?)?, what)
            }
            None => {
                let endings = EXTENSIONS.iter();
                let mut stems =
                    endings.filter_map(|extension| last.strip_suffix(extension)?.strip_suffix('.'));
                let stem = stems.next()?;
                let (before, tail) = stem.rsplit_once('-')?;
                match tail.strip_prefix('c') {
                    None => {
                        let unit = number(tail, 12)?;
                        (Owner::parse(before)?, What::File { unit })
                    }
                    Some(compaction) => {
                        let (owner, unit) = before.rsplit_once('-')?;
                        number(unit, 12)?;
                        let compaction = number(compaction, 1)?;
                        (Owner::parse(owner)?, What::Merged { compaction })
                    }
                }
            }
        };
        Some(Self {
            owner,
            what,
            temporary,
        })
    }
}

/// A number of at least so many digits.
fn number(text: &str, digits: usize) -> Option<u64> {
    let fits = text.len() >= digits && text.bytes().all(|byte| byte.is_ascii_digit());
    fits.then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart() {
        let owner = Owner {
            prefix: "a-b.c".into(),
            mark: "0123abcd".into(),
        };
        let cases = [
            (owner.file("dt=1/", 42, "jsonl.gz"), What::File { unit: 42 }),
            (
                owner.merged("", 42, 7, "parquet"),
                What::Merged { compaction: 7 },
            ),
            (owner.commit(42), What::Commit { unit: 42 }),
            (owner.compaction(7), What::Compaction { compaction: 7 }),
        ];
        for (name, what) in cases {
            for (name, temporary) in [
                (name.clone(), false),
                (format!("{name}.tmp"), true),
                (format!("{name}.0.tmp"), true),
            ] {
                let expected = Named {
                    owner: owner.clone(),
                    what,
                    temporary,
                };
                assert_eq!(Named::parse(&name), Some(expected), "{name}");
            }
        }
        for other in [
            "a-0123abcd-000000000042.txt",
            "a-0123abcg-000000000042.csv",
            "a-0123abcd-42.csv",
            "-0123abcd-000000000042.csv",
            "a-0123abcd-000000000042-c.csv",
            "a-0123abcd-00000000004é.csv",
            "_commits/a-0123abcd/00000000000000000042.csv",
            "_commits/a-0123abcd/x.json",
            "_commits/00000000000000000042.json",
            "part-00000-c000.snappy.parquet",
        ] {
            assert_eq!(Named::parse(other), None, "{other}");
        }
    }

    #[test]
    fn merged_files_sort_where_theirs_did() {
        let owner = Owner {
            prefix: "a".into(),
            mark: "0123abcd".into(),
        };
        let merged = owner.merged("", 42, 7, "csv");
        assert!(owner.file("", 41, "csv") < merged && merged < owner.file("", 43, "csv"));
    }
}
