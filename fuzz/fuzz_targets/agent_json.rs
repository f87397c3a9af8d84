//! The readers of agent.json, agent.json.next, keyfile and bundle meet anything. What an input means and what must hold
//! stands in the case itself, which the tests of askalf-cred replay too.

#![no_main]

#[path = "../../crates/askalf-cred/tests/agent_json_case/mod.rs"]
mod agent_json_case;
#[path = "../../crates/askalf-cred/tests/common/mod.rs"]
mod common;

use agent_json_case::{MOST_ALLOCATED, check};
use libfuzzer_sys::fuzz_target;
use peak_alloc::PeakAlloc;

#[global_allocator]
static COUNTED: PeakAlloc = PeakAlloc;

fuzz_target!(|data: &[u8]| {
    check(data, &|act| {
        let before = COUNTED.current_usage();
        COUNTED.reset_peak_usage();
        act();
        let used = COUNTED.peak_usage().saturating_sub(before);
        assert!(used < MOST_ALLOCATED, "{used} bytes");
    });
});
