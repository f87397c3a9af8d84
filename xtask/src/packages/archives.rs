//! Archives: checked as one who downloads them would, unpacked, and run where nothing else is.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::{Made, name, say};
use crate::windows;

pub(super) fn test(made: &Made) -> Result<()> {
    let sums = made.one("SHA256SUMS", "SHA256SUMS")?;
    let folder = sums.parent().context("the sums stand in no folder")?;
    run(Command::new("sha256sum")
        .args(["--check", "--strict", "--quiet"])
        .arg(&sums)
        .current_dir(folder))?;
    run(Command::new("openssl")
        .args(["pkeyutl", "-verify", "-rawin", "-pubin", "-inkey"])
        .arg(&made.public_key)
        .arg("-in")
        .arg(&sums)
        .arg("-sigfile")
        .arg(made.one("SHA256SUMS", ".sig")?))?;
    say("sums are right, and OpenSSL finds the signature good");

    let version = env!("CARGO_PKG_VERSION");
    for program in ["askalf-agent", "askalf-bridge"] {
        let archive = made.one(&format!("{program}-"), "-linux.tar.gz")?;
        let unpacked = tempfile::tempdir()?;
        run(Command::new("tar")
            .arg("-xzf")
            .arg(&archive)
            .arg("-C")
            .arg(unpacked.path()))?;
        let folder = unpacked.path().join(name(&archive).trim_end_matches(".tar.gz"));
        // A root with nothing in it: no library, no loader.
        let root = tempfile::tempdir()?;
        fs::copy(folder.join(program), root.path().join(program))?;
        let said = run(Command::new("chroot")
            .arg(root.path())
            .args([&format!("/{program}"), "--version"]))?;
        ensure!(
            said.trim() == format!("{program} {version}"),
            "{program} says {said:?}"
        );
        say(&format!(
            "{}: {} files; {program} runs in an empty root, {} KiB",
            name(&archive),
            count(&folder)?,
            fs::metadata(folder.join(program))?.len().div_ceil(1024)
        ));
    }

    let archive = made.one("askalf-agent-", "-windows.zip")?;
    let unpacked = tempfile::tempdir()?;
    run(Command::new("unzip")
        .arg("-q")
        .arg(&archive)
        .arg("-d")
        .arg(unpacked.path()))?;
    let folder = unpacked.path().join(name(&archive).trim_end_matches(".zip"));
    let program = folder.join("askalf-agent.exe");
    only_system_libraries(&program)?;
    let files = count(&folder)?;
    let said = windows::run_program(&program, &["--version"])?;
    ensure!(
        said.trim() == format!("askalf-agent {version}"),
        "askalf-agent.exe says {said:?}"
    );
    say(&format!(
        "{}: {files} files; askalf-agent.exe runs under Wine, {} KiB, with libraries of Windows alone",
        name(&archive),
        fs::metadata(&program)?.len().div_ceil(1024)
    ));
    Ok(())
}

/// That a user needs no library beside the program.
fn only_system_libraries(program: &Path) -> Result<()> {
    let said = run(Command::new("x86_64-w64-mingw32-objdump").arg("-p").arg(program))?;
    let foreign: Vec<&str> = said
        .lines()
        .filter_map(|line| line.trim().strip_prefix("DLL Name: "))
        .filter(|library| {
            let library = library.to_lowercase();
            ["libgcc", "libstdc++", "libwinpthread", "libssp"]
                .iter()
                .any(|begin| library.starts_with(begin))
        })
        .collect();
    ensure!(
        foreign.is_empty(),
        "the program wants {foreign:?}, which Windows does not have"
    );
    Ok(())
}

fn count(folder: &Path) -> Result<usize> {
    let mut files = 0;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        files += if path.is_dir() { count(&path)? } else { 1 };
    }
    Ok(files)
}

fn run(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    Ok(askalf_e2e::run(&name, command, b"")?
        .expect_code(0)
        .context(name)?
        .stdout)
}
