use std::fmt;

use subtle::ConstantTimeEq;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::{KeyPrefix, MintError, mint};

/// An API key in plain text: the secret that a device or an operator presents.
///
/// 1 to 512 bytes of UTF-8 without control characters and white space. The memory is wiped on drop,
/// `Debug` is redacted, and there is no `Display` and no serialisation: the only way to the text is
/// [`Token::expose_secret`], which is easy to find in a review.
///
/// ```
/// use askalf_bridge_auth::{Token, TokenError};
///
/// let token = Token::parse("sk_live_NdlPiGQ1nmIevDuBMbAnAodSO10UzbLG")?;
/// assert_eq!(format!("{token:?}"), "Token(redacted)");
/// assert_eq!(token.prefix().as_str(), "sk_live_NdlP");
/// assert_eq!(Token::parse("two words").unwrap_err(), TokenError::WhiteSpace);
/// # Ok::<(), TokenError>(())
/// ```
///
/// A token and its hash never convert into each other, and tokens do not compare with `==`, which would
/// tell by its duration how much of a guess was right:
///
/// ```compile_fail,E0308
/// fn store(hash: askalf_bridge_auth::KeyHash) {}
/// fn slip(token: askalf_bridge_auth::Token) { store(token) }
/// ```
/// ```compile_fail,E0308
/// fn send(token: askalf_bridge_auth::Token) {}
/// fn slip(hash: askalf_bridge_auth::KeyHash) { send(hash) }
/// ```
/// ```compile_fail,E0277
/// fn slip(token: &askalf_bridge_auth::Token) -> String { format!("{token}") }
/// ```
/// ```compile_fail,E0369
/// fn slip(a: askalf_bridge_auth::Token, b: askalf_bridge_auth::Token) -> bool { a == b }
/// ```
#[derive(Clone)]
pub struct Token(Zeroizing<String>);

impl Token {
    /// The longest token, in bytes.
    pub const MAX_BYTES: usize = 512;

    /// Takes `text` as a token. The text is wiped when it is refused and was passed by value.
    ///
    /// # Errors
    /// [`TokenError::Empty`], [`TokenError::TooLong`], [`TokenError::ControlCharacter`] or
    /// [`TokenError::WhiteSpace`]. Line ends and tabs are control characters; so a key read from a file
    /// must be trimmed by whoever read it.
    pub fn parse(text: impl Into<String>) -> Result<Self, TokenError> {
        let text = Zeroizing::new(text.into());
        if text.is_empty() {
            return Err(TokenError::Empty);
        }
        if text.len() > Self::MAX_BYTES {
            return Err(TokenError::TooLong { bytes: text.len() });
        }
        if text.chars().any(char::is_control) {
            return Err(TokenError::ControlCharacter);
        }
        if text.chars().any(char::is_whitespace) {
            return Err(TokenError::WhiteSpace);
        }
        Ok(Self(text))
    }

    /// A new key: `sk_live_` and 32 letters and digits, about 190 bits from the system's random source,
    /// each character equally likely.
    ///
    /// # Errors
    /// [`MintError`] when the random source fails.
    pub fn mint() -> Result<Self, MintError> {
        mint::token(mint::fill_from_system)
    }

    /// Takes a text that [`mint`] has just made, of valid characters by construction.
    pub(crate) fn from_minted(text: Zeroizing<String>) -> Self {
        Self(text)
    }

    /// The secret itself. For the `Authorization` header, the sealed file and the one line that shows a
    /// new key to its owner; never for a log, an error text or a process argument.
    #[must_use]
    pub fn expose_secret(&self) -> &str {
        &self.0
    }

    /// Which of the known shapes the whole token has. Advice only: a key of [`TokenShape::Other`] may be
    /// good.
    #[must_use]
    pub fn shape(&self) -> TokenShape {
        TokenShape::of(&self.0)
    }

    /// The first 12 characters, by which the key's row is found.
    #[must_use]
    pub fn prefix(&self) -> KeyPrefix {
        KeyPrefix::of(self)
    }

    /// The token for a header field: visible ASCII (0x21 to 0x7e) or an error here, before anything is
    /// sent.
    ///
    /// # Errors
    /// [`TokenError::NotHeaderSafe`].
    pub fn header_value(&self) -> Result<&str, TokenError> {
        if self.0.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(&self.0)
        } else {
            Err(TokenError::NotHeaderSafe)
        }
    }

    /// Whether both are the same token, in a time that depends on their lengths alone.
    #[must_use]
    pub fn ct_eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(redacted)")
    }
}

/// What a token looks like. The full shape decides, never the leading letters alone: `sk_live_` with
/// anything but 32 letters and digits or 43 characters of URL-safe base64 is [`TokenShape::Other`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenShape {
    /// `sk_live_` and 32 letters and digits, or 43 characters of URL-safe base64 (32 bytes, unpadded).
    SkLive,
    /// `sk_test_` and the same.
    SkTest,
    /// `fk_` and 64 hex digits of either case.
    Fk,
    /// Anything else.
    Other,
}

impl TokenShape {
    fn of(text: &str) -> Self {
        if text.strip_prefix("sk_live_").is_some_and(is_sk_body) {
            Self::SkLive
        } else if text.strip_prefix("sk_test_").is_some_and(is_sk_body) {
            Self::SkTest
        } else if text.strip_prefix("fk_").is_some_and(is_fk_body) {
            Self::Fk
        } else {
            Self::Other
        }
    }
}

fn is_sk_body(body: &str) -> bool {
    match body.len() {
        32 => body.bytes().all(|byte| byte.is_ascii_alphanumeric()),
        43 => body
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')),
        _ => false,
    }
}

fn is_fk_body(body: &str) -> bool {
    body.len() == 64 && body.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Why a text is no token, or a token no header value. No variant holds any of the text.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TokenError {
    /// Nothing at all.
    #[error("the key is empty")]
    Empty,
    /// More than [`Token::MAX_BYTES`].
    #[error("the key has {bytes} bytes, more than the {} that are allowed", Token::MAX_BYTES)]
    TooLong {
        /// The length of what was refused.
        bytes: usize,
    },
    /// A line end, a tab, a NUL or another control character.
    #[error("the key contains a control character, such as a line end")]
    ControlCharacter,
    /// A space, of any script.
    #[error("the key contains white space")]
    WhiteSpace,
    /// A good token that no header field can carry.
    #[error("the key contains characters that a request header cannot carry")]
    NotHeaderSafe,
}

impl TokenError {
    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Empty => "pass the API key that the operator gave you",
            Self::TooLong { .. } => "check that only the API key was passed, not a whole file",
            Self::ControlCharacter | Self::WhiteSpace => {
                "copy the API key again: one line, without spaces around or inside it"
            }
            Self::NotHeaderSafe => "ask the operator for a key of ASCII letters, digits and signs",
        }
    }

    /// A stable name for scripts and logs.
    #[must_use]
    pub fn id(&self) -> &'static str {
        match self {
            Self::Empty => "token-empty",
            Self::TooLong { .. } => "token-too-long",
            Self::ControlCharacter => "token-control-character",
            Self::WhiteSpace => "token-white-space",
            Self::NotHeaderSafe => "token-not-header-safe",
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shape(text: &str) -> TokenShape {
        Token::parse(text).unwrap().shape()
    }

    #[test]
    fn length_is_counted_in_bytes_and_bounded_on_both_sides() {
        assert_eq!(Token::parse("").unwrap_err(), TokenError::Empty);
        assert!(Token::parse("x".repeat(512)).is_ok());
        assert!(Token::parse("ü".repeat(256)).is_ok());
        let error = Token::parse("ü".repeat(257)).unwrap_err();
        assert_eq!(error, TokenError::TooLong { bytes: 514 });
        assert_eq!(
            error.to_string(),
            "the key has 514 bytes, more than the 512 that are allowed"
        );
    }

    #[test]
    fn controls_and_spaces_of_any_script_are_refused() {
        for text in ["a\n", "\ta", "a\0b", "a\u{7f}", "a\u{85}b"] {
            assert_eq!(
                Token::parse(text).unwrap_err(),
                TokenError::ControlCharacter,
                "{text:?}"
            );
        }
        for text in [" a", "a b", "a\u{a0}b", "a\u{2003}b", "a\u{3000}"] {
            assert_eq!(
                Token::parse(text).unwrap_err(),
                TokenError::WhiteSpace,
                "{text:?}"
            );
        }
    }

    #[test]
    fn the_whole_shape_decides() {
        let alphanumeric = "NdlPiGQ1nmIevDuBMbAnAodSO10UzbLG";
        let base64url = "9gS3cJBO4iSty5eIpZOPZSBraWNyKQHfwEqQzx7G-_I";
        assert_eq!(shape(&format!("sk_live_{alphanumeric}")), TokenShape::SkLive);
        assert_eq!(shape(&format!("sk_live_{base64url}")), TokenShape::SkLive);
        assert_eq!(shape(&format!("sk_test_{alphanumeric}")), TokenShape::SkTest);
        assert_eq!(shape(&format!("fk_{}", "0aF9".repeat(16))), TokenShape::Fk);
        for other in [
            format!("sk_live_{alphanumeric}x"),
            format!("sk_live_{}", &alphanumeric[1..]),
            format!("sk_live_-{}", &alphanumeric[1..]),
            format!("sk_live_{base64url}="),
            format!("SK_LIVE_{alphanumeric}"),
            format!("fk_{}", "0aF9".repeat(15)),
            format!("fk_{}", "0aG9".repeat(16)),
            "sk_live_".to_owned(),
            alphanumeric.to_owned(),
        ] {
            assert_eq!(shape(&other), TokenShape::Other, "{other}");
        }
    }

    #[test]
    fn only_visible_ascii_goes_into_a_header() {
        assert_eq!(Token::parse("fk_!~").unwrap().header_value(), Ok("fk_!~"));
        let error = Token::parse("sk_live_ünïcødé")
            .unwrap()
            .header_value()
            .unwrap_err();
        assert_eq!(error, TokenError::NotHeaderSafe);
        assert_eq!(
            error.to_string(),
            "the key contains characters that a request header cannot carry"
        );
    }

    #[test]
    fn ct_eq_compares_the_whole_text() {
        let parse = |text: &str| Token::parse(text).unwrap();
        assert!(parse("abc").ct_eq(&parse("abc")));
        assert!(!parse("abc").ct_eq(&parse("abd")));
        assert!(!parse("abc").ct_eq(&parse("abcd")));
    }

    proptest! {
        #[test]
        fn parse_keeps_the_text_or_names_a_true_fault(text in any::<String>()) {
            match Token::parse(text.as_str()) {
                Ok(token) => {
                    prop_assert_eq!(token.expose_secret(), &text);
                    prop_assert!(!text.is_empty() && text.len() <= Token::MAX_BYTES);
                    prop_assert!(!text.chars().any(|c| c.is_control() || c.is_whitespace()));
                    prop_assert!(text.starts_with(token.prefix().as_str()));
                }
                Err(TokenError::Empty) => prop_assert!(text.is_empty()),
                Err(TokenError::TooLong { bytes }) => prop_assert!(bytes == text.len() && bytes > 512),
                Err(TokenError::ControlCharacter) => prop_assert!(text.chars().any(char::is_control)),
                Err(TokenError::WhiteSpace) => prop_assert!(text.chars().any(char::is_whitespace)),
                Err(TokenError::NotHeaderSafe) => prop_assert!(false, "parse does not judge headers"),
            }
        }

        #[test]
        fn a_header_value_is_the_token_itself(text in "[!-~ü]{1,64}") {
            let token = Token::parse(text.as_str()).unwrap();
            prop_assert_eq!(token.header_value().is_ok(), text.is_ascii());
        }

        #[test]
        fn debug_and_errors_never_show_the_text(text in "[0-9A-Z]{12,40} ?") {
            let shown = match Token::parse(text.as_str()) {
                Ok(token) => format!("{token:?}"),
                Err(error) => format!("{error:?} {error} {}", error.hint()),
            };
            prop_assert!(!shown.contains(text.trim()));
        }
    }
}
