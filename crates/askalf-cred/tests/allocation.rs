//! How much memory a reader allocates at most. Alone in its process, which counts.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test itself does")]

mod common;

use askalf_cred::{MAX_CONFIG_BYTES, load};
use common::{KEY, Scratch};
use peak_alloc::PeakAlloc;

#[global_allocator]
static COUNTED: PeakAlloc = PeakAlloc;

const MOST: usize = 1024 * 1024;

/// `unit` again and again between `head` and `tail`, as often as the size of a config allows, and then ever less often: the
/// costliest input is the longest that is not refused at once.
fn sizes(head: &str, unit: &str, tail: &str) -> Vec<String> {
    let most = (MAX_CONFIG_BYTES - head.len() - tail.len()) / unit.len();
    let mut counts = vec![most];
    while counts.last().is_some_and(|count| *count > 16) {
        counts.push(counts[counts.len() - 1] * 7 / 8);
    }
    let text = |count: usize| [head, &unit.repeat(count), tail].concat();
    counts.into_iter().map(text).collect()
}

#[test]
fn no_config_makes_a_reader_allocate_a_mebibyte() {
    let scratch = Scratch::new();
    let home = scratch.home();
    scratch.write_keyfile(&KEY);
    let shapes = [
        ("{\"apiKey\":\"", "x", "\"}"),
        ("{\"apiKey\":\"", "\\u0078", "\"}"),
        ("{\"apiKey\":\"AAAA", "AAAA", "\",\"_encrypted\":true}"),
        ("{\"x\":[", "{\"\":0},", "0],\"apiKey\":\"sk\"}"),
        ("{\"x\":[", "[0],", "0],\"apiKey\":\"sk\"}"),
        ("{\"x\":[", "[],", "0],\"apiKey\":\"sk\"}"),
        ("{\"x\":[", "0,", "0],\"apiKey\":\"sk\"}"),
        ("{\"x\":[", "\"\",", "0],\"apiKey\":\"sk\"}"),
        ("{\"x\":", "{\"\":", "0"),
        ("", "[", ""),
        ("{\"_seal\":{\"x\":[", "{\"\":0},", "0]},\"apiKey\":\"sk\"}"),
        ("{\"apiKey\":[", "{\"\":0},", "0]}"),
    ];
    let mut worst = 0;
    for (head, unit, tail) in shapes {
        for text in sizes(head, unit, tail) {
            scratch.write_config(&text);
            drop(text);
            let before = COUNTED.current_usage();
            COUNTED.reset_peak_usage();
            let outcome = load(&home);
            let used = COUNTED.peak_usage() - before;
            assert!(used < MOST, "{head}{unit}... makes a load allocate {used} bytes");
            worst = worst.max(used);
            drop(outcome);
        }
    }
    // The bound is real: something gets near enough to it to show that memory is counted at all.
    assert!(worst > 2 * MAX_CONFIG_BYTES, "{worst}");
    println!("at most {worst} bytes");
}
