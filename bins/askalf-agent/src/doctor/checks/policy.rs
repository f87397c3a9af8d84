//! The policy can be read; without it no task runs.

use askalf_cli::ExitCode;
use askalf_exec::Origin;

use super::{Finding, Subject};
use crate::guard::policy_file;

pub(super) const ID: &str = "policy";

pub(super) fn check(subject: &Subject) -> Finding {
    match policy_file(subject.home()).current() {
        Ok(policy) if policy.origin() == Origin::BuiltIn => {
            Finding::ok(ID, "there is none: every task is allowed")
        }
        Ok(policy) => Finding::ok(
            ID,
            format!(
                "{} rules, else {}",
                policy.rules().len(),
                policy.default_effect().as_str()
            ),
        ),
        Err(error) => Finding::problem(
            ID,
            ExitCode::Configuration,
            error.id(),
            format!("every task is refused: {error}"),
            error.hint(),
        ),
    }
}
