//! A fuzzer decides what fails in the world of the simulation: sockets, processes, messages, keys. What must hold stands in
//! the world itself.

#![no_main]

#[allow(dead_code, reason = "the test of that name adds up what its runs come to")]
#[path = "../../crates/askalf-agent-core/tests/simulation/world/mod.rs"]
mod world;

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use world::{Dice, World};

/// Steps of a storm: what an input of some thousand bytes decides.
const STORM: u64 = 3_000;

fuzz_target!(|data: &[u8]| {
    World::run(Dice::Bytes(Arc::from(data), 0), STORM);
});
