//! `restore`: a backup in the place of database and secret.
//!
//! At each step the database's name stands for a whole database: the old one, which gets a second name first, or the new one,
//! which takes its place by a rename.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use askalf_cli::{ExitCode, Failure, in_plain_words, print, sync_folder_of, with_progress};
use askalf_store::SqliteStore;
use serde_json::json;

use super::backup::{DATABASE, SECRET};
use super::migrate::locked;
use super::{note, show_json};
use crate::cli::Restore;
use crate::database::{blocking, now, open_options};
use crate::home::Home;
use crate::secret_file;

pub(crate) async fn restore(home: &Home, arguments: Restore) -> anyhow::Result<ExitCode> {
    home.create()?;
    let _lock = locked(home)?;
    let from = arguments.folder.join(DATABASE);
    let database = home.database_file()?;
    let secret = secret_file::read(&arguments.folder.join(SECRET))?;
    // Read whole before anything is touched: what is damaged restores nothing.
    let read = blocking({
        let from = from.clone();
        move || SqliteStore::inspect(&from, &open_options(), true)
    });
    let found = with_progress(&format!("Reading {}", from.display()), read).await?;
    if found.schema == 0 {
        // To SQLite a file of no bytes is a database: the rest of a copy that was cut off, most likely.
        let problem = format!("{} is empty: it is no backup of a bridge", from.display());
        return Err(Failure::new(ExitCode::Configuration, problem)
            .hint("restore another backup")
            .into());
    }
    let exists = fs::symlink_metadata(&database).is_ok();
    if exists && !arguments.force {
        return Err(Failure::new(
            ExitCode::Failed,
            format!("there is a database already: {}", database.display()),
        )
        .hint("add --force to put the backup in its place; it is kept beside")
        .into());
    }
    let staged = beside(&database, "restore");
    remove_if_there(&staged).map_err(|error| failed(&staged, &error))?;
    let copied = blocking({
        let (from, staged) = (from.clone(), staged.clone());
        move || SqliteStore::backup(&from, &staged, &open_options())
    });
    with_progress(&format!("Copying to {}", staged.display()), copied).await?;

    let stamp = format!("before-restore-{}", now().0);
    let mut kept = Vec::new();
    if exists {
        move_log_in(&database).await;
        kept = keep_database(&database, &stamp).map_err(|error| failed(&database, &error))?;
    }
    fs::rename(&staged, &database)
        .and_then(|()| sync_folder_of(&database))
        .map_err(|error| failed(&database, &error))?;
    match secret {
        Some(secret) => {
            kept.extend(keep_secret(&home.secret(), &stamp).map_err(|error| failed(&home.secret(), &error))?);
            secret_file::replace(&home.secret(), &secret)?;
        }
        None => note("the backup holds no secret, so the bridge's own stays"),
    }
    if arguments.json {
        show_json(&json!({ "database": database, "kept": kept }))?;
        return Ok(ExitCode::Done);
    }
    print(&format!("{} is restored.\n", database.display()))?;
    for kept in kept {
        print(&format!("Kept: {}\n", kept.display()))?;
    }
    Ok(ExitCode::Done)
}

/// Moves what the log of the old database holds into its file. Where that fails, as with a damaged one, the log is kept
/// beside it.
async fn move_log_in(database: &Path) {
    let path = database.to_owned();
    if let Err(failure) = blocking(move || SqliteStore::move_log_in(&path, &open_options())).await {
        note(&format!("the old database is kept as it is: {failure}"));
    }
}

/// Gives the old database a second name, and its log away from where it would be taken for the new one's.
fn keep_database(database: &Path, stamp: &str) -> io::Result<Vec<PathBuf>> {
    let mut kept = Vec::new();
    let name = beside(database, stamp);
    fs::hard_link(database, &name)?;
    kept.push(name);
    for suffix in ["-wal", "-shm"] {
        let log = with_suffix(database, suffix);
        let aside = with_suffix(&beside(database, stamp), suffix);
        match fs::rename(&log, &aside) {
            Ok(()) => kept.push(aside),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    sync_folder_of(database)?;
    Ok(kept)
}

/// Gives the old secret a second name: a bridge that found none would make a new one.
fn keep_secret(secret: &Path, stamp: &str) -> io::Result<Option<PathBuf>> {
    let name = beside(secret, stamp);
    match fs::hard_link(secret, &name) {
        Ok(()) => Ok(Some(name)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn beside(path: &Path, what: &str) -> PathBuf {
    with_suffix(path, &format!(".{what}"))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    Failure::new(
        ExitCode::Failed,
        format!(
            "{} could not be replaced: {}",
            path.display(),
            in_plain_words(error)
        ),
    )
    .hint(
        "the database is whole, the old one or the new one; check rights and free space, then run this again",
    )
}
