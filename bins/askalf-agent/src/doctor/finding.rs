//! What a check found.

use askalf_agent_core::machine::Verdict;
use askalf_agent_core::{VerifyError, VerifyErrorKind};
use askalf_cli::{ExitCode, one_line};
use serde::Serialize;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    Ok,
    Warning,
    Problem,
    Skipped,
}

impl Outcome {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem => "problem",
            Self::Skipped => "skipped",
        }
    }
}

/// What one check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// Stable id of the check.
    pub(crate) id: &'static str,
    pub(crate) outcome: Outcome,
    /// Stable name of what is wrong.
    pub(crate) reason: Option<String>,
    /// What was seen; for a skipped check why it was skipped.
    pub(crate) saw: String,
    /// What to do next; empty where there is nothing to do.
    pub(crate) next: String,
    /// What was repaired.
    pub(crate) fixed: Vec<String>,
    /// What a problem makes of the exit code.
    #[serde(skip)]
    pub(super) code: ExitCode,
}

impl Finding {
    pub(super) fn ok(id: &'static str, saw: impl Into<String>) -> Self {
        Self {
            id,
            outcome: Outcome::Ok,
            reason: None,
            saw: one_line(&saw.into()),
            next: String::new(),
            fixed: Vec::new(),
            code: ExitCode::Done,
        }
    }

    pub(super) fn skipped(id: &'static str, why: impl Into<String>) -> Self {
        Self {
            outcome: Outcome::Skipped,
            ..Self::ok(id, why)
        }
    }

    pub(super) fn warning(
        id: &'static str,
        reason: impl Into<String>,
        saw: impl Into<String>,
        next: impl Into<String>,
    ) -> Self {
        Self {
            outcome: Outcome::Warning,
            reason: Some(one_line(&reason.into())),
            next: one_line(&next.into()),
            ..Self::ok(id, saw)
        }
    }

    /// Something that keeps the device out, or will; `code` is what the program ends with for it.
    pub(super) fn problem(
        id: &'static str,
        code: ExitCode,
        reason: impl Into<String>,
        saw: impl Into<String>,
        next: impl Into<String>,
    ) -> Self {
        Self {
            outcome: Outcome::Problem,
            code,
            ..Self::warning(id, reason, saw, next)
        }
    }

    /// What keeps a connection from coming about.
    pub(super) fn of_verdict(id: &'static str, verdict: &Verdict) -> Self {
        let error = VerifyError::Bridge(verdict.clone());
        let code = match error.kind() {
            VerifyErrorKind::KeyRefused | VerifyErrorKind::Configuration => ExitCode::Configuration,
            VerifyErrorKind::Unavailable => ExitCode::Unavailable,
        };
        // What the agent would do by itself is no news to who asks what is wrong.
        let hint = match error.kind() {
            VerifyErrorKind::KeyRefused => verdict.reason.hint.to_string(),
            _ => error.hint().to_owned(),
        };
        Self::problem(id, code, error.id(), error.to_string(), hint)
    }
}

/// The exit code for all findings: a device that is to be set up anew comes first, then a bridge that is not reached.
pub(super) fn exit_code(findings: &[Finding]) -> ExitCode {
    let problems = || {
        findings
            .iter()
            .filter(|finding| finding.outcome == Outcome::Problem)
    };
    [ExitCode::Configuration, ExitCode::Unavailable]
        .into_iter()
        .find(|code| problems().any(|finding| finding.code == *code))
        .unwrap_or(if problems().next().is_some() {
            ExitCode::Failed
        } else {
            ExitCode::Done
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gravest_problem_decides_and_a_warning_does_not() {
        let problem = |code| Finding::problem("x", code, "r", "s", "n");
        let warning = Finding::warning("x", "r", "s", "n");
        for (findings, code) in [
            (vec![Finding::ok("x", ""), warning.clone()], ExitCode::Done),
            (vec![problem(ExitCode::Failed)], ExitCode::Failed),
            (
                vec![problem(ExitCode::Failed), problem(ExitCode::Unavailable)],
                ExitCode::Unavailable,
            ),
            (
                vec![
                    problem(ExitCode::Unavailable),
                    problem(ExitCode::Configuration),
                    warning,
                ],
                ExitCode::Configuration,
            ),
        ] {
            assert_eq!(exit_code(&findings), code);
        }
    }
}
