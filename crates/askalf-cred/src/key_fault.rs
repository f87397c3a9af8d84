use std::path::PathBuf;

use thiserror::Error;

use crate::disk::{how_to_give_to, how_to_make_private};
use crate::io_fault::IoFault;
use crate::kdf::KdfFault;
use crate::seal::KEY_BYTES;
use crate::service_credential::SERVICE_CREDENTIAL;

/// Why the sealing key cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeyFault {
    /// The keyfile is not there.
    #[error("the keyfile {} is missing", path.display())]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// The keyfile has fewer than 32 bytes.
    #[error("the keyfile {} is too short: {len} of {KEY_BYTES} bytes", path.display())]
    Short {
        /// The keyfile.
        path: PathBuf,
        /// Its length in bytes.
        len: u64,
    },
    /// The keyfile has more than 32 bytes.
    #[error("the keyfile {} is too long: {len} bytes instead of {KEY_BYTES}", path.display())]
    Long {
        /// The keyfile.
        path: PathBuf,
        /// Its length in bytes.
        len: u64,
    },
    /// A symlink, a folder or something else stands where the keyfile should be.
    #[error("the keyfile {} is {kind}, not a regular file", path.display())]
    NotAFile {
        /// The keyfile.
        path: PathBuf,
        /// What it is, with its article.
        kind: &'static str,
    },
    /// Another user owns the keyfile.
    #[error("the keyfile {} is owned by {owner}, not by the user that runs this program ({us})", path.display())]
    WrongOwner {
        /// The keyfile.
        path: PathBuf,
        /// Its owner.
        owner: String,
        /// Who runs this program.
        us: String,
    },
    /// Other users may use the keyfile.
    #[error("the keyfile {} can be reached by other users ({access})", path.display())]
    Exposed {
        /// The keyfile.
        path: PathBuf,
        /// Its permissions, as the system spells them.
        access: String,
    },
    /// The keyfile could not be read.
    #[error("the keyfile is unreadable: {0}")]
    Io(IoFault),
    /// The service manager keeps the key, and did not hand it over.
    #[error("its key is a service credential, which was not handed to this program")]
    NoServiceCredential,
    /// The key comes from a passphrase, and none was given.
    #[error("its key comes from a passphrase, which was not given")]
    NoPassphrase,
    /// The key cannot be derived from the passphrase as the file asks.
    #[error("{0}")]
    Kdf(KdfFault),
}

impl KeyFault {
    /// The stable name of this fault.
    pub fn id(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "keyfile-missing",
            Self::Short { .. } => "keyfile-short",
            Self::Long { .. } => "keyfile-long",
            Self::NotAFile { .. } => "keyfile-not-a-file",
            Self::WrongOwner { .. } => "keyfile-wrong-owner",
            Self::Exposed { .. } => "keyfile-wrong-mode",
            Self::Io(_) => "keyfile-unreadable",
            Self::NoServiceCredential => "service-credential-missing",
            Self::NoPassphrase => "passphrase-missing",
            Self::Kdf(fault) => fault.id(),
        }
    }

    /// What to do next, with the exact command.
    pub fn hint(&self) -> String {
        match self {
            Self::Missing { path } => format!(
                "put the keyfile back at {}; if it is lost, run `askalf-agent pair`",
                path.display()
            ),
            Self::Short { path, .. } | Self::Long { path, .. } => format!(
                "restore {} from a backup; if there is none, run `askalf-agent pair`",
                path.display()
            ),
            Self::NotAFile { path, .. } => format!(
                "put the keyfile itself at {}; if it is lost, move what is there away and run `askalf-agent pair`",
                path.display()
            ),
            Self::WrongOwner { path, us, .. } => format!(
                "run {}, or run this program as the keyfile's owner",
                how_to_give_to(us, path)
            ),
            Self::Exposed { path, .. } => format!(
                "run {}; if others may have read it, run `askalf-agent pair` with a new key too",
                how_to_make_private(path)
            ),
            Self::Io(fault) => fault.hint(),
            Self::NoServiceCredential => format!(
                "start this program through its service, with the credential `{SERVICE_CREDENTIAL}`; if that is lost, run \
                 `askalf-agent pair`"
            ),
            Self::NoPassphrase => "give the passphrase; if it is lost, run `askalf-agent pair`".into(),
            Self::Kdf(KdfFault::NoMemory) => "free some memory, then run the command again".into(),
            Self::Kdf(KdfFault::Unknown) => {
                "upgrade askalf-agent on this machine; the file is left as it is".into()
            }
            Self::Kdf(KdfFault::Misshapen | KdfFault::OutOfBounds) => {
                "if it was edited by hand, correct `_seal.kdf`; otherwise run `askalf-agent pair`".into()
            }
        }
    }

    /// Whether the key may be whole and only out of reach on this machine. Not so for a keyfile of the wrong length:
    /// its key is gone.
    pub fn is_local_fault(&self) -> bool {
        match self {
            Self::Short { .. } | Self::Long { .. } => false,
            Self::Kdf(fault) => *fault == KdfFault::NoMemory,
            Self::Missing { .. }
            | Self::NotAFile { .. }
            | Self::WrongOwner { .. }
            | Self::Exposed { .. }
            | Self::Io(_)
            | Self::NoServiceCredential
            | Self::NoPassphrase => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_derivation_without_memory_may_succeed_later() {
        assert!(KeyFault::Kdf(KdfFault::NoMemory).is_local_fault());
        for fault in [KdfFault::Misshapen, KdfFault::OutOfBounds, KdfFault::Unknown] {
            assert!(!KeyFault::Kdf(fault).is_local_fault(), "{fault}");
        }
    }
}
