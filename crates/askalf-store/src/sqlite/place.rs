//! Whether the database file is still where it was opened.
//!
//! SQLite goes on in a file that was removed or replaced: commits succeed, and are lost with the process. An execution is
//! accepted on the strength of its commit; so a commit counts only while its file is the one that a restart will find.

use std::path::{Path, PathBuf};

use askalf_bridge_core::stores::StoreError;

/// The place of a database, and the file that was there when it was opened.
#[derive(Debug)]
pub(super) struct Place(Option<(PathBuf, Identity)>);

/// Device and inode.
type Identity = (u64, u64);

impl Place {
    /// The place of the database at `path`, which is open already.
    pub(super) fn of(path: &Path) -> Self {
        // Absolute: the program may change its folder later.
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let identity = identity(&path);
        Self(identity.map(|identity| (path, identity)))
    }

    /// That of a database in memory.
    pub(super) fn nowhere() -> Self {
        Self(None)
    }

    /// Whether the file is still there. One system call, where a commit waits for the disk.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub(super) fn check(&self) -> Result<(), StoreError> {
        match &self.0 {
            Some((path, opened)) if identity(path) != Some(*opened) => {
                tracing::error!(
                    path = %path.display(),
                    "the database file was moved, removed or replaced: put it back, or restart the bridge on the new one"
                );
                Err(StoreError::Unavailable(
                    "its file was moved, removed or replaced".to_owned(),
                ))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(unix)]
fn identity(path: &Path) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt;
    let facts = std::fs::metadata(path).ok()?;
    Some((facts.dev(), facts.ino()))
}

/// Where an open file cannot be removed nor replaced there is nothing to compare.
#[cfg(not(unix))]
fn identity(_path: &Path) -> Option<Identity> {
    None
}
