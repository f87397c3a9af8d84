//! `cargo xtask mutants [ARGS]`: changes the code of askalf-cred in one place at a time, and sees which change no test notices.

use anyhow::Result;

use crate::{cargo, tools};

/// Runs cargo-mutants as `.cargo/mutants.toml` says. Takes hours for the whole crate; `--file` or `--shard` make it less.
pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    tools::require(&[tools::cargo_mutants(), tools::c_compiler()])?;
    let mut all = vec!["mutants", "--package", "askalf-cred"];
    all.extend(arguments);
    cargo::run(&all)
}
