//! A file for a key that is not to be shown.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::PathBuf;

use askalf_cli::{ExitCode, Failure, in_plain_words, private_file, sync_folder_of};

/// A new file for its owner alone. It is made before the key is, so that no key is made that has nowhere to go; dropped
/// before the key is in it, it is removed again.
pub(super) struct OutFile {
    path: PathBuf,
    file: File,
    is_written: bool,
}

impl OutFile {
    /// Makes the file, which must not be there yet.
    pub(super) fn make(path: PathBuf) -> Result<Self, Failure> {
        let made = private_file().write(true).create_new(true).open(&path);
        match made {
            Ok(file) => Ok(Self {
                path,
                file,
                is_written: false,
            }),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(Failure::new(
                ExitCode::Failed,
                format!("{} exists already", path.display()),
            )
            .hint("name a file that does not exist; no key was made")),
            Err(error) => Err(Failure::new(
                ExitCode::Failed,
                format!("{} cannot be written: {}", path.display(), in_plain_words(&error)),
            )
            .hint("check the rights of its folder; no key was made")),
        }
    }

    /// Writes the key and the end of its line.
    pub(super) fn write(mut self, key: &str, id: &str) -> Result<PathBuf, Failure> {
        let written = writeln!(self.file, "{key}")
            .and_then(|()| self.file.sync_all())
            .and_then(|()| sync_folder_of(&self.path));
        if let Err(error) = written {
            return Err(Failure::new(
                ExitCode::Failed,
                format!(
                    "{} could not be written: {}",
                    self.path.display(),
                    in_plain_words(&error)
                ),
            )
            .hint(format!(
                "the key is lost: revoke it with 'askalf-bridge keys revoke {id}', and make another"
            )));
        }
        self.is_written = true;
        Ok(std::mem::take(&mut self.path))
    }
}

impl Drop for OutFile {
    fn drop(&mut self) {
        if !self.is_written {
            // An empty file is left where even this fails; it holds nothing.
            let _ = fs::remove_file(&self.path);
        }
    }
}
