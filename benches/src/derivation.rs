//! One derivation of `key_hash` by four libraries, in turns in one process.

use std::hint::black_box;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use askalf_bridge_auth::{KeyHash, PBKDF2_ROUNDS, Salt, Token};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use crate::figures::{Times, millis, table};

const TOKEN: &[u8] = b"sk_live_NdlPiGQ1nmIevDuBMbAnAodSO10UzbLG";
const SALT: [u8; 16] = [7; 16];
const RUNS: usize = 40;

type Derive = fn() -> [u8; 32];

const IMPLEMENTATIONS: [(&str, Derive); 5] = [
    ("ours, over RustCrypto `sha2`", ours),
    ("RustCrypto `pbkdf2`", rust_crypto),
    ("`aws-lc-rs`", aws_lc),
    ("`ring`", ring_lib),
    ("OpenSSL", open_ssl),
];

fn ours() -> [u8; 32] {
    let mut out = [0; 32];
    let text = std::str::from_utf8(TOKEN).unwrap_or_default();
    if let Ok(token) = Token::parse(text) {
        let hash = KeyHash::derive(&token, Salt::from_bytes(SALT)).to_string();
        let digits = hash.as_bytes().iter().skip(2 * SALT.len() + 1);
        let digits: Vec<u8> = digits.copied().collect();
        for (byte, pair) in out.iter_mut().zip(digits.chunks(2)) {
            let pair = std::str::from_utf8(pair).unwrap_or_default();
            *byte = u8::from_str_radix(pair, 16).unwrap_or_default();
        }
    }
    out
}

fn rust_crypto() -> [u8; 32] {
    let mut out = [0; 32];
    pbkdf2::pbkdf2_hmac::<sha2::Sha256>(TOKEN, &SALT, PBKDF2_ROUNDS, &mut out);
    out
}

fn aws_lc() -> [u8; 32] {
    let mut out = [0; 32];
    let rounds = NonZeroU32::new(PBKDF2_ROUNDS).unwrap_or(NonZeroU32::MIN);
    aws_lc_rs::pbkdf2::derive(
        aws_lc_rs::pbkdf2::PBKDF2_HMAC_SHA256,
        rounds,
        &SALT,
        TOKEN,
        &mut out,
    );
    out
}

fn ring_lib() -> [u8; 32] {
    let mut out = [0; 32];
    let rounds = NonZeroU32::new(PBKDF2_ROUNDS).unwrap_or(NonZeroU32::MIN);
    ring::pbkdf2::derive(ring::pbkdf2::PBKDF2_HMAC_SHA256, rounds, &SALT, TOKEN, &mut out);
    out
}

fn open_ssl() -> [u8; 32] {
    let mut out = [0; 32];
    let digest = openssl::hash::MessageDigest::sha256();
    let done = openssl::pkcs5::pbkdf2_hmac(TOKEN, &SALT, PBKDF2_ROUNDS as usize, digest, &mut out);
    if done.is_err() {
        out = [0; 32];
    }
    out
}

pub(crate) fn run() -> Result<String> {
    let expected = rust_crypto();
    for (name, derive) in IMPLEMENTATIONS {
        ensure!(derive() == expected, "{name} derives something else");
    }
    let mut times: [Vec<Duration>; 5] = Default::default();
    // In turns, so that a change of the machine's clock meets all alike.
    for _ in 0..RUNS {
        for ((_, derive), times) in IMPLEMENTATIONS.iter().zip(&mut times) {
            let began = Instant::now();
            black_box(derive());
            times.push(began.elapsed());
        }
    }
    let medians: Vec<Duration> = times
        .into_iter()
        .map(|times| Times::new(times).median())
        .collect();
    let ours = medians[0];
    let rows: Vec<Vec<String>> = IMPLEMENTATIONS
        .iter()
        .zip(&medians)
        .map(|((name, _), median)| {
            vec![
                (*name).to_owned(),
                millis(*median),
                format!("{:.2}", median.as_secs_f64() / ours.as_secs_f64()),
            ]
        })
        .collect();
    let (alone, together) = one_core()?;
    Ok(format!(
        "### One derivation\n\n{}\nTwo derivations at once on one core take {} each, {:.2} times one alone ({}): the system divides the core between \
         them.\n",
        table(&["library", "median", "beside ours"], &rows),
        millis(together),
        together.as_secs_f64() / alone.as_secs_f64(),
        millis(alone),
    ))
}

/// Median time of a derivation alone on a core, and of each of two at once on it.
fn one_core() -> Result<(Duration, Duration)> {
    let pinned = || -> Result<Vec<Duration>> {
        let mut core = CpuSet::new();
        core.set(0)?;
        sched_setaffinity(Pid::from_raw(0), &core)?;
        Ok((0..RUNS)
            .map(|_| {
                let began = Instant::now();
                black_box(ours());
                began.elapsed()
            })
            .collect())
    };
    let run = |threads: usize| -> Result<Duration> {
        let handles: Vec<_> = (0..threads).map(|_| std::thread::spawn(pinned)).collect();
        let mut all = Vec::new();
        for handle in handles {
            all.extend(
                handle
                    .join()
                    .map_err(|_| anyhow::anyhow!("a derivation panicked"))??,
            );
        }
        // The mean: on a shared core single times depend on where the turns fall.
        let count = u32::try_from(all.len()).unwrap_or(u32::MAX);
        Ok(all.iter().sum::<Duration>() / count)
    };
    Ok((run(1)?, run(2)?))
}
