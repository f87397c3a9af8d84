//! How long a start waits for its credential: one load and unseal, from a warm cache. No derivation is on this path.
//!
//! `cargo bench -p askalf-cred`

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints its result and fails as it likes"
)]

use std::time::{Duration, Instant, SystemTime};

use askalf_bridge_auth::Token;
use askalf_cred::{AgentConfig, Home, LoadOutcome, SealMode, load, save, stamp};

const ROUNDS: usize = 10_000;
/// What a load may cost on any machine that an agent runs on.
const TARGET: Duration = Duration::from_micros(100);

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

    let before = stamp(&home);
    let load_median = median(|| assert!(matches!(load(&home), LoadOutcome::Ready(_))));
    let stamp_median = median(|| assert_eq!(stamp(&home), before));
    let verdict = if load_median <= TARGET { "within" } else { "over" };
    println!("load and unseal: median {load_median:?} of {ROUNDS}, {verdict} the target of {TARGET:?}");
    println!("stamp: median {stamp_median:?}");
}

fn median(mut run: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[ROUNDS / 2]
}
