//! What goes wrong with PostgreSQL, in plain words.

use std::error::Error as _;
use std::io;

use askalf_bridge_core::stores::StoreError;
use deadpool_postgres::{HookError, PoolError, TimeoutType};
use tokio_postgres::error::SqlState;

/// Why a piece of work gave no result.
#[derive(Debug)]
pub(super) enum Fault {
    /// The server refused, or the connection failed.
    Postgres(tokio_postgres::Error),
    /// No connection could be had.
    Pool(PoolError),
    /// The server did not answer in time.
    Silence,
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

    /// Whether the connection is gone, so that another one may do better.
    pub(super) fn is_lost_connection(&self) -> bool {
        matches!(self, Self::Postgres(error) if is_lost(error))
    }

    /// Whether the connection is of no more use, although it may still be open: what it has prepared is no longer valid,
    /// or the server behind it has become one that cannot be written to.
    pub(super) fn spoils_connection(&self) -> bool {
        let Self::Postgres(error) = self else {
            return matches!(self, Self::Silence);
        };
        is_lost(error)
            || error.code().is_some_and(|code| {
                [
                    SqlState::FEATURE_NOT_SUPPORTED, // "cached plan must not change result type"
                    SqlState::INVALID_SQL_STATEMENT_NAME,
                    SqlState::READ_ONLY_SQL_TRANSACTION,
                ]
                .contains(code)
            })
    }
}

impl From<tokio_postgres::Error> for Fault {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Postgres(error)
    }
}

impl From<PoolError> for Fault {
    fn from(error: PoolError) -> Self {
        Self::Pool(error)
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        let words = match fault {
            Fault::Store(error) => return error,
            Fault::Postgres(error) => {
                log(&error);
                in_plain_words(&error)
            }
            Fault::Silence => {
                tracing::error!("the database did not answer in time");
                "it did not answer in time"
            }
            Fault::Pool(error) => no_connection(&error),
        };
        Self::Unavailable(words.to_owned())
    }
}

/// What the failure to get a connection means to a person.
fn no_connection(error: &PoolError) -> &'static str {
    match error {
        PoolError::Backend(error) | PoolError::PostCreateHook(HookError::Backend(error)) => {
            log(error);
            in_plain_words(error)
        }
        PoolError::Timeout(TimeoutType::Wait) => {
            tracing::error!("no connection to the database became free in time");
            "all connections to it were in use for too long"
        }
        PoolError::Timeout(TimeoutType::Create | TimeoutType::Recycle) => {
            tracing::error!("the database could not be connected to in time");
            "it could not be connected to in time"
        }
        PoolError::Closed => "it was closed",
        PoolError::NoRuntimeSpecified | PoolError::PostCreateHook(HookError::Message(_)) => {
            "it could not be connected to"
        }
    }
}

/// The server's own words go to the log: SQLSTATE and message, never the detail, which holds values of rows.
fn log(error: &tokio_postgres::Error) {
    match error.as_db_error() {
        Some(server) => tracing::error!(
            code = server.code().code(),
            "a request to the database failed: {}",
            server.message()
        ),
        None => match error.source() {
            Some(source) => tracing::error!("a request to the database failed: {error}: {source}"),
            None => tracing::error!("a request to the database failed: {error}"),
        },
    }
}

fn is_lost(error: &tokio_postgres::Error) -> bool {
    if error.is_closed() {
        return true;
    }
    match error.code() {
        // Class 08: connection exceptions. 57P01 to 57P03: the server goes down, crashed, or starts.
        Some(code) => code.code().starts_with("08") || is_starting_or_stopping(code),
        None => io_kind(error).is_some(),
    }
}

fn is_starting_or_stopping(code: &SqlState) -> bool {
    [
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::CANNOT_CONNECT_NOW,
    ]
    .contains(code)
}

fn io_kind(error: &tokio_postgres::Error) -> Option<io::ErrorKind> {
    error
        .source()
        .and_then(|source| source.downcast_ref::<io::Error>())
        .map(io::Error::kind)
}

/// What an error means to a person.
pub(super) fn in_plain_words(error: &tokio_postgres::Error) -> &'static str {
    if let Some(code) = error.code() {
        return of_sql_state(code);
    }
    if error.is_closed() {
        return "the connection to it was lost";
    }
    let text = error.to_string();
    if text.starts_with("error performing TLS handshake") {
        return "no encrypted connection to it could be made";
    }
    if text.starts_with("authentication error") || text.starts_with("invalid configuration") {
        return "it wants a password, or another way to log in";
    }
    match io_kind(error) {
        Some(io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => "no server listens there",
        Some(io::ErrorKind::PermissionDenied) => "this user may not open its socket",
        Some(io::ErrorKind::TimedOut) => "it could not be connected to in time",
        Some(io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable) => {
            "its machine cannot be reached"
        }
        Some(_) if text.starts_with("error connecting") => "its server could not be reached",
        Some(_) => "the connection to it was lost",
        None => "it could not carry out the request",
    }
}

fn of_sql_state(code: &SqlState) -> &'static str {
    match code.code() {
        "57P01" | "57P02" => "its server is shutting down",
        "57P03" => "its server is starting",
        "53300" => "its server has no connection left",
        "28P01" | "28000" => "its server does not accept this user or password",
        "3D000" => "its server has no such database",
        "42501" => "this user may not do that there",
        "25006" => "it is read-only",
        "57014" => "a request took too long",
        "55P03" | "40P01" | "40001" => "another program holds a row of it",
        "53100" => "its disk is full",
        "53200" => "its server is out of memory",
        "22001" | "22003" | "22P05" | "23502" | "23514" | "54000" => "a value was too large or not allowed",
        "23505" | "23503" => "a value breaks a rule of its table",
        "42P01" | "42703" => "a table or a column that is needed is not there",
        code if code.starts_with("08") => "the connection to it was lost",
        code if code.starts_with("XX") => "its files are damaged",
        code if code.starts_with("58") => "its files could not be read or written",
        _ => "it could not carry out the request",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_told_without_codes() {
        for (code, words) in [
            (SqlState::DISK_FULL, "its disk is full"),
            (SqlState::QUERY_CANCELED, "a request took too long"),
            (SqlState::READ_ONLY_SQL_TRANSACTION, "it is read-only"),
            (
                SqlState::TOO_MANY_CONNECTIONS,
                "its server has no connection left",
            ),
            (SqlState::CONNECTION_FAILURE, "the connection to it was lost"),
            (SqlState::DATA_CORRUPTED, "its files are damaged"),
            (SqlState::SYNTAX_ERROR, "it could not carry out the request"),
        ] {
            assert_eq!(of_sql_state(&code), words, "{}", code.code());
        }
    }

    #[test]
    fn silence_and_a_full_pool_are_no_verdict() {
        for (fault, words) in [
            (Fault::Silence, "it did not answer in time"),
            (
                Fault::Pool(PoolError::Timeout(TimeoutType::Wait)),
                "all connections to it were in use for too long",
            ),
            (Fault::Pool(PoolError::Closed), "it was closed"),
        ] {
            assert_eq!(
                StoreError::from(fault).to_string(),
                format!("the database is not available: {words}")
            );
        }
    }
}
