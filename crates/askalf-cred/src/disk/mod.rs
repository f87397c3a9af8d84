//! The calls that reading and saving make on the file system, as one trait: a platform adds a module with its own, and tests
//! make any of them fail.

use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;

#[cfg(unix)]
mod unix;
#[cfg(unix)]
pub(crate) use unix::{SystemDisk, how_to_give_to, how_to_make_private};

#[cfg(windows)]
mod windows;
#[cfg(windows)]
pub(crate) use windows::{SystemDisk, how_to_give_to, how_to_make_private};

#[cfg(not(any(unix, windows)))]
compile_error!("askalf-cred needs a disk module for this platform, beside disk/unix.rs");

#[cfg(test)]
#[cfg(unix)]
pub(crate) mod faulty;
#[cfg(test)]
#[cfg(unix)]
pub(crate) mod volatile;

/// What stands at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Regular,
    Folder,
    Symlink,
    Other,
}

impl Kind {
    pub(crate) fn noun(self) -> &'static str {
        match self {
            Self::Regular => "a file",
            Self::Folder => "a folder",
            Self::Symlink if cfg!(windows) => "a link (reparse point)",
            Self::Symlink => "a symlink",
            Self::Other => "a device, pipe or socket",
        }
    }
}

/// What the system says about a file, without its content.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub(crate) kind: Kind,
    pub(crate) len: u64,
    /// Who owns it, in words, if that is not the user that runs this program.
    pub(crate) foreign_owner: Option<String>,
    /// Its permissions, in words, if they let other users in.
    pub(crate) exposed: Option<String>,
    /// Its permissions let everybody in, or let the group do more than read.
    pub(crate) open_to_all: bool,
    pub(crate) owned_by_root: bool,
    pub(crate) version: FileVersion,
}

/// Differs once the file was written, replaced, or had its owner or mode changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileVersion {
    /// The number of the file on its volume.
    pub(crate) inode: u128,
    pub(crate) len: u64,
    pub(crate) modified: (i64, i64),
    pub(crate) changed: (i64, i64),
}

/// One call each. None follows a symlink in the last component.
pub(crate) trait Disk {
    /// The user that runs this program, in words.
    fn us(&self) -> String;
    fn facts_at(&self, path: &Path) -> io::Result<Facts>;
    fn facts(&self, file: &File) -> io::Result<Facts>;
    /// For reading. Must not block on a pipe.
    fn open(&self, path: &Path) -> io::Result<File>;
    /// For reading and writing, private to this user; fails where anything stands already.
    fn create(&self, path: &Path) -> io::Result<File>;
    /// For locking, private to this user; opens or makes it.
    fn open_lock(&self, path: &Path) -> io::Result<File>;
    fn try_lock(&self, file: &File) -> Result<(), TryLockError>;
    fn read(&self, file: &File, into: &mut [u8]) -> io::Result<usize>;
    fn write(&self, file: &File, bytes: &[u8]) -> io::Result<usize>;
    fn rewind(&self, file: &File) -> io::Result<()>;
    fn sync(&self, file: &File) -> io::Result<()>;
    /// Returns once each change of a name in the folder so far outlasts a power cut, as far as the system can promise that.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;
    /// Replaces what is at `to`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// A second name for a file; fails where anything stands already.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove(&self, path: &Path) -> io::Result<()>;
    fn names(&self, folder: &Path) -> io::Result<Vec<OsString>>;
    /// Private to this user, with the folders above it.
    fn create_folder(&self, path: &Path) -> io::Result<()>;
    fn make_folder_private(&self, path: &Path) -> io::Result<()>;
}

/// A disk whose calls are made again when a signal interrupted them.
pub(crate) struct Steady<'a>(pub(crate) &'a dyn Disk);

impl Disk for Steady<'_> {
    fn us(&self) -> String {
        self.0.us()
    }
    fn facts_at(&self, path: &Path) -> io::Result<Facts> {
        steadily(|| self.0.facts_at(path))
    }
    fn facts(&self, file: &File) -> io::Result<Facts> {
        steadily(|| self.0.facts(file))
    }
    fn open(&self, path: &Path) -> io::Result<File> {
        steadily(|| self.0.open(path))
    }
    fn create(&self, path: &Path) -> io::Result<File> {
        steadily(|| self.0.create(path))
    }
    fn open_lock(&self, path: &Path) -> io::Result<File> {
        steadily(|| self.0.open_lock(path))
    }
    fn try_lock(&self, file: &File) -> Result<(), TryLockError> {
        loop {
            match self.0.try_lock(file) {
                Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }
    fn read(&self, file: &File, into: &mut [u8]) -> io::Result<usize> {
        steadily(|| self.0.read(file, into))
    }
    fn write(&self, file: &File, bytes: &[u8]) -> io::Result<usize> {
        steadily(|| self.0.write(file, bytes))
    }
    fn rewind(&self, file: &File) -> io::Result<()> {
        steadily(|| self.0.rewind(file))
    }
    fn sync(&self, file: &File) -> io::Result<()> {
        steadily(|| self.0.sync(file))
    }
    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        steadily(|| self.0.sync_folder(path))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        steadily(|| self.0.rename(from, to))
    }
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        steadily(|| self.0.link(from, to))
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        steadily(|| self.0.remove(path))
    }
    fn names(&self, folder: &Path) -> io::Result<Vec<OsString>> {
        steadily(|| self.0.names(folder))
    }
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        steadily(|| self.0.create_folder(path))
    }
    fn make_folder_private(&self, path: &Path) -> io::Result<()> {
        steadily(|| self.0.make_folder_private(path))
    }
}

impl Steady<'_> {
    /// # Errors
    /// Those of `write`; a disk that takes no byte is full.
    pub(crate) fn write_all(&self, file: &File, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.write(file, bytes)? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                n => bytes = &bytes[n..],
            }
        }
        Ok(())
    }

    /// Reads into `into` until it is full or the file ends; returns how much.
    pub(crate) fn read_full(&self, file: &File, into: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < into.len() {
            match self.read(file, &mut into[filled..])? {
                0 => break,
                n => filled += n,
            }
        }
        Ok(filled)
    }
}

fn steadily<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}
