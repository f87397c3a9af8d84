//! Cargo, as this process was started by it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use askalf_e2e::{Binaries, workspace_root};

/// The packages of the two binaries.
const BINARIES: [&str; 4] = ["--package", "askalf-agent", "--package", "askalf-bridge"];

/// The same, each for itself: built together they share the features of their libraries, and an agent that carries those of
/// the bridge is a fifth larger, on disk and in memory.
pub(crate) const EACH_BINARY: [[&str; 2]; 2] =
    [["--package", "askalf-agent"], ["--package", "askalf-bridge"]];

/// Cargo in the root of the workspace.
pub(crate) fn cargo(arguments: &[&str]) -> Result<Command> {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = cargo_of(Path::new(&program))?;
    command.args(arguments);
    Ok(command)
}

/// This cargo in the root of the workspace.
pub(crate) fn cargo_of(program: &Path) -> Result<Command> {
    let mut command = Command::new(program);
    command.current_dir(workspace_root()?);
    // Cargo sets these for this process; they are about this package and not the one that is built next.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") || name == "CARGO_CRATE_NAME"
        {
            command.env_remove(&*name);
        }
    }
    Ok(command)
}

/// Runs cargo to its end, with its output on ours.
pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    succeed(&mut cargo(arguments)?, arguments)
}

/// Runs a command that was made by [`cargo`] to its end.
pub(crate) fn succeed(command: &mut Command, arguments: &[&str]) -> Result<()> {
    let status = command.status().context("cargo cannot be run")?;
    if !status.success() {
        bail!("cargo {} failed", arguments.join(" "));
    }
    Ok(())
}

/// Builds the two binaries in the profile of this process and puts a copy aside: building the tests may link them anew,
/// with the features that tests need.
pub(crate) fn build_for_tests() -> Result<PathBuf> {
    let built = build(&[])?;
    let folder = profile_folder()?.join("under-test");
    std::fs::create_dir_all(&folder)?;
    for binary in [&built.agent, &built.bridge] {
        let copy = folder.join(binary.file_name().context("a binary without a name")?);
        // A new file and not the old one written over: that one may be running.
        let fresh = copy.with_extension("new");
        std::fs::copy(binary, &fresh)?;
        std::fs::rename(&fresh, &copy)?;
    }
    Ok(folder)
}

/// Builds the two binaries; in the profile of this process, or in release.
pub(crate) fn build(arguments: &[&str]) -> Result<Binaries> {
    let folder = profile_folder()?;
    if arguments == ["--release"] {
        for binary in EACH_BINARY {
            run(&[&["build", "--release"], &binary[..]].concat())?;
        }
        return Binaries::in_folder(&folder.with_file_name("release"));
    }
    run(&[&["build"], &BINARIES[..], arguments].concat())?;
    Binaries::in_folder(&folder)
}

/// The folder that everything is built under.
pub(crate) fn target_folder() -> Result<PathBuf> {
    let folder = profile_folder()?;
    let target = folder
        .parent()
        .context("this program stands in no target folder")?;
    Ok(target.to_owned())
}

/// The folder that this process was built into: the development profile, as the alias runs it.
fn profile_folder() -> Result<PathBuf> {
    let folder = std::env::current_exe()?
        .parent()
        .map(PathBuf::from)
        .context("this program stands in no folder")?;
    if !folder.ends_with("debug") {
        bail!(
            "run this as 'cargo xtask': it builds beside itself, and {} is not a development build",
            folder.display()
        );
    }
    Ok(folder)
}
