//! Archives for systems without packages of ours: each unpacks into one folder of its own name.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::build::Platform;
use super::parts::Parts;
use super::tree::Content;
use super::{Program, Release, contents, output};

/// A `.tar.gz` for any Linux of this architecture.
pub(super) fn tarball(
    program: Program,
    binary: &Path,
    parts: &Parts,
    release: &Release,
    out: &Path,
) -> Result<()> {
    let name = name(program, Platform::Musl, release)?;
    let stage = tempfile::tempdir()?;
    let tree = contents::of_archive(program, Content::Copy(binary.to_owned()), parts, false);
    tree.lay(&stage.path().join(&name), release.epoch)?;
    output(
        Command::new("tar")
            .args([
                "--create",
                "--format=ustar",
                "--sort=name",
                "--owner=0",
                "--group=0",
                "--numeric-owner",
            ])
            .args(["--use-compress-program", "gzip -9 --no-name"])
            .arg("--file")
            .arg(out.join(format!("{name}.tar.gz")))
            .arg("--directory")
            .arg(stage.path())
            .arg(&name),
    )?;
    Ok(())
}

/// A `.zip` for Windows.
pub(super) fn zip(
    program: Program,
    binary: &Path,
    parts: &Parts,
    release: &Release,
    out: &Path,
) -> Result<()> {
    let name = name(program, Platform::Windows, release)?;
    let stage = tempfile::tempdir()?;
    let tree = contents::of_archive(program, Content::Copy(binary.to_owned()), parts, true);
    tree.lay(&stage.path().join(&name), release.epoch)?;
    let files: String = tree.paths().map(|path| format!("{name}/{path}\n")).collect();
    let archive = out.join(format!("{name}.zip"));
    let mut command = Command::new("zip");
    command
        // No owner, no time but the one of the file, which a zip keeps in local time.
        .args(["-X", "-9", "-q", "-@"])
        .arg(&archive)
        .env("TZ", "UTC")
        .current_dir(stage.path());
    askalf_e2e::run("zip", &mut command, files.as_bytes())?
        .expect_code(0)
        .context("zip")?;
    fs::metadata(&archive)?;
    Ok(())
}

fn name(program: Program, platform: Platform, release: &Release) -> Result<String> {
    Ok(format!(
        "{}-{}-{}",
        program.name(),
        release.version,
        platform.name()?
    ))
}
