//! The names of the log's files: `audit.log`, and older parts `audit.log.1` to `audit.log.4`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Files beside the current one.
pub(crate) const OLDER: u32 = 4;

/// Where an audit log lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditFiles {
    current: PathBuf,
}

impl AuditFiles {
    /// The log in this folder.
    pub fn in_folder(folder: &Path) -> Self {
        Self {
            current: folder.join("audit.log"),
        }
    }

    /// The file that is written to.
    pub fn current(&self) -> &Path {
        &self.current
    }

    /// Whether there is anything of it.
    pub fn exist(&self) -> bool {
        !self.parts().is_empty()
    }

    /// The older part of this number, 1 being the newest; 0 is the current file.
    pub(crate) fn part(&self, number: u32) -> PathBuf {
        if number == 0 {
            return self.current.clone();
        }
        let mut name = OsString::from(&self.current);
        name.push(format!(".{number}"));
        name.into()
    }

    /// The parts that exist, the oldest first.
    pub(crate) fn parts(&self) -> Vec<(u32, PathBuf)> {
        (0..=OLDER)
            .rev()
            .map(|number| (number, self.part(number)))
            .filter(|(_, path)| path.symlink_metadata().is_ok())
            .collect()
    }
}
