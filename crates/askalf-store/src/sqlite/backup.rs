//! Copies of a database, and a look at one that is not opened for work.

use std::{fs, io, path::Path};

use rusqlite::{Connection, OpenFlags};

use super::{
    SqliteStore,
    migrate::{self, Contents},
    open::{self, OpenError, OpenOptions},
};

/// What stands in a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inspection {
    /// The schema it has; 0 where it is empty.
    pub schema: i64,
    /// The newest schema that this program knows, to which opening brings it.
    pub newest: i64,
}

impl SqliteStore {
    /// Writes a copy of the database at `from` to the new file `to`, readable by its owner alone, and syncs it. Others may
    /// write to `from` meanwhile: the copy is what was committed when it began.
    ///
    /// It is `VACUUM INTO`, one read transaction, and not the page-wise backup of SQLite: that starts anew whenever another
    /// process writes, and so might never end beside a busy bridge.
    ///
    /// Blocks for as long as reading and writing the file takes.
    ///
    /// # Errors
    /// [`OpenError`]: `to` is removed again where it was made.
    pub fn backup(from: &Path, to: &Path, options: &OpenOptions) -> Result<Inspection, OpenError> {
        let failed = |error: &rusqlite::Error| OpenError::from_sqlite(from, error);
        let connection = open::connect(from, options).map_err(|error| failed(&error))?;
        let inspection = inspected(from, &connection)?;
        let Some(name) = to.to_str() else {
            let error = io::Error::from(io::ErrorKind::InvalidFilename);
            return Err(open::file_error(to, "its name is not Unicode", error));
        };
        open::make_new_private_file(to)?;
        let written = connection
            .execute("vacuum into ?", [name])
            .map_err(|error| OpenError::from_sqlite(to, &error))
            .and_then(|_| synced(to));
        if written.is_err() {
            // It is of no use, and the error says why; whether it could be removed changes nothing.
            let _ = fs::remove_file(to);
        }
        written.map(|()| inspection)
    }

    /// Moves what the write-ahead log of the database at `path` holds into its file, where nobody else has it open. Its schema
    /// stays what it is.
    ///
    /// # Errors
    /// [`OpenError`]: nothing is lost; the log is still needed.
    pub fn move_log_in(path: &Path, options: &OpenOptions) -> Result<(), OpenError> {
        let checkpoint = || -> rusqlite::Result<bool> {
            let connection = open::connect(path, options)?;
            connection.query_row("pragma wal_checkpoint(truncate)", [], |row| row.get(0))
        };
        match checkpoint() {
            Ok(false) => Ok(()),
            Ok(true) => Err(OpenError::Busy {
                path: path.to_owned(),
            }),
            Err(error) => Err(OpenError::from_sqlite(path, &error)),
        }
    }

    /// Looks at the database at `path` without changing it. Reads all of it where `whole` asks for that, and so finds what is
    /// damaged.
    ///
    /// # Errors
    /// [`OpenError`]: it could not be opened here.
    pub fn inspect(path: &Path, options: &OpenOptions, whole: bool) -> Result<Inspection, OpenError> {
        let failed = |error: &rusqlite::Error| OpenError::from_sqlite(path, error);
        if let Err(error) = fs::metadata(path) {
            let reason = match error.kind() {
                io::ErrorKind::NotFound => "there is no such file",
                _ => open::plain_reason(&error),
            };
            return Err(open::file_error(path, reason, error));
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(|error| failed(&error))?;
        connection
            .busy_timeout(options.busy_timeout)
            .map_err(|error| failed(&error))?;
        let inspection = inspected(path, &connection)?;
        if whole {
            let verdict: String = connection
                .query_row("pragma quick_check(1)", [], |row| row.get(0))
                .map_err(|error| failed(&error))?;
            if verdict != "ok" {
                return Err(OpenError::Damaged {
                    path: path.to_owned(),
                });
            }
        }
        Ok(inspection)
    }
}

fn inspected(path: &Path, connection: &Connection) -> Result<Inspection, OpenError> {
    let contents = migrate::contents(connection).map_err(|error| OpenError::from_sqlite(path, &error))?;
    open::check(path, &contents)?;
    Ok(Inspection {
        schema: match contents {
            Contents::Schema(version) => version,
            Contents::Nothing | Contents::Foreign => 0,
        },
        newest: migrate::NEWEST,
    })
}

fn synced(path: &Path) -> Result<(), OpenError> {
    let sync = || fs::File::open(path)?.sync_all();
    sync().map_err(|error| open::file_error(path, open::plain_reason(&error), error))
}
