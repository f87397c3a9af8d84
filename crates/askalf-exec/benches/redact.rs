//! How fast text passes the redactor: ordinary text, text full of secrets, and text made to be slow. Beside it, in the same run, what
//! most programs do: a `RegexSet` that says which patterns are in a piece, and `replace_all` with each of those. Prints rows of a table.
//!
//! The peer gets the text line by line, which is the usual way to use regular expressions on a stream; so it sees no secret
//! of two lines (its pattern for private keys leaves out the first line alone), and needs no state.
//!
//! `cargo xtask bench redact`

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints its result and fails as it likes"
)]

use std::time::Duration;

use askalf_exec::redact::{Redaction, Secrets};
use regex::{Regex, RegexSet};
#[cfg(unix)]
use rustix::time::{ClockId, clock_gettime};

/// As the runner reads.
const PIECE: usize = 32 * 1024;
const SIZE: usize = 16 << 20;
/// The peer is given this much.
const PEER_SIZE: usize = 1 << 20;
const ROUNDS: usize = 5;

/// The same kinds as regular expressions, as far as they have that form.
const PATTERNS: [&str; 16] = [
    r"\bsk_(live|test)_[0-9A-Za-z+/=_-]{16,}|\bfk_[0-9a-f]{32,}",
    r"gh[pousr]_[0-9A-Za-z_.-]{20,}|github_pat_[0-9A-Za-z_]{20,}",
    r"gl(pat|dt|rt|rtr|cbt|ptt|ft|imt|soat|agent|oas)-[0-9A-Za-z_.-]{16,}",
    r"xox[bpares oecd]-[0-9A-Za-z%/+=-]{10,}|xapp-[0-9A-Za-z-]{10,}|hooks\.slack\.com/services/[0-9A-Za-z/_-]{16,}",
    r"A(KIA|SIA|BIA|CCA)[0-9A-Z]{16,}",
    r"AIza[0-9A-Za-z_-]{30,}|ya29\.[0-9A-Za-z_.-]{20,}|GOCSPX-[0-9A-Za-z_-]{20,}|1//0[0-9A-Za-z_-]{40,}",
    r"sk-(ant|proj|svcacct|admin|or)-[0-9A-Za-z_-]{20,}|sk-[0-9A-Za-z]{32,}|gsk_[0-9A-Za-z]{32,}",
    r"rk_(live|test)_\w{16,}|whsec_[0-9A-Za-z+/=_-]{20,}|npm_[0-9A-Za-z]{30,}|pypi-Ag[0-9A-Za-z_-]{40,}",
    r"SG\.[0-9A-Za-z_-]{22}\.[0-9A-Za-z_-]{20,}|hf_[0-9A-Za-z]{30,}|do[opr]_v1_[0-9a-f]{40,}|dckr_[po]at_[0-9A-Za-z_-]{20,}",
    r"eyJ[0-9A-Za-z_-]{13,}\.[0-9A-Za-z_.-]+",
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY[A-Z ]*-----",
    r#"://[^:/@?#\s"']{0,128}:[^@\s"']{1,256}@"#,
    r#"(?i)(password|passwd|passphrase|_pass|_pwd|secret|token)["']?\s{0,16}[=:]\s{0,16}["']?[^\s"']{4,}"#,
    r#"(?i)(api|access|secret|private|account|encryption|signing)[_-]?key["']?\s{0,16}[=:]\s{0,16}["']?[^\s"']{4,}"#,
    r#"(?i)authorization["']?\s{0,16}[=:]\s{0,16}["']?[a-z-]{0,16}\s+[^\s"']{4,}"#,
    r"(?i)bearer {1,4}[0-9A-Za-z._~+/=-]{16,}",
];

struct Peer {
    set: RegexSet,
    each: Vec<Regex>,
}

impl Peer {
    fn new() -> Self {
        Self {
            set: RegexSet::new(PATTERNS).unwrap(),
            each: PATTERNS
                .iter()
                .map(|pattern| Regex::new(pattern).unwrap())
                .collect(),
        }
    }

    fn run(&self, text: &str) -> usize {
        let mut length = 0;
        for line in text.split_inclusive('\n') {
            let found = self.set.matches(line);
            if !found.matched_any() {
                length += line.len();
                continue;
            }
            let mut line = line.to_owned();
            for index in found.iter() {
                line = self.each[index].replace_all(&line, "[redacted]").into_owned();
            }
            length += line.len();
        }
        length
    }
}

fn ours(redaction: &Redaction, text: &str) -> usize {
    let mut stream = redaction.stream();
    let mut length = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let at = (PIECE.min(rest.len())..=rest.len())
            .find(|at| rest.is_char_boundary(*at))
            .unwrap();
        length += stream.push(&rest[..at]).len();
        rest = &rest[at..];
    }
    length + stream.finish().len()
}

/// So many bytes of `unit`, again and again.
fn repeated(unit: &str, size: usize) -> String {
    unit.repeat(size.div_ceil(unit.len()))
}

/// Lines as builds print them, each different.
fn build_log(size: usize) -> String {
    let mut text = String::with_capacity(size + 200);
    let mut number = 0_u64;
    while text.len() < size {
        number = number
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let hash = number >> 20;
        text += &match hash % 6 {
            0 => format!(
                "   Compiling crate-{hash:x} v1.{}.{} (/src/crates/crate-{hash:x})\n",
                hash % 20,
                hash % 7
            ),
            1 => format!(
                "gcc -O2 -Wall -DNDEBUG -Iinclude -c -o obj/{hash:x}.o src/module_{}/{hash:x}.c\n",
                hash % 99
            ),
            2 => format!("test net::socket::case_{hash:x} ... ok ({} ms)\n", hash % 1000),
            3 => format!(
                "{hash:012x} INFO worker-{}: request handled status=200 bytes={hash}\n",
                hash % 16
            ),
            4 => format!(
                "npm http fetch GET 200 https://registry.example/pkg-{hash:x} {}ms (cache hit)\n",
                hash % 500
            ),
            _ => format!(
                "warning: unused variable: `value_{hash:x}`\n  --> src/lib.rs:{}:{}\n",
                hash % 4000,
                hash % 80
            ),
        };
    }
    text
}

fn main() {
    let redaction = Secrets::default().redaction(None);
    let peer = Peer::new();
    let texts: [(&str, String); 10] = [
        ("build log", build_log(SIZE)),
        ("one line of letters", repeated("abcdefghijklmnopqrstuvwxy", SIZE)),
        (
            "`password=hunter22 ` in each line of 80",
            repeated(&format!("{}password=hunter22 \n", "x".repeat(60)), SIZE),
        ),
        (
            "a private key after the other",
            repeated(
                &format!(
                    "-----BEGIN PRIVATE KEY-----\n{}-----END PRIVATE KEY-----\n",
                    "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj\n".repeat(26)
                ),
                SIZE,
            ),
        ),
        ("`-----BEGIN ` repeated", repeated("-----BEGIN ", SIZE)),
        (
            "`-----BEGIN PRIVATE KEY` repeated",
            repeated("-----BEGIN PRIVATE KEY", SIZE),
        ),
        ("`eyJ` repeated", repeated("eyJ", SIZE)),
        ("`password=` repeated", repeated("password=", SIZE)),
        ("`a=` repeated", repeated("a=", SIZE)),
        ("`://a:b` repeated", repeated("://a:b", SIZE)),
    ];
    for (name, text) in texts {
        let fast = fastest(text.len(), || assert!(ours(&redaction, &text) > 0));
        let part = text.get(..PEER_SIZE).unwrap();
        let slow = fastest(part.len(), || assert!(peer.run(part) > 0));
        println!("| {name} | {fast:.0} | {slow:.1} | {:.1} |", fast / slow);
    }
}

/// Megabytes a second in the fastest of the rounds, by the time that the thread had a processor: what else the machine does
/// matters less.
fn fastest(bytes: usize, mut run: impl FnMut()) -> f64 {
    let best = (0..ROUNDS)
        .map(|_| {
            let began = on_processor();
            run();
            on_processor() - began
        })
        .min()
        .unwrap();
    bytes as f64 / 1e6 / best.as_secs_f64()
}

/// Time that this thread has had a processor.
#[cfg(unix)]
fn on_processor() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap()
}

/// The time; here nothing says whose it was.
#[cfg(not(unix))]
fn on_processor() -> Duration {
    let began = std::time::SystemTime::UNIX_EPOCH;
    began.elapsed().unwrap()
}
