use std::path::{Path, PathBuf};

use crate::disk::{Steady, SystemDisk};
use crate::kdf::Kdf;
use crate::key_fault::KeyFault;
use crate::key_source::KeySource;
use crate::keyfile::{Guard, read_key};
use crate::seal::{SealKey, SealMode};

/// The name of the credential that holds the key: 32 raw bytes, as in a keyfile.
pub const SERVICE_CREDENTIAL: &str = "askalf-keyfile";

/// A key that the service manager hands over in a folder, such as systemd's `$CREDENTIALS_DIRECTORY`
/// (`LoadCredentialEncrypted=askalf-keyfile:...`). The caller finds the folder. The manager makes the key and keeps it:
/// nothing here writes it.
///
/// The file may belong to root and may be readable by its group, since that is how a manager grants one user access; it may not
/// be writable by the group or open to everybody.
#[derive(Debug, Clone)]
pub struct ServiceCredential {
    path: PathBuf,
}

impl ServiceCredential {
    /// The credential in this folder.
    pub fn in_folder(folder: impl AsRef<Path>) -> Self {
        Self {
            path: folder.as_ref().join(SERVICE_CREDENTIAL),
        }
    }

    pub(crate) fn read_on(&self, disk: &Steady<'_>) -> Result<SealKey, KeyFault> {
        read_key(disk, &self.path, Guard::Manager)
    }
}

impl KeySource for ServiceCredential {
    fn mode(&self) -> SealMode {
        SealMode::ServiceCredential
    }

    fn read(&self, _kdf: Option<&Kdf>) -> Result<SealKey, KeyFault> {
        self.read_on(&Steady(&SystemDisk))
    }
}
