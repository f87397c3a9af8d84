//! `agent.json.next`: a key that the bridge handed out for a rotation, sealed beside the present one until it is proved.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::SystemTime;

use askalf_bridge_auth::Token;

use crate::aside;
use crate::disk::{Disk, Kind, Steady, SystemDisk};
use crate::document::Document;
use crate::home::Home;
use crate::io_fault::IoFault;
use crate::key_source::{HomeKeys, Keys};
use crate::load::{Credential, LoadOptions, LoadOutcome, load_file, read_config};
use crate::lock::SaveLock;
use crate::rotate::{settle, sync_folder};
use crate::save::SaveOptions;
use crate::save_error::SaveError;
use crate::seal::{SealMode, replaces_mark};
use crate::staged_config::NewConfig;
use crate::staging::sweep;

/// Keeps a new key of the bridge as `agent.json.next`, sealed as the present one is and with its config. The present one stays
/// in place. The file is bound to the key it is to replace: once `save` has put another in place, it counts for nothing.
///
/// # Errors
/// [`SaveError::NextWaits`] if an earlier one is not settled yet: it may be the only key that the bridge still takes.
/// [`SaveError::NotMigrated`] beside a file of an older agent. Otherwise as [`save`](crate::save); agent.json is never touched.
pub fn stage_next(home: &Home, token: &Token, options: &SaveOptions) -> Result<(), SaveError> {
    stage_on(&Steady(&SystemDisk), home, token, options)
}

/// Reads `agent.json.next`, which a start tries before agent.json: [`LoadOutcome::Absent`] if there is none, or if it was
/// meant to replace another key than the present one. Writes nothing.
pub fn load_next(home: &Home, options: &LoadOptions) -> LoadOutcome {
    load_next_on(&Steady(&SystemDisk), home, options)
}

/// Puts `agent.json.next` in the place of agent.json, once its key was proved against the bridge. `proved` is that key: a file
/// that holds another is not put in place. An agent.json that cannot be read is moved aside, dated by `now`, and returned.
///
/// # Errors
/// [`SaveError`]; agent.json is then whole and in place, and so is the staged file.
pub fn promote_next(
    home: &Home,
    proved: &Token,
    now: SystemTime,
    options: &SaveOptions,
) -> Result<Option<PathBuf>, SaveError> {
    promote_on(&Steady(&SystemDisk), home, proved, now, options)
}

/// Removes `agent.json.next`, once the bridge said that it does not know its key. `refused` is that key: a file that holds
/// another by now stays. Returns whether a file was removed.
///
/// # Errors
/// [`SaveError`] if the file cannot be removed.
pub fn discard_next(home: &Home, refused: &Token, options: &SaveOptions) -> Result<bool, SaveError> {
    discard_on(&Steady(&SystemDisk), home, refused, options)
}

pub(crate) fn stage_on(
    disk: &Steady<'_>,
    home: &Home,
    token: &Token,
    options: &SaveOptions,
) -> Result<(), SaveError> {
    if crate::seal::looks_sealed(token) && !options.opaque_key {
        return Err(SaveError::CiphertextAsToken);
    }
    home.create_on(disk)?;
    let _lock = SaveLock::hold(disk, home, options.lock_wait)?;
    settle(disk, home)?;
    let load_options = options.load_options();
    if let LoadOutcome::Plaintext { chosen: false, .. } =
        load_file(disk, home, &home.config_path(), &load_options)
    {
        return Err(SaveError::NotMigrated);
    }
    let present = present(disk, home, &load_options)?;
    match load_next_on(disk, home, &load_options) {
        LoadOutcome::Absent => {}
        LoadOutcome::Ready(_) | LoadOutcome::Plaintext { .. } => return Err(SaveError::NextWaits),
        LoadOutcome::Refused(unreadable) => return Err(SaveError::Unreadable(unreadable)),
    }

    // The key and the derivation of the file in place; a passphrase need not be derived again.
    let kdf = record_of(disk, home)
        .and_then(|record| record.kdf)
        .and_then(Result::ok);
    let keys = HomeKeys {
        disk,
        home,
        sources: &load_options.keys,
    };
    let mode = present.seal.mode;
    let key = match mode {
        SealMode::Plaintext => None,
        SealMode::MachineKey => return Err(SaveError::NotMigrated),
        SealMode::Keyfile | SealMode::ServiceCredential | SealMode::Passphrase => {
            Some(keys.key(mode, kdf.clone().map(Ok).as_ref())?)
        }
    };
    let target = home.staged_config_path();
    NewConfig {
        token,
        config: &present.config,
        mode,
        key: key.as_ref(),
        kdf: kdf.as_ref().filter(|_| mode == SealMode::Passphrase),
        replaces: Some(replaces_mark(token, &present.token)),
    }
    .stage(disk, home, &target)?
    .replace_target()?;
    sync_folder(disk, home).map_err(SaveError::Io)
}

pub(crate) fn load_next_on(disk: &Steady<'_>, home: &Home, options: &LoadOptions) -> LoadOutcome {
    if is_stale(disk, home, options) {
        return LoadOutcome::Absent;
    }
    load_file(disk, home, &home.staged_config_path(), options)
}

pub(crate) fn promote_on(
    disk: &Steady<'_>,
    home: &Home,
    proved: &Token,
    now: SystemTime,
    options: &SaveOptions,
) -> Result<Option<PathBuf>, SaveError> {
    home.create_on(disk)?;
    let _lock = SaveLock::hold(disk, home, options.lock_wait)?;
    settle(disk, home)?;
    let load_options = options.load_options();
    match load_next_on(disk, home, &load_options) {
        LoadOutcome::Absent => return Err(SaveError::NoNext),
        LoadOutcome::Refused(unreadable) => return Err(SaveError::Unreadable(unreadable)),
        LoadOutcome::Ready(next) | LoadOutcome::Plaintext { credential: next, .. } => {
            if !next.token.ct_eq(proved) {
                return Err(SaveError::NextIsOther);
            }
        }
    }
    let config_path = home.config_path();
    let moved_aside = match load_file(disk, home, &config_path, &load_options) {
        LoadOutcome::Absent | LoadOutcome::Ready(_) | LoadOutcome::Plaintext { .. } => None,
        LoadOutcome::Refused(unreadable) => match disk.facts_at(&config_path) {
            Ok(facts) if facts.kind == Kind::Regular => Some(aside::keep_copy(disk, &config_path, now)?),
            _ => return Err(SaveError::Unreadable(unreadable)),
        },
    };
    disk.rename(&home.staged_config_path(), &config_path)
        .map_err(|error| SaveError::Io(IoFault::new("replace", &config_path, &error)))?;
    sync_folder(disk, home).map_err(SaveError::Io)?;
    sweep(disk, home);
    Ok(moved_aside)
}

pub(crate) fn discard_on(
    disk: &Steady<'_>,
    home: &Home,
    refused: &Token,
    options: &SaveOptions,
) -> Result<bool, SaveError> {
    let path = home.staged_config_path();
    if disk.facts_at(&path).is_err() {
        return Ok(false);
    }
    let _lock = SaveLock::hold(disk, home, options.lock_wait)?;
    match load_file(disk, home, &path, &options.load_options()) {
        LoadOutcome::Ready(next) | LoadOutcome::Plaintext { credential: next, .. }
            if next.token.ct_eq(refused) => {}
        LoadOutcome::Ready(_)
        | LoadOutcome::Plaintext { .. }
        | LoadOutcome::Absent
        | LoadOutcome::Refused(_) => {
            return Ok(false);
        }
    }
    disk.remove(&path)
        .map_err(|error| SaveError::Io(IoFault::new("remove", &path, &error)))?;
    Ok(true)
}

/// Removes an agent.json.next that is bound to another key than the present one, for the holder of the lock.
pub(crate) fn discard_stale(
    disk: &Steady<'_>,
    home: &Home,
    options: &LoadOptions,
) -> Result<bool, SaveError> {
    let path = home.staged_config_path();
    if !is_stale(disk, home, options) {
        return Ok(false);
    }
    match disk.remove(&path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(SaveError::Io(IoFault::new("remove", &path, &error))),
    }
}

/// Whether there is a readable agent.json.next that is bound to another key than the one in agent.json. One whose binding cannot
/// be checked is not stale: it may be the only key that is left.
pub(crate) fn is_stale(disk: &Steady<'_>, home: &Home, options: &LoadOptions) -> bool {
    let path = home.staged_config_path();
    // One file in memory at a time: of each only its token is kept.
    let Some(next) = token_of(load_file(disk, home, &path, options)) else {
        return false;
    };
    let Ok(present) = present(disk, home, options).map(|credential| credential.token) else {
        return false;
    };
    let Ok(Some(bytes)) = read_config(disk, &path) else {
        return false;
    };
    let bound_to = Document::parse(&bytes)
        .ok()
        .and_then(|document| document.record?.replaces);
    bound_to != Some(replaces_mark(&next, &present))
}

fn token_of(outcome: LoadOutcome) -> Option<Token> {
    match outcome {
        LoadOutcome::Ready(credential) | LoadOutcome::Plaintext { credential, .. } => Some(credential.token),
        LoadOutcome::Absent | LoadOutcome::Refused(_) => None,
    }
}

fn present(disk: &Steady<'_>, home: &Home, options: &LoadOptions) -> Result<Credential, SaveError> {
    match load_file(disk, home, &home.config_path(), options) {
        LoadOutcome::Ready(credential) | LoadOutcome::Plaintext { credential, .. } => Ok(credential),
        LoadOutcome::Absent => Err(SaveError::Absent),
        LoadOutcome::Refused(unreadable) => Err(SaveError::Unreadable(unreadable)),
    }
}

fn record_of(disk: &Steady<'_>, home: &Home) -> Option<crate::document::SealRecord> {
    let bytes = read_config(disk, &home.config_path()).ok()??;
    Document::parse(&bytes).ok()?.record
}
