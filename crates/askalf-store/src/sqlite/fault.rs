//! What goes wrong with SQLite, in plain words.

use askalf_bridge_core::stores::StoreError;
use rusqlite::ErrorCode;

/// Why a piece of work on a connection gave no result.
#[derive(Debug)]
pub(super) enum Fault {
    /// SQLite failed.
    Sqlite(rusqlite::Error),
    /// The answer is an error of the store.
    Store(StoreError),
}

impl Fault {
    /// A row holds what nothing here can have written.
    pub(super) fn damaged_row(what: &str) -> Self {
        Self::Store(StoreError::Unavailable(format!(
            "a row holds {what} that cannot be read"
        )))
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Store(error) => error,
            Fault::Sqlite(error) => {
                tracing::error!(%error, "a request to the database failed");
                Self::Unavailable(in_plain_words(&error).to_owned())
            }
        }
    }
}

/// What an error of SQLite means to a person. Its own text, with codes and SQL, is for the log.
pub(super) fn in_plain_words(error: &rusqlite::Error) -> &'static str {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed) => {
            "another program holds it"
        }
        Some(ErrorCode::DiskFull) => "the disk is full",
        Some(ErrorCode::SystemIoFailure) => "its file could not be read or written",
        Some(ErrorCode::ReadOnly) => "its file or folder is read-only",
        Some(ErrorCode::CannotOpen) => "its file could not be opened",
        Some(ErrorCode::PermissionDenied | ErrorCode::AuthorizationForStatementDenied) => {
            "access to its file was denied"
        }
        Some(ErrorCode::DatabaseCorrupt) => "its file is damaged",
        Some(ErrorCode::NotADatabase) => "its file is not a SQLite database",
        Some(ErrorCode::OutOfMemory) => "there was not enough memory",
        Some(ErrorCode::TooBig) => "a value was too large for it",
        Some(ErrorCode::ConstraintViolation) => "a value breaks a rule of its table",
        _ => "it could not carry out the request",
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    #[test]
    fn faults_are_told_without_codes() {
        for (code, words) in [
            (ffi::SQLITE_FULL, "the disk is full"),
            (ffi::SQLITE_BUSY, "another program holds it"),
            (ffi::SQLITE_BUSY_SNAPSHOT, "another program holds it"),
            (ffi::SQLITE_IOERR_FSYNC, "its file could not be read or written"),
            (ffi::SQLITE_READONLY_DBMOVED, "its file or folder is read-only"),
            (ffi::SQLITE_CORRUPT_VTAB, "its file is damaged"),
        ] {
            let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), Some("secret sql".to_owned()));
            assert_eq!(
                StoreError::from(Fault::from(error)).to_string(),
                format!("the database is not available: {words}")
            );
        }
    }
}
