//! How long a start waits for its credential: one load and unseal, from a warm cache. No derivation is on this path. Beside it, in
//! the same run, what agents 2.0 to 3.2 did for each load. Prints rows of a table.
//!
//! `cargo xtask bench load`

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints its result and fails as it likes"
)]

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use aes_gcm::aead::{Aead, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce};
use askalf_bridge_auth::Token;
use askalf_cred::{AgentConfig, Home, LoadOutcome, SealMode, load, save, stamp};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

const ROUNDS: usize = 10_000;
/// A derivation takes a thousand times as long as a load.
const PEER_ROUNDS: usize = 41;
/// What a load may cost on any machine that an agent runs on.
const TARGET: Duration = Duration::from_micros(100);

/// What agent 2.0 wrote on a machine of this id: the vector `machine-key-2.0`.
const OLD_API_KEY: &str =
    "MhRiMqa3MdLYm50GuIZ3Cue6IKAuR9URbtYyxD8nLyGhJhVHCfA14kELHAUc/sFTVZAgZSbNWHvYuiF6k4wBH5l+OZw=";
const OLD_MACHINE: &str = "web-01:askalf-agent:x64:linux:no-network";
const OLD_TOKEN: &[u8] = b"sk_live_JeemnW3M3Rwj0Fc23cTKQ50bvpnpY3fx";

fn main() {
    let scratch = tempfile::tempdir().unwrap();
    let home = Home::new(scratch.path().join("home"));
    let token = Token::parse("sk_live_1qhYezFEMXjKWcErbnytdqelY1sf6ZaV").unwrap();
    let config = AgentConfig {
        url: Some("wss://bridge.example".into()),
        device_name: Some("bench".into()),
        ..AgentConfig::default()
    };
    save(&home, &token, &config, SealMode::Keyfile, SystemTime::UNIX_EPOCH).unwrap();
    let old = scratch.path().join("old.json");
    let text = serde_json::json!({"apiKey": OLD_API_KEY, "_encrypted": true, "url": "wss://bridge.example"});
    std::fs::write(&old, text.to_string()).unwrap();

    let before = stamp(&home);
    let (ours, ours_fastest) = times(ROUNDS, || assert!(matches!(load(&home), LoadOutcome::Ready(_))));
    let (peer, peer_fastest) = times(PEER_ROUNDS, || assert_eq!(load_as_2_0(&old), OLD_TOKEN));
    let (stamped, _) = times(ROUNDS, || assert_eq!(stamp(&home), before));
    let verdict = if ours < TARGET { "within" } else { "over" };
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    println!(
        "| load and unseal, median of {ROUNDS} | {:.1} µs ({verdict} the bar), fastest {:.1} µs |",
        micros(ours),
        micros(ours_fastest)
    );
    println!(
        "| the same by the machine key of agents 2.0 to 3.2, median of {PEER_ROUNDS} | {:.1} ms, fastest {:.1} ms |",
        micros(peer) / 1000.0,
        micros(peer_fastest) / 1000.0
    );
    println!(
        "| ratio of the medians; of the fastest, which other work on the machine distorts less | {:.0}; {:.0} |",
        peer.as_secs_f64() / ours.as_secs_f64(),
        peer_fastest.as_secs_f64() / ours_fastest.as_secs_f64()
    );
    println!(
        "| looking whether the files changed, median of {ROUNDS} | {:.1} µs |",
        micros(stamped)
    );
}

/// Reads the file, derives the key from the machine, unseals.
fn load_as_2_0(path: &Path) -> Vec<u8> {
    let config: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let blob = STANDARD.decode(config["apiKey"].as_str().unwrap()).unwrap();
    let (head, text) = blob.split_at(28);
    let (nonce, tag) = head.split_at(12);
    let digest = Sha256::digest(OLD_MACHINE.as_bytes());
    let password: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let cost = scrypt::Params::new(14, 8, 1).unwrap();
    let mut key = [0; 32];
    scrypt::scrypt(password.as_bytes(), b"askalf-agent-v2", &cost, &mut key).unwrap();
    Aes256Gcm::new((&key).into())
        .decrypt(&Nonce::try_from(nonce).unwrap(), [text, tag].concat().as_slice())
        .unwrap()
}

/// The median and the fastest.
fn times(rounds: usize, mut run: impl FnMut()) -> (Duration, Duration) {
    let mut times: Vec<Duration> = (0..rounds)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    (times[rounds / 2], times[0])
}
