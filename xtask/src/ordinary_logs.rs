//! Logs without secrets, made here and now by real builds and the system's own tools.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use askalf_e2e::workspace_root;

use crate::cargo;

/// Most bytes of one log, so that none outweighs the others.
const MOST: u64 = 4 << 20;

/// Writes what each command prints into a file of `folder`. One that cannot be run here is passed over, and said to be.
pub(crate) fn make(folder: &Path) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let target = scratch.path().join("target");
    let mut build = cargo::cargo(&["check", "-vv", "--package", "askalf-cred", "--tests"])?;
    // Each crate anew, or nothing is printed.
    build.env("CARGO_TARGET_DIR", &target);
    let npm = [
        "install",
        "--loglevel",
        "silly",
        "--no-audit",
        "--no-fund",
        "typescript",
        "eslint",
        "webpack",
    ];
    let commands: [(&str, Command); 8] = [
        ("cargo", build),
        (
            "gcc",
            with(
                "sh",
                &[
                    "-c",
                    "find ~/.cargo/registry/src -name '*.c' | head -n 400 | while read -r file; do gcc -v -Wall -Wextra -Wconversion -fsyntax-only \"$file\"; done",
                ],
            ),
        ),
        ("npm", with("npm", &npm)),
        ("git", with("git", &["log", "--stat"])),
        ("apt", with("apt-cache", &["dump"])),
        ("packages", with("dpkg", &["-l"])),
        ("journal", with("journalctl", &["--no-pager"])),
        ("files", with("find", &["/usr", "/etc", "-ls"])),
    ];
    for (name, mut command) in commands {
        if name == "npm" {
            command.current_dir(scratch.path());
        } else {
            command.current_dir(workspace_root()?);
        }
        let path = folder.join(name);
        let log = File::create(&path).with_context(|| path.display().to_string())?;
        let ran = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log.try_clone()?)
            .status();
        let bytes = log.metadata()?.len();
        match ran {
            Ok(status) => println!("{name}: {bytes} bytes of output, {status}"),
            Err(_) => println!("{name}: not run, the program is not there"),
        }
        log.set_len(bytes.min(MOST))?;
    }
    Ok(())
}

fn with(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}
