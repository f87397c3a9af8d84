use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::keyed::{keyed, length};
use crate::{KeyRecord, Token};

/// What separates this use of the secret from every other.
const DIGEST_CONTEXT: &[u8] = b"askalf look-up digest v1\0";
const BINDING_CONTEXT: &[u8] = b"askalf digest binding v1\0";
const ID_CONTEXT: &[u8] = b"askalf digest key id v1";

/// The bridge's secret for look-up digests: 32 bytes that are kept outside the database.
///
/// By the digest of its token a returning device is found without a derivation. Who has the database alone can neither
/// compute a digest nor move one to another row.
#[derive(Clone)]
pub struct DigestKey {
    id: String,
    secret: Zeroizing<[u8; 32]>,
}

impl DigestKey {
    /// Takes 32 bytes from a random source of the system.
    #[must_use]
    pub fn from_bytes(secret: Zeroizing<[u8; 32]>) -> Self {
        let id = keyed(&secret, &[ID_CONTEXT])[..8]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Self { id, secret }
    }

    /// Names the secret beside each digest: 16 hex digits that tell nothing of it. After another secret was put in its
    /// place, older digests are not found and are made anew.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The digest of a token.
    #[must_use]
    pub fn digest(&self, token: &Token) -> LookupDigest {
        LookupDigest(keyed(
            &self.secret,
            &[DIGEST_CONTEXT, token.expose_secret().as_bytes()],
        ))
    }

    /// The digest that is stored once `token` matched `record`.
    #[must_use]
    pub fn bind(&self, token: &Token, record: &KeyRecord) -> KeyDigest {
        let digest = self.digest(token);
        KeyDigest {
            key_id: record.id.clone(),
            digest_key_id: self.id.clone(),
            binding: self.binding(&digest, record),
            digest,
        }
    }

    /// Whether `record` was found by `digest` rightly: its digest was made for this very key and hash.
    #[must_use]
    pub fn confirms(&self, digest: &LookupDigest, record: &KeyRecord) -> bool {
        record
            .digest_binding
            .is_some_and(|binding| binding.ct_eq(&self.binding(digest, record)).into())
    }

    fn binding(&self, digest: &LookupDigest, record: &KeyRecord) -> [u8; 32] {
        keyed(
            &self.secret,
            &[
                BINDING_CONTEXT,
                &digest.0,
                &length(&record.id),
                record.id.as_bytes(),
                &length(&record.key_hash),
                record.key_hash.as_bytes(),
            ],
        )
    }
}

impl fmt::Debug for DigestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DigestKey")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// HMAC-SHA-256 (RFC 2104) of a token under a [`DigestKey`].
#[derive(Clone, PartialEq, Eq)]
pub struct LookupDigest([u8; 32]);

impl LookupDigest {
    /// The bytes, for the store's index.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for LookupDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LookupDigest(redacted)")
    }
}

/// A row of `askalf_key_digests`: by it a token's key is found without a derivation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyDigest {
    /// The key.
    pub key_id: String,
    /// [`DigestKey::id`] of the secret that it was made with.
    pub digest_key_id: String,
    /// What is looked up.
    pub digest: LookupDigest,
    /// Binds the digest to the key's id and hash: comes back as [`KeyRecord::digest_binding`].
    pub binding: [u8; 32],
}
