//! A stored hash meets anything: what is accepted is the one text of its value.

#![no_main]

use askalf_bridge_auth::KeyHash;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(hash) = KeyHash::parse(text) {
        assert_eq!(text.len(), KeyHash::TEXT_BYTES);
        assert_eq!(hash.to_string(), text);
    }
});
