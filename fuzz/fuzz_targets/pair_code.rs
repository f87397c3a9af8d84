//! A pairing code and its nonce meet anything. What must hold stands in the case, which a test of askalf-bridge-auth replays too.

#![no_main]

#[path = "../../crates/askalf-bridge-auth/tests/parser_cases/mod.rs"]
mod parser_cases;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| parser_cases::pair_code(text));
