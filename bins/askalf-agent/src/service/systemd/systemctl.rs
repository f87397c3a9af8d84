//! The service manager's own command.

use std::path::Path;
use std::process::{Command, Stdio};

use askalf_cli::{ExitCode, Failure};

use super::Scope;

/// Whether this system was booted with systemd, as sd_booted(3) finds out.
pub(super) fn is_booted() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// The arguments of `systemctl` behind those that choose the manager.
pub(super) fn words<'a>(scope: Scope, arguments: &[&'a str]) -> Vec<&'a str> {
    let user = (scope == Scope::User).then_some("--user");
    user.into_iter().chain(arguments.iter().copied()).collect()
}

/// Runs it; an error says what it said.
pub(super) fn run(scope: Scope, arguments: &[&str]) -> Result<(), Failure> {
    let words = words(scope, arguments);
    succeed("systemctl", &words)
}

/// What it prints; empty where it fails.
pub(super) fn ask(scope: Scope, arguments: &[&str]) -> String {
    let output = Command::new("systemctl")
        .args(words(scope, arguments))
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    output
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        .unwrap_or_default()
}

/// Runs a program to its end; an error says what it said.
pub(super) fn succeed(program: &str, arguments: &[&str]) -> Result<(), Failure> {
    let line = format!("{program} {}", arguments.join(" "));
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| {
            Failure::new(
                ExitCode::Failed,
                format!("'{line}' cannot be run: {}", error.kind()),
            )
            .hint("install it, or run the command by hand ('--dry-run' shows all of them)")
        })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Failure::new(
        ExitCode::Failed,
        format!("'{line}' failed: {}", askalf_cli::one_line(said.trim())),
    )
    .hint("see 'journalctl -u askalf-agent -n 20'; the same command goes on where this one stopped"))
}
