use std::convert::Infallible;
use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::keyed::keyed;
use crate::{DigestKey, MintError, PairCode, PairNonce, Token, mint};

const DIGEST_CONTEXT: &[u8] = b"askalf bridge secret: look-up digests v1";
const PAIR_CONTEXT: &[u8] = b"askalf bridge secret: pairing v1";

const CODE_CONTEXT: &[u8] = b"askalf pairing code v1\0";
const NONCE_CONTEXT: &[u8] = b"askalf pairing nonce v1\0";
const TOKEN_CONTEXT: &[u8] = b"askalf pairing token v1\0";

/// The one secret of a bridge: 32 random bytes in a file of its own, never in the database.
///
/// Every use has a key of its own, derived by HMAC-SHA-256, so that nothing made for one use serves another. Losing the
/// secret costs one derivation per device and the pairing codes that are open; no key is lost with it.
///
/// ```
/// use askalf_bridge_auth::BridgeSecret;
///
/// let secret = BridgeSecret::mint()?;
/// let same = BridgeSecret::from_bytes(secret.expose_secret().clone());
/// assert_eq!(same, secret);
/// assert_eq!(same.digest_key().id(), secret.digest_key().id());
/// assert_eq!(format!("{secret:?}"), "BridgeSecret(redacted)");
/// # Ok::<(), askalf_bridge_auth::MintError>(())
/// ```
#[derive(Clone)]
pub struct BridgeSecret(Zeroizing<[u8; 32]>);

impl BridgeSecret {
    /// Takes the 32 bytes of the file.
    #[must_use]
    pub fn from_bytes(bytes: Zeroizing<[u8; 32]>) -> Self {
        Self(bytes)
    }

    /// A new secret from the system's random source.
    ///
    /// # Errors
    /// [`MintError`] when the random source fails.
    pub fn mint() -> Result<Self, MintError> {
        let mut bytes = Zeroizing::new([0; 32]);
        mint::fill_from_system(&mut *bytes)?;
        Ok(Self(bytes))
    }

    /// The bytes, for the file and its backup alone.
    #[must_use]
    pub fn expose_secret(&self) -> &Zeroizing<[u8; 32]> {
        &self.0
    }

    /// The key of the look-up digests.
    #[must_use]
    pub fn digest_key(&self) -> DigestKey {
        DigestKey::from_bytes(self.key_for(DIGEST_CONTEXT))
    }

    /// The keys of pairing.
    #[must_use]
    pub fn pair_keys(&self) -> PairKeys {
        PairKeys(self.key_for(PAIR_CONTEXT))
    }

    fn key_for(&self, context: &[u8]) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(keyed(&self.0, &[context]))
    }
}

impl PartialEq for BridgeSecret {
    /// In a time that does not depend on what differs.
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&*other.0).into()
    }
}

impl Eq for BridgeSecret {}

impl fmt::Debug for BridgeSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BridgeSecret(redacted)")
    }
}

/// What the bridge keeps of a [`PairCode`], and the key that the code is exchanged for.
///
/// The key is derived from code and nonce. So an exchange whose answer was lost is repeated with the same nonce and
/// gives the same key, although the bridge never stored it.
///
/// ```
/// use askalf_bridge_auth::{BridgeSecret, PairCode, PairNonce, TokenShape};
///
/// let keys = BridgeSecret::mint()?.pair_keys();
/// let code = PairCode::mint()?;
/// let typed = PairCode::parse(&code.to_string().to_lowercase()).unwrap();
/// assert_eq!(keys.code_mac(&typed), keys.code_mac(&code));
///
/// let nonce = PairNonce::mint()?;
/// let token = keys.token(&typed, &nonce);
/// assert_eq!(token.shape(), TokenShape::SkLive);
/// assert!(token.ct_eq(&keys.token(&code, &nonce)));
/// assert!(!token.ct_eq(&keys.token(&code, &PairNonce::mint()?)));
/// # Ok::<(), askalf_bridge_auth::MintError>(())
/// ```
#[derive(Clone)]
pub struct PairKeys(Zeroizing<[u8; 32]>);

impl PairKeys {
    /// By which the row of a code is found. Without the secret it tells nothing of the code.
    #[must_use]
    pub fn code_mac(&self, code: &PairCode) -> [u8; 32] {
        keyed(&self.0, &[CODE_CONTEXT, code.symbols()])
    }

    /// By which an exchange is known again. The nonce itself is not stored: with it and the secret the key could be
    /// derived.
    #[must_use]
    pub fn nonce_mac(&self, code: &PairCode, nonce: &PairNonce) -> [u8; 32] {
        keyed(&self.0, &[NONCE_CONTEXT, code.symbols(), nonce.as_bytes()])
    }

    /// The key that `code` is exchanged for by whoever drew `nonce`: `sk_live_` and 32 letters and digits, each equally
    /// likely.
    #[must_use]
    pub fn token(&self, code: &PairCode, nonce: &PairNonce) -> Token {
        let mut counter = 0_u32;
        let minted = mint::token(|bytes| {
            for block in bytes.chunks_mut(32) {
                let parts = [
                    TOKEN_CONTEXT,
                    code.symbols(),
                    nonce.as_bytes(),
                    &counter.to_be_bytes(),
                ];
                let random = Zeroizing::new(keyed(&self.0, &parts));
                block.copy_from_slice(&random[..block.len()]);
                counter = counter.wrapping_add(1);
            }
            Ok::<(), Infallible>(())
        });
        match minted {
            Ok(token) => token,
            Err(never) => match never {},
        }
    }
}

impl fmt::Debug for PairKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PairKeys(redacted)")
    }
}
