//! `cargo xtask man`, `cargo xtask completions`

use std::path::Path;

use anyhow::{Context, Result};

use crate::cargo;

/// Writes the man pages of both programs into a folder.
pub(crate) fn man(folder: &Path) -> Result<()> {
    write("man", folder)
}

/// Writes the completions of both programs for bash, zsh, fish and PowerShell into a folder.
pub(crate) fn completions(folder: &Path) -> Result<()> {
    write("completions", folder)
}

/// Writes the agent's units of systemd into a folder, as its package has them.
pub(crate) fn units(folder: &Path) -> Result<()> {
    write("units", folder)
}

fn write(what: &str, folder: &Path) -> Result<()> {
    // Cargo runs it from the root of the workspace.
    let folder = std::path::absolute(folder)?;
    let folder = folder.to_str().context("the folder's name is not UTF-8")?;
    cargo::run(&["run", "--quiet", "--package", "askalf-pages", "--", what, folder])
}
