use std::io::ErrorKind;

use crate::disk::{Disk, Kind, Steady, SystemDisk};
use crate::document::{Document, StoredKey};
use crate::home::Home;
use crate::io_fault::IoFault;
use crate::key_source::HomeKeys;
use crate::keyfile::{Guard, StagedKeyfile, read_key};
use crate::load::{LoadOutcome, load_file, open, read_config};
use crate::lock::SaveLock;
use crate::save::SaveOptions;
use crate::save_error::SaveError;
use crate::seal::{Blob, KeyId, SealKey, SealMode};
use crate::staged_config::NewConfig;
use crate::staging::sweep;

/// What a rotation of the keyfile did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rotated {
    /// The key before; nothing in place is sealed under it any more.
    pub old_key: KeyId,
    /// The key now.
    pub new_key: KeyId,
    /// The credential is sealed anew and can be read, but the last step failed: `keyfile.next` is yet to become `keyfile`. The
    /// next start or act does that. For a warning.
    pub unfinished: Option<IoFault>,
}

/// Seals the credential under a new keyfile, which replaces the old one.
///
/// The new key is staged as `keyfile.next`, agent.json is sealed anew under it, read back, unsealed and put in place, and then
/// `keyfile.next` becomes `keyfile`. Between the last two steps a load reads the credential by `keyfile.next`, and the next
/// start or act rolls forward; before that, it rolls back. An agent 3.3 can read the files again after the last step.
///
/// # Errors
/// [`SaveError`]; the old file and the old keyfile are then whole and in place.
pub fn rotate_key(home: &Home) -> Result<Rotated, SaveError> {
    rotate_key_with(home, &SaveOptions::default())
}

/// [`rotate_key`] with options.
///
/// # Errors
/// As [`rotate_key`].
pub fn rotate_key_with(home: &Home, options: &SaveOptions) -> Result<Rotated, SaveError> {
    rotate_on(&Steady(&SystemDisk), home, options)
}

pub(crate) fn rotate_on(disk: &Steady<'_>, home: &Home, options: &SaveOptions) -> Result<Rotated, SaveError> {
    home.create_on(disk)?;
    let _lock = SaveLock::hold(disk, home, options.lock_wait)?;
    settle(disk, home)?;

    let (config_path, next_path) = (home.config_path(), home.staged_keyfile_path());
    let bytes = read_config(disk, &config_path)
        .map_err(SaveError::Unreadable)?
        .ok_or(SaveError::Absent)?;
    let load_options = options.load_options();
    let keys = HomeKeys {
        disk,
        home,
        sources: &load_options.keys,
    };
    let credential = match open(&bytes, &keys, &load_options) {
        LoadOutcome::Ready(credential) | LoadOutcome::Plaintext { credential, .. } => credential,
        LoadOutcome::Absent => return Err(SaveError::Absent),
        LoadOutcome::Refused(unreadable) => return Err(SaveError::Unreadable(unreadable)),
    };
    let (SealMode::Keyfile, Some(old_key)) = (credential.seal.mode, credential.seal.key_id) else {
        return Err(SaveError::NotUnderKeyfile {
            mode: credential.seal.mode.as_str(),
        });
    };
    // It is sealed under the keyfile that is about to go.
    if let LoadOutcome::Ready(_) = load_file(disk, home, &home.staged_config_path(), &load_options) {
        return Err(SaveError::NextWaits);
    }

    let keyfile = StagedKeyfile::write(disk, home)?;
    let new_key = keyfile.key.id();
    let staged = NewConfig {
        token: &credential.token,
        config: &credential.config,
        mode: SealMode::Keyfile,
        key: Some(&keyfile.key),
        kdf: None,
        replaces: None,
    }
    .stage(disk, home, &config_path)?;
    let busy = || SaveError::Busy {
        path: config_path.clone(),
    };
    if !keyfile.publish_as(&next_path)? {
        return Err(busy());
    }
    let sealed_anew = sync_folder(disk, home).map_err(SaveError::Io).and_then(|()| {
        // An agent that does not know our lock may have written: its credential is under the old keyfile.
        match read_config(disk, &config_path) {
            Ok(Some(now)) if now == bytes => staged.replace_target(),
            _ => Err(busy()),
        }
    });
    if let Err(error) = sealed_anew {
        // Looks which key agent.json needs, rather than trust that a call that failed did nothing. What it cannot do now, the
        // next start or act does.
        let _ = settle(disk, home);
        return Err(error);
    }
    let unfinished = promote(disk, home).err();
    if unfinished.is_none() {
        drop(keyfile);
        sweep(disk, home);
    }
    Ok(Rotated {
        old_key,
        new_key,
        unfinished,
    })
}

/// How a rotation that was cut off was brought to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Settled {
    /// agent.json was sealed anew already: `keyfile.next` is the keyfile now.
    RolledForward,
    /// agent.json was still as it was: `keyfile.next` is gone.
    RolledBack,
}

/// Brings a rotation that was cut off to its end, for the holder of the lock. Leaves `keyfile.next` where agent.json unseals
/// under neither key: it may be the only copy of something.
pub(crate) fn settle(disk: &Steady<'_>, home: &Home) -> Result<Option<Settled>, SaveError> {
    let next_path = home.staged_keyfile_path();
    let io = |action, error: std::io::Error| SaveError::Io(IoFault::new(action, &next_path, &error));
    match disk.facts_at(&next_path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io("look at", error)),
        Ok(facts) if facts.kind != Kind::Regular || facts.foreign_owner.is_some() => return Ok(None),
        Ok(_) => {}
    }
    let Some(blob) = sealed_text(disk, home) else {
        return Ok(None);
    };
    let unseals = |key: Option<SealKey>| key.is_some_and(|key| key.unseal(&blob).is_some());
    if unseals(read_key(disk, &home.keyfile_path(), Guard::Private).ok()) {
        disk.remove(&next_path).map_err(|error| io("remove", error))?;
        return Ok(Some(Settled::RolledBack));
    }
    if unseals(read_key(disk, &next_path, Guard::Private).ok()) {
        promote(disk, home).map_err(SaveError::Io)?;
        return Ok(Some(Settled::RolledForward));
    }
    Ok(None)
}

/// The sealed key in agent.json.
fn sealed_text(disk: &Steady<'_>, home: &Home) -> Option<Blob> {
    let bytes = read_config(disk, &home.config_path()).ok()??;
    match Document::parse(&bytes).ok()?.key {
        StoredKey::Sealed(text) => Blob::decode(&text),
        StoredKey::Plain(_) => None,
    }
}

/// `keyfile.next` becomes `keyfile`. Before that, the agent.json that needs it must be on the disk for good: the old key goes.
fn promote(disk: &Steady<'_>, home: &Home) -> Result<(), IoFault> {
    sync_folder(disk, home)?;
    let keyfile = home.keyfile_path();
    disk.rename(&home.staged_keyfile_path(), &keyfile)
        .map_err(|error| IoFault::new("replace", &keyfile, &error))?;
    sync_folder(disk, home)
}

pub(crate) fn sync_folder(disk: &Steady<'_>, home: &Home) -> Result<(), IoFault> {
    disk.sync_folder(home.path())
        .map_err(|error| IoFault::new("sync", home.path(), &error))
}
