use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::SystemTime;

use crate::aside;
use crate::disk::{Disk, Steady, SystemDisk};
use crate::home::Home;
use crate::io_fault::IoFault;
use crate::leftovers::{WholeConfig, whole_config};
use crate::load::{LoadOptions, LoadOutcome, load_file};
use crate::lock::SaveLock;
use crate::next::discard_stale;
use crate::rotate::{Settled, settle, sync_folder};
use crate::save::SaveOptions;
use crate::save_error::SaveError;
use crate::staging::{is_temporary, sweep};
use crate::unreadable::Unreadable;

/// What a start found of acts that were cut off, and did about it. For the log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[must_use = "what was completed is for the log"]
#[non_exhaustive]
pub struct Recovery {
    /// A rotation of the keyfile was brought to its end.
    pub keyfile: Option<Settled>,
    /// A save was completed: agent.json was missing, empty or torn, and this temporary file took its place.
    pub completed: Option<PathBuf>,
    /// The empty or torn agent.json that was in the way, under its new name.
    pub moved_aside: Option<PathBuf>,
    /// Temporary files were removed, since agent.json is whole.
    pub cleared: bool,
    /// An agent.json.next that was meant to replace another key than the present one was removed.
    pub dropped_next: bool,
    /// Why something is left to do. Nothing is lost; the next start or act tries again.
    pub fault: Option<SaveError>,
}

impl Recovery {
    /// Whether there was nothing to do.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// Completes or discards what an act that was cut off had staged. For a start, before the load.
///
/// A rotation of the keyfile rolls forward or back. A temporary agent.json takes the place of one that is missing, empty or
/// torn, if it is whole: it was written by this format, is private to this user, and unseals under the keyfile, or under the one
/// temporary keyfile where there is no other. Where several differ, none is taken. A torn file is moved aside, dated by `now`.
/// Where no act was cut off this takes no lock and writes nothing.
pub fn recover(home: &Home, now: SystemTime) -> Recovery {
    recover_with(home, now, &SaveOptions::default())
}

/// [`recover`] with options, for keys that come from elsewhere than the keyfile.
pub fn recover_with(home: &Home, now: SystemTime, options: &SaveOptions) -> Recovery {
    recover_on(&Steady(&SystemDisk), home, now, options)
}

pub(crate) fn recover_on(disk: &Steady<'_>, home: &Home, now: SystemTime, options: &SaveOptions) -> Recovery {
    let mut recovery = Recovery::default();
    if is_something_staged(disk, home)
        && let Err(error) = recover_locked(disk, home, now, options, &mut recovery)
    {
        recovery.fault = Some(error);
    }
    recovery
}

fn is_something_staged(disk: &Steady<'_>, home: &Home) -> bool {
    let stands = |path: PathBuf| disk.facts_at(&path).is_ok();
    stands(home.staged_keyfile_path())
        || stands(home.staged_config_path())
        || disk
            .names(home.path())
            .is_ok_and(|names| names.iter().any(|name| is_temporary(name)))
}

fn recover_locked(
    disk: &Steady<'_>,
    home: &Home,
    now: SystemTime,
    options: &SaveOptions,
    recovery: &mut Recovery,
) -> Result<(), SaveError> {
    let load_options = options.load_options();
    if stands_alone(disk, home, &load_options) {
        return Ok(());
    }
    let _lock = SaveLock::hold(disk, home, options.lock_wait)?;
    recovery.keyfile = settle(disk, home)?;
    match load_file(disk, home, &home.config_path(), &load_options) {
        LoadOutcome::Ready(_) | LoadOutcome::Plaintext { .. } => {
            recovery.cleared = sweep(disk, home);
        }
        LoadOutcome::Absent
        | LoadOutcome::Refused(Unreadable::ConfigEmpty | Unreadable::ConfigTorn { .. }) => {
            if let Some(whole) = whole_config(disk, home, &load_options) {
                recovery.moved_aside = put_in_place(disk, home, now, &whole)?;
                recovery.completed = Some(whole.path);
                recovery.cleared = sweep(disk, home);
                // Now that there is a credential, it is plain which keyfile it needs.
                if recovery.keyfile.is_none() {
                    recovery.keyfile = settle(disk, home)?;
                }
            }
        }
        // What a leftover of it may be worth, only an act decides.
        LoadOutcome::Refused(_) => {}
    }
    recovery.dropped_next = discard_stale(disk, home, &load_options)?;
    Ok(())
}

/// Whether all that is staged is an agent.json.next that may still be good: then a start writes nothing.
fn stands_alone(disk: &Steady<'_>, home: &Home, options: &LoadOptions) -> bool {
    let temporary = disk
        .names(home.path())
        .is_ok_and(|names| names.iter().any(|name| is_temporary(name)));
    !temporary
        && disk.facts_at(&home.staged_keyfile_path()).is_err()
        && !crate::next::is_stale(disk, home, options)
}

/// The steps of a save from where it was cut off. The file was just read and unsealed.
fn put_in_place(
    disk: &Steady<'_>,
    home: &Home,
    now: SystemTime,
    whole: &WholeConfig,
) -> Result<Option<PathBuf>, SaveError> {
    let (config_path, keyfile_path) = (home.config_path(), home.keyfile_path());
    let io =
        |action, path: &PathBuf, error: std::io::Error| SaveError::Io(IoFault::new(action, path, &error));
    let sync = |path: &PathBuf| {
        disk.open(path)
            .and_then(|file| disk.sync(&file))
            .map_err(|error| io("sync", path, error))
    };
    sync(&whole.path)?;
    let moved_aside = match disk.facts_at(&config_path) {
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        _ => Some(aside::keep_copy(disk, &config_path, now)?),
    };
    if let Some(temporary) = &whole.keyfile {
        sync(temporary)?;
        disk.link(temporary, &keyfile_path)
            .map_err(|error| io("create", &keyfile_path, error))?;
        sync_folder(disk, home).map_err(SaveError::Io)?;
    }
    disk.rename(&whole.path, &config_path)
        .map_err(|error| io("replace", &config_path, error))?;
    sync_folder(disk, home).map_err(SaveError::Io)?;
    Ok(moved_aside)
}
