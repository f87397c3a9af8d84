//! Keys in texts that others can read.

use askalf_bridge_auth::{Token, TokenShape};

/// How the keys of a bridge begin.
const PREFIXES: [&str; 3] = ["sk_live_", "sk_test_", "fk_"];

/// Whether a text holds this device's key, or one of the shape of a bridge's.
pub(super) fn holds_key(text: &str, own: Option<&Token>) -> bool {
    own.is_some_and(|token| text.contains(token.expose_secret()))
        || PREFIXES.iter().any(|prefix| {
            text.match_indices(prefix).any(|(at, _)| {
                let word: &str = text[at..]
                    .split(|char: char| !(char.is_ascii_alphanumeric() || char == '_' || char == '-'))
                    .next()
                    .unwrap_or_default();
                Token::parse(word).is_ok_and(|token| token.shape() != TokenShape::Other)
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_by_its_shape_and_the_devices_own_by_itself() {
        let own = Token::parse("correct-horse-battery").unwrap();
        for (text, holds) in [
            ("--key=sk_live_NdlPiGQ1nmIevDuBMbAnAodSO10UzbLG ", true),
            (
                "Environment=\"ASKALF_API_KEY=sk_test_NdlPiGQ1nmIevDuBMbAnAodSO10UzbLG\"",
                true,
            ),
            ("x=correct-horse-battery", true),
            ("sk_live_ is how a key begins", false),
            ("sk_live_short", false),
        ] {
            assert_eq!(holds_key(text, Some(&own)), holds, "{text}");
        }
        assert!(!holds_key("x=correct-horse-battery", None));
    }
}
