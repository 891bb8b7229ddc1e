//! The engine's error, sorted by who can do something about it.

use std::fmt;

use datafusion::error::DataFusionError;

/// Result of an engine operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, by audience.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Error {
    /// A statement that cannot be carried out: message, place and hint.
    Statement {
        /// What is wrong, where in the statement, and what to do.
        error: kappa_sql::Error,
        /// The statement, to point into.
        text: String,
    },
    /// A request or configuration that cannot be met; the message names the remedy.
    User(String),
    /// Something outside failed: broker, disk, object store.
    External {
        /// What was tried, where, and how it failed.
        message: String,
        /// Whether trying again may help.
        retryable: bool,
    },
    /// Our bug.
    Internal(String),
}

impl Error {
    /// The error as a person should see it: for a statement, with the place in it.
    pub fn render(&self) -> String {
        match self {
            Self::Statement { error, text } => error.render(text),
            other => format!("error: {other}"),
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

    /// A statement's error, with the statement.
    pub(crate) fn statement(error: kappa_sql::Error, text: &str) -> Self {
        Self::Statement {
            error,
            text: text.to_owned(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Statement { error, .. } => write!(f, "{error}"),
            Self::User(message) | Self::External { message, .. } => f.write_str(message),
            Self::Internal(message) => write!(f, "internal error: {message}; please report this"),
        }
    }
}

impl std::error::Error for Error {}

impl From<kappa_storage::Error> for Error {
    fn from(error: kappa_storage::Error) -> Self {
        let retryable = error.is_retryable();
        match error {
            kappa_storage::Error::User(message) => Self::User(message),
            kappa_storage::Error::Internal(message) => Self::Internal(message),
            other => Self::External {
                message: other.to_string(),
                retryable,
            },
        }
    }
}

impl From<DataFusionError> for Error {
    fn from(error: DataFusionError) -> Self {
        if let DataFusionError::External(source) = error.find_root()
            && let Some(storage) = source.downcast_ref::<kappa_storage::Error>()
        {
            let message = storage.to_string();
            return match storage {
                kappa_storage::Error::User(_) => Self::User(message),
                kappa_storage::Error::Internal(_) => Self::Internal(message),
                other => Self::External {
                    message,
                    retryable: other.is_retryable(),
                },
            };
        }
        if let DataFusionError::External(source) = error.find_root()
            && let Some(own) = source.downcast_ref::<Error>()
        {
            return own.clone();
        }
        match error.find_root() {
            DataFusionError::Internal(message) => Self::Internal(message.clone()),
            DataFusionError::Plan(message) | DataFusionError::NotImplemented(message) => {
                Self::User(message.clone())
            }
            DataFusionError::ResourcesExhausted(message) => Self::User(message.clone()),
            DataFusionError::ArrowError(error, _) => Self::User(error.to_string()),
            other => Self::User(other.to_string()),
        }
    }
}

impl From<arrow::error::ArrowError> for Error {
    fn from(error: arrow::error::ArrowError) -> Self {
        Self::User(error.to_string())
    }
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::Internal(format!("a catalog row cannot be read: {error}"))
    }
}
