//! `cargo xtask ci`: everything that a change must pass. All steps run; the summary says which failed, and which could not be
//! run here.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::{cargo, test, tools, windows};

/// They need compilers of their own and take minutes to build: here only their form is looked at.
const WORKSPACES_APART: [&str; 2] = ["fuzz/Cargo.toml", "benches/Cargo.toml"];

/// An error is a failure. What cannot be run on this machine is said, and is not one.
type Step = fn() -> Result<Outcome>;

/// How a step that did not fail ended.
enum Outcome {
    Done,
    /// It was not run; the text says why, in one line.
    NotRun(String),
}

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
    let steps: [(&str, Step); 6] = [
        ("format", || {
            cargo::run(&["fmt", "--all", "--check"])?;
            for apart in WORKSPACES_APART {
                cargo::run(&["fmt", "--all", "--check", "--manifest-path", apart])?;
            }
            Ok(Outcome::Done)
        }),
        ("lints", || {
            cargo::run(&[
                "clippy",
                "--locked",
                "--workspace",
                "--all-targets",
                "--",
                "-D",
                "warnings",
            ])?;
            Ok(Outcome::Done)
        }),
        ("each crate alone", || each_crate_alone().map(|()| Outcome::Done)),
        ("tests", || test::run(&[]).map(|()| Outcome::Done)),
        ("documentation", || documentation().map(|()| Outcome::Done)),
        ("windows", for_windows),
    ];
    let mut summary: Vec<(&str, Duration, Result<Outcome>)> = Vec::new();
    for (name, step) in steps {
        println!("\n== {name}");
        let started = Instant::now();
        let result = step();
        match &result {
            Ok(Outcome::Done) => {}
            Ok(Outcome::NotRun(why)) => println!("not run: {why}"),
            Err(error) => println!("== {name}: {error:#}"),
        }
        summary.push((name, started.elapsed(), result));
    }

    println!();
    for (name, took, result) in &summary {
        println!(
            "{:<18} {:<7} {:>4} s",
            name,
            match result {
                Ok(Outcome::Done) => "ok",
                Ok(Outcome::NotRun(_)) => "not run",
                Err(_) => "FAILED",
            },
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

/// Compiles for Windows where the compiler for it is there or can be installed.
fn for_windows() -> Result<Outcome> {
    if let Err(error) = tools::require(&tools::windows()) {
        return Ok(Outcome::NotRun(in_one_line(&format!("{error:#}"))));
    }
    windows::check().map(|()| Outcome::Done)
}

fn in_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn documentation() -> Result<()> {
    let arguments = ["doc", "--locked", "--workspace", "--no-deps"];
    cargo::succeed(
        cargo::cargo(&arguments)?.env("RUSTDOCFLAGS", "-D warnings"),
        &arguments,
    )
}
