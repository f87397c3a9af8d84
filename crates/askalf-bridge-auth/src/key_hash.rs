use std::fmt;

use subtle::ConstantTimeEq;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::{MintError, Token, derivation, mint};

/// The iterations of PBKDF2 behind every `key_hash`. Fixed by the rows that exist: the format has no
/// field for it.
pub const PBKDF2_ROUNDS: u32 = 100_000;

const SALT_BYTES: usize = 16;
const DIGEST_BYTES: usize = 32;

/// The `key_hash` of a key: `hex(salt).hex(PBKDF2-HMAC-SHA-256(token, salt, 100000, 32 bytes))`, with a
/// salt of 16 bytes (RFC 8018, section 5.2). This is the one definition of the format.
///
/// ```
/// use askalf_bridge_auth::{KeyHash, Token};
///
/// let token = Token::parse("sk_live_NdlPiGQ1nmIevDuBMbAnAodSO10UzbLG").unwrap();
/// let stored = "9243a300ad53e3da73dbc003473a984b\
///               .262de89c5493ae593eeb39462627182820f1e4c3fac7a600482181432a2548d8";
/// let hash = KeyHash::parse(stored).unwrap();
/// assert!(hash.verify(&token));
/// assert_eq!(hash.to_string(), stored);
/// assert_eq!(format!("{hash:?}"), "KeyHash(redacted)");
/// ```
///
/// The grammar is strict, so that one value has one text:
///
/// - Hex is lower case. The forge compares the digest as text, so an upper-case row never matched there;
///   it must not begin to here.
/// - There are exactly two fields. The forge ignores a third one, but nothing that mints keys writes it:
///   such a row was damaged or made by hand, and reading on past what is understood would hide that.
#[derive(Clone)]
pub struct KeyHash {
    salt: Salt,
    digest: [u8; DIGEST_BYTES],
}

impl KeyHash {
    /// The length of the text form, in bytes.
    pub const TEXT_BYTES: usize = 2 * SALT_BYTES + 1 + 2 * DIGEST_BYTES;

    /// Reads a stored `key_hash`.
    ///
    /// # Errors
    /// [`KeyHashError`], which says what is wrong with the text but holds none of it.
    pub fn parse(text: &str) -> Result<Self, KeyHashError> {
        let mut fields = text.split('.');
        let (Some(salt), Some(digest), None) = (fields.next(), fields.next(), fields.next()) else {
            return Err(KeyHashError::Fields);
        };
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(KeyHashError::UpperCase);
        }
        let salt = Salt(parse_hex(salt).ok_or(KeyHashError::Salt)?);
        let digest = parse_hex(digest).ok_or(KeyHashError::Digest)?;
        Ok(Self { salt, digest })
    }

    /// The hash of `token` under `salt`. CPU-bound, about 9 ms: not for an async runtime's thread.
    #[must_use]
    pub fn derive(token: &Token, salt: Salt) -> Self {
        Self {
            digest: *derive(token, &salt),
            salt,
        }
    }

    /// The hash of `token` under a random salt. Costs what [`KeyHash::derive`] costs.
    ///
    /// # Errors
    /// [`MintError`] when the system's random source fails.
    pub fn mint(token: &Token) -> Result<Self, MintError> {
        Ok(Self::derive(token, Salt::mint()?))
    }

    /// Whether this is the hash of `token`: one derivation, compared in constant time.
    #[must_use]
    pub fn verify(&self, token: &Token) -> bool {
        derive(token, &self.salt).ct_eq(&self.digest).into()
    }
}

impl fmt::Display for KeyHash {
    /// The text for the `key_hash` column, and for nothing else.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.salt.0)?;
        f.write_str(".")?;
        write_hex(f, &self.digest)
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash(redacted)")
    }
}

/// The 16 bytes that make two hashes of one token differ. Public, but never used twice.
#[derive(Clone, Debug)]
pub struct Salt([u8; SALT_BYTES]);

impl Salt {
    /// A given salt: for known-answer tests. New hashes take [`Salt::mint`].
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// A random salt.
    ///
    /// # Errors
    /// [`MintError`] when the system's random source fails.
    pub fn mint() -> Result<Self, MintError> {
        let mut bytes = [0; SALT_BYTES];
        mint::fill_from_system(&mut bytes)?;
        Ok(Self(bytes))
    }
}

/// Why a text is no [`KeyHash`]. No variant holds any of the text.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum KeyHashError {
    /// Not exactly one dot.
    #[error("the key hash is not two fields with one dot between them")]
    Fields,
    /// An upper-case letter somewhere.
    #[error("the key hash is not in lower case")]
    UpperCase,
    /// The first field.
    #[error("the salt of the key hash is not 32 hex digits")]
    Salt,
    /// The second field.
    #[error("the digest of the key hash is not 64 hex digits")]
    Digest,
}

impl KeyHashError {
    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Fields | Self::Salt | Self::Digest => {
                "make the row again from its key: 'askalf-agent cred hash -' prints the key_hash"
            }
            Self::UpperCase => "store the same digits in lower case",
        }
    }

    /// A stable name for scripts and logs.
    #[must_use]
    pub fn id(&self) -> &'static str {
        match self {
            Self::Fields => "key-hash-fields",
            Self::UpperCase => "key-hash-upper-case",
            Self::Salt => "key-hash-salt",
            Self::Digest => "key-hash-digest",
        }
    }
}

fn derive(token: &Token, salt: &Salt) -> Zeroizing<[u8; DIGEST_BYTES]> {
    derivation::derive(token.expose_secret().as_bytes(), &salt.0, PBKDF2_ROUNDS)
}

fn parse_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else {
        return None;
    };
    let pairs: &[[u8; 2]; N] = pairs.try_into().ok()?;
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = hex_value(*high)? << 4 | hex_value(*low)?;
    }
    Some(bytes)
}

fn hex_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str =
        "9243a300ad53e3da73dbc003473a984b.262de89c5493ae593eeb39462627182820f1e4c3fac7a600482181432a2548d8";

    #[test]
    fn each_fault_of_the_text_is_named() {
        let (salt, digest) = GOOD.split_once('.').unwrap();
        for (text, expected) in [
            (String::new(), KeyHashError::Fields),
            (format!("{salt}{digest}"), KeyHashError::Fields),
            (format!("{GOOD}."), KeyHashError::Fields),
            (format!("{GOOD}.00"), KeyHashError::Fields),
            (GOOD.to_uppercase(), KeyHashError::UpperCase),
            (GOOD.replace('e', "E"), KeyHashError::UpperCase),
            (format!(".{digest}"), KeyHashError::Salt),
            (format!("{}.{digest}", &salt[2..]), KeyHashError::Salt),
            (format!("{}.{digest}", &salt[1..]), KeyHashError::Salt),
            (format!(" {GOOD}"), KeyHashError::Salt),
            (format!("{salt}."), KeyHashError::Digest),
            (format!("{salt}.{}", &digest[2..]), KeyHashError::Digest),
            (format!("{GOOD}\n"), KeyHashError::Digest),
            (
                format!("{salt}.{}", digest.replace('6', "g")),
                KeyHashError::Digest,
            ),
            (format!("{salt}.{}ü", &digest[2..]), KeyHashError::Digest),
        ] {
            assert_eq!(KeyHash::parse(&text).unwrap_err(), expected, "{text:?}");
        }
        assert_eq!(
            KeyHashError::Salt.to_string(),
            "the salt of the key hash is not 32 hex digits"
        );
    }

    #[test]
    fn a_minted_hash_verifies_its_token_alone_and_never_repeats() {
        let token = Token::parse("a").unwrap();
        let [one, two] = [KeyHash::mint(&token).unwrap(), KeyHash::mint(&token).unwrap()];
        assert!(one.verify(&token));
        assert!(!one.verify(&Token::parse("b").unwrap()));
        assert_ne!(one.to_string(), two.to_string());
    }

    proptest! {
        #[test]
        fn what_parses_is_the_canonical_text(text in "[0-9a-fA-F]{32}\\.[0-9a-fA-F]{64}|[0-9a-f]{30,34}\\.[0-9a-f]{62,66}|[0-9a-f]{32}\\.[0-9a-f]{64}") {
            let canonical = text.len() == KeyHash::TEXT_BYTES
                && text.as_bytes()[32] == b'.'
                && !text.bytes().any(|byte| byte.is_ascii_uppercase());
            match KeyHash::parse(&text) {
                Ok(hash) => prop_assert!(canonical && hash.to_string() == text),
                Err(_) => prop_assert!(!canonical),
            }
        }

        #[test]
        fn any_text_is_refused_without_a_panic(text in any::<String>()) {
            prop_assert!(KeyHash::parse(&text).is_err());
        }
    }
}
