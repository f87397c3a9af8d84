//! What the agent says about itself.

use serde::{Deserialize, Serialize};

use crate::machine::State;

/// A snapshot of the agent, as `status --json` and the control socket show it.
///
/// It is read also where fields are missing: an older agent may have written it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentStatus {
    /// What it is doing.
    pub state: State,
    /// Stable name of why.
    #[serde(default)]
    pub reason: String,
    /// Why, for a person.
    #[serde(default)]
    pub detail: String,
    /// What to do next; empty where there is nothing to do.
    #[serde(default)]
    pub hint: String,
    /// When the state was entered, in milliseconds since the Unix epoch.
    #[serde(default)]
    pub since: u64,
    /// The id that the bridge gave the device.
    #[serde(default)]
    pub device_id: Option<String>,
    /// The bridge's URL as configured, where a credential could be read.
    #[serde(default)]
    pub bridge: Option<String>,
    /// Executions that run.
    #[serde(default)]
    pub running: u32,
    /// Executions that wait for a place.
    #[serde(default)]
    pub queued: u32,
    /// The user that tasks run as, where it is another than the agent's own.
    #[serde(default)]
    pub tasks_run_as: Option<String>,
    /// Results that the bridge has not acknowledged yet.
    #[serde(default)]
    pub unacknowledged: u32,
    /// Bytes of their frames, which are on the disk too.
    #[serde(default)]
    pub unacknowledged_bytes: u64,
    /// Results that the bridge could not take and that are kept apart.
    #[serde(default)]
    pub quarantined: u32,
    /// Version of the agent.
    #[serde(default)]
    pub version: String,
    /// Round trip of the last answered ping on this connection, in milliseconds.
    #[serde(default)]
    pub last_heartbeat_rtt_ms: Option<u64>,
    /// Stable name of what the last look at the credential found: `ready`, `staged` (the key of a rotation that has not ended), or
    /// why there is none. Absent before the first look.
    #[serde(default)]
    pub credential: Option<String>,
}

impl AgentStatus {
    /// What an agent of this version says before it has started.
    pub fn starting(version: impl Into<String>, now_unix_ms: u64) -> Self {
        Self {
            state: State::Connecting,
            reason: "starting".to_owned(),
            detail: "the agent starts".to_owned(),
            hint: String::new(),
            since: now_unix_ms,
            device_id: None,
            bridge: None,
            running: 0,
            queued: 0,
            tasks_run_as: None,
            unacknowledged: 0,
            unacknowledged_bytes: 0,
            quarantined: 0,
            version: version.into(),
            last_heartbeat_rtt_ms: None,
            credential: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_older_agent_does_not_tell_is_unknown() {
        let status: AgentStatus =
            serde_json::from_str(r#"{"state":"online","reason":"registered","future":[1]}"#).unwrap();
        assert_eq!(
            (status.state, status.reason.as_str()),
            (State::Online, "registered")
        );
        assert_eq!(
            (status.credential, status.device_id, status.running),
            (None, None, 0)
        );
    }
}
