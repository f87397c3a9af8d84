//! A pairing code and its nonce meet anything: what is accepted reads the same again, however it was typed.

#![no_main]

use askalf_bridge_auth::{BridgeSecret, PairCode, PairNonce};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(code) = PairCode::parse(text) {
        let shown = code.to_string();
        assert_eq!(shown.len(), 14);
        for typed in [shown.clone(), shown.to_lowercase(), shown.replace('-', " ")] {
            let again = PairCode::parse(&typed).expect("a code that was shown is read again");
            assert_eq!(again.to_string(), shown);
            let keys = BridgeSecret::from_bytes([7; 32].into()).pair_keys();
            assert_eq!(keys.code_mac(&again), keys.code_mac(&code));
        }
        assert!(text.chars().filter(|c| *c != '-' && !c.is_whitespace()).count() == 12);
    }
    if let Ok(nonce) = PairNonce::parse(text) {
        assert_eq!(nonce.to_string(), text.to_lowercase());
    }
});
