//! A million steps through a world of faults. A failure names its seed.
//!
//! `ASKALF_SIMULATION_SEED=N` begins there, `ASKALF_SIMULATION_STEPS=100000000` makes it longer, `ASKALF_SIMULATION_TRACE=e17`
//! prints what concerns that execution.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a test, and what it came to"
)]

mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use world::{Dice, Figures, World};

/// Steps of one seed, in which things fail; those in which it recovers come on top.
const STORM: u64 = 10_000;

/// Steps of a run where nobody says otherwise.
const STEPS: u64 = 1_000_000;

#[test]
fn invariants_hold_in_a_world_of_faults() {
    let variable = |name: &str| {
        std::env::var(name)
            .ok()
            .and_then(|value| value.parse::<u64>().ok())
    };
    let steps = variable("ASKALF_SIMULATION_STEPS").unwrap_or(STEPS);
    let first = variable("ASKALF_SIMULATION_SEED").unwrap_or(0);
    let mut total = Figures::default();
    let mut seed = first;
    while total.steps < steps {
        match catch_unwind(AssertUnwindSafe(|| World::run(Dice::Seed(seed), STORM))) {
            Ok(figures) => total.add(&figures),
            Err(panic) => {
                eprintln!("the simulation failed with ASKALF_SIMULATION_SEED={seed}");
                resume_unwind(panic);
            }
        }
        seed += 1;
    }
    println!("proof: {} seeds, {total:?}", seed - first);
    // A world in which nothing happens proves nothing.
    for (what, count) in [
        ("executions", total.accepted),
        ("results told", total.told),
        ("interruptions by an end of the device", total.interrupted_there),
        ("interruptions for want of a name", total.not_named),
        ("kills of the device", total.device_kills),
        ("kills of the bridge", total.bridge_kills),
        ("silences", total.silences),
        ("wrong keys", total.wrong_keys),
        ("lost acknowledgements", total.lost_acks),
        ("registrations", total.registrations),
    ] {
        assert!(
            count * 10_000 > steps,
            "too few {what}: {count} in {} steps",
            total.steps
        );
    }
}

#[test]
fn what_the_fuzzer_found_holds() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/connection");
    let mut inputs = 0;
    for entry in std::fs::read_dir(corpus).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        World::run(Dice::Bytes(bytes.into(), 0), STORM);
        inputs += 1;
    }
    assert!(inputs > 0, "no corpus");
}
