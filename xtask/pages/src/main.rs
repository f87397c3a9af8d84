//! Writes man pages or completions of both command lines into a folder: `cargo xtask man DIR`, `cargo xtask completions DIR`; or the
//! agent's units of systemd, for packages.
//!
//! A program of its own, so that the other tasks need not be built anew with each change of a command line.

mod man;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use askalf_cli::Shell;
use clap::Command;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let [what, folder] = words[..] else {
        bail!("give 'man', 'completions' or 'units', and a folder");
    };
    let folder = Path::new(folder);
    fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    if what == "units" {
        return write_units(folder);
    }
    let programs = [
        (askalf_agent::NAME, askalf_agent::command()),
        (askalf_bridge::NAME, askalf_bridge::command()),
    ];
    for (program, command) in programs {
        match what {
            "man" => man::write_pages(command, folder)?,
            "completions" => write_completions(program, &command, folder)?,
            other => bail!("'{other}' is none of 'man', 'completions' and 'units'"),
        }
    }
    Ok(())
}

#[cfg(target_os = "linux")]
fn write_units(folder: &Path) -> Result<()> {
    for (name, text) in askalf_agent::package_units() {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))?;
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn write_units(_folder: &Path) -> Result<()> {
    bail!("units of systemd are made on Linux")
}

/// A file for each shell, by the name that the shell looks for.
fn write_completions(program: &'static str, command: &Command, folder: &Path) -> Result<()> {
    for shell in Shell::ALL {
        let path = folder.join(shell.file_name(program));
        fs::write(&path, shell.completions(program, command))
            .with_context(|| format!("{} cannot be written", path.display()))?;
    }
    Ok(())
}
