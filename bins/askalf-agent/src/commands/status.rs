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
use crate::run_record::LastRun;
use crate::service_state::{ServiceState, UNIT, service_state};
use crate::vault::Vault;
use crate::{guard, home_lock};

pub(crate) async fn status(vault: &Vault, arguments: Status) -> anyhow::Result<ExitCode> {
    let home = vault.home();
    let running = ask(home, async || {
        control::status(&home.socket_path(), ANSWER_PATIENCE).await
    })
    .await?;
    let (last_run, service) = match &running {
        Some(_) => (None, None),
        None => (
            LastRun::of(home),
            tokio::task::spawn_blocking(service_state).await.ok().flatten(),
        ),
    };
    let process = running.as_ref().and_then(|_| home_lock::holding_process(home));
    let status = running.unwrap_or_else(|| without_daemon(vault, service.as_ref()));
    let shown = Shown {
        policy: policy_state(home),
        process,
        last_run: last_run.map(|run| run.ended()),
        service: service.map(|service| {
            let unit = format!("{UNIT}: {} ({})", service.active, service.sub);
            if service.active == "failed" {
                format!("{unit}, {}", service.result)
            } else {
                unit
            }
        }),
        status,
    };
    if arguments.json {
        show_json(&shown)?;
    } else {
        print(&describe(&shown, unix_ms()))?;
    }
    let status = &shown.status;
    Ok(if arguments.check {
        check(status.state)
    } else {
        ExitCode::Done
    })
}

/// The status, and what the policy file says beside it: tasks are refused where it cannot be read, whatever the state.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    status: AgentStatus,
    policy: String,
    /// The daemon's process, where its lock names it.
    process: Option<u32>,
    /// How the last daemon ended, where none runs and that is known.
    last_run: Option<String>,
    /// The unit that runs the agent, where none runs and there is one.
    service: Option<String>,
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
        Err(error) => format!("every task is refused: {error}; {}", error.hint()),
    }
}

/// What the folder tells while nobody runs.
fn without_daemon(vault: &Vault, service: Option<&ServiceState>) -> AgentStatus {
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
            match service {
                Some(service) => format!("start it with '{}'", service.command("start")),
                None => "start it with 'askalf-agent daemon'".to_owned(),
            },
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
        credential: Some(outcome.id().to_owned()),
        ..AgentStatus::starting(env!("CARGO_PKG_VERSION"), unix_ms())
    }
}

/// What a person reads.
fn describe(shown: &Shown, now_ms: u64) -> String {
    let status = &shown.status;
    let mut text = status.state.to_string();
    if !status.reason.is_empty() {
        text.push_str(&format!(" ({})", one_line(&status.reason)));
    }
    // Of an agent that does not run nobody knows since when.
    if status.since > 0 && status.reason != "not-running" {
        let since = Duration::from_millis(now_ms.saturating_sub(status.since));
        text.push_str(&format!(", for {}", span(since)));
    }
    text.push('\n');
    let mut tasks = format!("{} running, {} queued", status.running, status.queued);
    match &status.tasks_run_as {
        Some(user) => tasks.push_str(&format!(", as the user {user}")),
        None if shown.process.is_some() => tasks.push_str(", as the agent's own user"),
        None => {}
    }
    let process = shown.process.map(|process| process.to_string());
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
        ("key", status.credential.as_deref()),
        ("tasks", Some(tasks.as_str())),
        ("results", results.as_deref()),
        ("", refused.as_deref()),
        ("heartbeat", round_trip.as_deref()),
        ("process", process.as_deref()),
        ("version", Some(status.version.as_str())),
        ("last run", shown.last_run.as_deref()),
        ("service", shown.service.as_deref()),
        ("policy", Some(shown.policy.as_str())),
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

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_061_000;

    fn shown(status: &str) -> Shown {
        Shown {
            status: serde_json::from_str(status).unwrap(),
            policy: "none: every task is allowed".to_owned(),
            process: None,
            last_run: None,
            service: None,
        }
    }

    #[test]
    fn everything_that_is_known_is_told() {
        let mut online = shown(
            r#"{"state":"online","reason":"registered","detail":"Registered as device dev_1","since":1700000000000,
            "device_id":"dev_1","bridge":"wss://bridge.test/ws/agent-bridge","running":1,"queued":2,"unacknowledged":1,
            "unacknowledged_bytes":1500,"quarantined":1,"version":"0.1.0","last_heartbeat_rtt_ms":12,
            "credential":"ready","tasks_run_as":"askalf-task"}"#,
        );
        online.process = Some(77);
        assert_eq!(
            describe(&online, NOW),
            "online (registered), for 1 min 1 s
          Registered as device dev_1
device    dev_1
bridge    wss://bridge.test/ws/agent-bridge
key       ready
tasks     1 running, 2 queued, as the user askalf-task
results   1 not acknowledged yet (2 KiB)
          1 in quarantine: the bridge could not take them
heartbeat 12 ms
process   77
version   0.1.0
policy    none: every task is allowed
"
        );
    }

    #[test]
    fn a_daemon_that_tells_less_and_one_that_is_down_are_told_too() {
        let old = shown(r#"{"state":"backoff","reason":"unreachable"}"#);
        assert_eq!(
            describe(&old, NOW),
            "backoff (unreachable)\ntasks     0 running, 0 queued\npolicy    none: every task is allowed\n"
        );
        let mut down = shown(r#"{"state":"stopped","reason":"not-running","since":1700000000000}"#);
        down.last_run = Some("2023-11-14T22:13:20Z: it was told to stop by a signal".to_owned());
        down.service = Some("askalf-agent.service: failed (failed), exit-code".to_owned());
        let text = describe(&down, NOW);
        assert!(text.starts_with("stopped (not-running)\n"), "{text}");
        assert!(
            text.contains(
                "last run  2023-11-14T22:13:20Z: it was told to stop by a signal\n\
                 service   askalf-agent.service: failed (failed), exit-code\n"
            ),
            "{text}"
        );
    }
}
