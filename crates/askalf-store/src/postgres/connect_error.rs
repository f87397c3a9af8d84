//! Why a database could not be opened.

use std::path::PathBuf;

use deadpool_postgres::{HookError, PoolError};
use thiserror::Error;
use tokio_postgres::error::SqlState;

use askalf_bridge_core::stores::StoreError;

use super::fault::{self, Fault};

/// Why a PostgreSQL database could not be opened. Nothing was changed in one that is not ours. No error repeats the URL,
/// which may hold a password.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The URL is no address of a PostgreSQL database.
    #[error("the address of the database cannot be used: {reason}")]
    Url {
        /// What is wrong.
        reason: &'static str,
    },
    /// The password file cannot be used.
    #[error("the password file {} cannot be used: {reason}", path.display())]
    Passfile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
    /// The certificates to check the server's by cannot be used.
    #[error("the certificates of {from} cannot be used: {reason}")]
    Certificates {
        /// The file, or the system.
        from: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// The server cannot be reached, or failed.
    #[error("the database {place} could not be opened: {reason}")]
    Unreachable {
        /// The database and its server.
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// The server refuses this user, or this user may not do what is needed.
    #[error("the database {place} could not be opened: {reason}")]
    Denied {
        /// The database and its server.
        place: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// The database has tables, but not the forge's.
    #[error("the database {place} is one of another program: {reason}")]
    Foreign {
        /// The database and its server.
        place: String,
        /// What is not as it is with a forge.
        reason: String,
    },
    /// A newer program migrated it.
    #[error("the database {place} has schema {found}; this program knows up to {known}")]
    Newer {
        /// The database and its server.
        place: String,
        /// Its schema.
        found: i32,
        /// The newest schema known here.
        known: i32,
    },
    /// Another bridge works on it.
    #[error("another bridge uses the database {place}")]
    InUse {
        /// The database and its server.
        place: String,
    },
}

impl ConnectError {
    /// Stable name of the error.
    #[must_use]
    pub fn id(&self) -> &'static str {
        match self {
            Self::Url { .. } => "database-url",
            Self::Passfile { .. } => "database-passfile",
            Self::Certificates { .. } => "database-certificates",
            Self::Unreachable { .. } => "database-unreachable",
            Self::Denied { .. } => "database-denied",
            Self::Foreign { .. } => "database-foreign",
            Self::Newer { .. } => "database-newer",
            Self::InUse { .. } => "database-in-use",
        }
    }

    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Url { .. } => {
                "write postgres://USER@HOST/DATABASE, with special characters of a password percent-encoded"
            }
            Self::Passfile { .. } => "put HOST:PORT:DATABASE:USER:PASSWORD into a file of mode 600",
            Self::Certificates { .. } => {
                "name a PEM file of the authority that signed the server's certificate"
            }
            Self::Unreachable { .. } => {
                "check that the server runs, that this machine may connect to it, and that it has connections left"
            }
            Self::Denied { .. } => {
                "check user and password; to make or upgrade its tables the user needs CREATE on the schema"
            }
            Self::Foreign { .. } => "name the database of a forge, or an empty one",
            Self::Newer { .. } => "upgrade askalf-bridge to the version that wrote it, or a later one",
            Self::InUse { .. } => "stop the other bridge, or give this one a database of its own",
        }
    }

    /// Whether it may be different in a moment, without anybody changing a setting.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::InUse { .. })
    }

    pub(super) fn from_fault(place: &str, fault: Fault) -> Self {
        let place = place.to_owned();
        let error = match &fault {
            Fault::Postgres(error)
            | Fault::Pool(PoolError::Backend(error) | PoolError::PostCreateHook(HookError::Backend(error))) => {
                Some(error)
            }
            _ => None,
        };
        if let Some(error) = error {
            let reason = fault::in_plain_words(error);
            let denied = [
                SqlState::INVALID_PASSWORD,
                SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
                SqlState::UNDEFINED_DATABASE,
                SqlState::INVALID_CATALOG_NAME,
                SqlState::INSUFFICIENT_PRIVILEGE,
                SqlState::READ_ONLY_SQL_TRANSACTION,
            ];
            if error.code().is_some_and(|code| denied.contains(code)) || reason.starts_with("it wants") {
                return Self::Denied { place, reason };
            }
        }
        let reason = match StoreError::from(fault) {
            StoreError::Unavailable(reason) => reason,
            other => other.to_string(),
        };
        Self::Unreachable { place, reason }
    }
}
