//! No agent of the npm package runs beside this one.

use askalf_cli::ExitCode;

use super::{Finding, Subject};
use crate::doctor::processes::Process;

pub(super) const ID: &str = "old-agent";

/// Paths and names of the package's program.
const NAMES: [&str; 3] = ["@askalf/agent", "askalf-agent", "askalf/agent"];

pub(super) fn check(subject: &Subject) -> Finding {
    let Some(processes) = &subject.processes else {
        return Finding::skipped(ID, "this system's processes are not looked at");
    };
    let pids: Vec<String> = processes
        .iter()
        .filter(|process| is_old_agent(process))
        .map(|process| process.pid.to_string())
        .collect();
    if pids.is_empty() {
        return Finding::ok(ID, "none runs");
    }
    Finding::problem(
        ID,
        ExitCode::Failed,
        "old-agent-running",
        format!(
            "the agent of the npm package runs too: process {}",
            pids.join(", ")
        ),
        "stop it and take it out of what starts it, then 'npm uninstall -g @askalf/agent': both take the device's place from each other",
    )
}

fn is_old_agent(process: &Process) -> bool {
    matches!(process.program(), "node" | "nodejs" | "node.exe" | "bun")
        && NAMES.iter().any(|name| process.mentions(name))
}
