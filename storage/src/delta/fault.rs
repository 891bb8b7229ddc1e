//! Whose fault an error of the Delta library is: of the store, of another writer, of the table.

use deltalake_core::kernel::transaction::TransactionError;
use deltalake_core::{DeltaTableError, ObjectStoreError};

use crate::Error;
use crate::files::classify;

/// An error that is told to a person: what trying again may cure is told apart.
pub(super) fn told(what: String, error: &DeltaTableError) -> Error {
    // The store's own words are the clearest, however deep they are.
    let mut cause = Some(error as &(dyn std::error::Error + 'static));
    while let Some(inner) = cause {
        if let Some(store) = inner.downcast_ref::<ObjectStoreError>() {
            return classify(what, store);
        }
        cause = inner.source();
    }
    match is_of_the_table(error) {
        true => Error::external(what, error),
        false => Error::retryable(what, error),
    }
}

/// Whether another writer was faster: the same can be tried again on what it has written.
pub(super) fn is_conflict(error: &DeltaTableError) -> bool {
    match error {
        DeltaTableError::VersionAlreadyExists(_) => true,
        DeltaTableError::Transaction { source } => matches!(
            source,
            TransactionError::CommitConflict(_)
                | TransactionError::MaxCommitAttempts(_)
                | TransactionError::VersionAlreadyExists(_)
        ),
        _ => false,
    }
}

/// Whether the table is such that nothing can be written there until somebody changes it.
fn is_of_the_table(error: &DeltaTableError) -> bool {
    match error {
        DeltaTableError::Transaction { source } => matches!(
            source,
            TransactionError::UnsupportedTableFeatures(_)
                | TransactionError::TableFeaturesRequired(_)
                | TransactionError::DeltaTableAppendOnly
        ),
        DeltaTableError::SchemaMismatch { .. }
        | DeltaTableError::InvalidData { .. }
        | DeltaTableError::UnsupportedColumnMapping { .. }
        | DeltaTableError::MetadataError(_)
        | DeltaTableError::NotATable(_) => true,
        // What a table asks of its readers is refused by the kernel, whose error has no kind for it
        // that can be named here.
        DeltaTableError::KernelError(kernel) => {
            kernel.to_string().to_lowercase().contains("unsupported")
        }
        // A row that breaks a constraint, of which a merge keeps the words alone.
        DeltaTableError::Generic(words) => words.contains("Invalid data found"),
        _ => false,
    }
}
