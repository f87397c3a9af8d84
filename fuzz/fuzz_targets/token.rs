//! A token meets anything: what is accepted is what was given, its prefix is found again, and what is shown of it is not it.

#![no_main]

use askalf_bridge_auth::{KEY_PREVIEW_MAX_CHARS, KeyPrefix, Token, TokenShape, key_preview};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
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
});
