//! The unit of the agent, where there is one.

use askalf_cli::ExitCode;

use super::{Daemon, Finding, Subject};
use crate::service_state::UNIT;

pub(super) const ID: &str = "service";

pub(super) fn check(subject: &Subject) -> Finding {
    let Some(service) = &subject.service else {
        return Finding::skipped(ID, format!("systemd knows no {UNIT} here"));
    };
    let saw = format!(
        "{UNIT} is {} ({}), {}",
        service.active, service.sub, service.enabled
    );
    let again = service.restarts.parse().unwrap_or(0_u64);
    match service.active.as_str() {
        "failed" => Finding::problem(
            ID,
            ExitCode::Failed,
            "service-failed",
            format!("{saw}: {}, restarted {again} times", service.result),
            format!(
                "see '{}', then '{}'",
                service.command("status"),
                service.command("restart")
            ),
        ),
        "active" if service.enabled == "disabled" => Finding::warning(
            ID,
            "service-disabled",
            format!("{saw}: it does not start with the machine"),
            service.command("enable"),
        ),
        "active" if matches!(subject.daemon, Daemon::Absent) => Finding::warning(
            ID,
            "service-of-another-home",
            format!("{saw}, but no agent runs in {}", subject.home().path().display()),
            "give this command the folder of the service: --home /var/lib/askalf-agent",
        ),
        "active" => Finding::ok(ID, saw),
        "inactive" => Finding::warning(ID, "service-stopped", saw, service.command("start")),
        _ => Finding::warning(ID, "service-unsettled", saw, service.command("status")),
    }
}
