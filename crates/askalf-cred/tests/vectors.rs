//! Each generation of agent.json, and the ways it breaks, as made by an independent program.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test itself does")]

mod common;

use askalf_cred::{Home, LoadOutcome, SealMode, load};
use common::{Scratch, unseal_as_3_3};
use serde_json::Value;

fn vectors() -> Vec<Value> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../vectors/agent_json.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// The id that each vector must end with.
fn expected(name: &str) -> &'static str {
    match name {
        "plaintext-2.4" | "plaintext-recovery-recipe" => "plaintext",
        "keyfile-3.3" => "ready",
        "machine-key-2.0"
        | "machine-key-3.1"
        | "machine-key-3.1-after-docker-restart"
        | "machine-key-3.1-windows" => "machine-key",
        "keyfile-3.3-other-keyfile" | "keyfile-3.3-flipped-bit" => "does-not-unseal",
        "keyfile-3.3-short" => "not-sealed-text",
        "ciphertext-marked-plaintext" => "ciphertext-as-token",
        "keyfile-decrypts-to-garbage" => "not-a-token",
        other => panic!("a vector that no expectation is written for: {other}"),
    }
}

fn lay_out(vector: &Value) -> (Scratch, Home) {
    let scratch = Scratch::new();
    let home = scratch.home();
    scratch.write_config(vector["agent_json"].to_string());
    if let Some(hex) = vector["keyfile_hex"].as_str() {
        scratch.write_keyfile(&common::unhex(hex));
    }
    (scratch, home)
}

#[test]
fn every_vector_ends_as_it_must_and_nothing_is_written() {
    let vectors = vectors();
    assert_eq!(vectors.len(), 12);
    for vector in vectors {
        let name = vector["name"].as_str().unwrap();
        let (scratch, home) = lay_out(&vector);
        let before = scratch.snapshot();
        let outcome = load(&home);
        assert_eq!(outcome.id(), expected(name), "{name}");
        assert_eq!(scratch.snapshot(), before, "{name}");

        let no_facts = expected(name) == "machine-key";
        match outcome {
            LoadOutcome::Ready(credential)
            | LoadOutcome::Plaintext {
                credential,
                chosen: false,
            } => {
                assert_eq!(
                    Some(credential.token.expose_secret()),
                    vector["api_key"].as_str(),
                    "{name}"
                );
                assert_eq!(
                    credential.config.url.as_deref(),
                    Some("ws://localhost:3005"),
                    "{name}"
                );
                assert_eq!(
                    credential.config.device_name.as_deref(),
                    Some("alf-test-01"),
                    "{name}"
                );
                assert_eq!(credential.seal.version, None, "{name}");
            }
            LoadOutcome::Refused(unreadable) => {
                assert!(vector["api_key"].is_null() || no_facts, "{name}");
                assert!(!unreadable.is_local_fault(), "{name}");
            }
            LoadOutcome::Absent | LoadOutcome::Plaintext { chosen: true, .. } => panic!("{name}"),
        }
    }
}

/// The other direction: what is written here opens with a reader of agent 3.3 that shares no code with this crate.
#[test]
fn an_agent_3_3_reads_what_is_written_here() {
    let scratch = Scratch::new();
    let home = scratch.home();
    common::save(&home, common::TOKEN, SealMode::Keyfile);
    let config: Value = serde_json::from_slice(&std::fs::read(home.config_path()).unwrap()).unwrap();
    assert_eq!(config["_encrypted"], true);
    let keyfile = std::fs::read(home.keyfile_path()).unwrap();
    assert_eq!(
        unseal_as_3_3(config["apiKey"].as_str().unwrap(), &keyfile).as_deref(),
        Some(common::TOKEN)
    );
    // The reader above is one: it opens the vector of 3.3 too, and not that of another keyfile.
    for vector in vectors()
        .iter()
        .filter(|vector| vector["keyfile_hex"].is_string())
    {
        let sealed = vector["agent_json"]["apiKey"].as_str().unwrap();
        let opened = unseal_as_3_3(sealed, &common::unhex(vector["keyfile_hex"].as_str().unwrap()));
        if vector["name"] == "keyfile-3.3" {
            assert_eq!(opened.as_deref(), vector["api_key"].as_str());
        } else {
            assert!(opened.is_none_or(|text| text.contains(char::is_whitespace) || !text.is_ascii()));
        }
    }
}
