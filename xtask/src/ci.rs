//! `cargo xtask ci`: everything that a change must pass. All steps run; the summary says which failed.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::{cargo, test, tools};

type Step = fn() -> Result<()>;

/// Runs every step.
pub(crate) fn run() -> Result<()> {
    let [setsid, coreutils] = tools::task_programs();
    tools::require(&[
        tools::c_compiler(),
        setsid,
        coreutils,
        tools::rustfmt(),
        tools::clippy(),
    ])?;
    let steps: [(&str, Step); 5] = [
        ("format", || cargo::run(&["fmt", "--all", "--check"])),
        ("lints", || {
            cargo::run(&[
                "clippy",
                "--locked",
                "--workspace",
                "--all-targets",
                "--",
                "-D",
                "warnings",
            ])
        }),
        ("each crate alone", each_crate_alone),
        ("tests", || test::run(&[])),
        ("documentation", documentation),
    ];
    let mut summary: Vec<(&str, Duration, Result<()>)> = Vec::new();
    for (name, step) in steps {
        println!("\n== {name}");
        let started = Instant::now();
        let result = step();
        if let Err(error) = &result {
            println!("== {name}: {error:#}");
        }
        summary.push((name, started.elapsed(), result));
    }

    println!();
    for (name, took, result) in &summary {
        println!(
            "{:<18} {:<6} {:>4} s",
            name,
            if result.is_ok() { "ok" } else { "FAILED" },
            took.as_secs()
        );
    }
    let failed: Vec<&str> = summary
        .iter()
        .filter(|(.., result)| result.is_err())
        .map(|(name, ..)| *name)
        .collect();
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

/// In a workspace, a crate that forgot to ask for a feature is given it by its neighbours; on its own it is not.
fn each_crate_alone() -> Result<()> {
    let mut failed = Vec::new();
    for package in packages()? {
        println!("   {package}");
        if cargo::run(&["check", "--locked", "--quiet", "--package", &package]).is_err() {
            failed.push(package);
        }
    }
    if !failed.is_empty() {
        bail!("does not build alone: {}", failed.join(", "));
    }
    Ok(())
}

/// The packages of the workspace.
fn packages() -> Result<Vec<String>> {
    let arguments = ["metadata", "--locked", "--no-deps", "--format-version", "1"];
    let output = cargo::cargo(&arguments)?
        .stderr(std::process::Stdio::inherit())
        .output()?;
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).context("cargo metadata failed")?;
    let packages = metadata["packages"]
        .as_array()
        .context("cargo metadata names no packages")?;
    Ok(packages
        .iter()
        .filter_map(|package| package["name"].as_str().map(str::to_owned))
        .collect())
}

fn documentation() -> Result<()> {
    let arguments = ["doc", "--locked", "--workspace", "--no-deps"];
    cargo::succeed(
        cargo::cargo(&arguments)?.env("RUSTDOCFLAGS", "-D warnings"),
        &arguments,
    )
}
