//! `cargo xtask prove cred` and `prove rotation`: the proofs of the credential that take too long for each change.

use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::{cargo, lines, tools};

/// What a test prints before a figure that is to stand at the end.
const FIGURE: &str = "proof: ";

struct Proof {
    name: &'static str,
    arguments: &'static [&'static str],
    variables: &'static [(&'static str, &'static str)],
}

const CRED: [Proof; 3] = [
    Proof {
        name: "each act killed at every system call, and with every call failing",
        arguments: &["--test", "syscalls", "--", "--ignored"],
        variables: &[],
    },
    Proof {
        name: "64 + 64 processes that create and rotate at once, 100 times",
        arguments: &["--test", "races", "--", "--nocapture", "--test-threads", "1"],
        variables: &[("ASKALF_RACE_PROCESSES", "64"), ("ASKALF_RACE_ROUNDS", "100")],
    },
    Proof {
        name: "a thousand loads in changing surroundings, and the corpus of the fuzzer",
        arguments: &[
            "--test",
            "churn",
            "--test",
            "corpus",
            "--test",
            "allocation",
            "--",
            "--nocapture",
        ],
        variables: &[],
    },
];

const ROTATION: [Proof; 1] = [Proof {
    name: "200 rounds of rotations of a device's key, with agent and bridge killed at moments that a seed chooses",
    arguments: &[
        "--test",
        "rotation",
        "--",
        "--nocapture",
        "whatever_is_killed_during_a_rotation",
    ],
    variables: &[("ASKALF_ROTATION_ROUNDS", "200")],
}];

/// Runs each proof; an error where one fails.
pub(crate) fn cred() -> Result<()> {
    tools::require(&[tools::c_compiler(), tools::strace()])?;
    run_all("askalf-cred", &CRED)?;
    println!("not run: cargo xtask prove rotation, cargo xtask fuzz, cargo xtask mutants");
    Ok(())
}

/// Rotations of a key over its connection, with agent and bridge killed at moments that a seed chooses.
pub(crate) fn rotation() -> Result<()> {
    run_all("askalf-e2e", &ROTATION)
}

fn run_all(package: &str, proofs: &[Proof]) -> Result<()> {
    let mut figures = Vec::new();
    let mut failed = Vec::new();
    for proof in proofs {
        println!("\n== {}", proof.name);
        let started = Instant::now();
        if let Err(error) = run(package, proof, &mut figures) {
            println!("== {error:#}");
            failed.push(proof.name);
        }
        figures.push(format!(
            "    {} s for {}",
            started.elapsed().as_secs(),
            proof.name
        ));
    }
    println!("\n{}", figures.join("\n"));
    if !failed.is_empty() {
        bail!("failed: {}", failed.join("; "));
    }
    Ok(())
}

fn run(package: &str, proof: &Proof, figures: &mut Vec<String>) -> Result<()> {
    let mut arguments = vec!["test", "--locked", "--package", package];
    arguments.extend(proof.arguments);
    let mut child = cargo::cargo(&arguments)?
        .envs(proof.variables.iter().copied())
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .context("cargo cannot be run")?;
    lines::pass_on(child.stdout.take().context("no output of cargo")?, |line| {
        if let Some((_, figure)) = line.split_once(FIGURE) {
            figures.push(figure.trim_end().to_owned());
        }
    })?;
    if !child.wait()?.success() {
        bail!("cargo {} failed", arguments.join(" "));
    }
    Ok(())
}
