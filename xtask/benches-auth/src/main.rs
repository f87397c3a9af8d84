//! One derivation of a key's hash by this project and by the libraries that offer it, taken in turns in one process, so
//! that a change of the machine's speed meets them all. Prints one JSON object per implementation: the least and the
//! median time in milliseconds, and the ratio of the least to ours.
//!
//! `cargo run --release -- [rounds of turns, 60]`

#![allow(clippy::print_stdout, reason = "a benchmark prints")]

use std::num::NonZeroU32;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use askalf_bridge_auth::{KeyHash, PBKDF2_ROUNDS, Salt, Token};

const TOKEN: &str = "sk_live_NdlPiGQ1nmIevDuBMbAnAodSO10UzbLG";
const SALT: [u8; 16] = [7; 16];

/// Derives, and answers the digest in hex.
type Derive = fn(&Token) -> String;

const ALL: [(&str, Derive); 5] = [
    ("askalf", askalf),
    ("rustcrypto pbkdf2", rustcrypto),
    ("aws-lc-rs", aws_lc_rs),
    ("ring", ring_),
    ("openssl", openssl_),
];

fn main() -> ExitCode {
    let turns: usize = std::env::args()
        .nth(1)
        .and_then(|turns| turns.parse().ok())
        .unwrap_or(60);
    let Ok(token) = Token::parse(TOKEN) else {
        return ExitCode::FAILURE;
    };
    let expected = askalf(&token);
    let mut times = [const { Vec::<Duration>::new() }; ALL.len()];
    for turn in 0..turns.max(1) {
        for place in 0..ALL.len() {
            let index = (place + turn) % ALL.len();
            let began = Instant::now();
            let derived = ALL[index].1(&token);
            times[index].push(began.elapsed());
            if derived != expected {
                println!("{} derives something else", ALL[index].0);
                return ExitCode::FAILURE;
            }
        }
    }
    times.iter_mut().for_each(|times| times.sort());
    let millis = |duration: Duration| duration.as_secs_f64() * 1e3;
    let ours = millis(times[0][0]);
    for ((name, _), times) in ALL.iter().zip(&times) {
        let (least, median) = (millis(times[0]), millis(times[times.len() / 2]));
        let ratio = least / ours;
        println!(
            r#"{{"implementation":"{name}","least_ms":{least:.2},"median_ms":{median:.2},"ratio":{ratio:.2}}}"#
        );
    }
    ExitCode::SUCCESS
}

fn askalf(token: &Token) -> String {
    let hash = KeyHash::derive(token, Salt::from_bytes(SALT)).to_string();
    hash.split_once('.')
        .map(|(_, digest)| digest.to_owned())
        .unwrap_or_default()
}

fn rustcrypto(token: &Token) -> String {
    let mut digest = [0; 32];
    pbkdf2::pbkdf2_hmac::<sha2::Sha256>(
        token.expose_secret().as_bytes(),
        &SALT,
        PBKDF2_ROUNDS,
        &mut digest,
    );
    hex(&digest)
}

fn aws_lc_rs(token: &Token) -> String {
    use aws_lc_rs::pbkdf2::{PBKDF2_HMAC_SHA256, derive};
    let mut digest = [0; 32];
    derive(
        PBKDF2_HMAC_SHA256,
        rounds(),
        &SALT,
        token.expose_secret().as_bytes(),
        &mut digest,
    );
    hex(&digest)
}

fn ring_(token: &Token) -> String {
    use ring::pbkdf2::{PBKDF2_HMAC_SHA256, derive};
    let mut digest = [0; 32];
    derive(
        PBKDF2_HMAC_SHA256,
        rounds(),
        &SALT,
        token.expose_secret().as_bytes(),
        &mut digest,
    );
    hex(&digest)
}

fn openssl_(token: &Token) -> String {
    use openssl::{hash::MessageDigest, pkcs5::pbkdf2_hmac};
    let mut digest = [0; 32];
    let token = token.expose_secret().as_bytes();
    match pbkdf2_hmac(
        token,
        &SALT,
        PBKDF2_ROUNDS as usize,
        MessageDigest::sha256(),
        &mut digest,
    ) {
        Ok(()) => hex(&digest),
        Err(error) => error.to_string(),
    }
}

fn rounds() -> NonZeroU32 {
    NonZeroU32::new(PBKDF2_ROUNDS).unwrap_or(NonZeroU32::MIN)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
