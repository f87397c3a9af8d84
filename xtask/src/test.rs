//! `cargo xtask test`

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use crate::cargo;
use crate::tools;
use crate::totals::Totals;

/// Runs the tests and prints their totals last.
pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    let [setsid, coreutils] = tools::task_programs();
    tools::require(&[tools::c_compiler(), tools::postgresql(), setsid, coreutils])?;
    let binaries = cargo::build_for_tests()?;

    let mut all = vec!["test", "--no-fail-fast"];
    if arguments.is_empty() {
        all.push("--workspace");
    }
    all.extend(arguments);
    let mut child = cargo::cargo(&all)?
        .env("ASKALF_TEST_BIN_DIR", &binaries)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cargo cannot be run")?;
    let totals = pass_on(child.stdout.take().context("no output of cargo")?)?;
    let status = child.wait()?;
    println!("\n{totals}");
    if !status.success() {
        bail!("cargo test failed");
    }
    Ok(())
}

/// Prints the output as it comes and counts on the way.
fn pass_on(output: impl std::io::Read) -> Result<Totals> {
    let mut totals = Totals::default();
    let mut lines = BufReader::new(output);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line)? > 0 {
        std::io::stdout().lock().write_all(&line)?;
        totals.add_line(&String::from_utf8_lossy(&line));
        line.clear();
    }
    Ok(totals)
}
