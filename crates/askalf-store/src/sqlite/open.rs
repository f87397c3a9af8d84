//! Opening the database file.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use askalf_bridge_auth::UnixMillis;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use thiserror::Error;

use super::{fault, migrate, migrate::Contents};

/// How a database is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenOptions {
    /// Now: the time of rows that opening makes.
    pub now: UnixMillis,
    /// How long a request waits for another process that writes, before it fails. Default: 5 s, far above any single
    /// transaction here, and below the patience of whoever waits at the socket.
    pub busy_timeout: Duration,
    /// How many threads read. Default: 2; a read takes microseconds, so this is for the long ones, such as listings,
    /// not to hold up the short ones. 0 counts as 1.
    pub readers: usize,
}

impl OpenOptions {
    /// The defaults.
    #[must_use]
    pub fn new(now: UnixMillis) -> Self {
        Self {
            now,
            busy_timeout: Duration::from_secs(5),
            readers: 2,
        }
    }
}

/// Why a database could not be opened. Nothing was changed in a file that is not ours.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The file cannot be made or opened.
    #[error("the database {} could not be opened: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: &'static str,
        /// The fault.
        #[source]
        source: io::Error,
    },
    /// The file is something else.
    #[error("{} is not a SQLite database", path.display())]
    NotADatabase {
        /// The file.
        path: PathBuf,
    },
    /// The file is a database with tables that are not ours.
    #[error("{} is a database of another program", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A newer program wrote it.
    #[error("the database {} has schema {found}; this program knows up to {known}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The newest schema known here.
        known: i64,
    },
    /// The file is a database, but broken.
    #[error("the database {} is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// Another program did not let go of it in time.
    #[error("the database {} is held by another program", path.display())]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// SQLite failed in another way.
    #[error("the database {} could not be opened: {reason}", path.display())]
    Failed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
    /// The system gave no thread.
    #[error("the database {} could not be opened: the system started no thread for it", path.display())]
    Thread {
        /// The file.
        path: PathBuf,
        /// The fault.
        #[source]
        source: io::Error,
    },
}

impl OpenError {
    /// Stable name of the error.
    #[must_use]
    pub fn id(&self) -> &'static str {
        match self {
            Self::File { .. } => "database-file",
            Self::NotADatabase { .. } => "database-not-sqlite",
            Self::Foreign { .. } => "database-foreign",
            Self::Newer { .. } => "database-newer",
            Self::Damaged { .. } => "database-damaged",
            Self::Busy { .. } => "database-busy",
            Self::Failed { .. } => "database-failed",
            Self::Thread { .. } => "database-thread",
        }
    }

    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::File { .. } | Self::Failed { .. } => {
                "check that the folder exists, belongs to this user and has free space"
            }
            Self::NotADatabase { .. } | Self::Foreign { .. } => {
                "name another file; a file that does not exist is made"
            }
            Self::Newer { .. } => "upgrade askalf-bridge to the version that wrote it, or a later one",
            Self::Damaged { .. } => {
                "keep a copy of the file and restore a backup, or name another file to start afresh"
            }
            Self::Busy { .. } => "stop the other program, or wait until it is done, then try again",
            Self::Thread { .. } => "raise the limit of processes for this user, then try again",
        }
    }

    pub(super) fn from_sqlite(path: &Path, error: &rusqlite::Error) -> Self {
        let path = path.to_owned();
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => Self::NotADatabase { path },
            Some(ErrorCode::DatabaseCorrupt) => Self::Damaged { path },
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy { path },
            _ => {
                tracing::debug!(%error, "the database could not be opened");
                Self::Failed {
                    path,
                    reason: fault::in_plain_words(error),
                }
            }
        }
    }
}

/// The connection that writes, with the schema brought up to date.
pub(super) fn open_writer(path: &Path, options: &OpenOptions) -> Result<Connection, OpenError> {
    make_private_file(path)?;
    // Before the first write, that of the journal mode included: a file that is not ours stays as it is.
    let mut connection = connect(path, options).map_err(|error| OpenError::from_sqlite(path, &error))?;
    let found = migrate::contents(&connection).map_err(|error| OpenError::from_sqlite(path, &error))?;
    check(path, &found)?;
    prepare(&mut connection, options).map_err(|error| OpenError::from_sqlite(path, &error))?;
    // Again: another process may have opened it with a newer program in between.
    let found = migrate::contents(&connection).map_err(|error| OpenError::from_sqlite(path, &error))?;
    check(path, &found)?;
    Ok(connection)
}

/// A connection that reads.
pub(super) fn open_reader(path: &Path, options: &OpenOptions) -> Result<Connection, OpenError> {
    let open = || {
        let connection = connect(path, options)?;
        connection.pragma_update(None, "query_only", true)?;
        Ok(connection)
    };
    open().map_err(|error| OpenError::from_sqlite(path, &error))
}

/// The only connection of a database in memory.
pub(super) fn open_memory(options: &OpenOptions) -> rusqlite::Result<Connection> {
    let mut connection = Connection::open_in_memory()?;
    harden(&connection)?;
    migrate::migrate(&mut connection, options.now)?;
    migrate::add_default_user(&mut connection, options.now)?;
    Ok(connection)
}

/// Makes the file, readable by its owner alone, where there is none: the key hashes in it are not for others. SQLite
/// gives the files beside it the same mode.
fn make_private_file(path: &Path) -> Result<(), OpenError> {
    /// POSIX drops all locks of a process on a file when any of its descriptors of it is closed. So this one must be
    /// closed before another thread can open the same database.
    static MAKING: Mutex<()> = Mutex::new(());
    let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);

    let fault = |reason, source| file_error(path, reason, source);
    match private_file().open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match fs::metadata(path) {
            Ok(facts) if facts.is_dir() => Err(fault("it is a folder", error)),
            Ok(facts) => {
                warn_of_wide_mode(path, &facts);
                Ok(())
            }
            Err(error) => Err(fault(plain_reason(&error), error)),
        },
        Err(error) => Err(fault(plain_reason(&error), error)),
    }
}

/// The same for a file that must not be there yet.
pub(super) fn make_new_private_file(path: &Path) -> Result<(), OpenError> {
    let made = private_file().open(path);
    made.map(drop).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => file_error(path, "it exists already", error),
        _ => file_error(path, plain_reason(&error), error),
    })
}

fn private_file() -> fs::OpenOptions {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

pub(super) fn file_error(path: &Path, reason: &'static str, source: io::Error) -> OpenError {
    OpenError::File {
        path: path.to_owned(),
        reason,
        source,
    }
}

pub(super) fn plain_reason(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "its folder does not exist",
        io::ErrorKind::PermissionDenied => "access was denied",
        io::ErrorKind::NotADirectory => "a part of its path is not a folder",
        io::ErrorKind::StorageFull => "the disk is full",
        io::ErrorKind::ReadOnlyFilesystem => "the file system is read-only",
        _ => "the system refused it",
    }
}

#[cfg(unix)]
fn warn_of_wide_mode(path: &Path, facts: &fs::Metadata) {
    use std::os::unix::fs::PermissionsExt;
    if facts.permissions().mode() & 0o077 != 0 {
        tracing::warn!(
            path = %path.display(),
            "other users of this machine may open the database; make it private with 'chmod 600'"
        );
    }
}

#[cfg(not(unix))]
fn warn_of_wide_mode(_path: &Path, _facts: &fs::Metadata) {}

pub(super) fn check(path: &Path, contents: &Contents) -> Result<(), OpenError> {
    match *contents {
        Contents::Nothing => Ok(()),
        Contents::Foreign => Err(OpenError::Foreign {
            path: path.to_owned(),
        }),
        Contents::Schema(found) if found > migrate::NEWEST => Err(OpenError::Newer {
            path: path.to_owned(),
            found,
            known: migrate::NEWEST,
        }),
        Contents::Schema(_) => Ok(()),
    }
}

pub(super) fn connect(path: &Path, options: &OpenOptions) -> rusqlite::Result<Connection> {
    // No URI flag: a path is a path, whatever characters it has. No mutex: a connection never leaves its thread.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(options.busy_timeout)?;
    harden(&connection)?;
    Ok(connection)
}

/// Settings of each connection.
///
/// `synchronous = full` flushes the log at each commit. The default of write-ahead logging that most would choose,
/// `normal`, may lose the last commits when the power fails; here an execution is accepted, and a result acknowledged,
/// on the strength of its commit. `fullfsync` makes that true on macOS as well.
fn harden(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(
        "pragma foreign_keys = on; pragma synchronous = full; pragma fullfsync = on; pragma trusted_schema = off;",
    )?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

fn prepare(connection: &mut Connection, options: &OpenOptions) -> rusqlite::Result<()> {
    use_write_ahead_log(connection)?;
    // A burst may grow the log; it shrinks to this again.
    connection.pragma_update(None, "journal_size_limit", 64 * 1024 * 1024)?;
    migrate::migrate(connection, options.now)?;
    migrate::add_default_user(connection, options.now)
}

/// Switches to write-ahead logging. The switch itself does not wait for other processes, which may be making the same
/// one; an exclusive transaction does, so that stands in for the wait.
fn use_write_ahead_log(connection: &Connection) -> rusqlite::Result<()> {
    const TRIES: usize = 10;
    let switch = || -> rusqlite::Result<String> {
        connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))
    };
    let mut mode = switch();
    for _ in 1..TRIES {
        let Err(error) = &mode else { break };
        if error.sqlite_error_code() != Some(ErrorCode::DatabaseBusy) {
            break;
        }
        connection.execute_batch("begin exclusive; commit")?;
        mode = switch();
    }
    let mode = mode?;
    if mode != "wal" {
        tracing::warn!(
            mode,
            "the file system allows no write-ahead log; reads and writes wait for each other"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_connection_flushes_its_commits_and_keeps_references_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bridge.db");
        let options = OpenOptions::new(UnixMillis(0));
        let writer = open_writer(&path, &options).unwrap();
        let reader = open_reader(&path, &options).unwrap();
        for connection in [&writer, &reader] {
            let number = |pragma: &str| -> i64 {
                connection
                    .pragma_query_value(None, pragma, |row| row.get(0))
                    .unwrap()
            };
            const FULL: i64 = 2;
            assert_eq!(number("synchronous"), FULL);
            assert_eq!(number("foreign_keys"), 1);
            assert_eq!(number("busy_timeout"), 5000);
        }
        reader.execute_batch("delete from users").unwrap_err();
    }
}
