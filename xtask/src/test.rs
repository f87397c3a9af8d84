//! `cargo xtask test`

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::cargo;
use crate::lines;
use crate::tools;
use crate::totals::Totals;

/// What a test prints before what it left out.
const NOT_RUN: &str = "not run: ";

/// What is never part of the tests.
const SLOW: &str = "the proofs that take longer: cargo xtask prove cred|faults|simulation|redaction|rotation, cargo xtask fuzz, cargo xtask mutants; cargo xtask test-systemd";

/// Runs the tests and prints their totals last, with what was not run.
pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    let [setsid, coreutils] = tools::task_programs();
    tools::require(&[tools::c_compiler(), tools::postgresql(), setsid, coreutils])?;
    // A test does without it, and says so.
    tools::offer(&[tools::strace()]);
    let binaries = cargo::build_for_tests()?;

    let mut all = vec!["test", "--no-fail-fast"];
    if arguments.is_empty() {
        all.push("--workspace");
    }
    all.extend(arguments);
    count(cargo::cargo(&all)?.env("ASKALF_TEST_BIN_DIR", &binaries))
}

/// Runs a `cargo test` to its end and prints its totals last.
pub(crate) fn count(command: &mut Command) -> Result<()> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cargo cannot be run")?;
    let mut totals = Totals::default();
    let mut not_run = vec![SLOW.to_owned()];
    lines::pass_on(child.stdout.take().context("no output of cargo")?, |line| {
        totals.add_line(line);
        if let Some(what) = line.strip_prefix(NOT_RUN) {
            not_run.push(what.trim_end().to_owned());
        }
    })?;
    let status = child.wait()?;
    println!("\n{totals}");
    for what in not_run {
        println!("{NOT_RUN}{what}");
    }
    if !status.success() {
        bail!("cargo test failed");
    }
    Ok(())
}
