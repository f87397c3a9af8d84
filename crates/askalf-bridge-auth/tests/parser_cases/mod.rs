//! What must hold of any text that a parser of this crate meets. The fuzz targets and the test that replays their corpora
//! share it.

#![allow(dead_code, reason = "each fuzz target uses one")]

use askalf_bridge_auth::{
    BridgeSecret, KEY_PREVIEW_MAX_CHARS, KeyHash, KeyPrefix, PairCode, PairNonce, Token, TokenShape,
    key_preview,
};

/// What is accepted is what was given, its prefix is found again, and what is shown of it is not it.
pub(crate) fn token(text: &str) {
    let Ok(token) = Token::parse(text) else {
        assert!(
            text.is_empty()
                || text.len() > Token::MAX_BYTES
                || text.contains(|c: char| c.is_control() || c.is_whitespace())
        );
        return;
    };
    assert_eq!(token.expose_secret(), text);
    assert!(token.ct_eq(&token.clone()));
    let prefix = token.prefix();
    assert!(text.starts_with(prefix.as_str()));
    assert_eq!(KeyPrefix::parse(prefix.as_str()), Ok(prefix));
    let preview = key_preview(&token);
    assert!(preview.chars().count() <= KEY_PREVIEW_MAX_CHARS);
    assert!(!preview.contains(text) || preview == "...");
    if token.shape() != TokenShape::Other {
        assert_eq!(token.header_value(), Ok(text), "a known shape is visible ASCII");
    }
    assert_eq!(format!("{token:?}"), "Token(redacted)");
}

/// What is accepted is the one text of its value.
pub(crate) fn key_hash(text: &str) {
    if let Ok(hash) = KeyHash::parse(text) {
        assert_eq!(text.len(), KeyHash::TEXT_BYTES);
        assert_eq!(hash.to_string(), text);
    }
}

/// What is accepted reads the same again, however it was typed.
pub(crate) fn pair_code(text: &str) {
    if let Ok(code) = PairCode::parse(text) {
        let shown = code.to_string();
        assert_eq!(shown.len(), 14);
        for typed in [shown.clone(), shown.to_lowercase(), shown.replace('-', " ")] {
            let again = PairCode::parse(&typed).unwrap();
            assert_eq!(again.to_string(), shown);
            let keys = BridgeSecret::from_bytes([7; 32].into()).pair_keys();
            assert_eq!(keys.code_mac(&again), keys.code_mac(&code));
        }
        assert!(text.chars().filter(|c| *c != '-' && !c.is_whitespace()).count() == 12);
    }
    if let Ok(nonce) = PairNonce::parse(text) {
        assert_eq!(nonce.to_string(), text.to_lowercase());
    }
}
