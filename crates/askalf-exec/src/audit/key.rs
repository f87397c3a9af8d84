//! The key of the audit log.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use aes_gcm::Aes256Gcm;
use aes_gcm::aead::{AeadInOut, KeyInit};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::private_files::private_file;

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;

const SEAL_CONTEXT: &[u8] = b"askalf audit seal v1";
const CHAIN_CONTEXT: &[u8] = b"askalf audit chain v1";

/// A keyed hash of a line.
pub(crate) type LineMac = [u8; 32];

/// The two keys of an audit log, derived from the 32 random bytes of `audit.key`. Wiped when dropped.
///
/// It is a file of its own, not the keyfile: that one is rotated, and may be a passphrase that nobody has typed when a log is read.
#[derive(Clone)]
pub struct AuditKey {
    seal: Zeroizing<[u8; KEY_BYTES]>,
    chain: Zeroizing<[u8; KEY_BYTES]>,
}

/// Why there is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuditKeyError {
    /// There is none yet.
    #[error("there is no audit.key")]
    Absent,
    /// It cannot be read or made; the text says why.
    #[error("audit.key cannot be used: {0}")]
    Io(String),
    /// It is not 32 bytes in a regular file.
    #[error("audit.key is not a file of 32 bytes")]
    Damaged,
    /// Others may read it, or it belongs to somebody else.
    #[error("audit.key is not the agent's user's alone")]
    Exposed,
}

impl AuditKeyError {
    /// Stable name of the error.
    pub fn id(&self) -> &'static str {
        match self {
            Self::Absent => "audit-key-absent",
            Self::Io(_) => "audit-key-io",
            Self::Damaged => "audit-key-damaged",
            Self::Exposed => "audit-key-exposed",
        }
    }

    /// What to do next.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Absent => "the daemon makes it with the first line that it records",
            Self::Io(_) => "check owner and mode of the agent's folder, and the room on its disk",
            Self::Damaged => {
                "restore it from a backup; or move it and the audit.log files aside: a new log begins with a new key"
            }
            Self::Exposed => "give it to the agent's user and run 'chmod 600' on it",
        }
    }
}

impl AuditKey {
    /// The keys that are derived from these bytes.
    pub fn from_bytes(bytes: &[u8; KEY_BYTES]) -> Self {
        Self {
            seal: derived(bytes, SEAL_CONTEXT),
            chain: derived(bytes, CHAIN_CONTEXT),
        }
    }

    /// Reads the key of this folder.
    ///
    /// # Errors
    /// [`AuditKeyError`].
    pub fn load(folder: &Path) -> Result<Self, AuditKeyError> {
        let mut file = match open(&path(folder)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(AuditKeyError::Absent),
            Err(error) => return Err(io_error(&error)),
        };
        let facts = file.metadata().map_err(|error| io_error(&error))?;
        if !facts.is_file() || facts.len() != u64::try_from(KEY_BYTES).unwrap_or(0) {
            return Err(AuditKeyError::Damaged);
        }
        if exposed(&facts) {
            return Err(AuditKeyError::Exposed);
        }
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        file.read_exact(&mut *bytes).map_err(|error| io_error(&error))?;
        Ok(Self::from_bytes(&bytes))
    }

    /// Reads the key of this folder, or makes it where there is none. Of two that make it at once one reads the other's.
    ///
    /// # Errors
    /// [`AuditKeyError`].
    pub fn load_or_make(folder: &Path) -> Result<Self, AuditKeyError> {
        match Self::load(folder) {
            Err(AuditKeyError::Absent) => {}
            outcome => return outcome,
        }
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        let mut name = [0; 8];
        getrandom::fill(&mut *bytes)
            .and_then(|()| getrandom::fill(&mut name))
            .map_err(|_| AuditKeyError::Io("the system gives no random numbers".to_owned()))?;
        let temporary = folder.join(format!("audit.key.tmp-{:016x}", u64::from_le_bytes(name)));
        // Complete before it has its name: a crash leaves no short key.
        let made = write_new(&temporary, &*bytes).and_then(|()| fs::hard_link(&temporary, path(folder)));
        let _only_a_leftover = fs::remove_file(&temporary);
        match made {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(io_error(&error)),
            _ => {}
        }
        sync_folder(folder).map_err(|error| io_error(&error))?;
        Self::load(folder)
    }

    /// The hash of a line's body behind the line that has `previous`.
    pub(crate) fn mac(&self, previous: &LineMac, body: &[u8]) -> LineMac {
        hmac(&self.chain, &[previous, body])
    }

    /// base64 of nonce, tag and ciphertext.
    pub(crate) fn seal(&self, plain: &[u8], context: &[u8]) -> Option<String> {
        let mut sealed = vec![0; NONCE_BYTES + TAG_BYTES];
        sealed.extend_from_slice(plain);
        let (nonce, rest) = sealed.split_first_chunk_mut::<NONCE_BYTES>()?;
        getrandom::fill(nonce).ok()?;
        let (tag, text) = rest.split_first_chunk_mut::<TAG_BYTES>()?;
        let made = self
            .cipher()
            .encrypt_inout_detached((&*nonce).into(), context, text.into())
            .ok()?;
        tag.copy_from_slice(&made);
        Some(STANDARD.encode(&sealed))
    }

    /// What [`AuditKey::seal`] sealed.
    pub(crate) fn open(&self, sealed: &str, context: &[u8]) -> Option<Vec<u8>> {
        let mut sealed = STANDARD.decode(sealed).ok()?;
        let (nonce, rest) = sealed.split_first_chunk_mut::<NONCE_BYTES>()?;
        let (tag, text) = rest.split_first_chunk_mut::<TAG_BYTES>()?;
        self.cipher()
            .decrypt_inout_detached((&*nonce).into(), context, (&mut *text).into(), (&*tag).into())
            .ok()?;
        Some(text.to_vec())
    }

    fn cipher(&self) -> Aes256Gcm {
        Aes256Gcm::new((&*self.seal).into())
    }
}

/// It tells nothing.
impl fmt::Debug for AuditKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("AuditKey(redacted)")
    }
}

fn derived(key: &[u8; KEY_BYTES], context: &[u8]) -> Zeroizing<[u8; KEY_BYTES]> {
    Zeroizing::new(hmac(key, &[context]))
}

fn hmac(key: &[u8; KEY_BYTES], parts: &[&[u8]]) -> [u8; 32] {
    // HMAC takes a key shorter than its block as the block, filled up with zeros (RFC 2104).
    let mut block = Zeroizing::new([0; 64]);
    block[..KEY_BYTES].copy_from_slice(key);
    let mut mac = <Hmac<Sha256> as KeyInit>::new((&*block).into());
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

fn path(folder: &Path) -> PathBuf {
    folder.join("audit.key")
}

fn io_error(error: &io::Error) -> AuditKeyError {
    AuditKeyError::Io(crate::plain_io::text(error))
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = private_file().write(true).create_new(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Windows has no such call; its file system keeps the order.
#[cfg(not(unix))]
fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(unix)]
fn open(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;

    let flags = (rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOFOLLOW)
        .bits()
        .cast_signed();
    File::options().read(true).custom_flags(flags).open(path)
}

#[cfg(not(unix))]
fn open(path: &Path) -> io::Result<File> {
    File::open(path)
}

/// Root may read any agent's log.
#[cfg(unix)]
fn exposed(facts: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;

    let us = rustix::process::geteuid().as_raw();
    facts.mode() & 0o077 != 0 || (us != 0 && facts.uid() != us)
}

#[cfg(not(unix))]
fn exposed(_facts: &fs::Metadata) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_read_again() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(AuditKey::load(folder.path()).unwrap_err(), AuditKeyError::Absent);
        let made = AuditKey::load_or_make(folder.path()).unwrap();
        let read = AuditKey::load_or_make(folder.path()).unwrap();
        assert_eq!(made.mac(&[0; 32], b"x"), read.mac(&[0; 32], b"x"));
        let names: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|it| it.unwrap().file_name())
            .collect();
        assert_eq!(names, ["audit.key"], "nothing is left over");
        fs::write(path(folder.path()), "short").unwrap();
        assert_eq!(
            AuditKey::load_or_make(folder.path()).unwrap_err(),
            AuditKeyError::Damaged
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_key_that_others_may_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().unwrap();
        AuditKey::load_or_make(folder.path()).unwrap();
        let mode = fs::metadata(path(folder.path())).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::set_permissions(path(folder.path()), fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(AuditKey::load(folder.path()).unwrap_err(), AuditKeyError::Exposed);
    }

    #[test]
    fn what_is_sealed_opens_in_its_place_alone() {
        let key = AuditKey::from_bytes(&[7; 32]);
        let sealed = key.seal(b"secret", b"1").unwrap();
        assert_ne!(sealed, key.seal(b"secret", b"1").unwrap(), "each nonce is new");
        assert_eq!(key.open(&sealed, b"1").unwrap(), b"secret");
        assert_eq!(key.open(&sealed, b"2"), None);
        assert_eq!(AuditKey::from_bytes(&[8; 32]).open(&sealed, b"1"), None);
    }

    #[test]
    fn the_chain_is_the_documented_hmac() {
        // k=$(printf 'askalf audit chain v1' | openssl dgst -sha256 -mac HMAC -macopt hexkey:0707..07)
        // (head -c 32 /dev/zero; printf x) | openssl dgst -sha256 -mac HMAC -macopt hexkey:$k
        let mac = AuditKey::from_bytes(&[7; 32]).mac(&[0; 32], b"x");
        assert_eq!(
            super::super::line::hex(&mac),
            "738e76fd3eab976458d6bf9792ad85873c7b021491e10183b5bc8c06956a7ad6"
        );
    }
}
