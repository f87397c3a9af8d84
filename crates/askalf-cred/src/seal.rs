use std::fmt;

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, KeyInit, Nonce, Tag};
use askalf_bridge_auth::{Token, TokenShape};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::{Zeroize, Zeroizing};

/// The version of `_seal` that is written here. A file with a higher one is refused and left as it is.
pub const SEAL_VERSION: u64 = 1;

/// Length of the sealing key: AES-256.
pub(crate) const KEY_BYTES: usize = 32;
/// Length of the nonce: the 96 bits that NIST SP 800-38D recommends.
const NONCE_BYTES: usize = 12;
/// Length of the tag: the full 128 bits of GCM.
const TAG_BYTES: usize = 16;
const HEAD_BYTES: usize = NONCE_BYTES + TAG_BYTES;

const KEY_ID_CONTEXT: &[u8] = b"askalf keyfile id v1";
const REPLACES_CONTEXT: &[u8] = b"askalf replaces v1";
const OPAQUE_CONTEXT: &[u8] = b"askalf opaque key v1";

/// How a credential is kept in agent.json: `_seal.mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SealMode {
    /// Sealed under the 32 bytes of the keyfile.
    Keyfile,
    /// In the clear, because somebody chose it.
    Plaintext,
    /// Sealed under 32 bytes that the service manager hands over.
    ServiceCredential,
    /// Sealed under a key derived from a passphrase.
    Passphrase,
    /// Sealed under facts of the machine by agent 2.0 to 3.2. Only read, never written: it stands in no `_seal`.
    MachineKey,
}

impl SealMode {
    /// Its name in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Keyfile => "keyfile",
            Self::Plaintext => "plaintext",
            Self::ServiceCredential => "service-credential",
            Self::Passphrase => "passphrase",
            Self::MachineKey => "machine-key",
        }
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        [
            Self::Keyfile,
            Self::Plaintext,
            Self::ServiceCredential,
            Self::Passphrase,
        ]
        .into_iter()
        .find(|mode| mode.as_str() == name)
    }
}

/// How a credential that was read is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SealInfo {
    /// How it really is kept, whatever `_seal` says.
    pub mode: SealMode,
    /// `_seal.version`; `None` for a file of an older agent.
    pub version: Option<u64>,
    /// The key that unsealed it; `None` for plaintext and for a machine key.
    pub key_id: Option<KeyId>,
    /// `_seal` names another mode or key than the real one: an older agent rewrote the file. Harmless.
    pub stale: bool,
}

/// The public name of a sealing key: the first 8 bytes of HMAC-SHA256(key, "askalf keyfile id v1"). It tells keys apart
/// and gives nothing of them away.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyId([u8; 8]);

impl KeyId {
    /// Reads the 16 lower-case hex digits that `Display` writes.
    ///
    /// ```
    /// # use askalf_cred::KeyId;
    /// assert_eq!(KeyId::parse("00ff10a0b0c0d0e0").unwrap().to_string(), "00ff10a0b0c0d0e0");
    /// assert!(KeyId::parse("00FF10A0B0C0D0E0").is_none());
    /// ```
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        if digits.len() != 16 {
            return None;
        }
        let mut bytes = [0; 8];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = hex_digit(pair[0])? << 4 | hex_digit(pair[1])?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// The 32 bytes that a credential is sealed under. Wiped when dropped; `Debug` is redacted.
pub struct SealKey {
    // On the heap, so that moving the key copies no secret.
    bytes: Box<[u8; KEY_BYTES]>,
}

impl SealKey {
    /// Takes a copy of the bytes; wiping the original is the caller's.
    pub fn from_bytes(bytes: &[u8; KEY_BYTES]) -> Self {
        let mut key = Self {
            bytes: Box::new([0; KEY_BYTES]),
        };
        key.bytes.copy_from_slice(bytes);
        key
    }

    /// A new key from the system's random numbers; `None` if it has none to give.
    pub(crate) fn generate() -> Option<Self> {
        let mut key = Self {
            bytes: Box::new([0; KEY_BYTES]),
        };
        getrandom::fill(key.bytes.as_mut_slice()).ok()?;
        Some(key)
    }

    /// The public name of this key.
    pub fn id(&self) -> KeyId {
        KeyId(mac(self.bytes.as_slice(), &[KEY_ID_CONTEXT]))
    }

    pub(crate) fn bytes(&self) -> &[u8; KEY_BYTES] {
        &self.bytes
    }

    /// base64 of nonce, tag and ciphertext, AES-256-GCM without associated data, as agent 3.3 writes it. `None` if the
    /// system has no random numbers for the nonce.
    pub(crate) fn seal(&self, plain: &[u8]) -> Option<String> {
        self.seal_with(plain, b"")
    }

    /// [`SealKey::seal`] with associated data.
    pub(crate) fn seal_with(&self, plain: &[u8], associated: &[u8]) -> Option<String> {
        let mut blob = Zeroizing::new(vec![0; HEAD_BYTES + plain.len()]);
        getrandom::fill(&mut blob[..NONCE_BYTES]).ok()?;
        blob[HEAD_BYTES..].copy_from_slice(plain);
        let (head, text) = blob.split_at_mut(HEAD_BYTES);
        let (nonce, tag) = head.split_at_mut(NONCE_BYTES);
        let nonce = Nonce::try_from(&*nonce).ok()?;
        tag.copy_from_slice(
            &self
                .cipher()
                .encrypt_inout_detached(&nonce, associated, text.into())
                .ok()?,
        );
        Some(STANDARD.encode(blob.as_slice()))
    }

    /// What was sealed; `None` if the tag does not verify.
    pub(crate) fn unseal(&self, blob: &Blob) -> Option<Zeroizing<Vec<u8>>> {
        self.unseal_with(blob, b"")
    }

    /// [`SealKey::unseal`] with associated data.
    pub(crate) fn unseal_with(&self, blob: &Blob, associated: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (head, text) = blob.0.split_at(HEAD_BYTES);
        let (nonce, tag) = head.split_at(NONCE_BYTES);
        let nonce = Nonce::try_from(nonce).ok()?;
        let tag = Tag::try_from(tag).ok()?;
        let mut plain = Zeroizing::new(text.to_vec());
        self.cipher()
            .decrypt_inout_detached(&nonce, associated, plain.as_mut_slice().into(), &tag)
            .ok()?;
        Some(plain)
    }

    fn cipher(&self) -> Aes256Gcm {
        Aes256Gcm::new((&*self.bytes).into())
    }
}

impl Drop for SealKey {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealKey(redacted)")
    }
}

/// Decoded sealed text: at least a nonce and a tag.
pub(crate) struct Blob(Vec<u8>);

impl Blob {
    pub(crate) fn decode(text: &str) -> Option<Self> {
        STANDARD
            .decode(text)
            .ok()
            .filter(|bytes| bytes.len() >= HEAD_BYTES)
            .map(Self)
    }
}

/// Whether a token is, as far as its form tells, sealed text: no known shape, and canonical base64 of more than a nonce and
/// a tag.
pub(crate) fn looks_sealed(token: &Token) -> bool {
    matches!(token.shape(), TokenShape::Other)
        && STANDARD
            .decode(token.expose_secret())
            .is_ok_and(|bytes| bytes.len() > HEAD_BYTES)
}

/// What `_seal.opaque` holds for a token that looks sealed and was taken as a key all the same. Bound to the token, so that
/// a stale mark never lets other sealed text pass; keyed, so that it gives nothing of a sealed token away.
pub(crate) fn opaque_mark(key: Option<&SealKey>, token: &Token) -> String {
    let key = key.map_or(&[][..], |key| key.bytes.as_slice());
    hex(&mac(key, &[OPAQUE_CONTEXT, token.expose_secret().as_bytes()]))
}

/// What `_seal.replaces` of an agent.json.next holds: which token it is to replace. Keyed by the new token, so that it gives
/// nothing of either away.
pub(crate) fn replaces_mark(new: &Token, old: &Token) -> String {
    hex(&mac(
        new.expose_secret().as_bytes(),
        &[REPLACES_CONTEXT, old.expose_secret().as_bytes()],
    ))
}

/// The first 8 bytes of HMAC-SHA256 (RFC 2104).
fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; 8] {
    let mut first = [0; 8];
    // HMAC takes a key of any length, so there is no error to report.
    if let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) {
        for part in parts {
            mac.update(part);
        }
        first.copy_from_slice(&mac.finalize().into_bytes()[..8]);
    }
    first
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from(DIGITS[usize::from(digit)]))
        .collect()
}

fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(first: u8) -> SealKey {
        let mut bytes = [7; KEY_BYTES];
        bytes[0] = first;
        SealKey::from_bytes(&bytes)
    }

    #[test]
    fn what_is_sealed_unseals_under_its_key_alone() {
        let text = key(1).seal(b"sk_live_x").unwrap();
        let blob = Blob::decode(&text).unwrap();
        assert_eq!(key(1).unseal(&blob).unwrap().as_slice(), b"sk_live_x");
        assert!(key(2).unseal(&blob).is_none());
    }

    #[test]
    fn each_flipped_bit_of_a_blob_fails_the_tag() {
        let text = key(1).seal(b"sk_live_x").unwrap();
        let whole = Blob::decode(&text).unwrap().0;
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(key(1).unseal(&Blob(bytes)).is_none(), "bit {bit}");
        }
    }

    #[test]
    fn a_nonce_is_never_used_twice() {
        assert_ne!(key(1).seal(b"same"), key(1).seal(b"same"));
    }

    #[test]
    fn the_key_id_is_the_documented_hmac() {
        // printf 'askalf keyfile id v1' | openssl dgst -sha256 -mac HMAC -macopt hexkey:0707...07
        assert_eq!(key(7).id().to_string(), "45d12c8f5484557e");
        assert_eq!(KeyId::parse(&key(7).id().to_string()), Some(key(7).id()));
    }

    #[test]
    fn text_too_short_for_nonce_and_tag_is_no_blob() {
        assert!(Blob::decode(&STANDARD.encode([0; HEAD_BYTES - 1])).is_none());
        assert!(Blob::decode(&STANDARD.encode([0; HEAD_BYTES])).is_some());
        assert!(Blob::decode("not base64!").is_none());
    }

    #[test]
    fn only_an_unknown_shape_can_look_sealed() {
        let looks = |text: &str| looks_sealed(&Token::parse(text).unwrap());
        assert!(looks(&key(1).seal(b"x").unwrap()));
        assert!(!looks("sk_live_1qhYezFEMXjKWcErbnytdqelY1sf6ZaV"));
        assert!(!looks(&format!("fk_{}", "a".repeat(64))));
        assert!(!looks("hand-made"));
        assert!(!looks(&STANDARD.encode([0; HEAD_BYTES])), "nothing in it");
    }

    #[test]
    fn debug_of_a_key_shows_nothing_and_that_of_its_id_the_id() {
        assert_eq!(format!("{:?}", key(7)), "SealKey(redacted)");
        assert_eq!(format!("{:?}", key(7).id()), "KeyId(45d12c8f5484557e)");
    }
}
