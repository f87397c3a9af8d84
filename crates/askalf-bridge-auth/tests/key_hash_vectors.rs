//! The shared vectors of `key_hash`, made with another implementation.

#![allow(clippy::unwrap_used, reason = "a helper that fails is the test that fails")]

use askalf_bridge_auth::{KeyHash, KeyPrefix, Token};
use serde::Deserialize;

#[derive(Deserialize)]
struct Vector {
    token: String,
    key_hash: String,
    key_prefix: Option<String>,
    /// `None` where the format leaves the decision to us.
    valid: Option<bool>,
    why: Option<String>,
}

fn vectors() -> Vec<Vector> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../vectors/key_hash.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn verifies(vector: &Vector) -> bool {
    match (
        Token::parse(vector.token.as_str()),
        KeyHash::parse(&vector.key_hash),
    ) {
        (Ok(token), Ok(hash)) => hash.verify(&token),
        _ => false,
    }
}

#[test]
fn every_decided_vector_verifies_as_it_says() {
    let vectors = vectors();
    assert!(vectors.iter().filter(|vector| vector.valid == Some(true)).count() >= 7);
    assert!(
        vectors
            .iter()
            .filter(|vector| vector.valid == Some(false))
            .count()
            >= 8
    );
    for vector in &vectors {
        if let Some(valid) = vector.valid {
            assert_eq!(verifies(vector), valid, "{:?} {:?}", vector.why, vector.key_hash);
        }
    }
}

#[test]
fn the_open_vectors_are_refused_for_their_form() {
    let ids: Vec<_> = vectors()
        .iter()
        .filter(|vector| vector.valid.is_none())
        .map(|vector| {
            (
                vector.why.clone().unwrap(),
                KeyHash::parse(&vector.key_hash).unwrap_err().id(),
            )
        })
        .collect();
    assert_eq!(ids.len(), 2);
    for (why, id) in ids {
        let expected = if why.starts_with("upper-case hex") {
            "key-hash-upper-case"
        } else {
            "key-hash-fields"
        };
        assert_eq!(id, expected, "{why}");
    }
}

#[test]
fn valid_hashes_print_as_they_were_read_and_prefixes_agree() {
    for vector in vectors().iter().filter(|vector| vector.valid == Some(true)) {
        assert_eq!(
            KeyHash::parse(&vector.key_hash).unwrap().to_string(),
            vector.key_hash
        );
        if let Some(prefix) = &vector.key_prefix {
            let token = Token::parse(vector.token.as_str()).unwrap();
            assert_eq!(KeyPrefix::of(&token).as_str(), prefix);
        }
    }
}
