//! The crate's one error, sorted by who can do something about it.

/// Result of a storage operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, by audience: the person who wrote the configuration or statement, the world
/// outside (broker, disk, object store), or us.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The caller asked for something that cannot be: the message names the thing and the remedy.
    #[error("{0}")]
    User(String),
    /// Something outside failed: what was tried, where, and whether trying again may help.
    #[error("{what}: {cause}")]
    External {
        /// What was tried, and on what: `read topic "clicks" partition 3 at offset 17`.
        what: String,
        /// The outside party's own words.
        cause: String,
        /// Whether the same call may succeed later without anybody changing anything.
        retryable: bool,
    },
    /// Durable data is not what we wrote, or an invariant of ours is broken.
    #[error("internal error: {0}; please report this")]
    Internal(String),
}

impl Error {
    /// An error of the outside world that trying again may cure.
    pub fn retryable(what: impl Into<String>, cause: impl std::fmt::Display) -> Self {
        Self::External {
            what: what.into(),
            cause: cause.to_string(),
            retryable: true,
        }
    }

    /// An error of the outside world that will not go away by itself.
    pub fn external(what: impl Into<String>, cause: impl std::fmt::Display) -> Self {
        Self::External {
            what: what.into(),
            cause: cause.to_string(),
            retryable: false,
        }
    }

    /// Whether the same call may succeed later without anybody changing anything.
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::External {
                retryable: true,
                ..
            }
        )
    }
}
