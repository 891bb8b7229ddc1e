//! Where a commit writes the groups that changed: as rows of the state table, or together as a file
//! of the table's log (docs/design/aggregation.md).
//!
//! The log pays where most groups change from commit to commit: a row of the state table costs
//! twenty times what it costs in the log, and the next commit replaces it. What the log has of a
//! group counts, whatever the state table has, so all of the log's groups stay in memory: nobody
//! looks a group up in it. Before groups may leave memory, and when few of them change any more,
//! the log is folded into the state table.

/// Files that a log has at most: with more, what it gained with each was little.
const FILES_MAX: usize = 16;
/// Share of memory that the log's rows may take, as they are encoded: a quarter.
const MEMORY_SHARE: usize = 4;
/// Share of memory that a log's rows take at least.
const MEMORY_SHARE_MIN: usize = 128;
/// Share of the groups in memory that must have changed for a log to be begun.
const CHANGED_SHARE: usize = 4;

/// What a commit does with the groups that changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// They become rows of the state table. The log is empty.
    Rows,
    /// They become a file of the log, which keeps its others.
    Append,
    /// They, and what the log has, become the log's only file.
    Rewrite,
    /// They, and what the log has, become rows of the state table.
    Fold,
}

/// What is decided on: numbers of groups, and bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Groups {
    /// In memory.
    pub(super) all: usize,
    /// Changed since the last commit.
    pub(super) changed: usize,
    /// Changed, or in the log.
    pub(super) changed_or_logged: usize,
    /// Encoded bytes of one.
    pub(super) row_bytes: usize,
    /// Memory of all, and of writing them.
    pub(super) memory: usize,
}

/// The log of one state table, as its operator knows it.
#[derive(Debug, Default)]
pub(super) struct Log {
    /// Numbers of the files, oldest first.
    pub(super) files: Vec<u64>,
    /// Rows in them, those that later ones replace included.
    pub(super) rows: usize,
    /// Whether groups have left memory, so that they will again.
    pub(super) outgrown: bool,
}

impl Log {
    /// What a commit does with what changed.
    pub(super) fn way(&self, groups: Groups, memory_max: usize) -> Way {
        let bytes = |rows: usize| rows.saturating_mul(groups.row_bytes);
        let live = groups.changed_or_logged;
        let fits = !self.outgrown
            && groups.memory <= memory_max
            && bytes(live) <= memory_max / MEMORY_SHARE
            && bytes(live) >= memory_max / MEMORY_SHARE_MIN;
        if self.files.is_empty() {
            return match fits && groups.changed.saturating_mul(CHANGED_SHARE) >= groups.all {
                true => Way::Append,
                false => Way::Rows,
            };
        }
        if groups.changed == 0 && groups.memory <= memory_max {
            // There is nothing to write.
            return Way::Append;
        }
        if !fits {
            return Way::Fold;
        }
        // Twice the rows that count: what is written again is then no more than what was added.
        if self.rows + groups.changed > 2 * live {
            return Way::Rewrite;
        }
        match self.files.len() < FILES_MAX {
            true => Way::Append,
            false => Way::Fold,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMORY: usize = 128_000;

    fn groups(all: usize, changed: usize, changed_or_logged: usize) -> Groups {
        Groups {
            all,
            changed,
            changed_or_logged,
            row_bytes: 10,
            memory: 100 * all,
        }
    }

    fn log(files: usize, rows: usize) -> Log {
        Log {
            files: (0..files as u64).collect(),
            rows,
            outgrown: false,
        }
    }

    #[test]
    fn a_log_is_begun_where_many_groups_change() {
        let way = |groups| Log::default().way(groups, MEMORY);
        assert_eq!(way(groups(100, 100, 100)), Way::Append);
        assert_eq!(way(groups(400, 100, 100)), Way::Append);
        assert_eq!(way(groups(401, 100, 100)), Way::Rows);
        assert_eq!(way(groups(99, 99, 99)), Way::Rows, "too few");
        let many = groups(1281, 1281, 1281);
        assert_eq!(way(many), Way::Rows, "memory is full");
        let wide = Groups {
            row_bytes: 500,
            ..groups(100, 100, 100)
        };
        assert_eq!(way(wide), Way::Rows, "too many bytes");
        let outgrown = Log {
            outgrown: true,
            ..Log::default()
        };
        assert_eq!(outgrown.way(groups(100, 100, 100), MEMORY), Way::Rows);
    }

    #[test]
    fn a_log_grows_to_twice_what_counts() {
        assert_eq!(log(1, 500).way(groups(500, 500, 500), MEMORY), Way::Append);
        assert_eq!(log(2, 1000).way(groups(500, 1, 500), MEMORY), Way::Rewrite);
        assert_eq!(log(2, 1000).way(groups(500, 0, 500), MEMORY), Way::Append);
    }

    #[test]
    fn a_log_is_folded_when_little_changes_or_memory_is_full() {
        let few = groups(500, 1, 500);
        assert_eq!(log(15, 514).way(few, MEMORY), Way::Append);
        assert_eq!(log(16, 515).way(few, MEMORY), Way::Fold);
        assert_eq!(log(1, 500).way(groups(1281, 1, 501), MEMORY), Way::Fold);
        assert_eq!(log(1, 500).way(groups(1281, 0, 500), MEMORY), Way::Fold);
        // Its windows are over.
        assert_eq!(log(1, 500).way(groups(10, 10, 10), MEMORY), Way::Fold);
    }
}
