#![allow(dead_code, reason = "each test file uses its own part")]

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, SystemTime};

use aes_gcm::aead::{Aead, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce};
use askalf_bridge_auth::Token;
use askalf_cred::{AgentConfig, Home, Saved, SealMode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

#[cfg(unix)]
#[path = "unix.rs"]
mod system;
#[cfg(windows)]
#[path = "windows.rs"]
mod system;

pub(crate) use system::*;

pub(crate) const TOKEN: &str = "sk_live_1qhYezFEMXjKWcErbnytdqelY1sf6ZaV";
pub(crate) const OTHER_TOKEN: &str = "sk_live_vPqnz5lTkBobfaRRN6BJnkXrULnuOa8x";
pub(crate) const KEY: [u8; 32] = [7; 32];
/// The id of [`KEY`], from `openssl dgst -sha256 -mac HMAC`.
pub(crate) const KEY_ID: &str = "45d12c8f5484557e";

/// A home in a folder that goes with it.
pub(crate) struct Scratch(tempfile::TempDir);

impl Scratch {
    pub(crate) fn new() -> Self {
        let scratch = Self(tempfile::tempdir().unwrap());
        scratch.home().create().unwrap();
        scratch
    }

    pub(crate) fn home(&self) -> Home {
        Home::new(self.0.path().join("home"))
    }

    pub(crate) fn write_config(&self, text: impl AsRef<[u8]>) {
        fs::write(self.home().config_path(), text).unwrap();
    }

    pub(crate) fn write_keyfile(&self, bytes: &[u8]) {
        fs::write(self.home().keyfile_path(), bytes).unwrap();
        make_private(&self.home().keyfile_path());
    }

    /// Everything in the home: name, bytes, and what the system says of each.
    pub(crate) fn snapshot(&self) -> BTreeMap<String, (Vec<u8>, Stat)> {
        let entry = |entry: std::io::Result<fs::DirEntry>| {
            let entry = entry.unwrap();
            let facts = fs::symlink_metadata(entry.path()).unwrap();
            let bytes = if facts.is_file() {
                fs::read(entry.path()).unwrap()
            } else {
                Vec::new()
            };
            (entry.file_name().into_string().unwrap(), (bytes, stat(&facts)))
        };
        fs::read_dir(self.home().path()).unwrap().map(entry).collect()
    }

    /// The names in the home, sorted, but for the lock.
    pub(crate) fn names(&self) -> Vec<String> {
        self.snapshot()
            .into_keys()
            .filter(|name| name != "agent.json.lock")
            .collect()
    }
}

/// A text for a person, with `~` for the home and `/` between names on every system.
pub(crate) fn readable(text: &str, home: &Home) -> String {
    let home = home.path().display().to_string();
    text.replace(&format!("{home}{}", std::path::MAIN_SEPARATOR), "~/")
        .replace(&home, "~")
}

pub(crate) fn token(text: &str) -> Token {
    Token::parse(text).unwrap()
}

/// 2026-01-31T23:59:59Z
pub(crate) fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_769_903_999)
}

pub(crate) fn save(home: &Home, text: &str, mode: SealMode) -> Saved {
    askalf_cred::save(home, &token(text), &AgentConfig::default(), mode, now()).unwrap()
}

/// base64 of nonce, tag and ciphertext.
pub(crate) fn seal_as_3_3(text: &[u8], key: &[u8; 32]) -> String {
    let nonce = [3; 12];
    let sealed = Aes256Gcm::new(key.into())
        .encrypt(&Nonce::from(nonce), text)
        .unwrap();
    let (text, tag) = sealed.split_at(sealed.len() - 16);
    STANDARD.encode([&nonce, tag, text].concat())
}

pub(crate) fn unseal_as_3_3(sealed: &str, keyfile: &[u8]) -> Option<String> {
    let blob = STANDARD.decode(sealed).ok()?;
    let (head, text) = blob.split_at_checked(28)?;
    let (nonce, tag) = head.split_at(12);
    let nonce = Nonce::try_from(nonce).ok()?;
    let key: &[u8; 32] = keyfile.try_into().ok()?;
    let plain = Aes256Gcm::new(key.into())
        .decrypt(&nonce, [text, tag].concat().as_slice())
        .ok()?;
    Some(String::from_utf8_lossy(&plain).into_owned())
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}
