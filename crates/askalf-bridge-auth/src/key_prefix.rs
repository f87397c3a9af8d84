use std::fmt;

use thiserror::Error;

use crate::Token;

/// The most characters that the `key_preview` column holds.
pub const KEY_PREVIEW_MAX_CHARS: usize = 20;

const ELLIPSIS: &str = "...";

/// The first 12 characters of a token: the `key_prefix` column, by which a key's row is found.
///
/// Characters are Unicode scalar values, as PostgreSQL counts them in `varchar(12)`. A token of at most
/// 12 characters is its own prefix; so `Debug` is redacted here too, although the prefix of a minted key
/// is shown in every listing.
///
/// ```
/// use askalf_bridge_auth::{KeyPrefix, Token};
///
/// let token = Token::parse("sk_live_NdlPiGQ1nmIevDuBMbAnAodSO10UzbLG").unwrap();
/// assert_eq!(KeyPrefix::of(&token), KeyPrefix::parse("sk_live_NdlP").unwrap());
/// assert!(KeyPrefix::parse("sk_live_NdlPi").is_err());
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyPrefix(String);

impl KeyPrefix {
    /// The longest prefix, in characters.
    pub const MAX_CHARS: usize = 12;

    /// The prefix of `token`.
    #[must_use]
    pub fn of(token: &Token) -> Self {
        Self(token.expose_secret().chars().take(Self::MAX_CHARS).collect())
    }

    /// Takes a stored prefix.
    ///
    /// # Errors
    /// [`KeyPrefixError`] when no token starts with `text`, or when it is longer than a prefix.
    pub fn parse(text: &str) -> Result<Self, KeyPrefixError> {
        if text.is_empty() {
            return Err(KeyPrefixError::Empty);
        }
        if text.chars().count() > Self::MAX_CHARS {
            return Err(KeyPrefixError::TooLong);
        }
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(KeyPrefixError::Character);
        }
        Ok(Self(text.to_owned()))
    }

    /// The text, for the look-up.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for KeyPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyPrefix(redacted)")
    }
}

/// What a listing may show of a key: the `key_preview` column, at most [`KEY_PREVIEW_MAX_CHARS`].
///
/// The prefix and `...`, or `...` alone for a token of fewer than 24 characters, of which the prefix
/// would be more than half.
///
/// ```
/// use askalf_bridge_auth::{Token, key_preview};
///
/// let token = Token::parse("sk_live_NdlPiGQ1nmIevDuBMbAnAodSO10UzbLG").unwrap();
/// assert_eq!(key_preview(&token), "sk_live_NdlP...");
/// assert_eq!(key_preview(&Token::parse("hunter2").unwrap()), "...");
/// ```
#[must_use]
pub fn key_preview(token: &Token) -> String {
    if token.expose_secret().chars().count() < 2 * KeyPrefix::MAX_CHARS {
        return ELLIPSIS.to_owned();
    }
    format!("{}{ELLIPSIS}", KeyPrefix::of(token).as_str())
}

/// Why a text is no [`KeyPrefix`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum KeyPrefixError {
    /// Nothing at all.
    #[error("the key prefix is empty")]
    Empty,
    /// More than [`KeyPrefix::MAX_CHARS`].
    #[error("the key prefix has more than {} characters", KeyPrefix::MAX_CHARS)]
    TooLong,
    /// A control character or white space, which no token has.
    #[error("the key prefix contains a control character or white space")]
    Character,
}

impl KeyPrefixError {
    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Empty | Self::TooLong => "a key prefix is the first 12 characters of the key",
            Self::Character => "copy the prefix again, without spaces or line ends",
        }
    }

    /// A stable name for scripts and logs.
    #[must_use]
    pub fn id(&self) -> &'static str {
        match self {
            Self::Empty => "key-prefix-empty",
            Self::TooLong => "key-prefix-too-long",
            Self::Character => "key-prefix-character",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: &str) -> Token {
        Token::parse(text).unwrap()
    }

    #[test]
    fn a_prefix_counts_characters_not_bytes() {
        assert_eq!(KeyPrefix::of(&token("sk_live_ünïcødé")).as_str(), "sk_live_ünïc");
        assert_eq!(
            KeyPrefix::of(&token("sk_live_🦀🦀🦀🦀🦀")).as_str(),
            "sk_live_🦀🦀🦀🦀"
        );
        assert_eq!(KeyPrefix::of(&token("short")).as_str(), "short");
        assert!(KeyPrefix::parse("üüüüüüüüüüüü").is_ok());
    }

    #[test]
    fn what_no_token_starts_with_is_refused() {
        assert_eq!(KeyPrefix::parse("").unwrap_err(), KeyPrefixError::Empty);
        assert_eq!(
            KeyPrefix::parse("sk_live_NdlPi").unwrap_err(),
            KeyPrefixError::TooLong
        );
        assert_eq!(
            KeyPrefix::parse("sk live").unwrap_err(),
            KeyPrefixError::Character
        );
        assert_eq!(
            KeyPrefix::parse("sk\0live").unwrap_err(),
            KeyPrefixError::Character
        );
    }

    #[test]
    fn a_preview_fits_its_column_and_never_shows_most_of_a_token() {
        for chars in 1..=64 {
            let token = token(&"ü".repeat(chars));
            let preview = key_preview(&token);
            assert!(preview.chars().count() <= KEY_PREVIEW_MAX_CHARS);
            assert!(
                2 * preview.trim_end_matches('.').chars().count() <= chars,
                "{chars}: {preview}"
            );
        }
    }

    #[test]
    fn debug_does_not_show_a_short_token() {
        assert_eq!(
            format!("{:?}", KeyPrefix::of(&token("hunter2"))),
            "KeyPrefix(redacted)"
        );
    }
}
