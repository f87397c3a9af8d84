//! `agent.json` and what it names can be used.

use askalf_cli::{ExitCode, Failure};
use askalf_cred::LoadOutcome;

use super::{Finding, Subject};
use crate::{redaction, task_limits};

pub(super) const ID: &str = "config";

pub(super) fn check(subject: &Subject) -> Finding {
    let problem = |reason: &str, saw: String, next: String| {
        Finding::problem(ID, ExitCode::Configuration, reason, saw, next)
    };
    let path = subject.home().config_path();
    let Some(config) = &subject.config else {
        let outcome = &subject.outcome;
        let by_environment = crate::environment::variable("ASKALF_API_KEY").is_some();
        if matches!(outcome, LoadOutcome::Absent) && by_environment && subject.endpoint().is_some() {
            return Finding::ok(ID, "there is no agent.json; the environment names key and bridge");
        }
        return problem(
            outcome.id(),
            outcome.to_string(),
            outcome.hint().unwrap_or_default(),
        );
    };
    if let Some(error) = subject.endpoint_fault() {
        return problem(error.id(), error.to_string(), error.hint().to_owned());
    }
    if subject.endpoint().is_none() {
        return problem(
            "no-url",
            format!("{} names no bridge", path.display()),
            "run 'askalf-agent pair --url URL'".to_owned(),
        );
    }
    if let Some(Err(fault)) = &subject.route {
        return problem(fault.id, fault.problem.clone(), fault.hint.clone());
    }
    let failure = |reason: &str, failure: Failure| {
        problem(
            reason,
            failure.to_string(),
            failure.hint_text().unwrap_or_default().to_owned(),
        )
    };
    if let Err(error) = task_limits::configured(config) {
        return failure("task-limits", error);
    }
    if let Err(error) = redaction::rules(subject.home()) {
        return failure("redaction-rules", error);
    }
    let misread: Vec<_> = config.misread().collect();
    if !misread.is_empty() {
        return Finding::warning(
            ID,
            "config-wrong-type",
            format!(
                "agent.json: of the wrong type, and not used: {}",
                misread.join(", ")
            ),
            "mend the file, then restart the agent",
        );
    }
    let bridge = subject.endpoint().map(ToString::to_string).unwrap_or_default();
    Finding::ok(ID, format!("{} names {bridge}", path.display()))
}
