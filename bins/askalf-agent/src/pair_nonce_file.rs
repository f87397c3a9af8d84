//! The nonce of a pairing that is under way: a file in `state/`, so that a `pair` that was killed goes on with the same code
//! and is given the same key.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::path::PathBuf;

use askalf_bridge_auth::PairNonce;
use askalf_cli::{ExitCode, Failure, in_plain_words, private_file, private_folder, sync_folder_of};
use askalf_cred::Home;

/// Longest file that is read: 32 hex digits and the end of their line.
const MAX_BYTES: u64 = 64;

/// `state/pair-nonce`.
pub(crate) struct PairNonceFile {
    folder: PathBuf,
}

impl PairNonceFile {
    /// The file of this home.
    pub(crate) fn new(home: &Home) -> Self {
        Self {
            folder: home.state_dir(),
        }
    }

    /// The nonce that is kept; where there is none, a new one, on disk before it is used.
    pub(crate) fn take(&self) -> Result<PairNonce, Failure> {
        let failed = |error: io::Error| {
            Failure::new(
                ExitCode::Failed,
                format!(
                    "{} cannot be written: {}",
                    self.path().display(),
                    in_plain_words(&error)
                ),
            )
            .hint("check owner, mode and free space of the agent's folder; the code is not used up")
        };
        if let Some(kept) = self.read().map_err(failed)? {
            return Ok(kept);
        }
        let nonce =
            PairNonce::mint().map_err(|error| Failure::new(ExitCode::Failed, &error).hint(error.hint()))?;
        self.write(&nonce).map_err(failed)?;
        Ok(nonce)
    }

    /// The key is kept: nothing is repeated any more.
    pub(crate) fn forget(&self) {
        match fs::remove_file(self.path()) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                tracing::warn!(
                    "{} was not removed: {}",
                    self.path().display(),
                    in_plain_words(&error)
                );
            }
            _ => {}
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.join("pair-nonce")
    }

    /// What is torn or no nonce counts as none: no exchange began with it.
    fn read(&self) -> io::Result<Option<PairNonce>> {
        match fs::symlink_metadata(self.path()) {
            Ok(found) if found.is_file() => {}
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => return Ok(None),
        }
        let mut text = String::new();
        match File::open(self.path())?.take(MAX_BYTES).read_to_string(&mut text) {
            Err(error) if error.kind() != ErrorKind::InvalidData => Err(error),
            _ => Ok(PairNonce::parse(text.trim()).ok()),
        }
    }

    fn write(&self, nonce: &PairNonce) -> io::Result<()> {
        private_folder().create(&self.folder)?;
        let fresh = self.folder.join("pair-nonce.new");
        let mut file = private_file()
            .create(true)
            .truncate(true)
            .write(true)
            .open(&fresh)?;
        writeln!(file, "{nonce}")?;
        file.sync_all()?;
        fs::rename(fresh, self.path())?;
        sync_folder_of(&self.path())
    }
}
