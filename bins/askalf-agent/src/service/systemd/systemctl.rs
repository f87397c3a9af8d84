//! The service manager's own command.

use std::path::Path;
use std::process::{Command, Stdio};

use askalf_cli::Failure;

use super::Scope;
use crate::service::acts::Acts;
use crate::service::programs;

/// Where the reasons stand.
const HINT: &str = "see 'journalctl -u askalf-agent -n 20'; the same command goes on where this one stopped";

/// Whether this system was booted with systemd, as sd_booted(3) finds out.
pub(crate) fn is_booted() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// The arguments of `systemctl` behind those that choose the manager.
pub(super) fn words<'a>(scope: Scope, arguments: &[&'a str]) -> Vec<&'a str> {
    let user = (scope == Scope::User).then_some("--user");
    user.into_iter().chain(arguments.iter().copied()).collect()
}

/// Runs it; an error says what it said.
pub(super) fn run(scope: Scope, arguments: &[&str]) -> Result<(), Failure> {
    succeed("systemctl", &words(scope, arguments))
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

/// Runs another program to its end; an error says what it said.
pub(super) fn succeed(program: &str, arguments: &[&str]) -> Result<(), Failure> {
    programs::succeed(program, arguments, HINT)
}

impl Acts {
    pub(super) fn systemctl(&mut self, scope: Scope, arguments: &[&str]) -> Result<(), Failure> {
        self.run("systemctl", &words(scope, arguments), HINT)
    }
}
