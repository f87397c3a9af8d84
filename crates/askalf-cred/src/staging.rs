use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::disk::{Disk, Kind, Steady};
use crate::home::Home;
use crate::io_fault::IoFault;
use crate::save_error::SaveError;
use crate::seal::hex;

/// Between a file's name and the random part of its temporary name.
const INFIX: &str = ".tmp-";
const RANDOM_BYTES: usize = 8;

/// A complete, synced temporary file in the folder of the file whose place it may take. Removed when dropped, unless it
/// took that place.
pub(crate) struct Staged<'a> {
    disk: &'a Steady<'a>,
    target: PathBuf,
    path: PathBuf,
    file: File,
    placed: bool,
}

impl<'a> Staged<'a> {
    pub(crate) fn write(disk: &'a Steady<'a>, target: &Path, bytes: &[u8]) -> Result<Self, SaveError> {
        let path = temporary_path(target)?;
        let file = disk
            .create(&path)
            .map_err(|error| fault("create", &path, error))?;
        let staged = Self {
            disk,
            target: target.to_path_buf(),
            path,
            file,
            placed: false,
        };
        disk.write_all(&staged.file, bytes)
            .map_err(|error| staged.fault("write", error))?;
        disk.sync(&staged.file)
            .map_err(|error| staged.fault("sync", error))?;
        Ok(staged)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What the file really holds, up to `limit` bytes.
    pub(crate) fn read_back(&self, limit: usize) -> Result<Zeroizing<Vec<u8>>, SaveError> {
        self.disk
            .rewind(&self.file)
            .map_err(|error| self.fault("read back", error))?;
        let mut bytes = Zeroizing::new(vec![0; limit]);
        let len = self
            .disk
            .read_full(&self.file, &mut bytes)
            .map_err(|error| self.fault("read back", error))?;
        bytes.truncate(len);
        Ok(bytes)
    }

    /// Replaces the target.
    pub(crate) fn replace_target(mut self) -> Result<(), SaveError> {
        match self.disk.rename(&self.path, &self.target) {
            Err(error) if !self.stands_at(&self.target) => Err(fault("replace", &self.target, error)),
            Ok(()) | Err(_) => {
                self.placed = true;
                Ok(())
            }
        }
    }

    /// Whether a name leads to this very file. A call over a network may be done although its answer was lost.
    fn stands_at(&self, name: &Path) -> bool {
        match (self.disk.facts(&self.file), self.disk.facts_at(name)) {
            (Ok(ours), Ok(there)) => ours.version.inode == there.version.inode,
            _ => false,
        }
    }

    /// Gives the file the target's name as well, unless something stands there: then `false`.
    pub(crate) fn link_as_target(&self) -> Result<bool, SaveError> {
        self.link_as(&self.target)
    }

    pub(crate) fn link_as(&self, name: &Path) -> Result<bool, SaveError> {
        match self.disk.link(&self.path, name) {
            Ok(()) => Ok(true),
            Err(_) if self.stands_at(name) => Ok(true),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(fault("create", name, error)),
        }
    }

    fn fault(&self, action: &'static str, error: io::Error) -> SaveError {
        fault(action, &self.path, error)
    }
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        if !self.placed {
            // What cannot be removed now, the next save removes.
            let _ = self.disk.remove(&self.path);
        }
    }
}

/// Removes what saves that were cut off left behind. For the holder of the lock, once its own save is done: until then a
/// leftover may be the only copy of something.
pub(crate) fn sweep(disk: &Steady<'_>, home: &Home) -> bool {
    let mut swept = false;
    for name in disk.names(home.path()).unwrap_or_default() {
        let path = home.path().join(&name);
        let ours = disk
            .facts_at(&path)
            .is_ok_and(|facts| facts.kind == Kind::Regular && facts.foreign_owner.is_none());
        if is_temporary(&name) && ours {
            swept |= disk.remove(&path).is_ok();
        }
    }
    swept
}

fn temporary_path(target: &Path) -> Result<PathBuf, SaveError> {
    let mut random = [0; RANDOM_BYTES];
    getrandom::fill(&mut random).map_err(|_| SaveError::Random)?;
    let mut name = target.file_name().unwrap_or_default().to_os_string();
    name.push(INFIX);
    name.push(hex(&random));
    Ok(target.with_file_name(name))
}

/// Whether a name is one that [`temporary_path`] gives.
pub(crate) fn is_temporary(name: &OsStr) -> bool {
    is_temporary_config(name) || is_temporary_keyfile(name) || is_temporary_of("agent.json.next", name)
}

pub(crate) fn is_temporary_config(name: &OsStr) -> bool {
    is_temporary_of("agent.json", name)
}

pub(crate) fn is_temporary_keyfile(name: &OsStr) -> bool {
    is_temporary_of("keyfile", name)
}

fn is_temporary_of(target: &str, name: &OsStr) -> bool {
    let random = name
        .to_str()
        .and_then(|name| name.strip_prefix(target)?.strip_prefix(INFIX));
    random.is_some_and(|random| {
        random.len() == 2 * RANDOM_BYTES && random.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
    })
}

fn fault(action: &'static str, path: &Path, error: io::Error) -> SaveError {
    SaveError::Io(IoFault::new(action, path, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_our_own_making_are_temporary() {
        let home = Home::new("/h");
        for target in [home.config_path(), home.staged_config_path(), home.keyfile_path()] {
            assert!(is_temporary(
                temporary_path(&target).unwrap().file_name().unwrap()
            ));
        }
        for name in [
            "agent.json",
            "keyfile",
            "agent.json.next",
            "agent.json.tmp-",
            "agent.json.tmp-0123456789abcde",
            "agent.json.tmp-0123456789abcdef0",
            "agent.json.tmp-0123456789ABCDEF",
            "agent.json.bak.1",
            "policy.json.tmp-0123456789abcdef",
        ] {
            assert!(!is_temporary(OsStr::new(name)), "{name}");
        }
    }
}
