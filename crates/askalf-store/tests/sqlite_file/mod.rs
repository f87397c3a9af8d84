//! What holds for a database in a file.

mod backup;
mod opening;
mod rows;
mod sharing;

use std::path::{Path, PathBuf};

use askalf_store::{OpenError, OpenOptions, SqliteStore};
use rusqlite::Connection;
use tempfile::TempDir;

use crate::suite::NOW;

/// A folder for a database, and the path of that.
fn scratch() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bridge ü?#%.db");
    (folder, path)
}

fn open(path: &Path) -> Result<SqliteStore, OpenError> {
    SqliteStore::open(path, &OpenOptions::new(NOW))
}

/// Somebody else's connection, as of an operator with a shell.
fn by_hand(path: &Path) -> Connection {
    Connection::open(path).unwrap()
}

fn column(connection: &Connection, sql: &str) -> Vec<String> {
    let mut statement = connection.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}
