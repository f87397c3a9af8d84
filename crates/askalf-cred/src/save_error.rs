use std::path::PathBuf;

use thiserror::Error;

use crate::home::HomeError;
use crate::io_fault::IoFault;
use crate::key_fault::KeyFault;
use crate::unreadable::{NewerFormat, Unreadable};
use crate::{EXIT_CONFIG, MAX_CONFIG_BYTES, MAX_CONFIG_VALUES};

/// Why a credential was not saved. The file that was there before is whole, and in place but for
/// [`SaveError::Stranded`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SaveError {
    /// The home folder cannot be used.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// Another process holds the lock.
    #[error("another askalf-agent is writing {} just now", path.display())]
    Busy {
        /// agent.json.
        path: PathBuf,
    },
    /// A symlink, a folder or something else stands where a file of ours should be.
    #[error("{} is {kind}, not a regular file: it is not replaced", path.display())]
    NotAFile {
        /// The file.
        path: PathBuf,
        /// What it is, with its article.
        kind: &'static str,
    },
    /// Another user owns the file that would be replaced.
    #[error("{} is owned by {owner}, not by the user that runs this program ({us}): it is not replaced", path.display())]
    ForeignOwner {
        /// The file.
        path: PathBuf,
        /// Its owner.
        owner: String,
        /// Who runs this program.
        us: String,
    },
    /// A newer program wrote the file that would be replaced.
    #[error("agent.json was written by a newer version of askalf ({0}): it is not replaced")]
    NewerVersion(NewerFormat),
    /// The sealing key cannot be had.
    #[error(transparent)]
    Key(#[from] KeyFault),
    /// The token has the form of sealed text and [`SaveOptions::opaque_key`](crate::SaveOptions) is not set.
    #[error("this key has the form of sealed text, not of an API key: it is not saved")]
    CiphertextAsToken,
    /// The config would be larger than what is ever read.
    #[error("agent.json would be larger than {MAX_CONFIG_BYTES} bytes: it is not saved")]
    TooLarge,
    /// The config would hold more values than are ever read.
    #[error("agent.json would hold more than {MAX_CONFIG_VALUES} values: it is not saved")]
    TooComplex,
    /// The written file did not read back as what was to be saved.
    #[error("what was written to {} does not read back as the same credential: it is not used", path.display())]
    ReadBack {
        /// The temporary file, now removed.
        path: PathBuf,
    },
    /// The system's random numbers failed.
    #[error("the system gives no random numbers: no key can be sealed")]
    Random,
    /// A later step failed, and an unreadable file that had been moved aside for it could not be brought back.
    #[error("{cause}; the unreadable file that was there before is kept as {}", kept_as.display())]
    Stranded {
        /// Where the old file is now.
        kept_as: PathBuf,
        /// Why the save failed.
        cause: Box<SaveError>,
    },
    /// [`SealMode::MachineKey`](crate::SealMode) was asked for.
    #[error("a key is never sealed under a machine key: it can be guessed, and changes with the network")]
    MachineKey,
    /// The act needs a credential that can be read, and the one in place cannot.
    #[error("{0}: nothing is changed")]
    Unreadable(Unreadable),
    /// The act needs a credential, and there is none.
    #[error("this device is not paired: there is no agent.json")]
    Absent,
    /// The keyfile cannot be rotated, since it is not what seals the credential.
    #[error(
        "the key in agent.json is not sealed under the keyfile but kept as {mode}: there is no keyfile to rotate"
    )]
    NotUnderKeyfile {
        /// What `_seal.mode` names.
        mode: &'static str,
    },
    /// The credential in place is kept as an older agent kept it, and the act needs one of this format.
    #[error("the key in agent.json lies as an older agent left it: it must be sealed anew first")]
    NotMigrated,
    /// agent.json.next waits to be proved.
    #[error("a new key of the bridge waits in agent.json.next to be proved")]
    NextWaits,
    /// There is no agent.json.next to put in place.
    #[error("there is no agent.json.next")]
    NoNext,
    /// agent.json.next does not hold the token that was proved.
    #[error("agent.json.next does not hold the key that was proved: it is not put in place")]
    NextIsOther,
    /// A call on a file failed.
    #[error("the credential was not saved: {0}")]
    Io(IoFault),
}

impl SaveError {
    /// The stable name of this error.
    pub fn id(&self) -> &'static str {
        match self {
            Self::Home(error) => error.id(),
            Self::Busy { .. } => "save-busy",
            Self::NotAFile { .. } => "save-not-a-file",
            Self::ForeignOwner { .. } => "save-foreign-owner",
            Self::NewerVersion(_) => "newer-version",
            Self::Key(fault) => fault.id(),
            Self::CiphertextAsToken => "ciphertext-as-token",
            Self::TooLarge => "save-too-large",
            Self::TooComplex => "save-too-complex",
            Self::ReadBack { .. } => "save-read-back",
            Self::Random => "save-no-random",
            Self::Stranded { .. } => "save-stranded",
            Self::MachineKey => "save-machine-key",
            Self::Unreadable(unreadable) => unreadable.id(),
            Self::Absent => "absent",
            Self::NotUnderKeyfile { .. } => "not-under-keyfile",
            Self::NotMigrated => "not-migrated",
            Self::NextWaits => "next-waits",
            Self::NoNext => "no-next",
            Self::NextIsOther => "next-is-other",
            Self::Io(fault) if fault.is_full() => "save-disk-full",
            Self::Io(_) => "save-io",
        }
    }

    /// What to do next, with the exact command where there is one.
    pub fn hint(&self) -> String {
        match self {
            Self::Home(error) => error.hint(),
            Self::Busy { .. } => "run the command again in a moment".into(),
            Self::NotAFile { path, .. } => {
                format!("move {} away, then run the command again", path.display())
            }
            Self::ForeignOwner { path, owner, .. } => format!(
                "run the command as {owner}, or move {} away first",
                path.display()
            ),
            Self::NewerVersion(_) => {
                "upgrade askalf-agent on this machine, or move agent.json away first".into()
            }
            Self::Key(fault) => fault.hint(),
            Self::CiphertextAsToken => {
                "copy the key again from where it was made; if it really has this form, add `--opaque-key`"
                    .into()
            }
            Self::TooLarge | Self::TooComplex => {
                "remove what does not belong into agent.json, then run the command again".into()
            }
            Self::ReadBack { .. } => {
                "check the disk and the memory of this machine, then run the command again".into()
            }
            Self::Random => "run the command again once the system has started up fully".into(),
            Self::Stranded { cause, .. } => cause.hint(),
            Self::MachineKey => "seal it under the keyfile".into(),
            Self::Unreadable(unreadable) => unreadable.hint(),
            Self::Absent => "run `askalf-agent pair`".into(),
            Self::NotUnderKeyfile { .. } => {
                "change that key where it is kept, then run `askalf-agent pair` with a new key".into()
            }
            Self::NotMigrated => "start `askalf-agent daemon`, which does that, and see what it says".into(),
            Self::NextWaits => {
                "start `askalf-agent daemon`, which proves it, then run the command again".into()
            }
            Self::NoNext | Self::NextIsOther => "let the bridge rotate the key again".into(),
            Self::Io(fault) => fault.hint(),
        }
    }

    /// The exit code of a program that ends for it: 75 try again, 77 permission, 78 configuration, 1 otherwise.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Home(error) => error.exit_code(),
            Self::Busy { .. } => 75,
            Self::Stranded { cause, .. } => cause.exit_code(),
            Self::ForeignOwner { .. } => 77,
            Self::Io(fault) if fault.is_permission() => 77,
            Self::NextWaits => 75,
            Self::NotAFile { .. }
            | Self::NewerVersion(_)
            | Self::Key(_)
            | Self::Unreadable(_)
            | Self::Absent
            | Self::NotMigrated
            | Self::NotUnderKeyfile { .. } => EXIT_CONFIG,
            Self::CiphertextAsToken
            | Self::TooLarge
            | Self::TooComplex
            | Self::ReadBack { .. }
            | Self::Random
            | Self::MachineKey
            | Self::NoNext
            | Self::NextIsOther
            | Self::Io(_) => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::Path;

    use super::*;

    #[test]
    fn a_failed_write_is_told_by_what_kept_it() {
        for (kind, id, exit_code) in [
            (io::ErrorKind::StorageFull, "save-disk-full", 1),
            (io::ErrorKind::PermissionDenied, "save-io", 77),
            (io::ErrorKind::NotFound, "save-io", 1),
        ] {
            let error = SaveError::Io(IoFault::new("write", Path::new("/x"), &kind.into()));
            assert_eq!((error.id(), error.exit_code()), (id, exit_code));
        }
    }
}
