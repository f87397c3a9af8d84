//! Tasks of the workspace: `cargo xtask demo | test | test-windows | test-systemd | ci | bench | prove | fuzz | mutants`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is a command line")]

mod bench;
mod bench_output;
mod benchmarks_page;
mod cargo;
mod ci;
#[allow(
    dead_code,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "the throwaway server of the tests, which fails as a test does"
)]
#[path = "../../crates/askalf-store/tests/postgres_server/cluster.rs"]
mod cluster;
mod container;
mod demo;
mod fuzz;
mod lines;
mod mutants;
mod ordinary_logs;
mod prove;
mod rootfs;
mod systemd;
mod test;
mod tools;
mod totals;
mod windows;

use std::process::ExitCode;

const HELP: &str = "\
Tasks of the workspace

Usage: cargo xtask <TASK>

Tasks:
  demo           Build; then a bridge and a device in a scratch folder: tasks, restarts, kills, a new host name
  test [ARGS]    Build the binaries once and run every test; ARGS replace '--workspace' of cargo test
  test-windows   Build for Windows and run the agent's tests under Wine, then an agent there against a bridge here
  test-systemd [--restarts N]
                 Install the agent as a service in a container that boots systemd; restarts, reboots, profiles
  ci             Format, lints, each crate alone, tests, documentation, Windows: everything that a change must pass
  bench [NAME]   Measure and write docs/benchmarks.md; without a name, list the benches
  prove cred     The slow proofs of the credential: a kill and a failure at every system call, races, churn
  prove faults   Delivery: both sides killed for ten minutes under load, and the network cut for a minute
  prove simulation
                 A hundred million steps of the agent's state machine in a world of faults
  prove redaction
                 A thousand secrets cut at every byte, and what redaction takes out of ordinary logs
  prove rotation 200 rotations of a device's key, with agent and bridge killed in the middle of them
  fuzz [TARGET] [--seconds N]
                 Feed the readers what a fuzzer makes up, for 600 s unless told otherwise
  mutants [ARGS] Change the credential's code in one place at a time, and list what no test notices; hours

Needs a stable Rust toolchain, a C compiler, util-linux and coreutils; 'ci' also rustfmt and clippy; 'prove cred' strace;
'test-systemd' root, systemd-container, debootstrap and iproute2; 'fuzz' a nightly toolchain and cargo-fuzz; 'mutants'
cargo-mutants. Windows needs Debian's packages rustc-web, cargo-web, rust-web-src and gcc-mingw-w64-x86-64-posix, and wine and
wine64 to run there; without them 'ci' says that it was not run.
Root has what is missing installed, where the system's package manager can.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        [] | ["help"] => {
            println!("{HELP}");
            return ExitCode::from(u8::from(words.is_empty()) * 2);
        }
        words
            if words
                .iter()
                .take_while(|word| **word != "--")
                .any(|word| matches!(*word, "-h" | "--help")) =>
        {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        ["demo"] => demo::run(),
        ["test", arguments @ ..] => test::run(arguments),
        ["test-windows"] => windows::test(),
        ["test-systemd", arguments @ ..] => systemd::test(arguments),
        ["ci"] => ci::run(),
        ["bench"] => {
            println!("{}", bench::LIST);
            return ExitCode::SUCCESS;
        }
        ["bench", "start"] => bench::start(),
        ["bench", "load"] => bench::load(),
        ["bench", "output"] => bench_output::output(),
        ["bench", "idle"] => bench_output::idle(),
        ["bench", "auth"] => bench::auth(),
        ["bench", "redact"] => bench::redact(),
        ["prove", "cred"] => prove::cred(),
        ["prove", "faults"] => prove::faults(),
        ["prove", "simulation"] => prove::simulation(),
        ["prove", "redaction"] => prove::redaction(),
        ["prove", "rotation"] => prove::rotation(),
        ["fuzz", arguments @ ..] => fuzz::run(arguments),
        ["mutants", arguments @ ..] => mutants::run(arguments),
        _ => {
            eprintln!("error: no task '{}'\nhint: cargo xtask --help", words.join(" "));
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
