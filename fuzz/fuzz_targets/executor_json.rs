//! What a model's program writes may be anything. What must hold stands in the case, which a test of askalf-exec replays too.

#![no_main]

#[path = "../../crates/askalf-exec/tests/executor_json_case/mod.rs"]
mod executor_json_case;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| executor_json_case::check(data));
