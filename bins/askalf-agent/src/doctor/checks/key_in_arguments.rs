//! No key stands in the arguments of a process.

use askalf_cli::ExitCode;

use super::{Finding, Subject};
use crate::doctor::secrets::holds_key;

pub(super) const ID: &str = "key-in-arguments";

pub(super) fn check(subject: &Subject) -> Finding {
    let Some(processes) = &subject.processes else {
        return Finding::skipped(ID, "this system's processes are not looked at");
    };
    let shown: Vec<String> = processes
        .iter()
        .filter(|process| {
            let ours = process.mentions("askalf");
            let holds = |argument: &String| {
                subject
                    .token()
                    .is_some_and(|token| argument.contains(token.expose_secret()))
                    || (ours && holds_key(argument, None))
            };
            process.arguments.iter().any(holds)
        })
        .map(|process| format!("{} ({})", process.pid, process.program()))
        .collect();
    if shown.is_empty() {
        return Finding::ok(ID, "no process shows one");
    }
    Finding::problem(
        ID,
        ExitCode::Failed,
        "key-in-arguments",
        format!(
            "everybody on this machine can read a key in the arguments of process {}",
            shown.join(", ")
        ),
        "end it, start it without the key, and pair with a new one",
    )
}
