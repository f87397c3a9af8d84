//! `cargo xtask prove cred | redaction`: the proofs that take too long for each change.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};

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

/// Runs each proof of the credential; an error where one fails.
pub(crate) fn cred() -> Result<()> {
    tools::require(&[tools::c_compiler(), tools::strace()])?;
    prove("askalf-cred", &CRED, None)?;
    println!("not run: cargo xtask fuzz, cargo xtask mutants");
    Ok(())
}

/// Runs each proof of the redaction; an error where one fails.
pub(crate) fn redaction() -> Result<()> {
    tools::require(&[tools::c_compiler()])?;
    let logs = tempfile::tempdir()?;
    ordinary_logs::make(logs.path())?;
    prove("askalf-exec", &REDACTION, Some(logs.path()))?;
    println!("not run: cargo xtask fuzz redactor");
    Ok(())
}

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
