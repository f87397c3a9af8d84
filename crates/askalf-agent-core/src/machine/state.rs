//! The states of an agent and why it is in one.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::Moment;

/// What the agent is doing. These words are the ones of `status --json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// There is no credential.
    Unpaired,
    /// It dials the bridge.
    Connecting,
    /// The socket is open; the bridge has not said anything yet.
    Authenticating,
    /// The bridge talks to the device, or is asked again, but has not registered it yet.
    Registering,
    /// The bridge has said `device:registered` on this socket. Nothing else is online.
    Online,
    /// It waits before it dials again.
    Backoff,
    /// The credential was refused or cannot be read. Only a person can help.
    RepairRequired,
    /// Something on the device itself stands in the way.
    LocalFault,
    /// It takes no new tasks and finishes what it has.
    Draining,
    /// It has stopped.
    Stopped,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 10] = [
        Self::Unpaired,
        Self::Connecting,
        Self::Authenticating,
        Self::Registering,
        Self::Online,
        Self::Backoff,
        Self::RepairRequired,
        Self::LocalFault,
        Self::Draining,
        Self::Stopped,
    ];

    /// The state's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unpaired => "unpaired",
            Self::Connecting => "connecting",
            Self::Authenticating => "authenticating",
            Self::Registering => "registering",
            Self::Online => "online",
            Self::Backoff => "backoff",
            Self::RepairRequired => "repair_required",
            Self::LocalFault => "local_fault",
            Self::Draining => "draining",
            Self::Stopped => "stopped",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// Why the agent is in its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateReason {
    /// Stable name, for scripts.
    pub id: Cow<'static, str>,
    /// What happened, for a person.
    pub text: String,
    /// What to do next; empty where there is nothing to do.
    pub hint: Cow<'static, str>,
}

impl StateReason {
    /// A reason with something to do.
    pub fn new(
        id: impl Into<Cow<'static, str>>,
        text: impl Into<String>,
        hint: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            id: id.into(),
            text: text.into(),
            hint: hint.into(),
        }
    }

    /// A reason with nothing to do.
    pub(crate) fn plain(id: &'static str, text: impl Into<String>) -> Self {
        Self::new(id, text, "")
    }
}

/// The agent's state, why, and since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// The state.
    pub state: State,
    /// Why.
    pub reason: StateReason,
    /// When the state was entered. A new reason for the same state leaves it as it is.
    pub since: Moment,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_the_ones_scripts_rely_on() {
        let words: Vec<_> = State::ALL.iter().map(|state| state.as_str()).collect();
        assert_eq!(
            words.join(" "),
            "unpaired connecting authenticating registering online backoff repair_required local_fault \
             draining stopped"
        );
        for state in State::ALL {
            assert_eq!(serde_json::to_string(&state).unwrap(), format!("\"{state}\""));
        }
    }
}
