use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::disk::{Disk, Kind, Steady, SystemDisk};
use crate::home::Home;
use crate::io_fault::IoFault;
use crate::kdf::Kdf;
use crate::key_fault::KeyFault;
use crate::key_source::KeySource;
use crate::save_error::SaveError;
use crate::seal::{KEY_BYTES, SealKey, SealMode};
use crate::staging::Staged;

/// The key source of the default: 32 raw bytes in a file of this user's alone, beside agent.json: mode 0600, on Windows an access
/// list of this user, the system and the administrators.
#[derive(Debug, Clone)]
pub struct Keyfile {
    path: PathBuf,
}

impl Keyfile {
    /// The keyfile of a home.
    pub fn of(home: &Home) -> Self {
        Self {
            path: home.keyfile_path(),
        }
    }
}

impl KeySource for Keyfile {
    fn mode(&self) -> SealMode {
        SealMode::Keyfile
    }

    fn read(&self, _kdf: Option<&Kdf>) -> Result<SealKey, KeyFault> {
        read_key(&Steady(&SystemDisk), &self.path, Guard::Private)
    }
}

/// Who may reach a file that holds a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guard {
    /// This user alone.
    Private,
    /// The service manager, and whom it grants reading.
    Manager,
}

pub(crate) fn read_key(disk: &Steady<'_>, path: &Path, guard: Guard) -> Result<SealKey, KeyFault> {
    let owned = || path.to_path_buf();
    let io = |action, error| KeyFault::Io(IoFault::new(action, path, &error));
    let not_a_file = |kind: Kind| KeyFault::NotAFile {
        path: owned(),
        kind: kind.noun(),
    };

    let file = match disk.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(KeyFault::Missing { path: owned() }),
        Err(error) => {
            return Err(match disk.facts_at(path) {
                Ok(facts) if facts.kind != Kind::Regular => not_a_file(facts.kind),
                _ => io("open", error),
            });
        }
    };
    let facts = disk.facts(&file).map_err(|error| io("look at", error))?;
    if facts.kind != Kind::Regular {
        return Err(not_a_file(facts.kind));
    }
    let managed = guard == Guard::Manager;
    if let Some(owner) = facts.foreign_owner.filter(|_| !(managed && facts.owned_by_root)) {
        return Err(KeyFault::WrongOwner {
            path: owned(),
            owner,
            us: disk.us(),
        });
    }
    if let Some(access) = facts.exposed.filter(|_| !managed || facts.open_to_all) {
        return Err(KeyFault::Exposed {
            path: owned(),
            access,
        });
    }
    // One byte more than the key shows that a file is too long without reading the rest of it.
    let mut bytes = Zeroizing::new([0; KEY_BYTES + 1]);
    let len = disk
        .read_full(&file, bytes.as_mut_slice())
        .map_err(|error| io("read", error))?;
    if len > KEY_BYTES {
        return Err(KeyFault::Long {
            path: owned(),
            len: facts.len,
        });
    }
    match bytes[..len].first_chunk() {
        Some(key) => Ok(SealKey::from_bytes(key)),
        None => Err(KeyFault::Short {
            path: owned(),
            len: len as u64,
        }),
    }
}

/// A new key in a complete, synced file that does not have its name yet.
pub(crate) struct StagedKeyfile<'a> {
    pub(crate) key: SealKey,
    staged: Staged<'a>,
}

impl<'a> StagedKeyfile<'a> {
    pub(crate) fn write(disk: &'a Steady<'a>, home: &Home) -> Result<Self, SaveError> {
        let key = SealKey::generate().ok_or(SaveError::Random)?;
        let staged = Staged::write(disk, &home.keyfile_path(), key.bytes())?;
        if staged.read_back(KEY_BYTES + 1)?.as_slice() != key.bytes() {
            return Err(SaveError::ReadBack {
                path: staged.path().to_path_buf(),
            });
        }
        Ok(Self { key, staged })
    }

    /// Gives the file its name, unless there is a keyfile by now: then `false`, and that one stands.
    pub(crate) fn publish(&self) -> Result<bool, SaveError> {
        self.staged.link_as_target()
    }

    /// Gives the file another name than that of the keyfile, unless that is taken.
    pub(crate) fn publish_as(&self, path: &Path) -> Result<bool, SaveError> {
        self.staged.link_as(path)
    }
}
