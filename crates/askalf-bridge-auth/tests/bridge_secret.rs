//! What is derived from a bridge's secret: known answers, made with Python's `hmac`, and what a digest is bound to.

#![allow(clippy::unwrap_used, reason = "a helper that fails is the test that fails")]

use askalf_bridge_auth::{
    BridgeSecret, KeyRecord, KeyStatus, PairCode, PairNonce, Scopes, Token, UserStatus,
};

const TOKEN: &str = "sk_live_NdlPiGQ1nmIevDuBMbAnAodSO10UzbLG";
const KEY_HASH: &str =
    "9243a300ad53e3da73dbc003473a984b.262de89c5493ae593eeb39462627182820f1e4c3fac7a600482181432a2548d8";

fn secret(first: u8) -> BridgeSecret {
    BridgeSecret::from_bytes(std::array::from_fn::<u8, 32, _>(|n| first.wrapping_add(n as u8)).into())
}

fn token(text: &str) -> Token {
    Token::parse(text).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn row(id: &str, key_hash: &str) -> KeyRecord {
    KeyRecord {
        id: id.to_owned(),
        tenant_id: "tenant_1".to_owned(),
        user_id: Some("user_1".to_owned()),
        name: "bench".to_owned(),
        key_hash: key_hash.to_owned(),
        key_prefix: "sk_live_NdlP".to_owned(),
        scopes: Scopes::parse(["device"]),
        status: KeyStatus::Active,
        expires_at: None,
        user_status: Some(UserStatus::Active),
        device_id: None,
        digest_binding: None,
    }
}

#[test]
fn digests_have_their_known_answers() {
    let key = secret(0).digest_key();
    assert_eq!(key.id(), "f59f6565288c6136");
    let kept = key.bind(&token(TOKEN), &row("key_1", KEY_HASH));
    assert_eq!(
        (kept.key_id.as_str(), kept.digest_key_id.as_str()),
        ("key_1", key.id())
    );
    assert_eq!(kept.digest, key.digest(&token(TOKEN)));
    assert_eq!(
        hex(kept.digest.as_bytes()),
        "074ae155de56b7910439b451b88a18bbdca8dbef988d832a5b7437829b41a61a"
    );
    assert_eq!(
        hex(&kept.binding),
        "22f8c989ccc726125629bf73abb2ef743b38938df62ff587d48798cb970c3f5b"
    );
    let shown = format!("{key:?}{kept:?}");
    assert!(!shown.contains("074ae1") && !shown.contains("[7, 74"), "{shown}");
}

#[test]
fn a_digest_counts_for_the_very_row_hash_and_secret_that_it_was_made_for() {
    let key = secret(0).digest_key();
    let kept = key.bind(&token(TOKEN), &row("key_1", KEY_HASH));
    let confirms = |id: &str, key_hash: &str, binding| {
        let record = KeyRecord {
            digest_binding: binding,
            ..row(id, key_hash)
        };
        key.confirms(&key.digest(&token(TOKEN)), &record)
    };
    assert!(confirms("key_1", KEY_HASH, Some(kept.binding)));
    assert!(!confirms("key_1", KEY_HASH, None), "no digest was joined");
    assert!(
        !confirms("key_2", KEY_HASH, Some(kept.binding)),
        "spliced to another row"
    );
    let changed = KEY_HASH.replace('9', "8");
    assert!(
        !confirms("key_1", &changed, Some(kept.binding)),
        "the key was made anew"
    );
    // The lengths keep id and hash apart.
    let (first, rest) = KEY_HASH.split_at(1);
    assert!(!confirms(&format!("key_1{first}"), rest, Some(kept.binding)));
    for bit in 0..256 {
        let mut flipped = kept.binding;
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(!confirms("key_1", KEY_HASH, Some(flipped)), "bit {bit}");
    }

    let record = KeyRecord {
        digest_binding: Some(kept.binding),
        ..row("key_1", KEY_HASH)
    };
    let other_token = token("sk_live_NdlPiGQ1nmIevDuBMbAnAodSO10UzbLH");
    assert!(!key.confirms(&key.digest(&other_token), &record));
    let other = secret(1).digest_key();
    assert_ne!(other.id(), key.id());
    assert_ne!(other.digest(&token(TOKEN)), kept.digest);
    assert!(
        !other.confirms(&kept.digest, &record),
        "made under another secret"
    );
}

#[test]
fn pairing_has_its_known_answers() {
    let keys = secret(0).pair_keys();
    let code = PairCode::parse("k7qm 2f9x tbx3").unwrap();
    let nonce = PairNonce::from_bytes(std::array::from_fn(|n| 0xa0 + n as u8));
    assert_eq!(
        hex(&keys.code_mac(&code)),
        "934b2e5fbbd9001a2ff4fbe34d6dc338c4792810822dd260d045ee90c8748db3"
    );
    assert_eq!(
        hex(&keys.nonce_mac(&code, &nonce)),
        "88268217b9a711f100ffe15797283d334dd3b03a52afe644f213f528adf41a4d"
    );
    assert_eq!(
        keys.token(&code, &nonce).expose_secret(),
        "sk_live_j3HQBy9yc3t5jwFh88AJf9JxDHglEHd9"
    );
}

#[test]
fn the_key_of_an_exchange_hangs_on_the_code_the_nonce_and_the_secret() {
    let (code, other_code) = (PairCode::mint().unwrap(), PairCode::mint().unwrap());
    let (nonce, other_nonce) = (PairNonce::mint().unwrap(), PairNonce::mint().unwrap());
    let (keys, other_keys) = (secret(0).pair_keys(), secret(1).pair_keys());
    let token = keys.token(&code, &nonce);
    assert!(token.ct_eq(&keys.token(&code, &nonce)));
    for other in [
        keys.token(&other_code, &nonce),
        keys.token(&code, &other_nonce),
        other_keys.token(&code, &nonce),
    ] {
        assert!(!token.ct_eq(&other));
    }
    assert_ne!(keys.code_mac(&code), other_keys.code_mac(&code));
    assert_ne!(keys.nonce_mac(&code, &nonce), keys.nonce_mac(&other_code, &nonce));
}

#[test]
fn nothing_secret_is_shown_in_debug() {
    let secret = secret(0);
    let shown = format!(
        "{secret:?} {:?} {:?} {:?}",
        secret.pair_keys(),
        PairCode::mint().unwrap(),
        PairNonce::mint().unwrap()
    );
    assert_eq!(
        shown,
        "BridgeSecret(redacted) PairKeys(redacted) PairCode(redacted) PairNonce(redacted)"
    );
}
