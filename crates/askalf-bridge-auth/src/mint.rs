use thiserror::Error;
use zeroize::Zeroizing;

use crate::{KeyHash, KeyPrefix, Token, key_preview};

const LIVE_PREFIX: &str = "sk_live_";
const BODY_CHARS: usize = 32;
const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
/// The largest multiple of the alphabet's size that a byte can count to: bytes from here on are drawn
/// again, since the remainder would favour the first letters.
const UNBIASED_BELOW: u8 = 248;

/// A new key with everything that its row needs.
#[derive(Debug)]
pub struct MintedKey {
    /// The secret, to be shown to its owner once and stored nowhere.
    pub token: Token,
    /// The `key_hash` column.
    pub hash: KeyHash,
    /// The `key_prefix` column.
    pub prefix: KeyPrefix,
    /// The `key_preview` column.
    pub preview: String,
}

/// Mints a key and hashes it under a random salt: one derivation, about 9 ms of CPU.
///
/// The prefix has 4 random characters, so two keys may share one. Whoever stores the key mints again
/// while its prefix is taken, because every key that shares a prefix makes checking the others dearer.
///
/// ```
/// use askalf_bridge_auth::{TokenShape, mint_key};
///
/// let key = mint_key()?;
/// assert_eq!(key.token.shape(), TokenShape::SkLive);
/// assert!(key.hash.verify(&key.token));
/// assert_eq!(key.preview, format!("{}...", key.prefix.as_str()));
/// # Ok::<(), askalf_bridge_auth::MintError>(())
/// ```
///
/// # Errors
/// [`MintError`] when the system's random source fails.
pub fn mint_key() -> Result<MintedKey, MintError> {
    let token = Token::mint()?;
    let hash = KeyHash::mint(&token)?;
    let prefix = KeyPrefix::of(&token);
    let preview = key_preview(&token);
    Ok(MintedKey {
        token,
        hash,
        prefix,
        preview,
    })
}

/// The system's random source gave nothing, so no key or salt was made.
#[derive(Debug, Error)]
#[error("the system's random source failed, so no key was made")]
pub struct MintError {
    #[source]
    source: Option<getrandom::Error>,
}

impl MintError {
    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        "try again; if it stays, check that this process may use the getrandom call or read /dev/urandom"
    }

    /// A stable name for scripts and logs.
    #[must_use]
    pub fn id(&self) -> &'static str {
        "random-source-failed"
    }
}

pub(crate) fn fill_from_system(bytes: &mut [u8]) -> Result<(), MintError> {
    getrandom::fill(bytes).map_err(|error| MintError { source: Some(error) })
}

/// A token of the bytes that `fill` gives, each character equally likely where each byte is.
pub(crate) fn token<E>(mut fill: impl FnMut(&mut [u8]) -> Result<(), E>) -> Result<Token, E> {
    let mut text = String::with_capacity(LIVE_PREFIX.len() + BODY_CHARS);
    text.push_str(LIVE_PREFIX);
    // Wiped on every way out, the error's too; within its capacity the text is never moved.
    let mut text = Zeroizing::new(text);
    let mut random = Zeroizing::new([0; 2 * BODY_CHARS]);
    while text.len() < LIVE_PREFIX.len() + BODY_CHARS {
        fill(&mut *random)?;
        let missing = LIVE_PREFIX.len() + BODY_CHARS - text.len();
        let letters = random.iter().filter(|byte| **byte < UNBIASED_BELOW);
        text.extend(
            letters
                .take(missing)
                .map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()])),
        );
    }
    Ok(Token::from_minted(text))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::TokenShape;

    fn minted(bytes: impl IntoIterator<Item = u8>) -> String {
        let mut bytes = bytes.into_iter();
        let fill = |buffer: &mut [u8]| {
            buffer.fill_with(|| bytes.next().unwrap());
            Ok::<(), MintError>(())
        };
        token(fill).unwrap().expose_secret().to_owned()
    }

    #[test]
    fn every_letter_stands_for_the_same_number_of_bytes() {
        let mut counts = HashMap::new();
        for byte in 0..UNBIASED_BELOW {
            *counts.entry(minted(std::iter::repeat(byte))).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 62);
        assert!(counts.values().all(|count| *count == 4));
    }

    #[test]
    fn bytes_that_would_favour_a_letter_are_drawn_again() {
        let wasted = std::iter::repeat_n(UNBIASED_BELOW, 63).chain([0]);
        assert_eq!(
            minted(wasted.chain(std::iter::repeat(1))),
            format!("sk_live_A{}", "B".repeat(31))
        );
    }

    #[test]
    fn a_failing_random_source_makes_no_token() {
        let error = token(|_| Err(MintError { source: None })).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the system's random source failed, so no key was made"
        );
        assert_eq!(error.id(), "random-source-failed");
    }

    #[test]
    fn minted_tokens_have_the_live_shape_and_differ() {
        let [a, b] = [Token::mint().unwrap(), Token::mint().unwrap()];
        assert_eq!(a.shape(), TokenShape::SkLive);
        assert!(!a.ct_eq(&b));
    }

    #[test]
    fn a_minted_key_shows_no_secret_in_debug() {
        let key = mint_key().unwrap();
        let shown = format!("{key:?}");
        assert!(!shown.contains(key.token.expose_secret()));
        assert!(!shown.contains(&key.hash.to_string()));
    }
}
