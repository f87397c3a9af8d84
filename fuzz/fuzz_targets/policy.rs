//! The reader of policy.json and its decisions meet anything. What an input means and what must hold stands in the case
//! itself, which the tests of askalf-exec replay too.

#![no_main]

#[path = "../../crates/askalf-exec/tests/policy_case/mod.rs"]
mod policy_case;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| policy_case::check(data));
