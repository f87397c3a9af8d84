//! A daemon runs, and says that it is well.

use askalf_agent_core::State;
use askalf_agent_core::control::ControlError;
use askalf_cli::ExitCode;

use super::{Daemon, Finding, Subject};

pub(super) const ID: &str = "daemon";

pub(super) fn check(subject: &Subject) -> Finding {
    let status = match &subject.daemon {
        Daemon::Running(status) => status,
        // It holds the folder and does not listen.
        Daemon::Silent(ControlError::NotRunning) => {
            return Finding::problem(
                ID,
                ExitCode::Failed,
                "control-socket-missing",
                "an agent runs and cannot be asked: its control socket is not there",
                "if it is not just starting, stop it with SIGTERM and start it anew",
            );
        }
        Daemon::Silent(error) => {
            return Finding::problem(
                ID,
                ExitCode::Failed,
                error.id(),
                format!("an agent runs and cannot be asked: {error}"),
                error.hint(),
            );
        }
        Daemon::Absent => {
            let last = subject.last_run.as_ref();
            let last = last.map_or_else(String::new, |run| format!("; the last one ended {}", run.ended()));
            let start = match &subject.service {
                Some(service) => service.command("start"),
                None => "askalf-agent daemon".to_owned(),
            };
            return Finding::warning(
                ID,
                "agent-not-running",
                format!("no agent runs here{last}"),
                format!("start it with '{start}'"),
            );
        }
    };
    let saw = format!("{} ({}): {}", status.state, status.reason, status.detail);
    let code = match status.state {
        State::Online => {
            if status.version == env!("CARGO_PKG_VERSION") {
                return Finding::ok(ID, saw);
            }
            return Finding::warning(
                ID,
                "agent-of-another-version",
                format!("{saw}; it has the version {}", status.version),
                "restart the agent, so that it runs what is installed",
            );
        }
        State::Unpaired | State::RepairRequired | State::LocalFault => ExitCode::Configuration,
        State::Backoff => ExitCode::Unavailable,
        State::Connecting | State::Authenticating | State::Registering | State::Draining | State::Stopped => {
            return Finding::warning(ID, status.reason.clone(), saw, status.hint.clone());
        }
    };
    Finding::problem(ID, code, status.reason.clone(), saw, status.hint.clone())
}
