//! The redactor meets any text in any pieces. What must hold stands in the case, which a test of askalf-exec replays too.

#![no_main]

#[path = "../../crates/askalf-exec/tests/redactor_case/mod.rs"]
mod redactor_case;

use libfuzzer_sys::fuzz_target;
use peak_alloc::PeakAlloc;

#[global_allocator]
static COUNTED: PeakAlloc = PeakAlloc;

/// Most memory for an input of no length: the patterns, several times over.
const LEAST_MEMORY: usize = 1 << 20;

fuzz_target!(|data: &[u8]| {
    let before = COUNTED.current_usage();
    COUNTED.reset_peak_usage();
    redactor_case::check(data);
    let used = COUNTED.peak_usage().saturating_sub(before);
    assert!(
        used < LEAST_MEMORY + 64 * data.len(),
        "{used} bytes for {}",
        data.len()
    );
});
