//! What the system's service manager says of the agent's unit.

use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

/// The unit that runs the agent.
pub(crate) const UNIT: &str = "askalf-agent.service";

/// How long `systemctl` may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Most of an answer that is read, in bytes.
const MAX_ANSWER: u64 = 16 * 1024;

/// A unit as systemd sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ServiceState {
    /// A unit of the user, not of the system.
    pub(crate) user: bool,
    /// `active`, `inactive`, `failed`, `activating` and so on.
    pub(crate) active: String,
    /// `running`, `auto-restart`, `dead` and so on.
    pub(crate) sub: String,
    /// `success`, `exit-code`, `oom-kill` and so on.
    pub(crate) result: String,
    /// `enabled`, `disabled` and so on.
    pub(crate) enabled: String,
    pub(crate) restarts: String,
}

impl ServiceState {
    /// `systemctl VERB askalf-agent.service` as a person types it.
    pub(crate) fn command(&self, verb: &str) -> String {
        let manager = if self.user {
            "systemctl --user"
        } else {
            "sudo systemctl"
        };
        format!("{manager} {verb} {UNIT}")
    }
}

/// The unit of the system, else that of this user. `None` where there is none, or no systemd. Blocks, for a few seconds at most.
pub(crate) fn service_state() -> Option<ServiceState> {
    if !cfg!(target_os = "linux") {
        return None;
    }
    [false, true]
        .into_iter()
        .find_map(|user| parse(&show(user)?, user))
}

fn show(user: bool) -> Option<String> {
    let mut command = Command::new("systemctl");
    if user {
        command.arg("--user");
    }
    let mut child = command
        .args(["show", UNIT])
        .arg("--property=LoadState,ActiveState,SubState,Result,UnitFileState,NRestarts")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let stdout = child.stdout.take()?;
    let (sender, answered) = sync_channel(1);
    std::thread::spawn(move || {
        let mut text = String::new();
        let read = stdout.take(MAX_ANSWER).read_to_string(&mut text);
        // Who asked may have given up.
        let _gone = sender.send(read.is_ok().then_some(text));
    });
    let text = answered.recv_timeout(PATIENCE);
    // What it had to say is said; gone already is as good.
    let _gone = child.kill();
    let _gone = child.wait();
    text.ok().flatten()
}

fn parse(text: &str, user: bool) -> Option<ServiceState> {
    let value = |name: &str| {
        let found = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        found.map(askalf_cli::one_line).unwrap_or_default()
    };
    (value("LoadState") == "loaded").then(|| ServiceState {
        user,
        active: value("ActiveState"),
        sub: value("SubState"),
        result: value("Result"),
        enabled: value("UnitFileState"),
        restarts: value("NRestarts"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_unit_that_is_loaded_is_one() {
        assert_eq!(parse("LoadState=not-found\nActiveState=inactive\n", false), None);
        let state = parse(
            "LoadState=loaded\nActiveState=failed\nSubState=failed\nResult=exit-code\nUnitFileState=enabled\nNRestarts=3\n",
            true,
        )
        .unwrap();
        assert_eq!((state.active.as_str(), state.restarts.as_str()), ("failed", "3"));
        assert_eq!(
            state.command("restart"),
            "systemctl --user restart askalf-agent.service"
        );
    }
}
