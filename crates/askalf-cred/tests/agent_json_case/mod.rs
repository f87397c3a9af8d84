//! What one input of the fuzz target `agent_json` means, and what must hold for it. The fuzz target and the replays of its
//! corpus share it.
//!
//! The first byte says what the rest is, by its two lowest bits:
//!
//! - 0 (`d`): a home. The files agent.json, agent.json.next, a temporary agent.json and keyfile, with a NUL byte between each; an
//!   empty one is not there, but for the keyfile, which then is [`KEY`].
//! - 1 (`e`): the same, but the first is a plain text, and agent.json holds that sealed under [`KEY`].
//! - 2 (`f`): a bundle.
//! - 3 (`g`): what stands sealed in a bundle.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::collections::BTreeMap;
use std::fs;
use std::sync::LazyLock;

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use askalf_cred::{LoadOptions, LoadOutcome, Passphrase, import, load, load_next, recover};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::common::{KEY, Scratch, make_private, now, seal_as_3_3};

/// What a reader may allocate at most, in bytes.
pub(crate) const MOST_ALLOCATED: usize = 1024 * 1024;

pub(crate) const PASSPHRASE: &str = "correct horse";
/// 16 bytes 0 to 15.
const SALT: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
/// The memory of a derivation that is cheap enough to be made for each input, in KiB.
const CHEAP_KIB: u64 = 64;

/// Runs a call into the library, and may watch it.
pub(crate) type Watch<'a> = &'a dyn Fn(&mut dyn FnMut());

pub(crate) fn check(data: &[u8], watch: Watch<'_>) {
    let Some((kind, rest)) = data.split_first() else {
        return;
    };
    match kind & 3 {
        0 => check_home(rest, false, watch),
        1 => check_home(rest, true, watch),
        2 => check_bundle(rest, watch),
        _ => check_bundle(&bundle_of(rest), watch),
    }
}

fn check_home(data: &[u8], is_plain_text: bool, watch: Watch<'_>) {
    let mut parts = data.splitn(4, |byte| *byte == 0);
    let mut part = || parts.next().unwrap_or_default();
    let (first, next, temporary, keyfile) = (part(), part(), part(), part());
    let config = if is_plain_text {
        let sealed = seal_as_3_3(first, &KEY);
        let seal = json!({"version": 1, "mode": "keyfile"});
        json!({"apiKey": sealed, "_encrypted": true, "_seal": seal})
            .to_string()
            .into_bytes()
    } else {
        first.to_vec()
    };

    let scratch = Scratch::new();
    let home = scratch.home();
    for (name, bytes) in [
        ("agent.json", config.as_slice()),
        ("agent.json.next", next),
        ("agent.json.tmp-0123456789abcdef", temporary),
        ("keyfile", if keyfile.is_empty() { &KEY } else { keyfile }),
    ] {
        if !bytes.is_empty() {
            let path = home.path().join(name);
            fs::write(&path, bytes).unwrap();
            make_private(&path);
        }
    }
    let before = files(&scratch);

    let mut found = LoadOutcome::Absent;
    watch(&mut || found = load(&home));
    presentable(&found);
    assert!(
        config.is_empty() || !matches!(found, LoadOutcome::Absent),
        "a file that is there is not absent"
    );
    let token = token_of(&found);
    if is_plain_text && let Some(token) = &token {
        assert_eq!(token.as_bytes(), first, "another key than the sealed one");
    }
    drop(found);

    let mut pending = LoadOutcome::Absent;
    watch(&mut || pending = load_next(&home, &LoadOptions::default()));
    presentable(&pending);
    let pending = token_of(&pending);
    assert_eq!(files(&scratch), before, "a load wrote");

    let mut recovery = None;
    watch(&mut || recovery = Some(recover(&home, now())));
    assert_eq!(recovery.unwrap().fault, None);
    if token.is_some() {
        assert_eq!(token_of(&load(&home)), token, "a start lost the key");
        let still = token_of(&load_next(&home, &LoadOptions::default()));
        assert_eq!(still, pending, "a start lost the pending key");
    }
    assert!(
        recover(&home, now()).is_nothing(),
        "a second start found something to do"
    );
}

fn check_bundle(file: &[u8], watch: Watch<'_>) {
    let memory = serde_json::from_slice::<Value>(file)
        .ok()
        .and_then(|value| value.get("kdf")?.get("m")?.as_u64());
    // A derivation within the bounds takes the memory that the file asks for, and up to seconds.
    if memory.is_some_and(|memory| memory > CHEAP_KIB) {
        return;
    }
    let passphrase = Passphrase::parse(PASSPHRASE).unwrap();
    let mut outcome = None;
    watch(&mut || outcome = Some(import(file, &passphrase)));
    if let Err(error) = outcome.unwrap() {
        assert!(!error.to_string().is_empty() && !error.hint().is_empty());
        assert!(!error.to_string().chars().any(char::is_control), "{error}");
    }
}

/// A bundle that holds this, as docs/formats.md describes it.
pub(crate) fn bundle_of(content: &[u8]) -> Vec<u8> {
    static SEALER: LazyLock<Aes256Gcm> = LazyLock::new(|| {
        let params = argon2::Params::new(8, 1, 1, Some(32)).unwrap();
        let argon2 = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
        let mut key = [0; 32];
        argon2
            .hash_password_into(PASSPHRASE.as_bytes(), &SALT, &mut key)
            .unwrap();
        Aes256Gcm::new((&key).into())
    });
    let salt = STANDARD.encode(SALT);
    let header = format!("askalf-bundle v1 argon2id v=19 m=8 t=1 p=1 salt={salt}");
    let nonce = [5; 12];
    let payload = Payload {
        msg: content,
        aad: header.as_bytes(),
    };
    let sealed = SEALER.encrypt(&Nonce::from(nonce), payload).unwrap();
    let (text, tag) = sealed.split_at(sealed.len() - 16);
    json!({
        "format": "askalf-bundle", "version": 1,
        "kdf": {"name": "argon2id", "v": 19, "m": 8, "t": 1, "p": 1, "salt": salt},
        "sealed": STANDARD.encode([&nonce, tag, text].concat()),
    })
    .to_string()
    .into_bytes()
}

fn files(scratch: &Scratch) -> BTreeMap<String, Vec<u8>> {
    let files = scratch.snapshot().into_iter();
    files.map(|(name, (bytes, ..))| (name, bytes)).collect()
}

fn presentable(outcome: &LoadOutcome) {
    let text = outcome.to_string();
    assert!(!text.is_empty() && !text.chars().any(char::is_control), "{text}");
    assert!(outcome.hint().is_none_or(|hint| !hint.is_empty()));
}

fn token_of(outcome: &LoadOutcome) -> Option<String> {
    match outcome {
        LoadOutcome::Ready(credential) | LoadOutcome::Plaintext { credential, .. } => {
            Some(credential.token.expose_secret().to_owned())
        }
        LoadOutcome::Absent | LoadOutcome::Refused(_) => None,
    }
}
