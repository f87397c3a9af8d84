use std::fmt;

use thiserror::Error;
use zeroize::Zeroizing;

use crate::kdf::{Kdf, KdfFault};
use crate::key_fault::KeyFault;
use crate::key_source::KeySource;
use crate::seal::{SealKey, SealMode};

/// Longest passphrase that is taken, in bytes.
pub const MAX_PASSPHRASE_BYTES: usize = 1024;

/// A passphrase as a key source: each save draws a salt and derives a key, each load derives it again, which costs 64 MiB and a
/// good part of a second. Wiped when dropped; `Debug` is redacted. The bytes count as they are: Unicode is not normalised.
#[derive(Clone)]
pub struct Passphrase {
    text: Zeroizing<String>,
    cost: Option<(u32, u32)>,
}

impl Passphrase {
    /// Takes a copy of the first line of `text`, as a file, a descriptor or a prompt gives it.
    ///
    /// # Errors
    /// [`PassphraseError`] if it is empty, too long, or more than a line.
    ///
    /// ```
    /// # use askalf_cred::{Passphrase, PassphraseError};
    /// let passphrase = Passphrase::parse("correct horse battery staple\n")?;
    /// assert_eq!(format!("{passphrase:?}"), "Passphrase(redacted)");
    /// assert_eq!(Passphrase::parse("\n").unwrap_err(), PassphraseError::Empty);
    /// # Ok::<(), PassphraseError>(())
    /// ```
    pub fn parse(text: &str) -> Result<Self, PassphraseError> {
        let line = text.strip_suffix('\n').unwrap_or(text);
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.is_empty() {
            return Err(PassphraseError::Empty);
        }
        if line.len() > MAX_PASSPHRASE_BYTES {
            return Err(PassphraseError::TooLong);
        }
        if line.contains(['\n', '\r', '\0']) {
            return Err(PassphraseError::NotOneLine);
        }
        Ok(Self {
            text: Zeroizing::new(line.to_owned()),
            cost: None,
        })
    }

    pub(crate) fn derive(&self, kdf: &Kdf) -> Result<SealKey, KdfFault> {
        kdf.derive(self.text.as_bytes())
    }

    /// What a key is derived by that is made now.
    pub(crate) fn new_kdf(&self) -> Option<Kdf> {
        match self.cost {
            None => Kdf::generate(),
            Some((memory_kib, passes)) => Kdf::generate_with(memory_kib, passes),
        }
    }

    /// A cost that is only good for tests.
    #[cfg(test)]
    pub(crate) fn cheap(text: &str) -> Self {
        Self {
            text: Zeroizing::new(text.to_owned()),
            cost: Some((64, 1)),
        }
    }
}

impl KeySource for Passphrase {
    fn mode(&self) -> SealMode {
        SealMode::Passphrase
    }

    fn read(&self, kdf: Option<&Kdf>) -> Result<SealKey, KeyFault> {
        kdf.ok_or(KdfFault::Misshapen)
            .and_then(|kdf| self.derive(kdf))
            .map_err(KeyFault::Kdf)
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(redacted)")
    }
}

/// Why a text is no passphrase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PassphraseError {
    /// There is nothing in its first line.
    #[error("the passphrase is empty")]
    Empty,
    /// It is longer than [`MAX_PASSPHRASE_BYTES`].
    #[error("the passphrase is longer than {MAX_PASSPHRASE_BYTES} bytes")]
    TooLong,
    /// It is more than one line, or binary.
    #[error("the passphrase is more than one line")]
    NotOneLine,
}

impl PassphraseError {
    /// The stable name of this error.
    pub fn id(self) -> &'static str {
        match self {
            Self::Empty => "passphrase-empty",
            Self::TooLong => "passphrase-too-long",
            Self::NotOneLine => "passphrase-not-one-line",
        }
    }

    /// What to do next.
    pub fn hint(self) -> &'static str {
        match self {
            Self::Empty => "give the passphrase in the first line",
            Self::TooLong | Self::NotOneLine => {
                "check that the right file was given: a passphrase is one line of text"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_salt_is_new_each_time_and_leads_to_its_key_alone() {
        let passphrase = Passphrase::cheap("correct horse");
        let (one, two) = (passphrase.new_kdf().unwrap(), passphrase.new_kdf().unwrap());
        let id = |kdf| passphrase.read(Some(kdf)).unwrap().id();
        assert_eq!(id(&one), id(&one));
        assert_ne!(id(&one), id(&two));
        assert_eq!(
            passphrase.read(None).unwrap_err(),
            KeyFault::Kdf(KdfFault::Misshapen)
        );
    }

    #[test]
    fn what_a_person_reads_names_no_passphrase() {
        assert_eq!(
            format!("{:?}", Passphrase::cheap("correct horse")),
            "Passphrase(redacted)"
        );
        for (error, id, hint) in [
            (PassphraseError::Empty, "passphrase-empty", "in the first line"),
            (PassphraseError::TooLong, "passphrase-too-long", "the right file"),
            (
                PassphraseError::NotOneLine,
                "passphrase-not-one-line",
                "the right file",
            ),
        ] {
            assert_eq!(error.id(), id);
            assert!(error.hint().contains(hint), "{}", error.hint());
        }
    }

    #[test]
    fn one_line_is_taken_and_nothing_else() {
        for (text, taken) in [
            ("a b", "a b"),
            ("a b\n", "a b"),
            ("a b\r\n", "a b"),
            (" a ", " a "),
        ] {
            assert_eq!(Passphrase::parse(text).unwrap().text.as_str(), taken);
        }
        assert_eq!(Passphrase::parse("").unwrap_err(), PassphraseError::Empty);
        assert_eq!(Passphrase::parse("\r\n").unwrap_err(), PassphraseError::Empty);
        assert_eq!(
            Passphrase::parse("a\nb\n").unwrap_err(),
            PassphraseError::NotOneLine
        );
        assert_eq!(Passphrase::parse("a\0").unwrap_err(), PassphraseError::NotOneLine);
        assert!(Passphrase::parse(&"x".repeat(MAX_PASSPHRASE_BYTES)).is_ok());
        assert_eq!(
            Passphrase::parse(&"x".repeat(MAX_PASSPHRASE_BYTES + 1)).unwrap_err(),
            PassphraseError::TooLong
        );
    }
}
