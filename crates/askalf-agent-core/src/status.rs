//! What the agent says about itself.

use serde::{Deserialize, Serialize};

use crate::machine::State;

/// A snapshot of the agent, as `status --json` and the control socket show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentStatus {
    /// What it is doing.
    pub state: State,
    /// Stable name of why.
    pub reason: String,
    /// Why, for a person.
    pub detail: String,
    /// What to do next; empty where there is nothing to do.
    pub hint: String,
    /// When the state was entered, in milliseconds since the Unix epoch.
    pub since: u64,
    /// The id that the bridge gave the device.
    pub device_id: Option<String>,
    /// The bridge's URL as configured, where a credential could be read.
    pub bridge: Option<String>,
    /// Executions that run.
    pub running: u32,
    /// Executions that wait for a place.
    pub queued: u32,
    /// The user that tasks run as, where it is another than the agent's own.
    #[serde(default)]
    pub tasks_run_as: Option<String>,
    /// Results that the bridge has not acknowledged yet.
    pub unacknowledged: u32,
    /// Bytes of their frames, which are on the disk too.
    #[serde(default)]
    pub unacknowledged_bytes: u64,
    /// Results that the bridge could not take and that are kept apart.
    #[serde(default)]
    pub quarantined: u32,
    /// Version of the agent.
    pub version: String,
    /// Round trip of the last answered ping on this connection, in milliseconds.
    pub last_heartbeat_rtt_ms: Option<u64>,
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
        }
    }
}
