//! `cargo xtask prove NAME`: the proofs that take too long for each change.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use askalf_e2e::kills::{Plan, kill_again_and_again};

use crate::{cargo, lines, ordinary_logs, tools};

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

const NETWORK: [Proof; 1] = [Proof {
    name: "a task under a cut and under a silent network, a minute and more",
    arguments: &["--test", "network_faults", "--", "--ignored", "--nocapture"],
    variables: &[],
}];

const SIMULATION: [Proof; 1] = [Proof {
    name: "a hundred million steps of the state machine in a world of faults",
    arguments: &["--release", "--test", "simulation", "--", "--nocapture"],
    variables: &[("ASKALF_SIMULATION_STEPS", "100000000")],
}];

/// Ten minutes of kills: each side 40 times at least, and 3,000 executions.
const KILLS: Plan = Plan {
    windows: 12,
    killing: Duration::from_secs(50),
    between: (Duration::from_secs(5), Duration::from_secs(15)),
    rate: 20,
    grace: Duration::from_secs(60),
    seed: 20_261_124,
};

const REDACTION: [Proof; 2] = [
    Proof {
        name: "a thousand secrets, cut at every byte and short ones at every pair of bytes",
        arguments: &["--test", "redaction", "--", "--nocapture"],
        variables: &[("ASKALF_REDACTION_SECRETS", "900")],
    },
    Proof {
        name: "ten megabytes of ordinary logs",
        arguments: &["--test", "ordinary_logs", "--", "--ignored", "--nocapture"],
        variables: &[],
    },
];

const ROTATION: [Proof; 1] = [Proof {
    name: "200 rotations of a device's key, with agent and bridge killed at moments that a seed chooses",
    arguments: &[
        "--test",
        "rotation",
        "--",
        "--nocapture",
        "whatever_is_killed_during_a_rotation",
    ],
    variables: &[("ASKALF_ROTATIONS", "200")],
}];

/// The proofs of the credential.
pub(crate) fn cred() -> Result<()> {
    tools::require(&[tools::c_compiler(), tools::strace()])?;
    prove("askalf-cred", &CRED, None)?;
    println!("not run: cargo xtask fuzz, cargo xtask mutants");
    Ok(())
}

/// The proof of the agent's state machine.
pub(crate) fn simulation() -> Result<()> {
    prove("askalf-agent-core", &SIMULATION, None)
}

/// The proofs of delivery: both sides killed under load, and the network cut.
pub(crate) fn faults() -> Result<()> {
    println!("Building in release (whole-program optimisation: minutes) ...");
    let binaries = cargo::build(&["--release"])?;
    println!("\n== both sides killed every 5 to 15 s under 20 tasks a second");
    let folder = tempfile::tempdir()?;
    let report = kill_again_and_again(&binaries, folder.path(), KILLS)?;
    println!("{report}");
    ensure!(
        report.agent_kills >= 40 && report.bridge_kills >= 40 && report.accepted >= 3_000,
        "too few to prove anything: {report}"
    );
    prove("askalf-e2e", &NETWORK, None)
}

/// The proofs of the redaction.
pub(crate) fn redaction() -> Result<()> {
    tools::require(&[tools::c_compiler()])?;
    let logs = tempfile::tempdir()?;
    ordinary_logs::make(logs.path())?;
    prove("askalf-exec", &REDACTION, Some(logs.path()))?;
    println!("not run: cargo xtask fuzz redactor");
    Ok(())
}

/// Rotations of a key over its connection, with agent and bridge killed at moments that a seed chooses.
pub(crate) fn rotation() -> Result<()> {
    prove("askalf-e2e", &ROTATION, None)
}

/// Runs each proof; an error where one fails.
fn prove(package: &str, proofs: &[Proof], logs: Option<&Path>) -> Result<()> {
    let mut figures = Vec::new();
    let mut failed = Vec::new();
    for proof in proofs {
        println!("\n== {}", proof.name);
        let started = Instant::now();
        if let Err(error) = run(package, proof, logs, &mut figures) {
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

fn run(package: &str, proof: &Proof, logs: Option<&Path>, figures: &mut Vec<String>) -> Result<()> {
    let mut arguments = vec!["test", "--locked", "--package", package];
    arguments.extend(proof.arguments);
    let mut child = cargo::cargo(&arguments)?
        .envs(proof.variables.iter().copied())
        .envs(logs.map(|folder| ("ASKALF_ORDINARY_LOGS", folder)))
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
