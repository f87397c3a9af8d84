//! How much memory a reader allocates at most. Alone in its process, which counts.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test itself does")]

mod agent_json_case;
mod common;

use std::cell::Cell;

use agent_json_case::MOST_ALLOCATED;
use askalf_cred::{MAX_CONFIG_BYTES, load};
use common::{KEY, Scratch};
use peak_alloc::PeakAlloc;

#[global_allocator]
static COUNTED: PeakAlloc = PeakAlloc;

/// `fuzz/corpus/agent_json`.
const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/agent_json");

/// What a call allocates at its peak, beyond what was allocated before.
fn allocated(act: &mut dyn FnMut()) -> usize {
    let before = COUNTED.current_usage();
    COUNTED.reset_peak_usage();
    act();
    COUNTED.peak_usage() - before
}

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

/// One test, since the count is of the whole process.
#[test]
fn no_input_makes_a_reader_allocate_a_mebibyte() {
    let worst = costly_configs();
    // The bound is real: something gets near enough to it to show that memory is counted at all.
    assert!(worst > 2 * MAX_CONFIG_BYTES, "{worst}");
    println!(
        "proof: a load allocates at most {worst} bytes, an input of the fuzzer {}",
        corpus()
    );
}

fn corpus() -> usize {
    let worst = Cell::new(0);
    let mut inputs: Vec<Vec<u8>> = std::fs::read_dir(CORPUS)
        .unwrap()
        .map(|entry| std::fs::read(entry.unwrap().path()).unwrap())
        .collect();
    assert!(inputs.len() > 100, "the corpus is not there");
    // The costliest of one file, in every place where a file is read.
    let [(head, unit, tail), ..] = SHAPES;
    let config = sizes(head, unit, tail).swap_remove(0);
    let objects = sizes(SHAPES[3].0, SHAPES[3].1, SHAPES[3].2);
    for text in objects.iter().chain([&config]) {
        inputs.push(
            [
                &b"d"[..],
                text.as_bytes(),
                b"\0",
                text.as_bytes(),
                b"\0",
                text.as_bytes(),
            ]
            .concat(),
        );
        inputs.push([&b"esk_live_x\0"[..], text.as_bytes(), b"\0", text.as_bytes()].concat());
        inputs.push([b"f", text.as_bytes()].concat());
        inputs.push([b"g", text.as_bytes()].concat());
    }
    for input in &inputs {
        agent_json_case::check(input, &|act| {
            let used = allocated(act);
            let shown = String::from_utf8_lossy(&input[..input.len().min(60)]).into_owned();
            assert!(
                used < MOST_ALLOCATED,
                "{shown}... makes a reader allocate {used} bytes"
            );
            worst.set(worst.get().max(used));
        });
    }
    worst.get()
}

const SHAPES: [(&str, &str, &str); 12] = [
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

fn costly_configs() -> usize {
    let scratch = Scratch::new();
    let home = scratch.home();
    scratch.write_keyfile(&KEY);
    let mut worst = 0;
    for (head, unit, tail) in SHAPES {
        for text in sizes(head, unit, tail) {
            scratch.write_config(&text);
            drop(text);
            let mut outcome = None;
            let used = allocated(&mut || outcome = Some(load(&home)));
            assert!(
                used < MOST_ALLOCATED,
                "{head}{unit}... makes a load allocate {used} bytes"
            );
            worst = worst.max(used);
        }
    }
    worst
}
