use std::path::PathBuf;

use thiserror::Error;

use crate::EXIT_CONFIG;
use crate::io_fault::IoFault;
use crate::key_fault::KeyFault;
use crate::seal::{KeyId, SEAL_VERSION};
use crate::{MAX_CONFIG_BYTES, MAX_CONFIG_VALUES};

/// Why there is an agent.json and yet no credential. Unreadable is not absent: nothing of such a file may be sent, and
/// it is never overwritten in place.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Unreadable {
    /// `_seal` names another key than the keyfile, and the tag does not verify.
    #[error(
        "the key in agent.json was sealed under another keyfile ({sealed_under}; the one here is {keyfile})"
    )]
    SealedUnderAnotherKey {
        /// The key that `_seal` names.
        sealed_under: KeyId,
        /// The key that the keyfile holds.
        keyfile: KeyId,
    },
    /// `_seal` names this very keyfile, and the tag does not verify.
    #[error("the sealed key in agent.json is damaged: it does not unseal under the keyfile it names")]
    Damaged,
    /// Nothing says which key sealed it, and the tag does not verify.
    #[error(
        "the sealed key in agent.json does not unseal under the keyfile: it is damaged, or was sealed under another \
         keyfile or under the machine key of an older agent"
    )]
    DoesNotUnseal,
    /// `apiKey` is marked as sealed and is too short, or no base64.
    #[error("the sealed key in agent.json is damaged: it is not a sealed value at all")]
    NotSealedText,
    /// What unseals, or stands unsealed, is not a token.
    #[error(
        "the key in agent.json is not a token: it is empty, too long, or holds spaces or control characters"
    )]
    NotAToken,
    /// An unsealed value that is itself a sealed one, as far as its form tells.
    #[error("the key in agent.json is marked as plain but is sealed text: it is not sent as a key")]
    CiphertextAsToken,
    /// The file is an object without a key.
    #[error("agent.json holds no key (no `apiKey`)")]
    NoKey,
    /// The file is empty, or filled with zeros as after a power cut.
    #[error("agent.json is empty: it was cut off while it was written")]
    ConfigEmpty,
    /// The JSON ends too early.
    #[error("agent.json is torn: it ends in the middle, at line {line}")]
    ConfigTorn {
        /// The line at which it ends, from 1.
        line: usize,
    },
    /// The file is not JSON.
    #[error("agent.json is not JSON (line {line}, column {column})")]
    ConfigNotJson {
        /// The line of the error, from 1.
        line: usize,
        /// The column of the error.
        column: usize,
    },
    /// The file is JSON, but no object.
    #[error("agent.json is JSON, but not an object")]
    ConfigNotObject,
    /// A field that the key depends on has another type than it must.
    #[error("agent.json has the wrong type in `{field}`")]
    ConfigWrongType {
        /// The field.
        field: &'static str,
    },
    /// The file is larger than any agent.json.
    #[error("agent.json is larger than {MAX_CONFIG_BYTES} bytes")]
    ConfigTooLarge,
    /// The file holds more values than any agent.json.
    #[error("agent.json holds more than {MAX_CONFIG_VALUES} values")]
    ConfigTooComplex,
    /// A symlink, a folder or something else stands where agent.json should be.
    #[error("{} is {kind}, not a regular file", path.display())]
    ConfigNotAFile {
        /// agent.json.
        path: PathBuf,
        /// What it is, with its article.
        kind: &'static str,
    },
    /// The file could not be read.
    #[error("agent.json is unreadable: {0}")]
    ConfigIo(IoFault),
    /// The key that would unseal it cannot be had.
    #[error("agent.json is sealed, and {0}")]
    Key(KeyFault),
    /// A newer program wrote it.
    #[error("agent.json was written by a newer version of askalf ({0})")]
    NewerVersion(NewerFormat),
    /// Sealed, no `_seal` and no keyfile beside it: the machine key of agent 2.0 to 3.2, or a 3.3 file that lost its keyfile.
    #[error(
        "agent.json is sealed and has no keyfile beside it: it was sealed under the machine key of agent 2.0 to 3.2{}, \
         or its keyfile was lost",
        tried_for_nothing(*tried)
    )]
    MachineKey {
        /// Where a lost keyfile would belong.
        keyfile: PathBuf,
        /// How many likely machine ids were tried; 0 where the load was given no facts of the machine.
        tried: usize,
    },
    /// `_seal` names another key than the one the passphrase yields.
    #[error("the key in agent.json does not unseal under this passphrase")]
    WrongPassphrase,
    /// agent.json is missing, empty or torn, and a save that was cut off left its file beside it, whole.
    #[error("agent.json is missing or torn, and the save that was cut off left it whole as {}", leftover.display())]
    SaveCutOff {
        /// The whole file.
        leftover: PathBuf,
    },
}

/// What in `_seal` this version does not know.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NewerFormat {
    /// A version above [`SEAL_VERSION`].
    #[error("its seal is version {0}, this program knows version {SEAL_VERSION}")]
    Version(u64),
    /// A mode that this version has no key source for.
    #[error("this program does not know its way of sealing, `{0}`")]
    Mode(String),
}

fn tried_for_nothing(tried: usize) -> String {
    match tried {
        0 => String::new(),
        1 => ", but not under this machine's id".into(),
        ids => format!(", but under none of the {ids} ids this machine may have had"),
    }
}

impl Unreadable {
    /// The stable name of this outcome, as `status --json` shows it.
    pub fn id(&self) -> &'static str {
        match self {
            Self::SealedUnderAnotherKey { .. } => "sealed-under-another-key",
            Self::Damaged => "damaged",
            Self::DoesNotUnseal => "does-not-unseal",
            Self::NotSealedText => "not-sealed-text",
            Self::NotAToken => "not-a-token",
            Self::CiphertextAsToken => "ciphertext-as-token",
            Self::NoKey => "no-key",
            Self::ConfigEmpty => "config-empty",
            Self::ConfigTorn { .. } => "config-torn",
            Self::ConfigNotJson { .. } => "config-not-json",
            Self::ConfigNotObject => "config-not-object",
            Self::ConfigWrongType { .. } => "config-wrong-type",
            Self::ConfigTooLarge => "config-too-large",
            Self::ConfigTooComplex => "config-too-complex",
            Self::ConfigNotAFile { .. } => "config-not-a-file",
            Self::ConfigIo(_) => "config-unreadable",
            Self::Key(fault) => fault.id(),
            Self::NewerVersion(_) => "newer-version",
            Self::MachineKey { .. } => "machine-key",
            Self::WrongPassphrase => "wrong-passphrase",
            Self::SaveCutOff { .. } => "save-cut-off",
        }
    }

    /// What to do next, with the exact command.
    pub fn hint(&self) -> String {
        match self {
            Self::SealedUnderAnotherKey { sealed_under, .. } => format!(
                "put the keyfile {sealed_under} back if you have it; otherwise run `askalf-agent pair`"
            ),
            Self::DoesNotUnseal => {
                "if another keyfile belongs to it, put that back; otherwise run `askalf-agent pair`".into()
            }
            Self::CiphertextAsToken => {
                "run `askalf-agent pair`; if the key really has this form, add `--opaque-key`".into()
            }
            Self::ConfigNotJson { .. } => {
                "if it was edited by hand, correct that line; otherwise run `askalf-agent pair`".into()
            }
            Self::ConfigWrongType { field } => {
                format!("if it was edited by hand, correct `{field}`; otherwise run `askalf-agent pair`")
            }
            Self::Damaged
            | Self::NotSealedText
            | Self::NotAToken
            | Self::NoKey
            | Self::ConfigEmpty
            | Self::ConfigTorn { .. }
            | Self::ConfigNotObject
            | Self::ConfigTooLarge
            | Self::ConfigTooComplex => {
                "run `askalf-agent pair`: the old file is kept beside the new one".into()
            }
            Self::ConfigNotAFile { path, .. } => format!(
                "put the file itself at {}, or move what is there away and run `askalf-agent pair`",
                path.display()
            ),
            Self::ConfigIo(fault) => fault.hint(),
            Self::Key(fault) => fault.hint(),
            Self::NewerVersion(_) => "upgrade askalf-agent on this machine; the file is left as it is".into(),
            Self::MachineKey { keyfile, tried: 0 } => format!(
                "start `askalf-agent daemon`, which reads such a file and seals it anew; if a keyfile was lost, put it back \
                 at {}; otherwise run `askalf-agent pair`",
                keyfile.display()
            ),
            Self::WrongPassphrase => {
                "give the right passphrase; if it is lost, run `askalf-agent pair`".into()
            }
            Self::SaveCutOff { .. } => {
                "start `askalf-agent daemon`, which puts it in place; or run `askalf-agent pair` again".into()
            }
            Self::MachineKey { keyfile, .. } => format!(
                "if a keyfile was lost, put it back at {}; otherwise run `askalf-agent pair`: the old file is kept \
                 beside the new one",
                keyfile.display()
            ),
        }
    }

    /// The exit code of a program that ends for it: 78, a matter of configuration, for every one.
    pub fn exit_code(&self) -> u8 {
        EXIT_CONFIG
    }

    /// Whether the fault lies with this machine's files and may pass without a new key: state `local_fault`. All others are
    /// for `repair_required`.
    pub fn is_local_fault(&self) -> bool {
        match self {
            Self::Key(fault) => fault.is_local_fault(),
            Self::ConfigIo(_)
            | Self::ConfigNotAFile { .. }
            | Self::WrongPassphrase
            | Self::SaveCutOff { .. } => true,
            Self::SealedUnderAnotherKey { .. }
            | Self::Damaged
            | Self::DoesNotUnseal
            | Self::NotSealedText
            | Self::NotAToken
            | Self::CiphertextAsToken
            | Self::NoKey
            | Self::ConfigEmpty
            | Self::ConfigTorn { .. }
            | Self::ConfigNotJson { .. }
            | Self::ConfigNotObject
            | Self::ConfigWrongType { .. }
            | Self::ConfigTooLarge
            | Self::ConfigTooComplex
            | Self::NewerVersion(_)
            | Self::MachineKey { .. } => false,
        }
    }
}
