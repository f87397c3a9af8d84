//! Every text that fuzzing found worth keeping, once more.

#![allow(clippy::unwrap_used, reason = "a helper that fails is the test that fails")]

mod parser_cases;

use std::fs;
use std::path::Path;

fn replay(target: &str, case: fn(&str)) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(target);
    let mut replayed = 0;
    for entry in fs::read_dir(corpus).unwrap() {
        // A target that takes text is not asked about bytes that are none.
        if let Ok(text) = String::from_utf8(fs::read(entry.unwrap().path()).unwrap()) {
            case(&text);
            replayed += 1;
        }
    }
    assert!(replayed >= 10, "the corpus of {target} has {replayed} texts");
}

#[test]
fn tokens() {
    replay("token", parser_cases::token);
}

#[test]
fn key_hashes() {
    replay("key_hash", parser_cases::key_hash);
}

#[test]
fn pair_codes_and_nonces() {
    replay("pair_code", parser_cases::pair_code);
}
