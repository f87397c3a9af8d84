//! `status`: asks the running agent; where none runs, says what the folder tells.

use std::time::Duration;

use askalf_agent_core::control;
use askalf_agent_core::{AgentStatus, DeviceIdStore, State};
use askalf_cli::{ExitCode, one_line, print};
use askalf_cred::{Home, LoadOutcome};
use askalf_exec::Origin;
use serde::Serialize;

use super::ask::ask;
use super::{ANSWER_PATIENCE, show_json};
use crate::cli::Status;
use crate::clock::unix_ms;
use crate::device_id_file::DeviceIdFile;
use crate::guard;
use crate::vault::Vault;

pub(crate) async fn status(vault: &Vault, arguments: Status) -> anyhow::Result<ExitCode> {
    let home = vault.home();
    let running = ask(home, async || {
        control::status(&home.socket_path(), ANSWER_PATIENCE).await
    })
    .await?;
    let status = running.unwrap_or_else(|| without_daemon(vault));
    let policy = policy_state(home);
    if arguments.json {
        show_json(&Shown {
            status: &status,
            policy: &policy,
        })?;
    } else {
        print(&format!(
            "{}{:<9} {}\n",
            describe(&status),
            "policy",
            one_line(&policy)
        ))?;
    }
    Ok(if arguments.check {
        check(status.state)
    } else {
        ExitCode::Done
    })
}

/// The status, and what the policy file says beside it: tasks are refused where it cannot be read, whatever the state.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    status: &'a AgentStatus,
    policy: &'a str,
}

/// What tasks meet.
fn policy_state(home: &Home) -> String {
    match guard::policy_file(home).current() {
        Ok(policy) if policy.origin() == Origin::BuiltIn => "none: every task is allowed".to_owned(),
        Ok(policy) => {
            let count = policy.rules().len();
            let rules = if count == 1 { "rule" } else { "rules" };
            format!("{count} {rules}, else {}", policy.default_effect().as_str())
        }
        Err(error) => format!("every task is refused: {error}. {}", error.hint()),
    }
}

/// What the folder tells while nobody runs.
fn without_daemon(vault: &Vault) -> AgentStatus {
    let outcome = vault.load_any_generation();
    let (state, reason) = match &outcome {
        LoadOutcome::Absent => (State::Unpaired, outcome.id()),
        LoadOutcome::Refused(unreadable) if unreadable.is_local_fault() => (State::LocalFault, outcome.id()),
        LoadOutcome::Refused(_) => (State::RepairRequired, outcome.id()),
        LoadOutcome::Ready(_) | LoadOutcome::Plaintext { .. } => (State::Stopped, "not-running"),
    };
    let (detail, hint) = match state {
        State::Stopped => (
            "no agent runs here".to_owned(),
            "start it with 'askalf-agent daemon'".to_owned(),
        ),
        _ => (outcome.to_string(), outcome.hint().unwrap_or_default()),
    };
    let bridge = match &outcome {
        LoadOutcome::Ready(credential) | LoadOutcome::Plaintext { credential, .. } => {
            credential.config.url.clone()
        }
        LoadOutcome::Absent | LoadOutcome::Refused(_) => None,
    };
    AgentStatus {
        state,
        reason: reason.to_owned(),
        detail,
        hint,
        device_id: DeviceIdFile::new(vault.home()).load().ok().flatten(),
        bridge,
        ..AgentStatus::starting(env!("CARGO_PKG_VERSION"), unix_ms())
    }
}

/// What a person reads.
fn describe(status: &AgentStatus) -> String {
    let since = Duration::from_millis(unix_ms().saturating_sub(status.since));
    let mut text = format!("{} ({}), for {}\n", status.state, status.reason, span(since));
    let round_trip = status.last_heartbeat_rtt_ms.map(|rtt| format!("{rtt} ms"));
    let results = (status.unacknowledged > 0).then(|| {
        format!(
            "{} not acknowledged yet ({} KiB)",
            status.unacknowledged,
            status.unacknowledged_bytes.div_ceil(1024)
        )
    });
    let refused = (status.quarantined > 0).then(|| {
        format!(
            "{} in quarantine: the bridge could not take them",
            status.quarantined
        )
    });
    for (name, value) in [
        ("", Some(status.detail.as_str())),
        ("next", Some(status.hint.as_str())),
        ("device", status.device_id.as_deref()),
        ("bridge", status.bridge.as_deref()),
        (
            "tasks",
            Some(format!("{} running, {} queued", status.running, status.queued).as_str()),
        ),
        (
            "run as",
            Some(status.tasks_run_as.as_deref().unwrap_or("this user")),
        ),
        ("results", results.as_deref()),
        ("", refused.as_deref()),
        ("heartbeat", round_trip.as_deref()),
        ("version", Some(status.version.as_str())),
    ] {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            text.push_str(&format!("{name:<9} {}\n", one_line(value)));
        }
    }
    text
}

/// A span of time in its two largest units.
fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// The exit code by state, for scripts and service managers.
fn check(state: State) -> ExitCode {
    match state {
        State::Online => ExitCode::Done,
        State::Unpaired | State::RepairRequired | State::LocalFault => ExitCode::Configuration,
        State::Connecting
        | State::Authenticating
        | State::Registering
        | State::Backoff
        | State::Draining
        | State::Stopped => ExitCode::TryAgain,
    }
}
